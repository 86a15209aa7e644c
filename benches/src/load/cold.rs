//! What others notice of a consumer that reads what is on the device only.
//!
//! A backlog is written, and the kernel is told to forget its pages. The producers of the scenario are measured alone, then
//! while the backlog comes from the device, then while it is read once more, now from the page cache: the broker, its
//! consumer and the producers share the cores in both, so that only the rest of the difference is due to the device. The
//! consumer has a thread of its own, so that producers do not wait for it within the generator.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::clock::nanos;
use super::consumer::Consumer;
use super::figures::Figures;
use super::idle::settle;
use super::process::Process;
use super::round::{Round, RoundTimes};
use super::run::{Load, Measured};
use super::scenario::{Durability, Scenario, Work};
use super::write_back::wait_for_write_back;
use crate::{Outcome, Shape};

/// The producers beside one reading of the backlog.
struct Beside {
    measured: Measured,
    /// How long the consumer took.
    seconds: f64,
    /// Of what it read.
    from_device: u64,
}

impl Round<'_> {
    /// Measures the producers alone, and beside a consumer of `bytes`, cold and then warm.
    pub(super) fn cold_catch_up(&self, bytes: usize, times: RoundTimes) -> Outcome<Figures> {
        let scenario = Scenario {
            work: Work::CatchUp(1),
            shape: Shape::TYPICAL,
            partitions: 1,
            durability: Durability::PageCache,
            idempotent: false,
            ..*self.scenario
        };
        let name = format!("{}-backlog", self.topic.name);
        let backlog = Round::begin(&scenario, self.target, &name)?;
        let figures = self.beside_backlog(&backlog, bytes, times);
        // Also after a round that failed, as with its other topic.
        let deleted = self.target.delete_topic(&backlog.topic);
        let figures = figures?;
        deleted?;
        Ok(figures)
    }

    fn beside_backlog(
        &self,
        backlog: &Round<'_>,
        bytes: usize,
        times: RoundTimes,
    ) -> Outcome<Figures> {
        let process = self.target.process;
        let batches = bytes / backlog.batch.len();
        let filling = backlog.fill(batches)?;
        let batches = u64::try_from(batches)?;
        let directory = process.open_directory(&format!("{}-0", backlog.topic.name))?;
        let written = segments(&directory)?
            .iter()
            .map(|file| {
                file.sync_data()?;
                Ok(file.metadata()?.len())
            })
            .sum::<Outcome<u64>>()?;
        // What else the system still writes would be noticed, too; if others never stop, it is in all three.
        wait_for_write_back()?;
        settle(process)?;

        let mut load = self.load(self.scenario.connections)?;
        let alone = load.run(process, times.warm_up, times.measured)?;
        forget_pages(&directory)?;
        let cold = beside(&mut load, process, backlog.consumer()?, batches)?;
        refuse_warm(&directory, written, cold.from_device)?;
        let warm = beside(&mut load, process, backlog.consumer()?, batches)?;

        let gigabytes = backlog.value_gigabytes(batches);
        let own_cores = alone.cpu_seconds / alone.seconds;
        let cpu_per_gigabyte = |beside: &Beside| {
            let measured = &beside.measured;
            (measured.cpu_seconds - own_cores * measured.seconds) / gigabytes
        };
        let mut figures = Figures::default();
        latencies(&mut figures, ALONE, &alone.latency);
        latencies(&mut figures, COLD, &cold.measured.latency);
        latencies(&mut figures, WARM, &warm.measured.latency);
        let p99 = |measured: &Measured| measured.latency.value_at_quantile(0.99) as f64;
        figures.push("cold/alone p99", p99(&cold.measured) / p99(&alone));
        figures.push("cold/warm p99", p99(&cold.measured) / p99(&warm.measured));
        figures.push("cold MB/s", gigabytes * 1e3 / cold.seconds);
        figures.push("warm MB/s", gigabytes * 1e3 / warm.seconds);
        figures.push("cold CPU-s/GB", cpu_per_gigabyte(&cold));
        figures.push("warm CPU-s/GB", cpu_per_gigabyte(&warm));
        figures.push("from device GB", cold.from_device as f64 / 1e9);
        self.memory(&mut figures)?;
        self.check(&[&load], times)?;
        backlog.check(&[&filling], times)?;
        Ok(figures)
    }
}

