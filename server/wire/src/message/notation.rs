//! The notation messages are written in, and what it is turned into.
//!
//! One call of [`messages!`] describes one API, request and response:
//!
//! ```text
//! messages! {
//!     Fetch: versions 4..=18, flexible 12..;
//!
//!     request {
//!         /// What the structure is. The first one is the message, the others are parts of it.
//!         struct FetchRequest {
//!             cluster_id: Option<Str> [12.., tag 0],
//!             replica_id: i32 [..=14] = -1,
//!             topics: Vec<FetchRequestTopic>,
//!         }
//!         struct FetchRequestTopic { ... }
//!     }
//!     response { ... }
//! }
//! ```
//!
//! The first line gives the [`ApiKey`](crate::ApiKey), the versions both messages have, and the first flexible one
//! (`flexible never` if there is none). A field is
//!
//! ```text
//! name: Type [versions, nullable versions, tag number] = default,
//! ```
//!
//! in the order of the bytes, where
//!
//! - `Type` is `bool`, `i8` to `i64`, `ErrorCode`, `Uuid`, `Str`, `Bytes`, `Vec` of these or of a structure, or `Option` of
//!   a type that has a null (`Str`, `Bytes`, `Vec`, a structure). A field that is null in any version is an `Option`.
//! - the first range says which versions have the field (left out: all of them). In the others it is not written and reads
//!   as the default.
//! - `nullable` says which versions know null (left out: all of them). In the others null is an error both ways.
//! - `tag` makes it a tagged field: at the end of its structure, written only when it differs from the default. Tagged
//!   fields of a structure stand in the order of their tags.
//! - `default` is the protocol's default, if that is not 0, false, empty or null.
//!
//! A structure both messages use is declared once, in the first.
//!
//! Out of this come the structures, with `Default`, the codec of every version, and for tests and fuzzing a way to make values up.

use std::ops::RangeBounds;

/// Whether a range of the notation has the version.
pub(crate) fn within(range: impl RangeBounds<i16>, version: i16) -> bool {
    range.contains(&version)
}

