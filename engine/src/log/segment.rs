//! One segment of a log: a file of whole batches, what is known of them, and their sparse index.
//!
//! It counts only what was written completely; batches on their way to the disk are the append room's business.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names;
use super::offset_index::{IndexError, OffsetIndex};
use super::retention::remove_if_there;
use super::time_index::TimeIndex;
use super::walk::{Fault, WalkError, Walker};
use crate::io::{Check, Disk, File, IoError};
use crate::record::BatchHeader;
use crate::types::{Offset, Timestamp};

/// Where a batch lies in its segment, and what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record (inclusive).
    pub last_offset: Offset,
    /// Where the batch starts in the segment's file.
    pub position: u64,
    /// Bytes of the whole batch.
    pub length_bytes: u64,
    /// The greatest timestamp of its records; -1 for none.
    pub max_timestamp: Timestamp,
}

impl BatchPlace {
    pub(super) fn of(header: &BatchHeader, position: u64) -> Self {
        Self {
            base_offset: header.base_offset(),
            last_offset: header.last_offset(),
            position,
            length_bytes: u64::try_from(header.length_bytes()).unwrap_or(u64::MAX),
            // Of a batch that compaction emptied the header alone is left, and no record to be found by time.
            max_timestamp: if header.record_count() == 0 {
                Timestamp::NONE
            } else {
                header.max_timestamp()
            },
        }
    }

    /// Where the next batch starts.
    #[must_use]
    pub fn end_position(&self) -> u64 {
        self.position.saturating_add(self.length_bytes)
    }
}

/// The two sparse indexes of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    pub(super) offsets: OffsetIndex,
    pub(super) times: TimeIndex,
    /// Log bytes since the last entry.
    bytes_since_entry: u64,
    /// The greatest timestamp so far and the last offset of the batch that brought it.
    pub(super) max_timestamp: Option<(Timestamp, Offset)>,
}

impl SegmentIndex {
    pub(super) fn new(base_offset: Offset) -> Self {
        Self {
            offsets: OffsetIndex::new(base_offset),
            times: TimeIndex::new(base_offset),
            bytes_since_entry: 0,
            max_timestamp: None,
        }
    }

