//! Java properties files, as `--command-config` and its like name them, and `key=value` flags.
//!
//! Which properties mean anything is up to the reader.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::command::Failure;

/// Property names and values.
pub(crate) type Properties = BTreeMap<String, String>;

/// Reads a properties file.
pub(crate) fn load(path: &Path) -> Result<Properties, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
    Ok(parse(&decode(bytes)))
}

/// The text of a file in UTF-8, or else in Latin-1, which is what Java takes all of them for.
fn decode(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect())
}

/// The properties in the text of a file, as `java.util.Properties` reads them.
pub(crate) fn parse(text: &str) -> Properties {
    let mut properties = Properties::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while continues(&logical) {
            logical.pop();
            match lines.next() {
                Some(next) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        properties.insert(unescape(key), unescape(value));
    }
    properties
}

/// A property that is a time in milliseconds, if it is given. Blanks around a value mean nothing to Java's clients.
pub(crate) fn millis(properties: &Properties, name: &str) -> Result<Option<Duration>, NotMillis> {
    let given = properties.get(name);
    let parsed = given.map(|value| {
        let millis = value.trim().parse().map(Duration::from_millis);
        millis.map_err(|_| NotMillis {
            name: name.to_owned(),
            value: value.clone(),
        })
    });
    parsed.transpose()
}

/// A property that is no time.
#[derive(Debug, thiserror::Error)]
#[error("Invalid value {value} for configuration {name}: Not a number of milliseconds")]
pub(crate) struct NotMillis {
    name: String,
    value: String,
}

/// The properties in `key=value` flags. A flag without a value stands for the empty one.
pub(crate) fn from_flags(flags: &[String]) -> Properties {
    let pairs = flags
        .iter()
        .map(|flag| flag.split_once('=').unwrap_or((flag, "")));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Whether the line ends in an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or white space.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (index, letter) in line.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => return (&line[..index], line[index + 1..].trim_start()),
            _ if letter.is_whitespace() => {
                let rest = line[index..].trim_start();
                let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
                return (&line[..index], rest.trim_start());
            }
            _ => {}
        }
    }
    (line, "")
}

fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            result.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => result.push('\t'),
            Some('n') => result.push('\n'),
            Some('r') => result.push('\r'),
            Some('f') => result.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                result.push(code.and_then(char::from_u32).unwrap_or('\u{fffd}'));
            }
            Some(other) => result.push(other),
            None => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_java_reads_it() {
        let text =
            "# comment\n! too\na=1\nb : 2\nc 3\n  d = x\\\n     y\ne=\\u0041\\tz\nf\npath=a=b:c\n";
        let expected = [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "xy"),
            ("e", "A\tz"),
            ("f", ""),
            ("path", "a=b:c"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(parse(text), Properties::from(expected));
    }

    #[test]
    fn a_file_is_in_utf_8_or_in_latin_1() {
        let latin = b"client.id=caf\xe9\n".to_vec();
        for bytes in [latin, "client.id=caf\u{e9}\n".into()] {
            assert_eq!(parse(&decode(bytes))["client.id"], "caf\u{e9}");
        }
    }

    #[test]
    fn a_flag_is_split_at_its_first_equals_sign() {
        let flags = ["key.separator==".to_owned(), "x".to_owned()];
        let found = from_flags(&flags);
        assert_eq!(found["key.separator"], "=");
        assert_eq!(found["x"], "");
    }
}
