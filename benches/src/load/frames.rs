//! Requests encoded once and patched in place, and answers judged without decoding them.

use bytes::Bytes;
use millrace_wire::frame::{request_frame, response_frame};
use millrace_wire::message::fetch::{FetchRequest, FetchRequestPartition, FetchRequestTopic};
use millrace_wire::message::produce::{
    ProduceRequest, ProduceRequestPartition, ProduceRequestTopic, ProduceResponse,
    ProduceResponsePartition, ProduceResponseTopic,
};
use millrace_wire::{ErrorCode, Message, Reader, ResponseHeader};

use super::target::Topic;
use crate::Outcome;

/// Produce by topic id. Both it and [`FETCH_VERSION`] are served by Kafka since 4.0.
pub(super) const PRODUCE_VERSION: i16 = 13;
/// Fetch by topic id.
pub(super) const FETCH_VERSION: i16 = 17;
/// Place of the correlation id in a request, prefix included.
pub(super) const REQUEST_CORRELATION: usize = 8;

/// Several copies of one Produce request back to back, so that a few of them leave in one write.
#[derive(Clone, Debug)]
pub(super) struct ProduceFrames {
    bytes: Vec<u8>,
    length: usize,
    slots: Vec<Slot>,
    batch_length: usize,
}

/// Places within one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Of the partition's number.
    pub(super) index: usize,
    /// Of the batch.
    pub(super) batch: usize,
}

/// What an idempotent producer writes into a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProducerStamp {
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
}

impl ProduceFrames {
    /// Requests with `batch` for each of `partitions` partitions.
    pub(super) fn new(
        topic: &Topic,
        batch: &Bytes,
        partitions: i32,
        acks: i16,
        copies: usize,
    ) -> Outcome<Self> {
        let partition_data = (0..partitions).map(|index| ProduceRequestPartition {
            index,
            records: Some(batch.clone()),
        });
        let request = ProduceRequest {
            acks,
            timeout_ms: 30_000,
            topic_data: vec![ProduceRequestTopic {
                name: topic.name.as_str().into(),
                topic_id: topic.id,
                partition_data: partition_data.collect(),
            }],
            ..Default::default()
        };
        let frame = request_frame(0, Some(&"load".into()), &request, PRODUCE_VERSION)?;
        let slots = slots(&frame, batch)?;
        if slots.len() != usize::try_from(partitions)? {
            return Err("a batch looks like another one's inside".into());
        }
        Ok(Self {
            bytes: frame.repeat(copies),
            length: frame.len(),
            slots,
            batch_length: batch.len(),
        })
    }

