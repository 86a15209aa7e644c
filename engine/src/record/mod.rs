//! The record batch, version 2: what clients send, what the disk holds, and what clients read back, byte for byte.
//!
//! This room reads hostile bytes, checks them once, and builds batches of our own. It knows no file, no clock, no
//! topic and no error code: rules and limits come in as arguments, refusals leave as [`RecordError`].

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod attributes;
mod batch;
mod builder;
mod compress;
pub mod control;
mod cursor;
mod error;
mod hostile;
mod prepared;
#[expect(
    clippy::module_inception,
    reason = "a record is what the file holds, and the room is named after it"
)]
mod record;
mod validate;

#[cfg(test)]
mod tests;

pub use attributes::{Attributes, TimestampType};
pub use batch::{
    BATCH_HEADER_LENGTH, BATCH_OVERHEAD_LENGTH, Batch, BatchHeader, Batches, check_crc,
};
pub use builder::BatchBuilder;
pub use compress::{Compression, CompressionTarget};
pub use error::{
    Corruption, InvalidBatch, Malformed, RecordError, RecordProblem, Refused, RefusedRecord,
};
pub use hostile::decode_hostile;
pub use prepared::PreparedBatch;
pub use record::{RawRecord, Record, RecordHeader, Records, record_of_max_timestamp, records};
pub use validate::{Allowance, BODY_BYTES_MAX_DEFAULT, Begun, PackedBatch, Rules, begin, prepare};
