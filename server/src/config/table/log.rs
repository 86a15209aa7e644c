//! Rows about logs, retention and new topics.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::{Anything, EachOf, OneOf};
use millrace_engine::config::Handling::{Accepted, Honoured, Mapped, Pending};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::{CLUSTER, COMPRESSION_TYPE, GZIP_LEVEL, NOT_ZERO};

pub(super) const ROWS: &[Property] = properties! {
    "log.dirs": List, Anything, ReadOnly, Honoured,
        "Data directories; `log.dir` when unset.";
    "log.dir": List = "/tmp/kafka-logs", Anything, ReadOnly, Honoured,
        "Data directories when log.dirs is unset; ./data without a properties file.";
    "cordoned.log.dirs": List = "", Anything, PerBroker, Mapped,
        "Data directories that get no new replicas; * is all of them.";
    "num.recovery.threads.per.data.dir": Int = "2", Allowed::at_least(1), ClusterWide, Accepted,
        "Threads that recover logs; the broker decides.";
    "log.segment.bytes": Int = "1073741824", Allowed::at_least(1_048_576), ClusterWide, Honoured,
        "Size at which a new segment begins.";
    "log.roll.ms": Long, Allowed::at_least(1), ClusterWide, Honoured,
        twins [("log.roll.hours", 3_600_000)],
        "Age at which a new segment begins.";
    "log.roll.hours": Int = "168", Allowed::at_least(1), ReadOnly, Honoured,
        "As log.roll.ms, which beats it.";
    "log.roll.jitter.ms": Long, Allowed::at_least(0), ClusterWide, Honoured,
        twins [("log.roll.jitter.hours", 3_600_000)],
        "Random shortening of log.roll.ms.";
    "log.roll.jitter.hours": Int = "0", Allowed::at_least(0), ReadOnly, Honoured,
        "As log.roll.jitter.ms, which beats it.";
    "log.retention.ms": Long, NOT_ZERO, ClusterWide, Honoured,
        twins [("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)],
        "How long records are kept; -1 is for ever.";
    "log.retention.minutes": Int, NOT_ZERO, ReadOnly, Honoured,
        twins [("log.retention.hours", 60)],
        "As log.retention.ms, which beats it.";
    "log.retention.hours": Int = "168", NOT_ZERO, ReadOnly, Honoured,
        "As log.retention.minutes, which beats it.";
    "log.retention.bytes": Long = "-1", Anything, ClusterWide, Honoured,
        "Bytes a partition keeps; -1 is unlimited.";
    "log.retention.check.interval.ms": Long = "300000", Allowed::at_least(1), ReadOnly, Honoured,
        "How often old segments are looked for.";
    "log.local.retention.bytes": Long = "-2", Allowed::at_least(-2), ClusterWide, Accepted,
        "Bytes of a tiered partition kept locally; -2 follows log.retention.bytes.";
    "log.local.retention.ms": Long = "-2", Allowed::at_least(-2), ClusterWide, Accepted,
        "How long records of a tiered partition are kept locally; -2 follows log.retention.ms.";
    "log.segment.delete.delay.ms": Long = "60000", Allowed::at_least(0), ClusterWide, Mapped,
        "How long the files of a deleted segment stay on disk.";
    "log.cleanup.policy": List = "delete", EachOf(&["compact", "delete"]), ClusterWide, Honoured,
        "What happens to old records: delete, compact, or both.";
    "log.index.interval.bytes": Int = "4096", Allowed::at_least(0), ClusterWide, Mapped,
        "Bytes of log between two entries of the offset index; at least 512 are taken.";
    "log.index.size.max.bytes": Int = "10485760", Allowed::at_least(4), ClusterWide, Honoured,
        "Size of an offset index at which a new segment begins.";
    "log.preallocate": Boolean = "false", Anything, ClusterWide, Accepted,
        "Allocate a segment's file when it is made; the engine decides by itself.";
    "log.flush.interval.messages": Long = "9223372036854775807", Allowed::at_least(1), ClusterWide, Honoured,
        "With write.caching: records after which a log is flushed to the device.";
    "log.flush.interval.ms": Long, Allowed::at_least(0), ClusterWide, Honoured,
        twins [("log.flush.scheduler.interval.ms", 1)],
        "With write.caching: the longest a record waits for the flush to the device.";
    "log.flush.scheduler.interval.ms": Long = "9223372036854775807", Allowed::at_least(0), ReadOnly, Honoured,
        "As log.flush.interval.ms, which beats it.";
    "log.flush.offset.checkpoint.interval.ms": Int = "60000", Allowed::at_least(0), ReadOnly, Mapped,
        "How often recovery points are written; bounds the work after a crash. The shorter of this and the next holds for both.";
    "log.flush.start.offset.checkpoint.interval.ms": Int = "60000", Allowed::at_least(0), ReadOnly, Mapped,
        "How often log start offsets are written.";
    "log.dir.failure.timeout.ms": Long = "30000", Allowed::at_least(1), ReadOnly, Pending(CLUSTER),
        "How long a broker with a failed data directory waits for the controller to hear of it.";
    "log.message.timestamp.type": String = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), ClusterWide, Honoured,
        "Whose clock records carry: the producer's (CreateTime) or the broker's (LogAppendTime).";
    "log.message.timestamp.before.max.ms": Long = "9223372036854775807", Allowed::at_least(0), ClusterWide, Honoured,
        "How far behind the broker's clock a record's timestamp may be.";
    "log.message.timestamp.after.max.ms": Long = "3600000", Allowed::at_least(0), ClusterWide, Honoured,
        "How far ahead of the broker's clock a record's timestamp may be.";
    "message.max.bytes": Int = "1048588", Allowed::at_least(0), ClusterWide, Honoured,
        "The largest record batch taken, 12 bytes of batch prefix included.";
    "compression.type": String = "producer", COMPRESSION_TYPE, ClusterWide, Honoured,
        "Codec that batches are stored in; producer keeps what the client sent.";
    "compression.gzip.level": Int = "-1", GZIP_LEVEL, ClusterWide, Mapped,
        "Level used where the broker itself compresses with gzip.";
    "compression.lz4.level": Int = "9", Allowed::between(1, 17), ClusterWide, Accepted,
        "Level used where the broker itself compresses with lz4; ours has one level only.";
    "compression.zstd.level": Int = "3", Allowed::between(-131_072, 22), ClusterWide, Mapped,
        "Level used where the broker itself compresses with zstd.";
    "delete.topic.enable": Boolean = "true", Anything, ReadOnly, Honoured,
        "Whether topics may be deleted.";
    "auto.create.topics.enable": Boolean = "true", Anything, ReadOnly, Honoured,
        "Whether asking for a topic may make it.";
    "num.partitions": Int = "1", Allowed::at_least(1), ReadOnly, Honoured,
        "Partitions of a topic made without a number.";
    "default.replication.factor": Int = "1", Allowed::between(1, 32_767), ReadOnly, Honoured,
        "Replicas of a topic made without a number; lowered to the number of brokers.";
    "min.insync.replicas": Int = "1", Allowed::at_least(1), ClusterWide, Honoured,
        "In-sync replicas that acks=all needs.";
};
