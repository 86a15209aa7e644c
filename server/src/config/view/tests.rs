//! What clients see and may change.

use std::path::PathBuf;

use millrace_engine::config::Operation;

use super::*;
use crate::config::load::{Sources, load};

pub(super) fn view(overrides: &[&str]) -> ConfigView {
    let overrides = overrides.iter().map(|&text| text.to_owned()).collect();
    load(&Sources {
        overrides,
        ..Sources::default()
    })
    .unwrap()
    .view
}

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn only(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_owned()])
}

fn topic(view: &ConfigView, own: &Overrides, name: &str) -> Entry {
    view.describe_topic(own, &only(name)).remove(0)
}

fn broker(view: &ConfigView, name: &str) -> Entry {
    view.describe_broker(&only(name)).remove(0)
}

fn chain(entry: &Entry) -> Vec<(&str, Option<&str>, i8)> {
    let synonyms = entry.synonyms.iter();
    synonyms
        .map(|s| (s.name.as_str(), s.value.as_deref(), s.source as i8))
        .collect()
}

#[test]
fn every_property_is_listed() {
    let view = view(&[]);
    assert_eq!(
        view.describe_topic(&Overrides::new(), &BTreeSet::new())
            .len(),
        34
    );
    let entries = view.describe_broker(&BTreeSet::new());
    assert_eq!(entries.len(), 346);
    assert!(entries.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn a_topics_chain_runs_from_itself_to_the_default() {
    let view = view(&["log.retention.hours=5"]).with_dynamic(
        overrides(&[("log.retention.ms", "70")]),
        overrides(&[("log.retention.ms", "60")]),
    );
    let entry = topic(&view, &overrides(&[("retention.ms", "50")]), "retention.ms");
    assert_eq!(
        (entry.value.as_deref(), entry.source),
        (Some("50"), Source::Topic)
    );
    let expected = [
        ("retention.ms", Some("50"), 1),
        ("log.retention.ms", Some("60"), 2),
        ("log.retention.ms", Some("70"), 3),
        ("log.retention.hours", Some("5"), 4),
        ("log.retention.hours", Some("168"), 5),
    ];
    let found = chain(&entry);
    assert_eq!(found[..4], expected[..4]);
    let plain = topic(&view, &Overrides::new(), "retention.ms");
    assert_eq!(
        (plain.value.as_deref(), plain.source),
        (Some("60"), Source::DynamicBroker)
    );
    let size = topic(&view, &Overrides::new(), "max.message.bytes");
    assert_eq!(chain(&size), [("message.max.bytes", Some("1048588"), 5)]);
    assert_eq!(size.source, Source::Default);
}

#[test]
fn hours_of_the_broker_are_milliseconds_of_the_topic() {
    let view = view(&["log.retention.hours=5"]);
    let entry = topic(&view, &Overrides::new(), "retention.ms");
    assert_eq!(
        (entry.value.as_deref(), entry.source),
        (Some("18000000"), Source::StaticBroker)
    );
}

#[test]
fn a_broker_setting_tells_its_layers() {
    let view = view(&["message.max.bytes=2000"]).with_dynamic(
        overrides(&[("message.max.bytes", "3000")]),
        Overrides::new(),
    );
    let entry = broker(&view, "message.max.bytes");
    assert_eq!(entry.value.as_deref(), Some("3000"));
    let expected = [
        ("message.max.bytes", Some("3000"), 3),
        ("message.max.bytes", Some("2000"), 4),
        ("message.max.bytes", Some("1048588"), 5),
    ];
    assert_eq!(chain(&entry), expected);
    assert!(!entry.read_only);
    assert!(broker(&view, "log.dirs").read_only);
    let unset = broker(&view, "log.retention.ms");
    assert_eq!((unset.value, unset.synonyms.len()), (None, 0));
}

#[test]
fn what_nobody_set_is_a_default_even_where_ours_is_not_kafkas() {
    let view = view(&[]);
    let entry = broker(&view, "log.dirs");
    assert_eq!(
        (entry.value.as_deref(), entry.source),
        (Some("./data"), Source::Default)
    );
    assert_eq!(broker(&view, "node.id").value.as_deref(), Some("1"));
}

#[test]
fn passwords_and_unknown_keys_are_never_echoed() {
    let view = view(&["ssl.key.password=geheim", "some.plugin.key=geheim"]).with_dynamic(
        Overrides::new(),
        overrides(&[("listener.name.a.ssl.key.password", "geheim")]),
    );
    let entries = view.describe_broker(&BTreeSet::new());
    assert!(!format!("{entries:?}").contains("geheim"));
    for name in [
        "ssl.key.password",
        "some.plugin.key",
        "listener.name.a.ssl.key.password",
    ] {
        let entry = broker(&view, name);
        assert!(entry.sensitive, "{name}");
        assert_eq!(entry.value, None);
    }
    assert_eq!(broker(&view, "some.plugin.key").kind, None);
}

#[test]
fn the_cluster_shows_only_what_is_set_for_all() {
    let view = view(&["message.max.bytes=2000"]).with_dynamic(
        overrides(&[("message.max.bytes", "3000")]),
        overrides(&[("log.roll.ms", "9")]),
    );
    let entries = view.describe_cluster(&BTreeSet::new());
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].source, Source::DynamicDefault);
    assert_eq!(chain(&entries[0]), [("message.max.bytes", Some("3000"), 3)]);
}