/// Turns the description of one API into its structures. See the [module](self).
macro_rules! messages {
    (
        $api:ident: versions $first:literal ..= $last:literal, flexible never;
        $($rest:tt)*
    ) => {
        messages! { @api $api, $first, $last, (i16::MAX); $($rest)* }
    };
    (
        $api:ident: versions $first:literal ..= $last:literal, flexible $flexible:literal ..;
        $($rest:tt)*
    ) => {
        messages! { @api $api, $first, $last, ($flexible); $($rest)* }
    };
    (
        @api $api:ident, $first:literal, $last:literal, $flexible:tt;
        request {
            $(#[$request_doc:meta])*
            struct $request:ident { $($request_fields:tt)* }
            $($request_parts:tt)*
        }
        response {
            $(#[$response_doc:meta])*
            struct $response:ident { $($response_fields:tt)* }
            $($response_parts:tt)*
        }
    ) => {
        messages! { @message $request, $api, $first, $last, $flexible }
        messages! { @structures $(#[$request_doc])* struct $request { $($request_fields)* } $($request_parts)* }
        messages! { @message $response, $api, $first, $last, $flexible }
        messages! { @structures $(#[$response_doc])* struct $response { $($response_fields)* } $($response_parts)* }

        impl $crate::message::Request for $request {
            type Response = $response;
        }

        impl $crate::message::Response for $response {
            type Request = $request;
        }
    };
    (@message $name:ident, $api:ident, $first:literal, $last:literal, ($flexible:expr)) => {
        impl $crate::message::Message for $name {
            const KEY: $crate::ApiKey = $crate::ApiKey::$api;
            const NAME: &'static str = stringify!($name);
            const VERSIONS: std::ops::RangeInclusive<i16> = $first..=$last;
            const FLEXIBLE_FIRST: i16 = $flexible;

            fn decode(
                reader: &mut $crate::Reader,
                version: i16,
            ) -> Result<Self, $crate::DecodeError> {
                let form = $crate::message::decode_form::<Self>(version)?;
                $crate::field::Field::decode(reader, form)
            }

            fn encode<W: $crate::Writer>(
                &self,
                writer: &mut W,
                version: i16,
            ) -> Result<(), $crate::EncodeError> {
                let form = $crate::message::encode_form::<Self>(version)?;
                $crate::field::Field::encode(self, writer, form)
            }
        }

        impl $crate::sample::SampleMessage for $name {
            fn sample_message(
                source: &mut $crate::sample::Source<'_>,
                version: i16,
            ) -> Result<Self, $crate::EncodeError> {
                let form = $crate::message::encode_form::<Self>(version)?;
                Ok($crate::sample::Sample::sample(source, form))
            }
        }
    };
    (@structures $(
        $(#[$doc:meta])*
        struct $name:ident { $(
            $(#[$field_doc:meta])*
            $field:ident: $type:ty
                $([$versions:expr $(, nullable $nullable:expr)? $(, tag $tag:literal)?])?
                $(= $default:expr)?
        ),* $(,)? }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $(
            $(#[$field_doc])*
            #[doc = ""]
            #[doc = concat!(
                "In ", versions_text!($($versions)?),
                $($(", nullable in `", stringify!($nullable), "`",)? $(", tagged ", stringify!($tag),)?)?
                $("; by default `", stringify!($default), "`",)?
                "."
            )]
            pub $field: $type,
        )* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: default_of!($type $(, $default)?),)* }
            }
        }

        impl $crate::field::Field for $name {
            fn length_min(form: $crate::field::Form) -> usize {
                let mut length = usize::from(form.flexible);
                $(untagged! { [$($($tag)?)?] {
                    if covers!(form.version $(, $versions)?) {
                        let field = <$type as $crate::field::Field>::length_min(form);
                        length = length.saturating_add(field);
                    }
                } })*
                // Never 0, so that a count of elements is always bounded by the bytes.
                length.max(1)
            }

            fn decode(
                reader: &mut $crate::Reader,
                form: $crate::field::Form,
            ) -> Result<Self, $crate::DecodeError> {
                let mut this = Self::default();
                $(untagged! { [$($($tag)?)?] {
                    if covers!(form.version $(, $versions)?) {
                        let nullable = covers!(form.version $($(, $nullable)?)?);
                        let form = $crate::field::Form { nullable, ..form };
                        this.$field = <$type as $crate::field::Field>::decode(reader, form)
                            .map_err(|error| error.at(place!($name, $field)))?;
                    }
                } })*
                if form.flexible {
                    reader.tagged(|reader, tag| this.decode_tagged(reader, form, tag))?;
                }
                Ok(this)
            }

            fn encode<W: $crate::Writer>(
                &self,
                writer: &mut W,
                form: $crate::field::Form,
            ) -> Result<(), $crate::EncodeError> {
                $(untagged! { [$($($tag)?)?] {
                    if covers!(form.version $(, $versions)?) {
                        let nullable = covers!(form.version $($(, $nullable)?)?);
                        let form = $crate::field::Form { nullable, ..form };
                        $crate::field::Field::encode(&self.$field, writer, form)
                            .map_err(|error| error.at(place!($name, $field)))?;
                    }
                } })*
                if form.flexible {
                    self.encode_tagged(writer, form)?;
                }
                Ok(())
            }
        }

        impl $name {
            /// Reads the value of a tagged field, or says that the tag is unknown.
            fn decode_tagged(
                &mut self,
                reader: &mut $crate::Reader,
                form: $crate::field::Form,
                tag: u32,
            ) -> Result<bool, $crate::DecodeError> {
                let form = $crate::field::Form { nullable: true, ..form };
                $(tagged! { [$($($tag)?)?] |number| {
                    if tag == number && covers!(form.version $(, $versions)?) {
                        self.$field = $crate::field::Field::decode(reader, form)
                            .map_err(|error| error.at(place!($name, $field)))?;
                        return Ok(true);
                    }
                } })*
                let _ = (self, reader, form, tag);
                Ok(false)
            }

            /// Writes the section of tagged fields.
            fn encode_tagged<W: $crate::Writer>(
                &self,
                writer: &mut W,
                form: $crate::field::Form,
            ) -> Result<(), $crate::EncodeError> {
                let form = $crate::field::Form { nullable: true, ..form };
                let written: &[bool] = &[$(tagged_value! { [$($($tag)?)?] {
                    let default: $type = default_of!($type $(, $default)?);
                    covers!(form.version $(, $versions)?) && self.$field != default
                } }),*];
                let count = written.iter().fold(0u32, |count, &one| count.saturating_add(one.into()));
                writer.unsigned_varint(count);
                $(tagged! { [$($($tag)?)?] |number| {
                    let default: $type = default_of!($type $(, $default)?);
                    if covers!(form.version $(, $versions)?) && self.$field != default {
                        $crate::field::encode_tagged(number, &self.$field, writer, form)
                            .map_err(|error| error.at(place!($name, $field)))?;
                    }
                } })*
                let _ = form;
                Ok(())
            }
        }

        impl $crate::field::NullableField for $name {
            fn decode_nullable(
                reader: &mut $crate::Reader,
                form: $crate::field::Form,
            ) -> Result<Option<Self>, $crate::DecodeError> {
                $crate::field::decode_nullable_structure(reader, form)
            }

            fn encode_nullable<W: $crate::Writer>(
                value: Option<&Self>,
                writer: &mut W,
                form: $crate::field::Form,
            ) -> Result<(), $crate::EncodeError> {
                $crate::field::encode_nullable_structure(value, writer, form)
            }

            fn length_min_nullable(_: $crate::field::Form) -> usize {
                1
            }
        }

        impl $crate::sample::Sample for $name {
            fn sample(
                source: &mut $crate::sample::Source<'_>,
                form: $crate::field::Form,
            ) -> Self {
                let mut this = Self::default();
                $(if covers!(form.version $(, $versions)?) {
                    let nullable = covers!(form.version $($(, $nullable)?)?);
                    let form = $crate::field::Form { nullable, ..form };
                    this.$field = $crate::sample::Sample::sample(source, form);
                })*
                this
            }
        }
    )*};
}

/// Whether the version is in the range, if a range is given.
macro_rules! covers {
    ($version:expr) => {
        true
    };
    ($version:expr, $range:expr) => {
        $crate::message::notation::within($range, $version)
    };
}

/// The given default, or that of the type.
macro_rules! default_of {
    ($type:ty) => {
        <$type>::default()
    };
    ($type:ty, $default:expr) => {
        $default
    };
}

/// The name of a field in errors.
macro_rules! place {
    ($name:ident, $field:ident) => {
        concat!(stringify!($name), ".", stringify!($field))
    };
}

/// The block, unless there is a tag.
macro_rules! untagged {
    ([] $block:block) => {
        $block
    };
    ([$tag:literal] $block:block) => {};
}

/// The block, with the tag's number by the given name, if there is a tag.
macro_rules! tagged {
    ([] |$number:ident| $block:block) => {};
    ([$tag:literal] |$number:ident| $block:block) => {{
        let $number: u32 = $tag;
        $block
    }};
}

/// The value of the block if there is a tag, else false.
macro_rules! tagged_value {
    ([] $block:block) => {
        false
    };
    ([$tag:literal] $block:block) => {
        $block
    };
}

/// A range of versions in the documentation of a field.
macro_rules! versions_text {
    () => {
        "all versions"
    };
    ($versions:expr) => {
        concat!("versions `", stringify!($versions), "`")
    };
}
