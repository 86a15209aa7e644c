//! A cursor over the bytes of records: zigzag varints and checked steps, no allocation.
//!
//! It knows places in the body (ranges from its start), so that a caller can slice the buffer the body lies in.

use std::ops::Range;

use super::error::Malformed;

/// Reads forward through `bytes`, never past their end.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// Where `rest` ends, counted from the start of the body.
    end: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor over the part of `bytes` from `position` on; nothing when that is past the end.
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        Self {
            rest: bytes.get(position..).unwrap_or_default(),
            end: bytes.len(),
        }
    }

    /// How far from the start of the body the next byte is.
    pub(super) fn position(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `length` bytes off as a cursor of their own, with positions in the same body.
    pub(super) fn split(&mut self, length: usize) -> Result<Self, Malformed> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.short(length));
        };
        self.rest = rest;
        Ok(Self {
            rest: taken,
            end: self.position(),
        })
    }

    /// Steps over the next `length` bytes and says where they are.
    pub(super) fn skip(&mut self, length: usize) -> Result<Range<usize>, Malformed> {
        let start = self.position();
        let Some(rest) = self.rest.get(length..) else {
            return Err(self.short(length));
        };
        self.rest = rest;
        Ok(start..self.position())
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return Err(self.short(1));
        };
        self.rest = rest;
        Ok(byte)
    }

    /// A zigzag number of at most 32 bits.
    pub(super) fn varint(&mut self) -> Result<i32, Malformed> {
        let raw = self.unsigned(u64::from(u32::MAX))?;
        let raw = u32::try_from(raw).map_err(|_| Malformed::Varint { bits: 32 })?;
        Ok((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg())
    }

    /// A zigzag number of at most 64 bits.
    pub(super) fn varlong(&mut self) -> Result<i64, Malformed> {
        let raw = self.unsigned(u64::MAX)?;
        Ok((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg())
    }

    /// A length or count not below zero.
    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        let found = self.varint()?;
        usize::try_from(found).map_err(|_| Malformed::Negative { found, min: 0 })
    }

    /// Bytes with their length before them; a length of -1 is null.
    pub(super) fn nullable(&mut self) -> Result<Option<Range<usize>>, Malformed> {
        match self.varint()? {
            -1 => Ok(None),
            found => {
                let length =
                    usize::try_from(found).map_err(|_| Malformed::Negative { found, min: -1 })?;
                self.skip(length).map(Some)
            }
        }
    }

    /// The base-128 number, refused when it is above `max` (all ones) or longer than such a number can be.
    fn unsigned(&mut self, max: u64) -> Result<u64, Malformed> {
        // Almost every number in a record is one byte long.
        let first = self.byte()?;
        let mut value = u64::from(first & 0x7f);
        if first & 0x80 == 0 {
            return Ok(value);
        }
        let bits = max.count_ones();
        let mut shift = 7_u32;
        while shift < bits {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part > max >> shift {
                return Err(Malformed::Varint { bits });
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift = shift.saturating_add(7);
        }
        Err(Malformed::Varint { bits })
    }

    fn short(&self, needed: usize) -> Malformed {
        Malformed::Short {
            needed,
            found: self.rest.len(),
        }
    }
}

/// Appends `value` as a zigzag number.
pub(super) fn put_varlong(buffer: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        buffer.push((raw & 0x7f) as u8 | 0x80);
        raw >>= 7;
    }
    buffer.push((raw & 0x7f) as u8);
}

/// How many bytes [`put_varlong`] writes for `value`: 1 to 10.
pub(super) fn varlong_length(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let bits = u64::BITS.saturating_sub((raw | 1).leading_zeros());
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zigzag_numbers_are_those_of_the_protocol_buffers_guide() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut written = Vec::new();
            put_varlong(&mut written, value);
            assert_eq!(written, bytes);
            assert_eq!(Cursor::new(bytes, 0).varint().map(i64::from), Ok(value));
        }
    }

    #[test]
    fn a_number_of_too_many_bits_is_refused() {
        let refused_32 = Err(Malformed::Varint { bits: 32 });
        let refused_64 = Err(Malformed::Varint { bits: 64 });
        let cursor = |bytes| Cursor::new(bytes, 0);
        assert_eq!(cursor(&[0xff, 0xff, 0xff, 0xff, 0x1f]).varint(), refused_32);
        assert_eq!(
            cursor(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).varint(),
            refused_32
        );
        let mut long = [0xff; 10];
        long[9] = 0x02;
        assert_eq!(cursor(&long).varlong(), refused_64);
        assert_eq!(cursor(&[0x80; 11]).varlong(), refused_64);
        assert_eq!(
            cursor(&[0x80]).varlong(),
            Err(Malformed::Short {
                needed: 1,
                found: 0
            })
        );
    }

    proptest! {
        #[test]
        fn every_number_reads_back(value: i64) {
            let mut written = Vec::new();
            put_varlong(&mut written, value);
            prop_assert_eq!(written.len(), varlong_length(value));
            prop_assert_eq!(Cursor::new(&written, 0).varlong(), Ok(value));
        }
    }
}
