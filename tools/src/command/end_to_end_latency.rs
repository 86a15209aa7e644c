//! `kafka-e2e-latency`: sends one record after the other and measures each one's way to a consumer.
//!
//! Kafka's tool lets its consumer ask without waiting (`fetch.max.wait.ms` 0) after each acknowledgement. librdkafka fetches all the time, so
//! the same setting would only keep both sides busy: here a fetch waits at the broker, which answers it when the record is visible.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use millrace_wire::Str;
use millrace_wire::message::create_topics::{CreateTopicsRequest, CreateTopicsRequestTopic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::time::Instant;

use super::{Failure, block_on};
use crate::admin::{Admin, AdminError, Target};
use crate::flags::missing;
use crate::measure::{self, fixed, millis, real};
use crate::properties::{self, Properties};
use crate::{clients, print};

/// Measures the way of single records from a producer to a consumer
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    /// The old way: BOOTSTRAP-SERVER TOPIC NUM-RECORDS PRODUCER-ACKS RECORD-SIZE [COMMAND-CONFIG]
    #[arg(value_name = "ARGUMENT", conflicts_with_all = ["bootstrap_server", "topic", "num_records", "producer_acks", "record_size"])]
    positional: Vec<String>,
    /// The brokers to connect to first
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_server: Option<String>,
    /// The topic; it is made with one partition if it is not there
    #[arg(long)]
    topic: Option<String>,
    /// How many records to send
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    num_records: Option<String>,
    /// Who has to have a record: 1 or all
    #[arg(long, value_name = "ACKS", allow_hyphen_values = true)]
    producer_acks: Option<String>,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    record_size: Option<String>,
    /// Bytes of a key; without, there is none
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    record_key_size: Option<i64>,
    /// How many headers a record has
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    num_headers: i64,
    /// Bytes of a header's key
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    record_header_key_size: i64,
    /// Bytes of a header's value; -1 for none
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    record_header_size: i64,
    /// Properties file for the clients
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
}

/// What the flags ask for, checked.
#[derive(Debug)]
struct Plan {
    servers: String,
    topic: String,
    records: usize,
    acks: String,
    shape: Shape,
    properties: Properties,
}

/// What a record looks like.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    value: usize,
    key: Option<usize>,
    headers: usize,
    header_key: usize,
    header_value: Option<usize>,
}

impl Flags {
    /// With the positional arguments in the place of the named ones.
    fn named(mut self) -> Result<Self, Failure> {
        let count = self.positional.len();
        if count == 0 {
            return Ok(self);
        }
        if !(5..=6).contains(&count) {
            return Err(Failure::Usage(format!(
                "Invalid number of arguments. Expected 5 or 6 positional arguments, but got {count}. Usage: bootstrap-server topic num-records producer-acks record-size [optional] command-config"
            )));
        }
        eprintln!(
            "WARNING: Positional argument usage is deprecated and will be removed in Apache Kafka 5.0. Please use named arguments instead: --bootstrap-server, --topic, --num-records, --producer-acks, --record-size, --command-config"
        );
        let mut given = std::mem::take(&mut self.positional).into_iter();
        self.bootstrap_server = given.next();
        self.topic = given.next();
        self.num_records = given.next();
        self.producer_acks = given.next();
        self.record_size = given.next();
        let file = given.next().filter(|file| !file.trim().is_empty());
        self.command_config = self.command_config.or(file.map(PathBuf::from));
        Ok(self)
    }

    fn plan(self) -> Result<Plan, Failure> {
        let flags = self.named()?;
        let servers = flags
            .bootstrap_server
            .ok_or_else(|| missing("bootstrap-server"))?;
        let topic = flags.topic.ok_or_else(|| missing("topic"))?;
        let records = flags.num_records.ok_or_else(|| missing("num-records"))?;
        let acks = flags
            .producer_acks
            .ok_or_else(|| missing("producer-acks"))?;
        let value = flags.record_size.ok_or_else(|| missing("record-size"))?;
        let records = number("num-records", &records, 1, "a positive integer")?;
        if !matches!(acks.as_str(), "1" | "all") {
            let text = "Invalid value for --producer-acks. Latency testing requires synchronous acknowledgement. Please use '1' or 'all'.";
            return Err(Failure::Usage(text.to_owned()));
        }
        let size = |name: &str, text: &str| number(name, text, 0, "a non-negative integer");
        let header_value = match flags.record_header_size {
            -1 => None,
            bytes => {
                let words = "a non-negative integer or -1 for null header value";
                Some(number("record-header-size", &bytes.to_string(), 0, words)?)
            }
        };
        let key = flags
            .record_key_size
            .map(|bytes| size("record-key-size", &bytes.to_string()));
        let shape = Shape {
            value: size("record-size", &value)?,
            key: key.transpose()?,
            headers: size("num-headers", &flags.num_headers.to_string())?,
            header_key: size(
                "record-header-key-size",
                &flags.record_header_key_size.to_string(),
            )?,
            header_value,
        };
        let mut properties = match &flags.command_config {
            Some(path) => properties::load(path)?,
            None => Properties::new(),
        };
        properties.insert("bootstrap.servers".to_owned(), servers.clone());
        Ok(Plan {
            servers,
            topic,
            records,
            acks,
            shape,
            properties,
        })
    }
}

