//! Compacted topics: a consumer that starts at the beginning finds the last value of every key, also while the broker
//! compacts, and after it was killed in the middle of that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::admin::{AlterConfig, ResourceSpecifier};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseRecord;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::support::broker::Broker;
use crate::support::librdkafka::{Sender, admin, consumer, create_topic, options, wait};
use crate::support::{PATIENCE, eventually};

/// Compacts as soon as there is anything.
const EAGER: &[(&str, &str)] = &[
    ("log.cleaner.backoff.ms", "20"),
    ("log.cleaner.threads", "2"),
];

const TOPIC_EAGER: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("segment.ms", "40"),
    ("file.delete.delay.ms", "0"),
];

fn eager(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    TOPIC_EAGER.iter().chain(more).copied().collect()
}

/// What a consumer from the beginning got of a topic of two partitions.
#[derive(Debug, Default)]
struct Read {
    map: BTreeMap<String, String>,
    records: usize,
    delete_markers: usize,
}

fn read_from_the_start(broker: &Broker, topic: &str) -> Read {
    let consumer = consumer(
        broker,
        "from-the-start",
        &[("enable.partition.eof", "true")],
    );
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut read, mut next, mut ended) = (Read::default(), BTreeMap::new(), BTreeSet::new());
    let deadline = Instant::now() + PATIENCE;
    while ended.len() < PARTITIONS as usize {
        assert!(
            Instant::now() < deadline,
            "{ended:?} ended, {} records",
            read.records
        );
        let message = match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
                continue;
            }
            Some(Err(error)) => panic!("{error}"),
            None => continue,
        };
        let expected = next.entry(message.partition()).or_insert(0);
        assert!(message.offset() >= *expected, "offsets only ascend");
        *expected = message.offset() + 1;
        read.records += 1;
        let key = String::from_utf8(message.key().expect("a key").to_vec()).unwrap();
        match message.payload() {
            Some(value) => {
                let value = String::from_utf8(value.to_vec()).unwrap();
                read.map.insert(key, value);
            }
            None => {
                read.delete_markers += 1;
                read.map.remove(&key);
            }
        }
    }
    read
}

/// Sends a round of values and delete markers and notes what must be left in the end.
fn send_round(
    sender: &Sender,
    topic: &str,
    round: usize,
    expected: &mut BTreeMap<String, String>,
) -> usize {
    for number in 0..KEYS {
        let key = format!("key-{number}");
        let partition = i32::try_from(number).unwrap() % PARTITIONS;
        let record = BaseRecord::with_opaque_to(topic, round * KEYS + number)
            .partition(partition)
            .key(key.as_str());
        if (number + round).is_multiple_of(9) {
            sender.send(record).unwrap();
            expected.remove(&key);
        } else {
            let value = format!("{round} {}", "v".repeat(number % 50));
            sender.send(record.payload(value.as_bytes())).unwrap();
            expected.insert(key, value);
        }
    }
    sender.finish_well();
    KEYS
}

/// The line of a partition in Kafka's checkpoint of the cleaner.
fn cleaned_to(broker: &Broker, topic: &str) -> Option<i64> {
    let path: PathBuf = broker.data().join("cleaner-offset-checkpoint");
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("0"), "the version");
    let start = format!("{topic} 0 ");
    lines.find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

