//! The small files beside a segment: its indexes, producer snapshots and the leader epoch checkpoint.
//!
//! Offset and time indexes are compared with the log, which is right if they differ.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use millrace_engine::record::{Batch, records};

use super::{BODY_BYTES_MAX, Failure, Flags, Segment, optional};

/// Where index files and logs differ.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Index file, offset in it, offset found in the log.
    offsets: Vec<(PathBuf, i64, i64)>,
    /// Index file, timestamp in it, timestamp found in the log.
    timestamps: Vec<(PathBuf, i64, i64)>,
    /// Index file, timestamp, the one before it.
    unordered: Vec<(PathBuf, i64, i64)>,
    /// Offset in a time index, offset found in the log (-1: none).
    missing: Vec<(i64, i64)>,
}

impl Faults {
    /// Prints them on standard error.
    pub(super) fn report(&self) {
        for (path, index, log) in &self.offsets {
            eprintln!("Mismatches in :{}", path.display());
            eprintln!("  Index offset: {index}, log offset: {log}");
        }
        for (path, index, log) in &self.timestamps {
            eprintln!("Found timestamp mismatch in :{}", path.display());
            eprintln!("  Index timestamp: {index}, log timestamp: {log}");
        }
        for (path, index, before) in &self.unordered {
            eprintln!("Found out of order timestamp in :{}", path.display());
            eprintln!("  Index timestamp: {index}, Previously indexed timestamp: {before}");
        }
        if !self.missing.is_empty() {
            eprintln!("The following indexed offsets are not found in the log.");
        }
        for (index, log) in &self.missing {
            eprintln!("Indexed offset: {index}, found log offset: {log}");
        }
    }
}

/// The offset in the name of a segment's file.
pub(super) fn base_offset(path: &Path) -> Result<i64, Failure> {
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    let digits = stem.split('.').next().unwrap_or_default();
    digits.parse().map_err(|_| {
        Failure::Text(format!(
            "{}: the name of the file is no offset",
            path.display()
        ))
    })
}

/// Larger than any index; a file that claims more is no index.
const FILE_BYTES_MAX: u64 = 1 << 30;

fn read(path: &Path) -> Result<Bytes, Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes.into())
}

/// Offsets with positions: 8 bytes each, relative offset and position.
fn offset_entries(path: &Path) -> Result<Vec<(i64, u64)>, Failure> {
    let base = base_offset(path)?;
    let mut bytes = read(path)?;
    let mut entries = Vec::new();
    while let (Ok(relative), Ok(position)) = (bytes.try_get_u32(), bytes.try_get_u32()) {
        let offset = base.saturating_add(i64::from(relative));
        // Zeros behind the entries: space that was made ahead.
        if offset == base && !entries.is_empty() {
            break;
        }
        entries.push((offset, u64::from(position)));
    }
    Ok(entries)
}

/// Whether the file is empty or fails the check that is made when a log is opened; then that was said.
fn settled(
    flags: &Flags,
    path: &Path,
    entry_bytes: u64,
    last_offset: Option<i64>,
    out: &mut dyn Write,
) -> Result<bool, Failure> {
    let name = path.display();
    let length = std::fs::metadata(path)
        .map_err(|error| Failure::file(path, &error))?
        .len();
    if flags.index_sanity_check {
        if last_offset.is_some_and(|offset| base_offset(path).is_ok_and(|base| offset < base)) {
            return Err(Failure::Text(format!(
                "{name}: the last offset is below the first"
            )));
        }
        if length % entry_bytes != 0 {
            return Err(Failure::Text(format!(
                "Corrupt index found, index file ({name}) has {length} bytes, which is not a multiple of {entry_bytes}"
            )));
        }
        writeln!(out, "{name} passed sanity check.")?;
        return Ok(true);
    }
    Ok(false)
}

/// Dumps an offset index and compares it with its log.
pub(super) fn offset_index(
    flags: &Flags,
    path: &Path,
    faults: &mut Faults,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let entries = offset_entries(path)?;
    if entries.is_empty() {
        writeln!(out, "{} is empty.", path.display())?;
        return Ok(());
    }
    if settled(
        flags,
        path,
        8,
        entries.last().map(|(offset, _)| *offset),
        out,
    )? {
        return Ok(());
    }
    let log = path.with_extension("log");
    let mut segment = Segment::open(&log, u64::MAX)?;
    for (offset, position) in entries {
        let found = batch_at(&mut segment, &log, position)?;
        let last_offset = found.map_or(-1, |batch| batch.header.last_offset().0);
        if last_offset != offset {
            faults.offsets.push((path.to_owned(), offset, last_offset));
        }
        if !flags.verify_index_only {
            writeln!(out, "offset: {offset} position: {position}")?;
        }
    }
    Ok(())
}

