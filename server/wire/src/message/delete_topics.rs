//! DeleteTopics (key 20): deletes topics, from version 6 by name or by id.

use crate::error_code::ErrorCode;
use crate::text::Str;
use crate::uuid::Uuid;

messages! {
    DeleteTopics: versions 1..=6, flexible 4..;

    request {
        /// The topics to delete.
        struct DeleteTopicsRequest {
            topics: Vec<DeleteTopicsRequestTopic> [6..],
            topic_names: Vec<Str> [..=5],
            timeout_ms: i32,
        }

        /// One topic to delete, by name or by id.
        struct DeleteTopicsRequestTopic {
            name: Option<Str>,
            topic_id: Uuid,
        }
    }

    response {
        /// What became of each topic.
        struct DeleteTopicsResponse {
            throttle_time_ms: i32,
            responses: Vec<DeleteTopicsResponseTopic>,
        }

        /// What became of one topic.
        struct DeleteTopicsResponseTopic {
            name: Option<Str> [.., nullable 6..] = Some(Str::default()),
            topic_id: Uuid [6..],
            error_code: ErrorCode,
            error_message: Option<Str> [5..],
        }
    }
}
