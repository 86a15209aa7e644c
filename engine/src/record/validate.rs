//! The one check of what a client sends, and the batch that comes out of it ready to be placed.
//!
//! Header and checksum always; records of an uncompressed body always; a compressed body only when a rule of the
//! topic needs it. Sequences of producers and leader epochs are checked by those who keep them.

use bytes::Bytes;

use super::attributes::TimestampType;
use super::batch::{BATCH_HEADER_LENGTH, BatchHeader, RECORD_BYTES_MIN, check_crc_against};
use super::compress::{Compression, CompressionTarget, decompress};
use super::cursor::Cursor;
use super::error::{Corruption, InvalidBatch, RecordError, RecordProblem, Refused};
use super::prepared::PreparedBatch;
use super::record::{Parts, refuse, timestamp_of};
use crate::types::{Offset, Timestamp};

/// What a topic, and the request that brings a batch, ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Longest batch, header included (`max.message.bytes`, inclusive). Holds for what is sent and, after
    /// recompression, for what is stored.
    pub message_bytes_max: usize,
    /// Whether every record needs a key (`cleanup.policy` has `compact`).
    pub compacted: bool,
    /// Who sets timestamps (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// How far a CreateTime may lie in the past (`message.timestamp.before.max.ms`); `i64::MAX` is no bound. A bound
    /// costs the opening of compressed batches.
    pub timestamp_before_max_ms: i64,
    /// How far a CreateTime may lie in the future (`message.timestamp.after.max.ms`). A compressed batch that need
    /// not be opened is taken by its header's max timestamp.
    pub timestamp_after_max_ms: i64,
    /// The codec that batches are stored in (`compression.type`), `None` for the producer's. Batches in this codec
    /// stay as they are, whatever their level.
    pub compression_target: Option<CompressionTarget>,
    /// Whether the request is new enough for zstd (Produce 7, KIP-110).
    pub zstd_allowed: bool,
    /// Most bytes that a compressed batch may unfold to, if it must be opened (inclusive).
    pub body_bytes_max: usize,
}

/// A bound on unfolded batches that only bombs reach: a batch of the default largest size that shrank to 1/128.
pub const BODY_BYTES_MAX_DEFAULT: usize = 128 * 1024 * 1024;

impl Default for Rules {
    /// The rules of a topic with Kafka's defaults.
    fn default() -> Self {
        Self {
            message_bytes_max: 1_048_588,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression_target: None,
            zstd_allowed: true,
            body_bytes_max: BODY_BYTES_MAX_DEFAULT,
        }
    }
}

/// A batch of which header and checksum are good.
#[derive(Debug)]
pub enum Begun {
    /// It has passed.
    Ready(PreparedBatch),
    /// Its records have to be looked at, which takes too long to be done beside other work.
    Packed(Box<PackedBatch>),
}

impl Begun {
    /// The header as it was sent, or, once the batch is ready, as it will be stored.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        match self {
            Self::Ready(batch) => batch.header(),
            Self::Packed(packed) => packed.batch.header(),
        }
    }
}

/// A batch whose body has to be opened or packed before it can be stored, and is large.
#[derive(Debug)]
pub struct PackedBatch {
    batch: PreparedBatch,
    rules: Rules,
    /// When it was received.
    now: Timestamp,
}

impl PackedBatch {
    /// Does the rest of [`prepare`]: some milliseconds for each megabyte of records.
    ///
    /// # Errors
    /// Those of [`prepare`] about records.
    pub fn unpack(self) -> Result<PreparedBatch, RecordError> {
        let mut batch = self.batch;
        look_inside(&mut batch, &self.rules, self.now, self.rules.body_limit())?;
        Ok(batch)
    }
}

/// How much opening and packing of bodies may still be done beside other work, for all batches that share it. Small ones are
/// opened at once, and nothing else bounds how many of them come together.
#[derive(Debug)]
pub struct Allowance {
    bytes: usize,
}

impl Default for Allowance {
    /// All of it: about a millisecond.
    fn default() -> Self {
        Self {
            bytes: 2 * OPENED_AT_ONCE_BYTES_MAX,
        }
    }
}

impl Allowance {
    /// Nothing of it: all bodies are left to the caller.
    pub(crate) const fn none() -> Self {
        Self { bytes: 0 }
    }

    const fn is_spent(&self) -> bool {
        self.bytes == 0
    }

    /// A body of `packed` bytes was opened, or packed: that came to `unfolded` bytes.
    fn charge(&mut self, packed: usize, unfolded: usize, repacks: bool) {
        let opened = packed.max(unfolded).max(OPENING_BYTES);
        let times = if repacks { REPACKING_TIMES } else { 1 };
        self.bytes = self.bytes.saturating_sub(opened.saturating_mul(times));
    }
}

