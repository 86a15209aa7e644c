//! Other programs, run to their end.

use std::process::{Command, Stdio};

use crate::Outcome;

/// Runs a command that says what it has to say itself.
///
/// # Errors
/// It cannot be started, or it fails.
pub fn run(command: &mut Command) -> Outcome<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// What a command prints.
///
/// # Errors
/// It cannot be started, fails, or prints something that is no text.
pub fn said(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
