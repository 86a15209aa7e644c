//! DescribeProducers (key 61): the producers a partition leader remembers (KIP-664).

use std::sync::Arc;

use millrace_engine::log::Producer;
use millrace_engine::metadata::MetadataImage;
use millrace_engine::partition::OffsetLookupError;
use millrace_engine::shard::Stopped;
use millrace_engine::shard::command::{
    Command, DescribeProducers, ProducerRange, Producers, ReplySlot,
};
use millrace_engine::types::{ProducerId, TopicIdPartition, TopicName};
use millrace_wire::ErrorCode;
use millrace_wire::message::describe_producers::{
    DescribeProducersProducer, DescribeProducersRequest, DescribeProducersRequestTopic,
    DescribeProducersResponse, DescribeProducersResponsePartition, DescribeProducersResponseTopic,
};

use super::admin::Denied;
use super::context::RequestContext;
use super::scatter::{Question, ask};
use super::topics::{each_once, partition_by_name};

pub(super) async fn handle(
    request: DescribeProducersRequest,
    context: &RequestContext,
) -> Result<DescribeProducersResponse, Stopped> {
    context.answers_much().await;
    let image = Arc::clone(&context.image());
    let resolve = {
        let image = Arc::clone(&image);
        move |mut request: DescribeProducersRequest| {
            // A few bytes ask for thousands of producers, so nothing is described twice in one answer.
            let topics = request.topics.iter_mut();
            let topics = topics.map(|topic| (topic.name.clone(), &mut topic.partition_indexes));
            each_once(topics, |&index| index);
            let in_topic = |topic| questions(topic, &image);
            let all: Vec<_> = request.topics.iter().flat_map(in_topic).collect();
            let counting = counting(&all);
            (request, all, counting)
        }
    };
    let (request, all, counting) = context.in_peace(request, resolve).await?;
    let counts = ask(context, counting, command).await?;
    let (mut all, total) = context.in_peace((all, counts), counted).await?;
    // A few bytes may ask for very many.
    context.answers_bytes(total * PRODUCER_BYTES).await;
    describe(context, &mut all).await?;
    let answer = move |(request, all)| response(request, all, &image);
    context.in_peace((request, all), answer).await
}

/// A partition whose producers are described, or why they are not.
type Asked = Result<Described, ErrorCode>;

/// The producers of one partition, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Described {
    partition: TopicIdPartition,
    /// How many there may be more: those that came after they were counted have no room and are left out.
    left: usize,
    /// Goes on behind this one.
    last: Option<ProducerId>,
    producers: Vec<DescribeProducersProducer>,
}

impl Described {
    const fn nothing_of(partition: TopicIdPartition) -> Self {
        Self {
            partition,
            left: 0,
            last: None,
            producers: Vec::new(),
        }
    }

    /// The next ones, at most `count_max`.
    fn next(&self, count_max: usize) -> ProducerRange {
        ProducerRange {
            partition: self.partition,
            after: self.last,
            count_max: self.left.min(count_max),
        }
    }

    /// Takes in what was found of a range.
    fn take_in(&mut self, range: &ProducerRange, found: &[(ProducerId, Producer)]) {
        // For all of them at once there is room.
        self.producers.reserve_exact(self.left);
        self.producers
            .extend(found.iter().map(|(id, one)| producer(*id, one)));
        self.last = found.last().map(|(id, _)| *id);
        // Fewer than asked for are the last, whatever was counted.
        self.left = match found.len() {
            count if count < range.count_max => 0,
            count => self.left.saturating_sub(count),
        };
    }
}

impl Question for ProducerRange {
    fn partition(&self) -> TopicIdPartition {
        self.partition
    }

    fn weight(&self) -> usize {
        self.count_max.max(1)
    }
}

/// The questions how many there are.
fn counting(all: &[Asked]) -> Vec<Result<ProducerRange, ErrorCode>> {
    let questions = all.iter().map(|asked| match asked {
        Ok(described) => Ok(described.next(0)),
        Err(error) => Err(*error),
    });
    questions.collect()
}

