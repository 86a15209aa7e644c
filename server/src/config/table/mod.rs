//! The table of broker properties, by theme, and what became of keys that older Kafkas had.

mod cleaner;
mod groups;
mod identity;
mod log;
mod of_groups;
mod own;
mod quotas;
mod replication;
mod sasl_login;
mod security;
mod share;
mod sockets;
mod transactions;
mod words;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use millrace_engine::config::{Property, Table};

pub(super) use of_groups::GROUP_BOUNDS;
pub use of_groups::GROUP_PROPERTIES;

/// Every broker property: Kafka 4.3's, three that its plugins or its past define, and our own.
pub const BROKER_PROPERTIES: Table = Table::new(&[
    ("Identity and listeners", identity::ROWS),
    ("Millrace's own", own::ROWS),
    ("Sockets and requests", sockets::ROWS),
    ("Log storage and retention", log::ROWS),
    ("Compaction", cleaner::ROWS),
    ("Replication and metadata", replication::ROWS),
    ("Groups and offsets", groups::ROWS),
    ("Transactions and producers", transactions::ROWS),
    ("Share and streams groups", share::ROWS),
    ("Security", security::ROWS),
    ("Logging in elsewhere (SASL as a client)", sasl_login::ROWS),
    ("Quotas, metrics and tiering", quotas::ROWS),
]);

/// What is said of keys that Kafka had once and 4.3 does not know; they have no effect but for `host.name` and `port`.
pub const RETIRED_BROKER_KEYS: &[(&str, &str)] = &[
    ("advertised.host.name", "use advertised.listeners"),
    ("advertised.port", "use advertised.listeners"),
    (
        "broker.id.generation.enable",
        "set node.id; without it the broker is number 1",
    ),
    ("control.plane.listener.name", "there is one plane"),
    ("controlled.shutdown.max.retries", "a stop does not give up"),
    (
        "controlled.shutdown.retry.backoff.ms",
        "a stop does not give up",
    ),
    (
        "host.name",
        "use listeners; holds only while listeners is not set",
    ),
    ("inter.broker.protocol.version", "versions are negotiated"),
    (
        "leader.imbalance.per.broker.percentage",
        "leaders are restored whatever their share",
    ),
    (
        "log.message.downconversion.enable",
        "records are never converted down",
    ),
    ("log.message.format.version", "records are kept in format 2"),
    (
        "log.message.timestamp.difference.max.ms",
        "use log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms",
    ),
    (
        "offsets.commit.required.acks",
        "a commit waits for all in-sync replicas",
    ),
    (
        "port",
        "use listeners; holds only while listeners is not set",
    ),
    ("quota.consumer.default", "set quotas with kafka-configs"),
    ("quota.producer.default", "set quotas with kafka-configs"),
    ("reserved.broker.max.id", "broker numbers are not generated"),
];

/// Prefixes of keys that retired as a family.
pub(super) const RETIRED_PREFIXES: &[(&str, &str)] = &[
    ("password.encoder.", "passwords are not kept in ZooKeeper"),
    (
        "zookeeper.",
        "there is no ZooKeeper, metadata is kept by the broker",
    ),
];

/// The rows by name: to describe a topic takes some hundred of them.
static BY_NAME: LazyLock<BTreeMap<&str, &Property>> = LazyLock::new(|| {
    let rows = BROKER_PROPERTIES.rows();
    rows.map(|row| (row.name, row)).collect()
});

