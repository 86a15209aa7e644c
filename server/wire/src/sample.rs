//! Makes messages up for property tests, in the form one version has.
//!
//! Choices are taken from a string of bytes that proptest makes, so that its shrinking reaches the messages too: where
//! the bytes run out, everything is zero and empty.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::field::Form;
use crate::text::Str;
use crate::uuid::Uuid;

/// Bytes to be turned into choices.
pub(crate) struct Source<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or_default()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// Mostly short, sometimes long enough for a length of two bytes.
    fn length(&mut self) -> usize {
        match self.byte() {
            byte @ 0..=250 => usize::from(byte % 8),
            byte => usize::from(byte),
        }
    }
}

/// A value as a field of some version may have it.
pub(crate) trait Sample {
    fn sample(source: &mut Source<'_>, form: Form) -> Self;
}

/// A whole message.
pub(crate) trait SampleMessage {
    fn sample_message(source: &mut Source<'_>, version: i16) -> Self;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            fn sample(source: &mut Source<'_>, _: Form) -> Self {
                Self::from_be_bytes(source.array())
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64);

impl Sample for bool {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        source.byte() % 2 == 1
    }
}

impl Sample for Uuid {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        Self(u128::from_be_bytes(source.array()))
    }
}

impl Sample for ErrorCode {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        Self::from_code(source.byte().into())
    }
}

impl Sample for Str {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        let length = source.length();
        let text: String = (0..length)
            .map(|_| char::from(source.byte())) // up to U+00FF: one and two bytes of UTF-8
            .collect();
        Self::from(text)
    }
}

impl Sample for Bytes {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        let length = source.length();
        (0..length).map(|_| source.byte()).collect()
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source<'_>, form: Form) -> Self {
        let count = source.byte() % 4;
        (0..count).map(|_| T::sample(source, form)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source<'_>, form: Form) -> Self {
        (!form.nullable || source.byte() % 2 == 1).then(|| T::sample(source, form))
    }
}
