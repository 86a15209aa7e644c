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
use millrace_engine::group::record::{self as group_record, GroupRecord};
use millrace_engine::group::{CommittedOffset, StoredGroup, StoredMember};
use millrace_engine::log;
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
    seed(
        "wrong-index",
        &directory(1, 9, [epochs, &[9; 16], &[9; 24], &[9; 30]], &sound),
    );
}

/// The batch with another base offset, which lies outside of its checksum.
fn at_offset(batch: &[u8], base_offset: i64) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes
}
