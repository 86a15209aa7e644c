//! What is said about a configuration: notes beside a start, faults instead of one.
//!
//! Words only; who finds them is `load`, who prints them is `main`.

use std::fmt;

use super::settings::Origin;

/// Something about a setting that is worth a line at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which sort, so that lines can be gathered.
    pub kind: NoteKind,
    /// The key.
    pub key: String,
    /// Where it was set.
    pub origin: Origin,
    /// The sentence, without key and place.
    pub text: String,
}

/// `place: key: sentence`.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.key, self.text)
    }
}

/// Sorts of [`Note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteKind {
    /// Nobody knows the key; it is ignored.
    Unknown,
    /// Older Kafkas knew the key.
    Retired,
    /// Kept and echoed without effect.
    WithoutEffect,
    /// Kept and echoed without effect until a part of Kafka exists here.
    Pending,
    /// Held below what was asked, because there are too few brokers.
    Lowered,
    /// Set twice in one file.
    Repeated,
    /// Anything else.
    Advice,
}

/// One reason not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where the value stands; `None` when it is the whole file.
    pub origin: Option<Origin>,
    /// The sentence: key, value, what is allowed.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// All reasons not to start; one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct LoadError {
    /// The reasons, in the order of keys; one at least.
    pub faults: Vec<Fault>,
}
