//! ListOffsets (key 2): the offset of a point in time, or of the start or end of a partition.
//!
//! Version 11 has the fields of 10; it allows one more special timestamp (-6, KIP-1023).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    ListOffsets: versions 1..=11, flexible 6..;

    request {
        /// Asks for offsets by timestamp.
        struct ListOffsetsRequest {
            /// The broker that asks; -1 for a client.
            replica_id: i32,
            /// 0: the end is the high watermark; 1: the last stable offset.
            isolation_level: i8 [2..],
            topics: Vec<ListOffsetsRequestTopic>,
            /// How long to wait for remote storage.
            timeout_ms: i32 [10..],
        }

        /// The partitions of one topic to look in.
        struct ListOffsetsRequestTopic {
            name: Str,
            partitions: Vec<ListOffsetsRequestPartition>,
        }

        /// What to look for in one partition.
        struct ListOffsetsRequestPartition {
            partition_index: i32,
            /// The epoch the client believes in; -1: not to be checked.
            current_leader_epoch: i32 [4..] = -1,
            /// Milliseconds; negative numbers are special points such as -1 (end) and -2 (start).
            timestamp: i64,
        }
    }

    response {
        /// The offsets found.
        struct ListOffsetsResponse {
            throttle_time_ms: i32 [2..],
            topics: Vec<ListOffsetsResponseTopic>,
        }

        /// The offsets in one topic.
        struct ListOffsetsResponseTopic {
            name: Str,
            partitions: Vec<ListOffsetsResponsePartition>,
        }

        /// The offset found in one partition.
        struct ListOffsetsResponsePartition {
            partition_index: i32,
            error_code: ErrorCode,
            timestamp: i64 = -1,
            /// -1 if there is none.
            offset: i64 = -1,
            leader_epoch: i32 [4..] = -1,
        }
    }
}
