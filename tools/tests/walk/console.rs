//! `console-producer` and `console-consumer`, side by side.

use std::path::Path;

use millrace_engine::record::{BatchBuilder, RecordHeader};
use millrace_engine::types::Timestamp;

use crate::support::{Broker, MILLRACE, Process, millrace};

/// A broker with a topic `t`.
fn with_topic(partitions: u32) -> Broker {
    let broker = Broker::start();
    broker
        .run(&format!(
            "topics --create --topic t --partitions {partitions}"
        ))
        .prints("Created topic t.\n");
    broker
}

#[test]
fn a_consumer_prints_what_a_producer_sends_meanwhile() {
    let broker = with_topic(1);
    let consumer = broker.spawn(
        "console-consumer --topic t --from-beginning --max-messages 3 --timeout-ms 50000",
        "",
    );
    broker
        .feed("console-producer --topic t", "one\ntwo\n")
        .prints("");
    // The flag of Kafka 2, which the guides of its time use.
    let address = broker.address().to_string();
    let old = [
        "console-producer",
        "--broker-list",
        &address,
        "--topic",
        "t",
    ];
    Process::start(&old, "three").end().prints("");
    let consumed = consumer.end();
    consumed.prints("one\ntwo\nthree\n");
    assert_eq!(consumed.err, "Processed a total of 3 messages\n");
}

#[test]
fn a_topic_is_made_by_the_first_record_or_by_the_first_reader() {
    let broker = Broker::start();
    broker
        .feed("console-producer --topic written", "a\n")
        .prints("");
    broker
        .run(
            "console-consumer --topic written --from-beginning --max-messages 1 --timeout-ms 50000",
        )
        .prints("a\n");
    let reader = broker.spawn(
        "console-consumer --topic awaited --from-beginning --max-messages 1",
        "",
    );
    broker.until("topics --list --exclude-internal", "awaited\n");
    broker
        .feed("console-producer --topic awaited", "b\n")
        .prints("");
    reader.end().prints("b\n");
}

#[test]
fn keys_headers_and_nulls_travel() {
    let broker = with_topic(1);
    let lines = "h1:v1,h2:v2\tkey\tvalue\nNULL\tNULL\tNULL\nh:NULL\tk\tNULL\n";
    broker
        .feed("console-producer --topic t --property parse.headers=true --property parse.key=true --reader-property null.marker=NULL", lines)
        .prints("");
    let read = "console-consumer --topic t --partition 0 --offset earliest --max-messages 3";
    broker
        .run(&format!(
            "{read} --property print.headers=true --property print.key=true"
        ))
        .prints("h1:v1,h2:v2\tkey\tvalue\nNO_HEADERS\tnull\tnull\nh:null\tk\tnull\n");
    broker
        .run(&format!("{read} --property print.headers=true --property print.key=true --property null.literal=nil --property headers.separator=| --property key.separator=- --property line.separator=;"))
        .prints("h1:v1|h2:v2-key-value;NO_HEADERS-nil-nil;h:nil-k-nil;");
    broker
        .run(&format!("{read} --formatter-property print.partition=true --formatter-property print.offset=true --formatter-property print.value=false"))
        .prints("Partition:0\tOffset:0\nPartition:0\tOffset:1\nPartition:0\tOffset:2\n");
    let all = "print.timestamp print.partition print.offset print.delivery print.epoch print.headers print.key";
    let all: String = all
        .split(' ')
        .map(|name| format!(" --property {name}=true"))
        .collect();
    let line = broker.run(&format!("{read}{all}")).out;
    let first = line.lines().next().unwrap();
    let (time, rest) = first.split_once('\t').unwrap();
    let millis = time.strip_prefix("CreateTime:").unwrap();
    assert!(
        millis
            .parse::<u64>()
            .is_ok_and(|millis| millis > 1_600_000_000_000),
        "{time}"
    );
    assert_eq!(
        rest,
        "Partition:0\tOffset:0\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\th1:v1,h2:v2\tkey\tvalue"
    );
}

#[test]
fn a_header_key_that_is_not_utf_8_is_passed_over_where_headers_are_not_printed() {
    let broker = with_topic(1);
    let latin = RecordHeader {
        key: vec![0xe9].into(),
        value: None,
    };
    let mut batch = BatchBuilder::new();
    batch.push(Timestamp::NONE, None, Some(b"strange"), &[latin]);
    batch.push(Timestamp::NONE, None, Some(b"plain"), &[]);
    broker.append("t", batch.build());
    broker
        .run("console-consumer --topic t --group g --from-beginning --max-messages 2 --timeout-ms 50000")
        .prints("strange\nplain\n");
}

