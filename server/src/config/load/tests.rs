//! Loading whole configurations: real files, odd files, and who beats whom.

use millrace_engine::config::TopicConfig;
use proptest::prelude::*;

use super::*;
use crate::config::Advertised;
use crate::config::table::BROKER_PROPERTIES;

const OLD: &str = include_str!("../../../tests/fixtures/config/server-2.7.properties");
const NEW: &str = include_str!("../../../tests/fixtures/config/server-4.3.properties");

fn load_text(
    text: &str,
    environment: &[(&str, &str)],
    overrides: &[&str],
) -> Result<Loaded, LoadError> {
    let sources = Sources {
        file: Some(PathBuf::from("server.properties")),
        environment: environment
            .iter()
            .map(|&(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
        overrides: overrides.iter().map(|&text| text.to_owned()).collect(),
    };
    load_with(&sources, &|path| match path.to_str() {
        Some("server.properties") => Ok(text.to_owned()),
        _ => Err("no such file".to_owned()),
    })
}

fn keys(loaded: &Loaded, kind: NoteKind) -> Vec<&str> {
    let notes = loaded.notes.iter().filter(|note| note.kind == kind);
    notes.map(|note| note.key.as_str()).collect()
}

fn refusal(text: &str) -> String {
    load_text(text, &[], &[])
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn without_a_file_the_broker_serves_localhost_from_a_directory_beside_it() {
    let config = load(&Sources::default()).unwrap().config;
    assert_eq!(config.node_id.0, 1);
    assert_eq!(config.log_dirs, [PathBuf::from("./data")]);
    assert_eq!(config.metadata_dir, PathBuf::from("./data"));
    let listener = &config.listeners.clients[0];
    assert_eq!(
        (listener.host.as_deref(), listener.port),
        (Some("localhost"), 9092)
    );
    assert_eq!(listener.advertised, None);
    assert_eq!(config.sockets.request_bytes_max, 104_857_600);
    let topic = TopicConfig::resolve(&BTreeMap::new(), &config.topic_defaults);
    assert_eq!(topic, TopicConfig::default());
}

#[test]
fn without_a_file_nothing_is_noted() {
    assert_eq!(load(&Sources::default()).unwrap().notes, []);
}

#[test]
fn the_file_of_kafka_2_7_starts() {
    let loaded = load_text(OLD, &[], &[]).unwrap();
    let config = &loaded.config;
    assert_eq!(config.node_id.0, 0);
    assert_eq!(config.log_dirs, [PathBuf::from("/tmp/kafka-logs")]);
    assert_eq!(config.listeners.clients[0].host, None);
    assert_eq!(config.groups.initial_rebalance_delay_ms, 0);
    let retired = keys(&loaded, NoteKind::Retired);
    assert_eq!(
        retired,
        ["zookeeper.connect", "zookeeper.connection.timeout.ms"]
    );
    let without = keys(&loaded, NoteKind::WithoutEffect);
    assert_eq!(
        without,
        [
            "num.io.threads",
            "num.network.threads",
            "num.recovery.threads.per.data.dir"
        ]
    );
    assert!(keys(&loaded, NoteKind::Unknown).is_empty());
    assert!(keys(&loaded, NoteKind::Lowered).is_empty());
}

#[test]
fn the_file_of_kafka_4_3_starts() {
    let loaded = load_text(NEW, &[], &[]).unwrap();
    let listeners = &loaded.config.listeners;
    assert_eq!(listeners.clients.len(), 1);
    assert_eq!(listeners.controllers, ["CONTROLLER"]);
    let advertised = Advertised {
        host: Some("localhost".to_owned()),
        port: 9092,
    };
    assert_eq!(listeners.clients[0].advertised, Some(advertised));
    assert!(keys(&loaded, NoteKind::Unknown).is_empty());
    assert_eq!(keys(&loaded, NoteKind::Advice), ["listeners"]);
}

#[test]
fn the_command_line_beats_the_environment_and_that_the_file() {
    let file = "num.partitions=2\nmessage.max.bytes=2000\nnum.shards=2\nlog.dirs=/a";
    let environment = [
        ("KAFKA_NUM_PARTITIONS", "3"),
        ("KAFKA_CFG_MESSAGE_MAX_BYTES", "3000"),
    ];
    let loaded = load_text(file, &environment, &["num.partitions=4"]).unwrap();
    assert_eq!(loaded.config.new_topics.partitions, 4);
    assert_eq!(
        loaded.view.topic_config(&BTreeMap::new()).message_bytes_max,
        3000
    );
    assert_eq!(loaded.config.shards, Some(2));
}

#[test]
fn milliseconds_beat_minutes_and_minutes_hours() {
    let retention = |text: &str| {
        let loaded = load_text(text, &[], &[]).unwrap();
        loaded.view.topic_config(&BTreeMap::new()).retention_ms
    };
    let hours = "log.retention.hours=1\n";
    assert_eq!(retention(hours), Some(3_600_000));
    assert_eq!(
        retention(&format!("{hours}log.retention.minutes=2")),
        Some(120_000)
    );
    let all = format!("log.retention.ms=3\n{hours}log.retention.minutes=2");
    assert_eq!(retention(&all), Some(3));
    assert_eq!(retention("log.retention.hours=-1"), None);
    let roll = load_text("log.roll.hours=2", &[], &[]).unwrap();
    assert_eq!(
        roll.view.topic_config(&BTreeMap::new()).segment_ms,
        7_200_000
    );
}

#[test]
fn an_impossible_value_is_refused_with_place_key_value_and_what_is_allowed() {
    let text =
        "# basics\nnode.id=1\n\nnum.partitions=0\nlog.segment.bytes=big\nssl.client.auth=maybe\n";
    let expected = "\
server.properties:5: Invalid value big for configuration log.segment.bytes: Not a number of type INT; allowed: 1048576 or more
server.properties:4: Invalid value 0 for configuration num.partitions: allowed: 1 or more
server.properties:6: Invalid value maybe for configuration ssl.client.auth: allowed: one of required, requested, none";
    assert_eq!(refusal(text), expected);
    let error = load_text(
        "",
        &[("KAFKA_NUM_PARTITIONS", "x")],
        &["node.id=-4", "nonsense"],
    );
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("environment variable KAFKA_NUM_PARTITIONS: "),
        "{text}"
    );
    assert!(
        text.contains("--override: Invalid value -4 for configuration node.id"),
        "{text}"
    );
    assert!(
        text.contains("--override: \"nonsense\" is no setting; allowed: key=value"),
        "{text}"
    );
}

#[test]
fn what_would_not_be_safe_to_ignore_is_refused() {
    for line in [
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "authorizer.class.name=com.example.Authorizer\nallow.everyone.if.no.acl.found=true",
        "group.coordinator.rebalance.protocols=consumer",
        "log.dirs=/a,/b\ncordoned.log.dirs=/c",
        "log.cleaner.dedupe.buffer.size=0",
        "log.cleaner.threads=128",
        "log.cleaner.threads=0",
        "max.connections.per.ip=0",
        "group.coordinator.rebalance.protocols=classic,raft",
        "create.topic.policy.class.name=com.example.Policy",
        "remote.log.storage.system.enable=true",
        "principal.builder.class=com.example.Builder",
        "listeners=SASL_SSL://:9093",
        "listeners=PLAINTEXT://:9092,SSL://:9093",
        "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
        "controller.quorum.voters=1@a:9093,2@b:9093,3@c:9093",
        "controller.quorum.voters=7@a:9093",
        "process.roles=broker\nnode.id=2\ncontroller.quorum.bootstrap.servers=a:9093",
        "process.roles=broker\nnode.id=2\ncontroller.quorum.voters=2@a:9093",
        "log.dirs=",
        "log.retention.ms=0",
        "broker.id=-5",
        "replica.selector.class=com.example.Selector",
    ] {
        let text = refusal(line);
        assert!(text.contains("allowed: "), "{line}: {text}");
    }
}

#[test]
fn a_file_that_lets_nobody_in_is_taken_as_in_kafka_and_the_start_says_so() {
    for key in ["max.connections", "max.connection.creation.rate"] {
        let loaded = load_text(&format!("{key}=0\nlog.dirs=/a"), &[], &[]).unwrap();
        assert_eq!(keys(&loaded, NoteKind::Advice), [key]);
    }
    let some = "max.connections.per.ip=0\nmax.connections.per.ip.overrides=h:1\nlog.dirs=/a";
    let loaded = load_text(some, &[], &[]).unwrap();
    assert_eq!(keys(&loaded, NoteKind::Advice), [""; 0]);
}

#[test]
fn a_process_that_names_no_controller_elsewhere_has_both_roles_and_says_so() {
    for roles in ["broker", "controller"] {
        let file = format!("process.roles={roles}\nlog.dirs=/a");
        let loaded = load_text(&file, &[], &[]).unwrap();
        assert_eq!(keys(&loaded, NoteKind::Advice), ["process.roles"]);
    }
}

#[test]
fn an_authorizer_is_taken_where_without_acls_it_would_let_everybody_in() {
    let authorizers = [
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "kafka.security.authorizer.AclAuthorizer",
    ];
    for authorizer in authorizers {
        let file = |more: &str| format!("authorizer.class.name={authorizer}\n{more}");
        let open = [
            "super.users=User:admin; User:ANONYMOUS",
            "allow.everyone.if.no.acl.found=TRUE",
            "super.users=User:a\nallow.everyone.if.no.acl.found=true",
        ];
        for more in open {
            let loaded = load_text(&file(more), &[], &[]).unwrap();
            let said = |note: &&Note| note.key == "authorizer.class.name";
            let said: Vec<_> = loaded.notes.iter().filter(said).collect();
            assert_eq!(said.len(), 1, "{more}");
            assert!(said[0].text.starts_with("everybody may do everything"));
        }
        let closed = [
            "",
            "super.users=User:admin;Group:ANONYMOUS",
            "allow.everyone.if.no.acl.found=false",
        ];
        for more in closed {
            let text = refusal(&file(more));
            let start = format!(
                "server.properties:1: Invalid value {authorizer} for configuration authorizer.class.name: "
            );
            assert!(text.starts_with(&start), "{text}");
            assert!(
                text.contains("allowed: with User:ANONYMOUS in super.users"),
                "{text}"
            );
        }
    }
    let none = load_text(
        "authorizer.class.name=\nsuper.users=User:a\nlog.dirs=/a",
        &[],
        &[],
    );
    assert_eq!(none.unwrap().notes, []);
}

#[test]
fn settings_of_parts_that_do_not_exist_yet_are_kept_and_said() {
    let text =
        "ssl.keystore.location=/k.jks\nssl.keystore.password=geheim\nsuper.users=User:a;User:b";
    let loaded = load_text(text, &[], &[]).unwrap();
    assert_eq!(
        keys(&loaded, NoteKind::Pending),
        ["ssl.keystore.location", "ssl.keystore.password"]
    );
    assert!(!format!("{loaded:?}").contains("geheim"));
    assert!(
        loaded
            .notes
            .iter()
            .all(|note| !note.to_string().contains("geheim"))
    );
}

#[test]
fn the_level_of_lz4_is_checked_and_said_to_have_no_effect() {
    let text = "compression.lz4.level=17\ncompression.gzip.level=9\n";
    let loaded = load_text(text, &[], &[]).unwrap();
    assert_eq!(
        keys(&loaded, NoteKind::WithoutEffect),
        ["compression.lz4.level"]
    );
    assert_eq!(
        refusal("compression.lz4.level=18"),
        "server.properties:1: Invalid value 18 for configuration compression.lz4.level: allowed: 1 to 17"
    );
}

#[test]
fn unknown_keys_are_named_with_their_line_and_topic_keys_with_advice() {
    let loaded = load_text("confluent.license=x\nretention.ms=5\n", &[], &[]).unwrap();
    assert_eq!(
        keys(&loaded, NoteKind::Unknown),
        ["confluent.license", "retention.ms"]
    );
    let advice = loaded
        .notes
        .iter()
        .find(|note| note.key == "retention.ms")
        .unwrap();
    assert_eq!(
        advice.to_string(),
        "server.properties:2: retention.ms: a setting of topics, ignored here; for all topics set log.retention.ms"
    );
}

#[test]
fn replicas_beyond_the_number_of_brokers_are_lowered_with_a_note() {
    let loaded = load_text(
        "offsets.topic.replication.factor=3\ndefault.replication.factor=2",
        &[],
        &[],
    );
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config.offsets.replication_factor, 1);
    assert_eq!(loaded.config.new_topics.replication_factor, 1);
    assert_eq!(
        keys(&loaded, NoteKind::Lowered),
        [
            "default.replication.factor",
            "offsets.topic.replication.factor"
        ]
    );
}

#[test]
fn node_and_broker_id_are_one_number() {
    assert_eq!(
        load_text("broker.id=7", &[], &[]).unwrap().config.node_id.0,
        7
    );
    assert_eq!(
        load_text("broker.id=-1\nnode.id=3", &[], &[])
            .unwrap()
            .config
            .node_id
            .0,
        3
    );
    assert!(refusal("broker.id=7\nnode.id=8").contains("broker.id is 7"));
}

#[test]
fn host_and_port_of_very_old_files_still_count() {
    let listeners = load_text("port=9999\nhost.name=localhost", &[], &[])
        .unwrap()
        .config
        .listeners;
    assert_eq!(listeners.clients[0].port, 9999);
    assert_eq!(listeners.clients[0].host.as_deref(), Some("localhost"));
    // A service named kafka makes Kubernetes set this one.
    let loaded = load_text("", &[("KAFKA_PORT", "tcp://10.0.0.1:9092")], &[]).unwrap();
    assert_eq!(loaded.config.listeners.clients[0].port, 9092);
}

#[test]
fn a_value_may_be_kept_in_the_environment() {
    let text = "config.providers=env\n\
                config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n\
                broker.rack=${env:RACK}\n";
    let loaded = load_text(text, &[("RACK", "r1")], &[]).unwrap();
    assert_eq!(loaded.config.rack.as_deref(), Some("r1"));
    assert!(keys(&loaded, NoteKind::Unknown).is_empty());
    let dangling = load_text(text, &[], &[]).unwrap_err().to_string();
    assert!(
        dangling.contains("server.properties:3: the value of broker.rack leads nowhere"),
        "{dangling}"
    );
}

#[test]
fn a_protocol_map_without_the_default_listener_is_refused_with_its_line() {
    let text = load_text("\nlistener.security.protocol.map=", &[], &[])
        .unwrap_err()
        .to_string();
    assert!(text.contains("server.properties:2"), "{text}");
    assert!(
        text.contains("no security protocol is defined for listener PLAINTEXT"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_not_there_is_one_fault() {
    let sources = Sources {
        file: Some("/does/not/exist".into()),
        ..Sources::default()
    };
    let text = load(&sources).unwrap_err().to_string();
    assert!(text.starts_with("cannot read /does/not/exist: "), "{text}");
}

#[test]
fn the_last_of_two_settings_holds_and_is_pointed_out() {
    let loaded = load_text("num.partitions=1\nnum.partitions=5", &[], &[]).unwrap();
    assert_eq!(loaded.config.new_topics.partitions, 5);
    assert_eq!(keys(&loaded, NoteKind::Repeated), ["num.partitions"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_loaded_or_refused(text in "\\PC{0,80}") {
        let _ = load_text(&text, &[], &[]);
    }

    #[test]
    fn any_value_of_any_key_is_loaded_or_refused_with_its_line(row in 0..351_usize, value in "[-0-9a-zA-Z:/,.$\\{\\}= ]{0,20}") {
        let name = BROKER_PROPERTIES.rows().nth(row).unwrap().name;
        if let Err(error) = load_text(&format!("\n{name}={value}"), &[], &[]) {
            for fault in error.faults {
                prop_assert!(fault.to_string().contains("allowed: ") || fault.to_string().contains("server.properties:2"), "{fault}");
            }
        }
    }
}