/// The row that governs `name`: its own, or for `listener.name.<listener>.<key>` and
/// `listener.name.<listener>.<mechanism>.<key>` the row of the security or connection property `<key>`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Property> {
    let named = |name: &str| BY_NAME.get(name).copied();
    if let Some(row) = named(name) {
        return Some(row);
    }
    let (_, key) = name.strip_prefix("listener.name.")?.split_once('.')?;
    let of_mechanism = || named(key.split_once('.')?.1);
    let row = named(key).or_else(of_mechanism)?;
    let families = ["ssl.", "sasl.", "principal."];
    let single = [
        "connections.max.reauth.ms",
        "max.connections",
        "max.connection.creation.rate",
    ];
    let per_listener =
        families.iter().any(|prefix| row.name.starts_with(prefix)) || single.contains(&row.name);
    per_listener.then_some(row)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millrace_engine::config::{Allowed, Handling, Kind, TOPIC_PROPERTIES};

    use super::*;

    #[test]
    fn the_table_holds_what_kafka_reports_and_ours() {
        let names: Vec<_> = BROKER_PROPERTIES.rows().map(|row| row.name).collect();
        let unique: BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "a name appears twice");
        // 343 of Kafka 4.3.1, super.users and allow.everyone.if.no.acl.found of its authorizer, zookeeper.connect.
        assert_eq!(names.len(), 346 + own::ROWS.len());
        let listed = BROKER_PROPERTIES
            .rows()
            .filter(|row| row.always_listed)
            .count();
        assert_eq!(listed, 340 + own::ROWS.len());
    }

    #[test]
    fn every_row_is_found_by_its_name() {
        for row in BROKER_PROPERTIES.rows() {
            let found = find(row.name).map(|found| (found.name, found.documentation));
            assert_eq!(found, Some((row.name, row.documentation)));
        }
        assert!(find("no.such.property").is_none());
    }

    #[test]
    fn every_default_is_a_value_its_own_row_takes() {
        for row in BROKER_PROPERTIES.rows() {
            if let Some(default) = row.default {
                assert_eq!(
                    row.parse(default).map(Some),
                    Ok(row.default_value()),
                    "{}",
                    row.name
                );
            }
            assert!(row.documentation.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn bounds_fit_types_and_refusals_have_a_reason() {
        for row in BROKER_PROPERTIES.rows().chain(TOPIC_PROPERTIES.rows()) {
            let fits = match row.allowed {
                Allowed::Anything | Allowed::Form { .. } => true,
                Allowed::Integers { .. } => {
                    matches!(row.kind, Kind::Int | Kind::Short | Kind::Long)
                }
                Allowed::Reals { .. } => row.kind == Kind::Double,
                Allowed::OneOf(_) => row.kind == Kind::String,
                Allowed::EachOf(_) => row.kind == Kind::List,
            };
            assert!(fits, "{}", row.name);
            assert!(!matches!(
                row.handling,
                Handling::Refused("") | Handling::Pending("")
            ));
        }
    }

    #[test]
    fn a_topic_property_and_its_broker_twin_have_the_same_default() {
        for row in TOPIC_PROPERTIES.rows() {
            let twins = row.twins.iter().map(|twin| (find(twin.name), twin.factor));
            let mut default =
                twins.filter_map(|(twin, factor)| Some((twin?.default_value()?, factor)));
            match default.next_back() {
                Some((value, 1)) => assert_eq!(Some(value), row.default_value(), "{}", row.name),
                Some((value, factor)) => {
                    let hours: i64 = value.to_string().parse().unwrap();
                    assert_eq!(Some((hours * factor).to_string().as_str()), row.default);
                }
                None => assert!(
                    row.twins.is_empty(),
                    "{} has a twin that is no property",
                    row.name
                ),
            }
        }
    }

    #[test]
    fn a_listener_may_have_security_settings_of_its_own() {
        let of_mechanism = find("listener.name.internal.scram-sha-256.sasl.jaas.config");
        assert_eq!(of_mechanism.map(|row| row.name), Some("sasl.jaas.config"));
        let of_listener = find("listener.name.internal.ssl.keystore.location");
        assert_eq!(
            of_listener.map(|row| row.name),
            Some("ssl.keystore.location")
        );
        assert!(find("listener.name.internal.max.connections").is_some());
        assert!(find("listener.name.internal.max.connections.per.ip").is_none());
        assert!(find("listener.name.internal.log.dirs").is_none());
        assert!(find("listener.name.").is_none());
    }
}
