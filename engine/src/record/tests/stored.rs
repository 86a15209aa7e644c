//! Reading what may lie on disk: gaps left by compaction, cut tails, control batches; and finding records by time.

use bytes::Bytes;

use super::{CODECS, LIMIT, NOW, batch_at, forged, header, retain};
use crate::record::control::{ControlRecord, EndTransactionMarker, TransactionOutcome};
use crate::record::{
    BatchBuilder, BatchHeader, Batches, Compression, Corruption, InvalidBatch, PreparedBatch,
    RecordError, record_of_max_timestamp, records,
};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

fn at(offset: i64, timestamp: i64) -> Option<(Offset, Timestamp)> {
    Some((Offset(offset), Timestamp(timestamp)))
}

fn batch_at_hundred(timestamps: &[i64], compression: Compression) -> Bytes {
    let batch = batch_at(timestamps, compression);
    let prepared = PreparedBatch::from_builder(&batch).unwrap();
    let (header, payload) = prepared.stamp(Offset(100), LeaderEpoch(1));
    [header.bytes(), &payload].concat().into()
}

#[test]
fn a_lookup_by_time_answers_the_first_record_not_the_batch() {
    for compression in CODECS {
        let batch = batch_at_hundred(&[10, 30, 20, 30, -1], compression);
        let find = |timestamp, from| {
            let mut records = records(&batch, LIMIT).unwrap();
            records
                .first_at_or_after(Timestamp(timestamp), Offset(from))
                .unwrap()
        };
        assert_eq!(find(0, 0), at(100, 10));
        assert_eq!(find(11, 0), at(101, 30));
        assert_eq!(find(11, 102), at(102, 20));
        assert_eq!(find(30, 102), at(103, 30));
        assert_eq!(find(31, 0), None);
        let max = |from| record_of_max_timestamp(&batch, Offset(from), LIMIT).unwrap();
        assert_eq!(max(0), at(101, 30));
        assert_eq!(max(102), at(103, 30));
        assert_eq!(max(104), None);
    }
}

#[test]
fn compaction_leaves_gaps_that_are_read() {
    for compression in CODECS {
        let mut builder = BatchBuilder::new()
            .at(Offset(40))
            .leader_epoch(LeaderEpoch(6))
            .compression(compression)
            .producer(ProducerId(1), ProducerEpoch(2), Sequence(3));
        for (timestamp, value) in [(9, "a"), (5, "b"), (7, "c"), (8, "d")] {
            let headers = [header(value, None)];
            builder.push(Timestamp(timestamp), None, Some(value.as_bytes()), &headers);
        }
        let before = builder.build();
        let head = BatchHeader::parse(&before).unwrap();
        let stays = |offset: Offset| [Offset(41), Offset(42)].contains(&offset);
        let kept: Vec<_> = records(&before, LIMIT)
            .unwrap()
            .map(Result::unwrap)
            .filter(|record| stays(record.offset))
            .collect();

        let mut builder = BatchBuilder::in_place_of(&head);
        retain(&mut builder, &before, stays);
        let after = builder.build();

        let read: Result<Vec<_>, _> = records(&after, LIMIT).unwrap().collect();
        assert_eq!(read, Ok(kept));
        let now = BatchHeader::parse(&after).unwrap();
        assert_eq!(now.base_offset(), Offset(40));
        assert_eq!(now.last_offset(), Offset(43));
        assert_eq!(now.leader_epoch(), LeaderEpoch(6));
        assert_eq!(now.attributes(), head.attributes());
        assert_eq!(now.last_sequence(), head.last_sequence());
        assert_eq!((now.record_count(), now.max_timestamp()), (2, Timestamp(7)));
    }
}

#[test]
fn a_batch_that_compaction_emptied_is_read_as_no_records() {
    let head = BatchHeader::parse(&batch_at(&[1, 2, 3], Compression::None)).unwrap();
    let empty = BatchBuilder::in_place_of(&head).build();
    assert_eq!(empty.len(), 61);
    assert_eq!(records(&empty, LIMIT).unwrap().count(), 0);
    assert_eq!(BatchHeader::parse(&empty).unwrap().next_offset(), Offset(3));
}

#[test]
fn a_delete_horizon_keeps_the_timestamps() {
    let mut builder = BatchBuilder::new().delete_horizon(Timestamp(5_000));
    builder.push(Timestamp(70), Some(b"key"), None, &[]);
    let batch = builder.build();
    let head = BatchHeader::parse(&batch).unwrap();
    assert!(head.attributes().has_delete_horizon());
    assert_eq!(head.base_timestamp(), Timestamp(5_000));
    let record = records(&batch, LIMIT).unwrap().next().unwrap().unwrap();
    assert_eq!(record.timestamp, Timestamp(70));
}

#[test]
fn log_append_time_survives_compaction() {
    let mut builder = BatchBuilder::new().log_append_time(NOW);
    builder.push(Timestamp(1), Some(b"key"), None, &[]);
    let before = builder.build();
    let record = records(&before, LIMIT).unwrap().next().unwrap().unwrap();
    assert_eq!(record.timestamp, NOW);
    let mut builder = BatchBuilder::in_place_of(&BatchHeader::parse(&before).unwrap());
    retain(&mut builder, &before, |_| true);
    let after = builder.build();
    assert_eq!(records(&after, LIMIT).unwrap().next(), Some(Ok(record)));
}