fn batch_at<F: Read + Seek>(
    segment: &mut Segment<F>,
    log: &Path,
    position: u64,
) -> Result<Option<Batch>, Failure> {
    let failed = |error: std::io::Error| Failure::file(log, &error);
    segment.seek(position).map_err(failed)?;
    Ok(segment.next().map_err(failed)?.and_then(Result::ok))
}

/// Dumps a time index and compares it with its log, which is searched through the offset index.
pub(super) fn time_index(
    flags: &Flags,
    path: &Path,
    faults: &mut Faults,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let mut bytes = read(path)?;
    let mut entries = Vec::new();
    while let (Ok(timestamp), Ok(relative)) = (bytes.try_get_i64(), bytes.try_get_u32()) {
        let offset = base.saturating_add(i64::from(relative));
        if offset == base && !entries.is_empty() {
            break;
        }
        entries.push((timestamp, offset));
    }
    if settled(
        flags,
        path,
        12,
        entries.last().map(|(_, offset)| *offset),
        out,
    )? {
        return Ok(());
    }
    let log = path.with_extension("log");
    let positions = offset_entries(&path.with_extension("index")).unwrap_or_default();
    let segment = Segment::open(&log, u64::MAX)?;
    let mut search = Search::new(segment, &log, positions);
    let mut before = -1;
    for (timestamp, offset) in entries {
        match search.batch_with(offset)? {
            Some(batch) if batch.header.last_offset().0 == offset => {
                let found = max_timestamp(&batch);
                if found != timestamp {
                    faults.timestamps.push((path.to_owned(), timestamp, found));
                }
                if before >= timestamp {
                    faults.unordered.push((path.to_owned(), timestamp, before));
                }
            }
            other => {
                let found = other.map_or(-1, |batch| batch.header.last_offset().0);
                faults.missing.push((offset, found));
            }
        }
        if !flags.verify_index_only {
            writeln!(out, "timestamp: {timestamp} offset: {offset}")?;
        }
        before = timestamp;
    }
    Ok(())
}

/// The position of the last of these entries at or below `offset`; the log's beginning where there is none.
fn position_below(positions: &[(i64, u64)], offset: i64) -> u64 {
    let count = positions.partition_point(|(indexed, _)| *indexed <= offset);
    let below = positions.iter().take(count).next_back();
    below.map_or(0, |(_, position)| *position)
}

/// Looks for one offset after the other in a log. Where ascending ones have no entry of the offset index between them, as
/// where that index is missing, the log is read once for all of them.
struct Search<'a, F = File> {
    segment: Segment<F>,
    log: &'a Path,
    /// Entries of the offset index.
    positions: Vec<(i64, u64)>,
    /// Where the last search began, and for which offset. It ended where the segment stands.
    last: Option<(u64, i64)>,
    /// What it found.
    found: Option<Batch>,
}

impl<'a, F: Read + Seek> Search<'a, F> {
    fn new(segment: Segment<F>, log: &'a Path, positions: Vec<(i64, u64)>) -> Self {
        Self {
            segment,
            log,
            positions,
            last: None,
            found: None,
        }
    }

