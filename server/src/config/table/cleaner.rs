//! Rows about compaction.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::{Anything, Reals};
use millrace_engine::config::Handling::{Accepted, Pending};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::COMPACTION;

pub(super) const ROWS: &[Property] = properties! {
    "log.cleaner.enable": Boolean = "true", Anything, ReadOnly, Pending(COMPACTION),
        "Whether compacted topics are compacted.";
    "log.cleaner.threads": Int = "1", Allowed::at_least(0), ClusterWide, Pending(COMPACTION),
        "Compactions at once.";
    "log.cleaner.dedupe.buffer.size": Long = "134217728", Anything, ClusterWide, Pending(COMPACTION),
        "Memory for the keys of a compaction.";
    "log.cleaner.io.buffer.size": Int = "524288", Allowed::at_least(0), ClusterWide, Accepted,
        "Memory for the reads and writes of a compaction; the engine decides.";
    "log.cleaner.io.buffer.load.factor": Double = "0.9", Anything, ClusterWide, Accepted,
        "How full the key memory may get; the engine decides.";
    "log.cleaner.io.max.bytes.per.second": Double = "1.7976931348623157E308", Anything, ClusterWide, Pending(COMPACTION),
        "Bytes that compaction may read and write per second.";
    "log.cleaner.backoff.ms": Long = "15000", Allowed::at_least(0), ClusterWide, Pending(COMPACTION),
        "Pause when there is nothing to compact.";
    "log.cleaner.min.cleanable.ratio": Double = "0.5", Reals { min: 0.0, max: 1.0 }, ClusterWide, Pending(COMPACTION),
        "Share of a log that must be uncompacted before it is compacted.";
    "log.cleaner.delete.retention.ms": Long = "86400000", Allowed::at_least(0), ClusterWide, Pending(COMPACTION),
        "How long delete markers stay readable after compaction.";
    "log.cleaner.min.compaction.lag.ms": Long = "0", Allowed::at_least(0), ClusterWide, Pending(COMPACTION),
        "How long a record stays out of compaction.";
    "log.cleaner.max.compaction.lag.ms": Long = "9223372036854775807", Allowed::at_least(1), ClusterWide, Pending(COMPACTION),
        "The longest a record may stay out of compaction.";
};
