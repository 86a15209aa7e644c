//! AlterConfigs (key 33): replaces the whole dynamic configuration of a resource.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    AlterConfigs: versions 0..=2, flexible 2..;

    request {
        /// The resources and all their dynamic values.
        struct AlterConfigsRequest {
            resources: Vec<AlterConfigsRequestResource>,
            validate_only: bool,
        }

        /// All dynamic values of one resource; those it had and are not here are reset.
        struct AlterConfigsRequestResource {
            /// As in DescribeConfigs.
            resource_type: i8,
            resource_name: Str,
            configs: Vec<AlterConfigsEntry>,
        }

        /// One value.
        struct AlterConfigsEntry {
            name: Str,
            value: Option<Str>,
        }
    }

    response {
        /// What became of each resource.
        struct AlterConfigsResponse {
            throttle_time_ms: i32,
            responses: Vec<AlterConfigsResponseResource>,
        }

        /// What became of one resource.
        struct AlterConfigsResponseResource {
            error_code: ErrorCode,
            error_message: Option<Str>,
            resource_type: i8,
            resource_name: Str,
        }
    }
}
