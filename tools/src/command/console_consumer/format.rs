//! A record as text, the way Kafka's default formatter prints it.

use std::fmt::{Debug, UpperExp};
use std::io::Write;

use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Timestamp};

use crate::command::Failure;
use crate::properties::Properties;

/// What to print of a record, and how.
#[derive(Debug)]
pub(super) struct Formatter {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null_literal: String,
    key_type: Type,
    value_type: Type,
    headers_type: Type,
}

/// What bytes mean, by the name of Kafka's deserializer for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    /// Printed as they are, as Kafka's tool does without a deserializer.
    Raw,
    /// Text: what is no UTF-8 is replaced.
    Text,
    /// Bytes: what cannot be printed in ASCII is written as `\xNN`.
    Bytes,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
}

impl Formatter {
    pub(super) fn new(properties: &Properties) -> Result<Self, Failure> {
        let text = |name: &str, default: &str| {
            properties
                .get(name)
                .map_or(default, String::as_str)
                .to_owned()
        };
        let truth = |name: &str, default: bool| match properties.get(name) {
            Some(value) => value.trim().eq_ignore_ascii_case("true"),
            None => default,
        };
        let kind = |name: &str| Type::of(properties.get(name).map(String::as_str));
        Ok(Self {
            timestamp: truth("print.timestamp", false),
            partition: truth("print.partition", false),
            offset: truth("print.offset", false),
            delivery: truth("print.delivery", false),
            epoch: truth("print.epoch", false),
            headers: truth("print.headers", false),
            key: truth("print.key", false),
            value: truth("print.value", true),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null_literal: text("null.literal", "null"),
            key_type: kind("key.deserializer")?,
            value_type: kind("value.deserializer")?,
            headers_type: kind("headers.deserializer")?,
        })
    }

    /// Prints a record.
    pub(super) fn write(
        &self,
        message: &BorrowedMessage<'_>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        // Only where they are printed: the client library panics over a key that is not UTF-8.
        let headers = message.headers().filter(|_| self.headers);
        let headers = headers.into_iter().flat_map(Headers::iter);
        let record = Record {
            timestamp: message.timestamp(),
            partition: message.partition(),
            offset: message.offset(),
            headers: headers.map(|header| (header.key, header.value)).collect(),
            key: message.key(),
            value: message.payload(),
        };
        out.write_all(&self.line(&record)?)?;
        Ok(())
    }

    fn line(&self, record: &Record<'_>) -> Result<Vec<u8>, Failure> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            let text = match record.timestamp {
                Timestamp::CreateTime(time) => format!("CreateTime:{time}"),
                Timestamp::LogAppendTime(time) => format!("LogAppendTime:{time}"),
                Timestamp::NotAvailable => "NO_TIMESTAMP".to_owned(),
            };
            parts.push(text.into_bytes());
        }
        if self.partition {
            parts.push(format!("Partition:{}", record.partition).into_bytes());
        }
        if self.offset {
            parts.push(format!("Offset:{}", record.offset).into_bytes());
        }
        // Kafka's tool knows neither: what it gives its formatter has been copied without them.
        for (wanted, name) in [(self.delivery, "Delivery"), (self.epoch, "Epoch")] {
            if wanted {
                parts.push(format!("{name}:NOT_PRESENT").into_bytes());
            }
        }
        if self.headers {
            parts.push(self.headers(&record.headers)?);
        }
        if self.key {
            parts.push(self.field(self.key_type, record.key)?);
        }
        if self.value {
            parts.push(self.field(self.value_type, record.value)?);
        }
        let mut line = parts.join(self.key_separator.as_bytes());
        line.extend_from_slice(self.line_separator.as_bytes());
        Ok(line)
    }

    fn headers(&self, headers: &[(&str, Option<&[u8]>)]) -> Result<Vec<u8>, Failure> {
        if headers.is_empty() {
            return Ok(b"NO_HEADERS".to_vec());
        }
        let mut texts = Vec::with_capacity(headers.len());
        for (key, value) in headers {
            let mut text = format!("{key}:").into_bytes();
            text.extend(self.field(self.headers_type, *value)?);
            texts.push(text);
        }
        Ok(texts.join(self.headers_separator.as_bytes()))
    }

    fn field(&self, kind: Type, bytes: Option<&[u8]>) -> Result<Vec<u8>, Failure> {
        match bytes {
            None => Ok(self.null_literal.clone().into_bytes()),
            Some(bytes) => kind.text(bytes),
        }
    }
}

