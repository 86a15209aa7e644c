//! What a client may send (the rules of `prepare`).

use bytes::Bytes;

use super::{CODECS, LIMIT, NOW, batch_at, forged};
use crate::record::{
    Allowance, BatchBuilder, Begun, Compression, CompressionTarget, Corruption, InvalidBatch,
    Malformed, RecordError, RecordProblem, Refused, RefusedRecord, Rules, TimestampType, begin,
    check_crc, prepare, records,
};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

fn refusal(batch: Bytes, rules: &Rules) -> RecordError {
    prepare(batch, rules, NOW).expect_err("the batch breaks a rule")
}

fn refusal_by_default(batch: Bytes) -> RecordError {
    refusal(batch, &Rules::default())
}

fn plain() -> Bytes {
    batch_at(&[NOW.0, NOW.0], Compression::None)
}

fn refused(index: i32, problem: RecordProblem) -> Refused {
    Refused {
        records: vec![RefusedRecord { index, problem }],
        count: 1,
    }
}

#[test]
fn exactly_one_batch_is_taken() {
    let one = plain();
    assert_eq!(
        refusal_by_default(Bytes::new()),
        InvalidBatch::Missing.into()
    );
    let two = InvalidBatch::MoreThanOne {
        length_bytes: one.len(),
        found_bytes: 2 * one.len(),
    };
    assert_eq!(
        refusal_by_default([one.clone(), one].concat().into()),
        two.into()
    );
}

#[test]
fn old_and_unknown_formats_are_told_apart() {
    for (magic, expected) in [
        (0, InvalidBatch::OldMagic { found: 0 }.into()),
        (1, InvalidBatch::OldMagic { found: 1 }.into()),
        (3, Corruption::UnknownMagic { found: 3 }.into()),
        (0xff, Corruption::UnknownMagic { found: -1 }.into()),
    ] {
        assert_eq!(
            refusal_by_default(forged(&plain(), |bytes| bytes[16] = magic)),
            expected
        );
    }
}

#[test]
fn a_negative_or_short_length_is_corrupt() {
    for found in [i32::MIN, -1, 0, 48] {
        let batch = forged(&plain(), |bytes| {
            bytes[8..12].copy_from_slice(&found.to_be_bytes());
        });
        assert_eq!(
            refusal_by_default(batch),
            Corruption::Length { found, min: 49 }.into()
        );
    }
}

#[test]
fn a_huge_length_costs_nothing() {
    let batch = forged(&plain(), |bytes| {
        bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    });
    let expected = Corruption::Truncated {
        needed: i32::MAX as usize + 12,
        found: batch.len(),
    };
    let expected = RecordError::from(expected);
    assert_eq!(refusal_by_default(batch), expected);
}

#[test]
fn the_size_limit_is_inclusive() {
    let batch = plain();
    let mut rules = Rules {
        message_bytes_max: batch.len(),
        ..Rules::default()
    };
    assert!(prepare(batch.clone(), &rules, NOW).is_ok());
    rules.message_bytes_max -= 1;
    let expected = RecordError::TooLarge {
        length_bytes: batch.len(),
        max_bytes: batch.len() - 1,
    };
    assert_eq!(refusal(batch, &rules), expected);
}

#[test]
fn count_and_offset_range_must_agree() {
    let with = |count: i32, last_offset_delta: i32| {
        refusal_by_default(forged(&plain(), |bytes| {
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
        }))
    };
    assert_eq!(with(0, 0), InvalidBatch::Count { found: 0, min: 1 }.into());
    assert_eq!(
        with(-1, 0),
        InvalidBatch::Count { found: -1, min: 0 }.into()
    );
    assert_eq!(with(2, -1), InvalidBatch::OffsetRange { found: -1 }.into());
    for (count, last_offset_delta) in [(1, 1), (2, 2), (3, 1), (1, i32::MAX)] {
        let expected = InvalidBatch::CountOffsets {
            count,
            last_offset_delta,
        };
        assert_eq!(with(count, last_offset_delta), expected.into());
    }
}

/// Its sender may try again; a batch that breaks a rule it gives up.
#[test]
fn a_damaged_count_or_offset_range_is_corrupt() {
    for place in [23, 57] {
        let mut bytes = plain().to_vec();
        bytes[place] ^= 0x80;
        let refusal = refusal_by_default(bytes.into());
        let is_corrupt = matches!(refusal, RecordError::Corrupt(Corruption::Crc { .. }));
        assert!(is_corrupt, "{refusal}");
    }
}

