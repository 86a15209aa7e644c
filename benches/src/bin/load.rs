//! Puts load on a broker and says what it costs: `load --server target/release/millrace-server typical bulk`.
//!
//! A program named by --server is started on an empty directory for each scenario; --bootstrap with --pid names a broker
//! that runs already. Latencies are counted from the moment at which a request should have left.

#![forbid(unsafe_code)]

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use millrace_benches::Outcome;
use millrace_benches::load::{
    Figures, Housed, Kind, Process, Program, RoundTimes, SCENARIOS, Scenario, Target, Work,
    allow_open_files, scenario_named,
};

/// Load on a Kafka-compatible broker, by scenarios.
#[derive(Debug, Parser)]
struct Arguments {
    /// Scenarios by name; without any, their list.
    scenarios: Vec<String>,
    /// A broker program to start for each scenario.
    #[arg(long, conflicts_with = "bootstrap")]
    server: Option<PathBuf>,
    /// Further lines for its properties file, NAME=VALUE.
    #[arg(long, requires = "server")]
    property: Vec<String>,
    /// Where its data lies: a directory made there and removed afterwards.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// A broker that runs, as HOST:PORT.
    #[arg(long, requires = "pid")]
    bootstrap: Option<String>,
    /// The process of that broker.
    #[arg(long)]
    pid: Option<u32>,
    /// What the broker is.
    #[arg(long, value_enum, default_value_t = BrokerKind::Millrace)]
    broker: BrokerKind,
    /// Seconds that are measured in each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before that, which are not.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Rounds of each scenario.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests per second, instead of the scenario's.
    #[arg(long)]
    rate: Option<f64>,
    /// Connections, instead of the scenario's.
    #[arg(long)]
    connections: Option<usize>,
    /// Requests in flight on each connection, instead of the scenario's.
    #[arg(long)]
    window: Option<usize>,
    /// Do not read back what was acknowledged.
    #[arg(long)]
    no_read_back: bool,
    /// Count the broker's system calls by perf, which costs it time.
    #[arg(long)]
    system_calls: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BrokerKind {
    Millrace,
    Kafka,
    Floor,
    FloorOneFile,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    allow_open_files()?;
    if arguments.scenarios.is_empty() {
        for Scenario { name, about, .. } in SCENARIOS {
            println!("{name:20} {about}");
        }
        return Ok(());
    }
    for name in &arguments.scenarios {
        let scenario = scenario_named(name).ok_or_else(|| format!("no scenario {name}"))?;
        let scenario = adjusted(scenario, &arguments);
        println!("{name}: {}", scenario.about);
        let rounds = rounds(&scenario, &arguments)?;
        if rounds.len() > 1 {
            println!("  median: {}", Figures::medians(&rounds));
        }
    }
    Ok(())
}

fn rounds(scenario: &Scenario, arguments: &Arguments) -> Outcome<Vec<Figures>> {
    let mut rounds = Vec::new();
    let mut round = |figures: Figures| {
        println!("  {figures}");
        rounds.push(figures);
    };
    if scenario.work == Work::Start {
        let program = program(arguments).ok_or("start needs --server")?;
        for _ in 0..arguments.rounds {
            round(scenario.starts(&program, &arguments.directory)?);
        }
        return Ok(rounds);
    }
    let (target, _broker) = target(arguments)?;
    for _ in 0..arguments.rounds {
        round(scenario.round(&target, times(arguments))?);
    }
    Ok(rounds)
}

fn target(arguments: &Arguments) -> Outcome<(Target, Option<Housed>)> {
    if let Some(program) = program(arguments) {
        let broker = Housed::start(&program, &arguments.directory)?;
        return Ok((broker.target(), Some(broker)));
    }
    let bootstrap = arguments.bootstrap.as_deref();
    let bootstrap = bootstrap.ok_or("--server, or --bootstrap with --pid")?;
    let addresses: Vec<SocketAddr> = bootstrap.to_socket_addrs()?.collect();
    let target = Target {
        address: *addresses.first().ok_or("no address of that name")?,
        process: Process(arguments.pid.ok_or("--bootstrap needs --pid")?),
        kind: kind(arguments),
    };
    Ok((target, None))
}

fn program(arguments: &Arguments) -> Option<Program> {
    let server = arguments.server.clone()?;
    Some(match arguments.broker {
        BrokerKind::Millrace => Program::Millrace {
            server,
            properties: arguments.property.clone(),
        },
        BrokerKind::Kafka => Program::Kafka { libraries: server },
        BrokerKind::Floor => Program::Floor {
            server,
            one_file: false,
        },
        BrokerKind::FloorOneFile => Program::Floor {
            server,
            one_file: true,
        },
    })
}

fn kind(arguments: &Arguments) -> Kind {
    match arguments.broker {
        BrokerKind::Millrace => Kind::Millrace,
        BrokerKind::Kafka => Kind::Kafka,
        BrokerKind::Floor | BrokerKind::FloorOneFile => Kind::Floor,
    }
}

fn adjusted(scenario: &Scenario, arguments: &Arguments) -> Scenario {
    Scenario {
        rate: arguments.rate.or(scenario.rate),
        connections: arguments.connections.unwrap_or(scenario.connections),
        window: arguments.window.unwrap_or(scenario.window),
        ..*scenario
    }
}

fn times(arguments: &Arguments) -> RoundTimes {
    RoundTimes {
        warm_up: Duration::from_secs_f64(arguments.warm_up),
        measured: Duration::from_secs_f64(arguments.seconds),
        bytes_max: u64::MAX,
        read_back: !arguments.no_read_back,
        system_calls: arguments.system_calls,
    }
}
