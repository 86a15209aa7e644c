//! Bytes from a file to a socket without passing through us.
//!
//! In fair turns, never waiting for the device: what is not in memory is first read ahead on the ring. It knows
//! nothing of what the bytes are.

use std::io;
use std::os::fd::AsFd;

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::sendfile::sendfile;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::action::Action;
use super::error::IoError;
use super::file::{File, signed};
use super::local_ring::LocalRing;
use super::nowait;

/// Why an extent could not be sent whole. What was sent until then stays sent.
#[derive(Debug, thiserror::Error)]
pub enum SendFileError {
    /// The other side is gone or the network failed.
    #[error("sending to the socket: {0}")]
    Socket(#[source] io::Error),
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] IoError),
    /// The file ends within the extent.
    #[error("{} ends at {end}, before the extent's end at {expected}", path.display())]
    Truncated {
        /// The file.
        path: std::path::PathBuf,
        /// Where it ended.
        end: u64,
        /// Where the extent was to end, exclusive.
        expected: u64,
    },
}

/// A part of a file that is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The file.
    pub file: &'a File,
    /// Where the part begins.
    pub position: u64,
    /// Its length in bytes.
    pub length: u64,
    /// How many bytes behind it will be sent next: if it has to be brought into memory, some of them come along.
    pub more: u64,
}

/// Sends `piece`. Returns when the socket's buffer has taken all of it. Other
/// tasks of the thread run between turns of [`TURN_BYTES`]; a reader that does not read keeps only this call waiting.
///
/// When the future is dropped the peer has received an unknown part.
pub async fn send_file(
    socket: &TcpStream,
    ring: &LocalRing,
    piece: Piece<'_>,
) -> Result<(), SendFileError> {
    let Piece {
        file,
        position,
        length,
        more,
    } = piece;
    let end = position.saturating_add(length);
    let mut at = position;
    // Everything below has been read ahead once; should memory be so short that it is gone again, waiting for the
    // device in sendfile is better than reading it for ever.
    let mut read_ahead = position;
    while at < end {
        socket.writable().await.map_err(SendFileError::Socket)?;
        let turn = TURN_BYTES.min(end - at);
        if at.saturating_add(turn) > read_ahead && !nowait::is_resident(file, at, turn) {
            let window = READ_AHEAD_BYTES.min(end.saturating_add(more) - at);
            ring.perform(Action::ReadAhead {
                file: file.clone(),
                position: at,
                length: window,
            })
            .await?;
            read_ahead = at.saturating_add(window);
        }
        match socket.try_io(Interest::WRITABLE, || send_once(socket, file, at, turn)) {
            Ok(0) => {
                let path = file.path().to_path_buf();
                return Err(SendFileError::Truncated {
                    path,
                    end: at,
                    expected: end,
                });
            }
            Ok(sent) => at = at.saturating_add(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(blamed(error, file)),
        }
        if at < end {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// The bytes of a range, if all of them are in memory. No more than `length` is allocated.
#[must_use]
pub fn read_resident(file: &File, position: u64, length: u64) -> Option<Bytes> {
    nowait::read_new(file, position, usize::try_from(length).ok()?).map(Bytes::from)
}

fn send_once(socket: &TcpStream, file: &File, position: u64, length: u64) -> io::Result<u64> {
    let descriptor = file.descriptor().ok_or(io::ErrorKind::Unsupported)?;
    let mut offset = signed(position)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    loop {
        match sendfile(socket.as_fd(), descriptor, Some(&mut offset), length) {
            Err(Errno::EINTR) => {}
            result => return Ok(result? as u64),
        }
    }
}

/// sendfile has one errno for two ends. A socket fails with the network's errors; these are the file's.
fn blamed(error: io::Error, file: &File) -> SendFileError {
    let error = IoError::new("sendfile", file.path(), error);
    let of_file = error.is_device_fault()
        || matches!(
            error.source.raw_os_error().map(Errno::from_raw),
            None | Some(Errno::EINVAL | Errno::EOVERFLOW | Errno::EBADF)
        );
    if of_file {
        SendFileError::File(error)
    } else {
        SendFileError::Socket(error.source)
    }
}

/// The most one connection sends before others get the core; a turn of 1 MiB measured no better.
pub const TURN_BYTES: u64 = 256 << 10;

/// How much of a cold extent is fetched at a time: large enough to keep a device busy, small enough that what was
/// fetched is sent before it is evicted.
const READ_AHEAD_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
