//! Requests of very many elements, one of each API that takes lists, for brokers that have a topic `t` and nothing else.

use bytes::Bytes;
use millrace_wire::frame::request_frame;
use millrace_wire::message::alter_configs::AlterConfigsRequestResource;
use millrace_wire::message::create_acls::AclCreation;
use millrace_wire::message::create_partitions::CreatePartitionsRequestTopic;
use millrace_wire::message::create_topics::CreateTopicsRequestTopic;
use millrace_wire::message::delete_acls::DeleteAclsFilter;
use millrace_wire::message::delete_records::{
    DeleteRecordsRequestPartition, DeleteRecordsRequestTopic,
};
use millrace_wire::message::describe_configs::DescribeConfigsRequestResource;
use millrace_wire::message::describe_log_dirs::DescribeLogDirsRequestTopic;
use millrace_wire::message::describe_producers::DescribeProducersRequestTopic;
use millrace_wire::message::describe_topic_partitions::DescribeTopicPartitionsRequestTopic;
use millrace_wire::message::fetch::{FetchRequestPartition, FetchRequestTopic};
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
use millrace_wire::message::{
    AlterConfigsRequest, CreateAclsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteAclsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeTopicPartitionsRequest, FetchRequest, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, LeaveGroupRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
};
use millrace_wire::{ApiKey, Request, Str};

use crate::Outcome;

/// The topic whose partitions are asked about.
pub const GIANTS_TOPIC: &str = "t";

/// The requests, each with so many elements. None of them changes anything where there is only that topic.
///
/// # Errors
/// A message has no such version.
pub fn giants(elements: i32) -> Outcome<Vec<(ApiKey, Bytes)>> {
    let names = || (0..elements).map(|number| Str::from(format!("{GIANTS_TOPIC}{number}")));
    let topic = || Str::from(GIANTS_TOPIC);
    let partitions = || 0..elements;
    let list_offsets = ListOffsetsRequest {
        topics: vec![ListOffsetsRequestTopic {
            name: topic(),
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
    let epochs = OffsetForLeaderEpochRequest {
        topics: vec![OffsetForLeaderEpochRequestTopic {
            topic: topic(),
            partitions: partitions()
                .map(|partition| OffsetForLeaderEpochRequestPartition {
                    partition,
                    ..Default::default()
                })
                .collect(),
        }],
        ..Default::default()
    };
    let fetch = FetchRequest {
        topics: vec![FetchRequestTopic {
            topic: topic(),
            partitions: partitions()
                .map(|partition| FetchRequestPartition {
                    partition,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let delete_records = DeleteRecordsRequest {
        topics: vec![DeleteRecordsRequestTopic {
            name: topic(),
            partitions: partitions()
                .map(|partition_index| DeleteRecordsRequestPartition {
                    partition_index,
                    offset: 0,
                })
                .collect(),
        }],
        timeout_ms: TIMEOUT_MS,
    };
    let producers = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: topic(),
            partition_indexes: partitions().collect(),
        }],
    };
    let log_dirs = DescribeLogDirsRequest {
        topics: Some(vec![DescribeLogDirsRequestTopic {
            topic: topic(),
            partitions: partitions().collect(),
        }]),
    };
    let offset_commit = OffsetCommitRequest {
        group_id: topic(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic(),
            partitions: partitions()
                .map(|number| OffsetCommitRequestPartition {
                    // Past those that exist.
                    partition_index: i32::MAX - number,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let offset_fetch = OffsetFetchRequest {
        group_id: topic(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: topic(),
            partition_indexes: partitions().collect(),
        }]),
        ..Default::default()
    };
    let offset_delete = OffsetDeleteRequest {
        group_id: topic(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic(),
            partitions: partitions()
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                .collect(),
        }],
    };
    let leave = LeaveGroupRequest {
        group_id: topic(),
        members: names()
            .map(|member_id| LeaveGroupRequestMember {
                member_id,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let metadata = MetadataRequest {
        topics: Some(
            names()
                .map(|name| MetadataRequestTopic {
                    name: Some(name),
                    ..Default::default()
                })
                .collect(),
        ),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let topic_partitions = DescribeTopicPartitionsRequest {
        topics: names()
            .map(|name| DescribeTopicPartitionsRequestTopic { name })
            .collect(),
        response_partition_limit: 2_000,
        ..Default::default()
    };
    let describe_configs = DescribeConfigsRequest {
        resources: names()
            .map(|resource_name| DescribeConfigsRequestResource {
                resource_type: TOPIC,
                resource_name,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let alter_configs = AlterConfigsRequest {
        resources: names()
            .map(|resource_name| AlterConfigsRequestResource {
                resource_type: TOPIC,
                resource_name,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let incremental = IncrementalAlterConfigsRequest {
        resources: names()
            .map(|resource_name| IncrementalAlterConfigsRequestResource {
                resource_type: TOPIC,
                resource_name,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let create_topics = CreateTopicsRequest {
        topics: names()
            .map(|name| CreateTopicsRequestTopic {
                name,
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            })
            .collect(),
        timeout_ms: TIMEOUT_MS,
        validate_only: true,
    };
    let create_partitions = CreatePartitionsRequest {
        topics: names()
            .map(|name| CreatePartitionsRequestTopic {
                name,
                count: 2,
                ..Default::default()
            })
            .collect(),
        timeout_ms: TIMEOUT_MS,
        validate_only: true,
    };
    let delete_topics = DeleteTopicsRequest {
        topic_names: names().collect(),
        timeout_ms: TIMEOUT_MS,
        ..Default::default()
    };
    let describe_groups = DescribeGroupsRequest {
        groups: names().collect(),
        ..Default::default()
    };
    let delete_groups = DeleteGroupsRequest {
        groups_names: names().collect(),
    };
    let coordinators = FindCoordinatorRequest {
        coordinator_keys: names().collect(),
        ..Default::default()
    };
    let create_acls = CreateAclsRequest {
        creations: names()
            .map(|resource_name| AclCreation {
                resource_type: TOPIC,
                resource_name,
                ..Default::default()
            })
            .collect(),
    };
    let delete_acls = DeleteAclsRequest {
        filters: names()
            .map(|name| DeleteAclsFilter {
                resource_type_filter: TOPIC,
                resource_name_filter: Some(name),
                ..Default::default()
            })
            .collect(),
    };
    Ok(vec![
        giant(&list_offsets, 5)?,
        giant(&epochs, 3)?,
        giant(&fetch, 11)?,
        giant(&delete_records, 2)?,
        giant(&producers, 0)?,
        giant(&log_dirs, 4)?,
        giant(&offset_commit, 8)?,
        giant(&offset_fetch, 7)?,
        giant(&offset_delete, 0)?,
        giant(&leave, 4)?,
        giant(&metadata, 9)?,
        giant(&topic_partitions, 0)?,
        giant(&describe_configs, 4)?,
        giant(&alter_configs, 2)?,
        giant(&incremental, 1)?,
        giant(&create_topics, 5)?,
        giant(&create_partitions, 3)?,
        giant(&delete_topics, 5)?,
        giant(&describe_groups, 5)?,
        giant(&delete_groups, 2)?,
        giant(&coordinators, 4)?,
        giant(&create_acls, 3)?,
        giant(&delete_acls, 3)?,
    ])
}

fn giant<R: Request>(request: &R, version: i16) -> Outcome<(ApiKey, Bytes)> {
    let frame = request_frame(1, Some(&"giants".into()), request, version)?;
    Ok((R::KEY, frame))
}

/// The kind of resource that a topic is.
const TOPIC: i8 = 2;
const TIMEOUT_MS: i32 = 60_000;
