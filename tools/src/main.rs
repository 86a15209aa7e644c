//! The `millrace` command: Kafka's command-line tools under Kafka's names, flags and output.
//!
//! It only says which modules there are; `command` finds out which tool was meant and runs it.

#![forbid(unsafe_code)]

mod admin;
mod clients;
mod command;
mod flags;
mod measure;
mod print;
mod properties;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run(std::env::args_os().collect())
}
