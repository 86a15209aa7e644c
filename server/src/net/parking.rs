//! Requests that may wait for long once it is their turn: for records to come, for other members of a group.
//!
//! Nothing behind one of them is taken from the socket before it is answered, as in Kafka: it would only lie there, and hold memory
//! that others want to be read into.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::sleep;

use super::signal::Signal;

/// Those of one connection. Whoever is at work with them and whoever reads run in one task.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    requests: Cell<usize>,
    /// Whether it is the turn of one, which waits for others.
    waits: Cell<bool>,
    ended: Signal,
}

impl Parking {
    /// One was taken.
    pub(crate) fn begin(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// It is the turn of one: all before it are answered. It waits for others, for as long as they like.
    pub(crate) fn begin_to_wait(&self) {
        self.waits.set(true);
    }

    /// One is done with.
    pub(crate) fn end(&self) {
        self.waits.set(false);
        self.requests.set(self.requests.get().saturating_sub(1));
        self.ended.give();
    }

    /// Whether none is left.
    pub(super) fn is_over(&self) -> bool {
        self.requests.get() == 0
    }

    /// Waits until none is.
    pub(super) async fn over(&self) {
        while !self.is_over() {
            self.ended.given().await;
        }
    }

    /// Ends when nothing has come of waiting for others for as long as a connection may be `idle`, from now: nothing else tells a client
    /// that waits from one that has gone.
    pub(super) async fn outlasts(&self, idle: Duration) {
        sleep(idle).await;
        // An answer may be on its way meanwhile.
        while !self.waits.get() {
            sleep(LOOK_AGAIN).await;
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn whoever_reads_waits_until_all_of_them_are_done() {
        let parking = Parking::default();
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(parking.over()).poll(&mut context).is_ready());
        parking.begin();
        parking.begin();
        let mut behind = pin!(parking.over());
        assert!(behind.as_mut().poll(&mut context).is_pending());
        parking.end();
        assert!(behind.as_mut().poll(&mut context).is_pending());
        parking.end();
        assert_eq!(behind.poll(&mut context), Poll::Ready(()));
    }

    async fn is_outlasted(parking: &Parking, seconds: u64) -> bool {
        let idle = Duration::from_secs(60);
        let within = Duration::from_secs(seconds);
        timeout(within, parking.outlasts(idle)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_others_is_outlasted_and_who_is_being_answered_is_not() {
        let parking = Parking::default();
        parking.begin();
        assert!(!is_outlasted(&parking, 600).await, "its turn has not come");
        parking.begin_to_wait();
        assert!(!is_outlasted(&parking, 59).await);
        assert!(is_outlasted(&parking, 61).await);
        parking.end();
        assert!(!is_outlasted(&parking, 600).await, "it is answered");
    }
}
