//! What the test binaries share: broker processes, a client of bare sockets, librdkafka clients, record batches.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod broker;
pub(crate) mod librdkafka;
pub(crate) mod records;
pub(crate) mod wire;

use std::time::{Duration, Instant};

/// Longer than anything takes that is not broken, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something; `what` is named if it never does.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// As [`eventually`], with another patience.
pub(crate) fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
