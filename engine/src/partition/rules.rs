//! What a topic's settings ask of the batches sent to it.

use crate::config::{CompressionType, TimestampSource, TopicConfig};
use crate::record::{Compression, CompressionTarget, Rules, TimestampType};

/// The rules for batches of a topic with settings `config`, as sent by clients new enough for zstd.
pub(super) fn rules(config: &TopicConfig) -> Rules {
    Rules {
        message_bytes_max: usize::try_from(config.message_bytes_max).unwrap_or(usize::MAX),
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

fn compression_target(config: &TopicConfig) -> Option<CompressionTarget> {
    let target = |compression, level| Some(CompressionTarget { compression, level });
    match config.compression_type {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => target(Compression::None, None),
        CompressionType::Gzip => target(Compression::Gzip, Some(config.compression_gzip_level)),
        CompressionType::Snappy => target(Compression::Snappy, None),
        CompressionType::Lz4 => target(Compression::Lz4, Some(config.compression_lz4_level)),
        CompressionType::Zstd => target(Compression::Zstd, Some(config.compression_zstd_level)),
    }
}
