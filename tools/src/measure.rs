//! What the measuring commands share: clients set up as Java's clients are, numbers as Java prints them, a clock, and
//! librdkafka's statistics as a table of metrics in Kafka's layout.
//!
//! What is measured is up to the commands. When a producer is idempotent console-producer, too, has from here.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::properties::Properties;

/// A mebibyte, Kafka's MB.
pub(crate) const MEGABYTE: f64 = 1024.0 * 1024.0;

/// The defaults of Java's producer where librdkafka has others.
pub(crate) fn producer_defaults() -> Properties {
    owned(&[
        ("acks", "all"),
        ("batch.size", "16384"),
        ("buffer.memory", "33554432"),
        ("linger.ms", "5"),
        ("max.request.size", "1048576"),
        // Java's producer bounds its buffer by bytes only.
        ("queue.buffering.max.messages", "0"),
        ("partitioner", "murmur2_random"),
        ("socket.nagle.disable", "true"),
    ])
}

/// Sets what follows from other properties, as in Java's producer: it is idempotent unless that is impossible.
pub(crate) fn settle_idempotence(properties: &mut Properties) {
    let is = |name: &str, values: &[&str]| {
        let value = properties.get(name).map(|value| value.trim());
        value.is_some_and(|value| values.contains(&value))
    };
    let in_flight = properties
        .get("max.in.flight.requests.per.connection")
        .and_then(|value| value.trim().parse::<u32>().ok());
    let possible = is("acks", &["all", "-1"])
        && !is("retries", &["0"])
        && in_flight.is_none_or(|count| count <= 5);
    properties
        .entry("enable.idempotence".to_owned())
        .or_insert_with(|| possible.to_string());
}

/// Properties out of literals.
pub(crate) fn owned(pairs: &[(&str, &str)]) -> Properties {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// `%.Nf` of Java, which has words for what is no number.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    if value.is_infinite() {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}Infinity");
    }
    format!("{value:.digits$}")
}

/// A count or a time as a floating point number. Above 2^53 the last digits are lost, which no rate shows.
#[expect(
    clippy::cast_precision_loss,
    reason = "rates are printed with a few digits"
)]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Waits; it may be less than that, so the caller looks again at what it waits for.
pub(crate) fn pause(at_most: Duration) {
    thread::park_timeout(at_most);
}

/// The statistics a client gave last.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Mutex<Option<(Instant, Value)>>);

/// How often librdkafka gives statistics, if metrics are wanted.
pub(crate) const STATISTICS_INTERVAL: Duration = Duration::from_millis(500);

impl Statistics {
    /// Keeps what librdkafka gives; what is no JSON is dropped.
    pub(crate) fn keep(&self, json: &[u8]) {
        if let Ok(value) = serde_json::from_slice(json) {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((Instant::now(), value));
        }
    }

    /// Waits for statistics that are newer than this call, with `poll` serving the client meanwhile, and prints them.
    pub(crate) fn print(
        &self,
        group: &str,
        client_id: &str,
        mut poll: impl FnMut(),
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let asked = Instant::now();
        while asked.elapsed() < 4 * STATISTICS_INTERVAL {
            poll();
            let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.as_ref().is_some_and(|(at, _)| *at > asked) {
                break;
            }
        }
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, Value::Object(statistics))) = last.as_ref() else {
            return Ok(());
        };
        let metrics = flatten(group, client_id, statistics);
        let width = metrics.keys().map(String::len).max().unwrap_or_default();
        writeln!(out, "\n{:<width$}   Value", "Metric Name")?;
        for (name, value) in metrics {
            writeln!(out, "{name:<width$} : {value}")?;
        }
        Ok(())
    }
}

