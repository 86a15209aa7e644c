//! Requests that were read before their turn: how many of them there may be on all connections of one thread.
//!
//! The first request of a connection needs no place, so whoever keeps all places busy delays nobody but those who send
//! the next request before the last is answered. Requests whose work begins on arrival need none either: they do not wait.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::signal::Signal;

/// The places for waiting requests of one thread. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct WaitingRequests {
    places: Arc<Semaphore>,
}

/// A place, if one was needed; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
}

/// One connection's requests in work. Its two halves run in one task.
#[derive(Debug)]
pub(super) struct Turns {
    waiting: WaitingRequests,
    in_work: Cell<usize>,
    /// The last request in work was answered.
    idle: Signal,
}

impl WaitingRequests {
    /// So many places; at 0 no request is read before its turn.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
        }
    }
}

impl Place {
    /// The request's turn has come: it waits no more.
    pub(super) fn release(&mut self) {
        self.permit = None;
    }
}

impl Turns {
    /// Nothing is in work.
    pub(super) fn new(waiting: &WaitingRequests) -> Self {
        Self {
            waiting: waiting.clone(),
            in_work: Cell::new(0),
            idle: Signal::default(),
        }
    }

    /// A request was read: waits until there is a place for it, or until it needs none.
    pub(super) async fn queue(&self, has_begun: bool) -> Place {
        let permit = if has_begun || self.in_work.get() == 0 {
            None
        } else {
            tokio::select! {
                biased;
                // The semaphore is never closed; were it, letting the request in is the lesser harm.
                permit = Arc::clone(&self.waiting.places).acquire_owned() => permit.ok(),
                () = self.all_answered() => None,
            }
        };
        self.in_work.set(self.in_work.get() + 1);
        Place { permit }
    }

    /// So many answers to the requests in turn are out.
    pub(super) fn answered(&self, count: usize) {
        let left = self.in_work.get().saturating_sub(count);
        self.in_work.set(left);
        if left == 0 {
            self.idle.give();
        }
    }

    /// Whether requests are in work behind the first `count`.
    pub(super) fn has_behind(&self, count: usize) -> bool {
        self.in_work.get() > count
    }

    /// Whether no request is in work.
    pub(super) fn is_idle(&self) -> bool {
        self.in_work.get() == 0
    }

    async fn all_answered(&self) {
        while self.in_work.get() > 0 {
            self.idle.given().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn must_wait(turns: &Turns, has_begun: bool) -> bool {
        let queued = tokio::time::timeout(Duration::ZERO, turns.queue(has_begun));
        queued.await.is_err()
    }

    #[tokio::test]
    async fn requests_behind_others_need_a_place_and_first_ones_do_not() {
        let waiting = WaitingRequests::new(1);
        let (one, other) = (Turns::new(&waiting), Turns::new(&waiting));
        let _first = one.queue(false).await;
        let second = one.queue(false).await;
        assert!(must_wait(&one, false).await, "the only place is taken");
        let _third = one.queue(true).await;
        let _first_of_other = other.queue(false).await;
        assert!(must_wait(&other, false).await, "the places are shared");
        // Its turn has come.
        drop(second);
        assert!(!must_wait(&other, false).await);
    }

    #[tokio::test]
    async fn without_places_a_request_waits_until_those_before_it_are_answered() {
        let turns = Turns::new(&WaitingRequests::new(0));
        for _ in 0..3 {
            let _place = turns.queue(false).await;
            assert!(must_wait(&turns, false).await);
            tokio::join!(turns.queue(false), async { turns.answered(1) });
            turns.answered(1);
        }
    }
}
