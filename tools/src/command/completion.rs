//! `millrace completion SHELL`: the script that completes commands and flags.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use super::Failure;

/// Prints a completion script for a shell
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// Which shell
    shell: Shell,
}

/// Runs the command; `program` is the description of all commands.
pub(crate) fn run(
    flags: &Flags,
    mut program: clap::Command,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut program, "millrace", &mut script);
    out.write_all(&script)?;
    Ok(())
}
