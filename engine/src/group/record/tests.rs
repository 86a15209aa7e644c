//! Records against bytes composed by hand from Kafka's message definitions, and against any bytes at all.

use proptest::prelude::*;

use super::*;
use crate::record::{BATCH_HEADER_LENGTH, BatchBuilder};

fn offset(expires: Option<i64>) -> GroupRecord {
    GroupRecord::Offset {
        group: GroupId::from("g1"),
        partition: TopicPartition {
            topic: "topic".parse().unwrap(),
            partition: 7,
        },
        value: Some(CommittedOffset {
            offset: Offset(0x0102),
            leader_epoch: if expires.is_some() {
                LeaderEpoch::NONE
            } else {
                LeaderEpoch(5)
            },
            metadata: Arc::from("note"),
            committed: Timestamp(1_000),
            expires: expires.map(Timestamp),
        }),
    }
}

fn group(members: &[(&str, Option<&str>)]) -> GroupRecord {
    let member = |&(id, instance): &(&str, Option<&str>)| {
        let member = StoredMember {
            instance_id: instance.map(InstanceId::from),
            client_id: Arc::from("c"),
            client_host: Arc::from("/1"),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 10_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"as"),
        };
        (MemberId::from(id), member)
    };
    GroupRecord::Group {
        group: GroupId::from("g1"),
        value: Some(StoredGroup {
            protocol_type: Some(Arc::from("consumer")),
            generation: GenerationId(3),
            protocol: Some(Arc::from("range")),
            leader: Some(MemberId::from("m")),
            state_since: Timestamp(1_000),
            members: members.iter().map(member).collect(),
        }),
    }
}

const OFFSET_KEY_BYTES: &[u8] = b"\x00\x01\x00\x02g1\x00\x05topic\x00\x00\x00\x07";
const GROUP_KEY_BYTES: &[u8] = b"\x00\x02\x00\x02g1";

#[test]
fn an_offset_is_stored_as_version_3() {
    let record = offset(None).encode();
    assert_eq!(&record.key[..], OFFSET_KEY_BYTES);
    let value = b"\x00\x03\0\0\0\0\0\0\x01\x02\0\0\0\x05\x00\x04note\0\0\0\0\0\0\x03\xe8";
    assert_eq!(record.value.as_deref(), Some(&value[..]));
    assert_eq!(
        GroupRecord::decode(&record.key, Some(value)),
        Ok(Some(offset(None)))
    );
}

#[test]
fn an_offset_with_an_expiry_time_is_stored_as_version_1() {
    let record = offset(Some(2_000)).encode();
    let value = b"\x00\x01\0\0\0\0\0\0\x01\x02\x00\x04note\0\0\0\0\0\0\x03\xe8\0\0\0\0\0\0\x07\xd0";
    assert_eq!(record.value.as_deref(), Some(&value[..]));
    assert_eq!(
        GroupRecord::decode(&record.key, Some(value)),
        Ok(Some(offset(Some(2_000))))
    );
}

#[test]
fn a_group_is_stored_as_version_3() {
    let record = group(&[("m", None), ("n", Some("i"))]).encode();
    assert_eq!(&record.key[..], GROUP_KEY_BYTES);
    let mut value = Vec::new();
    value.extend(
        b"\x00\x03\x00\x08consumer\0\0\0\x03\x00\x05range\x00\x01m\0\0\0\0\0\0\x03\xe8\0\0\0\x02",
    );
    let rest = b"\x00\x01c\x00\x02/1\x00\x04\x93\xe0\0\0\x27\x10\0\0\0\x03sub\0\0\0\x02as";
    value.extend(b"\x00\x01m\xff\xff");
    value.extend(rest);
    value.extend(b"\x00\x01n\x00\x01i");
    value.extend(rest);
    assert_eq!(record.value.as_deref(), Some(&value[..]));
    let read = GroupRecord::decode(&record.key, Some(&value));
    assert_eq!(read, Ok(Some(group(&[("m", None), ("n", Some("i"))]))));
}

#[test]
fn a_missing_value_is_a_tombstone() {
    let removed = GroupRecord::Group {
        group: GroupId::from("g1"),
        value: None,
    };
    assert_eq!(removed.encode().value, None);
    assert_eq!(
        GroupRecord::decode(GROUP_KEY_BYTES, None),
        Ok(Some(removed))
    );
    let removed = GroupRecord::decode(OFFSET_KEY_BYTES, None);
    assert!(matches!(
        removed,
        Ok(Some(GroupRecord::Offset { value: None, .. }))
    ));
}

#[test]
fn older_versions_are_read() {
    let value = b"\x00\x00\0\0\0\0\0\0\x01\x02\x00\x04note\0\0\0\0\0\0\x03\xe8";
    let mut expected = offset(None);
    if let GroupRecord::Offset {
        value: Some(value), ..
    } = &mut expected
    {
        value.leader_epoch = LeaderEpoch::NONE;
    }
    let mut key = OFFSET_KEY_BYTES.to_vec();
    key[1] = 0;
    assert_eq!(GroupRecord::decode(&key, Some(value)), Ok(Some(expected)));

    // Version 0 of a group: no state timestamp, no instance ids, no rebalance timeout.
    let value = b"\x00\x00\x00\x08consumer\0\0\0\x03\x00\x05range\x00\x01m\0\0\0\x01\
        \x00\x01m\x00\x01c\x00\x02/1\0\0\x27\x10\0\0\0\x03sub\0\0\0\x02as";
    let read = GroupRecord::decode(GROUP_KEY_BYTES, Some(value)).unwrap();
    let Some(GroupRecord::Group {
        value: Some(read), ..
    }) = read
    else {
        panic!("{read:?}");
    };
    assert_eq!(read.state_since, Timestamp::NONE);
    assert_eq!(
        read.members[&MemberId::from("m")].rebalance_timeout_ms,
        10_000
    );
}