#[test]
fn offsets_are_not_the_clients_to_give() {
    for found in [i64::MIN, -1, 1, i64::MAX] {
        let batch = forged(&plain(), |bytes| {
            bytes[..8].copy_from_slice(&found.to_be_bytes());
        });
        let found = Offset(found);
        let expected = InvalidBatch::BaseOffset { found };
        assert_eq!(refusal_by_default(batch), expected.into());
    }
}

#[test]
fn more_or_fewer_records_than_counted_are_refused() {
    let with = |count: i32| {
        refusal_by_default(forged(&plain(), |bytes| {
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        }))
    };
    let fewer = InvalidBatch::TrailingBytes {
        count: 1,
        extra_bytes: 15,
    };
    assert_eq!(with(1), fewer.into());
    let short = Malformed::Short {
        needed: 1,
        found: 0,
    };
    for count in [3, i32::MAX] {
        let more = refused(2, RecordProblem::Malformed(short));
        assert_eq!(with(count), RecordError::InvalidRecords(more));
    }
}

#[test]
fn a_packed_batch_counts_no_more_records_than_it_can_unfold_to() {
    let with = |batch: &Bytes, count: usize, rules: &Rules| {
        let count = i32::try_from(count).unwrap();
        let batch = forged(batch, |bytes| {
            bytes[57..61].copy_from_slice(&count.to_be_bytes());
            bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        });
        prepare(batch, rules, NOW).map(|prepared| prepared.record_count())
    };
    for (compression, times) in [
        (Compression::Gzip, 1_032),
        (Compression::Snappy, 32),
        (Compression::Lz4, 255),
        (Compression::Zstd, 32 << 10),
    ] {
        let batch = batch_at(&[NOW.0, NOW.0], compression);
        let body_bytes_max = (batch.len() - 61) * times;
        for (body_bytes_max, rules) in [
            (body_bytes_max, Rules::default()),
            (
                699,
                Rules {
                    body_bytes_max: 699,
                    ..Rules::default()
                },
            ),
        ] {
            let most = body_bytes_max / 7;
            assert_eq!(with(&batch, most, &rules), Ok(most as i32));
            for count in [most + 1, i32::MAX as usize] {
                let expected = InvalidBatch::CountTooLarge {
                    count: count as i32,
                    body_bytes_max,
                };
                let refused = with(&batch, count, &rules);
                assert_eq!(refused, Err(expected.into()), "{compression}");
            }
        }
    }
}

#[test]
fn offsets_go_up_one_by_one() {
    // Length, attributes, timestamp delta, offset delta: the second record starts at 61 + 15.
    let batch = forged(&plain(), |bytes| bytes[61 + 15 + 3] = 4);
    let problem = RecordProblem::OffsetDelta {
        found: 2,
        expected: 1,
    };
    let expected = RecordError::InvalidRecords(refused(1, problem));
    assert_eq!(refusal_by_default(batch), expected);
}

#[test]
fn lengths_that_lie_are_refused() {
    let with = |place: usize, byte: u8| {
        refusal_by_default(forged(&plain(), |bytes| bytes[61 + place] = byte))
    };
    let malformed = |problem| {
        let refused = refused(0, RecordProblem::Malformed(problem));
        RecordError::InvalidRecords(refused)
    };
    // A record of -1 bytes, a key of -2, a key past the record, a negative and a huge header count; and a null key
    // that makes its first letter the value's length.
    assert_eq!(
        with(0, 1),
        malformed(Malformed::Negative { found: -1, min: 0 })
    );
    assert_eq!(
        with(4, 3),
        malformed(Malformed::Negative { found: -2, min: -1 })
    );
    let short = Malformed::Short {
        needed: 50,
        found: 10,
    };
    assert_eq!(with(4, 100), malformed(short));
    assert_eq!(
        with(14, 1),
        malformed(Malformed::Negative { found: -1, min: 0 })
    );
    assert_eq!(
        with(14, 126),
        malformed(Malformed::Short {
            needed: 1,
            found: 0
        })
    );
    assert_eq!(
        with(4, 1),
        malformed(Malformed::Negative {
            found: -54,
            min: -1
        })
    );
}

