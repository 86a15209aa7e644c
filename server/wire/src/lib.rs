//! The Kafka wire protocol: frames, headers, messages and error codes as bytes and back again.
//!
//! Pure functions over buffers: no sockets, no clock, no broker state. The crate knows how a message looks in every
//! version, for both sides of a connection; it does not know what a request means or which ones a broker serves well.
//!
//! Everything here may meet hostile bytes. A length is compared with the bytes that are there before anything is
//! allocated, what a decoded message occupies is charged to the [`Reader`]'s budget, and no byte can cause a panic.
//! Strings and byte fields stay slices of the received frame; strings that are not UTF-8 are copied with replacements, as in Kafka.
//!
//! ```
//! use millrace_wire::message::metadata::{MetadataRequest, MetadataRequestTopic};
//! use millrace_wire::{Message, Reader};
//!
//! let request = MetadataRequest {
//!     topics: Some(vec![MetadataRequestTopic { name: Some("orders".into()), ..Default::default() }]),
//!     ..Default::default()
//! };
//! let bytes = request.to_bytes(12)?;
//! let read = MetadataRequest::decode(&mut Reader::new(bytes, 64 * 1024), 12)?;
//! assert_eq!(read, request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod api_key;
mod error;
mod error_code;
mod field;
pub mod frame;
pub mod header;
pub mod message;
mod reader;
pub mod sample;
mod text;
mod uuid;
mod writer;

#[cfg(test)]
mod tests;

pub use api_key::{ApiKey, api_name};
pub use error::{DecodeError, DecodeFault, EncodeError, EncodeFault};
pub use error_code::ErrorCode;
pub use header::{RequestHeader, ResponseHeader};
pub use message::{Message, Request, Response};
pub use reader::Reader;
pub use text::Str;
pub use uuid::{Uuid, UuidParseError};
pub use writer::{LengthWriter, Piece, PieceWriter, Writer};
