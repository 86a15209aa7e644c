//! The committed seeds of the fuzzer, replayed on the stable compiler, and where they come from.
//!
//! `cargo test -p millrace-engine --test corpus -- --ignored` writes the seeds anew from our own encoders. Seeds and
//! findings carry a hyphen in their names; files without one are a fuzzer's own and stay where they were found.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a helper of tests picks its own small numbers, and fails loudly"
)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millrace_engine::config::{Alteration, TopicConfig, TopicDefaults};
use millrace_engine::group::record::{self as group_record, GroupRecord};
use millrace_engine::group::{CommittedOffset, StoredGroup, StoredMember};
use millrace_engine::io::{Disk, Sim};
use millrace_engine::log::producer_state::ProducerStates;
use millrace_engine::log::{self, OpenOptions};
use millrace_engine::metadata::{
    self, Broker, ConfigResource, Endpoint, MetadataRecord, Partition, PartitionEpoch,
    SecurityProtocol,
};
use millrace_engine::record::control::{EndTransactionMarker, TransactionOutcome};
use millrace_engine::record::{self, BatchBuilder, Compression, RecordHeader};
use millrace_engine::types::{
    BrokerId, DirectoryId, GenerationId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence,
    Timestamp, TopicId, TopicPartition, Uuid,
};
use millrace_engine::verify::verify_hostile;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

fn replay(target: &str, entry: fn(&[u8])) {
    let mut count = 0;
    for file in fs::read_dir(corpus(target)).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().contains('-') {
            println!("{}", path.display());
            entry(&fs::read(path).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "{target} has no seeds");
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let directory = corpus(target);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), bytes).unwrap();
}

#[test]
fn record_batches_of_the_corpus_are_survived() {
    replay("record_batch", record::decode_hostile);
}

#[test]
fn group_records_of_the_corpus_are_survived() {
    replay("group_record", group_record::decode_hostile);
}

#[test]
fn metadata_records_of_the_corpus_are_survived() {
    replay("metadata_record", metadata::decode_hostile);
}

#[test]
fn directories_of_the_corpus_are_recovered() {
    replay("segment_recovery", log::recover_hostile);
}

#[test]
fn small_files_of_the_corpus_are_survived() {
    replay("small_file", log::read_small_hostile);
}

#[test]
fn metadata_logs_of_the_corpus_are_opened_or_refused() {
    replay("metadata_log", metadata::open_hostile);
}

#[test]
fn log_directories_of_the_corpus_are_verified_and_repaired() {
    replay("log_directory", verify_hostile);
    // What a start recovers can be looked at offline too.
    replay("segment_recovery", verify_hostile);
}

/// A file that a real Kafka 4.3.1 wrote.
fn of_kafka(path: &str) -> Vec<u8> {
    let home = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let data = home.join("../server/tests/fixtures/kafka-4.3.1/data");
    fs::read(data.join(path)).unwrap()
}

#[test]
#[ignore = "writes fuzz/corpus/small_file"]
fn write_seeds_of_small_file() {
    let seed = |kind: u8, name: &str, content: &[u8]| {
        let bytes = [&[kind], content].concat();
        write("small_file", &format!("seed-{name}"), &bytes);
    };
    for (kind, path) in [
        (0, "recovery-point-offset-checkpoint"),
        (0, "log-start-offset-checkpoint"),
        (0, "replication-offset-checkpoint"),
        (0, "cleaner-offset-checkpoint"),
        (1, "t-0/leader-epoch-checkpoint"),
        (2, "meta.properties"),
        (3, "t-0/partition.metadata"),
        (5, "t-0/00000000000000000000.index"),
        (6, "t-0/00000000000000000000.timeindex"),
    ] {
        let content = of_kafka(path);
        seed(
            kind,
            &path.replace('/', "-"),
            &content[..content.len().min(1_000)],
        );
    }
    seed(4, "clean-shutdown", b"{\"version\":0,\"brokerEpoch\":5}");
    seed(1, "epochs", b"0\n3\n0 0\n2 17\n5 900\n");
    let entries = |bytes: usize| -> Vec<u8> {
        let entry = |place: u8| {
            let mut entry = vec![0; bytes];
            entry[bytes / 2 - 1] = place;
            entry[bytes - 1] = place;
            entry
        };
        (1..9).flat_map(entry).collect()
    };
    seed(5, "offset-index", &entries(8));
    seed(6, "time-index", &entries(12));
    let (snapshot, windows) = producer_files();
    let length = (snapshot.len() as u16).to_be_bytes();
    seed(7, "producers", &[&length[..], &snapshot, &windows].concat());
    let snapshot = of_kafka("t-0/00000000000000000003.snapshot");
    let length = (snapshot.len() as u16).to_be_bytes();
    seed(7, "producers-of-kafka", &[&length[..], &snapshot].concat());
}