/// The partitions with how many producers they have, and how many that are.
fn counted(
    (mut all, counts): (Vec<Asked>, Vec<Result<Producers, ErrorCode>>),
) -> (Vec<Asked>, usize) {
    let mut total = 0;
    for (asked, counted) in all.iter_mut().zip(counts) {
        match (&mut *asked, counted) {
            (Ok(described), Ok(counted)) => {
                described.left = counted.count;
                total += counted.count;
            }
            (_, Err(error)) => *asked = Err(error),
            (Err(_), Ok(_)) => {}
        }
    }
    (all, total)
}

/// Describes the producers that were counted, some at a time: a shard has other clients' turns in between, and what it says of
/// them takes more memory than what is answered.
async fn describe(context: &RequestContext, all: &mut [Asked]) -> Result<(), Stopped> {
    let mut first = 0;
    loop {
        let (asked, ranges) = next_ranges(all, &mut first);
        if ranges.is_empty() {
            return Ok(());
        }
        let questions = ranges.iter().copied().map(Ok).collect();
        let found = ask(context, questions, command).await?;
        for ((place, range), found) in asked.into_iter().zip(ranges).zip(found) {
            match (all.get_mut(place), found) {
                (Some(Ok(described)), Ok(found)) => described.take_in(&range, &found.described),
                (Some(asked), Err(error)) => *asked = Err(error),
                (Some(Err(_)) | None, _) => {}
            }
        }
    }
}

/// What to ask next, and of which places in `all`. Those before `first` are complete.
fn next_ranges(all: &[Asked], first: &mut usize) -> (Vec<usize>, Vec<ProducerRange>) {
    let (mut places, mut ranges) = (Vec::new(), Vec::new());
    let mut room = PRODUCERS_AT_A_TIME;
    for (place, asked) in all.iter().enumerate().skip(*first) {
        if room == 0 {
            break;
        }
        match asked {
            Ok(described) if described.left > 0 => {
                let range = described.next(room);
                room -= range.count_max;
                places.push(place);
                ranges.push(range);
            }
            _ if places.is_empty() => *first = place + 1,
            _ => {}
        }
    }
    (places, ranges)
}

fn command(
    ranges: Vec<ProducerRange>,
    reply: ReplySlot<Vec<Result<Producers, OffsetLookupError>>>,
) -> Command {
    Command::DescribeProducers(DescribeProducers { ranges, reply })
}

fn questions(topic: &DescribeProducersRequestTopic, image: &MetadataImage) -> Vec<Asked> {
    let (name, numbers) = (&*topic.name, topic.partition_indexes.iter());
    numbers
        .map(|&number| partition_by_name(image, name, number).map(Described::nothing_of))
        .collect()
}

