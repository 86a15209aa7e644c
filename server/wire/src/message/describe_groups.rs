//! DescribeGroups (key 15): state and members of classic groups.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DescribeGroups: versions 0..=6, flexible 5..;

    request {
        /// Asks about groups.
        struct DescribeGroupsRequest {
            groups: Vec<Str>,
            include_authorized_operations: bool [3..],
        }
    }

    response {
        /// The groups asked about.
        struct DescribeGroupsResponse {
            throttle_time_ms: i32 [1..],
            groups: Vec<DescribedGroup>,
        }

        /// One group.
        struct DescribedGroup {
            error_code: ErrorCode,
            error_message: Option<Str> [6..],
            group_id: Str,
            /// Such as "Stable"; "Dead" for a group that does not exist.
            group_state: Str,
            protocol_type: Str,
            /// The chosen assignment strategy.
            protocol_data: Str,
            members: Vec<DescribedGroupMember>,
            /// Bit mask of what the client may do (bit = operation code); `i32::MIN` if it did not ask.
            authorized_operations: i32 [3..] = i32::MIN,
        }

        /// One member.
        struct DescribedGroupMember {
            member_id: Str,
            group_instance_id: Option<Str> [4..],
            client_id: Str,
            client_host: Str,
            member_metadata: Bytes,
            member_assignment: Bytes,
        }
    }
}
