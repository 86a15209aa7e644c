//! A broker whose disks run full, fail or go away, judged from outside: what needs nothing of the failing disk goes on,
//! and nothing acknowledged is missing afterwards.
//!
//! Where no mount namespace, or no FUSE, is to be had the tests say so and do nothing.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests run on the machine's clock, wait for other processes, and fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod failing;
mod failing_disk;
mod full;
mod ledger;
mod small_disk;

use std::io::Write;
use std::process::Command;

use support::broker::run_to_its_end;

/// Says that nothing was tested, and why. What `eprintln` writes the harness shows of tests that fail only; this it does
/// not catch.
fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let said = format!("SKIPPED, nothing was tested by {test}: {why}\n");
    let _ = std::io::stderr().write_all(said.as_bytes());
}

#[test]
fn what_is_skipped_is_said_although_the_test_passes() {
    const AGAIN: &str = "MILLRACE_TEST_THAT_SKIPS";
    if std::env::var_os(AGAIN).is_some() {
        skipped("it was asked to");
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args([
            "--exact",
            "what_is_skipped_is_said_although_the_test_passes",
        ])
        .env(AGAIN, "1")
        .env_remove("RUST_TEST_NOCAPTURE");
    let output = run_to_its_end(&mut command);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("SKIPPED, nothing was tested"), "{said}");
    assert!(said.contains("it was asked to"), "{said}");
}
