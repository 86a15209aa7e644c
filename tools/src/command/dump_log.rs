//! `kafka-dump-log`: shows what lies in the files of a partition, Millrace's or Kafka's (they are the same).
//!
//! Segments are read batch by batch and never trusted; index files and snapshots are in `index`, records of internal
//! topics in `decoder`.

mod decoder;
mod index;
mod schema;
mod schemas;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use clap::Args;
use millrace_engine::record::control::{ControlRecord, TransactionOutcome};
use millrace_engine::record::{
    BATCH_HEADER_LENGTH, Batch, BatchHeader, Compression, Record, RecordError, TimestampType,
    check_crc, records,
};
use millrace_engine::types::Sequence;

use super::Failure;
use crate::print::{self, joined};
use decoder::Decoder;

/// Shows what lies in the files of a partition
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    /// The files, with commas between: .log, .checkpoint, .index, .timeindex, .txnindex, .snapshot, leader-epoch-checkpoint
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    files: Vec<PathBuf>,
    /// Show keys and values of records
    #[arg(long)]
    print_data_log: bool,
    /// Show the records in the batches
    #[arg(long)]
    deep_iteration: bool,
    /// Show records of __consumer_offsets
    #[arg(long)]
    offsets_decoder: bool,
    /// Show records of __transaction_state
    #[arg(long)]
    transaction_log_decoder: bool,
    /// Show records of Kafka's __cluster_metadata
    #[arg(long)]
    cluster_metadata_decoder: bool,
    /// With --print-data-log: keys and values only
    #[arg(long)]
    skip_record_metadata: bool,
    /// Compare index files with their log without showing them
    #[arg(long)]
    verify_index_only: bool,
    /// Check only what is checked when a log is opened
    #[arg(long)]
    index_sanity_check: bool,
    /// Read only so many bytes of a .log file
    #[arg(long, value_name = "BYTES", default_value_t = i32::MAX as u64, hide_default_value = true)]
    max_bytes: u64,
    /// Without effect: batches of any size are read
    #[arg(long, value_name = "BYTES")]
    max_message_size: Option<u32>,
    /// How to show keys: the StringDecoder is the only one
    #[arg(long, value_name = "CLASS")]
    key_decoder_class: Option<String>,
    /// How to show values: the StringDecoder is the only one
    #[arg(long, value_name = "CLASS")]
    value_decoder_class: Option<String>,
}

impl Flags {
    /// How to show keys and values; without one as text.
    fn decoder(&self) -> Option<Decoder> {
        // Kafka's order, if several are given.
        match (
            self.offsets_decoder,
            self.transaction_log_decoder,
            self.cluster_metadata_decoder,
        ) {
            (true, _, _) => Some(Decoder::Offsets),
            (_, true, _) => Some(Decoder::Transactions),
            (_, _, true) => Some(Decoder::Metadata),
            (false, false, false) => None,
        }
    }

    fn check(&self) -> Result<(), Failure> {
        for class in self
            .key_decoder_class
            .iter()
            .chain(&self.value_decoder_class)
        {
            if class.rsplit('.').next() != Some("StringDecoder") {
                let text = format!("Decoder {class} is not supported, StringDecoder is");
                return Err(Failure::Text(text));
            }
        }
        Ok(())
    }

    /// A decoder is for contents.
    fn prints_data(&self) -> bool {
        self.print_data_log || self.decoder().is_some()
    }
}

/// By file: offsets that do not follow each other.
type Gaps = BTreeMap<PathBuf, Vec<(i64, i64)>>;

/// The most that one compressed batch may unfold to.
const BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Runs the command.
pub(crate) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), Failure> {
    flags.check()?;
    let mut gaps = Gaps::new();
    let mut faults = index::Faults::default();
    for path in &flags.files {
        writeln!(out, "Dumping {}", path.display())?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let suffix = name
            .rsplit_once('.')
            .map_or(name.as_str(), |(_, suffix)| suffix);
        match suffix {
            "log" => {
                writeln!(out, "Log starting offset: {}", index::base_offset(path)?)?;
                log(flags, path, &mut gaps, out)?;
            }
            // Kafka's snapshots of the cluster's metadata are made of batches too.
            "checkpoint" => {
                writeln!(out, "{}", snapshot_title(&name))?;
                log(flags, path, &mut gaps, out)?;
            }
            "index" => index::offset_index(flags, path, &mut faults, out)?,
            "timeindex" => index::time_index(flags, path, &mut faults, out)?,
            "txnindex" => index::transaction_index(path, out)?,
            "snapshot" => index::producer_snapshot(path, out)?,
            "leader-epoch-checkpoint" => index::leader_epochs(path, out)?,
            _ => {
                out.flush()?;
                eprintln!("Ignoring unknown file {}", path.display());
            }
        }
    }
    out.flush()?;
    faults.report();
    for (path, gaps) in gaps {
        eprintln!("Non-consecutive offsets in {}", path.display());
        for (before, after) in gaps {
            eprintln!("  {before} is followed by {after}");
        }
    }
    Ok(())
}

