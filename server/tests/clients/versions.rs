//! What a client learns first: versions, addresses, topics. The likeliest places for a young broker to break clients.

use millrace_wire::message::create_topics::CreateTopicsRequestTopic;
use millrace_wire::message::fetch::FetchRequestPartition;
use millrace_wire::message::metadata::MetadataRequestTopic;
use millrace_wire::message::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_wire::message::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestGroupTopic};
use millrace_wire::message::{
    ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest, SaslHandshakeRequest,
};
use millrace_wire::{ErrorCode, Uuid};

use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::records::{batch, read, values};
use crate::support::wire::{Limits, Wire, decode, fetch_request, produce_request, record_bytes};

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "wire".into(),
        client_software_version: "1".into(),
    }
}

/// SEMANTICS 1: clients retry with the maximum they find there; a closed connection costs them several attempts.
#[test]
fn api_versions_from_the_future_is_answered_in_version_0_with_what_is_served() {
    let broker = Broker::start(&[]);
    for version in [5_i16, 99, 32767] {
        let mut wire = Wire::connect(&broker);
        // Header version 2: key 18, version, correlation id, client id "me", no tags; then a body nobody knows.
        let request = [
            &[0, 18],
            &version.to_be_bytes()[..],
            &[0, 0, 0, 7, 0, 2],
            b"me",
            &[0, 9, 9, 9],
        ];
        wire.send_frame(&request.concat());
        let expected = [0, 0, 0, 7, 0, 0x23, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
        assert_eq!(wire.frame().unwrap()[..], expected, "version {version}");
        // and the connection goes on
        assert_eq!(wire.ask(&api_versions(), 4).error_code, ErrorCode::None);
    }
}

/// SEMANTICS 2: the client cannot know yet whether the broker has flexible headers.
#[test]
fn the_answer_to_api_versions_has_a_header_without_tags() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    for version in 0..=4 {
        let correlation_id = wire.send(&api_versions(), version);
        let frame = wire.frame().unwrap();
        assert_eq!(
            frame[..4],
            correlation_id.to_be_bytes(),
            "version {version}"
        );
        assert_eq!(
            frame[4..6],
            [0, 0],
            "version {version}: no tags before the error code"
        );
        let (_, response) = decode::<ApiVersionsResponse>(frame, version);
        assert!(response.api_keys.len() > 20, "version {version}");
    }
}

/// SEMANTICS 67: a closed connection would have the client try again for ever, and tell nobody why.
#[test]
fn who_wants_to_log_in_is_told_that_there_is_no_login() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let request = SaslHandshakeRequest {
        mechanism: "PLAIN".into(),
    };
    for version in [0, 1] {
        let answer = wire.ask(&request, version);
        assert_eq!(answer.error_code, ErrorCode::IllegalSaslState);
        assert!(answer.mechanisms.is_empty());
    }
    let served = wire.ask(&api_versions(), 4).api_keys;
    assert!(served.iter().any(|api| api.api_key == 17));
}

/// SEMANTICS 3: Java clients of before KAFKA-17011 fail on a feature whose lowest version is 0.
#[test]
fn features_from_version_0_are_hidden_from_api_versions_3() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let old = wire.ask(&api_versions(), 3);
    assert!(
        old.supported_features
            .iter()
            .all(|feature| feature.min_version > 0),
        "{old:?}"
    );
    let new = wire.ask(&api_versions(), 4);
    assert!(new.finalized_features_epoch >= 0);
    let level = |name| new.finalized_features.iter().find(|f| &*f.name == name);
    assert!(level("metadata.version").is_some(), "{new:?}");
    // No feature that is not there: transactions v2 and KIP-848 groups change what clients do.
    assert!(level("transaction.version").is_none_or(|f| f.max_version_level == 0));
    assert!(level("group.version").is_none_or(|f| f.max_version_level == 0));
}

