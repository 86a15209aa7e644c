//! Batches that no producer of sound mind sends: the right error, nothing appended, the connection goes on.

use bytes::Bytes;
use millrace_engine::record::{BatchBuilder, Compression};
use millrace_engine::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use millrace_wire::ErrorCode;

use crate::support::broker::Broker;
use crate::support::records::{batch, packed};
use crate::support::wire::{Wire, produce_request};
use crate::with_topic;

/// Where the fields of a batch header stand.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const RECORD_COUNT: usize = 57;

/// The batch with some bytes replaced and, unless that is the point, a CRC that fits again.
fn changed(batch: &Bytes, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = batch.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    seal(&mut changed);
    changed
}

fn seal(batch: &mut [u8]) {
    let crc = crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

/// Sends what is to be refused and looks that nothing was appended and the connection is of use.
fn refused(wire: &mut Wire, what: &str, records: impl Into<Bytes>, expected: &[ErrorCode]) {
    let before = wire.list_offset("t", 0, -1).offset;
    let answer = wire.produce("t", 0, records);
    assert!(expected.contains(&answer.error_code), "{what}: {answer:?}");
    assert_eq!(answer.base_offset, -1, "{what}");
    assert_eq!(
        wire.list_offset("t", 0, -1).offset,
        before,
        "{what}: something was appended"
    );
}

#[test]
fn a_damaged_batch_is_corrupt() {
    let (_broker, mut wire) = with_topic();
    let good = batch(&["a", "b", "c"]);
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 0x10;
    refused(
        &mut wire,
        "a flipped bit",
        flipped,
        &[ErrorCode::CorruptMessage],
    );
    let mut no_crc = good.to_vec();
    no_crc[CRC] ^= 1;
    refused(
        &mut wire,
        "a wrong CRC",
        no_crc,
        &[ErrorCode::CorruptMessage],
    );
    for length in [0, 1, 12, 60] {
        let cut = good.slice(..length);
        refused(
            &mut wire,
            &format!("{length} bytes"),
            cut,
            &[ErrorCode::CorruptMessage, ErrorCode::InvalidRecord],
        );
    }
    let cut = good.slice(..good.len() - 1);
    refused(
        &mut wire,
        "the last byte missing",
        cut,
        &[ErrorCode::CorruptMessage, ErrorCode::InvalidRecord],
    );
    for length in [-1_i32, 0, 48, i32::MAX] {
        let mut claimed = good.to_vec();
        claimed[LENGTH..LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        refused(
            &mut wire,
            &format!("a claimed length of {length}"),
            claimed,
            &[ErrorCode::CorruptMessage, ErrorCode::InvalidRecord],
        );
    }
    wire.append("t", 0, good);
}

#[test]
fn a_batch_of_another_magic_is_refused() {
    let (_broker, mut wire) = with_topic();
    let good = batch(&["a"]);
    for magic in [0, 1, 3, 0x7f, 0x80, 0xff] {
        let other = changed(&good, MAGIC, &[magic]);
        refused(
            &mut wire,
            &format!("magic {magic}"),
            other,
            &[
                ErrorCode::CorruptMessage,
                ErrorCode::InvalidRecord,
                ErrorCode::UnsupportedForMessageFormat,
            ],
        );
    }
}

/// What clients before Kafka 0.11 sent, in a request that has no place for it; alone, and behind a batch that has.
#[test]
fn a_legacy_message_set_is_refused_as_an_invalid_record() {
    let (_broker, mut wire) = with_topic();
    let key_and_value = [&1_u32.to_be_bytes()[..], b"k", &1_u32.to_be_bytes(), b"v"].concat();
    let magic_0 = [&[0, 0][..], &key_and_value].concat();
    let magic_1 = [&[1, 0][..], &1_000_u64.to_be_bytes(), &key_and_value].concat();
    // A wrapper: the attributes say gzip.
    let packed = [&[1, 1][..], &1_000_u64.to_be_bytes(), &key_and_value].concat();
    for (fields, crc) in [
        (magic_0, 0xb4e5_1c9b_u32),
        (magic_1, 0x5cd2_59cb),
        (packed, 0),
    ] {
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        let set = [&[0; 8][..], &length, &crc.to_be_bytes(), &fields].concat();
        for records in [set.clone(), set.repeat(2)] {
            let what = format!("magic {}, {} bytes", fields[0], records.len());
            refused(&mut wire, &what, records, &[ErrorCode::InvalidRecord]);
        }
    }
    wire.append("t", 0, batch(&["v"]));
}

#[test]
fn counts_that_disagree_are_refused() {
    let (_broker, mut wire) = with_topic();
    let good = batch(&["a", "b", "c"]);
    let expected = [ErrorCode::InvalidRecord, ErrorCode::CorruptMessage];
    for count in [0_i32, 1, 2, 4, -1, i32::MAX, i32::MIN] {
        let other = changed(&good, RECORD_COUNT, &count.to_be_bytes());
        refused(&mut wire, &format!("count {count}"), other, &expected);
    }
    for delta in [0_i32, 1, 3, -1, i32::MAX, i32::MIN] {
        let other = changed(&good, LAST_OFFSET_DELTA, &delta.to_be_bytes());
        refused(
            &mut wire,
            &format!("last offset delta {delta}"),
            other,
            &expected,
        );
    }
    let mut both = good.to_vec();
    both[LAST_OFFSET_DELTA..LAST_OFFSET_DELTA + 4].copy_from_slice(&4_i32.to_be_bytes());
    both[RECORD_COUNT..RECORD_COUNT + 4].copy_from_slice(&5_i32.to_be_bytes());
    seal(&mut both);
    refused(
        &mut wire,
        "five records claimed, three there",
        both,
        &expected,
    );
}

#[test]
fn no_batch_two_batches_and_control_batches_are_refused() {
    let (_broker, mut wire) = with_topic();
    let expected = [ErrorCode::InvalidRecord, ErrorCode::CorruptMessage];
    refused(
        &mut wire,
        "an empty batch",
        BatchBuilder::new().build(),
        &expected,
    );
    let two = [batch(&["a"]), batch(&["b"])].concat();
    refused(&mut wire, "two batches", two, &expected);
    let trailing = [batch(&["a"]), Bytes::from_static(b"more")].concat();
    refused(&mut wire, "bytes behind the batch", trailing, &expected);
    let mut control = BatchBuilder::new()
        .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
        .control();
    control.push(Timestamp(1), Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[]);
    refused(&mut wire, "a control batch", control.build(), &expected);
    // No transactions yet: a clear error and no half of one.
    let mut transactional = BatchBuilder::new()
        .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
        .transactional();
    transactional.push(Timestamp(1), None, Some(b"v"), &[]);
    let answer = wire.produce("t", 0, transactional.build());
    assert_ne!(answer.error_code, ErrorCode::None);
    assert_eq!(wire.list_offset("t", 0, -1).offset, 0);
}

/// What a request says of itself does not matter, as in Kafka; its batches do.
#[test]
fn a_transactional_id_alone_makes_no_transaction() {
    let (_broker, mut wire) = with_topic();
    let mut request = produce_request("t", 0, -1, batch(&["v"]));
    request.transactional_id = Some("id".into());
    let answer = wire.ask(&request, 9);
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!(
        (answer.error_code, answer.base_offset),
        (ErrorCode::None, 0)
    );
    let mut transactional = BatchBuilder::new()
        .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
        .transactional();
    transactional.push(Timestamp(1), None, Some(b"v"), &[]);
    request.topic_data[0].partition_data[0].records = Some(transactional.build());
    let answer = wire.ask(&request, 9);
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion);
}

#[test]
fn a_record_without_key_is_refused_by_a_compacted_topic() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[("cleanup.policy", "compact")]);
    let mut keyless = BatchBuilder::new();
    keyless.push(Timestamp(1), Some(b"k"), Some(b"v"), &[]);
    keyless.push(Timestamp(1), None, Some(b"v"), &[]);
    let answer = wire.produce("t", 0, keyless.build());
    assert_eq!(answer.error_code, ErrorCode::InvalidRecord);
    assert_eq!(answer.record_errors.len(), 1);
    assert_eq!(
        answer.record_errors[0].batch_index, 1,
        "the second record is the culprit"
    );
    assert!(answer.error_message.is_some());
}

