//! Reading: from an offset to extents of a file, without moving a byte.
//!
//! Recent offsets are answered from memory. Others take a step at a time (load an index, read some headers), each of
//! which the caller executes and hands back, so that a shard never waits for a disk.

use bytes::Bytes;

use super::append::length;
use super::segment::{BatchPlace, IndexJob, IndexState, LoadedIndex, THINNED_BYTES};
use super::walk::{Fault, FaultReason};
use super::{Damage, Log};
use crate::io::{Check, File};
use crate::record::{BATCH_HEADER_LENGTH, BatchHeader};
use crate::types::Offset;

/// Bytes of headers and small batches read in one step of a lookup.
const SCAN_BYTES: u64 = 8 * 1024;
/// And at most in a further step, where the batch may lie so far on: between two entries of a thinned index the second finds it.
const SCAN_BYTES_MAX: u64 = THINNED_BYTES + SCAN_BYTES;

/// A stretch of a segment's file. The file lives at least as long, also when its name is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct Extent {
    /// The file.
    pub file: File,
    /// The first byte.
    pub position: u64,
    /// How many bytes; not 0.
    pub length: u64,
}

/// What a read answers: whole batches from the one that holds the asked offset; the last may be cut at the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadExtent {
    /// The bytes.
    pub extent: Extent,
    /// Offset of the first record of the first batch: at or below the one asked for (or above it, in a gap that
    /// compaction left).
    pub base_offset: Offset,
    /// Bytes of the first batch, which is always whole.
    pub first_batch_length: u64,
}

/// The next step of a read.
#[derive(Debug)]
pub enum ReadPlan {
    /// There is nothing below the bound.
    Empty,
    /// Send this.
    Ready(ReadExtent),
    /// Read the bytes of [`Lookup::action`] and hand them to [`Lookup::resume`].
    Scan(Box<Lookup>),
    /// Run the job on a maintenance thread, hand its result to [`Log::install_index`], then ask again.
    LoadIndex(Box<IndexJob>),
    /// The segment holds nothing from the offset on: ask again from this one.
    Again {
        /// Where the next segment starts.
        offset: Offset,
    },
}

/// Why a read is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The client's mistake, or retention was faster.
    #[error("offset {offset} is not within {log_start_offset} and {log_end_offset}")]
    OutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The first offset there is.
        log_start_offset: Offset,
        /// The offset after the last.
        log_end_offset: Offset,
    },
    /// A fault of the disk, found when the log was opened.
    #[error("the log is damaged: {0}")]
    Damaged(Damage),
    /// A fault of the disk, found now.
    #[error(transparent)]
    Corrupt(#[from] Fault),
}

/// A read that needs bytes of the file before it can be answered. It keeps what it needs of the log, so the log may go
/// on meanwhile.
#[derive(Debug)]
pub struct Lookup {
    file: File,
    /// Where the next batch header to be looked at lies.
    position: u64,
    /// What the index said of the first batch: its last offset.
    promised: Option<Offset>,
    /// By what the index says, the batch that holds the offset begins here at the latest.
    begins_by: u64,
    /// Whether a first step has been taken.
    has_looked: bool,
    goal: Goal,
    /// The batch that answers the read, once it is found.
    first: Option<BatchPlace>,
    offset: Offset,
    upper_bound: Offset,
    end: End,
    max_bytes: u64,
    /// What the next batch begins at, or beyond: compaction leaves gaps, and never goes back.
    least: Offset,
    segment_end: Offset,
    segment_length: u64,
    distrust: Distrust,
}

