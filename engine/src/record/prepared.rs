//! A batch that was accepted and waits for its place in the log.
//!
//! It holds the header to be stored beside a payload that is a slice of what was received, and makes the few changes
//! a broker may make; why they are made is known in `validate`.

use bytes::Bytes;

use super::attributes::TimestampType;
use super::batch::{BATCH_HEADER_LENGTH, BATCH_OVERHEAD_LENGTH, BatchHeader, check_crc_against};
use super::builder::pack;
use super::compress::CompressionTarget;
use super::error::RecordError;
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// A batch that has passed, waiting for its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedBatch {
    header: BatchHeader,
    payload: Bytes,
    /// `None` where the body was not opened.
    offset_delta_of_max_timestamp: Option<i32>,
}

impl PreparedBatch {
    /// A batch as it came in; nothing is checked, and only the rest of the room makes one so.
    pub(super) fn new(header: BatchHeader, payload: Bytes) -> Self {
        Self {
            header,
            payload,
            offset_delta_of_max_timestamp: None,
        }
    }

    /// Takes a whole batch that the broker itself built: no rule of a topic is applied to it.
    ///
    /// # Errors
    /// Those of [`BatchHeader::parse`], [`RecordError::Corrupt`] when it is cut short or its checksum is wrong.
    pub fn from_builder(batch: &Bytes) -> Result<Self, RecordError> {
        let header = BatchHeader::parse(batch)?;
        check_crc_against(&header, batch)?;
        let payload = batch.slice(BATCH_HEADER_LENGTH..header.length_bytes());
        Ok(Self::new(header, payload))
    }

    /// The header as it will be stored, base offset and leader epoch aside: they are still the sender's.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records as they will be stored: a slice of what was received unless a rule asked for another codec.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Bytes of the batch as it will be stored, header included.
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        self.header.length_bytes()
    }

    /// How many records it holds, and offsets it takes, when a client sent it.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.header.record_count()
    }

    /// The latest timestamp of its records; -1 when none has one.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        self.header.max_timestamp()
    }

    /// How far from the base offset the first record with the max timestamp lies; the last record where the body
    /// was not opened, as in Kafka's time index.
    #[must_use]
    pub fn offset_delta_of_max_timestamp(&self) -> i32 {
        self.offset_delta_of_max_timestamp
            .unwrap_or(self.header.last_offset_delta())
    }

    /// The timestamp the broker gave the records, where the topic asks for it.
    #[must_use]
    pub fn log_append_time(&self) -> Option<Timestamp> {
        match self.header.attributes().timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(self.header.max_timestamp()),
        }
    }

    /// The batch at its place: its header, stamped, and the payload untouched.
    #[must_use]
    pub fn stamp(self, base_offset: Offset, leader_epoch: LeaderEpoch) -> (BatchHeader, Bytes) {
        (self.header.stamped(base_offset, leader_epoch), self.payload)
    }

    pub(super) fn note_max_timestamp(&mut self, max: Timestamp, offset_delta: i32) {
        self.header.max_timestamp = max.0.into();
        self.offset_delta_of_max_timestamp = Some(offset_delta);
    }

    pub(super) fn repack(
        &mut self,
        target: CompressionTarget,
        body: Vec<u8>,
        max_bytes: usize,
    ) -> Result<(), RecordError> {
        let (compression, mut payload) = pack(target, body);
        let length_bytes = payload.len().saturating_add(BATCH_HEADER_LENGTH);
        let most = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
        if length_bytes > max_bytes || length_bytes.saturating_sub(BATCH_OVERHEAD_LENGTH) > most {
            return Err(RecordError::TooLarge {
                length_bytes,
                max_bytes,
            });
        }
        let attributes = self.header.attributes().with_compression(compression);
        self.header.attributes = attributes.0.into();
        // It grew as it was made, and may have room for as much again.
        payload.shrink_to_fit();
        self.payload = payload.into();
        Ok(())
    }

    /// Records keep their deltas: readers take the header's max timestamp for all of them.
    pub(super) fn set_log_append_time(&mut self, now: Timestamp) {
        let attributes = self.header.attributes();
        let attributes = attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.header.attributes = attributes.0.into();
        self.header.max_timestamp = now.0.into();
        self.offset_delta_of_max_timestamp = Some(0);
    }

    pub(super) fn reseal_if_changed(&mut self, sent: &BatchHeader) {
        // Another payload means other attributes, so the header tells.
        if self.header != *sent {
            self.header.seal(&self.payload);
        }
    }
}
