//! DeleteAcls (key 31): takes rules back (KIP-140).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DeleteAcls: versions 1..=3, flexible 2..;

    request {
        /// Which rules to take back.
        struct DeleteAclsRequest {
            filters: Vec<DeleteAclsFilter>,
        }

        /// Those that match all of this.
        struct DeleteAclsFilter {
            /// As in DescribeAcls, and so are the others.
            resource_type_filter: i8,
            resource_name_filter: Option<Str>,
            pattern_type_filter: i8 = 3,
            principal_filter: Option<Str>,
            host_filter: Option<Str>,
            operation: i8,
            permission_type: i8,
        }
    }

    response {
        /// What became of the rules of each filter.
        struct DeleteAclsResponse {
            throttle_time_ms: i32,
            filter_results: Vec<DeleteAclsFilterResult>,
        }

        /// What became of one filter's.
        struct DeleteAclsFilterResult {
            error_code: ErrorCode,
            error_message: Option<Str>,
            matching_acls: Vec<DeleteAclsMatchingAcl>,
        }

        /// What became of one rule.
        struct DeleteAclsMatchingAcl {
            error_code: ErrorCode,
            error_message: Option<Str>,
            resource_type: i8,
            resource_name: Str,
            pattern_type: i8 = 3,
            principal: Str,
            host: Str,
            operation: i8,
            permission_type: i8,
        }
    }
}
