//! The small steps between a socket and a file: a frame's head, an index lookup, the way to another core and back.
//!
//! The larger ones have files of their own: `codec` decodes and checks, `append` writes, `fetch` finds and sends.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use millrace_benches::Shape;
use millrace_benches::load::nanos;
use millrace_engine::config::TopicDefaults;
use millrace_engine::io::Random;
use millrace_engine::log::offset_index::OffsetIndex;
use millrace_engine::record::Compression;
use millrace_engine::shard::command::{Command, DescribeLogs};
use millrace_engine::shard::{Gateway, ShardIndex};
use millrace_engine::types::Offset;
use millrace_engine::{Engine, EngineOptions};
use millrace_wire::Message;
use millrace_wire::frame::{frame_length, request_frame};
use millrace_wire::header::open_request;
use millrace_wire::message::ProduceRequest;
use millrace_wire::message::produce::{ProduceRequestPartition, ProduceRequestTopic};
use tokio::sync::{mpsc, oneshot};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .nresamples(2_000)
        .without_plots()
        .configure_from_args();
    frames(&mut criterion);
    index(&mut criterion);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let directory = directory.expect("a place for an engine");
    hops(&mut criterion, directory.path());
    criterion.final_summary();
}

/// One typical batch for one partition, as the server takes it in: length, header, message.
fn frames(criterion: &mut Criterion) {
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![ProduceRequestTopic {
            name: "orders".into(),
            partition_data: vec![ProduceRequestPartition {
                index: 3,
                records: Some(Shape::TYPICAL.batch(Compression::None)),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = request_frame(7, Some(&"producer-1".into()), &request, PRODUCE_VERSION);
    let frame = frame.expect("a request that can be written");
    let prefix = *frame.first_chunk().expect("a frame has a prefix");
    let body = frame.slice(4..);
    let mut group = criterion.benchmark_group("frame");
    group.bench_function("length", |b| {
        b.iter(|| frame_length(black_box(prefix), FRAME_BYTES_MAX));
    });
    group.bench_function("header", |b| {
        b.iter(|| open_request(black_box(body.clone()), BUDGET_BYTES));
    });
    group.bench_function("header and Produce", |b| b.iter(|| decode(&body)));
    group.finish();
}

fn decode(body: &Bytes) -> ProduceRequest {
    let opened = open_request(body.clone(), BUDGET_BYTES);
    let (_, mut reader) = opened.expect("a sound header");
    ProduceRequest::decode(&mut reader, PRODUCE_VERSION).expect("a sound request")
}

/// The index of a full segment: 1 GiB, an entry for each batch of 16 KiB.
fn index(criterion: &mut Criterion) {
    let mut index = OffsetIndex::new(Offset(0));
    for number in 1..ENTRIES {
        assert!(index.push(Offset(number * 16 - 1), number.unsigned_abs() << 14));
    }
    let mut random = Random::seeded(1);
    let last = (ENTRIES * 16).unsigned_abs();
    let mut group = criterion.benchmark_group("index");
    group.bench_function("random lookup", |b| {
        b.iter(|| {
            let offset = i64::try_from(random.u64() % last).expect("a segment is short");
            index.floor(Offset(offset))
        });
    });
    group.finish();
}

/// A command that asks for nothing, through the mailbox of a shard and back into its slot.
fn hops(criterion: &mut Criterion, directory: &Path) {
    let (asking, questions) = mpsc::channel(1);
    let questions = Arc::new(tokio::sync::Mutex::new(questions));
    let task = move |gateway: Gateway| {
        let questions = Arc::clone(&questions);
        let future = async move {
            if gateway.shard() == OWN {
                let mut questions = questions.lock().await;
                while let Some(question) = questions.recv().await {
                    answer(&gateway, question).await;
                }
            }
        };
        Box::pin(future) as Pin<Box<dyn Future<Output = ()>>>
    };
    let engine = Engine::start(options(directory), Arc::new(task));
    let engine = engine.expect("an engine that starts");
    let mut group = criterion.benchmark_group("hop");
    group.throughput(Throughput::Elements(1));
    for (to, shard) in [("own core", OWN), ("other core", OTHER)] {
        for in_flight in [1, 64] {
            group.bench_function(format!("{to}, {in_flight} in flight"), |b| {
                b.iter_custom(|count| {
                    let (done, taken) = blocking::channel();
                    let question = Question {
                        shard,
                        in_flight,
                        count,
                        done,
                    };
                    asking.blocking_send(question).expect("a running engine");
                    taken.recv().expect("an answer")
                });
            });
        }
    }
    group.finish();
    drop(asking);
    assert!(engine.stop(), "the engine stops in order");
}

/// So many hops, some at a time.
struct Question {
    shard: ShardIndex,
    in_flight: u64,
    count: u64,
    done: blocking::Sender<Duration>,
}

async fn answer(gateway: &Gateway, question: Question) {
    let begun = nanos();
    let mut left = question.count;
    let mut slots = Vec::new();
    while left > 0 {
        let some = left.min(question.in_flight);
        for _ in 0..some {
            let (reply, slot) = oneshot::channel();
            let command = Command::DescribeLogs(DescribeLogs {
                after: None,
                count_max: 0,
                reply,
            });
            let sent = gateway.send(question.shard, command).await;
            sent.expect("a running shard");
            slots.push(slot);
        }
        for slot in slots.drain(..) {
            slot.await.expect("a running shard");
        }
        left -= some;
    }
    let taken = Duration::from_nanos(nanos() - begun);
    // The one who asked waits for it.
    let _ = question.done.send(taken);
}

fn options(directory: &Path) -> EngineOptions {
    EngineOptions {
        shards: Some(2),
        ..EngineOptions::new(vec![directory.join("data")], TopicDefaults::default())
    }
}

const PRODUCE_VERSION: i16 = 11;
const BUDGET_BYTES: usize = 1 << 20;
const FRAME_BYTES_MAX: usize = 100 << 20;
const ENTRIES: i64 = 1 << 16;
const OWN: ShardIndex = ShardIndex(0);
const OTHER: ShardIndex = ShardIndex(1);
