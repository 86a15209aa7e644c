//! The committed seeds of the fuzzer for what the server reads, replayed on the stable compiler, and where they come from.
//!
//! `cargo test -p millrace-server --test corpus -- --ignored` writes the seeds anew: from the requests that real clients
//! sent to a real Kafka (`clients/golden`), and from conversations that lead somewhere. Seeds and findings carry a hyphen
//! in their names; files without one are a fuzzer's own and stay where they were found.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a helper of tests picks its own small numbers, and fails loudly"
)]

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use millrace_engine::record::BatchBuilder;
use millrace_engine::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use millrace_server::config::load_hostile;
use millrace_server::fuzzing::converse;
use millrace_wire::message::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestConfig, CreateTopicsRequestTopic,
};
use millrace_wire::message::fetch::{FetchRequest, FetchRequestPartition, FetchRequestTopic};
use millrace_wire::message::join_group::{JoinGroupProtocol, JoinGroupRequest};
use millrace_wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_wire::message::produce::{
    ProduceRequest, ProduceRequestPartition, ProduceRequestTopic,
};
use millrace_wire::message::{
    DeleteTopicsRequest, InitProducerIdRequest, ListGroupsRequest, MetadataRequest,
};
use millrace_wire::{ApiKey, Request, Str, frame};

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn corpus(target: &str) -> PathBuf {
    here("../fuzz/corpus").join(target)
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
    fs::write(directory.join(format!("seed-{name}")), bytes).unwrap();
}

#[test]
fn conversations_of_the_corpus_are_survived() {
    replay("conversation", converse);
}

#[test]
fn properties_files_of_the_corpus_are_survived() {
    replay("server_properties", load_hostile);
}

#[test]
#[ignore = "writes fuzz/corpus/server_properties"]
fn write_seeds_of_server_properties() {
    for version in ["2.7", "4.3"] {
        let file = here(&format!(
            "tests/fixtures/config/server-{version}.properties"
        ));
        write("server_properties", version, &fs::read(file).unwrap());
    }
    let text = "listeners=INTERNAL://:9092,EXTERNAL://[::1]:9093,CONTROLLER://:9094\n\
        listener.security.protocol.map=INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
        advertised.listeners=INTERNAL://a:1,EXTERNAL://b:2\ncontroller.listener.names=CONTROLLER\n\
        inter.broker.listener.name=INTERNAL\nprocess.roles=broker,controller\nnode.id=1\n\
        controller.quorum.voters=1@localhost:9094\nlog.dirs=/a, /b\ncordoned.log.dirs=/b\n\
        log.retention.hours=1\nlog.retention.ms = -1\nmax.connections.per.ip.overrides=127.0.0.1:5,h:2\n\
        config.providers=file,env\npassword=${file:/x:y} ${env:HOME}\nescaped\\ key:\\u0041\\\n  b\n";
    write("server_properties", "listeners", text.as_bytes());
}

/// A frame as it is, on the first connection.
fn frame_entry(frame: &[u8]) -> Vec<u8> {
    let length = (frame.len() as u16).to_be_bytes();
    [&[0], &length[..], frame].concat()
}

/// A request in its newest version but for `back` versions, on connection 0 or 1.
fn ask<R: Request>(connection: u8, back: i16, request: &R) -> Vec<u8> {
    let version = *R::VERSIONS.end() - back;
    let frame = frame::request_frame(7, Some(&Str::from("c")), request, version).unwrap();
    let mut entry = frame_entry(&frame[frame::PREFIX_LENGTH..]);
    entry[0] = connection << 3;
    entry
}

/// A request that is made up of `choices`.
fn made_up(key: ApiKey, choices: &[u8]) -> Vec<u8> {
    let api = ApiKey::ALL.iter().position(|known| *known == key).unwrap() as u8;
    let newest = key.versions().count() as u8 - 1;
    [&[2, api, newest, choices.len() as u8], choices].concat()
}

const TIME_PASSES: [u8; 2] = [5, 7];
const RESTART: [u8; 1] = [6];
const POWER_CUT: [u8; 1] = [7];

