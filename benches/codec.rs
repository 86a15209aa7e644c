//! Bytes to meaning and back, without files and sockets: record batches, their codecs, and the hot messages.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millrace_benches::Shape;
use millrace_engine::record::{
    BatchHeader, Batches, Compression, Rules, check_crc, prepare, records,
};
use millrace_engine::types::{LeaderEpoch, Offset, Timestamp};
use millrace_wire::frame::{response_frame, response_pieces};
use millrace_wire::message::fetch::{
    FetchRequestPartition, FetchRequestTopic, FetchResponsePartition, FetchResponseTopic, Records,
};
use millrace_wire::message::metadata::{
    MetadataBroker, MetadataRequestTopic, MetadataResponsePartition, MetadataResponseTopic,
};
use millrace_wire::message::produce::{
    ProduceRequestPartition, ProduceRequestTopic, ProduceResponsePartition, ProduceResponseTopic,
};
use millrace_wire::message::{
    FetchRequest, FetchResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
};
use millrace_wire::{Message, Reader, Uuid};

criterion_main!(benches);

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .nresamples(2_000)
        .without_plots();
    targets = batches, codecs, produce, fetch, metadata
}

/// Far above what the batches here unfold to.
const BODY_BYTES_MAX: usize = 8 << 20;
const BUDGET_BYTES: usize = 1 << 20;
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Requests of clients of 2024 and later.
const PRODUCE_VERSION: i16 = 11;
const FETCH_VERSION: i16 = 17;
const METADATA_VERSION: i16 = 12;

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    for shape in [Shape::SMALL_RECORDS, Shape::TYPICAL, Shape::BULK] {
        let batch = shape.batch(Compression::None);
        let rules = Rules {
            message_bytes_max: batch.len(),
            ..Rules::default()
        };
        group.throughput(throughput(&batch));
        group.bench_function(BenchmarkId::new("prepare", shape), |b| {
            b.iter(|| prepare(batch.clone(), &rules, NOW));
        });
        group.bench_function(BenchmarkId::new("checksum", shape), |b| {
            b.iter(|| check_crc(&batch));
        });
        group.bench_function(BenchmarkId::new("walk records", shape), |b| {
            b.iter(|| walk(&batch));
        });
    }
    let typical = Shape::TYPICAL.batch(Compression::None);
    let prepared = Shape::TYPICAL.prepared();
    let many = Bytes::from(vec![typical.clone(); 64].concat());
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse header", |b| {
        b.iter(|| BatchHeader::parse(black_box(&typical)));
    });
    group.bench_function("stamp", |b| {
        b.iter(|| prepared.clone().stamp(black_box(Offset(7)), LeaderEpoch(1)));
    });
    group.throughput(Throughput::Elements(64));
    group.bench_function("walk 64 batches", |b| {
        b.iter(|| Batches::new(many.clone()).filter(Result::is_ok).count());
    });
    group.finish();
}

fn codecs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for shape in [Shape::TYPICAL, Shape::BULK] {
        let plain = shape.batch(Compression::None);
        group.throughput(throughput(&plain));
        for codec in [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let packed = shape.batch(codec);
            group.bench_function(BenchmarkId::new(format!("{codec} unpack"), shape), |b| {
                b.iter(|| walk(&packed));
            });
            group.bench_function(BenchmarkId::new(format!("{codec} pack"), shape), |b| {
                b.iter(|| repack(&plain, codec));
            });
        }
    }
    group.finish();
}

fn throughput(batch: &Bytes) -> Throughput {
    Throughput::Bytes(u64::try_from(batch.len()).expect("a length fits 64 bits"))
}

fn walk(batch: &Bytes) -> usize {
    let records = records(batch, BODY_BYTES_MAX).expect("a sound batch");
    records.filter(Result::is_ok).count()
}

/// What a topic with a codec of its own costs: the batch is checked and its body packed.
fn repack(plain: &Bytes, codec: Compression) -> usize {
    let rules = Rules {
        message_bytes_max: usize::MAX,
        compression_target: Some(codec.into()),
        ..Rules::default()
    };
    let prepared = prepare(plain.clone(), &rules, NOW);
    prepared.expect("a sound batch").length_bytes()
}

/// Eight partitions with a typical batch each.
fn produce(criterion: &mut Criterion) {
    let batch = Shape::TYPICAL.batch(Compression::None);
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![ProduceRequestTopic {
            name: "orders".into(),
            partition_data: (0..8)
                .map(|index| ProduceRequestPartition {
                    index,
                    records: Some(batch.clone()),
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = ProduceResponse {
        responses: vec![ProduceResponseTopic {
            name: "orders".into(),
            partition_responses: (0..8)
                .map(|index| ProduceResponsePartition {
                    index,
                    base_offset: 42,
                    log_start_offset: 0,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut group = criterion.benchmark_group("produce");
    decode(&mut group, &request, PRODUCE_VERSION);
    group.bench_function("encode response", |b| {
        b.iter(|| response_frame(1, black_box(&response), PRODUCE_VERSION));
    });
    group.finish();
}

/// Twenty partitions, records in files.
fn fetch(criterion: &mut Criterion) {
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        topics: vec![FetchRequestTopic {
            topic_id: Uuid(7),
            partitions: (0..20)
                .map(|partition| FetchRequestPartition {
                    partition,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = FetchResponse {
        responses: vec![FetchResponseTopic {
            topic_id: Uuid(7),
            partitions: (0..20)
                .map(|partition_index| FetchResponsePartition {
                    partition_index,
                    high_watermark: 1_000,
                    log_start_offset: 0,
                    records: Some(Records::Elsewhere { length: 16 << 10 }),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut group = criterion.benchmark_group("fetch");
    decode(&mut group, &request, FETCH_VERSION);
    group.bench_function("encode response", |b| {
        b.iter(|| response_pieces(1, black_box(&response), FETCH_VERSION));
    });
    group.finish();
}

/// Ten topics with ten partitions each.
fn metadata(criterion: &mut Criterion) {
    let names: Vec<String> = (0..10).map(|topic| format!("topic-{topic}")).collect();
    let request = MetadataRequest {
        topics: Some(
            names
                .iter()
                .map(|name| MetadataRequestTopic {
                    name: Some(name.into()),
                    ..Default::default()
                })
                .collect(),
        ),
        ..Default::default()
    };
    let response = MetadataResponse {
        brokers: vec![MetadataBroker {
            host: "localhost".into(),
            port: 9092,
            ..Default::default()
        }],
        topics: names.iter().map(described).collect(),
        ..Default::default()
    };
    let mut group = criterion.benchmark_group("metadata");
    decode(&mut group, &request, METADATA_VERSION);
    group.bench_function("encode response", |b| {
        b.iter(|| response_frame(1, black_box(&response), METADATA_VERSION));
    });
    group.finish();
}

fn described(name: &String) -> MetadataResponseTopic {
    MetadataResponseTopic {
        name: Some(name.into()),
        partitions: (0..10)
            .map(|partition_index| MetadataResponsePartition {
                partition_index,
                replica_nodes: vec![0],
                isr_nodes: vec![0],
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn decode<M: Message>(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    request: &M,
    version: i16,
) {
    let bytes = request
        .to_bytes(version)
        .expect("a request that can be written");
    group.bench_function("decode request", |b| {
        b.iter(|| M::decode(&mut Reader::new(bytes.clone(), BUDGET_BYTES), version));
    });
}
