//! What a producer sends, a consumer gets: librdkafka on both sides.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_engine::record::{Batches, Compression};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::PATIENCE;
use crate::support::broker::Broker;
use crate::support::librdkafka::{Sender, consumer, create_topic, take, text, try_create_topic};
use crate::support::wire::{Limits, Wire, record_bytes};

/// A consumer of one partition from its start, without a group's coordination.
fn reader(
    broker: &Broker,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> BaseConsumer {
    let consumer = consumer(broker, "readers", settings);
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    consumer
}

#[test]
fn every_codec_comes_back_as_it_was_sent_and_stays_packed() {
    let broker = Broker::start(&[]);
    let codecs = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    for (name, codec) in codecs {
        let topic = format!("codec-{name}");
        create_topic(&broker, &topic, 1, &[]);
        let sender = Sender::new(&broker, &[("compression.type", name), ("linger.ms", "20")]);
        let sent: Vec<String> = (0..300)
            .map(|n| format!("{n} {}", "abc".repeat(100)))
            .collect();
        for (number, value) in sent.iter().enumerate() {
            sender.send_value(&topic, 0, number, value);
        }
        sender.finish_well();

        let came: Vec<String> = take(&reader(&broker, &topic, 1, &[]), 300)
            .iter()
            .map(text)
            .collect();
        assert_eq!(came, sent, "{name}");

        let stored = Wire::connect(&broker).fetch(&topic, 0, 0, Limits::default());
        for batch in Batches::new(record_bytes(&stored)).map_while(Result::ok) {
            assert_eq!(batch.header.attributes().compression(), Ok(codec), "{name}");
        }
    }
}

#[test]
fn keys_headers_tombstones_and_timestamps_come_back() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "orders", 1, &[]);
    let sender = Sender::new(&broker, &[]);
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "trace",
            value: Some("abc"),
        })
        .insert(Header {
            key: "trace",
            value: Some("again"),
        })
        .insert(Header {
            key: "nothing",
            value: None::<&str>,
        })
        .insert(Header {
            key: "empty",
            value: Some(""),
        });
    let full = BaseRecord::with_opaque_to("orders", 0)
        .key("customer-7")
        .payload(&b"paid"[..])
        .timestamp(1_700_000_000_123)
        .headers(headers.clone());
    sender.send(full).unwrap();
    sender
        .send(BaseRecord::with_opaque_to("orders", 1).key("customer-7"))
        .unwrap();
    sender
        .send(
            BaseRecord::with_opaque_to("orders", 2)
                .key("")
                .payload(&b""[..]),
        )
        .unwrap();
    sender.finish_well();

    let came = take(&reader(&broker, "orders", 1, &[]), 3);
    assert_eq!(came[0].key(), Some(&b"customer-7"[..]));
    assert_eq!(came[0].payload(), Some(&b"paid"[..]));
    assert_eq!(came[0].timestamp().to_millis(), Some(1_700_000_000_123));
    let came_headers: Vec<_> = came[0]
        .headers()
        .unwrap()
        .iter()
        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
        .collect();
    let sent_headers: Vec<_> = headers
        .iter()
        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
        .collect();
    assert_eq!(came_headers, sent_headers);
    assert_eq!(came[1].key(), Some(&b"customer-7"[..]));
    assert_eq!(came[1].payload(), None, "a tombstone has no value");
    assert_eq!(
        came[2].payload(),
        Some(&b""[..]),
        "an empty value is not a tombstone"
    );
}

#[test]
fn a_time_is_looked_up_to_the_record() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "timed", 1, &[]);
    let sender = Sender::new(&broker, &[("compression.type", "lz4"), ("linger.ms", "50")]);
    for number in 0..100 {
        let record = BaseRecord::with_opaque_to("timed", number)
            .payload(&b"v"[..])
            .timestamp(1_000_000 + i64::try_from(number).unwrap() * 10);
        sender.send(record).unwrap();
    }
    sender.finish_well();

    let consumer = reader(&broker, "timed", 1, &[]);
    let offset_at = |timestamp| {
        let mut times = TopicPartitionList::new();
        times
            .add_partition_offset("timed", 0, Offset::Offset(timestamp))
            .unwrap();
        consumer
            .offsets_for_times(times, PATIENCE)
            .unwrap()
            .elements()[0]
            .offset()
    };
    assert_eq!(offset_at(0), Offset::Offset(0));
    assert_eq!(offset_at(1_000_500), Offset::Offset(50));
    assert_eq!(offset_at(1_000_501), Offset::Offset(51));
    assert_eq!(offset_at(1_000_990), Offset::Offset(99));
    assert_eq!(offset_at(1_000_991), Offset::End);
    assert_eq!(
        consumer.fetch_watermarks("timed", 0, PATIENCE).unwrap(),
        (0, 100)
    );
}

