//! Rows about copies on other brokers and the metadata quorum.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::Anything;
use millrace_engine::config::Handling::{Accepted, Mapped, Pending};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::CLUSTER;

pub(super) const ROWS: &[Property] = properties! {
    "unclean.leader.election.enable": Boolean = "false", Anything, ClusterWide, Pending(CLUSTER),
        "Whether a replica that is not in sync may lead, at the price of lost records.";
    "replica.lag.time.max.ms": Long = "30000", Anything, ReadOnly, Pending(CLUSTER),
        "How long a follower may lag before it leaves the in-sync replicas.";
    "num.replica.fetchers": Int = "1", Allowed::at_least(1), ClusterWide, Accepted,
        "Threads that fetch from each leader.";
    "num.replica.alter.log.dirs.threads": Int, Anything, ReadOnly, Accepted,
        "Threads that move replicas between data directories.";
    "replica.alter.log.dirs.io.max.bytes.per.second": Long = "9223372036854775807", Allowed::at_least(0), ClusterWide, Accepted,
        [unlisted],
        "Bytes per second when replicas move between data directories.";
    "replica.fetch.max.bytes": Int = "1048576", Allowed::at_least(0), ReadOnly, Accepted,
        "Bytes a follower asks of one partition.";
    "replica.fetch.min.bytes": Int = "1", Anything, ReadOnly, Accepted,
        "Bytes a follower waits for.";
    "replica.fetch.wait.max.ms": Int = "500", Anything, ReadOnly, Accepted,
        "How long a follower waits.";
    "replica.fetch.response.max.bytes": Int = "10485760", Allowed::at_least(0), ReadOnly, Accepted,
        "Bytes a follower asks for in all.";
    "replica.fetch.backoff.ms": Int = "1000", Allowed::at_least(0), ReadOnly, Accepted,
        "Pause of a follower after an error.";
    "replica.socket.timeout.ms": Int = "30000", Anything, ReadOnly, Accepted,
        "Time-out of a follower's requests.";
    "replica.socket.receive.buffer.bytes": Int = "65536", Anything, ReadOnly, Accepted,
        "SO_RCVBUF of a follower's connection.";
    "replica.high.watermark.checkpoint.interval.ms": Long = "5000", Anything, ReadOnly, Pending(CLUSTER),
        "How often high watermarks are written; until then they are written with the recovery points.";
    "follower.fetch.last.tiered.offset.enable": Boolean = "false", Anything, ClusterWide, Accepted,
        "Whether an empty follower starts at the last tiered offset.";
    "auto.leader.rebalance.enable": Boolean = "true", Anything, ReadOnly, Pending(CLUSTER),
        "Whether preferred leaders are restored by and by.";
    "leader.imbalance.check.interval.seconds": Long = "300", Allowed::at_least(1), ReadOnly, Pending(CLUSTER),
        "How often preferred leaders are restored.";
    "leader.replication.throttled.rate": Long = "9223372036854775807", Allowed::at_least(0), ClusterWide, Pending(CLUSTER),
        [unlisted],
        "Bytes per second that leaders send to throttled replicas.";
    "follower.replication.throttled.rate": Long = "9223372036854775807", Allowed::at_least(0), ClusterWide, Pending(CLUSTER),
        [unlisted],
        "Bytes per second that throttled replicas fetch.";
    "replication.quota.window.num": Int = "11", Allowed::at_least(1), ReadOnly, Accepted,
        "Samples kept to measure throttled replication.";
    "replication.quota.window.size.seconds": Int = "1", Allowed::at_least(1), ReadOnly, Accepted,
        "Length of such a sample.";
    "alter.log.dirs.replication.quota.window.num": Int = "11", Allowed::at_least(1), ReadOnly, Accepted,
        "Samples kept to measure moves between data directories.";
    "alter.log.dirs.replication.quota.window.size.seconds": Int = "1", Allowed::at_least(1), ReadOnly, Accepted,
        "Length of such a sample.";
    "controlled.shutdown.enable": Boolean = "true", Anything, ReadOnly, Pending(CLUSTER),
        "Whether a stopping broker hands its partitions over first.";
    "broker.session.timeout.ms": Int = "9000", Anything, ReadOnly, Pending(CLUSTER),
        "How long the controller waits for a broker before it is fenced.";
    "broker.heartbeat.interval.ms": Int = "2000", Anything, ReadOnly, Pending(CLUSTER),
        "How often a broker tells the controller that it lives.";
    "initial.broker.registration.timeout.ms": Int = "60000", Anything, ReadOnly, Accepted,
        "How long a starting broker tries to register.";
    "controller.socket.timeout.ms": Int = "30000", Anything, ReadOnly, Accepted,
        "Time-out of requests to the controller.";
    "controller.quorum.election.timeout.ms": Int = "1000", Allowed::at_least(0), ReadOnly, Pending(CLUSTER),
        "How long a voter waits for a leader before it stands for election.";
    "controller.quorum.fetch.timeout.ms": Int = "2000", Allowed::at_least(0), ReadOnly, Pending(CLUSTER),
        "How long a voter goes without news from the leader.";
    "controller.quorum.election.backoff.max.ms": Int = "1000", Allowed::at_least(0), ReadOnly, Pending(CLUSTER),
        "Longest pause between elections.";
    "controller.quorum.auto.join.enable": Boolean = "false", Anything, ReadOnly, Pending(CLUSTER),
        "Whether a new controller joins the voters by itself.";
    "controller.quorum.append.linger.ms": Int = "25", Allowed::at_least(0), ReadOnly, Accepted,
        "How long the controller gathers records before it writes them.";
    "controller.quorum.fetch.max.bytes": Int = "1048576", Allowed::at_least(1), ReadOnly, Accepted,
        "Bytes of metadata in one fetch.";
    "controller.quorum.fetch.snapshot.max.bytes": Int = "1048576", Allowed::at_least(1), ReadOnly, Accepted,
        "Bytes of a metadata snapshot in one fetch.";
    "controller.quorum.request.timeout.ms": Int = "2000", Allowed::at_least(0), ReadOnly, Accepted,
        "Time-out of requests between controllers.";
    "controller.quorum.retry.backoff.ms": Int = "20", Allowed::at_least(0), ReadOnly, Accepted,
        "Pause before a controller asks again.";
    "metadata.log.dir": String, Anything, ReadOnly, Mapped,
        "Directory of the metadata log; the first of log.dirs when unset.";
    "metadata.log.max.record.bytes.between.snapshots": Long = "20971520", Allowed::at_least(1), ReadOnly, Accepted,
        "Bytes of metadata log after which a snapshot is written.";
    "metadata.log.max.snapshot.interval.ms": Long = "3600000", Allowed::at_least(0), ReadOnly, Accepted,
        "Time after which a snapshot is written.";
    "metadata.log.segment.bytes": Int = "1073741824", Allowed::at_least(8_388_608), ReadOnly, Accepted,
        "Size at which a new segment of the metadata log begins.";
    "metadata.log.segment.ms": Long = "604800000", Anything, ReadOnly, Accepted,
        "Age at which a new segment of the metadata log begins.";
    "metadata.max.idle.interval.ms": Int = "500", Allowed::at_least(0), ReadOnly, Accepted,
        "How often an idle controller writes a no-op record.";
    "metadata.max.retention.bytes": Long = "104857600", Anything, ReadOnly, Accepted,
        "Bytes of metadata log and snapshots kept.";
    "metadata.max.retention.ms": Long = "604800000", Anything, ReadOnly, Accepted,
        "How long metadata log and snapshots are kept.";
};
