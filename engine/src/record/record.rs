//! Records inside a batch: reading them one by one, and finding one by its timestamp.
//!
//! The reader takes what may lie on disk, gaps left by compaction included; what a client may send is stricter, and
//! judged in `validate`. An uncompressed body is read in place, a compressed one from one buffer it unfolds into.

use std::ops::Range;

use bytes::Bytes;

use super::attributes::TimestampType;
use super::batch::{BATCH_HEADER_LENGTH, BatchHeader, body_of};
use super::compress::{Compression, decompress};
use super::cursor::Cursor;
use super::error::{Malformed, RecordError, RecordProblem, Refused};
use crate::types::{Offset, Timestamp};

/// One record; its bytes are slices of the batch, or of the buffer that the batch unfolded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// What the producer, or under LogAppendTime the broker, set; -1 for none.
    pub timestamp: Timestamp,
    /// The key, which may be null.
    pub key: Option<Bytes>,
    /// The value; null is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// Headers in the producer's order; a key may come several times.
    pub headers: Vec<RecordHeader>,
}

/// One record as it lies in its batch: to look at it takes no memory, whatever it holds. A header may be two bytes
/// there, which pack to next to none, and is many times that as a [`RecordHeader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// As that of [`Record`].
    pub timestamp: Timestamp,
    /// The key, which may be null.
    pub key: Option<&'a [u8]>,
    /// False for a tombstone in a compacted topic.
    pub has_value: bool,
    /// Its place in the batch.
    pub(super) offset_delta: i32,
    /// Key, value and headers, each behind its length: the same in whatever batch the record is.
    pub(super) contents: &'a [u8],
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The key: UTF-8 by agreement, not checked.
    pub key: Bytes,
    /// The value, which may be null.
    pub value: Option<Bytes>,
}

/// Where the parts of a record lie in its body. Everything was checked to be there.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    /// The length of the key.
    contents_start: usize,
    pub(super) key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    /// Count, then headers, up to the end of the record.
    headers: Range<usize>,
}

impl Parts {
    /// Reads the next record of a body: all of its structure, nothing of its content, without allocation.
    pub(super) fn read(body: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let length = body.length()?;
        let mut record = body.split(length)?;
        // Attributes of a record: unused.
        record.byte()?;
        let timestamp_delta = record.varlong()?;
        let offset_delta = record.varint()?;
        let contents_start = record.position();
        let key = record.nullable()?;
        let value = record.nullable()?;
        let headers_start = record.position();
        let header_count = record.length()?;
        // The cheapest header takes two bytes: a hostile count ends the loop by running out of them.
        for _ in 0..header_count {
            let key_length = record.length()?;
            record.skip(key_length)?;
            record.nullable()?;
        }
        let extra_bytes = record.remaining();
        if extra_bytes != 0 {
            return Err(Malformed::Trailing { extra_bytes });
        }
        Ok(Self {
            timestamp_delta,
            offset_delta,
            contents_start,
            key,
            value,
            headers: headers_start..record.position(),
        })
    }

    fn contents(&self) -> Range<usize> {
        self.contents_start..self.headers.end
    }

    fn headers(&self, body: &Bytes) -> Result<Vec<RecordHeader>, Malformed> {
        let mut cursor = Cursor::new(
            body.get(..self.headers.end).unwrap_or_default(),
            self.headers.start,
        );
        let count = cursor.length()?;
        // `read` has walked them all, so the count is no larger than half the bytes.
        let mut headers = Vec::with_capacity(count.min(self.headers.len()));
        for _ in 0..count {
            let key_length = cursor.length()?;
            let key = body.slice(cursor.skip(key_length)?);
            let value = cursor.nullable()?.map(|range| body.slice(range));
            headers.push(RecordHeader { key, value });
        }
        Ok(headers)
    }
}

/// Reads the records of `batch`, the first batch in those bytes. A compressed body is unfolded at once, to at most
/// `limit` bytes. The checksum is not checked.
///
/// # Errors
/// Those of [`BatchHeader::parse`]; [`RecordError::Corrupt`] when the batch is cut short or does not unfold;
/// [`RecordError::BodyTooLarge`] when it unfolds to more than `limit`.
pub fn records(batch: &Bytes, limit: usize) -> Result<Records, RecordError> {
    let header = BatchHeader::parse(batch)?;
    body_of(&header, batch)?;
    let packed = batch.slice(BATCH_HEADER_LENGTH..header.length_bytes());
    let body = match header.attributes().compression()? {
        Compression::None => packed,
        compression => decompress(compression, &packed, limit)?.into(),
    };
    Ok(Records {
        header,
        body,
        position: 0,
        index: 0,
        offset_delta_min: 0,
    })
}

/// The records of one batch, in order of their offsets, which may have gaps. A record that makes no sense is
/// answered as an error, and ends the walk.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
    position: usize,
    /// How many records were read.
    index: i32,
    offset_delta_min: i32,
}