/// What is done where the index says what the log does not.
#[derive(Debug)]
enum Distrust {
    /// It is built anew.
    Rebuild(Box<IndexJob>),
    /// The read does without it: that of the active segment grows meanwhile.
    Walk,
    /// The read fails: that of the segment with this base offset was to be built anew before, and this is in the way.
    Refuse(Offset, Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// The batch that holds the offset.
    First,
    /// The first batch that does not lie below the upper bound.
    Bound,
}

/// Where the readable bytes of the segment end.
#[derive(Clone, Copy, Debug)]
enum End {
    Position(u64),
    /// Not known: found by walking, from this position on.
    Unknown {
        from: u64,
    },
}

impl Log {
    /// Where the bytes from `offset` on lie: the whole batch that holds it, even beyond `max_bytes`, then as much as
    /// `max_bytes` allows of what lies in the same segment below `upper_bound` (exclusive, a batch's edge).
    ///
    /// # Errors
    /// [`ReadError`] for an offset outside of the log, or damage.
    pub fn read(
        &self,
        offset: Offset,
        max_bytes: u64,
        upper_bound: Offset,
    ) -> Result<ReadPlan, ReadError> {
        if let Some(damage) = &self.damage
            && offset >= damage.offset
        {
            return Err(ReadError::Damaged(damage.clone()));
        }
        let out_of_range = ReadError::OutOfRange {
            offset,
            log_start_offset: self.log_start_offset,
            log_end_offset: self.log_end_offset,
        };
        if offset < self.log_start_offset || offset > self.log_end_offset {
            return Err(out_of_range);
        }
        let upper_bound = upper_bound.min(self.log_end_offset);
        if offset >= upper_bound {
            return Ok(ReadPlan::Empty);
        }
        let segment = self.segments.floor(offset).ok_or(out_of_range)?;
        let base_offset = segment.base_offset;
        let segment_end = self.segments.end_of(base_offset);
        let end_offset = segment_end.unwrap_or(self.log_end_offset);
        let end = if upper_bound >= end_offset {
            End::Position(segment.length)
        } else if self.recent.covers(upper_bound) {
            End::Position(self.recent_position(upper_bound, end_offset, segment.length))
        } else {
            End::Unknown { from: 0 }
        };
        if self.recent.covers(offset) {
            let first = self.recent.find(offset).copied();
            let here = first.filter(|first| first.base_offset < end_offset);
            let Some(first) = here else {
                return Ok(ReadPlan::Again { offset: end_offset });
            };
            // The upper bound lies above an offset that is covered, so it is covered too.
            let End::Position(end) = end else {
                return Ok(ReadPlan::Empty);
            };
            return Ok(answer(&segment.file, &first, end, max_bytes));
        }
        if let Some(offset) = segment_end.filter(|_| segment.length == 0) {
            return Ok(ReadPlan::Again { offset });
        }
        let interval = self.config.index_interval_bytes;
        let keep = !self.config.cleanup_policy.compact;
        let job = |rebuild| segment.index_job(&self.directory, interval, rebuild, keep);
        let IndexState::Loaded(index) = &segment.index else {
            return Ok(ReadPlan::LoadIndex(Box::new(job(false))));
        };
        let place = index.offsets.floor(offset);
        let end = match end {
            End::Unknown { .. } => End::Unknown {
                from: index.offsets.floor(upper_bound).map_or(0, |entry| entry.1),
            },
            known @ End::Position(_) => known,
        };
        let lookup = Lookup {
            file: segment.file.clone(),
            position: place.map_or(0, |entry| entry.1),
            promised: place
                .map(|entry| entry.0)
                .filter(|_| segment.file.asks_for(Check::Indexes)),
            has_looked: false,
            begins_by: index
                .offsets
                .above(offset)
                .map_or(segment.length, |entry| entry.1),
            goal: Goal::First,
            first: None,
            offset,
            upper_bound,
            end,
            max_bytes,
            least: base_offset,
            segment_end: end_offset,
            segment_length: segment.length,
            distrust: match (segment_end, &segment.index_fault) {
                (None, _) => Distrust::Walk,
                (Some(_), None) => Distrust::Rebuild(Box::new(job(true))),
                (Some(_), Some(fault)) => Distrust::Refuse(base_offset, fault.clone()),
            },
        };
        Ok(ReadPlan::Scan(Box::new(lookup)))
    }

    /// As [`Self::read`] from where an earlier read of the same `offset` has `found` its first batch. That is not looked for again in
    /// the active segment, where only the end moves.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_again(
        &self,
        offset: Offset,
        max_bytes: u64,
        upper_bound: Offset,
        found: &ReadExtent,
    ) -> Result<ReadPlan, ReadError> {
        let first = &found.extent;
        let first_end = first.position.saturating_add(found.first_batch_length);
        let is_there = self.damage.is_none() && offset >= self.log_start_offset;
        let end = self.end_behind(found, upper_bound);
        let end = end.filter(|end| is_there && *end >= first_end);
        let Some(end) = end else {
            return self.read(offset, max_bytes, upper_bound);
        };
        let available = end - first.position;
        Ok(ReadPlan::Ready(ReadExtent {
            extent: Extent {
                file: first.file.clone(),
                position: first.position,
                length: available.min(max_bytes.max(found.first_batch_length)),
            },
            base_offset: found.base_offset,
            first_batch_length: found.first_batch_length,
        }))
    }

    /// Where the readable bytes end in the active segment, if something was found there and the end is known without reading.
    fn end_behind(&self, found: &ReadExtent, upper_bound: Offset) -> Option<u64> {
        let active = self.segments.active();
        let end_offset = self.log_end_offset;
        if active.file != found.extent.file || upper_bound <= found.base_offset {
            None
        } else if upper_bound >= end_offset {
            Some(active.length)
        } else if self.recent.covers(upper_bound) {
            Some(self.recent_position(upper_bound, end_offset, active.length))
        } else {
            None
        }
    }

