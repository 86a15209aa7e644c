//! The engine on real threads and real files: started, written to, read from, stopped and started again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::config::{Alteration, TopicDefaults};
use millrace_engine::metadata::{
    Command as Metadata, CreateTopics, DeleteTopics, NewTopic, Reply, TopicReference,
};
use millrace_engine::partition::{Acks, Isolation};
use millrace_engine::record::{BatchBuilder, Batches, Compression, records};
use millrace_engine::shard::Gateway;
use millrace_engine::shard::command::{
    Command, DescribeLogs, Fetch, FetchPartition, Fetched, Produce, ProducePartition, Produced,
};
use millrace_engine::types::{LeaderEpoch, Offset, Timestamp, TopicIdPartition, TopicName};
use millrace_engine::{Engine, EngineOptions, IoChoice, StartError};
use tokio::sync::oneshot;

fn options(directory: &Path, io: IoChoice) -> EngineOptions {
    let log_directories = vec![directory.join("one"), directory.join("two")];
    EngineOptions {
        metadata_directory: Some(directory.join("metadata")),
        shards: Some(2),
        pin: false,
        io,
        ..EngineOptions::new(log_directories, TopicDefaults::default())
    }
}

/// Runs `work` on the first shard's thread of an engine over `directory`, then stops the engine. Says whether it
/// stopped in order.
fn with_engine<Work, Output>(directory: &Path, io: IoChoice, work: Work) -> (Output, bool)
where
    Work: AsyncFn(Gateway) -> Output + Send + Sync + Clone + 'static,
    Output: Send + 'static,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    let task = move |gateway: Gateway| {
        let (work, sender) = (work.clone(), sender.clone());
        let future = async move {
            if gateway.shard().0 == 0 {
                sender.send(work(gateway).await).unwrap();
            }
        };
        Box::pin(future) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    };
    let engine = Engine::start(options(directory, io), Arc::new(task)).unwrap();
    let output = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
    (output, engine.stop())
}

async fn create(gateway: &Gateway, name: &str, partitions: i32) {
    create_with(gateway, name, partitions, Vec::new()).await;
}

async fn create_with(gateway: &Gateway, name: &str, partitions: i32, settings: Vec<Alteration>) {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        settings,
        random: gateway.random(),
    };
    let create = CreateTopics {
        topics: vec![topic],
        partitions_default: 1,
        replication_factor_default: 1,
        partitions_max: 10_000,
        topic_defaults: Arc::new(TopicDefaults::default()),
        validate_only: false,
    };
    let Ok(Reply::CreateTopics(created)) = gateway.propose(Metadata::CreateTopics(create)).await
    else {
        panic!("the topic is not created");
    };
    assert!(created[0].1.is_ok(), "{created:?}");
}

async fn delete(gateway: &Gateway, name: &str) {
    let topics = vec![TopicReference::Name(name.to_owned())];
    let delete = Metadata::DeleteTopics(DeleteTopics { topics });
    assert!(gateway.propose(delete).await.is_ok());
}

fn partition(gateway: &Gateway, name: &str, number: i32) -> TopicIdPartition {
    let name: TopicName = name.parse().unwrap();
    let topic_id = gateway.image().topic(&name).unwrap().id;
    TopicIdPartition {
        topic_id,
        partition: number,
    }
}

fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(
        Timestamp(1_700_000_000_000),
        None,
        Some(value.as_bytes()),
        &[],
    );
    builder.build()
}

async fn produce(gateway: &Gateway, partition: TopicIdPartition, value: &str) -> Offset {
    let answer = send(gateway, partition, batch(value)).await;
    answer.await.unwrap().results.remove(0).unwrap().base_offset
}

/// Hands a batch over; its answer comes later.
async fn send(
    gateway: &Gateway,
    partition: TopicIdPartition,
    records: Bytes,
) -> oneshot::Receiver<Produced> {
    let (reply, answer) = oneshot::channel();
    let entry = ProducePartition {
        partition,
        records,
        zstd_allowed: true,
    };
    let command = Command::Produce(Produce {
        partitions: [entry].into(),
        acks: Acks::All,
        timeout: Duration::from_secs(10),
        reply,
    });
    gateway
        .send(gateway.owner(partition), command)
        .await
        .unwrap();
    answer
}

