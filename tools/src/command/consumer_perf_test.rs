//! `kafka-consumer-perf-test`: reads records as fast as they come and says how fast that was, as comma separated values.
//!
//! What is counted and printed is in `report`, how times look in `date_format`; reading is librdkafka's. Unlike Kafka's
//! tool, which counts whole polls, it stops at the very record asked for.

mod date_format;
mod report;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{ClientContext, TopicPartitionList};

use super::Failure;
use crate::flags::{missing, subscription};
use crate::measure::{self, STATISTICS_INTERVAL, Statistics};
use crate::properties::{self, Properties};
use crate::{clients, measure::pause};
use date_format::DateFormat;
use report::{Joining, Progress};

/// Measures how fast records can be consumed
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    /// The brokers to connect to first
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_server: Option<String>,
    /// The same, under its old name
    #[arg(long, value_name = "HOST:PORT,...")]
    broker_list: Option<String>,
    /// The topic to read
    #[arg(long)]
    topic: Option<String>,
    /// The topics to read, as a regular expression
    #[arg(long, value_name = "REGEX")]
    include: Option<String>,
    /// How many records to read
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    num_records: Option<i64>,
    /// The same, under its old name
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    messages: Option<i64>,
    /// The consumer group; one for this run if left out
    #[arg(long)]
    group: Option<String>,
    /// Bytes to fetch of one partition in one request
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024)]
    fetch_size: u32,
    /// Begin at the end, unless the group has committed offsets
    #[arg(long)]
    from_latest: bool,
    /// Size of the socket's receive buffer; -1 for the system's
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 2 * 1024 * 1024,
        allow_hyphen_values = true
    )]
    socket_buffer_size: i32,
    /// End when no record came for so long
    #[arg(long, value_name = "MS", num_args = 0..=1, default_value = "10000", default_missing_value = "10000")]
    timeout: u64,
    /// Print a line every reporting interval instead of one at the end
    #[arg(long)]
    show_detailed_stats: bool,
    /// How long such an interval is
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    reporting_interval: u64,
    /// How to print times, as in java.text.SimpleDateFormat
    #[arg(long, value_name = "FORMAT", default_value = "yyyy-MM-dd HH:mm:ss:SSS")]
    date_format: String,
    /// Do not print the line with the names of the columns
    #[arg(long)]
    hide_header: bool,
    /// Print the client's metrics at the end
    #[arg(long)]
    print_metrics: bool,
    /// Properties of the consumer, as name=value; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    command_property: Vec<String>,
    /// Properties file for the consumer
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// The same, under its old name
    #[arg(long = "consumer.config", value_name = "FILE")]
    consumer_config: Option<PathBuf>,
    /// Without effect, as in Kafka since 2.0
    #[arg(long, value_name = "COUNT", hide = true)]
    threads: Option<u32>,
    /// Without effect, as in Kafka since 2.0
    #[arg(long, value_name = "COUNT", hide = true)]
    num_fetch_threads: Option<u32>,
}

