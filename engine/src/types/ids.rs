//! Who and which: brokers, producers, topics, directories.

use std::fmt;
use std::str::FromStr;

/// A 128-bit id, shown the way Kafka shows it: 22 characters of URL-safe base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub u128);

impl Uuid {
    /// The all-zero id: "none" in the protocol.
    pub const ZERO: Self = Self(0);

    /// A version 4 (random) id made of 128 random bits.
    #[must_use]
    pub const fn from_random(bits: u128) -> Self {
        let versioned = (bits & !(0xf << 76)) | (0x4 << 76);
        Self((versioned & !(0x3 << 62)) | (0x2 << 62))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TEXT_LENGTH: usize = 22;

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits are 21 digits of six bits and a last digit whose low four bits are padding.
        for digit in 0..TEXT_LENGTH - 1 {
            let shift = 122 - 6 * digit;
            let value = (self.0 >> shift) & 0x3f;
            write!(f, "{}", char::from(ALPHABET[value as usize]))?;
        }
        write!(
            f,
            "{}",
            char::from(ALPHABET[((self.0 & 0x3) << 4) as usize])
        )
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a 22-character URL-safe base64 id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 22 characters of URL-safe base64")]
pub struct UuidError;

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Self, UuidError> {
        if text.len() != TEXT_LENGTH {
            return Err(UuidError);
        }
        let mut bits: u128 = 0;
        for (place, byte) in text.bytes().enumerate() {
            let value = ALPHABET
                .iter()
                .position(|&symbol| symbol == byte)
                .ok_or(UuidError)?;
            if place == TEXT_LENGTH - 1 {
                if value & 0xf != 0 {
                    return Err(UuidError);
                }
                bits = (bits << 2) | (value as u128 >> 4);
            } else {
                bits = (bits << 6) | value as u128;
            }
        }
        Ok(Self(bits))
    }
}

/// The identity of a topic; a topic made anew under an old name gets another (KIP-516).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// "No id": what old protocol versions carry.
    pub const ZERO: Self = Self(Uuid::ZERO);
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of one of `log.dirs`, kept in its `meta.properties` (KIP-858).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DirectoryId(pub Uuid);

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A broker's `node.id`. Not negative, except for [`BrokerId::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BrokerId(pub i32);

impl BrokerId {
    /// No broker (the protocol's -1): a partition without a leader.
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of an idempotent or transactional producer; -1 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProducerId(pub i64);

impl ProducerId {
    /// A producer without idempotence.
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The incarnation of a producer id; a higher one fences the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProducerEpoch(pub i16);

impl ProducerEpoch {
    /// A producer without idempotence.
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for ProducerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number a producer gives each record of a partition, from 0; after `i32::MAX` comes 0 again. -1 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub i32);

impl Sequence {
    /// A producer without idempotence.
    pub const NONE: Self = Self(-1);

    /// The sequence `count` records after this one, wrapping from `i32::MAX` to 0. Needs `self` and `count` not
    /// negative.
    #[must_use]
    pub fn wrapping_add(self, count: i32) -> Self {
        Self(self.0.wrapping_add(count) & i32::MAX)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let id = Uuid(bits);
            let text = id.to_string();
            assert_eq!(text.len(), 22);
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn ids_look_as_kafka_prints_them() {
        // org.apache.kafka.common.Uuid: the metadata topic's id is 00000000-0000-0000-0000-000000000001.
        assert_eq!(Uuid(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(Uuid(1)));
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAR".parse::<Uuid>(), Err(UuidError));
        assert_eq!("short".parse::<Uuid>(), Err(UuidError));
    }

    #[test]
    fn a_sequence_wraps_to_zero() {
        assert_eq!(Sequence(i32::MAX).wrapping_add(1), Sequence(0));
        assert_eq!(Sequence(5).wrapping_add(3), Sequence(8));
    }
}
