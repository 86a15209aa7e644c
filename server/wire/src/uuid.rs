//! Ids of topics, directories and the like as they travel: 16 bytes, big end first.

use std::fmt;

/// A 128-bit id, shown the way Kafka shows it: 22 characters of URL-safe base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub u128);

impl Uuid {
    /// The all-zero id: "none" in the protocol.
    pub const ZERO: Self = Self(0);
}

const ALPHABET: [char; 64] = [
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S',
    'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l',
    'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', '0', '1', '2', '3', '4',
    '5', '6', '7', '8', '9', '-', '_',
];

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        // 128 bits are 21 digits of six bits and a last digit of two bits and four bits of padding.
        for shift in (2..=122).rev().step_by(6) {
            f.write_char(digit(self.0 >> shift))?;
        }
        f.write_char(digit(self.0 << 4))
    }
}

/// The digit of the lowest six bits.
fn digit(bits: u128) -> char {
    usize::try_from(bits & 0x3f)
        .ok()
        .and_then(|value| ALPHABET.get(value).copied())
        .unwrap_or_default()
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_looks_as_kafka_prints_it() {
        // org.apache.kafka.common.Uuid: the metadata topic's id is 00000000-0000-0000-0000-000000000001.
        assert_eq!(Uuid(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid(u128::MAX).to_string(), "_____________________w");
    }
}
