//! The rows of the topic properties: Kafka 4.3's 33 and our `write.caching`.
//!
//! A twin is the broker property that gives the default; which brokers exist and what they set is unknown here.

use super::property::Allowed::{Anything, EachOf, Form, OneOf, Reals};
use super::property::Handling::{Accepted, Honoured, Mapped, Pending, Refused};
use super::property::{Allowed, elements};
use super::table::Table;
use crate::properties;

/// Every topic property.
pub const TOPIC_PROPERTIES: Table = Table::new(&[("Topics", ROWS)]);

/// Topic keys of older Kafka that tools still send: taken and forgotten. Kafka 4 fails the whole request for them.
/// `message.timestamp.difference.max.ms` is not among them: it limits what producers may write, so dropping it
/// silently would change behaviour.
pub const RETIRED_TOPIC_KEYS: &[&str] =
    &["message.format.version", "message.downconversion.enable"];

const NO_TIERING: &str = "there is no tiered storage yet";

const ROWS: &[super::Property] = properties! {
    "cleanup.policy": List = "delete", EachOf(&["compact", "delete"]), ClusterWide, Honoured,
        twins [("log.cleanup.policy", 1)],
        "What happens to old records: delete, compact, or both; an empty list keeps everything.";
    "compression.gzip.level": Int = "-1", GZIP_LEVEL, ClusterWide, Mapped,
        twins [("compression.gzip.level", 1)],
        "Level used where the broker itself compresses with gzip; -1 is the codec's default.";
    "compression.lz4.level": Int = "9", Allowed::between(1, 17), ClusterWide, Accepted,
        twins [("compression.lz4.level", 1)],
        "Level used where the broker itself compresses with lz4; ours has one level only.";
    "compression.type": String = "producer", COMPRESSION_TYPE, ClusterWide, Honoured,
        twins [("compression.type", 1)],
        "Codec that batches are stored in; producer keeps what the client sent.";
    "compression.zstd.level": Int = "3", Allowed::between(-131_072, 22), ClusterWide, Mapped,
        twins [("compression.zstd.level", 1)],
        "Level used where the broker itself compresses with zstd.";
    "delete.retention.ms": Long = "86400000", Allowed::at_least(0), ClusterWide, Honoured,
        twins [("log.cleaner.delete.retention.ms", 1)],
        "How long delete markers of a compacted topic stay readable after compaction.";
    "file.delete.delay.ms": Long = "60000", Allowed::at_least(0), ClusterWide, Mapped,
        twins [("log.segment.delete.delay.ms", 1)],
        "How long the files of a deleted segment stay on disk.";
    "flush.messages": Long = "9223372036854775807", Allowed::at_least(1), ClusterWide, Honoured,
        twins [("log.flush.interval.messages", 1)],
        "With write.caching: records after which the log is flushed to the device.";
    "flush.ms": Long = "9223372036854775807", Allowed::at_least(0), ClusterWide, Honoured,
        twins [("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
        "With write.caching: the longest a record waits for the flush to the device.";
    "follower.replication.throttled.replicas": List = "", THROTTLED_REPLICAS, ClusterWide, Accepted,
        "Replicas (partition:broker) whose replication is throttled on the follower.";
    "index.interval.bytes": Int = "4096", Allowed::at_least(0), ClusterWide, Mapped,
        twins [("log.index.interval.bytes", 1)],
        "Bytes of log between two entries of the offset index; at least 512 are taken.";
    "leader.replication.throttled.replicas": List = "", THROTTLED_REPLICAS, ClusterWide, Accepted,
        "Replicas (partition:broker) whose replication is throttled on the leader.";
    "local.retention.bytes": Long = "-2", Allowed::at_least(-2), ClusterWide, Accepted,
        twins [("log.local.retention.bytes", 1)],
        "Bytes of a tiered partition kept locally; -2 follows retention.bytes.";
    "local.retention.ms": Long = "-2", Allowed::at_least(-2), ClusterWide, Accepted,
        twins [("log.local.retention.ms", 1)],
        "How long records of a tiered partition are kept locally; -2 follows retention.ms.";
    "max.compaction.lag.ms": Long = "9223372036854775807", Allowed::at_least(1), ClusterWide, Honoured,
        twins [("log.cleaner.max.compaction.lag.ms", 1)],
        "The longest a record of a compacted topic may stay out of compaction.";
    "max.message.bytes": Int = "1048588", Allowed::at_least(0), ClusterWide, Honoured,
        twins [("message.max.bytes", 1)],
        "The largest record batch taken, in bytes as received, 12 bytes of batch prefix included.";
    "message.timestamp.after.max.ms": Long = "3600000", Allowed::at_least(0), ClusterWide, Honoured,
        twins [("log.message.timestamp.after.max.ms", 1)],
        "How far ahead of the broker's clock a record's timestamp may be.";
    "message.timestamp.before.max.ms": Long = "9223372036854775807", Allowed::at_least(0), ClusterWide, Honoured,
        twins [("log.message.timestamp.before.max.ms", 1)],
        "How far behind the broker's clock a record's timestamp may be.";
    "message.timestamp.type": String = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), ClusterWide, Honoured,
        twins [("log.message.timestamp.type", 1)],
        "Whose clock records carry: the producer's (CreateTime) or the broker's (LogAppendTime).";
    "min.cleanable.dirty.ratio": Double = "0.5", RATIO, ClusterWide, Honoured,
        twins [("log.cleaner.min.cleanable.ratio", 1)],
        "Share of a log that must be uncompacted before it is compacted.";
    "min.compaction.lag.ms": Long = "0", Allowed::at_least(0), ClusterWide, Honoured,
        twins [("log.cleaner.min.compaction.lag.ms", 1)],
        "How long a record of a compacted topic stays out of compaction.";
    "min.insync.replicas": Int = "1", Allowed::at_least(1), ClusterWide, Honoured,
        twins [("min.insync.replicas", 1)],
        "In-sync replicas that acks=all needs.";
    "preallocate": Boolean = "false", Anything, ClusterWide, Accepted,
        twins [("log.preallocate", 1)],
        "Allocate a segment's file when it is made; the engine decides by itself.";
    "remote.log.copy.disable": Boolean = "false", Anything, ClusterWide, Accepted,
        "Whether a tiered topic stops copying to remote storage.";
    "remote.log.delete.on.disable": Boolean = "false", Anything, ClusterWide, Accepted,
        "Whether remote data goes when tiering is switched off.";
    "remote.storage.enable": Boolean = "false", Anything, ClusterWide, Refused(NO_TIERING),
        "Whether the topic is tiered to remote storage.";
    "retention.bytes": Long = "-1", Anything, ClusterWide, Honoured,
        twins [("log.retention.bytes", 1)],
        "Bytes a partition keeps, in whole segments; -1 is unlimited.";
    "retention.ms": Long = "604800000", Allowed::at_least(-1), ClusterWide, Honoured,
        twins [("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)],
        "How long records are kept, in whole segments judged by their largest timestamp; -1 is for ever.";
    "segment.bytes": Int = "1073741824", Allowed::at_least(1_048_576), ClusterWide, Honoured,
        twins [("log.segment.bytes", 1)],
        "Size at which a new segment begins.";
    "segment.index.bytes": Int = "10485760", Allowed::at_least(4), ClusterWide, Honoured,
        twins [("log.index.size.max.bytes", 1)],
        "Size of an offset index at which a new segment begins.";
    "segment.jitter.ms": Long = "0", Allowed::at_least(0), ClusterWide, Honoured,
        twins [("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
        "Random shortening of segment.ms.";
    "segment.ms": Long = "604800000", Allowed::at_least(1), ClusterWide, Honoured,
        twins [("log.roll.ms", 1), ("log.roll.hours", 3_600_000)],
        "Age at which a new segment begins, so that quiet topics expire and compact too.";
    "unclean.leader.election.enable": Boolean = "false", Anything, ClusterWide, Pending("several brokers"),
        twins [("unclean.leader.election.enable", 1)],
        "Whether a replica that is not in sync may lead, at the price of lost records.";
    "write.caching": Boolean = "false", Anything, ClusterWide, Honoured,
        twins [("write.caching", 1)],
        "Millrace's own: acks=all waits for the page caches only, as in Kafka; a power cut may take acknowledged records.";
};

/// The codecs a broker may store in, and `producer`.
pub(super) const COMPRESSION_TYPE: Allowed =
    OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);

const RATIO: Allowed = Reals { min: 0.0, max: 1.0 };

const GZIP_LEVEL: Allowed = Form {
    description: "1 to 9, or -1",
    check: |text| matches!(text.parse(), Ok(-1 | 1..=9)),
};

const THROTTLED_REPLICAS: Allowed = Form {
    description: "*, none, or a list of partition:broker",
    check: |text| matches!(text, "*" | "none") || elements(text).all(is_partition_and_broker),
};

fn is_partition_and_broker(text: &str) -> bool {
    text.split_once(':').is_some_and(|(partition, broker)| {
        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
    })
}
