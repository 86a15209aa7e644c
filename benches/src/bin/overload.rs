//! Twice of what a broker sustains, for a while: `overload --server target/release/millrace-server`.
//!
//! Prints what was accepted and how soon, what memory it took, how fairly clients were served and how soon all was well
//! again; ends with a failure if one of the goals is missed.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use millrace_benches::Outcome;
use millrace_benches::load::{Figures, Housed, OverloadTimes, Program, scenario_named};

/// An overloaded broker.
#[derive(Debug, Parser)]
struct Arguments {
    /// The broker program to start.
    #[arg(long, default_value = "target/release/millrace-server")]
    server: PathBuf,
    /// Where its data lies: a directory made there and removed afterwards.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// How long the overload lasts.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Seconds of each measurement before and after.
    #[arg(long, default_value_t = 5.0)]
    calm: f64,
}

fn main() -> Outcome<ExitCode> {
    let arguments = Arguments::parse();
    let program = Program::Millrace {
        server: arguments.server,
        properties: PROPERTIES.map(str::to_owned).to_vec(),
    };
    let broker = Housed::start(&program, &arguments.directory)?;
    let scenario = scenario_named("overload").ok_or("no scenario overload")?;
    let times = OverloadTimes {
        calm: Duration::from_secs_f64(arguments.calm),
        overload: Duration::from_secs_f64(arguments.minutes * 60.0),
    };
    println!(
        "{} minutes of twice the sustainable rate: {}",
        arguments.minutes, scenario.about
    );
    let figures = scenario.overload(&broker.target(), times)?;
    for (name, value) in figures.iter() {
        println!("  {name:24} {}", millrace_benches::load::Short(value));
    }
    let missed = missed(&figures)?;
    for goal in &missed {
        println!("NOT KEPT: {goal}");
    }
    Ok(match missed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn missed(figures: &Figures) -> Outcome<Vec<&'static str>> {
    let value = |name: &str| figures.value(name).ok_or_else(|| format!("no {name}"));
    let mut missed = Vec::new();
    let mut keep = |kept: bool, goal| {
        if !kept {
            missed.push(goal);
        }
    };
    let (first, second) = (value("first half p99 ms")?, value("second half p99 ms")?);
    keep(
        second <= 2.0 * first,
        "the latency of accepted work does not grow",
    );
    let memory = value("most resident MB")? - value("resident before MB")?;
    keep(
        memory <= REQUEST_MEMORY_MB,
        "memory stays within request.memory.bytes",
    );
    keep(value("least/most served")? >= 0.5, "no client is starved");
    keep(
        value("calm again after s")? <= 1.0,
        "full speed within a second",
    );
    keep(
        value("speed after/before")? >= 0.8,
        "the same speed as before",
    );
    Ok(missed)
}

/// What is written in the meantime is not to fill the disk.
const PROPERTIES: [&str; 3] = [
    "log.retention.bytes=268435456",
    "log.segment.bytes=67108864",
    "log.retention.check.interval.ms=1000",
];
/// `request.memory.bytes` of two shards.
const REQUEST_MEMORY_MB: f64 = 67.1;
