//! How each type of field is read and written; structures get their implementation from the notation in
//! [`crate::message`].
//!
//! Two families of versions differ in lengths only: the flexible ones write them as variable-length integers (plus one,
//! 0 for null) and end every structure with a section of tagged fields.

use bytes::Bytes;

use crate::error::{DecodeError, DecodeFault, EncodeError, EncodeFault};
use crate::error_code::ErrorCode;
use crate::reader::Reader;
use crate::text::Str;
use crate::uuid::Uuid;
use crate::writer::{LengthWriter, Writer};

/// What decides the form of a field besides its type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// The version of the message.
    pub(crate) version: i16,
    /// Whether that version is a flexible one.
    pub(crate) flexible: bool,
    /// Whether the field may be null in that version. Matters to `Option` only.
    pub(crate) nullable: bool,
}

/// A type that fields may have.
pub(crate) trait Field: Sized {
    /// The fewest bytes a value takes; bounds the elements a hostile array length can claim.
    fn length_min(form: Form) -> usize;

    /// Takes a value off the reader.
    fn decode(reader: &mut Reader, form: Form) -> Result<Self, DecodeError>;

    /// Appends the value.
    fn encode<W: Writer>(&self, writer: &mut W, form: Form) -> Result<(), EncodeError>;
}

/// A type that has a null; `Option` of it is a [`Field`].
pub(crate) trait NullableField: Field {
    /// Takes a value or null off the reader.
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError>;

    /// Appends the value, or null.
    fn encode_nullable<W: Writer>(
        value: Option<&Self>,
        writer: &mut W,
        form: Form,
    ) -> Result<(), EncodeError>;

    /// The fewest bytes a value or null takes.
    fn length_min_nullable(form: Form) -> usize;
}

impl<T: NullableField> Field for Option<T> {
    fn length_min(form: Form) -> usize {
        T::length_min_nullable(form)
    }

    fn decode(reader: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        if form.nullable {
            T::decode_nullable(reader, form)
        } else {
            T::decode(reader, form).map(Some)
        }
    }

    fn encode<W: Writer>(&self, writer: &mut W, form: Form) -> Result<(), EncodeError> {
        match self {
            _ if form.nullable => T::encode_nullable(self.as_ref(), writer, form),
            Some(value) => value.encode(writer, form),
            None => Err(EncodeFault::Null.into()),
        }
    }
}

/// Fields of a fixed number of bytes.
macro_rules! fixed {
    ($($type:ty: $length:literal, from $from:expr, to $to:expr;)*) => {$(
        impl Field for $type {
            fn length_min(_: Form) -> usize {
                $length
            }

            fn decode(reader: &mut Reader, _: Form) -> Result<Self, DecodeError> {
                let from: fn([u8; $length]) -> Self = $from;
                Ok(from(reader.array()?))
            }

            fn encode<W: Writer>(&self, writer: &mut W, _: Form) -> Result<(), EncodeError> {
                let to: fn(Self) -> [u8; $length] = $to;
                writer.bytes(&to(*self));
                Ok(())
            }
        }
    )*};
}

fixed! {
    bool: 1, from |[byte]| byte != 0, to |value| [u8::from(value)];
    i8: 1, from i8::from_be_bytes, to i8::to_be_bytes;
    i16: 2, from i16::from_be_bytes, to i16::to_be_bytes;
    i32: 4, from i32::from_be_bytes, to i32::to_be_bytes;
    i64: 8, from i64::from_be_bytes, to i64::to_be_bytes;
    Uuid: 16, from |bytes| Uuid(u128::from_be_bytes(bytes)), to |id| id.0.to_be_bytes();
    ErrorCode: 2, from |bytes| ErrorCode::from_code(i16::from_be_bytes(bytes)), to |code| code.code().to_be_bytes();
}

/// [`Field`] of a type whose null is a special length.
macro_rules! null_is_a_length {
    ($type:ty $(, $generic:ident)?) => {
        impl$(<$generic: Field>)? Field for $type {
            fn length_min(form: Form) -> usize {
                Self::length_min_nullable(form)
            }

            fn decode(reader: &mut Reader, form: Form) -> Result<Self, DecodeError> {
                Self::decode_nullable(reader, form)?.ok_or_else(|| DecodeFault::Null.into())
            }

            fn encode<W: Writer>(&self, writer: &mut W, form: Form) -> Result<(), EncodeError> {
                Self::encode_nullable(Some(self), writer, form)
            }
        }
    };
}

null_is_a_length!(Str);
null_is_a_length!(Bytes);
null_is_a_length!(Vec<T>, T);

impl NullableField for Str {
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError> {
        let length = if form.flexible {
            reader.compact_length()?
        } else {
            Reader::plain_length(reader.i16()?.into())?
        };
        let Some(length) = length else {
            return Ok(None);
        };
        if length > STRING_LENGTH_MAX {
            return Err(DecodeFault::StringTooLong { length }.into());
        }
        let bytes = reader.bytes(length)?;
        if std::str::from_utf8(&bytes).is_err() {
            return with_replacements(bytes, reader).map(Some);
        }
        Ok(Some(Self::from_checked(bytes)))
    }

