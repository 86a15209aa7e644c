//! Rolling: when the active segment is full or old, a new file takes its place.
//!
//! Whether to roll is decided in memory; making the new file and settling the old one is a job for a maintenance thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Log;
use super::checkpoint::read_if_there;
use super::leader_epochs::LeaderEpochs;
use super::names;
use super::offset_index::relative;
use super::producer_snapshot;
use super::producer_state::ProducerStates;
use super::segment::{IndexState, Segment, SegmentIndex, replace};
use crate::io::{Disk, File, IoError};
use crate::types::{Offset, Timestamp};

/// Why the active segment takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollReason {
    /// The batch would make it longer than `segment.bytes`.
    #[error("it is full")]
    Size,
    /// It is older than `segment.ms`.
    #[error("it is too old")]
    Age,
    /// Its index files have reached `segment.index.bytes`.
    #[error("its index is full")]
    IndexFull,
    /// The batch ends more than 2^31-1 offsets behind its base.
    #[error("its offsets are used up")]
    OffsetRange,
}

/// Blocking work: settles the segment that is being closed and makes the file of the next.
#[derive(Debug)]
pub struct RollJob {
    directory: PathBuf,
    base_offset: Offset,
    old_base_offset: Offset,
    old_file: File,
    old_length: u64,
    old_index: Arc<SegmentIndex>,
    producers: ProducerStates,
    epochs: LeaderEpochs,
    epochs_version: u64,
    durable: bool,
    now: Timestamp,
}

/// The file of a new segment on its way to its log.
#[derive(Debug)]
pub struct RolledSegment {
    base_offset: Offset,
    file: File,
    old_index: Arc<SegmentIndex>,
    old_synced: bool,
    epochs_version: u64,
    now: Timestamp,
}

impl RollJob {
    /// Trims and (unless the topic caches writes) syncs the old file, writes its indexes, the producer snapshot and the
    /// epochs, then makes the new file and its name durable. Of the old indexes little stays in memory.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses; the roll may be tried again.
    pub fn run(&self, disk: &Disk) -> Result<RolledSegment, IoError> {
        self.old_file.truncate(self.old_length)?;
        if self.durable {
            self.old_file.sync_data()?;
        }
        let mut index = SegmentIndex::clone(&self.old_index);
        index.complete();
        index.write(disk, &self.directory, self.old_base_offset)?;
        write_snapshot(disk, &self.directory, self.base_offset, &self.producers)?;
        write_epochs(disk, &self.directory, &self.epochs)?;
        let path = names::segment_file(&self.directory, self.base_offset, names::LOG);
        let file = disk.open_or_create(&path)?;
        // A roll that failed half-way may have left one.
        let made = file.truncate(0);
        if let Err(error) = made.and_then(|()| disk.sync_dir(&self.directory)) {
            // The old segment may go on past the base of this one.
            let _ = disk.remove_file(&path);
            return Err(error);
        }
        index.thin();
        Ok(RolledSegment {
            base_offset: self.base_offset,
            file,
            old_index: Arc::new(index),
            old_synced: self.durable,
            epochs_version: self.epochs_version,
            now: self.now,
        })
    }
}

/// Writes both files of a snapshot taken at `offset`, and waits for them if anybody is in it: the batches they tell of may be
/// deleted, and one without the other forgets what a producer may still repeat. The names are the caller's to sync.
pub(super) fn write_snapshot(
    disk: &Disk,
    directory: &Path,
    offset: Offset,
    producers: &ProducerStates,
) -> Result<(), IoError> {
    let (snapshot, windows) = producer_snapshot::encode(producers);
    for (ending, bytes) in [(names::SNAPSHOT, snapshot), (names::WINDOWS, windows)] {
        let path = names::segment_file(directory, offset, ending);
        if producers.count() > 0 {
            put(disk, &path, &bytes)?;
        } else {
            // Nothing is lost with a snapshot of nobody.
            replace(disk, &path, &bytes)?;
        }
    }
    Ok(())
}

/// Gives a file of a snapshot its contents, durably. One that is there with others may be all that is left of its producers, for
/// their batches may be deleted: it is at no time without contents.
fn put(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
    match read_if_there(disk, path) {
        Ok(None) => replace(disk, path, bytes)?.sync_data(),
        Ok(Some(there)) if there == bytes => disk.open(path)?.sync_data(),
        Ok(Some(_)) | Err(_) => disk.write_atomic(path, bytes),
    }
}

pub(super) fn write_epochs(
    disk: &Disk,
    directory: &Path,
    epochs: &LeaderEpochs,
) -> Result<(), IoError> {
    let path = directory.join(names::LEADER_EPOCH_CHECKPOINT);
    disk.write_atomic(&path, epochs.encode().as_bytes())
}

impl Log {
    /// Whether the active segment must be rolled before a batch of `length_bytes` that spans `last_offset_delta` and
    /// reaches `max_timestamp` is appended, counting what is not yet written.
    #[must_use]
    pub fn roll_needed(
        &self,
        length_bytes: u64,
        max_timestamp: Timestamp,
        last_offset_delta: i32,
        now: Timestamp,
    ) -> Option<RollReason> {
        let active = self.segments.active();
        if self.next_position == 0 {
            return None;
        }
        let end = self.next_position.saturating_add(length_bytes);
        if end > u64::from(self.config.segment_bytes) {
            return Some(RollReason::Size);
        }
        if self.age_ms(max_timestamp, now) > self.age_limit_ms() {
            return Some(RollReason::Age);
        }
        if let IndexState::Loaded(index) = &active.index
            && index.is_full(self.config.segment_index_bytes)
        {
            return Some(RollReason::IndexFull);
        }
        let last_offset = Offset(
            self.next_offset
                .0
                .saturating_add(i64::from(last_offset_delta)),
        );
        if relative(active.base_offset, last_offset).is_none() {
            return Some(RollReason::OffsetRange);
        }
        None
    }

