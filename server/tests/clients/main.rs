//! Real clients against real broker processes: librdkafka programs, and bare sockets for what no client library shows.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests run on the machine's clock, wait for other processes, and fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod compaction;
mod configs;
mod descriptors;
mod fetching;
mod groups;
mod hostile;
mod idempotence;
mod limits;
mod log_append_time;
mod log_directories;
mod long_requests;
mod membership;
mod moving;
mod obeyed;
mod produce_consume;
mod records_refused;
mod restart;
mod slow;
mod versions;

use support::broker::Broker;
use support::wire::Wire;

/// A broker with a topic `t` of one partition.
fn with_topic() -> (Broker, Wire) {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    (broker, wire)
}
