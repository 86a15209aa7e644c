//! `kafka-producer-perf-test`: sends records as fast as they are taken, or at a given rate, and says how fast that was.
//!
//! What is counted and printed is in `stats`, what is sent in `payload`; sending is librdkafka's. Unlike Kafka's tool it
//! ends with exit code 1 if records could not be delivered.

mod payload;
mod stats;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::time::Instant;

use super::Failure;
use crate::clients;
use crate::measure::{self, STATISTICS_INTERVAL, Statistics, millis, pause, real};
use crate::properties::{self, Properties};
use payload::Payloads;
use stats::Stats;

/// Measures how fast records can be produced
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    /// The brokers to connect to first; counts more than bootstrap.servers among the properties
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_server: Option<String>,
    /// The topic to send to
    #[arg(long)]
    topic: Option<String>,
    /// How many records to send
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    num_records: Option<i64>,
    /// Bytes of a record
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    record_size: Option<i64>,
    /// A text file with values, of which each record has one, chosen at random
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// What separates the values in the file, as a regular expression
    #[arg(
        long,
        value_name = "DELIMITER",
        default_value = "\\n",
        allow_hyphen_values = true
    )]
    payload_delimiter: String,
    /// Let the values be 0, 1, 2 and so on
    #[arg(long)]
    payload_monotonic: bool,
    /// About how many records to send per second; -1 for no limit
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    throughput: Option<f64>,
    /// Properties of the producer, as name=value name=value ...
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    command_property: Vec<String>,
    /// The same, under its old name
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    producer_props: Vec<String>,
    /// Properties file for the producer
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// The same, under its old name
    #[arg(long = "producer.config", value_name = "FILE")]
    producer_config: Option<PathBuf>,
    /// Print the client's metrics at the end
    #[arg(long)]
    print_metrics: bool,
    /// Needs transactions, which are not there yet
    #[arg(long, value_name = "ID")]
    transactional_id: Option<String>,
    /// Needs transactions, which are not there yet
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    transaction_duration_ms: Option<i64>,
    /// So many of the first records are left out of a second summary
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    warmup_records: i64,
    /// How often to say how it goes
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 5000,
        allow_hyphen_values = true
    )]
    reporting_interval: i64,
}

/// What the flags ask for, checked.
#[derive(Debug)]
struct Plan {
    topic: String,
    records: u64,
    warmup: u64,
    throughput: f64,
    reporting_interval_ms: u64,
    block_max: Duration,
    properties: Properties,
}

impl Flags {
    fn plan(&self) -> Result<Plan, Failure> {
        let usage = |text: &str| {
            let text = format!("kafka-producer-perf-test: error: {text}");
            Failure::Usage(text)
        };
        let required = |name: &str| usage(&format!("argument --{name} is required"));
        let topic = self.topic.clone().ok_or_else(|| required("topic"))?;
        let records = self.num_records.ok_or_else(|| required("num-records"))?;
        let throughput = self.throughput.ok_or_else(|| required("throughput"))?;
        let payloads = [
            self.record_size.is_some(),
            self.payload_file.is_some(),
            self.payload_monotonic,
        ];
        if payloads.iter().filter(|given| **given).count() != 1 {
            return Err(usage(
                "one of the arguments --record-size --payload-file --payload-monotonic is required, and only one",
            ));
        }
        if records <= 0 {
            return Err(usage("--num-records should be greater than zero."));
        }
        let warmup = self.warmup_records.max(0);
        if warmup >= records {
            return Err(usage(
                "The value for --warmup-records must be strictly fewer than the number of records in the test, --num-records.",
            ));
        }
        if self.record_size.is_some_and(|size| size <= 0) {
            return Err(usage("--record-size should be greater than zero."));
        }
        if self.reporting_interval <= 0 {
            return Err(usage("--reporting-interval should be greater than zero."));
        }
        if throughput.is_nan() {
            return Err(usage("argument --throughput: could not convert 'NaN'"));
        }
        let properties = self
            .producer_properties()
            .map_err(|failure| match failure {
                Failure::Usage(text) => usage(&text),
                failure => failure,
            })?;
        let block_max = properties
            .get("max.block.ms")
            .and_then(|ms| ms.trim().parse().ok());
        Ok(Plan {
            topic,
            records: records.unsigned_abs(),
            warmup: warmup.unsigned_abs(),
            throughput,
            reporting_interval_ms: self.reporting_interval.unsigned_abs(),
            block_max: Duration::from_millis(block_max.unwrap_or(60_000)),
            properties,
        })
    }