#[test]
fn too_large_and_too_late_batches_have_their_own_errors() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let settings = [
        ("max.message.bytes", "1000"),
        ("message.timestamp.before.max.ms", "60000"),
    ];
    wire.create_topic("t", 1, &settings);
    let value = "x".repeat(1000);
    refused(
        &mut wire,
        "1000 bytes",
        batch(&[&value]),
        &[ErrorCode::MessageTooLarge],
    );
    refused(
        &mut wire,
        "a timestamp of 1970",
        batch(&["v"]),
        &[ErrorCode::InvalidTimestamp],
    );
}

#[test]
fn a_packed_batch_that_is_no_such_thing_is_corrupt() {
    let (_broker, mut wire) = with_topic();
    let good = batch(&["a", "b", "c"]);
    // A codec is claimed, the body is not packed. Kafka opens every packed batch; we open it when a rule needs it, and a
    // batch whose CRC fits is the client's data from then on. Either way the broker lives and others read on.
    for codec in 1..=7_u8 {
        let claimed = changed(&good, ATTRIBUTES + 1, &[codec]);
        let answer = wire.produce("t", 0, claimed);
        if codec > 4 {
            assert_ne!(
                answer.error_code,
                ErrorCode::None,
                "codec {codec} does not exist"
            );
        }
    }
    let end = wire.list_offset("t", 0, -1).offset;
    assert_eq!(wire.append("t", 0, good), end);
}

