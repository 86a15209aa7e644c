//! INV-ANSWER-1: every request is answered once its time is up and the disk has come to rest.

use super::Violation;

/// Somebody waits in vain.
pub(crate) fn violated(who: &str) -> Violation {
    Violation {
        invariant: "INV-ANSWER-1",
        text: format!("{who} waits in vain"),
    }
}
