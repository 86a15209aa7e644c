//! Makes messages up, in the form one version has: for property tests and fuzzing.
//!
//! Choices are taken from a string of bytes that proptest or a fuzzer makes, so that its shrinking and its mutations
//! reach the messages too: where the bytes run out, everything is zero and empty. Who fuzzes a broker with a memory also
//! says what is worth naming, for no fuzzer guesses the id of a topic.

use bytes::Bytes;

use crate::error::EncodeError;
use crate::error_code::ErrorCode;
use crate::field::Form;
use crate::text::Str;
use crate::uuid::Uuid;

/// Values that mean something to whoever will read the message.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Names of topics, groups, members, settings.
    pub words: Vec<Str>,
    /// Ids of topics.
    pub ids: Vec<Uuid>,
    /// Ids of sessions and producers, epochs, offsets. Those that a field cannot hold are not chosen for it.
    pub numbers: Vec<i64>,
    /// Record batches, subscriptions, assignments.
    pub payloads: Vec<Bytes>,
}

/// Bytes to be turned into choices.
#[derive(Debug)]
pub struct Source<'a> {
    bytes: std::slice::Iter<'a, u8>,
    known: Option<&'a Known>,
}

impl<'a> Source<'a> {
    /// Choices out of `bytes` alone.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            known: None,
        }
    }

    /// The same, with every second value one of `known`.
    #[must_use]
    pub fn knowing(self, known: &'a Known) -> Self {
        Self {
            known: Some(known),
            ..self
        }
    }

    /// The next byte; 0 behind the last.
    pub fn byte(&mut self) -> u8 {
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

    /// One of the known values that `pick` shows, or none: then the field is made up. Takes no byte when nothing is known.
    fn familiar<T: Clone + 'a>(&mut self, pick: impl Fn(&'a Known) -> &'a [T]) -> Option<T> {
        let values = pick(self.known?);
        let choice = usize::from(self.byte());
        if choice.is_multiple_of(2) && choice > 0 {
            return None;
        }
        let index = choice.div_euclid(2).checked_rem(values.len())?;
        values.get(index).cloned()
    }
}

/// A value as a field of some version may have it.
pub(crate) trait Sample {
    fn sample(source: &mut Source<'_>, form: Form) -> Self;
}

/// A whole message.
pub(crate) trait SampleMessage: Sized {
    /// Fails with a version that the message does not have.
    fn sample_message(source: &mut Source<'_>, version: i16) -> Result<Self, EncodeError>;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            fn sample(source: &mut Source<'_>, _: Form) -> Self {
                let known = source.familiar(|known| &known.numbers);
                match known.map(Self::try_from) {
                    Some(Ok(number)) => number,
                    _ => Self::from_be_bytes(source.array()),
                }
            }
        }
    )*};
}

numbers!(i16, i32, i64);

impl Sample for i8 {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        Self::from_be_bytes(source.array())
    }
}

impl Sample for bool {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        source.byte() % 2 == 1
    }
}

impl Sample for Uuid {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        let known = source.familiar(|known| &known.ids);
        known.unwrap_or_else(|| Self(u128::from_be_bytes(source.array())))
    }
}

impl Sample for ErrorCode {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        Self::from_code(source.byte().into())
    }
}

impl Sample for Str {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        if let Some(word) = source.familiar(|known| &known.words) {
            return word;
        }
        let length = source.length();
        let text: String = (0..length)
            .map(|_| char::from(source.byte())) // up to U+00FF: one and two bytes of UTF-8
            .collect();
        Self::from(text)
    }
}

impl Sample for Bytes {
    fn sample(source: &mut Source<'_>, _: Form) -> Self {
        if let Some(payload) = source.familiar(|known| &known.payloads) {
            return payload;
        }
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