#[test]
fn keys_choose_partitions_as_those_of_javas_clients_do() {
    let broker = with_topic(2);
    broker
        .feed(
            "console-producer --topic t --property parse.key=true --property key.separator=:",
            "k1:v1\nk2:v2\nk1:v3\nk3:v4\n",
        )
        .prints("");
    // What Kafka's producer does with these keys and two partitions.
    let partitions = [(0, "k3=v4\n"), (1, "k1=v1\nk2=v2\nk1=v3\n")];
    for (partition, expected) in partitions {
        let count = expected.lines().count();
        broker
            .run(&format!("console-consumer --topic t --partition {partition} --from-beginning --max-messages {count} --property print.key=true --property key.separator=="))
            .prints(expected);
    }
}

#[test]
fn one_partition_is_read_from_any_offset() {
    let broker = with_topic(1);
    broker
        .feed(
            "console-producer --topic t --sync --request-required-acks 1 --compression-codec zstd",
            "a\nb\nc\n",
        )
        .prints("");
    let cases = [
        (
            "--offset 1 --enable-systest-events",
            "b\nc\nshutdown_complete\n",
        ),
        ("--offset earliest", "a\nb\n"),
        ("--from-beginning", "a\nb\n"),
    ];
    for (flags, expected) in cases {
        broker
            .run(&format!(
                "console-consumer --topic t --partition 0 --max-messages 2 {flags}"
            ))
            .prints(expected);
    }
    let end =
        broker.run("console-consumer --topic t --partition 0 --offset latest --timeout-ms 500");
    end.prints("");
    assert_eq!(
        end.err,
        "ERROR Error processing message, terminating consumer process: org.apache.kafka.common.errors.TimeoutException\nProcessed a total of 0 messages\n"
    );
    // Kafka's consumer waits for a partition to appear.
    broker
        .run("console-consumer --topic t --partition 7 --from-beginning --timeout-ms 1000")
        .prints("");
}

#[test]
fn a_group_goes_on_where_it_was() {
    let broker = with_topic(1);
    broker
        .feed("console-producer --topic t", "a\nb\nc\n")
        .prints("");
    let read =
        "console-consumer --topic t --group g --from-beginning --timeout-ms 50000 --max-messages";
    broker.run(&format!("{read} 2")).prints("a\nb\n");
    broker.run(&format!("{read} 1")).prints("c\n");
    // Another group begins anew; without --from-beginning it waits at the end.
    broker
        .run("console-consumer --include t{1,2}|u --group h --consumer-property auto.offset.reset=earliest --max-messages 1 --timeout-ms 50000")
        .prints("a\n");
    broker
        .run("console-consumer --topic t --group i --timeout-ms 1500")
        .prints("");
    // One that is not to choose where to begin ends.
    let ended = broker.run("console-consumer --topic t --group j --consumer-property auto.offset.reset=none --timeout-ms 50000");
    ended.fails_printing("");
    assert!(
        ended.err.contains(
            "ERROR Error processing message, terminating consumer process: AutoOffsetReset"
        ),
        "{ended:?}"
    );
}

#[test]
fn a_consumer_that_is_interrupted_says_how_much_it_printed() {
    let broker = with_topic(1);
    broker.feed("console-producer --topic t", "a\n").prints("");
    let consumer = broker.spawn("console-consumer --topic t --group g --from-beginning", "");
    broker.until("consumer-groups --describe --group g --state", "Stable");
    let ended = consumer.interrupt();
    ended.prints(if ended.out.is_empty() { "" } else { "a\n" });
    let count = ended.out.lines().count();
    assert_eq!(
        ended.err,
        format!("Processed a total of {count} messages\n")
    );
    // It left the group on its way out.
    broker.until("consumer-groups --describe --group g --state", "Empty");
}

