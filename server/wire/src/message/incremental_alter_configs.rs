//! IncrementalAlterConfigs (key 44): changes single values of the dynamic configuration of a resource (KIP-339).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    IncrementalAlterConfigs: versions 0..=1, flexible 1..;

    request {
        /// The resources and the changes to their values.
        struct IncrementalAlterConfigsRequest {
            resources: Vec<IncrementalAlterConfigsRequestResource>,
            validate_only: bool,
        }

        /// The changes to one resource.
        struct IncrementalAlterConfigsRequestResource {
            /// As in DescribeConfigs.
            resource_type: i8,
            resource_name: Str,
            configs: Vec<IncrementalAlterConfigsEntry>,
        }

        /// One change.
        struct IncrementalAlterConfigsEntry {
            name: Str,
            /// 0: set, 1: delete, 2: append to a list, 3: subtract from a list.
            config_operation: i8,
            value: Option<Str>,
        }
    }

    response {
        /// What became of each resource.
        struct IncrementalAlterConfigsResponse {
            throttle_time_ms: i32,
            responses: Vec<IncrementalAlterConfigsResponseResource>,
        }

        /// What became of one resource.
        struct IncrementalAlterConfigsResponseResource {
            error_code: ErrorCode,
            error_message: Option<Str>,
            resource_type: i8,
            resource_name: Str,
        }
    }
}
