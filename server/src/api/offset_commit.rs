//! OffsetCommit (key 8): stores how far a group has read.
//!
//! What does not exist is refused here, partition by partition; only the rest goes to the coordinator.

use std::sync::Arc;

use millrace_engine::group::{
    CommitOffsets, GroupCommand, GroupError, GroupId, GroupReply, InstanceId, MemberId, NamedTopic,
    OffsetToCommit,
};
use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Stopped;
use millrace_engine::types::{GenerationId, LeaderEpoch, Offset, TopicName, TopicPartition};
use millrace_wire::ErrorCode;
use millrace_wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::admin::in_time;
use super::context::RequestContext;
use super::coordination::ask;
use super::error::ToErrorCode;
use super::topics::{partition_by_id, partition_by_name};

pub(super) async fn handle(
    request: OffsetCommitRequest,
    context: &RequestContext,
) -> Result<OffsetCommitResponse, Stopped> {
    let version = context.version();
    let image = Arc::clone(&context.image());
    let check = move |request: OffsetCommitRequest| {
        let checked = check(&request, version, &image);
        let offsets: Vec<_> = checked.iter().flatten().cloned().collect();
        (request, checked, offsets)
    };
    let (request, checked, offsets) = context.in_peace(request, check).await?;
    let committed = if offsets.is_empty() {
        Ok(Vec::new())
    } else {
        let pick = |reply| match reply {
            GroupReply::OffsetsCommitted(results) => Some(results),
            _ => None,
        };
        let commit = GroupCommand::CommitOffsets(commit(&request, offsets));
        let timeout_ms = context.settings().config.offsets.commit_timeout_ms;
        match in_time(timeout_ms, ask(context, commit, pick)).await {
            Some(answer) => answer?.map_err(|error| code(&error, version)),
            // As in Kafka. It may become durable all the same, and the client commits again.
            None => Err(ErrorCode::CoordinatorNotAvailable),
        }
    };
    let answer =
        move |(request, checked): (_, Vec<_>)| response(request, &checked, committed, version);
    context.in_peace((request, checked), answer).await
}

/// For every partition of the request, in order, what to store or why not.
fn check(
    request: &OffsetCommitRequest,
    version: i16,
    image: &MetadataImage,
) -> Vec<Result<OffsetToCommit, ErrorCode>> {
    let in_topic = |topic: &OffsetCommitRequestTopic| -> Vec<_> {
        let offset = |sent: &OffsetCommitRequestPartition| {
            let partition = sent.partition_index;
            let (found, named) = if version >= BY_ID_FIRST {
                let found = partition_by_id(image, topic.topic_id, partition)?;
                (found, NamedTopic::ById(found.topic_id))
            } else {
                let found = partition_by_name(image, &topic.name, partition)?;
                (found, NamedTopic::ByName)
            };
            let topic = image
                .topic_by_id(found.topic_id)
                .ok_or(ErrorCode::UnknownTopicId)?;
            Ok(offset_to_commit(&topic.name, named, sent))
        };
        topic.partitions.iter().map(offset).collect()
    };
    request.topics.iter().flat_map(in_topic).collect()
}

fn offset_to_commit(
    topic: &TopicName,
    named: NamedTopic,
    sent: &OffsetCommitRequestPartition,
) -> OffsetToCommit {
    OffsetToCommit {
        partition: TopicPartition {
            topic: topic.clone(),
            partition: sent.partition_index,
        },
        topic: named,
        offset: Offset(sent.committed_offset),
        leader_epoch: LeaderEpoch(sent.committed_leader_epoch),
        metadata: Arc::from(sent.committed_metadata.as_deref().unwrap_or_default()),
    }
}

fn commit(request: &OffsetCommitRequest, offsets: Vec<OffsetToCommit>) -> CommitOffsets {
    CommitOffsets {
        group: GroupId::from(&*request.group_id),
        member_id: MemberId::from(&*request.member_id),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: GenerationId(request.generation_id_or_member_epoch),
        retention_ms: Some(request.retention_time_ms).filter(|&retention| retention >= 0),
        offsets,
    }
}

