//! SyncGroup (key 14): the leader of a classic group hands in the assignment, every member gets its part.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    SyncGroup: versions 0..=5, flexible 4..;

    request {
        /// Asks for the own assignment; from the leader, brings those of all.
        struct SyncGroupRequest {
            group_id: Str,
            generation_id: i32,
            member_id: Str,
            group_instance_id: Option<Str> [3..],
            protocol_type: Option<Str> [5..],
            protocol_name: Option<Str> [5..],
            assignments: Vec<SyncGroupAssignment>,
        }

        /// One member's assignment.
        struct SyncGroupAssignment {
            member_id: Str,
            assignment: Bytes,
        }
    }

    response {
        /// The assignment of the member that asked.
        struct SyncGroupResponse {
            throttle_time_ms: i32 [1..],
            error_code: ErrorCode,
            protocol_type: Option<Str> [5..],
            protocol_name: Option<Str> [5..],
            assignment: Bytes,
        }
    }
}
