//! DeleteRecords (key 21): moves the log start offset of partitions, so that what lies below is deleted.

use std::sync::Arc;

use millrace_engine::metadata::{MetadataImage, is_internal};
use millrace_engine::shard::Stopped;
use millrace_engine::shard::command::{Command, DeleteRecords};
use millrace_engine::types::{Offset, TopicIdPartition};
use millrace_wire::ErrorCode;
use millrace_wire::message::delete_records::{
    DeleteRecordsRequest, DeleteRecordsRequestTopic, DeleteRecordsResponse,
    DeleteRecordsResponsePartition, DeleteRecordsResponseTopic,
};

use super::admin::in_time;
use super::context::RequestContext;
use super::scatter::{Question, ask};
use super::topics::partition_by_name;

pub(super) async fn handle(
    request: DeleteRecordsRequest,
    context: &RequestContext,
) -> Result<DeleteRecordsResponse, Stopped> {
    let image = Arc::clone(&context.image());
    let resolve = move |request: DeleteRecordsRequest| {
        let in_topic = |topic| questions(topic, &image);
        let questions: Vec<_> = request.topics.iter().flat_map(in_topic).collect();
        (request, questions)
    };
    let (request, questions) = context.in_peace(request, resolve).await?;
    let count = questions.len();
    let command = |partitions, reply| Command::DeleteRecords(DeleteRecords { partitions, reply });
    let asked = ask(context, questions, command);
    let starts = match in_time(request.timeout_ms, asked).await {
        Some(starts) => starts?,
        None => vec![Err(ErrorCode::RequestTimedOut); count],
    };
    let answer = |(request, starts)| response(request, starts);
    context.in_peace((request, starts), answer).await
}

impl Question for (TopicIdPartition, Option<Offset>) {
    fn partition(&self) -> TopicIdPartition {
        self.0
    }
}

/// For every partition of the topic, in order, how far to delete (`None`: all that is committed) or why not.
fn questions(
    topic: &DeleteRecordsRequestTopic,
    image: &MetadataImage,
) -> Vec<Result<(TopicIdPartition, Option<Offset>), ErrorCode>> {
    let question = |partition_index, offset| {
        let partition = partition_by_name(image, &topic.name, partition_index)?;
        if is_internal(&topic.name) {
            return Err(ErrorCode::InvalidTopicException);
        }
        Ok((
            partition,
            (offset != TO_HIGH_WATERMARK).then_some(Offset(offset)),
        ))
    };
    let partitions = topic.partitions.iter();
    partitions
        .map(|sent| question(sent.partition_index, sent.offset))
        .collect()
}

fn response(
    request: DeleteRecordsRequest,
    starts: Vec<Result<Offset, ErrorCode>>,
) -> DeleteRecordsResponse {
    let mut starts = starts.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(starts.by_ref());
        let partitions = partitions.map(|(sent, start)| {
            let (low_watermark, error_code) = match start {
                Ok(start) => (start.0, ErrorCode::None),
                Err(error) => (-1, error),
            };
            let partition_index = sent.partition_index;
            DeleteRecordsResponsePartition {
                partition_index,
                low_watermark,
                error_code,
            }
        });
        DeleteRecordsResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    DeleteRecordsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// The offset that stands for the high watermark.
const TO_HIGH_WATERMARK: i64 = -1;

#[cfg(test)]
mod tests {
    use millrace_wire::message::delete_records::DeleteRecordsRequestPartition;

    use super::super::test_image::image_with;
    use super::*;

    fn topic(name: &str, partitions: &[(i32, i64)]) -> DeleteRecordsRequestTopic {
        let partition = |&(partition_index, offset): &(i32, i64)| DeleteRecordsRequestPartition {
            partition_index,
            offset,
        };
        DeleteRecordsRequestTopic {
            name: name.into(),
            partitions: partitions.iter().map(partition).collect(),
        }
    }

    #[test]
    fn minus_one_is_the_high_watermark_and_other_negatives_are_the_engines_to_refuse() {
        let image = image_with(&[("t", 1)]);
        let asked = questions(&topic("t", &[(0, -1), (0, -2), (9, 0)]), &image);
        assert_eq!(asked[0].unwrap().1, None);
        assert_eq!(asked[1].unwrap().1, Some(Offset(-2)));
        assert_eq!(asked[2], Err(ErrorCode::UnknownTopicOrPartition));
    }

    #[test]
    fn records_of_internal_topics_stay() {
        let image = image_with(&[("__consumer_offsets", 1)]);
        let asked = questions(&topic("__consumer_offsets", &[(0, 0)]), &image);
        assert_eq!(asked, [Err(ErrorCode::InvalidTopicException)]);
        let asked = questions(&topic("b ad", &[(0, 0)]), &image);
        assert_eq!(asked, [Err(ErrorCode::UnknownTopicOrPartition)]);
    }

    #[test]
    fn the_answer_tells_the_new_starts() {
        let request = DeleteRecordsRequest {
            topics: vec![topic("t", &[(0, 5), (1, 9)])],
            timeout_ms: 1,
        };
        let starts = vec![Ok(Offset(5)), Err(ErrorCode::OffsetOutOfRange)];
        let answer = response(request, starts);
        let partitions = &answer.topics[0].partitions;
        assert_eq!(partitions[0].low_watermark, 5);
        assert_eq!(partitions[1].low_watermark, -1);
        assert_eq!(partitions[1].error_code, ErrorCode::OffsetOutOfRange);
    }
}
