//! The values that `kafka-producer-perf-test` sends: random letters, lines of a file, or numbers that count up.
//!
//! Random is always the same sequence, so that two runs send the same bytes.

use std::path::Path;

use regex::Regex;

use crate::command::Failure;

/// Where values come from.
#[derive(Debug)]
pub(super) struct Payloads {
    source: Source,
    random: Random,
    /// The value made last.
    value: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    Letters,
    List(Vec<Vec<u8>>),
    Numbers,
}

impl Payloads {
    /// Values of `size` letters.
    pub(super) fn random(size: usize) -> Self {
        Self::new(Source::Letters, vec![0; size])
    }

    /// The values 0, 1, 2 and so on, in digits.
    pub(super) fn monotonic() -> Self {
        Self::new(Source::Numbers, Vec::new())
    }

    /// Values out of a text file, between matches of the regular expression `delimiter`.
    pub(super) fn from_file(path: &Path, delimiter: &str) -> Result<Self, Failure> {
        let delimiter = Regex::new(delimiter)
            .map_err(|error| Failure::Text(format!("--payload-delimiter: {error}")))?;
        let nothing = || Failure::Text("File does not exist or empty file provided.".to_owned());
        let text = match std::fs::read(path) {
            Ok(bytes) if bytes.is_empty() => return Err(nothing()),
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(nothing()),
            Err(error) => return Err(Failure::file(path, &error)),
        };
        let list = split(&text, &delimiter);
        if list.is_empty() {
            return Err(nothing());
        }
        Ok(Self::new(Source::List(list), Vec::new()))
    }

    fn new(source: Source, value: Vec<u8>) -> Self {
        let random = Random(0);
        Self {
            source,
            random,
            value,
        }
    }

    /// How many values a file had; 0 if there is no file.
    pub(super) fn count(&self) -> usize {
        match &self.source {
            Source::List(list) => list.len(),
            Source::Letters | Source::Numbers => 0,
        }
    }

    /// The value of the record with this number.
    pub(super) fn next(&mut self, index: u64) -> &[u8] {
        match &self.source {
            Source::List(list) => list
                .get(self.random.below(list.len()))
                .map_or(&[], Vec::as_slice),
            Source::Letters => {
                for piece in self.value.chunks_mut(8) {
                    for (letter, byte) in piece.iter_mut().zip(self.random.next().to_le_bytes()) {
                        // A byte scaled to 0..26.
                        *letter =
                            b'A' + u8::try_from(u16::from(byte) * 26 / 256).unwrap_or_default();
                    }
                }
                &self.value
            }
            Source::Numbers => {
                self.value.clear();
                self.value.extend_from_slice(index.to_string().as_bytes());
                &self.value
            }
        }
    }
}

/// The pieces as Java's Scanner finds them: nothing before a delimiter at the start, nothing behind one at the end.
fn split(text: &str, delimiter: &Regex) -> Vec<Vec<u8>> {
    let mut pieces: Vec<&str> = delimiter.split(text).collect();
    if pieces.last().is_some_and(|last| last.is_empty()) {
        pieces.pop();
    }
    if pieces.first().is_some_and(|first| first.is_empty()) {
        pieces.remove(0);
    }
    pieces
        .into_iter()
        .map(|piece| piece.as_bytes().to_vec())
        .collect()
}

/// SplitMix64, by Sebastiano Vigna: what java.util.SplittableRandom is made of.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_are_letters_and_the_same_in_every_run() {
        let mut payloads = Payloads::random(21);
        let first = payloads.next(0).to_vec();
        let second = payloads.next(1).to_vec();
        assert_eq!(first.len(), 21);
        assert!(first.iter().all(u8::is_ascii_uppercase), "{first:?}");
        assert_ne!(first, second);
        assert_eq!(Payloads::random(21).next(0), first);
        let all: std::collections::BTreeSet<u8> =
            Payloads::random(4096).next(0).iter().copied().collect();
        assert_eq!(all.len(), 26);
    }

    #[test]
    fn numbers_count_up() {
        let mut payloads = Payloads::monotonic();
        assert_eq!(payloads.next(9), b"9");
        assert_eq!(payloads.next(10), b"10");
    }

    #[test]
    fn a_file_is_split_as_javas_scanner_splits_it() {
        let pieces = |text: &str, delimiter: &str| {
            let found = split(text, &Regex::new(delimiter).unwrap()).into_iter();
            found
                .map(|piece| String::from_utf8(piece).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(pieces("a\nb\n", "\\n"), ["a", "b"]);
        assert_eq!(pieces("\na\n\nb", "\\n"), ["a", "", "b"]);
        assert_eq!(pieces("1;;2;3", ";+"), ["1", "2", "3"]);
    }

    #[test]
    fn records_have_values_of_the_file_and_an_empty_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("values");
        std::fs::write(&path, "x\ny\n").unwrap();
        let mut payloads = Payloads::from_file(&path, "\\n").unwrap();
        assert_eq!(payloads.count(), 2);
        let found: std::collections::BTreeSet<Vec<u8>> =
            (0..64).map(|index| payloads.next(index).to_vec()).collect();
        assert_eq!(found, [b"x".to_vec(), b"y".to_vec()].into());
        std::fs::write(&path, "").unwrap();
        assert!(Payloads::from_file(&path, "\\n").is_err());
    }
}
