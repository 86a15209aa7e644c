//! The properties that single groups have: what `DescribeConfigs` and `AlterConfigs` know of a group.
//!
//! They are those of the newer group protocols; a classic group keeps them without being moved by them.

use millrace_engine::config::Allowed::OneOf;
use millrace_engine::config::Handling::Pending;
use millrace_engine::config::{Allowed, Property, Table};
use millrace_engine::properties;

use super::words::{KIP_848, SHARE, STREAMS};

/// Every property of a group, as Kafka 4.3 has them. The twin is the broker property that gives the default.
pub const GROUP_PROPERTIES: Table = Table::new(&[("Groups", ROWS)]);

/// What a broker allows its groups: a property, the broker property that is its least value, and the one that is its
/// greatest.
pub(in crate::config) const GROUP_BOUNDS: &[(&str, Option<&str>, &str)] = &[
    (
        "consumer.session.timeout.ms",
        Some("group.consumer.min.session.timeout.ms"),
        "group.consumer.max.session.timeout.ms",
    ),
    (
        "consumer.heartbeat.interval.ms",
        Some("group.consumer.min.heartbeat.interval.ms"),
        "group.consumer.max.heartbeat.interval.ms",
    ),
    (
        "consumer.assignment.interval.ms",
        Some("group.consumer.min.assignment.interval.ms"),
        "group.consumer.max.assignment.interval.ms",
    ),
    (
        "share.session.timeout.ms",
        Some("group.share.min.session.timeout.ms"),
        "group.share.max.session.timeout.ms",
    ),
    (
        "share.heartbeat.interval.ms",
        Some("group.share.min.heartbeat.interval.ms"),
        "group.share.max.heartbeat.interval.ms",
    ),
    (
        "share.assignment.interval.ms",
        Some("group.share.min.assignment.interval.ms"),
        "group.share.max.assignment.interval.ms",
    ),
    (
        "share.record.lock.duration.ms",
        Some("group.share.min.record.lock.duration.ms"),
        "group.share.max.record.lock.duration.ms",
    ),
    (
        "share.delivery.count.limit",
        Some("group.share.min.delivery.count.limit"),
        "group.share.max.delivery.count.limit",
    ),
    (
        "share.partition.max.record.locks",
        Some("group.share.min.partition.max.record.locks"),
        "group.share.max.partition.max.record.locks",
    ),
    (
        "streams.session.timeout.ms",
        Some("group.streams.min.session.timeout.ms"),
        "group.streams.max.session.timeout.ms",
    ),
    (
        "streams.heartbeat.interval.ms",
        Some("group.streams.min.heartbeat.interval.ms"),
        "group.streams.max.heartbeat.interval.ms",
    ),
    (
        "streams.assignment.interval.ms",
        Some("group.streams.min.assignment.interval.ms"),
        "group.streams.max.assignment.interval.ms",
    ),
    (
        "streams.num.standby.replicas",
        None,
        "group.streams.max.standby.replicas",
    ),
];

const AUTO_OFFSET_RESET: Allowed = Allowed::Form {
    description: "latest, earliest or by_duration:<a duration such as PT1H>",
    check: |text| {
        matches!(text, "latest" | "earliest")
            || text.strip_prefix("by_duration:").is_some_and(|duration| {
                // Kafka takes ISO 8601 durations that are not negative.
                duration.len() > 2 && duration.starts_with('P') && !duration.contains('-')
            })
    },
};