    /// Takes notice of the next batch of the segment; every `interval_bytes` of log it becomes an entry.
    pub(super) fn note(&mut self, batch: &BatchPlace, interval_bytes: u32) {
        let grows = self
            .max_timestamp
            .is_none_or(|(timestamp, _)| batch.max_timestamp > timestamp);
        if grows && batch.max_timestamp > Timestamp::NONE {
            self.max_timestamp = Some((batch.max_timestamp, batch.last_offset));
        }
        if self.bytes_since_entry > u64::from(interval_bytes) {
            self.offsets.push(batch.last_offset, batch.position);
            self.complete();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(batch.length_bytes);
    }

    /// Makes the time index end with the greatest timestamp: Kafka reads it from there.
    pub(super) fn complete(&mut self) {
        if let Some((timestamp, last_offset)) = self.max_timestamp {
            self.times.push(timestamp, last_offset);
        }
    }

    /// Whether a log of this many index bytes per file takes no more entries.
    pub(super) fn is_full(&self, segment_index_bytes: u32) -> bool {
        let bytes = usize::try_from(segment_index_bytes).unwrap_or(usize::MAX);
        let offset_entries = bytes / super::offset_index::OFFSET_ENTRY_BYTES;
        // Kafka keeps a place for the last timestamp.
        let time_entries = (bytes / super::time_index::TIME_ENTRY_BYTES).saturating_sub(1);
        self.offsets.count() >= offset_entries || self.times.count() >= time_entries
    }

    /// Goes back to the last entry of a batch that ends below `offset`, so that the batches from there on can be noted
    /// again; answers where that batch starts, 0 for the beginning.
    pub(super) fn resume_below(&mut self, offset: Offset) -> u64 {
        let last_below = Offset(offset.0.saturating_sub(1));
        let floor = self.offsets.floor(last_below);
        let (last_offset, position) = floor.unwrap_or((Offset::NONE, 0));
        self.offsets.truncate(position.saturating_add(1));
        // Both indexes get their entries together: what the time index says up to here is complete.
        self.times.truncate(Offset(last_offset.0.saturating_add(1)));
        self.max_timestamp = self.times.last();
        self.bytes_since_entry = 0;
        position
    }

    /// Leaves as few entries as a closed segment needs in memory: lookups begin less than [`THINNED_BYTES`] earlier. It is
    /// never written: a file tells of a batch every `index.interval.bytes`.
    pub(super) fn thin(&mut self) {
        let Self { offsets, times, .. } = self;
        offsets.thin(THINNED_BYTES);
        times.thin(|offset| offsets.floor(offset));
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.offsets.memory_bytes() + self.times.memory_bytes()
    }

    /// Builds the index of the batches below `length` in `file`.
    pub(super) fn rebuild(
        base_offset: Offset,
        file: &File,
        length: u64,
        interval_bytes: u32,
    ) -> Result<Self, WalkError> {
        let mut index = Self::new(base_offset);
        let mut walker = Walker::new(file, 0, length);
        while let Some(batch) = walker.next_batch()? {
            index.note(&batch.place(), interval_bytes);
        }
        index.complete();
        Ok(index)
    }

    /// Reads both index files and holds them against the log: the last entry must name a batch that is there.
    pub(super) fn load(
        directory: &Path,
        base_offset: Offset,
        file: &File,
        length: u64,
        disk: &Disk,
    ) -> Result<Option<Self>, IoError> {
        let read = |ending| {
            let path = names::segment_file(directory, base_offset, ending);
            super::checkpoint::read_if_there(disk, &path)
        };
        let (Some(offsets), Some(times)) = (read(names::OFFSET_INDEX)?, read(names::TIME_INDEX)?)
        else {
            return Ok(None);
        };
        let decoded = OffsetIndex::decode(base_offset, &offsets, length)
            .and_then(|offsets| Ok((offsets, TimeIndex::decode(base_offset, &times)?)))
            .and_then(|(offsets, times)| {
                if times.count() == 0 && length > 0 {
                    return Err(IndexError::Empty);
                }
                Ok((offsets, times))
            });
        let Ok((offsets, times)) = decoded else {
            return Ok(None);
        };
        let mut bytes_since_entry = length;
        if let Some((last_offset, position)) = offsets.last() {
            bytes_since_entry = length.saturating_sub(position);
            let checked = file.asks_for(Check::Indexes);
            if checked && !is_batch_at(file, length, last_offset, position)? {
                return Ok(None);
            }
        }
        let max_timestamp = times.last();
        Ok(Some(Self {
            offsets,
            times,
            bytes_since_entry,
            max_timestamp,
        }))
    }

    /// Writes both index files, durably: the greatest timestamp of a closed segment is read from there at the next
    /// start. After any crash each is the old or the new one, whole: half an index may pass for a whole one.
    pub(super) fn write(
        &self,
        disk: &Disk,
        directory: &Path,
        base_offset: Offset,
    ) -> Result<(), IoError> {
        // What the offset index knows, the time index has to know: an opening goes on from the former's last entry.
        let files = [
            (names::TIME_INDEX, self.times.encode()),
            (names::OFFSET_INDEX, self.offsets.encode()),
        ];
        for (ending, bytes) in files {
            let path = names::segment_file(directory, base_offset, ending);
            if let Err(error) = disk.write_atomic(&path, &bytes) {
                // What is there says less than the log, and none is built anew.
                remove_index(disk, directory, base_offset)?;
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Whether a batch that ends with `last_offset` starts at `position` of a segment of `length` bytes, as an entry says.
pub(super) fn is_batch_at(
    file: &File,
    length: u64,
    last_offset: Offset,
    position: u64,
) -> Result<bool, IoError> {
    match Walker::new(file, position, length).next_batch() {
        Ok(batch) => Ok(batch.is_some_and(|batch| batch.header.last_offset() == last_offset)),
        Err(WalkError::Io(error)) => Err(error),
        Err(WalkError::Fault(_)) => Ok(false),
    }
}

/// The last entry of an index file with entries of `BYTES` bytes; `None` where there is none.
pub(super) fn last_entry<const BYTES: usize>(
    disk: &Disk,
    path: &Path,
) -> Result<Option<[u8; BYTES]>, IoError> {
    let file = match disk.open_read_only(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.length()?;
    let mut entry = [0; BYTES];
    let entry_bytes = super::append::length(BYTES);
    if length == 0 || !length.is_multiple_of(entry_bytes) {
        return Ok(None);
    }
    file.read_exact_at(length - entry_bytes, &mut entry)?;
    // Zeros are the unused rest of an index that Kafka did not trim.
    Ok(Some(entry).filter(|entry| *entry != [0; BYTES]))
}

/// Removes the index files of a segment.
pub(super) fn remove_index(
    disk: &Disk,
    directory: &Path,
    base_offset: Offset,
) -> Result<(), IoError> {
    for ending in [names::OFFSET_INDEX, names::TIME_INDEX] {
        let path = names::segment_file(directory, base_offset, ending);
        remove_if_there(disk, &path)?;
    }
    Ok(())
}

/// Gives the file at `path` new contents, neither atomically nor durably: for files that are checked when read.
pub(super) fn replace(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<File, IoError> {
    let file = disk.open_or_create(path)?;
    file.truncate(0)?;
    file.write_all_at(0, bytes)?;
    Ok(file)
}

/// Where a segment's index is.
#[derive(Clone, Debug)]
pub(super) enum IndexState {
    /// In memory. That of the last segment always is.
    Loaded(Arc<SegmentIndex>),
    /// In its files, perhaps.
    OnDisk,
}

/// One segment. Only the last of a log grows.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) base_offset: Offset,
    pub(super) file: File,
    /// Bytes of whole batches, written.
    pub(super) length: u64,
    /// Greatest timestamp of its first batch: the age of a segment counts from it. -1 while unknown.
    pub(super) first_timestamp: Timestamp,
    /// Greatest timestamp and last offset of the batch that has it.
    pub(super) max_timestamp: Option<(Timestamp, Offset)>,
    /// When it was made, opened or last appended to, by our clock.
    pub(super) modified: Timestamp,
    /// When it was made or opened, by our clock.
    pub(super) opened: Timestamp,
    /// Its batches have no records any more, as far as is known.
    pub(super) hollow: bool,
    /// All of it is on stable storage. Of the last segment: false.
    pub(super) synced: bool,
    pub(super) index: IndexState,
    /// What its index could not be built anew for: it would be found again, at the cost of a walk.
    pub(super) index_fault: Option<Fault>,
}

impl Segment {
    pub(super) fn new(base_offset: Offset, file: File, now: Timestamp) -> Self {
        Self {
            base_offset,
            file,
            length: 0,
            first_timestamp: Timestamp::NONE,
            max_timestamp: None,
            modified: now,
            opened: now,
            hollow: false,
            synced: false,
            index: IndexState::Loaded(Arc::new(SegmentIndex::new(base_offset))),
            index_fault: None,
        }
    }

    /// Takes in a batch that was written at the end.
    pub(super) fn note(&mut self, batch: &BatchPlace, interval_bytes: u32) {
        assert!(
            batch.position == self.length,
            "INV-LOG-1: batch at position {} of a segment of {} bytes",
            batch.position,
            self.length
        );
        if self.length == 0 {
            self.first_timestamp = batch.max_timestamp;
        }
        self.length = batch.end_position();
        if let IndexState::Loaded(index) = &mut self.index {
            let index = Arc::make_mut(index);
            index.note(batch, interval_bytes);
            self.max_timestamp = index.max_timestamp;
        }
    }

    /// What its index takes in memory, in bytes; `None` while it is not there.
    pub(super) fn index_bytes(&self) -> Option<usize> {
        match &self.index {
            IndexState::Loaded(index) => Some(index.memory_bytes()),
            IndexState::OnDisk => None,
        }
    }

    /// When it was last written to: by its records, or by our clock when they carry no time.
    pub(super) fn newest(&self) -> Timestamp {
        self.max_timestamp
            .map_or(self.modified, |(timestamp, _)| timestamp)
    }

    /// Whether compaction has left none of its records: then nothing in it says how old it is.
    pub(super) const fn is_hollow(&self) -> bool {
        self.hollow || self.length == 0
    }

    pub(super) fn index_job(
        &self,
        directory: &Path,
        interval_bytes: u32,
        rebuild: bool,
        keep: bool,
    ) -> IndexJob {
        IndexJob {
            directory: directory.to_owned(),
            base_offset: self.base_offset,
            file: self.file.clone(),
            length: self.length,
            interval_bytes,
            rebuild,
            keep,
            fault: self.index_fault.clone(),
        }
    }
}

/// Blocking work: brings the index of a closed segment into memory, building it anew when its files are missing or
/// contradict the log.
#[derive(Clone, Debug)]
pub struct IndexJob {
    pub(super) directory: PathBuf,
    pub(super) base_offset: Offset,
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) interval_bytes: u32,
    pub(super) rebuild: bool,
    /// Whether a rebuilt index is written. Not where a compaction may be putting other files in place.
    pub(super) keep: bool,
    /// What stood in the way when it was to be built: it is not tried again.
    pub(super) fault: Option<Fault>,
}

/// An index on its way back to its log.
#[derive(Clone, Debug)]
pub struct LoadedIndex {
    pub(super) base_offset: Offset,
    /// The file it is of: another may have taken its place meanwhile.
    pub(super) file: File,
    pub(super) index: Arc<SegmentIndex>,
}

impl IndexJob {
    /// Where the segment begins.
    #[must_use]
    pub const fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Whether the index on the disk is not to be believed.
    #[must_use]
    pub const fn rebuilds(&self) -> bool {
        self.rebuild
    }

    /// Reads or rebuilds; a rebuilt index is also written, unless the disk is full.
    ///
    /// # Errors
    /// [`WalkError`] when the disk refuses or the log itself is damaged.
    pub fn run(&self, disk: &Disk) -> Result<LoadedIndex, WalkError> {
        let loaded = if self.rebuild {
            None
        } else {
            SegmentIndex::load(
                &self.directory,
                self.base_offset,
                &self.file,
                self.length,
                disk,
            )?
        };
        let mut index = match (loaded, &self.fault) {
            (Some(index), _) => index,
            (None, Some(fault)) => return Err(fault.clone().into()),
            (None, None) => {
                let index = SegmentIndex::rebuild(
                    self.base_offset,
                    &self.file,
                    self.length,
                    self.interval_bytes,
                )?;
                if self.keep
                    && let Err(error) = index.write(disk, &self.directory, self.base_offset)
                    && !error.is_out_of_space()
                {
                    return Err(error.into());
                }
                index
            }
        };
        index.thin();
        Ok(LoadedIndex {
            base_offset: self.base_offset,
            file: self.file.clone(),
            index: Arc::new(index),
        })
    }
}

/// How far apart the batches lie that a thinned index tells of, at least: it takes 1.6 MB for a gibibyte, and a lookup reads little more
/// than that for a batch. Where batches are larger it has them all.
pub(super) const THINNED_BYTES: u64 = 16 * 1024;

#[cfg(test)]
mod tests;
