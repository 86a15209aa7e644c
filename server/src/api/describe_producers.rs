//! DescribeProducers (key 61): the producers a partition leader remembers (KIP-664).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_engine::log::Producer;
use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Stopped;
use millrace_engine::shard::command::{Command, DescribeProducers};
use millrace_engine::types::{ProducerId, TopicIdPartition, TopicName};
use millrace_wire::message::describe_producers::{
    DescribeProducersProducer, DescribeProducersRequest, DescribeProducersRequestTopic,
    DescribeProducersResponse, DescribeProducersResponsePartition, DescribeProducersResponseTopic,
};
use millrace_wire::{ErrorCode, Str};

use super::admin::Denied;
use super::context::RequestContext;
use super::scatter::ask;
use super::topics::partition_by_name;

pub(super) async fn handle(
    request: DescribeProducersRequest,
    context: &RequestContext,
) -> Result<DescribeProducersResponse, Stopped> {
    context.answers_much().await;
    let image = Arc::clone(&context.image());
    let resolve = {
        let image = Arc::clone(&image);
        move |request| {
            let request = each_once(request);
            let in_topic = |topic| questions(topic, &image);
            let questions: Vec<_> = request.topics.iter().flat_map(in_topic).collect();
            (request, questions)
        }
    };
    let (request, questions) = context.in_peace(request, resolve).await?;
    let command =
        |partitions, reply| Command::DescribeProducers(DescribeProducers { partitions, reply });
    let producers = ask(context, questions, command).await?;
    let answer = move |(request, producers)| response(request, producers, &image);
    context.in_peace((request, producers), answer).await
}

/// The same without repetitions: a few bytes ask for thousands of producers, so nothing is described twice in one answer.
fn each_once(mut request: DescribeProducersRequest) -> DescribeProducersRequest {
    // By topic first: a name may be long, and is compared once for all partitions behind it.
    let mut seen: BTreeMap<Str, BTreeSet<i32>> = BTreeMap::new();
    for topic in &mut request.topics {
        let partitions = seen.entry(topic.name.clone()).or_default();
        topic
            .partition_indexes
            .retain(|&index| partitions.insert(index));
    }
    request
}

fn questions(
    topic: &DescribeProducersRequestTopic,
    image: &MetadataImage,
) -> Vec<Result<TopicIdPartition, ErrorCode>> {
    let (name, numbers) = (&*topic.name, topic.partition_indexes.iter());
    numbers
        .map(|&number| partition_by_name(image, name, number))
        .collect()
}

fn response(
    request: DescribeProducersRequest,
    producers: Vec<Result<Vec<(ProducerId, Producer)>, ErrorCode>>,
    image: &MetadataImage,
) -> DescribeProducersResponse {
    let mut producers = producers.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let mut refusal = topic_refusal(&topic.name, image);
        let partitions = topic.partition_indexes.iter().zip(producers.by_ref());
        let partitions = partitions.map(|(&partition_index, producers)| {
            let (denied, producers) = match (&mut refusal, producers) {
                (Some(denied), _) => {
                    let said = denied.clone();
                    // A sentence with the name in it is said once: names may be long, and partitions very many.
                    if denied.code == ErrorCode::InvalidTopicException {
                        denied.message = None;
                    }
                    (said, Vec::new())
                }
                (None, Err(error)) => (Denied::silent(error), Vec::new()),
                (None, Ok(producers)) => (Denied::silent(ErrorCode::None), producers),
            };
            DescribeProducersResponsePartition {
                partition_index,
                error_code: denied.code,
                error_message: denied.message,
                active_producers: producers
                    .iter()
                    .map(|(id, one)| producer(*id, one))
                    .collect(),
            }
        });
        DescribeProducersResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    DescribeProducersResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// Why nothing in a topic of this name can be described, with the sentence that Kafka has for that.
fn topic_refusal(name: &str, image: &MetadataImage) -> Option<Denied> {
    match name.parse::<TopicName>() {
        Err(error) => Some(Denied::of(&error)),
        Ok(name) if image.topic(&name).is_none() => {
            Some(Denied::plain(ErrorCode::UnknownTopicOrPartition))
        }
        Ok(_) => None,
    }
}

fn producer(id: ProducerId, producer: &Producer) -> DescribeProducersProducer {
    DescribeProducersProducer {
        producer_id: id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence().0,
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.map_or(-1, |start| start.0),
    }
}

#[cfg(test)]
mod tests {
    use millrace_engine::log::Window;
    use millrace_engine::types::{Offset, ProducerEpoch, Timestamp};

    use super::super::test_image::image_with;
    use super::*;

    #[test]
    fn producers_are_shown_and_what_does_not_exist_is_named() {
        let image = image_with(&[("t", 1)]);
        let topic = |name: &str, numbers: &[i32]| DescribeProducersRequestTopic {
            name: name.into(),
            partition_indexes: numbers.to_vec(),
        };
        let topics = vec![
            topic("t", &[0, 9]),
            topic("nope", &[0]),
            topic("b ad", &[0]),
        ];
        let request = DescribeProducersRequest { topics };
        let asked: Vec<_> = request
            .topics
            .iter()
            .flat_map(|topic| questions(topic, &image))
            .collect();
        assert_eq!(asked.iter().filter(|question| question.is_ok()).count(), 1);
        let known = Producer {
            epoch: ProducerEpoch(3),
            window: Window::default(),
            last_timestamp: Timestamp(50),
            coordinator_epoch: -1,
            transaction_start: Some(Offset(7)),
            touched: Timestamp(60),
        };
        let unknown = || Err(ErrorCode::UnknownTopicOrPartition);
        let found = vec![
            Ok(vec![(ProducerId(4), known)]),
            unknown(),
            unknown(),
            unknown(),
        ];
        let answer = response(request, found, &image);
        let first = &answer.topics[0].partitions[0].active_producers[0];
        assert_eq!(
            (first.producer_id, first.producer_epoch, first.last_sequence),
            (4, 3, -1)
        );
        assert_eq!(
            (first.last_timestamp, first.current_txn_start_offset),
            (50, 7)
        );
        // The sentences as measured at Kafka 4.3.1: none for a partition, one for a topic.
        assert_eq!(answer.topics[0].partitions[1].error_message, None);
        let sentence = answer.topics[1].partitions[0].error_message.as_deref();
        assert_eq!(
            sentence,
            Some("This server does not host this topic-partition.")
        );
        let bad = &answer.topics[2].partitions[0];
        assert_eq!(bad.error_code, ErrorCode::InvalidTopicException);
    }
}
