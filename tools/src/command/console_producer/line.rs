//! A line of input as a record: headers, key and value, in the order and with the separators of Kafka's line reader.

use crate::command::Failure;
use crate::properties::Properties;

/// Key and value of a header.
type HeaderParts<'a> = (&'a str, Option<&'a [u8]>);

/// Both sides of a separator.
type Cut<'a> = (&'a [u8], &'a [u8]);

/// A record; its parts are slices of the line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) headers: Vec<HeaderParts<'a>>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

/// How to read lines.
#[derive(Debug)]
pub(super) struct LineReader {
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    /// Between the headers and what follows.
    headers_delimiter: String,
    /// Between two headers.
    headers_separator: String,
    /// Between the key of a header and its value.
    headers_key_separator: String,
    /// What lacks a separator is a value, and no error.
    ignore_error: bool,
    /// What stands for null.
    null_marker: Option<String>,
}

impl LineReader {
    pub(super) fn new(properties: &Properties) -> Result<Self, Failure> {
        let text = |name: &str, default: &str| {
            properties
                .get(name)
                .map_or(default, String::as_str)
                .to_owned()
        };
        let truth = |name: &str| {
            properties
                .get(name)
                .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
        };
        let reader = Self {
            parse_key: truth("parse.key"),
            key_separator: text("key.separator", "\t"),
            parse_headers: truth("parse.headers"),
            headers_delimiter: text("headers.delimiter", "\t"),
            headers_separator: text("headers.separator", ","),
            headers_key_separator: text("headers.key.separator", ":"),
            ignore_error: truth("ignore.error"),
            null_marker: properties.get("null.marker").cloned(),
        };
        reader.check()?;
        Ok(reader)
    }

    fn check(&self) -> Result<(), Failure> {
        let same = |left: (&str, &str), right: (&str, &str)| {
            let text = format!("{} and {} may not be equal", left.0, right.0);
            if left.1 == right.1 {
                Err(Failure::Text(text))
            } else {
                Ok(())
            }
        };
        let delimiter = ("headers.delimiter", self.headers_delimiter.as_str());
        let separator = ("headers.separator", self.headers_separator.as_str());
        let key = ("headers.key.separator", self.headers_key_separator.as_str());
        same(delimiter, separator)?;
        same(delimiter, key)?;
        same(separator, key)?;
        match &self.null_marker {
            Some(marker) => {
                let marker = ("null.marker", marker.as_str());
                same(marker, ("key.separator", &self.key_separator))?;
                same(marker, delimiter)?;
                same(marker, separator)?;
                same(marker, key)
            }
            None => Ok(()),
        }
    }

    /// Takes a line apart; `number` is for errors.
    pub(super) fn parse<'a>(&self, line: &'a [u8], number: u64) -> Result<Line<'a>, String> {
        let mut record = Line::default();
        let mut rest = line;
        if self.parse_headers
            && let Some((headers, after)) =
                self.cut(rest, &self.headers_delimiter, "headers delimiter", number)?
        {
            rest = after;
            if !self.is_null(headers) {
                record.headers = self.headers(headers, number)?;
            }
        }
        if self.parse_key
            && let Some((key, after)) =
                self.cut(rest, &self.key_separator, "key separator", number)?
        {
            record.key = self.unless_null(key);
            rest = after;
        }
        record.value = self.unless_null(rest);
        Ok(record)
    }

    fn cut<'a>(
        &self,
        text: &'a [u8],
        separator: &str,
        what: &str,
        number: u64,
    ) -> Result<Option<Cut<'a>>, String> {
        match split_once(text, separator.as_bytes()) {
            None if !self.ignore_error => {
                let line = String::from_utf8_lossy(text);
                Err(format!("No {what} found on line number {number}: '{line}'"))
            }
            parts => Ok(parts),
        }
    }

    fn headers<'a>(&self, mut text: &'a [u8], number: u64) -> Result<Vec<HeaderParts<'a>>, String> {
        let mut pairs = Vec::new();
        while let Some((pair, rest)) = split_once(text, self.headers_separator.as_bytes()) {
            pairs.push(pair);
            text = rest;
        }
        pairs.push(text);
        // Java leaves out what is empty at the end of a list.
        if pairs.len() > 1 {
            let filled = pairs.iter().rposition(|pair| !pair.is_empty());
            pairs.truncate(filled.map_or(0, |last| last + 1));
        }
        let headers = pairs.into_iter().map(|pair| self.header(pair, number));
        headers.filter_map(Result::transpose).collect()
    }

    fn header<'a>(&self, pair: &'a [u8], number: u64) -> Result<Option<HeaderParts<'a>>, String> {
        let shown = String::from_utf8_lossy(pair);
        let Some((key, value)) = split_once(pair, self.headers_key_separator.as_bytes()) else {
            if self.ignore_error {
                return Ok(std::str::from_utf8(pair).ok().map(|key| (key, None)));
            }
            return Err(format!(
                "No header key separator found in pair '{shown}' on line number {number}"
            ));
        };
        if self.is_null(key) {
            return Err(format!(
                "Header keys should not be equal to the null marker '{}' as they can't be null",
                self.null_marker.as_deref().unwrap_or_default()
            ));
        }
        match std::str::from_utf8(key) {
            Ok(key) => Ok(Some((key, self.unless_null(value)))),
            Err(_) => Err(format!(
                "The header key of '{shown}' on line number {number} is not UTF-8"
            )),
        }
    }

    fn is_null(&self, text: &[u8]) -> bool {
        self.null_marker
            .as_ref()
            .is_some_and(|marker| marker.as_bytes() == text)
    }

    fn unless_null<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        (!self.is_null(text)).then_some(text)
    }
}