    /// The producer's configuration: --bootstrap-server, then the properties, then the file, then Java's defaults.
    fn producer_properties(&self) -> Result<Properties, Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        if !self.command_property.is_empty() && !self.producer_props.is_empty() {
            return usage("--command-property and --producer-props cannot be specified together.");
        }
        if self.command_config.is_some() && self.producer_config.is_some() {
            return usage("--command-config and --producer.config cannot be specified together.");
        }
        let flags = [&self.command_property[..], &self.producer_props[..]].concat();
        let file = self
            .command_config
            .as_ref()
            .or(self.producer_config.as_ref());
        if self.bootstrap_server.is_none() && flags.is_empty() && file.is_none() {
            return usage(
                "At least one of --bootstrap-server, --command-property, --producer-props, --producer.config or --command-config must be specified.",
            );
        }
        if let Some(wrong) = flags.iter().find(|flag| !flag.contains('=')) {
            return Err(Failure::Text(format!("Invalid property: {wrong}")));
        }
        let mut properties = measure::producer_defaults();
        properties.insert("client.id".to_owned(), CLIENT_ID.to_owned());
        if let Some(path) = file {
            properties.extend(properties::load(path)?);
        }
        properties.extend(properties::from_flags(&flags));
        if let Some(servers) = &self.bootstrap_server {
            properties.insert("bootstrap.servers".to_owned(), servers.clone());
        }
        if !properties.contains_key("bootstrap.servers") {
            return Err(Failure::Text(
                "No resolvable bootstrap urls given in bootstrap.servers".to_owned(),
            ));
        }
        if self.transactional_id.is_some()
            || self.transaction_duration_ms.is_some()
            || properties.contains_key("transactional.id")
        {
            return Err(Failure::Text(
                "Transactions are not supported yet: leave out --transactional-id, --transaction-duration-ms and transactional.id.".to_owned(),
            ));
        }
        measure::settle_idempotence(&mut properties);
        if self.print_metrics {
            properties.insert(
                "statistics.interval.ms".to_owned(),
                STATISTICS_INTERVAL.as_millis().to_string(),
            );
        }
        Ok(properties)
    }

    fn payloads(&self, out: &mut dyn Write) -> Result<Payloads, Failure> {
        if let Some(path) = &self.payload_file {
            let absolute = std::path::absolute(path);
            let absolute = absolute.map_err(|error| Failure::file(path, &error))?;
            writeln!(out, "Reading payloads from: {}", absolute.display())?;
            let payloads = Payloads::from_file(path, &self.payload_delimiter)?;
            writeln!(out, "Number of records read: {}", payloads.count())?;
            return Ok(payloads);
        }
        match self.record_size {
            Some(size) => {
                let size = usize::try_from(size)
                    .ok()
                    .filter(|size| *size <= RECORD_SIZE_MAX);
                let size = size.ok_or_else(|| {
                    Failure::Text(format!("--record-size is more than {RECORD_SIZE_MAX}"))
                })?;
                Ok(Payloads::random(size))
            }
            None => Ok(Payloads::monotonic()),
        }
    }
}

const CLIENT_ID: &str = "perf-producer-client";

/// librdkafka's largest record.
const RECORD_SIZE_MAX: usize = 1_000_000_000;

/// What the deliveries are told to: librdkafka's thread counts, the thread that sends prints.
#[derive(Debug)]
struct Deliveries {
    begin: Instant,
    counted: Mutex<Counted>,
    /// Whether `counted` has lines to be printed.
    lines: AtomicBool,
    failed: AtomicU64,
    statistics: Statistics,
}

#[derive(Debug)]
struct Counted {
    total: Stats,
    /// Of the records after the warm-up, once the first of them was sent.
    steady: Option<Stats>,
    lines: Vec<String>,
}

