//! Produce requests of one batch, which most small ones are: read and answered without the arrays of [`super::produce`].
//!
//! What is read here reads the same there, and what is written here is what is written there, byte for byte: the tests hold one
//! against the other in every version.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::field::STRING_LENGTH_MAX;
use crate::frame::PREFIX_LENGTH;
use crate::message::{Message, ProduceRequest};
use crate::text::Str;
use crate::uuid::Uuid;
use crate::writer::Writer;

/// A request that appends one batch to one partition, outside of any transaction: what of its body says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoneBatch<'a> {
    /// As in [`super::produce::ProduceRequest`].
    pub acks: i16,
    /// As in [`super::produce::ProduceRequest`].
    pub timeout_ms: i32,
    /// The topic, by what names it in the version of the request.
    pub topic: NamedBy<'a>,
    /// The partition.
    pub index: i32,
    /// The batch.
    pub records: &'a [u8],
    /// Where in the body the topic's name, and the batch, begin.
    name_at: usize,
    records_at: usize,
}

/// What names a topic in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy<'a> {
    /// Up to version 12.
    Name(&'a str),
    /// Since version 13.
    Id(Uuid),
}

/// What names a topic, kept for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoneTopic {
    /// Up to version 12.
    Name(Str),
    /// Since version 13.
    Id(Uuid),
}

/// Where a batch was appended, as the answer tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoneAppended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// The broker's time if the topic uses it, else -1.
    pub log_append_time_ms: i64,
    /// Where the partition starts.
    pub log_start_offset: i64,
}

impl<'a> LoneBatch<'a> {
    /// Reads the body of a Produce request. `None` if it is anything else than one batch, or malformed: then
    /// [`super::produce::ProduceRequest`] tells what it is. Bytes behind it are ignored, as Kafka does.
    #[must_use]
    pub fn read(body: &'a [u8], version: i16) -> Option<Self> {
        let mut rest = Rest {
            bytes: body,
            flexible: version >= FLEXIBLE_FIRST,
        };
        rest.null_string()?;
        let acks = i16::from_be_bytes(rest.array()?);
        let timeout_ms = i32::from_be_bytes(rest.array()?);
        rest.count_of_one()?;
        let (topic, name_at) = if version >= IDS_FIRST {
            let id = Uuid(u128::from_be_bytes(rest.array()?));
            (NamedBy::Id(id), 0)
        } else {
            let name = rest.string()?;
            let name_at = rest.position_in(body, name);
            let name = std::str::from_utf8(name).ok()?;
            (NamedBy::Name(name), name_at)
        };
        rest.count_of_one()?;
        let index = i32::from_be_bytes(rest.array()?);
        let records = rest.byte_field()?;
        let records_at = rest.position_in(body, records);
        // Of the partition, of the topic, of the request.
        for _ in 0..3 {
            rest.no_tags()?;
        }
        Some(Self {
            acks,
            timeout_ms,
            topic,
            index,
            records,
            name_at,
            records_at,
        })
    }

    /// Where in the body what has to outlive it lies.
    #[must_use]
    pub const fn places(&self) -> Places {
        Places {
            topic: match self.topic {
                NamedBy::Name(name) => TopicPlace::Name {
                    at: self.name_at,
                    length: name.len(),
                },
                NamedBy::Id(id) => TopicPlace::Id(id),
            },
            records_at: self.records_at,
            records_length: self.records.len(),
        }
    }
}

/// Where in the body of a request its batch and its topic lie.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    topic: TopicPlace,
    records_at: usize,
    records_length: usize,
}

#[derive(Clone, Copy, Debug)]
enum TopicPlace {
    Name { at: usize, length: usize },
    Id(Uuid),
}

