//! Reads a coordinator's partition from its start and folds it into a coordinator, so that a shard only has to take it
//! over. It goes to and fro between the two, a slice at a time.

use crate::group::{GroupConfig, GroupCoordinator, GroupRuntime};
use crate::log::{BatchScan, WalkError};
use crate::record::{BODY_BYTES_MAX_DEFAULT, Batch, RecordError, records};

/// Why a coordinator could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read, or holds damage.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// A batch of it cannot be opened.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Blocking work: a coordinator, as far as its partition has been read.
#[derive(Debug)]
pub struct Replay {
    scan: BatchScan,
    runtime: Box<GroupRuntime>,
    slice_bytes: usize,
    /// Records that were skipped.
    unreadable: u64,
}

/// What a slice came to.
#[derive(Debug)]
pub(super) enum Replayed {
    /// There is more to read.
    Part(Box<Replay>),
    /// It was the last.
    Whole(Box<GroupRuntime>),
}

impl Replay {
    /// Of every record below the bound of `scan`, into a coordinator with these settings. A slice ends with the batch that
    /// brings it to `slice_bytes`.
    #[must_use]
    pub fn new(scan: BatchScan, config: GroupConfig, slice_bytes: usize) -> Self {
        Self {
            scan,
            runtime: Box::new(GroupRuntime::new(GroupCoordinator::new(config))),
            slice_bytes,
            unreadable: 0,
        }
    }

    /// Replays the next slice. A record that no version of ours understands is skipped and said once.
    pub(super) fn run(mut self: Box<Self>) -> Result<Replayed, ReplayError> {
        let mut bytes = 0;
        while let Some(batch) = self.scan.next_batch()? {
            bytes += batch.bytes.len();
            self.take_in(&batch)?;
            if bytes >= self.slice_bytes {
                return Ok(Replayed::Part(self));
            }
        }
        Ok(self.end())
    }

    fn take_in(&mut self, batch: &Batch) -> Result<(), RecordError> {
        if batch.header.attributes().is_control() {
            return Ok(());
        }
        for record in records(&batch.bytes, BODY_BYTES_MAX_DEFAULT)? {
            let record = record?;
            let Some(key) = record.key else { continue };
            if let Err(error) = self.runtime.replay(&key, record.value.as_deref()) {
                if self.unreadable == 0 {
                    tracing::warn!(offset = %record.offset, %error, "skipped a coordinator record");
                }
                self.unreadable += 1;
            }
        }
        Ok(())
    }

    fn end(self) -> Replayed {
        let unreadable = self.unreadable;
        if unreadable > 1 {
            tracing::warn!(unreadable, "coordinator records were skipped in all");
        }
        Replayed::Whole(self.runtime)
    }
}

/// What is read of a coordinator before others get their turn, and a stop is heard of: some ten milliseconds' worth.
pub const REPLAY_SLICE_BYTES: usize = 4 << 20;