    /// Where the first batch that does not end below `offset` starts in its segment, when that is known without
    /// reading: for bounds at the high watermark.
    #[must_use]
    pub fn position_of(&self, offset: Offset) -> Option<(File, u64)> {
        let segment = self.segments.floor(offset)?;
        let end_offset = self.segments.end_of(segment.base_offset);
        let end_offset = end_offset.unwrap_or(self.log_end_offset);
        let position = if offset >= end_offset {
            segment.length
        } else if offset == segment.base_offset {
            0
        } else if self.recent.covers(offset) {
            self.recent_position(offset, end_offset, segment.length)
        } else {
            return None;
        };
        Some((segment.file.clone(), position))
    }

    fn recent_position(&self, offset: Offset, segment_end: Offset, segment_length: u64) -> u64 {
        let batch = self.recent.find(offset);
        batch
            .filter(|batch| batch.base_offset < segment_end)
            .map_or(segment_length, |batch| batch.position)
    }

    /// Takes in what an [`IndexJob`] brought. Nothing happens when the segment is gone, or another stands in its place.
    pub fn install_index(&mut self, loaded: LoadedIndex) {
        if loaded.base_offset >= self.segments.active().base_offset {
            return;
        }
        let segment = self.segments.find_mut(loaded.base_offset);
        if let Some(segment) = segment.filter(|segment| segment.file == loaded.file) {
            segment.index = IndexState::Loaded(loaded.index);
        }
    }

    /// An [`IndexJob`] found this damage in a closed segment. Nobody looks for it again: the segment's index is as it is, in memory
    /// or in its files. No compaction has replaced the segment meanwhile, which would have met the damage, too.
    pub fn index_failed(&mut self, base_offset: Offset, fault: Fault) {
        if let Some(segment) = self.segments.find_mut(base_offset) {
            segment.index_fault = Some(fault);
        }
    }

    /// Bytes of memory that indexes take, the active segment's included.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let closed = self.loaded_indexes().map(|(_, bytes)| bytes);
        closed.sum::<usize>() + self.segments.active().index_bytes().unwrap_or(0)
    }

    /// The closed segments whose indexes are in memory, oldest first, by their base offsets; and what each takes, in bytes.
    pub fn loaded_indexes(&self) -> impl DoubleEndedIterator<Item = (Offset, usize)> {
        let closed = self.segments.closed().iter();
        closed.filter_map(|segment| Some((segment.base_offset, segment.index_bytes()?)))
    }

    /// Drops the index of a closed segment, if it is in memory. It is read again when it is needed.
    pub fn drop_index(&mut self, base_offset: Offset) {
        if base_offset < self.segments.active().base_offset
            && let Some(segment) = self.segments.find_mut(base_offset)
        {
            segment.index = IndexState::OnDisk;
        }
    }
}

#[cfg(test)]
impl Log {
    /// Drops those of all closed segments.
    pub(crate) fn drop_indexes(&mut self) {
        for segment in self.segments.closed_mut() {
            segment.index = IndexState::OnDisk;
        }
    }
}

/// The extent from `first` to `end`, at most `max_bytes` unless the first batch alone is longer.
fn answer(file: &File, first: &BatchPlace, end: u64, max_bytes: u64) -> ReadPlan {
    // The bound lies inside or before the first batch: nothing whole lies below it.
    if first.end_position() > end {
        return ReadPlan::Empty;
    }
    let available = end - first.position;
    let length = available.min(max_bytes.max(first.length_bytes));
    ReadPlan::Ready(ReadExtent {
        extent: Extent {
            file: file.clone(),
            position: first.position,
            length,
        },
        base_offset: first.base_offset,
        first_batch_length: first.length_bytes,
    })
}

impl Lookup {
    /// Where the segment begins, if it is a closed one, whose index may be dropped.
    #[must_use]
    pub fn closed_segment(&self) -> Option<Offset> {
        match &self.distrust {
            Distrust::Walk => None,
            Distrust::Rebuild(job) => Some(job.base_offset()),
            Distrust::Refuse(base_offset, _) => Some(*base_offset),
        }
    }

    /// Which bytes to read next: file, position, length. The answer may be shorter at the end of the file only.
    #[must_use]
    pub fn action(&self) -> (&File, u64, u32) {
        let left = self.segment_length.saturating_sub(self.position);
        let to_go = self.begins_by.saturating_sub(self.position);
        let wanted = match self.has_looked {
            true => to_go.saturating_add(length(BATCH_HEADER_LENGTH)),
            // Mostly the entry is that of the batch.
            false => SCAN_BYTES,
        };
        let step = left.min(wanted.clamp(SCAN_BYTES, SCAN_BYTES_MAX));
        (
            &self.file,
            self.position,
            u32::try_from(step).unwrap_or(u32::MAX),
        )
    }

