//! `log-dirs`, `cluster` and `broker-api-versions`.

use crate::support::{Broker, millrace};

#[test]
fn log_directories_are_shown_as_json() {
    let broker = Broker::start();
    for topic in ["t", "u"] {
        broker
            .run(&format!("topics --create --topic {topic}"))
            .prints(&format!("Created topic {topic}.\n"));
    }
    broker.feed("console-producer --topic t", "v\n").prints("");
    let head = "Querying brokers for log directories information\nReceived log directory information from brokers 1\n";
    let directory = broker.data().display().to_string();
    let shown = |partitions: &str| {
        format!(
            r#"{head}{{"brokers":[{{"broker":1,"logDirs":[{{"partitions":[{partitions}],"error":null,"logDir":"{directory}"}}]}}],"version":1}}{}"#,
            "\n"
        )
    };
    let empty = r#"{"partition":"u-0","size":0,"offsetLag":0,"isFuture":false}"#;
    // One batch of one record of one byte: a header of 61 bytes and 8 more.
    let full = r#"{"partition":"t-0","size":69,"offsetLag":0,"isFuture":false}"#;
    broker
        .run("log-dirs --describe --topic-list u")
        .prints(&shown(empty));
    broker
        .run("log-dirs --describe --broker-list 1 --topic-list t,u")
        .prints(&shown(&format!("{full},{empty}")));
    broker
        .run("log-dirs --describe --topic-list nope")
        .prints(&shown(""));
    broker
        .run("log-dirs --describe --broker-list 1,7")
        .is_refused("ERROR: The given brokers do not exist from --broker-list: 7. Current existent brokers: 1");
    broker
        .run("log-dirs")
        .is_refused("Missing required argument \"[describe]\"");
}

#[test]
fn the_cluster_has_an_id_and_endpoints() {
    let broker = Broker::start();
    let properties = std::fs::read_to_string(broker.data().join("meta.properties")).unwrap();
    let id = properties
        .lines()
        .find_map(|line| line.strip_prefix("cluster.id="));
    broker
        .run("cluster cluster-id")
        .prints(&format!("Cluster ID: {}\n", id.unwrap()));
    let port = broker.address().port();
    broker.run("cluster list-endpoints").prints(&format!(
        "ID         HOST      PORT       RACK       STATE      ENDPOINT_TYPE  \n\
         1          127.0.0.1 {port:<10} null       unfenced   broker         \n"
    ));
    millrace(&["cluster", "cluster-id"])
        .is_refused("Missing required argument \"[bootstrap-server]\"");
}

#[test]
fn a_broker_says_which_apis_it_serves() {
    let broker = Broker::start();
    let ran = broker.run("broker-api-versions");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    let address = broker.address();
    assert_eq!(
        lines[0],
        format!("{address} (id: 1 rack: null isFenced: false) -> (")
    );
    assert_eq!(lines[1], "\tProduce(0): 0 to 13 [usable: 13],");
    assert_eq!(lines[2], "\tFetch(1): 4 to 18 [usable: 18],");
    assert!(
        lines.contains(&"\tOffsetDelete(47): 0 [usable: 0],"),
        "{lines:#?}"
    );
    assert_eq!(lines.last(), Some(&")"));
    millrace(&["broker-api-versions"])
        .is_refused("Missing required argument \"[bootstrap-server]\"");
}
