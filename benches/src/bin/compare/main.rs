//! Compares brokers side by side: Millrace as it is here, the floor, Apache Kafka, and Millrace of another revision.
//!
//! `cargo run --release -p millrace-benches --bin compare` builds what it compares, starts all of them for each scenario, and
//! lets them take turns: A, B, C, A, B, C ... It prints medians, ranges and ratios, and the goals. A run of all
//! scenarios also writes docs/benchmarks.md.

#![forbid(unsafe_code)]

mod machine;
mod programs;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use millrace_benches::Outcome;
use millrace_benches::load::{
    Durability, Figures, Housed, Kind, Program, RoundTimes, SCENARIOS, Scenario, Work,
    allow_open_files, scenario_named,
};

use crate::machine::Machine;
use crate::report::{Compared, Row};

/// Brokers side by side, by scenarios.
#[derive(Debug, Parser)]
struct Arguments {
    /// Scenarios by name; without any, all.
    scenarios: Vec<String>,
    /// Also Millrace as it is at this git revision. May be given several times.
    #[arg(long)]
    against: Vec<String>,
    /// Leave Apache Kafka out.
    #[arg(long)]
    no_kafka: bool,
    /// Apache Kafka's jars, if they are here already.
    #[arg(long)]
    kafka_libraries: Option<PathBuf>,
    /// Leave the floor out.
    #[arg(long)]
    no_floor: bool,
    /// A millrace-server that is built already, instead of this tree's.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Where data lies while it runs.
    #[arg(long, default_value = "target/compare")]
    directory: PathBuf,
    /// Rounds of each broker in each scenario.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that are measured in each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds for which Kafka is warmed up with each kind of load.
    #[arg(long, default_value_t = 15.0)]
    kafka_warm_up: f64,
    /// Three rounds of a second: to see where things are.
    #[arg(long)]
    quick: bool,
    /// Where the table is written; by default docs/benchmarks.md after a full run, and nowhere after a part.
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    allow_open_files()?;
    let scenarios = chosen(&arguments.scenarios)?;
    let brokers = brokers(&arguments)?;
    let machine = Machine::here(&arguments.directory)?;
    println!("{machine}\n");
    let mut compared = Vec::new();
    for scenario in scenarios {
        println!("## {}: {}", scenario.name, scenario.about);
        let rows = compare(scenario, &brokers, &arguments)?;
        let part = Compared { scenario, rows };
        println!("{}", part.for_terminal());
        compared.push(part);
    }
    let document = report::document(&machine, &times_said(&arguments), &compared);
    let everything = arguments.scenarios.is_empty() && !arguments.quick;
    let default = everything.then(|| PathBuf::from("docs/benchmarks.md"));
    if let Some(path) = arguments.output.or(default) {
        fs::write(&path, &document)?;
        println!("written to {}", path.display());
    }
    println!("{}", report::goals(&compared));
    Ok(())
}

/// What takes part, by the name that its rows get.
struct Contender {
    name: String,
    program: Program,
}

fn chosen(names: &[String]) -> Outcome<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let named = |name: &String| {
        let scenario = scenario_named(name);
        scenario.ok_or_else(|| format!("no scenario {name}").into())
    };
    names.iter().map(named).collect()
}

fn brokers(arguments: &Arguments) -> Outcome<Vec<Contender>> {
    let mut brokers = Vec::new();
    let mut add = |name: String, program| brokers.push(Contender { name, program });
    let built = programs::build_here(arguments.server.as_deref())?;
    add("Millrace".into(), built.millrace);
    if !arguments.no_floor {
        let [files, one_file] = built.floors;
        add("floor".into(), files);
        add("floor, one file".into(), one_file);
    }
    if !arguments.no_kafka {
        match programs::kafka(arguments.kafka_libraries.as_deref()) {
            Ok(program) => add("Kafka 4.3.1".into(), program),
            Err(why) => println!("Apache Kafka is left out: {why}"),
        }
    }
    for revision in &arguments.against {
        let program = programs::build_revision(revision)?;
        add(format!("Millrace {revision}"), program);
    }
    Ok(brokers)
}

fn compare(scenario: &Scenario, brokers: &[Contender], arguments: &Arguments) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let takes_part = |broker: &&Contender| match broker.program {
        // How many files there are matters where they are flushed.
        Program::Floor { one_file: true, .. } => {
            scenario.has_floor && scenario.durability == Durability::Device
        }
        Program::Floor { .. } => scenario.has_floor,
        Program::Millrace { .. } | Program::Kafka { .. } => true,
    };
    let brokers: Vec<&Contender> = brokers.iter().filter(takes_part).collect();
    let mut running = Vec::new();
    for broker in &brokers {
        rows.push(Row::new(&broker.name, broker.program.kind()));
        if scenario.work != Work::Start {
            running.push(started(scenario, broker, arguments)?);
        }
    }
    for round in 0..arguments.rounds() {
        for (index, broker) in brokers.iter().enumerate() {
            let figures = match running.get(index) {
                Some(running) => scenario.round(&running.target(), arguments.times()),
                None => scenario.starts(&broker.program, &arguments.directory),
            };
            match figures {
                Ok(figures) => {
                    eprintln!("{} {round} {}: {figures}", scenario.name, broker.name);
                    rows[index].rounds.push(figures);
                }
                // One that fails at something does not hide the others; its row says so.
                Err(why) => {
                    eprintln!("{} {round} {}: {why}", scenario.name, broker.name);
                    rows[index].faults.push(why.to_string());
                }
            }
        }
        // A second look at 5,000 connections finds the memory of the first.
        if matches!(scenario.work, Work::Idle(_)) {
            break;
        }
    }
    Ok(rows)
}

/// A broker that is ready for the scenario; Kafka's JVM has seen it before.
fn started(scenario: &Scenario, broker: &Contender, arguments: &Arguments) -> Outcome<Housed> {
    let running = Housed::start(&broker.program, &arguments.directory)?;
    let repeats = !matches!(scenario.work, Work::Idle(_));
    if broker.program.kind() == Kind::Kafka && repeats {
        let times = RoundTimes {
            warm_up: Duration::from_secs_f64(arguments.kafka_warm_up),
            measured: Duration::from_millis(500),
            read_back: false,
        };
        let warm: Outcome<Figures> = scenario.round(&running.target(), times);
        if let Err(why) = warm {
            eprintln!("{} warming up {}: {why}", scenario.name, broker.name);
        }
    }
    Ok(running)
}

impl Arguments {
    fn rounds(&self) -> usize {
        if self.quick { 3 } else { self.rounds }
    }

    fn times(&self) -> RoundTimes {
        let seconds = if self.quick { 1.0 } else { self.seconds };
        RoundTimes {
            warm_up: Duration::from_millis(500),
            measured: Duration::from_secs_f64(seconds),
            read_back: true,
        }
    }
}

fn times_said(arguments: &Arguments) -> String {
    format!(
        "{} rounds of {} s for each broker in each scenario, in turns; Kafka warmed up for {} s with each",
        arguments.rounds(),
        arguments.times().measured.as_secs_f64(),
        arguments.kafka_warm_up
    )
}

/// The repository, from where this was built.
fn repository() -> &'static Path {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    benches.parent().unwrap_or(benches)
}
