//! `topics`: create, list, describe, alter, delete.

use std::net::TcpListener;

use crate::support::{Broker, millrace};

#[test]
fn a_topic_is_created_once() {
    let broker = Broker::start();
    broker
        .run("topics --create --topic topicMakeTest --partitions 3 --replication-factor 1")
        .prints("Created topic topicMakeTest.\n");
    broker
        .run("topics --create --topic topicMakeTest --partitions 3")
        .fails_printing(
            "Error while executing topic command : Topic 'topicMakeTest' already exists.\n",
        );
    broker
        .run("topics --create --if-not-exists --topic topicMakeTest")
        .prints("");
    broker
        .run("topics --create --topic my.topic_x")
        .prints("WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.\nCreated topic my.topic_x.\n");
    broker
        .run("topics --list")
        .prints("my.topic_x\ntopicMakeTest\n");
}

#[test]
fn topics_that_make_no_sense_are_refused_in_kafkas_words() {
    let broker = Broker::start();
    let cases = [
        (
            "--topic a --partitions 0",
            "The partitions must be greater than 0",
        ),
        (
            "--topic a --replication-factor 0",
            "The replication factor must be between 1 and 32767 inclusive",
        ),
        (
            "--topic a --replication-factor 3",
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
        ),
        (
            "--topic a --config retention.ms",
            "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".",
        ),
        (
            "--topic a --config no.such=1",
            "Unknown topic config name: no.such",
        ),
        (
            "--topic a/b",
            "Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            "--topic a --replica-assignment 1:1",
            "Partition replica lists may not contain duplicate entries: 1",
        ),
        (
            "--topic a --replica-assignment 7",
            "The manual partition assignment includes broker 7, but no such broker is registered.",
        ),
        (
            "--topic a --replica-assignment x",
            "For input string: \"x\"",
        ),
    ];
    for (flags, reason) in cases {
        broker
            .run(&format!("topics --create {flags}"))
            .fails_printing(&format!("Error while executing topic command : {reason}\n"));
    }
    broker.run("topics --list").prints("\n");
}

#[test]
fn a_topic_is_described_with_its_id_its_settings_and_its_partitions() {
    let broker = Broker::start();
    broker
        .run("topics --create --topic t --partitions 2 --config retention.ms=1000 --config cleanup.policy=compact")
        .prints("Created topic t.\n");
    let described = broker.run("topics --describe --topic t");
    let (head, lines) = described.out.split_once('\n').unwrap();
    let (before, rest) = head.split_once("\tTopicId: ").unwrap();
    let (id, after) = rest.split_once('\t').unwrap();
    assert_eq!(before, "Topic: t");
    assert_eq!(id.len(), 22, "{id}");
    assert_eq!(
        after,
        "PartitionCount: 2\tReplicationFactor: 1\tConfigs: cleanup.policy=compact,retention.ms=1000"
    );
    assert_eq!(
        lines,
        "\tTopic: t\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\
         \tTopic: t\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n"
    );
    // By id and in pages of one partition it is the same.
    let by_id = broker.run(&format!("topics --describe --topic-id {id}"));
    assert_eq!(by_id.out, described.out);
    let paged = broker.run("topics --describe --topic t --partition-size-limit-per-response 1");
    assert_eq!(paged.out, described.out);
    broker
        .run("topics --describe --topics-with-overrides")
        .prints(&format!("{head}\n"));
    for flag in ["under-replicated", "unavailable", "under-min-isr"] {
        broker
            .run(&format!("topics --describe --{flag}-partitions"))
            .prints("");
    }
    broker
        .run("topics --describe --at-min-isr-partitions")
        .prints(lines);
}

