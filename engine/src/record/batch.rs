//! The 61 bytes at the head of a record batch, and walking from one batch to the next.
//!
//! A header is looked at in place (`zerocopy`); nothing here opens a body or judges by a topic's rules.

use bytes::Bytes;
use zerocopy::byteorder::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::attributes::Attributes;
use super::error::{Corruption, InvalidBatch, RecordError};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The header of a batch of version 2, as it lies on disk and on the wire (big-endian). Base offset and leader epoch
/// lie outside the checksum, so a broker may set them; everything from the attributes on lies inside.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BatchHeader {
    pub(super) base_offset: I64,
    /// Bytes after this field.
    pub(super) length: I32,
    pub(super) leader_epoch: I32,
    pub(super) magic: i8,
    pub(super) crc: U32,
    pub(super) attributes: I16,
    pub(super) last_offset_delta: I32,
    pub(super) base_timestamp: I64,
    pub(super) max_timestamp: I64,
    pub(super) producer_id: I64,
    pub(super) producer_epoch: I16,
    pub(super) base_sequence: I32,
    pub(super) record_count: I32,
}

/// Bytes of a batch before its first record.
pub const BATCH_HEADER_LENGTH: usize = 61;
/// Bytes that the length field does not count: base offset and the field itself.
pub const BATCH_OVERHEAD_LENGTH: usize = 12;
/// Where the attributes lie: the checksum covers everything from here on.
const CRC_START: usize = 21;
/// The only version of the format that is stored.
pub(super) const MAGIC: i8 = 2;
/// A record without key, value and headers: seven numbers of one byte.
pub(super) const RECORD_BYTES_MIN: usize = 7;
/// The smallest length field: that of a batch without records.
const LENGTH_MIN: i32 = 49;

const _: () = assert!(size_of::<BatchHeader>() == BATCH_HEADER_LENGTH);
const _: () = assert!(BATCH_OVERHEAD_LENGTH + LENGTH_MIN as usize == BATCH_HEADER_LENGTH);

impl BatchHeader {
    /// Reads the header at the start of `bytes`, of which only the first 61 are looked at. Checks what every later
    /// step leans on: version, a length not below the header's own, a count and an offset range not negative. Neither
    /// the checksum nor the presence of the body is checked.
    ///
    /// # Errors
    /// [`RecordError::Corrupt`] or [`RecordError::InvalidBatch`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let header = Self::parse_length(bytes)?;
        header.check_range()?;
        Ok(header)
    }

    /// As [`Self::parse`], but checks only what says where the batch ends: the rest may be judged by the checksum first.
    pub(super) fn parse_length(bytes: &[u8]) -> Result<Self, RecordError> {
        let Ok((header, _)) = Self::read_from_prefix(bytes) else {
            return Err(Self::refuse_short(bytes));
        };
        header.check_magic()?;
        let found = header.length.get();
        if found < LENGTH_MIN {
            let min = LENGTH_MIN;
            return Err(Corruption::Length { found, min }.into());
        }
        Ok(header)
    }

    /// Whether count and offset range are not negative.
    pub(super) fn check_range(&self) -> Result<(), RecordError> {
        let found = self.last_offset_delta.get();
        if found < 0 {
            return Err(InvalidBatch::OffsetRange { found }.into());
        }
        let found = self.record_count.get();
        if found < 0 {
            return Err(InvalidBatch::Count { found, min: 0 }.into());
        }
        Ok(())
    }

    /// Whether a batch may begin with it, as far as that shows without the rest: attributes that stand for something,
    /// and room for the records that it counts. For those who look for batches among any bytes.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let Ok(compression) = self.attributes().compression() else {
            return false;
        };
        let packed = self.length_bytes().saturating_sub(BATCH_HEADER_LENGTH);
        let room = packed.saturating_mul(compression.times_max());
        let count = usize::try_from(self.record_count()).unwrap_or(usize::MAX);
        self.attributes().are_defined() && count.saturating_mul(RECORD_BYTES_MIN) <= room
    }

    /// Old message sets may be shorter than our header: their version is the better answer.
    fn refuse_short(bytes: &[u8]) -> RecordError {
        let magic = bytes.get(16).map(|byte| byte.cast_signed());
        match magic {
            Some(found @ 0..MAGIC) => InvalidBatch::OldMagic { found }.into(),
            _ => Corruption::Truncated {
                needed: BATCH_HEADER_LENGTH,
                found: bytes.len(),
            }
            .into(),
        }
    }

    fn check_magic(&self) -> Result<(), RecordError> {
        match self.magic {
            MAGIC => Ok(()),
            found @ 0..MAGIC => Err(InvalidBatch::OldMagic { found }.into()),
            found => Err(Corruption::UnknownMagic { found }.into()),
        }
    }

    /// Offset of the first record, or of the first that compaction removed.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(self.base_offset.get())
    }

    /// Bytes of the whole batch, header and length field included; at least [`BATCH_HEADER_LENGTH`].
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        let length = usize::try_from(self.length.get()).unwrap_or_default();
        length.saturating_add(BATCH_OVERHEAD_LENGTH)
    }

    /// Epoch of the leader that appended the batch.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.get())
    }

    /// Version of the format: always 2 in a parsed header.
    #[must_use]
    pub fn magic(&self) -> i8 {
        self.magic
    }

    /// CRC-32C of everything from the attributes to the end of the batch, as stored.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.crc.get()
    }

    /// Codec, timestamp type and flags.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes(self.attributes.get())
    }

    /// Last offset minus base offset, not negative. Compaction keeps it, even when it removes the last record.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        self.last_offset_delta.get()
    }

    /// The last offset that belongs to the batch (inclusive); stays at the end of the number line.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        let delta = i64::from(self.last_offset_delta.get());
        Offset(self.base_offset.get().saturating_add(delta))
    }

    /// The first offset after the batch; stays at the end of the number line.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// What the timestamp deltas of the records count from; the delete horizon where
    /// [`Attributes::has_delete_horizon`] says so. -1 where the producer set none.
    #[must_use]
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp(self.base_timestamp.get())
    }

    /// The latest timestamp of a record, -1 when none has one; of every record where the type is LogAppendTime.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.max_timestamp.get())
    }

    /// The idempotent producer that wrote the batch, -1 for any other.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(self.producer_id.get())
    }

    /// The producer's incarnation, -1 without a producer id.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.producer_epoch.get())
    }

    /// The producer's number of the first record, -1 without a producer id and in control batches.
    #[must_use]
    pub fn base_sequence(&self) -> Sequence {
        Sequence(self.base_sequence.get())
    }

    /// The producer's number of the last record (inclusive); it wraps from `i32::MAX` to 0.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        let base = self.base_sequence();
        if base.0 < 0 {
            return Sequence::NONE;
        }
        base.wrapping_add(self.last_offset_delta())
    }

    /// How many records the body holds, not negative. Compaction leaves gaps, and even batches without records.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count.get()
    }

    /// The header's bytes as they lie in a batch.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    /// The same header at its place in the log. The checksum stays right: both fields lie outside it.
    #[must_use]
    pub fn stamped(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        self.base_offset = base_offset.0.into();
        self.leader_epoch = leader_epoch.0.into();
        self
    }

    /// The checksum that belongs to this header before `body`.
    pub(super) fn compute_crc(&self, body: &[u8]) -> u32 {
        let covered = self.as_bytes().get(CRC_START..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(covered), body)
    }

    /// Sets length and checksum to those of this header before `body`.
    ///
    /// # Panics
    /// When the batch would be longer than the length field can say; callers bound the body.
    pub(super) fn seal(&mut self, body: &[u8]) {
        let length = body
            .len()
            .saturating_add(BATCH_HEADER_LENGTH - BATCH_OVERHEAD_LENGTH);
        let field = i32::try_from(length).unwrap_or(-1);
        assert!(
            field >= LENGTH_MIN,
            "a body of {} bytes is no batch",
            body.len()
        );
        self.length = field.into();
        self.crc = self.compute_crc(body).into();
    }
}