async fn fetch(gateway: &Gateway, partition: TopicIdPartition, offset: i64) -> Fetched {
    let (reply, answer) = oneshot::channel();
    let wanted = FetchPartition {
        partition,
        offset: Offset(offset),
        bytes_max: 1 << 20,
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
        isolation: Isolation::ReadUncommitted,
    };
    let command = Command::Fetch(Fetch {
        id: gateway.next_fetch_id(),
        partitions: vec![wanted],
        bytes_max: 1 << 20,
        bytes_min: 1,
        deadline: gateway.now().monotonic.after(Duration::from_secs(10)),
        reply,
    });
    gateway
        .send(gateway.owner(partition), command)
        .await
        .unwrap();
    answer.await.unwrap().remove(0).unwrap()
}

fn bytes_of(fetched: &Fetched) -> Vec<u8> {
    let extent = fetched.extent.clone().unwrap();
    let mut bytes = vec![0; usize::try_from(extent.length).unwrap()];
    extent
        .file
        .read_exact_at(extent.position, &mut bytes)
        .unwrap();
    bytes
}

fn what_is_written_is_there_after_a_restart(io: IoChoice) {
    let directory = tempfile::tempdir().unwrap();
    let (_, in_order) = with_engine(directory.path(), io, async |gateway: Gateway| {
        create(&gateway, "orders", 4).await;
        for number in 0..4 {
            let id = partition(&gateway, "orders", number);
            assert_eq!(
                produce(&gateway, id, &format!("first {number}")).await,
                Offset(0)
            );
            assert_eq!(
                produce(&gateway, id, &format!("second {number}")).await,
                Offset(1)
            );
        }
    });
    assert!(
        in_order,
        "nothing went wrong, so every log is closed in order"
    );
    let (_, in_order) = with_engine(directory.path(), io, async |gateway: Gateway| {
        for number in 0..4 {
            let id = partition(&gateway, "orders", number);
            let fetched = fetch(&gateway, id, 1).await;
            assert_eq!(fetched.high_watermark, Offset(2));
            let bytes = bytes_of(&fetched);
            let value = format!("second {number}");
            let found = bytes
                .windows(value.len())
                .any(|window| window == value.as_bytes());
            assert!(found, "partition {number} holds {value:?}");
        }
    });
    assert!(in_order);
}

#[test]
fn what_is_written_through_the_ring_is_there_after_a_restart() {
    what_is_written_is_there_after_a_restart(IoChoice::Auto);
}

#[test]
fn what_is_written_through_threads_is_there_after_a_restart() {
    what_is_written_is_there_after_a_restart(IoChoice::Threads);
}

#[test]
fn a_topic_with_the_longest_name_is_deleted_and_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let name = || "x".repeat(TopicName::LENGTH_MAX);
    let work = async move |gateway: Gateway| {
        for again in [false, true] {
            if again {
                delete(&gateway, &name()).await;
            }
            create(&gateway, &name(), 1).await;
            let id = partition(&gateway, &name(), 0);
            assert_eq!(produce(&gateway, id, "first").await, Offset(0));
        }
    };
    let (_, in_order) = with_engine(directory.path(), IoChoice::Threads, work);
    assert!(in_order);
    let found = ["one", "two"].into_iter().flat_map(|log_directory| {
        let entries = std::fs::read_dir(directory.path().join(log_directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
    });
    let left: Vec<String> = found.filter(|found| found.starts_with("xxx")).collect();
    assert_eq!(left, [format!("{}-0", name())]);
}

#[test]
fn a_fetch_waits_for_the_record_that_is_written_next() {
    let directory = tempfile::tempdir().unwrap();
    with_engine(
        directory.path(),
        IoChoice::Auto,
        async |gateway: Gateway| {
            create(&gateway, "orders", 1).await;
            let id = partition(&gateway, "orders", 0);
            let (fetched, offset) =
                tokio::join!(fetch(&gateway, id, 0), produce(&gateway, id, "late"));
            assert_eq!(offset, Offset(0));
            assert_eq!(fetched.high_watermark, Offset(1));
            assert!(!bytes_of(&fetched).is_empty());
        },
    );
}

#[test]
fn a_large_batch_is_recompressed_in_its_place_among_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let work = async |gateway: Gateway| {
        let settings = vec![Alteration::set("compression.type", "lz4")];
        create_with(&gateway, "packed", 1, settings).await;
        let partition = partition(&gateway, "packed", 0);
        let mut large = BatchBuilder::new().compression(Compression::Zstd);
        large.push(
            Timestamp(1_700_000_000_000),
            None,
            Some(&vec![0; 20 << 20]),
            &[],
        );
        let mut answers = Vec::new();
        for records in [batch("a"), large.build(), batch("b")] {
            answers.push(send(&gateway, partition, records).await);
        }
        let mut offsets = Vec::new();
        for answer in answers {
            offsets.push(
                answer
                    .await
                    .unwrap()
                    .results
                    .remove(0)
                    .unwrap()
                    .base_offset
                    .0,
            );
        }
        (offsets, bytes_of(&fetch(&gateway, partition, 0).await))
    };
    let ((offsets, stored), in_order) = with_engine(directory.path(), IoChoice::Auto, work);
    assert!(in_order);
    assert_eq!(offsets, [0, 1, 2]);
    let mut lengths = Vec::new();
    for batch in Batches::new(stored.into()) {
        let batch = batch.unwrap();
        let codec = batch.header.attributes().compression().unwrap();
        assert_eq!(codec, Compression::Lz4);
        for record in records(&batch.bytes, 32 << 20).unwrap() {
            lengths.push(record.unwrap().value.unwrap().len());
        }
    }
    assert_eq!(lengths, [1, 20 << 20, 1]);
}