fn response(
    request: OffsetCommitRequest,
    checked: &[Result<OffsetToCommit, ErrorCode>],
    committed: Result<Vec<Result<(), GroupError>>, ErrorCode>,
    version: i16,
) -> OffsetCommitResponse {
    let (mut committed, refused) = match committed {
        Ok(results) => (results.into_iter(), None),
        Err(error) => (Vec::new().into_iter(), Some(error)),
    };
    let mut codes = checked.iter().map(|checked| match (checked, refused) {
        (Err(error), _) => *error,
        (Ok(_), Some(error)) => error,
        (Ok(_), None) => match committed.next() {
            Some(Ok(())) => ErrorCode::None,
            Some(Err(error)) => code(&error, version),
            None => ErrorCode::UnknownServerError,
        },
    });
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(codes.by_ref());
        let partitions = partitions.map(|(sent, error_code)| OffsetCommitResponsePartition {
            partition_index: sent.partition_index,
            error_code,
        });
        OffsetCommitResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
            topic_id: topic.topic_id,
        }
    });
    OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// As in Kafka, clients older than version 9 hear of a group that is gone as of a generation that is.
fn code(error: &GroupError, version: i16) -> ErrorCode {
    match error {
        GroupError::GroupIdNotFound { .. } if version < 9 => ErrorCode::IllegalGeneration,
        error => error.error_code(),
    }
}

/// The first version that names topics by id.
const BY_ID_FIRST: i16 = 10;

#[cfg(test)]
mod tests {
    use super::super::test_image::image_with;
    use super::super::topics::{topic_id, wire_id};
    use super::*;

    fn partition(partition_index: i32, committed_offset: i64) -> OffsetCommitRequestPartition {
        OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            ..Default::default()
        }
    }

    fn codes(response: &OffsetCommitResponse) -> Vec<ErrorCode> {
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| partition.error_code).collect()
    }

    fn by_name(name: &str, partitions: Vec<OffsetCommitRequestPartition>) -> OffsetCommitRequest {
        let topic = OffsetCommitRequestTopic {
            name: name.into(),
            partitions,
            ..Default::default()
        };
        OffsetCommitRequest {
            group_id: "g".into(),
            topics: vec![topic],
            ..Default::default()
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_and_the_rest_is_stored() {
        let image = image_with(&[("t", 2)]);
        let mut request = by_name("nope", vec![partition(0, 1)]);
        request
            .topics
            .extend(by_name("t", vec![partition(7, 2), partition(1, 3)]).topics);
        request
            .topics
            .extend(by_name("b ad", vec![partition(0, 4)]).topics);
        let checked = check(&request, 9, &image);
        let stored: Vec<_> = checked
            .iter()
            .flatten()
            .map(|offset| offset.offset.0)
            .collect();
        assert_eq!(stored, [3]);
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let answer = response(request, &checked, Ok(vec![Ok(())]), 9);
        assert_eq!(codes(&answer), [unknown, unknown, ErrorCode::None, unknown]);
    }

    #[test]
    fn a_refused_group_is_refused_partition_by_partition() {
        let image = image_with(&[("t", 1)]);
        let request = by_name("t", vec![partition(0, 1), partition(9, 1)]);
        let checked = check(&request, 9, &image);
        let gone = |version| {
            let error = GroupError::GroupIdNotFound {
                group: GroupId::from("g"),
            };
            Err(code(&error, version))
        };
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let old = response(request.clone(), &checked, gone(8), 8);
        assert_eq!(codes(&old), [ErrorCode::IllegalGeneration, unknown]);
        let new = response(request, &checked, gone(9), 9);
        assert_eq!(codes(&new), [ErrorCode::GroupIdNotFound, unknown]);
    }

    #[test]
    fn version_10_names_topics_by_id() {
        let image = image_with(&[("t", 1)]);
        let id = wire_id(image.topics().next().unwrap().id);
        let topic = |topic_id, index| OffsetCommitRequestTopic {
            topic_id,
            partitions: vec![partition(index, 1)],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            topics: vec![topic(id, 0), topic(id, 1), topic(millrace_wire::Uuid(5), 0)],
            ..Default::default()
        };
        let checked = check(&request, 10, &image);
        let stored = checked[0].as_ref().unwrap();
        assert_eq!(stored.partition.topic.as_str(), "t");
        assert_eq!(stored.topic, NamedTopic::ById(topic_id(id)));
        let answer = response(request, &checked, Ok(vec![Ok(())]), 10);
        let expected = [
            ErrorCode::None,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicId,
        ];
        assert_eq!(codes(&answer), expected);
        assert_eq!(answer.topics[0].topic_id, id);
    }

    #[test]
    fn retention_counts_only_where_a_client_gave_one() {
        let mut request = by_name("t", Vec::new());
        assert_eq!(commit(&request, Vec::new()).retention_ms, None);
        request.retention_time_ms = 5;
        assert_eq!(commit(&request, Vec::new()).retention_ms, Some(5));
    }
}