    fn encode_nullable<W: Writer>(
        value: Option<&Self>,
        writer: &mut W,
        form: Form,
    ) -> Result<(), EncodeError> {
        let length = value.map(|text| text.as_bytes().len());
        if form.flexible {
            writer.compact_length(length)?;
        } else {
            let prefix = match length {
                None => -1,
                Some(length) => i16::try_from(length).map_err(|_| EncodeFault::TooLong {
                    length,
                    length_max: STRING_LENGTH_MAX,
                })?,
            };
            writer.bytes(&prefix.to_be_bytes());
        }
        writer.bytes(value.map_or(&[], |text| text.as_bytes()));
        Ok(())
    }

    fn length_min_nullable(form: Form) -> usize {
        if form.flexible { 1 } else { 2 }
    }
}

/// As in Kafka text need not be UTF-8: a client that puts bytes of its own there would try again for ever. What replaces them
/// takes memory beside the frame.
#[cold]
fn with_replacements(bytes: Bytes, reader: &mut Reader) -> Result<Str, DecodeError> {
    reader.charge(bytes.len().saturating_mul(REPLACED_TIMES))?;
    let text = Str::from_utf8_lossy(bytes);
    match text.as_bytes().len() {
        length if length > STRING_LENGTH_MAX => Err(DecodeFault::StringTooLong { length }.into()),
        _ => Ok(text),
    }
}

/// U+FFFD takes three bytes, and stands for one at least.
const REPLACED_TIMES: usize = 3;
/// What an element is charged at least, because what is made of a number, to look it up and to answer, takes so much; and in times
/// of its bytes, for those that have one or two.
const ELEMENT_BYTES: usize = 64;
const ELEMENT_TIMES: usize = 16;
/// A length of 16 bits outside the flexible versions; Kafka takes no longer ones in those either.
pub(crate) const STRING_LENGTH_MAX: usize = 0x7fff;

impl NullableField for Bytes {
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError> {
        match decode_length(reader, form)? {
            None => Ok(None),
            Some(length) => Ok(Some(reader.bytes(length)?)),
        }
    }

    fn encode_nullable<W: Writer>(
        value: Option<&Self>,
        writer: &mut W,
        form: Form,
    ) -> Result<(), EncodeError> {
        encode_length(value.map(Self::len), writer, form)?;
        if let Some(value) = value {
            writer.payload(value);
        }
        Ok(())
    }

    fn length_min_nullable(form: Form) -> usize {
        length_min_of_length(form)
    }
}

impl<T: Field> NullableField for Vec<T> {
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError> {
        let Some(count) = decode_length(reader, form)? else {
            return Ok(None);
        };
        let fitting = reader
            .remaining()
            .checked_div(T::length_min(form))
            .unwrap_or_default();
        if count > fitting {
            return Err(DecodeFault::TooManyElements { count, fitting }.into());
        }
        let least = T::length_min(form).saturating_mul(ELEMENT_TIMES);
        let each = size_of::<T>().max(least.min(ELEMENT_BYTES));
        reader.charge(count.saturating_mul(each))?;
        let mut elements = Self::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode(reader, form)?);
        }
        Ok(Some(elements))
    }

    fn encode_nullable<W: Writer>(
        value: Option<&Self>,
        writer: &mut W,
        form: Form,
    ) -> Result<(), EncodeError> {
        encode_length(value.map(Self::len), writer, form)?;
        for element in value.into_iter().flatten() {
            element.encode(writer, form)?;
        }
        Ok(())
    }

    fn length_min_nullable(form: Form) -> usize {
        length_min_of_length(form)
    }
}

/// The length of bytes or an array.
pub(crate) fn decode_length(reader: &mut Reader, form: Form) -> Result<Option<usize>, DecodeFault> {
    if form.flexible {
        reader.compact_length()
    } else {
        Reader::plain_length(reader.i32()?)
    }
}

/// The length of bytes or an array.
pub(crate) fn encode_length<W: Writer>(
    length: Option<usize>,
    writer: &mut W,
    form: Form,
) -> Result<(), EncodeFault> {
    if form.flexible {
        writer.compact_length(length)
    } else {
        writer.plain_length(length)
    }
}

/// The fewest bytes [`encode_length`] writes.
pub(crate) fn length_min_of_length(form: Form) -> usize {
    if form.flexible { 1 } else { 4 }
}

/// Takes a structure that may be null: one byte in front says whether it is there.
pub(crate) fn decode_nullable_structure<T: Field>(
    reader: &mut Reader,
    form: Form,
) -> Result<Option<T>, DecodeError> {
    match reader.i8()? {
        -1 => Ok(None),
        1 => T::decode(reader, form).map(Some),
        marker => Err(DecodeFault::Marker { marker }.into()),
    }
}

/// Appends a structure that may be null.
pub(crate) fn encode_nullable_structure<T: Field, W: Writer>(
    value: Option<&T>,
    writer: &mut W,
    form: Form,
) -> Result<(), EncodeError> {
    match value {
        None => (-1i8).encode(writer, form),
        Some(value) => {
            1i8.encode(writer, form)?;
            value.encode(writer, form)
        }
    }
}

/// Appends one tagged field: tag, length, value.
pub(crate) fn encode_tagged<T: Field, W: Writer>(
    tag: u32,
    value: &T,
    writer: &mut W,
    form: Form,
) -> Result<(), EncodeError> {
    let mut measure = LengthWriter::default();
    value.encode(&mut measure, form)?;
    let length = u32::try_from(measure.length()).map_err(|_| EncodeFault::TooLong {
        length: measure.length(),
        length_max: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
    })?;
    writer.unsigned_varint(tag);
    writer.unsigned_varint(length);
    value.encode(writer, form)
}
