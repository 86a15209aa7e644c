//! Reading our own binary forms from bytes that may be anything: every length is checked before it is used.
//!
//! It knows integers, texts and counts; it does not know what they mean.

use super::RecordDecodeError;

/// A cursor over bytes of a file. No call panics or allocates more than the bytes that are there.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], RecordDecodeError> {
        let (taken, rest) =
            self.rest
                .split_at_checked(length)
                .ok_or(RecordDecodeError::Truncated {
                    needed: length,
                    remaining: self.rest.len(),
                })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], RecordDecodeError> {
        let (taken, rest) =
            self.rest
                .split_first_chunk::<LENGTH>()
                .ok_or(RecordDecodeError::Truncated {
                    needed: LENGTH,
                    remaining: self.rest.len(),
                })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RecordDecodeError> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, RecordDecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, RecordDecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, RecordDecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordDecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, RecordDecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RecordDecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, RecordDecodeError> {
        self.array().map(u128::from_be_bytes)
    }

    /// A length of four bytes that the bytes present can satisfy.
    pub(crate) fn length(&mut self) -> Result<usize, RecordDecodeError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > self.rest.len() {
            return Err(RecordDecodeError::Truncated {
                needed: length,
                remaining: self.rest.len(),
            });
        }
        Ok(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, RecordDecodeError> {
        let length = self.length()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| RecordDecodeError::NotUtf8)
    }

    /// Elements behind a count of four bytes, each at least `size_min` bytes long: a count that cannot fit is refused
    /// before anything is allocated for it.
    pub(crate) fn list<T>(
        &mut self,
        size_min: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, RecordDecodeError>,
    ) -> Result<Vec<T>, RecordDecodeError> {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let needed = count.saturating_mul(size_min.max(1));
        if needed > self.rest.len() {
            return Err(RecordDecodeError::Truncated {
                needed,
                remaining: self.rest.len(),
            });
        }
        (0..count).map(|_| element(self)).collect()
    }
}
