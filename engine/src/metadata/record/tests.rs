//! Records survive their bytes; bytes that are none are refused without harm.

use proptest::prelude::*;

use super::{
    Broker, ConfigResource, Endpoint, MetadataRecord, Partition, PartitionEpoch, RecordDecodeError,
    SecurityProtocol,
};
use crate::types::{BrokerId, DirectoryId, LeaderEpoch, ProducerId, TopicId, TopicName, Uuid};

fn any_topic_id() -> impl Strategy<Value = TopicId> {
    any::<u128>().prop_map(|bits| TopicId(Uuid(bits)))
}

fn any_partition() -> impl Strategy<Value = Partition> {
    let brokers = || prop::collection::vec(any::<i32>().prop_map(BrokerId), 0..5);
    let directories =
        prop::collection::vec(any::<u128>().prop_map(|bits| DirectoryId(Uuid(bits))), 0..5);
    (
        brokers(),
        directories,
        brokers(),
        any::<i32>(),
        any::<i32>(),
        any::<i32>(),
    )
        .prop_map(
            |(replicas, directories, isr, leader, leader_epoch, partition_epoch)| Partition {
                replicas,
                directories,
                isr,
                leader: BrokerId(leader),
                leader_epoch: LeaderEpoch(leader_epoch),
                partition_epoch: PartitionEpoch(partition_epoch),
            },
        )
}

fn any_broker() -> impl Strategy<Value = Broker> {
    let endpoint =
        (".*", ".*", any::<u16>(), 0u8..4).prop_map(|(listener, host, port, protocol)| Endpoint {
            listener,
            host,
            port,
            security_protocol: SecurityProtocol::from_id(protocol).unwrap(),
        });
    (
        any::<i32>(),
        any::<u128>(),
        any::<i64>(),
        prop::collection::vec(endpoint, 0..4),
        prop::option::of(".*"),
        prop::collection::vec(any::<u128>().prop_map(|bits| DirectoryId(Uuid(bits))), 0..4),
    )
        .prop_map(
            |(id, incarnation, epoch, endpoints, rack, log_directories)| Broker {
                id: BrokerId(id),
                incarnation: Uuid(incarnation),
                epoch,
                endpoints,
                rack,
                log_directories,
            },
        )
}

fn any_resource() -> impl Strategy<Value = ConfigResource> {
    prop_oneof![
        any_topic_id().prop_map(ConfigResource::Topic),
        any::<i32>().prop_map(|id| ConfigResource::Broker(BrokerId(id))),
        Just(ConfigResource::ClusterDefault),
        ".*".prop_map(|group| ConfigResource::Group(group.into())),
    ]
}

/// Every kind of record with any content.
pub(in crate::metadata) fn any_record() -> impl Strategy<Value = MetadataRecord> {
    let name = "[a-zA-Z0-9_-]{1,20}".prop_map(|text| text.parse::<TopicName>().unwrap());
    prop_oneof![
        Just(MetadataRecord::NoOp),
        (any::<i32>(), any::<u64>()).prop_map(|(leader, term)| MetadataRecord::LeaderChanged {
            leader: BrokerId(leader),
            term
        }),
        ".*".prop_map(|cluster_id| MetadataRecord::ClusterIdSet { cluster_id }),
        (".*", any::<i16>())
            .prop_map(|(name, level)| MetadataRecord::FeatureLevelSet { name, level }),
        any_broker().prop_map(MetadataRecord::BrokerRegistered),
        (
            any::<i32>(),
            prop::collection::vec(any::<u128>().prop_map(|bits| DirectoryId(Uuid(bits))), 0..4),
        )
            .prop_map(|(id, directories)| MetadataRecord::DirectoriesCordoned {
                broker: BrokerId(id),
                directories,
            }),
        any::<i32>().prop_map(|id| MetadataRecord::BrokerRemoved {
            broker: BrokerId(id)
        }),
        (any_topic_id(), name).prop_map(|(id, name)| MetadataRecord::TopicCreated { id, name }),
        (any_topic_id(), any::<i32>(), any_partition()).prop_map(|(topic_id, partition, state)| {
            MetadataRecord::PartitionCreated {
                topic_id,
                partition,
                state,
            }
        }),
        (any_topic_id(), any::<i32>(), any_partition()).prop_map(|(topic_id, partition, state)| {
            MetadataRecord::PartitionChanged {
                topic_id,
                partition,
                state,
            }
        }),
        any_topic_id().prop_map(|id| MetadataRecord::TopicRemoved { id }),
        (any_resource(), ".*", ".*").prop_map(|(resource, name, value)| {
            MetadataRecord::ConfigSet {
                resource,
                name,
                value,
            }
        }),
        (any_resource(), ".*")
            .prop_map(|(resource, name)| MetadataRecord::ConfigRemoved { resource, name }),
        (any::<i32>(), any::<i64>()).prop_map(|(broker, next)| {
            MetadataRecord::ProducerIdsAllocated {
                broker: BrokerId(broker),
                next: ProducerId(next),
            }
        }),
    ]
}

fn encoded(records: &[MetadataRecord]) -> Vec<u8> {
    let mut bytes = Vec::new();
    records.iter().for_each(|record| record.encode(&mut bytes));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_read_back_from_their_bytes(records in prop::collection::vec(any_record(), 0..6)) {
        prop_assert_eq!(MetadataRecord::decode_all(&encoded(&records)), Ok(records));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = MetadataRecord::decode_all(&bytes);
    }

    #[test]
    fn a_record_with_one_changed_byte_never_panics(
        record in any_record(), place in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let mut bytes = encoded(&[record]);
        let place = place.index(bytes.len());
        bytes[place] = value;
        let _ = MetadataRecord::decode_all(&bytes);
    }

    #[test]
    fn a_record_cut_short_is_refused(
        record in any_record(), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encoded(&[record]);
        let cut = cut.index(bytes.len() - 1) + 1;
        prop_assert!(MetadataRecord::decode_all(&bytes[..bytes.len() - cut.min(bytes.len() - 1)]).is_err());
    }
}

#[test]
fn the_bytes_of_a_record_are_fixed() {
    let record = MetadataRecord::TopicCreated {
        id: TopicId(Uuid(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)),
        name: "ab".parse().unwrap(),
    };
    let expected = [
        0, 0, 0, 24, // length
        1, 6, // version, kind
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // id
        0, 0, 0, 2, b'a', b'b',
    ];
    assert_eq!(encoded(&[record]), expected);
}

#[test]
fn a_record_of_a_newer_version_is_told_from_damage() {
    let mut bytes = encoded(&[MetadataRecord::NoOp]);
    bytes[4] = 2;
    let refused = MetadataRecord::decode_all(&bytes).unwrap_err();
    assert_eq!(
        refused,
        RecordDecodeError::UnknownVersion {
            kind: 0,
            found: 2,
            known: 1
        }
    );
    assert!(refused.is_newer_version());

    bytes[4] = 1;
    bytes[5] = 200;
    let refused = MetadataRecord::decode_all(&bytes).unwrap_err();
    assert_eq!(refused, RecordDecodeError::UnknownKind { found: 200 });
    assert!(refused.is_newer_version());
}

#[test]
fn a_count_that_cannot_fit_costs_nothing() {
    // kind 7, an id, a number, then a count of replicas of u32::MAX.
    let mut body = vec![1, 7];
    body.extend_from_slice(&[0; 20]);
    body.extend_from_slice(&u32::MAX.to_be_bytes());
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    assert!(matches!(
        MetadataRecord::decode_all(&bytes),
        Err(RecordDecodeError::Truncated { remaining: 0, .. })
    ));
}
