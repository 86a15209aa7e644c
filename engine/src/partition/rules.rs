//! What a topic's settings ask of the batches sent to it.

use crate::config::{CompressionType, TimestampSource, TopicConfig};
use crate::record::{BODY_BYTES_MAX_DEFAULT, Compression, CompressionTarget, Rules, TimestampType};

/// The rules for batches of a topic with settings `config`, as sent by clients new enough for zstd.
pub(super) fn rules(config: &TopicConfig) -> Rules {
    let message_bytes_max = usize::try_from(config.message_bytes_max).unwrap_or(usize::MAX);
    Rules {
        message_bytes_max,
        body_bytes_max: message_bytes_max
            .saturating_mul(UNFOLDED_TIMES_MAX)
            .clamp(UNFOLDED_BYTES_ALWAYS, BODY_BYTES_MAX_DEFAULT),
        compacted: config.cleanup_policy.compact,
        timestamp_type: match config.timestamp_source {
            TimestampSource::CreateTime => TimestampType::CreateTime,
            TimestampSource::LogAppendTime => TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: config.timestamp_before_max_ms.unwrap_or(i64::MAX),
        timestamp_after_max_ms: config.timestamp_after_max_ms.unwrap_or(i64::MAX),
        compression_target: compression_target(config),
        ..Rules::default()
    }
}

/// How many times the largest stored batch a batch may unfold to where it has to be opened: more than producers gather
/// for one, and little enough to be held and looked at beside other work.
const UNFOLDED_TIMES_MAX: usize = 32;
/// And this much where stored batches are small.
const UNFOLDED_BYTES_ALWAYS: usize = 4 << 20;

fn compression_target(config: &TopicConfig) -> Option<CompressionTarget> {
    let target = |compression, level| Some(CompressionTarget { compression, level });
    match config.compression_type {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => target(Compression::None, None),
        CompressionType::Gzip => target(Compression::Gzip, Some(config.compression_gzip_level)),
        CompressionType::Snappy => target(Compression::Snappy, None),
        CompressionType::Lz4 => target(Compression::Lz4, None),
        CompressionType::Zstd => target(Compression::Zstd, Some(config.compression_zstd_level)),
    }
}