/// Reads a segment batch by batch.
#[derive(Debug)]
struct Segment<F = File> {
    file: BufReader<F>,
    /// Where the next batch begins.
    position: u64,
    /// Where `file` stands: behind `position` once what begins there was no batch.
    cursor: u64,
    length: u64,
}

impl Segment {
    fn open(path: &Path, length_max: u64) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
        let length = file
            .metadata()
            .map_err(|error| Failure::file(path, &error))?
            .len();
        Ok(Self::of(file, length.min(length_max)))
    }
}

impl<F: Read + Seek> Segment<F> {
    /// What lies in the first `length` bytes of a file that stands at its beginning.
    fn of(file: F, length: u64) -> Self {
        Self {
            file: BufReader::with_capacity(1 << 20, file),
            position: 0,
            cursor: 0,
            length,
        }
    }

    fn seek(&mut self, position: u64) -> std::io::Result<()> {
        let distance = i128::from(position) - i128::from(self.cursor);
        let distance = i64::try_from(distance).map_err(std::io::Error::other)?;
        // Keeps what is buffered; any other way to seek reads it again.
        self.file.seek_relative(distance)?;
        self.position = position;
        self.cursor = position;
        Ok(())
    }

    /// The next whole batch. `None` at the end; the text says why something that is left is no batch.
    fn next(&mut self) -> std::io::Result<Option<Result<Batch, String>>> {
        let left = self.length.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        let header_length = u64::try_from(BATCH_HEADER_LENGTH).unwrap_or(u64::MAX);
        if left < header_length {
            return Ok(Some(Err(format!("{left} bytes are no batch header"))));
        }
        let mut bytes = BytesMut::zeroed(BATCH_HEADER_LENGTH);
        self.file.read_exact(&mut bytes)?;
        self.cursor = self.position.saturating_add(header_length);
        let header = match BatchHeader::parse(&bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Some(Err(error.to_string()))),
        };
        let length = header.length_bytes();
        let claimed = u64::try_from(length).unwrap_or(u64::MAX);
        if claimed > left {
            return Ok(Some(Err(format!(
                "a batch of {claimed} bytes, of which {left} are there"
            ))));
        }
        bytes.resize(length, 0);
        if let Some(body) = bytes.get_mut(BATCH_HEADER_LENGTH..) {
            self.file.read_exact(body)?;
        }
        self.position = self.position.saturating_add(claimed);
        self.cursor = self.position;
        Ok(Some(Ok(Batch {
            header,
            bytes: bytes.freeze(),
        })))
    }
}

fn log(flags: &Flags, path: &Path, gaps: &mut Gaps, out: &mut dyn Write) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    let mut segment = Segment::open(path, flags.max_bytes)?;
    let bar = print::progress(segment.length, "dumping", print::Unit::Bytes);
    let mut last_offset = -1;
    loop {
        let position = segment.position;
        bar.set_position(position);
        match segment.next().map_err(failed)? {
            None => break,
            Some(Ok(batch)) => {
                writeln!(out, "{}", batch_line(&batch, position))?;
                if flags.deep_iteration || flags.prints_data() {
                    let found = gaps.entry(path.to_owned()).or_default();
                    batch_records(flags, &batch, &mut last_offset, found, out)?;
                }
            }
            Some(Err(reason)) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let left = segment.length - position;
                // With --max-bytes the last batch may be cut; that is no fault of the file.
                if flags.max_bytes == i32::MAX as u64 {
                    writeln!(out, "Found {left} invalid bytes at the end of {name}")?;
                    out.flush()?;
                    eprintln!("{name} at position {position}: {reason}");
                }
                break;
            }
        }
    }
    gaps.retain(|_, gaps| !gaps.is_empty());
    bar.finish_and_clear();
    Ok(())
}

