//! Broker settings of every sort, seen from outside: what a client or the disk shows when they are not at their defaults.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bytes::Bytes;
use millrace_wire::ErrorCode;
use millrace_wire::message::delete_topics::DeleteTopicsRequestTopic;
use millrace_wire::message::describe_topic_partitions::DescribeTopicPartitionsRequestTopic;
use millrace_wire::message::join_group::JoinGroupProtocol;
use millrace_wire::message::metadata::MetadataRequestTopic;
use millrace_wire::message::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_wire::message::{
    DeleteTopicsRequest, DescribeTopicPartitionsRequest, JoinGroupRequest, MetadataRequest,
    OffsetCommitRequest,
};

use crate::support::broker::{Broker, listener_in, program, run_to_its_end};
use crate::support::eventually;
use crate::support::records::batch;
use crate::support::wire::{Limits, Wire, fetch_request, record_bytes};

fn metadata(name: &str) -> MetadataRequest {
    MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        }]),
        ..Default::default()
    }
}

#[test]
fn a_broker_has_its_number_its_rack_and_its_habits_with_new_topics() {
    let broker = Broker::start(&[
        ("node.id", "7"),
        ("broker.rack", "r2"),
        ("num.partitions", "3"),
        ("default.replication.factor", "3"),
        ("delete.topic.enable", "false"),
    ]);
    let mut wire = Wire::connect(&broker);
    let made = eventually("the topic that was asked about", || {
        let answer = wire.ask(&metadata("auto"), 9);
        (answer.topics[0].error_code == ErrorCode::None).then_some(answer)
    });
    assert_eq!(made.brokers[0].node_id, 7);
    assert_eq!(made.brokers[0].rack.as_deref(), Some("r2"));
    let partitions = &made.topics[0].partitions;
    assert_eq!(partitions.len(), 3);
    assert!(partitions.iter().all(|one| one.replica_nodes == [7]));

    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicsRequestTopic {
            name: Some("auto".into()),
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let answer = wire.ask(&delete, 6);
    let refused = answer.responses[0].error_code;
    assert_eq!(refused, ErrorCode::TopicDeletionDisabled);
}

#[test]
fn without_automatic_creation_an_unknown_topic_stays_unknown() {
    let broker = Broker::start(&[("auto.create.topics.enable", "false")]);
    let mut wire = Wire::connect(&broker);
    for _ in 0..2 {
        let answer = wire.ask(&metadata("auto"), 9);
        let code = answer.topics[0].error_code;
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    }
}

#[test]
fn requests_and_answers_keep_to_their_bounds() {
    let broker = Broker::start(&[
        ("socket.request.max.bytes", "3000"),
        ("fetch.max.bytes", "1024"),
        ("max.request.partition.size.limit", "2"),
        ("max.incremental.fetch.session.cache.slots", "0"),
    ]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 3, &[]);
    let value = "x".repeat(900);
    for _ in 0..3 {
        wire.append("t", 0, batch(&[&value]));
    }
    let fetched = wire.fetch("t", 0, 0, Limits::default());
    assert_eq!(record_bytes(&fetched).len(), 1024);

    let mut open = fetch_request("t", 0, 0, Limits::default());
    open.session_epoch = 0;
    assert_eq!(wire.ask(&open, 12).session_id, 0, "there are no sessions");

    let page = DescribeTopicPartitionsRequest {
        topics: vec![DescribeTopicPartitionsRequestTopic { name: "t".into() }],
        ..Default::default()
    };
    let page = wire.ask(&page, 0);
    assert_eq!(page.topics[0].partitions.len(), 2);
    assert_eq!(page.next_cursor.map(|next| next.partition_index), Some(2));

    let mut large = Wire::connect(&broker);
    large.send_bytes(&3_001_i32.to_be_bytes());
    large.assert_closed();
}

fn join(session_timeout_ms: i32) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(&[0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        }],
        ..Default::default()
    }
}