#[test]
fn flexible_versions_are_read_and_their_tags_skipped() {
    // OffsetCommitValue 4 carries the topic id under tag 0.
    let mut value =
        b"\x00\x04\0\0\0\0\0\0\x01\x02\0\0\0\x05\x05note\0\0\0\0\0\0\x03\xe8\x01\x00\x10".to_vec();
    value.extend([9; 16]);
    let read = GroupRecord::decode(OFFSET_KEY_BYTES, Some(&value));
    assert_eq!(read, Ok(Some(offset(None))));

    let value = b"\x00\x04\x09consumer\0\0\0\x03\x06range\x02m\0\0\0\0\0\0\x03\xe8\x02\
        \x02m\x00\x02c\x03/1\x00\x04\x93\xe0\0\0\x27\x10\x04sub\x03as\x00\x00";
    let read = GroupRecord::decode(GROUP_KEY_BYTES, Some(value));
    assert_eq!(read, Ok(Some(group(&[("m", None)]))));
}

#[test]
fn no_text_is_read_that_is_too_long_to_be_written_again() {
    let read = |length: usize, compact: &[u8]| {
        let note = vec![b'x'; length];
        let value: [&[u8]; 4] = [
            b"\x00\x04\0\0\0\0\0\0\x01\x02\0\0\0\x05",
            compact,
            &note,
            b"\0\0\0\0\0\0\x03\xe8\x00",
        ];
        GroupRecord::decode(OFFSET_KEY_BYTES, Some(&value.concat()))
    };
    let longest = read(32_767, b"\x80\x80\x02").unwrap().unwrap();
    let written = longest.encode();
    let again = GroupRecord::decode(&written.key, written.value.as_deref());
    assert_eq!(again, Ok(Some(longest)));
    let expected = DecodeError::Length {
        field: "metadata",
        found: 32_768,
        left: 32_768 + 9,
    };
    assert_eq!(read(32_768, b"\x81\x80\x02"), Err(expected));
}

#[test]
fn unknown_keys_are_skipped_and_unknown_values_refused() {
    assert_eq!(
        GroupRecord::decode(b"\x00\x03\x00\x02g1", Some(b"anything")),
        Ok(None)
    );
    let refused = GroupRecord::decode(GROUP_KEY_BYTES, Some(b"\x00\x05"));
    assert_eq!(
        refused,
        Err(DecodeError::UnknownVersion {
            found: 5,
            highest: 4
        })
    );
}

#[test]
fn claimed_lengths_are_not_believed() {
    let value = b"\x00\x03\x00\x00\0\0\0\x03\xff\xff\xff\xff\0\0\0\0\0\0\x03\xe8\x7f\xff\xff\xff";
    let refused = GroupRecord::decode(GROUP_KEY_BYTES, Some(value));
    let expected = DecodeError::Length {
        field: "members",
        found: i64::from(i32::MAX),
        left: 0,
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn the_length_of_a_group_record_is_foretold() {
    for members in [&[][..], &[("m", None), ("nn", Some("instance"))]] {
        let record = group(members);
        let GroupRecord::Group {
            group: id,
            value: Some(value),
        } = &record
        else {
            unreachable!();
        };
        let encoded = record.encode();
        let length = encoded.key.len() + encoded.value.unwrap().len();
        assert_eq!(group_record_length(id, value), length);
    }
}

#[test]
fn records_of_offsets_take_no_more_than_foretold() {
    let note = "x".repeat(30_000);
    for (expires, metadata) in [(None, ""), (Some(9), ""), (None, &*note), (Some(9), &*note)] {
        let mut record = offset(expires);
        let GroupRecord::Offset {
            group,
            partition,
            value: Some(value),
        } = &mut record
        else {
            unreachable!();
        };
        value.metadata = Arc::from(metadata);
        let each = offset_record_length_max(group, partition, metadata);
        let encoded = record.encode();
        let mut batch = BatchBuilder::new();
        // Later ones take more: their numbers are longer.
        for _ in 0..200 {
            batch.push(
                Timestamp(1),
                Some(&encoded.key),
                encoded.value.as_deref(),
                &[],
            );
        }
        let length = batch.build().len() - BATCH_HEADER_LENGTH;
        assert!(length <= 200 * each, "{length} of 200 times {each}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_read_or_refused(
        kind in 0_u8..4,
        version in 0_u8..6,
        key in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let _ = GroupRecord::decode(&key, Some(&value));
        let value = [&[0, version][..], &value].concat();
        let _ = GroupRecord::decode(OFFSET_KEY_BYTES, Some(&value));
        let _ = GroupRecord::decode(GROUP_KEY_BYTES, Some(&value));
        let _ = GroupRecord::decode(&[&[0, kind][..], &key].concat(), None);
    }

    #[test]
    fn an_offset_survives_its_record(
        offset in any::<i64>(),
        epoch in any::<i32>(),
        metadata in ".{0,20}",
        committed in any::<i64>(),
        expires in prop::option::of(0..i64::MAX),
    ) {
        let leader_epoch = if expires.is_some() { LeaderEpoch::NONE } else { LeaderEpoch(epoch) };
        let record = GroupRecord::Offset {
            group: GroupId::from(""),
            partition: TopicPartition { topic: "t".parse().unwrap(), partition: 0 },
            value: Some(CommittedOffset {
                offset: Offset(offset),
                leader_epoch,
                metadata: Arc::from(metadata),
                committed: Timestamp(committed),
                expires: expires.map(Timestamp),
            }),
        };
        let bytes = record.encode();
        prop_assert_eq!(GroupRecord::decode(&bytes.key, bytes.value.as_deref()), Ok(Some(record)));
    }
}