/// As [`prepare`], but leaves to the caller the opening and packing of large bodies, and of all once `allowance` is spent. The last
/// one may take more than is left of it.
///
/// # Errors
/// Those of [`prepare`].
pub fn begin(
    records: Bytes,
    rules: &Rules,
    now: Timestamp,
    allowance: &mut Allowance,
) -> Result<Begun, RecordError> {
    let header = check_whole(&records, rules.message_bytes_max)?;
    check_crc_against(&header, &records)?;
    let compression = check_header(&header, rules)?;
    let mut batch = PreparedBatch::new(header, records.slice(BATCH_HEADER_LENGTH..));
    let repacks = rules.repacks(compression);
    if !repacks && !rules.opens(&header, compression) {
        look_inside(&mut batch, rules, now, 0)?;
        return Ok(Begun::Ready(batch));
    }
    let at_once = rules.at_once_bytes_max(repacks);
    let limit = rules.body_limit().min(at_once);
    let packed = batch.payload().len();
    if packed <= at_once && !allowance.is_spent() {
        let result = look_inside(&mut batch, rules, now, limit);
        // One that was refused may have come as far as the limit.
        let unfolded = *result.as_ref().unwrap_or(&limit);
        allowance.charge(packed, unfolded, repacks);
        match result {
            Err(RecordError::BodyTooLarge { .. }) if limit < rules.body_limit() => {}
            result => return result.map(|_| Begun::Ready(batch)),
        }
    }
    Ok(Begun::Packed(Box::new(PackedBatch {
        batch,
        rules: rules.clone(),
        now,
    })))
}

/// Checks the records a client sent for one partition: exactly one whole batch that keeps `rules`, received at
/// `now`. What is stored differs from what was sent only where Kafka does the same: LogAppendTime, a max timestamp
/// that is not that of the records, `compression.type`.
///
/// # Errors
/// The first rule that is broken, in this order: one batch, its length, its checksum, its header, its records.
pub fn prepare(
    records: Bytes,
    rules: &Rules,
    now: Timestamp,
) -> Result<PreparedBatch, RecordError> {
    match begin(records, rules, now, &mut Allowance::default())? {
        Begun::Ready(batch) => Ok(batch),
        Begun::Packed(packed) => packed.unpack(),
    }
}

/// Looks at the records as far as `rules` need it, and makes of the batch what is to be stored. A body that unfolds to
/// more than `limit` bytes, if it must be opened, is refused as too large and the batch left as it was. Says how many bytes it
/// unfolded.
fn look_inside(
    prepared: &mut PreparedBatch,
    rules: &Rules,
    now: Timestamp,
    limit: usize,
) -> Result<usize, RecordError> {
    let mut unfolded = 0;
    let header = *prepared.header();
    let compression = header.attributes().compression()?;
    let target = rules.compression_target.unwrap_or(compression.into());
    let window = Window::new(rules, now);
    if compression == Compression::None {
        let findings = examine(&header, prepared.payload(), rules, &window)?;
        prepared.note_max_timestamp(findings.max_timestamp, findings.offset_delta_of_max);
        if target.compression != Compression::None {
            let body = prepared.payload().to_vec();
            prepared.repack(target, body, rules.message_bytes_max)?;
        }
    } else if rules.opens(&header, compression) {
        let body = decompress(compression, prepared.payload(), limit)?;
        unfolded = body.len();
        let findings = examine(&header, &body, rules, &window)?;
        prepared.note_max_timestamp(findings.max_timestamp, findings.offset_delta_of_max);
        if target.compression != compression {
            prepared.repack(target, body, rules.message_bytes_max)?;
        }
    } else {
        window.check_batch(header.max_timestamp())?;
    }
    if rules.timestamp_type == TimestampType::LogAppendTime {
        prepared.set_log_append_time(now);
    }
    prepared.reseal_if_changed(&header);
    Ok(unfolded)
}

/// A body that unfolds to more is not opened beside other work: some tenths of a millisecond, one with gzip. Batches of usual
/// producers are within it.
const OPENED_AT_ONCE_BYTES_MAX: usize = 256 << 10;
/// To pack a body takes about so many times as long as to open it, where the level is not a high one.
const REPACKING_TIMES: usize = 4;
/// What it takes to open any body, however small, in bytes that are unfolded meanwhile.
const OPENING_BYTES: usize = 4 << 10;

impl Rules {
    /// Whether a batch in this codec is stored in another.
    fn repacks(&self, compression: Compression) -> bool {
        self.compression_target
            .is_some_and(|target| target.compression != compression)
    }