fn number(name: &str, text: &str, least: usize, words: &str) -> Result<usize, Failure> {
    let value = text
        .parse()
        .ok()
        .filter(|value| (least..=NUMBER_MAX).contains(value));
    value.ok_or_else(|| Failure::Usage(format!("Value for --{name} must be {words}.")))
}

/// Java's largest int.
const NUMBER_MAX: usize = 0x7fff_ffff;

impl Plan {
    fn producer(&self) -> Result<ThreadedProducer<Delivered>, Failure> {
        let mut properties = measure::producer_defaults();
        properties.extend(self.properties.clone());
        properties.extend(measure::owned(&[("linger.ms", "0"), ("acks", &self.acks)]));
        measure::settle_idempotence(&mut properties);
        clients::create_with(&properties, |config| {
            config.create_with_context(Delivered::default())
        })
    }

    fn consumer(&self) -> Result<BaseConsumer, Failure> {
        let mut properties = measure::owned(&[
            ("isolation.level", "read_uncommitted"),
            ("socket.nagle.disable", "true"),
        ]);
        properties.extend(self.properties.clone());
        let group = format!("test-group-{}", clients::random_number());
        properties.extend(measure::owned(&[
            ("group.id", &group),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "latest"),
            ("fetch.min.bytes", "1"),
        ]));
        clients::settle_fetch_size(&mut properties);
        clients::create(&properties)
    }

    /// How many partitions the topic has; it is made if it is not there.
    async fn topic(&self, out: &mut dyn Write) -> Result<usize, Failure> {
        let mut admin = Admin::new(&self.servers, &self.properties)?;
        let names = [self.topic.clone()];
        if admin.topic_names(true).await?.contains(&self.topic) {
            let topics = admin.topics(Some(&names)).await?;
            return Ok(topics.first().map_or(1, |topic| topic.partitions.len()));
        }
        writeln!(
            out,
            "Topic \"{}\" does not exist. Will create topic with 1 partition(s) and replication factor = 1",
            self.topic
        )?;
        let request = CreateTopicsRequest {
            topics: vec![CreateTopicsRequestTopic {
                name: Str::from(&self.topic),
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            }],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let response = admin.ask(Target::Controller, &request).await?;
        for topic in &response.topics {
            let checked = AdminError::check(topic.error_code, topic.error_message.as_deref());
            if checked.is_err() {
                writeln!(out, "Creation of topic {} failed", self.topic)?;
            }
            checked?;
        }
        Ok(1)
    }
}

/// What became of the record on its way; librdkafka's thread says it.
#[derive(Debug, Default)]
struct Delivered {
    result: Mutex<Option<Result<(), KafkaError>>>,
    said: Condvar,
}

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let result = result.as_ref().map(|_| ());
        let result = result.map_err(|(error, _)| error.clone());
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.said.notify_one();
    }
}