/// What is known of a record.
struct Record<'a> {
    timestamp: Timestamp,
    partition: i32,
    offset: i64,
    headers: Vec<(&'a str, Option<&'a [u8]>)>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl Type {
    fn of(class: Option<&str>) -> Result<Self, Failure> {
        let Some(class) = class else {
            return Ok(Self::Raw);
        };
        match class.rsplit('.').next().unwrap_or(class) {
            "StringDeserializer" => Ok(Self::Text),
            "BytesDeserializer" => Ok(Self::Bytes),
            // Java prints the address of these.
            "ByteArrayDeserializer" | "ByteBufferDeserializer" => Ok(Self::Raw),
            "ShortDeserializer" => Ok(Self::Short),
            "IntegerDeserializer" => Ok(Self::Integer),
            "LongDeserializer" => Ok(Self::Long),
            "FloatDeserializer" => Ok(Self::Float),
            "DoubleDeserializer" => Ok(Self::Double),
            "BooleanDeserializer" => Ok(Self::Boolean),
            _ => Err(Failure::Usage(format!(
                "{class} is not known here: only Kafka's own deserializers for strings, bytes and numbers are"
            ))),
        }
    }

    fn text(self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let text = match self {
            Self::Raw => return Ok(bytes.to_vec()),
            Self::Text => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Bytes => Some(escaped(bytes)),
            Self::Short => bytes
                .try_into()
                .ok()
                .map(|bytes| i16::from_be_bytes(bytes).to_string()),
            Self::Integer => bytes
                .try_into()
                .ok()
                .map(|bytes| i32::from_be_bytes(bytes).to_string()),
            Self::Long => bytes
                .try_into()
                .ok()
                .map(|bytes| i64::from_be_bytes(bytes).to_string()),
            Self::Float => bytes
                .try_into()
                .ok()
                .map(f32::from_be_bytes)
                .map(|number| as_java_shows(number, number.into())),
            Self::Double => bytes
                .try_into()
                .ok()
                .map(f64::from_be_bytes)
                .map(|number| as_java_shows(number, number)),
            Self::Boolean => match bytes {
                [0] => Some("false".to_owned()),
                [1] => Some("true".to_owned()),
                _ => None,
            },
        };
        text.map(String::into_bytes).ok_or_else(|| {
            let (name, size) = match self {
                Self::Raw | Self::Text | Self::Bytes => ("", 0),
                Self::Short => ("Short", 2),
                Self::Integer => ("Integer", 4),
                Self::Long => ("Long", 8),
                Self::Float => ("", 4),
                Self::Double => ("", 8),
                Self::Boolean => ("Boolean", 1),
            };
            Failure::Text(format!(
                "Size of data received by {name}Deserializer is not {size}"
            ))
        })
    }
}

/// A number of this size: a very small or a large one has an exponent.
fn as_java_shows(number: impl Debug + UpperExp, size: f64) -> String {
    if size.is_infinite() {
        let sign = if size < 0.0 { "-" } else { "" };
        return format!("{sign}Infinity");
    }
    if size == 0.0 || size.is_nan() || (1e-3..1e7).contains(&size.abs()) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// The way Kafka's `Bytes` shows itself.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\x5C"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(pairs: &[(&str, &str)], record: &Record<'_>) -> String {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let formatter = Formatter::new(&pairs.collect()).unwrap();
        String::from_utf8(formatter.line(record).unwrap()).unwrap()
    }

    fn record() -> Record<'static> {
        Record {
            timestamp: Timestamp::CreateTime(1_795_372_911_858),
            partition: 1,
            offset: 0,
            headers: Vec::new(),
            key: Some(b"k1"),
            value: Some(b"v1"),
        }
    }

    #[test]
    fn all_parts_stand_in_kafkas_order() {
        let all = [
            ("print.timestamp", "true"),
            ("print.key", "true"),
            ("print.offset", "true"),
            ("print.partition", "true"),
            ("print.headers", "true"),
        ];
        let expected = "CreateTime:1795372911858\tPartition:1\tOffset:0\tNO_HEADERS\tk1\tv1\n";
        assert_eq!(printed(&all, &record()), expected);
        let with_headers = Record {
            headers: vec![("a", Some(b"1")), ("b", None)],
            ..record()
        };
        assert!(printed(&all, &with_headers).contains("\ta:1,b:null\t"));
    }

    #[test]
    fn by_default_only_the_value_is_printed() {
        assert_eq!(printed(&[], &record()), "v1\n");
        let tombstone = Record {
            value: None,
            ..record()
        };
        assert_eq!(printed(&[("null.literal", "-")], &tombstone), "-\n");
        assert_eq!(printed(&[("print.value", "false")], &record()), "\n");
    }

    #[test]
    fn a_header_that_is_no_text_is_printed_as_kafka_prints_it() {
        let value: &[u8] = b"caf\xe9\\\n";
        let record = Record {
            headers: vec![("h", Some(value))],
            ..record()
        };
        let line = |deserializer: Option<&str>| {
            let mut properties = Properties::from([
                ("print.headers".to_owned(), "true".to_owned()),
                ("print.value".to_owned(), "false".to_owned()),
            ]);
            if let Some(class) = deserializer {
                properties.insert("headers.deserializer".to_owned(), class.to_owned());
            }
            Formatter::new(&properties).unwrap().line(&record).unwrap()
        };
        assert_eq!(line(None), b"h:caf\xe9\\\n\n");
        let text = "org.apache.kafka.common.serialization.StringDeserializer";
        assert_eq!(line(Some(text)), "h:caf\u{fffd}\\\n\n".as_bytes());
        let bytes = "org.apache.kafka.common.serialization.BytesDeserializer";
        assert_eq!(line(Some(bytes)), b"h:caf\\xE9\\x5C\\x0A\n");
    }

    #[test]
    fn numbers_are_read_by_their_deserializer() {
        let long = [(
            "value.deserializer",
            "org.apache.kafka.common.serialization.LongDeserializer",
        )];
        let number = Record {
            value: Some(&[0, 0, 0, 0, 0, 0, 1, 0]),
            ..record()
        };
        assert_eq!(printed(&long, &number), "256\n");
        for (value, expected) in [
            (1.0, "1.0"),
            (-0.001, "-0.001"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (-1.5e-4, "-1.5E-4"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            let shown = Type::Double.text(&value.to_be_bytes()).unwrap();
            assert_eq!(String::from_utf8(shown).unwrap(), expected);
        }
        let shown = Type::Float.text(&0.1_f32.to_be_bytes()).unwrap();
        assert_eq!(shown, b"0.1");
        assert!(Type::of(Some("com.example.Mine")).is_err());
        assert!(Type::Long.text(b"short").is_err());
    }
}
