//! `kafka-console-producer`: sends lines of the standard input as records.
//!
//! How a line becomes a record is in `line`; sending is librdkafka's.

mod line;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::Args;
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::Failure;
use crate::flags::missing;
use crate::properties::{self, Properties};
use crate::{clients, measure, print};
use line::LineReader;

/// Sends each line of the standard input as a record
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    /// The topic to send to
    #[arg(long)]
    topic: Option<String>,
    /// The brokers to connect to first
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_server: Option<String>,
    /// The same, under its old name
    #[arg(long, value_name = "HOST:PORT,...")]
    broker_list: Option<String>,
    /// Send one record at a time and wait for its acknowledgement
    #[arg(long)]
    sync: bool,
    /// none, gzip, snappy, lz4 or zstd; gzip if no name follows
    #[arg(long, value_name = "CODEC", num_args = 0..=1, default_missing_value = "gzip")]
    compression_codec: Option<String>,
    /// Bytes a batch of one partition may have
    #[arg(long, value_name = "BYTES")]
    batch_size: Option<u64>,
    /// The same; counts more than --batch-size
    #[arg(long, value_name = "BYTES")]
    max_partition_memory_bytes: Option<u64>,
    /// How often a batch is sent again before it is given up (retries) [default: 3]
    #[arg(long, value_name = "COUNT")]
    message_send_max_retries: Option<u32>,
    /// Pause before sending again (retry.backoff.ms) [default: 100]
    #[arg(long, value_name = "MS")]
    retry_backoff_ms: Option<u64>,
    /// How long a record may wait for others to fill a batch (linger.ms) [default: 1000]
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    /// Who has to have a record: all (or -1), 1, or nobody: 0 [default: -1]
    #[arg(long, value_name = "ACKS", allow_hyphen_values = true)]
    request_required_acks: Option<String>,
    /// How long the brokers may take for the acknowledgement [default: 1500]
    #[arg(long, value_name = "MS")]
    request_timeout_ms: Option<u64>,
    /// How old knowledge about the cluster may get (metadata.max.age.ms) [default: 300000]
    #[arg(long, value_name = "MS")]
    metadata_expiry_ms: Option<u64>,
    /// How long to wait for room when records leave slower than they come (max.block.ms) [default: 60000]
    #[arg(long, value_name = "MS")]
    max_block_ms: Option<u64>,
    /// Memory for records that wait to be sent (buffer.memory) [default: 33554432]
    #[arg(long, value_name = "BYTES")]
    max_memory_bytes: Option<u64>,
    /// Size of the socket's send buffer; -1 for the system's (send.buffer.bytes) [default: 102400]
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    socket_buffer_size: Option<i32>,
    /// How to read lines: the LineMessageReader is the only one
    #[arg(long, value_name = "CLASS")]
    line_reader: Option<String>,
    /// How to read lines, as name=value: parse.key, key.separator, parse.headers, headers.delimiter, headers.separator,
    /// headers.key.separator, null.marker, ignore.error; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    reader_property: Vec<String>,
    /// The same, under its old name
    #[arg(long, value_name = "NAME=VALUE")]
    property: Vec<String>,
    /// Properties file with such properties
    #[arg(long, value_name = "FILE")]
    reader_config: Option<PathBuf>,
    /// A property of the producer, as name=value; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    command_property: Vec<String>,
    /// The same, under its old name
    #[arg(long, value_name = "NAME=VALUE")]
    producer_property: Vec<String>,
    /// Properties file for the producer
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// The same, under its old name
    #[arg(long = "producer.config", value_name = "FILE")]
    producer_config: Option<PathBuf>,
}