    /// Goes on with the bytes that were read at the position of [`Self::action`].
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when they are not the batches that must be there.
    pub fn resume(mut self: Box<Self>, bytes: &Bytes) -> Result<ReadPlan, ReadError> {
        let start = self.position;
        self.has_looked = true;
        loop {
            if self.position >= self.segment_length {
                return Ok(self.finish_at_segment_end());
            }
            let inside = usize::try_from(self.position - start).unwrap_or(usize::MAX);
            let rest = bytes.get(inside..).unwrap_or_default();
            if rest.len() < BATCH_HEADER_LENGTH {
                if self.position == start {
                    let missing = BATCH_HEADER_LENGTH - rest.len();
                    let missing_bytes = u64::try_from(missing).unwrap_or(u64::MAX);
                    return Err(self.fault(FaultReason::Short { missing_bytes }).into());
                }
                return Ok(ReadPlan::Scan(self));
            }
            let header = match BatchHeader::parse(rest) {
                Ok(header) => header,
                Err(_) if self.promised.is_some() => return self.distrust_index(),
                Err(error) => return Err(self.fault(error.into()).into()),
            };
            // An index that does not fit the log is built anew, not believed.
            if let Some(promised) = self.promised.take()
                && header.last_offset() != promised
            {
                return self.distrust_index();
            }
            let batch = BatchPlace::of(&header, self.position);
            if batch.end_position() > self.segment_length {
                let missing_bytes = batch.end_position() - self.segment_length;
                return Err(self.fault(FaultReason::Short { missing_bytes }).into());
            }
            if batch.base_offset < self.least {
                let (expected, found) = (self.least, batch.base_offset);
                return Err(self.fault(FaultReason::Offset { expected, found }).into());
            }
            self.least = header.next_offset();
            // What the segment had when the read was planned ends before that.
            if batch.last_offset >= self.segment_end {
                let (expected, found) = (self.segment_end, header.next_offset());
                return Err(self.fault(FaultReason::Offset { expected, found }).into());
            }
            if let Some(plan) = self.look_at(&batch) {
                return Ok(plan);
            }
        }
    }

    /// What to do where the index says what the log does not: build it anew, or do without it.
    fn distrust_index(mut self: Box<Self>) -> Result<ReadPlan, ReadError> {
        match std::mem::replace(&mut self.distrust, Distrust::Walk) {
            Distrust::Rebuild(job) => return Ok(ReadPlan::LoadIndex(job)),
            Distrust::Refuse(_, fault) => return Err(fault.into()),
            Distrust::Walk => {}
        }
        self.promised = None;
        self.position = 0;
        if let End::Unknown { from } = &mut self.end {
            *from = 0;
        }
        Ok(ReadPlan::Scan(self))
    }

    /// Looks at the next batch; answers when the read is decided.
    fn look_at(&mut self, batch: &BatchPlace) -> Option<ReadPlan> {
        match self.goal {
            Goal::First if batch.last_offset < self.offset => {
                self.position = batch.end_position();
                None
            }
            Goal::First => {
                if batch.last_offset >= self.upper_bound {
                    return Some(ReadPlan::Empty);
                }
                self.first = Some(*batch);
                let from = match self.end {
                    End::Position(end) => {
                        return Some(answer(&self.file, batch, end, self.max_bytes));
                    }
                    End::Unknown { from } => from,
                };
                self.goal = Goal::Bound;
                let limit = batch.position.saturating_add(self.max_bytes);
                let after = batch.end_position();
                // Everything before the index entry below the bound lies below the bound.
                if from >= limit.max(after) {
                    return Some(answer(&self.file, batch, from, self.max_bytes));
                }
                // Walk on from here unless the entry saves a step; never back, never into another read's middle.
                self.position = after;
                None
            }
            Goal::Bound => {
                let first = self.first?;
                let limit = first
                    .position
                    .saturating_add(self.max_bytes)
                    .max(first.end_position());
                if batch.last_offset >= self.upper_bound || batch.position >= limit {
                    return Some(answer(&self.file, &first, batch.position, self.max_bytes));
                }
                self.position = batch.end_position();
                None
            }
        }
    }

    fn finish_at_segment_end(&self) -> ReadPlan {
        match self.first {
            Some(first) => answer(&self.file, &first, self.segment_length, self.max_bytes),
            None => ReadPlan::Again {
                offset: self.segment_end,
            },
        }
    }

    fn fault(&self, reason: FaultReason) -> Fault {
        Fault {
            path: self.file.path().to_owned(),
            position: self.position,
            reason,
        }
    }
}
