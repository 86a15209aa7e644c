//! `kafka-console-consumer`: prints records of topics.
//!
//! What a printed record looks like is in `format`; reading is librdkafka's.

mod format;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::Failure;
use crate::clients;
use crate::flags::{missing, refuse_zookeeper, subscription};
use crate::properties::{self, Properties};
use format::Formatter;

/// Prints the records of topics
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    /// The topic to read
    #[arg(long)]
    topic: Option<String>,
    /// The topics to read, as a regular expression
    #[arg(long, value_name = "REGEX", alias = "whitelist")]
    include: Option<String>,
    /// The brokers to connect to first
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_server: Option<String>,
    /// The one partition to read, without a group
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// With --partition: where to begin: a number, earliest or latest
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
    offset: Option<String>,
    /// Begin at the oldest record, unless the group has committed offsets
    #[arg(long)]
    from_beginning: bool,
    /// The consumer group; one for this run if left out
    #[arg(long)]
    group: Option<String>,
    /// End after so many records
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    max_messages: Option<i64>,
    /// End when no record came for so long
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    timeout_ms: Option<i64>,
    /// Go on after a record that cannot be printed
    #[arg(long)]
    skip_message_on_error: bool,
    /// read_committed or read_uncommitted [default: read_uncommitted]
    #[arg(long, value_name = "LEVEL")]
    isolation_level: Option<String>,
    /// What to print, as name=value: print.timestamp, print.key, print.offset, print.partition, print.headers (whose keys must
    /// be UTF-8), print.value, key.separator, line.separator, headers.separator, null.literal, key.deserializer,
    /// value.deserializer, headers.deserializer; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    formatter_property: Vec<String>,
    /// The same, under its old name
    #[arg(long, value_name = "NAME=VALUE")]
    property: Vec<String>,
    /// How to print records: the DefaultMessageFormatter is the only one
    #[arg(long, value_name = "CLASS")]
    formatter: Option<String>,
    /// Properties file with such properties
    #[arg(long, value_name = "FILE")]
    formatter_config: Option<PathBuf>,
    /// What keys are: StringDeserializer, LongDeserializer and so on
    #[arg(long, value_name = "CLASS")]
    key_deserializer: Option<String>,
    /// What values are
    #[arg(long, value_name = "CLASS")]
    value_deserializer: Option<String>,
    /// A property of the consumer, as name=value; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    command_property: Vec<String>,
    /// The same, under its old name
    #[arg(long, value_name = "NAME=VALUE")]
    consumer_property: Vec<String>,
    /// Properties file for the consumer
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// The same, under its old name
    #[arg(long = "consumer.config", value_name = "FILE")]
    consumer_config: Option<PathBuf>,
    /// Print shutdown_complete at the end, as Kafka's system tests want it
    #[arg(long)]
    enable_systest_events: bool,
    /// Gone with ZooKeeper
    #[arg(long, hide = true)]
    zookeeper: Option<String>,
}

impl Flags {
    fn check(&self) -> Result<(), Failure> {
        refuse_zookeeper(self.zookeeper.as_deref())?;
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        if self.topic.is_some() == self.include.is_some() {
            return usage("Exactly one of the following arguments is required: [topic], [include]");
        }
        if self.partition.is_some() && self.topic.is_none() {
            return usage("The topic is required when partition is specified.");
        }
        if self.partition.is_some() && self.from_beginning && self.offset.is_some() {
            return usage("Options from-beginning and offset cannot be specified together.");
        }
        if self.partition.is_none() && self.offset.is_some() {
            return usage("The partition is required when offset is specified.");
        }
        if self.bootstrap_server.is_none() {
            return Err(missing("bootstrap-server"));
        }
        Ok(())
    }