#[test]
fn only_what_may_change_while_brokers_run_is_altered() {
    let view = view(&[]);
    let alter = |resource, name: &str, value: &str| {
        let wish = Alteration::set(name, value);
        view.alter_broker(resource, &Overrides::new(), &[wish])
            .map_err(|error| error.to_string())
    };
    let read_only = "Cannot update these configs dynamically: [log.dirs]";
    assert_eq!(
        alter(BrokerResource::One, "log.dirs", "/a"),
        Err(read_only.to_owned())
    );
    assert!(alter(BrokerResource::One, "listeners", "PLAINTEXT://:1").is_err());
    let per_broker = alter(
        BrokerResource::ClusterDefault,
        "ssl.keystore.location",
        "/a",
    );
    assert!(
        per_broker
            .unwrap_err()
            .contains("broker id must be specified")
    );
    assert!(alter(BrokerResource::One, "ssl.keystore.location", "/a").is_ok());
    assert!(
        alter(
            BrokerResource::One,
            "listener.name.x.ssl.keystore.location",
            "/a"
        )
        .is_ok()
    );
    assert!(alter(BrokerResource::ClusterDefault, "message.max.bytes", "-1").is_err());
    let set = alter(BrokerResource::ClusterDefault, "message.max.bytes", "5000");
    assert_eq!(set, Ok(overrides(&[("message.max.bytes", "5000")])));
}

#[test]
fn a_broker_keeps_settings_that_it_does_not_know_and_shows_them_without_their_values() {
    let wish = |operation| Alteration {
        operation,
        ..Alteration::set("x.y", " 1 ")
    };
    let alter = |wishes: &[Alteration]| {
        view(&[]).alter_broker(BrokerResource::One, &Overrides::new(), wishes)
    };
    let known = Alteration::set("message.max.bytes", "5000");
    let kept = alter(&[wish(Operation::Set), known]).unwrap();
    assert_eq!(
        kept,
        overrides(&[("message.max.bytes", "5000"), ("x.y", "1")])
    );
    for operation in [Operation::Append, Operation::Subtract] {
        let refused = alter(&[wish(operation)]).unwrap_err().to_string();
        assert_eq!(refused, "Unknown broker config name: x.y");
    }
    let view = view(&[]).with_dynamic(Overrides::new(), kept);
    let shown = broker(&view, "x.y");
    assert_eq!((shown.value, shown.source), (None, Source::DynamicBroker));
}

#[test]
fn appending_to_a_broker_list_starts_from_what_holds() {
    let wish = Alteration {
        operation: Operation::Append,
        ..Alteration::set("log.cleanup.policy", "compact")
    };
    let altered =
        view(&[]).alter_broker(BrokerResource::ClusterDefault, &Overrides::new(), &[wish]);
    assert_eq!(
        altered,
        Ok(overrides(&[("log.cleanup.policy", "delete,compact")]))
    );
}