/// A snapshot and its windows, of two producers that appended several batches.
fn producer_files() -> (Vec<u8>, Vec<u8>) {
    let disk = Disk::real();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("t-0");
    let options = OpenOptions {
        directory: directory.clone(),
        clean: false,
        recovery_point: Offset::ZERO,
        log_start_offset: Offset::ZERO,
        cleaned_to: Offset::NONE,
        config: Arc::new(TopicConfig::default()),
        now: Timestamp(1_000),
    };
    fs::create_dir_all(&directory).unwrap();
    let batches = [
        at_offset(&batch(produced(0)), 0),
        at_offset(&batch(produced(3).transactional()), 3),
        at_offset(&batch(produced(6).transactional()), 6),
    ];
    fs::write(directory.join("00000000000000000000.log"), batches.concat()).unwrap();
    let (log, _) = log::open(&disk, options).unwrap();
    let mut states = ProducerStates::default();
    for (id, producer) in log.producers() {
        states.restore(id, Some(*producer));
    }
    log::producer_snapshot::encode(&states)
}

#[test]
#[ignore = "writes fuzz/corpus/metadata_log"]
fn write_seeds_of_metadata_log() {
    let disk = Sim::new(0).disk();
    let directory = std::path::Path::new("/data/__cluster_metadata-0");
    disk.create_dir_all(directory).unwrap();
    let files = || -> [Vec<u8>; 3] {
        let snapshots = metadata::raft::snapshot::list(&disk, directory).unwrap();
        let newest = snapshots.first();
        let read = |path: PathBuf| disk.read(&path, 1 << 20).unwrap_or_default();
        [
            read(metadata::raft::vote::Vote::path(directory)),
            newest.map_or_else(Vec::new, |&position| {
                read(metadata::raft::snapshot::path_of(directory, position))
            }),
            read(metadata::raft::Journal::path(directory)),
        ]
    };
    let seed = |name: &str, flags: u8, [vote, snapshot, journal]: [&[u8]; 3]| {
        let mut bytes = vec![flags];
        for content in [vote, snapshot] {
            bytes.extend_from_slice(&(content.len() as u16).to_be_bytes());
            bytes.extend_from_slice(content);
        }
        bytes.extend_from_slice(journal);
        write("metadata_log", &format!("seed-{name}"), &bytes);
    };
    let open = || {
        let options = metadata::MetadataOptions::default();
        let node = BrokerId(1);
        metadata::Metadata::open(&disk, directory, node, "cluster", options).unwrap()
    };
    let mut opened = open();
    opened.propose(&register()).unwrap();
    opened.propose(&create_topic()).unwrap();
    drop(opened);
    let [vote, snapshot, journal] = files();
    seed("crash", 7, [&vote, &snapshot, &journal]);
    seed("torn", 0, [&vote, &snapshot, &journal[..journal.len() - 9]]);
    seed("journal-alone", 4, [b"", b"", &journal]);
    let mut opened = open();
    opened.write_snapshot().unwrap();
    opened.propose(&register()).unwrap();
    opened.close().unwrap();
    let [vote, snapshot, journal] = files();
    seed("snapshot", 7, [&vote, &snapshot, &journal]);
    seed("snapshot-alone", 2, [b"", &snapshot, b""]);
    seed("no-journal", 3, [&vote, &snapshot, b""]);
    seed("nothing-mended", 0, [&vote, &snapshot, &journal]);
}

fn register() -> metadata::Command {
    metadata::Command::RegisterBroker(metadata::RegisterBroker {
        id: BrokerId(1),
        incarnation: Uuid(3),
        endpoints: Vec::new(),
        rack: Some("r".into()),
        log_directories: vec![DirectoryId(Uuid(1))],
    })
}

