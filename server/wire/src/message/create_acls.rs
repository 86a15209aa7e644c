//! CreateAcls (key 30): lets somebody do something, or forbids it (KIP-140).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    CreateAcls: versions 1..=3, flexible 2..;

    request {
        /// The rules to be made.
        struct CreateAclsRequest {
            creations: Vec<AclCreation>,
        }

        /// One rule.
        struct AclCreation {
            /// As in DescribeAcls.
            resource_type: i8,
            resource_name: Str,
            /// 3: literal, 4: prefixed.
            resource_pattern_type: i8 = 3,
            principal: Str,
            host: Str,
            operation: i8,
            /// 2: denied, 3: allowed.
            permission_type: i8,
        }
    }

    response {
        /// What became of each rule.
        struct CreateAclsResponse {
            throttle_time_ms: i32,
            results: Vec<AclCreationResult>,
        }

        /// What became of one rule.
        struct AclCreationResult {
            error_code: ErrorCode,
            error_message: Option<Str>,
        }
    }
}
