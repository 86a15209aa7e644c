//! ApiVersions (key 18): which versions of which APIs the broker serves, and which features the cluster has.
//!
//! It comes first on a connection: an unknown version of it is answered in version 0, and its response header never has tags
//! (KIP-511).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    ApiVersions: versions 0..=4, flexible 3..;

    request {
        /// Asks what the broker serves, and says who asks.
        struct ApiVersionsRequest {
            client_software_name: Str [3..],
            client_software_version: Str [3..],
        }
    }

    response {
        /// What the broker serves.
        struct ApiVersionsResponse {
            error_code: ErrorCode,
            api_keys: Vec<ApiVersion>,
            throttle_time_ms: i32 [1..],
            supported_features: Vec<SupportedFeature> [3.., tag 0],
            /// -1 if unknown.
            finalized_features_epoch: i64 [3.., tag 1] = -1,
            finalized_features: Vec<FinalizedFeature> [3.., tag 2],
            zk_migration_ready: bool [3.., tag 3],
        }

        /// The versions served of one API.
        struct ApiVersion {
            api_key: i16,
            min_version: i16,
            /// Inclusive.
            max_version: i16,
        }

        /// The range of levels of a feature that this broker supports.
        struct SupportedFeature {
            name: Str,
            min_version: i16,
            max_version: i16,
        }

        /// The level of a feature that the whole cluster uses.
        struct FinalizedFeature {
            name: Str,
            max_version_level: i16,
            min_version_level: i16,
        }
    }
}