/// What Kafka's tool says of a snapshot named `OFFSET-EPOCH.checkpoint`.
fn snapshot_title(name: &str) -> String {
    let stem = name.strip_suffix(".checkpoint").unwrap_or(name);
    let numbers = stem.split_once('-').and_then(|(offset, epoch)| {
        let numbers = (offset.parse::<i64>().ok()?, epoch.parse::<i32>().ok()?);
        Some(numbers)
    });
    match numbers {
        Some((offset, epoch)) => format!("Snapshot end offset: {offset}, epoch: {epoch}"),
        None => "KRaft bootstrap snapshot".to_owned(),
    }
}

fn batch_line(batch: &Batch, position: u64) -> String {
    let Batch { header, bytes } = batch;
    let attributes = header.attributes();
    let horizon = match attributes.has_delete_horizon() {
        true => optional(header.base_timestamp().0),
        false => optional(-1),
    };
    let codec = match attributes.compression() {
        Ok(Compression::None) => "none",
        Ok(Compression::Gzip) => "gzip",
        Ok(Compression::Snappy) => "snappy",
        Ok(Compression::Lz4) => "lz4",
        Ok(Compression::Zstd) => "zstd",
        Err(_) => "unknown",
    };
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {horizon} position: {position} {}: {} size: {} magic: {} compresscodec: {codec} crc: {} isvalid: {}",
        header.base_offset(),
        header.last_offset(),
        header.record_count(),
        header.base_sequence(),
        header.last_sequence(),
        header.producer_id(),
        header.producer_epoch(),
        header.leader_epoch(),
        attributes.is_transactional(),
        attributes.is_control(),
        time_name(header),
        header.max_timestamp(),
        header.length_bytes(),
        header.magic(),
        header.crc(),
        check_crc(bytes).is_ok(),
    )
}

fn time_name(header: &BatchHeader) -> &'static str {
    match header.attributes().timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// The way Java prints an `OptionalLong`.
fn optional(value: i64) -> String {
    if value < 0 {
        "OptionalLong.empty".to_owned()
    } else {
        format!("OptionalLong[{value}]")
    }
}

fn batch_records(
    flags: &Flags,
    batch: &Batch,
    last_offset: &mut i64,
    gaps: &mut Vec<(i64, i64)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let unreadable = |error: RecordError| {
        eprintln!("Batch at offset {}: {error}", batch.header.base_offset());
    };
    let found = match records(&batch.bytes, BODY_BYTES_MAX) {
        Ok(found) => found,
        Err(error) => {
            out.flush()?;
            unreadable(error);
            return Ok(());
        }
    };
    for record in found {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                out.flush()?;
                unreadable(error);
                return Ok(());
            }
        };
        if record.offset.0 != last_offset.saturating_add(1) {
            gaps.push((*last_offset, record.offset.0));
        }
        *last_offset = record.offset.0;
        write_record(flags, batch, &record, out)?;
    }
    Ok(())
}

