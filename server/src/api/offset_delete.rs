//! OffsetDelete (key 47): deletes offsets of a group (KIP-496).

use std::sync::Arc;

use millrace_engine::group::{DeleteOffsets, GroupCommand, GroupError, GroupId, GroupReply};
use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Stopped;
use millrace_engine::types::{TopicName, TopicPartition};
use millrace_wire::ErrorCode;
use millrace_wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::context::RequestContext;
use super::coordination::{Answer, PARTITIONS_PER_COMMAND, ask_each, in_parts};
use super::error::ToErrorCode;
use super::topics::{each_once, partition_by_name};

pub(super) async fn handle(
    request: OffsetDeleteRequest,
    context: &RequestContext,
) -> Result<OffsetDeleteResponse, Stopped> {
    let image = Arc::clone(&context.image());
    let check = move |request| {
        let request = without_repetitions(request);
        let checked = check(&request, &image);
        let partitions: Vec<_> = checked.iter().flatten().cloned().collect();
        let group = GroupId::from(&*request.group_id);
        // One even when nothing is left to delete: whether the group exists is part of the answer.
        let parts = in_parts(partitions, |some| question(&group, some));
        (request, checked, parts)
    };
    let (request, checked, parts) = context.in_peace(request, check).await?;
    let deleted = if request.group_id.is_empty() {
        vec![Err(GroupError::GroupIdInvalid)]
    } else {
        let pick = |reply| match reply {
            GroupReply::OffsetsDeleted(results) => Some(results),
            _ => None,
        };
        ask_each(context, parts, pick).await?
    };
    let answer = |(request, checked, deleted): (_, Vec<_>, _)| {
        let deleted = joined(deleted, checked.iter().flatten().count());
        response(request, &checked, deleted)
    };
    context.in_peace((request, checked, deleted), answer).await
}

/// The same without repetitions: what is deleted once is gone.
fn without_repetitions(mut request: OffsetDeleteRequest) -> OffsetDeleteRequest {
    let topics = request.topics.iter_mut();
    let topics = topics.map(|topic| (topic.name.clone(), &mut topic.partitions));
    each_once(topics, |sent| sent.partition_index);
    request
}

fn question(group: &GroupId, partitions: Vec<TopicPartition>) -> GroupCommand {
    GroupCommand::DeleteOffsets(DeleteOffsets {
        group: group.clone(),
        partitions,
    })
}

