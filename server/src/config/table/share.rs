//! Rows about share groups and streams groups.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::Anything;
use millrace_engine::config::Handling::{Accepted, Pending};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::{SHARE, STREAMS};

pub(super) const ROWS: &[Property] = properties! {
    "group.share.record.lock.duration.ms": Int = "30000", Allowed::between(1000, 3_600_000), ReadOnly, Pending(SHARE),
        "How long a fetched record stays with its member.";
    "group.share.delivery.count.limit": Int = "5", Allowed::between(2, 10), ReadOnly, Pending(SHARE),
        "How often a record is delivered before it is given up.";
    "group.share.partition.max.record.locks": Int = "2000", Allowed::between(100, 10_000), ReadOnly, Pending(SHARE),
        "Records of a partition in delivery at once.";
    "group.share.max.size": Int = "200", Allowed::between(1, 1000), ReadOnly, Pending(SHARE),
        "Members of a share group.";
    "group.share.assignment.interval.ms": Int = "1000", Allowed::at_least(0), ClusterWide, Accepted,
        "Least time between two assignments.";
    "group.share.assignors": List = "simple", Anything, ReadOnly, Accepted,
        "Assignors of share groups.";
    "group.share.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ReadOnly, Accepted,
        "Heartbeat of members.";
    "group.share.max.assignment.interval.ms": Int = "15000", Allowed::at_least(0), ReadOnly, Accepted,
        "Greatest assignment interval a group may be given.";
    "group.share.max.delivery.count.limit": Int = "10", Allowed::between(5, 25), ReadOnly, Accepted,
        "Greatest delivery limit a group may be given.";
    "group.share.max.heartbeat.interval.ms": Int = "15000", Allowed::at_least(1), ReadOnly, Accepted,
        "Greatest heartbeat interval a group may be given.";
    "group.share.max.partition.max.record.locks": Int = "4000", Allowed::between(2000, 10_000), ReadOnly, Accepted,
        "Greatest number of locks a group may be given.";
    "group.share.max.record.lock.duration.ms": Int = "60000", Allowed::between(30_000, 3_600_000), ReadOnly, Accepted,
        "Greatest lock duration a group may be given.";
    "group.share.max.session.timeout.ms": Int = "60000", Allowed::at_least(1), ReadOnly, Accepted,
        "Greatest session a group may be given.";
    "group.share.max.share.sessions": Int = "2000", Allowed::at_least(1), ReadOnly, Accepted,
        "Share sessions at once.";
    "group.share.min.assignment.interval.ms": Int = "0", Allowed::at_least(0), ReadOnly, Accepted,
        "Least assignment interval a group may be given.";
    "group.share.min.delivery.count.limit": Int = "2", Allowed::between(2, 5), ReadOnly, Accepted,
        "Least delivery limit a group may be given.";
    "group.share.min.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ReadOnly, Accepted,
        "Least heartbeat interval a group may be given.";
    "group.share.min.partition.max.record.locks": Int = "100", Allowed::between(100, 2000), ReadOnly, Accepted,
        "Least number of locks a group may be given.";
    "group.share.min.record.lock.duration.ms": Int = "15000", Allowed::between(1000, 30_000), ReadOnly, Accepted,
        "Least lock duration a group may be given.";
    "group.share.min.session.timeout.ms": Int = "45000", Allowed::at_least(1), ReadOnly, Accepted,
        "Least session a group may be given.";
    "group.share.session.timeout.ms": Int = "45000", Allowed::at_least(1), ReadOnly, Accepted,
        "Session of members.";
    "share.coordinator.state.topic.replication.factor": Short = "3", Allowed::at_least(1), ReadOnly, Pending(SHARE),
        "Replicas of __share_group_state; lowered to the number of brokers.";
    "share.coordinator.state.topic.min.isr": Short = "2", Allowed::at_least(1), ReadOnly, Pending(SHARE),
        "In-sync replicas that __share_group_state needs.";
    "share.coordinator.state.topic.num.partitions": Int = "50", Allowed::at_least(1), ReadOnly, Accepted,
        "Partitions of __share_group_state.";
    "share.coordinator.state.topic.compression.codec": Int = "0", Anything, ReadOnly, Accepted,
        "Codec of __share_group_state.";
    "share.coordinator.state.topic.segment.bytes": Int = "104857600", Allowed::at_least(1), ReadOnly, Accepted,
        "Segment size of __share_group_state.";
    "share.coordinator.append.linger.ms": Int = "-1", Allowed::at_least(-1), ReadOnly, Accepted,
        "How long share state is gathered before it is written.";
    "share.coordinator.cached.buffer.max.bytes": Int = "1048588", Allowed::at_least(524_288), ClusterWide, Accepted,
        "Largest write buffer that is kept for reuse.";
    "share.coordinator.load.buffer.size": Int = "5242880", Allowed::at_least(1), ReadOnly, Accepted,
        "Read size when share state is loaded.";
    "share.coordinator.snapshot.update.records.per.snapshot": Int = "500", Allowed::between(0, 500), ReadOnly, Accepted,
        "Updates between two snapshots of share state.";
    "share.coordinator.threads": Int = "1", Allowed::at_least(1), ReadOnly, Accepted,
        "Threads of the share coordinator.";
    "share.coordinator.write.timeout.ms": Int = "5000", Allowed::at_least(1), ReadOnly, Accepted,
        "How long a write of share state may wait for its replicas.";
    "group.streams.session.timeout.ms": Int = "45000", Allowed::at_least(1), ReadOnly, Pending(STREAMS),
        "Session of members of a streams group.";
    "group.streams.max.standby.replicas": Int = "2", Allowed::at_least(0), ReadOnly, Pending(STREAMS),
        "Greatest number of standby replicas a group may be given.";
    "group.streams.assignment.interval.ms": Int = "1000", Allowed::at_least(0), ClusterWide, Accepted,
        "Least time between two assignments.";
    "group.streams.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ReadOnly, Accepted,
        "Heartbeat of members.";
    "group.streams.initial.rebalance.delay.ms": Int = "3000", Allowed::at_least(0), ReadOnly, Accepted,
        "How long an empty streams group waits for more members.";
    "group.streams.max.assignment.interval.ms": Int = "15000", Allowed::at_least(0), ReadOnly, Accepted,
        "Greatest assignment interval a group may be given.";
    "group.streams.max.heartbeat.interval.ms": Int = "15000", Allowed::at_least(1), ReadOnly, Accepted,
        "Greatest heartbeat interval a group may be given.";
    "group.streams.max.session.timeout.ms": Int = "60000", Allowed::at_least(1), ReadOnly, Accepted,
        "Greatest session a group may be given.";
    "group.streams.max.size": Int = "2147483647", Allowed::at_least(1), ReadOnly, Accepted,
        "Members of a streams group.";
    "group.streams.min.assignment.interval.ms": Int = "0", Allowed::at_least(0), ReadOnly, Accepted,
        "Least assignment interval a group may be given.";
    "group.streams.min.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ReadOnly, Accepted,
        "Least heartbeat interval a group may be given.";
    "group.streams.min.session.timeout.ms": Int = "45000", Allowed::at_least(1), ReadOnly, Accepted,
        "Least session a group may be given.";
    "group.streams.num.standby.replicas": Int = "0", Allowed::at_least(0), ReadOnly, Accepted,
        "Standby replicas of a streams group.";
};
