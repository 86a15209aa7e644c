//! Reads bytes by a description of their fields, and shows them as JSON the way Kafka's tools do.
//!
//! A field is `name type`, then what is special about it: `v3+` or `v1` the versions that have it (else all), `n2+` the
//! versions in which it may be null, `t0` the tag under which it travels in versions with tags, `d-1` the value that a tagged field has if
//! it is not there (else zero or empty). `[]` before a type is an array; `{...}` has the fields of a structure. Nothing
//! read is trusted.

use std::fmt;

use bytes::{Buf, Bytes};
use millrace_wire::Uuid;

/// A kind of record.
#[derive(Debug)]
pub(super) struct Row {
    /// What tells it from others of its table.
    pub(super) number: u16,
    /// Its name.
    pub(super) name: &'static str,
    /// The highest version that is known.
    pub(super) version_max: u16,
    /// The first version with tags and short lengths.
    pub(super) flexible_from: Option<u16>,
    /// Its fields.
    pub(super) fields: &'static str,
}

/// A value as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// A number, true, false or null.
    Plain(String),
    /// A text.
    Text(String),
    /// Bytes, shown in base 64.
    Bytes(Bytes),
    /// Values in order.
    List(Vec<Json>),
    /// Values with their names, in the order of the fields.
    Map(Vec<(String, Json)>),
}

/// Why bytes cannot be shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SchemaError {
    /// They end within a field, or a field says that it is longer than what is left.
    #[error("the bytes end within the field {field}")]
    Short {
        /// Its name.
        field: String,
    },
    /// Null where that is not allowed.
    #[error("non-nullable field {field} was serialized as null")]
    Null {
        /// Its name.
        field: String,
    },
    /// A version that was made after this program.
    #[error("Can't read version {version} of {name}")]
    Version {
        /// The version.
        version: u16,
        /// The kind of record.
        name: &'static str,
    },
    /// The description itself has a fault.
    #[error("the schema has a fault at `{0}`")]
    Schema(String),
}

impl Row {
    /// The row with a number.
    pub(super) fn find(table: &'static [Self], number: u16) -> Option<&'static Self> {
        table.iter().find(|row| row.number == number)
    }

    /// Takes the fields of one version off the front of `bytes`.
    pub(super) fn read(&self, version: u16, bytes: &mut Bytes) -> Result<Json, SchemaError> {
        if version > self.version_max {
            let name = self.name;
            return Err(SchemaError::Version { version, name });
        }
        let flexible = self.flexible_from.is_some_and(|from| version >= from);
        let mut text = self.fields;
        let fields = parse_fields(&mut text)?;
        let mut reader = Reader {
            version,
            flexible,
            bytes,
        };
        reader.fields(&fields)
    }
}

#[derive(Debug)]
struct Field<'a> {
    name: &'a str,
    kind: Kind<'a>,
    versions: Versions,
    nullable: Versions,
    tag: Option<u32>,
    default: Option<&'a str>,
}

#[derive(Debug)]
enum Kind<'a> {
    Scalar(&'a str),
    Array(Box<Kind<'a>>),
    Struct(Vec<Field<'a>>),
}

#[derive(Clone, Copy, Debug)]
struct Versions {
    first: u16,
    last: u16,
}

impl Versions {
    const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };
    const NONE: Self = Self { first: 1, last: 0 };

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = match text.split_once(['+', '-']) {
            Some((first, "")) => (first.parse().ok()?, u16::MAX),
            Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
            None => (text.parse().ok()?, text.parse().ok()?),
        };
        Some(Self { first, last })
    }

    fn has(self, version: u16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

/// Takes fields off the front, up to a closing brace or the end.
fn parse_fields<'a>(text: &mut &'a str) -> Result<Vec<Field<'a>>, SchemaError> {
    let mut fields = Vec::new();
    loop {
        *text = text.trim_start_matches([' ', ';']);
        if text.is_empty() || text.starts_with('}') {
            return Ok(fields);
        }
        fields.push(parse_field(text)?);
    }
}

