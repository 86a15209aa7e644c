//! What can be wrong with bytes that came in, and with a message that is to go out.
//!
//! Both errors name the field, so that one log line tells which client sent what nonsense.

use crate::field::STRING_LENGTH_MAX;

/// Bytes that are not the message they should be: always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct DecodeError {
    /// The innermost field that could not be read, as `Struct.field`; "frame" outside messages.
    pub place: &'static str,
    /// What was wrong there.
    pub fault: DecodeFault,
}

/// Where no field has been named yet.
const NOWHERE: &str = "frame";

impl DecodeError {
    /// Names the field, unless one further inside is named already.
    #[must_use]
    pub(crate) fn at(self, place: &'static str) -> Self {
        if self.place == NOWHERE {
            Self { place, ..self }
        } else {
            self
        }
    }
}

impl From<DecodeFault> for DecodeError {
    fn from(fault: DecodeFault) -> Self {
        Self {
            place: NOWHERE,
            fault,
        }
    }
}

/// One thing wrong with received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFault {
    /// The message has no such version.
    #[error("version {version} is not one of {first} to {last}")]
    UnsupportedVersion {
        /// What was asked for.
        version: i16,
        /// The lowest version of the message.
        first: i16,
        /// The highest version of the message.
        last: i16,
    },
    /// The bytes end inside a field.
    #[error("needs {needed} bytes, {remaining} remain")]
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A length below zero that does not stand for null either.
    #[error("negative length {length}")]
    NegativeLength {
        /// What was claimed.
        length: i32,
    },
    /// A string longer than Kafka takes in any version.
    #[error("a string of {length} bytes, at most {STRING_LENGTH_MAX} are allowed")]
    StringTooLong {
        /// What was claimed.
        length: usize,
    },
    /// Null where the version has none.
    #[error("null is not allowed here")]
    Null,
    /// More elements than the remaining bytes could hold.
    #[error("{count} elements claimed, the remaining bytes hold at most {fitting}")]
    TooManyElements {
        /// What was claimed.
        count: usize,
        /// What would fit if every element were as short as possible.
        fitting: usize,
    },
    /// More tagged fields than a header may have.
    #[error("{count} tagged fields claimed, at most {count_max} are allowed")]
    TooManyTags {
        /// What was claimed.
        count: u32,
        /// The most there may be.
        count_max: u32,
    },
    /// The decoded message would exceed the reader's budget.
    #[error("decoding needs {needed} bytes of memory, {budget} are left of the budget")]
    TooLarge {
        /// Bytes of memory the next array needs.
        needed: usize,
        /// Bytes left of the budget.
        budget: usize,
    },
    /// A variable-length integer of more than 32 bits.
    #[error("a variable-length integer exceeds 32 bits")]
    Varint,
    /// The marker of a nullable structure is neither absent (-1) nor present (1).
    #[error("{marker} marks a structure neither absent nor present")]
    Marker {
        /// The byte found.
        marker: i8,
    },
    /// A tagged field is shorter than the length given for it.
    #[error("tagged field {tag} leaves {unread} of its bytes unread")]
    TagLength {
        /// The field's tag.
        tag: u32,
        /// Bytes its value did not use.
        unread: usize,
    },
}

/// A message that cannot be put into bytes: always our own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct EncodeError {
    /// The innermost field that could not be written, as `Struct.field`; "frame" outside messages.
    pub place: &'static str,
    /// What was wrong there.
    pub fault: EncodeFault,
}

impl EncodeError {
    /// Names the field, unless one further inside is named already.
    #[must_use]
    pub(crate) fn at(self, place: &'static str) -> Self {
        if self.place == NOWHERE {
            Self { place, ..self }
        } else {
            self
        }
    }
}

impl From<EncodeFault> for EncodeError {
    fn from(fault: EncodeFault) -> Self {
        Self {
            place: NOWHERE,
            fault,
        }
    }
}

/// One thing wrong with a message to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeFault {
    /// The message has no such version.
    #[error("version {version} is not one of {first} to {last}")]
    UnsupportedVersion {
        /// What was asked for.
        version: i16,
        /// The lowest version of the message.
        first: i16,
        /// The highest version of the message.
        last: i16,
    },
    /// Nothing where the version has no null.
    #[error("null is not allowed here")]
    Null,
    /// Longer than the version's length prefix can say.
    #[error("length {length} exceeds {length_max}")]
    TooLong {
        /// Bytes or elements.
        length: usize,
        /// The most the prefix can say.
        length_max: usize,
    },
    /// Records that are not in memory were written by something other than a [`PieceWriter`](crate::PieceWriter).
    #[error("{length} bytes of records are not in memory")]
    Elsewhere {
        /// Bytes of records.
        length: u32,
    },
}
