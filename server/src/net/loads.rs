//! How busy the shards' threads were lately. Plain arithmetic; whoever asks brings the time and the counters.

use std::time::Duration;

use millrace_engine::shard::ShardIndex;
use millrace_engine::types::Monotonic;

/// Thousandths of a thread's time.
pub(super) type Permille = u64;

/// How busy one thread was, and what has come to it or left it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) shard: ShardIndex,
    pub(super) busy: Permille,
}

/// The loads of all threads, over the last period that somebody asked for.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// In the order of the shards; none when nothing is known of late.
    loads: Vec<Load>,
    /// When the period began, and how long each thread had been busy then.
    began: Monotonic,
    before: Vec<(ShardIndex, Duration)>,
}

impl Loads {
    /// The loads, in the order of the shards; none when nobody has asked for long. `busy` says how long each thread has been
    /// busy in all.
    pub(super) fn look(
        &mut self,
        now: Monotonic,
        busy: impl FnOnce() -> Vec<(ShardIndex, Duration)>,
    ) -> &[Load] {
        let period = self.began.until(now);
        if period >= PERIOD {
            let before = self.begin_anew(now, busy());
            self.loads.clear();
            if period <= PERIOD_MAX && before.len() == self.before.len() {
                let pairs = before.iter().zip(&self.before);
                self.loads
                    .extend(pairs.map(|((_, then), (shard, now))| Load {
                        shard: *shard,
                        busy: permille(now.saturating_sub(*then), period),
                    }));
            }
        }
        &self.loads
    }

    /// So much goes from one thread to another: who asks next should know.
    pub(super) fn shift(&mut self, from: ShardIndex, to: ShardIndex, share: Permille) {
        for load in &mut self.loads {
            if load.shard == from {
                load.busy = load.busy.saturating_sub(share);
            } else if load.shard == to {
                load.busy += share;
            }
        }
    }

    /// Begins a period; what was reckoned stands until it is over. To be called when something has gone over, so that the next loads
    /// are of the time after that. What the counters were when the last period began.
    pub(super) fn begin_anew(
        &mut self,
        now: Monotonic,
        mut busy: Vec<(ShardIndex, Duration)>,
    ) -> Vec<(ShardIndex, Duration)> {
        busy.sort_unstable();
        self.began = now;
        std::mem::replace(&mut self.before, busy)
    }
}

fn permille(part: Duration, whole: Duration) -> Permille {
    let permille = part.as_micros().saturating_mul(1_000) / whole.as_micros().max(1);
    Permille::try_from(permille).unwrap_or(Permille::MAX)
}

/// Over how long a load is taken.
const PERIOD: Duration = Duration::from_millis(50);
/// What was taken over more than this says nothing about now.
const PERIOD_MAX: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(first_ms: u64, second_ms: u64) -> Vec<(ShardIndex, Duration)> {
        // As the threads have opened their doors.
        vec![
            (ShardIndex(1), Duration::from_millis(second_ms)),
            (ShardIndex(0), Duration::from_millis(first_ms)),
        ]
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic(10_000_000 + ms * 1_000)
    }

    fn seen(loads: &[Load]) -> Vec<Permille> {
        loads.iter().map(|load| load.busy).collect()
    }

    #[test]
    fn loads_are_taken_over_whole_periods_and_by_the_shard() {
        let mut loads = Loads::default();
        assert!(
            loads.look(at(0), || busy(5_000, 7_000)).is_empty(),
            "the first look"
        );
        assert!(loads.look(at(49), || busy(5_049, 7_000)).is_empty());
        assert_eq!(seen(loads.look(at(100), || busy(5_080, 7_010))), [800, 100]);
        let known = loads.look(at(120), || busy(5_100, 7_010));
        assert_eq!(seen(known), [800, 100], "no period is over");
        assert_eq!(known[0].shard, ShardIndex(0));
        assert_eq!(seen(loads.look(at(200), || busy(5_080, 7_110))), [0, 1_000]);
    }

    #[test]
    fn what_was_taken_over_a_long_time_is_not_known() {
        let mut loads = Loads::default();
        loads.look(at(0), || busy(0, 0));
        assert!(loads.look(at(251), || busy(10, 10)).is_empty());
        assert_eq!(seen(loads.look(at(501), || busy(260, 10))), [1_000, 0]);
    }

    #[test]
    fn what_goes_over_counts_at_once_and_is_measured_from_then_on() {
        let mut loads = Loads::default();
        loads.look(at(0), || busy(0, 0));
        loads.look(at(100), || busy(100, 0));
        loads.shift(ShardIndex(0), ShardIndex(1), 300);
        loads.begin_anew(at(149), busy(149, 0));
        assert_eq!(seen(loads.look(at(160), || busy(160, 0))), [700, 300]);
        assert_eq!(seen(loads.look(at(249), || busy(209, 40))), [600, 400]);
    }
}