impl Places {
    /// The batch and the topic, as slices of `body`, in which they were found.
    ///
    /// # Panics
    /// It is another body, and too short.
    #[must_use]
    pub fn cut(self, mut body: Bytes) -> (Bytes, LoneTopic) {
        let records_end = self.records_at.saturating_add(self.records_length);
        let records = body.slice(self.records_at..records_end);
        let topic = match self.topic {
            TopicPlace::Name { at, length } => {
                // The body itself, cut: one slice less to be counted.
                body.advance(at);
                body.truncate(length);
                LoneTopic::Name(Str::from_checked(body))
            }
            TopicPlace::Id(id) => LoneTopic::Id(id),
        };
        (records, topic)
    }
}

impl LoneTopic {
    /// The whole frame of the answer that partition `index` has taken the batch, prefix included.
    #[must_use]
    pub fn appended_frame(
        &self,
        correlation_id: i32,
        version: i16,
        index: i32,
        place: LoneAppended,
    ) -> Bytes {
        let answer = self.appended_answer(correlation_id, version, index, place);
        answer.freeze()
    }

    fn appended_answer(
        &self,
        correlation_id: i32,
        version: i16,
        index: i32,
        place: LoneAppended,
    ) -> BytesMut {
        let flexible = version >= FLEXIBLE_FIRST;
        let topic_bytes = match self {
            Self::Id(_) => 16,
            Self::Name(name) => {
                let length = name.as_bytes().len();
                length.saturating_add(match length {
                    _ if !flexible => 2,
                    0..=126 => 1,
                    127..=16_382 => 2,
                    _ => 3,
                })
            }
        };
        let other_bytes: usize = match version {
            FLEXIBLE_FIRST.. => 50,
            RECORD_ERRORS_FIRST.. => 56,
            START_FIRST.. => 50,
            _ => 42,
        };
        // Exactly: what has room left is moved once more to become a frame.
        let mut frame = BytesMut::with_capacity(topic_bytes.saturating_add(other_bytes));
        let one = |frame: &mut BytesMut| {
            if flexible {
                frame.put_u8(2);
            } else {
                frame.put_i32(1);
            }
        };
        let no_tags = |frame: &mut BytesMut| {
            if flexible {
                frame.put_u8(0);
            }
        };
        frame.put_i32(0);
        frame.put_i32(correlation_id);
        no_tags(&mut frame);
        one(&mut frame);
        match self {
            Self::Id(id) => frame.put_u128(id.0),
            Self::Name(name) => {
                let name = name.as_bytes();
                // It was read with a length that fits both.
                let length = u16::try_from(name.len()).unwrap_or_default();
                if flexible {
                    frame.unsigned_varint(u32::from(length).saturating_add(1));
                } else {
                    frame.put_u16(length);
                }
                frame.put_slice(name);
            }
        }
        one(&mut frame);
        frame.put_i32(index);
        // No error.
        frame.put_i16(0);
        frame.put_i64(place.base_offset);
        frame.put_i64(place.log_append_time_ms);
        if version >= START_FIRST {
            frame.put_i64(place.log_start_offset);
        }
        if flexible {
            // No refused records, no message, no tags of the partition and of the topic.
            frame.put_slice(&[1, 0, 0, 0]);
        } else if version >= RECORD_ERRORS_FIRST {
            frame.put_i32(0);
            frame.put_i16(-1);
        }
        // Not throttled.
        frame.put_i32(0);
        no_tags(&mut frame);
        let length = frame.len().saturating_sub(PREFIX_LENGTH);
        if let Some(prefix) = frame.first_chunk_mut() {
            // A name and a few numbers.
            *prefix = u32::try_from(length).unwrap_or_default().to_be_bytes();
        }
        frame
    }
}

/// What is left to read.
struct Rest<'a> {
    bytes: &'a [u8],
    flexible: bool,
}

