//! Topics and their partitions, by name (what people say) and by id (what the engine keys on).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::TopicId;

/// The name of a topic: 1 to 249 characters of `[a-zA-Z0-9._-]`, neither `.` nor `..`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text is no topic name. The sentences are Kafka's, because people search for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// Nothing at all.
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    /// `.` or `..`, which would name a directory.
    #[error("Topic name is invalid: '.' or '..' is not allowed")]
    Dots,
    /// Longer than [`TopicName::LENGTH_MAX`].
    #[error(
        "Topic name is invalid: the length of '{name}' is longer than the max allowed length {max}",
        max = TopicName::LENGTH_MAX
    )]
    TooLong {
        /// The name as asked for.
        name: String,
    },
    /// A character outside the alphabet.
    #[error(
        "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    IllegalCharacter {
        /// The name as asked for.
        name: String,
    },
}

/// Names compare as their texts do, so a map by name can be asked with a text.
impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TopicName {
    /// The longest legal name, in characters. With `-` and a partition number it still fits a file name.
    pub const LENGTH_MAX: usize = 249;

    /// The name under which Kafka keeps the cluster metadata. No topic may have it: its first partition's directory is the journal's.
    pub const METADATA: &str = "__cluster_metadata";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(text: &str) -> Result<Self, TopicNameError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        match text {
            "" => Err(TopicNameError::Empty),
            "." | ".." => Err(TopicNameError::Dots),
            _ if text.len() > Self::LENGTH_MAX => Err(TopicNameError::TooLong {
                name: text.to_owned(),
            }),
            _ if !text.bytes().all(legal) => Err(TopicNameError::IllegalCharacter {
                name: text.to_owned(),
            }),
            _ => Ok(Self(Arc::from(text))),
        }
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A partition by the name of its topic: for people, directories and offsets of groups. Shown as `topic-0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: TopicName,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A partition by the id of its topic: the engine's key, which a deleted and remade topic does not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicIdPartition {
    /// The topic's id; never [`TopicId::ZERO`].
    pub topic_id: TopicId,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicIdPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_alphabet_are_refused() {
        assert!("topicMakeTest".parse::<TopicName>().is_ok());
        assert!("a.b_c-9".parse::<TopicName>().is_ok());
        assert_eq!("".parse::<TopicName>(), Err(TopicNameError::Empty));
        assert_eq!("..".parse::<TopicName>(), Err(TopicNameError::Dots));
        let long = "x".repeat(250);
        assert_eq!(
            long.parse::<TopicName>(),
            Err(TopicNameError::TooLong { name: long.clone() })
        );
        for name in ["a b", "a/b", "ä", "a\0"] {
            let refused = TopicNameError::IllegalCharacter {
                name: name.to_owned(),
            };
            assert_eq!(name.parse::<TopicName>(), Err(refused));
        }
    }
}
