//! `message.timestamp.type=LogAppendTime`: the broker's clock counts, in answers, in batches and in lookups by time.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millrace_engine::record::{Batches, Compression, TimestampType};
use millrace_wire::ErrorCode;
use millrace_wire::message::IncrementalAlterConfigsRequest;
use millrace_wire::message::incremental_alter_configs::{
    IncrementalAlterConfigsEntry, IncrementalAlterConfigsRequestResource,
};
use rdkafka::consumer::Consumer;
use rdkafka::message::{Message, Timestamp};

use crate::support::broker::Broker;
use crate::support::librdkafka::{Sender, consumer, take};
use crate::support::records::{batch, packed, read_all};
use crate::support::wire::{Limits, Wire, record_bytes};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// The number of a topic and of setting a value in IncrementalAlterConfigs.
const TOPIC: i8 = 2;
const SET: i8 = 0;

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Three records with timestamps 1000, 1001, 1002, packed or not.
fn three(codec: Compression) -> Bytes {
    match codec {
        Compression::None => batch(&["a", "b", "c"]),
        codec => packed(&["a", "b", "c"], codec),
    }
}

/// Appends a batch and demands that the answer carries the broker's time; that time.
fn append_stamped(wire: &mut Wire, codec: Compression) -> i64 {
    let before = now_ms();
    let answer = wire.produce("t", 0, three(codec));
    let after = now_ms();
    assert_eq!(answer.error_code, ErrorCode::None, "{codec:?}");
    let time = answer.log_append_time_ms;
    assert!(
        (before..=after).contains(&time),
        "{codec:?}: {time} is not between {before} and {after}"
    );
    time
}

fn set_timestamp_type(wire: &mut Wire, value: &str) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![IncrementalAlterConfigsRequestResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: vec![IncrementalAlterConfigsEntry {
                name: "message.timestamp.type".into(),
                config_operation: SET,
                value: Some(value.into()),
            }],
        }],
        ..Default::default()
    };
    let response = wire.ask(&request, 1);
    assert_eq!(response.responses[0].error_code, ErrorCode::None);
}

#[test]
fn batches_carry_the_brokers_time_whatever_their_codec() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let times: Vec<i64> = CODECS
        .iter()
        .map(|&codec| append_stamped(&mut wire, codec))
        .collect();
    let bytes = record_bytes(&wire.fetch("t", 0, 0, Limits::default()));
    let stored: Vec<_> = Batches::new(bytes).map(Result::unwrap).collect();
    assert_eq!(stored.len(), CODECS.len());
    for ((stored, codec), time) in stored.iter().zip(CODECS).zip(&times) {
        let attributes = stored.header.attributes();
        assert_eq!(attributes.timestamp_type(), TimestampType::LogAppendTime);
        // Bit 3 as it lies in the bytes clients get: byte 22 is the low one of the attributes.
        assert_eq!(stored.bytes[22] & 0b1000, 0b1000, "{codec:?}");
        assert_eq!(attributes.compression(), Ok(codec));
        assert_eq!(stored.header.max_timestamp().0, *time, "{codec:?}");
        millrace_engine::record::check_crc(&stored.bytes).unwrap();
    }
    for record in read_all(&mut wire, "t", 0, 0) {
        let batch = usize::try_from(record.offset.0 / 3).unwrap();
        assert_eq!(record.timestamp.0, times[batch], "offset {}", record.offset);
    }
}

#[test]
fn lookups_by_time_follow_the_brokers_time() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut times = Vec::new();
    for codec in CODECS {
        // Each a millisecond later at least, so that every time means one batch.
        while times.last() == Some(&now_ms()) {
            std::thread::yield_now();
        }
        times.push(append_stamped(&mut wire, codec));
    }
    let mut look = |time| {
        let found = wire.list_offset("t", 0, time);
        assert_eq!(found.error_code, ErrorCode::None);
        (found.offset, found.timestamp)
    };
    // What the producer wrote (1000 and so on) is long before; the first record of the batch is the answer.
    assert_eq!(look(1001), (0, times[0]));
    for (base_offset, &time) in (0..).step_by(3).zip(&times) {
        assert_eq!(look(time), (base_offset, time));
    }
    let last = *times.last().unwrap();
    assert_eq!(look(last + 1), (-1, -1));
    // The largest timestamp: the first record that has it.
    assert_eq!(look(-3), (12, last));
}

#[test]
fn a_live_topic_can_change_whose_time_counts() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let sent = wire.produce("t", 0, three(Compression::Zstd));
    assert_eq!((sent.base_offset, sent.log_append_time_ms), (0, -1));
    set_timestamp_type(&mut wire, "LogAppendTime");
    let plain = append_stamped(&mut wire, Compression::None);
    let packed = append_stamped(&mut wire, Compression::Zstd);
    set_timestamp_type(&mut wire, "CreateTime");
    let sent = wire.produce("t", 0, three(Compression::Zstd));
    assert_eq!((sent.base_offset, sent.log_append_time_ms), (9, -1));
    let own = [1000, 1001, 1002];
    let expected: Vec<i64> = [own, [plain; 3], [packed; 3], own].concat();
    let found = |wire: &mut Wire| -> Vec<i64> {
        let records = read_all(wire, "t", 0, 0);
        records.iter().map(|record| record.timestamp.0).collect()
    };
    assert_eq!(found(&mut wire), expected);
    let first = wire.list_offset("t", 0, 1003);
    assert_eq!((first.offset, first.timestamp), (3, plain));
    // All of it is on the disk as it was answered.
    let mut broker = broker;
    broker.restart();
    let mut wire = Wire::connect(&broker);
    assert_eq!(found(&mut wire), expected);
    let first = wire.list_offset("t", 0, 1003);
    assert_eq!((first.offset, first.timestamp), (3, plain));
}

#[test]
fn a_client_library_sees_the_brokers_time() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = now_ms();
    let sender = Sender::new(&broker, &[("compression.type", "lz4")]);
    for (number, value) in ["a", "b"].into_iter().enumerate() {
        sender.send_value("t", 0, number, value);
    }
    sender.finish_well();
    let after = now_ms();
    let consumer = consumer(&broker, "g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    for message in take(&consumer, 2) {
        match message.timestamp() {
            Timestamp::LogAppendTime(time) => assert!((before..=after).contains(&time), "{time}"),
            other => panic!("{other:?}"),
        }
    }
}
