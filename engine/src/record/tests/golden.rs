//! Literal batches, put together field by field from the format's description by a program that shares nothing with
//! this room (its CRC-32C and xxHash32 are bitwise, its snappy, lz4 and zstd bodies are literal blocks).

use bytes::Bytes;

use super::{LIMIT, NOW, header};
use crate::record::control::{ControlRecord, EndTransactionMarker, TransactionOutcome};
use crate::record::{BatchBuilder, Record, Rules, check_crc, prepare, records};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Two records: key "key", value "value", header h = v; and, 5 ms later, null and null.
const PLAIN: &str = "
    0000000000000000 0000004b ffffffff 02 acc5bd1a
    0000 00000001 00000174876e8000 00000174876e8005
    ffffffffffffffff ffff ffffffff 00000002
    24000000066b65790a76616c756502026802760c000a02010100
";

/// The same records, packed by zlib.
const GZIP: &str = "
    0000000000000000 0000005f ffffffff 02 81a33168
    0001 00000001 00000174876e8000 00000174876e8005
    ffffffffffffffff ffff ffffffff 00000002
    1f8b08000000000002035361606060cb4eade42a4bcc294d6562ca602ae361e06262646400006bf703d61a000000
";

/// The same in one xerial block.
const SNAPPY: &str = "
    0000000000000000 00000061 ffffffff 02 63224ab7
    0002 00000001 00000174876e8000 00000174876e8005
    ffffffffffffffff ffff ffffffff 00000002
    82534e415050590000000001000000010000001c1a6424000000066b65790a76616c756502026802760c000a02010100
";

/// The same in a bare snappy block, as clients outside Java write it.
const SNAPPY_BARE: &str = "
    0000000000000000 0000004d ffffffff 02 4c181042
    0002 00000001 00000174876e8000 00000174876e8005
    ffffffffffffffff ffff ffffffff 00000002
    1a6424000000066b65790a76616c756502026802760c000a02010100
";

/// The same in an lz4 frame of one stored block.
const LZ4: &str = "
    0000000000000000 0000005a ffffffff 02 c02294a5
    0003 00000001 00000174876e8000 00000174876e8005
    ffffffffffffffff ffff ffffffff 00000002
    04224d186040821a00008024000000066b65790a76616c756502026802760c000a0201010000000000
";

/// The same in a zstd frame of one raw block.
const ZSTD: &str = "
    0000000000000000 00000054 ffffffff 02 64528ef2
    0004 00000001 00000174876e8000 00000174876e8005
    ffffffffffffffff ffff ffffffff 00000002
    28b52ffd201ad1000024000000066b65790a76616c756502026802760c000a02010100
";

/// A commit marker of producer 9, epoch 3, decided in coordinator epoch 7.
const COMMIT: &str = "
    0000000000000000 00000042 ffffffff 02 169ae111
    0030 00000000 00000174876e8000 00000174876e8000
    0000000000000009 0003 ffffffff 00000001
    2000000008000000010c00000000000700
";

fn bytes_of(text: &str) -> Bytes {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

fn the_records() -> Vec<Record> {
    vec![
        Record {
            offset: Offset(0),
            timestamp: NOW,
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from_static(b"value")),
            headers: vec![header("h", Some("v"))],
        },
        Record {
            offset: Offset(1),
            timestamp: Timestamp(NOW.0 + 5),
            key: None,
            value: None,
            headers: vec![],
        },
    ]
}

#[test]
fn literal_batches_of_every_codec_are_accepted_and_read() {
    for text in [PLAIN, GZIP, SNAPPY, SNAPPY_BARE, LZ4, ZSTD] {
        let batch = bytes_of(text);
        assert_eq!(check_crc(&batch), Ok(()), "{text}");
        let prepared = prepare(batch.clone(), &Rules::default(), NOW).expect(text);
        assert_eq!(prepared.max_timestamp(), Timestamp(NOW.0 + 5));
        let read: Result<Vec<_>, _> = records(&batch, LIMIT).expect(text).collect();
        assert_eq!(read, Ok(the_records()), "{text}");
    }
}

#[test]
fn the_builder_writes_the_literal_batch() {
    let mut builder = BatchBuilder::new();
    for record in the_records() {
        builder.push(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &record.headers,
        );
    }
    assert_eq!(builder.length_bytes(), bytes_of(PLAIN).len());
    assert_eq!(builder.build(), bytes_of(PLAIN));
}

#[test]
fn a_commit_marker_is_the_literal_one() {
    let marker = EndTransactionMarker {
        outcome: TransactionOutcome::Commit,
        coordinator_epoch: 7,
    };
    let batch = marker.batch(ProducerId(9), ProducerEpoch(3), NOW);
    assert_eq!(batch, bytes_of(COMMIT));
    let record = records(&batch, LIMIT).unwrap().next().unwrap().unwrap();
    assert_eq!(
        ControlRecord::decode(&record),
        Ok(ControlRecord::EndTransaction(marker))
    );
}

#[test]
fn stamping_changes_base_offset_and_leader_epoch_and_nothing_else() {
    let batch = bytes_of(PLAIN);
    let prepared = prepare(batch.clone(), &Rules::default(), NOW).unwrap();
    let (header, payload) = prepared.stamp(Offset(0x0102), LeaderEpoch(7));
    let header = header.bytes();
    assert_eq!(header[..8], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(header[8..12], batch[8..12]);
    assert_eq!(header[12..16], [0, 0, 0, 7]);
    assert_eq!(header[16..], batch[16..61]);
    assert_eq!(
        payload.as_ptr(),
        batch[61..].as_ptr(),
        "the payload is not copied"
    );
    assert_eq!(payload, batch.slice(61..));
}
