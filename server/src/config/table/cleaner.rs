//! Rows about compaction.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::{Anything, Reals};
use millrace_engine::config::Handling::{Accepted, Honoured, Mapped};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

pub(super) const ROWS: &[Property] = properties! {
    "log.cleaner.enable": Boolean = "true", Anything, ReadOnly, Honoured,
        "Whether compacted topics are compacted.";
    "log.cleaner.threads": Int = "1", Allowed::at_least(0), ClusterWide, Mapped,
        "Compactions at once; one at least, log.cleaner.enable=false has none.";
    "log.cleaner.dedupe.buffer.size": Long = "134217728", Anything, ClusterWide, Honoured,
        "Memory for the keys of a compaction; more than 1 MiB for each of log.cleaner.threads.";
    "log.cleaner.io.buffer.size": Int = "524288", Allowed::at_least(0), ClusterWide, Accepted,
        "Memory for the reads and writes of a compaction; it reads and writes 2 MiB at a time.";
    "log.cleaner.io.buffer.load.factor": Double = "0.9", Anything, ClusterWide, Honoured,
        "How full the key memory may get.";
    "log.cleaner.io.max.bytes.per.second": Double = "1.7976931348623157E308", Anything, ClusterWide, Honoured,
        "Bytes that compaction may read and write per second.";
    "log.cleaner.backoff.ms": Long = "15000", Allowed::at_least(0), ClusterWide, Honoured,
        "Pause when there is nothing to compact.";
    "log.cleaner.min.cleanable.ratio": Double = "0.5", Reals { min: 0.0, max: 1.0 }, ClusterWide, Honoured,
        "Share of a log that must be uncompacted before it is compacted.";
    "log.cleaner.delete.retention.ms": Long = "86400000", Allowed::at_least(0), ClusterWide, Honoured,
        "How long delete markers stay readable after compaction.";
    "log.cleaner.min.compaction.lag.ms": Long = "0", Allowed::at_least(0), ClusterWide, Honoured,
        "How long a record stays out of compaction.";
    "log.cleaner.max.compaction.lag.ms": Long = "9223372036854775807", Allowed::at_least(1), ClusterWide, Honoured,
        "The longest a record may stay out of compaction.";
};
