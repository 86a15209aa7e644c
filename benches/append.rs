//! Appending without a network: a batch is staged, planned and written, and where asked for synced.
//!
//! The same batches go to the same files by the engine's ring, by two runtimes that were the alternatives to it, and by
//! blocking calls, so that the choice can be measured again. One write is in flight at a time.

#![forbid(unsafe_code)]

mod cpu_time;
mod storage;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{BenchmarkId, Criterion, Throughput};
use millrace_benches::{Segment, Shape};
use nix::sys::resource::UsageWho;

use crate::cpu_time::CpuTime;
use crate::storage::{Glommio, Inline, OwnRing, Storage, TokioUring};

fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let directory = directory.expect("a place for segments");
    for durability in [Durability::Buffered, Durability::Synced] {
        let cpu_time = CpuTime(UsageWho::RUSAGE_SELF);
        compare(cpu_time, "CPU", durability, directory.path());
        compare(WallTime, "elapsed", durability, directory.path());
    }
    Criterion::default().configure_from_args().final_summary();
}

/// What an append waits for.
#[derive(Clone, Copy)]
enum Durability {
    /// The page cache has it.
    Buffered,
    /// The device has it.
    Synced,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buffered => "buffered",
            Self::Synced => "synced",
        })
    }
}

/// One kind of append in all sizes and ways. The ways of one size stand together, for the same neighbours.
fn compare<M>(measurement: M, measured: &str, durability: Durability, directory: &Path)
where
    M: Measurement<Value = Duration> + Copyable + 'static,
{
    let clock = measurement.another();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .nresamples(2_000)
        .without_plots()
        .with_measurement(measurement)
        .configure_from_args();
    let mut group = criterion.benchmark_group(format!("append {durability}, {measured}"));
    for batch_bytes in [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let appends = Appends {
            clock: &clock,
            directory,
            durability,
            shape: Shape::filling(batch_bytes),
        };
        group.throughput(Throughput::Bytes(appends.length_bytes()));
        let size = format!("{} KiB", batch_bytes >> 10);
        let id = |name| BenchmarkId::new(name, &size);
        group.bench_function(id(Inline::NAME), |b| {
            b.iter_custom(appends.by::<Inline>());
        });
        group.bench_function(id(OwnRing::NAME), |b| {
            b.iter_custom(appends.by::<OwnRing>());
        });
        group.bench_function(id(TokioUring::NAME), |b| {
            b.iter_custom(appends.by::<TokioUring>());
        });
        group.bench_function(id(Glommio::NAME), |b| {
            b.iter_custom(appends.by::<Glommio>());
        });
    }
    group.finish();
}

/// One kind of append in one size.
struct Appends<'a, M> {
    clock: &'a M,
    directory: &'a Path,
    durability: Durability,
    shape: Shape,
}

impl<M: Measurement<Value = Duration>> Appends<'_, M> {
    fn length_bytes(&self) -> u64 {
        u64::try_from(self.shape.prepared().length_bytes()).expect("a length fits 64 bits")
    }

    /// A routine that measures so many appends, by one way.
    fn by<S: Storage>(&self) -> impl FnMut(u64) -> Duration {
        let storage = S::new();
        move |count| storage.block_on(self.measure(&storage, count))
    }

    /// Segments are short and thrown away, so that the device does not write back what was only buffered.
    async fn measure<S: Storage>(&self, storage: &S, count: u64) -> Duration {
        let batch = self.shape.prepared();
        let per_segment = SEGMENT_BYTES / self.length_bytes();
        let mut total = self.clock.zero();
        let mut left = count;
        while left > 0 {
            let turn = left.min(per_segment);
            let mut segment = Segment::create(&self.directory.join("t-0"), batch.clone());
            let file = storage.open(&segment.file()).await;
            let start = self.clock.start();
            for _ in 0..turn {
                append(storage, &file, &mut segment, self.durability).await;
            }
            total = self.clock.add(&total, &self.clock.end(start));
            left -= turn;
        }
        total
    }
}

async fn append<S: Storage>(
    storage: &S,
    file: &S::Opened,
    segment: &mut Segment,
    durability: Durability,
) {
    let mut plan = segment.next_write();
    let buffers = std::mem::take(&mut plan.buffers);
    storage.write(file, plan.position, buffers).await;
    segment.written(&plan);
    if let Durability::Synced = durability {
        let sync = segment.log().plan_sync().expect("something was written");
        storage.sync(file).await;
        segment.log().synced(&sync);
    }
}

/// A measurement that can be made twice: Criterion keeps one, the routine uses the other.
trait Copyable {
    fn another(&self) -> Self;
}

impl Copyable for WallTime {
    fn another(&self) -> Self {
        Self
    }
}

impl Copyable for CpuTime {
    fn another(&self) -> Self {
        Self(self.0)
    }
}

const SEGMENT_BYTES: u64 = 64 << 20;