/// SEMANTICS 4.
#[test]
fn an_illegal_software_name_is_answered_and_the_connection_goes_on() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let illegal = ApiVersionsRequest {
        client_software_name: "no spaces!".into(),
        ..api_versions()
    };
    let answer = wire.ask(&illegal, 3);
    assert_eq!(
        (answer.error_code, answer.api_keys.len()),
        (ErrorCode::InvalidRequest, 0)
    );
    assert_eq!(wire.ask(&api_versions(), 3).error_code, ErrorCode::None);
}

/// SEMANTICS 7: the versions are those that a real Kafka 4.3.1 answered, for every API that is served.
#[test]
fn the_advertised_versions_are_kafkas() {
    let golden = include_str!("golden/ApiVersions.txt");
    let line = golden
        .lines()
        .find(|line| line.starts_with("4 plain "))
        .unwrap();
    let (_, hex) = line.rsplit_once(' ').unwrap();
    let recorded: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let (_, kafka) = decode::<ApiVersionsResponse>(recorded.into(), 4);

    let broker = Broker::start(&[]);
    let ours = Wire::connect(&broker).ask(&api_versions(), 4);
    for api in &ours.api_keys {
        assert!(
            kafka.api_keys.contains(api),
            "{api:?} is not what Kafka says"
        );
    }
    let keys: Vec<i16> = ours.api_keys.iter().map(|api| api.api_key).collect();
    for key in [
        0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23,
    ] {
        assert!(keys.contains(&key), "API {key} is not served");
    }
}

/// SEMANTICS 6: librdkafka compresses only when it sees the range from 0.
#[test]
fn produce_is_advertised_from_version_0_and_closes_below_3() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let answer = wire.ask(&api_versions(), 4);
    let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
    for version in [0, 1, 2] {
        let mut old = Wire::connect(&broker);
        // acks 1, timeout, no topics
        old.send_frame(&[
            0, 0, 0, version, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 0x75, 0x30, 0, 0, 0, 0,
        ]);
        old.assert_closed();
    }
}

fn by_name(name: &str, allow_auto_topic_creation: bool) -> MetadataRequest {
    let topic = MetadataRequestTopic {
        name: Some(name.into()),
        ..Default::default()
    };
    MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation,
        ..Default::default()
    }
}

/// Its directory is where the journal of the metadata is.
#[test]
fn the_topic_of_the_metadata_is_never_made() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let described = wire.ask(&by_name("__cluster_metadata", true), 13);
    let unknown = described.topics[0].error_code;
    assert_eq!(unknown, ErrorCode::UnknownTopicOrPartition);
    let topic = CreateTopicsRequestTopic {
        name: "__cluster_metadata".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let refused = wire.ask(&request, 7);
    assert_eq!(refused.topics[0].error_code, ErrorCode::InvalidRequest);
    let text = "Creation of internal topic __cluster_metadata is prohibited.";
    assert_eq!(refused.topics[0].error_message.as_deref(), Some(text));
}

