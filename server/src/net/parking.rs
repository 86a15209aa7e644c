//! Requests that may wait for long once it is their turn: for records to come, for other members of a group.
//!
//! Nothing behind one of them is taken from the socket before it is answered, as in Kafka: it would only lie there, and hold memory
//! that others want to be read into.

use std::cell::Cell;

use super::signal::Signal;

/// Those of one connection. Whoever is at work with them and whoever reads run in one task.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    requests: Cell<usize>,
    ended: Signal,
}

impl Parking {
    /// One was taken.
    pub(crate) fn begin(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// One is done with.
    pub(crate) fn end(&self) {
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
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

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
}
