//! What console producer and consumer share: librdkafka's configuration out of that of Kafka's Java clients, and the
//! wish to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use millrace_engine::metadata::INTERNAL_TOPICS;
use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaConfRes;

use crate::command::Failure;
use crate::properties::Properties;

/// A client with these properties. Those that librdkafka does not have are left out, with a warning.
pub(crate) fn create<C: FromClientConfig>(properties: &Properties) -> Result<C, Failure> {
    create_with(properties, ClientConfig::create)
}

/// The same, made by `make`; it is called again for every property that librdkafka does not have.
pub(crate) fn create_with<C>(
    properties: &Properties,
    make: impl Fn(&ClientConfig) -> KafkaResult<C>,
) -> Result<C, Failure> {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Critical);
    for (name, value) in properties {
        if let Some((name, value)) = translate(name, value) {
            config.set(name, value);
        }
    }
    loop {
        match make(&config) {
            Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _)) => {
                eprintln!("WARN The configuration '{name}' was supplied but isn't a known config.");
                config.remove(&name);
            }
            Err(KafkaError::ClientConfig(_, text, name, value)) => {
                return Err(Failure::Text(format!(
                    "Invalid value {value} for configuration {name}: {text}"
                )));
            }
            Err(error) => return Err(Failure::Text(error.to_string())),
            Ok(client) => return Ok(client),
        }
    }
}

/// The property as librdkafka calls it. `None`: it means nothing outside of Java, or what it asks for is done anyway.
fn translate<'a>(name: &'a str, value: &str) -> Option<(&'a str, String)> {
    // As Java's clients take values.
    let value = value.trim().to_owned();
    let class = value.rsplit('.').next().unwrap_or_default().to_owned();
    match name {
        "key.serializer" | "value.serializer" | "key.deserializer" | "value.deserializer" => None,
        "max.poll.records" | "metric.reporters" | "interceptor.classes" | "client.dns.lookup" => {
            None
        }
        "max.block.ms" | "default.api.timeout.ms" => None,
        // Nothing that librdkafka has: `exclude_internal_topics` does what it asks for.
        "exclude.internal.topics" => None,
        "partitioner.ignore.keys" | "partitioner.adaptive.partitioning.enable" => None,
        "max.request.size" => Some(("message.max.bytes", value)),
        "compression.gzip.level" | "compression.lz4.level" | "compression.zstd.level" => {
            Some(("compression.level", value))
        }
        "buffer.memory" => {
            let kilobytes = value.parse::<u64>().unwrap_or_default().div_ceil(1024);
            Some(("queue.buffering.max.kbytes", kilobytes.max(1).to_string()))
        }
        "send.buffer.bytes" => Some(("socket.send.buffer.bytes", buffer(value))),
        "receive.buffer.bytes" => Some(("socket.receive.buffer.bytes", buffer(value))),
        "auto.offset.reset" if value == "none" => Some((name, "error".to_owned())),
        "fetch.max.wait.ms" => Some(("fetch.wait.max.ms", value)),
        "retries" => Some(("message.send.max.retries", value)),
        "partitioner.class" if class == "RoundRobinPartitioner" => {
            Some(("partitioner", "random".to_owned()))
        }
        "partition.assignment.strategy" => {
            let strategy = match class.as_str() {
                "RangeAssignor" => "range",
                "RoundRobinAssignor" => "roundrobin",
                "CooperativeStickyAssignor" => "cooperative-sticky",
                _ => return Some((name, value)),
            };
            Some((name, strategy.to_owned()))
        }
        _ => Some((name, value)),
    }
}

/// The size of a socket's buffer, where -1 leaves it to the system.
fn buffer(size: String) -> String {
    match size.as_str() {
        "-1" => "0".to_owned(),
        _ => size,
    }
}

/// Lets a consumer have any `fetch.max.bytes` that Java's may have: librdkafka refuses one below the size of a record that it
/// would send, which is nothing that a consumer does.
pub(crate) fn settle_fetch_size(properties: &mut Properties) {
    let given = properties.get("fetch.max.bytes");
    let given = given.and_then(|bytes| bytes.trim().parse::<i32>().ok());
    let Some(bytes) = given.filter(|bytes| *bytes < MESSAGE_BYTES_DEFAULT) else {
        return;
    };
    let bytes = bytes.max(MESSAGE_BYTES_MIN).to_string();
    properties.insert("fetch.max.bytes".to_owned(), bytes.clone());
    properties.insert("message.max.bytes".to_owned(), bytes);
}

