//! Metadata (key 3): the brokers, and for topics their partitions with leader and replicas.

use crate::error_code::ErrorCode;
use crate::text::Str;
use crate::uuid::Uuid;

messages! {
    Metadata: versions 0..=13, flexible 9..;

    request {
        /// Asks about some or all topics.
        struct MetadataRequest {
            /// Null: all topics. Empty: none, but in version 0 all.
            topics: Option<Vec<MetadataRequestTopic>> [.., nullable 1..] = Some(Vec::new()),
            allow_auto_topic_creation: bool [4..] = true,
            include_cluster_authorized_operations: bool [8..=10],
            include_topic_authorized_operations: bool [8..],
        }

        /// A topic asked about, by name or (from version 10) by id.
        struct MetadataRequestTopic {
            topic_id: Uuid [10..],
            name: Option<Str> [.., nullable 10..] = Some(Str::default()),
        }
    }

    response {
        /// The brokers and the topics asked about.
        struct MetadataResponse {
            throttle_time_ms: i32 [3..],
            brokers: Vec<MetadataBroker>,
            cluster_id: Option<Str> [2..],
            controller_id: i32 [1..] = -1,
            topics: Vec<MetadataResponseTopic>,
            /// Bit mask of what the client may do (bit = operation code); `i32::MIN` if it did not ask.
            cluster_authorized_operations: i32 [8..=10] = i32::MIN,
            error_code: ErrorCode [13..],
        }

        /// A live broker and its address on the listener of the request.
        struct MetadataBroker {
            node_id: i32,
            host: Str,
            port: i32,
            rack: Option<Str> [1..],
        }

        /// One topic.
        struct MetadataResponseTopic {
            error_code: ErrorCode,
            name: Option<Str> [.., nullable 12..] = Some(Str::default()),
            topic_id: Uuid [10..],
            is_internal: bool [1..],
            partitions: Vec<MetadataResponsePartition>,
            /// Bit mask of what the client may do (bit = operation code); `i32::MIN` if it did not ask.
            topic_authorized_operations: i32 [8..] = i32::MIN,
        }

        /// One partition.
        struct MetadataResponsePartition {
            error_code: ErrorCode,
            partition_index: i32,
            /// -1 if there is none.
            leader_id: i32,
            leader_epoch: i32 [7..] = -1,
            replica_nodes: Vec<i32>,
            isr_nodes: Vec<i32>,
            offline_replicas: Vec<i32> [5..],
        }
    }
}