fn parse_field<'a>(text: &mut &'a str) -> Result<Field<'a>, SchemaError> {
    let name = word(text);
    let mut field = Field {
        name,
        kind: parse_kind(text)?,
        versions: Versions::ALL,
        nullable: Versions::NONE,
        tag: None,
        default: None,
    };
    while text.starts_with(' ') {
        let special = word(text);
        let wrong = || SchemaError::Schema(format!("{name} {special}"));
        let (letter, rest) = special.split_at_checked(1).ok_or_else(wrong)?;
        match letter {
            "v" => field.versions = Versions::parse(rest).ok_or_else(wrong)?,
            "n" => field.nullable = Versions::parse(rest).ok_or_else(wrong)?,
            "t" => field.tag = Some(rest.parse().map_err(|_| wrong())?),
            "d" => field.default = Some(rest),
            _ => return Err(wrong()),
        }
    }
    Ok(field)
}

fn parse_kind<'a>(text: &mut &'a str) -> Result<Kind<'a>, SchemaError> {
    *text = text.trim_start();
    if let Some(rest) = text.strip_prefix("[]") {
        *text = rest;
        return Ok(Kind::Array(Box::new(parse_kind(text)?)));
    }
    if let Some(rest) = text.strip_prefix('{') {
        *text = rest;
        let fields = parse_fields(text)?;
        let after = text.strip_prefix('}');
        *text = after.ok_or_else(|| SchemaError::Schema((*text).to_owned()))?;
        return Ok(Kind::Struct(fields));
    }
    Ok(Kind::Scalar(word(text)))
}

/// Takes a word off the front.
fn word<'a>(text: &mut &'a str) -> &'a str {
    let whole = text.trim_start();
    let end = whole.find([' ', ';', '}']).unwrap_or(whole.len());
    let (word, rest) = whole.split_at(end);
    *text = rest;
    word
}

struct Reader<'b> {
    version: u16,
    flexible: bool,
    bytes: &'b mut Bytes,
}

