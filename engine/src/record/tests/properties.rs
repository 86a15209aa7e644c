//! What holds for any records and for any bytes.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{CODECS, LIMIT, NOW, batch_at, retain};
use crate::record::{
    BatchBuilder, BatchHeader, Compression, Record, RecordHeader, Rules, decode_hostile, prepare,
    records,
};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

fn some_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..80).prop_map(Bytes::from)
}

fn some_header() -> impl Strategy<Value = RecordHeader> {
    (some_bytes(), option::of(some_bytes())).prop_map(|(key, value)| RecordHeader { key, value })
}

fn some_record() -> impl Strategy<Value = Record> {
    let timestamp = prop_oneof![
        Just(-1),
        0..2 * NOW.0,
        Just(i64::MAX),
        any::<i64>().prop_map(|timestamp| timestamp.max(-1)),
    ];
    let parts = (
        timestamp,
        option::of(some_bytes()),
        option::of(some_bytes()),
        vec(some_header(), 0..4),
    );
    parts.prop_map(|(timestamp, key, value, headers)| Record {
        offset: Offset(0),
        timestamp: Timestamp(timestamp),
        key,
        value,
        headers,
    })
}

fn some_records() -> impl Strategy<Value = Vec<Record>> {
    vec(some_record(), 1..20).prop_map(|mut records| {
        for (place, record) in records.iter_mut().enumerate() {
            record.offset = Offset(place as i64);
        }
        records
    })
}

fn build(records: &[Record], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new().compression(compression).producer(
        ProducerId(4),
        ProducerEpoch(2),
        Sequence(i32::MAX),
    );
    for record in records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(record.timestamp, key, value, &record.headers);
    }
    builder.build()
}

fn read(batch: &Bytes) -> Vec<Record> {
    records(batch, LIMIT).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_is_accepted_and_reads_back(sent in some_records()) {
        let rules = Rules { timestamp_after_max_ms: i64::MAX, ..Rules::default() };
        let max = sent.iter().map(|record| record.timestamp).max();
        for compression in CODECS {
            let batch = build(&sent, compression);
            let prepared = prepare(batch.clone(), &rules, NOW).unwrap();
            prop_assert_eq!(Some(prepared.max_timestamp()), max);
            prop_assert_eq!(prepared.payload(), &batch.slice(61..));
            let (header, payload) = prepared.stamp(Offset(0), LeaderEpoch(1));
            prop_assert_eq!(read(&[header.bytes(), &payload].concat().into()), sent.clone());
        }
    }

    #[test]
    fn recompression_keeps_the_records(sent in some_records(), from in 0..5_u8, to in 0..5_u8) {
        let codec = |id| Compression::from_id(id).unwrap();
        let rules = Rules {
            timestamp_after_max_ms: i64::MAX,
            compression_target: Some(codec(to).into()),
            ..Rules::default()
        };
        let prepared = prepare(build(&sent, codec(from)), &rules, NOW).unwrap();
        prop_assert_eq!(prepared.header().attributes().compression(), Ok(codec(to)));
        let (header, payload) = prepared.stamp(Offset(0), LeaderEpoch(1));
        prop_assert_eq!(read(&[header.bytes(), &payload].concat().into()), sent);
    }

    #[test]
    fn records_copied_as_they_lie_are_as_if_they_were_encoded_anew(
        sent in some_records(),
        codec in 0..5_u8,
        stay in any::<u32>(),
        stamped in any::<bool>(),
        marked in any::<bool>(),
    ) {
        let mut builder = BatchBuilder::new().compression(Compression::from_id(codec).unwrap());
        if stamped {
            builder = builder.log_append_time(NOW);
        }
        for record in &sent {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder.push(record.timestamp, key, value, &record.headers);
        }
        let before = builder.build();
        let stays = |offset: Offset| (stay >> offset.0) & 1 == 1;
        let in_place = || {
            let builder = BatchBuilder::in_place_of(&BatchHeader::parse(&before).unwrap());
            if marked { builder.delete_horizon(Timestamp(NOW.0 + 7)) } else { builder }
        };
        let mut copied = in_place();
        retain(&mut copied, &before, stays);
        let mut anew = in_place();
        for record in read(&before).iter().filter(|record| stays(record.offset)) {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            anew.put(record.offset.0 as i32, record.timestamp, key, value, &record.headers);
        }
        prop_assert_eq!(copied.build(), anew.build());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(data in vec(any::<u8>(), 0..300)) {
        decode_hostile(&data);
    }

    #[test]
    fn a_damaged_batch_is_read_without_a_panic(
        sent in some_records(),
        codec in 0..5_u8,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let batch = build(&sent, Compression::from_id(codec).unwrap());
        let mut bytes = batch.to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        decode_hostile(&bytes);
    }
}

#[test]
fn a_flipped_bit_is_refused_unless_a_broker_sets_it_anyway() {
    for compression in CODECS {
        let batch = batch_at(&[NOW.0, NOW.0 + 1], compression);
        for bit in 0..batch.len() * 8 {
            let mut bytes = batch.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let is_leader_epoch = matches!(bit / 8, 12..16);
            let accepted = prepare(bytes.into(), &Rules::default(), NOW).is_ok();
            assert_eq!(accepted, is_leader_epoch, "{compression}, bit {bit}");
        }
    }
}

#[test]
fn a_batch_cut_anywhere_is_refused() {
    let batch = batch_at(&[NOW.0], Compression::None);
    for length in 0..batch.len() {
        assert!(prepare(batch.slice(..length), &Rules::default(), NOW).is_err());
    }
}