fn create_topic() -> metadata::Command {
    let topic = metadata::NewTopic {
        name: "orders".to_owned(),
        partitions: 2,
        replication_factor: 1,
        assignments: Vec::new(),
        settings: vec![Alteration::set("retention.ms", "5")],
        random: 77,
    };
    metadata::Command::CreateTopics(metadata::CreateTopics {
        topics: vec![topic],
        partitions_default: 1,
        replication_factor_default: 1,
        partitions_max: 100,
        topic_defaults: Arc::new(TopicDefaults::default()),
        validate_only: false,
    })
}

#[test]
#[ignore = "writes fuzz/corpus/log_directory"]
fn write_seeds_of_log_directory() {
    let first = at_offset(&batch(produced(0)), 0);
    let nothing: [&[u8]; 4] = [b"", b"", b"", b""];
    let small: [&[u8]; 4] = [b"0\n1\n-1 0\n", &[9; 16], &[9; 24], &[9; 30]];
    for (name, flags, small) in [
        ("one-batch", 0, nothing),
        ("wrong-small-files", 1, small),
        ("log-start", 2, nothing),
    ] {
        let bytes = directory(flags, 3, small, &first);
        write("log_directory", &format!("seed-{name}"), &bytes);
    }
    // Of a real Kafka, with its indexes.
    let log = of_kafka("t-0/00000000000000000000.log");
    let epochs = of_kafka("t-0/leader-epoch-checkpoint");
    let snapshot = of_kafka("t-0/00000000000000000003.snapshot");
    let bytes = directory(1, 3, [&epochs, b"", b"", &snapshot], &log);
    write("log_directory", "seed-of-kafka", &bytes);
}

/// Three records, with and without key, value and headers.
fn records(builder: &mut BatchBuilder) {
    let header = RecordHeader {
        key: Bytes::from_static(b"h"),
        value: Some(Bytes::from_static(b"1")),
    };
    builder.push(
        Timestamp(1_000),
        Some(b"key"),
        Some(b"value value value"),
        &[],
    );
    builder.push(Timestamp(1_001), None, Some(b""), &[header]);
    builder.push(Timestamp(999), Some(b"key"), None, &[]);
}

fn batch(builder: BatchBuilder) -> Bytes {
    let mut builder = builder;
    records(&mut builder);
    builder.build()
}

fn produced(sequence: i32) -> BatchBuilder {
    BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(1), Sequence(sequence))
}

#[test]
#[ignore = "writes fuzz/corpus/record_batch"]
fn write_seeds_of_record_batch() {
    let seed = |name: &str, bytes: &[u8]| write("record_batch", &format!("seed-{name}"), bytes);
    for codec in CODECS {
        let packed = BatchBuilder::new().compression(codec);
        seed(&codec.to_string(), &batch(packed));
        let mut long = BatchBuilder::new().compression(codec);
        for index in 0..20 {
            let value = [index; 30];
            long.push(
                Timestamp(i64::from(index)),
                Some(&[index]),
                Some(&value),
                &[],
            );
        }
        seed(&format!("{codec}-20-records"), &long.build());
    }
    seed("idempotent", &batch(produced(0)));
    seed("transactional", &batch(produced(3).transactional()));
    let stamped = BatchBuilder::new().log_append_time(Timestamp(5));
    seed("log-append-time", &batch(stamped));
    seed(
        "two-batches",
        &[batch(produced(0)), batch(produced(3))].concat(),
    );
    seed("legacy", &legacy_sets());
    seed("cut-short", &batch(BatchBuilder::new())[..100]);
    for (name, outcome) in [
        ("commit", TransactionOutcome::Commit),
        ("abort", TransactionOutcome::Abort),
    ] {
        seed(name, &marker(outcome));
    }
}

fn marker(outcome: TransactionOutcome) -> Bytes {
    let marker = EndTransactionMarker {
        outcome,
        coordinator_epoch: 2,
    };
    marker.batch(ProducerId(7), ProducerEpoch(1), Timestamp(1_002))
}

