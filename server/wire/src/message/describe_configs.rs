//! DescribeConfigs (key 32): configuration values of topics, brokers and groups, and where each comes from.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DescribeConfigs: versions 1..=4, flexible 4..;

    request {
        /// Asks for configuration values.
        struct DescribeConfigsRequest {
            resources: Vec<DescribeConfigsRequestResource>,
            include_synonyms: bool,
            include_documentation: bool [3..],
        }

        /// Which values of which resource.
        struct DescribeConfigsRequestResource {
            /// 2: topic, 4: broker, 8: broker logger, 16: client metrics, 32: group.
            resource_type: i8,
            resource_name: Str,
            /// Null or empty: all.
            configuration_keys: Option<Vec<Str>>,
        }
    }

    response {
        /// The values.
        struct DescribeConfigsResponse {
            throttle_time_ms: i32,
            results: Vec<DescribeConfigsResponseResource>,
        }

        /// The values of one resource.
        struct DescribeConfigsResponseResource {
            error_code: ErrorCode,
            error_message: Option<Str>,
            resource_type: i8,
            resource_name: Str,
            configs: Vec<DescribeConfigsEntry>,
        }

        /// One value.
        struct DescribeConfigsEntry {
            name: Str,
            /// Null if sensitive or unset.
            value: Option<Str>,
            read_only: bool,
            /// 1: topic, 2: dynamic of the broker, 3: dynamic default, 4: static of the broker, 5: built in.
            config_source: i8 = -1,
            is_sensitive: bool,
            synonyms: Vec<DescribeConfigsSynonym>,
            /// 1: boolean, 2: string, 3: int, 4: short, 5: long, 6: double, 7: list, 8: class, 9: password.
            config_type: i8 [3..],
            documentation: Option<Str> [3..],
        }

        /// Another key that could have given the value, in order of precedence.
        struct DescribeConfigsSynonym {
            name: Str,
            value: Option<Str>,
            source: i8,
        }
    }
}
