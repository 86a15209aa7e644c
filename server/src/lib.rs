//! The Millrace broker: listeners, the Kafka wire protocol, configuration.

#![forbid(unsafe_code)]

pub mod config;