impl<'a> Rest<'a> {
    /// Where in the body `last` begins, which was read last.
    fn position_in(&self, body: &[u8], last: &[u8]) -> usize {
        let end = body.len().saturating_sub(self.bytes.len());
        end.saturating_sub(last.len())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*array)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(slice)
    }

    /// A length of the flexible versions that is neither null nor longer than three bytes can say, which is two mebibytes: who sends
    /// more has other costs.
    fn compact_length(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14] {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value.checked_sub(1);
            }
        }
        None
    }

    fn null_string(&mut self) -> Option<()> {
        let is_null = if self.flexible {
            self.array()? == [0]
        } else {
            self.array()? == [0xff; 2]
        };
        is_null.then_some(())
    }

    /// The length of an array that has one element.
    fn count_of_one(&mut self) -> Option<()> {
        let is_one = if self.flexible {
            self.array()? == [2]
        } else {
            self.array()? == [0, 0, 0, 1]
        };
        is_one.then_some(())
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            usize::try_from(i16::from_be_bytes(self.array()?)).ok()?
        };
        (length <= STRING_LENGTH_MAX).then(|| self.slice(length))?
    }

    fn byte_field(&mut self) -> Option<&'a [u8]> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            usize::try_from(i32::from_be_bytes(self.array()?)).ok()?
        };
        self.slice(length)
    }

    fn no_tags(&mut self) -> Option<()> {
        let has_none = !self.flexible || self.array()? == [0];
        has_none.then_some(())
    }
}

