//! DeleteRecords (key 21): moves the log start offset of partitions, so that what lies below is deleted.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DeleteRecords: versions 0..=2, flexible 2..;

    request {
        /// The partitions and how far to delete.
        struct DeleteRecordsRequest {
            topics: Vec<DeleteRecordsRequestTopic>,
            timeout_ms: i32,
        }

        /// The partitions of one topic.
        struct DeleteRecordsRequestTopic {
            name: Str,
            partitions: Vec<DeleteRecordsRequestPartition>,
        }

        /// How far to delete in one partition.
        struct DeleteRecordsRequestPartition {
            partition_index: i32,
            /// The new log start offset; -1: the high watermark.
            offset: i64,
        }
    }

    response {
        /// The new starts.
        struct DeleteRecordsResponse {
            throttle_time_ms: i32,
            topics: Vec<DeleteRecordsResponseTopic>,
        }

        /// The new starts in one topic.
        struct DeleteRecordsResponseTopic {
            name: Str,
            partitions: Vec<DeleteRecordsResponsePartition>,
        }

        /// The new start of one partition.
        struct DeleteRecordsResponsePartition {
            partition_index: i32,
            /// -1 with an error.
            low_watermark: i64,
            error_code: ErrorCode,
        }
    }
}
