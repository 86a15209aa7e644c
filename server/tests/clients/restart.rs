//! What a broker still knows after it was stopped or killed.

use std::process::Command;

use nix::sys::signal::Signal;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use millrace_wire::ErrorCode;
use millrace_wire::message::MetadataRequest;
use millrace_wire::message::metadata::MetadataRequestTopic;

use crate::support::broker::{Broker, run_to_its_end};
use crate::support::librdkafka::{
    Sender, admin, consumer, create_topic, options, take, text, wait,
};
use crate::support::records::{batch, numbered, read_all, values};
use crate::support::wire::Wire;

/// Fills a broker, takes it down in the given way, and looks at what it says afterwards.
fn everything_is_still_there(take_down: fn(&mut Broker)) {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "orders", 3, &[("retention.ms", "123456789")]);
    create_topic(&broker, "doomed", 1, &[]);
    let sender = Sender::new(&broker, &[("compression.type", "zstd")]);
    for number in 0..300 {
        sender.send_value(
            "orders",
            i32::try_from(number % 3).unwrap(),
            number,
            &number.to_string(),
        );
    }
    sender.finish_well();
    drop(sender);
    let member = consumer(&broker, "workers", &[]);
    member.subscribe(&["orders"]).unwrap();
    take(&member, 300);
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset("orders", 0, Offset::Offset(40))
        .unwrap();
    offsets
        .add_partition_offset("orders", 1, Offset::Offset(50))
        .unwrap();
    offsets
        .add_partition_offset("orders", 2, Offset::Offset(60))
        .unwrap();
    member.commit(&offsets, CommitMode::Sync).unwrap();
    drop(member);
    wait(admin(&broker).delete_topics(&["doomed"], &options())).unwrap()[0]
        .as_ref()
        .unwrap();
    let mut trimmed = TopicPartitionList::new();
    trimmed
        .add_partition_offset("orders", 2, Offset::Offset(10))
        .unwrap();
    wait(admin(&broker).delete_records(&trimmed, &options())).unwrap();
    let identity = identity(&broker);

    take_down(&mut broker);

    assert_eq!(
        self::identity(&broker),
        identity,
        "cluster id, topic id or broker id changed"
    );
    let mut wire = Wire::connect(&broker);
    for partition in 0..3 {
        let start = if partition == 2 { 10 } else { 0 };
        let expected: Vec<String> = (start..100)
            .map(|n| (n * 3 + partition).to_string())
            .collect();
        let came = read_all(&mut wire, "orders", partition, i64::from(start));
        assert_eq!(values(&came), expected, "partition {partition}");
        let earliest = wire.list_offset("orders", partition, -2);
        assert_eq!(
            earliest.offset,
            i64::from(start),
            "start of partition {partition}"
        );
    }
    let member = consumer(&broker, "workers", &[]);
    member.subscribe(&["orders"]).unwrap();
    let came = take(&member, 60 + 50 + 40);
    for (partition, first) in [(0, 40), (1, 50), (2, 60)] {
        let mut of_partition = came
            .iter()
            .filter(|message| message.partition() == partition);
        assert_eq!(
            of_partition.next().map(Message::offset),
            Some(first),
            "partition {partition}"
        );
    }
    let metadata = member
        .fetch_metadata(None, crate::support::PATIENCE)
        .unwrap();
    assert!(
        metadata
            .topics()
            .iter()
            .all(|topic| topic.name() != "doomed")
    );
    let specifier = rdkafka::admin::ResourceSpecifier::Topic("orders");
    let described = wait(admin(&broker).describe_configs([&specifier], &options())).unwrap();
    let described = described.into_iter().next().unwrap().unwrap();
    assert_eq!(
        described.get("retention.ms").unwrap().value.as_deref(),
        Some("123456789")
    );
}

