//! What waits behind an answer that is being sent, and how long its client may therefore take nothing of it.

use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;

use super::backpressure::RequestBudget;
use super::frames::FrameLimits;
use super::turns::Turns;
use super::unread::Held;

/// The requests behind an answer. They hold memory for as long as the answer is not taken.
#[derive(Clone, Copy)]
pub(super) struct Backlog<'a> {
    /// All that are in work.
    pub(super) turns: &'a Turns,
    /// How many of those the answer is for.
    pub(super) answered: usize,
    /// Where the memory of their frames is from, and that of long ones.
    pub(super) budgets: [&'a RequestBudget; 2],
    /// How long the client may take nothing if there are none.
    pub(super) limits: &'a FrameLimits,
}

impl Backlog<'_> {
    /// Ends when the client, which has just taken something, has taken nothing for too long: for whoever has sent no more than it reads
    /// that is the time for idle connections; for others a minute, or a few seconds while others wait for memory.
    pub(super) async fn patience(&self) {
        let idle = self.limits.idle;
        let mut waited = Duration::ZERO;
        let mut held: Option<[Held<'_>; 2]> = None;
        while waited < idle {
            let step = STEP.min(idle - waited);
            let given_up = async {
                match &held {
                    Some([frames, long]) => tokio::select! {
                        () = frames.given_up() => {}
                        () = long.given_up() => {}
                    },
                    None => pending().await,
                }
            };
            tokio::select! {
                () = given_up => return,
                () = sleep(step) => waited += step,
            }
            if !self.turns.has_behind(self.answered) {
                held = None;
            } else if waited >= PATIENCE {
                return;
            } else if held.is_none() {
                held = Some(self.budgets.map(RequestBudget::awaits_rest));
            }
        }
    }
}

/// How long a client with more requests waiting may leave an answer unread.
const PATIENCE: Duration = Duration::from_secs(60);
/// And while others wait for the memory of those.
const STEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::net::turns::WaitingRequests;

    /// With requests behind from then on, and others who want memory of one of the budgets.
    async fn seconds_until(more_from: u64, wanted: Option<usize>) -> u64 {
        let began = Instant::now();
        let budgets = [4_096; 2].map(RequestBudget::new);
        let turns = Turns::new(&WaitingRequests::new(1));
        let _answered = turns.queue(true).await;
        let backlog = Backlog {
            turns: &turns,
            answered: 1,
            budgets: budgets.each_ref(),
            limits: &FrameLimits {
                frame_bytes_max: 0,
                idle: Duration::from_secs(600),
            },
        };
        let mut taken = Vec::new();
        for budget in &budgets {
            // All of it, and the right to exceed it.
            for _ in 0..2 {
                let mut room = budget.open();
                room.cover(4_096).await;
                taken.push(room);
            }
        }
        let comes = async {
            sleep(Duration::from_secs(more_from)).await;
            let _more = turns.queue(true).await;
            pending::<()>().await;
        };
        let wants = async {
            if let Some(wanted) = wanted {
                budgets[wanted].open().cover(4_096).await;
            }
            pending::<()>().await;
        };
        tokio::select! {
            () = backlog.patience() => began.elapsed().as_secs(),
            () = comes => unreachable!(),
            () = wants => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_is_shorter_with_requests_behind_and_shortest_where_others_want_their_memory()
    {
        assert_eq!(seconds_until(0, None).await, 60);
        // Not at a multiple of the step: which of two timers of one moment is first is left to chance.
        assert_eq!(seconds_until(102, None).await, 105);
        for wanted in [0, 1] {
            assert_eq!(seconds_until(1_000, Some(wanted)).await, 600);
            assert!(seconds_until(0, Some(wanted)).await <= 7);
            assert!(seconds_until(102, Some(wanted)).await <= 107);
        }
    }
}
