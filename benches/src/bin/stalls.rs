//! How long a request of very many elements, or bytes, holds up the other clients of its thread:
//! `stalls --server target/release/millrace-server`.
//!
//! A broker with one shard is asked one such request after the other, and then to take many batches of a mebibyte in one. Meanwhile
//! another client asks for something small again and again; shown is the longest that it waited, in the best of some turns, for any
//! turn may be disturbed by the machine.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use millrace_benches::load::{Housed, Program, Short, nanos, rest};
use millrace_benches::{Client, GIANTS_TOPIC, Outcome, Shape, giants};
use millrace_engine::record::Compression;
use millrace_wire::frame::request_frame;
use millrace_wire::message::produce::{ProduceRequestPartition, ProduceRequestTopic};
use millrace_wire::message::{ApiVersionsRequest, ProduceRequest};

/// How long requests of very many elements, or bytes, hold up other clients.
#[derive(Debug, Parser)]
struct Arguments {
    /// The broker program to start.
    #[arg(long, default_value = "target/release/millrace-server")]
    server: PathBuf,
    /// Where its data lies: a directory made there and removed afterwards.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// Elements of each request.
    #[arg(long, default_value_t = 100_000)]
    elements: i32,
    /// Batches of the large request, of a mebibyte each; at most 1,000 partitions are there, and 100 MiB are taken.
    #[arg(long, default_value_t = 24)]
    batches: i32,
    /// Turns, of which the best counts.
    #[arg(long, default_value_t = 5)]
    turns: usize,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let program = Program::Millrace {
        server: arguments.server,
        properties: vec!["num.shards=1".to_owned()],
    };
    let broker = Housed::start(&program, &arguments.directory)?;
    let address = broker.target().address;
    Client::connect(address)?.create_topic(GIANTS_TOPIC, 1_000)?;
    println!("{:28} {:>12} {:>12}", "", "answered", "held up");
    let giants = giants(arguments.elements)?.into_iter();
    let mut requests: Vec<_> = giants
        .map(|(api, frame)| (format!("{api:?}"), frame))
        .collect();
    let large = large(arguments.batches)?;
    requests.push((format!("Produce of {} MB", large.len() / 1_000_000), large));
    for (name, frame) in requests {
        let mut best = Turn::NONE;
        for _ in 0..arguments.turns.max(1) {
            best = best.min(turn(address, &frame)?);
        }
        println!(
            "{name:28} {:>9} ms {:>9} ms",
            Short(best.answered_ms).to_string(),
            Short(best.held_up_ms).to_string()
        );
    }
    Ok(())
}

/// A request with so many batches of a mebibyte, each for a partition of its own.
fn large(batches: i32) -> Outcome<Bytes> {
    let records = Shape::BULK.batch(Compression::None);
    let partition_data = (0..batches).map(|index| ProduceRequestPartition {
        index,
        records: Some(records.clone()),
    });
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![ProduceRequestTopic {
            name: GIANTS_TOPIC.into(),
            partition_data: partition_data.collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    Ok(request_frame(1, None, &request, 9)?)
}

/// What was seen of one request.
#[derive(Clone, Copy)]
struct Turn {
    answered_ms: f64,
    held_up_ms: f64,
}

impl Turn {
    const NONE: Self = Self {
        answered_ms: f64::INFINITY,
        held_up_ms: f64::INFINITY,
    };

    const fn min(self, other: Self) -> Self {
        Self {
            answered_ms: self.answered_ms.min(other.answered_ms),
            held_up_ms: self.held_up_ms.min(other.held_up_ms),
        }
    }
}

fn turn(address: SocketAddr, frame: &[u8]) -> Outcome<Turn> {
    let mut client = Client::connect(address)?;
    let millis = |from: u64| (nanos() - from) as f64 / 1e6;
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            rest(PAUSE);
            let began = nanos();
            let answered = Client::connect(address).and_then(|mut giant| giant.exchange(frame));
            answered
                .map(|()| millis(began))
                .map_err(|error| error.to_string())
        });
        let mut held_up_ms: f64 = 0.0;
        while !asking.is_finished() {
            let asked = nanos();
            client.ask(&ApiVersionsRequest::default(), 0)?;
            held_up_ms = held_up_ms.max(millis(asked));
        }
        let answered = asking.join().map_err(|_| "the asking thread panicked")?;
        // What the broker has to clear away afterwards counts, too.
        let answered_at = nanos();
        while millis(answered_at) < 20.0 {
            let asked = nanos();
            client.ask(&ApiVersionsRequest::default(), 0)?;
            held_up_ms = held_up_ms.max(millis(asked));
        }
        Ok(Turn {
            answered_ms: answered?,
            held_up_ms,
        })
    })
}

/// Before a request is sent: the other client is at it then.
const PAUSE: Duration = Duration::from_millis(10);
