//! Sockets: accepting, framing, answering in order, and the limits that keep one client from harming the others.
//!
//! It knows requests as frames and answers as parts to be sent; what they say is the business of `api`.

mod acceptor;
mod admission;
mod backlog;
mod backpressure;
mod bell;
mod census;
mod closing;
mod connection;
mod frames;
mod front;
mod half;
mod lately;
mod listening;
mod loads;
mod moves;
mod pace;
mod parking;
mod queue;
mod refusals;
mod reins;
mod sending;
mod signal;
mod token_bucket;
mod turns;
mod unread;
mod usage;
#[cfg(test)]
mod wakes;

pub(crate) use acceptor::{Acceptor, Doors};
pub(crate) use admission::Admissions;
pub(crate) use backpressure::{RequestBudget, Reservation};
pub(crate) use closing::{Closing, Refusal};
pub(crate) use frames::Frame;
pub(crate) use front::{Front, attend};
pub use listening::BindError;
pub(crate) use listening::{Bound, bind};
pub(crate) use pace::Pace;
pub(crate) use parking::Parking;
pub(crate) use refusals::{OneLine, RefusalLog};
pub(crate) use unread::Unread;
