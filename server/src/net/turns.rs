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
    /// Of their frames.
    bytes: Cell<usize>,
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
            bytes: Cell::new(0),
            idle: Signal::default(),
        }
    }

    /// A request of so many bytes was read: waits until there is a place for it, or until it needs none.
    pub(super) async fn queue(&self, has_begun: bool, bytes: usize) -> Place {
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
        self.bytes.set(self.bytes.get() + bytes);
        Place { permit }
    }

    /// So many answers to the requests in turn are out, whose frames had so many bytes.
    pub(super) fn answered(&self, count: usize, bytes: usize) {
        let left = self.in_work.get().saturating_sub(count);
        self.in_work.set(left);
        self.bytes.set(self.bytes_behind(bytes));
        if left == 0 {
            self.idle.give();
        }
    }

    /// Whether requests are in work behind the first `count`.
    pub(super) fn has_behind(&self, count: usize) -> bool {
        self.in_work.get() > count
    }

    /// Of the frames in work, but for so many bytes of the first.
    pub(super) fn bytes_behind(&self, bytes: usize) -> usize {
        self.bytes.get().saturating_sub(bytes)
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
        let queued = tokio::time::timeout(Duration::ZERO, turns.queue(has_begun, 0));
        queued.await.is_err()
    }

    #[tokio::test]
    async fn requests_behind_others_need_a_place_and_first_ones_do_not() {
        let waiting = WaitingRequests::new(1);
        let (one, other) = (Turns::new(&waiting), Turns::new(&waiting));
        let _first = one.queue(false, 0).await;
        let second = one.queue(false, 0).await;
        assert!(must_wait(&one, false).await, "the only place is taken");
        let _third = one.queue(true, 0).await;
        let _first_of_other = other.queue(false, 0).await;
        assert!(must_wait(&other, false).await, "the places are shared");
        // Its turn has come.
        drop(second);
        assert!(!must_wait(&other, false).await);
    }

    #[tokio::test]
    async fn without_places_a_request_waits_until_those_before_it_are_answered() {
        let turns = Turns::new(&WaitingRequests::new(0));
        for _ in 0..3 {
            let _place = turns.queue(false, 0).await;
            assert!(must_wait(&turns, false).await);
            tokio::join!(turns.queue(false, 0), async { turns.answered(1, 0) });
            turns.answered(1, 0);
        }
    }

    #[tokio::test]
    async fn the_bytes_behind_an_answer_are_those_of_other_requests() {
        let turns = Turns::new(&WaitingRequests::new(1));
        for bytes in [10, 20, 30] {
            turns.queue(true, bytes).await;
        }
        assert_eq!(turns.bytes_behind(10), 50);
        turns.answered(2, 30);
        assert_eq!(turns.bytes_behind(30), 0);
        turns.answered(1, 30);
        assert_eq!(turns.bytes_behind(0), 0);
    }
}