#[test]
#[ignore = "writes fuzz/corpus/group_record"]
fn write_seeds_of_group_record() {
    let partition = TopicPartition {
        topic: "orders".parse().unwrap(),
        partition: 3,
    };
    let committed = CommittedOffset {
        offset: Offset(42),
        leader_epoch: LeaderEpoch(2),
        metadata: "note".into(),
        committed: Timestamp(1_000),
        expires: None,
    };
    let expiring = CommittedOffset {
        leader_epoch: LeaderEpoch::NONE,
        expires: Some(Timestamp(9_000)),
        ..committed.clone()
    };
    for (name, value) in [
        ("offset", Some(committed)),
        ("offset-expiring", Some(expiring)),
        ("offset-removed", None),
    ] {
        let group = "g".into();
        let partition = partition.clone();
        group_seed(
            name,
            &GroupRecord::Offset {
                group,
                partition,
                value,
            },
        );
    }
    for (name, value) in [
        ("group-empty", Some(StoredGroup::default())),
        ("group", Some(stored_group())),
        ("group-removed", None),
    ] {
        let group = "g".into();
        group_seed(name, &GroupRecord::Group { group, value });
    }
}

fn stored_group() -> StoredGroup {
    let member = |instance: Option<&str>| StoredMember {
        instance_id: instance.map(|name| millrace_engine::group::InstanceId(name.into())),
        client_id: Arc::from("client"),
        client_host: Arc::from("/127.0.0.1"),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(b"\0\0\0\0\0\x01\0\x06orders\0\0\0\0"),
        assignment: Bytes::from_static(b"\0\0\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\x03\0\0\0\0"),
    };
    StoredGroup {
        protocol_type: Some("consumer".into()),
        generation: GenerationId(5),
        protocol: Some("range".into()),
        leader: Some("m-1".into()),
        state_since: Timestamp(1_000),
        members: [
            ("m-1".into(), member(None)),
            ("m-2".into(), member(Some("i"))),
        ]
        .into(),
    }
}

fn group_seed(name: &str, record: &GroupRecord) {
    let record = record.encode();
    let length = record
        .value
        .as_ref()
        .map_or(u8::MAX, |_| record.key.len() as u8);
    let value = record.value.unwrap_or_default();
    let bytes = [&[length][..], &record.key, &value].concat();
    write("group_record", &format!("seed-{name}"), &bytes);
}

#[test]
#[ignore = "writes fuzz/corpus/metadata_record"]
fn write_seeds_of_metadata_record() {
    let records = metadata_records();
    let mut together = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        write("metadata_record", &format!("seed-{index:02}"), &bytes);
        record.encode(&mut together);
    }
    write("metadata_record", "seed-together", &together);
}

fn metadata_records() -> Vec<MetadataRecord> {
    let broker = BrokerId(1);
    let id = TopicId(Uuid(0x0102));
    let state = Partition {
        replicas: vec![broker, BrokerId(2)],
        directories: vec![DirectoryId(Uuid(1)), DirectoryId(Uuid(2))],
        isr: vec![broker],
        leader: broker,
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(6),
    };
    let registered = Broker {
        id: broker,
        incarnation: Uuid(0x99),
        epoch: 12,
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092,
            security_protocol: SecurityProtocol::Plaintext,
        }],
        rack: Some("r1".into()),
        log_directories: vec![DirectoryId(Uuid(1))],
    };
    let mut records = vec![
        MetadataRecord::NoOp,
        MetadataRecord::LeaderChanged {
            leader: broker,
            term: 3,
        },
        MetadataRecord::ClusterIdSet {
            cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
        },
        MetadataRecord::FeatureLevelSet {
            name: "metadata.version".into(),
            level: 25,
        },
        MetadataRecord::BrokerRegistered(registered),
        MetadataRecord::DirectoriesCordoned {
            broker,
            directories: vec![DirectoryId(Uuid(1))],
        },
        MetadataRecord::BrokerRemoved { broker },
        MetadataRecord::TopicCreated {
            id,
            name: "orders".parse().unwrap(),
        },
        MetadataRecord::PartitionCreated {
            topic_id: id,
            partition: 0,
            state: state.clone(),
        },
        MetadataRecord::PartitionChanged {
            topic_id: id,
            partition: 0,
            state,
        },
        MetadataRecord::TopicRemoved { id },
        MetadataRecord::ProducerIdsAllocated {
            broker,
            next: ProducerId(1_000),
        },
    ];
    for resource in [
        ConfigResource::Topic(id),
        ConfigResource::Broker(broker),
        ConfigResource::ClusterDefault,
        ConfigResource::Group("g".into()),
    ] {
        records.push(MetadataRecord::ConfigSet {
            resource: resource.clone(),
            name: "retention.ms".into(),
            value: "1000".into(),
        });
        records.push(MetadataRecord::ConfigRemoved {
            resource,
            name: "retention.ms".into(),
        });
    }
    records
}

