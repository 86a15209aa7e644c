//! The limits and times of classic groups, named after Kafka's broker properties.

use std::time::Duration;

/// Settings of a group coordinator; all of them static for the life of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`, inclusive.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`, inclusive.
    pub session_timeout_max_ms: i32,
    /// `group.max.size`: the most members of one group.
    pub size_max: usize,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// `offset.metadata.max.bytes`: the most UTF-16 units of a committed offset's metadata, as Kafka counts.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// The most bytes of one record's key and value together, and of the records of one commit, which are stored together or not at
    /// all: what a batch of the offsets topic can carry. More where that topic's batches may be larger.
    pub record_bytes_max: usize,
    /// `group.memory.bytes`: what members and offsets may take in the coordinators of one shard, in bytes. Beyond, nothing new is
    /// taken; what is there stays.
    pub memory_bytes_max: usize,
}

impl Default for GroupConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            size_max: i32::MAX as usize,
            initial_rebalance_delay: Duration::from_secs(3),
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval: Duration::from_secs(600),
            record_bytes_max: 1_048_588 - BATCH_FRAMING_BYTES,
            memory_bytes_max: 128 << 20,
        }
    }
}

/// What a batch takes besides the keys and values of its records, where it has one record: its header and the record's numbers.
pub const BATCH_FRAMING_BYTES: usize = 128;