    /// Whether a batch in this codec has to be unfolded.
    fn opens(&self, header: &BatchHeader, compression: Compression) -> bool {
        // Some clients tell the max timestamp of uncompressed batches only; retention and searches by time go by it.
        let is_untold = header.max_timestamp() < header.base_timestamp();
        let by_time = self.timestamp_type == TimestampType::CreateTime
            && (is_untold || self.timestamp_before_max_ms != i64::MAX);
        compression != Compression::None && (self.compacted || by_time || self.repacks(compression))
    }

    /// The longest body, packed or not, that is opened beside other work, or packed anew.
    fn at_once_bytes_max(&self, repacks: bool) -> usize {
        match self.compression_target {
            Some(target) if repacks && target.is_slow() => 0,
            _ if repacks => OPENED_AT_ONCE_BYTES_MAX / REPACKING_TIMES,
            _ => OPENED_AT_ONCE_BYTES_MAX,
        }
    }

    /// An unfolded body may become a stored one, so it is also bounded by what a length field can say.
    fn body_limit(&self) -> usize {
        let most = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
        self.body_bytes_max
            .min(most.saturating_sub(BATCH_HEADER_LENGTH))
    }
}

/// Finds exactly one whole batch. Its header may still be damaged, but for its version and length.
fn check_whole(records: &[u8], max_bytes: usize) -> Result<BatchHeader, RecordError> {
    if records.is_empty() {
        return Err(InvalidBatch::Missing.into());
    }
    let header = BatchHeader::parse_length(records)?;
    let length_bytes = header.length_bytes();
    let found_bytes = records.len();
    if found_bytes > length_bytes {
        return Err(InvalidBatch::MoreThanOne {
            length_bytes,
            found_bytes,
        }
        .into());
    }
    // A claim that the bytes do not bear out says nothing about the size of the batch.
    if found_bytes < length_bytes {
        return Err(Corruption::Truncated {
            needed: length_bytes,
            found: found_bytes,
        }
        .into());
    }
    if length_bytes > max_bytes {
        return Err(RecordError::TooLarge {
            length_bytes,
            max_bytes,
        });
    }
    Ok(header)
}

/// Everything a header says for itself; answers its codec.
fn check_header(header: &BatchHeader, rules: &Rules) -> Result<Compression, RecordError> {
    header.check_range()?;
    let base_offset = header.base_offset();
    if base_offset != Offset::ZERO {
        return Err(InvalidBatch::BaseOffset { found: base_offset }.into());
    }
    let attributes = header.attributes();
    if attributes.is_control() {
        return Err(InvalidBatch::Control.into());
    }
    if attributes.has_delete_horizon() {
        return Err(InvalidBatch::DeleteHorizon.into());
    }
    let compression = attributes.compression()?;
    if compression == Compression::Zstd && !rules.zstd_allowed {
        return Err(RecordError::ZstdNotAllowed);
    }
    check_counts(header)?;
    check_room(header, compression, rules)?;
    check_producer(header)?;
    if attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(RecordError::InvalidTimestampType);
    }
    Ok(compression)
}

fn check_counts(header: &BatchHeader) -> Result<(), RecordError> {
    let count = header.record_count();
    let last_offset_delta = header.last_offset_delta();
    if count < 1 {
        let invalid = InvalidBatch::Count {
            found: count,
            min: 1,
        };
        return Err(invalid.into());
    }
    if last_offset_delta.checked_add(1) != Some(count) {
        let invalid = InvalidBatch::CountOffsets {
            count,
            last_offset_delta,
        };
        return Err(invalid.into());
    }
    Ok(())
}

/// A packed body may stay unopened, but what its header counts must be possible: a few bytes that count as many records as a
/// segment has offsets would cost a segment each time.
fn check_room(
    header: &BatchHeader,
    compression: Compression,
    rules: &Rules,
) -> Result<(), RecordError> {
    if compression == Compression::None {
        // Its records are counted.
        return Ok(());
    }
    let packed = header.length_bytes().saturating_sub(BATCH_HEADER_LENGTH);
    let body_bytes_max = packed
        .saturating_mul(compression.times_max())
        .min(rules.body_limit());
    let count = header.record_count();
    let needed = usize::try_from(count).map(|count| count.saturating_mul(RECORD_BYTES_MIN));
    if needed.unwrap_or(usize::MAX) > body_bytes_max {
        let invalid = InvalidBatch::CountTooLarge {
            count,
            body_bytes_max,
        };
        return Err(invalid.into());
    }
    Ok(())
}

