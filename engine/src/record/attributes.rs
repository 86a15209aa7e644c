//! The attribute bits of a batch, and what they stand for.
//!
//! They are told apart here and judged elsewhere: any bits can be held.

use super::compress::Compression;
use super::error::RecordError;

/// The attribute bits of a batch: codec (0-2), timestamp type (3), transactional (4), control (5), delete horizon (6).
/// The others are unused and passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;
    const DEFINED: i16 = 0x7f;

    /// Whether no bit is set but those that stand for something.
    #[must_use]
    pub fn are_defined(self) -> bool {
        self.0 & !Self::DEFINED == 0
    }

    /// How the body is packed.
    ///
    /// # Errors
    /// [`RecordError::UnknownCompression`] for the codec numbers 5 to 7.
    pub fn compression(self) -> Result<Compression, RecordError> {
        let bits = self.0 & Self::COMPRESSION;
        let id = u8::try_from(bits).unwrap_or(u8::MAX);
        Compression::from_id(id).ok_or(RecordError::UnknownCompression { id })
    }

    /// Who set the timestamps.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the records belong to a transaction and wait for its marker.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a control record, which clients do not show to their applications.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the moment from which tombstones may be removed (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same attributes with another codec.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self((self.0 & !Self::COMPRESSION) | i16::from(compression.id()))
    }

    /// The same attributes with another timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        let set = timestamp_type == TimestampType::LogAppendTime;
        self.with(Self::LOG_APPEND_TIME, set)
    }

    /// The same attributes, transactional or not.
    #[must_use]
    pub fn with_transactional(self, set: bool) -> Self {
        self.with(Self::TRANSACTIONAL, set)
    }

    /// The same attributes, of a control batch or not.
    #[must_use]
    pub fn with_control(self, set: bool) -> Self {
        self.with(Self::CONTROL, set)
    }

    /// The same attributes, with a delete horizon or without.
    #[must_use]
    pub fn with_delete_horizon(self, set: bool) -> Self {
        self.with(Self::DELETE_HORIZON, set)
    }

    fn with(self, bit: i16, set: bool) -> Self {
        Self(if set { self.0 | bit } else { self.0 & !bit })
    }
}

/// Who sets the timestamps of a topic's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer, record by record.
    #[default]
    CreateTime,
    /// The broker, one timestamp for the whole batch: the header's max timestamp.
    LogAppendTime,
}
