//! A property as clients see it: value, layer, chain of values below.
//!
//! Plain data; the numbers are the protocol's, its encoding is unknown.

use millrace_engine::config::Kind;

/// Which layer a value comes from. The numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// Set on this broker while it runs.
    DynamicBroker = 2,
    /// Set on all brokers while they run.
    DynamicDefault = 3,
    /// Set in the file, the environment or on the command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the group.
    Group = 8,
}

/// A value further down the chain that would hold if those above were not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The property.
    pub name: String,
    /// Its value; `None` for a password.
    pub value: Option<String>,
    /// Where it is set.
    pub source: Source,
}

/// One property as `DescribeConfigs` answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its value; `None` for null and for every sensitive one.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// Its type; `None` for a key that nobody knows.
    pub kind: Option<Kind>,
    /// Whether only a restart changes it.
    pub read_only: bool,
    /// Whether the value is withheld.
    pub sensitive: bool,
    /// The chain of values, the one that holds first.
    pub synonyms: Vec<Synonym>,
    /// One line for people.
    pub documentation: &'static str,
}