impl Reader<'_> {
    fn fields(&mut self, fields: &[Field<'_>]) -> Result<Json, SchemaError> {
        let version = self.version;
        let mut found: Vec<Option<Json>> = Vec::with_capacity(fields.len());
        for field in fields {
            let here = field.tag.is_none() && field.versions.has(version);
            found.push(if here { Some(self.field(field)?) } else { None });
        }
        if self.flexible {
            self.tags(fields, &mut found)?;
        }
        let named = fields.iter().zip(found);
        let shown = named.filter_map(|(field, value)| {
            let value = value?;
            // Kafka shows a tagged field only if it says something.
            let silent = field.tag.is_some() && is_default(field, &value);
            (!silent).then(|| (field.name.to_owned(), value))
        });
        Ok(Json::Map(shown.collect()))
    }

    fn tags(
        &mut self,
        fields: &[Field<'_>],
        found: &mut [Option<Json>],
    ) -> Result<(), SchemaError> {
        for _ in 0..self.varint("tags")? {
            let tag = self.varint("tags")?;
            let length = self.varint("tags")?;
            let mut bytes = self.take(length as usize, "tags")?;
            let place = fields
                .iter()
                .position(|field| field.tag == Some(tag) && field.versions.has(self.version));
            let Some((field, slot)) =
                place.and_then(|place| Some((fields.get(place)?, found.get_mut(place)?)))
            else {
                continue;
            };
            let mut inner = Reader {
                version: self.version,
                flexible: true,
                bytes: &mut bytes,
            };
            *slot = Some(inner.field(field)?);
        }
        Ok(())
    }

    fn field(&mut self, field: &Field<'_>) -> Result<Json, SchemaError> {
        match self.value(&field.kind, field.name)? {
            Some(value) => Ok(value),
            None if field.nullable.has(self.version) => Ok(null()),
            None => Err(SchemaError::Null {
                field: field.name.to_owned(),
            }),
        }
    }

    /// A value, or `None` for null.
    fn value(&mut self, kind: &Kind<'_>, field: &str) -> Result<Option<Json>, SchemaError> {
        let plain = |text: String| Ok(Some(Json::Plain(text)));
        match kind {
            Kind::Struct(fields) => self.fields(fields).map(Some),
            Kind::Array(element) => self.array(element, field),
            Kind::Scalar("bool") => plain((self.fixed::<1>(field)? != [0]).to_string()),
            Kind::Scalar("int8") => plain(i8::from_be_bytes(self.fixed(field)?).to_string()),
            Kind::Scalar("int16") => plain(i16::from_be_bytes(self.fixed(field)?).to_string()),
            Kind::Scalar("uint16") => plain(u16::from_be_bytes(self.fixed(field)?).to_string()),
            Kind::Scalar("int32") => plain(i32::from_be_bytes(self.fixed(field)?).to_string()),
            Kind::Scalar("uint32") => plain(u32::from_be_bytes(self.fixed(field)?).to_string()),
            Kind::Scalar("int64") => plain(i64::from_be_bytes(self.fixed(field)?).to_string()),
            Kind::Scalar("float64") => {
                plain(format!("{:?}", f64::from_be_bytes(self.fixed(field)?)))
            }
            Kind::Scalar("uuid") => {
                let id = Uuid(u128::from_be_bytes(self.fixed(field)?));
                Ok(Some(Json::Text(id.to_string())))
            }
            Kind::Scalar("string") => {
                let length = match self.flexible {
                    true => self.short_length(field)?,
                    false => usize::try_from(i16::from_be_bytes(self.fixed(field)?)).ok(),
                };
                let Some(length) = length else {
                    return Ok(None);
                };
                let bytes = self.take(length, field)?;
                Ok(Some(Json::Text(
                    String::from_utf8_lossy(&bytes).into_owned(),
                )))
            }
            Kind::Scalar("bytes") => match self.length(field)? {
                Some(length) => Ok(Some(Json::Bytes(self.take(length, field)?))),
                None => Ok(None),
            },
            Kind::Scalar(other) => Err(SchemaError::Schema((*other).to_owned())),
        }
    }

    fn array(&mut self, element: &Kind<'_>, field: &str) -> Result<Option<Json>, SchemaError> {
        let Some(count) = self.length(field)? else {
            return Ok(None);
        };
        // Every element has a byte at least.
        if count > self.bytes.len() {
            return Err(short(field));
        }
        let mut values = Vec::new();
        for _ in 0..count {
            let value = self.value(element, field)?;
            values.push(value.ok_or_else(|| SchemaError::Null {
                field: field.to_owned(),
            })?);
        }
        Ok(Some(Json::List(values)))
    }

    /// The length of bytes or of an array; `None` for null.
    fn length(&mut self, field: &str) -> Result<Option<usize>, SchemaError> {
        match self.flexible {
            true => self.short_length(field),
            false => Ok(usize::try_from(i32::from_be_bytes(self.fixed(field)?)).ok()),
        }
    }

    /// A length plus one, 0 for null.
    fn short_length(&mut self, field: &str) -> Result<Option<usize>, SchemaError> {
        let number = self.varint(field)? as usize;
        Ok(number.checked_sub(1))
    }

    fn varint(&mut self, field: &str) -> Result<u32, SchemaError> {
        varint(self.bytes).ok_or_else(|| short(field))
    }

    fn fixed<const N: usize>(&mut self, field: &str) -> Result<[u8; N], SchemaError> {
        let bytes = self.take(N, field)?;
        bytes.as_ref().try_into().map_err(|_| short(field))
    }

    fn take(&mut self, length: usize, field: &str) -> Result<Bytes, SchemaError> {
        if length > self.bytes.len() {
            return Err(short(field));
        }
        Ok(self.bytes.split_to(length))
    }
}

/// Takes an unsigned number of seven bits per byte off the front; `None` if it does not end in time.
pub(super) fn varint(bytes: &mut Bytes) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..35).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        number |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn short(field: &str) -> SchemaError {
    SchemaError::Short {
        field: field.to_owned(),
    }
}

