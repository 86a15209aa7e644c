//! Fetch (key 1): reads record batches, for consumers and for replicas.
//!
//! A session (KIP-227, versions from 7) lets a client name only what changed since its last request. The records of a
//! response may lie in files: see [`Records`].

use bytes::Bytes;

use crate::error::{DecodeError, EncodeError};
use crate::error_code::ErrorCode;
use crate::field::{self, Field, Form, NullableField};
use crate::reader::Reader;
use crate::sample::{Sample, Source};
use crate::text::Str;
use crate::uuid::Uuid;
use crate::writer::Writer;

messages! {
    Fetch: versions 4..=18, flexible 12..;

    request {
        /// Asks for records from given offsets on.
        struct FetchRequest {
            cluster_id: Option<Str> [12.., tag 0],
            /// The broker that asks; -1 for a consumer.
            replica_id: i32 [..=14] = -1,
            replica_state: FetchReplicaState [15.., tag 1],
            /// How long to wait for `min_bytes` of records.
            max_wait_ms: i32,
            min_bytes: i32,
            /// The most bytes of records in the response; the first batch may exceed it.
            max_bytes: i32 = i32::MAX,
            /// 0: up to the high watermark; 1: up to the last stable offset, with the list of aborted transactions.
            isolation_level: i8,
            /// 0 for none.
            session_id: i32 [7..],
            /// 0 opens a session, -1 closes it or does without one, else the next number of the session.
            session_epoch: i32 [7..] = -1,
            topics: Vec<FetchRequestTopic>,
            forgotten_topics_data: Vec<FetchForgottenTopic> [7..],
            /// Where the consumer is, for reading from a near replica.
            rack_id: Str [11..],
        }

        /// Who asks, if it is a replica.
        struct FetchReplicaState {
            replica_id: i32 = -1,
            replica_epoch: i64 = -1,
        }

        /// The partitions of one topic to read from.
        struct FetchRequestTopic {
            topic: Str [..=12],
            topic_id: Uuid [13..],
            partitions: Vec<FetchRequestPartition>,
        }

        /// Where to read in one partition.
        struct FetchRequestPartition {
            partition: i32,
            /// The epoch the client believes in; -1: not to be checked.
            current_leader_epoch: i32 [9..] = -1,
            fetch_offset: i64,
            /// The epoch of the last record the asking log has; -1 for none.
            last_fetched_epoch: i32 [12..] = -1,
            /// The follower's log start offset; -1 from consumers.
            log_start_offset: i64 [5..] = -1,
            partition_max_bytes: i32,
            replica_directory_id: Uuid [17.., tag 0],
            /// The high watermark the follower knows (KIP-1166).
            high_watermark: i64 [18.., tag 1] = i64::MAX,
        }

        /// Partitions to take out of the session.
        struct FetchForgottenTopic {
            topic: Str [7..=12],
            topic_id: Uuid [13..],
            partitions: Vec<i32>,
        }
    }

    response {
        /// Records, in the order of the request.
        struct FetchResponse {
            throttle_time_ms: i32,
            error_code: ErrorCode [7..],
            /// 0: no session.
            session_id: i32 [7..],
            responses: Vec<FetchResponseTopic>,
            node_endpoints: Vec<FetchNodeEndpoint> [16.., tag 0],
        }

        /// What was read from one topic.
        struct FetchResponseTopic {
            topic: Str [..=12],
            topic_id: Uuid [13..],
            partitions: Vec<FetchResponsePartition>,
        }

        /// What was read from one partition.
        struct FetchResponsePartition {
            partition_index: i32,
            error_code: ErrorCode,
            /// Exclusive; -1 with an error.
            high_watermark: i64,
            /// Exclusive; -1 if not asked for or with an error.
            last_stable_offset: i64 = -1,
            log_start_offset: i64 [5..] = -1,
            diverging_epoch: FetchDivergingEpoch [12.., tag 0],
            current_leader: FetchCurrentLeader [12.., tag 1],
            snapshot_id: FetchSnapshotId [12.., tag 2],
            /// Sorted by first offset; null unless read_committed was asked for.
            aborted_transactions: Option<Vec<FetchAbortedTransaction>>,
            /// The replica to read from instead; -1 for none. No records then.
            preferred_read_replica: i32 [11..] = -1,
            /// Record batches; the last one may be cut.
            records: Option<Records>,
        }

        /// The largest epoch, with its end, that the leader shares with the asking log.
        struct FetchDivergingEpoch {
            epoch: i32 = -1,
            end_offset: i64 = -1,
        }

        /// Where the partition is led, for a client that asked the wrong broker (KIP-951).
        struct FetchCurrentLeader {
            leader_id: i32 = -1,
            leader_epoch: i32 = -1,
        }

        /// The snapshot to fetch instead (KIP-630: metadata log only).
        struct FetchSnapshotId {
            end_offset: i64 = -1,
            epoch: i32 = -1,
        }

        /// A transaction whose records within the response are to be left out.
        struct FetchAbortedTransaction {
            producer_id: i64,
            first_offset: i64,
        }

        /// The address of a leader named in this response.
        struct FetchNodeEndpoint {
            node_id: i32,
            host: Str,
            port: i32,
            rack: Option<Str>,
        }
    }
}

