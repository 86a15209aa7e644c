//! How the writing half of a connection has the reading half stop between two frames. Both run in one task.

use std::cell::Cell;
use std::future::pending;

/// Whether the reading half stands between two frames, and whether it is to stay there.
#[derive(Debug)]
pub(super) struct Reins {
    at_rest: Cell<bool>,
    held: Cell<bool>,
}

impl Default for Reins {
    fn default() -> Self {
        Self {
            at_rest: Cell::new(true),
            held: Cell::new(false),
        }
    }
}

impl Reins {
    /// No byte of a next frame is taken from the socket after the frame that is being read.
    pub(super) fn hold(&self) {
        self.held.set(true);
    }

    /// Takes [`Reins::hold`] back. For the reading half itself: one that waits already is not woken.
    pub(super) fn release(&self) {
        self.held.set(false);
    }

    pub(super) fn are_held(&self) -> bool {
        self.held.get()
    }

    /// Whether no byte of a next frame has been read: then nothing is lost when the reading half is dropped.
    pub(super) fn at_rest(&self) -> bool {
        self.at_rest.get()
    }

    /// The reading half has come to the end of a frame.
    pub(super) fn rest(&self) {
        self.at_rest.set(true);
    }

    /// The next frame has come: the reading half takes it, unless it is held. Then it waits to be dropped.
    pub(super) async fn go_on(&self) {
        if self.held.get() {
            pending::<()>().await;
        }
        self.at_rest.set(false);
    }
}
