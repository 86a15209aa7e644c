//! Several `log.dirs`: partitions spread over them, one that cannot be used at the start, one that fails while running,
//! and directories that are somebody else's: of another cluster, or of Apache Kafka.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use millrace_wire::ErrorCode;
use millrace_wire::message::metadata::MetadataResponsePartition;
use millrace_wire::message::{DescribeLogDirsRequest, FindCoordinatorRequest, MetadataRequest};

use crate::support::broker::{Broker, run_to_its_end};
use crate::support::eventually;
use crate::support::records::{batch, read_all, values};
use crate::support::wire::{Limits, Wire};

/// Partitions of the topic `t`: two for each directory.
const PARTITIONS: i32 = 6;

/// A broker with three directories `0`, `1`, `2` beside each other, the first of which has the metadata.
fn with_three() -> (Broker, Vec<PathBuf>) {
    let home = tempfile::Builder::new()
        .prefix("millrace-dirs-")
        .tempdir()
        .unwrap()
        .keep();
    let directories: Vec<PathBuf> = (0..3).map(|number| home.join(number.to_string())).collect();
    let list: Vec<String> = directories
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let broker = Broker::start(&[("log.dirs", &list.join(","))]);
    (broker, directories)
}

/// The directories are outside of the broker's own; they go with this.
struct Cleared(PathBuf);

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What DescribeLogDirs says of each directory: the error, and the partitions of `t`.
fn described(wire: &mut Wire) -> BTreeMap<PathBuf, (ErrorCode, Vec<i32>)> {
    let response = wire.ask(&DescribeLogDirsRequest { topics: None }, 4);
    assert_eq!(response.error_code, ErrorCode::None);
    let directories = response.results.iter().map(|directory| {
        let topics = directory.topics.iter().filter(|topic| &*topic.name == "t");
        let partitions = topics.flat_map(|topic| &topic.partitions);
        let numbers = partitions.map(|partition| partition.partition_index);
        let path = PathBuf::from(&*directory.log_dir);
        (path, (directory.error_code, numbers.collect()))
    });
    directories.collect()
}

/// The partitions of `t` whose directories lie in a log directory.
fn in_directory(path: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut found: Vec<i32> = entries
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_prefix("t-")?.parse().ok()
        })
        .collect();
    found.sort_unstable();
    found
}

/// Appends to each partition and reads it back: those that can be used hold all of `expected`, the others refuse both.
fn assert_served(wire: &mut Wire, offline: &[i32], expected: &[&str]) {
    let (last, _) = expected.split_last().unwrap();
    assert_led_but(wire, offline);
    for partition in 0..PARTITIONS {
        let written = wire.produce("t", partition, batch(&[last])).error_code;
        if offline.contains(&partition) {
            assert_eq!(written, ErrorCode::KafkaStorageError, "{partition}");
            let read = wire.fetch("t", partition, 0, Limits::default()).error_code;
            assert_eq!(read, ErrorCode::KafkaStorageError, "{partition}");
            let found = wire.list_offset("t", partition, -1).error_code;
            assert_eq!(found, ErrorCode::KafkaStorageError, "{partition}");
        } else {
            assert_eq!(written, ErrorCode::None, "{partition}");
            let read = values(&read_all(wire, "t", partition, 0));
            assert_eq!(read, expected, "{partition}");
        }
    }
}

/// What Metadata says of who leads: nobody where the directory has failed, so that producers go elsewhere.
fn assert_led_but(wire: &mut Wire, offline: &[i32]) {
    let all = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    eventually("the controller to know", || {
        let topics = wire.ask(&all, 9).topics;
        let topic = topics.iter().find(|one| one.name.as_deref() == Some("t"))?;
        let lost = topic.partitions.iter().filter(|one| one.leader_id == -1);
        let lost: Vec<_> = lost.collect();
        let mut numbers: Vec<i32> = lost.iter().map(|one| one.partition_index).collect();
        numbers.sort_unstable();
        let code = ErrorCode::LeaderNotAvailable;
        let told = |one: &&MetadataResponsePartition| {
            one.error_code == code && one.offline_replicas == one.replica_nodes
        };
        (numbers == offline && lost.iter().all(told)).then_some(())
    });
}

/// The broker's program with the arguments, to its end.
fn run(directories: &[PathBuf], settings: &[&str]) -> Output {
    let list: Vec<String> = directories
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let listed = format!("log.dirs={}", list.join(","));
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-server"));
    for setting in ["listeners=PLAINTEXT://127.0.0.1:0", &listed]
        .iter()
        .chain(settings)
    {
        command.arg("--override").arg(setting);
    }
    run_to_its_end(&mut command)
}

fn assert_refused(output: &Output, reason: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains(reason), "{reason:?} is not in {said}");
}

