//! What the benchmarks of Millrace share: batches like those of real producers, logs to put them in, and a
//! plain client.
//!
//! The benchmarks themselves lie beside `src`, one file per walk through the broker.

#![forbid(unsafe_code)]

mod batches;
mod client;
pub mod load;
mod segment;
pub mod siege;
pub mod soak;

pub use batches::Shape;
pub use client::{Client, Outcome, fetch_request};
pub use segment::Segment;
