//! Topics, partitions, records and groups as librdkafka's admin client manages them.

use millrace_wire::ErrorCode;
use millrace_wire::message::create_acls::AclCreation;
use millrace_wire::message::delete_acls::DeleteAclsFilter;
use millrace_wire::message::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use rdkafka::admin::NewPartitions;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::support::broker::Broker;
use crate::support::librdkafka::{
    Sender, admin, consumer, create_topic, options, take, text, try_create_topic, wait,
};
use crate::support::records::{batch, read_all, values};
use crate::support::wire::Wire;
use crate::support::{PATIENCE, eventually};

#[test]
fn a_topic_that_cannot_be_is_refused_with_kafkas_reason() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "orders", 2, &[]);
    let refused = |name: &str, partitions, configs: &[(&str, &str)]| {
        try_create_topic(&broker, name, partitions, configs).unwrap_err()
    };
    assert_eq!(
        refused("orders", 2, &[]),
        RDKafkaErrorCode::TopicAlreadyExists
    );
    assert_eq!(refused("no spaces", 1, &[]), RDKafkaErrorCode::InvalidTopic);
    assert_eq!(refused("..", 1, &[]), RDKafkaErrorCode::InvalidTopic);
    assert_eq!(
        refused("t", 1, &[("no.such.key", "1")]),
        RDKafkaErrorCode::InvalidConfig
    );
    assert_eq!(
        refused("t", 1, &[("retention.ms", "soon")]),
        RDKafkaErrorCode::InvalidConfig
    );
    let metadata = consumer(&broker, "g", &[])
        .fetch_metadata(None, PATIENCE)
        .unwrap();
    let names: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).collect();
    assert!(
        !names.contains(&"t") && names.contains(&"orders"),
        "{names:?}"
    );
}

/// SEMANTICS 65: MirrorMaker takes no other answer for "there are no rules".
#[test]
fn rules_about_who_may_do_what_are_refused_for_want_of_an_authorizer() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let disabled = ErrorCode::SecurityDisabled;
    for version in 1..=3 {
        let described = wire.ask(&DescribeAclsRequest::default(), version);
        let message = described.error_message.as_deref();
        let expected = "No Authorizer is configured on the broker";
        assert_eq!((described.error_code, message), (disabled, Some(expected)));
        let creations = vec![AclCreation::default(); 2];
        let created = wire.ask(&CreateAclsRequest { creations }, version);
        let filters = vec![DeleteAclsFilter::default(); 3];
        let deleted = wire.ask(&DeleteAclsRequest { filters }, version);
        assert_eq!(
            (created.results.len(), deleted.filter_results.len()),
            (2, 3)
        );
        let created = created.results.into_iter();
        let created = created.map(|result| (result.error_code, result.error_message));
        let deleted = deleted.filter_results.into_iter();
        let deleted = deleted.map(|result| (result.error_code, result.error_message));
        for refused in created.chain(deleted) {
            let expected = "No Authorizer is configured.";
            assert_eq!(refused, (disabled, Some(expected.into())));
        }
    }
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_starts_anew() {
    let broker = Broker::start(&[("auto.create.topics.enable", "false")]);
    let mut wire = Wire::connect(&broker);
    let first_id = wire.create_topic("orders", 1, &[]);
    wire.append("orders", 0, batch(&["old", "older"]));
    let deleted = wait(admin(&broker).delete_topics(&["orders", "never"], &options())).unwrap();
    assert_eq!(deleted[0], Ok("orders".to_owned()));
    assert_eq!(
        deleted[1],
        Err((
            "never".to_owned(),
            RDKafkaErrorCode::UnknownTopicOrPartition
        ))
    );

    let second_id = wire.create_topic("orders", 1, &[]);
    assert_ne!(first_id, second_id);
    assert_eq!(wire.append("orders", 0, batch(&["new"])), 0);
    assert_eq!(values(&read_all(&mut wire, "orders", 0, 0)), ["new"]);
    eventually("the old files to go", || {
        let names = std::fs::read_dir(broker.data()).unwrap();
        let count = names
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("orders")
            })
            .count();
        // Kafka keeps deleted directories for a minute; what must not stay is the old one under its own name.
        (count <= 2).then_some(())
    });
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "grows", 2, &[]);
    let admin = admin(&broker);
    let grown = |count| {
        let partitions = NewPartitions::new("grows", count);
        wait(admin.create_partitions([&partitions], &options()))
            .unwrap()
            .remove(0)
    };
    assert_eq!(grown(5), Ok("grows".to_owned()));
    assert_eq!(grown(5).unwrap_err().1, RDKafkaErrorCode::InvalidPartitions);
    assert_eq!(grown(3).unwrap_err().1, RDKafkaErrorCode::InvalidPartitions);
    let sender = Sender::new(&broker, &[]);
    sender.send_value("grows", 4, 0, "in the new one");
    assert_eq!(sender.finish_well(), [(4, 0)]);
}

#[test]
fn deleted_records_are_below_the_new_start() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "trimmed", 1, &[]);
    let sender = Sender::new(&broker, &[]);
    for number in 0..10 {
        sender.send_value("trimmed", 0, number, &number.to_string());
    }
    sender.finish_well();
    let admin = admin(&broker);
    let delete_before = |offset| {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("trimmed", 0, offset).unwrap();
        let answer = wait(admin.delete_records(&offsets, &options())).unwrap();
        let element = &answer.elements()[0];
        element.error().map(|()| element.offset())
    };
    assert_eq!(delete_before(Offset::Offset(4)), Ok(Offset::Offset(4)));
    let consumer = consumer(&broker, "g", &[]);
    consumer.subscribe(&["trimmed"]).unwrap();
    let came: Vec<String> = take(&consumer, 6).iter().map(text).collect();
    assert_eq!(came, ["4", "5", "6", "7", "8", "9"]);
    let beyond = delete_before(Offset::Offset(11)).unwrap_err();
    assert_eq!(
        beyond.rdkafka_error_code(),
        Some(RDKafkaErrorCode::OffsetOutOfRange)
    );
    assert_eq!(delete_before(Offset::End), Ok(Offset::Offset(10)));
    assert_eq!(
        consumer.fetch_watermarks("trimmed", 0, PATIENCE).unwrap(),
        (10, 10)
    );
}

#[test]
fn a_group_is_deleted_once_it_is_empty() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    Wire::connect(&broker).append("t", 0, batch(&["a", "b"]));
    let admin = admin(&broker);
    let delete = |group: &str| {
        wait(admin.delete_groups(&[group], &options()))
            .unwrap()
            .remove(0)
    };
    let member = consumer(&broker, "workers", &[]);
    member.subscribe(&["t"]).unwrap();
    assert_eq!(take(&member, 2)[1].offset(), 1);
    member.commit_consumer_state(CommitMode::Sync).unwrap();
    assert_eq!(
        delete("workers").unwrap_err().1,
        RDKafkaErrorCode::NonEmptyGroup
    );
    drop(member);
    eventually("the group to become empty", || delete("workers").ok());
    assert_eq!(
        delete("workers").unwrap_err().1,
        RDKafkaErrorCode::GroupIdNotFound
    );

    let again = consumer(&broker, "workers", &[]);
    again.subscribe(&["t"]).unwrap();
    assert_eq!(
        take(&again, 1)[0].offset(),
        0,
        "its offsets were deleted with the group"
    );
}
