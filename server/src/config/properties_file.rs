//! The syntax of a properties file, as `java.util.Properties` reads it.
//!
//! It knows lines, escapes and separators; which keys exist and what they mean is unknown here.

use std::str::Chars;

/// One `key=value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key, escapes undone.
    pub(super) key: String,
    /// The value, escapes undone, white space around it gone.
    pub(super) value: String,
    /// The line it begins on, from 1.
    pub(super) line: usize,
}

/// A line that cannot be read. It is the only way to be wrong: everything else means something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\\u must be followed by four hexadecimal digits, found {found:?}")]
pub(super) struct SyntaxError {
    /// The line the entry begins on, from 1.
    pub(super) line: usize,
    /// What follows.
    pub(super) found: String,
}

/// Reads the text of a file: the entries that can be read in the order of the file, and every malformed escape. A key
/// may appear again.
pub(super) fn parse(text: &str) -> (Vec<Entry>, Vec<SyntaxError>) {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for (line, logical) in logical_lines(text) {
        let (key, value) = split(&logical);
        match (unescape(key), unescape(value)) {
            (Ok(key), Ok(value)) => entries.push(Entry {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
                line,
            }),
            (Err(found), _) | (_, Err(found)) => errors.push(SyntaxError { line, found }),
        }
    }
    (entries, errors)
}

const fn is_blank(symbol: char) -> bool {
    matches!(symbol, ' ' | '\t' | '\x0c')
}

/// Lines joined where a backslash ends them, comments and empty lines left out, each with the number of its first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in unified.split('\n').enumerate() {
        let content = natural.trim_start_matches(is_blank);
        if open.is_none() && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let (number, mut logical) = open.take().unwrap_or_else(|| (index + 1, String::new()));
        let backslashes = content
            .chars()
            .rev()
            .take_while(|&symbol| symbol == '\\')
            .count();
        if backslashes % 2 == 1 {
            logical.push_str(content.strip_suffix('\\').unwrap_or(content));
            open = Some((number, logical));
        } else {
            logical.push_str(content);
            lines.push((number, logical));
        }
    }
    lines.extend(open.filter(|(_, logical)| !logical.is_empty()));
    lines
}

/// Key and value, still escaped: between them stands blank space, `=` or `:`, the latter once and with blanks around.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical.char_indices().find(|&(_, symbol)| {
        let ends = !escaped && (is_blank(symbol) || matches!(symbol, '=' | ':'));
        escaped = symbol == '\\' && !escaped;
        ends
    });
    let Some((end, _)) = end else {
        return (logical, "");
    };
    let (key, rest) = logical.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

/// Undoes escapes; the error is what follows a malformed one. Works in UTF-16 because `\u` escapes do.
fn unescape(text: &str) -> Result<String, String> {
    let mut units = Vec::with_capacity(text.len());
    let mut symbols = text.chars();
    while let Some(symbol) = symbols.next() {
        let plain = match symbol {
            '\\' => match symbols.next() {
                Some('u') => {
                    units.push(code_unit(&mut symbols)?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

fn code_unit(symbols: &mut Chars<'_>) -> Result<u16, String> {
    let digits: String = symbols.take(4).collect();
    let hexadecimal = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u16::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| hexadecimal);
    unit.ok_or(digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let (entries, errors) = parse(text);
        assert_eq!(errors, []);
        entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_are_equals_colon_and_white_space() {
        for line in [
            "a.b=c d",
            "a.b:c d",
            "a.b c d",
            "  a.b \t=  c d  ",
            "a.b : c d",
        ] {
            assert_eq!(pairs(line), [pair("a.b", "c d")], "{line}");
        }
        assert_eq!(pairs("a==b"), [pair("a", "=b")]);
        assert_eq!(
            pairs("listeners=PLAINTEXT://:9092"),
            [pair("listeners", "PLAINTEXT://:9092")]
        );
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        assert_eq!(pairs("# a=b\n! c=d\n\n   # e=f\r\n\t\r"), []);
        assert_eq!(
            pairs("a=b # not a comment"),
            [pair("a", "b # not a comment")]
        );
    }

    #[test]
    fn a_backslash_joins_lines_and_the_first_counts() {
        let (entries, _) = parse("# top\nlog.dirs=/a,\\\n    /b,\\\n    /c\nx=y\n");
        let expected = [
            Entry {
                key: "log.dirs".into(),
                value: "/a,/b,/c".into(),
                line: 2,
            },
            Entry {
                key: "x".into(),
                value: "y".into(),
                line: 5,
            },
        ];
        assert_eq!(entries, expected);
        assert_eq!(pairs("a=b\\\\\nc=d"), [pair("a", "b\\"), pair("c", "d")]);
        assert_eq!(pairs("a=b\\\n# still b"), [pair("a", "b# still b")]);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(pairs(r"a\=b\:\ c=d\te\\f"), [pair("a=b: c", "d\te\\f")]);
        assert_eq!(pairs(r"rack=\u00e9\uD83D\uDE00"), [pair("rack", "é😀")]);
    }

    #[test]
    fn a_malformed_escape_is_an_error_with_its_line() {
        let (entries, errors) = parse("a=b\nrack=\\u12G4\nc=d");
        assert_eq!(entries.len(), 2);
        assert_eq!(
            errors,
            [SyntaxError {
                line: 2,
                found: "12G4".to_owned()
            }]
        );
        assert_eq!(parse("a=\\u+123").1.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_text_is_read_without_panic(text in "[\\\\#!=: \\t\\r\\nu0-9a\u{e9}\u{1f600}]{0,60}") {
            let lines = text.lines().count() + text.matches('\r').count() + 1;
            for entry in parse(&text).0 {
                prop_assert!(entry.line >= 1 && entry.line <= lines);
            }
        }

        #[test]
        fn plain_pairs_read_back(key in "[a-z][a-z.]{0,12}", value in "[a-z0-9:/=,.]{0,20}") {
            let (entries, errors) = parse(&format!("{key}={value}"));
            prop_assert!(errors.is_empty());
            prop_assert_eq!(&entries[0].key, &key);
            prop_assert_eq!(&entries[0].value, &value);
        }
    }
}
