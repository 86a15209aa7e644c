//! The slow work that no shard may wait for: opening and recovering logs, rolling, deleting, checkpoints; and the opening of
//! large batches.
//!
//! A job is a value that a shard hands out and whose result it gets back; a small pool of low-priority threads runs
//! them. The simulation runs the same jobs itself.

mod checkpoints;
mod directory;
mod job;
mod pool;
mod replay;

pub use checkpoints::{CheckpointLine, Checkpoints, OwnedLine};
pub use directory::{DoomedDirectory, OpenPartition, Removal, Swept, any_partition, sweep};
pub(crate) use job::UNMARKED;
pub use job::{Done, Job, JobId, NotYet};
pub use pool::{Pool, PoolHandle, PoolThreads};
pub use replay::{REPLAY_SLICE_BYTES, Replay, ReplayError};