#[test]
#[ignore = "writes fuzz/corpus/conversation"]
fn write_seeds_of_conversation() {
    for key in ApiKey::ALL {
        let path = here(&format!("tests/clients/golden/{key}.txt"));
        let text = fs::read_to_string(path).unwrap();
        let mut entries = create_topics();
        let mut sent = Vec::new();
        for line in text.lines() {
            let hex = line.split(' ').nth(2).unwrap();
            let bytes = (0..hex.len()).step_by(2);
            let frame: Vec<u8> = bytes
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            // One request of each version and length tells most.
            let form = (frame[3], frame.len());
            if !sent.contains(&form) && sent.len() < 24 {
                sent.push(form);
                entries.extend(frame_entry(&frame));
            }
        }
        write("conversation", &format!("golden-{key}"), &entries);
        let choices: Vec<u8> = (1..=60).flat_map(|number| [1, number]).collect();
        let entries = [
            create_topics(),
            made_up(*key, &choices),
            made_up(*key, &[3; 90]),
        ]
        .concat();
        write("conversation", &format!("made-up-{key}"), &entries);
    }
    write("conversation", "produce-and-fetch", &produce_and_fetch());
    write("conversation", "group", &group());
}

fn create_topics() -> Vec<u8> {
    let topic = |name: &str, configs| CreateTopicsRequestTopic {
        name: name.into(),
        num_partitions: 2,
        replication_factor: 1,
        configs,
        ..Default::default()
    };
    let compacted = CreateTopicsRequestConfig {
        name: "cleanup.policy".into(),
        value: Some("compact".into()),
    };
    let request = CreateTopicsRequest {
        topics: vec![
            topic("t", Vec::new()),
            topic("u", vec![compacted]),
            topic("orders", Vec::new()),
        ],
        timeout_ms: 1_000,
        ..Default::default()
    };
    ask(0, 0, &request)
}

fn batch(sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new();
    if sequence >= 0 {
        builder = builder.producer(ProducerId(0), ProducerEpoch(0), Sequence(sequence));
    }
    builder.push(Timestamp(1_700_000_000_000), Some(b"k"), Some(b"v"), &[]);
    builder.build()
}

fn produce(acks: i16, sequence: i32) -> Vec<u8> {
    let partition = |index| ProduceRequestPartition {
        index,
        records: Some(batch(sequence)),
    };
    let topic = |name: &str| ProduceRequestTopic {
        name: name.into(),
        partition_data: vec![partition(0), partition(1)],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![topic("t"), topic("u")],
        ..Default::default()
    };
    // The newest versions name topics by id.
    ask(0, 1, &request)
}

fn fetch(connection: u8, session_epoch: i32, offset: i64, max_wait_ms: i32) -> Vec<u8> {
    let partition = |partition| FetchRequestPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let request = FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch,
        topics: vec![FetchRequestTopic {
            topic: "t".into(),
            partitions: vec![partition(0), partition(1)],
            ..Default::default()
        }],
        ..Default::default()
    };
    ask(connection, 6, &request)
}

fn produce_and_fetch() -> Vec<u8> {
    [
        create_topics(),
        ask(0, 0, &InitProducerIdRequest::default()),
        produce(-1, 0),
        produce(-1, 0),
        fetch(1, 0, 0, 500),
        fetch(1, 0, 1, 500),
        produce(1, 1),
        produce(0, -1),
        RESTART.to_vec(),
        fetch(0, -1, 0, 0),
        made_up(ApiKey::Fetch, &[1; 60]),
        fetch(0, -1, 99, 0),
        POWER_CUT.to_vec(),
        fetch(0, -1, 0, 100),
        TIME_PASSES.to_vec(),
        ask(1, 1, &DeleteTopicsRequest::default()),
        ask(1, 0, &MetadataRequest::default()),
    ]
    .concat()
}

fn group() -> Vec<u8> {
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\0\0\0\0"),
        }],
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        group_id: "h".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    [
        create_topics(),
        // Before version 4 a member need not ask for its id first.
        ask(0, 6, &join),
        ask(1, 6, &join),
        TIME_PASSES.to_vec(),
        made_up(ApiKey::SyncGroup, &[5, 3, 73, 1, 1, 1]),
        made_up(ApiKey::Heartbeat, &[5, 3, 73, 0]),
        ask(1, 1, &commit),
        made_up(ApiKey::OffsetFetch, &[1; 40]),
        RESTART.to_vec(),
        ask(0, 0, &ListGroupsRequest::default()),
        made_up(ApiKey::DescribeGroups, &[2, 5, 7]),
        made_up(ApiKey::DeleteGroups, &[2, 5, 7]),
        made_up(ApiKey::OffsetDelete, &[7, 1, 1, 1, 0]),
        TIME_PASSES.to_vec(),
        POWER_CUT.to_vec(),
        made_up(ApiKey::OffsetFetch, &[1; 40]),
    ]
    .concat()
}