#[test]
fn records_of_every_acks_arrive_in_order() {
    let broker = Broker::start(&[]);
    for acks in ["0", "1", "all"] {
        let topic = format!("acks-{acks}");
        create_topic(&broker, &topic, 1, &[]);
        let sender = Sender::new(&broker, &[("acks", acks)]);
        for number in 0..500 {
            sender.send_value(&topic, 0, number, &number.to_string());
        }
        let places = sender.finish_well();
        if acks != "0" {
            let offsets: Vec<i64> = places.iter().map(|(_, offset)| *offset).collect();
            assert_eq!(offsets, (0..500).collect::<Vec<i64>>(), "acks={acks}");
        }
        let came: Vec<String> = take(&reader(&broker, &topic, 1, &[]), 500)
            .iter()
            .map(text)
            .collect();
        assert_eq!(
            came,
            (0..500).map(|n| n.to_string()).collect::<Vec<_>>(),
            "acks={acks}"
        );
    }
}

#[test]
fn an_idempotent_producer_writes_each_record_once_and_in_order() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "once", 4, &[]);
    let settings = [
        ("enable.idempotence", "true"),
        ("linger.ms", "0"),
        ("batch.num.messages", "20"),
    ];
    let sender = Sender::new(&broker, &settings);
    for number in 0..4000 {
        sender.send_value(
            "once",
            i32::try_from(number % 4).unwrap(),
            number,
            &number.to_string(),
        );
    }
    sender.finish_well();

    let mut by_partition: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for message in take(&reader(&broker, "once", 4, &[]), 4000) {
        let number = text(&message).parse().unwrap();
        by_partition
            .entry(message.partition())
            .or_default()
            .push(number);
    }
    for (partition, numbers) in by_partition {
        let first = usize::try_from(partition).unwrap();
        assert_eq!(
            numbers,
            (first..4000).step_by(4).collect::<Vec<_>>(),
            "partition {partition}"
        );
    }
}

#[test]
fn a_large_message_passes_where_the_topic_allows_it_and_is_refused_where_not() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "large", 1, &[("max.message.bytes", "8000000")]);
    create_topic(&broker, "small", 1, &[("max.message.bytes", "1000")]);
    let sender = Sender::new(&broker, &[("message.max.bytes", "8000000")]);
    let value: String = (0..5_000_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    sender.send_value("large", 0, 0, &value);
    sender.send_value("small", 0, 1, &"x".repeat(2000));
    sender.send_value("small", 0, 2, "fits");
    let reported = sender.finish();
    assert_eq!(reported[0].1, Ok((0, 0)));
    let too_large = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
    // Of a batch that is too large librdkafka fails every record.
    assert_eq!(reported[1].1, Err(too_large));

    // A consumer with small limits gets it all the same: the first batch comes whole.
    let settings = [
        ("fetch.message.max.bytes", "1000"),
        ("receive.message.max.bytes", "100000000"),
    ];
    let came = take(&reader(&broker, "large", 1, &settings), 1);
    assert!(text(&came[0]) == value, "5 MB came back changed");
}

#[test]
fn a_topic_named_by_a_producer_is_created_unless_the_broker_may_not() {
    let broker = Broker::start(&[("num.partitions", "3")]);
    let sender = Sender::new(&broker, &[]);
    sender.send_value("made-by-use", 2, 0, "v");
    assert_eq!(sender.finish_well(), [(2, 0)]);
    let metadata = reader(&broker, "made-by-use", 3, &[]);
    let metadata = metadata
        .fetch_metadata(Some("made-by-use"), PATIENCE)
        .unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);

    let strict = Broker::start(&[("auto.create.topics.enable", "false")]);
    let settings = [
        ("message.timeout.ms", "20000"),
        ("topic.metadata.propagation.max.ms", "500"),
    ];
    let sender = Sender::new(&strict, &settings);
    sender
        .send(BaseRecord::with_opaque_to("not-made", 0).payload(&b"v"[..]))
        .unwrap();
    let (_, delivery) = sender.finish().remove(0);
    let code = delivery.unwrap_err().rdkafka_error_code();
    assert!(
        matches!(
            code,
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
        ),
        "{code:?}"
    );
    assert_eq!(
        try_create_topic(&strict, "not-made", 1, &[]),
        Ok(()),
        "it was created after all"
    );
}

#[test]
fn a_waiting_consumer_gets_a_record_as_soon_as_it_is_there() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "live", 1, &[]);
    // Longer than this waits for what it is to bring.
    let settings = [
        ("fetch.wait.max.ms", "120000"),
        ("socket.timeout.ms", "300000"),
    ];
    let consumer = reader(&broker, "live", 1, &settings);
    assert!(consumer.poll(Duration::from_millis(500)).is_none());
    let sender = Sender::new(&broker, &[]);
    for number in 0..3 {
        let value = number.to_string();
        sender.send_value("live", 0, number, &value);
        assert_eq!(text(&take(&consumer, 1)[0]), value);
    }
}
