//! What the benchmarks of Millrace share: batches like those of real producers, and logs to put them in.
//!
//! The benchmarks themselves lie beside `src`, one file per walk through the broker.

#![forbid(unsafe_code)]

mod batches;
mod segment;

pub use batches::Shape;
pub use segment::Segment;