#[test]
fn brokers_alone_write_control_batches_horizons_and_append_times() {
    let with =
        |attributes: u8| refusal_by_default(forged(&plain(), |bytes| bytes[22] = attributes));
    assert_eq!(with(0x20), InvalidBatch::Control.into());
    assert_eq!(with(0x40), InvalidBatch::DeleteHorizon.into());
    assert_eq!(with(0x08), RecordError::InvalidTimestampType);
}

#[test]
fn unknown_codecs_and_untimely_zstd_are_refused() {
    for id in 5..8 {
        let batch = forged(&plain(), |bytes| bytes[22] = id);
        assert_eq!(
            refusal_by_default(batch),
            RecordError::UnknownCompression { id }
        );
    }
    let rules = Rules {
        zstd_allowed: false,
        ..Rules::default()
    };
    let batch = batch_at(&[NOW.0], Compression::Zstd);
    assert_eq!(refusal(batch, &rules), RecordError::ZstdNotAllowed);
}

#[test]
fn a_producer_id_needs_an_epoch_and_a_sequence() {
    let with = |id, epoch, sequence| {
        let mut builder = BatchBuilder::new()
            .producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence))
            .transactional();
        builder.push(NOW, None, None, &[]);
        prepare(builder.build(), &Rules::default(), NOW).map(|prepared| *prepared.header())
    };
    assert!(with(0, 0, 0).is_ok());
    assert!(with(0, -1, 0).is_err());
    assert!(with(0, 0, -1).is_err());
    assert_eq!(
        with(-1, 0, 0),
        Err(InvalidBatch::TransactionalWithoutProducer.into())
    );
}

#[test]
fn a_compacted_topic_refuses_every_record_without_key() {
    let rules = Rules {
        compacted: true,
        ..Rules::default()
    };
    for compression in CODECS {
        let mut builder = BatchBuilder::new().compression(compression);
        builder.push(NOW, Some(b""), None, &[]);
        for _ in 0..200 {
            builder.push(NOW, None, Some(b"value"), &[]);
        }
        let RecordError::InvalidRecords(refused) = refusal(builder.build(), &rules) else {
            panic!("not a refusal of records");
        };
        assert_eq!(refused.count, 200);
        assert_eq!(refused.records.len(), Refused::LISTED_MAX);
        let first = RefusedRecord {
            index: 1,
            problem: RecordProblem::NoKey,
        };
        assert_eq!(refused.records[0], first);
        assert!(prepare(batch_at(&[NOW.0], compression), &rules, NOW).is_ok());
    }
}

#[test]
fn timestamps_outside_the_bounds_are_refused_one_by_one() {
    let rules = Rules {
        timestamp_before_max_ms: 10,
        timestamp_after_max_ms: 20,
        ..Rules::default()
    };
    let (earliest, latest) = (Timestamp(NOW.0 - 10), Timestamp(NOW.0 + 20));
    for compression in CODECS {
        let good = batch_at(&[earliest.0, latest.0, -1], compression);
        assert!(prepare(good, &rules, NOW).is_ok());
        let bad = batch_at(&[NOW.0, latest.0 + 1, earliest.0 - 1], compression);
        let refused = [(1, latest.0 + 1), (2, earliest.0 - 1)].map(|(index, found)| {
            let found = Timestamp(found);
            let problem = RecordProblem::Timestamp {
                found,
                earliest,
                latest,
            };
            RefusedRecord { index, problem }
        });
        let refused = Refused {
            records: refused.to_vec(),
            count: 2,
        };
        assert_eq!(
            refusal(bad, &rules),
            RecordError::InvalidTimestamps(refused)
        );
    }
}

#[test]
fn an_unopened_batch_is_judged_by_its_max_timestamp() {
    let latest = Timestamp(NOW.0 + 3_600_000);
    let found = Timestamp(latest.0 + 1);
    let batch = batch_at(&[NOW.0, found.0], Compression::Lz4);
    let expected = RecordError::InvalidBatchTimestamp { found, latest };
    assert_eq!(refusal_by_default(batch), expected);
}

