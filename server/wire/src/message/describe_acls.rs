//! DescribeAcls (key 29): who may do what (KIP-140).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DescribeAcls: versions 1..=3, flexible 2..;

    request {
        /// Which rules to tell.
        struct DescribeAclsRequest {
            /// 0: unknown, 1: any, 2: topics, 3: groups, 4: the cluster, 5: transactional ids, 6: delegation tokens, 7: users.
            resource_type_filter: i8,
            /// Null is any.
            resource_name_filter: Option<Str>,
            /// 1: any, 2: what a resource is subject to, 3: literal, 4: prefixed.
            pattern_type_filter: i8 = 3,
            /// Null is any.
            principal_filter: Option<Str>,
            /// Null is any.
            host_filter: Option<Str>,
            operation: i8,
            /// 1: any, 2: denied, 3: allowed.
            permission_type: i8,
        }
    }

    response {
        /// The rules.
        struct DescribeAclsResponse {
            throttle_time_ms: i32,
            error_code: ErrorCode,
            error_message: Option<Str>,
            resources: Vec<DescribeAclsResource>,
        }

        /// A resource, or a pattern of their names.
        struct DescribeAclsResource {
            resource_type: i8,
            resource_name: Str,
            pattern_type: i8 = 3,
            acls: Vec<AclDescription>,
        }

        /// Who may do what with it.
        struct AclDescription {
            principal: Str,
            host: Str,
            operation: i8,
            permission_type: i8,
        }
    }
}