/// What a crash leaves, in the form the entry reads.
fn directory(flags: u8, recovery_point: u8, small: [&[u8]; 4], log: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags, recovery_point];
    for content in small {
        bytes.extend_from_slice(&(content.len() as u16).to_be_bytes());
        bytes.extend_from_slice(content);
    }
    bytes.extend_from_slice(log);
    bytes
}

#[test]
#[ignore = "writes fuzz/corpus/segment_recovery"]
fn write_seeds_of_segment_recovery() {
    let at = |builder: BatchBuilder, base_offset: i64, epoch: i32| {
        batch(
            builder
                .at(Offset(base_offset))
                .leader_epoch(LeaderEpoch(epoch)),
        )
    };
    let (first, second) = (at(produced(0), 0, 0), at(produced(3), 3, 1));
    let third = at(BatchBuilder::new().compression(Compression::Lz4), 6, 1);
    let sound = [&first[..], &second, &third].concat();
    let transaction = [
        &at(produced(0).transactional(), 0, 0)[..],
        &at_offset(&marker(TransactionOutcome::Abort), 3),
    ]
    .concat();
    let torn = &sound[..sound.len() - 20];
    let gap = [&first[..], &third].concat();
    let zeros = [&sound[..], &[0; 200]].concat();
    let epochs = b"0\n2\n0 0\n1 3\n";
    let index = [3_u32.to_be_bytes(), (first.len() as u32).to_be_bytes()].concat();
    let time_index = [&1_001_i64.to_be_bytes()[..], &1_i32.to_be_bytes()].concat();
    let snapshot = b"\0\x01\0\0\0\0\0\0\0\0";
    let seed = |name: &str, bytes: &[u8]| write("segment_recovery", &format!("seed-{name}"), bytes);
    let nothing: [&[u8]; 4] = [b"", b"", b"", b""];
    let small: [&[u8]; 4] = [epochs, &index, &time_index, snapshot];
    seed("empty", &directory(0, 0, nothing, b""));
    seed("one-batch", &directory(0, 0, nothing, &first));
    seed("crash", &directory(0, 0, small, &sound));
    seed(
        "crash-behind-recovery-point",
        &directory(0, 3, small, &sound),
    );
    seed("clean", &directory(1, 9, small, &sound));
    seed(
        "clean-without-small-files",
        &directory(1, 9, nothing, &sound),
    );
    seed("torn", &directory(0, 3, small, torn));
    seed("torn-below-recovery-point", &directory(0, 9, small, torn));
    seed("gap", &directory(0, 0, small, &gap));
    seed("zeros-at-end", &directory(0, 3, small, &zeros));
    seed(
        "aborted-transaction",
        &directory(0, 0, nothing, &transaction),
    );
    seed("legacy", &directory(4, 0, nothing, &legacy_sets()));
    let then_legacy = [&first[..], &legacy_sets()].concat();
    seed("then-legacy", &directory(4, 0, nothing, &then_legacy));
    seed(
        "wrong-index",
        &directory(1, 9, [epochs, &[9; 16], &[9; 24], &[9; 30]], &sound),
    );
}

/// What brokers stored before record batches: a message of magic 0, one of magic 1.
fn legacy_sets() -> Vec<u8> {
    let key_and_value = [&1_u32.to_be_bytes()[..], b"k", &1_u32.to_be_bytes(), b"v"].concat();
    let mut sets = Vec::new();
    for (offset, fields) in [
        (0_u64, [&[0, 0][..], &key_and_value].concat()),
        (
            1,
            [&[1, 0][..], &1_000_u64.to_be_bytes(), &key_and_value].concat(),
        ),
    ] {
        let mut crc = flate2::Crc::new();
        crc.update(&fields);
        let length = fields.len() as u32 + 4;
        sets.extend_from_slice(&offset.to_be_bytes());
        sets.extend_from_slice(&length.to_be_bytes());
        sets.extend_from_slice(&crc.sum().to_be_bytes());
        sets.extend_from_slice(&fields);
    }
    sets
}

/// The batch with another base offset, which lies outside of its checksum.
fn at_offset(batch: &[u8], base_offset: i64) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes
}
