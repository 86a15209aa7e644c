//! librdkafka writes, and reads back what it wrote.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::Broker;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.bootstrap);
    config
}

/// Sends `texts` to partition 0 of `topic`, made on the way, and waits until all are acknowledged.
fn produce(broker: &Broker, topic: &str, settings: &[(&str, &str)], texts: &[String]) {
    let mut config = config(broker);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    for text in texts {
        let headers = OwnedHeaders::new().insert(Header {
            key: "about",
            value: Some("order"),
        });
        let record = BaseRecord::to(topic)
            .partition(0)
            .key("key")
            .payload(text)
            .headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

/// Reads `count` payloads of partition 0 of `topic` from its beginning.
fn consume(broker: &Broker, topic: &str, count: usize) -> Vec<String> {
    let consumer: BaseConsumer = config(broker).set("group.id", "unused").create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&assignment).unwrap();
    let mut texts = Vec::new();
    while texts.len() < count {
        let record = consumer.poll(PATIENCE).expect("a record in time").unwrap();
        assert_eq!(record.offset(), i64::try_from(texts.len()).unwrap());
        assert_eq!(record.headers().unwrap().get(0).key, "about");
        texts.push(String::from_utf8(record.payload().unwrap().to_vec()).unwrap());
    }
    texts
}

fn texts(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("order number {number}, {}", "x".repeat(number % 700)))
        .collect()
}

#[test]
fn what_was_produced_is_consumed_in_order_whatever_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), &[]);
    let texts = texts(2_000);
    let variants: [(&str, &[(&str, &str)]); 7] = [
        ("plain", &[]),
        ("idempotent", &[("enable.idempotence", "true")]),
        ("leader", &[("acks", "1")]),
        ("gzip", &[("compression.codec", "gzip")]),
        ("snappy", &[("compression.codec", "snappy")]),
        ("lz4", &[("compression.codec", "lz4")]),
        ("zstd", &[("compression.codec", "zstd")]),
    ];
    for (topic, settings) in variants {
        produce(&broker, topic, settings, &texts);
        assert_eq!(consume(&broker, topic, texts.len()), texts, "{topic}");
    }
}

#[test]
fn a_restarted_broker_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let texts = texts(500);
    let broker = Broker::start(directory.path(), &[]);
    produce(&broker, "orders", &[("enable.idempotence", "true")], &texts);
    assert_eq!(broker.stop(), Some(0));
    let broker = Broker::start(directory.path(), &[]);
    assert_eq!(consume(&broker, "orders", texts.len()), texts);
}

#[test]
fn offsets_are_found_by_place_and_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(directory.path(), &[]);
    produce(
        &broker,
        "orders",
        &[("compression.codec", "lz4")],
        &texts(100),
    );
    let consumer: BaseConsumer = config(&broker).set("group.id", "unused").create().unwrap();
    assert_eq!(
        consumer.fetch_watermarks("orders", 0, PATIENCE).unwrap(),
        (0, 100)
    );
    let mut wanted = TopicPartitionList::new();
    wanted
        .add_partition_offset("orders", 0, Offset::Offset(1))
        .unwrap();
    let found = consumer.offsets_for_times(wanted, PATIENCE).unwrap();
    assert_eq!(found.elements()[0].offset(), Offset::Offset(0));
}