fn write_record(
    flags: &Flags,
    batch: &Batch,
    record: &Record,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let is_control = batch.header.attributes().is_control();
    let mut prefix: &[u8] = b"| ";
    if !flags.skip_record_metadata {
        write!(out, "{}", record_metadata(batch, record))?;
        if is_control {
            write!(out, "{}", control_text(record))?;
        }
        prefix = b" ";
    }
    if flags.prints_data() && !is_control {
        let text = |bytes: &Option<Bytes>| {
            let bytes = bytes.as_ref()?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        let (key, value) = match flags.decoder() {
            None => (text(&record.key), text(&record.value)),
            Some(decoder) => decoder.show(record).ok_or_else(|| {
                Failure::Text(format!(
                    "Failed to decode message at offset {} using the specified decoder (message had a missing key)",
                    record.offset
                ))
            })?,
        };
        for (name, text) in [(&b"key: "[..], key), (b"payload: ", value)] {
            if let Some(text) = text {
                out.write_all(&[prefix, name, text.as_bytes()].concat())?;
                prefix = b" ";
            }
        }
    }
    writeln!(out)?;
    Ok(())
}

fn record_metadata(batch: &Batch, record: &Record) -> String {
    let header = &batch.header;
    let size = |bytes: &Option<Bytes>| match bytes {
        Some(bytes) => bytes.len().to_string(),
        None => "-1".to_owned(),
    };
    let base = header.base_sequence();
    let delta = record.offset.0.saturating_sub(header.base_offset().0);
    let sequence = match base == Sequence::NONE {
        true => base,
        false => base.wrapping_add(i32::try_from(delta).unwrap_or_default()),
    };
    let keys = record
        .headers
        .iter()
        .map(|header| String::from_utf8_lossy(&header.key));
    format!(
        "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [{}]",
        record.offset,
        time_name(header),
        record.timestamp,
        size(&record.key),
        size(&record.value),
        joined(keys, ",")
    )
}

fn control_text(record: &Record) -> String {
    match ControlRecord::decode(record) {
        Ok(ControlRecord::EndTransaction(marker)) => {
            let outcome = match marker.outcome {
                TransactionOutcome::Abort => "ABORT",
                TransactionOutcome::Commit => "COMMIT",
            };
            format!(
                " endTxnMarker: {outcome} coordinatorEpoch: {}",
                marker.coordinator_epoch
            )
        }
        Ok(ControlRecord::Other { kind }) => {
            let number = u16::try_from(kind).unwrap_or(u16::MAX);
            let value = record.value.clone().unwrap_or_default();
            match decoder::control(number, &value) {
                // Kafka writes a colon behind this one alone.
                Some(Ok((name @ "LeaderChange", json))) => format!(" {name}: {json}"),
                Some(Ok((name, json))) => format!(" {name} {json}"),
                Some(Err(error)) => format!(" controlType: {kind} ({error})"),
                None => format!(" controlType: UNKNOWN({kind})"),
            }
        }
        Err(error) => format!(" controlType: UNKNOWN ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use millrace_engine::record::BatchBuilder;
    use millrace_engine::types::{LeaderEpoch, Offset, Timestamp};

    use super::*;

    fn segment(dir: &Path) -> PathBuf {
        let mut first = BatchBuilder::new()
            .at(Offset(5))
            .leader_epoch(LeaderEpoch(2));
        first.push(Timestamp(100), Some(b"k"), Some(b"v"), &[]);
        let mut second = BatchBuilder::new()
            .at(Offset(9))
            .compression(Compression::Gzip);
        second.push(Timestamp(200), None, Some(b"w"), &[]);
        let path = dir.join("00000000000000000005.log");
        let bytes = [&first.build()[..], &second.build()[..], &[0; 70]].concat();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn dumped(flags: Flags) -> String {
        let mut out = Vec::new();
        run(&flags, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn flags_of_old_guides_are_taken_and_change_nothing() {
        #[derive(Parser)]
        struct Program {
            #[command(flatten)]
            flags: Flags,
        }
        let dir = tempfile::tempdir().unwrap();
        let path = segment(dir.path());
        let flags = |more: &str| {
            let line = format!("x --print-data-log --files {} {more}", path.display());
            Program::parse_from(line.split_whitespace()).flags
        };
        let old = "--max-message-size 1 --key-decoder-class kafka.serializer.StringDecoder --value-decoder-class org.apache.kafka.tools.api.StringDecoder";
        assert_eq!(dumped(flags(old)), dumped(flags("")));
        let other = flags("--value-decoder-class kafka.serializer.LongDecoder");
        let error = run(&other, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(
            error,
            "Decoder kafka.serializer.LongDecoder is not supported, StringDecoder is"
        );
    }

    #[test]
    fn batches_and_records_are_printed_as_kafka_prints_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = segment(dir.path());
        let text = dumped(Flags {
            files: vec![path.clone()],
            print_data_log: true,
            max_bytes: i32::MAX as u64,
            ..Default::default()
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("Dumping {}", path.display()));
        assert_eq!(lines[1], "Log starting offset: 5");
        assert!(lines[2].starts_with("baseOffset: 5 lastOffset: 5 count: 1 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 partitionLeaderEpoch: 2 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: 100 size: 70 magic: 2 compresscodec: none crc: "), "{}", lines[2]);
        assert!(lines[2].ends_with(" isvalid: true"));
        assert_eq!(
            lines[3],
            "| offset: 5 CreateTime: 100 keySize: 1 valueSize: 1 sequence: -1 headerKeys: [] key: k payload: v"
        );
        assert!(lines[4].contains("position: 70") && lines[4].contains("compresscodec: gzip"));
        assert_eq!(
            lines[5],
            "| offset: 9 CreateTime: 200 keySize: -1 valueSize: 1 sequence: -1 headerKeys: [] payload: w"
        );
        assert_eq!(
            lines[6],
            "Found 70 invalid bytes at the end of 00000000000000000005.log"
        );
    }

    #[test]
    fn a_limit_ends_the_dump_at_a_batch() {
        let dir = tempfile::tempdir().unwrap();
        let text = dumped(Flags {
            files: vec![segment(dir.path())],
            max_bytes: 100,
            ..Default::default()
        });
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