/// A gigabyte of nothing in a megabyte: whoever opens it stops at a limit.
#[test]
fn a_decompression_bomb_costs_no_memory() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    // Needs opening: every record is to be stamped anew.
    wire.create_topic(
        "opened",
        1,
        &[
            ("message.timestamp.type", "LogAppendTime"),
            ("compression.type", "lz4"),
        ],
    );
    let bomb = bomb();
    assert!(bomb.len() < 1_000_000, "{} bytes", bomb.len());
    for topic in ["t", "opened"] {
        let answer = wire.produce(topic, 0, bomb.clone());
        let found = wire.list_offset(topic, 0, 5);
        assert!(
            answer.error_code != ErrorCode::None
                || found.error_code == ErrorCode::None
                || found.offset == -1,
            "{answer:?} {found:?}"
        );
    }
    let resident = broker.resident_bytes() >> 20;
    assert!(resident < 600, "{resident} MiB are resident");
    let small = packed(&["v"], Compression::Gzip);
    wire.append("t", 0, small);
}

/// As much of nothing as a codec gets into the largest batch that is taken.
#[test]
fn a_decompression_bomb_of_any_codec_costs_no_memory() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    for (codec, mebibytes) in [
        (Compression::Gzip, 200),
        (Compression::Snappy, 16),
        (Compression::Lz4, 200),
        (Compression::Zstd, 200),
    ] {
        let topic = format!("opened-{codec}");
        // Every record is to be stamped anew and packed otherwise: that needs opening.
        let target = match codec {
            Compression::Lz4 => "gzip",
            _ => "lz4",
        };
        let configs = [
            ("message.timestamp.type", "LogAppendTime"),
            ("compression.type", target),
        ];
        wire.create_topic(&topic, 1, &configs);
        let mut bomb = BatchBuilder::new().compression(codec);
        bomb.push(Timestamp(5), None, Some(&vec![0; mebibytes << 20]), &[]);
        let bomb = bomb.build();
        assert!(bomb.len() < 1_000_000, "{codec}: {} bytes", bomb.len());
        // It may be taken, if it fits when it is packed again; what counts is what that costs.
        let _ = wire.produce(&topic, 0, bomb);
        let _ = wire.list_offset(&topic, 0, 5);
        wire.append(&topic, 0, packed(&["v"], codec));
        let resident = broker.resident_bytes() >> 20;
        assert!(resident < 600, "{codec}: {resident} MiB are resident");
    }
}

/// One record of 600 MiB of zeros: packed in pieces, never held unfolded.
fn bomb() -> Bytes {
    use std::io::Write as _;
    let body_bytes: usize = 600 << 20;
    let mut record = Vec::new();
    // length, attributes, timestamp delta, offset delta, key length -1, value length: sized below
    let value_bytes = body_bytes;
    let tail: Vec<u8> = {
        let mut fields = vec![0, 0, 0, 1];
        varint(&mut fields, i64::try_from(value_bytes).unwrap());
        fields
    };
    varint(
        &mut record,
        i64::try_from(tail.len() + value_bytes + 1).unwrap(),
    );
    record.extend_from_slice(&tail);
    let mut packer = zstd_writer();
    packer.write_all(&record).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..body_bytes >> 20 {
        packer.write_all(&zeros).unwrap();
    }
    packer.write_all(&[0]).unwrap();
    let packed = packer.finish().unwrap();

    let mut header = batch(&["v"])[..61].to_vec();
    header[LENGTH..LENGTH + 4]
        .copy_from_slice(&i32::try_from(49 + packed.len()).unwrap().to_be_bytes());
    header[ATTRIBUTES + 1] = 4;
    header.extend_from_slice(&packed);
    seal(&mut header);
    header.into()
}

fn zstd_writer() -> zstd::stream::write::Encoder<'static, Vec<u8>> {
    zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap()
}

fn varint(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1) ^ (value >> 63);
    while rest >= 0x80 {
        bytes.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
}
