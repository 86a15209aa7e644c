//! DescribeLogDirs (key 35): the broker's log directories and the replicas in them.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DescribeLogDirs: versions 1..=5, flexible 2..;

    request {
        /// Asks about all or some replicas.
        struct DescribeLogDirsRequest {
            /// Null: all.
            topics: Option<Vec<DescribeLogDirsRequestTopic>> = Some(Vec::new()),
        }

        /// Partitions of one topic.
        struct DescribeLogDirsRequestTopic {
            topic: Str,
            partitions: Vec<i32>,
        }
    }

    response {
        /// The log directories.
        struct DescribeLogDirsResponse {
            throttle_time_ms: i32,
            error_code: ErrorCode [3..],
            results: Vec<DescribeLogDirsDirectory>,
        }

        /// One log directory.
        struct DescribeLogDirsDirectory {
            error_code: ErrorCode,
            log_dir: Str,
            topics: Vec<DescribeLogDirsResponseTopic>,
            /// Size of the volume; -1 if unknown.
            total_bytes: i64 [4..] = -1,
            /// Free on the volume; -1 if unknown.
            usable_bytes: i64 [4..] = -1,
            /// Closed for new replicas (KIP-1066).
            is_cordoned: bool [5..],
        }

        /// The replicas of one topic in the directory.
        struct DescribeLogDirsResponseTopic {
            name: Str,
            partitions: Vec<DescribeLogDirsResponsePartition>,
        }

        /// One replica.
        struct DescribeLogDirsResponsePartition {
            partition_index: i32,
            partition_size: i64,
            /// How far the replica is behind.
            offset_lag: i64,
            /// Being copied to this directory, to replace the one in another.
            is_future_key: bool,
        }
    }
}
