//! The Millrace broker: listeners, the Kafka wire protocol, configuration.

#![forbid(unsafe_code)]

mod api;
pub mod config;
pub mod fuzzing;
pub mod logging;
mod net;
mod server;

pub use net::BindError;
pub use server::{Running, Server, StartError};