#[test]
fn a_max_timestamp_that_was_not_filled_in_is_that_of_the_records() {
    for compression in CODECS {
        let batch = forged(&batch_at(&[5, 9, 3], compression), |bytes| {
            bytes[35..43].copy_from_slice(&(-1_i64).to_be_bytes());
        });
        let prepared = prepare(batch, &Rules::default(), NOW).unwrap();
        assert_eq!(prepared.max_timestamp(), Timestamp(9), "{compression:?}");
        let (header, payload) = prepared.stamp(Offset(0), LeaderEpoch(0));
        assert_eq!(check_crc(&[header.bytes(), &payload].concat()), Ok(()));
    }
}

#[test]
fn a_max_timestamp_that_is_not_the_records_is_corrected() {
    let batch = forged(&batch_at(&[5, 9, 9, 3], Compression::None), |bytes| {
        bytes[35..43].copy_from_slice(&77_i64.to_be_bytes());
    });
    let prepared = prepare(batch, &Rules::default(), NOW).unwrap();
    assert_eq!(prepared.max_timestamp(), Timestamp(9));
    assert_eq!(prepared.offset_delta_of_max_timestamp(), 1);
    let (header, payload) = prepared.stamp(Offset(0), LeaderEpoch(0));
    assert_eq!(check_crc(&[header.bytes(), &payload].concat()), Ok(()));
}

#[test]
fn log_append_time_restamps_the_header_and_keeps_the_payload() {
    let rules = Rules {
        timestamp_type: TimestampType::LogAppendTime,
        ..Rules::default()
    };
    for compression in CODECS {
        let batch = batch_at(&[5, i64::MAX, -1], compression);
        let prepared = prepare(batch.clone(), &rules, NOW).unwrap();
        assert_eq!(prepared.log_append_time(), Some(NOW));
        assert_eq!(prepared.payload(), &batch.slice(61..));
        let (header, payload) = prepared.stamp(Offset(7), LeaderEpoch(1));
        let stored = Bytes::from([header.bytes(), &payload].concat());
        assert_eq!(check_crc(&stored), Ok(()));
        for record in records(&stored, LIMIT).unwrap() {
            assert_eq!(record.unwrap().timestamp, NOW);
        }
    }
}

#[test]
fn a_body_that_unfolds_past_the_limit_is_refused() {
    let mut builder = BatchBuilder::new();
    builder.push(NOW, None, Some(&vec![0; 8 * LIMIT]), &[]);
    let plain = builder.build();
    for compression in CODECS.into_iter().skip(1) {
        let rules = Rules {
            message_bytes_max: usize::MAX,
            compression_target: Some(compression.into()),
            ..Rules::default()
        };
        let (header, payload) = prepare(plain.clone(), &rules, NOW)
            .unwrap()
            .stamp(Offset(0), LeaderEpoch(0));
        let bomb = Bytes::from([header.bytes(), &payload].concat());
        let expected = RecordError::BodyTooLarge {
            compression,
            max_bytes: LIMIT,
        };
        assert_eq!(records(&bomb, LIMIT).err(), Some(expected.clone()));
        let rules = Rules {
            compacted: true,
            body_bytes_max: LIMIT,
            ..Rules::default()
        };
        assert_eq!(refusal(bomb, &rules), expected);
    }
}

#[test]
fn a_body_that_is_not_of_its_codec_is_corrupt_once_opened() {
    let rules = Rules {
        compacted: true,
        ..Rules::default()
    };
    for id in 1..5 {
        let batch = forged(&plain(), |bytes| bytes[22] = id);
        assert!(matches!(
            refusal(batch, &rules),
            RecordError::Corrupt(Corruption::Body { .. })
        ));
    }
}

#[test]
fn recompression_must_not_grow_past_the_size_limit() {
    let mut builder = BatchBuilder::new().compression(Compression::Zstd);
    builder.push(NOW, None, Some(&[0; 10_000]), &[]);
    let rules = Rules {
        message_bytes_max: 5_000,
        compression_target: Some(Compression::None.into()),
        ..Rules::default()
    };
    assert!(matches!(
        refusal(builder.build(), &rules),
        RecordError::TooLarge { length_bytes, max_bytes: 5_000 } if length_bytes > 10_000
    ));
}

