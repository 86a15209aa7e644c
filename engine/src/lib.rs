//! The storage engine of Millrace: everything that stores or decides.
//!
//! It knows partitions, groups and metadata; it knows no request, no API key, no error code and no socket text.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests pick their own small numbers"
    )
)]

pub mod config;
pub mod control;
pub mod coordinator;
mod engine;
pub mod group;
pub mod io;
pub mod log;
pub mod maintenance;
pub mod metadata;
pub mod partition;
pub mod record;
pub mod shard;
pub mod types;
pub mod verify;

pub use engine::{
    Engine, EngineOptions, Facts, IoChoice, SYNCS_PER_DIRECTORY_MAX, SimulatedEngine, StartError,
};
