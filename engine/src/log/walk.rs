//! Walking a segment's file from batch to batch, blocking: for opening, rebuilding and searching, never on a shard.
//!
//! It finds out where the walk can go no further and why; whether that is a torn tail or damage is for others to say.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::segment::BatchPlace;
use crate::io::{Check, File, IoError};
use crate::record::{BATCH_HEADER_LENGTH, BatchHeader, InvalidBatch, RecordError, check_crc};
use crate::types::{LeaderEpoch, Offset};

/// Bytes read ahead: headers of small batches come many to a read.
const CHUNK_BYTES: u64 = 64 * 1024;
/// Bytes of an old message before its checksummed part: offset, size, checksum.
const OLD_PREFIX_BYTES: usize = 16;

/// Why a place in a file is not the batch that should be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at position {position}: {reason}", path.display())]
pub struct Fault {
    /// The segment's file.
    pub path: PathBuf,
    /// Where the batch should start.
    pub position: u64,
    /// What is wrong.
    pub reason: FaultReason,
}

/// What is wrong with a batch in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultReason {
    /// The bytes end in the middle of it.
    #[error("the file ends {missing_bytes} bytes before the batch does")]
    Short {
        /// How many bytes are missing, at least.
        missing_bytes: u64,
    },
    /// It contradicts itself.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It does not continue the log.
    #[error("base offset {found}, expected {expected}")]
    Offset {
        /// The offset that continues the log.
        expected: Offset,
        /// The offset found.
        found: Offset,
    },
    /// Its leader is older than that of the batch before.
    #[error("leader epoch {found} after epoch {previous}")]
    Epoch {
        /// The epoch of the batch before.
        previous: LeaderEpoch,
        /// The epoch found.
        found: LeaderEpoch,
    },
    /// A sound message set of Kafka before 0.11, which is not converted.
    #[error("a message of format {magic}, only record batches of format 2 are read")]
    OldFormat {
        /// Its format version, 0 or 1.
        magic: i8,
    },
    /// The log ends before what is known to have been on stable storage.
    #[error("the log ends at offset {end}, but was on stable storage up to {recovery_point}")]
    Missing {
        /// Where it ends.
        end: Offset,
        /// Where it should end, at least.
        recovery_point: Offset,
    },
    /// The log ends before it starts.
    #[error(
        "the log ends at offset {end}, before its start {log_start_offset}: it is damaged, or a power cut took what was \
         cached; if its topic had write.caching=true, a start with that setting begins it anew"
    )]
    BeforeStart {
        /// Where it ends.
        end: Offset,
        /// Where it starts.
        log_start_offset: Offset,
    },
}

/// A walk that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// What lies there is not the next batch.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The disk refuses.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl WalkError {
    /// The file that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Fault(fault) => &fault.path,
            Self::Io(error) => &error.path,
        }
    }
}

/// A batch met on the walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walked {
    pub(super) header: BatchHeader,
    pub(super) position: u64,
}

impl Walked {
    pub(super) fn place(&self) -> BatchPlace {
        BatchPlace::of(&self.header, self.position)
    }
}

/// Goes through the batches of one file from a position to an end.
pub(super) struct Walker<'a> {
    file: &'a File,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_position: u64,
}

/// What a walk has read ahead, for the walk that goes on in its place.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    buffer: Vec<u8>,
    position: u64,
}

impl<'a> Walker<'a> {
    pub(super) fn new(file: &'a File, position: u64, end: u64) -> Self {
        Self {
            file,
            position,
            end,
            buffer: Vec::new(),
            buffer_position: position,
        }
    }

    /// As [`Self::new`], with what another walk of the same file has read ahead.
    pub(super) fn going_on(file: &'a File, position: u64, end: u64, ahead: Ahead) -> Self {
        Self {
            buffer: ahead.buffer,
            buffer_position: ahead.position,
            ..Self::new(file, position, end)
        }
    }

    /// What is left of what was read ahead.
    pub(super) fn into_ahead(self) -> Ahead {
        Ahead {
            buffer: self.buffer,
            position: self.buffer_position,
        }
    }

    /// Where the next batch should start.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the file's readers have to make the check.
    pub(super) fn asks_for(&self, check: Check) -> bool {
        self.file.asks_for(check)
    }

