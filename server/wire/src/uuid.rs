//! Ids of topics, directories and the like as they travel: 16 bytes, big end first.

use std::fmt;
use std::str::FromStr;

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

/// Why a text is no id; the sentences are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UuidParseError {
    /// Longer than an id with its padding.
    #[error("Input string with prefix `{prefix}` is too long to be decoded as a base64 UUID")]
    TooLong {
        /// Its beginning.
        prefix: String,
    },
    /// A letter that is no digit of base 64.
    #[error("Illegal base64 character {0:x}")]
    Letter(u32),
    /// Another count of bytes than an id has.
    #[error(
        "Input string `{text}` decoded as {bytes} bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID"
    )]
    Length {
        /// What was to be an id.
        text: String,
        /// How many bytes it stands for.
        bytes: usize,
    },
}

impl FromStr for Uuid {
    type Err = UuidParseError;

    /// Takes what `Display` prints, padded or not.
    fn from_str(text: &str) -> Result<Self, UuidParseError> {
        if let Some((end, _)) = text.char_indices().nth(PADDED_LENGTH) {
            let prefix = text.get(..end).unwrap_or_default().to_owned();
            return Err(UuidParseError::TooLong { prefix });
        }
        let digits = text.strip_suffix("==").unwrap_or(text);
        let mut bits = 0_u128;
        let count = digits.chars().count();
        for (index, letter) in digits.chars().enumerate() {
            let place = ALPHABET.iter().position(|&digit| digit == letter);
            let value = place.ok_or(UuidParseError::Letter(letter.into()))? as u128;
            // Of the last digit of a whole id only two bits count.
            bits = match index {
                LAST_DIGIT => (bits << 2) | (value >> 4),
                _ => (bits << 6) | value,
            };
        }
        if count != DIGITS {
            let bytes = count.saturating_mul(6) / 8;
            let text = text.to_owned();
            return Err(UuidParseError::Length { text, bytes });
        }
        Ok(Self(bits))
    }
}

/// Of an id without padding, and with it.
const DIGITS: usize = 22;
const LAST_DIGIT: usize = DIGITS - 1;
const PADDED_LENGTH: usize = 24;

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

    #[test]
    fn an_id_is_read_back_and_other_texts_are_refused_in_kafkas_words() {
        for id in [
            Uuid::ZERO,
            Uuid(1),
            Uuid(u128::MAX),
            Uuid(0x1234_5678 << 77),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(format!("{id}==").parse(), Ok(id));
        }
        let cases = [
            (
                "garbage",
                "Input string `garbage` decoded as 5 bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID",
            ),
            (
                "",
                "Input string `` decoded as 0 bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID",
            ),
            ("AAAAAAAAAAAAAAAAAAAA!Q", "Illegal base64 character 21"),
            (
                "AAAAAAAAAAAAAAAAAAAAAAAAA",
                "Input string with prefix `AAAAAAAAAAAAAAAAAAAAAAAA` is too long to be decoded as a base64 UUID",
            ),
        ];
        for (text, reason) in cases {
            assert_eq!(text.parse::<Uuid>().unwrap_err().to_string(), reason);
        }
    }
}