/// Longer than a delivery may take with these properties of a producer: what is not delivered by then has been given up.
pub(crate) fn delivery_time_max(properties: &Properties) -> Duration {
    let timeout = properties.get("delivery.timeout.ms");
    let timeout = timeout.and_then(|value| value.trim().parse().ok());
    Duration::from_millis(timeout.unwrap_or(120_000)) + Duration::from_secs(5)
}

/// librdkafka's `message.max.bytes`: its default, and the least that it takes. A fetch answers one batch always.
const MESSAGE_BYTES_DEFAULT: i32 = 1_000_000;
const MESSAGE_BYTES_MIN: i32 = 1_000;

/// Keeps a subscription by pattern from internal topics, as Java's consumer does unless `exclude.internal.topics` is false.
pub(crate) fn exclude_internal_topics(properties: &mut Properties) {
    let included = properties
        .get("exclude.internal.topics")
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
    if included {
        return;
    }
    let blacklist = properties.entry("topic.blacklist".to_owned()).or_default();
    if !blacklist.is_empty() {
        blacklist.push(',');
    }
    // As librdkafka lists patterns.
    let patterns = INTERNAL_TOPICS.map(|topic| format!("^{topic}$"));
    blacklist.push_str(&patterns.join(","));
}

/// A flag that is raised by the first SIGINT or SIGTERM. The second one ends the process at once.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else {
            return;
        };
        runtime.block_on(async {
            interrupted().await;
            raised.store(true, Ordering::Relaxed);
            interrupted().await;
            std::process::exit(INTERRUPTED);
        });
    });
    stop
}

/// The exit code of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Kafka's sentence for an error of librdkafka.
pub(crate) fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            "The request included a message larger than the max message size the server will accept.".to_owned()
        }
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

/// For the name of a group that nobody else has.
pub(crate) fn random_number() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
        % 100_000
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;

    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn javas_names_are_translated() {
        assert_eq!(
            translate("buffer.memory", "33554432"),
            Some(("queue.buffering.max.kbytes", "32768".to_owned()))
        );
        assert_eq!(translate("key.serializer", "x"), None);
        assert_eq!(
            translate("linger.ms", " 5 "),
            Some(("linger.ms", "5".to_owned()))
        );
        assert_eq!(
            translate("auto.offset.reset", "none"),
            Some(("auto.offset.reset", "error".to_owned()))
        );
        assert_eq!(
            translate(
                "partition.assignment.strategy",
                "org.apache.kafka.clients.consumer.RangeAssignor"
            ),
            Some(("partition.assignment.strategy", "range".to_owned()))
        );
    }

    #[test]
    fn a_subscription_by_pattern_has_no_internal_topics_unless_they_are_asked_for() {
        let blacklist = |pairs: &[(&str, &str)]| {
            let mut properties = properties(pairs);
            exclude_internal_topics(&mut properties);
            // The patterns are such that librdkafka takes.
            assert!(create::<BaseConsumer>(&properties).is_ok());
            properties.remove("topic.blacklist")
        };
        let internal = "^__consumer_offsets$,^__transaction_state$,^__share_group_state$";
        assert_eq!(blacklist(&[]).as_deref(), Some(internal));
        let all = [("exclude.internal.topics", "true")];
        assert_eq!(blacklist(&all).as_deref(), Some(internal));
        let own = [("topic.blacklist", "^private")];
        let both = format!("^private,{internal}");
        assert_eq!(blacklist(&own), Some(both));
        let asked = [("exclude.internal.topics", "False")];
        assert_eq!(blacklist(&asked), None);
        assert_eq!(translate("exclude.internal.topics", "false"), None);
    }

    #[test]
    fn a_consumer_may_fetch_as_little_as_javas() {
        let fetch = |bytes: &str| {
            let given = [("group.id", "g"), ("fetch.max.bytes", bytes)];
            let mut properties = properties(&given);
            settle_fetch_size(&mut properties);
            assert!(create::<BaseConsumer>(&properties).is_ok(), "{bytes}");
            let record = properties.remove("message.max.bytes");
            (properties["fetch.max.bytes"].clone(), record)
        };
        assert_eq!(fetch("65536"), ("65536".into(), Some("65536".into())));
        assert_eq!(fetch("0"), ("1000".into(), Some("1000".into())));
        assert_eq!(fetch("52428800"), ("52428800".into(), None));
    }

    #[test]
    fn unknown_properties_are_no_error_but_bad_values_are() {
        let unknown = properties(&[("no.such.thing", "1"), ("linger.ms", "5")]);
        assert!(create::<BaseProducer>(&unknown).is_ok());
        let bad = properties(&[("linger.ms", "soon")]);
        let Err(error) = create::<BaseProducer>(&bad) else {
            unreachable!("linger.ms is a number")
        };
        assert!(error.to_string().contains("linger.ms"), "{error}");
    }
}
