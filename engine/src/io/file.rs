//! One open file and its blocking operations, on the machine's disk or on the simulated one.
//!
//! Reads and writes name their position, so clones on several threads do not disturb each other. What the bytes mean
//! and when they have to be durable is the caller's business.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::uio::pwritev;

use super::error::IoError;
use super::sim::{Check, SimFile};

/// An open file. The descriptor lives until the last clone is gone, so an unlinked file stays readable; two clones
/// are equal, two openings of one path are not. Every operation blocks its thread.
#[derive(Clone)]
pub struct File {
    inner: Arc<Inner>,
}

/// Tells open files of this process apart: clones have the same, and none that was ever open has it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(u64);

struct Inner {
    id: FileId,
    path: PathBuf,
    body: Body,
    /// Cleared by the first refusal: ext4 answers EOPNOTSUPP to every buffered write that must not wait.
    takes_nowait_writes: AtomicBool,
}

enum Body {
    Real(fs::File),
    Sim(SimFile),
}

impl File {
    pub(super) fn real(path: &Path, file: fs::File) -> Self {
        Self::with_body(path, Body::Real(file))
    }

    pub(super) fn sim(path: &Path, file: SimFile) -> Self {
        Self::with_body(path, Body::Sim(file))
    }

    fn with_body(path: &Path, body: Body) -> Self {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let takes_nowait_writes = AtomicBool::new(true);
        Self {
            inner: Arc::new(Inner {
                id: FileId(OPENED.fetch_add(1, Ordering::Relaxed)),
                path: path.to_path_buf(),
                body,
                takes_nowait_writes,
            }),
        }
    }

    /// The path the file was opened by; a later rename does not change it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Which open file this is.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.inner.id
    }

    /// Whether readers of this file have to make the check: always, but in a simulation that leaves it out.
    pub(crate) fn asks_for(&self, check: Check) -> bool {
        match &self.inner.body {
            Body::Sim(file) => file.asks_for(check),
            Body::Real(_) => true,
        }
    }

    /// Length in bytes now.
    pub fn length(&self) -> Result<u64, IoError> {
        match &self.inner.body {
            Body::Sim(file) => file.length().map_err(self.refused("stat")),
            Body::Real(file) => file
                .metadata()
                .map(|metadata| metadata.len())
                .map_err(self.failed("stat")),
        }
    }

    /// Reads at `position` into `buffer` and says how many bytes arrived: fewer at the end of the file or when
    /// the kernel pleases, 0 only at the end (or for an empty buffer).
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        match &self.inner.body {
            Body::Sim(file) => file.read_at(position, buffer).map_err(self.refused("read")),
            Body::Real(file) => {
                retried(|| file.read_at(buffer, position)).map_err(self.failed("read"))
            }
        }
    }

    /// Fills `buffer` from `position` on, or as far as the file goes; says how many bytes that were.
    pub fn read_full_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(position.saturating_add(filled as u64), rest)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// Fills `buffer` from `position` on; a file that ends earlier is an error of kind `UnexpectedEof`.
    pub fn read_exact_at(&self, position: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        let filled = self.read_full_at(position, buffer)?;
        if filled < buffer.len() {
            return Err(IoError::new(
                "read",
                self.path(),
                io::ErrorKind::UnexpectedEof,
            ));
        }
        Ok(())
    }

    /// Writes all of `bytes` at `position`, into the page cache. After an error any part of it may have been written.
    pub fn write_all_at(&self, position: u64, bytes: &[u8]) -> Result<(), IoError> {
        match &self.inner.body {
            Body::Sim(file) => file
                .write_all_at(position, bytes)
                .map_err(self.refused("write")),
            Body::Real(file) => file
                .write_all_at(bytes, position)
                .map_err(self.failed("write")),
        }
    }

    /// Writes all `buffers` one after the other from `position` on; says how many bytes that were. After an error any
    /// part may have been written.
    pub fn write_buffers_at(&self, position: u64, buffers: &[Bytes]) -> Result<u64, IoError> {
        self.write_rest_at(position, buffers, 0)
    }

    /// The same when the first `done` bytes of `buffers` stand already; the count includes them.
    pub(super) fn write_rest_at(
        &self,
        position: u64,
        buffers: &[Bytes],
        done: u64,
    ) -> Result<u64, IoError> {
        match &self.inner.body {
            Body::Sim(file) => file
                .write_at(position, buffers, done)
                .map_err(self.refused("write")),
            Body::Real(file) => {
                write_vectored(file, position, buffers, done).map_err(self.failed("write"))
            }
        }
    }

    /// Makes the bytes, and the length they need, durable (fdatasync). After an error the page cache proves nothing:
    /// the kernel may have dropped the very bytes it failed to write, and the next call may succeed without them.
    pub fn sync_data(&self) -> Result<(), IoError> {
        match &self.inner.body {
            Body::Sim(file) => file.sync().map_err(self.refused("fdatasync")),
            Body::Real(file) => retried(|| file.sync_data()).map_err(self.failed("fdatasync")),
        }
    }

    /// Makes bytes and all metadata durable (fsync). The file's name is durable only with its directory:
    /// [`Disk::sync_dir`](super::Disk::sync_dir).
    pub fn sync_all(&self) -> Result<(), IoError> {
        match &self.inner.body {
            Body::Sim(file) => file.sync().map_err(self.refused("fsync")),
            Body::Real(file) => retried(|| file.sync_all()).map_err(self.failed("fsync")),
        }
    }

    /// Cuts the file to `length` bytes, or extends it with zeros.
    pub fn truncate(&self, length: u64) -> Result<(), IoError> {
        match &self.inner.body {
            Body::Sim(file) => file.truncate(length).map_err(self.refused("truncate")),
            Body::Real(file) => retried(|| file.set_len(length)).map_err(self.failed("truncate")),
        }
    }

    /// Reserves blocks for `length` bytes at `position` without changing the file's length. A file system that cannot
    /// is no error: the reservation only saves time later.
    pub fn preallocate(&self, position: u64, length: u64) -> Result<(), IoError> {
        if length == 0 {
            return Ok(());
        }
        match &self.inner.body {
            Body::Sim(file) => file
                .preallocate(position, length)
                .map_err(self.refused("fallocate")),
            Body::Real(file) => reserve(file, position, length).map_err(self.failed("fallocate")),
        }
    }

    /// How many changes of a simulated file there were.
    pub(super) fn simulated_changes(&self) -> u64 {
        match &self.inner.body {
            Body::Sim(file) => file.changes(),
            Body::Real(_) => 0,
        }
    }

    /// [`File::sync_data`] of a simulated file, asked for behind so many changes; does nothing to a real one.
    pub(super) fn sync_simulated(&self, changes: u64) -> Result<(), IoError> {
        match &self.inner.body {
            Body::Sim(file) => file.sync_up_to(changes).map_err(self.refused("fdatasync")),
            Body::Real(_) => Ok(()),
        }
    }

    /// [`File::reread`] of a simulated file; does nothing to a real one.
    pub(super) fn reread_simulated(&self, from: u64, to: u64) -> Result<(), IoError> {
        match &self.inner.body {
            Body::Sim(file) => file.reread(from, to).map_err(self.refused("read")),
            Body::Real(_) => Ok(()),
        }
    }

    /// The descriptor, open for as long as the borrow; `None` for a simulated file, which has none.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.inner.body {
            Body::Sim(_) => None,
            Body::Real(file) => Some(file.as_fd()),
        }
    }

    /// Whether a write that must not wait is worth trying here.
    pub(super) fn takes_nowait_writes(&self) -> bool {
        self.inner.takes_nowait_writes.load(Ordering::Relaxed)
    }

    pub(super) fn refuses_nowait_writes(&self) {
        self.inner
            .takes_nowait_writes
            .store(false, Ordering::Relaxed);
    }

    fn refused(&self, operation: &'static str) -> impl FnOnce(Errno) -> IoError + '_ {
        move |errno| IoError::new(operation, self.path(), errno)
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> IoError + '_ {
        move |source| IoError::new(operation, self.path(), source)
    }
}

