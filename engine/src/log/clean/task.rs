//! A compaction under way: a value that does one bounded slice of its work at a time.
//!
//! First the keys of the dirty part are noted; then each group of segments is copied without what may go, and put in
//! place. Slices read and write open files only; what names files in the directory is told apart ([`Next`]), because it
//! must not run beside other work on the directory. Blocking; it knows no clock and no threads.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use super::super::segment::{BatchPlace, SegmentIndex};
use super::super::walk::{Fault, WalkError, Walker};
use super::files::{self, Exchange, Replacement};
use super::group::{Piece, SegmentLimits, group};
use super::install::Swapped;
use super::key_map::KeyMap;
use super::rule::{Kept, LastBatch, Rule};
use super::transactions::{Aborted, Transactions};
use crate::io::{Disk, File, IoError};
use crate::record::{BODY_BYTES_MAX_DEFAULT, Batch, BatchHeader, records};
use crate::types::{Offset, ProducerId, Timestamp};

/// Bounds of one compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanLimits {
    /// Memory for keys, in bytes.
    pub key_memory_bytes: u64,
    /// How full that may get, 0 to 1.
    pub load_factor: f64,
    /// Bytes read in one slice; a single batch may be more.
    pub slice_bytes: u64,
    /// Unknown to clients, so that none can make keys fall together.
    pub seed: u64,
}

/// Why a compaction ended early. The log is as it was, but for groups that were put in place before.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A batch is not what it was when it was appended.
    #[error(transparent)]
    Damaged(#[from] Fault),
    /// A `.txnindex` file is unreadable: which records were aborted is not known.
    #[error("{} is no list of aborted transactions", path.display())]
    TransactionIndex {
        /// The file.
        path: PathBuf,
    },
    /// Compressed anew the records take more than a segment can hold.
    #[error("the cleaned segment at {base_offset} would have {length} bytes")]
    TooLong {
        /// Its first offset.
        base_offset: Offset,
        /// Its length, in bytes.
        length: u64,
    },
    /// The disk refuses; nothing has changed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The disk refuses while files are being put in place: run it again, or the directory has to be opened anew.
    #[error("while segments were being replaced: {0}")]
    HalfSwapped(IoError),
}

impl From<WalkError> for CleanError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Fault(fault) => Self::Damaged(fault),
            WalkError::Io(error) => Self::Io(error),
        }
    }
}

/// A slice that failed, and the compaction it is of, to be given up.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: CleanError,
    /// What to call [`Cleaning::give_up`] on.
    pub cleaning: Box<Cleaning>,
}

/// What a compaction does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A slice on open files: beside anything else.
    Slice,
    /// It makes or removes files in the directory: nothing else may at the same time.
    Directory,
    /// The same, and it puts segments in place: ask the log first ([`super::super::Log::begin_swap`]).
    Swap,
    /// Nothing: it is at its end.
    End,
}

/// A closed segment to be cleaned.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) base_offset: Offset,
    /// Where the next segment starts.
    pub(super) end_offset: Offset,
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) modified: Timestamp,
    /// Where to begin looking for keys in it.
    pub(super) dirty_position: u64,
}

/// What a compaction came to, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CleanStats {
    /// Bytes read to note keys.
    pub map_bytes: u64,
    /// Records whose keys were noted.
    pub map_records: u64,
    /// Different keys among them.
    pub keys: u64,
    /// How full the memory for keys got, 0 to 1.
    pub key_memory_used: f64,
    /// Bytes of the segments read.
    pub bytes_read: u64,
    /// Bytes of the segments written in their place.
    pub bytes_written: u64,
    /// Records read.
    pub records_read: u64,
    /// Records kept.
    pub records_kept: u64,
    /// Segments read.
    pub segments_read: u64,
    /// Segments written in their place.
    pub segments_written: u64,
}

impl fmt::Display for CleanStats {
    #[expect(clippy::cast_precision_loss, reason = "shares, for people to read")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let less = |after: u64, before: u64| {
            let share = after as f64 / before.max(1) as f64;
            100.0 * (1.0 - share)
        };
        write!(
            f,
            "{} keys of {} records noted in {} bytes (key memory {:.1}% full); {} segments of {} bytes and {} records \
             became {} of {} bytes and {} records ({:.1}% smaller, {:.1}% fewer records)",
            self.keys,
            self.map_records,
            self.map_bytes,
            100.0 * self.key_memory_used,
            self.segments_read,
            self.bytes_read,
            self.records_read,
            self.segments_written,
            self.bytes_written,
            self.records_kept,
            less(self.bytes_written, self.bytes_read),
            less(self.records_kept, self.records_read),
        )
    }
}