    /// The first batch, from the position that the offset index gives, that ends at or behind `offset`.
    fn batch_with(&mut self, offset: i64) -> Result<Option<Batch>, Failure> {
        let log = self.log;
        let failed = |error: std::io::Error| Failure::file(log, &error);
        let start = position_below(&self.positions, offset);
        // From the same beginning this one would come by all that the last one did.
        let goes_on = self
            .last
            .is_some_and(|(begun, sought)| begun == start && sought <= offset);
        self.last = Some((start, offset));
        let found = self.found.take().filter(|_| goes_on);
        if let Some(batch) = found
            && batch.header.last_offset().0 >= offset
        {
            self.found = Some(batch.clone());
            return Ok(Some(batch));
        }
        let from = match goes_on {
            true => self.segment.position,
            false => start,
        };
        self.segment.seek(from).map_err(failed)?;
        while let Some(Ok(batch)) = self.segment.next().map_err(failed)? {
            if batch.header.last_offset().0 >= offset {
                self.found = Some(batch.clone());
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

fn max_timestamp(batch: &Batch) -> i64 {
    let Ok(found) = records(&batch.bytes, BODY_BYTES_MAX) else {
        return -1;
    };
    found
        .map_while(Result::ok)
        .map(|record| record.timestamp.0)
        .fold(-1, i64::max)
}

/// Dumps an index of aborted transactions: 34 bytes each.
pub(super) fn transaction_index(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let mut bytes = read(path)?;
    while let Ok(version) = bytes.try_get_i16() {
        let mut number = || bytes.try_get_i64().ok();
        let (Some(producer), Some(first), Some(last), Some(stable)) =
            (number(), number(), number(), number())
        else {
            return Err(Failure::Text(format!(
                "{}: the last entry is cut short",
                path.display()
            )));
        };
        writeln!(
            out,
            "version: {version} producerId: {producer} firstOffset: {first} lastOffset: {last} lastStableOffset: {stable}"
        )?;
    }
    Ok(())
}

/// Dumps a snapshot of producers.
pub(super) fn producer_snapshot(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let bytes = read(path)?;
    match snapshot_lines(bytes) {
        Some(lines) => {
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
        None => {
            out.flush()?;
            eprintln!(
                "Snapshot {} is corrupt or of an unknown version",
                path.display()
            );
        }
    }
    Ok(())
}

/// Version, checksum and count, then an entry for each producer.
fn snapshot_lines(mut bytes: Bytes) -> Option<Vec<String>> {
    let version = bytes.try_get_i16().ok()?;
    let _checksum = bytes.try_get_u32().ok()?;
    if version != 1 {
        return None;
    }
    let mut lines = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let producer = bytes.try_get_i64().ok()?;
        let epoch = bytes.try_get_i16().ok()?;
        let last_sequence = bytes.try_get_i32().ok()?;
        let last_offset = bytes.try_get_i64().ok()?;
        let delta = bytes.try_get_i32().ok()?;
        let timestamp = bytes.try_get_i64().ok()?;
        let coordinator_epoch = bytes.try_get_i32().ok()?;
        let first_offset = optional(bytes.try_get_i64().ok()?);
        let mut line = format!(
            "producerId: {producer} producerEpoch: {epoch} coordinatorEpoch: {coordinator_epoch} currentTxnFirstOffset: {first_offset} lastTimestamp: {timestamp}"
        );
        if last_offset >= 0 {
            // Sequences go round: below 0 comes the highest.
            let first = i64::from(last_sequence) - i64::from(delta);
            let first = if first < 0 { first + (1 << 31) } else { first };
            line.push_str(&format!(
                " firstSequence: {first} lastSequence: {last_sequence} lastOffset: {last_offset} offsetDelta: {delta} timestamp: {timestamp}"
            ));
        }
        lines.push(line);
    }
    Some(lines)
}

/// Dumps a leader epoch checkpoint: a version, a count, then an epoch and its first offset per line.
pub(super) fn leader_epochs(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    let count = lines.next().unwrap_or_default();
    writeln!(out, "version: {version} entries: {count}")?;
    for line in lines {
        match line.split_once(' ') {
            Some((epoch, offset)) => writeln!(out, "epoch: {epoch} startOffset: {offset}")?,
            None => {
                return Err(Failure::Text(format!(
                    "{}: unreadable line {line}",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, SeekFrom};

    use millrace_engine::record::BatchBuilder;
    use millrace_engine::types::{Offset, Timestamp};

    use super::*;

    /// A file that counts what is read of it.
    struct Counted {
        file: Cursor<Vec<u8>>,
        read_bytes: usize,
    }

    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.file.read(buffer)?;
            self.read_bytes += count;
            Ok(count)
        }
    }

    impl Seek for Counted {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    /// Batches of one record of 8 KiB with offsets from 0 on; and their entries in an offset index.
    fn batches(count: i64) -> (Segment<Counted>, Vec<(i64, u64)>) {
        let mut log = Vec::new();
        let mut entries = Vec::new();
        for offset in 0..count {
            entries.push((offset, u64::try_from(log.len()).unwrap()));
            let mut batch = BatchBuilder::new().at(Offset(offset));
            batch.push(Timestamp(offset), None, Some(&[7; 8192]), &[]);
            log.extend(batch.build());
        }
        let length = u64::try_from(log.len()).unwrap();
        let file = Counted {
            file: Cursor::new(log),
            read_bytes: 0,
        };
        (Segment::of(file, length), entries)
    }

    fn last_offset(batch: Option<Batch>) -> Option<i64> {
        batch.map(|batch| batch.header.last_offset().0)
    }

    #[test]
    fn the_log_of_an_index_is_read_once() {
        let log = Path::new("x.log");
        let (mut segment, entries) = batches(1_000);
        for (offset, position) in &entries {
            let found = batch_at(&mut segment, log, *position).unwrap();
            assert_eq!(last_offset(found), Some(*offset));
        }
        let length = usize::try_from(segment.length).unwrap();
        assert_eq!(segment.file.get_ref().read_bytes, length);

        // Every second batch has an entry: the others are come to from the one before. Or none has: the index is missing.
        let indexed: Vec<(i64, u64)> = entries.iter().copied().step_by(2).collect();
        for positions in [indexed, Vec::new()] {
            let (segment, _) = batches(1_000);
            let mut search = Search::new(segment, log, positions);
            for (offset, _) in &entries {
                let found = search.batch_with(*offset).unwrap();
                assert_eq!(last_offset(found), Some(*offset));
            }
            assert_eq!(last_offset(search.batch_with(1_000).unwrap()), None);
            assert_eq!(search.segment.file.get_ref().read_bytes, length);
        }
    }

    #[test]
    fn a_search_finds_what_lies_before_the_last_one_too() {
        let (segment, _) = batches(9);
        let mut search = Search::new(segment, Path::new("x.log"), Vec::new());
        for offset in [3, 3, 9, 9, 2, 8, 0, 0] {
            let found = search.batch_with(offset).unwrap();
            assert_eq!(last_offset(found), Some(offset).filter(|it| *it < 9));
        }
    }

    #[test]
    fn a_position_that_is_no_batch_leaves_the_next_where_it_is() {
        let log = Path::new("x.log");
        let (mut segment, entries) = batches(3);
        for (offset, position) in entries.into_iter().rev() {
            assert!(batch_at(&mut segment, log, position + 9).unwrap().is_none());
            let found = batch_at(&mut segment, log, position).unwrap();
            assert_eq!(last_offset(found), Some(offset));
        }
        let end = segment.length;
        assert!(batch_at(&mut segment, log, end + 9).unwrap().is_none());
        let found = batch_at(&mut segment, log, 0).unwrap();
        assert_eq!(last_offset(found), Some(0));
    }

    #[test]
    fn a_search_begins_at_the_last_entry_below() {
        let positions = [(5, 70), (9, 140)];
        for (offset, position) in [(4, 0), (5, 70), (8, 70), (9, 140), (20, 140)] {
            assert_eq!(position_below(&positions, offset), position, "{offset}");
        }
        assert_eq!(position_below(&[], 4), 0);
    }

    #[test]
    fn a_snapshot_of_producers_is_printed_as_kafka_prints_it() {
        let mut bytes = vec![0, 1, 1, 2, 3, 4, 0, 0, 0, 1];
        bytes.extend(7_i64.to_be_bytes());
        bytes.extend(1_i16.to_be_bytes());
        bytes.extend(4_i32.to_be_bytes());
        bytes.extend(9_i64.to_be_bytes());
        bytes.extend(2_i32.to_be_bytes());
        bytes.extend(100_i64.to_be_bytes());
        bytes.extend((-1_i32).to_be_bytes());
        bytes.extend((-1_i64).to_be_bytes());
        let expected = "producerId: 7 producerEpoch: 1 coordinatorEpoch: -1 currentTxnFirstOffset: OptionalLong.empty lastTimestamp: 100 firstSequence: 2 lastSequence: 4 lastOffset: 9 offsetDelta: 2 timestamp: 100";
        assert_eq!(snapshot_lines(bytes.clone().into()).unwrap(), [expected]);
        bytes.truncate(30);
        assert_eq!(snapshot_lines(bytes.into()), None);
    }

    #[test]
    fn an_index_ends_where_its_zeros_begin() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000100.index");
        let entries: [u32; 8] = [5, 70, 9, 140, 0, 0, 0, 0];
        std::fs::write(&path, entries.map(u32::to_be_bytes).concat()).unwrap();
        assert_eq!(offset_entries(&path).unwrap(), [(105, 70), (109, 140)]);
        assert!(base_offset(Path::new("x.index")).is_err());
    }
}