/// A shard describes some at a time.
#[test]
fn each_of_very_many_partitions_is_described_once() {
    let broker = Broker::start(&[("num.shards", "1")]);
    let mut wire = Wire::connect(&broker).patiently();
    wire.create_topic("t", 1_020, &[]);
    let (_, (error, partitions)) = described(&mut wire).pop_first().unwrap();
    assert_eq!(error, ErrorCode::None);
    let all: Vec<i32> = (0..1_020).collect();
    assert_eq!(partitions, all);
}

#[test]
fn partitions_are_spread_and_each_directory_is_described() {
    let (broker, directories) = with_three();
    let _cleared = Cleared(directories[0].parent().unwrap().to_owned());
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", PARTITIONS, &[]);
    assert_served(&mut wire, &[], &["a"]);
    let described = described(&mut wire);
    assert_eq!(described.len(), 3);
    for path in &directories {
        let lying = in_directory(path);
        assert_eq!(lying.len(), 2, "{}: {lying:?}", path.display());
        assert_eq!(described[path], (ErrorCode::None, lying));
    }
}

#[test]
fn a_directory_that_cannot_be_used_at_the_start_takes_only_its_partitions_away() {
    let (mut broker, directories) = with_three();
    let _cleared = Cleared(directories[0].parent().unwrap().to_owned());
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", PARTITIONS, &[]);
    assert_served(&mut wire, &[], &["a"]);
    let lost = in_directory(&directories[1]);
    assert!(broker.stop().success());
    let aside = directories[1].with_extension("aside");
    std::fs::rename(&directories[1], &aside).unwrap();
    std::fs::write(&directories[1], "no directory").unwrap();
    broker.start_again();
    let mut wire = Wire::connect(&broker);
    assert_served(&mut wire, &lost, &["a", "b"]);
    let shown = described(&mut wire);
    for (place, path) in directories.iter().enumerate() {
        let expected = match place {
            1 => (ErrorCode::KafkaStorageError, Vec::new()),
            _ => (ErrorCode::None, in_directory(path)),
        };
        assert_eq!(shown[path], expected, "{}", path.display());
    }
    let said = broker.await_printed("a log directory cannot be used", 1);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains(&directories[1].display().to_string()),
        "{said:?}"
    );
    // New partitions go where they can.
    wire.create_topic("new", 4, &[]);
    for partition in 0..4 {
        wire.append("new", partition, batch(&["n"]));
    }
    // Back in its place it has what it had.
    assert!(broker.stop().success());
    std::fs::remove_file(&directories[1]).unwrap();
    std::fs::rename(&aside, &directories[1]).unwrap();
    broker.start_again();
    let mut wire = Wire::connect(&broker);
    for partition in 0..PARTITIONS {
        let expected: &[&str] = if lost.contains(&partition) {
            &["a"]
        } else {
            &["a", "b"]
        };
        assert_eq!(values(&read_all(&mut wire, "t", partition, 0)), expected);
    }
    assert_eq!(
        described(&mut wire)[&directories[1]],
        (ErrorCode::None, lost)
    );
}

#[test]
fn a_directory_that_disappears_while_running_takes_only_its_partitions_away() {
    let (mut broker, directories) = with_three();
    let _cleared = Cleared(directories[0].parent().unwrap().to_owned());
    let mut wire = Wire::connect(&broker);
    // Small segments: the first batch that does not fit makes new files, which cannot be made where nothing is.
    wire.create_topic("t", PARTITIONS, &[("segment.bytes", "1048576")]);
    assert_served(&mut wire, &[], &["a"]);
    let lost = in_directory(&directories[2]);
    std::fs::remove_dir_all(&directories[2]).unwrap();
    let large = "x".repeat(900_000);
    for &partition in &lost {
        eventually("the partition to be offline", || {
            let answer = wire.produce("t", partition, batch(&[&large]));
            (answer.error_code == ErrorCode::KafkaStorageError).then_some(())
        });
    }
    assert_served(&mut wire, &lost, &["a", "b"]);
    let shown = described(&mut wire);
    for (place, path) in directories.iter().enumerate() {
        let expected = match place {
            2 => (ErrorCode::KafkaStorageError, Vec::new()),
            _ => (ErrorCode::None, in_directory(path)),
        };
        assert_eq!(shown[path], expected, "{}", path.display());
    }
    let said = broker.await_printed(
        "a log directory has failed and is offline until a restart",
        1,
    );
    assert_eq!(said.len(), 1, "{said:?}");
    wire.create_topic("new", PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        wire.append("new", partition, batch(&["n"]));
    }
    broker.kill();
}

