//! Requests with so many elements that they are decoded and answered beside the shards' threads, or so many bytes that shards take
//! them in piece by piece: every element is answered, in order, and what the client sent behind them comes after them.

use millrace_wire::message::create_partitions::CreatePartitionsRequestTopic;
use millrace_wire::message::create_topics::CreateTopicsRequestTopic;
use millrace_wire::message::delete_records::{
    DeleteRecordsRequestPartition, DeleteRecordsRequestTopic,
};
use millrace_wire::message::describe_configs::DescribeConfigsRequestResource;
use millrace_wire::message::describe_producers::DescribeProducersRequestTopic;
use millrace_wire::message::fetch::FetchRequestPartition;
use millrace_wire::message::incremental_alter_configs::IncrementalAlterConfigsRequestResource;
use millrace_wire::message::leave_group::LeaveGroupRequestMember;
use millrace_wire::message::list_offsets::{ListOffsetsRequestPartition, ListOffsetsRequestTopic};
use millrace_wire::message::metadata::MetadataRequestTopic;
use millrace_wire::message::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_wire::message::offset_delete::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use millrace_wire::message::offset_fetch::OffsetFetchRequestTopic;
use millrace_wire::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequestPartition, OffsetForLeaderEpochRequestTopic,
};
use millrace_wire::message::produce::ProduceRequestPartition;
use millrace_wire::message::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeProducersRequest,
    FetchResponse, IncrementalAlterConfigsRequest, LeaveGroupRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceResponse,
};
use millrace_wire::{ErrorCode, Str};

use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::records::batch;
use crate::support::wire::{Limits, Wire, fetch_request, produce_request, record_bytes};

const MANY: usize = 12_000;

#[test]
fn batches_of_a_long_produce_keep_their_order_and_what_follows_comes_after_them() {
    batches_of_one_produce_keep_their_order(MANY, "v");
}

/// They are more than a shard takes in at a time.
#[test]
fn large_batches_of_one_produce_keep_their_order_and_what_follows_comes_after_them() {
    batches_of_one_produce_keep_their_order(20, &"v".repeat(600_000));
}

fn batches_of_one_produce_keep_their_order(count: usize, value: &str) {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
    wire.create_topic("t", 2, &[]);
    let sent = batch(&[value]);
    let mut many = produce_request("t", 0, 1, sent.clone());
    many.topic_data[0].partition_data = (0..count)
        .map(|number| ProduceRequestPartition {
            index: i32::try_from(number % 2).unwrap(),
            records: Some(sent.clone()),
        })
        .collect();
    wire.send(&many, 9);
    wire.send(&produce_request("t", 0, 1, batch(&["last"])), 9);
    let (_, answer) = wire.receive::<ProduceResponse>(9);
    let partitions = &answer.responses[0].partition_responses;
    assert_eq!(partitions.len(), count);
    for (number, partition) in (0_i64..).zip(partitions) {
        assert_eq!(partition.error_code, ErrorCode::None);
        assert_eq!(i64::from(partition.index), number % 2);
        assert_eq!(partition.base_offset, number / 2);
    }
    let (_, last) = wire.receive::<ProduceResponse>(9);
    let last = &last.responses[0].partition_responses[0];
    assert_eq!(usize::try_from(last.base_offset).unwrap(), count / 2);
}

#[test]
fn a_long_fetch_reads_a_partition_once_however_often_it_is_named() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
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
fn a_fetch_of_many_partitions_waits_briefly_and_one_of_fewer_as_long_as_it_wants_to() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 257, &[]);
    let for_ever = Limits {
        max_wait_ms: i32::MAX,
        min_bytes: 1,
        ..Limits::default()
    };
    let fetch = |count| {
        let mut request = fetch_request("t", 0, 0, for_ever);
        let first = request.topics[0].partitions[0].clone();
        let all = (0..count).map(|partition| FetchRequestPartition {
            partition,
            ..first.clone()
        });
        request.topics[0].partitions = all.collect();
        request
    };
    let answer = wire.ask(&fetch(257), 12);
    assert_eq!(answer.responses[0].partitions.len(), 257);
    wire.send(&fetch(256), 12);
    // It is answered with what comes meanwhile, however late.
    Wire::connect(&broker).append("t", 255, batch(&["v"]));
    let (_, answer) = wire.receive::<FetchResponse>(12);
    let partitions = &answer.responses[0].partitions;
    assert!(!record_bytes(&partitions[255]).is_empty());
}