impl Flags {
    /// How many records to read.
    fn check(&self) -> Result<u64, Failure> {
        let exactly_one = |given: [bool; 2], names: &str| {
            let text = format!("Exactly one of the following arguments is required: {names}");
            if given[0] == given[1] {
                return Err(Failure::Usage(text));
            }
            Ok(())
        };
        exactly_one(
            [self.messages.is_some(), self.num_records.is_some()],
            "[messages], [num-records]",
        )?;
        exactly_one(
            [self.topic.is_some(), self.include.is_some()],
            "[topic], [include]",
        )?;
        if self.reporting_interval == 0 {
            let text = "Reporting interval must be greater than 0.";
            return Err(Failure::Usage(text.to_owned()));
        }
        let count = self.num_records.or(self.messages).unwrap_or_default();
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// The consumer's configuration: flags, then the properties, then the file, then Java's defaults.
    fn consumer_properties(&self) -> Result<Properties, Failure> {
        let servers = self.bootstrap_server.as_ref().or(self.broker_list.as_ref());
        let servers = servers.ok_or_else(|| missing("bootstrap-server"))?;
        let mut properties = measure::owned(&[
            ("client.id", CLIENT_ID),
            ("isolation.level", "read_uncommitted"),
            ("socket.nagle.disable", "true"),
        ]);
        if self.command_config.is_some() && self.consumer_config.is_some() {
            let text =
                "Option \"[command-config]\" can't be used with option \"[consumer.config]\"";
            return Err(Failure::Usage(text.to_owned()));
        }
        let file = self
            .command_config
            .as_ref()
            .or(self.consumer_config.as_ref());
        if let Some(path) = file {
            properties.extend(properties::load(path)?);
        }
        properties.extend(properties::from_flags(&self.command_property));
        let group = self.group.clone();
        let group = group.unwrap_or_else(|| format!("perf-consumer-{}", clients::random_number()));
        let reset = if self.from_latest {
            "latest"
        } else {
            "earliest"
        };
        properties.extend(measure::owned(&[
            ("bootstrap.servers", servers),
            ("group.id", &group),
            ("receive.buffer.bytes", &self.socket_buffer_size.to_string()),
            ("max.partition.fetch.bytes", &self.fetch_size.to_string()),
            ("auto.offset.reset", reset),
            ("check.crcs", "false"),
        ]));
        if self.include.is_some() {
            clients::exclude_internal_topics(&mut properties);
        }
        clients::settle_fetch_size(&mut properties);
        if self.print_metrics {
            let interval = STATISTICS_INTERVAL.as_millis().to_string();
            properties.insert("statistics.interval.ms".to_owned(), interval);
        }
        Ok(properties)
    }
}

const CLIENT_ID: &str = "perf-consumer-client";

/// What the consumer tells while it is polled.
#[derive(Debug)]
struct Watched {
    joining: Joining,
    statistics: Statistics,
}

impl ClientContext for Watched {
    fn stats_raw(&self, statistics: &[u8]) {
        self.statistics.keep(statistics);
    }
}

impl ConsumerContext for Watched {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.joining.revoked(&places(list));
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.joining.assigned(places(list));
        }
    }
}

fn places(list: &TopicPartitionList) -> Vec<(String, i32)> {
    let elements = list.elements();
    let places = elements.iter();
    places
        .map(|place| (place.topic().to_owned(), place.partition()))
        .collect()
}

/// Runs the command.
pub(crate) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let count_max = flags.check()?;
    let properties = flags.consumer_properties()?;
    let format = DateFormat::parse(&flags.date_format)?;
    if !flags.hide_header {
        writeln!(out, "{}", report::header(flags.show_detailed_stats))?;
        out.flush()?;
    }
    let consumer = clients::create_with(&properties, |config| {
        config.create_with_context::<_, BaseConsumer<Watched>>(Watched {
            joining: Joining::begin(),
            statistics: Statistics::default(),
        })
    })?;
    let mut progress = Progress::begin(format);
    let result = consume(flags, count_max, &consumer, &mut progress, out);
    progress.end();
    result?;
    if progress.records < count_max {
        writeln!(
            out,
            "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. You can use the --timeout option to increase the timeout.",
            flags.timeout
        )?;
    }
    if !flags.show_detailed_stats {
        writeln!(
            out,
            "{}",
            progress.summary(consumer.context().joining.total_ms())
        )?;
    }
    out.flush()?;
    if flags.print_metrics {
        let client_id = properties
            .get("client.id")
            .map_or(CLIENT_ID, String::as_str);
        // Nothing more is to be counted, but the client is only heard while it is polled.
        let paused = consumer.assignment().and_then(|all| consumer.pause(&all));
        paused.map_err(|error| Failure::Text(clients::reason(&error)))?;
        let poll = || match consumer.poll(POLL_PAUSE) {
            Some(_) => {}
            None => pause(Duration::from_millis(1)),
        };
        consumer
            .context()
            .statistics
            .print("consumer", client_id, poll, out)?;
    }
    Ok(())
}