#[test]
fn a_topic_that_is_not_there_is_an_error_unless_it_may_be_missing() {
    let broker = Broker::start();
    let actions = ["--describe", "--alter --partitions 5", "--delete"];
    for action in actions {
        broker
            .run(&format!("topics {action} --topic nope"))
            .fails_printing(
                "Error while executing topic command : Topic 'nope' does not exist as expected\n",
            );
        broker
            .run(&format!("topics {action} --topic nope --if-exists"))
            .prints("");
    }
    let unknown = "AAAAAAAAAAAAAAAAAAAAAQ";
    broker
        .run(&format!("topics --describe --topic-id {unknown}"))
        .fails_printing(&format!(
            "Error while executing topic command : TopicId '{unknown}' does not exist as expected\n"
        ));
    broker
        .run(&format!(
            "topics --describe --topic-id {unknown} --if-exists"
        ))
        .prints("");
    broker
        .run("topics --describe --topic-id garbage")
        .fails_printing("Error while executing topic command : Input string `garbage` decoded as 5 bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID\n");
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let broker = Broker::start();
    broker
        .run("topics --create --topic ra --replica-assignment 1,1")
        .prints("Created topic ra.\n");
    broker
        .run("topics --alter --topic ra --partitions 3")
        .prints("");
    broker
        .run("topics --alter --topic ra --partitions 4 --replica-assignment 1,1,1,1")
        .prints("");
    let cases = [
        (
            "2",
            "The topic ra currently has 4 partition(s); 2 would not be an increase.",
        ),
        ("4", "Topic already has 4 partition(s)."),
        (
            "5 --replica-assignment 1",
            "Attempted to add 1 additional partition(s), but only 0 assignment(s) were specified.",
        ),
        (
            "5 --replica-assignment 1,1,1,1,9",
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
    ];
    for (flags, reason) in cases {
        broker
            .run(&format!("topics --alter --topic ra --partitions {flags}"))
            .fails_printing(&format!("Error while executing topic command : {reason}\n"));
    }
    let described = broker.run("topics --describe --topic ra").out;
    assert!(described.contains("\tPartitionCount: 4\t"), "{described}");
}

#[test]
fn lists_can_leave_out_internal_topics_and_take_patterns() {
    let broker = Broker::start();
    for topic in ["orders", "payments", "pay"] {
        broker
            .run(&format!("topics --create --topic {topic}"))
            .prints(&format!("Created topic {topic}.\n"));
    }
    // Looking for its coordinator makes the topic for a group's offsets.
    broker.run("consumer-groups --describe --group g");
    broker.until("topics --list", "__consumer_offsets\n");
    broker
        .run("topics --list --exclude-internal")
        .prints("orders\npay\npayments\n");
    broker
        .run("topics --list --topic pay.*")
        .prints("pay\npayments\n");
    let deleted = broker.run("topics --delete --topic pay --force --delete-config retention.ms");
    deleted.prints("");
    assert_eq!(
        deleted.err,
        "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases.\n"
    );
    broker
        .run("topics --delete --topic pay.*,nothing")
        .prints("");
    broker
        .run("topics --list")
        .prints("__consumer_offsets\norders\n");
}

#[test]
fn flags_that_make_no_sense_are_refused_before_anything_is_asked() {
    let server = ["--bootstrap-server", "127.0.0.1:1"];
    let cases: [(&[&str], &str); 8] = [
        (
            &[],
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
        ),
        (
            &["--list", "--create"],
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
        ),
        (&["--create"], "Missing required argument \"[topic]\""),
        (
            &["--list", "--partitions", "3"],
            "Option \"[partitions]\" can't be used with option \"[list]\"",
        ),
        (
            &["--create", "--topic", "t", "--if-exists"],
            "Option \"[if-exists]\" can't be used with option \"[create]\"",
        ),
        (
            &["--alter", "--topic", "t", "--config", "a=b"],
            "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (To alter topic configurations, the kafka-configs tool can be used.)",
        ),
        (
            &["--list", "--nonsense"],
            "nonsense is not a recognized option",
        ),
        (
            &["--list", "--zookeeper", "z:2181"],
            "--zookeeper is gone since Kafka 3.0 and Millrace has no ZooKeeper: use --bootstrap-server HOST:PORT with the address of a broker instead.",
        ),
    ];
    for (flags, reason) in cases {
        millrace(&[&["topics"], &server[..], flags].concat()).is_refused(reason);
    }
    millrace(&["topics", "--list"]).is_refused("--bootstrap-server must be specified");
}

#[test]
fn a_broker_that_is_not_there_is_waited_for_as_long_as_allowed() {
    let broker = Broker::start();
    let config = broker.file("fast.properties", "default.api.timeout.ms=500\n");
    let line = [
        "topics",
        "--list",
        "--bootstrap-server",
        "127.0.0.1:1",
        "--command-config",
        &config,
    ];
    millrace(&line).fails_printing(
        "Error while executing topic command : Timed out waiting for a node assignment. Call: listTopics\n",
    );
}

#[test]
fn an_address_that_takes_connections_and_says_nothing_does_not_hide_the_next_one() {
    let broker = Broker::start();
    broker
        .run("topics --create --topic t")
        .prints("Created topic t.\n");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = format!("{},{}", silent.local_addr().unwrap(), broker.address());
    let times = "request.timeout.ms=4000\ndefault.api.timeout.ms=12000\n";
    let config = broker.file("times.properties", times);
    let line = [
        "topics",
        "--list",
        "--bootstrap-server",
        &servers,
        "--command-config",
        &config,
    ];
    millrace(&line).prints("t\n");
}
