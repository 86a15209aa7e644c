//! ListGroups (key 16): the groups this broker coordinates.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    ListGroups: versions 0..=5, flexible 3..;

    request {
        /// Asks for all groups, or those in some states and of some types.
        struct ListGroupsRequest {
            /// Empty: all.
            states_filter: Vec<Str> [4..],
            /// Empty: all.
            types_filter: Vec<Str> [5..],
        }
    }

    response {
        /// The groups found.
        struct ListGroupsResponse {
            throttle_time_ms: i32 [1..],
            error_code: ErrorCode,
            groups: Vec<ListedGroup>,
        }

        /// One group.
        struct ListedGroup {
            group_id: Str,
            protocol_type: Str,
            group_state: Str [4..],
            group_type: Str [5..],
        }
    }
}