/// Each of them is looked up at every append to one of its partitions.
#[test]
fn a_fetch_that_names_a_partition_again_and_again_reads_it_once() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let mut request = fetch_request("t", 0, 0, Limits::default());
    let named = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = vec![named; 100];
    let answer = wire.ask(&request, 12);
    assert_eq!(answer.responses[0].partitions.len(), 1);
}

#[test]
fn every_partition_of_a_long_fetch_is_answered_in_order() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
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
fn sessions_of_very_many_partitions_that_do_not_exist_do_not_last() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
    wire.create_topic("t", 2, &[]);
    let wish = fetch_request("t", 0, 0, Limits::default()).topics[0].partitions[0].clone();
    let session = |session_id, session_epoch, count: usize| {
        let mut request = fetch_request("t", 0, 0, Limits::default());
        (request.session_id, request.session_epoch) = (session_id, session_epoch);
        request.max_wait_ms = 0;
        request.topics[0].partitions = (0..count)
            .map(|partition| FetchRequestPartition {
                partition: i32::try_from(partition).unwrap(),
                ..wish.clone()
            })
            .collect();
        request
    };
    // One that is long is answered whole, and not remembered.
    let answer = wire.ask(&session(0, 0, MANY), 12);
    assert_eq!(answer.session_id, 0);
    assert_eq!(answer.responses[0].partitions.len(), MANY);
    // One that is short lasts while it has few of them.
    assert_eq!(wire.ask(&session(0, 0, 2_000), 12).session_id, 0);
    let opened = wire.ask(&session(0, 0, 500), 12);
    let id = opened.session_id;
    assert_ne!(id, 0);
    let answer = wire.ask(&session(id, 1, 0), 12);
    assert_eq!(
        (answer.error_code, answer.session_id),
        (ErrorCode::None, id)
    );
    assert_eq!(
        answer.responses[0].partitions.len(),
        498,
        "those that are errors"
    );
    let gone = ErrorCode::FetchSessionIdNotFound;
    let answer = wire.ask(&session(id, 2, 2_000), 12);
    assert_eq!((answer.error_code, answer.session_id), (gone, 0));
    let answer = wire.ask(&session(id, 3, 0), 12);
    assert_eq!(answer.error_code, gone);
    // A long change of a session that lasts ends it, too.
    let id = wire.ask(&session(0, 0, 2), 12).session_id;
    let answer = wire.ask(&session(id, 1, MANY), 12);
    assert_eq!(answer.error_code, gone);
    let answer = wire.ask(&session(id, 2, 0), 12);
    assert_eq!(answer.error_code, gone);
}

#[test]
fn sessions_with_names_that_no_topic_can_have_do_not_last() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let session = |name: &str, session_id, session_epoch| {
        let mut request = fetch_request("t", 0, 0, Limits::default());
        (request.session_id, request.session_epoch) = (session_id, session_epoch);
        let mut topic = request.topics[0].clone();
        topic.topic = name.into();
        request.topics.push(topic);
        request
    };
    let (longest, longer) = ("x".repeat(249), "x".repeat(250));
    // It is answered, and at once, but not remembered.
    let mut first = session(&longer, 0, 0);
    (first.max_wait_ms, first.min_bytes) = (i32::MAX, 1);
    let answer = wire.ask(&first, 12);
    assert_eq!(answer.session_id, 0);
    let errors = answer
        .responses
        .iter()
        .map(|topic| topic.partitions[0].error_code);
    let expected = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition];
    assert_eq!(errors.collect::<Vec<_>>(), expected);
    let id = wire.ask(&session(&longest, 0, 0), 12).session_id;
    assert_ne!(id, 0);
    for epoch in [1, 2] {
        let answer = wire.ask(&session(&longer, id, epoch), 12);
        assert_eq!(answer.error_code, ErrorCode::FetchSessionIdNotFound);
    }
}

#[test]
fn every_name_of_a_long_metadata_request_is_answered_in_order() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
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
    let mut wire = Wire::connect(&broker).patiently();
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
    let mut wire = Wire::connect(&broker).patiently();
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