/// One compaction of one log. Drop it when its log is gone, where that may take its time; else take it to its end, or
/// give it up.
#[derive(Debug)]
pub struct Cleaning {
    pub(super) directory: PathBuf,
    pub(super) limits: CleanLimits,
    pub(super) segment_limits: SegmentLimits,
    pub(super) index_interval_bytes: u32,
    pub(super) delete_retention_ms: i64,
    /// The time it goes by.
    pub(super) now: Timestamp,
    pub(super) first_dirty: Offset,
    pub(super) upper_bound: Offset,
    /// All closed segments below the bound, oldest first; none any more once they are grouped.
    pub(super) sources: Vec<Source>,
    /// All segments of the log: where lists of aborted transactions may stand.
    pub(super) segment_bases: Vec<Offset>,
    pub(super) last_batches: BTreeMap<ProducerId, LastBatch>,
    pub(super) keys: KeyMap,
    /// Keys were noted up to here (exclusive).
    pub(super) keys_end: Offset,
    pub(super) aborted: Vec<Aborted>,
    pub(super) transactions: Transactions,
    /// Groups of sources that were not begun. What was replaced is let go of with its group: its space comes back when it is unlinked,
    /// and not at the end of all.
    pub(super) groups: VecDeque<Vec<Source>>,
    pub(super) stage: Stage,
    pub(super) swapped: Option<Swapped>,
    pub(super) stats: CleanStats,
    pub(super) moved_bytes: u64,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Read the lists of aborted transactions.
    Begin,
    /// Note the keys of this source from this position on.
    Map {
        source: usize,
        position: u64,
    },
    /// Make the file of the next group.
    Create,
    Copy(Copying),
    Swap(Copying),
    /// Remove what was copied of a group, and go on with the next.
    Discard {
        base_offset: Offset,
        /// Segments that are not in the log any more.
        gone: Vec<Source>,
    },
    /// Segments are being replaced: there is no way back.
    Exchange(Copying, Exchange),
    GiveUp {
        base_offset: Option<Offset>,
    },
    /// True: everything was done.
    End(bool),
}

/// A group on its way into one new segment.
#[derive(Debug)]
pub(super) struct Copying {
    group: Vec<Source>,
    file: File,
    /// Bytes written to it.
    length: u64,
    index: SegmentIndex,
    first_timestamp: Timestamp,
    /// No record was kept.
    hollow: bool,
    /// The place in the group of what is copied next, and where it goes on there.
    source: usize,
    position: u64,
    /// What it had come to before this group.
    stats_before: CleanStats,
}

impl Cleaning {
    /// What comes next.
    #[must_use]
    pub const fn next(&self) -> Next {
        match self.stage {
            Stage::Map { .. } | Stage::Copy(_) => Next::Slice,
            Stage::Begin
            | Stage::Create
            | Stage::Discard { .. }
            | Stage::Exchange(..)
            | Stage::GiveUp { .. } => Next::Directory,
            Stage::Swap(_) => Next::Swap,
            Stage::End(_) => Next::End,
        }
    }

    /// Does what comes next. Blocks.
    ///
    /// # Errors
    /// [`Failed`], with what is to be given up.
    pub fn run(mut self: Box<Self>, disk: &Disk) -> Result<Box<Self>, Failed> {
        match self.advance(disk) {
            Ok(()) => Ok(self),
            Err(error) => {
                // It has no files of its own, so that nobody runs it again.
                if let Stage::End(_) = self.stage {
                    self.release();
                }
                Err(Failed {
                    error,
                    cleaning: self,
                })
            }
        }
    }

    /// Ends it early: what comes next then removes its files, if there are any. An exchange that has begun goes on.
    pub fn give_up(&mut self) {
        if matches!(self.stage, Stage::End(_) | Stage::Exchange(..)) {
            return;
        }
        // Its files are let go of where that may take its time, with the others.
        let (base_offset, group) = match std::mem::replace(&mut self.stage, Stage::End(false)) {
            Stage::Copy(copying) | Stage::Swap(copying) => {
                (Some(base_of(&copying.group)), copying.group)
            }
            Stage::Discard { base_offset, gone } => (Some(base_offset), gone),
            Stage::GiveUp { base_offset } => (base_offset, Vec::new()),
            Stage::Begin
            | Stage::Map { .. }
            | Stage::Create
            | Stage::Exchange(..)
            | Stage::End(_) => (None, Vec::new()),
        };
        self.groups.push_back(group);
        self.stage = Stage::GiveUp { base_offset };
    }