impl Deliveries {
    fn new(plan: &Plan) -> Self {
        let counted = Counted {
            total: Stats::new(0, plan.reporting_interval_ms),
            steady: None,
            lines: Vec::new(),
        };
        Self {
            begin: Instant::now(),
            counted: Mutex::new(counted),
            lines: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            statistics: Statistics::default(),
        }
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the run began.
    fn now_ms(&self) -> u64 {
        millis(self.begin.elapsed())
    }

    /// Prints what there is to say about the last seconds.
    fn print_lines(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if self.lines.swap(false, Ordering::Relaxed) {
            let lines = std::mem::take(&mut self.counted().lines);
            for line in lines {
                writeln!(out, "{line}")?;
            }
            out.flush()?;
        }
        Ok(())
    }
}

impl ClientContext for Deliveries {
    fn stats_raw(&self, statistics: &[u8]) {
        self.statistics.keep(statistics);
    }
}

impl ProducerContext for Deliveries {
    /// When the record was sent, see [`Sent`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let message = match result {
            Ok(message) => message,
            Err((error, message)) => {
                if self.failed.fetch_add(1, Ordering::Relaxed) < FAILURES_SHOWN {
                    let topic = message.topic();
                    eprintln!(
                        "ERROR A record for topic {topic} was not delivered: {}",
                        clients::reason(error)
                    );
                }
                return;
            }
        };
        let sent = Sent::from(opaque);
        let now_ms = self.now_ms();
        let latency_ms = now_ms.saturating_sub(sent.at_ms);
        let bytes = message.payload().map_or(0, <[u8]>::len);
        let mut counted = self.counted();
        let Counted {
            total,
            steady,
            lines,
        } = &mut *counted;
        let before = lines.len();
        lines.extend(total.record(latency_ms, bytes, now_ms));
        if let Some(steady) = steady.as_mut().filter(|_| sent.steady) {
            lines.extend(steady.record(latency_ms, bytes, now_ms));
        }
        if lines.len() > before {
            self.lines.store(true, Ordering::Relaxed);
        }
    }
}

/// So many failures are said one by one; how many there were is said at the end.
const FAILURES_SHOWN: u64 = 10;

/// What travels with a record to its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    /// Milliseconds since the run began.
    at_ms: u64,
    /// Whether the warm-up was over.
    steady: bool,
}

impl From<usize> for Sent {
    fn from(opaque: usize) -> Self {
        Self {
            at_ms: u64::try_from(opaque >> 1).unwrap_or_default(),
            steady: opaque & 1 == 1,
        }
    }
}

impl From<Sent> for usize {
    fn from(sent: Sent) -> Self {
        Self::try_from(sent.at_ms).unwrap_or_default() << 1 | Self::from(sent.steady)
    }
}

/// Runs the command.
pub(crate) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let plan = flags.plan()?;
    let mut payloads = flags.payloads(out)?;
    let producer = clients::create_with(&plan.properties, |config| {
        config.create_with_context(Deliveries::new(&plan))
    })?;
    if plan.warmup > 0 {
        writeln!(
            out,
            "Warmup first {} records. Steady state results will print after the complete test summary.",
            plan.warmup
        )?;
    }
    out.flush()?;
    let result = send_all(&plan, &producer, &mut payloads, out);
    finish(&plan, &producer, out)?;
    result?;
    let context = producer.context();
    let now_ms = context.now_ms();
    {
        let mut counted = context.counted();
        writeln!(out, "{}", counted.total.summary(now_ms))?;
        if let Some(steady) = &mut counted.steady {
            writeln!(out, "{}", steady.summary(now_ms))?;
        }
    }
    out.flush()?;
    if flags.print_metrics {
        let client_id = plan
            .properties
            .get("client.id")
            .map_or(CLIENT_ID, String::as_str);
        let wait = || pause(SLICE);
        context.statistics.print("producer", client_id, wait, out)?;
    }
    match context.failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        count => Err(Failure::Text(format!("{count} records were not delivered"))),
    }
}

fn send_all(
    plan: &Plan,
    producer: &ThreadedProducer<Deliveries>,
    payloads: &mut Payloads,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let context = producer.context();
    for index in 0..plan.records {
        let payload = payloads.next(index);
        let steady = plan.warmup > 0 && index >= plan.warmup;
        let at_ms = context.now_ms();
        if steady && index == plan.warmup {
            let mut counted = context.counted();
            counted.steady = Some(Stats::steady(at_ms, plan.reporting_interval_ms));
            counted.total.hush();
        }
        let opaque = usize::from(Sent { at_ms, steady });
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&plan.topic, opaque).payload(payload);
        let mut full_since = None;
        while let Err((error, rejected)) = producer.send(record) {
            let since = *full_since.get_or_insert_with(Instant::now);
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(Failure::Text(clients::reason(&error)));
            }
            if since.elapsed() >= plan.block_max {
                return Err(Failure::Text(format!(
                    "Failed to allocate {} bytes within the configured max blocking time {} ms.",
                    payload.len(),
                    plan.block_max.as_millis()
                )));
            }
            context.print_lines(out)?;
            pause(ROOM_PAUSE);
            record = rejected;
        }
        context.print_lines(out)?;
        while let Some(early) = early_by(plan.throughput, index + 1, context.begin.elapsed()) {
            pause(early.min(SLICE));
            context.print_lines(out)?;
        }
    }
    Ok(())
}