impl Delivered {
    /// Waits for it. It comes in the end: librdkafka gives every record up some time.
    fn wait(&self) -> Result<(), KafkaError> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = result.take() {
                return result;
            }
            let woken = self.said.wait(result);
            result = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs the command.
pub(crate) fn run(flags: Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let plan = flags.plan()?;
    let consumer = plan.consumer()?;
    let producer = plan.producer()?;
    let mut partitions = 0;
    block_on(async {
        partitions = plan.topic(out).await?;
        Ok(())
    })?;
    out.flush()?;
    begin_at_the_end(&consumer, &plan.topic, partitions)?;
    let bar = print::progress(
        plan.records.try_into().unwrap_or_default(),
        "measuring",
        print::Unit::Pieces,
    );
    let mut letters = Letters(0);
    let mut total = Duration::ZERO;
    let mut latencies = Vec::new();
    for index in 0..plan.records {
        let record = Record::new(plan.shape, &mut letters);
        let begin = Instant::now();
        record.send(&producer, &plan.topic)?;
        let read = consumer.poll(POLL_TIMEOUT);
        let elapsed = begin.elapsed();
        let read = read
            .transpose()
            .map_err(|error| Failure::Text(clients::reason(&error)))?;
        let read = read.ok_or_else(|| {
            let timeout = POLL_TIMEOUT.as_millis();
            Failure::Text(format!(
                "poll() timed out before finding a result (timeout:[{timeout}ms])"
            ))
        })?;
        record.check(&read).map_err(Failure::Text)?;
        if let Some(Ok(_)) = consumer.poll(Duration::ZERO) {
            let text = "Only one result was expected during this test. We found [2]";
            return Err(Failure::Text(text.to_owned()));
        }
        if index % 1000 == 0 {
            writeln!(out, "{index}\t{:?}", elapsed.as_secs_f64() * 1000.0)?;
            out.flush()?;
        }
        bar.inc(1);
        total += elapsed;
        latencies.push(millis(elapsed));
    }
    bar.finish_and_clear();
    for line in results(total, latencies) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The same patience as Kafka's tool.
const POLL_TIMEOUT: Duration = Duration::from_secs(60);

/// Lets the consumer read what comes from now on. Where the end is gets asked beforehand: librdkafka would find out on
/// its own time, and miss the first record.
fn begin_at_the_end(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: usize,
) -> Result<(), Failure> {
    let failed = |error: KafkaError| Failure::Text(clients::reason(&error));
    let mut list = TopicPartitionList::new();
    for partition in (0..).take(partitions) {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition, POLL_TIMEOUT)
            .map_err(failed)?;
        list.add_partition_offset(topic, partition, Offset::Offset(end))
            .map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)
}

/// The average and the percentiles, in Kafka's words.
fn results(total: Duration, mut latencies: Vec<u64>) -> [String; 2] {
    latencies.sort_unstable();
    let at = |thousandths: usize| {
        latencies
            .get(latencies.len() * thousandths / 1000)
            .copied()
            .unwrap_or_default()
    };
    let count = u64::try_from(latencies.len()).unwrap_or(u64::MAX);
    let average = total.as_secs_f64() * 1000.0 / real(count);
    [
        format!("Avg latency: {} ms", fixed(average, 4)),
        format!(
            "Percentiles: 50th = {}, 99th = {}, 99.9th = {}",
            at(500),
            at(990),
            at(999)
        ),
    ]
}

/// A record to send, and to be compared with what is read.
#[derive(Debug)]
struct Record {
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    fn new(shape: Shape, letters: &mut Letters) -> Self {
        let mut bytes = |size: usize| vec![letters.next(); size];
        let key = shape.key.map(&mut bytes);
        let value = bytes(shape.value);
        let headers = (0..shape.headers).map(|_| {
            let key = String::from_utf8_lossy(&bytes(shape.header_key)).into_owned();
            (key, shape.header_value.map(&mut bytes))
        });
        let headers = headers.collect();
        Self {
            key,
            value,
            headers,
        }
    }

    /// Sends it and waits for its acknowledgement.
    fn send(&self, producer: &ThreadedProducer<Delivered>, topic: &str) -> Result<(), Failure> {
        let failed = |error: &KafkaError| Failure::Text(clients::reason(error));
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(&self.value);
        record.key = self.key.as_deref();
        if !self.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(self.headers.len());
            for (key, value) in &self.headers {
                headers = headers.insert(Header {
                    key,
                    value: value.as_ref(),
                });
            }
            record.headers = Some(headers);
        }
        producer.send(record).map_err(|(error, _)| failed(&error))?;
        let delivered = producer.context().wait();
        delivered.map_err(|error| failed(&error))
    }

    /// What is wrong with the record that was read, in Kafka's words.
    fn check(&self, read: &impl Message) -> Result<(), String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let value = read.payload().unwrap_or_default();
        if value != self.value {
            return Err(format!(
                "The message value read [{}] did not match the message value sent [{}]",
                text(value),
                text(&self.value)
            ));
        }
        match (&self.key, read.key()) {
            (None, None) => {}
            (None, Some(key)) => {
                return Err(format!(
                    "Expected null message key but received [{}]",
                    text(key)
                ));
            }
            (Some(_), None) => return Err("Expected message key but received null".to_owned()),
            (Some(sent), Some(read)) if sent == read => {}
            (Some(sent), Some(read)) => {
                return Err(format!(
                    "The message key read [{}] did not match the message key sent [{}]",
                    text(read),
                    text(sent)
                ));
            }
        }
        if self.headers.is_empty() {
            return Ok(());
        }
        let Some(headers) = read.headers() else {
            return Err("Expected message headers but received none".to_owned());
        };
        if headers.count() != self.headers.len() {
            return Err("Header count mismatch between sent and received messages".to_owned());
        }
        for (read, (key, value)) in headers.iter().zip(&self.headers) {
            if read.key != key || read.value != value.as_deref() {
                let words = |value: Option<&[u8]>| value.map_or("null".to_owned(), text);
                return Err(format!(
                    "The message header read [{}:{}] did not match the message header sent [{key}:{}]",
                    read.key,
                    words(read.value),
                    words(value.as_deref())
                ));
            }
        }
        Ok(())
    }
}

