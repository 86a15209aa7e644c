//! Reads Kafka's primitive types out of a record's bytes, in both the plain and the flexible encoding.
//!
//! Every length is checked against what is left before anything is done with it.

use crate::coordinator::DecodeError;

/// A place in the bytes of one key or value.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    left: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            left: bytes,
            flexible: false,
        }
    }

    pub(super) const fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    pub(super) fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.array(field).map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_be_bytes)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        self.nullable_text(field)?
            .ok_or(self.length_error(field, -1))
    }

    pub(super) fn nullable_text(
        &mut self,
        field: &'static str,
    ) -> Result<Option<&'a str>, DecodeError> {
        let length = if self.flexible {
            self.compact(field)?
        } else {
            i64::from(self.i16(field)?)
        };
        // As in Kafka. A longer one could not be written again.
        if length > i64::from(i16::MAX) {
            return Err(self.length_error(field, length));
        }
        let Some(bytes) = self.slice(field, length)? else {
            return Ok(None);
        };
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| DecodeError::Text { field })
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = if self.flexible {
            self.compact(field)?
        } else {
            i64::from(self.i32(field)?)
        };
        self.slice(field, length)?
            .ok_or(self.length_error(field, -1))
    }

    /// The number of elements that follow, each of at least `bytes_min` bytes.
    pub(super) fn count(
        &mut self,
        field: &'static str,
        bytes_min: usize,
    ) -> Result<usize, DecodeError> {
        let found = if self.flexible {
            self.compact(field)?
        } else {
            i64::from(self.i32(field)?)
        };
        usize::try_from(found)
            .ok()
            .filter(|&count| count <= self.left.len() / bytes_min)
            .ok_or(self.length_error(field, found))
    }

    /// Passes over the tagged fields at the end of a structure; plain encodings have none.
    pub(super) fn skip_tags(&mut self) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint("tags")? {
            self.varint("tag")?;
            let length = i64::from(self.varint("tag length")?);
            self.slice("tag", length)?;
        }
        Ok(())
    }

    /// A length stored as one more than it is; 0 for null, which is -1 here.
    fn compact(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from(self.varint(field)?) - 1)
    }

    fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(field)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.length_error(field, i64::MAX))
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, left) = self
            .left
            .split_first_chunk()
            .ok_or(DecodeError::Truncated { field })?;
        self.left = left;
        Ok(*head)
    }

    /// `length` bytes; `None` for a length of -1.
    fn slice(&mut self, field: &'static str, length: i64) -> Result<Option<&'a [u8]>, DecodeError> {
        if length == -1 {
            return Ok(None);
        }
        let error = self.length_error(field, length);
        let length = usize::try_from(length).map_err(|_| error.clone())?;
        let (head, left) = self.left.split_at_checked(length).ok_or(error)?;
        self.left = left;
        Ok(Some(head))
    }

    const fn length_error(&self, field: &'static str, found: i64) -> DecodeError {
        DecodeError::Length {
            field,
            found,
            left: self.left.len(),
        }
    }
}
