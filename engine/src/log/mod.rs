//! One replica's log, in Kafka's on-disk format: segments, sparse indexes, leader epochs, producer state.
//!
//! [`Log`] is plain memory. Operations of the hot path answer plans that the shard executes on its ring; blocking work
//! is a value with a `run(&Disk)` for a maintenance thread, whose result is handed back; jobs that write (roll, flush,
//! epochs, delete, close) run one at a time per log, in the order they were made. It knows no replica but its own, no
//! role, and no high watermark except where one is passed in.

mod append;
pub mod checkpoint;
pub mod clean;
mod hostile;
pub mod leader_epochs;
mod mark;
pub mod names;
pub mod offset_index;
mod open;
pub mod producer_count;
pub mod producer_snapshot;
pub mod producer_state;
mod producer_turn;
mod read;
mod recent;
mod recover;
mod replay;
mod restore;
mod retention;
mod roll;
mod scan;
mod segment;
mod segments;
mod stable;
mod sweep;
pub mod time_index;
mod time_lookup;
pub mod verify;
mod walk;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::append::Unwritten;
use self::producer_count::ProducerCount;
use self::producer_state::ProducerStates;
use self::recent::Recent;
use self::segments::Segments;
use crate::config::TopicConfig;
use crate::types::{LeaderEpoch, Offset, ProducerId, Timestamp};

pub use append::{AppendError, AppendPlan, AppendUndone, CutBack, StageRefused, Staged};
pub use clean::{CleanError, CleanLimits, CleanStats, Cleaning, Dirt, Swapped};
pub(crate) use hostile::lay_out;
pub use hostile::{read_small_hostile, recover_hostile};
pub use leader_epochs::{EpochEnd, EpochStart, LeaderEpochs};
pub use mark::MarkJob;
pub use open::{Cut, OpenError, OpenOptions, RecoveryReport, open};
pub use producer_state::{
    AppendedBatch, Producer, ProducerError, SequenceCheck, WINDOW_BATCHES, Window,
};
pub use producer_turn::{EarliestTurns, ProducerTurn};
pub use read::{Extent, Lookup, ReadError, ReadExtent, ReadPlan};
pub use retention::{DeleteJob, Doomed, RetentionPlan};
pub use roll::{Preallocation, RollJob, RollReason, RolledSegment};
pub use scan::BatchScan;
pub use segment::{BatchPlace, IndexJob, LoadedIndex};
pub use stable::{CloseJob, Closed, EpochsJob, EpochsWritten, FlushJob, Flushed, SyncPlan};
pub use time_lookup::{Searched, TimeLookup, TimeSearch, TimestampedOffset};
pub use walk::{Fault, FaultReason, WalkError};

/// A place below which everything was known to be on stable storage, and is not sound any more. Nothing is cut there;
/// the log serves what lies before it and refuses the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first offset that cannot be served.
    pub offset: Offset,
    /// Where and what.
    pub fault: Fault,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from offset {}: {}", self.offset, self.fault)
    }
}

/// One replica's log. Owned by one shard; at most one write is in flight.
///
/// `log_start_offset <= recovery_point, durable_end_offset <= log_end_offset <= next_offset`, where the log's start may
/// pass the recovery point after a DeleteRecords, or a start that found no room for the epochs.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    config: Arc<TopicConfig>,
    segments: Segments,
    epochs: LeaderEpochs,
    /// Grows with every change of the epochs.
    epochs_version: u64,
    /// The version that the file has.
    epochs_written: u64,
    producers: ProducerStates,
    log_start_offset: Offset,
    /// Next offset to be assigned; staged and in-flight batches lie below it.
    next_offset: Offset,
    /// Where the next batch goes in the active segment.
    next_position: u64,
    /// Greatest timestamp of the active segment's first batch, written or not.
    next_first_timestamp: Timestamp,
    /// End of what is written to the page cache.
    log_end_offset: Offset,
    durable_end_offset: Offset,
    recovery_point: Offset,
    recent: Recent,
    unwritten: Unwritten,
    rolling: bool,
    damage: Option<Damage>,
    clean: clean::CleanState,
    preallocated_to: u64,
}

impl Log {
    /// The partition's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The topic's settings that hold here.
    #[must_use]
    pub fn config(&self) -> &Arc<TopicConfig> {
        &self.config
    }

    /// Other settings hold from now on.
    pub fn set_config(&mut self, config: Arc<TopicConfig>) {
        self.config = config;
    }

    /// The first offset that readers may ask for.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// The next offset to be assigned (exclusive end of what is staged).
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Bytes of the batches that have their offsets and are not written yet, those of the write in flight included.
    #[must_use]
    pub fn unwritten_bytes(&self) -> u64 {
        self.next_position - self.segments.active().length
    }

    /// End of what is written to the page cache (exclusive): Kafka's log end offset.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// Where the active segment begins.
    #[must_use]
    pub fn active_base_offset(&self) -> Offset {
        self.segments.active().base_offset
    }

    /// End of what is on stable storage (exclusive).
    #[must_use]
    pub fn durable_end_offset(&self) -> Offset {
        self.durable_end_offset
    }

    /// Where a recovery would begin to check (for the checkpoint of the directory): everything below is on stable
    /// storage, with the epochs that belong to it.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// What is wrong with this log, if anything was found when it was opened.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Bounds of reads are at `watermark` or above from now on: places of batches below need not be kept in memory.
    pub fn release_below(&mut self, watermark: Offset) {
        self.recent.release_below(watermark);
    }

    /// The newest leader epoch; [`LeaderEpoch::NONE`] for a log that never had a leader.
    #[must_use]
    pub fn latest_epoch(&self) -> LeaderEpoch {
        self.epochs
            .latest()
            .map_or(LeaderEpoch::NONE, |latest| latest.epoch)
    }

    /// All leader epochs, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// A leader begins `epoch` at the next offset. `true` when that is news, which [`Self::epochs_job`] then writes.
    pub fn start_leader_epoch(&mut self, epoch: LeaderEpoch) -> bool {
        let news = epoch > self.latest_epoch() && self.epochs.assign(epoch, self.next_offset);
        self.epochs_version += u64::from(news);
        news
    }

    /// Where `epoch` ended in this log (OffsetForLeaderEpoch): `None` for an unknown one.
    #[must_use]
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_offset(epoch, self.log_end_offset)
    }

    /// The leader epoch of the record at `offset`.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.epoch_of(offset)
    }

    /// The producers that are remembered, by id.
    pub fn producers(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.producers.iter()
    }

    /// Those with higher ids than `after`, by id: for DescribeProducers.
    pub fn producers_after(
        &self,
        after: Option<ProducerId>,
    ) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.producers.after(after)
    }

    /// Whether a producer is remembered, counting batches not yet written. Of one that is not, any batch is taken for its first.
    #[must_use]
    pub fn knows_producer(&self, producer_id: ProducerId) -> bool {
        self.producers.find(producer_id).is_some()
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.producers.count()
    }

    /// From now on the producers of this log count as a part of `total`, which bounds them.
    pub fn count_producers_in(&mut self, total: ProducerCount) {
        self.producers.count_in(total);
    }

    /// Forgets producers that have not appended for `expiration_ms` (`producer.id.expiration.ms`); answers how many.
    /// Not while a write is in flight: what is forgotten then could come back with a failed write, which is harmless.
    pub fn expire_producers(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        self.producers.expire(now, expiration_ms)
    }

    /// First offset of the oldest open transaction; the last stable offset does not pass it.
    #[must_use]
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.producers.first_open_transaction()
    }
}
