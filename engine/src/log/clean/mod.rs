//! Compaction: of the closed segments of a log, only the last record of each key is kept.
//!
//! What is dirty and what may go is decided in memory ([`Dirt`], the rule, the groups). The work itself is a value that
//! goes from the log's owner to a maintenance thread and back, a bounded slice at a time ([`Cleaning`]); the log takes
//! in each group of cleaned segments when their files are in place. Old files stay readable for whoever holds them.

mod dirt;
mod files;
mod group;
mod install;
mod key_map;
mod rule;
mod task;
mod transactions;

#[cfg(test)]
mod tests;

pub use dirt::Dirt;
pub use install::Swapped;
pub use key_map::ENTRY_BYTES;
pub use task::{CleanError, CleanLimits, CleanStats, Cleaning, Failed, Next};

use crate::types::Offset;

/// What a log remembers of compaction.
#[derive(Debug)]
pub(super) struct CleanState {
    /// Below, every key stands once: the next compaction looks for keys from here on. `NONE` when never compacted.
    pub(super) cleaned_to: Offset,
    /// A compaction of this log is under way.
    pub(super) running: bool,
    /// Files are being put in place: no segment may be deleted until the log has taken them in.
    pub(super) swapping: bool,
}

impl Default for CleanState {
    fn default() -> Self {
        Self {
            cleaned_to: Offset::NONE,
            running: false,
            swapping: false,
        }
    }
}
