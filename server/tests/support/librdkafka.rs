//! librdkafka clients, set up for tests, and what they deliver.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::PATIENCE;
use super::broker::Broker;

/// A configuration that points at the broker.
pub(crate) fn config(broker: &Broker, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.address().to_string())
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("retry.backoff.max.ms", "200")
        .set("topic.metadata.refresh.fast.interval.ms", "50");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

/// Runs one future to its end.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// An admin client.
pub(crate) fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    config(broker, &[]).create().expect("an admin client")
}

/// Options with a deadline.
pub(crate) fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

/// Creates one topic and says what came of it.
pub(crate) fn try_create_topic(
    broker: &Broker,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Result<(), RDKafkaErrorCode> {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let created = wait(admin(broker).create_topics([&topic], &options())).expect("an answer");
    created
        .into_iter()
        .next()
        .expect("one result")
        .map(drop)
        .map_err(|(_, code)| code)
}

/// Creates one topic.
pub(crate) fn create_topic(broker: &Broker, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    try_create_topic(broker, name, partitions, configs).expect("a new topic");
}

/// One sent record's fate: its place, or why there is none.
pub(crate) type Delivery = Result<(i32, i64), KafkaError>;

/// Keeps what became of each record.
#[derive(Default)]
pub(crate) struct Deliveries {
    reported: Mutex<Vec<(usize, Delivery)>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let delivery = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.reported
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((number, delivery));
    }
}

/// A producer whose reports are kept.
pub(crate) struct Sender {
    producer: ThreadedProducer<Deliveries>,
}

impl Sender {
    /// A producer that batches a little.
    pub(crate) fn new(broker: &Broker, settings: &[(&str, &str)]) -> Self {
        let mut config = config(broker, &[("linger.ms", "2")]);
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let producer = ThreadedProducer::from_config_and_context(&config, Deliveries::default())
            .expect("a producer");
        Self { producer }
    }

    /// Hands a record over under a number; waits while the queue is full.
    pub(crate) fn send<'a>(&self, mut record: BaseRecord<'a, str, [u8], usize>) -> KafkaResult<()> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Hands over a value for a partition under a number.
    pub(crate) fn send_value(&self, topic: &str, partition: i32, number: usize, value: &str) {
        let record = BaseRecord::with_opaque_to(topic, number)
            .partition(partition)
            .payload(value.as_bytes());
        self.send(record).expect("a record that is taken");
    }

    /// What has been reported since this was last asked.
    pub(crate) fn take_reported(&self) -> Vec<(usize, Delivery)> {
        let context = self.producer.context();
        std::mem::take(
            &mut *context
                .reported
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Waits for all reports; in the order of the numbers.
    pub(crate) fn finish(&self) -> Vec<(usize, Delivery)> {
        self.producer
            .flush(PATIENCE)
            .expect("all records are reported on");
        let mut reported = self.take_reported();
        reported.sort_by_key(|(number, _)| *number);
        reported
    }

    /// Waits for all reports and demands that all records arrived; their places in the order of the numbers.
    pub(crate) fn finish_well(&self) -> Vec<(i32, i64)> {
        let reported = self.finish();
        reported
            .into_iter()
            .map(|(number, delivery)| {
                delivery.unwrap_or_else(|error| panic!("record {number} did not arrive: {error}"))
            })
            .collect()
    }
}

/// A consumer of a group that reads from the start and commits when told to.
pub(crate) fn consumer(broker: &Broker, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    consumer_config(broker, group, settings)
        .create()
        .expect("a consumer")
}

/// The configuration of [`consumer`].
pub(crate) fn consumer_config(
    broker: &Broker,
    group: &str,
    settings: &[(&str, &str)],
) -> ClientConfig {
    let mut config = config(
        broker,
        &[
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "200"),
            ("fetch.wait.max.ms", "100"),
            ("fetch.error.backoff.ms", "50"),
        ],
    );
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

/// Takes `count` messages, in the order they come.
pub(crate) fn take<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    count: usize,
) -> Vec<OwnedMessage> {
    let deadline = Instant::now() + PATIENCE;
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => taken.push(message.detach()),
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => panic!("after {} messages: {error}", taken.len()),
            None => {}
        }
        let passed = Instant::now() > deadline;
        assert!(
            !passed,
            "{} of {count} messages came within {PATIENCE:?}",
            taken.len()
        );
    }
    taken
}

/// Whether a consumer goes on by itself after the error.
pub(crate) fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
        )
    )
}

/// The partitions a consumer has, sorted.
pub(crate) fn assigned<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Vec<(String, i32)> {
    let assignment = consumer.assignment().expect("an assignment");
    let mut partitions: Vec<_> = assignment
        .elements()
        .iter()
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect();
    partitions.sort();
    partitions
}

/// The text of a message.
pub(crate) fn text(message: &OwnedMessage) -> String {
    String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
}
