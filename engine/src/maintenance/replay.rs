//! Reads a coordinator's partition from its start and folds it into a coordinator, so that a shard only has to take it
//! over.

use crate::group::{GroupConfig, GroupCoordinator, GroupRuntime};
use crate::log::{BatchScan, WalkError};
use crate::record::{BODY_BYTES_MAX_DEFAULT, RecordError, records};

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

/// Replays every record below the scan's bound. A record that no version of ours understands is skipped and said once.
pub(super) fn run(
    mut scan: BatchScan,
    config: GroupConfig,
) -> Result<Box<GroupRuntime>, ReplayError> {
    let mut runtime = GroupRuntime::new(GroupCoordinator::new(config));
    let mut unreadable: u64 = 0;
    while let Some(batch) = scan.next_batch()? {
        if batch.header.attributes().is_control() {
            continue;
        }
        for record in records(&batch.bytes, BODY_BYTES_MAX_DEFAULT)? {
            let record = record?;
            let Some(key) = record.key else { continue };
            if let Err(error) = runtime.replay(&key, record.value.as_deref()) {
                if unreadable == 0 {
                    tracing::warn!(offset = %record.offset, %error, "skipped a coordinator record");
                }
                unreadable += 1;
            }
        }
    }
    if unreadable > 1 {
        tracing::warn!(unreadable, "coordinator records were skipped in all");
    }
    Ok(Box::new(runtime))
}
