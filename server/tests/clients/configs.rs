//! Settings of topics and brokers, described and altered.

use millrace_wire::message::describe_configs::{
    DescribeConfigsRequestResource, DescribeConfigsResponseResource,
};
use millrace_wire::message::incremental_alter_configs::{
    IncrementalAlterConfigsEntry, IncrementalAlterConfigsRequestResource,
};
use millrace_wire::message::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use millrace_wire::{ErrorCode, Str};
use rdkafka::admin::{AlterConfig, ConfigSource, ResourceSpecifier};

use crate::support::broker::Broker;
use crate::support::librdkafka::{admin, create_topic, options, wait};
use crate::support::wire::Wire;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// The topic settings of Kafka 4.3.
const TOPIC_KEYS: &str = "cleanup.policy compression.gzip.level compression.lz4.level compression.type \
    compression.zstd.level delete.retention.ms file.delete.delay.ms flush.messages flush.ms \
    follower.replication.throttled.replicas index.interval.bytes internal.segment.bytes \
    leader.replication.throttled.replicas local.retention.bytes local.retention.ms max.compaction.lag.ms \
    max.message.bytes message.timestamp.after.max.ms message.timestamp.before.max.ms message.timestamp.type \
    min.cleanable.dirty.ratio min.compaction.lag.ms min.insync.replicas preallocate \
    remote.log.copy.disable remote.log.delete.on.disable remote.storage.enable retention.bytes retention.ms \
    segment.bytes segment.index.bytes segment.jitter.ms segment.ms unclean.leader.election.enable";

fn describe(
    wire: &mut Wire,
    resource_type: i8,
    name: &str,
    keys: Option<Vec<Str>>,
) -> DescribeConfigsResponseResource {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsRequestResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: keys,
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    wire.ask(&request, 4).results.remove(0)
}

pub(crate) fn value_of(wire: &mut Wire, topic: &str, key: &str) -> Option<String> {
    let described = describe(wire, TOPIC, topic, Some(vec![key.into()]));
    assert_eq!(described.configs.len(), 1, "{key}");
    described.configs[0].value.as_deref().map(str::to_owned)
}

/// SEMANTICS 61: read-modify-write tools need every setting, whether null or no keys are asked for.
#[test]
fn describe_configs_lists_every_setting_of_a_topic() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[("retention.ms", "1234")]);
    for keys in [None, Some(Vec::new())] {
        let described = describe(&mut wire, TOPIC, "t", keys);
        assert_eq!(described.error_code, ErrorCode::None);
        let names: Vec<&str> = described.configs.iter().map(|entry| &*entry.name).collect();
        let expected: Vec<&str> = TOPIC_KEYS.split_whitespace().collect();
        let missing: Vec<&&str> = expected
            .iter()
            .filter(|key| !names.contains(*key))
            .collect();
        // "internal.segment.bytes" is for Kafka's own tests.
        assert!(
            missing.iter().all(|key| **key == "internal.segment.bytes"),
            "missing: {missing:?}"
        );
        for entry in &described.configs {
            assert!(entry.config_type > 0, "{} has no type", entry.name);
        }
        let retention = described
            .configs
            .iter()
            .find(|entry| &*entry.name == "retention.ms")
            .unwrap();
        assert_eq!(retention.value.as_deref(), Some("1234"));
        assert_eq!(
            (retention.config_source, retention.config_type),
            (1, 5),
            "a topic's own long"
        );
        let synonyms: Vec<&str> = retention
            .synonyms
            .iter()
            .map(|synonym| &*synonym.name)
            .collect();
        assert_eq!(
            synonyms,
            ["retention.ms"],
            "coarser units are at their defaults"
        );
    }
}