fn consume(
    flags: &Flags,
    count_max: u64,
    consumer: &BaseConsumer<Watched>,
    progress: &mut Progress,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let subscribed = match (&flags.topic, &flags.include) {
        (Some(topic), _) => consumer.subscribe(&[topic]),
        (None, include) => {
            consumer.subscribe(&[&subscription(include.as_deref().unwrap_or_default())?])
        }
    };
    subscribed.map_err(|error| Failure::Text(clients::reason(&error)))?;
    let timeout = Duration::from_millis(flags.timeout);
    while progress.records < count_max {
        match consumer.poll(POLL_PAUSE) {
            None if progress.idle() > timeout => break,
            None => {}
            Some(Ok(message)) => {
                let bytes = message.key_len() + message.payload_len();
                let due = progress.count(bytes, flags.reporting_interval);
                if due {
                    let joined_ms = consumer.context().joining.take_round_ms();
                    let line = progress.report(joined_ms);
                    if flags.show_detailed_stats {
                        writeln!(out, "{line}")?;
                        out.flush()?;
                    }
                }
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                // It may appear, and a broker may come back; the timeout ends the wait.
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::BrokerTransportFailure,
                ) if progress.idle() <= timeout => {
                    eprintln!("WARN {}", clients::reason(&error));
                }
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::BrokerTransportFailure,
                ) => break,
                _ => return Err(Failure::Text(clients::reason(&error))),
            },
        }
    }
    Ok(())
}

/// How long to wait for a record before looking at the time.
const POLL_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    fn flags(line: &str) -> Flags {
        Program::parse_from(["x"].into_iter().chain(line.split(' '))).flags
    }

    #[test]
    fn old_and_new_flags_mean_the_same() {
        let old = flags(
            "--broker-list a:1 --topic t --messages 5 --threads 4 --num-fetch-threads 1 --timeout 7",
        );
        let new = flags("--bootstrap-server a:1 --topic t --num-records 5 --timeout");
        assert_eq!(old.check().unwrap(), new.check().unwrap());
        assert_eq!((old.timeout, new.timeout), (7, 10_000));
        for flags in [old, new] {
            let properties = flags.consumer_properties().unwrap();
            assert_eq!(properties["bootstrap.servers"], "a:1");
            assert_eq!(properties["auto.offset.reset"], "earliest");
            assert_eq!(properties["max.partition.fetch.bytes"], "1048576");
            assert!(properties["group.id"].starts_with("perf-consumer-"));
        }
    }

    #[test]
    fn the_receive_buffer_may_be_left_to_the_system() {
        let line = "--bootstrap-server a:1 --topic t --messages 5 --socket-buffer-size -1";
        let properties = flags(line).consumer_properties().unwrap();
        assert_eq!(properties["receive.buffer.bytes"], "-1");
        assert!(clients::create::<BaseConsumer>(&properties).is_ok());
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused_in_kafkas_words() {
        for (line, text) in [
            (
                "--bootstrap-server a:1 --topic t",
                "[messages], [num-records]",
            ),
            (
                "--bootstrap-server a:1 --topic t --messages 1 --num-records 1",
                "[messages], [num-records]",
            ),
            ("--bootstrap-server a:1 --messages 1", "[topic], [include]"),
            ("--topic t --messages 1 --include x", "[topic], [include]"),
            (
                "--topic t --messages 1 --reporting-interval 0",
                "Reporting interval must be greater than 0.",
            ),
        ] {
            let error = flags(line).check().unwrap_err().to_string();
            assert!(error.contains(text), "{line}: {error}");
        }
        let none = flags("--topic t --messages 1").consumer_properties();
        assert_eq!(
            none.unwrap_err().to_string(),
            "Missing required argument \"[bootstrap-server]\""
        );
    }

    #[test]
    fn internal_topics_are_read_by_name_and_not_by_pattern() {
        let properties = |line: &str| {
            let line = format!("--bootstrap-server a:1 --messages 1 {line}");
            flags(&line).consumer_properties().unwrap()
        };
        let named = properties("--topic __consumer_offsets");
        assert_eq!(named.get("topic.blacklist"), None);
        let pattern = properties("--include .*");
        assert!(pattern["topic.blacklist"].contains("^__consumer_offsets$"));
        let line = "--include .* --command-property exclude.internal.topics=false";
        assert_eq!(properties(line).get("topic.blacklist"), None);
    }

    #[test]
    fn flags_count_more_than_properties() {
        let line = "--bootstrap-server a:1 --topic t --messages 1 --group g --from-latest --command-property group.id=h --command-property fetch.min.bytes=9";
        let properties = flags(line).consumer_properties().unwrap();
        assert_eq!(properties["group.id"], "g");
        assert_eq!(properties["fetch.min.bytes"], "9");
        assert_eq!(properties["auto.offset.reset"], "latest");
    }
}
