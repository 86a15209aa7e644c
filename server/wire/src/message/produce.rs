//! Produce (key 0): appends record batches to partitions.
//!
//! Records are not looked into here. Versions 0 to 2 carried older record formats; they have no messages.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::text::Str;
use crate::uuid::Uuid;

messages! {
    Produce: versions 3..=13, flexible 9..;

    request {
        /// Appends one batch per partition.
        struct ProduceRequest {
            transactional_id: Option<Str>,
            /// 0: no answer; 1: once the leader wrote it; -1: once it is on all in-sync replicas.
            acks: i16,
            /// How long to wait for replicas.
            timeout_ms: i32,
            topic_data: Vec<ProduceRequestTopic>,
        }

        /// The batches for one topic.
        struct ProduceRequestTopic {
            name: Str [..=12],
            topic_id: Uuid [13..],
            partition_data: Vec<ProduceRequestPartition>,
        }

        /// The batch for one partition.
        struct ProduceRequestPartition {
            index: i32,
            /// One record batch v2, as the producer built it.
            records: Option<Bytes>,
        }
    }

    response {
        /// What became of each batch. Not sent at all for acks=0.
        struct ProduceResponse {
            responses: Vec<ProduceResponseTopic>,
            throttle_time_ms: i32,
            node_endpoints: Vec<ProduceNodeEndpoint> [10.., tag 0],
        }

        /// The results of one topic.
        struct ProduceResponseTopic {
            name: Str [..=12],
            topic_id: Uuid [13..],
            partition_responses: Vec<ProduceResponsePartition>,
        }

        /// What became of one batch.
        struct ProduceResponsePartition {
            index: i32,
            error_code: ErrorCode,
            /// The offset of the first record; -1 with an error.
            base_offset: i64,
            /// The broker's timestamp if the topic uses log append time, else -1.
            log_append_time_ms: i64 = -1,
            log_start_offset: i64 [5..] = -1,
            record_errors: Vec<ProduceRecordError> [8..],
            error_message: Option<Str> [8..],
            current_leader: ProduceCurrentLeader [10.., tag 0],
        }

        /// A record because of which a batch was refused.
        struct ProduceRecordError {
            /// Place of the record within its batch, from 0.
            batch_index: i32,
            batch_index_error_message: Option<Str>,
        }

        /// Where the partition is led, for a client that asked the wrong broker (KIP-951).
        struct ProduceCurrentLeader {
            leader_id: i32 = -1,
            leader_epoch: i32 = -1,
        }

        /// The address of a leader named in this response.
        struct ProduceNodeEndpoint {
            node_id: i32,
            host: Str,
            port: i32,
            rack: Option<Str>,
        }
    }
}
