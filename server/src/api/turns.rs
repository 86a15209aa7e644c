//! Large requests in pieces: whoever goes over the elements of one lets the other tasks of its core have their turn now and
//! then, so that a client that asks for a hundred thousand partitions holds up nobody.

/// Counts elements.
#[derive(Debug, Default)]
pub(super) struct Turns {
    elements: usize,
}

impl Turns {
    /// One element more; waits for its turn when it has had many.
    pub(super) async fn next(&mut self) {
        self.after(1).await;
    }

    /// So many elements more.
    pub(super) async fn after(&mut self, elements: usize) {
        self.elements += elements;
        if self.elements >= ELEMENTS_PER_TURN {
            self.elements = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Some hundred microseconds' worth.
const ELEMENTS_PER_TURN: usize = 500;