#[test]
fn without_the_directory_of_the_metadata_nothing_starts_and_nothing_is_touched() {
    let (mut broker, directories) = with_three();
    let _cleared = Cleared(directories[0].parent().unwrap().to_owned());
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", PARTITIONS, &[]);
    assert!(broker.stop().success());
    let before: Vec<Vec<i32>> = directories[1..]
        .iter()
        .map(|path| in_directory(path))
        .collect();
    let aside = directories[0].with_extension("aside");
    std::fs::rename(&directories[0], &aside).unwrap();
    std::fs::write(&directories[0], "no directory").unwrap();
    let reason = format!(
        "{} holds the cluster metadata and cannot be used",
        directories[0].display()
    );
    assert_refused(&run(&directories, &[]), &reason);
    let after: Vec<Vec<i32>> = directories[1..]
        .iter()
        .map(|path| in_directory(path))
        .collect();
    assert_eq!(after, before);
    assert!(directories[1].join(".kafka_cleanshutdown").exists());
    std::fs::remove_file(&directories[0]).unwrap();
    std::fs::rename(&aside, &directories[0]).unwrap();
    broker.start_again();
    let mut wire = Wire::connect(&broker);
    assert_served(&mut wire, &[], &["a"]);
}

/// All files below a directory with their bytes, without the lock that whoever looks leaves behind.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if !path.ends_with(".lock") {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let path = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The fixture was written by Apache Kafka 4.3.1: topic `t` with three records, stopped cleanly.
#[test]
fn a_data_directory_of_apache_kafka_is_refused_and_not_touched() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.3.1/data");
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    copy(&fixture, &data);
    let before = contents(&data);
    assert!(before.contains_key(&data.join(".kafka_cleanshutdown")));
    let refused = |partition: &str, metadata: &Path| {
        format!(
            "{} is there, but {} has no metadata that Millrace wrote: this is a data directory of Apache Kafka, which cannot be opened yet",
            data.join(partition).display(),
            metadata.join("__cluster_metadata-0").display()
        )
    };
    let list = [data.clone()];
    assert_refused(&run(&list, &[]), &refused("__cluster_metadata-0", &data));
    assert_eq!(contents(&data), before);
    // Neither is it touched from beside, nor as a Kafka with ZooKeeper leaves it.
    let beside = home.path().join("beside");
    let elsewhere = format!("metadata.log.dir={}", beside.display());
    assert_refused(
        &run(&list, &[&elsewhere]),
        &refused("__cluster_metadata-0", &beside),
    );
    assert_eq!(contents(&data), before);
    std::fs::remove_dir_all(data.join("__cluster_metadata-0")).unwrap();
    std::fs::write(
        data.join("meta.properties"),
        "version=0\nbroker.id=1\ncluster.id=old\n",
    )
    .unwrap();
    let before = contents(&data);
    assert_refused(&run(&list, &[]), &refused("t-0", &data));
    assert_eq!(contents(&data), before);
}

#[test]
fn directories_of_another_cluster_or_broker_are_refused_with_both_names() {
    let (mut broker, directories) = with_three();
    let _cleared = Cleared(directories[0].parent().unwrap().to_owned());
    assert!(broker.stop().success());
    let properties = directories[2].join("meta.properties");
    let own = std::fs::read_to_string(&properties).unwrap();
    let line = |key: &str| {
        let found = own.lines().find(|line| line.starts_with(key)).unwrap();
        found.to_owned()
    };
    let cluster = line("cluster.id=");
    std::fs::write(&properties, own.replace(&cluster, "cluster.id=other")).unwrap();
    let (_, id) = cluster.split_once('=').unwrap();
    let reason = format!(
        "{}: cluster.id is other, this broker has {id}",
        directories[2].display()
    );
    assert_refused(&run(&directories, &[]), &reason);
    let node = line("node.id=");
    std::fs::write(&properties, own.replace(&node, "node.id=7")).unwrap();
    let (_, node) = node.split_once('=').unwrap();
    let reason = format!(
        "{}: node.id is 7, this broker has {node}",
        directories[2].display()
    );
    assert_refused(&run(&directories, &[]), &reason);
    std::fs::write(&properties, own).unwrap();
    // The same directory twice, once by way of a copy.
    std::fs::copy(directories[1].join("meta.properties"), &properties).unwrap();
    assert_refused(
        &run(&directories, &[]),
        "two log directories have the directory id ",
    );
}

/// Clients are told to come again, and do: the reason stands in the log, and not once for each time.
#[test]
fn why_the_topic_of_offsets_cannot_be_made_stands_in_the_log() {
    let broker = Broker::start(&[("cordoned.log.dirs", "*"), ("num.shards", "1")]);
    let mut wire = Wire::connect(&broker);
    let find = FindCoordinatorRequest {
        key: "g".into(),
        ..Default::default()
    };
    for _ in 0..20 {
        let answer = wire.ask(&find, 3);
        assert_eq!(answer.error_code, ErrorCode::CoordinatorNotAvailable);
    }
    let reason = "topic __consumer_offsets cannot be created";
    let lines = broker.await_printed(reason, 1);
    assert!(
        lines[0].contains("all their log directories cordoned"),
        "{lines:?}"
    );
    assert!(lines[0].contains("wire"), "who asked: {lines:?}");
    wire.ask(&find, 3);
    let lines = broker.printed_with(reason).len();
    assert!((1..=10).contains(&lines), "{lines} lines for 21 refusals");
}