    /// The header of the next batch, which lies in the file as a whole; `None` at the end.
    pub(super) fn next_batch(&mut self) -> Result<Option<Walked>, WalkError> {
        let position = self.position;
        if position >= self.end {
            return Ok(None);
        }
        let header_bytes = length(BATCH_HEADER_LENGTH);
        let left = self.end - position;
        let bytes = self.bytes(position, header_bytes.min(left), CHUNK_BYTES)?;
        let header = match BatchHeader::parse(bytes) {
            Ok(header) => header,
            Err(RecordError::InvalidBatch(InvalidBatch::OldMagic { found })) => {
                let sound = self.is_sound_old_message(position)?;
                let reason = if sound {
                    FaultReason::OldFormat { magic: found }
                } else {
                    FaultReason::Record(InvalidBatch::OldMagic { found }.into())
                };
                return Err(self.fault(reason).into());
            }
            Err(_) if left < header_bytes => {
                let missing_bytes = header_bytes - left;
                return Err(self.fault(FaultReason::Short { missing_bytes }).into());
            }
            Err(error) => return Err(self.fault(error.into()).into()),
        };
        let length_bytes = length(header.length_bytes());
        if length_bytes > left {
            let missing_bytes = length_bytes - left;
            return Err(self.fault(FaultReason::Short { missing_bytes }).into());
        }
        self.position = position + length_bytes;
        Ok(Some(Walked { header, position }))
    }

    /// All bytes of a batch met on the walk.
    pub(super) fn whole(&mut self, batch: &Walked) -> Result<Bytes, WalkError> {
        let bytes = self.bytes(batch.position, length(batch.header.length_bytes()), 0)?;
        Ok(Bytes::copy_from_slice(bytes))
    }

    /// Checks the checksum of a batch met on the walk.
    pub(super) fn check_crc(&mut self, batch: &Walked) -> Result<(), WalkError> {
        let needed = length(batch.header.length_bytes());
        let checked = check_crc(self.bytes(batch.position, needed, CHUNK_BYTES)?);
        checked.map_err(|error| {
            self.position = batch.position;
            self.fault(error.into()).into()
        })
    }

    /// What is wrong at the place the walk has come to.
    pub(super) fn fault(&self, reason: FaultReason) -> Fault {
        Fault {
            path: self.file.path().to_owned(),
            position: self.position,
            reason,
        }
    }

    /// `needed` bytes at `position`, which lie below the end; reads at least `ahead` when it must read.
    fn bytes(&mut self, position: u64, needed: u64, ahead: u64) -> Result<&[u8], WalkError> {
        let buffered = self.buffer_position + length(self.buffer.len());
        if position < self.buffer_position || position + needed > buffered {
            let wanted = needed.max(ahead).min(self.end.saturating_sub(position));
            // A wish that memory cannot hold is no batch either.
            let wanted = usize::try_from(wanted.max(needed)).unwrap_or(usize::MAX);
            self.buffer.resize(wanted, 0);
            self.buffer_position = position;
            let found = self.file.read_full_at(position, &mut self.buffer)?;
            self.buffer.truncate(found);
        }
        let start = usize::try_from(position - self.buffer_position).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(needed).unwrap_or(usize::MAX));
        match self.buffer.get(start..end) {
            Some(_) => Ok(self.buffer.get(start..end).unwrap_or_default()),
            None => {
                let found = length(self.buffer.len().saturating_sub(start));
                let missing_bytes = needed.saturating_sub(found);
                Err(self.fault(FaultReason::Short { missing_bytes }).into())
            }
        }
    }

    /// Tells an old message from zeros and torn bytes by its own checksum (CRC-32).
    fn is_sound_old_message(&mut self, position: u64) -> Result<bool, WalkError> {
        let left = self.end - position;
        let prefix = length(OLD_PREFIX_BYTES);
        if left <= prefix {
            return Ok(false);
        }
        let head = self.bytes(position, prefix, CHUNK_BYTES)?;
        let number = |from: usize| {
            let bytes = head.get(from..from + 4).and_then(|b| b.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        let (size, stored) = (u64::from(number(8)), number(12));
        let total = size + 12;
        if size < 14 || total > left {
            return Ok(false);
        }
        let message = self.bytes(position, total, 0)?;
        let mut checksum = flate2::Crc::new();
        checksum.update(message.get(OLD_PREFIX_BYTES..).unwrap_or_default());
        Ok(checksum.sum() == stored)
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