    fn consumer_properties(&self) -> Result<Properties, Failure> {
        let mut properties =
            Properties::from([("client.id".to_owned(), "console-consumer".to_owned())]);
        if let Some(path) = self
            .command_config
            .as_ref()
            .or(self.consumer_config.as_ref())
        {
            properties.extend(properties::load(path)?);
        }
        properties.extend(properties::from_flags(&self.consumer_property));
        properties.extend(properties::from_flags(&self.command_property));
        let group = self
            .group
            .as_ref()
            .or_else(|| properties.get("group.id"))
            .cloned();
        if group.is_some() && self.partition.is_some() {
            return Err(Failure::Usage(
                "Options group and partition cannot be specified together.".to_owned(),
            ));
        }
        let named = properties.get("group.id");
        if self.group.is_some() && named.is_some_and(|named| Some(named) != self.group.as_ref()) {
            return Err(Failure::Usage(format!(
                "The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: '{}', '{}'",
                self.group.as_deref().unwrap_or_default(),
                named.map_or("", String::as_str)
            )));
        }
        let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
        set(
            "bootstrap.servers",
            self.bootstrap_server.clone().unwrap_or_default(),
        );
        if let Some(level) = &self.isolation_level {
            set("isolation.level", level.clone());
        }
        // A missing topic is an error, as with Java's client, until it appears.
        set("allow.auto.create.topics", "true".to_owned());
        // What was printed is committed, and not what librdkafka has read ahead.
        set("enable.auto.offset.store", "false".to_owned());
        match group {
            Some(group) => drop(set("group.id", group)),
            None => {
                set(
                    "group.id",
                    format!("console-consumer-{}", clients::random_number()),
                );
                properties
                    .entry("enable.auto.commit".to_owned())
                    .or_insert_with(|| "false".to_owned());
            }
        }
        let reset = if self.from_beginning {
            "earliest"
        } else {
            "latest"
        };
        let reset = properties
            .entry("auto.offset.reset".to_owned())
            .or_insert_with(|| reset.to_owned());
        if self.from_beginning && reset != "earliest" {
            return Err(Failure::Usage(format!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
            )));
        }
        if self.include.is_some() {
            clients::exclude_internal_topics(&mut properties);
        }
        clients::settle_fetch_size(&mut properties);
        // Java's default; that of librdkafka is read_committed.
        properties
            .entry("isolation.level".to_owned())
            .or_insert_with(|| "read_uncommitted".to_owned());
        Ok(properties)
    }

    fn formatter(&self) -> Result<Formatter, Failure> {
        if let Some(class) = &self.formatter
            && class.rsplit('.').next() != Some("DefaultMessageFormatter")
        {
            let text = format!("Formatter {class} is not supported, DefaultMessageFormatter is");
            return Err(Failure::Text(text));
        }
        let mut properties = match &self.formatter_config {
            Some(path) => properties::load(path)?,
            None => Properties::new(),
        };
        properties.extend(properties::from_flags(&self.property));
        properties.extend(properties::from_flags(&self.formatter_property));
        for (name, class) in [
            ("key.deserializer", &self.key_deserializer),
            ("value.deserializer", &self.value_deserializer),
        ] {
            if let Some(class) = class {
                properties.insert(name.to_owned(), class.clone());
            }
        }
        Formatter::new(&properties)
    }

    fn start(&self) -> Result<Offset, Failure> {
        match self.offset.as_deref() {
            None if self.from_beginning => Ok(Offset::Beginning),
            None => Ok(Offset::End),
            Some(text) => match (text.to_ascii_lowercase().as_str(), text.parse::<i64>()) {
                ("earliest", _) => Ok(Offset::Beginning),
                ("latest", _) => Ok(Offset::End),
                (_, Ok(offset)) if offset >= 0 => Ok(Offset::Offset(offset)),
                _ => Err(Failure::Usage(format!(
                    "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long."
                ))),
            },
        }
    }
}

/// Runs the command.
pub(crate) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), Failure> {
    flags.check()?;
    let start = flags.start()?;
    let formatter = flags.formatter()?;
    let consumer: BaseConsumer = clients::create(&flags.consumer_properties()?)?;
    let stop = clients::stop_flag();
    if let Some(topic) = &flags.topic {
        // Java's client makes a missing topic by asking for it; librdkafka's group code asks without that wish. What is
        // wrong shows when records are asked for.
        let _ = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT);
    }
    let failed = |error: KafkaError| Failure::Text(clients::reason(&error));
    match (
        flags.partition,
        flags.topic.as_deref(),
        flags.include.as_deref(),
    ) {
        (Some(partition), Some(topic), _) => {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, start)
                .map_err(failed)?;
            consumer.assign(&list).map_err(failed)?;
        }
        (None, Some(topic), _) => consumer.subscribe(&[topic]).map_err(failed)?,
        (_, _, include) => {
            let pattern = subscription(include.unwrap_or_default())?;
            consumer.subscribe(&[&pattern]).map_err(failed)?;
        }
    }
    let mut count = 0;
    let result = consume(flags, &consumer, &formatter, &stop, &mut count, out);
    out.flush()?;
    eprintln!("Processed a total of {count} messages");
    // Leaves the group, having committed what was printed.
    drop(consumer);
    if flags.enable_systest_events {
        writeln!(out, "shutdown_complete")?;
    }
    result
}