/// The null of JSON.
pub(super) fn null() -> Json {
    Json::Plain("null".to_owned())
}

fn is_default(field: &Field<'_>, value: &Json) -> bool {
    match (value, field.default) {
        (Json::Plain(text), Some(default)) => text == default,
        (Json::Plain(text), None) => matches!(text.as_str(), "0" | "0.0" | "false"),
        (Json::Text(text), Some(default)) => text == default,
        (Json::Text(text), None) => text.is_empty() || *text == Uuid::ZERO.to_string(),
        (Json::List(values), None) => values.is_empty(),
        (Json::Bytes(bytes), None) => bytes.is_empty(),
        (Json::List(_) | Json::Bytes(_) | Json::Map(_), _) => false,
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Text(text) => write!(f, "{}", serde_json::Value::from(text.as_str())),
            Self::Bytes(bytes) => write!(f, "\"{}\"", base64(bytes)),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
            Self::Map(values) => {
                f.write_str("{")?;
                for (index, (name, value)) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}\"{name}\":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
        for place in 0..4 {
            let digit = DIGITS
                .get((bits >> (18 - 6 * place)) as usize & 0x3f)
                .copied()
                .unwrap_or(b'=');
            text.push(if place <= chunk.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::schemas::{
        CONSUMER_PROTOCOL, CONTROL, GROUP_KEYS, GROUP_VALUES, METADATA, TRANSACTION_KEYS,
        TRANSACTION_VALUES,
    };
    use super::*;

    #[test]
    fn every_schema_can_be_read_by() {
        let tables = [
            GROUP_KEYS,
            GROUP_VALUES,
            TRANSACTION_KEYS,
            TRANSACTION_VALUES,
            METADATA,
            CONTROL,
            CONSUMER_PROTOCOL,
        ];
        for row in tables.into_iter().flatten() {
            let mut text = row.fields;
            parse_fields(&mut text).unwrap_or_else(|error| panic!("{}: {error}", row.name));
            assert_eq!(text, "", "{}", row.name);
            for version in 0..=row.version_max {
                // Zeros are numbers of 0, texts that are empty or null, and no tags.
                let read = row.read(version, &mut Bytes::from(vec![0; 4096]));
                let null = matches!(read, Err(SchemaError::Null { .. }));
                assert!(read.is_ok() || null, "{} {version}: {read:?}", row.name);
                let cut = row.read(version, &mut Bytes::new());
                let empty = row.fields.is_empty() && row.flexible_from.is_none();
                assert_eq!(cut.is_ok(), empty, "{} {version}", row.name);
            }
        }
    }

    #[test]
    fn tagged_fields_are_shown_if_they_say_something() {
        let row = Row::find(METADATA, 17).unwrap();
        let head = [&1_i32.to_be_bytes()[..], &11_i64.to_be_bytes()].concat();
        let read = |tags: &[u8]| {
            let mut bytes = Bytes::from([&head, tags].concat());
            row.read(0, &mut bytes).map(|json| json.to_string())
        };
        let expected = r#"{"brokerId":1,"brokerEpoch":11,"fenced":-1}"#;
        assert_eq!(read(&[1, 0, 1, 0xff]).unwrap(), expected);
        let silent = r#"{"brokerId":1,"brokerEpoch":11}"#;
        assert_eq!(read(&[0]).unwrap(), silent);
        // One that nobody knows is passed over.
        assert_eq!(read(&[1, 9, 2, 1, 2]).unwrap(), silent);
        assert!(read(&[1, 0, 200, 1]).is_err());
    }

    #[test]
    fn bytes_are_shown_in_base_64() {
        let cases: [(&[u8], &str); 4] =
            [(b"", ""), (b"M", "TQ=="), (b"Ma", "TWE="), (b"Man", "TWFu")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes), text);
        }
    }
}
