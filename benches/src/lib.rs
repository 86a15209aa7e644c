//! What the benchmarks of Millrace share: batches like those of real producers, logs to put them in, and a
//! plain client.
//!
//! The benchmarks themselves lie beside `src`, one file per walk through the broker.

#![forbid(unsafe_code)]

use std::path::Path;

mod batches;
mod client;
mod commands;
mod giants;
pub mod load;
mod profiled;
mod segment;
pub mod siege;
pub mod soak;

pub use batches::Shape;
pub use client::{Client, Outcome, fetch_request};
pub use commands::{run, said};
pub use giants::{GIANTS_TOPIC, giants};
pub use profiled::build_profiled;
pub use segment::Segment;

/// To be held by tests that put a broker under load, in this very process: one at a time, with all the files there may be.
#[cfg(test)]
pub(crate) fn in_turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    load::allow_open_files().expect("what the system allows");
    TURN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The repository, from where this was built.
#[must_use]
pub fn repository() -> &'static Path {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    benches.parent().unwrap_or(benches)
}