fn response(
    request: DescribeProducersRequest,
    all: Vec<Asked>,
    image: &MetadataImage,
) -> DescribeProducersResponse {
    let mut all = all.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let mut refusal = topic_refusal(&topic.name, image);
        let partitions = topic.partition_indexes.iter().zip(all.by_ref());
        let partitions = partitions.map(|(&partition_index, asked)| {
            let (denied, active_producers) = match (&mut refusal, asked) {
                (Some(denied), _) => {
                    let said = denied.clone();
                    // A sentence with the name in it is said once: names may be long, and partitions very many.
                    if denied.code == ErrorCode::InvalidTopicException {
                        denied.message = None;
                    }
                    (said, Vec::new())
                }
                (None, Err(error)) => (Denied::silent(error), Vec::new()),
                (None, Ok(described)) => (Denied::silent(ErrorCode::None), described.producers),
            };
            DescribeProducersResponsePartition {
                partition_index,
                error_code: denied.code,
                error_message: denied.message,
                active_producers,
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

/// What a producer takes in an answer, and written down.
const PRODUCER_BYTES: usize = 128;
/// Some hundred microseconds' worth for a shard.
const PRODUCERS_AT_A_TIME: usize = 1_000;

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
            topic("b ad", &[0, 1]),
        ];
        let request = DescribeProducersRequest { topics };
        let mut all: Vec<_> = request
            .topics
            .iter()
            .flat_map(|topic| questions(topic, &image))
            .collect();
        let unknown: Asked = Err(ErrorCode::UnknownTopicOrPartition);
        assert!(all[0].is_ok());
        assert_eq!(all.len(), 5);
        assert!(all[1..].iter().all(|asked| *asked == unknown));
        let described = all[0].as_mut().unwrap();
        let range = described.next(1);
        described.take_in(&range, &[(ProducerId(4), any_producer())]);
        let answer = response(request, all, &image);
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
        let bad = answer.topics[2].partitions.iter();
        let invalid = ErrorCode::InvalidTopicException;
        assert!(bad.clone().all(|partition| partition.error_code == invalid));
        // It has the name in it, which may be long.
        let sentences = bad.map(|partition| partition.error_message.is_some());
        assert_eq!(sentences.collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn producers_that_were_counted_are_asked_for_in_pieces() {
        let image = image_with(&[("t", 5)]);
        let topic = DescribeProducersRequestTopic {
            name: "t".into(),
            partition_indexes: vec![0, 1, 9, 2, 3, 4],
        };
        let all = questions(&topic, &image);
        let count = |count| {
            Ok(Producers {
                count,
                described: Vec::new(),
            })
        };
        let gone = ErrorCode::NotLeaderOrFollower;
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let counts = [
            count(0),
            count(2_300),
            Err(unknown),
            count(600),
            Err(gone),
            count(1),
        ];
        let (mut all, total) = counted((all, counts.into()));
        assert_eq!(total, 2_901);
        let (mut first, mut rounds) = (0, Vec::new());
        loop {
            let (places, ranges) = next_ranges(&all, &mut first);
            if ranges.is_empty() {
                break;
            }
            let asked = places.iter().zip(&ranges);
            let asked = asked.map(|(&place, range)| (place, range.after, range.count_max));
            rounds.push(asked.collect::<Vec<_>>());
            for (place, range) in places.into_iter().zip(ranges) {
                let before = range.after.map_or(0, |id| id.0);
                let found = (1..).map(|number| (ProducerId(before + number), any_producer()));
                let found: Vec<_> = found.take(range.count_max).collect();
                all[place].as_mut().unwrap().take_in(&range, &found);
            }
        }
        let after = |id| Some(ProducerId(id));
        let expected = [
            vec![(1, None, 1_000)],
            vec![(1, after(1_000), 1_000)],
            vec![(1, after(2_000), 300), (3, None, 600), (5, None, 1)],
        ];
        assert_eq!(rounds, expected);
        let counts = all.iter().map(|asked| match asked {
            Ok(described) => Ok(described.producers.len()),
            Err(error) => Err(*error),
        });
        let expected = [Ok(0), Ok(2_300), Err(unknown), Ok(600), Err(gone), Ok(1)];
        assert_eq!(counts.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fewer_producers_than_were_counted_are_all_there_are() {
        let image = image_with(&[("t", 1)]);
        let partition = partition_by_name(&image, "t", 0).unwrap();
        let mut described = Described::nothing_of(partition);
        described.left = 5;
        let range = described.next(3);
        described.take_in(&range, &[(ProducerId(7), any_producer())]);
        assert_eq!((described.left, described.producers.len()), (0, 1));
    }

    fn any_producer() -> Producer {
        Producer {
            epoch: ProducerEpoch(3),
            window: Window::default(),
            last_timestamp: Timestamp(50),
            coordinator_epoch: -1,
            transaction_start: Some(Offset(7)),
            touched: Timestamp(60),
        }
    }
}
