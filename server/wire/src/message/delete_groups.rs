//! DeleteGroups (key 42): deletes empty groups with their offsets.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DeleteGroups: versions 0..=2, flexible 2..;

    request {
        /// The groups to delete.
        struct DeleteGroupsRequest {
            groups_names: Vec<Str>,
        }
    }

    response {
        /// What became of each group.
        struct DeleteGroupsResponse {
            throttle_time_ms: i32,
            results: Vec<DeleteGroupsResult>,
        }

        /// What became of one group.
        struct DeleteGroupsResult {
            group_id: Str,
            error_code: ErrorCode,
        }
    }
}
