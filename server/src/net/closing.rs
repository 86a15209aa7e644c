//! Why a connection ends. One place decides which endings are worth a line in the log.

use std::fmt;
use std::io;

use millrace_engine::shard::Stopped;
use millrace_wire::api_name;

/// The reason a connection is closed before the client asked for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closing {
    /// Nothing was sent for `connections.max.idle.ms`.
    #[error("nothing was sent for connections.max.idle.ms")]
    Idle,
    /// There were too many connections, and this one was used least lately.
    #[error("there are more than max.connections, and this one was used least lately")]
    Excess,
    /// The client left in the middle of a frame.
    #[error("the connection ended inside a request, after {arrived} of its bytes")]
    Truncated {
        /// Bytes of the frame that had arrived.
        arrived: usize,
    },
    /// A frame's length prefix is negative or beyond `socket.request.max.bytes`.
    #[error("a request claims {claimed} bytes, socket.request.max.bytes allows {max}")]
    FrameLength {
        /// What the prefix says.
        claimed: i32,
        /// The most it may say.
        max: usize,
    },
    /// A frame took too long to arrive.
    #[error("a request of {length} bytes did not arrive in time")]
    SlowRequest {
        /// Bytes it was to have.
        length: usize,
    },
    /// The client does not read what it asked for.
    #[error("an answer was not read in time")]
    SlowReader,
    /// The client does not read what it asked for, and others need the memory.
    #[error("{bytes} bytes of an answer were not read while others needed the memory")]
    Unread {
        /// What the answer kept in memory.
        bytes: usize,
    },
    /// A frame too short for a request's header, or with one that is no header.
    #[error("a frame is no request: {0}")]
    NoRequest(String),
    /// A request that gets no answer.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The socket failed; most often the client went away.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// What was to be sent could not be read from its file; the answer is cut off.
    #[error("an answer was cut off: {0}")]
    File(String),
    /// The broker is stopping.
    #[error(transparent)]
    Stopping(#[from] Stopped),
}

impl Closing {
    /// Whether what came is no request at all, which no client of Kafka sends.
    pub(crate) const fn is_of_no_client(&self) -> bool {
        matches!(self, Self::FrameLength { .. } | Self::NoRequest(_))
    }

    /// Whether an operator should hear of it: the client is at fault, or is being cut off.
    pub(crate) const fn is_remarkable(&self) -> bool {
        match self {
            Self::Truncated { .. }
            | Self::FrameLength { .. }
            | Self::SlowRequest { .. }
            | Self::SlowReader
            | Self::Unread { .. }
            | Self::NoRequest(_)
            | Self::Refused(_)
            | Self::File(_) => true,
            Self::Idle | Self::Excess | Self::Socket(_) | Self::Stopping(_) => false,
        }
    }
}

/// A request that gets no answer: unknown key or version, a body that does not decode, an error at acks=0.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Refusal {
    /// The request's API, any number.
    pub(crate) api_key: i16,
    /// The request's version, any number.
    pub(crate) api_version: i16,
    /// What the client calls itself.
    pub(crate) client_id: Option<String>,
    /// Why.
    pub(crate) reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match api_name(self.api_key) {
            Some(name) => write!(f, "{name} {} refused: ", self.api_version)?,
            None => write!(
                f,
                "API {} version {} refused: ",
                self.api_key, self.api_version
            )?,
        }
        f.write_str(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_api_its_version_and_the_reason() {
        let refusal = |api_key| Refusal {
            api_key,
            api_version: 2,
            client_id: None,
            reason: "because".to_owned(),
        };
        assert_eq!(refusal(0).to_string(), "Produce 2 refused: because");
        assert_eq!(
            refusal(999).to_string(),
            "API 999 version 2 refused: because"
        );
    }
}