    /// The `gone` oldest segments of the group that is ready are not in the log any more, nor any before them: what is left
    /// of the group is copied anew.
    pub(super) fn leave_out(&mut self, gone: usize) {
        let copying = match std::mem::replace(&mut self.stage, Stage::End(false)) {
            Stage::Swap(copying) => copying,
            stage => {
                self.stage = stage;
                return;
            }
        };
        self.stats = copying.stats_before;
        let base_offset = base_of(&copying.group);
        let mut group = copying.group;
        let left = group.split_off(gone.min(group.len()));
        if !left.is_empty() {
            self.groups.push_front(left);
        }
        let gone = group;
        self.stage = Stage::Discard { base_offset, gone };
    }

    /// The segments that were put in place by the last [`Self::run`], for the log.
    pub fn take_swapped(&mut self) -> Option<Swapped> {
        self.swapped.take()
    }

    /// Bytes read and written since the last call: for those who limit the rate.
    pub fn take_moved_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.moved_bytes)
    }

    /// Where the log was clean to when it began.
    #[must_use]
    pub const fn first_dirty(&self) -> Offset {
        self.first_dirty
    }

    /// Where the log is clean to, once everything is done; `None` before, and when it was given up.
    #[must_use]
    pub const fn cleaned_to(&self) -> Option<Offset> {
        match self.stage {
            Stage::End(true) => Some(self.keys_end),
            _ => None,
        }
    }

    /// What it came to so far.
    #[must_use]
    pub const fn stats(&self) -> &CleanStats {
        &self.stats
    }

    pub(super) fn swapping_group(&self) -> Option<&[Source]> {
        match &self.stage {
            Stage::Swap(copying) => Some(copying.group.as_slice()),
            _ => None,
        }
    }

    fn advance(&mut self, disk: &Disk) -> Result<(), CleanError> {
        match std::mem::replace(&mut self.stage, Stage::End(false)) {
            Stage::Begin => self.begin(disk),
            Stage::Map { source, position } => self.note_keys(source, position),
            Stage::Create => self.create(disk),
            Stage::Copy(copying) => self.copy(copying),
            Stage::Swap(copying) => self.swap(copying, disk),
            Stage::Discard { base_offset, gone } => self.discard(base_offset, gone, disk),
            Stage::Exchange(copying, exchange) => self.exchange(copying, exchange, disk),
            Stage::GiveUp { base_offset } => {
                self.release();
                base_offset.map_or(Ok(()), |base_offset| {
                    files::give_up(disk, &self.directory, base_offset).map_err(CleanError::Io)
                })
            }
            Stage::End(done) => {
                self.stage = Stage::End(done);
                Ok(())
            }
        }
    }

    /// Lets go of memory and files here, where it may take its time.
    fn release(&mut self) {
        self.sources = Vec::new();
        self.groups = VecDeque::new();
        self.keys = KeyMap::new(0, 0, 1.0, 0);
    }

    fn end(&mut self) {
        self.release();
        self.stage = Stage::End(true);
    }

    fn begin(&mut self, disk: &Disk) -> Result<(), CleanError> {
        files::clear(disk, &self.directory)?;
        self.aborted = files::read_aborted(disk, &self.directory, &self.segment_bases)?;
        self.transactions = Transactions::from(self.first_dirty, &self.aborted);
        let first_dirty = self.first_dirty;
        let first = self
            .sources
            .iter()
            .position(|source| source.end_offset > first_dirty);
        match first {
            Some(source) => {
                let position = self.sources.get(source).map_or(0, |s| s.dirty_position);
                self.stage = Stage::Map { source, position };
            }
            None => self.end(),
        }
        Ok(())
    }

    /// Notes keys for one slice. A table that is full ends the noting: the rest is for the next compaction.
    fn note_keys(&mut self, place: usize, position: u64) -> Result<(), CleanError> {
        let Some(source) = self.sources.get(place).cloned() else {
            self.plan_copies();
            return Ok(());
        };
        let mut walker = Walker::new(&source.file, position, source.length);
        let end = position.saturating_add(self.limits.slice_bytes);
        let mut full = false;
        while !full && walker.position() < end {
            let Some(walked) = walker.next_batch()? else {
                break;
            };
            if walked.header.last_offset() < self.first_dirty {
                continue;
            }
            walker.check_crc(&walked)?;
            let bytes = walker.whole(&walked)?;
            full = !self.note_batch(&walked.header, &bytes);
        }
        let read = walker.position() - position;
        self.stats.map_bytes += read;
        self.moved_bytes += read;
        self.stats.keys = u64::try_from(self.keys.count()).unwrap_or(u64::MAX);
        self.stats.key_memory_used = self.keys.utilisation();
        if full {
            self.plan_copies();
        } else if walker.position() < source.length {
            self.stage = Stage::Map {
                source: place,
                position: walker.position(),
            };
        } else {
            // What compaction removed at its end counts as looked at.
            self.keys_end = source.end_offset;
            self.stage = Stage::Map {
                source: place + 1,
                position: 0,
            };
        }
        Ok(())
    }

    /// False when a key found no room.
    fn note_batch(&mut self, header: &BatchHeader, bytes: &Bytes) -> bool {
        let discarded = self.transactions.note(header, bytes);
        if !discarded && !header.attributes().is_control() {
            // Records that make no sense have no keys to note.
            let Ok(mut records) = records(bytes, BODY_BYTES_MAX_DEFAULT) else {
                self.keys_end = header.next_offset();
                return true;
            };
            while let Ok(Some(record)) = records.next_raw() {
                if record.offset < self.first_dirty {
                    continue;
                }
                if let Some(key) = record.key {
                    if !self.keys.put(key, record.offset) {
                        return false;
                    }
                    self.stats.map_records += 1;
                }
                self.keys_end = Offset(record.offset.0.saturating_add(1));
            }
        }
        self.keys_end = header.next_offset();
        true
    }

    fn plan_copies(&mut self) {
        let keys_end = self.keys_end;
        self.sources.retain(|source| source.base_offset < keys_end);
        let pieces: Vec<Piece> = self
            .sources
            .iter()
            .map(|source| Piece {
                base_offset: source.base_offset,
                end_offset: source.end_offset,
                length: source.length,
            })
            .collect();
        let mut sources = std::mem::take(&mut self.sources).into_iter();
        let groups = group(&pieces, self.segment_limits).into_iter();
        let groups = groups.map(|group| sources.by_ref().take(group.len()).collect());
        self.groups = groups.collect();
        self.begin_walk();
        self.next_group();
    }

    /// The log is walked through from the next group on: nothing before it is left.
    fn begin_walk(&mut self) {
        let from = self.groups.front().map(|group| base_of(group));
        self.transactions = Transactions::from(from.unwrap_or_default(), &self.aborted);
    }

    fn discard(
        &mut self,
        base_offset: Offset,
        gone: Vec<Source>,
        disk: &Disk,
    ) -> Result<(), CleanError> {
        self.stage = Stage::Discard { base_offset, gone };
        files::give_up(disk, &self.directory, base_offset)?;
        self.begin_walk();
        self.next_group();
        Ok(())
    }

    fn next_group(&mut self) {
        if self.groups.is_empty() {
            self.end();
        } else {
            self.stage = Stage::Create;
        }
    }

    fn create(&mut self, disk: &Disk) -> Result<(), CleanError> {
        let Some(group) = self.groups.pop_front() else {
            self.end();
            return Ok(());
        };
        let base_offset = base_of(&group);
        let file = files::create(disk, &self.directory, base_offset)?;
        self.stage = Stage::Copy(Copying {
            source: 0,
            group,
            file,
            length: 0,
            index: SegmentIndex::new(base_offset),
            first_timestamp: Timestamp::NONE,
            hollow: true,
            position: 0,
            stats_before: self.stats,
        });
        Ok(())
    }

    /// Copies for one slice; what was written is on stable storage afterwards, so that no later sync takes long.
    fn copy(&mut self, mut copying: Copying) -> Result<(), CleanError> {
        let result = self.copy_slice(&mut copying);
        let done = copying.source >= copying.group.len();
        self.stage = match (&result, done) {
            (Ok(()), true) => Stage::Swap(copying),
            _ => Stage::Copy(copying),
        };
        result
    }

    fn copy_slice(&mut self, copying: &mut Copying) -> Result<(), CleanError> {
        let mut left = self.limits.slice_bytes;
        let mut out = Vec::new();
        let start = copying.length;
        while left > 0 {
            let Some(source) = copying.group.get(copying.source).cloned() else {
                break;
            };
            let from = copying.position;
            let mut walker = Walker::new(&source.file, from, source.length);
            while walker.position() - from < left {
                let Some(walked) = walker.next_batch()? else {
                    break;
                };
                walker.check_crc(&walked)?;
                let batch = Batch {
                    header: walked.header,
                    bytes: walker.whole(&walked)?,
                };
                self.copy_batch(batch, copying, &mut out)?;
            }
            let read = walker.position() - from;
            self.stats.bytes_read += read;
            self.moved_bytes += read;
            left = left.saturating_sub(read);
            copying.position = walker.position();
            if copying.position >= source.length {
                self.stats.segments_read += 1;
                copying.source += 1;
                copying.position = 0;
            }
        }
        if !out.is_empty() {
            copying.file.write_buffers_at(start, &out)?;
            self.moved_bytes += copying.length - start;
        }
        copying.file.sync_data()?;
        Ok(())
    }

    fn copy_batch(
        &mut self,
        batch: Batch,
        copying: &mut Copying,
        out: &mut Vec<Bytes>,
    ) -> Result<(), CleanError> {
        let discarded = self.transactions.note(&batch.header, &batch.bytes);
        let rule = Rule {
            keys: &self.keys,
            keys_end: self.keys_end,
            now: self.now,
            delete_retention_ms: self.delete_retention_ms,
            last_batches: &self.last_batches,
            upper_bound: self.upper_bound,
        };
        let judged = rule.judge(&batch, discarded);
        self.stats.records_read += judged.records_read;
        self.stats.records_kept += judged.records_kept;
        let bytes = match judged.kept {
            Kept::Gone => return Ok(()),
            Kept::AsIs => batch.bytes,
            Kept::Changed(bytes) => bytes,
        };
        let header = BatchHeader::parse(&bytes).unwrap_or(batch.header);
        let place = BatchPlace::of(&header, copying.length);
        let length = place.end_position();
        if i32::try_from(length).is_err() {
            let base_offset = base_of(&copying.group);
            return Err(CleanError::TooLong {
                base_offset,
                length,
            });
        }
        if copying.length == 0 {
            copying.first_timestamp = place.max_timestamp;
        }
        copying.hollow &= header.record_count() == 0;
        copying.index.note(&place, self.index_interval_bytes);
        copying.length = length;
        out.push(bytes);
        Ok(())
    }

    fn swap(&mut self, mut copying: Copying, disk: &Disk) -> Result<(), CleanError> {
        copying.index.complete();
        let aborted = self.transactions.take_listed();
        let replaced = bases(&copying.group);
        let replacement = Replacement {
            directory: &self.directory,
            replaced: &replaced,
            index: &copying.index,
            aborted: &aborted,
        };
        match replacement.prepare(disk) {
            Ok(exchange) => self.exchange(copying, exchange, disk),
            Err(error) => {
                self.stage = Stage::Swap(copying);
                Err(error.into())
            }
        }
    }

    fn exchange(
        &mut self,
        copying: Copying,
        mut exchange: Exchange,
        disk: &Disk,
    ) -> Result<(), CleanError> {
        let (file, doomed) = match exchange.run(disk) {
            Ok(exchanged) => exchanged,
            Err(error) => {
                self.stage = match error {
                    CleanError::HalfSwapped(_) => Stage::Exchange(copying, exchange),
                    _ => Stage::Swap(copying),
                };
                return Err(error);
            }
        };
        let last = copying.group.last();
        self.stats.bytes_written += copying.length;
        self.stats.segments_written += 1;
        self.swapped = Some(Swapped {
            replaced: bases(&copying.group),
            end_offset: last.map_or(Offset::NONE, |source| source.end_offset),
            file,
            length: copying.length,
            first_timestamp: copying.first_timestamp,
            hollow: copying.hollow,
            modified: last.map_or(self.now, |source| source.modified),
            max_timestamp: copying.index.max_timestamp,
            doomed,
        });
        self.next_group();
        Ok(())
    }
}

/// Where a group begins, and so the segment that it becomes.
fn base_of(group: &[Source]) -> Offset {
    let first = group.first();
    first.map_or(Offset::NONE, |source| source.base_offset)
}

fn bases(group: &[Source]) -> Vec<Offset> {
    group.iter().map(|source| source.base_offset).collect()
}
