//! JoinGroup (key 11): a member asks to be part of the next generation of a classic group.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    JoinGroup: versions 0..=9, flexible 6..;

    request {
        /// A member and what it supports.
        struct JoinGroupRequest {
            group_id: Str,
            session_timeout_ms: i32,
            /// How long the member may take to rejoin; in version 0, without the field, its session timeout.
            rebalance_timeout_ms: i32 [1..] = -1,
            /// Empty if it has none yet.
            member_id: Str,
            /// Makes the member static (KIP-345).
            group_instance_id: Option<Str> [5..],
            protocol_type: Str,
            /// The most preferred first.
            protocols: Vec<JoinGroupProtocol>,
            reason: Option<Str> [8..],
        }

        /// An assignment strategy the member supports.
        struct JoinGroupProtocol {
            name: Str,
            metadata: Bytes,
        }
    }

    response {
        /// The generation the member is part of.
        struct JoinGroupResponse {
            throttle_time_ms: i32 [2..],
            error_code: ErrorCode,
            generation_id: i32 = -1,
            protocol_type: Option<Str> [7..],
            protocol_name: Option<Str> [.., nullable 7..] = Some(Str::default()),
            leader: Str,
            /// The leader need not assign: the group is unchanged (KIP-814).
            skip_assignment: bool [9..],
            member_id: Str,
            members: Vec<JoinGroupMember>,
        }

        /// A member of the generation; only the leader gets the list.
        struct JoinGroupMember {
            member_id: Str,
            group_instance_id: Option<Str> [5..],
            metadata: Bytes,
        }
    }
}