const ROWS: &[Property] = properties! {
    "consumer.session.timeout.ms": Int = "45000", Allowed::at_least(1), ClusterWide, Pending(KIP_848),
        twins [("group.consumer.session.timeout.ms", 1)],
        "How long a member of a consumer group may be silent.";
    "consumer.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ClusterWide, Pending(KIP_848),
        twins [("group.consumer.heartbeat.interval.ms", 1)],
        "How often the members of a consumer group send heartbeats.";
    "consumer.assignment.interval.ms": Int = "1000", Allowed::at_least(0), ClusterWide, Pending(KIP_848),
        twins [("group.consumer.assignment.interval.ms", 1)],
        "Least time between two assignments of a consumer group.";
    "share.session.timeout.ms": Int = "45000", Allowed::at_least(1), ClusterWide, Pending(SHARE),
        twins [("group.share.session.timeout.ms", 1)],
        "How long a member of a share group may be silent.";
    "share.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ClusterWide, Pending(SHARE),
        twins [("group.share.heartbeat.interval.ms", 1)],
        "How often the members of a share group send heartbeats.";
    "share.assignment.interval.ms": Int = "1000", Allowed::at_least(0), ClusterWide, Pending(SHARE),
        twins [("group.share.assignment.interval.ms", 1)],
        "Least time between two assignments of a share group.";
    "share.record.lock.duration.ms": Int = "30000", Allowed::between(1000, 3_600_000), ClusterWide, Pending(SHARE),
        twins [("group.share.record.lock.duration.ms", 1)],
        "How long a fetched record stays with its member.";
    "share.partition.max.record.locks": Int = "2000", Allowed::between(100, 10_000), ClusterWide, Pending(SHARE),
        twins [("group.share.partition.max.record.locks", 1)],
        "Records of a partition in delivery at once.";
    "share.delivery.count.limit": Int = "5", Allowed::between(2, 10), ClusterWide, Pending(SHARE),
        twins [("group.share.delivery.count.limit", 1)],
        "How often a record is delivered before it is given up.";
    "share.auto.offset.reset": String = "latest", AUTO_OFFSET_RESET, ClusterWide, Pending(SHARE),
        "Where a share group begins to read.";
    "share.isolation.level": String = "read_uncommitted", OneOf(&["read_committed", "read_uncommitted"]), ClusterWide,
        Pending(SHARE), "Whether a share group sees records of open and aborted transactions.";
    "share.renew.acknowledge.enable": Boolean = "true", Allowed::Anything, ClusterWide, Pending(SHARE),
        "Whether members of a share group may ask for more time with a record.";
    "streams.session.timeout.ms": Int = "45000", Allowed::at_least(1), ClusterWide, Pending(STREAMS),
        twins [("group.streams.session.timeout.ms", 1)],
        "How long a member of a streams group may be silent.";
    "streams.heartbeat.interval.ms": Int = "5000", Allowed::at_least(1), ClusterWide, Pending(STREAMS),
        twins [("group.streams.heartbeat.interval.ms", 1)],
        "How often the members of a streams group send heartbeats.";
    "streams.assignment.interval.ms": Int = "1000", Allowed::at_least(0), ClusterWide, Pending(STREAMS),
        twins [("group.streams.assignment.interval.ms", 1)],
        "Least time between two assignments of a streams group.";
    "streams.initial.rebalance.delay.ms": Int = "3000", Allowed::at_least(0), ClusterWide, Pending(STREAMS),
        twins [("group.streams.initial.rebalance.delay.ms", 1)],
        "How long the first rebalance of a streams group waits for more members.";
    "streams.num.standby.replicas": Int = "0", Allowed::at_least(0), ClusterWide, Pending(STREAMS),
        twins [("group.streams.num.standby.replicas", 1)],
        "Standby replicas of a streams group's tasks.";
};

#[cfg(test)]
mod tests {
    use super::super::BROKER_PROPERTIES;
    use super::*;

    #[test]
    fn the_rows_are_kafkas_17_and_their_brokers_exist() {
        assert_eq!(GROUP_PROPERTIES.rows().count(), 17);
        for row in GROUP_PROPERTIES.rows() {
            for twin in row.twins {
                let broker = BROKER_PROPERTIES.find(twin.name);
                assert_eq!(
                    broker.map(|broker| broker.default),
                    Some(row.default),
                    "{}",
                    row.name
                );
            }
        }
        for (name, least, greatest) in GROUP_BOUNDS {
            assert!(GROUP_PROPERTIES.find(name).is_some(), "{name}");
            let bounds = least.iter().chain([greatest]);
            for bound in bounds {
                assert!(BROKER_PROPERTIES.find(bound).is_some(), "{bound}");
            }
        }
    }
}
