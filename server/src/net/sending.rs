//! Brings the parts of answers onto a socket, in order: memory by gathered writes, files by sendfile.
//!
//! A short piece of a file that is in the page cache is read and leaves with its neighbours in one write: a sendfile of its own
//! would cost four more system calls and another segment that wakes the client.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use millrace_engine::io::{LocalRing, SendFileError, send_file};
use millrace_engine::log::Extent;
use smallvec::SmallVec;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::closing::Closing;
use super::lately::Lately;
use crate::api::Part;

/// Sends `parts`. Returns when the socket's buffer has taken all of them.
///
/// # Errors
/// The client is gone, or takes nothing for as long as `patience`; or a file could not be read.
pub(super) async fn send(
    stream: &TcpStream,
    ring: &LocalRing,
    lately: &Lately,
    parts: impl Iterator<Item = Part>,
    patience: Duration,
) -> Result<(), Closing> {
    let mut run = Run::default();
    for part in parts {
        let extent = match part {
            Part::Bytes(bytes) => {
                run.push(bytes);
                continue;
            }
            Part::Extent(extent) => extent,
        };
        if extent.length <= GATHERED_BYTES_MAX
            && let Some(bytes) = lately.read(&extent.file, extent.position, extent.length)
        {
            run.push(bytes);
            if run.length >= RUN_BYTES_MAX {
                run.send(stream, patience).await?;
            }
            continue;
        }
        run.send(stream, patience).await?;
        send_extent(stream, ring, &extent, patience).await?;
    }
    run.send(stream, patience).await
}

/// Bytes in memory that leave together.
#[derive(Debug, Default)]
struct Run {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Run {
    fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Sends all of it.
    async fn send(&mut self, stream: &TcpStream, patience: Duration) -> Result<(), Closing> {
        while self.length > 0 {
            let sent = {
                let pieces = self.pieces.iter().take(SLICES_MAX);
                let slices: SmallVec<[_; SLICES_ON_STACK]> =
                    pieces.map(|bytes| IoSlice::new(bytes)).collect();
                stream.try_write_vectored(&slices)
            };
            match sent {
                Ok(0) => return Err(Closing::Socket(ErrorKind::WriteZero.into())),
                Ok(sent) => self.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match timeout(patience, stream.writable()).await {
                        Ok(ready) => ready?,
                        Err(_) => return Err(Closing::SlowReader),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.pieces.clear();
        Ok(())
    }

    /// Forgets the first `sent` bytes.
    fn advance(&mut self, mut sent: usize) {
        self.length = self.length.saturating_sub(sent);
        while let Some(front) = self.pieces.front_mut() {
            if sent < front.len() {
                front.advance(sent);
                return;
            }
            sent -= front.len();
            self.pieces.pop_front();
        }
    }
}

async fn send_extent(
    stream: &TcpStream,
    ring: &LocalRing,
    extent: &Extent,
    patience: Duration,
) -> Result<(), Closing> {
    let mut sent = 0;
    // In steps, so that a slow reader of much is told from one that does not read.
    while sent < extent.length {
        let step = STEP_BYTES.min(extent.length - sent);
        let position = extent.position.saturating_add(sent);
        let sending = send_file(stream, ring, &extent.file, position, step);
        match timeout(patience, sending).await {
            Ok(Ok(())) => sent += step,
            Ok(Err(SendFileError::Socket(error))) => return Err(error.into()),
            Ok(Err(error)) => return Err(Closing::File(error.to_string())),
            Err(_) => return Err(Closing::SlowReader),
        }
    }
    Ok(())
}

/// Extents up to this long are read into memory: copying them costs less than the calls of a sendfile.
const GATHERED_BYTES_MAX: u64 = 32 << 10;
/// A run with this much is sent before more is read: what a connection may keep in memory of what it is being sent.
const RUN_BYTES_MAX: usize = 256 << 10;
/// How much has to be read within the patience.
const STEP_BYTES: u64 = 1 << 20;
/// Slices of one vectored write.
const SLICES_MAX: usize = 64;
const SLICES_ON_STACK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_leaves_the_run() {
        let mut run = Run::default();
        for text in ["abc", "de", "f"] {
            run.push(Bytes::from_static(text.as_bytes()));
        }
        run.advance(4);
        assert_eq!((run.pieces.len(), run.length), (2, 2));
        assert_eq!(run.pieces[0], "e");
        run.advance(2);
        assert_eq!((run.pieces.len(), run.length), (0, 0));
    }
}
