//! `configs`: describe and alter.

use crate::support::{Broker, millrace};

fn with_topic() -> Broker {
    let broker = Broker::start();
    broker
        .run("topics --create --topic t")
        .prints("Created topic t.\n");
    broker
}

#[test]
fn settings_of_a_topic_are_set_shown_and_taken_back() {
    let broker = with_topic();
    let nothing = "Dynamic configs for topic t are:\n";
    broker
        .run("configs --describe --entity-type topics --entity-name t")
        .prints(nothing);
    broker
        .run("configs --alter --entity-type topics --entity-name t --add-config retention.ms=5000,cleanup.policy=[compact,delete]")
        .prints("Completed updating config for topic t.\n");
    let set = "  cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, DEFAULT_CONFIG:log.cleanup.policy=delete}\n  retention.ms=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000}\n";
    for flags in ["--topic t", "--entity-type topics"] {
        broker
            .run(&format!("configs --describe {flags}"))
            .prints(&format!("{nothing}{set}"));
    }
    let all = broker.run("configs --describe --topic t --all").out;
    assert!(all.starts_with("All configs for topic t are:\n"), "{all}");
    assert!(all.contains("  segment.bytes=1073741824 sensitive=false synonyms={DEFAULT_CONFIG:log.segment.bytes=1073741824}\n"), "{all}");
    broker
        .run("configs --alter --topic t --delete-config retention.ms,cleanup.policy")
        .prints("Completed updating config for topic t.\n");
    broker.run("configs --describe --topic t").prints(nothing);
    let file = broker.file("new.properties", "retention.ms=7000\n");
    broker
        .run(&format!(
            "configs --alter --topic t --add-config-file {file}"
        ))
        .prints("Completed updating config for topic t.\n");
    let shown = broker.run("configs --describe --topic t").out;
    assert!(shown.contains("  retention.ms=7000 "), "{shown}");
    broker
        .run("configs --describe --topic nope")
        .prints("The topic 'nope' doesn't exist and doesn't have dynamic config.\n");
    for (kind, name) in [("broker", "9"), ("group", "nope")] {
        broker
            .run(&format!("configs --describe --{kind} {name}"))
            .prints(&format!(
                "The {kind} '{name}' doesn't exist and doesn't have dynamic config.\n"
            ));
    }
}

#[test]
fn settings_of_brokers_are_set_shown_and_taken_back() {
    let broker = Broker::start();
    broker
        .run("configs --alter --broker 1 --add-config log.retention.ms=777000")
        .prints("Completed updating config for broker 1.\n");
    broker
        .run("configs --alter --entity-type brokers --entity-default --add-config log.retention.ms=888000")
        .prints("Completed updating default config for brokers in the cluster.\n");
    let one = "Dynamic configs for broker 1 are:\n  log.retention.ms=777000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=777000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=888000, DEFAULT_CONFIG:log.retention.hours=168}\n";
    let all = "Default configs for brokers in the cluster are:\n  log.retention.ms=888000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=888000}\n";
    broker.run("configs --describe --broker 1").prints(one);
    broker
        .run("configs --describe --broker-defaults")
        .prints(all);
    broker
        .run("configs --describe --entity-type brokers")
        .prints(&format!("{one}{all}"));
    broker
        .run("configs --alter --broker 1 --delete-config log.retention.ms")
        .prints("Completed updating config for broker 1.\n");
    broker.run("configs --describe --broker 1").prints(
        &one.replace("777000", "888000")
            .lines()
            .take(1)
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    );
}

#[test]
fn settings_of_groups_are_set_and_shown() {
    let broker = Broker::start();
    broker
        .run("configs --alter --group g --add-config consumer.session.timeout.ms=50000")
        .prints("Completed updating config for group g.\n");
    broker
        .run("configs --describe --entity-type groups --entity-name g")
        .prints("Dynamic configs for group g are:\n  consumer.session.timeout.ms=50000 sensitive=false synonyms={DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=50000, DEFAULT_CONFIG:group.consumer.session.timeout.ms=45000}\n");
}

#[test]
fn changes_that_make_no_sense_are_refused_with_the_brokers_reason() {
    let broker = with_topic();
    let address = broker.address();
    let cases = [
        (
            "--alter --topic t --add-config no.such=1",
            "InvalidConfigurationException: Unknown topic config name: no.such",
        ),
        (
            "--alter --topic nope --add-config retention.ms=1",
            "UnknownTopicOrPartitionException: The topic 'nope' does not exist.",
        ),
        (
            "--alter --broker 1 --add-config broker.id=4",
            "InvalidRequestException: Cannot update these configs dynamically: [broker.id]",
        ),
    ];
    for (flags, reason) in cases {
        let ran = broker.run(&format!("configs {flags}"));
        ran.is_refused(&format!(
            "Error while executing config command with args '{flags} --bootstrap-server {address}'"
        ));
        assert_eq!(
            ran.err.lines().nth(1),
            Some(format!("org.apache.kafka.common.errors.{reason}").as_str())
        );
    }
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let cases = [
        (
            "",
            "Command must include exactly one action: --describe, --alter",
        ),
        ("--describe", "At least one entity type must be specified"),
        (
            "--alter --topic t",
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
        ),
        (
            "--alter --topic t --add-config retention.ms",
            "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.",
        ),
        (
            "--alter --broker x --add-config log.retention.ms=4",
            "The entity name for brokers must be a valid integer broker id, but it is: x",
        ),
        (
            "--alter --entity-type brokers --add-config log.retention.ms=4",
            "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips",
        ),
        (
            "--alter --topic t --add-config retention.ms=1 --add-config-file x",
            "Only one of --add-config or --add-config-file must be specified",
        ),
        (
            "--describe --topic t --broker 1",
            "Only 'users' and 'clients' entity types may be specified together",
        ),
        (
            "--describe --entity-type nonsense",
            "Invalid entity type nonsense, the entity type must be one of topics, clients, users, brokers, ips, broker-loggers, client-metrics, groups with a --bootstrap-server or --bootstrap-controller argument",
        ),
    ];
    for (flags, reason) in cases {
        let mut words = vec!["configs", "--bootstrap-server", "127.0.0.1:1"];
        words.extend(flags.split(' ').filter(|word| !word.is_empty()));
        millrace(&words).is_refused(reason);
    }
}

#[test]
fn what_is_not_served_yet_is_said_in_one_sentence() {
    let entities = [
        "--entity-type users --entity-name alice",
        "--entity-type clients --entity-default",
        "--entity-type ips",
        "--user alice --client c",
        "--user-defaults",
        "--client-defaults",
        "--ip 1.2.3.4",
        "--ip-defaults",
    ];
    for entity in entities {
        for action in ["--describe", "--alter --add-config producer_byte_rate=1024"] {
            let line = format!("configs --bootstrap-server 127.0.0.1:1 {action} {entity}");
            let ran = millrace(&line.split(' ').collect::<Vec<_>>());
            ran.is_refused("Quotas and credentials of users, clients and ips are not served by Millrace yet: nothing was read or changed.");
            assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        }
    }
    for (entity, name) in [
        ("broker-loggers --entity-name 1", "Log levels of brokers"),
        ("client-metrics", "Subscriptions to metrics of clients"),
    ] {
        let line =
            format!("configs --bootstrap-server 127.0.0.1:1 --describe --entity-type {entity}");
        millrace(&line.split(' ').collect::<Vec<_>>()).is_refused(&format!(
            "{name} are not served by Millrace yet: nothing was read or changed."
        ));
    }
}
