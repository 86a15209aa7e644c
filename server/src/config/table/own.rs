//! Rows that Kafka does not have: what steers our own mechanisms.

use millrace_engine::config::Allowed::{Anything, OneOf};
use millrace_engine::config::Handling::Honoured;
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

pub(super) const ROWS: &[Property] = properties! {
    "group.memory.bytes": Long = "134217728", Allowed::at_least(1_048_576), ReadOnly, Honoured,
        "Bytes that members of groups and committed offsets may take per shard before new ones are refused.";
    "num.shards": Int, Allowed::between(1, 1024), ReadOnly, Honoured,
        "Cores that serve, one thread each; unset, all that the process may use.";
    "io.backend": String = "auto", OneOf(&["auto", "uring", "threads"]), ReadOnly, Honoured,
        "How files are written: io_uring, threads, or (auto) the first where the kernel allows it.";
    "log.format": String = "text", OneOf(&["text", "json"]), ReadOnly, Honoured,
        "How the broker's own log lines look.";
    "request.memory.bytes": Long = "33554432", Allowed::at_least(1_048_576), ReadOnly, Honoured,
        "Bytes of requests in work per shard before its sockets are no longer read.";
    "write.caching": Boolean = "false", Anything, ClusterWide, Honoured,
        "Whether acks=all waits for the page caches only, as in Kafka; a power cut may take acknowledged records.";
};
