//! FindCoordinator (key 10): which broker coordinates a group, a transaction or a share partition.
//!
//! Up to version 3 a request has one key, from version 4 a list of them.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    FindCoordinator: versions 0..=6, flexible 3..;

    request {
        /// Asks for the coordinators of keys of one type.
        struct FindCoordinatorRequest {
            key: Str [..=3],
            /// 0: group, 1: transactional id, 2: share partition.
            key_type: i8 [1..],
            coordinator_keys: Vec<Str> [4..],
        }
    }

    response {
        /// The coordinator of one key (up to version 3) or of several.
        struct FindCoordinatorResponse {
            throttle_time_ms: i32 [1..],
            error_code: ErrorCode [..=3],
            error_message: Option<Str> [1..=3],
            node_id: i32 [..=3],
            host: Str [..=3],
            port: i32 [..=3],
            coordinators: Vec<FindCoordinatorEntry> [4..],
        }

        /// The coordinator of one key.
        struct FindCoordinatorEntry {
            key: Str,
            node_id: i32,
            host: Str,
            port: i32,
            error_code: ErrorCode,
            error_message: Option<Str>,
        }
    }
}
