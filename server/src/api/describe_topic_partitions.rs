//! DescribeTopicPartitions (key 75): topics with their partitions, page by page (KIP-966).

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_engine::metadata::{MetadataImage, Topic, is_internal};
use millrace_engine::shard::Stopped;
use millrace_engine::types::TopicName;
use millrace_wire::ErrorCode;
use millrace_wire::message::describe_topic_partitions::{
    DescribeTopicPartitionsCursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use super::brokers::{authorized, numbers, offline_replicas};
use super::context::RequestContext;
use super::topics::wire_id;

pub(super) async fn handle(
    request: DescribeTopicPartitionsRequest,
    context: &RequestContext,
) -> Result<DescribeTopicPartitionsResponse, Stopped> {
    let limit = context.settings().config.sockets.partitions_per_page_max;
    let image = Arc::clone(&context.image());
    let page = move |request| page(&request, &image, limit);
    context.in_peace(request, page).await
}

fn page(
    request: &DescribeTopicPartitionsRequest,
    image: &MetadataImage,
    limit: u32,
) -> DescribeTopicPartitionsResponse {
    let asked = u32::try_from(request.response_partition_limit).unwrap_or(0);
    let room = usize::try_from(asked.min(limit).max(1)).unwrap_or(usize::MAX);
    let cursor = request.cursor.as_ref();
    let from = cursor.map_or("", |cursor| &*cursor.topic_name);
    // Sorted, so that a cursor means the same place in every page.
    if request.topics.is_empty() {
        let names = image.topics_from(from).map(|topic| topic.name.as_str());
        page_of(names, cursor, image, room)
    } else {
        let names = request.topics.iter().map(|topic| &*topic.name);
        let names: BTreeSet<_> = names.filter(|&name| name >= from).collect();
        page_of(names.into_iter(), cursor, image, room)
    }
}

/// A page with room for so many partitions; no more of `names` are looked at than it takes.
fn page_of<'a>(
    names: impl Iterator<Item = &'a str>,
    cursor: Option<&DescribeTopicPartitionsCursor>,
    image: &MetadataImage,
    mut room: usize,
) -> DescribeTopicPartitionsResponse {
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let at = |partition_index| {
            Some(DescribeTopicPartitionsCursor {
                topic_name: name.into(),
                partition_index,
            })
        };
        if room == 0 {
            response.next_cursor = at(0);
            break;
        }
        let parsed = name.parse::<TopicName>();
        let Some(topic) = parsed.as_ref().ok().and_then(|name| image.topic(name)) else {
            let error_code = match parsed {
                Ok(_) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            response.topics.push(unknown(name, error_code));
            continue;
        };
        let first = cursor.filter(|cursor| cursor.topic_name == name);
        let first = first.map_or(0, |cursor| cursor.partition_index.max(0));
        let partitions: Vec<_> = partitions(image, topic, first).take(room).collect();
        room -= partitions.len();
        let next = partitions
            .last()
            .map_or(first, |last| last.partition_index.saturating_add(1));
        response.topics.push(known(topic, partitions));
        if next < topic.partition_count() {
            response.next_cursor = at(next);
            break;
        }
    }
    response
}

fn unknown(name: &str, error_code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code,
        name: Some(name.into()),
        is_internal: is_internal(name),
        topic_authorized_operations: authorized::TOPIC,
        ..Default::default()
    }
}

fn known(
    topic: &Topic,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.as_str().into()),
        topic_id: wire_id(topic.id),
        is_internal: topic.is_internal(),
        partitions,
        topic_authorized_operations: authorized::TOPIC,
        ..Default::default()
    }
}

fn partitions(
    image: &MetadataImage,
    topic: &Topic,
    first: i32,
) -> impl Iterator<Item = DescribeTopicPartitionsResponsePartition> {
    let from = topic.partitions().filter(move |&(index, _)| index >= first);
    from.map(|(partition_index, partition)| {
        let leads = image.is_online(partition, partition.leader);
        DescribeTopicPartitionsResponsePartition {
            error_code: if leads {
                ErrorCode::None
            } else {
                ErrorCode::LeaderNotAvailable
            },
            partition_index,
            leader_id: if leads { partition.leader.0 } else { -1 },
            leader_epoch: partition.leader_epoch.0,
            replica_nodes: numbers(&partition.replicas),
            isr_nodes: numbers(&partition.isr),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: offline_replicas(image, partition),
        }
    })
}

#[cfg(test)]
mod tests {
    use millrace_wire::message::describe_topic_partitions::DescribeTopicPartitionsRequestTopic;

    use super::super::test_image::image_with;
    use super::*;

    /// Topics with the numbers of their partitions, and where the next page begins.
    type Page = (Vec<(String, Vec<i32>)>, Option<(String, i32)>);

    #[test]
    fn all_topics_come_page_by_page_from_any_cursor_on() {
        let image = image_with(&[("b", 3), ("a", 2), ("d", 1)]);
        let shown = |cursor: Option<(&str, i32)>| -> Page {
            let cursor = cursor.map(|(name, partition_index)| DescribeTopicPartitionsCursor {
                topic_name: name.into(),
                partition_index,
            });
            let request = DescribeTopicPartitionsRequest {
                response_partition_limit: 4,
                cursor,
                ..Default::default()
            };
            let response = page(&request, &image, 2000);
            let topics = response.topics.into_iter().map(|topic| {
                let numbers = topic.partitions.iter().map(|one| one.partition_index);
                (topic.name.unwrap().to_string(), numbers.collect())
            });
            let next = response.next_cursor;
            let next = next.map(|next| (next.topic_name.to_string(), next.partition_index));
            (topics.collect(), next)
        };
        let topic = |name: &str, numbers: &[i32]| (name.to_owned(), numbers.to_vec());
        let next = |name: &str, number| Some((name.to_owned(), number));
        let first = (vec![topic("a", &[0, 1]), topic("b", &[0, 1])], next("b", 2));
        assert_eq!(shown(None), first);
        let rest = (vec![topic("b", &[2]), topic("d", &[0])], None);
        assert_eq!(shown(Some(("b", 2))), rest);
        // Names that no topic has, or could have.
        assert_eq!(shown(Some(("c", 5))), (vec![topic("d", &[0])], None));
        assert_eq!(shown(Some(("a b", 0))).0[0].0, "b");
        assert_eq!(shown(Some((&"z".repeat(300), 0))), (vec![], None));
        let whole = page(&DescribeTopicPartitionsRequest::default(), &image, 5);
        assert_eq!(whole.next_cursor.unwrap().topic_name, "d");
    }

    #[test]
    fn unknown_and_illegal_names_are_told_apart_and_pages_begin_at_the_cursor() {
        let topics =
            ["b", "a b", "a"].map(|name| DescribeTopicPartitionsRequestTopic { name: name.into() });
        let mut request = DescribeTopicPartitionsRequest {
            topics: topics.to_vec(),
            ..Default::default()
        };
        let names = |request: &_| -> Vec<(String, ErrorCode)> {
            let response = page(request, &MetadataImage::empty(), 2000);
            let topics = response.topics.into_iter();
            topics
                .map(|topic| (topic.name.unwrap().to_string(), topic.error_code))
                .collect()
        };
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let expected = [
            ("a".to_owned(), unknown),
            ("a b".to_owned(), ErrorCode::InvalidTopicException),
            ("b".to_owned(), unknown),
        ];
        assert_eq!(names(&request), expected);
        let topic_name = "a b".into();
        request.cursor = Some(DescribeTopicPartitionsCursor {
            topic_name,
            partition_index: 0,
        });
        assert_eq!(names(&request), expected[1..]);
    }
}