#[test]
fn every_compaction_keeps_more_than_a_mebibyte_for_its_keys() {
    let size = |bytes: i64| Alteration::set("log.cleaner.dedupe.buffer.size", bytes.to_string());
    let threads = |count: i64| Alteration::set("log.cleaner.threads", count.to_string());
    let one = BrokerResource::One;
    let all = BrokerResource::ClusterDefault;
    let plain = view(&[]);
    let alter = |view: &ConfigView, resource, wishes: &[Alteration]| {
        let altered = view.alter_broker(resource, &Overrides::new(), wishes);
        altered.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(alter(&plain, all, &[threads(127)]), Ok(()));
    assert_eq!(
        alter(&plain, all, &[threads(128)]),
        Err(
            "Invalid value 134217728 for configuration log.cleaner.dedupe.buffer.size: allowed: more than 1048576 for \
             each of log.cleaner.threads=128"
                .to_owned()
        )
    );
    assert!(alter(&plain, one, &[threads(0)]).is_err());
    assert!(alter(&plain, one, &[size(1 << 20)]).is_err());
    assert_eq!(alter(&plain, one, &[size((1 << 20) + 1)]), Ok(()));
    // Both at once; and what another layer says counts.
    assert_eq!(alter(&plain, all, &[threads(200), size(1 << 30)]), Ok(()));
    let many = plain.with_dynamic(
        overrides(&[("log.cleaner.threads", "100")]),
        Overrides::new(),
    );
    assert!(alter(&many, one, &[size(50 << 20)]).is_err());
    assert_eq!(alter(&many, one, &[size(101 << 20)]), Ok(()));
    // What was stored before this was checked is in nobody's way.
    let stored = plain.with_dynamic(overrides(&[("log.cleaner.threads", "0")]), Overrides::new());
    assert_eq!(
        alter(&stored, one, &[Alteration::set("max.connections", "7")]),
        Ok(())
    );
}

/// Nobody could connect any more to set it back, after a restart either.
#[test]
fn nobody_can_shut_everybody_out_while_the_broker_runs() {
    let alter = |view: &ConfigView, wishes: &[(&str, &str)]| {
        let wishes = wishes.iter();
        let wishes: Vec<_> = wishes
            .map(|&(name, text)| Alteration::set(name, text))
            .collect();
        let altered = view.alter_broker(BrokerResource::One, &Overrides::new(), &wishes);
        altered.map(|_| ()).map_err(|error| error.to_string())
    };
    let one = view(&[]);
    for key in [
        "max.connections",
        "max.connection.creation.rate",
        "listener.name.plaintext.max.connections",
        "max.connections.per.ip",
    ] {
        let refused = alter(&one, &[(key, "0")]).unwrap_err();
        let blamed = format!("Invalid value 0 for configuration {key}: allowed: 1 or more");
        assert!(refused.starts_with(&blamed), "{refused}");
        assert_eq!(alter(&one, &[(key, "1")]), Ok(()));
    }
    let few = [
        ("max.connections.per.ip", "0"),
        ("max.connections.per.ip.overrides", "127.0.0.1:5"),
    ];
    assert_eq!(alter(&one, &few), Ok(()));
    let none = [few[0], ("max.connections.per.ip.overrides", "127.0.0.1:0")];
    assert!(alter(&one, &none).is_err());
    // Set anew as a whole, which leaves out what lets some in where the default for all brokers lets nobody.
    let own = overrides(&[("max.connections", "5")]);
    let open = one.with_dynamic(overrides(&[("max.connections", "0")]), own.clone());
    let wishes = [Alteration::set("log.cleaner.threads", "2")];
    let alter_all = |current: &Overrides| {
        let altered = open.alter_broker(BrokerResource::One, current, &wishes);
        altered.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(alter_all(&own), Ok(()));
    assert!(alter_all(&Overrides::new()).is_err());
    let two = view(&[
        "listeners=ONE://localhost:0,TWO://localhost:0",
        "listener.security.protocol.map=ONE:PLAINTEXT,TWO:PLAINTEXT",
        "inter.broker.listener.name=TWO",
    ]);
    let (all, first) = ("max.connections", "listener.name.one.max.connections");
    let second = "listener.name.two.max.connections";
    assert!(alter(&two, &[(first, "0")]).is_err());
    assert_eq!(alter(&two, &[(first, "1"), (second, "2")]), Ok(()));
    assert!(alter(&two, &[(all, "0"), (first, "5")]).is_err());
    assert!(alter(&two, &[(all, "0"), (second, "5")]).is_err());
    let both = [(all, "0"), (first, "5"), (second, "5")];
    assert_eq!(alter(&two, &both), Ok(()), "the protected one takes some");
}

#[test]
fn dynamic_settings_reach_the_typed_configuration_and_nonsense_does_not() {
    let view = view(&["log.dirs=/a,/b,/a", "write.caching=true"]).with_dynamic(
        overrides(&[("max.connections", "7"), ("max.connections.per.ip", "many")]),
        overrides(&[("log.flush.interval.messages", "9")]),
    );
    let config = view.broker_config();
    assert_eq!(config.sockets.connections_max, 7);
    assert_eq!(config.sockets.connections_per_address_max, 2_147_483_647);
    assert_eq!(config.log_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
    let topic = view.topic_config(&Overrides::new());
    assert_eq!(topic.flush_messages, Some(9));
    assert!(topic.write_caching);
}
