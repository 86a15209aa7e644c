//! The rounds of one scenario: who runs, who waits, and what has to be over before a round begins.

use std::path::PathBuf;
use std::time::Duration;

use millrace_benches::Outcome;
use millrace_benches::load::{
    Durability, Figures, Housed, Kind, Program, RoundTimes, Scenario, Work, settle,
    wait_for_write_back,
};

use crate::report::Row;
use crate::turns::order;

/// What takes part, by the name that its rows get.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) program: Program,
}

/// How a scenario is measured.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) times: RoundTimes,
    pub(crate) kafka_warm_up: Duration,
    /// Whether one more round counts system calls.
    pub(crate) counts_system_calls: bool,
    /// Where data lies.
    pub(crate) directory: PathBuf,
}

/// All rounds of a scenario. A broker that fails in one of them does not end the others; its row says so.
pub(crate) fn compare(
    scenario: &Scenario,
    brokers: &[Contender],
    plan: &Plan,
) -> Outcome<Vec<Row>> {
    let takes_part = |broker: &&Contender| match broker.program {
        // How many files there are matters where they are flushed.
        Program::Floor { one_file: true, .. } => {
            scenario.has_floor && scenario.durability == Durability::Device
        }
        Program::Floor { .. } => scenario.has_floor,
        Program::Millrace { .. } | Program::Kafka { .. } => true,
    };
    let brokers: Vec<&Contender> = brokers.iter().filter(takes_part).collect();
    let mut rows = Vec::new();
    let mut running = Vec::new();
    for broker in &brokers {
        rows.push(Row::new(&broker.name, broker.program.kind()));
        if scenario.work != Work::Start {
            running.push(started(scenario, broker, plan)?);
        }
    }
    let rounds = match scenario.work {
        // A second look at 5,000 connections finds the memory of the first.
        Work::Idle(_) => 1,
        // Each writes gigabytes and reads them twice.
        Work::ColdCatchUp(_) => plan.rounds.min(COLD_ROUNDS_MAX),
        _ => plan.rounds,
    };
    for round in 0..rounds {
        for index in order(brokers.len(), round) {
            let broker = brokers[index];
            let figures = match running.get(index) {
                Some(housed) => turn(scenario, housed, plan.times),
                None => {
                    written_back()?;
                    scenario.starts(&broker.program, &plan.directory)
                }
            };
            let said = outcome_said(&figures);
            eprintln!("{} {round} {}: {said}", scenario.name, broker.name);
            match figures {
                Ok(figures) => rows[index].take(round, figures),
                // A broker may have said much before it ended: that is for the terminal.
                Err(_) => {
                    let first = said.lines().next().unwrap_or_default();
                    rows[index].faults.push(first.to_owned());
                }
            }
        }
    }
    if plan.counts_system_calls && scenario.has_requests() {
        let times = RoundTimes {
            system_calls: true,
            ..plan.times
        };
        for (row, housed) in rows.iter_mut().zip(&running) {
            let figures = turn(scenario, housed, times);
            match figures.as_ref().map(|figures| figures.value(SYSTEM_CALLS)) {
                Ok(Some(count)) => row.count(SYSTEM_CALLS, count),
                Ok(None) | Err(_) => eprintln!(
                    "{} counting {}: {}",
                    scenario.name,
                    row.name(),
                    outcome_said(&figures)
                ),
            }
        }
    }
    Ok(rows)
}

fn outcome_said(figures: &Outcome<Figures>) -> String {
    match figures {
        Ok(figures) => figures.to_string(),
        Err(why) => why.to_string(),
    }
}

/// A broker that is ready for the scenario, and stopped; Kafka's JVM has seen it before.
fn started(scenario: &Scenario, broker: &Contender, plan: &Plan) -> Outcome<Housed> {
    let running = Housed::start(&broker.program, &plan.directory)?;
    if broker.program.kind() == Kind::Kafka && scenario.has_requests() {
        let times = RoundTimes {
            warm_up: plan.kafka_warm_up,
            measured: Duration::from_millis(500),
            bytes_max: u64::MAX,
            read_back: false,
            system_calls: false,
        };
        let warm: Outcome<Figures> = scenario.round(&running.target(), times);
        if let Err(why) = warm {
            eprintln!("{} warming up {}: {why}", scenario.name, broker.name);
        }
    }
    rested(scenario, &running)?;
    running.halt()?;
    Ok(running)
}

/// One round of one broker while the others do nothing, and nothing of theirs is left to be written.
fn turn(scenario: &Scenario, broker: &Housed, times: RoundTimes) -> Outcome<Figures> {
    written_back()?;
    broker.resume()?;
    settle(broker.target().process)?;
    let figures = scenario.round(&broker.target(), times);
    let rested = rested(scenario, broker);
    broker.halt()?;
    rested?;
    figures
}

/// Waits for what the broker does behind its answers: it removes the files of a round.
fn rested(scenario: &Scenario, broker: &Housed) -> Outcome<()> {
    if !broker.wait_for_deletion(&format!("{}-", scenario.name))? {
        eprintln!(
            "{}: files of a deleted topic are still there",
            scenario.name
        );
    }
    settle(broker.target().process)
}

fn written_back() -> Outcome<()> {
    if !wait_for_write_back()? {
        eprintln!("something writes all the time: write-back does not end");
    }
    Ok(())
}

const COLD_ROUNDS_MAX: usize = 3;
const SYSTEM_CALLS: &str = "syscalls/request";
