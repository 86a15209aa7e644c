//! OffsetDelete (key 47): deletes offsets of a group (KIP-496).

use std::sync::Arc;

use millrace_engine::group::{DeleteOffsets, GroupCommand, GroupError, GroupId, GroupReply};
use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Stopped;
use millrace_engine::types::TopicPartition;
use millrace_wire::ErrorCode;
use millrace_wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

use super::context::RequestContext;
use super::coordination::{Answer, ask};
use super::error::ToErrorCode;
use super::topics::partition_by_name;

pub(super) async fn handle(
    request: OffsetDeleteRequest,
    context: &RequestContext,
) -> Result<OffsetDeleteResponse, Stopped> {
    let image = Arc::clone(&context.image());
    let check = move |request| {
        let checked = check(&request, &image);
        let partitions: Vec<_> = checked.iter().flatten().cloned().collect();
        (request, checked, partitions)
    };
    let (request, checked, partitions) = context.in_peace(request, check).await?;
    let deleted = if request.group_id.is_empty() {
        Err(GroupError::GroupIdInvalid)
    } else {
        let pick = |reply| match reply {
            GroupReply::OffsetsDeleted(results) => Some(results),
            _ => None,
        };
        // Asked even when nothing is left to delete: whether the group exists is part of the answer.
        let delete = DeleteOffsets {
            group: GroupId::from(&*request.group_id),
            partitions,
        };
        ask(context, GroupCommand::DeleteOffsets(delete), pick).await?
    };
    let answer = |(request, checked, deleted): (_, Vec<_>, _)| response(request, &checked, deleted);
    context.in_peace((request, checked, deleted), answer).await
}

/// For every partition of the request, in order, what to delete or why not.
fn check(
    request: &OffsetDeleteRequest,
    image: &MetadataImage,
) -> Vec<Result<TopicPartition, ErrorCode>> {
    let in_topic = |topic: &millrace_wire::message::offset_delete::OffsetDeleteRequestTopic| {
        let partitions = topic.partitions.iter().map(|sent| {
            let partition = sent.partition_index;
            partition_by_name(image, &topic.name, partition)?;
            let topic = topic
                .name
                .parse()
                .map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
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
    use millrace_wire::message::offset_delete::{
        OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    };

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
