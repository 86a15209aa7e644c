//! What can go wrong between an admin command and a broker, in the words of Kafka's clients.

use crate::properties::NotMillis;
use millrace_wire::{DecodeError, EncodeError, ErrorCode};

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// An entry of the bootstrap list is no address.
    #[error("Invalid url in bootstrap.servers: {entry}")]
    Server {
        /// What stood there.
        entry: String,
    },
    /// The bootstrap list is empty.
    #[error("No resolvable bootstrap urls given in bootstrap.servers")]
    NoServers,
    /// A property has a value it cannot have.
    #[error(transparent)]
    Property(#[from] NotMillis),
    /// The client speaks only plain text.
    #[error(
        "security.protocol={protocol} is not supported by the admin commands: they connect to PLAINTEXT listeners only"
    )]
    Protocol {
        /// What was asked for.
        protocol: String,
    },
    /// The cluster has no such broker, or not now.
    #[error("Broker {id} is not available.")]
    NoNode {
        /// Its number.
        id: i32,
    },
    /// No connection, or one that broke.
    #[error("Connection to {address} failed: {source}")]
    Connection {
        /// Where to.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody answered in time.
    #[error("Timed out waiting for a node assignment. Call: {}", call_name(call))]
    Timeout {
        /// Name of the API.
        call: &'static str,
    },
    /// The broker serves no version of the API that we know.
    #[error("The node does not support {api}")]
    Unsupported {
        /// Name of the API.
        api: &'static str,
    },
    /// The answer is not what it should be.
    #[error("Unreadable answer to {api}: {source}")]
    Decode {
        /// Name of the API.
        api: &'static str,
        /// What was wrong.
        source: DecodeError,
    },
    /// The question cannot be expressed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The broker refused.
    #[error("{message}")]
    Refused {
        /// The error of the answer.
        code: ErrorCode,
        /// The broker's own words, or Kafka's sentence for the error.
        message: String,
    },
}

impl AdminError {
    /// The error of an answer; `Ok` if it is none.
    pub(crate) fn check(code: ErrorCode, message: Option<&str>) -> Result<(), Self> {
        if code.is_error() {
            return Err(Self::refused(code, message));
        }
        Ok(())
    }

    /// The error of an answer.
    pub(crate) fn refused(code: ErrorCode, message: Option<&str>) -> Self {
        let message = message
            .filter(|text| !text.is_empty())
            .unwrap_or(code.message());
        Self::Refused {
            code,
            message: message.to_owned(),
        }
    }

    /// The class of the exception that Kafka's client would throw, and its message.
    pub(crate) fn as_exception(&self) -> String {
        match self {
            Self::Refused { code, message } => format!("{}: {message}", exception(*code)),
            Self::Timeout { .. } => {
                format!("org.apache.kafka.common.errors.TimeoutException: {self}")
            }
            Self::Unsupported { .. } => {
                format!("org.apache.kafka.common.errors.UnsupportedVersionException: {self}")
            }
            _ => self.to_string(),
        }
    }
}

/// The full name of the exception class for an error, as Kafka's tools print it.
pub(crate) fn exception(code: ErrorCode) -> String {
    let name = match code {
        ErrorCode::TopicAlreadyExists => "TopicExists".to_owned(),
        ErrorCode::NonEmptyGroup => "GroupNotEmpty".to_owned(),
        ErrorCode::InvalidTopicException => "InvalidTopic".to_owned(),
        ErrorCode::InvalidConfig => "InvalidConfiguration".to_owned(),
        ErrorCode::RequestTimedOut => "Timeout".to_owned(),
        ErrorCode::GroupSubscribedToTopic => "GroupSubscribedToTopic".to_owned(),
        ErrorCode::KafkaStorageError => "KafkaStorage".to_owned(),
        ErrorCode::UnknownServerError => "UnknownServer".to_owned(),
        ErrorCode::MessageTooLarge => "RecordTooLarge".to_owned(),
        ErrorCode::RecordListTooLarge => "RecordBatchTooLarge".to_owned(),
        ErrorCode::NetworkException => "Network".to_owned(),
        _ => camel(code.name()),
    };
    format!("org.apache.kafka.common.errors.{name}Exception")
}

/// `UNKNOWN_TOPIC_OR_PARTITION` as `UnknownTopicOrPartition`.
fn camel(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{first}{}", rest.to_ascii_lowercase())
    };
    name.split('_').map(word).collect()
}

/// What Kafka's admin client calls the request.
fn call_name(api: &str) -> String {
    if api == "Metadata" {
        return "listTopics".to_owned();
    }
    let (first, rest) = api.split_at(api.len().min(1));
    format!("{}{rest}", first.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_kafkas_exceptions() {
        let names = [
            (
                ErrorCode::UnknownTopicOrPartition,
                "UnknownTopicOrPartition",
            ),
            (ErrorCode::NonEmptyGroup, "GroupNotEmpty"),
            (ErrorCode::GroupIdNotFound, "GroupIdNotFound"),
            (ErrorCode::InvalidConfig, "InvalidConfiguration"),
        ];
        for (code, name) in names {
            assert_eq!(
                exception(code),
                format!("org.apache.kafka.common.errors.{name}Exception")
            );
        }
    }

    #[test]
    fn the_brokers_words_come_before_the_general_sentence() {
        let error = AdminError::refused(
            ErrorCode::TopicAlreadyExists,
            Some("Topic 'x' already exists."),
        );
        assert_eq!(error.to_string(), "Topic 'x' already exists.");
        let error = AdminError::refused(ErrorCode::TopicAlreadyExists, None);
        assert_eq!(error.to_string(), "Topic with this name already exists.");
    }

    #[test]
    fn a_timeout_names_the_call() {
        let error = AdminError::Timeout {
            call: "CreateTopics",
        };
        assert_eq!(
            error.to_string(),
            "Timed out waiting for a node assignment. Call: createTopics"
        );
    }
}
