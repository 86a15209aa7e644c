//! Rows about consumer groups and committed offsets.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::Anything;
use millrace_engine::config::Handling::{Accepted, Honoured, Mapped, Pending};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::{GROUP_PROTOCOLS, KIP_848, MIGRATION_POLICY};

pub(super) const ROWS: &[Property] = properties! {
    "group.initial.rebalance.delay.ms": Int = "3000", Allowed::at_least(0), ReadOnly, Honoured,
        "How long an empty classic group waits for more members before its first rebalance.";
    "group.min.session.timeout.ms": Int = "6000", Allowed::at_least(0), ReadOnly, Honoured,
        "The shortest session a classic member may ask for.";
    "group.max.session.timeout.ms": Int = "1800000", Allowed::at_least(0), ReadOnly, Honoured,
        "The longest session a classic member may ask for.";
    "group.max.size": Int = "2147483647", Allowed::at_least(1), ReadOnly, Honoured,
        "Members of a classic group.";
    "group.coordinator.rebalance.protocols": List = "classic,consumer,streams", GROUP_PROTOCOLS, ReadOnly, Pending(KIP_848),
        "Group protocols that are served; until then classic, which Kafka does not let anybody switch off.";
    "group.coordinator.append.linger.ms": Int = "-1", Allowed::at_least(-1), ReadOnly, Accepted,
        "How long group records are gathered before they are written.";
    "group.coordinator.background.threads": Int = "2", Allowed::at_least(1), ReadOnly, Accepted,
        "Threads for background work of groups.";
    "group.coordinator.cached.buffer.max.bytes": Int = "1048588", Allowed::at_least(524_288), ClusterWide, Accepted,
        "Largest write buffer that is kept for reuse.";
    "group.coordinator.threads": Int = "4", Allowed::at_least(1), ReadOnly, Accepted,
        "Threads of the group coordinator; groups live on the shards.";
    "group.consumer.session.timeout.ms": Int = "45000", Allowed::at_least(1), ReadOnly, Pending(KIP_848),
        "Session of members of the consumer protocol.";
    "group.consumer.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ReadOnly, Pending(KIP_848),
        "Heartbeat of members of the consumer protocol.";
    "group.consumer.min.session.timeout.ms": Int = "45000", Allowed::at_least(1), ReadOnly, Pending(KIP_848),
        "Least session a group may be given.";
    "group.consumer.max.session.timeout.ms": Int = "60000", Allowed::at_least(1), ReadOnly, Pending(KIP_848),
        "Greatest session a group may be given.";
    "group.consumer.max.size": Int = "2147483647", Allowed::at_least(1), ReadOnly, Pending(KIP_848),
        "Members of a group of the consumer protocol.";
    "group.consumer.assignors": List = "uniform,range", Anything, ReadOnly, Pending(KIP_848),
        "Assignors of the broker; the first is the default.";
    "group.consumer.migration.policy": String = "bidirectional", MIGRATION_POLICY, ReadOnly, Pending(KIP_848),
        "Whether classic groups and consumer groups turn into each other.";
    "group.consumer.assignment.interval.ms": Int = "1000", Allowed::at_least(0), ClusterWide, Accepted,
        "Least time between two assignments of a group.";
    "group.consumer.min.assignment.interval.ms": Int = "0", Allowed::at_least(0), ReadOnly, Accepted,
        "Least assignment interval a group may be given.";
    "group.consumer.max.assignment.interval.ms": Int = "15000", Allowed::at_least(0), ReadOnly, Accepted,
        "Greatest assignment interval a group may be given.";
    "group.consumer.min.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ReadOnly, Accepted,
        "Least heartbeat interval a group may be given.";
    "group.consumer.max.heartbeat.interval.ms": Int = "15000", Allowed::at_least(1), ReadOnly, Accepted,
        "Greatest heartbeat interval a group may be given.";
    "offsets.retention.minutes": Int = "10080", Allowed::at_least(1), ReadOnly, Honoured,
        "How long offsets outlive the last member of their group.";
    "offsets.retention.check.interval.ms": Long = "600000", Allowed::at_least(1), ReadOnly, Honoured,
        "How often expired offsets are looked for.";
    "offset.metadata.max.bytes": Int = "4096", Allowed::at_least(0), ReadOnly, Honoured,
        "Text a client may store beside an offset, in UTF-16 units as Kafka counts; 32,767 bytes at most.";
    "offsets.topic.num.partitions": Int = "50", Allowed::at_least(1), ReadOnly, Honoured,
        "Partitions of __consumer_offsets, fixed when it is made.";
    "offsets.topic.replication.factor": Short = "3", Allowed::at_least(1), ReadOnly, Honoured,
        "Replicas of __consumer_offsets; lowered to the number of brokers.";
    "offsets.topic.segment.bytes": Int = "104857600", Allowed::at_least(1), ReadOnly, Honoured,
        "Segment size of __consumer_offsets, fixed when it is made; 1 MiB at least.";
    "offsets.topic.compression.codec": Int = "0", Anything, ReadOnly, Accepted,
        "Codec of __consumer_offsets; it is not compressed.";
    "offsets.load.buffer.size": Int = "5242880", Allowed::at_least(1), ReadOnly, Accepted,
        "Read size when offsets are loaded; the engine decides.";
    "offsets.commit.timeout.ms": Int = "5000", Allowed::at_least(1), ReadOnly, Mapped,
        "How long an offset commit may wait until it is durable.";
};