#[test]
fn groups_keep_to_their_bounds() {
    let broker = Broker::start(&[
        ("group.min.session.timeout.ms", "60000"),
        ("group.max.session.timeout.ms", "70000"),
        ("group.max.size", "1"),
        ("offset.metadata.max.bytes", "5"),
        ("offsets.topic.segment.bytes", "2000000"),
    ]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    wire.await_coordinator("g");
    for (session_timeout_ms, expected) in [
        (59_999, ErrorCode::InvalidSessionTimeout),
        (70_001, ErrorCode::InvalidSessionTimeout),
        (60_000, ErrorCode::None),
    ] {
        // The version in which a member joins in one step.
        let answer = wire.ask(&join(session_timeout_ms), 3);
        assert_eq!(answer.error_code, expected, "{session_timeout_ms} ms");
    }
    let second = Wire::connect(&broker).ask(&join(60_000), 3);
    assert_eq!(second.error_code, ErrorCode::GroupMaxSizeReached);

    let commit = |metadata: &str| OffsetCommitRequest {
        group_id: "other".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_metadata: Some(metadata.into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    wire.await_coordinator("other");
    for (metadata, expected) in [
        ("12345", ErrorCode::None),
        ("123456", ErrorCode::OffsetMetadataTooLarge),
    ] {
        let answer = wire.ask(&commit(metadata), 7);
        assert_eq!(answer.topics[0].partitions[0].error_code, expected);
    }
    let configs = crate::configs::value_of(&mut wire, "__consumer_offsets", "segment.bytes");
    assert_eq!(configs.as_deref(), Some("2000000"));
}

/// The files in the directory of partition 0 whose names end so.
fn files(broker: &Broker, topic: &str, ending: &str) -> usize {
    let directory = broker.data().join(format!("{topic}-0"));
    let names = std::fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(ending)).count()
}

#[test]
fn topics_follow_what_the_broker_says_of_logs() {
    let broker = Broker::start(&[
        ("log.segment.bytes", "1048576"),
        ("log.retention.bytes", "1048576"),
        ("log.retention.check.interval.ms", "100"),
        ("log.segment.delete.delay.ms", "0"),
        ("log.message.timestamp.before.max.ms", "10000"),
    ]);
    let mut wire = Wire::connect(&broker);
    let defaults = [("message.timestamp.before.max.ms", "9223372036854775807")];
    wire.create_topic("t", 1, &defaults);
    let value = "x".repeat(400_000);
    for _ in 0..12 {
        wire.append("t", 0, batch(&[&value]));
    }
    eventually("old segments to go", || {
        let start = wire.list_offset("t", 0, -2).offset;
        (start > 0 && files(&broker, "t", ".log") <= 3).then_some(())
    });
    assert_eq!(wire.list_offset("t", 0, -1).offset, 12);

    wire.create_topic("strict", 1, &[]);
    // The batches of the tests are from 1970.
    let answer = wire.produce("strict", 0, batch(&["v"]));
    assert_eq!(answer.error_code, ErrorCode::InvalidTimestamp);
}

#[test]
fn an_index_that_is_full_begins_a_new_segment() {
    let broker = Broker::start(&[
        ("log.index.interval.bytes", "0"),
        ("log.index.size.max.bytes", "24"),
        ("log.retention.ms", "-1"),
    ]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    // Each has an entry of its own.
    let value = "v".repeat(600);
    for _ in 0..20 {
        wire.append("t", 0, batch(&[&value]));
    }
    let segments = files(&broker, "t", ".log");
    assert!(segments > 3, "{segments} segments of twenty batches");
}

#[test]
fn no_more_replicas_are_asked_for_than_a_topic_has() {
    let broker = Broker::start(&[("min.insync.replicas", "2")]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let answer = wire.produce("t", 0, batch(&["v"]));
    assert_eq!(answer.error_code, ErrorCode::None);
}

/// As `millrace-server ... 2>&1 | tee log` after the tee has gone, or a log on a full disk.
#[test]
fn a_log_that_takes_no_lines_does_not_end_the_broker() {
    let directory = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut process = Command::new(program())
        .arg("--override")
        .arg("listeners=PLAINTEXT://127.0.0.1:0")
        .arg("--override")
        .arg(format!(
            "log.dirs={}",
            directory.path().join("data").display()
        ))
        .stdout(Stdio::piped())
        .stderr(full.unwrap())
        .spawn()
        .unwrap();
    let printed = std::io::BufReader::new(process.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(printed).map_while(Result::ok);
    let address = lines.find_map(|line| listener_in(&line)).unwrap();
    // A line about it is due.
    let mut bad = Wire::to(address).unwrap();
    bad.send_bytes(&(-5_i32).to_be_bytes());
    bad.assert_closed();
    let answer = Wire::to(address)
        .unwrap()
        .ask(&MetadataRequest::default(), 9);
    assert_eq!(answer.brokers.len(), 1);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn metadata_may_live_apart_and_the_broker_says_how_it_runs() {
    let home = tempfile::tempdir().unwrap();
    let broker = Broker::start(&[
        ("metadata.log.dir", home.path().to_str().unwrap()),
        ("io.backend", "threads"),
        ("log.format", "json"),
        ("write.caching", "true"),
    ]);
    assert!(home.path().join("__cluster_metadata-0").is_dir());
    assert!(!broker.data().join("__cluster_metadata-0").exists());
    broker.await_printed("threads", 1);
    broker.await_printed("write.caching=true", 1);
    let mut wire = Wire::connect(&broker);
    wire.send_frame(&[3, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    wire.assert_closed();
    let line = broker.await_printed("connection closed", 1).swap_remove(0);
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
}

/// Runs the program on a file until it ends by itself.
fn run(directory: &Path, properties: &str) -> Output {
    let file = directory.join("server.properties");
    std::fs::write(&file, properties).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-server"));
    run_to_its_end(command.arg(&file).current_dir(directory))
}

#[test]
fn a_broker_that_nobody_could_use_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let authorizer = "authorizer.class.name=kafka.security.authorizer.AclAuthorizer";
    let output = run(
        directory.path(),
        &format!("log.dirs=data\nlisteners=PLAINTEXT://127.0.0.1:0\n{authorizer}\n"),
    );
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("server.properties:3: "), "{said}");
    assert!(said.contains("User:ANONYMOUS in super.users"), "{said}");
    assert!(!directory.path().join("data").exists());
}

#[test]
fn an_authorizer_that_lets_everybody_in_is_taken_and_said() {
    let broker = Broker::start(&[
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("allow.everyone.if.no.acl.found", "true"),
    ]);
    Wire::connect(&broker).create_topic("t", 1, &[]);
    let said = broker.await_printed("everybody may do everything", 1);
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn a_silent_producer_is_forgotten_after_a_time_that_changes_while_the_broker_runs() {
    let broker = Broker::start(&[("log.retention.check.interval.ms", "100")]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let producer = wire.producer_id();
    let numbered = |sequence| crate::support::records::numbered(&["v"], producer, sequence);
    wire.append("t", 0, numbered(0));
    std::thread::sleep(Duration::from_millis(300));
    let gap = wire.produce("t", 0, numbered(7)).error_code;
    assert_eq!(gap, ErrorCode::OutOfOrderSequenceNumber, "it is remembered");
    crate::limits::set(&mut wire, &[("producer.id.expiration.ms", 0, Some("1"))]);
    eventually("the producer to be forgotten", || {
        let code = wire.produce("t", 0, numbered(7)).error_code;
        (code == ErrorCode::None).then_some(())
    });
}

#[test]
fn cordoned_directories_get_no_new_partitions_until_that_changes() {
    let home = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| home.path().join(name).display().to_string());
    let broker = Broker::start(&[
        ("log.dirs", &format!("{one},{two}")),
        ("cordoned.log.dirs", &one),
        ("node.id", "1"),
    ]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("a", 4, &[]);
    let count = |directory: &str, topic: &str| {
        let is_there = |number: &i32| {
            Path::new(directory)
                .join(format!("{topic}-{number}"))
                .is_dir()
        };
        (0..4).filter(is_there).count()
    };
    assert_eq!((count(&one, "a"), count(&two, "a")), (0, 4));
    let to_the_other = ("cordoned.log.dirs", 0, Some(two.as_str()));
    let code = crate::limits::try_set(&mut wire, "1", &[to_the_other]);
    assert_eq!(code, ErrorCode::None);
    let elsewhere = ("cordoned.log.dirs", 0, Some("/elsewhere"));
    let code = crate::limits::try_set(&mut wire, "1", &[elsewhere]);
    assert_eq!(code, ErrorCode::InvalidRequest);
    // The controller hears of it a little after the answer.
    let mut names = (0..).map(|number| format!("b{number}"));
    eventually("the change to hold", || {
        let name = names.next()?;
        wire.create_topic(&name, 4, &[]);
        (count(&one, &name) == 4).then_some(())
    });
}