/// They are told some at a time.
#[test]
fn all_offsets_of_a_group_are_fetched_however_many_they_are() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
    wire.create_topic("t", 1_100, &[]);
    wire.create_topic("u", 1, &[]);
    wire.await_coordinator("g");
    let topic = |name: &str, count| OffsetCommitRequestTopic {
        name: name.into(),
        partitions: (0..count)
            .map(|partition_index| OffsetCommitRequestPartition {
                partition_index,
                committed_offset: i64::from(partition_index),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic("t", 1_100), topic("u", 1)],
        ..Default::default()
    };
    let committed = wire.ask(&commit, 8).topics;
    let mut committed = committed.iter().flat_map(|topic| &topic.partitions);
    assert!(committed.all(|partition| partition.error_code == ErrorCode::None));
    let fetch = OffsetFetchRequest {
        group_id: "g".into(),
        topics: None,
        ..Default::default()
    };
    let fetched = wire.ask(&fetch, 7).topics;
    let names: Vec<_> = fetched.iter().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["t", "u"]);
    let offsets = fetched[0].partitions.iter().map(|one| one.committed_offset);
    assert!(offsets.eq(0..1_100));
    assert_eq!(fetched[1].partitions.len(), 1);
}

/// Long ones had all the memory and waited for the right to answer, short ones had all of that and waited for memory: for ever.
#[test]
fn long_and_short_offset_fetches_with_long_answers_do_not_wait_for_each_other() {
    let broker = Broker::start(&[("num.shards", "1"), ("request.memory.bytes", "1048576")]);
    Wire::connect(&broker).await_coordinator("g");
    let topic = |indexes: std::ops::Range<i32>| OffsetFetchRequestTopic {
        name: "t".into(),
        partition_indexes: indexes.collect(),
    };
    let fetch = |topics: Vec<_>| OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(topics),
        ..Default::default()
    };
    // Decoded, topics take more memory than partitions.
    let long = fetch((0..6_000).map(|index| topic(index..index + 1)).collect());
    let short = fetch(vec![topic(0..4_050)]);
    std::thread::scope(|scope| {
        for number in 0..40 {
            let request = if number % 5 == 0 { &long } else { &short };
            let mut wire = Wire::connect(&broker);
            scope.spawn(move || {
                for _ in 0..3 {
                    let answer = wire.ask(request, 7);
                    assert_eq!(answer.error_code, ErrorCode::None);
                    let asked = request
                        .topics
                        .iter()
                        .flatten()
                        .map(|topic| topic.partition_indexes.len());
                    let answered = answer.topics.iter().map(|topic| topic.partitions.len());
                    assert!(answered.eq(asked));
                }
            });
        }
    });
}

/// In several parts: after the first the group, which nobody is in, has no offset left and is gone.
#[test]
fn every_partition_of_a_long_offset_delete_is_answered_in_order() {
    const EXISTING: usize = 2_100;
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
    let create = CreateTopicsRequest {
        topics: vec![CreateTopicsRequestTopic {
            name: "t".into(),
            num_partitions: i32::try_from(EXISTING).unwrap(),
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 60_000,
        ..Default::default()
    };
    let created = wire.ask(&create, 7);
    assert_eq!(created.topics[0].error_code, ErrorCode::None);
    wire.await_coordinator("g");
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 7,
                committed_offset: 1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let committed = &wire.ask(&commit, 8).topics[0].partitions[0];
    assert_eq!(committed.error_code, ErrorCode::None);
    let partitions = || 0..i32::try_from(MANY).unwrap();
    let delete = OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".into(),
            // Each of them twice, but answered once.
            partitions: partitions()
                .chain(partitions())
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                .collect(),
        }],
    };
    let answer = wire.ask(&delete, 0);
    assert_eq!(answer.error_code, ErrorCode::None);
    let deleted = &answer.topics[0].partitions;
    assert_eq!(deleted.len(), MANY);
    for (place, (partition, deleted)) in partitions().zip(deleted).enumerate() {
        assert_eq!(deleted.partition_index, partition);
        let expected = match place {
            0..EXISTING => ErrorCode::None,
            _ => ErrorCode::UnknownTopicOrPartition,
        };
        assert_eq!(deleted.error_code, expected, "partition {partition}");
    }
    let fetch = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: vec![7],
        }]),
        ..Default::default()
    };
    let left = &wire.ask(&fetch, 7).topics[0].partitions[0];
    assert_eq!(left.committed_offset, -1);
}