/// What became of each of `count` partitions, or why of none.
fn joined(
    parts: Vec<Answer<Vec<Result<(), GroupError>>>>,
    count: usize,
) -> Answer<Vec<Result<(), GroupError>>> {
    let mut results = Vec::with_capacity(count);
    for (number, part) in parts.into_iter().enumerate() {
        match part {
            Ok(part) => results.extend(part),
            // A group that nobody is in goes with its last offset: nothing is left to delete.
            Err(GroupError::GroupIdNotFound { .. }) if number > 0 => {
                let gone = count.saturating_sub(results.len());
                results.extend(vec![Ok(()); gone.min(PARTITIONS_PER_COMMAND)]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

/// For every partition of the request, in order, what to delete or why not.
fn check(
    request: &OffsetDeleteRequest,
    image: &MetadataImage,
) -> Vec<Result<TopicPartition, ErrorCode>> {
    let in_topic = |topic: &OffsetDeleteRequestTopic| {
        let text = &*topic.name;
        let name: Option<TopicName> = text.parse().ok();
        let partitions = topic.partitions.iter().map(|sent| {
            let partition = sent.partition_index;
            partition_by_name(image, text, partition)?;
            let topic = name.clone().ok_or(ErrorCode::UnknownTopicOrPartition)?;
            Ok(TopicPartition { topic, partition })
        });
        partitions.collect::<Vec<_>>()
    };
    request.topics.iter().flat_map(in_topic).collect()
}

fn response(
    request: OffsetDeleteRequest,
    checked: &[Result<TopicPartition, ErrorCode>],
    deleted: Answer<Vec<Result<(), GroupError>>>,
) -> OffsetDeleteResponse {
    let mut deleted = match deleted {
        Ok(results) => results.into_iter(),
        Err(error) => {
            return OffsetDeleteResponse {
                error_code: error.error_code(),
                ..Default::default()
            };
        }
    };
    let mut codes = checked.iter().map(|checked| match checked {
        Err(error) => *error,
        Ok(_) => match deleted.next() {
            Some(Ok(())) => ErrorCode::None,
            Some(Err(error)) => error.error_code(),
            None => ErrorCode::UnknownServerError,
        },
    });
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(codes.by_ref());
        let partitions = partitions.map(|(sent, error_code)| OffsetDeleteResponsePartition {
            partition_index: sent.partition_index,
            error_code,
        });
        OffsetDeleteResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    OffsetDeleteResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use millrace_wire::message::offset_delete::OffsetDeleteRequestPartition;

    use super::super::test_image::image_with;
    use super::*;

    fn request(topics: &[(&str, &[i32])]) -> OffsetDeleteRequest {
        let topic = |&(name, partitions): &(&str, &[i32])| OffsetDeleteRequestTopic {
            name: name.into(),
            partitions: partitions
                .iter()
                .map(|&partition_index| OffsetDeleteRequestPartition { partition_index })
                .collect(),
        };
        OffsetDeleteRequest {
            group_id: "g".into(),
            topics: topics.iter().map(topic).collect(),
        }
    }

    #[test]
    fn unknown_partitions_and_topics_in_use_are_refused_one_by_one() {
        let request = request(&[("nope", &[0]), ("t", &[9, 0])]);
        let checked = check(&request, &image_with(&[("t", 1)]));
        let in_use = GroupError::SubscribedToTopic {
            group: GroupId::from("g"),
            topic: "t".parse().unwrap(),
        };
        let answer = response(request, &checked, Ok(vec![Err(in_use)]));
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(answer.topics[0].partitions[0].error_code, unknown);
        assert_eq!(answer.topics[1].partitions[0].error_code, unknown);
        let subscribed = ErrorCode::GroupSubscribedToTopic;
        assert_eq!(answer.topics[1].partitions[1].error_code, subscribed);
    }

    #[test]
    fn what_is_named_twice_is_deleted_once() {
        let repeated = request(&[("t", &[1, 0, 1]), ("u", &[1]), ("t", &[2, 0])]);
        let once = request(&[("t", &[1, 0]), ("u", &[1]), ("t", &[2])]);
        assert_eq!(without_repetitions(repeated), once);
    }

    #[test]
    fn very_many_partitions_are_deleted_in_parts() {
        let group = GroupId::from("g");
        let all = |count| {
            (0..count).map(|partition| TopicPartition {
                topic: "t".parse().unwrap(),
                partition,
            })
        };
        let counts = |count| {
            let parts = in_parts(all(count).collect(), |some| question(&group, some)).into_iter();
            let counts = parts.map(|part| match part {
                GroupCommand::DeleteOffsets(delete) => delete.partitions.len(),
                other => panic!("{other:?}"),
            });
            counts.collect::<Vec<_>>()
        };
        assert_eq!(counts(0), [0]);
        assert_eq!(counts(1_000), [1_000]);
        assert_eq!(counts(2_001), [1_000, 1_000, 1]);
    }

    #[test]
    fn a_group_that_is_gone_after_its_first_part_has_nothing_left_to_delete() {
        let gone = || {
            Err(GroupError::GroupIdNotFound {
                group: GroupId::from("g"),
            })
        };
        let first = || Ok(vec![Ok(()); 1_000]);
        let deleted = joined(vec![first(), gone(), gone()], 2_001);
        assert_eq!(deleted, Ok(vec![Ok(()); 2_001]));
        assert!(joined(vec![gone(), gone(), gone()], 2_001).is_err());
        let moved = joined(vec![first(), Err(GroupError::NotCoordinator)], 2_000);
        assert_eq!(moved, Err(GroupError::NotCoordinator));
    }

    #[test]
    fn an_unknown_group_is_said_once() {
        let request = request(&[("t", &[0])]);
        let checked = check(&request, &image_with(&[("t", 1)]));
        let gone = GroupError::GroupIdNotFound {
            group: GroupId::from("g"),
        };
        let answer = response(request, &checked, Err(gone));
        assert_eq!(
            (answer.error_code, answer.topics),
            (ErrorCode::GroupIdNotFound, vec![])
        );
    }
}
