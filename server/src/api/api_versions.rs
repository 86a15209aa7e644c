//! ApiVersions (key 18): what the table serves, and which features the cluster has.
//!
//! A client asks before it knows anything, so an unknown version of the request is answered too, in version 0 (KIP-511).

use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Stopped;
use millrace_wire::message::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeature, SupportedFeature,
};
use millrace_wire::{ApiKey, ErrorCode};

use super::context::{RequestContext, Software};

pub(super) async fn handle(
    request: ApiVersionsRequest,
    context: &RequestContext,
) -> Result<ApiVersionsResponse, Stopped> {
    let version = context.version();
    if version >= SOFTWARE_FIRST {
        let (name, software_version) = (
            &*request.client_software_name,
            &*request.client_software_version,
        );
        if !is_legal(name) || !is_legal(software_version) {
            let error_code = ErrorCode::InvalidRequest;
            return Ok(ApiVersionsResponse {
                error_code,
                ..Default::default()
            });
        }
        let kept = |text: &str| text.chars().take(SOFTWARE_CHARACTERS_MAX).collect();
        let (name, version) = (kept(name), kept(software_version));
        context.client().set_software(Software { name, version });
    }
    Ok(answer(super::served(), version, &context.image()))
}

fn answer(
    served: impl Iterator<Item = ApiKey>,
    version: i16,
    image: &MetadataImage,
) -> ApiVersionsResponse {
    let supported = FEATURES.iter().filter(|feature| {
        // Clients before version 4 cannot read a range that begins at 0 (KAFKA-17011).
        feature.min > 0 || version >= ZERO_MINIMUM_FIRST
    });
    let finalized = FEATURES.iter().filter(|feature| feature.finalized > 0);
    ApiVersionsResponse {
        api_keys: served.map(row).collect(),
        supported_features: supported
            .map(|feature| SupportedFeature {
                name: feature.name.into(),
                min_version: feature.min,
                max_version: feature.max,
            })
            .collect(),
        finalized_features_epoch: image.version(),
        finalized_features: finalized
            .map(|feature| FinalizedFeature {
                name: feature.name.into(),
                max_version_level: feature.finalized,
                min_version_level: feature.finalized,
            })
            .collect(),
        ..Default::default()
    }
}

/// The answer to a version nobody knows here: to be encoded in version 0.
pub(super) fn from_the_future() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: vec![row(ApiKey::ApiVersions)],
        ..Default::default()
    }
}

fn row(key: ApiKey) -> ApiVersion {
    let versions = key.advertised_versions();
    ApiVersion {
        api_key: key.number(),
        min_version: *versions.start(),
        max_version: *versions.end(),
    }
}

/// Kafka's pattern for software names and versions: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_legal(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    is_outer(bytes.first()) && is_outer(bytes.last()) && bytes.iter().copied().all(is_inner)
}

/// A feature of the cluster (KIP-584).
struct Feature {
    name: &'static str,
    min: i16,
    max: i16,
    /// 0: not finalised.
    finalized: i16,
}

/// Nothing here that does not work: new group and transaction protocols come with their levels.
const FEATURES: [Feature; 3] = [
    Feature {
        name: "group.version",
        min: 0,
        max: 0,
        finalized: 0,
    },
    // 3.3-IV3 to 4.3-IV0, as Kafka 4.3 has it.
    Feature {
        name: "metadata.version",
        min: 7,
        max: 30,
        finalized: 30,
    },
    Feature {
        name: "transaction.version",
        min: 0,
        max: 0,
        finalized: 0,
    },
];

/// The first version that says what the client is.
const SOFTWARE_FIRST: i16 = 3;
/// What is kept of either: it is for lines of the log.
const SOFTWARE_CHARACTERS_MAX: usize = 100;
/// The first version that can carry features whose lowest level is 0.
const ZERO_MINIMUM_FIRST: i16 = 4;

#[cfg(test)]
mod tests {
    use millrace_wire::Message;

    use super::*;

    #[test]
    fn the_answer_to_a_version_from_the_future_names_only_this_api() {
        // Measured at Kafka 4.3.1 after the correlation id: 0x0023, one entry, key 18 with 0 to 4.
        let bytes = from_the_future().to_bytes(0).unwrap();
        assert_eq!(&bytes[..], [0, 0x23, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    }

    #[test]
    fn features_that_begin_at_zero_are_hidden_from_older_clients() {
        let names = |version| -> Vec<String> {
            let image = MetadataImage::empty();
            let answer = answer(std::iter::empty(), version, &image);
            answer
                .supported_features
                .iter()
                .map(|feature| feature.name.to_string())
                .collect()
        };
        assert_eq!(names(3), ["metadata.version"]);
        assert_eq!(
            names(4),
            ["group.version", "metadata.version", "transaction.version"]
        );
    }

    #[test]
    fn software_names_follow_kafkas_pattern() {
        for name in ["apache-kafka-java", "librdkafka", "4.3.1", "x"] {
            assert!(is_legal(name), "{name}");
        }
        for name in ["", "-x", "x-", ".", "a b", "a_b", "ä"] {
            assert!(!is_legal(name), "{name}");
        }
    }
}
