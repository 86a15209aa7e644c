//! What a shard asks of its ring and what it hears back.
//!
//! A task is an action under way: how far it is, and how to finish it by blocking. It does not know who runs it.

use std::io;

use bytes::Bytes;

use super::clock::Clock;
use super::error::IoError;
use super::file::{File, bytes_in};
use super::large_writes::LargeWrites;
use super::nowait;

/// The asker's name for one action; comes back with its completion. The upper half of the numbers belongs to
/// [`LocalRing::perform`](super::LocalRing::perform).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One operation on a file. Actions in flight together have no order, not even on one file.
#[derive(Clone, Debug)]
pub enum Action {
    /// Writes all buffers, one after the other, into the page cache. Durable after a later [`Action::Sync`].
    Write {
        /// The file, open for writing.
        file: File,
        /// Where the first byte goes.
        position: u64,
        /// What goes there; shared, not copied.
        buffers: Vec<Bytes>,
    },
    /// Makes everything whose write has completed durable, with the length it needs (fdatasync).
    Sync {
        /// The file.
        file: File,
    },
    /// Reads up to `length` bytes; fewer only where the file ends.
    Read {
        /// The file, open for reading.
        file: File,
        /// Where the first byte is.
        position: u64,
        /// Bytes wanted. No more than the file has is allocated.
        length: u32,
    },
    /// Brings a range into the page cache; completes when it is there or the file has ended.
    ReadAhead {
        /// The file, open for reading.
        file: File,
        /// Where the range begins.
        position: u64,
        /// Bytes in it.
        length: u64,
    },
}

impl Action {
    /// The file it is about.
    pub(super) const fn file(&self) -> &File {
        match self {
            Self::Write { file, .. }
            | Self::Sync { file }
            | Self::Read { file, .. }
            | Self::ReadAhead { file, .. } => file,
        }
    }
}

/// What a completed action achieved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All `length` bytes of the buffers are in the page cache.
    Written {
        /// Bytes written.
        length: u64,
    },
    /// The file is durable.
    Synced,
    /// The bytes read: as many as asked for, or as the file had.
    Read(Bytes),
    /// The range was brought into memory.
    ReadAhead,
}

/// Does `action` on the calling thread, without a ring, where it needs no waiting for the device: what a ring would do when the
/// action is submitted. For a write to the page cache see [`Action::Write`]; a sync always needs a ring.
///
/// # Errors
/// The action, which has to be submitted to a ring. Submitted there it does again what was done here.
pub fn perform_at_once(action: Action) -> Result<Result<Outcome, IoError>, Action> {
    // A simulated file has its own ring only.
    if action.file().descriptor().is_none() {
        return Err(action);
    }
    let mut task = match Task::of(action) {
        Ok(task) => task,
        Err(error) => return Ok(Err(error)),
    };
    task.begin().ok_or_else(|| task.into_action())
}

/// The end of one action.
#[derive(Debug)]
pub struct Completion {
    /// Whose action it was.
    pub ticket: Ticket,
    /// What came of it. After a failed write any part of it may stand in the file.
    pub result: Result<Outcome, IoError>,
}

/// An action under way. Owns its buffers, so whoever owns the task keeps them alive.
#[derive(Debug)]
pub(super) enum Task {
    Write {
        file: File,
        position: u64,
        buffers: Vec<Bytes>,
        length: u64,
        done: u64,
    },
    Sync {
        file: File,
    },
    Read {
        file: File,
        position: u64,
        buffer: Vec<u8>,
        done: usize,
    },
    ReadAhead {
        file: File,
        position: u64,
        length: u64,
        done: u64,
    },
}

/// A task and whose it is.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) task: Task,
}

impl Job {
    /// Whether it does no more than bring a range into the page cache.
    pub(super) const fn reads_ahead(&self) -> bool {
        matches!(self.task, Task::ReadAhead { .. })
    }
}

impl Task {
    /// The action before its first byte; a read looks how much there is to read, so as to allocate no more.
    pub(super) fn of(action: Action) -> Result<Self, IoError> {
        Ok(match action {
            Action::Write {
                file,
                position,
                buffers,
            } => {
                let length = bytes_in(&buffers);
                Self::Write {
                    file,
                    position,
                    buffers,
                    length,
                    done: 0,
                }
            }
            Action::Sync { file } => Self::Sync { file },
            Action::Read {
                file,
                position,
                length,
            } => {
                let there = file
                    .length()?
                    .saturating_sub(position)
                    .min(u64::from(length));
                let buffer = vec![0; usize::try_from(there).unwrap_or(0)];
                Self::Read {
                    file,
                    position,
                    buffer,
                    done: 0,
                }
            }
            Action::ReadAhead {
                file,
                position,
                length,
            } => Self::ReadAhead {
                file,
                position,
                length,
                done: 0,
            },
        })
    }