/// The parts before and behind the first separator.
fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<Cut<'a>> {
    if separator.is_empty() {
        return None;
    }
    let place = text
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((text.get(..place)?, text.get(place + separator.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(pairs: &[(&str, &str)]) -> LineReader {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        LineReader::new(&pairs.collect()).unwrap()
    }

    #[test]
    fn a_line_is_a_value_by_default() {
        let line = reader(&[]).parse(b"k\tv", 1).unwrap();
        assert_eq!(
            line,
            Line {
                value: Some(b"k\tv"),
                ..Default::default()
            }
        );
    }

    #[test]
    fn headers_and_key_come_before_the_value() {
        let all = reader(&[
            ("parse.key", "true"),
            ("parse.headers", "true"),
            ("null.marker", "NULL"),
        ]);
        let line = all.parse(b"h1:v1,h2:NULL\tk\tv\tw", 1).unwrap();
        assert_eq!(line.headers, [("h1", Some(&b"v1"[..])), ("h2", None)]);
        assert_eq!(
            (line.key, line.value),
            (Some(&b"k"[..]), Some(&b"v\tw"[..]))
        );
        let line = all.parse(b"NULL\tNULL\tNULL", 1).unwrap();
        assert_eq!(line, Line::default());
    }

    #[test]
    fn headers_may_end_in_a_separator() {
        let headers = reader(&[("parse.headers", "true")]);
        let line = headers.parse(b"h1:v1,,\tvalue", 1).unwrap();
        assert_eq!(line.headers, [("h1", Some(&b"v1"[..]))]);
        assert_eq!(line.value, Some(&b"value"[..]));
        assert!(headers.parse(b",\tvalue", 1).unwrap().headers.is_empty());
        for wrong in [&b"h1:v1,,h2:v2\tvalue"[..], b"\tvalue"] {
            assert!(headers.parse(wrong, 1).is_err());
        }
    }

    #[test]
    fn a_missing_separator_is_an_error_unless_it_is_to_be_ignored() {
        let strict = reader(&[("parse.key", "true"), ("key.separator", ":")]);
        let error = strict.parse(b"value", 3).unwrap_err();
        assert_eq!(error, "No key separator found on line number 3: 'value'");
        let lenient = reader(&[("parse.key", "true"), ("ignore.error", "true")]);
        let line = lenient.parse(b"value", 3).unwrap();
        assert_eq!((line.key, line.value), (None, Some(&b"value"[..])));
    }

    #[test]
    fn separators_must_differ() {
        let same = [("headers.separator".to_owned(), ":".to_owned())];
        let error = LineReader::new(&same.into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "headers.separator and headers.key.separator may not be equal"
        );
    }
}
