//! Building batches of our own: internal topics, control records, what compaction keeps, and tests.
//!
//! It assigns the deltas; places in the log are the caller's.

use bytes::Bytes;

use super::attributes::{Attributes, TimestampType};
use super::batch::{BATCH_HEADER_LENGTH, BatchHeader, MAGIC};
use super::compress::{Compression, CompressionTarget, compress};
use super::cursor::{put_varlong, varlong_length};
use super::record::{RawRecord, RecordHeader};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Gathers records and makes one batch of them.
///
/// ```
/// # use millrace_engine::record::{BatchBuilder, records};
/// # use millrace_engine::types::{Offset, Timestamp};
/// let mut builder = BatchBuilder::new().at(Offset(7));
/// builder.push(Timestamp(1_000), Some(b"key"), Some(b"value"), &[]);
/// let batch = builder.build();
/// let record = records(&batch, 1024)?.next().transpose()?;
/// assert_eq!(record.map(|record| record.offset), Some(Offset(7)));
/// # Ok::<(), millrace_engine::record::RecordError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    target: CompressionTarget,
    body: Vec<u8>,
    /// What the next pushed record gets.
    next_offset_delta: i32,
    /// Where the base timestamp is not to be that of the first record.
    base_timestamp: Option<Timestamp>,
    /// Where the last offset is not to be that of the last record.
    last_offset_delta: Option<i32>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An uncompressed batch at offset 0, with no leader epoch, no producer and timestamps of its own.
    #[must_use]
    pub fn new() -> Self {
        let header = BatchHeader {
            base_offset: 0.into(),
            length: 0.into(),
            leader_epoch: LeaderEpoch::NONE.0.into(),
            magic: MAGIC,
            crc: 0.into(),
            attributes: 0.into(),
            last_offset_delta: 0.into(),
            base_timestamp: Timestamp::NONE.0.into(),
            max_timestamp: Timestamp::NONE.0.into(),
            producer_id: ProducerId::NONE.0.into(),
            producer_epoch: ProducerEpoch::NONE.0.into(),
            base_sequence: Sequence::NONE.0.into(),
            record_count: 0.into(),
        };
        Self {
            header,
            target: CompressionTarget::default(),
            body: Vec::new(),
            next_offset_delta: 0,
            base_timestamp: None,
            last_offset_delta: None,
        }
    }

    /// A batch that takes the place of the one with this header, holding fewer of its records: same offsets, epoch,
    /// producer, flags, timestamp type and codec. Made for compaction; records are added by [`Self::retain`].
    #[must_use]
    pub fn in_place_of(header: &BatchHeader) -> Self {
        let mut builder = Self::new();
        builder.header = *header;
        builder.header.record_count = 0.into();
        builder.last_offset_delta = Some(header.last_offset_delta());
        builder.target.compression = header.attributes().compression().unwrap_or_default();
        if header.attributes().has_delete_horizon() {
            builder.base_timestamp = Some(header.base_timestamp());
        }
        if header.attributes().timestamp_type() == TimestampType::CreateTime {
            builder.header.max_timestamp = Timestamp::NONE.0.into();
        }
        builder
    }

    /// The batch without records that takes the place of the one with this header: what is left when compaction needs
    /// only to know its offsets, its producer and its sequence. Its greatest timestamp stays; it is not compressed.
    #[must_use]
    pub fn empty_in_place_of(header: &BatchHeader) -> Bytes {
        let mut empty = *header;
        let attributes = header.attributes().with_compression(Compression::None);
        empty.attributes = attributes.with_delete_horizon(false).0.into();
        empty.base_timestamp = Timestamp::NONE.0.into();
        empty.record_count = 0.into();
        empty.seal(&[]);
        Bytes::copy_from_slice(empty.bytes())
    }

    /// Places the batch at this base offset.
    #[must_use]
    pub fn at(mut self, base_offset: Offset) -> Self {
        self.header.base_offset = base_offset.0.into();
        self
    }

    /// Names the leader that appends it.
    #[must_use]
    pub fn leader_epoch(mut self, leader_epoch: LeaderEpoch) -> Self {
        self.header.leader_epoch = leader_epoch.0.into();
        self
    }

    /// Packs the body. Should the encoder get no memory, the body stays unpacked.
    #[must_use]
    pub fn compression(mut self, target: impl Into<CompressionTarget>) -> Self {
        self.target = target.into();
        self
    }

    /// Names the idempotent producer and its number for the first record.
    #[must_use]
    pub fn producer(
        mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: Sequence,
    ) -> Self {
        self.header.producer_id = id.0.into();
        self.header.producer_epoch = epoch.0.into();
        self.header.base_sequence = base_sequence.0.into();
        self
    }

    /// Makes the records part of the producer's open transaction.
    #[must_use]
    pub fn transactional(self) -> Self {
        self.with_attributes(|attributes| attributes.with_transactional(true))
    }

    /// Makes it a control batch.
    #[must_use]
    pub fn control(self) -> Self {
        self.with_attributes(|attributes| attributes.with_control(true))
    }

    /// Stamps all records with `now`, whatever they are pushed with.
    #[must_use]
    pub fn log_append_time(mut self, now: Timestamp) -> Self {
        self.header.max_timestamp = now.0.into();
        self.with_attributes(|attributes| {
            attributes.with_timestamp_type(TimestampType::LogAppendTime)
        })
    }

    /// Sets the moment from which tombstones and markers of the batch may go (KIP-534). Before the first record.
    #[must_use]
    pub fn delete_horizon(mut self, horizon: Timestamp) -> Self {
        self.base_timestamp = Some(horizon);
        self.with_attributes(|attributes| attributes.with_delete_horizon(true))
    }

    fn with_attributes(mut self, change: impl FnOnce(Attributes) -> Attributes) -> Self {
        self.header.attributes = change(self.header.attributes()).0.into();
        self
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.header.record_count.get()
    }

    /// Bytes of the batch if it ended here and were not compressed.
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        self.body.len().saturating_add(BATCH_HEADER_LENGTH)
    }

    /// Appends a record at the next offset.
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) {
        self.put(self.next_offset_delta, timestamp, key, value, headers);
    }

    /// Appends a record of the batch that this takes the place of: it keeps its offset, and what it holds is copied as
    /// it lies there. Offsets ascend.
    ///
    /// # Panics
    /// When they do not: a batch that has been read holds them so.
    pub fn retain(&mut self, record: &RawRecord<'_>) {
        let (delta, next) = (record.offset_delta, self.next_offset_delta);
        assert!(
            delta >= next,
            "record at offset {}, delta {delta}, does not follow: the next delta is {next}",
            record.offset
        );
        let timestamp_delta = self.count_in(delta, record.timestamp);
        let contents_bytes = record.contents.len();
        put_record_start(&mut self.body, delta, timestamp_delta, contents_bytes);
        self.body.extend_from_slice(record.contents);
    }

    /// Appends a record at an offset that follows those before.
    pub(super) fn put(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) {
        let timestamp_delta = self.count_in(offset_delta, timestamp);
        put_record(
            &mut self.body,
            offset_delta,
            timestamp_delta,
            key,
            value,
            headers,
        );
    }

    /// Makes a record one of the batch, and says what timestamp delta it gets.
    fn count_in(&mut self, offset_delta: i32, timestamp: Timestamp) -> i64 {
        let count = self.record_count();
        let base = match self.base_timestamp {
            Some(base) => base,
            None => *self.base_timestamp.insert(timestamp),
        };
        if self.header.attributes().timestamp_type() == TimestampType::CreateTime {
            let max = self.header.max_timestamp.get().max(timestamp.0);
            self.header.max_timestamp = max.into();
        }
        self.header.record_count = count.saturating_add(1).into();
        self.next_offset_delta = offset_delta.saturating_add(1);
        timestamp.0.wrapping_sub(base.0)
    }

    /// Makes the batch.
    ///
    /// # Panics
    /// When the records take more than 2 GiB, or one lies past the last offset of the batch this takes the place of.
    /// Callers split by [`Self::length_bytes`] long before.
    #[must_use]
    pub fn build(self) -> Bytes {
        let mut header = self.header;
        let base_timestamp = self.base_timestamp.unwrap_or(Timestamp::NONE);
        header.base_timestamp = base_timestamp.0.into();
        let reached = self.next_offset_delta.saturating_sub(1).max(0);
        let last = self.last_offset_delta.unwrap_or(reached);
        assert!(
            last >= reached,
            "a record at offset delta {reached} lies past the last, {last}"
        );
        header.last_offset_delta = last.into();
        let (compression, body) = pack(self.target, self.body);
        header.attributes = header.attributes().with_compression(compression).0.into();
        header.seal(&body);
        let mut batch = Vec::with_capacity(header.length_bytes());
        batch.extend_from_slice(header.bytes());
        batch.extend_from_slice(&body);
        batch.into()
    }
}

