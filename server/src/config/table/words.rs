//! Words that several rows share: bounds of a form, parts of Kafka that do not exist yet, reasons to refuse.

use millrace_engine::config::Allowed;

pub(super) const CLUSTER: &str = "several brokers";
pub(super) const TRANSACTIONS: &str = "transactions";
pub(super) const KIP_848: &str = "the consumer group protocol (KIP-848)";
pub(super) const SHARE: &str = "share groups";
pub(super) const STREAMS: &str = "streams groups";
pub(super) const TLS: &str = "TLS";
pub(super) const SASL: &str = "SASL";
pub(super) const TOKENS: &str = "delegation tokens";
pub(super) const QUOTAS: &str = "quotas";

pub(super) const JVM: &str =
    "Java classes cannot run here, and going on without it would not be safe";
pub(super) const TIERING: &str = "there is no tiered storage yet";

pub(super) const COMPRESSION_TYPE: Allowed =
    Allowed::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);

pub(super) const GZIP_LEVEL: Allowed = Allowed::Form {
    description: "1 to 9, or -1",
    check: |text| matches!(text.parse(), Ok(-1 | 1..=9)),
};

pub(super) const NOT_ZERO: Allowed = Allowed::Form {
    description: "1 or more, or -1 for ever",
    check: |text| matches!(text.parse::<i64>(), Ok(number) if number != 0),
};

pub(super) const BUFFER: Allowed = Allowed::Form {
    description: "1 or more, or -1 for the system's own",
    check: |text| matches!(text.parse::<i64>(), Ok(-1 | 1..)),
};

pub(super) const BYTES_OR_OFF: Allowed = Allowed::Form {
    description: "1 or more, or -1 for no bound of its own",
    check: |text| matches!(text.parse::<i64>(), Ok(-1 | 1..)),
};

pub(super) const MIGRATION_POLICY: Allowed = Allowed::Form {
    description: "one of disabled, downgrade, upgrade, bidirectional",
    check: |text| {
        let policies = ["disabled", "downgrade", "upgrade", "bidirectional"];
        policies
            .iter()
            .any(|policy| policy.eq_ignore_ascii_case(text))
    },
};

pub(super) const ASSERTION_ALGORITHM: Allowed = Allowed::Form {
    description: "one of ES256, RS256",
    check: |text| text.eq_ignore_ascii_case("ES256") || text.eq_ignore_ascii_case("RS256"),
};

pub(super) const REPLICA_SELECTOR: Allowed = Allowed::Form {
    description: "org.apache.kafka.common.replica.RackAwareReplicaSelector or \
                  org.apache.kafka.common.replica.LeaderSelector",
    check: |text| {
        let class = text.strip_prefix("org.apache.kafka.common.replica.");
        matches!(class, Some("RackAwareReplicaSelector" | "LeaderSelector")) || text.is_empty()
    },
};

/// Kafka's own authorizers, of today and of before 3.3.
pub(super) const AUTHORIZER: Allowed = Allowed::Form {
    description: "org.apache.kafka.metadata.authorizer.StandardAuthorizer, kafka.security.authorizer.AclAuthorizer, or \
                  nothing for no authorization; Java classes cannot run here",
    check: |text| {
        let known = [
            "",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "kafka.security.authorizer.AclAuthorizer",
        ];
        known.contains(&text)
    },
};

/// Kafka starts with no list that lacks classic.
pub(super) const GROUP_PROTOCOLS: Allowed = Allowed::Form {
    description: "a list of classic, consumer, share, streams; classic cannot be left out",
    check: |text| {
        let known = ["classic", "consumer", "share", "streams"];
        let mut listed = text.split(',').map(str::trim);
        listed.clone().any(|name| name == "classic")
            && listed.all(|name| name.is_empty() || known.contains(&name))
    },
};

pub(super) const IP_OVERRIDES: Allowed = Allowed::Form {
    description: "a list of host:count, such as 127.0.0.1:200",
    check: |text| super::super::broker::connection_overrides(text).is_some(),
};