const FLEXIBLE_FIRST: i16 = ProduceRequest::FLEXIBLE_FIRST;
/// The first versions with these fields, as the messages have it.
const IDS_FIRST: i16 = 13;
const START_FIRST: i16 = 5;
const RECORD_ERRORS_FIRST: i16 = 8;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::response_frame;
    use crate::message::produce::{
        ProduceRequest, ProduceRequestPartition, ProduceRequestTopic, ProduceResponse,
        ProduceResponsePartition, ProduceResponseTopic,
    };
    use crate::sample::{SampleMessage, Source};
    use crate::{Message, Reader};

    /// The same as a message of arrays.
    fn spread(lone: LoneBatch<'_>, body: &Bytes) -> ProduceRequest {
        let (records, topic) = lone.places().cut(body.clone());
        match (&topic, lone.topic) {
            (LoneTopic::Name(kept), NamedBy::Name(name)) => assert_eq!(&**kept, name),
            (LoneTopic::Id(kept), NamedBy::Id(id)) => assert_eq!(*kept, id),
            _ => panic!("{topic:?}"),
        }
        assert_eq!(records, lone.records);
        let (name, topic_id) = named(&topic);
        ProduceRequest {
            transactional_id: None,
            acks: lone.acks,
            timeout_ms: lone.timeout_ms,
            topic_data: vec![ProduceRequestTopic {
                name,
                topic_id,
                partition_data: vec![ProduceRequestPartition {
                    index: lone.index,
                    records: Some(records),
                }],
            }],
        }
    }

    fn named(topic: &LoneTopic) -> (Str, Uuid) {
        match topic {
            LoneTopic::Name(name) => (name.clone(), Uuid::default()),
            LoneTopic::Id(id) => (Str::default(), *id),
        }
    }

    fn is_lone(request: &ProduceRequest) -> bool {
        let [topic] = &*request.topic_data else {
            return false;
        };
        let [partition] = &*topic.partition_data else {
            return false;
        };
        request.transactional_id.is_none() && partition.records.is_some()
    }

    proptest! {
        #[test]
        fn a_lone_batch_reads_as_the_message_does(
            acks in -2..3_i16,
            timeout_ms: i32,
            name in ".{0,200}",
            id: u128,
            index: i32,
            records in prop::collection::vec(any::<u8>(), 0..300),
            behind in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            for version in ProduceRequest::VERSIONS {
                let by_id = version >= IDS_FIRST;
                let request = ProduceRequest {
                    transactional_id: None,
                    acks,
                    timeout_ms,
                    topic_data: vec![ProduceRequestTopic {
                        name: if by_id { Str::default() } else { Str::from(&*name) },
                        topic_id: if by_id { Uuid(id) } else { Uuid::default() },
                        partition_data: vec![ProduceRequestPartition {
                            index,
                            records: Some(Bytes::from(records.clone())),
                        }],
                    }],
                };
                let bytes = request.to_bytes(version).unwrap();
                let mut body = BytesMut::from(&*bytes);
                body.extend_from_slice(&behind);
                let body = body.freeze();
                let lone = LoneBatch::read(&body, version);
                prop_assert_eq!(lone.map(|lone| spread(lone, &body)), Some(request));
                for length in 0..bytes.len() {
                    prop_assert_eq!(LoneBatch::read(&bytes[..length], version), None);
                }
            }
        }

        #[test]
        fn other_requests_are_left_to_the_message(
            choices in prop::collection::vec(any::<u8>(), 0..200),
            place: prop::sample::Index,
            value: u8,
        ) {
            for version in ProduceRequest::VERSIONS {
                let source = &mut Source::new(&choices);
                let sample = ProduceRequest::sample_message(source, version).unwrap();
                let bytes = sample.to_bytes(version).unwrap();
                let lone = LoneBatch::read(&bytes, version);
                prop_assert_eq!(lone.is_some(), is_lone(&sample));
                prop_assert!(lone.is_none_or(|lone| spread(lone, &bytes) == sample));
                // Whatever is in it, what is read is what the message reads.
                let mut damaged = BytesMut::from(&*bytes);
                let place = place.index(damaged.len());
                damaged[place] = value;
                let damaged = damaged.freeze();
                if let Some(lone) = LoneBatch::read(&damaged, version) {
                    let mut reader = Reader::new(damaged.clone(), 1 << 20);
                    let read = ProduceRequest::decode(&mut reader, version);
                    prop_assert_eq!(read, Ok(spread(lone, &damaged)));
                }
            }
        }

        #[test]
        fn the_answer_is_that_of_the_message(
            name in ".{0,200}",
            id: u128,
            index: i32,
            correlation_id: i32,
            base_offset: i64,
            log_append_time_ms: i64,
            log_start_offset: i64,
        ) {
            for version in ProduceResponse::VERSIONS {
                let topic = if version >= IDS_FIRST {
                    LoneTopic::Id(Uuid(id))
                } else {
                    LoneTopic::Name(Str::from(&*name))
                };
                let place = LoneAppended { base_offset, log_append_time_ms, log_start_offset };
                let (name, topic_id) = named(&topic);
                let response = ProduceResponse {
                    responses: vec![ProduceResponseTopic {
                        name,
                        topic_id,
                        partition_responses: vec![ProduceResponsePartition {
                            index,
                            base_offset,
                            log_append_time_ms,
                            log_start_offset,
                            ..Default::default()
                        }],
                    }],
                    ..Default::default()
                };
                let answer = topic.appended_answer(correlation_id, version, index, place);
                prop_assert_eq!(answer.len(), answer.capacity(), "version {}", version);
                let frame = response_frame(correlation_id, &response, version).unwrap();
                prop_assert_eq!(answer, frame);
            }
        }
    }

    #[test]
    fn names_of_any_length_are_written_with_theirs() {
        for length in [126, 127, 128, 16_382, 16_383, 32_767] {
            let topic = LoneTopic::Name(Str::from("a".repeat(length)));
            let place = LoneAppended {
                base_offset: 1,
                log_append_time_ms: -1,
                log_start_offset: 0,
            };
            for version in [8, 9] {
                let (name, _) = named(&topic);
                let response = ProduceResponse {
                    responses: vec![ProduceResponseTopic {
                        name,
                        partition_responses: vec![ProduceResponsePartition {
                            base_offset: 1,
                            log_start_offset: 0,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                let answer = topic.appended_answer(5, version, 0, place);
                assert_eq!(answer.len(), answer.capacity());
                assert_eq!(answer, response_frame(5, &response, version).unwrap());
            }
        }
    }
}
