//! Real clients against real broker processes.

#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    reason = "a test binary documents itself by its sentences"
)]

mod broker;
mod produce_and_fetch;
mod refusals;