/// Letters, one after another in an order that looks like none: a linear congruential generator.
#[derive(Debug)]
struct Letters(u64);

impl Letters {
    fn next(&mut self) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        b'A' + u8::try_from((self.0 >> 33) % 26).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    fn plan(line: &str) -> Result<Plan, Failure> {
        let Program { flags } = Program::parse_from(["x"].into_iter().chain(line.split(' ')));
        flags.plan()
    }

    #[test]
    fn the_positional_way_is_the_named_way() {
        let old = plan("a:1 t 10 all 20").unwrap();
        let new = plan("--bootstrap-server a:1 --topic t --num-records 10 --producer-acks all --record-size 20").unwrap();
        for plan in [old, new] {
            assert_eq!(
                (
                    plan.servers.as_str(),
                    plan.topic.as_str(),
                    plan.acks.as_str()
                ),
                ("a:1", "t", "all")
            );
            assert_eq!(
                (plan.records, plan.shape.value, plan.shape.key),
                (10, 20, None)
            );
        }
    }

    #[test]
    fn wrong_arguments_are_refused_in_kafkas_words() {
        let base = "--bootstrap-server a:1 --topic t --num-records 10 --producer-acks all --record-size 20";
        for (line, text) in [
            (
                "a:1 t 10".to_owned(),
                "Expected 5 or 6 positional arguments, but got 3.",
            ),
            (
                "a:1 t 10 0 5".to_owned(),
                "Invalid value for --producer-acks.",
            ),
            (
                "a:1 t 0 1 5".to_owned(),
                "Value for --num-records must be a positive integer.",
            ),
            (
                "a:1 t 1 1 x".to_owned(),
                "Value for --record-size must be a non-negative integer.",
            ),
            (
                "--bootstrap-server a:1".to_owned(),
                "Missing required argument \"[topic]\"",
            ),
            (
                format!("{base} --num-headers -2"),
                "Value for --num-headers must be a non-negative integer.",
            ),
            (
                format!("{base} --record-header-size -2"),
                "or -1 for null header value.",
            ),
        ] {
            let error = plan(&line).unwrap_err().to_string();
            assert!(error.contains(text), "{line}: {error}");
        }
    }

    #[test]
    fn results_are_printed_in_kafkas_words() {
        let latencies = (0..1000).rev().collect();
        assert_eq!(
            results(Duration::from_micros(1_500_500), latencies),
            [
                "Avg latency: 1.5005 ms",
                "Percentiles: 50th = 500, 99th = 990, 99.9th = 999"
            ]
        );
    }

    #[test]
    fn a_record_that_comes_back_different_is_noticed() {
        let shape = Shape {
            value: 5,
            key: Some(2),
            headers: 1,
            header_key: 3,
            header_value: None,
        };
        let record = Record::new(shape, &mut Letters(0));
        let message = |key: Option<Vec<u8>>, value: &[u8], headers: OwnedHeaders| {
            let timestamp = Timestamp::NotAvailable;
            OwnedMessage::new(
                Some(value.to_vec()),
                key,
                "t".into(),
                timestamp,
                0,
                0,
                Some(headers),
            )
        };
        let headers = |value: Option<&str>| {
            OwnedHeaders::new().insert(Header {
                key: &record.headers[0].0,
                value,
            })
        };
        let check = |message: OwnedMessage| record.check(&message).unwrap_err();
        let same = message(record.key.clone(), &record.value, headers(None));
        assert_eq!(record.check(&same), Ok(()));
        let error = check(message(record.key.clone(), b"other", headers(None)));
        assert!(
            error.starts_with("The message value read [other]"),
            "{error}"
        );
        let error = check(message(None, &record.value, headers(None)));
        assert_eq!(error, "Expected message key but received null");
        let error = check(message(
            record.key.clone(),
            &record.value,
            headers(Some("x")),
        ));
        assert!(error.contains(":x] did not match"), "{error}");
    }
}