/// How long to wait before looking for room again.
const ROOM_PAUSE: Duration = Duration::from_millis(1);

/// The longest wait without looking for lines to print.
const SLICE: Duration = Duration::from_millis(50);

/// How long to wait until `sent` records are due at this rate; `None` if that is not worth it.
fn early_by(throughput: f64, sent: u64, elapsed: Duration) -> Option<Duration> {
    if throughput < 0.0 {
        return None;
    }
    let due = Duration::try_from_secs_f64(real(sent) / throughput).unwrap_or(Duration::MAX);
    due.checked_sub(elapsed).filter(|early| *early >= PAUSE_MIN)
}

/// Shorter waits are gathered into longer ones, for a timer is no better than that.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// Waits until everything is delivered or given up.
fn finish(
    plan: &Plan,
    producer: &ThreadedProducer<Deliveries>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let timeout = clients::delivery_time_max(&plan.properties);
    let begin = Instant::now();
    loop {
        let flushed = producer.flush(SLICE);
        producer.context().print_lines(out)?;
        match flushed {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() >= timeout => {
                return Err(Failure::Text(clients::reason(&error)));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(infer_long_args = true)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    fn plan(line: &str) -> Result<Plan, Failure> {
        let Program { flags } = Program::parse_from(["x"].into_iter().chain(line.split(' ')));
        flags.plan()
    }

    const LINE: &str = "--topic t --num-records 10 --record-size 100 --throughput -1";

    #[test]
    fn several_properties_follow_one_flag_and_javas_defaults_hold_for_the_others() {
        let plan = plan(&format!(
            "{LINE} --producer-props bootstrap.servers=a:1 acks=1 linger.ms=0"
        ))
        .unwrap();
        assert_eq!(plan.properties["bootstrap.servers"], "a:1");
        assert_eq!(plan.properties["linger.ms"], "0");
        assert_eq!(plan.properties["batch.size"], "16384");
        assert_eq!(plan.properties["enable.idempotence"], "false");
        assert_eq!(plan.properties["client.id"], "perf-producer-client");
        assert!(plan.throughput < 0.0);
    }

    #[test]
    fn the_server_flag_counts_more_than_the_property() {
        let line =
            format!("{LINE} --command-property bootstrap.servers=a:1 --bootstrap-server b:2");
        assert_eq!(plan(&line).unwrap().properties["bootstrap.servers"], "b:2");
    }

    #[test]
    fn wrong_flags_are_refused_in_kafkas_words() {
        let server = "--bootstrap-server a:1";
        for (line, text) in [
            (LINE.to_owned(), "At least one of --bootstrap-server"),
            (
                format!("{LINE} {server} --warmup-records 10"),
                "strictly fewer",
            ),
            (
                format!("{LINE} {server} --payload-monotonic"),
                "--payload-monotonic",
            ),
            (
                format!("{LINE} {server} --producer-props linger"),
                "Invalid property: linger",
            ),
            (
                format!("{LINE} {server} --transactional-id x"),
                "Transactions are not supported yet",
            ),
            (
                format!("{LINE} {server} --producer-props transactional.id=x"),
                "Transactions are not supported yet",
            ),
            (
                format!("{server} --topic t --num-records 0 --record-size 1 --throughput 1"),
                "--num-records should be greater than zero.",
            ),
            (
                format!("{server} --topic t --num-records 1 --record-size 0 --throughput 1"),
                "--record-size should be greater than zero.",
            ),
            (
                format!("{server} --num-records 1 --record-size 1 --throughput 1"),
                "argument --topic is required",
            ),
        ] {
            let error = plan(&line).unwrap_err().to_string();
            assert!(error.contains(text), "{line}: {error}");
        }
    }

    #[test]
    fn what_travels_with_a_record_comes_back() {
        for sent in [(0, false), (0, true), (86_400_000, true)] {
            let sent = Sent {
                at_ms: sent.0,
                steady: sent.1,
            };
            assert_eq!(Sent::from(usize::from(sent)), sent);
        }
    }

    #[test]
    fn a_rate_is_kept_by_waiting_for_when_the_next_record_is_due() {
        let ms = Duration::from_millis;
        assert_eq!(early_by(1000.0, 100, ms(40)), Some(ms(60)));
        assert_eq!(early_by(1000.0, 100, ms(99)), None);
        assert_eq!(early_by(1000.0, 100, ms(150)), None);
        assert_eq!(early_by(-1.0, 100, ms(0)), None);
        assert!(early_by(0.0, 1, ms(0)).is_some());
    }
}
