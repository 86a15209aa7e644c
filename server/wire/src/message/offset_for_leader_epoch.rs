//! OffsetForLeaderEpoch (key 23): where a leader epoch ended, to find out whether logs diverged (KIP-101, KIP-320).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    OffsetForLeaderEpoch: versions 2..=4, flexible 4..;

    request {
        /// Asks where leader epochs ended.
        struct OffsetForLeaderEpochRequest {
            /// The broker that asks; -1 for a consumer.
            replica_id: i32 [3..] = -2,
            topics: Vec<OffsetForLeaderEpochRequestTopic>,
        }

        /// The partitions of one topic.
        struct OffsetForLeaderEpochRequestTopic {
            topic: Str,
            partitions: Vec<OffsetForLeaderEpochRequestPartition>,
        }

        /// The epoch asked about in one partition.
        struct OffsetForLeaderEpochRequestPartition {
            partition: i32,
            /// The epoch the client believes in; -1: not to be checked.
            current_leader_epoch: i32 = -1,
            leader_epoch: i32,
        }
    }

    response {
        /// Where the epochs ended.
        struct OffsetForLeaderEpochResponse {
            throttle_time_ms: i32,
            topics: Vec<OffsetForLeaderEpochResponseTopic>,
        }

        /// The ends in one topic.
        struct OffsetForLeaderEpochResponseTopic {
            topic: Str,
            partitions: Vec<OffsetForLeaderEpochResponsePartition>,
        }

        /// The end of the epoch in one partition.
        struct OffsetForLeaderEpochResponsePartition {
            error_code: ErrorCode,
            partition: i32,
            leader_epoch: i32 = -1,
            /// Exclusive; -1 if the epoch is unknown.
            end_offset: i64 = -1,
        }
    }
}
