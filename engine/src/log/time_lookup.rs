//! Finding an offset by time: the first record at or after a timestamp, or the one with the greatest.
//!
//! The log answers with a snapshot of what to search, a few segments of it at a time; the search reads files and opens batches, so
//! it runs on a maintenance thread.

use std::cmp::Reverse;
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
pub(super) enum Target {
    AtOrAfter(Timestamp),
    Greatest,
}

/// A search by time in one log, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSearch {
    target: Target,
    /// Offsets from here on are not visible.
    upper_bound: Offset,
    /// What lies below has been searched; `None` before it has begun.
    from: Option<Offset>,
    /// How many bytes it may unfold without finding what headers promise.
    allowance: usize,
    /// The greatest so far.
    best: Option<TimestampedOffset>,
    /// The greatest time that the header of a batch promised whose records did not show it, and the first offset that may have it.
    unshown: Option<(Timestamp, Reverse<Offset>)>,
}

/// What a part of a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searched {
    /// The record; `None` when no visible one is late enough.
    Ended(Option<TimestampedOffset>),
    /// The record with the greatest timestamp is in a batch that cannot be opened, or does not hold what its header promises. Any
    /// other would be the wrong one.
    Unreadable,
    /// There are further segments: ask [`Log::time_lookup`] for them.
    GoOn(TimeSearch),
}

impl TimeSearch {
    /// For the first record at or after `timestamp` below `upper_bound` (exclusive).
    #[must_use]
    pub const fn at_or_after(timestamp: Timestamp, upper_bound: Offset) -> Self {
        Self::new(Target::AtOrAfter(timestamp), upper_bound)
    }

    /// For the first record with the greatest timestamp of all below `upper_bound` (exclusive).
    #[must_use]
    pub const fn greatest(upper_bound: Offset) -> Self {
        Self::new(Target::Greatest, upper_bound)
    }

    /// The same, unfolding so many bytes in vain.
    #[cfg(test)]
    pub(super) const fn within(self, allowance: usize) -> Self {
        Self { allowance, ..self }
    }

    const fn new(target: Target, upper_bound: Offset) -> Self {
        Self {
            target,
            upper_bound,
            from: None,
            allowance: IN_VAIN_BYTES_MAX,
            best: None,
            unshown: None,
        }
    }

    /// All has been searched.
    fn end(&self) -> Searched {
        let shown = self.best.map(|best| (best.timestamp, Reverse(best.offset)));
        // Of equals the first counts.
        match self.unshown {
            Some(promised) if shown < Some(promised) => Searched::Unreadable,
            _ => Searched::Ended(self.best),
        }
    }
}

/// Blocking work: a part of a search by time, over what the log was when it was asked.
#[derive(Debug)]
pub struct TimeLookup {
    search: TimeSearch,
    /// A few.
    segments: Vec<Candidate>,
    /// Where those begin that are left.
    rest: Option<Offset>,
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
    /// The next part of a search. A log may have very many segments, and nearly always one of the first answers.
    #[must_use]
    pub fn time_lookup(&self, search: TimeSearch) -> TimeLookup {
        let mut segments = Vec::new();
        if search.target == Target::Greatest && search.from.is_none() {
            // Of the segments that are known as a whole only the greatest counts; the first of equals.
            let known = self.searchable(&search).filter_map(|(segment, end)| {
                Some((self.known_greatest(segment, end, &search)?, segment, end))
            });
            let best = known.max_by_key(|&((timestamp, offset), ..)| (timestamp, Reverse(offset)));
            segments.extend(best.map(|(_, segment, end)| self.candidate(segment, end, &search)));
        }
        let mut rest = None;
        for (segment, end) in self.searchable(&search) {
            let counts = match search.target {
                Target::AtOrAfter(timestamp) => segment
                    .max_timestamp
                    .is_some_and(|(greatest, _)| greatest >= timestamp),
                Target::Greatest => self.known_greatest(segment, end, &search).is_none(),
            };
            if counts && segments.len() == CANDIDATES_MAX {
                rest = Some(segment.base_offset);
                break;
            }
            if counts {
                segments.push(self.candidate(segment, end, &search));
            }
        }
        TimeLookup {
            search,
            segments,
            rest,
            log_start_offset: self.log_start_offset,
            upper_bound: search.upper_bound.min(self.log_end_offset),
        }
    }