/// What must never change: cluster id, broker ids, the topic's id.
fn identity(broker: &Broker) -> String {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("orders".into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let metadata = Wire::connect(broker).ask(&request, 12);
    let brokers: Vec<i32> = metadata
        .brokers
        .iter()
        .map(|broker| broker.node_id)
        .collect();
    format!(
        "{:?} {brokers:?} {:?}",
        metadata.cluster_id, metadata.topics[0].topic_id
    )
}

#[test]
fn a_clean_stop_keeps_everything() {
    everything_is_still_there(Broker::restart);
}

#[test]
fn a_kill_keeps_everything_acknowledged() {
    everything_is_still_there(Broker::crash);
}

#[test]
fn a_stop_ends_with_status_zero_and_answers_what_it_took() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    wire.append("t", 0, batch(&["a"]));
    let status = broker.stop();
    assert!(status.success(), "{status}");
    wire.assert_closed();
    assert_left_in_order(&broker);
}

/// Its terminal is gone: so it went, too, and left nothing in order.
#[test]
fn a_hangup_stops_a_broker_in_order() {
    // The tests themselves may have been started to outlive theirs.
    let mut broker = Broker::start_by(&["env", "--default-signal=HUP"]);
    let status = broker.stop_by(Signal::SIGHUP);
    assert!(status.success(), "{status}");
    assert_left_in_order(&broker);
}

#[test]
fn a_hangup_does_not_stop_a_broker_that_is_to_outlive_its_terminal() {
    let mut broker = Broker::start_by(&["nohup"]);
    assert!(broker.ignores_hangup());
    broker.signal(Signal::SIGHUP);
    Wire::connect(&broker).ask(&MetadataRequest::default(), 9);
    let status = broker.stop();
    assert!(status.success(), "{status}");
}

fn assert_left_in_order(broker: &Broker) {
    let left = std::fs::read_dir(broker.data()).unwrap();
    let names: Vec<_> = left
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.iter().any(|name| name == ".kafka_cleanshutdown"),
        "{names:?}"
    );
}

#[test]
fn an_idempotent_producers_duplicate_is_recognised_after_a_restart() {
    for take_down in [Broker::restart, Broker::crash] {
        let mut broker = Broker::start(&[]);
        let mut wire = Wire::connect(&broker);
        wire.create_topic("t", 1, &[]);
        let producer = wire.producer_id();
        for sequence in 0..7 {
            wire.append("t", 0, numbered(&["v"], producer, sequence));
        }
        take_down(&mut broker);
        let mut wire = Wire::connect(&broker);
        for sequence in 2..7 {
            let again = wire.append("t", 0, numbered(&["v"], producer, sequence));
            assert_eq!(again, i64::from(sequence), "the original offset");
        }
        let gap = wire.produce("t", 0, numbered(&["v"], producer, 9));
        assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(wire.append("t", 0, numbered(&["v"], producer, 7)), 7);
        assert_ne!(
            wire.producer_id().0,
            producer.0,
            "a producer id was given out twice"
        );
    }
}

#[test]
fn running_clients_go_on_after_a_restart() {
    let mut broker = Broker::start_on_a_lasting_port(&[]);
    create_topic(&broker, "t", 1, &[]);
    let sender = Sender::new(&broker, &[]);
    let member = consumer(&broker, "workers", &[]);
    member.subscribe(&["t"]).unwrap();
    sender.send_value("t", 0, 0, "before");
    sender.finish_well();
    assert_eq!(text(&take(&member, 1)[0]), "before");
    broker.restart();
    sender.send_value("t", 0, 1, "after");
    assert_eq!(sender.finish_well(), [(0, 1)]);
    assert_eq!(text(&take(&member, 1)[0]), "after");
}

/// Brokers on lasting ports rely on it: somebody may be quicker.
#[test]
fn a_port_that_somebody_has_is_passed_over() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let broker = Broker::start_on_one_of([port, 0], &[]);
    assert_ne!(broker.address().port(), port);
    Wire::connect(&broker).ask(&MetadataRequest::default(), 9);
}

#[test]
fn a_directory_in_use_is_refused_with_the_reason() {
    let broker = Broker::start(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-server"));
    command
        .args([
            "--override",
            "listeners=PLAINTEXT://127.0.0.1:0",
            "--override",
        ])
        .arg(format!("log.dirs={}", broker.data().display()))
        .current_dir(broker.directory());
    let output = run_to_its_end(&mut command);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&*broker.data().to_string_lossy()), "{said}");
    assert!(
        said.to_lowercase().contains("lock") || said.contains("in use"),
        "{said}"
    );
}