#[test]
fn records_out_of_order_or_past_the_batch_are_refused_on_disk_too() {
    let batch = batch_at(&[1, 1], Compression::None);
    for delta in [0, 4, 1] {
        let batch = forged(&batch, |bytes| bytes[61 + 15 + 3] = delta);
        let read: Vec<_> = records(&batch, LIMIT).unwrap().collect();
        assert_eq!(read.len(), 2, "the error ends the walk");
        assert!(matches!(read[1], Err(RecordError::InvalidRecords(_))));
    }
}

#[test]
fn walking_batches_stops_at_the_cut_tail() {
    let batch = batch_at(&[1], Compression::None);
    let length = batch.len();
    let bytes = Bytes::from([&batch[..], &batch, &batch[..length - 1]].concat());
    let mut batches = Batches::new(bytes);
    assert_eq!(batches.next().unwrap().unwrap().bytes, batch);
    assert_eq!(batches.next().unwrap().unwrap().bytes, batch);
    let cut = Corruption::Truncated {
        needed: length,
        found: length - 1,
    };
    assert_eq!(batches.next(), Some(Err(cut.into())));
    assert_eq!(batches.position(), 2 * length);
    assert_eq!(batches.next(), None);
}

#[test]
fn bytes_that_begin_no_batch_show_by_their_attributes_or_their_count() {
    let batch = batch_at(&[1, 2], Compression::None);
    let is_plausible = |change: fn(&mut Vec<u8>)| {
        let header = BatchHeader::parse(&forged(&batch, change)).unwrap();
        header.is_plausible()
    };
    assert!(is_plausible(|_| {}));
    assert!(is_plausible(|bytes| bytes[22] = 0x78), "all flags");
    assert!(!is_plausible(|bytes| bytes[22] = 0x80));
    assert!(!is_plausible(|bytes| bytes[21] = 2));
    assert!(!is_plausible(|bytes| bytes[22] = 5), "no codec");
    // Its records take 30 bytes, and could take 7 each.
    assert!(is_plausible(|bytes| bytes[60] = 4));
    assert!(!is_plausible(|bytes| bytes[60] = 5));
    let packed = |bytes: &mut Vec<u8>| (bytes[22], bytes[60]) = (3, 5);
    assert!(is_plausible(packed), "they may unfold to more");
}

#[test]
fn offsets_at_the_end_of_the_number_line_do_not_wrap() {
    let batch = batch_at(&[1, 2, 3], Compression::None);
    let header = BatchHeader::parse(&batch).unwrap();
    let header = header.stamped(Offset(i64::MAX - 1), LeaderEpoch(0));
    assert_eq!(header.last_offset(), Offset(i64::MAX));
    assert_eq!(header.next_offset(), Offset(i64::MAX));
}

#[test]
fn both_markers_read_back_and_other_control_records_are_told_apart() {
    for outcome in [TransactionOutcome::Abort, TransactionOutcome::Commit] {
        let marker = EndTransactionMarker {
            outcome,
            coordinator_epoch: 12,
        };
        let batch = marker.batch(ProducerId(9), ProducerEpoch(3), NOW);
        let header = BatchHeader::parse(&batch).unwrap();
        assert!(header.attributes().is_control() && header.attributes().is_transactional());
        assert_eq!(header.last_sequence(), Sequence::NONE);
        let record = records(&batch, LIMIT).unwrap().next().unwrap().unwrap();
        assert_eq!(
            ControlRecord::decode(&record),
            Ok(ControlRecord::EndTransaction(marker))
        );
    }
}

#[test]
fn control_records_of_other_kinds_or_broken_are_told_apart() {
    let decode = |key: &[u8], value: Option<&[u8]>| {
        let mut builder = BatchBuilder::new().control();
        builder.push(NOW, Some(key), value, &[]);
        let batch = builder.build();
        let record = records(&batch, LIMIT).unwrap().next().unwrap().unwrap();
        ControlRecord::decode(&record)
    };
    let malformed = |result| {
        matches!(
            result,
            Err(RecordError::InvalidBatch(InvalidBatch::ControlRecord(_)))
        )
    };
    let leader_change = decode(&[0, 0, 0, 2], None);
    assert_eq!(leader_change, Ok(ControlRecord::Other { kind: 2 }));
    assert!(malformed(decode(&[0, 0, 0], None)));
    assert!(malformed(decode(&[0xff, 0xff, 0, 1], Some(&[0; 6]))));
    assert!(malformed(decode(&[0, 0, 0, 1], Some(&[0; 5]))));
    assert!(malformed(decode(&[0, 0, 0, 0], None)));
    // A later version appends fields.
    assert!(decode(&[0, 1, 0, 1], Some(&[0, 1, 0, 0, 0, 1, 0, 2])).is_ok());
}
