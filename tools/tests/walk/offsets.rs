//! `get-offsets` and `delete-records`.

use crate::support::{Broker, millrace};

/// A broker with topics `t` (partitions with 0 and 3 records) and `u` (1 record).
fn with_records() -> Broker {
    let broker = Broker::start();
    broker
        .run("topics --create --topic t --partitions 2")
        .prints("Created topic t.\n");
    broker
        .run("topics --create --topic u")
        .prints("Created topic u.\n");
    let keyed = "--property parse.key=true --property key.separator=:";
    // The last one later than the others.
    for lines in ["k1:a\nk2:b\n", "k1:c\n"] {
        broker
            .feed(&format!("console-producer --topic t {keyed}"), lines)
            .prints("");
    }
    broker.feed("console-producer --topic u", "a\n").prints("");
    broker
}

#[test]
fn offsets_are_shown_for_times_topics_and_partitions() {
    let broker = with_records();
    let cases = [
        ("", "t:0:0\nt:1:3\nu:0:1\n"),
        ("--topic t", "t:0:0\nt:1:3\n"),
        ("--topic t|u --time earliest", "t:0:0\nt:1:0\nu:0:0\n"),
        ("--topic t --time -1", "t:0:0\nt:1:3\n"),
        ("--topic t --time max-timestamp", "t:1:2\n"),
        ("--topic t --time 0", "t:1:0\n"),
        ("--topic t --time 99999999999999", ""),
        ("--topic t --time -4", "t:0:0\nt:1:0\n"),
        ("--topic t --partitions 1", "t:1:3\n"),
        ("--topic-partitions t:1,u:0-1", "t:1:3\nu:0:1\n"),
        ("--topic-partitions :-1", "t:0:0\nu:0:1\n"),
    ];
    for (flags, expected) in cases {
        let line = format!("get-offsets {flags}");
        broker.run(line.trim_end()).prints(expected);
    }
    broker.run("consumer-groups --describe --group g");
    broker.until(
        "get-offsets",
        "__consumer_offsets:0:0\n__consumer_offsets:1:0\nt:0:0\n",
    );
    broker
        .run("get-offsets --exclude-internal-topics")
        .prints("t:0:0\nt:1:3\nu:0:1\n");
}

#[test]
fn questions_without_an_answer_are_refused() {
    let broker = with_records();
    let cases = [
        (
            "--topic nope",
            "Could not match any topic-partitions with the specified filters",
        ),
        (
            "--topic t --time x",
            "Malformed time argument x. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format timestamp",
        ),
        (
            "--topic t --topic-partitions t",
            "--topic-partitions cannot be used with --topic or --partitions",
        ),
        (
            "--topic t --partitions x",
            "--partitions expects a comma separated list of numeric partition ids, but received: x",
        ),
    ];
    for (flags, reason) in cases {
        broker
            .run(&format!("get-offsets {flags}"))
            .is_refused(&format!("Error occurred: {reason}"));
    }
    millrace(&["get-offsets"]).is_refused("Missing required argument \"[bootstrap-server]\"");
}

#[test]
fn records_are_deleted_up_to_an_offset_or_to_the_end() {
    let broker = with_records();
    let delete = |text: &str| {
        let file = broker.file("offsets.json", text);
        broker.run(&format!("delete-records --offset-json-file {file}"))
    };
    let some = r#"{"partitions":[{"topic":"t","partition":1,"offset":2},{"topic":"t","partition":5,"offset":1},{"topic":"u","partition":0,"offset":99}],"version":1}"#;
    delete(some).prints(
        "Executing records delete operation\nRecords delete operation completed:\n\
         partition: t-1\tlow_watermark: 2\n\
         partition: t-5\terror: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this topic-partition.\n\
         partition: u-0\terror: org.apache.kafka.common.errors.OffsetOutOfRangeException: The requested offset is not within the range of offsets maintained by the server.\n",
    );
    broker
        .run("get-offsets --topic t --time earliest")
        .prints("t:0:0\nt:1:2\n");
    broker
        .run("console-consumer --topic t --partition 1 --from-beginning --max-messages 1")
        .prints("c\n");
    delete(r#"{"partitions":[{"topic":"u","partition":0,"offset":-1}]}"#).prints(
        "Executing records delete operation\nRecords delete operation completed:\npartition: u-0\tlow_watermark: 1\n",
    );
    let twice = r#"{"partitions":[{"topic":"u","partition":0,"offset":-1},{"topic":"u","partition":0,"offset":1}]}"#;
    delete(twice).is_refused("Offset json file contains duplicate topic partitions: u-0");
    delete("x").is_refused("The input string is not a valid JSON");
    broker
        .run("delete-records")
        .is_refused("Missing required argument \"[offset-json-file]\"");
}
