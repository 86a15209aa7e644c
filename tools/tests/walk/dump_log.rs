//! `dump-log` on the files of a broker that was stopped.

use std::path::Path;

use crate::support::{Broker, Ran, millrace};

fn dump(directory: &Path, names: &[&str], flags: &[&str]) -> Ran {
    let files: Vec<String> = names
        .iter()
        .map(|name| directory.join(name).display().to_string())
        .collect();
    let files = files.join(",");
    millrace(&[&["dump-log", "--files", &files], flags].concat())
}

const LOG: &str = "00000000000000000000.log";

#[test]
fn closed_segments_are_shown_by_batch_and_by_record() {
    let mut broker = Broker::start();
    broker
        .run("topics --create --topic t")
        .prints("Created topic t.\n");
    broker
        .feed(
            "console-producer --topic t --property parse.headers=true --property parse.key=true",
            "h:v\tk\tone\nh:v\tk\ttwo\n",
        )
        .prints("");
    broker
        .feed(
            "console-producer --topic t --compression-codec zstd",
            &format!("{}\n", "three".repeat(20)),
        )
        .prints("");
    broker.stop();
    let directory = broker.data().join("t-0");
    let shallow = dump(&directory, &[LOG], &[]);
    assert_eq!(
        (shallow.code, shallow.err.as_str()),
        (Some(0), ""),
        "{shallow:?}"
    );
    let lines: Vec<&str> = shallow.out.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(
        lines[0],
        format!("Dumping {}", directory.join(LOG).display())
    );
    assert_eq!(lines[1], "Log starting offset: 0");
    assert!(
        lines[2].starts_with(
            "baseOffset: 0 lastOffset: 1 count: 2 baseSequence: 0 lastSequence: 1 producerId: "
        ),
        "{}",
        lines[2]
    );
    assert!(lines[2].contains(" producerEpoch: 0 partitionLeaderEpoch: 0 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: "), "{}", lines[2]);
    assert!(
        lines[2].contains(" magic: 2 compresscodec: none crc: ")
            && lines[2].ends_with(" isvalid: true"),
        "{}",
        lines[2]
    );
    assert!(
        lines[3].starts_with("baseOffset: 2 lastOffset: 2 count: 1 ")
            && lines[3].contains(" compresscodec: zstd "),
        "{}",
        lines[3]
    );
    let records = |flags: &[&str]| {
        let ran = dump(&directory, &[LOG], flags);
        let lines: Vec<String> = ran
            .out
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(without_time)
            .collect();
        lines
    };
    let metadata = |offset, key_size, value_size, headers| {
        // The second producer counts anew.
        let sequence = offset % 2;
        format!(
            "| offset: {offset} keySize: {key_size} valueSize: {value_size} sequence: {sequence} headerKeys: [{headers}]"
        )
    };
    let plain = [
        metadata(0, 1, 3, "h"),
        metadata(1, 1, 3, "h"),
        metadata(2, -1, 100, ""),
    ];
    assert_eq!(records(&["--deep-iteration"]), plain);
    let last = format!(" payload: {}", "three".repeat(20));
    let texts = [
        " key: k payload: one",
        " key: k payload: two",
        last.as_str(),
    ];
    let whole: Vec<String> = plain
        .iter()
        .zip(texts)
        .map(|(line, text)| format!("{line}{text}"))
        .collect();
    assert_eq!(records(&["--print-data-log"]), whole);
    assert_eq!(
        records(&["--print-data-log", "--skip-record-metadata"]),
        [
            "| key: k payload: one",
            "| key: k payload: two",
            format!("|{last}").as_str(),
        ]
    );
}

/// A record's line without its time, which nobody knows beforehand.
fn without_time(line: &str) -> String {
    match line.split_once("CreateTime: ") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
            format!("{before}{}", rest.trim_start())
        }
        None => line.to_owned(),
    }
}

