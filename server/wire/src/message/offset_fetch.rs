//! OffsetFetch (key 9): how far groups have read.
//!
//! Up to version 7 a request is about one group, from version 8 about a list of them; from version 10 topics are named by id.

use crate::error_code::ErrorCode;
use crate::text::Str;
use crate::uuid::Uuid;

messages! {
    OffsetFetch: versions 1..=10, flexible 6..;

    request {
        /// Asks for the offsets of one group (up to version 7) or several.
        struct OffsetFetchRequest {
            group_id: Str [..=7],
            /// Null: all partitions with an offset.
            topics: Option<Vec<OffsetFetchRequestTopic>> [..=7, nullable 2..=7] = Some(Vec::new()),
            groups: Vec<OffsetFetchRequestGroup> [8..],
            /// Whether to refuse while a transaction may still change the offset.
            require_stable: bool [7..],
        }

        /// The partitions of one topic.
        struct OffsetFetchRequestTopic {
            name: Str,
            partition_indexes: Vec<i32>,
        }

        /// What is asked about one group.
        struct OffsetFetchRequestGroup {
            group_id: Str,
            member_id: Option<Str> [9..],
            member_epoch: i32 [9..] = -1,
            /// Null: all partitions with an offset.
            topics: Option<Vec<OffsetFetchRequestGroupTopic>>,
        }

        /// The partitions of one topic.
        struct OffsetFetchRequestGroupTopic {
            name: Str [8..=9],
            topic_id: Uuid [10..],
            partition_indexes: Vec<i32>,
        }
    }

    response {
        /// The offsets of one group (up to version 7) or several.
        struct OffsetFetchResponse {
            throttle_time_ms: i32 [3..],
            topics: Vec<OffsetFetchResponseTopic> [..=7],
            error_code: ErrorCode [2..=7],
            groups: Vec<OffsetFetchResponseGroup> [8..],
        }

        /// The offsets in one topic.
        struct OffsetFetchResponseTopic {
            name: Str,
            partitions: Vec<OffsetFetchResponsePartition>,
        }

        /// The offset in one partition.
        struct OffsetFetchResponsePartition {
            partition_index: i32,
            /// -1 if there is none.
            committed_offset: i64,
            committed_leader_epoch: i32 [5..=7] = -1,
            metadata: Option<Str>,
            error_code: ErrorCode,
        }

        /// The offsets of one group.
        struct OffsetFetchResponseGroup {
            group_id: Str,
            topics: Vec<OffsetFetchResponseGroupTopic>,
            error_code: ErrorCode,
        }

        /// The offsets in one topic.
        struct OffsetFetchResponseGroupTopic {
            name: Str [8..=9],
            topic_id: Uuid [10..],
            partitions: Vec<OffsetFetchResponseGroupPartition>,
        }

        /// The offset in one partition.
        struct OffsetFetchResponseGroupPartition {
            partition_index: i32,
            /// -1 if there is none.
            committed_offset: i64,
            committed_leader_epoch: i32 = -1,
            metadata: Option<Str>,
            error_code: ErrorCode,
        }
    }
}