impl std::fmt::Debug for BatchHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchHeader")
            .field("base_offset", &self.base_offset.get())
            .field("length_bytes", &self.length_bytes())
            .field("leader_epoch", &self.leader_epoch.get())
            .field("magic", &self.magic)
            .field("crc", &self.crc.get())
            .field("attributes", &self.attributes())
            .field("last_offset_delta", &self.last_offset_delta.get())
            .field("base_timestamp", &self.base_timestamp.get())
            .field("max_timestamp", &self.max_timestamp.get())
            .field("producer_id", &self.producer_id.get())
            .field("producer_epoch", &self.producer_epoch.get())
            .field("base_sequence", &self.base_sequence.get())
            .field("record_count", &self.record_count.get())
            .finish()
    }
}

/// Checks that `batch` starts with a whole batch whose checksum is right; bytes after it are not looked at.
///
/// # Errors
/// Those of [`BatchHeader::parse`], and [`RecordError::Corrupt`] when the batch is cut short or its checksum wrong.
pub fn check_crc(batch: &[u8]) -> Result<(), RecordError> {
    let header = BatchHeader::parse(batch)?;
    check_crc_against(&header, batch)
}

/// Checks that `batch`, which starts with `header`, is whole and has the checksum that the header states.
pub(super) fn check_crc_against(header: &BatchHeader, batch: &[u8]) -> Result<(), RecordError> {
    // For its error.
    body_of(header, batch)?;
    let covered = batch.get(CRC_START..header.length_bytes());
    let (stored, computed) = (header.crc(), crc32c::crc32c(covered.unwrap_or_default()));
    if stored == computed {
        Ok(())
    } else {
        Err(Corruption::Crc { stored, computed }.into())
    }
}

/// The bytes of `batch` behind its header, up to the length that the header states.
pub(super) fn body_of<'a>(header: &BatchHeader, batch: &'a [u8]) -> Result<&'a [u8], RecordError> {
    let needed = header.length_bytes();
    let found = batch.len();
    batch
        .get(BATCH_HEADER_LENGTH..needed)
        .ok_or_else(|| Corruption::Truncated { needed, found }.into())
}

/// One whole batch among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its header, parsed.
    pub header: BatchHeader,
    /// All its bytes, header included: a slice of what it was found in.
    pub bytes: Bytes,
}

/// Walks consecutive batches without opening or checksumming them. The first that is cut short or senseless is
/// answered as an error, and ends the walk.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    position: usize,
}

impl Batches {
    /// The batches of `bytes`, the first of which starts at the first byte.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self {
            rest: bytes,
            position: 0,
        }
    }

    /// How many bytes the batches answered so far take: where the next one starts.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    fn step(&mut self) -> Result<Batch, RecordError> {
        let header = BatchHeader::parse(&self.rest)?;
        let needed = header.length_bytes();
        let found = self.rest.len();
        if needed > found {
            return Err(Corruption::Truncated { needed, found }.into());
        }
        let bytes = self.rest.split_to(needed);
        self.position = self.position.saturating_add(needed);
        Ok(Batch { header, bytes })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.rest.clear();
        }
        Some(step)
    }
}
