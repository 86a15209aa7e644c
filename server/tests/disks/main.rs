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