#[test]
fn lines_without_a_separator_end_the_producer_unless_they_may_pass() {
    let broker = with_topic(1);
    let keyed = "console-producer --topic t --property parse.key=true --property key.separator=:";
    let failed = broker.feed(keyed, "k:v\nnokey\nk:w\n");
    failed.is_refused("No key separator found on line number 2: 'nokey'");
    broker
        .feed(&format!("{keyed} --property ignore.error=true"), "nokey\n")
        .prints("");
    broker
        .run("console-consumer --topic t --partition 0 --from-beginning --max-messages 2 --property print.key=true")
        .prints("k\tv\nnull\tnokey\n");
}

#[test]
fn a_record_that_is_not_delivered_is_said() {
    let broker = Broker::start();
    let failed = broker.feed("console-producer --topic a/b", "v\n");
    failed.is_refused("ERROR Error when sending message to topic a/b with key: null, value: 1 bytes with error: InvalidTopic (Broker: Invalid topic)");
}

#[test]
fn a_line_that_is_too_large_is_said_and_those_after_it_are_sent() {
    let broker = with_topic(1);
    let producer = "console-producer --topic t --producer-property max.request.size=1000";
    let lines = format!("before\n{}\nafter\n", "x".repeat(2000));
    let failed = broker.feed(producer, &lines);
    failed.is_refused("ERROR Error when sending message to topic t with key: null, value: 2000 bytes with error: The request included a message larger than the max message size the server will accept.");
    // One after the other, the first that fails ends it.
    let failed = broker.feed(&format!("{producer} --sync"), &lines);
    failed.is_refused(
        "The request included a message larger than the max message size the server will accept.",
    );
    broker
        .run("console-consumer --topic t --partition 0 --from-beginning --max-messages 3")
        .prints("before\nafter\nbefore\n");
}

#[test]
fn numbers_are_printed_by_their_deserializer() {
    let broker = with_topic(1);
    broker
        .feed("console-producer --topic t", "12345678\nshort\n")
        .prints("");
    let long = "org.apache.kafka.common.serialization.LongDeserializer";
    let read = "console-consumer --topic t --partition 0 --from-beginning";
    let failed = broker.run(&format!(
        "{read} --property value.deserializer={long} --max-messages 2"
    ));
    failed.fails_printing("3544952156018063160\n");
    assert!(
        failed
            .err
            .contains("Size of data received by LongDeserializer is not 8"),
        "{failed:?}"
    );
    broker
        .run(&format!(
            "{read} --value-deserializer {long} --max-messages 2 --skip-message-on-error"
        ))
        .prints("3544952156018063160\n");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let cases = [
        (
            "console-consumer --partition 0",
            "Exactly one of the following arguments is required: [topic], [include]",
        ),
        (
            "console-consumer --topic t --include u",
            "Exactly one of the following arguments is required: [topic], [include]",
        ),
        (
            "console-consumer --topic t --offset 2",
            "The partition is required when offset is specified.",
        ),
        (
            "console-consumer --topic t --partition 0 --offset -3",
            "The provided offset value '-3' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.",
        ),
        (
            "console-consumer --topic t --partition 0 --offset x",
            "The provided offset value 'x' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.",
        ),
        (
            "console-consumer --topic t --partition 0 --offset 1 --from-beginning",
            "Options from-beginning and offset cannot be specified together.",
        ),
        (
            "console-consumer --topic t --partition 0 --group g",
            "Options group and partition cannot be specified together.",
        ),
        ("console-producer", "Missing required argument \"[topic]\""),
        (
            "console-producer --topic t --property null.marker=: --property headers.key.separator=:",
            "null.marker and headers.key.separator may not be equal",
        ),
    ];
    for (line, reason) in cases {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(["--bootstrap-server", "127.0.0.1:1"]);
        millrace(&words).is_refused(reason);
    }
    for line in ["console-consumer", "console-producer"] {
        millrace(&[line, "--topic", "t"])
            .is_refused("Missing required argument \"[bootstrap-server]\"");
    }
}

#[test]
fn a_producer_that_waits_for_a_line_can_be_interrupted() {
    let broker = with_topic(1);
    let address = broker.address().to_string();
    let words = ["console-producer", "-broker-list", &address, "-topic", "t"];
    let (producer, _input) =
        Process::start_with_more_to_come(Path::new(MILLRACE), &words, "typed\n");
    broker
        .run("console-consumer --topic t --from-beginning --max-messages 1 --timeout-ms 50000 --formatter kafka.tools.DefaultMessageFormatter")
        .prints("typed\n");
    producer.interrupt().prints("");
}
