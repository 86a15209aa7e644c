//! CreatePartitions (key 37): adds partitions to topics.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    CreatePartitions: versions 0..=3, flexible 2..;

    request {
        /// The topics to grow.
        struct CreatePartitionsRequest {
            topics: Vec<CreatePartitionsRequestTopic>,
            timeout_ms: i32,
            validate_only: bool,
        }

        /// One topic to grow.
        struct CreatePartitionsRequestTopic {
            name: Str,
            /// Partitions the topic is to have in all.
            count: i32,
            /// For the new partitions; null: automatic.
            assignments: Option<Vec<CreatePartitionsAssignment>>,
        }

        /// Where one new partition is to live.
        struct CreatePartitionsAssignment {
            broker_ids: Vec<i32>,
        }
    }

    response {
        /// What became of each topic.
        struct CreatePartitionsResponse {
            throttle_time_ms: i32,
            results: Vec<CreatePartitionsResponseTopic>,
        }

        /// What became of one topic.
        struct CreatePartitionsResponseTopic {
            name: Str,
            error_code: ErrorCode,
            error_message: Option<Str>,
        }
    }
}