#[test]
fn a_second_process_is_kept_out_of_a_log_directory() {
    let directory = tempfile::tempdir().unwrap();
    let second = directory.path().to_owned();
    with_engine(directory.path(), IoChoice::Auto, async move |_| {
        let task = |_| Box::pin(async {}) as std::pin::Pin<Box<dyn Future<Output = ()>>>;
        let refused = Engine::start(options(&second, IoChoice::Auto), Arc::new(task));
        assert!(refused.is_err_and(|error| error.to_string().contains("in use")));
    });
}

#[test]
fn two_brokers_do_not_share_a_directory_of_the_metadata() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().to_owned();
    with_engine(directory.path(), IoChoice::Auto, async move |_| {
        let task = |_| Box::pin(async {}) as std::pin::Pin<Box<dyn Future<Output = ()>>>;
        let second = EngineOptions {
            log_directories: vec![home.join("three")],
            ..options(&home, IoChoice::Auto)
        };
        let refused = Engine::start(second, Arc::new(task)).err().unwrap();
        assert!(matches!(refused, StartError::Locked(_)), "{refused}");
        assert!(refused.to_string().contains("metadata"), "{refused}");
    });
}

#[test]
fn the_metadata_may_lie_in_a_log_directory_by_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let metadata = directory.path().join("metadata");
    std::os::unix::fs::symlink("one", &metadata).unwrap();
    std::fs::create_dir(directory.path().join("one")).unwrap();
    for _ in 0..2 {
        let (known, in_order) = with_engine(
            directory.path(),
            IoChoice::Auto,
            async |gateway: Gateway| gateway.image().broker_count(),
        );
        assert_eq!((known, in_order), (1, true));
    }
}

#[test]
fn a_partition_is_described_in_its_directory_when_the_one_before_it_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    // A file where the first log directory should be.
    std::fs::write(directory.path().join("one"), "in the way").unwrap();
    let second = directory.path().join("two");
    with_engine(
        directory.path(),
        IoChoice::Auto,
        async move |gateway: Gateway| {
            create(&gateway, "orders", 1).await;
            let id = partition(&gateway, "orders", 0);
            let (reply, answer) = oneshot::channel();
            let describe = Command::DescribeLogs(DescribeLogs {
                after: None,
                count_max: 1,
                reply,
            });
            gateway.send(gateway.owner(id), describe).await.unwrap();
            let logs = answer.await.unwrap();
            assert_eq!(logs[0].directory, second);
            let spaces = gateway.measure_directories().await.unwrap();
            assert_eq!(spaces.len(), 1);
            assert_eq!(spaces[0].directory, second);
            assert!(spaces[0].total_bytes >= spaces[0].usable_bytes && spaces[0].total_bytes > 0);
        },
    );
}
