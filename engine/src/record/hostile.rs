//! The room's door for fuzzing: any bytes through everything that reads bytes.
//!
//! It also mends the length and the checksum, which no fuzzer guesses, so that what lies behind them is reached.

use bytes::Bytes;
use zerocopy::FromBytes;

use super::attributes::TimestampType;
use super::batch::{BATCH_HEADER_LENGTH, BatchHeader, Batches, MAGIC, check_crc};
use super::compress::Compression;
use super::control::ControlRecord;
use super::record::{Records, record_of_max_timestamp, records};
use super::validate::{Rules, prepare};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// Small enough that a bomb shows.
const LIMIT: usize = 1024 * 1024;

/// Reads `data` as what a client sent and as what a disk holds, under several rules. Never panics, and stores
/// nothing that would not be read again.
///
/// # Panics
/// When a batch that was accepted does not keep what acceptance promises: that is the finding.
pub fn decode_hostile(data: &[u8]) {
    let sent = Bytes::copy_from_slice(data);
    read_stored(&sent);
    accept(&sent);
    if let Some(mended) = mend(data) {
        read_stored(&mended);
        accept(&at_zero(&mended));
    }
}

/// The same bytes as one batch with the right magic, length and checksum, if they are enough for a header.
fn mend(data: &[u8]) -> Option<Bytes> {
    let (mut header, body) = BatchHeader::read_from_prefix(data).ok()?;
    header.magic = MAGIC;
    header.seal(body);
    Some([header.bytes(), body].concat().into())
}

/// The same batch as a client sends it; its place lies outside the checksum.
fn at_zero(batch: &Bytes) -> Bytes {
    let rest = batch.get(8..).unwrap_or_default();
    [&[0; 8][..], rest].concat().into()
}

fn read_stored(bytes: &Bytes) {
    for batch in Batches::new(bytes.clone()).flatten() {
        let _ = check_crc(&batch.bytes);
        for record in records(&batch.bytes, LIMIT).into_iter().flatten().flatten() {
            let _ = ControlRecord::decode(&record);
        }
        let decoded = |records: Records| records.map_while(Result::ok).count();
        assert_eq!(
            records(&batch.bytes, LIMIT).map(count_raw),
            records(&batch.bytes, LIMIT).map(decoded),
            "records are the same whether they are decoded or not"
        );
        let _ = records(&batch.bytes, LIMIT)
            .and_then(|mut records| records.first_at_or_after(Timestamp(1), Offset::ZERO));
        let _ = record_of_max_timestamp(&batch.bytes, Offset::ZERO, LIMIT);
    }
}

fn count_raw(mut records: Records) -> usize {
    std::iter::from_fn(|| Some(records.next_raw().ok()??.offset)).count()
}

fn accept(bytes: &Bytes) {
    let plain = Rules {
        timestamp_after_max_ms: i64::MAX,
        body_bytes_max: LIMIT,
        ..Rules::default()
    };
    let compacted = Rules {
        compacted: true,
        timestamp_before_max_ms: 1,
        zstd_allowed: false,
        ..plain.clone()
    };
    let stamped = Rules {
        timestamp_type: TimestampType::LogAppendTime,
        ..plain.clone()
    };
    let repacked = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    let repacked = repacked.map(|compression| Rules {
        compression_target: Some(compression.into()),
        ..plain.clone()
    });
    for rules in [plain, compacted, stamped].iter().chain(&repacked) {
        accept_under(bytes, rules);
    }
}

fn accept_under(bytes: &Bytes, rules: &Rules) {
    let Ok(prepared) = prepare(bytes.clone(), rules, Timestamp(1_000)) else {
        return;
    };
    let record_count = prepared.record_count();
    let (header, payload) = prepared.stamp(Offset(5), LeaderEpoch(3));
    let stored = Bytes::from([header.bytes(), &payload].concat());
    assert!(
        stored.len() >= BATCH_HEADER_LENGTH,
        "a stored batch has a header"
    );
    assert_eq!(
        check_crc(&stored),
        Ok(()),
        "a stored batch has its checksum"
    );
    // A compressed body that no rule had opened may still be nonsense.
    let sent = BatchHeader::parse(bytes).and_then(|header| header.attributes().compression());
    let target = rules
        .compression_target
        .map(|target| Ok(target.compression));
    let repacked = target.is_some_and(|target| target != sent);
    if sent != Ok(Compression::None) && !rules.compacted && !repacked {
        return;
    }
    let count = records(&stored, LIMIT).map(|records| records.filter(Result::is_ok).count());
    let expected = usize::try_from(record_count).unwrap_or_default();
    assert_eq!(count, Ok(expected), "an opened batch reads back whole");
}