impl PartialEq for File {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for File {}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.inner.path).finish()
    }
}

/// The most buffers one vectored call takes on Linux (UIO_MAXIOV).
pub(super) const BUFFERS_PER_CALL_MAX: usize = 1024;

/// The part of `buffers` that lies behind their first `done` bytes, as far as one call takes it. Empty buffers are
/// left out.
pub(super) fn slices_after(buffers: &[Bytes], done: u64) -> Vec<IoSlice<'_>> {
    let mut skip = usize::try_from(done).unwrap_or(usize::MAX);
    let mut slices = Vec::with_capacity(buffers.len().min(BUFFERS_PER_CALL_MAX));
    for buffer in buffers {
        if slices.len() == BUFFERS_PER_CALL_MAX {
            break;
        }
        match buffer.get(skip..) {
            Some(rest) => {
                skip = 0;
                if !rest.is_empty() {
                    slices.push(IoSlice::new(rest));
                }
            }
            None => skip -= buffer.len(),
        }
    }
    slices
}

/// Sum of the lengths.
pub(super) fn bytes_in(buffers: &[Bytes]) -> u64 {
    buffers.iter().map(|buffer| buffer.len() as u64).sum()
}

fn write_vectored(
    file: &fs::File,
    position: u64,
    buffers: &[Bytes],
    mut done: u64,
) -> io::Result<u64> {
    let length = bytes_in(buffers);
    while done < length {
        let offset = signed(position.saturating_add(done))?;
        match pwritev(file, &slices_after(buffers, done), offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count as u64,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done)
}

fn reserve(file: &fs::File, position: u64, length: u64) -> io::Result<()> {
    let (position, length) = (signed(position)?, signed(length)?);
    loop {
        return match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, position, length) {
            Err(Errno::EINTR) => continue,
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            // XFS wants room for all of it, also where the file has its blocks already. Ours have no holes.
            Err(Errno::ENOSPC) if has_blocks_to(file, position.saturating_add(length))? => Ok(()),
            Err(errno) => Err(errno.into()),
        };
    }
}

fn has_blocks_to(file: &fs::File, end: i64) -> io::Result<bool> {
    let allocated = file.metadata()?.blocks().saturating_mul(BLOCK_BYTES);
    Ok(allocated >= end.unsigned_abs())
}

/// What stat(2) counts blocks in, whatever the file system's are.
const BLOCK_BYTES: u64 = 512;

/// A position as the kernel wants it; past 2^63 there is no file.
pub(super) fn signed(position: u64) -> io::Result<i64> {
    i64::try_from(position).map_err(|_| io::Error::from(Errno::EOVERFLOW))
}

/// Asks again for as long as a signal interrupts.
fn retried<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
