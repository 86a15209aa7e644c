//! What was set at start: every value as text, with the place it came from.
//!
//! It knows no property; changes made while the broker runs are laid over it in `view`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The place a value came from; later variants beat earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it: it is how Millrace starts where Kafka would refuse to, or would need a file.
    Preset,
    /// A line of the properties file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// `--override` on the command line.
    Override,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preset => f.write_str("preset"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Override => f.write_str("--override"),
        }
    }
}

/// A value somebody set.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value as written, trimmed; checked for known keys.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
}

/// Without the text: it may be a password.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting({})", self.origin)
    }
}

/// Everything that was set, by key, unknown keys included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    by_key: BTreeMap<String, Setting>,
}

impl Settings {
    /// Sets `key`, unless a place that counts more did already; answers the setting that lost.
    pub fn set(&mut self, key: impl Into<String>, setting: Setting) -> Option<Setting> {
        let key = key.into();
        match self.by_key.get(&key) {
            Some(held) if held.origin > setting.origin => Some(setting),
            _ => self.by_key.insert(key, setting),
        }
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &str) {
        self.by_key.remove(key);
    }

    /// The setting of `key`.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Setting> {
        self.by_key.get(key)
    }

    /// The text of `key`.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.find(key).map(|setting| setting.text.as_str())
    }

    /// Every key with its setting, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.by_key
            .iter()
            .map(|(key, setting)| (key.as_str(), setting))
    }

    pub(super) fn texts_mut(&mut self) -> impl Iterator<Item = (&str, &mut Setting)> {
        self.by_key
            .iter_mut()
            .map(|(key, setting)| (key.as_str(), setting))
    }
}