fn check_producer(header: &BatchHeader) -> Result<(), RecordError> {
    let producer_id = header.producer_id().0;
    let producer_epoch = header.producer_epoch().0;
    let base_sequence = header.base_sequence().0;
    if producer_id < 0 {
        if header.attributes().is_transactional() {
            return Err(InvalidBatch::TransactionalWithoutProducer.into());
        }
    } else if producer_epoch < 0 || base_sequence < 0 {
        return Err(InvalidBatch::Producer {
            producer_id,
            producer_epoch,
            base_sequence,
        }
        .into());
    }
    Ok(())
}

/// Which timestamps are accepted.
struct Window {
    /// `None` where any is early enough.
    earliest: Option<Timestamp>,
    /// `None` where any is late enough.
    latest: Option<Timestamp>,
}

impl Window {
    fn new(rules: &Rules, now: Timestamp) -> Self {
        if rules.timestamp_type == TimestampType::LogAppendTime {
            // The producer's timestamps are not kept.
            return Self {
                earliest: None,
                latest: None,
            };
        }
        let earliest = now.0.saturating_sub(rules.timestamp_before_max_ms);
        let latest = now.0.saturating_add(rules.timestamp_after_max_ms);
        Self {
            earliest: (rules.timestamp_before_max_ms != i64::MAX).then_some(Timestamp(earliest)),
            latest: (rules.timestamp_after_max_ms != i64::MAX).then_some(Timestamp(latest)),
        }
    }

    fn check(&self, found: Timestamp) -> Result<(), RecordProblem> {
        let early = self.earliest.is_some_and(|earliest| found < earliest);
        let late = self.latest.is_some_and(|latest| found > latest);
        if found == Timestamp::NONE || !(early || late) {
            return Ok(());
        }
        Err(RecordProblem::Timestamp {
            found,
            earliest: self.earliest.unwrap_or(Timestamp(i64::MIN)),
            latest: self.latest.unwrap_or(Timestamp(i64::MAX)),
        })
    }

    fn check_batch(&self, found: Timestamp) -> Result<(), RecordError> {
        match self.latest {
            Some(latest) if found > latest => {
                Err(RecordError::InvalidBatchTimestamp { found, latest })
            }
            _ => Ok(()),
        }
    }
}

/// What the records of a body turned out to be.
struct Findings {
    max_timestamp: Timestamp,
    /// Of the first record with that timestamp; 0 where none has any.
    offset_delta_of_max: i32,
}

/// Walks the records of an uncompressed or unfolded body: structure, offset deltas from 0 on without gaps, keys,
/// timestamps. Allocates only to refuse.
fn examine(
    header: &BatchHeader,
    body: &[u8],
    rules: &Rules,
    window: &Window,
) -> Result<Findings, RecordError> {
    let count = header.record_count();
    let mut findings = Findings {
        max_timestamp: Timestamp::NONE,
        offset_delta_of_max: 0,
    };
    let mut refusals = Refusals::default();
    let mut cursor = Cursor::new(body, 0);
    for index in 0..count {
        let parts = Parts::read(&mut cursor)
            .map_err(|malformed| refuse(index, RecordProblem::Malformed(malformed)))?;
        if parts.offset_delta != index {
            let problem = RecordProblem::OffsetDelta {
                found: parts.offset_delta,
                expected: index,
            };
            return Err(refuse(index, problem));
        }
        let timestamp = timestamp_of(header, &parts);
        if timestamp > findings.max_timestamp {
            findings.max_timestamp = timestamp;
            findings.offset_delta_of_max = index;
        }
        if rules.compacted && parts.key.is_none() {
            refusals.push(index, RecordProblem::NoKey);
        } else if let Err(problem) = window.check(timestamp) {
            refusals.push(index, problem);
        }
    }
    let extra_bytes = cursor.remaining();
    if extra_bytes != 0 {
        return Err(InvalidBatch::TrailingBytes { count, extra_bytes }.into());
    }
    refusals.finish()?;
    Ok(findings)
}

/// Records refused so far. One timestamp among them makes the whole answer one about timestamps, as in Kafka.
#[derive(Default)]
struct Refusals {
    refused: Option<Refused>,
    timestamps: bool,
}

impl Refusals {
    #[cold]
    fn push(&mut self, index: i32, problem: RecordProblem) {
        self.timestamps |= matches!(problem, RecordProblem::Timestamp { .. });
        match &mut self.refused {
            Some(refused) => refused.push(index, problem),
            None => self.refused = Some(Refused::one(index, problem)),
        }
    }

    fn finish(self) -> Result<(), RecordError> {
        match self.refused {
            None => Ok(()),
            Some(refused) if self.timestamps => Err(RecordError::InvalidTimestamps(refused)),
            Some(refused) => Err(RecordError::InvalidRecords(refused)),
        }
    }
}
