//! LeaveGroup (key 13): members leave a classic group.
//!
//! Up to version 2 one member leaves, from version 3 a list of them (KIP-345).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    LeaveGroup: versions 0..=5, flexible 4..;

    request {
        /// Who leaves.
        struct LeaveGroupRequest {
            group_id: Str,
            member_id: Str [..=2],
            members: Vec<LeaveGroupRequestMember> [3..],
        }

        /// One who leaves.
        struct LeaveGroupRequestMember {
            member_id: Str,
            group_instance_id: Option<Str>,
            reason: Option<Str> [5..],
        }
    }

    response {
        /// Whether they could.
        struct LeaveGroupResponse {
            throttle_time_ms: i32 [1..],
            error_code: ErrorCode,
            members: Vec<LeaveGroupResponseMember> [3..],
        }

        /// Whether one could.
        struct LeaveGroupResponseMember {
            member_id: Str,
            group_instance_id: Option<Str>,
            error_code: ErrorCode,
        }
    }
}
