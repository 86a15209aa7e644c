//! Why a batch or a record is refused.
//!
//! Every variant of [`RecordError`] belongs to exactly one answer a client can get, named in its first line; which
//! number that answer has on the wire is the server's business.

use super::compress::Compression;
use crate::types::{Offset, Timestamp};

/// A batch that is not accepted, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Corrupt message: the bytes are not what their writer wrote; sending them again may help.
    #[error("corrupt record batch: {0}")]
    Corrupt(#[from] Corruption),
    /// Message too large: the batch is longer than `max.message.bytes`.
    #[error("record batch of {length_bytes} bytes, at most {max_bytes} are allowed")]
    TooLarge {
        /// Length of the batch, its header included.
        length_bytes: usize,
        /// The longest batch allowed (inclusive).
        max_bytes: usize,
    },
    /// Message too large: the records unfold to more than we are willing to hold.
    #[error("records unfold from {compression} to more than {max_bytes} bytes")]
    BodyTooLarge {
        /// The codec the body is packed with.
        compression: Compression,
        /// The most that was allowed (inclusive).
        max_bytes: usize,
    },
    /// Invalid record: the batch as a whole breaks a rule; sending it again is useless.
    #[error("invalid record batch: {0}")]
    InvalidBatch(#[from] InvalidBatch),
    /// Invalid record: these records break a rule.
    #[error("invalid records: {0}")]
    InvalidRecords(Refused),
    /// Invalid timestamp: records of the list lie outside the topic's bounds (others may break other rules).
    #[error("invalid timestamps: {0}")]
    InvalidTimestamps(Refused),
    /// Invalid timestamp: the batch header promises a record that lies outside the topic's bounds.
    #[error("max timestamp {found} of the record batch is later than {latest}")]
    InvalidBatchTimestamp {
        /// The header's max timestamp.
        found: Timestamp,
        /// The latest timestamp allowed (inclusive).
        latest: Timestamp,
    },
    /// Invalid timestamp: a producer marked its batch as stamped by a broker.
    #[error("timestamp type is LogAppendTime, which only a broker may set")]
    InvalidTimestampType,
    /// Unsupported compression: no codec has this number.
    #[error("compression codec {id} is unknown, the highest known is 4 (zstd)")]
    UnknownCompression {
        /// The codec bits of the attributes, 0 to 7.
        id: u8,
    },
    /// Unsupported compression: the request is older than the codec (KIP-110: zstd needs Produce 7).
    #[error("compression zstd is not allowed in a request of this version")]
    ZstdNotAllowed,
}

/// How the bytes of a batch contradict themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// The bytes end before the batch does.
    #[error("{found} bytes where {needed} are needed")]
    Truncated {
        /// Bytes that the header, or the batch it describes, takes.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The length field is shorter than a header or negative.
    #[error("length field {found} is below {min}")]
    Length {
        /// The length field: bytes that follow it.
        found: i32,
        /// The smallest value that makes sense (inclusive).
        min: i32,
    },
    /// A magic byte that no version of Kafka wrote.
    #[error("magic {found} is unknown")]
    UnknownMagic {
        /// The magic byte.
        found: i8,
    },
    /// The checksum disagrees with the bytes.
    #[error("stored CRC-32C {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// The header's checksum.
        stored: u32,
        /// The checksum of the bytes from the attributes on.
        computed: u32,
    },
    /// The compressed body does not open.
    #[error("body does not unfold from {compression}: {problem}")]
    Body {
        /// The codec that the attributes name.
        compression: Compression,
        /// What the decoder said.
        problem: String,
    },
}

