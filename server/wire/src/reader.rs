//! Takes values off the front of received bytes, never more than there are and never beyond a memory budget.

use bytes::{Buf, Bytes};

use crate::error::DecodeFault;

/// The unread rest of a frame, and how much memory its decoded form may still occupy.
///
/// Strings and byte fields are slices of the frame and cost nothing of the budget, but for strings that are not UTF-8; every array
/// costs its element count times the size of an element, and every tagged field as much as a small element.
#[derive(Clone, Debug)]
pub struct Reader {
    rest: Bytes,
    budget_bytes: usize,
}

impl Reader {
    /// Reads `frame` from its start; decoding fails once arrays and replaced text would take more than `budget_bytes` of memory.
    #[must_use]
    pub const fn new(frame: Bytes, budget_bytes: usize) -> Self {
        Self {
            rest: frame,
            budget_bytes,
        }
    }

    /// The same rest with a budget of at most `bytes`.
    #[must_use]
    pub fn within(&self, bytes: usize) -> Self {
        Self::new(self.rest.clone(), self.budget_bytes.min(bytes))
    }

    /// How many bytes are unread.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The unread bytes, which stay unread.
    #[must_use]
    pub const fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// The unread bytes. After a whole message Kafka ignores them.
    #[must_use]
    pub fn into_rest(self) -> Bytes {
        self.rest
    }

    /// What is left of the budget; the difference to what it was is what decoding charged.
    #[must_use]
    pub const fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Takes `bytes` off the budget before they are allocated.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), DecodeFault> {
        self.budget_bytes = self
            .budget_bytes
            .checked_sub(bytes)
            .ok_or(DecodeFault::TooLarge {
                needed: bytes,
                budget: self.budget_bytes,
            })?;
        Ok(())
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeFault> {
        let Some(&bytes) = self.rest.first_chunk::<N>() else {
            return Err(self.truncated(N));
        };
        self.rest.advance(N);
        Ok(bytes)
    }

    /// The next `length` bytes as a slice of the frame.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<Bytes, DecodeFault> {
        if length > self.rest.len() {
            return Err(self.truncated(length));
        }
        Ok(self.rest.split_to(length))
    }

    pub(crate) fn i8(&mut self) -> Result<i8, DecodeFault> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, DecodeFault> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DecodeFault> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned integer in groups of seven bits, lowest first, the high bit of a byte meaning "more follow".
    pub(crate) fn unsigned_varint(&mut self) -> Result<u32, DecodeFault> {
        let mut value = 0;
        for shift in (0..=28).step_by(7) {
            let [byte] = self.array()?;
            // The fifth byte has room for four bits only.
            if shift == 28 && byte > 0x0f {
                return Err(DecodeFault::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeFault::Varint)
    }

    /// A length of the flexible versions: the length plus one, or 0 for null.
    pub(crate) fn compact_length(&mut self) -> Result<Option<usize>, DecodeFault> {
        let Some(length) = self.unsigned_varint()?.checked_sub(1) else {
            return Ok(None);
        };
        // Nothing fits where usize is too small to say it; the bytes are not there then either.
        Ok(Some(usize::try_from(length).unwrap_or(usize::MAX)))
    }

    /// A length of the other versions: -1 for null.
    pub(crate) fn plain_length(length: i32) -> Result<Option<usize>, DecodeFault> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(DecodeFault::NegativeLength { length }),
        }
    }

    /// A section of tagged fields. `known` reads the value of a tag it knows, leaving others alone; those are skipped.
    pub(crate) fn tagged<E: From<DecodeFault>>(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, E>,
    ) -> Result<(), E> {
        for _ in 0..self.unsigned_varint()? {
            // Nothing need remain of it, but two bytes of a frame are enough for one.
            self.charge(TAG_BYTES)?;
            let tag = self.unsigned_varint()?;
            let length = usize::try_from(self.unsigned_varint()?).unwrap_or(usize::MAX);
            let value = self.bytes(length)?;
            // The value is read as if it were all there is, so that it cannot reach into what follows.
            let following = std::mem::replace(&mut self.rest, value);
            if known(self, tag)? && !self.rest.is_empty() {
                let unread = self.rest.len();
                return Err(DecodeFault::TagLength { tag, unread }.into());
            }
            self.rest = following;
        }
        Ok(())
    }

    /// Passes over a section of at most `count_max` tagged fields, at no cost of the budget.
    pub(crate) fn skip_tagged(&mut self, count_max: u32) -> Result<(), DecodeFault> {
        let count = self.unsigned_varint()?;
        if count > count_max {
            return Err(DecodeFault::TooManyTags { count, count_max });
        }
        for _ in 0..count {
            self.unsigned_varint()?;
            let length = usize::try_from(self.unsigned_varint()?).unwrap_or(usize::MAX);
            self.bytes(length)?;
        }
        Ok(())
    }

    fn truncated(&self, needed: usize) -> DecodeFault {
        DecodeFault::Truncated {
            needed,
            remaining: self.rest.len(),
        }
    }
}

