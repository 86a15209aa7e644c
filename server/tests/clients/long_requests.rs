//! Requests with so many elements that they are decoded and answered beside the shards' threads: every element is answered, in
//! order, and what the client sent behind them comes after them.

use millrace_wire::ErrorCode;
use millrace_wire::message::create_topics::CreateTopicsRequestTopic;
use millrace_wire::message::fetch::FetchRequestPartition;
use millrace_wire::message::metadata::MetadataRequestTopic;
use millrace_wire::message::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_wire::message::offset_fetch::OffsetFetchRequestTopic;
use millrace_wire::message::produce::ProduceRequestPartition;
use millrace_wire::message::{
    CreateTopicsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceResponse,
};

use crate::support::broker::Broker;
use crate::support::records::batch;
use crate::support::wire::{Limits, Wire, fetch_request, produce_request, record_bytes};

const MANY: usize = 12_000;

#[test]
fn batches_of_a_long_produce_keep_their_order_and_what_follows_comes_after_them() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    let mut long = produce_request("t", 0, 1, batch(&["v"]));
    long.topic_data[0].partition_data = (0..MANY)
        .map(|number| ProduceRequestPartition {
            index: i32::try_from(number % 2).unwrap(),
            records: Some(batch(&["v"])),
        })
        .collect();
    wire.send(&long, 9);
    wire.send(&produce_request("t", 0, 1, batch(&["last"])), 9);
    let (_, answer) = wire.receive::<ProduceResponse>(9);
    let partitions = &answer.responses[0].partition_responses;
    assert_eq!(partitions.len(), MANY);
    for (number, partition) in (0_i64..).zip(partitions) {
        assert_eq!(partition.error_code, ErrorCode::None);
        assert_eq!(i64::from(partition.index), number % 2);
        assert_eq!(partition.base_offset, number / 2);
    }
    let (_, last) = wire.receive::<ProduceResponse>(9);
    let last = &last.responses[0].partition_responses[0];
    assert_eq!(usize::try_from(last.base_offset).unwrap(), MANY / 2);
}

#[test]
fn a_long_fetch_reads_a_partition_once_however_often_it_is_named() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    for partition in [0, 1] {
        wire.append("t", partition, batch(&["v", "w"]));
    }
    let mut request = fetch_request("t", 1, 7, Limits::default());
    let wish = request.topics[0].partitions[0].clone();
    let mut named = vec![wish.clone(); MANY];
    for (partition, fetch_offset) in [(0, 2), (1, 1)] {
        named.push(FetchRequestPartition {
            partition,
            fetch_offset,
            ..wish.clone()
        });
    }
    request.topics[0].partitions = named;
    let answer = wire.ask(&request, 12);
    let partitions = &answer.responses[0].partitions;
    let found = partitions.iter().map(|found| {
        let empty = record_bytes(found).is_empty();
        (found.partition_index, found.error_code, empty)
    });
    let found: Vec<_> = found.collect();
    // The last word about partition 1 counts, in its first place.
    let expected = [(1, ErrorCode::None, false), (0, ErrorCode::None, true)];
    assert_eq!(found, expected);
}

#[test]
fn every_partition_of_a_long_fetch_is_answered_in_order() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let sent = batch(&["v"]);
    wire.append("t", 0, sent.clone());
    let mut request = fetch_request("t", 0, 0, Limits::default());
    let first = request.topics[0].partitions[0].clone();
    let others = (1..MANY).map(|number| FetchRequestPartition {
        partition: i32::try_from(number).unwrap(),
        ..first.clone()
    });
    request.topics[0].partitions = std::iter::once(first.clone()).chain(others).collect();
    let answer = wire.ask(&request, 12);
    let partitions = &answer.responses[0].partitions;
    assert_eq!(partitions.len(), MANY);
    assert_eq!(partitions[0].error_code, ErrorCode::None);
    assert_eq!(record_bytes(&partitions[0]).len(), sent.len());
    for (number, partition) in (0..).zip(partitions).skip(1) {
        assert_eq!(partition.partition_index, number);
        assert_eq!(partition.error_code, ErrorCode::UnknownTopicOrPartition);
    }
}

#[test]
fn every_name_of_a_long_metadata_request_is_answered_in_order() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t7", 1, &[]);
    let names: Vec<String> = (0..MANY).map(|number| format!("t{number}")).collect();
    let topics = names.iter().map(|name| MetadataRequestTopic {
        name: Some(name.as_str().into()),
        ..Default::default()
    });
    let request = MetadataRequest {
        topics: Some(topics.collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let answer = wire.ask(&request, 9);
    assert_eq!(answer.topics.len(), MANY);
    for (name, topic) in names.iter().zip(&answer.topics) {
        assert_eq!(topic.name.as_deref(), Some(name.as_str()));
        let expected = match name.as_str() {
            "t7" => ErrorCode::None,
            _ => ErrorCode::UnknownTopicOrPartition,
        };
        assert_eq!(topic.error_code, expected, "{name}");
    }
}

#[test]
fn all_of_more_than_a_thousand_topics_are_answered() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let topics = (0..1_100).map(|number| CreateTopicsRequestTopic {
        name: format!("t{number:04}").as_str().into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    });
    let create = CreateTopicsRequest {
        topics: topics.collect(),
        ..Default::default()
    };
    let created = wire.ask(&create, 7);
    assert!(
        created
            .topics
            .iter()
            .all(|topic| !topic.error_code.is_error())
    );
    let all = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let answer = wire.ask(&all, 9);
    let names: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.name).collect();
    assert_eq!(names.len(), 1_100);
    assert!(names.is_sorted());
}

#[test]
fn every_partition_of_a_long_offset_fetch_and_commit_is_answered_in_order() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    wire.await_coordinator("g");
    let partitions = |count| 0..i32::try_from(count).unwrap();
    let offset = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 7 + i64::from(partition_index),
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: partitions(MANY).map(offset).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = wire.ask(&commit, 8);
    let committed = &answer.topics[0].partitions;
    assert_eq!(committed.len(), MANY);
    for (partition, committed) in (0..).zip(committed) {
        let expected = match partition {
            0 | 1 => ErrorCode::None,
            _ => ErrorCode::UnknownTopicOrPartition,
        };
        assert_eq!(committed.error_code, expected, "partition {partition}");
    }
    // As much as no batch holds, of a partition that exists.
    let mut too_much = commit;
    too_much.topics[0].partitions = vec![offset(0); 4 * MANY];
    let answer = wire.ask(&too_much, 8);
    let refused = &answer.topics[0].partitions;
    assert_eq!(refused.len(), 4 * MANY);
    let size = ErrorCode::InvalidCommitOffsetSize;
    assert!(refused.iter().all(|refused| refused.error_code == size));
    let fetch = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: partitions(MANY).collect(),
        }]),
        ..Default::default()
    };
    let answer = wire.ask(&fetch, 7);
    assert_eq!(answer.error_code, ErrorCode::None);
    let fetched = &answer.topics[0].partitions;
    assert_eq!(fetched.len(), MANY);
    for (partition, fetched) in (0..).zip(fetched) {
        assert_eq!(fetched.partition_index, partition);
        let expected = match partition {
            0 | 1 => 7 + i64::from(partition),
            _ => -1,
        };
        assert_eq!(fetched.committed_offset, expected, "partition {partition}");
    }
}
