//! The whole broker over loopback: one client that appends a batch and waits, and one that reads what is there.
//!
//! The broker runs in this process, with its default settings but for the port and the directory. What is measured is
//! elapsed time, request and answer included.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use millrace_benches::{Client, Outcome};
use millrace_engine::record::BatchBuilder;
use millrace_engine::types::Timestamp;
use millrace_server::config::{Sources, load};
use millrace_server::{Running, Server};

fn main() -> Outcome<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (broker, address) = start(directory.path())?;
    let mut client = Client::connect(address)?;
    client.create_topic("durable", 1)?;
    client.create_topic("reading", 1)?;
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    appends(&mut criterion, &mut client);
    reads(&mut criterion, &mut client)?;
    criterion.final_summary();
    drop(client);
    assert!(broker.stop(), "the broker stops in order");
    Ok(())
}

fn start(directory: &Path) -> Outcome<(Running, SocketAddr)> {
    let overrides = vec![
        "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        format!("log.dirs={}", directory.join("data").display()),
    ];
    let broker = Server::start(load(&Sources {
        file: None,
        environment: Vec::new(),
        overrides,
    })?)?;
    let address = broker.addresses.first().ok_or("no listener")?.1;
    Ok((broker, address))
}

fn appends(criterion: &mut Criterion, client: &mut Client) {
    let mut group = criterion.benchmark_group("produce over loopback");
    for (shape, batch) in [("100 B", batch(1, 100)), ("16 KiB", batch(16, 1_000))] {
        group.throughput(Throughput::Bytes(batch.len() as u64));
        for (promise, acks) in [("acks=1", 1), ("acks=all, durable", -1)] {
            group.bench_function(format!("{shape}, {promise}"), |bencher| {
                bencher.iter(|| {
                    client
                        .produce("durable", 0, &batch, acks)
                        .expect("an answer")
                });
            });
        }
    }
    group.finish();
}

fn reads(criterion: &mut Criterion, client: &mut Client) -> Outcome<()> {
    let batch = batch(16, 1_000);
    for _ in 0..128 {
        client.produce("reading", 0, &batch, -1)?;
    }
    let length = client.fetch("reading", 0, 0)?.len();
    let mut group = criterion.benchmark_group("fetch over loopback");
    group.throughput(Throughput::Bytes(length as u64));
    group.bench_function("1 MiB, warm", |bencher| {
        bencher.iter(|| client.fetch("reading", 0, 0).expect("records"));
    });
    group.finish();
    Ok(())
}

fn batch(records: usize, bytes: usize) -> Bytes {
    let value = vec![b'x'; bytes];
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(Timestamp(1), None, Some(&value), &[]);
    }
    builder.build()
}