#[test]
fn as_many_members_may_leave_at_once_as_a_group_may_have() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
    wire.await_coordinator("g");
    let leave = |count: usize| LeaveGroupRequest {
        group_id: "g".into(),
        members: (0..count)
            .map(|number| LeaveGroupRequestMember {
                member_id: Str::from(format!("member-{number}")),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let all = leave(20_000);
    let answer = wire.ask(&all, 4);
    assert_eq!(answer.error_code, ErrorCode::None);
    assert_eq!(answer.members.len(), 20_000);
    for (sent, left) in all.members.iter().zip(&answer.members) {
        assert_eq!(left.member_id, sent.member_id);
        assert_eq!(left.error_code, ErrorCode::UnknownMemberId);
    }
    let answer = wire.ask(&leave(20_001), 4);
    assert_eq!(answer.error_code, ErrorCode::InvalidRequest);
    assert_eq!(answer.members.len(), 0);
}

#[test]
fn every_partition_of_long_lookups_is_answered_in_order() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
    wire.create_topic("t", 2, &[]);
    wire.append("t", 1, batch(&["v", "w"]));
    let partitions = || 0..i32::try_from(MANY).unwrap();
    let expected = |partition: i32| match partition {
        0 | 1 => ErrorCode::None,
        _ => ErrorCode::UnknownTopicOrPartition,
    };
    let offsets = ListOffsetsRequest {
        topics: vec![ListOffsetsRequestTopic {
            name: "t".into(),
            partitions: partitions()
                .map(|partition_index| ListOffsetsRequestPartition {
                    partition_index,
                    timestamp: -1,
                    ..Default::default()
                })
                .collect(),
        }],
        ..Default::default()
    };
    let answer = wire.ask(&offsets, 5);
    let found = &answer.topics[0].partitions;
    assert_eq!(found.len(), MANY);
    for (partition, found) in partitions().zip(found) {
        assert_eq!(found.partition_index, partition);
        assert_eq!(found.error_code, expected(partition));
    }
    assert_eq!(
        (found[0].offset, found[1].offset, found[2].offset),
        (0, 2, -1)
    );

    let epochs = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderEpochRequestTopic {
            topic: "t".into(),
            partitions: partitions()
                .map(|partition| OffsetForLeaderEpochRequestPartition {
                    partition,
                    ..Default::default()
                })
                .collect(),
        }],
        ..Default::default()
    };
    let answer = wire.ask(&epochs, 3);
    let ends = &answer.topics[0].partitions;
    assert_eq!(ends.len(), MANY);
    for (partition, end) in partitions().zip(ends) {
        assert_eq!(
            (end.partition, end.error_code),
            (partition, expected(partition))
        );
    }
    assert_eq!(ends[1].end_offset, 2);

    let delete = DeleteRecordsRequest {
        topics: vec![DeleteRecordsRequestTopic {
            name: "t".into(),
            partitions: partitions()
                .map(|partition_index| DeleteRecordsRequestPartition {
                    partition_index,
                    offset: -1,
                })
                .collect(),
        }],
        timeout_ms: 60_000,
    };
    let answer = wire.ask(&delete, 2);
    let starts = &answer.topics[0].partitions;
    assert_eq!(starts.len(), MANY);
    for (partition, start) in partitions().zip(starts) {
        assert_eq!(start.partition_index, partition);
        assert_eq!(start.error_code, expected(partition));
    }
    assert_eq!((starts[0].low_watermark, starts[1].low_watermark), (0, 2));

    let producers = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: "t".into(),
            // Each of them twice, but answered once.
            partition_indexes: partitions().chain(partitions()).collect(),
        }],
    };
    let answer = wire.ask(&producers, 0);
    let described = &answer.topics[0].partitions;
    assert_eq!(described.len(), MANY);
    for (partition, described) in partitions().zip(described) {
        assert_eq!(described.partition_index, partition);
        assert_eq!(described.error_code, expected(partition));
    }
}

