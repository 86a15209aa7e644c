//! A segment's index files, held against its batches while these are walked.
//!
//! An index may have fewer entries than it could, but none that is not true. The time index of a closed segment ends with
//! the greatest timestamp: Kafka, and the next start, read it from there.

use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use super::finding::{Cure, Finding, Place, Sort};
use crate::io::Disk;
use crate::log::checkpoint::read_if_there;
use crate::log::names;
use crate::log::offset_index::{IndexError, OFFSET_ENTRY_BYTES, OffsetIndex};
use crate::log::time_index::{TIME_ENTRY_BYTES, TimeIndex};
use crate::log::walk::Walked;
use crate::types::{Offset, Timestamp};

/// Bytes of one aborted transaction in a `.txnindex`: version, producer, first, last and last stable offset.
const TRANSACTION_ENTRY_BYTES: usize = 34;

/// The index files of one segment, and how far they were compared.
pub(super) struct IndexWalk {
    offsets: Side<(Offset, u64)>,
    times: Side<(Timestamp, Offset)>,
    /// The time index has to end with the greatest timestamp.
    complete: bool,
    max_timestamp: Timestamp,
}

/// One file: its entries that are still to be met, and whether something was wrong already.
struct Side<T> {
    path: PathBuf,
    sort: Sort,
    entry_bytes: u64,
    entries: Peekable<IntoIter<T>>,
    last: Option<T>,
    place: u64,
    there: bool,
    wrong: bool,
}

impl<T: Copy> Side<T> {
    fn new(path: PathBuf, sort: Sort, entry_bytes: usize) -> Self {
        Self {
            path,
            sort,
            entry_bytes: u64::try_from(entry_bytes).unwrap_or_default(),
            entries: Vec::new().into_iter().peekable(),
            last: None,
            place: 0,
            there: false,
            wrong: false,
        }
    }

    fn fill(&mut self, entries: Vec<T>) {
        self.there = true;
        self.last = entries.last().copied();
        self.entries = entries.into_iter().peekable();
    }

    fn next_if(&mut self, met: impl Fn(&T) -> bool) -> Option<T> {
        let next = self.entries.next_if(|entry| met(entry));
        self.place += u64::from(next.is_some());
        next
    }

    /// One fault per file is enough: it is built anew as a whole.
    fn wrong(
        &mut self,
        place: Place,
        expected: String,
        found: String,
        findings: &mut Vec<Finding>,
    ) {
        if std::mem::replace(&mut self.wrong, true) {
            return;
        }
        findings.push(Finding {
            path: self.path.clone(),
            sort: self.sort,
            place,
            expected,
            found,
            cure: Cure::Rebuild,
        });
    }

    /// The place of the entry met last.
    fn position(&self) -> Place {
        Place::Byte(self.place.saturating_sub(1) * self.entry_bytes)
    }

    fn undecodable(&mut self, error: &IndexError, findings: &mut Vec<Finding>) {
        let place = match error {
            IndexError::PartialEntry { length, .. } => u64::try_from(*length).unwrap_or_default(),
            IndexError::Disordered { index } | IndexError::OutOfBounds { index } => {
                u64::try_from(*index).unwrap_or_default() * self.entry_bytes
            }
            IndexError::Empty => 0,
        };
        let expected = "entries that grow and lie within the segment".to_owned();
        self.wrong(Place::Byte(place), expected, error.to_string(), findings);
    }
}

