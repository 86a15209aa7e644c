//! Sockets: accepting, framing, answering in order, and the limits that keep one client from harming the others.
//!
//! It knows requests as frames and answers as parts to be sent; what they say is the business of `api`.

mod backpressure;
mod closing;
mod frames;

pub(crate) use closing::{Closing, Refusal};