#[test]
fn indexes_snapshots_and_checkpoints_are_shown_and_agree_with_their_log() {
    let mut broker = Broker::start();
    broker
        .run("topics --create --topic t --config segment.bytes=1048576 --config index.interval.bytes=600")
        .prints("Created topic t.\n");
    for line in ["one", "two", "three", "four", "five"] {
        broker
            .feed(
                "console-producer --topic t",
                &format!("{line}{}\n", "x".repeat(600)),
            )
            .prints("");
    }
    broker.stop();
    let directory = broker.data().join("t-0");
    let names = [
        "00000000000000000000.index",
        "00000000000000000000.timeindex",
    ];
    let ran = dump(&directory, &names, &[]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let entries = |word: &str| {
        ran.out
            .lines()
            .filter(|line| line.starts_with(word))
            .count()
    };
    assert!(
        entries("offset: ") >= 2 && entries("timestamp: ") >= 1,
        "{ran:?}"
    );
    let checked = dump(&directory, &names, &["--index-sanity-check"]);
    assert_eq!(
        checked.out.matches(" passed sanity check.\n").count(),
        2,
        "{checked:?}"
    );
    let verified = dump(&directory, &names, &["--verify-index-only"]);
    assert_eq!(
        (verified.out.lines().count(), verified.err.as_str()),
        (2, ""),
        "{verified:?}"
    );
    let snapshot = "00000000000000000005.snapshot";
    let ran = dump(&directory, &[snapshot, "leader-epoch-checkpoint"], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let producers: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| line.starts_with("producerId: "))
        .collect();
    assert_eq!(producers.len(), 5, "{ran:?}");
    assert!(
        producers[0].contains(" producerEpoch: 0 coordinatorEpoch: -1 currentTxnFirstOffset: "),
        "{producers:#?}"
    );
    // An index that lies is found out.
    let index = directory.join(names[0]);
    let mut bytes = std::fs::read(&index).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&index, bytes).unwrap();
    let wrong = dump(&directory, &names[..1], &["--verify-index-only"]);
    assert!(
        wrong.err.starts_with(&format!(
            "Mismatches in :{}\n  Index offset: ",
            index.display()
        )),
        "{wrong:?}"
    );
}

#[test]
fn files_that_are_not_there_or_of_no_kind_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("notes.txt");
    std::fs::write(&other, "x").unwrap();
    let ran = dump(directory.path(), &["notes.txt"], &[]);
    ran.prints(&format!("Dumping {}\n", other.display()));
    assert_eq!(
        ran.err,
        format!("Ignoring unknown file {}\n", other.display())
    );
    let missing = dump(directory.path(), &[LOG], &[]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.err.contains("No such file"), "{missing:?}");
}

/// Files of an Apache Kafka 4.3.1, and what its own tool prints of them.
#[test]
fn internal_records_are_decoded_as_kafkas_tool_decodes_them() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.3.1");
    let data =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/fixtures/kafka-4.3.1/data");
    let cases = [
        (
            &fixtures,
            "__consumer_offsets-42/00000000000000000000.log",
            "--offsets-decoder",
            "offsets.dump",
        ),
        (
            &data,
            "__cluster_metadata-0/00000000000000000000.log",
            "--cluster-metadata-decoder",
            "cluster-metadata.dump",
        ),
        (
            &data,
            "bootstrap.checkpoint",
            "--cluster-metadata-decoder",
            "bootstrap.dump",
        ),
    ];
    for (directory, file, decoder, expected) in cases {
        let ran = dump(directory, &[file], &[decoder]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
        let (first, rest) = ran.out.split_once('\n').unwrap();
        assert_eq!(first, format!("Dumping {}", directory.join(file).display()));
        let expected = std::fs::read_to_string(fixtures.join(expected)).unwrap();
        for (line, expected) in rest.lines().zip(expected.lines()) {
            assert_eq!(line, expected);
        }
        assert_eq!(rest.lines().count(), expected.lines().count());
    }
}

#[test]
fn what_a_group_committed_is_decoded() {
    let mut broker = Broker::start();
    broker
        .run("topics --create --topic t")
        .prints("Created topic t.\n");
    broker.feed("console-producer --topic t", "v\n").prints("");
    broker
        .run("console-consumer --topic t --group g --from-beginning --max-messages 1 --timeout-ms 50000")
        .prints("v\n");
    broker.stop();
    let texts: Vec<String> = (0..2)
        .map(|partition| {
            let directory = broker
                .data()
                .join(format!("__consumer_offsets-{partition}"));
            dump(&directory, &[LOG], &["--offsets-decoder"]).out
        })
        .collect();
    let text = texts.concat();
    assert!(text.contains(r#" key: {"type":"1","data":{"group":"g","topic":"t","partition":0}} payload: {"version":""#), "{text}");
    assert!(
        text.contains(r#""data":{"offset":1,"leaderEpoch":"#),
        "{text}"
    );
    assert!(
        text.contains(r#""subscription":{"topics":["t"],"#),
        "{text}"
    );
    assert!(
        text.contains(r#""assignment":{"assignedPartitions":[{"topic":"t","partitions":[0]}]"#),
        "{text}"
    );
    // Records of users have no type in their keys, or no keys at all.
    let other = dump(&broker.data().join("t-0"), &[LOG], &["--offsets-decoder"]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert_eq!(
        other.err,
        "Failed to decode message at offset 0 using the specified decoder (message had a missing key)\n"
    );
    let metadata = dump(
        &broker.data().join("t-0"),
        &[LOG],
        &["--cluster-metadata-decoder"],
    );
    assert!(metadata.out.contains("payload: Error at 0, skipping. Could not deserialize metadata record due to unknown frame version 118(only frame version 1 is supported)\n"), "{metadata:?}");
}
