//! Clients that mean no good, and those that merely come in numbers: each kind keeps at it until its process is ended.
//!
//! They share the machine with the broker they besiege and with the client that is measured beside them, so each goes at
//! a pace of its own; what is looked for is what the broker spends on them, not what they spend themselves.

mod crowd;
mod hostile;

pub use hostile::{BOMB_TOPIC, BULK_TOPIC, CONTROL, HOSTILE, Hostile, hostile_named};