    /// The action anew, from its first byte.
    fn into_action(self) -> Action {
        match self {
            Self::Write {
                file,
                position,
                buffers,
                ..
            } => Action::Write {
                file,
                position,
                buffers,
            },
            Self::Sync { file } => Action::Sync { file },
            Self::Read {
                file,
                position,
                buffer,
                ..
            } => Action::Read {
                file,
                position,
                length: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
            },
            Self::ReadAhead {
                file,
                position,
                length,
                ..
            } => Action::ReadAhead {
                file,
                position,
                length,
            },
        }
    }

    pub(super) fn file(&self) -> &File {
        match self {
            Self::Write { file, .. }
            | Self::Sync { file }
            | Self::Read { file, .. }
            | Self::ReadAhead { file, .. } => file,
        }
    }

    /// The verb for errors.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Write { .. } => "write",
            Self::Sync { .. } => "fdatasync",
            Self::Read { .. } => "read",
            Self::ReadAhead { .. } => "read ahead",
        }
    }

    pub(super) fn failed(&self, source: impl Into<io::Error>) -> IoError {
        IoError::new(self.operation(), self.file().path(), source)
    }

    /// Does what can be done at once on this thread; the outcome if that was all.
    ///
    /// The one place that decides between inline and elsewhere. A sync always goes elsewhere. A read is first tried
    /// without waiting. A write is tried without waiting where the file system can promise that (XFS, btrfs), else done
    /// outright: where it cannot (ext4) the ring would only hand it to a kernel worker, at three times the cost for a small
    /// one, and the worker would wait for the same locks. Large ones have their own rule, [`LargeWrites`].
    pub(super) fn begin(&mut self) -> Option<Result<Outcome, IoError>> {
        match self {
            Self::Sync { .. } => None,
            Self::Write { length, .. } if *length >= LARGE_WRITE_BYTES => {
                let (length, clock) = (*length, Clock::real());
                let began = clock.now().monotonic;
                if !LARGE_WRITES.stays_here(length, began) {
                    return None;
                }
                let written = self.begin_write();
                LARGE_WRITES.took(began, clock.now().monotonic);
                written
            }
            Self::Write { .. } => self.begin_write(),
            Self::Read {
                file,
                position,
                buffer,
                done,
            } => {
                *done += nowait::read(file, *position, buffer);
                (*done == buffer.len()).then(|| Ok(read_outcome(buffer, *done)))
            }
            Self::ReadAhead {
                file,
                position,
                length,
                ..
            } => nowait::is_resident(file, *position, *length).then_some(Ok(Outcome::ReadAhead)),
        }
    }

    fn begin_write(&mut self) -> Option<Result<Outcome, IoError>> {
        let Self::Write {
            file,
            position,
            buffers,
            length,
            done,
        } = self
        else {
            return None;
        };
        if file.takes_nowait_writes() {
            *done += nowait::write(file, *position, buffers);
        }
        if done < length && file.takes_nowait_writes() {
            return None;
        }
        let written = file.write_rest_at(*position, buffers, *done);
        Some(written.map(|length| Outcome::Written { length }))
    }

    /// Does the rest, blocking this thread.
    pub(super) fn finish(mut self) -> Result<Outcome, IoError> {
        match &mut self {
            Self::Write {
                file,
                position,
                buffers,
                done,
                ..
            } => {
                let length = file.write_rest_at(*position, buffers, *done)?;
                Ok(Outcome::Written { length })
            }
            Self::Sync { file } => file.sync_data().map(|()| Outcome::Synced),
            Self::Read {
                file,
                position,
                buffer,
                done,
            } => {
                let rest = buffer.get_mut(*done..).unwrap_or_default();
                let count = file.read_full_at(position.saturating_add(*done as u64), rest)?;
                Ok(read_outcome(buffer, *done + count))
            }
            Self::ReadAhead {
                file,
                position,
                length,
                ..
            } => read_ahead(file, *position, *length).map(|()| Outcome::ReadAhead),
        }
    }
}

/// The first `length` bytes of `buffer`, which is taken, not copied.
pub(super) fn read_outcome(buffer: &mut Vec<u8>, length: usize) -> Outcome {
    let mut bytes = std::mem::take(buffer);
    bytes.truncate(length);
    Outcome::Read(Bytes::from(bytes))
}

/// Reads and throws away: the only way to know that the pages have come is to have read them.
fn read_ahead(file: &File, position: u64, length: u64) -> Result<(), IoError> {
    let mut discard = vec![0; SCRATCH_BYTES];
    let mut done = 0;
    while done < length {
        let wanted = usize::try_from(length - done)
            .unwrap_or(SCRATCH_BYTES)
            .min(SCRATCH_BYTES);
        match file.read_at(position.saturating_add(done), &mut discard[..wanted])? {
            0 => break,
            count => done += count as u64,
        }
    }
    Ok(())
}

/// Writes of fewer bytes are always performed by the thread that submits them. Measured on ext4: 2 us inline against 8 us
/// through the ring for 4 KiB.
const LARGE_WRITE_BYTES: u64 = 64 << 10;

static LARGE_WRITES: LargeWrites = LargeWrites::new();

/// Memory that read-ahead reads into, over and over: small enough to stay in a core's cache.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;
