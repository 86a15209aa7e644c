//! Long work in pieces: whoever goes over much, or moves many bytes, lets the other tasks of its core have their turn now and then.
//! So a client that asks for a hundred thousand partitions, or sends and reads as fast as it can, holds up nobody.

use std::cell::Cell;

use tokio::task::yield_now;

/// Counts what one task has done since the others had their turn.
#[derive(Debug)]
pub(crate) struct Pace {
    per_turn: usize,
    done: Cell<usize>,
}

impl Pace {
    /// Of a task that goes over elements.
    pub(crate) const fn of_elements() -> Self {
        Self::new(ELEMENTS_PER_TURN)
    }

    /// Of a task that moves bytes to or from a socket.
    pub(crate) const fn of_bytes() -> Self {
        Self::new(BYTES_PER_TURN)
    }

    const fn new(per_turn: usize) -> Self {
        Self {
            per_turn,
            done: Cell::new(0),
        }
    }

    /// Counts so many elements or bytes more.
    pub(crate) fn add(&self, count: usize) {
        self.done.set(self.done.get().saturating_add(count));
    }

    /// Whether the others should have their turn.
    pub(super) fn is_due(&self) -> bool {
        self.done.get() >= self.per_turn
    }

    /// To be awaited before there is more to do: gives the others their turn if this task has had its own.
    ///
    /// Not inside of a `select!` that goes on with the same future at once: that would be the turn.
    pub(crate) async fn rest_if_due(&self) {
        if self.is_due() {
            self.done.set(0);
            yield_now().await;
        }
    }

    /// So many elements or bytes more, and a rest if it is due.
    pub(crate) async fn after(&self, count: usize) {
        self.add(count);
        self.rest_if_due().await;
    }
}

/// Some hundred microseconds' worth.
const ELEMENTS_PER_TURN: usize = 500;
/// Copied in less than a hundred microseconds; turns of 1 MiB measured no better.
const BYTES_PER_TURN: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn goes_on(resting: impl Future<Output = ()>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(resting).poll(&mut context) == Poll::Ready(())
    }

    #[test]
    fn the_others_have_their_turn_once_per_so_much_work() {
        let pace = Pace::of_elements();
        assert!(goes_on(pace.after(ELEMENTS_PER_TURN - 1)));
        assert!(!goes_on(pace.after(1)));
        assert!(goes_on(pace.after(ELEMENTS_PER_TURN - 1)));
        pace.add(usize::MAX);
        assert!(!goes_on(pace.rest_if_due()));
        assert!(goes_on(pace.rest_if_due()));
    }
}
