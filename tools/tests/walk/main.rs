//! The `millrace` program against a live broker: every command, with the output and the exit codes of Kafka's tools.
//!
//! What is expected here was compared with what the tools of Apache Kafka 4.3.1 print against a Kafka of that version.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests run on the machine's clock, wait for other processes, and fail by panicking"
)]

mod cluster;
mod configs;
mod console;
mod dump_log;
mod groups;
mod offsets;
mod program;
mod support;
mod topics;
