//! Finding an offset by time: the first record at or after a timestamp, or the one with the greatest.
//!
//! The log answers with a snapshot of what to search; the search reads files and opens batches, so it runs on a
//! maintenance thread.

use std::sync::Arc;

use super::Log;
use super::segment::{IndexJob, IndexState, Segment, SegmentIndex};
use super::walk::{WalkError, Walked, Walker};
use crate::io::{Disk, File};
use crate::record::{BODY_BYTES_MAX_DEFAULT, RecordError, record_of_max_timestamp, records};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// The record's own timestamp.
    pub timestamp: Timestamp,
    /// Its offset.
    pub offset: Offset,
    /// The leader epoch it was written under.
    pub leader_epoch: LeaderEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    AtOrAfter(Timestamp),
    Greatest,
}

/// Blocking work: a search by time over what the log was when it was asked.
#[derive(Debug)]
pub struct TimeLookup {
    target: Target,
    segments: Vec<Candidate>,
    log_start_offset: Offset,
    /// Offsets from here on are not visible.
    upper_bound: Offset,
}

/// A segment that may hold the answer.
#[derive(Debug)]
struct Candidate {
    file: File,
    length: u64,
    /// Where to begin; without it the index has to be loaded.
    position: Option<u64>,
    index: IndexJob,
    /// All of it lies below the bound, and this is its greatest timestamp.
    greatest: Option<(Timestamp, Offset)>,
}

impl Log {
    /// A search for the first record at or after `timestamp` below `upper_bound` (exclusive).
    #[must_use]
    pub fn find_timestamp(&self, timestamp: Timestamp, upper_bound: Offset) -> TimeLookup {
        let target = Target::AtOrAfter(timestamp);
        let late_enough = |segment: &&Segment| {
            segment
                .max_timestamp
                .is_some_and(|(greatest, _)| greatest >= timestamp)
        };
        let segments = self.candidates(upper_bound).filter(late_enough);
        let segments = segments.map(|segment| self.candidate(segment, target, upper_bound));
        self.lookup(target, segments.collect(), upper_bound)
    }

    /// A search for the first record with the greatest timestamp of all below `upper_bound` (exclusive).
    #[must_use]
    pub fn find_max_timestamp(&self, upper_bound: Offset) -> TimeLookup {
        let target = Target::Greatest;
        let segments = self
            .candidates(upper_bound)
            .map(|segment| self.candidate(segment, target, upper_bound));
        let mut segments: Vec<Candidate> = segments.collect();
        // Of the segments that are known as a whole only the greatest counts; the first of equals.
        let best = segments
            .iter()
            .filter_map(|segment| segment.greatest)
            .max_by_key(|&(timestamp, offset)| (timestamp, std::cmp::Reverse(offset)));
        segments.retain(|segment| segment.greatest.is_none() || segment.greatest == best);
        self.lookup(target, segments, upper_bound)
    }

    fn candidates(&self, upper_bound: Offset) -> impl Iterator<Item = &Segment> {
        let log_start_offset = self.log_start_offset;
        self.segments.iter().filter(move |segment| {
            let end = self.segments.end_of(segment.base_offset);
            segment.base_offset < upper_bound
                && segment.length > 0
                && end.is_none_or(|end| end > log_start_offset)
        })
    }

    fn candidate(&self, segment: &Segment, target: Target, upper_bound: Offset) -> Candidate {
        let end = self.segments.end_of(segment.base_offset);
        let end = end.unwrap_or(self.log_end_offset);
        let whole = end <= upper_bound && segment.base_offset >= self.log_start_offset;
        let greatest = segment.max_timestamp.filter(|_| whole);
        let position = match &segment.index {
            IndexState::Loaded(index) => {
                let from = self.log_start_offset;
                Some(start_position(index, target, greatest, from, upper_bound))
            }
            IndexState::OnDisk => None,
        };
        Candidate {
            file: segment.file.clone(),
            length: segment.length,
            position,
            index: segment.index_job(
                &self.directory,
                self.config.index_interval_bytes,
                false,
                // A reader may write the same file at this moment.
                false,
            ),
            greatest,
        }
    }

