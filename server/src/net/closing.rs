//! Why a connection ends. One place decides which endings are worth a line in the log.

use std::io;

/// The reason a connection is closed before the client asked for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closing {
    /// Nothing was sent for `connections.max.idle.ms`.
    #[error("nothing was sent for connections.max.idle.ms")]
    Idle,
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
    /// A request that cannot be answered: unknown key or version, a body that does not decode, an error at acks=0.
    #[error("{0}")]
    Refused(String),
    /// The socket failed; most often the client went away.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
}

impl Closing {
    /// Whether an operator should hear of it: the client is at fault, or is being cut off.
    pub(crate) const fn is_remarkable(&self) -> bool {
        match self {
            Self::Truncated { .. }
            | Self::FrameLength { .. }
            | Self::SlowRequest { .. }
            | Self::SlowReader
            | Self::Refused(_) => true,
            Self::Idle | Self::Socket(_) | Self::Stopping => false,
        }
    }
}