impl Flags {
    /// The producer's configuration: flags that were given, then --producer-property, then the file, then defaults.
    fn producer_properties(&self) -> Result<Properties, Failure> {
        let servers = self.bootstrap_server.as_ref().or(self.broker_list.as_ref());
        let servers = servers.ok_or_else(|| missing("bootstrap-server"))?;
        let mut properties: Properties = [
            ("client.id", "console-producer"),
            ("acks", "-1"),
            ("linger.ms", "1000"),
            ("batch.size", "16384"),
            ("max.request.size", "1048576"),
            ("retries", "3"),
            ("retry.backoff.ms", "100"),
            ("request.timeout.ms", "1500"),
            ("metadata.max.age.ms", "300000"),
            ("buffer.memory", "33554432"),
            ("send.buffer.bytes", "102400"),
            ("delivery.timeout.ms", "120000"),
            ("max.block.ms", "60000"),
            // As Java's clients place keys.
            ("partitioner", "murmur2_random"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if let Some(path) = self
            .command_config
            .as_ref()
            .or(self.producer_config.as_ref())
        {
            properties.extend(properties::load(path)?);
        }
        properties.extend(properties::from_flags(&self.producer_property));
        properties.extend(properties::from_flags(&self.command_property));
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        let batch = self.max_partition_memory_bytes.or(self.batch_size);
        let given = [
            ("acks", self.request_required_acks.clone()),
            ("linger.ms", text(self.timeout)),
            ("batch.size", text(batch)),
            (
                "retries",
                text(self.message_send_max_retries.map(u64::from)),
            ),
            ("retry.backoff.ms", text(self.retry_backoff_ms)),
            ("request.timeout.ms", text(self.request_timeout_ms)),
            ("metadata.max.age.ms", text(self.metadata_expiry_ms)),
            ("buffer.memory", text(self.max_memory_bytes)),
            (
                "send.buffer.bytes",
                self.socket_buffer_size.map(|bytes| bytes.to_string()),
            ),
            ("max.block.ms", text(self.max_block_ms)),
            ("compression.type", self.compression_codec.clone()),
        ];
        let given = given.into_iter();
        properties
            .extend(given.filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))));
        properties.insert("bootstrap.servers".to_owned(), servers.clone());
        measure::settle_idempotence(&mut properties);
        Ok(properties)
    }

    fn line_reader(&self) -> Result<LineReader, Failure> {
        // In older versions of Kafka it is an inner class.
        let is_known = |class: &str| class.rsplit(['.', '$']).next() == Some("LineMessageReader");
        if let Some(class) = self.line_reader.as_deref().filter(|class| !is_known(class)) {
            let text = format!("Line reader {class} is not supported, LineMessageReader is");
            return Err(Failure::Text(text));
        }
        let mut properties = match &self.reader_config {
            Some(path) => properties::load(path)?,
            None => Properties::new(),
        };
        properties.extend(properties::from_flags(&self.property));
        properties.extend(properties::from_flags(&self.reader_property));
        LineReader::new(&properties)
    }
}

/// Counts what was not delivered, and says why.
#[derive(Debug, Default)]
struct Deliveries {
    failed: AtomicU64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            self.fail(message.topic(), message.key(), message.payload(), error);
        }
    }
}

impl Deliveries {
    fn fail(&self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, error: &KafkaError) {
        let size = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => format!("{} bytes", bytes.len()),
            None => "null".to_owned(),
        };
        let text = format!(
            "ERROR Error when sending message to topic {topic} with key: {}, value: {} with error: {}",
            size(key),
            size(value),
            clients::reason(error)
        );
        eprintln!("{text}");
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the command.
pub(crate) fn run(flags: &Flags) -> Result<(), Failure> {
    let topic = flags.topic.as_deref().ok_or_else(|| missing("topic"))?;
    let reader = flags.line_reader()?;
    let properties = flags.producer_properties()?;
    let block_max = properties::millis(&properties, "max.block.ms")?.unwrap_or_default();
    let producer: ThreadedProducer<Deliveries> = clients::create::<Created>(&properties)?.0;
    let stop = clients::stop_flag();
    let prompt = io::stdin().is_terminal();
    let bar = print::progress(0, "sending", print::Unit::Bytes);
    let lines = lines();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        if prompt {
            print!(">");
            io::stdout().flush()?;
        }
        let Some(line) = next(&lines, &stop) else {
            break;
        };
        let line = line.map_err(|error| Failure::Text(format!("standard input: {error}")))?;
        bar.inc(u64::try_from(line.len()).unwrap_or_default());
        number += 1;
        let text = without_end(&line);
        let record = reader.parse(text, number).map_err(Failure::Text);
        let sent = record.and_then(|record| send(&producer, topic, &record, flags.sync, block_max));
        if let Err(failure) = sent {
            // What was read before is not lost.
            finish(&producer, &properties)?;
            return Err(failure);
        }
    }
    bar.finish_and_clear();
    finish(&producer, &properties)?;
    match producer.context().failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(Failure::Reported),
    }
}

/// The lines of the standard input, read beside the rest: a signal is to end the program while it waits for one, too, after what it
/// has read is sent.
fn lines() -> Receiver<io::Result<Vec<u8>>> {
    let (sender, lines) = mpsc::sync_channel(LINES_AHEAD);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line);
            if matches!(read, Ok(0)) {
                return;
            }
            let is_last = read.is_err();
            if sender.send(read.map(|_| line)).is_err() || is_last {
                return;
            }
        }
    });
    lines
}

/// The next line; none when there are no more, or the program is to end.
fn next(lines: &Receiver<io::Result<Vec<u8>>>, stop: &AtomicBool) -> Option<io::Result<Vec<u8>>> {
    loop {
        match lines.recv_timeout(STOP_PAUSE) {
            Ok(line) => return Some(line),
            Err(RecvTimeoutError::Timeout) if !stop.load(Ordering::Relaxed) => {}
            Err(_) => return None,
        }
    }
}

/// How many lines are read before they are asked for.
const LINES_AHEAD: usize = 1_000;
/// How long to wait for a line before looking whether to end.
const STOP_PAUSE: Duration = Duration::from_millis(100);