#[test]
fn every_name_of_long_administrative_requests_is_answered() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
    wire.create_topic("t7", 1, &[]);
    wire.await_coordinator("g");
    let names: Vec<Str> = (0..2 * MANY)
        .map(|number| Str::from(format!("t{number}")))
        .collect();
    let expected = |name: &str| match name {
        "t7" => ErrorCode::None,
        _ => ErrorCode::UnknownTopicOrPartition,
    };

    let describe = DescribeConfigsRequest {
        resources: names
            .iter()
            .map(|name| DescribeConfigsRequestResource {
                resource_type: TOPIC,
                resource_name: name.clone(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let answer = wire.ask(&describe, 4);
    assert_eq!(answer.results.len(), names.len());
    for (name, result) in names.iter().zip(&answer.results) {
        assert_eq!(&result.resource_name, name);
        assert_eq!(result.error_code, expected(name));
    }
    assert!(!answer.results[7].configs.is_empty());

    let alter = IncrementalAlterConfigsRequest {
        resources: names
            .iter()
            .map(|name| IncrementalAlterConfigsRequestResource {
                resource_type: TOPIC,
                resource_name: name.clone(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let answer = wire.ask(&alter, 1);
    assert_eq!(answer.responses.len(), names.len());
    for (name, result) in names.iter().zip(&answer.responses) {
        assert_eq!(&result.resource_name, name);
        assert_eq!(result.error_code, expected(name));
    }

    let grow = CreatePartitionsRequest {
        topics: names
            .iter()
            .map(|name| CreatePartitionsRequestTopic {
                name: name.clone(),
                count: 2,
                ..Default::default()
            })
            .collect(),
        timeout_ms: 60_000,
        validate_only: true,
    };
    let answer = wire.ask(&grow, 3);
    assert_eq!(answer.results.len(), names.len());
    for result in &answer.results {
        assert_eq!(result.error_code, expected(&result.name), "{}", result.name);
    }

    let describe = DescribeGroupsRequest {
        groups: names.iter().chain(&names).cloned().collect(),
        ..Default::default()
    };
    let answer = eventually("all coordinators", || {
        let answer = wire.ask(&describe, 5);
        let mut groups = answer.groups.iter();
        let served = groups.all(|group| group.error_code == ErrorCode::None);
        served.then_some(answer)
    });
    // Each was named twice.
    let described: Vec<_> = answer.groups.iter().map(|group| &group.group_id).collect();
    assert_eq!(described, names.iter().collect::<Vec<_>>());
    assert!(
        answer
            .groups
            .iter()
            .all(|group| &*group.group_state == "Dead")
    );

    let delete = DeleteGroupsRequest {
        groups_names: names.clone(),
    };
    let answer = wire.ask(&delete, 2);
    let gone = ErrorCode::GroupIdNotFound;
    assert_eq!(answer.results.len(), names.len());
    assert!(
        answer
            .results
            .iter()
            .all(|result| result.error_code == gone)
    );

    let delete = DeleteTopicsRequest {
        topic_names: names.clone(),
        timeout_ms: 60_000,
        ..Default::default()
    };
    let answer = wire.ask(&delete, 5);
    assert_eq!(answer.responses.len(), names.len());
    for response in &answer.responses {
        let name = response.name.as_deref().unwrap();
        assert_eq!(response.error_code, expected(name), "{name}");
    }
}

#[test]
fn the_settings_of_many_topics_are_shown_before_any_of_them_is_made() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker).patiently();
    let topics = (0..300).map(|number| CreateTopicsRequestTopic {
        name: format!("t{number}").as_str().into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    });
    let create = CreateTopicsRequest {
        topics: topics.collect(),
        timeout_ms: 60_000,
        validate_only: true,
    };
    let answer = wire.ask(&create, 7);
    assert_eq!(answer.topics.len(), 300);
    for topic in &answer.topics {
        assert_eq!(topic.error_code, ErrorCode::None);
        assert!(
            topic
                .configs
                .as_ref()
                .is_some_and(|configs| configs.len() > 30)
        );
    }
}

/// The kind of resource that a topic is.
const TOPIC: i8 = 2;
