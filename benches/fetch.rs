//! Fetching without requests: a log says where the bytes lie, and they go to a loopback socket.
//!
//! By sendfile, as the broker does, and by reading and sending, which it would have to do without. The processor time
//! is that of the sending thread; another thread reads the socket.

#![forbid(unsafe_code)]

mod cpu_time;

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput};
use millrace_benches::{Segment, Shape};
use millrace_engine::io::{Action, IoBackend, LocalRing, Outcome, Piece, Ring, send_file};
use millrace_engine::log::{Extent, ReadPlan};
use millrace_engine::types::Offset;
use nix::sys::resource::UsageWho;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::cpu_time::CpuTime;

fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let directory = directory.expect("a place for a segment");
    compare(CpuTime(UsageWho::RUSAGE_THREAD), "CPU", directory.path());
    compare(WallTime, "elapsed", directory.path());
    Criterion::default().configure_from_args().final_summary();
}

/// How the bytes get from the file to the socket.
#[derive(Clone, Copy)]
enum Way {
    SendFile,
    ReadAndSend,
}

impl Way {
    const ALL: [Self; 2] = [Self::SendFile, Self::ReadAndSend];

    fn name(self) -> &'static str {
        match self {
            Self::SendFile => "sendfile",
            Self::ReadAndSend => "read and send",
        }
    }
}

fn compare<M: Measurement + 'static>(measurement: M, measured: &str, directory: &Path) {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .nresamples(2_000)
        .without_plots()
        .with_measurement(measurement)
        .configure_from_args();
    let mut consumer = Consumer::connected(directory);

    let mut group = criterion.benchmark_group(format!("catch-up fetch, {measured}"));
    group.throughput(Throughput::Bytes(CATCH_UP_BYTES));
    for way in Way::ALL {
        group.bench_function(way.name(), |b| b.iter(|| consumer.catch_up(way)));
    }
    group.finish();

    let mut group = criterion.benchmark_group(format!("extent, {measured}"));
    group.bench_function("recent", |b| {
        b.iter(|| consumer.found(consumer.last_offset));
    });
    group.bench_function("through the index", |b| {
        b.iter(|| consumer.found(Offset(consumer.last_offset.0 / 2)));
    });
    group.finish();

    let mut group = criterion.benchmark_group(format!("tail fetch, {measured}"));
    let last_batch = consumer.fetch(consumer.last_offset, Way::SendFile);
    group.throughput(Throughput::Bytes(last_batch));
    for way in Way::ALL {
        group.bench_function(way.name(), |b| {
            b.iter(|| consumer.fetch(consumer.last_offset, way));
        });
    }
    group.finish();
}

/// One consumer of a log that lies in the page cache, seen from the broker.
struct Consumer {
    runtime: Runtime,
    ring: LocalRing,
    socket: TcpStream,
    segment: Segment,
    /// Where it goes on catching up.
    next_offset: Offset,
    /// The first offset of the last batch.
    last_offset: Offset,
}

impl Consumer {
    fn connected(directory: &Path) -> Self {
        let runtime = Builder::new_current_thread().enable_io().build();
        let runtime = runtime.expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let reader = std::net::TcpStream::connect(address).expect("a listening socket");
        let (accepted, _) = listener.accept().expect("a waiting client");
        thread::spawn(move || discard(reader));
        accepted.set_nonblocking(true).expect("an open socket");

        let mut segment = Segment::create(&directory.join("t-0"), Shape::TYPICAL.prepared());
        segment.fill(BATCHES);
        let inside = runtime.enter();
        let ring = Ring::open(&IoBackend::probe()).expect("a ring");
        let ring = LocalRing::new(ring).expect("a watched ring");
        let socket = TcpStream::from_std(accepted).expect("a watched socket");
        drop(inside);
        let end = segment.log().log_end_offset();
        Self {
            runtime,
            ring,
            socket,
            next_offset: Offset::ZERO,
            last_offset: Offset(end.0 - segment.records_per_batch()),
            segment,
        }
    }

