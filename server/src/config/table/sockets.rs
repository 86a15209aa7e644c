//! Rows about connections, requests and their limits.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them; where a default is ours, its note says so.

use millrace_engine::config::Allowed::Anything;
use millrace_engine::config::Handling::{Accepted, Honoured, Mapped, Pending};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::{BUFFER, BYTES_OR_OFF, CLUSTER, IP_OVERRIDES, SASL};

pub(super) const ROWS: &[Property] = properties! {
    "num.network.threads": Int = "3", Allowed::at_least(1), ClusterWide, Accepted,
        "Network threads; work is spread over num.shards cores instead.";
    "num.io.threads": Int = "8", Allowed::at_least(1), ClusterWide, Accepted,
        "Request threads; work is spread over num.shards cores instead.";
    "background.threads": Int = "10", Allowed::at_least(1), ClusterWide, Accepted,
        "Threads for background work; the broker decides.";
    "queued.max.requests": Int = "500", Allowed::at_least(1), ReadOnly, Mapped,
        "Requests that are read before those before them on their connection are answered.";
    "queued.max.request.bytes": Long = "-1", BYTES_OR_OFF, ReadOnly, Mapped,
        "Bytes of requests in work, divided among the shards, before sockets are no longer read; -1 leaves it to request.memory.bytes.";
    "socket.send.buffer.bytes": Int = "102400", BUFFER, ReadOnly, Honoured,
        "SO_SNDBUF of client connections; -1 leaves it to the system.";
    "socket.receive.buffer.bytes": Int = "-1", BUFFER, ReadOnly, Honoured,
        "SO_RCVBUF of client connections; -1 leaves it to the system, which widens the window for who sends much. Kafka's default, 102400, costs a third more CPU for large batches.";
    "socket.request.max.bytes": Int = "104857600", Allowed::at_least(1), ReadOnly, Honoured,
        "The largest request; a larger one closes its connection.";
    "socket.listen.backlog.size": Int = "50", Allowed::at_least(1), ReadOnly, Honoured,
        "Connections that wait to be accepted.";
    "socket.connection.setup.timeout.ms": Long = "10000", Anything, ReadOnly, Accepted,
        "First time-out of a connection to another broker.";
    "socket.connection.setup.timeout.max.ms": Long = "30000", Anything, ReadOnly, Accepted,
        "Longest time-out of a connection to another broker.";
    "connections.max.idle.ms": Long = "600000", Anything, ReadOnly, Honoured,
        "How long a connection may send nothing, and take nothing of an answer, before it is closed; negative is for ever.";
    "connections.max.reauth.ms": Long = "0", Anything, ReadOnly, Pending(SASL),
        "Longest life of a SASL session before the client must log in again; 0 is for ever.";
    "connection.failed.authentication.delay.ms": Int = "100", Allowed::at_least(0), ReadOnly, Pending(SASL),
        "How long a refused client waits for its connection to close.";
    "max.connections": Int = "2147483647", Allowed::at_least(0), ClusterWide, Honoured,
        "Connections at once; the next waits to be accepted, but for the listener between brokers, where the least used of another goes. A listener may have its own. 0, from a file only, lets nobody in.";
    "max.connections.per.ip": Int = "2147483647", Allowed::at_least(0), ClusterWide, Honoured,
        "Connections at once from one address; 0 only beside exceptions.";
    "max.connections.per.ip.overrides": String = "", IP_OVERRIDES, ClusterWide, Honoured,
        "Exceptions from max.connections.per.ip, host:count each.";
    "max.connection.creation.rate": Int = "2147483647", Allowed::at_least(0), ClusterWide, Mapped,
        "New connections per second; those above it wait to be accepted. A listener may have its own. 0, from a file only, lets nobody in.";
    "request.timeout.ms": Int = "30000", Anything, ReadOnly, Pending(CLUSTER),
        "How long the broker waits for another's answer.";
    "max.incremental.fetch.session.cache.slots": Int = "1000", Allowed::at_least(0), ReadOnly, Mapped,
        "Fetch sessions kept; 0 keeps none.";
    "max.request.partition.size.limit": Int = "2000", Allowed::at_least(1), ReadOnly, Honoured,
        "Partitions in one answer to DescribeTopicPartitions.";
    "fetch.max.bytes": Int = "57671680", Allowed::at_least(1024), ReadOnly, Honoured,
        "The largest fetch answer, whatever the client asks; one batch is always sent whole.";
    "producer.purgatory.purge.interval.requests": Int = "1000", Anything, ReadOnly, Accepted,
        "Housekeeping of waiting produce requests; ours needs none.";
    "fetch.purgatory.purge.interval.requests": Int = "1000", Anything, ReadOnly, Accepted,
        "Housekeeping of waiting fetch requests; ours needs none.";
    "delete.records.purgatory.purge.interval.requests": Int = "1", Anything, ReadOnly, Accepted,
        "Housekeeping of waiting DeleteRecords requests; ours needs none.";
    "share.fetch.purgatory.purge.interval.requests": Int = "1000", Anything, ReadOnly, Accepted,
        "Housekeeping of waiting share fetches; ours needs none.";
};