/// Record batches of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// In memory; as received, or to be sent.
    Bytes(Bytes),
    /// To be sent from files: only the length is known here. Encoded by [`response_pieces`](crate::frame::response_pieces),
    /// which leaves a gap where they belong. Never received.
    Elsewhere {
        /// Bytes of record batches.
        length: u32,
    },
}

impl Records {
    /// Bytes of record batches.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Elsewhere { length } => usize::try_from(*length).unwrap_or(usize::MAX),
        }
    }
}

impl Field for Records {
    fn length_min(form: Form) -> usize {
        Bytes::length_min(form)
    }

    fn decode(reader: &mut Reader, form: Form) -> Result<Self, DecodeError> {
        Bytes::decode(reader, form).map(Self::Bytes)
    }

    fn encode<W: Writer>(&self, writer: &mut W, form: Form) -> Result<(), EncodeError> {
        match self {
            Self::Bytes(bytes) => bytes.encode(writer, form),
            Self::Elsewhere { length } => {
                field::encode_length(Some(self.length()), writer, form)?;
                Ok(writer.elsewhere(*length)?)
            }
        }
    }
}

impl NullableField for Records {
    fn decode_nullable(reader: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError> {
        Ok(Bytes::decode_nullable(reader, form)?.map(Self::Bytes))
    }

    fn encode_nullable<W: Writer>(
        value: Option<&Self>,
        writer: &mut W,
        form: Form,
    ) -> Result<(), EncodeError> {
        match value {
            None => Bytes::encode_nullable(None, writer, form),
            Some(records) => records.encode(writer, form),
        }
    }

    fn length_min_nullable(form: Form) -> usize {
        Bytes::length_min_nullable(form)
    }
}

impl Sample for Records {
    fn sample(source: &mut Source<'_>, form: Form) -> Self {
        Self::Bytes(Bytes::sample(source, form))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::error::EncodeFault;
    use crate::frame::{response_frame, response_pieces};
    use crate::message::Message;
    use crate::writer::Piece;

    /// Two topics; of the second one's partitions, one has records in memory, one empty ones, one none.
    fn response(records: impl Fn(&'static [u8]) -> Records) -> FetchResponse {
        let partition = |index, records| FetchResponsePartition {
            partition_index: index,
            current_leader: FetchCurrentLeader {
                leader_id: 1,
                leader_epoch: 7,
            },
            records,
            ..Default::default()
        };
        let topic = |name: &str, partitions| FetchResponseTopic {
            topic: name.into(),
            partitions,
            ..Default::default()
        };
        FetchResponse {
            responses: vec![
                topic("orders", vec![partition(0, Some(records(b"first")))]),
                topic(
                    "payments",
                    vec![
                        partition(0, Some(Records::Bytes(Bytes::from_static(b"memory")))),
                        partition(1, Some(records(b""))),
                        partition(2, None),
                        partition(3, Some(records(b"second one"))),
                    ],
                ),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn pieces_with_their_gaps_filled_are_the_frame_with_records_in_memory() {
        for version in FetchResponse::VERSIONS {
            let whole = response(|bytes| Records::Bytes(Bytes::from_static(bytes)));
            let frame = response_frame(5, &whole, version).unwrap();
            let gaps = response(|bytes| Records::Elsewhere {
                length: u32::try_from(bytes.len()).unwrap(),
            });
            let mut filled = BytesMut::new();
            for piece in response_pieces(5, &gaps, version).unwrap() {
                match piece {
                    Piece::Bytes(bytes) => filled.extend_from_slice(&bytes),
                    Piece::Records { index, length } => {
                        let records = [&b"first"[..], b"", b"second one"][index];
                        assert_eq!(records.len(), length as usize);
                        filled.extend_from_slice(records);
                    }
                }
            }
            assert_eq!(filled, frame, "version {version}");
        }
    }

    #[test]
    fn one_buffer_refuses_records_that_lie_in_files() {
        let gaps = response(|_| Records::Elsewhere { length: 9 });
        let error = response_frame(5, &gaps, 12).unwrap_err();
        assert_eq!(error.fault, EncodeFault::Elsewhere { length: 9 });
        assert_eq!(error.place, "FetchResponsePartition.records");
    }

    #[test]
    fn decoded_records_are_a_slice_of_the_frame() {
        let whole = response(|bytes| Records::Bytes(Bytes::from_static(bytes)));
        let bytes = whole.to_bytes(12).unwrap();
        let read: FetchResponse = Message::decode(&mut Reader::new(bytes.clone(), 4096), 12).unwrap();
        let Some(Records::Bytes(records)) = &read.responses[0].partitions[0].records else {
            panic!("no records in {read:?}");
        };
        assert!(bytes.as_ptr_range().contains(&records.as_ptr()));
    }
}