impl IndexWalk {
    pub(super) fn open(
        disk: &Disk,
        directory: &Path,
        base_offset: Offset,
        length: u64,
        complete: bool,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let path = |ending| names::segment_file(directory, base_offset, ending);
        let mut walk = Self {
            offsets: Side::new(
                path(names::OFFSET_INDEX),
                Sort::OffsetIndex,
                OFFSET_ENTRY_BYTES,
            ),
            times: Side::new(path(names::TIME_INDEX), Sort::TimeIndex, TIME_ENTRY_BYTES),
            complete,
            max_timestamp: Timestamp::NONE,
        };
        match read_if_there(disk, &walk.offsets.path) {
            Ok(None) => {}
            Ok(Some(bytes)) => match OffsetIndex::decode(base_offset, &bytes, length) {
                Ok(index) => walk.offsets.fill(index.entries().collect()),
                Err(error) => walk.offsets.undecodable(&error, findings),
            },
            Err(error) => {
                walk.offsets.wrong = true;
                findings.push(Finding::unreadable(
                    Sort::OffsetIndex,
                    &error,
                    Cure::Rebuild,
                ));
            }
        }
        match read_if_there(disk, &walk.times.path) {
            Ok(None) => {}
            Ok(Some(bytes)) => match TimeIndex::decode(base_offset, &bytes) {
                Ok(index) => walk.times.fill(index.entries().collect()),
                Err(error) => walk.times.undecodable(&error, findings),
            },
            Err(error) => {
                walk.times.wrong = true;
                findings.push(Finding::unreadable(Sort::TimeIndex, &error, Cure::Rebuild));
            }
        }
        check_transactions(disk, path(names::TRANSACTION_INDEX), findings);
        if complete && length > 0 {
            let expected = || "the index of a closed segment".to_owned();
            let none = || "no file".to_owned();
            if !walk.offsets.there {
                walk.offsets
                    .wrong(Place::File, expected(), none(), findings);
            }
            if !walk.times.there {
                walk.times.wrong(Place::File, expected(), none(), findings);
            }
        }
        walk
    }

    /// Takes notice of the next batch of the segment.
    pub(super) fn note(&mut self, batch: &Walked, findings: &mut Vec<Finding>) {
        let header = &batch.header;
        let (position, last_offset) = (batch.position, header.last_offset());
        // A batch that compaction emptied has no record to be found by time.
        if header.record_count() > 0 {
            self.max_timestamp = self.max_timestamp.max(header.max_timestamp());
        }
        while let Some((offset, at)) = self.offsets.next_if(|entry| entry.1 <= position) {
            if at != position || offset != last_offset {
                let expected = format!("the batch at {position} to end with offset {last_offset}");
                let found = format!("offset {offset} at {at}");
                let place = self.offsets.position();
                self.offsets.wrong(place, expected, found, findings);
            }
        }
        while let Some((timestamp, offset)) = self.times.next_if(|entry| entry.1 <= last_offset) {
            if timestamp != self.max_timestamp || offset < header.base_offset() {
                let greatest = self.max_timestamp;
                let expected =
                    format!("timestamp {greatest}, the greatest up to offset {last_offset}");
                let found = format!("timestamp {timestamp} up to offset {offset}");
                let place = self.times.position();
                self.times.wrong(place, expected, found, findings);
            }
        }
    }

    /// The walk has come to the end of the segment; `sound`: through all of it.
    pub(super) fn finish(mut self, sound: bool, findings: &mut Vec<Finding>) {
        if !sound {
            return;
        }
        if let Some((offset, at)) = self.offsets.next_if(|_| true) {
            let place = self.offsets.position();
            let found = format!("offset {offset} at {at}");
            self.offsets.wrong(
                place,
                "no entry behind the last batch".to_owned(),
                found,
                findings,
            );
        }
        if let Some((timestamp, offset)) = self.times.next_if(|_| true) {
            let place = self.times.position();
            let found = format!("timestamp {timestamp} up to offset {offset}");
            self.times.wrong(
                place,
                "no entry behind the last batch".to_owned(),
                found,
                findings,
            );
        }
        let last = self.times.last.map_or(Timestamp::NONE, |last| last.0);
        if self.complete && self.times.there && last < self.max_timestamp {
            let expected = format!("timestamp {} at its end", self.max_timestamp);
            self.times
                .wrong(Place::File, expected, format!("timestamp {last}"), findings);
        }
    }
}

fn check_transactions(disk: &Disk, path: PathBuf, findings: &mut Vec<Finding>) {
    let sort = Sort::TransactionIndex;
    match read_if_there(disk, &path) {
        Ok(bytes) => {
            let bytes = bytes.unwrap_or_default();
            if bytes.len() % TRANSACTION_ENTRY_BYTES != 0 {
                findings.push(Finding {
                    path,
                    sort,
                    place: Place::File,
                    expected: format!("entries of {TRANSACTION_ENTRY_BYTES} bytes"),
                    found: format!("{} bytes", bytes.len()),
                    cure: Cure::Restore,
                });
            }
        }
        Err(error) => findings.push(Finding::unreadable(sort, &error, Cure::Restore)),
    }
}
