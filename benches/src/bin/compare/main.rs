//! Compares brokers side by side: Millrace as it is here, the floor, Apache Kafka, and Millrace of another revision.
//!
//! `cargo run --release -p millrace-benches --bin compare` builds what it compares, starts all of them for each scenario, and
//! lets them take turns, in another order each round. It prints medians, ranges and ratios, and the goals. A run of all
//! scenarios also writes docs/benchmarks.md.

#![forbid(unsafe_code)]

mod machine;
mod programs;
mod report;
mod rounds;
mod turns;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use millrace_benches::Outcome;
use millrace_benches::load::{
    PENDING_KIBIBYTES_MAX, RoundTimes, SCENARIOS, Scenario, SystemCalls, allow_open_files,
    room_before_write_back, scenario_named,
};

use crate::machine::Machine;
use crate::report::Compared;
use crate::rounds::{Contender, Plan, compare};

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
    /// Millrace as releases are built: what `profiled` has made of this tree. The plain build stands beside it.
    #[arg(long, conflicts_with = "server")]
    profiled: Option<PathBuf>,
    /// Where data lies while it runs.
    #[arg(long, default_value = "target/compare")]
    directory: PathBuf,
    /// Rounds of each broker in each scenario; 5, or 3 with --quick.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that are measured in each round, unless write-back would begin before they are over; 3, or 1 with --quick.
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds for which Kafka is warmed up with each kind of load.
    #[arg(long, default_value_t = 15.0)]
    kafka_warm_up: f64,
    /// Three rounds of a second, unless other options say else: to see where things are.
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
    let plan = arguments.plan()?;
    println!("{machine}\n{}\n", how(&plan, arguments.profiled.is_some()));
    let mut compared = Vec::new();
    for scenario in scenarios {
        println!("## {}: {}", scenario.name, scenario.about);
        let rows = compare(scenario, &brokers, &plan)?;
        let part = Compared { scenario, rows };
        println!("{}", part.for_terminal());
        compared.push(part);
    }
    let document = report::document(
        &machine,
        &how(&plan, arguments.profiled.is_some()),
        &compared,
    );
    let everything = arguments.scenarios.is_empty() && !arguments.quick;
    let default = everything.then(|| PathBuf::from("docs/benchmarks.md"));
    if let Some(path) = arguments.output.or(default) {
        fs::write(&path, &document)?;
        println!("written to {}", path.display());
    }
    println!("{}", report::goals(&compared));
    Ok(())
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
    if let Some(server) = &arguments.profiled {
        add("Millrace".into(), programs::millrace(server.clone()));
        add("Millrace, plain build".into(), built.millrace);
    } else {
        add("Millrace".into(), built.millrace);
    }
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

impl Arguments {
    fn plan(&self) -> Outcome<Plan> {
        let seconds = self.seconds.unwrap_or(if self.quick { 1.0 } else { 3.0 });
        Ok(Plan {
            rounds: self.rounds.unwrap_or(if self.quick { 3 } else { 5 }),
            times: RoundTimes {
                warm_up: Duration::from_millis(500),
                measured: Duration::from_secs_f64(seconds),
                bytes_max: room_before_write_back()?,
                read_back: true,
                system_calls: false,
            },
            kafka_warm_up: Duration::from_secs_f64(self.kafka_warm_up),
            counts_system_calls: SystemCalls::can_be_counted(),
            directory: self.directory.clone(),
        })
    }
}

/// How it was measured, in sentences.
fn how(plan: &Plan, profiled: bool) -> String {
    let counted = match plan.counts_system_calls {
        true => {
            "system calls are counted by perf in one more round, whose other figures are not used"
        }
        false => "system calls are not counted: perf is not there, or not permitted",
    };
    let built = if profiled {
        ". Millrace is built as releases are, with a profile of its own work (`profiled`); its plain build stands beside it"
    } else {
        ""
    };
    format!(
        "{} rounds for each broker in each scenario, of {} s or {:.1} GB (the kernel would begin to write back soon after), \
         whichever is over first; Kafka warmed up for {} s with each. The order changes from round to round: A B C, C B A, \
         B C A, A C B ... Before a round the data of the one before is deleted, what is dirty in the page cache is written \
         back until less than {} MiB are left, and the broker has come to rest; the others are stopped (SIGSTOP) meanwhile. \
         Ratios are medians of the ratios within the rounds; {counted}{built}",
        plan.rounds,
        plan.times.measured.as_secs_f64(),
        plan.times.bytes_max as f64 / 1e9,
        plan.kafka_warm_up.as_secs_f64(),
        PENDING_KIBIBYTES_MAX / 1024,
    )
}