    /// The segments that have visible records and are not searched yet, oldest first, and where each ends.
    fn searchable(&self, search: &TimeSearch) -> impl Iterator<Item = (&Segment, Offset)> {
        let upper_bound = search.upper_bound;
        let from = search.from.unwrap_or(self.log_start_offset);
        let from = from.max(self.log_start_offset);
        let ends = self.segments.iter().skip(1).map(|next| next.base_offset);
        let ends = ends.chain(std::iter::once(self.log_end_offset));
        let segments = self.segments.iter().zip(ends);
        segments.filter(move |(segment, end)| {
            segment.base_offset < upper_bound && segment.length > 0 && *end > from
        })
    }

    /// The greatest timestamp of a segment of which all is visible, as far as it is known.
    fn known_greatest(
        &self,
        segment: &Segment,
        end: Offset,
        search: &TimeSearch,
    ) -> Option<(Timestamp, Offset)> {
        let whole = end <= search.upper_bound && segment.base_offset >= self.log_start_offset;
        segment.max_timestamp.filter(|_| whole)
    }

    fn candidate(&self, segment: &Segment, end: Offset, search: &TimeSearch) -> Candidate {
        let greatest = self.known_greatest(segment, end, search);
        let position = match &segment.index {
            IndexState::Loaded(index) => {
                let (from, upper_bound) = (self.log_start_offset, search.upper_bound);
                Some(start_position(
                    index,
                    search.target,
                    greatest,
                    from,
                    upper_bound,
                ))
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
}

/// Where in a segment the search begins: no earlier batch can hold the answer.
pub(super) fn start_position(
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
    /// Searches. For the first at or after a time, batches whose records cannot be read are passed over. Where many headers promise
    /// what their records do not hold, the next such is taken at its word: its first offset, and what it promised.
    ///
    /// # Errors
    /// [`WalkError`] when the disk refuses or the log is damaged where the search leads.
    pub fn run(&self, disk: &Disk) -> Result<Searched, WalkError> {
        let mut search = self.search;
        for segment in &self.segments {
            match search.target {
                Target::AtOrAfter(timestamp) => {
                    let found = self.first_in(segment, timestamp, &mut search.allowance, disk)?;
                    if found.is_some() {
                        return Ok(Searched::Ended(found));
                    }
                }
                Target::Greatest => self.greatest_in(segment, &mut search, disk)?,
            }
        }
        if self.rest.is_none() {
            return Ok(search.end());
        }
        search.from = self.rest;
        Ok(Searched::GoOn(search))
    }

    fn start(&self, segment: &Candidate, disk: &Disk) -> Result<u64, WalkError> {
        match segment.position {
            Some(position) => Ok(position),
            None => {
                let index: Arc<SegmentIndex> = segment.index.run(disk)?.index;
                Ok(start_position(
                    &index,
                    self.search.target,
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
        search: &mut TimeSearch,
        disk: &Disk,
    ) -> Result<(), WalkError> {
        let start = self.start(segment, disk)?;
        let mut walker = Walker::new(&segment.file, start, segment.length);
        let mut best: Option<Walked> = None;
        while let Some(batch) = self.next_visible(&mut walker)? {
            if batch.header.base_offset() < self.log_start_offset {
                // Its header tells of records that are gone, too.
                self.greatest_in_batch(&mut walker, &batch, search)?;
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
        match best {
            Some(batch) => self.greatest_in_batch(&mut walker, &batch, search),
            None => Ok(()),
        }
    }

    /// Takes in the first record with the greatest timestamp of those in a batch that are not below the log's start, if it has one. What
    /// the header promises and the records do not show is kept in mind: another batch would be answered for it.
    fn greatest_in_batch(
        &self,
        walker: &mut Walker<'_>,
        batch: &Walked,
        search: &mut TimeSearch,
    ) -> Result<(), WalkError> {
        let bytes = walker.whole(batch)?;
        let from = self.log_start_offset;
        let promised = batch.header.max_timestamp();
        // Of a batch that is cut the record that was promised may be gone.
        let is_whole = batch.header.base_offset() >= from;
        let is_shown = match record_of_max_timestamp(&bytes, from, BODY_BYTES_MAX_DEFAULT) {
            Ok(found) => {
                let found = found.map(|(offset, timestamp)| answer(batch, offset, timestamp));
                search.best = greatest_of(search.best, found);
                let greatest = found.map_or(Timestamp::NONE, |found| found.timestamp);
                greatest >= promised || !is_whole
            }
            Err(_) => false,
        };
        if !is_shown {
            let first = batch.header.base_offset().max(from);
            search.unshown = search.unshown.max(Some((promised, Reverse(first))));
        }
        Ok(())
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

/// How much a search may unfold without finding what headers promise: bodies that clients compressed are not looked into when they
/// come, so it may be any number of them. Two as large as any.
const IN_VAIN_BYTES_MAX: usize = 2 * BODY_BYTES_MAX_DEFAULT;

/// How many segments one part of a search takes.
const CANDIDATES_MAX: usize = 8;

/// The one with the greater timestamp; of equals the one with the lower offset.
fn greatest_of(
    one: Option<TimestampedOffset>,
    other: Option<TimestampedOffset>,
) -> Option<TimestampedOffset> {
    let both = one.into_iter().chain(other);
    both.max_by_key(|found| (found.timestamp, Reverse(found.offset)))
}

fn answer(batch: &Walked, offset: Offset, timestamp: Timestamp) -> TimestampedOffset {
    TimestampedOffset {
        timestamp,
        offset,
        leader_epoch: batch.header.leader_epoch(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, config};
    use super::*;
    use crate::record::{BatchBuilder, PreparedBatch};

    /// The times of a batch's records, and what its header promises.
    type Times = (&'static [i64], i64);

    const LYING: Times = (&[10], 100);
    const TIMELESS: Times = (&[-1], -1);

    /// A log with a segment for each of `batches`.
    fn log_of(batches: &[Times]) -> (Fixture, Log) {
        let fixture = Fixture::new(config(120));
        let mut log = fixture.fresh();
        for batch in batches {
            append(&fixture, &mut log, *batch, 0);
        }
        assert_eq!(log.segment_count(), batches.len());
        (fixture, log)
    }

    /// Appends a batch whose header names `codec`; its records are not packed.
    fn append(fixture: &Fixture, log: &mut Log, (times, promised): Times, codec: u8) {
        let mut builder = BatchBuilder::new();
        for &time in times {
            builder.push(Timestamp(time), None, Some(b"value"), &[]);
        }
        let mut bytes = builder.build().to_vec();
        bytes[22] |= codec;
        bytes[35..43].copy_from_slice(&promised.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let batch = PreparedBatch::from_builder(&bytes.into()).unwrap();
        fixture.append(log, &batch);
    }

    /// What a search finds, and in how many parts, none of which takes many segments.
    fn parts(fixture: &Fixture, log: &Log, mut search: TimeSearch) -> (Option<(i64, i64)>, usize) {
        for part in 1.. {
            let lookup = log.time_lookup(search);
            assert!(lookup.segments.len() <= 8);
            match lookup.run(&fixture.disk).unwrap() {
                Searched::Ended(found) => {
                    return (found.map(|found| (found.offset.0, found.timestamp.0)), part);
                }
                Searched::Unreadable => panic!("a batch cannot be opened"),
                Searched::GoOn(further) => search = further,
            }
        }
        unreachable!("it ends")
    }

    /// Another record passed for the one with the greatest time, or the log for one without records.
    #[test]
    fn no_other_record_is_answered_for_the_greatest_time_where_its_batch_does_not_show_it() {
        const GZIP: u8 = 1;
        const UNKNOWN: u8 = 7;
        let batches: [(Times, u8); 3] =
            [(LYING, 0), ((&[100], 100), GZIP), ((&[100], 100), UNKNOWN)];
        for segment_bytes in [120, 100_000] {
            for (broken, codec) in batches {
                let fixture = Fixture::new(config(segment_bytes));
                let mut log = fixture.fresh();
                let greatest = |log: &Log| {
                    let mut search = TimeSearch::greatest(log.log_end_offset());
                    loop {
                        match log.time_lookup(search).run(&fixture.disk).unwrap() {
                            Searched::GoOn(further) => search = further,
                            ended => return ended,
                        }
                    }
                };
                append(&fixture, &mut log, (&[50], 50), 0);
                append(&fixture, &mut log, broken, codec);
                append(&fixture, &mut log, (&[60], 60), 0);
                assert_eq!(greatest(&log), Searched::Unreadable, "{broken:?} {codec}");
                append(&fixture, &mut log, (&[100], 100), 0);
                assert_eq!(greatest(&log), Searched::Unreadable, "it may be the first");
                append(&fixture, &mut log, (&[101], 101), 0);
                let Searched::Ended(Some(found)) = greatest(&log) else {
                    panic!("later than all that is promised");
                };
                assert_eq!((found.offset, found.timestamp), (Offset(4), Timestamp(101)));
                append(&fixture, &mut log, (&[101], 101), codec);
                let Searched::Ended(Some(found)) = greatest(&log) else {
                    panic!("the first of equals");
                };
                assert_eq!(found.offset, Offset(4));
            }
        }
    }

    #[test]
    fn a_search_takes_a_few_segments_at_a_time_and_goes_on_behind_headers_that_lie() {
        let mut batches = vec![LYING; 300];
        batches[200] = (&[60], 60);
        let (fixture, log) = log_of(&batches);
        let end = log.log_end_offset();
        let search = |time| {
            let search = TimeSearch::at_or_after(Timestamp(time), end);
            parts(&fixture, &log, search)
        };
        assert_eq!(search(0), (Some((0, 10)), 1));
        assert_eq!(search(50), (Some((200, 60)), 200 / 8 + 1));
        assert_eq!(search(70), (None, 299_usize.div_ceil(8)));
        assert_eq!(search(200), (None, 1));
    }

    #[test]
    fn what_a_search_unfolds_in_vain_counts_over_all_its_parts() {
        let batches = vec![LYING; 30];
        let (fixture, log) = log_of(&batches);
        let search = TimeSearch::at_or_after(Timestamp(50), log.log_end_offset());
        let body_bytes = log.size_bytes() / 30 - 61;
        let search = search.within(usize::try_from(20 * body_bytes).unwrap());
        assert_eq!(parts(&fixture, &log, search), (Some((20, 100)), 3));
    }

    #[test]
    fn the_greatest_time_is_the_first_of_equals_also_behind_many_segments_without_times() {
        let mut batches = vec![TIMELESS; 40];
        batches[30] = (&[70], 70);
        batches[35] = (&[70], 70);
        let (fixture, log) = log_of(&batches);
        let search = TimeSearch::greatest(log.log_end_offset());
        assert_eq!(parts(&fixture, &log, search), (Some((30, 70)), 5));
        // Of the first segment nobody knows how late the records are that are left.
        batches[0] = (&[70, 70], 70);
        let (fixture, mut log) = log_of(&batches);
        assert!(log.move_log_start(Offset(1)));
        let search = TimeSearch::greatest(log.log_end_offset());
        assert_eq!(parts(&fixture, &log, search), (Some((1, 70)), 5));
    }
}
