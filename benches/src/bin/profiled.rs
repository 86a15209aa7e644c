//! Builds the broker as its releases are built, with a profile of its own work: `target/profiled/millrace-server`.
//!
//! `cargo run --release -p millrace-benches --bin profiled` builds it twice and puts load on the first one, which takes some
//! minutes; it needs `llvm-profdata` (`rustup component add llvm-tools`, or Debian's llvm-19).

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Parser;
use millrace_benches::{Outcome, build_profiled};

/// A broker built with a profile of its own work.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where it goes, with what it is made of.
    #[arg(long, default_value = "target/profiled")]
    directory: PathBuf,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let binary = build_profiled(&arguments.directory)?;
    println!("built {}", binary.display());
    Ok(())
}