    pub(super) fn copies(&self) -> usize {
        self.bytes.len() / self.length
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The first so many bytes of all copies.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn set_correlation(&mut self, copy: usize, correlation: i32) {
        let place = copy * self.length + REQUEST_CORRELATION;
        self.bytes[place..place + 4].copy_from_slice(&correlation.to_be_bytes());
    }

    pub(super) fn set_partition(&mut self, copy: usize, slot: usize, partition: i32) {
        let place = copy * self.length + self.slots[slot].index;
        self.bytes[place..place + 4].copy_from_slice(&partition.to_be_bytes());
    }

    /// Names the producer. The checksum covers these fields, so it is taken anew.
    pub(super) fn set_producer(&mut self, copy: usize, slot: usize, stamp: ProducerStamp) {
        let place = copy * self.length + self.slots[slot].batch;
        let batch = &mut self.bytes[place..place + self.batch_length];
        batch[43..51].copy_from_slice(&stamp.producer_id.to_be_bytes());
        batch[51..53].copy_from_slice(&stamp.producer_epoch.to_be_bytes());
        batch[53..57].copy_from_slice(&stamp.base_sequence.to_be_bytes());
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Finds the batches, and before each its length and its partition's number.
fn slots(frame: &[u8], batch: &Bytes) -> Outcome<Vec<Slot>> {
    let mut slots = Vec::new();
    let mut place = 0;
    let length_length = varint_length(batch.len() + 1);
    while place + batch.len() <= frame.len() {
        if frame[place..].starts_with(batch) {
            let index = place.checked_sub(length_length + 4);
            let index = index.ok_or("a batch before its partition")?;
            slots.push(Slot {
                index,
                batch: place,
            });
            place += batch.len();
        } else {
            place += 1;
        }
    }
    Ok(slots)
}

fn varint_length(mut value: usize) -> usize {
    let mut length = 1;
    while value > 0x7f {
        value >>= 7;
        length += 1;
    }
    length
}

/// How the answer to a Produce looks when nothing went wrong.
#[derive(Clone, Debug)]
pub(super) struct ProduceAnswer {
    /// A whole frame, prefix included.
    pub(super) frame: Bytes,
    /// Where error codes stand in it.
    error_codes: Vec<usize>,
}

impl ProduceAnswer {
    pub(super) fn new(topic: &Topic, partitions: i32) -> Outcome<Self> {
        let answer = |error_code| {
            let partition_responses = (0..partitions).map(|index| ProduceResponsePartition {
                index,
                error_code,
                ..Default::default()
            });
            let response = ProduceResponse {
                responses: vec![ProduceResponseTopic {
                    name: topic.name.as_str().into(),
                    topic_id: topic.id,
                    partition_responses: partition_responses.collect(),
                }],
                ..Default::default()
            };
            response_frame(0, &response, PRODUCE_VERSION)
        };
        let frame = answer(ErrorCode::None)?;
        let refused = answer(ErrorCode::CorruptMessage)?;
        let differs = |place: &usize| frame[*place] != refused[*place];
        let error_codes = (0..frame.len()).filter(differs).collect();
        Ok(Self { frame, error_codes })
    }

    /// Judges an answer (prefix included).
    pub(super) fn check(&self, frame: &[u8]) -> Outcome<()> {
        let plain = frame.len() == self.frame.len()
            && self.error_codes.iter().all(|&place| frame[place] == 0);
        if plain { Ok(()) } else { examine(frame) }
    }
}

/// An answer of another length: says what was refused, if anything was.
#[cold]
fn examine(frame: &[u8]) -> Outcome<()> {
    let mut reader = Reader::new(Bytes::copy_from_slice(&frame[4..]), usize::MAX);
    ResponseHeader::decode(&mut reader, millrace_wire::ApiKey::Produce, PRODUCE_VERSION)?;
    let response = ProduceResponse::decode(&mut reader, PRODUCE_VERSION)?;
    let mut results = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    match results.find(|result| result.error_code.is_error()) {
        Some(refused) => Err(format!("a batch is refused: {refused:?}").into()),
        None => Ok(()),
    }
}

/// One Fetch of one partition.
#[derive(Clone, Debug)]
pub(super) struct FetchFrame {
    pub(super) bytes: Vec<u8>,
    /// Place of the fetch offset.
    pub(super) offset: usize,
}

impl FetchFrame {
    pub(super) fn new(topic: &Topic, partition: i32, bytes_max: i32) -> Outcome<Self> {
        let frame = |fetch_offset| {
            let request = FetchRequest {
                max_wait_ms: 500,
                min_bytes: 1,
                max_bytes: 50 << 20,
                topics: vec![FetchRequestTopic {
                    topic: topic.name.as_str().into(),
                    topic_id: topic.id,
                    partitions: vec![FetchRequestPartition {
                        partition,
                        fetch_offset,
                        partition_max_bytes: bytes_max,
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            };
            request_frame(0, Some(&"load".into()), &request, FETCH_VERSION)
        };
        let first = frame(0)?;
        let other = frame(-1)?;
        let offset = first.iter().zip(&other).position(|(a, b)| a != b);
        Ok(Self {
            bytes: first.to_vec(),
            offset: offset.ok_or("a Fetch without an offset")?,
        })
    }

    pub(super) fn set(&mut self, correlation: i32, offset: i64) {
        self.bytes[REQUEST_CORRELATION..REQUEST_CORRELATION + 4]
            .copy_from_slice(&correlation.to_be_bytes());
        self.bytes[self.offset..self.offset + 8].copy_from_slice(&offset.to_be_bytes());
    }
}

/// What the first bytes of the answer to a [`FetchFrame`] say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FetchHead {
    pub(super) records_bytes: usize,
}

impl FetchHead {
    /// The most bytes it takes up, correlation id included, prefix not.
    pub(super) const LENGTH_MAX: usize = 96;

    /// Reads the start of an answer for one partition (without its prefix).
    pub(super) fn parse(bytes: &[u8]) -> Outcome<Self> {
        let mut cursor = Cursor(bytes);
        let _correlation = cursor.take(4)?;
        cursor.nothing_tagged()?;
        let _throttle = cursor.take(4)?;
        let error = cursor.i16()?;
        let _session = cursor.take(4)?;
        if error != 0 || cursor.varint()? != 2 {
            return Err(format!("a fetch is refused: {}", ErrorCode::from_code(error)).into());
        }
        let _topic = cursor.take(16)?;
        if cursor.varint()? != 2 {
            return Err("an answer for other than one partition".into());
        }
        let _partition = cursor.take(4)?;
        let error = cursor.i16()?;
        if error != 0 {
            return Err(format!("a fetch is refused: {}", ErrorCode::from_code(error)).into());
        }
        let _watermark_stable_offset_and_start = cursor.take(24)?;
        if cursor.varint()? > 1 {
            return Err("aborted transactions where there are none".into());
        }
        let _preferred_replica = cursor.take(4)?;
        let records_bytes = cursor.varint()?.saturating_sub(1);
        Ok(Self { records_bytes })
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let split = self.0.split_at_checked(count);
        let (taken, rest) = split.ok_or("an answer that ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Outcome<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn nothing_tagged(&mut self) -> Outcome<()> {
        match self.varint()? {
            0 => Ok(()),
            _ => Err("tagged fields where there are none".into()),
        }
    }

    fn varint(&mut self) -> Outcome<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number without an end".into())
    }
}

#[cfg(test)]
mod tests {
    use millrace_engine::record::{BatchHeader, Compression, check_crc};
    use millrace_wire::Uuid;
    use millrace_wire::header::open_request;
    use millrace_wire::message::FetchResponse;
    use millrace_wire::message::fetch::{FetchResponsePartition, FetchResponseTopic, Records};

    use super::super::scenario::Durability;
    use super::*;
    use crate::Shape;

    fn topic() -> Topic {
        Topic {
            name: "orders".into(),
            id: Uuid(42),
            partitions: 8,
            durability: Durability::PageCache,
        }
    }

    fn decoded(frame: &[u8]) -> (i32, ProduceRequest) {
        let frame = Bytes::copy_from_slice(&frame[4..]);
        let (header, mut reader) = open_request(frame, usize::MAX).unwrap();
        let request = ProduceRequest::decode(&mut reader, PRODUCE_VERSION).unwrap();
        (header.correlation_id, request)
    }

    #[test]
    fn a_patched_request_decodes_to_what_was_patched_in() {
        let batch = Shape::TYPICAL.batch(Compression::None);
        let mut frames = ProduceFrames::new(&topic(), &batch, 2, -1, 3).unwrap();
        frames.set_correlation(1, 77);
        frames.set_partition(1, 0, 5);
        frames.set_partition(1, 1, 6);
        let stamp = ProducerStamp {
            producer_id: 9_000,
            producer_epoch: 3,
            base_sequence: 160,
        };
        frames.set_producer(1, 1, stamp);
        let length = frames.length();
        let (correlation, request) = decoded(&frames.bytes()[length..2 * length]);
        assert_eq!(correlation, 77);
        let partitions = &request.topic_data[0].partition_data;
        assert_eq!(partitions[0].index, 5);
        assert_eq!(partitions[0].records, Some(batch.clone()));
        assert_eq!(partitions[1].index, 6);
        let stamped = partitions[1].records.clone().unwrap();
        check_crc(&stamped).unwrap();
        let header = BatchHeader::parse(&stamped).unwrap();
        assert_eq!(header.producer_id().0, 9_000);
        assert_eq!(header.producer_epoch().0, 3);
        assert_eq!(header.base_sequence().0, 160);
        // The copies beside it are as they were.
        let (correlation, request) = decoded(&frames.bytes()[2 * length..]);
        assert_eq!(correlation, 0);
        assert_eq!(request.topic_data[0].partition_data[0].index, 0);
    }

    #[test]
    fn an_answer_with_an_error_is_noticed_and_one_without_is_not() {
        let answer = ProduceAnswer::new(&topic(), 2).unwrap();
        answer.check(&answer.frame).unwrap();
        let mut offsets = answer.frame.to_vec();
        offsets[4..8].copy_from_slice(&7_i32.to_be_bytes());
        answer.check(&offsets).unwrap();
        let mut refused = answer.frame.to_vec();
        refused[*answer.error_codes.last().unwrap()] = 6;
        let error = answer.check(&refused).unwrap_err().to_string();
        assert!(error.contains("NotLeaderOrFollower"), "{error}");
    }

    fn fetched(error_code: ErrorCode, records: &'static [u8]) -> Bytes {
        let response = FetchResponse {
            responses: vec![FetchResponseTopic {
                topic_id: Uuid(42),
                partitions: vec![FetchResponsePartition {
                    error_code,
                    records: Some(Records::Bytes(Bytes::from_static(records))),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        response_frame(1, &response, FETCH_VERSION).unwrap()
    }

    #[test]
    fn the_head_of_a_fetched_answer_tells_how_many_bytes_of_records_follow() {
        let frame = fetched(ErrorCode::None, &[7; 300]);
        let head = &frame[4..4 + FetchHead::LENGTH_MAX];
        let found = FetchHead::parse(head).unwrap();
        assert_eq!(found, FetchHead { records_bytes: 300 });
        assert!(FetchHead::parse(&head[..20]).is_err());
        let refused = fetched(ErrorCode::OffsetOutOfRange, b"");
        assert!(FetchHead::parse(&refused[4..]).is_err());
    }

    #[test]
    fn the_offset_of_a_fetch_is_patched_in_place() {
        let mut frame = FetchFrame::new(&topic(), 3, 1 << 20).unwrap();
        frame.set(5, 4_096);
        let bytes = Bytes::copy_from_slice(&frame.bytes[4..]);
        let (header, mut reader) = open_request(bytes, usize::MAX).unwrap();
        let request = FetchRequest::decode(&mut reader, FETCH_VERSION).unwrap();
        assert_eq!(header.correlation_id, 5);
        let partition = &request.topics[0].partitions[0];
        assert_eq!((partition.partition, partition.fetch_offset), (3, 4_096));
    }
}