impl Records {
    /// The header of the batch they belong to.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes of all records, unfolded.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// The first record at or after both `timestamp` and the offset `from`: its offset and its own timestamp. `None` when there
    /// is none, which a header may have promised.
    ///
    /// # Errors
    /// Those of the records passed over.
    pub fn first_at_or_after(
        &mut self,
        timestamp: Timestamp,
        from: Offset,
    ) -> Result<Option<(Offset, Timestamp)>, RecordError> {
        self.find_next(|offset, found| offset >= from && found >= timestamp)
    }

    /// The next record that `wanted` by offset and timestamp, passing over the others without allocation.
    fn find_next(
        &mut self,
        mut wanted: impl FnMut(Offset, Timestamp) -> bool,
    ) -> Result<Option<(Offset, Timestamp)>, RecordError> {
        while let Some(parts) = self.next_parts()? {
            let (offset, timestamp) = self.place(&parts);
            if wanted(offset, timestamp) {
                return Ok(Some((offset, timestamp)));
            }
        }
        Ok(None)
    }

    /// The next record as it lies there; `None` behind the last. All of its structure has been checked.
    ///
    /// # Errors
    /// A record that makes no sense, which ends the walk.
    pub fn next_raw(&mut self) -> Result<Option<RawRecord<'_>>, RecordError> {
        let Some(parts) = self.next_parts()? else {
            return Ok(None);
        };
        let (offset, timestamp) = self.place(&parts);
        let bytes = |range: Range<usize>| self.body.get(range).unwrap_or_default();
        Ok(Some(RawRecord {
            offset,
            timestamp,
            has_value: parts.value.is_some(),
            offset_delta: parts.offset_delta,
            contents: bytes(parts.contents()),
            key: parts.key.map(bytes),
        }))
    }

    fn next_parts(&mut self) -> Result<Option<Parts>, RecordError> {
        if self.index >= self.header.record_count() {
            return Ok(None);
        }
        let step = self.step();
        if step.is_err() {
            self.index = i32::MAX;
        }
        step.map(Some)
    }

    fn step(&mut self) -> Result<Parts, RecordError> {
        let mut cursor = Cursor::new(&self.body, self.position);
        let parts = Parts::read(&mut cursor)
            .map_err(|malformed| refuse(self.index, RecordProblem::Malformed(malformed)))?;
        let found = parts.offset_delta;
        let expected = self.offset_delta_min;
        if found < expected || found > self.header.last_offset_delta() {
            let problem = RecordProblem::OffsetDelta { found, expected };
            return Err(refuse(self.index, problem));
        }
        self.position = cursor.position();
        self.index = self.index.saturating_add(1);
        self.offset_delta_min = found.saturating_add(1);
        Ok(parts)
    }

    fn place(&self, parts: &Parts) -> (Offset, Timestamp) {
        let base = self.header.base_offset().0;
        let offset = Offset(base.saturating_add(i64::from(parts.offset_delta)));
        (offset, timestamp_of(&self.header, parts))
    }

    fn next_record(&mut self) -> Result<Option<Record>, RecordError> {
        let Some(parts) = self.next_parts()? else {
            return Ok(None);
        };
        let (offset, timestamp) = self.place(&parts);
        let headers = parts.headers(&self.body).map_err(|malformed| {
            let index = self.index.saturating_sub(1);
            refuse(index, RecordProblem::Malformed(malformed))
        })?;
        let slice = |range: Range<usize>| self.body.slice(range);
        Ok(Some(Record {
            offset,
            timestamp,
            key: parts.key.map(slice),
            value: parts.value.map(slice),
            headers,
        }))
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// The first record of `batch` that has the latest timestamp of all, from the offset `from` on: its offset and
/// timestamp. `None` when no record there has a timestamp.
///
/// # Errors
/// Those of [`records`], and those of its records.
pub fn record_of_max_timestamp(
    batch: &Bytes,
    from: Offset,
    limit: usize,
) -> Result<Option<(Offset, Timestamp)>, RecordError> {
    let mut found = None;
    let mut max = Timestamp::NONE;
    records(batch, limit)?.find_next(|offset, timestamp| {
        if offset >= from && timestamp > max {
            max = timestamp;
            found = Some((offset, timestamp));
        }
        false
    })?;
    Ok(found)
}

/// Wraps as Java's arithmetic does: deltas are whatever leads from the base to the timestamp, in 64 bits.
pub(super) fn timestamp_of(header: &BatchHeader, parts: &Parts) -> Timestamp {
    match header.attributes().timestamp_type() {
        TimestampType::CreateTime => Timestamp(
            header
                .base_timestamp()
                .0
                .wrapping_add(parts.timestamp_delta),
        ),
        TimestampType::LogAppendTime => header.max_timestamp(),
    }
}

pub(super) fn refuse(index: i32, problem: RecordProblem) -> RecordError {
    RecordError::InvalidRecords(Refused::one(index, problem))
}