/// SEMANTICS 8: with ids in Metadata, every API that names topics by id serves those ids.
#[test]
fn topic_ids_work_in_every_api_that_takes_them() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let id = wire.create_topic("t", 1, &[]);
    assert_ne!(id, Uuid::ZERO);
    let described = wire.ask(&by_name("t", false), 13);
    assert_eq!(described.topics[0].topic_id, id);

    let mut produce = produce_request("", 0, -1, batch(&["by id"]));
    produce.topic_data[0].topic_id = id;
    let produced = wire.ask(&produce, 13);
    assert_eq!(produced.responses[0].topic_id, id);
    assert_eq!(
        produced.responses[0].partition_responses[0].error_code,
        ErrorCode::None
    );

    let mut fetch = fetch_request("", 0, 0, Limits::default());
    fetch.topics[0].topic_id = id;
    for version in [13, 18] {
        let fetched = wire.ask(&fetch, version);
        assert_eq!(fetched.responses[0].topic_id, id);
        let records = read(&record_bytes(&fetched.responses[0].partitions[0]));
        assert_eq!(values(&records), ["by id"], "version {version}");
    }

    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![OffsetCommitRequestTopic {
            topic_id: id,
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 1,
                committed_metadata: Some("m".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    wire.await_coordinator("g");
    let committed = wire.ask(&commit, 10);
    assert_eq!(
        committed.topics[0].partitions[0].error_code,
        ErrorCode::None
    );
    let asked = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![OffsetFetchRequestGroupTopic {
                topic_id: id,
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let fetched = wire.ask(&asked, 10);
    let topic = &fetched.groups[0].topics[0];
    assert_eq!(
        (topic.topic_id, topic.partitions[0].committed_offset),
        (id, 1)
    );

    let mut unknown = fetch;
    unknown.topics[0].topic_id = Uuid(id.0 ^ 1);
    unknown.topics[0].partitions = vec![FetchRequestPartition::default()];
    let answer = wire.ask(&unknown, 13);
    assert_eq!(
        answer.responses[0].partitions[0].error_code,
        ErrorCode::UnknownTopicId
    );
    let topic = MetadataRequestTopic {
        topic_id: Uuid(id.0 ^ 1),
        name: None,
    };
    let describe = MetadataRequest {
        topics: Some(vec![topic]),
        ..Default::default()
    };
    for version in [12, 13] {
        let topic = wire.ask(&describe, version).topics.remove(0);
        let expected = (ErrorCode::UnknownTopicId, None);
        assert_eq!((topic.error_code, topic.name), expected);
    }
}

/// SEMANTICS 18: the address of the listener used, or what advertised.listeners says.
#[test]
fn clients_are_told_the_advertised_address_or_the_one_they_reached() {
    let broker = Broker::start(&[]);
    let brokers = Wire::connect(&broker)
        .ask(&MetadataRequest::default(), 9)
        .brokers;
    assert_eq!(brokers.len(), 1);
    assert_eq!(&*brokers[0].host, "127.0.0.1");
    assert_eq!(brokers[0].port, i32::from(broker.address().port()));

    let settings = [(
        "advertised.listeners",
        "PLAINTEXT://kafka.example.org:29092",
    )];
    let broker = Broker::start(&settings);
    let metadata = Wire::connect(&broker).ask(&MetadataRequest::default(), 9);
    assert_eq!(
        (&*metadata.brokers[0].host, metadata.brokers[0].port),
        ("kafka.example.org", 29092)
    );
    assert_eq!(metadata.controller_id, metadata.brokers[0].node_id);
    assert_eq!(metadata.cluster_id.unwrap().len(), 22, "a base64 uuid");

    let broker = Broker::start(&[("advertised.listeners", "PLAINTEXT://:29092")]);
    let metadata = Wire::connect(&broker).ask(&MetadataRequest::default(), 9);
    assert_eq!(
        (&*metadata.brokers[0].host, metadata.brokers[0].port),
        ("127.0.0.1", 29092)
    );
}

/// SEMANTICS 16 and 17.
#[test]
fn a_topic_is_created_only_when_it_is_asked_for_by_name_with_leave() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let unknown = wire.ask(&by_name("wished", false), 4);
    assert_eq!(
        unknown.topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(unknown.topics[0].name.as_deref(), Some("wished"));
    assert_eq!(unknown.topics[0].partitions, []);
    let all = wire.ask(
        &MetadataRequest {
            topics: None,
            ..Default::default()
        },
        4,
    );
    assert_eq!(all.topics, []);
    let illegal = wire.ask(&by_name("not legal", true), 4);
    assert_eq!(
        illegal.topics[0].error_code,
        ErrorCode::InvalidTopicException
    );

    let leader = eventually("the topic to be there", || {
        let topic = wire.ask(&by_name("wished", true), 4).topics.remove(0);
        match topic.error_code {
            ErrorCode::None => Some(topic.partitions[0].leader_id),
            ErrorCode::UnknownTopicOrPartition | ErrorCode::LeaderNotAvailable => None,
            other => panic!("{other:?}"),
        }
    });
    assert!(leader >= 0, "leader {leader}");
    let produced = wire.produce("never-asked", 0, batch(&["v"]));
    assert_eq!(
        produced.error_code,
        ErrorCode::UnknownTopicOrPartition,
        "Produce never creates"
    );
}
