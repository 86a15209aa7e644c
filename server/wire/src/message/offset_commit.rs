//! OffsetCommit (key 8): stores how far a group has read.
//!
//! From version 10 topics are named by id instead of name.

use crate::error_code::ErrorCode;
use crate::text::Str;
use crate::uuid::Uuid;

messages! {
    OffsetCommit: versions 2..=10, flexible 8..;

    request {
        /// Stores offsets of one group.
        struct OffsetCommitRequest {
            group_id: Str,
            /// -1 from outside of the group.
            generation_id_or_member_epoch: i32 = -1,
            member_id: Str,
            group_instance_id: Option<Str> [7..],
            /// How long the broker keeps the offsets, from now; -1: as configured.
            retention_time_ms: i64 [..=4] = -1,
            topics: Vec<OffsetCommitRequestTopic>,
        }

        /// The offsets in one topic.
        struct OffsetCommitRequestTopic {
            name: Str [..=9],
            topic_id: Uuid [10..],
            partitions: Vec<OffsetCommitRequestPartition>,
        }

        /// The offset in one partition.
        struct OffsetCommitRequestPartition {
            partition_index: i32,
            committed_offset: i64,
            /// Epoch of the last consumed record; -1 if unknown.
            committed_leader_epoch: i32 [6..] = -1,
            committed_metadata: Option<Str>,
        }
    }

    response {
        /// What became of each offset.
        struct OffsetCommitResponse {
            throttle_time_ms: i32 [3..],
            topics: Vec<OffsetCommitResponseTopic>,
        }

        /// The results of one topic.
        struct OffsetCommitResponseTopic {
            name: Str [..=9],
            topic_id: Uuid [10..],
            partitions: Vec<OffsetCommitResponsePartition>,
        }

        /// The result of one partition.
        struct OffsetCommitResponsePartition {
            partition_index: i32,
            error_code: ErrorCode,
        }
    }
}