#[test]
fn what_is_packed_anew_holds_no_more_memory_than_its_bytes() {
    for compression in CODECS {
        let rules = Rules {
            compression_target: Some(compression.into()),
            ..Rules::default()
        };
        let mut builder = BatchBuilder::new().compression(match compression {
            Compression::Zstd => Compression::Lz4,
            _ => Compression::Zstd,
        });
        builder.push(NOW, None, Some(&vec![0; 200_000]), &[]);
        let prepared = prepare(builder.build(), &rules, NOW).unwrap();
        let (_, payload) = prepared.stamp(Offset(0), LeaderEpoch(0));
        let length = payload.len();
        let held = payload.try_into_mut().unwrap().capacity();
        assert_eq!(held, length, "{compression}");
    }
}

fn folded(zeros: usize) -> Bytes {
    let mut builder = BatchBuilder::new().compression(Compression::Gzip);
    builder.push(NOW, Some(b"key"), Some(&vec![0; zeros]), &[]);
    builder.build()
}

#[test]
fn what_is_beyond_the_allowance_is_left_packed_and_nothing_else_is() {
    let rules = Rules {
        compacted: true,
        ..Rules::default()
    };
    let mut allowance = Allowance::default();
    let mut begin =
        |batch: &Bytes, rules: &Rules| begin(batch.clone(), rules, NOW, &mut allowance).unwrap();
    // Two and the last bytes of the allowance, which are enough to begin with.
    for _ in 0..3 {
        assert!(matches!(begin(&folded(262_000), &rules), Begun::Ready(_)));
    }
    let small = batch_at(&[NOW.0], Compression::Gzip);
    let Begun::Packed(packed) = begin(&small, &rules) else {
        panic!("it was opened");
    };
    assert_eq!(packed.unpack(), prepare(small.clone(), &rules, NOW));
    let plain = plain();
    assert!(matches!(begin(&plain, &rules), Begun::Ready(_)));
    assert!(matches!(begin(&small, &Rules::default()), Begun::Ready(_)));
    let repacked = Rules {
        compression_target: Some(Compression::Lz4.into()),
        ..Rules::default()
    };
    assert!(matches!(begin(&plain, &repacked), Begun::Packed(_)));
}

#[test]
fn an_attempt_that_comes_to_nothing_takes_of_the_allowance_as_well() {
    let rules = Rules {
        compacted: true,
        ..Rules::default()
    };
    let is_packed = |begun: Begun| matches!(begun, Begun::Packed(_));
    let small = batch_at(&[NOW.0], Compression::Gzip);
    let large = folded(1 << 20);
    let mut allowance = Allowance::default();
    for _ in 0..2 {
        assert!(is_packed(
            begin(large.clone(), &rules, NOW, &mut allowance).unwrap()
        ));
    }
    assert!(is_packed(
        begin(small.clone(), &rules, NOW, &mut allowance).unwrap()
    ));
    let broken = forged(&folded(200_000), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let mut allowance = Allowance::default();
    for _ in 0..2 {
        begin(broken.clone(), &rules, NOW, &mut allowance).unwrap_err();
    }
    assert!(is_packed(
        begin(small, &rules, NOW, &mut allowance).unwrap()
    ));
}

/// However little each unfolds to.
#[test]
fn only_so_many_bodies_are_opened_at_once() {
    let rules = Rules {
        compacted: true,
        ..Rules::default()
    };
    let small = batch_at(&[NOW.0], Compression::Gzip);
    let mut allowance = Allowance::default();
    let begun = (0..1_000).map(|_| begin(small.clone(), &rules, NOW, &mut allowance).unwrap());
    let opened = begun.filter(|begun| matches!(begun, Begun::Ready(_)));
    assert_eq!(opened.count(), 128);
}

#[test]
fn what_takes_long_to_pack_is_never_packed_at_once() {
    for (compression, level, at_once) in [
        (Compression::Gzip, 6, true),
        (Compression::Gzip, 7, false),
        (Compression::Zstd, 6, true),
        (Compression::Zstd, 7, false),
        (Compression::Lz4, 17, true),
    ] {
        let target = CompressionTarget {
            compression,
            level: Some(level),
        };
        let rules = Rules {
            compacted: true,
            compression_target: Some(target),
            ..Rules::default()
        };
        let begin = |batch| begin(batch, &rules, NOW, &mut Allowance::default()).unwrap();
        let is_ready = matches!(begin(plain()), Begun::Ready(_));
        assert_eq!(is_ready, at_once, "{target:?}");
        // One that is only opened is not packed.
        let same = batch_at(&[NOW.0], compression);
        assert!(matches!(begin(same), Begun::Ready(_)), "{target:?}");
    }
}
