//! An hour of a broker's everyday life, or a piece of it: `soak --server target/release/millrace-server`.
//!
//! Prints every minute what the broker occupies, and ends with a failure if memory, descriptors, threads or disk are not
//! flat over the second half, if the disk went beyond its bound, or if anything acknowledged was missing.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use millrace_benches::Outcome;
use millrace_benches::load::{Broker, Home, Program, allow_open_files, nanos, rest};
use millrace_benches::soak::{Done, Flatness, Plan, Vitals, Work};

/// A broker's everyday life. Counts are for an hour; other times do their part of them.
#[derive(Debug, Parser)]
struct Arguments {
    /// The broker program to start.
    #[arg(long, default_value = "target/release/millrace-server")]
    server: PathBuf,
    /// Where its data lies: a directory made there and removed afterwards.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// How long it goes.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Figures per minute; a run of few minutes wants more to judge by.
    #[arg(long, default_value_t = 1)]
    figures: u32,
    /// Topics made and deleted in an hour.
    #[arg(long, default_value_t = 5_000)]
    topics: u64,
    /// Joins and leaves of group members in an hour.
    #[arg(long, default_value_t = 10_000)]
    joins: u64,
    /// Restarts in an hour.
    #[arg(long, default_value_t = 20)]
    restarts: u64,
    /// Gigabytes of records in an hour.
    #[arg(long, default_value_t = 55)]
    gigabytes: u64,
}

fn main() -> Outcome<ExitCode> {
    let arguments = Arguments::parse();
    allow_open_files()?;
    let program = Program::Millrace {
        server: arguments.server.clone(),
        properties: PROPERTIES.map(str::to_owned).to_vec(),
    };
    let home = Home::new(&arguments.directory)?;
    let mut broker = Broker::start(&program, &home)?;
    let plan = Plan {
        duration: Duration::from_secs_f64(arguments.minutes * 60.0),
        topics: arguments.share(arguments.topics),
        joins: arguments.share(arguments.joins),
        bytes: arguments.share(arguments.gigabytes * 1_000_000_000),
    };
    let restarts = arguments.share(arguments.restarts);
    println!("{plan:?}, {restarts} restarts");
    let work = Work::begin(broker.target().address, plan)?;
    let begin = nanos();
    let length = u64::try_from(plan.duration.as_nanos())?;
    let mut vitals = Vec::new();
    let mut restarted = 0;
    let turns = arguments.turns()?;
    for turn in 1..=turns {
        while nanos() < begin + length / turns * turn {
            rest(Duration::from_millis(20));
            if work.has_failed() {
                return Err(work.end().err().unwrap_or_else(|| "a worker ended".into()));
            }
            // In the middle of its share of the time, so that the last one leaves something behind it.
            if restarted < restarts
                && nanos() > begin + length / (2 * restarts) * (2 * restarted + 1)
            {
                broker.stop()?;
                broker = Broker::start(&program, &home)?;
                work.moved_to(broker.target().address);
                restarted += 1;
            }
        }
        let now = Vitals::of(broker.target().process, home.path())?;
        let minute = turn as f64 / f64::from(arguments.figures);
        println!("{minute:6.1} min: {now}; {}", so_far(work.done()));
        vitals.push(now);
    }
    work.end()?;
    broker.stop()?;
    Ok(judge(&vitals))
}

impl Arguments {
    /// The part of what is meant for an hour.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, which is not negative and far from 2^64"
    )]
    fn share(&self, in_an_hour: u64) -> u64 {
        (in_an_hour as f64 * self.minutes / 60.0).ceil() as u64
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, which is not negative and far from 2^64"
    )]
    fn turns(&self) -> Outcome<u64> {
        let turns = (self.minutes * f64::from(self.figures)).ceil() as u64;
        match turns {
            0..8 => Err("8 figures at least: longer, or with more --figures".into()),
            turns => Ok(turns),
        }
    }
}

fn so_far(done: &Done) -> String {
    format!(
        "{} topics, {} joins, {:.2} GB, {} records followed",
        done.topics.load(Ordering::Relaxed),
        done.joins.load(Ordering::Relaxed),
        done.bytes.load(Ordering::Relaxed) as f64 / 1e9,
        done.followed.load(Ordering::Relaxed)
    )
}

fn judge(vitals: &[Vitals]) -> ExitCode {
    let mut kept = true;
    for flatness in Flatness::of(vitals) {
        let Flatness {
            name,
            before,
            after,
            ..
        } = flatness;
        let verdict = if flatness.is_flat() {
            "flat"
        } else {
            "NOT FLAT"
        };
        println!("{name:16} most in the third quarter {before}, in the last {after}: {verdict}");
        kept &= flatness.is_flat();
    }
    let most = vitals.iter().map(|one| one.disk_bytes).max();
    if most > Some(DISK_BYTES_MAX) {
        println!("NOT KEPT: {most:?} bytes of disk");
        kept = false;
    }
    match kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

const PROPERTIES: [&str; 4] = [
    "log.retention.check.interval.ms=2000",
    "log.cleaner.backoff.ms=1000",
    "group.initial.rebalance.delay.ms=0",
    "log.flush.offset.checkpoint.interval.ms=10000",
];
const DISK_BYTES_MAX: u64 = 5_000_000_000;