#[test]
fn a_broker_describes_itself_and_nobody_else() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let metadata = wire.ask(&millrace_wire::message::MetadataRequest::default(), 9);
    let own = metadata.brokers[0].node_id;
    let described = describe(&mut wire, BROKER, &own.to_string(), None);
    assert_eq!(described.error_code, ErrorCode::None);
    let log_dirs = described
        .configs
        .iter()
        .find(|entry| &*entry.name == "log.dirs")
        .unwrap();
    assert_eq!(log_dirs.value.as_deref(), broker.data().to_str());
    assert!(log_dirs.read_only);

    let other = describe(&mut wire, BROKER, "77", None);
    assert_eq!(other.error_code, ErrorCode::InvalidRequest);
    let expected = format!("Unexpected broker id, expected {own} or empty string, but received 77");
    assert_eq!(other.error_message.as_deref(), Some(&*expected));
}

#[test]
fn settings_are_set_subtracted_and_deleted_one_by_one() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[("retention.ms", "1234")]);
    let mut alter = |key: &str, operation: i8, value: Option<&str>| {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![IncrementalAlterConfigsRequestResource {
                resource_type: TOPIC,
                resource_name: "t".into(),
                configs: vec![IncrementalAlterConfigsEntry {
                    name: key.into(),
                    config_operation: operation,
                    value: value.map(Into::into),
                }],
            }],
            validate_only: false,
        };
        wire.ask(&request, 1).responses[0].error_code
    };
    let (set, delete, append, subtract) = (0, 1, 2, 3);
    assert_eq!(
        alter("segment.bytes", set, Some("2000000")),
        ErrorCode::None
    );
    assert_eq!(
        alter("cleanup.policy", append, Some("compact")),
        ErrorCode::None
    );
    assert_eq!(
        alter("cleanup.policy", subtract, Some("delete")),
        ErrorCode::None
    );
    assert_eq!(alter("retention.ms", delete, None), ErrorCode::None);
    assert_eq!(
        alter("retention.ms", append, Some("1")),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter("segment.bytes", set, Some("many")),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter("no.such.key", set, Some("1")),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        value_of(&mut wire, "t", "segment.bytes").as_deref(),
        Some("2000000")
    );
    assert_eq!(
        value_of(&mut wire, "t", "cleanup.policy").as_deref(),
        Some("compact")
    );
    assert_eq!(
        value_of(&mut wire, "t", "retention.ms").as_deref(),
        Some("604800000")
    );
}

#[test]
fn librdkafka_describes_and_alters_a_topic() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[("segment.ms", "99999")]);
    let admin = admin(&broker);
    let altered = AlterConfig::new(ResourceSpecifier::Topic("t")).set("max.message.bytes", "5555");
    let answer = wait(admin.alter_configs([&altered], &options())).unwrap();
    assert!(answer[0].is_ok(), "{answer:?}");
    let described =
        wait(admin.describe_configs([&ResourceSpecifier::Topic("t")], &options())).unwrap();
    let described = described.into_iter().next().unwrap().unwrap();
    let size = described.get("max.message.bytes").unwrap();
    assert_eq!(size.value.as_deref(), Some("5555"));
    assert_eq!(size.source, ConfigSource::DynamicTopic);
    // AlterConfigs replaces all of a topic's settings.
    let segment = described.get("segment.ms").unwrap();
    assert_eq!(segment.value.as_deref(), Some("604800000"));
    assert!(segment.is_default);
}

#[test]
fn an_altered_limit_holds_for_the_next_batch() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let value = "x".repeat(3000);
    let batch = crate::support::records::batch(&[&value]);
    wire.append("t", 0, batch.clone());
    let altered = AlterConfig::new(ResourceSpecifier::Topic("t")).set("max.message.bytes", "2000");
    let answer = wait(admin(&broker).alter_configs([&altered], &options())).unwrap();
    assert!(answer[0].is_ok(), "{answer:?}");
    crate::support::eventually("the new limit to hold", || {
        let answer = wire.produce("t", 0, batch.clone());
        (answer.error_code == ErrorCode::MessageTooLarge).then_some(())
    });
}