    /// Kafka's rule: by the timestamps of records where they have some, else by the clock.
    fn age_ms(&self, max_timestamp: Timestamp, now: Timestamp) -> i64 {
        let first = self.next_first_timestamp;
        if first >= Timestamp(0) && max_timestamp >= Timestamp(0) {
            max_timestamp.0.saturating_sub(first.0)
        } else {
            now.0.saturating_sub(self.segments.active().opened.0)
        }
    }

    /// `segment.ms` less a jitter that is fixed for each segment, so that partitions made together roll apart.
    fn age_limit_ms(&self) -> i64 {
        let lag_ms = self.config.max_compaction_lag_ms;
        let lag_ms = lag_ms.filter(|&lag_ms| self.config.cleanup_policy.compact && lag_ms > 0);
        // What is in the active segment cannot be compacted, so it must not stay there for longer.
        let limit_ms = lag_ms.map_or(self.config.segment_ms, |lag| {
            lag.min(self.config.segment_ms)
        });
        let jitter_max = self.config.segment_jitter_ms.min(limit_ms);
        if jitter_max <= 0 {
            return limit_ms;
        }
        let base_offset = self.segments.active().base_offset;
        let seed = crc32c::crc32c_append(
            crc32c::crc32c(self.directory.as_os_str().as_encoded_bytes()),
            &base_offset.0.to_be_bytes(),
        );
        limit_ms - i64::from(seed) % jitter_max
    }

    /// Begins to roll: the job makes the next segment. `None` while something is staged or in flight, while another
    /// roll runs, and for an empty active segment.
    pub fn begin_roll(&mut self, now: Timestamp) -> Option<RollJob> {
        let active = self.segments.active();
        let busy = self.rolling || self.unwritten.cut_pending || !self.unwritten.is_empty();
        if busy || active.length == 0 || self.damage.is_some() {
            return None;
        }
        let IndexState::Loaded(index) = &active.index else {
            return None;
        };
        self.rolling = true;
        Some(RollJob {
            directory: self.directory.clone(),
            base_offset: self.log_end_offset,
            old_base_offset: active.base_offset,
            old_file: active.file.clone(),
            old_length: active.length,
            old_index: index.clone(),
            producers: self.producers.clone(),
            epochs: self.epochs.clone(),
            epochs_version: self.epochs_version,
            durable: !self.config.write_caching,
            now,
        })
    }

    /// The new segment is there: appends go on in it.
    ///
    /// # Panics
    /// When no roll to this offset is under way.
    pub fn finish_roll(&mut self, rolled: RolledSegment) {
        assert!(self.rolling, "INV-LOG-3: a roll ends that did not begin");
        assert!(
            rolled.base_offset == self.log_end_offset,
            "INV-LOG-4: rolled at {}, the log ends at {}",
            rolled.base_offset,
            self.log_end_offset
        );
        self.rolling = false;
        // No later sync comes to a segment that is durable already.
        let durable = self.durable_end_offset >= self.log_end_offset;
        let old = self.segments.active_mut();
        old.synced = rolled.old_synced || durable;
        old.index = IndexState::Loaded(rolled.old_index);
        let next = Segment::new(rolled.base_offset, rolled.file, rolled.now);
        self.segments.roll(next);
        self.next_position = 0;
        self.next_first_timestamp = Timestamp::NONE;
        self.preallocated_to = 0;
        self.epochs_written = self.epochs_written.max(rolled.epochs_version);
        if self.segments.closed().iter().all(|segment| segment.synced) {
            self.durable_end_offset = self.log_end_offset;
            self.recovery_point = self.log_end_offset;
        }
    }

    /// The job failed: appends to the old segment are taken again.
    pub fn roll_failed(&mut self) {
        self.rolling = false;
    }

    /// Space to be kept ready behind the end of the active segment, in small steps from its first write; `None` when
    /// there is enough.
    pub fn preallocation_due(&mut self) -> Option<Preallocation> {
        let active = self.segments.active();
        let written = active.length;
        if written == 0 || self.preallocated_to > written.saturating_add(PREALLOCATED_BYTES / 2) {
            return None;
        }
        let end = written
            .saturating_add(PREALLOCATED_BYTES)
            .min(u64::from(self.config.segment_bytes));
        if end <= self.preallocated_to || end <= written {
            return None;
        }
        let position = self.preallocated_to.max(written);
        self.preallocated_to = end;
        Some(Preallocation {
            file: active.file.clone(),
            position,
            length: end - position,
        })
    }

    /// Bytes of whole batches in all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// How many segments there are, the active one included.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.count()
    }
}

/// A step of preallocation: a few large writes ahead, little enough for many idle partitions.
const PREALLOCATED_BYTES: u64 = 4 << 20;

/// Blocking work: asks the file system for space behind the end of a file, whose length stays.
#[derive(Debug)]
pub struct Preallocation {
    file: File,
    position: u64,
    length: u64,
}

impl Preallocation {
    /// Reserves the space. A file system that cannot is no reason to stop.
    ///
    /// # Errors
    /// [`IoError`], of which only the log of the caller needs to hear.
    pub fn run(&self, _disk: &Disk) -> Result<(), IoError> {
        self.file.preallocate(self.position, self.length)
    }
}
