//! OffsetDelete (key 47): deletes offsets of a group (KIP-496). Never became flexible.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    OffsetDelete: versions 0..=0, flexible never;

    request {
        /// The offsets to delete.
        struct OffsetDeleteRequest {
            group_id: Str,
            topics: Vec<OffsetDeleteRequestTopic>,
        }

        /// The partitions of one topic.
        struct OffsetDeleteRequestTopic {
            name: Str,
            partitions: Vec<OffsetDeleteRequestPartition>,
        }

        /// One partition.
        struct OffsetDeleteRequestPartition {
            partition_index: i32,
        }
    }

    response {
        /// What became of each offset.
        struct OffsetDeleteResponse {
            error_code: ErrorCode,
            throttle_time_ms: i32,
            topics: Vec<OffsetDeleteResponseTopic>,
        }

        /// The results of one topic.
        struct OffsetDeleteResponseTopic {
            name: Str,
            partitions: Vec<OffsetDeleteResponsePartition>,
        }

        /// The result of one partition.
        struct OffsetDeleteResponsePartition {
            partition_index: i32,
            error_code: ErrorCode,
        }
    }
}
