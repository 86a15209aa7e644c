//! DescribeTopicPartitions (key 75): topics with their partitions, page by page (KIP-966).

use crate::error_code::ErrorCode;
use crate::text::Str;
use crate::uuid::Uuid;

messages! {
    DescribeTopicPartitions: versions 0..=0, flexible 0..;

    request {
        /// Asks for a page of topics.
        struct DescribeTopicPartitionsRequest {
            /// Empty: all.
            topics: Vec<DescribeTopicPartitionsRequestTopic>,
            /// The most partitions in the response.
            response_partition_limit: i32 = 2000,
            /// Where to go on; null: from the start.
            cursor: Option<DescribeTopicPartitionsCursor>,
        }

        /// A topic asked about.
        struct DescribeTopicPartitionsRequestTopic {
            name: Str,
        }

        /// The first topic and partition of a page.
        struct DescribeTopicPartitionsCursor {
            topic_name: Str,
            partition_index: i32,
        }
    }

    response {
        /// A page of topics.
        struct DescribeTopicPartitionsResponse {
            throttle_time_ms: i32,
            topics: Vec<DescribeTopicPartitionsResponseTopic>,
            /// Where to go on; null if this was all.
            next_cursor: Option<DescribeTopicPartitionsCursor>,
        }

        /// One topic.
        struct DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode,
            name: Option<Str>,
            topic_id: Uuid,
            is_internal: bool,
            partitions: Vec<DescribeTopicPartitionsResponsePartition>,
            /// Bit mask of what the client may do (bit = operation code); `i32::MIN` if it did not ask.
            topic_authorized_operations: i32 = i32::MIN,
        }

        /// One partition.
        struct DescribeTopicPartitionsResponsePartition {
            error_code: ErrorCode,
            partition_index: i32,
            leader_id: i32,
            leader_epoch: i32 = -1,
            replica_nodes: Vec<i32>,
            isr_nodes: Vec<i32>,
            /// Replicas that may lead although they left the in-sync set (KIP-966).
            eligible_leader_replicas: Option<Vec<i32>>,
            last_known_elr: Option<Vec<i32>>,
            offline_replicas: Vec<i32>,
        }
    }
}