    fn lookup(&self, target: Target, segments: Vec<Candidate>, upper_bound: Offset) -> TimeLookup {
        TimeLookup {
            target,
            segments,
            log_start_offset: self.log_start_offset,
            upper_bound: upper_bound.min(self.log_end_offset),
        }
    }
}

/// Where in a segment the search begins: no earlier batch can hold the answer.
fn start_position(
    index: &SegmentIndex,
    target: Target,
    greatest: Option<(Timestamp, Offset)>,
    log_start_offset: Offset,
    upper_bound: Offset,
) -> u64 {
    let offset = match (target, greatest) {
        (Target::AtOrAfter(timestamp), _) => index.times.floor(timestamp),
        (Target::Greatest, Some((_, offset))) => Some(offset),
        (Target::Greatest, None) => index
            .times
            .floor_by_offset(upper_bound)
            .map(|(_, offset)| offset)
            .filter(|&offset| offset >= log_start_offset),
    };
    let Some(offset) = offset else {
        return 0;
    };
    let offset = match target {
        Target::AtOrAfter(_) => offset.max(log_start_offset),
        Target::Greatest => offset,
    };
    index.offsets.floor(offset).map_or(0, |entry| entry.1)
}

impl TimeLookup {
    /// Searches; `None` when no visible record is late enough. Batches whose records cannot be read are passed over. Where many headers
    /// promise what their records do not hold, the next such is taken at its word: its first offset, and what it promised.
    ///
    /// # Errors
    /// [`WalkError`] when the disk refuses or the log is damaged where the search leads.
    pub fn run(&self, disk: &Disk) -> Result<Option<TimestampedOffset>, WalkError> {
        self.run_within(IN_VAIN_BYTES_MAX, disk)
    }