fn send(
    producer: &ThreadedProducer<Deliveries>,
    topic: &str,
    line: &line::Line<'_>,
    sync: bool,
    block_max: Duration,
) -> Result<(), Failure> {
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
    record.key = line.key;
    record.payload = line.value;
    if !line.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(line.headers.len());
        for (key, value) in &line.headers {
            headers = headers.insert(Header { key, value: *value });
        }
        record.headers = Some(headers);
    }
    let mut waited = Duration::ZERO;
    while let Err((error, rejected)) = producer.send(record) {
        let full = error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        if !full || waited >= block_max {
            let is_fatal = error == KafkaError::MessageProduction(RDKafkaErrorCode::Fatal);
            if sync || is_fatal {
                return Err(Failure::Text(clients::reason(&error)));
            }
            // As what is not delivered later on: the next records may well be.
            let deliveries = producer.context();
            deliveries.fail(topic, line.key, line.value, &error);
            return Ok(());
        }
        // Only what is being sent makes room; flush waits for it.
        let _ = producer.flush(ROOM_PAUSE);
        waited += ROOM_PAUSE;
        record = rejected;
    }
    if sync {
        let flushed = producer.flush(SYNC_TIMEOUT);
        flushed.map_err(|error| Failure::Text(clients::reason(&error)))?;
        if producer.context().failed.load(Ordering::Relaxed) > 0 {
            return Err(Failure::Reported);
        }
    }
    Ok(())
}

/// How long to wait before looking for room again.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Longer than any delivery may take: the delivery timeout ends it.
const SYNC_TIMEOUT: Duration = Duration::from_secs(3600);

/// Waits until everything is delivered or given up.
fn finish(producer: &ThreadedProducer<Deliveries>, properties: &Properties) -> Result<(), Failure> {
    producer
        .flush(clients::delivery_time_max(properties))
        .map_err(|error| Failure::Text(clients::reason(&error)))
}

/// The producer, made the way [`clients::create`] makes clients.
struct Created(ThreadedProducer<Deliveries>);

impl FromClientConfig for Created {
    fn from_config(config: &rdkafka::ClientConfig) -> Result<Self, KafkaError> {
        config.create_with_context(Deliveries::default()).map(Self)
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn flags_come_before_properties_and_those_before_defaults() {
        let line = "x --broker-list a:1 --timeout 7 --producer-property linger.ms=9 --producer-property retry.backoff.ms=250 --compression-codec lz4";
        let Program { flags } = Program::parse_from(line.split(' '));
        let properties = flags.producer_properties().unwrap();
        assert_eq!(properties["bootstrap.servers"], "a:1");
        assert_eq!(properties["linger.ms"], "7");
        assert_eq!(properties["retry.backoff.ms"], "250");
        assert_eq!(properties["batch.size"], "16384");
        assert_eq!(properties["compression.type"], "lz4");
        assert_eq!(properties["enable.idempotence"], "true");
        assert_eq!(properties["max.block.ms"], "60000");
        assert!(clients::create::<Created>(&properties).is_ok());
    }

    #[test]
    fn more_requests_in_flight_than_an_idempotent_producer_may_have_are_no_error() {
        let idempotent = |count: &str| {
            let name = "max.in.flight.requests.per.connection";
            let line = format!("x --broker-list a:1 --producer-property {name}={count}");
            let Program { flags } = Program::parse_from(line.split(' '));
            let properties = flags.producer_properties().unwrap();
            assert!(clients::create::<Created>(&properties).is_ok(), "{count}");
            properties["enable.idempotence"].clone()
        };
        assert_eq!(idempotent("5"), "true");
        assert_eq!(idempotent("6"), "false");
    }

    #[test]
    fn how_long_to_wait_for_room_is_a_flag_and_a_property() {
        let wait = |rest: &str| {
            let line = format!("x --broker-list a:1 --producer-property max.block.ms={rest}");
            let Program { flags } = Program::parse_from(line.split(' '));
            properties::millis(&flags.producer_properties().unwrap(), "max.block.ms")
        };
        assert_eq!(wait("700").unwrap(), Some(Duration::from_millis(700)));
        assert_eq!(
            wait("700 --max-block-ms 5").unwrap(),
            Some(Duration::from_millis(5))
        );
        assert!(wait("soon").is_err());
    }

    #[test]
    fn the_line_reader_may_be_named_and_the_buffer_left_to_the_system() {
        let reader = |class: &str| {
            let line = format!("x --line-reader {class} --socket-buffer-size -1 --broker-list a:1");
            let Program { flags } = Program::parse_from(line.split(' '));
            let properties = flags.producer_properties().unwrap();
            assert_eq!(properties["send.buffer.bytes"], "-1");
            assert!(clients::create::<Created>(&properties).is_ok());
            flags.line_reader().map(|_| ())
        };
        assert!(reader("org.apache.kafka.tools.LineMessageReader").is_ok());
        assert!(reader("kafka.tools.ConsoleProducer$LineMessageReader").is_ok());
        assert_eq!(
            reader("com.example.Mine").unwrap_err().to_string(),
            "Line reader com.example.Mine is not supported, LineMessageReader is"
        );
    }

    #[test]
    fn lines_end_as_on_unix_or_windows() {
        assert_eq!(without_end(b"a\r\n"), b"a");
        assert_eq!(without_end(b"a\n"), b"a");
        assert_eq!(without_end(b"a"), b"a");
    }
}