    /// The next [`CATCH_UP_BYTES`], from the start again at the end.
    fn catch_up(&mut self, way: Way) -> u64 {
        let offset = self.next_offset;
        let per_fetch = self.segment.records_per_batch() * BATCHES_PER_FETCH;
        let next = Offset(offset.0 + per_fetch);
        let near_end = Offset(next.0 + per_fetch);
        self.next_offset = if near_end > self.last_offset {
            Offset::ZERO
        } else {
            next
        };
        self.fetch(offset, way)
    }

    /// Finds where [`CATCH_UP_BYTES`] from `offset` on lie; answers how many there are.
    fn found(&mut self, offset: Offset) -> u64 {
        let ring = &self.ring;
        let segment = &mut self.segment;
        let finding = async move { find(segment, ring, offset).await.length };
        run(&self.runtime, ring, finding)
    }

    /// Sends what lies at `offset`; answers how many bytes that was.
    fn fetch(&mut self, offset: Offset, way: Way) -> u64 {
        let (ring, socket) = (&self.ring, &mut self.socket);
        let segment = &mut self.segment;
        let sending = async move {
            let extent = find(segment, ring, offset).await;
            send(socket, ring, &extent, way).await;
            extent.length
        };
        run(&self.runtime, ring, sending)
    }
}

/// Actions of tasks go on while somebody waits for the ring, as the shard's loop does.
fn run<T>(runtime: &Runtime, ring: &LocalRing, task: impl Future<Output = T>) -> T {
    runtime.block_on(async {
        tokio::select! {
            biased;
            output = task => output,
            () = ring.ready() => unreachable!("the loop itself submits nothing"),
        }
    })
}

async fn find(segment: &mut Segment, ring: &LocalRing, offset: Offset) -> Extent {
    let end = segment.log().log_end_offset();
    let mut plan = segment.log().read(offset, CATCH_UP_BYTES, end);
    loop {
        plan = match plan.expect("an offset within a sound log") {
            ReadPlan::Ready(found) => return found.extent,
            ReadPlan::Scan(lookup) => {
                let (file, position, length) = lookup.action();
                let bytes = read(ring, file.clone(), position, length).await;
                lookup.resume(&bytes)
            }
            other => unreachable!("one segment with its index in memory answers {other:?}"),
        };
    }
}

async fn send(socket: &mut TcpStream, ring: &LocalRing, extent: &Extent, way: Way) {
    let Extent {
        file,
        position,
        length,
    } = extent;
    match way {
        Way::SendFile => {
            let piece = Piece {
                file,
                position: *position,
                length: *length,
                more: 0,
            };
            let sent = send_file(socket, ring, piece).await;
            sent.expect("an open socket");
        }
        Way::ReadAndSend => {
            let length = u32::try_from(*length).expect("a fetch is short");
            let bytes = read(ring, file.clone(), *position, length).await;
            socket.write_all(&bytes).await.expect("an open socket");
        }
    }
}

async fn read(
    ring: &LocalRing,
    file: millrace_engine::io::File,
    position: u64,
    length: u32,
) -> bytes::Bytes {
    let action = Action::Read {
        file,
        position,
        length,
    };
    match ring.perform(action).await.expect("a sound disk") {
        Outcome::Read(bytes) => bytes,
        other => unreachable!("a read ends as {other:?}"),
    }
}

/// The client: reads as fast as it can and looks at nothing.
fn discard(mut socket: std::net::TcpStream) {
    let mut buffer = vec![0; 256 << 10];
    while socket.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

/// 16 KiB each: 64 MiB, which stay in the page cache.
const BATCHES: usize = 4_096;
const CATCH_UP_BYTES: u64 = 1 << 20;
const BATCHES_PER_FETCH: i64 = 64;