    /// As [`Self::run`], opening so many bytes in vain.
    pub(super) fn run_within(
        &self,
        mut allowance: usize,
        disk: &Disk,
    ) -> Result<Option<TimestampedOffset>, WalkError> {
        match self.target {
            Target::AtOrAfter(timestamp) => {
                for segment in &self.segments {
                    let found = self.first_in(segment, timestamp, &mut allowance, disk)?;
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                Ok(None)
            }
            Target::Greatest => {
                let mut best = None;
                for segment in &self.segments {
                    best = greatest_of(best, self.greatest_in(segment, disk)?);
                }
                Ok(best)
            }
        }
    }

    fn start(&self, segment: &Candidate, disk: &Disk) -> Result<u64, WalkError> {
        match segment.position {
            Some(position) => Ok(position),
            None => {
                let index: Arc<SegmentIndex> = segment.index.run(disk)?.index;
                Ok(start_position(
                    &index,
                    self.target,
                    segment.greatest,
                    self.log_start_offset,
                    self.upper_bound,
                ))
            }
        }
    }

    fn first_in(
        &self,
        segment: &Candidate,
        timestamp: Timestamp,
        allowance: &mut usize,
        disk: &Disk,
    ) -> Result<Option<TimestampedOffset>, WalkError> {
        let start = self.start(segment, disk)?;
        let mut walker = Walker::new(&segment.file, start, segment.length);
        let from = self.log_start_offset;
        while let Some(batch) = self.next_visible(&mut walker)? {
            let promised = batch.header.max_timestamp();
            if promised < timestamp {
                continue;
            }
            if *allowance == 0 {
                let offset = batch.header.base_offset().max(from);
                return Ok(Some(answer(&batch, offset, promised)));
            }
            let bytes = walker.whole(&batch)?;
            let opened = match records(&bytes, BODY_BYTES_MAX_DEFAULT) {
                Ok(mut records) => {
                    let found = records.first_at_or_after(timestamp, from);
                    if let Ok(Some((offset, timestamp))) = found {
                        return Ok(Some(answer(&batch, offset, timestamp)));
                    }
                    records.body_bytes()
                }
                Err(RecordError::BodyTooLarge { .. }) => BODY_BYTES_MAX_DEFAULT,
                Err(_) => bytes.len(),
            };
            *allowance = allowance.saturating_sub(opened);
        }
        Ok(None)
    }

    fn greatest_in(
        &self,
        segment: &Candidate,
        disk: &Disk,
    ) -> Result<Option<TimestampedOffset>, WalkError> {
        let start = self.start(segment, disk)?;
        let mut walker = Walker::new(&segment.file, start, segment.length);
        let mut best: Option<Walked> = None;
        let mut of_cut = None;
        while let Some(batch) = self.next_visible(&mut walker)? {
            if batch.header.base_offset() < self.log_start_offset {
                // Its header tells of records that are gone, too.
                of_cut = self.greatest_in_batch(&mut walker, &batch)?;
                continue;
            }
            let timestamp = batch.header.max_timestamp();
            if best.is_none_or(|best| timestamp > best.header.max_timestamp()) {
                best = Some(batch);
            }
            if segment
                .greatest
                .is_some_and(|(known, _)| timestamp >= known)
            {
                break;
            }
        }
        let of_best = match best {
            Some(batch) => self.greatest_in_batch(&mut walker, &batch)?,
            None => None,
        };
        Ok(greatest_of(of_cut, of_best))
    }

    /// The first record with the greatest timestamp of those in a batch that are not below the log's start; `None` where it has none, or
    /// cannot be read.
    fn greatest_in_batch(
        &self,
        walker: &mut Walker<'_>,
        batch: &Walked,
    ) -> Result<Option<TimestampedOffset>, WalkError> {
        let bytes = walker.whole(batch)?;
        let from = self.log_start_offset;
        let found = record_of_max_timestamp(&bytes, from, BODY_BYTES_MAX_DEFAULT);
        let found = found.ok().flatten();
        Ok(found.map(|(offset, timestamp)| answer(batch, offset, timestamp)))
    }

    /// The next batch that has visible records; `None` at the bound.
    fn next_visible(&self, walker: &mut Walker<'_>) -> Result<Option<Walked>, WalkError> {
        while let Some(batch) = walker.next_batch()? {
            if batch.header.last_offset() >= self.upper_bound {
                return Ok(None);
            }
            // Compaction leaves batches without records.
            let has_records = batch.header.record_count() > 0;
            if has_records && batch.header.last_offset() >= self.log_start_offset {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
impl TimeLookup {
    /// A search where nothing is.
    pub(crate) fn of_nothing() -> Self {
        Self {
            target: Target::Greatest,
            segments: Vec::new(),
            log_start_offset: Offset::ZERO,
            upper_bound: Offset::ZERO,
        }
    }
}

/// How much a search may unfold without finding what headers promise: bodies that clients compressed are not looked into when they
/// come, so it may be any number of them. Two as large as any.
const IN_VAIN_BYTES_MAX: usize = 2 * BODY_BYTES_MAX_DEFAULT;

/// The one with the greater timestamp; of equals the one that comes before.
fn greatest_of(
    before: Option<TimestampedOffset>,
    behind: Option<TimestampedOffset>,
) -> Option<TimestampedOffset> {
    let is_greater = |behind: &TimestampedOffset| {
        before.is_none_or(|before| behind.timestamp > before.timestamp)
    };
    behind.filter(is_greater).or(before)
}

fn answer(batch: &Walked, offset: Offset, timestamp: Timestamp) -> TimestampedOffset {
    TimestampedOffset {
        timestamp,
        offset,
        leader_epoch: batch.header.leader_epoch(),
    }
}