#[test]
fn a_consumer_from_the_start_finds_every_last_value_while_the_broker_compacts() {
    let mut broker = Broker::start(EAGER);
    create_topic(&broker, "table", PARTITIONS, &eager(&[]));
    let mut expected = BTreeMap::new();
    let mut sent = 0;
    for round in 0..24 {
        let codec = ["none", "gzip", "snappy", "lz4", "zstd"][round % 5];
        let settings = [("compression.type", codec), ("enable.idempotence", "true")];
        let sender = Sender::new(&broker, &settings);
        sent += send_round(&sender, "table", round, &mut expected);
        assert_eq!(
            read_from_the_start(&broker, "table").map,
            expected,
            "round {round}"
        );
        if round % 8 == 5 {
            broker.crash();
        }
        // The segment gets old enough to be rolled by the next round.
        std::thread::sleep(Duration::from_millis(50));
    }
    broker.await_printed("compacted", 1);
    let offset = eventually("the checkpoint of the cleaner", || {
        cleaned_to(&broker, "table")
    });
    assert!(offset > 0);
    let left = eventually("most records to be compacted away", || {
        let read = read_from_the_start(&broker, "table");
        assert_eq!(read.map, expected);
        (read.records < sent / 4).then_some(read)
    });
    // Delete markers stay for a day.
    assert!(
        left.delete_markers > 0,
        "{} of {sent} are left",
        left.records
    );
    broker.restart();
    assert_eq!(read_from_the_start(&broker, "table").map, expected);
    let names = std::fs::read_dir(broker.data().join("table-0")).unwrap();
    for name in names {
        let name = name.unwrap().file_name().into_string().unwrap();
        assert!(
            !name.ends_with(".cleaned") && !name.ends_with(".swap"),
            "{name}"
        );
    }
}

#[test]
fn delete_markers_go_once_their_time_is_over() {
    let broker = Broker::start(EAGER);
    let settings = eager(&[("delete.retention.ms", "0")]);
    create_topic(&broker, "brief", PARTITIONS, &settings);
    let sender = Sender::new(&broker, &[]);
    let mut expected = BTreeMap::new();
    send_round(&sender, "brief", 0, &mut expected);
    let gone = KEYS - expected.len();
    assert!(gone > 10, "keys that were deleted");
    let mut round = 0;
    eventually("delete markers to go", || {
        // The first compaction notes when they may go, a later one takes them.
        round += 1;
        for partition in 0..PARTITIONS {
            let record = BaseRecord::with_opaque_to("brief", round)
                .partition(partition)
                .key("busy")
                .payload(b"x".as_slice());
            sender.send(record).unwrap();
        }
        sender.finish_well();
        std::thread::sleep(Duration::from_millis(50));
        let mut read = read_from_the_start(&broker, "brief");
        read.map.remove("busy");
        assert_eq!(read.map, expected);
        (read.delete_markers == 0).then_some(())
    });
}

#[test]
fn committed_offsets_survive_the_compaction_of_their_topic() {
    let mut broker = Broker::start(EAGER);
    create_topic(&broker, "work", 1, &[]);
    let member = consumer(&broker, "committers", &[]);
    let commit = |offset: i64| {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset("work", 0, Offset::Offset(offset))
            .unwrap();
        member.commit(&offsets, CommitMode::Sync).unwrap();
    };
    commit(0);
    let offsets_topic = ResourceSpecifier::Topic("__consumer_offsets");
    let quick = AlterConfig::new(offsets_topic)
        .set("segment.ms", "30")
        .set("cleanup.policy", "compact")
        .set("min.cleanable.dirty.ratio", "0.01");
    let altered = wait(admin(&broker).alter_configs([&quick], &options())).unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    let mut committed = 0;
    eventually("a compaction of the offsets", || {
        for _ in 0..20 {
            committed += 1;
            commit(committed);
        }
        std::thread::sleep(Duration::from_millis(40));
        let lines = broker.printed_with("compacted");
        let of_offsets = lines
            .iter()
            .filter(|line| line.contains("__consumer_offsets"));
        (of_offsets.count() > 2).then_some(())
    });
    drop(member);
    broker.crash();
    let member = consumer(&broker, "committers", &[]);
    let mut asked = TopicPartitionList::new();
    asked.add_partition("work", 0);
    let found = eventually("the group's offsets", || {
        member.committed_offsets(asked.clone(), PATIENCE).ok()
    });
    assert_eq!(
        found.find_partition("work", 0).unwrap().offset(),
        Offset::Offset(committed)
    );
}

const PARTITIONS: i32 = 2;
const KEYS: usize = 300;
