//! Brings the parts of answers onto a socket, in order: memory by gathered writes, files by sendfile.
//!
//! A short piece of a file that is in the page cache is read and leaves with its neighbours in one write: a sendfile of its own
//! would cost four more system calls and another segment that wakes the client.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io::{ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{Buf, Bytes};
use millrace_engine::io::{LocalRing, Piece, SendFileError, TURN_BYTES, send_file};
use millrace_engine::log::Extent;
use smallvec::SmallVec;
use tokio::net::TcpStream;

use super::backlog::Backlog;
use super::closing::Closing;
use super::lately::Lately;
use super::pace::Pace;
use super::unread::Unread;
use crate::api::{Part, Parts};

/// How answers get to one client.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) ring: &'a LocalRing,
    pub(super) lately: &'a Lately,
    /// Where an answer is charged while the client does not take it.
    pub(super) unread: &'a Unread,
    /// What the connection may do before others get the core.
    pub(super) pace: &'a Pace,
    /// What waits behind.
    pub(super) backlog: Backlog<'a>,
}

/// Sends `parts`, and leaves none. Returns when the socket's buffer has taken all of them.
///
/// # Errors
/// The client is gone, or takes nothing for as long as the patience, or while others need the memory; or a file could not be read.
pub(super) async fn send(sender: Sender<'_>, parts: &mut Parts) -> Result<(), Closing> {
    let memory_bytes = memory_bytes(parts);
    let mut run = Run {
        pieces: VecDeque::with_capacity(parts.len().min(SLICES_ON_STACK)),
        length: 0,
    };
    for part in parts.drain(..) {
        let extent = match part {
            Part::Bytes(bytes) => {
                run.push(bytes);
                continue;
            }
            Part::Room(room) => {
                run.send(&sender, memory_bytes).await?;
                drop(room);
                continue;
            }
            Part::Extent(extent) => extent,
        };
        if extent.length <= GATHERED_BYTES_MAX
            && let Some(bytes) = sender
                .lately
                .read(&extent.file, extent.position, extent.length)
        {
            run.push(bytes);
            if run.length >= RUN_BYTES_MAX {
                run.send(&sender, memory_bytes).await?;
            }
            continue;
        }
        run.send(&sender, memory_bytes).await?;
        Box::pin(sender.send_extent(&extent, memory_bytes)).await?;
    }
    run.send(&sender, memory_bytes).await
}

/// What the parts keep in memory; all of it until the last has left, for they may be slices of one buffer.
pub(super) fn memory_bytes(parts: &Parts) -> usize {
    let bytes = parts.iter().map(|part| match part {
        Part::Bytes(bytes) => bytes.len(),
        Part::Extent(_) | Part::Room(_) => 0,
    });
    bytes.sum()
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

    /// Sends all of it, as a part of an answer with so many bytes in memory.
    async fn send(&mut self, sender: &Sender<'_>, memory_bytes: usize) -> Result<(), Closing> {
        while self.length > 0 {
            sender.pace.rest_if_due().await;
            let sent = {
                let pieces = self.pieces.iter().take(SLICES_MAX);
                let slices: SmallVec<[_; SLICES_ON_STACK]> =
                    pieces.map(|bytes| IoSlice::new(bytes)).collect();
                sender.stream.try_write_vectored(&slices)
            };
            match sent {
                Ok(0) => return Err(Closing::Socket(ErrorKind::WriteZero.into())),
                Ok(sent) => {
                    sender.pace.add(sent);
                    self.advance(sent);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // What was read of files comes on top.
                    let held_bytes = memory_bytes.max(self.length);
                    // Boxed, because every quiet connection keeps room for its largest state.
                    Box::pin(sender.in_time(held_bytes, sender.stream.writable())).await??;
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

impl Sender<'_> {
    async fn send_extent(&self, extent: &Extent, memory_bytes: usize) -> Result<(), Closing> {
        let mut sent = 0;
        // In steps, so that a slow reader of much is told from one that does not read.
        while sent < extent.length {
            self.pace.rest_if_due().await;
            let step = STEP_BYTES.min(extent.length - sent);
            let piece = Piece {
                file: &extent.file,
                position: extent.position.saturating_add(sent),
                length: step,
                more: extent.length - sent - step,
            };
            let sending = send_file(self.stream, self.ring, piece);
            match self.in_time(memory_bytes, sending).await? {
                Ok(()) => {
                    self.pace.add(usize::try_from(step).unwrap_or(usize::MAX));
                    sent += step;
                }
                Err(SendFileError::Socket(error)) => return Err(error.into()),
                Err(error) => return Err(Closing::File(error.to_string())),
            }
        }
        Ok(())
    }

    /// Waits for `progress` while the rest of the answer keeps `held_bytes`.
    async fn in_time<T>(
        &self,
        held_bytes: usize,
        progress: impl Future<Output = T>,
    ) -> Result<T, Closing> {
        let mut progress = pin!(progress);
        if let Poll::Ready(done) = poll_once(progress.as_mut()).await {
            return Ok(done);
        }
        let held = (held_bytes >= CHARGED_BYTES_MIN).then(|| self.unread.hold(held_bytes));
        let given_up = async {
            match &held {
                Some(held) => held.given_up().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            done = progress => Ok(done),
            () = given_up => Err(Closing::Unread { bytes: held_bytes }),
            () = self.backlog.patience() => Err(Closing::SlowReader),
        }
    }
}

/// What comes of one look at a future.
pub(super) async fn poll_once<T>(
    mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
) -> Poll<T> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Extents up to this long are read into memory: copying them costs less than the calls of a sendfile.
const GATHERED_BYTES_MAX: u64 = 32 << 10;
/// A run with this much is sent before more is read: what a connection may keep in memory of what it is being sent.
const RUN_BYTES_MAX: usize = 256 << 10;
/// How much of a file has to be read within the patience; and so as not to be taken for one that does not read when others wait
/// for the memory of its answer: at 5 s for that, some 50 kB per second.
const STEP_BYTES: u64 = TURN_BYTES;
/// What is not worth an entry in the account: so much has the head of a fetch's answer, whose records are in files.
const CHARGED_BYTES_MIN: usize = 1_024;
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