/// Which rule a whole batch breaks, though its checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBatch {
    /// There is no batch at all.
    #[error("there is none, exactly one per partition is needed")]
    Missing,
    /// Bytes follow the batch.
    #[error(
        "{length_bytes} bytes of batch are followed by others up to {found_bytes}, exactly one batch is allowed"
    )]
    MoreThanOne {
        /// Length of the first batch.
        length_bytes: usize,
        /// Length of everything sent.
        found_bytes: usize,
    },
    /// A message set of before Kafka 0.11.
    #[error("magic {found} is older than 2")]
    OldMagic {
        /// The magic byte: 0 or 1.
        found: i8,
    },
    /// A client gave the first record an offset, which is the broker's to give.
    #[error("base offset {found} is not 0")]
    BaseOffset {
        /// The header's base offset.
        found: Offset,
    },
    /// The offset range is negative.
    #[error("last offset delta {found} is negative")]
    OffsetRange {
        /// The header's last offset delta.
        found: i32,
    },
    /// The record count is negative, or zero where a client sends.
    #[error("record count {found} is below {min}")]
    Count {
        /// The header's record count.
        found: i32,
        /// The smallest allowed (inclusive).
        min: i32,
    },
    /// Count and offset range disagree.
    #[error("record count {count} does not match last offset delta {last_offset_delta}")]
    CountOffsets {
        /// The header's record count.
        count: i32,
        /// The header's last offset delta.
        last_offset_delta: i32,
    },
    /// More records than the packed body can hold.
    #[error(
        "record count {count} does not fit the {body_bytes_max} bytes that the body unfolds to at most"
    )]
    CountTooLarge {
        /// The header's record count.
        count: i32,
        /// The most that a body of this length and codec may unfold to.
        body_bytes_max: usize,
    },
    /// A client sent a control batch.
    #[error("control batches are written by brokers only")]
    Control,
    /// A client set the delete horizon, which a cleaner sets.
    #[error("the delete horizon is set by brokers only")]
    DeleteHorizon,
    /// A producer id without an epoch or a sequence.
    #[error(
        "producer id {producer_id} comes with epoch {producer_epoch} and base sequence {base_sequence}"
    )]
    Producer {
        /// The header's producer id, not negative.
        producer_id: i64,
        /// The header's producer epoch.
        producer_epoch: i16,
        /// The header's base sequence.
        base_sequence: i32,
    },
    /// A transactional batch without a producer id.
    #[error("the batch is transactional but names no producer id")]
    TransactionalWithoutProducer,
    /// Bytes follow the last record.
    #[error("{extra_bytes} bytes follow the last of {count} records")]
    TrailingBytes {
        /// The header's record count.
        count: i32,
        /// Bytes of the (uncompressed) body that belong to no record.
        extra_bytes: usize,
    },
    /// A control record that is none: its key or value is too short or of a version from before the first.
    #[error("control record is malformed: {0}")]
    ControlRecord(&'static str),
}

/// The records of one batch that break a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The first of them, in order, at most [`Refused::LISTED_MAX`].
    pub records: Vec<RefusedRecord>,
    /// How many there are in all.
    pub count: usize,
}

impl Refused {
    /// How many records are listed: one hostile batch must not make an answer larger than itself.
    pub const LISTED_MAX: usize = 100;

    pub(super) fn one(index: i32, problem: RecordProblem) -> Self {
        let mut refused = Self {
            records: Vec::new(),
            count: 0,
        };
        refused.push(index, problem);
        refused
    }

    pub(super) fn push(&mut self, index: i32, problem: RecordProblem) {
        self.count = self.count.saturating_add(1);
        if self.records.len() < Self::LISTED_MAX {
            self.records.push(RefusedRecord { index, problem });
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} refused", self.count)?;
        if let Some(first) = self.records.first() {
            write!(f, ", the first at index {}: {}", first.index, first.problem)?;
        }
        Ok(())
    }
}

/// One refused record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its place in the batch, from 0.
    pub index: i32,
    /// What is wrong with it.
    pub problem: RecordProblem,
}

/// Which rule a record breaks. Its text is what the producer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// A compacted topic would not know what to compact it by.
    #[error("Compacted topic cannot accept message without key.")]
    NoKey,
    /// Outside `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    #[error("Timestamp {found} is out of range: it should be within [{earliest}, {latest}].")]
    Timestamp {
        /// The record's timestamp.
        found: Timestamp,
        /// The earliest allowed (inclusive).
        earliest: Timestamp,
        /// The latest allowed (inclusive).
        latest: Timestamp,
    },
    /// The offset does not continue where the record before ended, or leaves the batch.
    #[error("Offset delta {found} where {expected} was expected.")]
    OffsetDelta {
        /// The record's offset delta.
        found: i32,
        /// The delta expected; for a stored batch the smallest possible.
        expected: i32,
    },
    /// The bytes are no record.
    #[error("Malformed record: {0}.")]
    Malformed(Malformed),
}

/// What is wrong with the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body or the record ends early.
    #[error("{needed} bytes are needed where {found} are left")]
    Short {
        /// Bytes needed next.
        needed: usize,
        /// Bytes left.
        found: usize,
    },
    /// A variable-length number that does not fit its type.
    #[error("a variable-length number has more than {bits} bits")]
    Varint {
        /// Width of the type: 32 or 64.
        bits: u32,
    },
    /// A length or count below its minimum.
    #[error("a length of {found} is below {min}")]
    Negative {
        /// The length or count.
        found: i32,
        /// The smallest allowed (inclusive): -1 where null is possible.
        min: i32,
    },
    /// The fields end before the record does.
    #[error("{extra_bytes} bytes follow the last field")]
    Trailing {
        /// Bytes left over.
        extra_bytes: usize,
    },
}