/// What a tagged field costs of the budget: reading it takes about as long as an element of an array that has so many bytes.
const TAG_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET_BYTES: usize = 2 * TAG_BYTES;

    fn reader(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes), BUDGET_BYTES)
    }

    #[test]
    fn a_varint_holds_at_most_32_bits() {
        let read = |bytes| reader(bytes).unsigned_varint();
        assert_eq!(read(&[0x00]), Ok(0));
        assert_eq!(read(&[0xac, 0x02]), Ok(300));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
            Err(DecodeFault::Varint)
        );
        assert_eq!(
            read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
            Err(DecodeFault::Varint)
        );
        assert_eq!(
            read(&[0x80]),
            Err(DecodeFault::Truncated {
                needed: 1,
                remaining: 0
            })
        );
    }

    #[test]
    fn only_minus_one_is_null() {
        assert_eq!(Reader::plain_length(-1), Ok(None));
        assert_eq!(Reader::plain_length(0), Ok(Some(0)));
        assert_eq!(
            Reader::plain_length(-2),
            Err(DecodeFault::NegativeLength { length: -2 })
        );
    }

    #[test]
    fn unknown_tags_are_skipped() {
        let mut reader = reader(&[2, 7, 3, 1, 2, 3, 9, 0, 0x55]);
        let mut seen = Vec::new();
        reader
            .tagged(|_, tag| {
                seen.push(tag);
                Ok::<_, DecodeFault>(false)
            })
            .unwrap();
        assert_eq!(seen, [7, 9]);
        assert_eq!(reader.i8(), Ok(0x55));
    }

    #[test]
    fn tagged_fields_are_charged_whether_they_are_known_or_not() {
        for known in [true, false] {
            let mut reader = reader(&[3, 7, 0, 7, 0, 7, 0]);
            let read = reader.tagged(|_, _| Ok::<_, DecodeFault>(known));
            let (needed, budget) = (TAG_BYTES, 0);
            assert_eq!(read, Err(DecodeFault::TooLarge { needed, budget }));
        }
        let mut reader = reader(&[0]);
        assert_eq!(reader.tagged(|_, _| Ok::<_, DecodeFault>(false)), Ok(()));
        assert_eq!(reader.budget_bytes(), BUDGET_BYTES, "none is free");
    }

    #[test]
    fn a_section_to_be_skipped_has_so_many_fields_at_most() {
        let mut reader = reader(&[2, 7, 1, 0xaa, 7, 0, 0x55]);
        let (count, count_max) = (2, 1);
        let refused = reader.clone().skip_tagged(count_max);
        assert_eq!(refused, Err(DecodeFault::TooManyTags { count, count_max }));
        assert_eq!(reader.skip_tagged(2), Ok(()));
        assert_eq!(reader.i8(), Ok(0x55));
    }

    #[test]
    fn a_tagged_value_cannot_reach_beyond_its_length() {
        let read = |bytes| reader(bytes).tagged(|reader, _| reader.i16().map(|_| true));
        assert_eq!(read(&[1, 0, 2, 0, 0]), Ok(()));
        assert_eq!(
            read(&[1, 0, 1, 0, 0]),
            Err(DecodeFault::Truncated {
                needed: 2,
                remaining: 1
            })
        );
        assert_eq!(
            read(&[1, 0, 3, 0, 0, 0]),
            Err(DecodeFault::TagLength { tag: 0, unread: 1 })
        );
    }

    #[test]
    fn the_budget_is_spent_once() {
        let mut reader = Reader::new(Bytes::new(), 100);
        assert_eq!(reader.charge(60), Ok(()));
        assert_eq!(
            reader.charge(60),
            Err(DecodeFault::TooLarge {
                needed: 60,
                budget: 40
            })
        );
        assert_eq!(reader.budget_bytes(), 40);
    }
}