fn consume(
    flags: &Flags,
    consumer: &BaseConsumer,
    formatter: &Formatter,
    stop: &AtomicBool,
    count: &mut u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let count_max = flags
        .max_messages
        .and_then(|count| u64::try_from(count).ok());
    let timeout = flags
        .timeout_ms
        .and_then(|timeout| u64::try_from(timeout).ok());
    let timeout = timeout.map(Duration::from_millis);
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) && count_max.is_none_or(|max| *count < max) {
        // What is there at once is printed in one go; the output is flushed before waiting.
        let polled = consumer.poll(Duration::ZERO).or_else(|| {
            let flushed = out.flush();
            flushed.err().map_or_else(
                || consumer.poll(POLL_PAUSE),
                |_| Some(Err(KafkaError::Canceled)),
            )
        });
        match polled {
            None if timeout.is_some_and(|timeout| last.elapsed() >= timeout) => {
                eprintln!(
                    "ERROR Error processing message, terminating consumer process: org.apache.kafka.common.errors.TimeoutException"
                );
                return Ok(());
            }
            None => {}
            Some(Ok(message)) => {
                last = Instant::now();
                *count += 1;
                match formatter.write(&message, out) {
                    Ok(()) => {}
                    Err(Failure::Text(text)) if flags.skip_message_on_error => {
                        eprintln!("ERROR Error processing message, skipping this message: {text}");
                    }
                    Err(failure) => return Err(failure),
                }
                // Refused when the partition was taken away meanwhile; then its new owner reads the record again.
                let _ = consumer.store_offset_from_message(&message);
            }
            Some(Err(KafkaError::Canceled)) => return Ok(out.flush()?),
            Some(Err(error)) => report(&error)?,
        }
    }
    Ok(())
}

/// How long a broker may take to say what it knows of the topic.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for records before looking at other things.
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// Errors that pass are said; the others end the command.
fn report(error: &KafkaError) -> Result<(), Failure> {
    let reason = clients::reason(error);
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::InvalidGroupId
            | RDKafkaErrorCode::AutoOffsetReset,
        ) => Err(Failure::Text(format!(
            "ERROR Error processing message, terminating consumer process: {reason}"
        ))),
        _ => {
            eprintln!("WARN {reason}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags {
            topic: Some("t".into()),
            bootstrap_server: Some("a:1".into()),
            ..Default::default()
        }
    }

    #[test]
    fn without_a_group_nothing_is_committed() {
        let properties = flags().consumer_properties().unwrap();
        assert!(properties["group.id"].starts_with("console-consumer-"));
        assert_eq!(properties["enable.auto.commit"], "false");
        assert_eq!(properties["auto.offset.reset"], "latest");
        assert_eq!(properties["isolation.level"], "read_uncommitted");
        let named = Flags {
            group: Some("g".into()),
            from_beginning: true,
            ..flags()
        };
        let properties = named.consumer_properties().unwrap();
        assert_eq!(properties["group.id"], "g");
        assert_eq!(properties.get("enable.auto.commit"), None);
        assert_eq!(properties["auto.offset.reset"], "earliest");
    }

    #[test]
    fn internal_topics_are_read_by_name_and_not_by_pattern() {
        let named = flags().consumer_properties().unwrap();
        assert_eq!(named.get("topic.blacklist"), None);
        let pattern = Flags {
            topic: None,
            include: Some(".*".into()),
            ..flags()
        };
        let properties = pattern.consumer_properties().unwrap();
        assert!(properties["topic.blacklist"].contains("^__consumer_offsets$"));
        let asked = Flags {
            consumer_property: vec!["exclude.internal.topics=false".into()],
            ..pattern
        };
        let properties = asked.consumer_properties().unwrap();
        assert_eq!(properties.get("topic.blacklist"), None);
    }

    #[test]
    fn zookeeper_is_answered_with_what_to_use_instead() {
        let flags = Flags {
            zookeeper: Some("z:2181".into()),
            topic: Some("t".into()),
            ..Default::default()
        };
        let text = flags.check().unwrap_err().to_string();
        assert!(text.contains("use --bootstrap-server"), "{text}");
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let cases = [
            Flags {
                include: Some("x".into()),
                ..flags()
            },
            Flags {
                offset: Some("3".into()),
                ..flags()
            },
            Flags {
                topic: None,
                ..flags()
            },
        ];
        for case in cases {
            assert!(case.check().is_err(), "{case:?}");
        }
        let both = Flags {
            group: Some("g".into()),
            partition: Some(0),
            ..flags()
        };
        assert!(both.consumer_properties().is_err());
        let from_beginning = |reset: &str| {
            let flags = Flags {
                from_beginning: true,
                consumer_property: vec![format!("auto.offset.reset={reset}")],
                ..flags()
            };
            flags.consumer_properties()
        };
        assert!(from_beginning("earliest").is_ok());
        assert_eq!(
            from_beginning("latest").unwrap_err().to_string(),
            "Can't simultaneously specify --from-beginning and 'auto.offset.reset=latest', please remove one option"
        );
    }

    #[test]
    fn an_offset_is_a_number_or_an_end() {
        let at = |text: &str| {
            Flags {
                offset: Some(text.into()),
                ..flags()
            }
            .start()
        };
        assert_eq!(at("earliest").unwrap(), Offset::Beginning);
        assert_eq!(at("12").unwrap(), Offset::Offset(12));
        assert!(at("-5").is_err() && at("x").is_err());
    }
}