/// Runs the producers for as long as `consumer` takes for all batches.
fn beside(
    load: &mut Load,
    process: Process,
    mut consumer: Consumer,
    batches: u64,
) -> Outcome<Beside> {
    let over = Arc::new(AtomicBool::new(false));
    load.over = Some(Arc::clone(&over));
    let before = process.device_bytes_read()?;
    // Beyond the thread an error goes as what it says.
    let reading = thread::spawn(move || {
        let read = read_all(&mut consumer, batches).map_err(|error| error.to_string());
        over.store(true, Ordering::Relaxed);
        read
    });
    let measured = load.run(process, Duration::ZERO, READ_MAX);
    let read = reading.join().map_err(|_| "the consumer panicked")?;
    Ok(Beside {
        seconds: read?,
        measured: measured?,
        from_device: process.device_bytes_read()?.saturating_sub(before),
    })
}

/// Reads so many batches one fetch after the other, waiting for each; says how many seconds that took.
fn read_all(consumer: &mut Consumer, batches: u64) -> Outcome<f64> {
    consumer.stream.set_nonblocking(false)?;
    consumer.stream.set_read_timeout(Some(READ_TURN))?;
    let mut scratch = vec![0; SCRATCH_BYTES];
    let begun = nanos();
    while consumer.batches < batches {
        if !consumer.waiting {
            consumer.ask()?;
        }
        consumer.receive(&mut scratch, true, nanos, None, None)?;
        if u128::from(nanos() - begun) > READ_MAX.as_nanos() {
            let read = consumer.batches;
            return Err(format!("of {batches} batches {read} came in {READ_MAX:?}").into());
        }
    }
    match consumer.batches == batches {
        true => Ok((nanos() - begun) as f64 / 1e9),
        false => Err(format!("{} batches came of {batches}", consumer.batches).into()),
    }
}

/// The files with records in the directory of a partition.
fn segments(directory: &Path) -> Outcome<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(File::open(path)?);
        }
    }
    match files.is_empty() {
        true => Err(format!("no segments in {}", directory.display()).into()),
        false => Ok(files),
    }
}

/// Takes the segments of a partition, which are on the device already, out of the page cache.
fn forget_pages(directory: &Path) -> Outcome<()> {
    for file in segments(directory)? {
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}

/// A reading of which a tenth did not come from the device was not a cold one.
fn refuse_warm(directory: &Path, written: u64, from_device: u64) -> Outcome<()> {
    match from_device < written / 10 * 9 {
        true => Err(format!(
            "not cold: of {written} bytes in {} only {from_device} came from the device",
            directory.display()
        )
        .into()),
        false => Ok(()),
    }
}

fn latencies(figures: &mut Figures, names: [&'static str; 4], histogram: &Histogram<u64>) {
    for (name, quantile) in names.into_iter().zip([0.5, 0.99, 0.999, 1.0]) {
        figures.push(name, histogram.value_at_quantile(quantile) as f64 / 1e6);
    }
}

const ALONE: [&str; 4] = [
    "alone p50 ms",
    "alone p99 ms",
    "alone p99.9 ms",
    "alone max ms",
];
const COLD: [&str; 4] = ["cold p50 ms", "cold p99 ms", "cold p99.9 ms", "cold max ms"];
const WARM: [&str; 4] = ["warm p50 ms", "warm p99 ms", "warm p99.9 ms", "warm max ms"];
/// How long a reading may take.
const READ_MAX: Duration = Duration::from_secs(60);
/// How long the consumer waits before it looks at the clock.
const READ_TURN: Duration = Duration::from_secs(1);
const SCRATCH_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_dropped_is_not_measured_as_cold() {
        let directory = Path::new("data/t-0");
        refuse_warm(directory, 1_000, 1_000).unwrap();
        refuse_warm(directory, 1_000, 900).unwrap();
        let error = refuse_warm(directory, 1_000, 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "not cold: of 1000 bytes in data/t-0 only 0 came from the device"
        );
    }

    #[test]
    fn only_files_with_records_are_dropped_and_none_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("0.index"), "").unwrap();
        let error = segments(directory.path()).unwrap_err().to_string();
        assert!(error.starts_with("no segments in "), "{error}");
        fs::write(directory.path().join("0.log"), "abc").unwrap();
        let found = segments(directory.path()).unwrap();
        let lengths = found.iter().map(|file| file.metadata().unwrap().len());
        assert_eq!(lengths.collect::<Vec<_>>(), [3]);
    }
}
