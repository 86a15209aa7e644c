//! Why a partition refuses. One small enum per operation; the server maps each variant to its Kafka error code.

use crate::log::ProducerError;
use crate::record::RecordError;
use crate::types::{LeaderEpoch, Offset, TopicIdPartition};

/// Why this shard cannot speak for a partition at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The metadata knows no such partition (any more).
    #[error("partition {0} does not exist")]
    Unknown(TopicIdPartition),
    /// It exists and another broker leads it, or nobody does.
    #[error("partition {0} is not led by this broker")]
    NotLeader(TopicIdPartition),
    /// A fault of its disk took it offline; the fault was logged when it happened.
    #[error("partition {0} is offline after a fault of its log directory")]
    Offline(TopicIdPartition),
    /// The asker's leader epoch is older than ours.
    #[error("partition {partition} is at leader epoch {current}, the request at {requested}")]
    FencedLeaderEpoch {
        /// Which partition.
        partition: TopicIdPartition,
        /// What the asker believes.
        requested: LeaderEpoch,
        /// What is true.
        current: LeaderEpoch,
    },
    /// The asker's leader epoch is newer than what we have heard of.
    #[error(
        "partition {partition} is at leader epoch {current}, the request already at {requested}"
    )]
    UnknownLeaderEpoch {
        /// Which partition.
        partition: TopicIdPartition,
        /// What the asker believes.
        requested: LeaderEpoch,
        /// What we know.
        current: LeaderEpoch,
    },
}

/// Why a batch was not appended, or not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The partition cannot be spoken for.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The batch itself is at fault.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The producer's epoch or sequence is at fault.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The batch belongs to a transaction, and this broker has no transactions yet.
    #[error("transactional batches are not supported yet")]
    Transactional,
    /// Fewer replicas are in sync than `min.insync.replicas` asks for; nothing was appended.
    #[error("{in_sync} replicas are in sync, min.insync.replicas asks for {required}")]
    NotEnoughReplicas {
        /// How many are.
        in_sync: usize,
        /// How many must be.
        required: usize,
    },
    /// The disk took nothing (it is full, or the write failed); nothing was appended.
    #[error("the log directory cannot take the batch")]
    Storage,
    /// The batch is longer than a whole segment may be; nothing was appended.
    #[error("a batch of {length_bytes} bytes does not fit a segment of {segment_bytes}")]
    BatchTooLarge {
        /// Length of the batch.
        length_bytes: u64,
        /// `segment.bytes`.
        segment_bytes: u32,
    },
    /// Not durable in time; the batch may still become so.
    #[error("not acknowledged within the timeout of the request")]
    TimedOut,
}

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The partition cannot be spoken for.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The offset is below the log start or above the log end.
    #[error("offset {requested} is outside {log_start_offset}..={high_watermark}")]
    OutOfRange {
        /// What was asked for.
        requested: Offset,
        /// First offset still there.
        log_start_offset: Offset,
        /// The bound of what can be read.
        high_watermark: Offset,
    },
    /// The file could not be read, or holds damage at that place; it was logged when found.
    #[error("the log directory cannot be read")]
    Storage,
}

/// Why an offset lookup has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetLookupError {
    /// The partition cannot be spoken for.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The file could not be read; it was logged when found.
    #[error("the log directory cannot be read")]
    Storage,
    /// A client compressed something else than its header promises, and nobody can say which record has the greatest timestamp.
    #[error("the batch with the greatest timestamp cannot be read")]
    Unreadable,
}

/// Why no records were deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    /// The partition cannot be spoken for.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The offset lies beyond the high watermark, or is negative.
    #[error("cannot delete up to offset {requested}: the high watermark is {high_watermark}")]
    OutOfRange {
        /// What was asked for.
        requested: Offset,
        /// The furthest possible.
        high_watermark: Offset,
    },
    /// The topic is compacted without being deleted from, so its records may not be cut off (Kafka's rule).
    #[error("records of a topic without the delete cleanup policy cannot be deleted")]
    PolicyViolation,
    /// The new log start offset could not be made safe; it was logged when it happened.
    #[error("the log directory cannot be written")]
    Storage,
}
