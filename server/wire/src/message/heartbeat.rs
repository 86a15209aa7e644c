//! Heartbeat (key 12): a member of a classic group is alive, and learns of rebalances.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    Heartbeat: versions 0..=4, flexible 4..;

    request {
        /// A sign of life.
        struct HeartbeatRequest {
            group_id: Str,
            generation_id: i32,
            member_id: Str,
            group_instance_id: Option<Str> [3..],
        }
    }

    response {
        /// Whether the member is still part of the generation.
        struct HeartbeatResponse {
            throttle_time_ms: i32 [1..],
            error_code: ErrorCode,
        }
    }
}
