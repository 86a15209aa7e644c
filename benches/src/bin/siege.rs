//! Whether a well-behaved client notices hostile ones: `siege --server target/release/millrace-server`.
//!
//! A producer and a consumer at a fixed rate are measured alone and beside each kind of hostile client, in turns. That one is a
//! process of its own that runs only while nobody else wants the processor: what it takes itself is no fault of the broker.
//! A last row shows what a process beside does that has nothing to do with the broker.
//! The goal: a p99 (the median of the turns) that is at most twice that alone, and memory within what the broker may use for requests.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use millrace_benches::load::{
    Durability, Figures, Housed, Program, RoundTimes, Scenario, Short, Target, allow_open_files,
    fill, rest, scenario_named,
};
use millrace_benches::siege::{BOMB_TOPIC, BULK_TOPIC, CONTROL, HOSTILE, Hostile, hostile_named};
use millrace_benches::{Client, Outcome, Shape};
use millrace_wire::message::metadata::MetadataRequest;

/// A well-behaved client beside hostile ones.
#[derive(Debug, Parser)]
struct Arguments {
    /// Kinds of hostile clients by name; all of them without any.
    kinds: Vec<String>,
    /// The broker program to start.
    #[arg(long, default_value = "target/release/millrace-server")]
    server: PathBuf,
    /// Where its data lies: a directory made there and removed afterwards.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// Seconds that are measured in each turn, alone and beside.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Turns, of which the median counts.
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Be a hostile client of this kind, of the broker at this address.
    #[arg(long, num_args = 2, value_names = ["KIND", "ADDRESS"], hide = true)]
    hostile: Option<Vec<String>>,
}

fn main() -> Outcome<ExitCode> {
    let arguments = Arguments::parse();
    allow_open_files()?;
    if let Some([kind, address]) = arguments.hostile.as_deref() {
        let address: SocketAddr = address.parse()?;
        // Its end is that of the process.
        kind_named(kind)?.act(address, &AtomicBool::new(false))?;
        return Ok(ExitCode::SUCCESS);
    }
    let kinds = match arguments.kinds.as_slice() {
        [] => HOSTILE.to_vec(),
        names => names
            .iter()
            .map(|name| kind_named(name))
            .collect::<Outcome<_>>()?,
    };
    let program = Program::Millrace {
        server: arguments.server.clone(),
        properties: Vec::new(),
    };
    let mut kept = true;
    // Then what computes in this session holds up the kernel's own threads, at whatever priority.
    let grouped = std::fs::read_to_string(AUTOGROUP).is_ok_and(|enabled| enabled.trim() == "1");
    if grouped {
        println!("{AUTOGROUP} is 1: much of what follows is the kernel's doing, and gone with 0");
    }
    println!(
        "{:20} {:>9} {:>9} {:>6}  {:>9} {:>9} {:>6}  {:>9} {:>9}  {:>7}",
        "",
        "ack p99",
        "beside",
        "ratio",
        "e2e p99",
        "beside",
        "ratio",
        "memory",
        "beside",
        "sockets"
    );
    for kind in kinds {
        kept &= beside(kind, &program, &arguments)?;
    }
    beside(CONTROL, &program, &arguments)?;
    Ok(match kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Measures one kind on a fresh broker; whether the goals are met.
fn beside(kind: Hostile, program: &Program, arguments: &Arguments) -> Outcome<bool> {
    let broker = Housed::start(program, &arguments.directory)?;
    let target = broker.target();
    let well_behaved = well_behaved()?;
    let bulk = Scenario {
        partitions: 1,
        ..*scenario_named("bulk").ok_or("no scenario bulk")?
    };
    fill(&bulk, &target, BULK_TOPIC, BULK_BYTES)?;
    let mut client = Client::connect(target.address)?;
    client.create_topic_with(BOMB_TOPIC, 1, &[("compression.type", "lz4")])?;
    let times = RoundTimes {
        warm_up: Duration::from_secs(1),
        measured: Duration::from_secs_f64(arguments.seconds),
        read_back: true,
        bytes_max: u64::MAX,
        system_calls: false,
    };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut at_rest, mut most, mut descriptors) = (0, 0, 0);
    for turn in 0..arguments.turns.max(1) {
        alone.push(well_behaved.round(&target, times)?);
        if turn == 0 {
            at_rest = target.process.resident_bytes()?;
        }
        target.process.forget_most_resident()?;
        let siege = Siege::begin(kind, target.address)?;
        // The crowds have to arrive.
        rest(ARRIVAL);
        beside.push(well_behaved.round(&target, times)?);
        descriptors = descriptors.max(target.process.descriptors()?);
        most = most.max(target.process.resident_bytes_max()?);
        drop(siege);
        // And to leave.
        rest(ARRIVAL);
    }
    let medians = [&alone, &beside].map(|turns| Figures::medians(turns));
    let mut kept = most <= at_rest + MEMORY_MAX;
    print!("{:20}", kind.name);
    for figure in ["p99 ms", "end-to-end p99 ms"] {
        let values = medians.each_ref().map(|figures| figures.value(figure));
        let [Some(alone), Some(beside)] = values else {
            return Err(format!("no {figure}").into());
        };
        let ratio = beside / alone;
        kept &= ratio <= RATIO_MAX;
        let [alone, beside, ratio] = [alone, beside, ratio].map(Short).map(|one| one.to_string());
        print!(" {alone:>6} ms {beside:>6} ms {ratio:>6} ");
    }
    let megabytes = |bytes: u64| Short(bytes as f64 / 1e6).to_string();
    println!(
        " {:>6} MB {:>6} MB  {descriptors:>7}  {}",
        megabytes(at_rest),
        megabytes(most),
        match kept {
            _ if kind.name == CONTROL.name => "for comparison",
            true => "kept",
            false => "NOT KEPT",
        }
    );
    check_alive(&target)?;
    Ok(kept)
}

/// 500 requests per second of ten records each, acknowledged after the flush, and one consumer behind them.
fn well_behaved() -> Outcome<Scenario> {
    let end_to_end = scenario_named("end-to-end").ok_or("no scenario end-to-end")?;
    Ok(Scenario {
        name: "well-behaved",
        shape: Shape::of(10, 100),
        rate: Some(500.0),
        durability: Durability::Default,
        idempotent: true,
        ..*end_to_end
    })
}

fn check_alive(target: &Target) -> Outcome<()> {
    let every = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let topics = Client::connect(target.address)?.ask(&every, 9)?;
    match topics.topics.is_empty() {
        true => Err("the broker lost its topics".into()),
        false => Ok(()),
    }
}

fn kind_named(name: &str) -> Outcome<Hostile> {
    let known = || {
        HOSTILE
            .iter()
            .map(|kind| format!("\n  {:20} {}", kind.name, kind.about))
    };
    let found = hostile_named(name);
    found.ok_or_else(|| format!("no kind {name}; there are{}", known().collect::<String>()).into())
}

/// A process of hostile clients; it ends with the value.
struct Siege(Child);

impl Siege {
    fn begin(kind: Hostile, address: SocketAddr) -> Outcome<Self> {
        let own: &Path = &std::env::current_exe()?;
        let child = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(own)
            .args(["--hostile", kind.name, &address.to_string()])
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const AUTOGROUP: &str = "/proc/sys/kernel/sched_autogroup_enabled";
const RATIO_MAX: f64 = 2.0;
/// `request.memory.bytes` of two shards, and 4 kB for each of 10,000 connections.
const MEMORY_MAX: u64 = (64 << 20) + 40_000_000;
const BULK_BYTES: usize = 64 << 20;
const ARRIVAL: Duration = Duration::from_secs(2);
