//! The broker's process: arguments, configuration, log, signals.

#![forbid(unsafe_code)]

mod signals;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use millrace_server::config::{Sources, load};
use millrace_server::{Server, logging};
use tikv_jemallocator::Jemalloc;

use signals::StopSignals;

/// A request is some twenty small allocations on a shard's thread and as many frees: a fifth of its cost with glibc's malloc.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// A Kafka-compatible broker.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A properties file as Kafka has it; without one: localhost:9092, data under ./data.
    config: Option<PathBuf>,
    /// A setting that beats the file and the environment; may be given several times.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("millrace-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment = std::env::vars_os().filter_map(readable).collect();
    let Arguments {
        config: file,
        overrides,
    } = arguments;
    let loaded = load(&Sources {
        file,
        environment,
        overrides,
    })?;
    logging::start(loaded.config.log_format);
    logging::tell(&loaded.notes);
    if let Err(error) = millrace_engine::io::raise_open_files_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _guard = runtime.enter();
    let signals = StopSignals::listen()?;
    let running = Server::start(loaded)?;
    // Nobody has to read it; println would end the broker when nobody does.
    let _ = writeln!(std::io::stdout(), "{}", running.banner());
    runtime.block_on(signals.first());
    tracing::info!("stopping");
    Ok(if running.stop() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