/// `group:name:{tags}` and the value of everything in librdkafka's statistics that is a number.
fn flatten(
    group: &str,
    client_id: &str,
    statistics: &Map<String, Value>,
) -> BTreeMap<String, String> {
    let mut metrics = BTreeMap::new();
    let client = format!("client-id={client_id}");
    numbers(
        &format!("{group}-metrics"),
        &client,
        "",
        statistics,
        &mut metrics,
    );
    for (name, broker) in objects(statistics, "brokers") {
        let tags = format!("{client}, node={name}");
        numbers(
            &format!("{group}-node-metrics"),
            &tags,
            "",
            broker,
            &mut metrics,
        );
    }
    for (name, topic) in objects(statistics, "topics") {
        let tags = format!("{client}, topic={name}");
        numbers(
            &format!("{group}-topic-metrics"),
            &tags,
            "",
            topic,
            &mut metrics,
        );
        // Partition -1 is librdkafka's place for records without a partition.
        for (index, partition) in objects(topic, "partitions").filter(|(index, _)| *index != "-1") {
            let tags = format!("{tags}, partition={index}");
            numbers(
                &format!("{group}-partition-metrics"),
                &tags,
                "",
                partition,
                &mut metrics,
            );
        }
    }
    metrics
}

fn objects<'a>(
    parent: &'a Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'a str, &'a Map<String, Value>)> {
    let children = parent.get(name).and_then(Value::as_object);
    let children = children.into_iter().flatten();
    children.filter_map(|(name, child)| Some((name.as_str(), child.as_object()?)))
}

fn numbers(
    group: &str,
    tags: &str,
    prefix: &str,
    object: &Map<String, Value>,
    metrics: &mut BTreeMap<String, String>,
) {
    for (name, value) in object {
        let name = format!("{prefix}{}", name.replace('_', "-"));
        match value {
            Value::Number(number) => {
                metrics.insert(format!("{group}:{name}:{{{tags}}}"), number.to_string());
            }
            Value::Object(_)
                if matches!(
                    name.as_str(),
                    "brokers" | "topics" | "partitions" | "toppars"
                ) => {}
            Value::Object(inner) => numbers(group, tags, &format!("{name}-"), inner, metrics),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_has_javas_words() {
        assert_eq!(fixed(1.005, 2), "1.00");
        assert_eq!(fixed(f64::NAN, 4), "NaN");
        assert_eq!(fixed(f64::INFINITY, 1), "Infinity");
        assert_eq!(fixed(f64::NEG_INFINITY, 1), "-Infinity");
    }

    #[test]
    fn a_producer_is_idempotent_where_that_is_possible() {
        let settled = |name: &str, value: &str| {
            let mut properties = producer_defaults();
            properties.insert(name.to_owned(), value.to_owned());
            settle_idempotence(&mut properties);
            properties["enable.idempotence"].clone()
        };
        assert_eq!(settled("acks", "all"), "true");
        assert_eq!(settled("acks", "all "), "true");
        assert_eq!(settled("acks", "1"), "false");
        assert_eq!(settled("retries", "0"), "false");
        assert_eq!(
            settled("max.in.flight.requests.per.connection", "6"),
            "false"
        );
        assert_eq!(settled("enable.idempotence", "false"), "false");
    }

    #[test]
    fn statistics_become_metrics_with_a_group_and_tags() {
        let statistics = Statistics::default();
        let poll = || {
            statistics.keep(
                br#"{"txmsgs": 5, "name": "x", "brokers": {"b:1/1": {"rtt": {"avg": 9}, "toppars": {"t-0": {"partition": 0}}}},
                    "topics": {"t": {"age": 3, "partitions": {"-1": {"a": 1}, "0": {"msgq_cnt": 7}}}}}"#,
            );
        };
        let mut out = Vec::new();
        statistics.print("producer", "me", poll, &mut out).unwrap();
        let lines = "\n\
            Metric Name                                                         Value\n\
            producer-metrics:txmsgs:{client-id=me}                            : 5\n\
            producer-node-metrics:rtt-avg:{client-id=me, node=b:1/1}          : 9\n\
            producer-partition-metrics:msgq-cnt:{client-id=me, topic=t, partition=0} : 7\n\
            producer-topic-metrics:age:{client-id=me, topic=t}                : 3\n";
        let squeezed = |text: &str| {
            let words = text.split_whitespace().collect::<Vec<_>>();
            words.join(" ")
        };
        assert_eq!(squeezed(&String::from_utf8(out).unwrap()), squeezed(lines));
    }
}