/// The body in the target's codec, or as it is when the encoder fails.
pub(super) fn pack(target: CompressionTarget, body: Vec<u8>) -> (Compression, Vec<u8>) {
    if target.compression == Compression::None {
        return (Compression::None, body);
    }
    match compress(target, &body) {
        Ok(packed) => (target.compression, packed),
        Err(_) => (Compression::None, body),
    }
}

fn put_record(
    body: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[RecordHeader],
) {
    let header_count = length_field(headers.len());
    let lengths = [
        nullable_length(key),
        nullable_length(value),
        varlong_length(header_count),
    ];
    let of_headers = headers.iter().map(|header| {
        nullable_length(Some(&header.key)).saturating_add(nullable_length(header.value.as_deref()))
    });
    let contents_bytes = lengths
        .into_iter()
        .chain(of_headers)
        .fold(0, usize::saturating_add);
    put_record_start(body, offset_delta, timestamp_delta, contents_bytes);
    put_nullable(body, key);
    put_nullable(body, value);
    put_varlong(body, header_count);
    for header in headers {
        put_nullable(body, Some(&header.key));
        put_nullable(body, header.value.as_deref());
    }
}

/// What stands before the key of a record whose key, value and headers take `contents_bytes`.
fn put_record_start(
    body: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    contents_bytes: usize,
) {
    let lengths = [
        1,
        varlong_length(timestamp_delta),
        varlong_length(i64::from(offset_delta)),
        contents_bytes,
    ];
    let length = lengths.into_iter().fold(0, usize::saturating_add);
    put_varlong(body, length_field(length));
    body.push(0);
    put_varlong(body, timestamp_delta);
    put_varlong(body, i64::from(offset_delta));
}

fn length_field(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn nullable_length(bytes: Option<&[u8]>) -> usize {
    let length = bytes.map_or(0, <[u8]>::len);
    let field = bytes.map_or(-1, |bytes| length_field(bytes.len()));
    varlong_length(field).saturating_add(length)
}

fn put_nullable(body: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(body, -1),
        Some(bytes) => {
            put_varlong(body, length_field(bytes.len()));
            body.extend_from_slice(bytes);
        }
    }
}
