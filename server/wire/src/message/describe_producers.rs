//! DescribeProducers (key 61): the producers a partition leader remembers (KIP-664).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DescribeProducers: versions 0..=0, flexible 0..;

    request {
        /// The partitions asked about.
        struct DescribeProducersRequest {
            topics: Vec<DescribeProducersRequestTopic>,
        }

        /// The partitions of one topic.
        struct DescribeProducersRequestTopic {
            name: Str,
            partition_indexes: Vec<i32>,
        }
    }

    response {
        /// The producers of the partitions.
        struct DescribeProducersResponse {
            throttle_time_ms: i32,
            topics: Vec<DescribeProducersResponseTopic>,
        }

        /// The producers in one topic.
        struct DescribeProducersResponseTopic {
            name: Str,
            partitions: Vec<DescribeProducersResponsePartition>,
        }

        /// The producers of one partition.
        struct DescribeProducersResponsePartition {
            partition_index: i32,
            error_code: ErrorCode,
            error_message: Option<Str>,
            active_producers: Vec<DescribeProducersProducer>,
        }

        /// One producer.
        struct DescribeProducersProducer {
            producer_id: i64,
            producer_epoch: i32,
            last_sequence: i32 = -1,
            last_timestamp: i64 = -1,
            coordinator_epoch: i32,
            /// -1 if no transaction is open.
            current_txn_start_offset: i64 = -1,
        }
    }
}
