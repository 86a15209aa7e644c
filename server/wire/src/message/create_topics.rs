//! CreateTopics (key 19): creates topics.

use crate::error_code::ErrorCode;
use crate::text::Str;
use crate::uuid::Uuid;

messages! {
    CreateTopics: versions 2..=7, flexible 5..;

    request {
        /// The topics to create.
        struct CreateTopicsRequest {
            topics: Vec<CreateTopicsRequestTopic>,
            timeout_ms: i32 = 60000,
            /// Only find out whether it would work.
            validate_only: bool,
        }

        /// One topic to create.
        struct CreateTopicsRequestTopic {
            name: Str,
            /// -1: as configured, or `assignments` says it.
            num_partitions: i32,
            /// -1: as configured, or `assignments` says it.
            replication_factor: i16,
            assignments: Vec<CreateTopicsAssignment>,
            configs: Vec<CreateTopicsRequestConfig>,
        }

        /// Where one partition is to live.
        struct CreateTopicsAssignment {
            partition_index: i32,
            broker_ids: Vec<i32>,
        }

        /// A configuration value of a new topic.
        struct CreateTopicsRequestConfig {
            name: Str,
            value: Option<Str>,
        }
    }

    response {
        /// What became of each topic.
        struct CreateTopicsResponse {
            throttle_time_ms: i32,
            topics: Vec<CreateTopicsResponseTopic>,
        }

        /// What became of one topic.
        struct CreateTopicsResponseTopic {
            name: Str,
            topic_id: Uuid [7..],
            error_code: ErrorCode,
            error_message: Option<Str>,
            topic_config_error_code: ErrorCode [5.., tag 0],
            num_partitions: i32 [5..] = -1,
            replication_factor: i16 [5..] = -1,
            /// Null if the client may not see them.
            configs: Option<Vec<CreateTopicsResponseConfig>> [5..],
        }

        /// A configuration value the new topic has.
        struct CreateTopicsResponseConfig {
            name: Str,
            value: Option<Str>,
            read_only: bool,
            /// As in DescribeConfigs.
            config_source: i8 = -1,
            is_sensitive: bool,
        }
    }
}
