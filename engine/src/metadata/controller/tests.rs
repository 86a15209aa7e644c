//! What the controller decides, and what it says when it refuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::configs::SETTINGS_BYTES_MAX;
use super::{
    AlterConfigs, AlterResource, Command, ControllerError, CreatePartitions, CreateTopics,
    CreatedTopic, Decision, DeleteTopics, Edit, GROUP_SETTINGS_BYTES_MAX, GrowTopic, NewTopic,
    ProducerIdBlock, RegisterBroker, Reply, TopicReference, decide,
};
use crate::config::{Alteration, Operation};
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::record::ConfigResource;
use crate::types::{
    BrokerId, DirectoryId, LeaderEpoch, ProducerId, TopicId, TopicIdPartition, Uuid,
};

pub(in crate::metadata) fn registration(id: i32) -> Command {
    in_directories(id, &[u128::try_from(id).unwrap()])
}

fn in_directories(id: i32, directories: &[u128]) -> Command {
    Command::RegisterBroker(RegisterBroker {
        id: BrokerId(id),
        incarnation: Uuid(7),
        endpoints: Vec::new(),
        rack: None,
        log_directories: directories
            .iter()
            .map(|&id| DirectoryId(Uuid(id)))
            .collect(),
    })
}

pub(in crate::metadata) fn new_topic(
    name: &str,
    partitions: i32,
    replication_factor: i16,
) -> NewTopic {
    // Different names, different ids.
    let random = name.bytes().fold(1u128, |hash, byte| {
        hash.wrapping_mul(131) + u128::from(byte)
    });
    NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor,
        assignments: Vec::new(),
        settings: Vec::new(),
        random,
    }
}

pub(in crate::metadata) fn create(topics: Vec<NewTopic>) -> Command {
    Command::CreateTopics(creation(topics))
}

fn creation(topics: Vec<NewTopic>) -> CreateTopics {
    CreateTopics {
        topics,
        partitions_default: 3,
        replication_factor_default: 1,
        partitions_max: 10_000,
        topic_defaults: Arc::default(),
        validate_only: false,
    }
}

fn run(image: &mut MetadataImage, command: &Command) -> Reply {
    let Decision { records, reply } = decide(image, command).unwrap();
    *image = image.apply(&records).unwrap();
    reply
}

/// A cluster of that many brokers, each with one directory.
fn cluster(brokers: i32) -> MetadataImage {
    let mut image = MetadataImage::empty();
    for id in 1..=brokers {
        run(&mut image, &registration(id));
    }
    image
}

fn created(image: &mut MetadataImage, topic: NewTopic) -> Result<CreatedTopic, ControllerError> {
    let Reply::CreateTopics(mut results) = run(image, &create(vec![topic])) else {
        panic!()
    };
    results.remove(0).1
}

fn refusal(image: &mut MetadataImage, topic: NewTopic) -> String {
    let version = image.version();
    let text = created(image, topic).unwrap_err().to_string();
    assert_eq!(image.version(), version, "a refusal leaves no record");
    text
}

fn topic<'a>(image: &'a MetadataImage, name: &str) -> &'a Arc<Topic> {
    image.topic(name).unwrap()
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    NewTopic {
        assignments: assignments
            .iter()
            .map(|(place, ids)| (*place, brokers(ids)))
            .collect(),
        ..new_topic(name, -1, -1)
    }
}

fn grow(image: &mut MetadataImage, name: &str, count: i32) -> Result<i32, ControllerError> {
    grow_on(image, name, count, None)
}

fn grow_on(
    image: &mut MetadataImage,
    name: &str,
    count: i32,
    assignments: Option<&[&[i32]]>,
) -> Result<i32, ControllerError> {
    let brokers = |ids: &&[i32]| ids.iter().copied().map(BrokerId).collect();
    let assignments = assignments.map(|lists| lists.iter().map(brokers).collect());
    let command = Command::CreatePartitions(CreatePartitions {
        topics: vec![GrowTopic {
            name: name.to_owned(),
            count,
            assignments,
        }],
        partitions_max: 100,
        validate_only: false,
    });
    let Reply::CreatePartitions(mut results) = run(image, &command) else {
        panic!()
    };
    results.remove(0).1.map(|added| added.end)
}

#[test]
fn the_topic_that_keeps_groups_does_not_grow() {
    let mut image = cluster(1);
    created(&mut image, new_topic("__consumer_offsets", 3, 1)).unwrap();
    let topic = "__consumer_offsets".parse().unwrap();
    let refused = Err(ControllerError::InternalTopicGrows { topic });
    assert_eq!(grow(&mut image, "__consumer_offsets", 4), refused);
}

#[test]
fn a_topic_of_minus_one_and_minus_one_gets_the_defaults() {
    let mut image = cluster(1);
    let made = created(&mut image, new_topic("a", -1, -1)).unwrap();
    assert_eq!((made.partitions, made.replication_factor), (3, 1));
    let topic = topic(&image, "a");
    assert_eq!(topic.id, made.id);
    assert_eq!(image.topic_by_id(made.id).unwrap().name.as_str(), "a");
    let key = TopicIdPartition {
        topic_id: made.id,
        partition: 2,
    };
    let state = image.partition(key).unwrap();
    assert_eq!(
        (state.leader, state.leader_epoch),
        (BrokerId(1), LeaderEpoch(0))
    );
    assert_eq!(state.directory_of(BrokerId(1)), Some(DirectoryId(Uuid(1))));
}

#[test]
fn refusals_of_a_topic_say_what_kafka_says() {
    let mut image = cluster(1);
    created(&mut image, new_topic("x", 1, 1)).unwrap();
    created(&mut image, new_topic("a.b", 1, 1)).unwrap();
    let cases = [
        (new_topic("x", 1, 1), "Topic 'x' already exists."),
        (
            new_topic("a_b", 1, 1),
            "Topic 'a_b' collides with existing topic: a.b",
        ),
        (
            new_topic("y", 1, 3),
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached \
             because only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
        ),
        (
            new_topic("y", 1, 0),
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            new_topic("y", 1, -2),
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            new_topic("y", 0, 1),
            "Number of partitions was set to an invalid non-positive value.",
        ),
        (
            new_topic("..", 1, 1),
            "Topic name is invalid: '.' or '..' is not allowed",
        ),
        (
            NewTopic {
                settings: vec![Alteration::set("x", "1")],
                ..new_topic("y", 1, 1)
            },
            "Unknown topic config name: x",
        ),
        (
            NewTopic {
                replication_factor: 1,
                ..assigned("y", &[(0, &[1])])
            },
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ),
        (
            NewTopic {
                partitions: 1,
                ..assigned("y", &[(0, &[1])])
            },
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            assigned("y", &[(0, &[1]), (0, &[1])]),
            "Found multiple manual partition assignments for partition 0",
        ),
        (
            assigned("y", &[(0, &[1]), (2, &[1])]),
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            assigned("y", &[(0, &[])]),
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            assigned("y", &[(0, &[7])]),
            "The manual partition assignment includes broker 7, but no such broker is registered.",
        ),
        (
            assigned("y", &[(0, &[1, 1])]),
            "The manual partition assignment includes the broker 1 more than once.",
        ),
    ];
    for (topic, text) in cases {
        assert_eq!(refusal(&mut image, topic), text);
    }
    assert!(image.topic("y").is_none());
}

#[test]
fn a_name_twice_in_one_request_is_made_not_once_and_answered_once() {
    let mut image = cluster(1);
    let topics = vec![
        new_topic("a", 1, 1),
        new_topic("b", 1, 1),
        new_topic("a", 1, 1),
    ];
    let Reply::CreateTopics(results) = run(&mut image, &create(topics)) else {
        panic!()
    };
    assert_eq!(results.len(), 2);
    assert_eq!(
        results[0].1.as_ref().unwrap_err().to_string(),
        "Duplicate topic name."
    );
    assert!(results[1].1.is_ok());
    assert_eq!(image.topic_count(), 1);
}

#[test]
fn names_that_collide_within_one_request_do_not_both_come_to_be() {
    let mut image = cluster(1);
    let topics = vec![new_topic("a.b", 1, 1), new_topic("a_b", 1, 1)];
    let Reply::CreateTopics(results) = run(&mut image, &create(topics)) else {
        panic!()
    };
    assert!(results[0].1.is_ok());
    assert!(matches!(
        results[1].1,
        Err(ControllerError::TopicCollides { .. })
    ));
    assert_eq!(image.topic_count(), 1);
}

#[test]
fn no_topic_takes_the_place_of_the_metadata() {
    let mut image = cluster(1);
    let topics = vec![new_topic("__cluster_metadata", 1, 1)];
    let Reply::CreateTopics(results) = run(&mut image, &create(topics)) else {
        panic!()
    };
    assert_eq!(results[0].1, Err(ControllerError::MetadataTopic));
    assert_eq!(image.topic_count(), 0);
}

#[test]
fn topics_that_are_refused_for_their_settings_cost_no_placement() {
    let mut image = cluster(1);
    let refused = NewTopic {
        settings: vec![Alteration::set("no.such.setting", "")],
        ..new_topic("a", 10_001, 1)
    };
    let Reply::CreateTopics(results) = run(&mut image, &create(vec![refused])) else {
        panic!()
    };
    assert!(!matches!(
        results[0].1,
        Ok(_) | Err(ControllerError::TooManyPartitions { .. })
    ));
}

#[test]
fn validating_makes_nothing_and_answers_as_if_it_had() {
    let mut image = cluster(1);
    let command = CreateTopics {
        validate_only: true,
        ..creation(vec![NewTopic {
            settings: vec![Alteration::set("retention.ms", "5")],
            ..new_topic("a", 2, 1)
        }])
    };
    let Reply::CreateTopics(results) = run(&mut image, &Command::CreateTopics(command)) else {
        panic!()
    };
    let made = results[0].1.as_ref().unwrap();
    assert_eq!(
        (made.partitions, made.overrides["retention.ms"].as_str()),
        (2, "5")
    );
    assert_eq!(image.topic_count(), 0);
}

#[test]
fn too_many_partitions_in_one_request_are_refused_before_they_cost_anything() {
    let mut image = cluster(1);
    let Reply::CreateTopics(results) = run(
        &mut image,
        &create(vec![
            new_topic("a", 9_999, 1),
            new_topic("b", 2, 1),
            new_topic("c", i32::MAX, 1),
        ]),
    ) else {
        panic!()
    };
    assert!(results[0].1.is_ok());
    let refused = ControllerError::TooManyPartitions {
        requested: 10_001,
        max: 10_000,
    };
    assert_eq!(results[1].1, Err(refused));
    assert!(results[2].1.is_err());
}

#[test]
fn two_topics_never_get_one_id_though_the_random_bits_agree() {
    let mut image = cluster(1);
    let same = |name: &str| NewTopic {
        random: u128::MAX,
        ..new_topic(name, 1, 1)
    };
    let Reply::CreateTopics(results) =
        run(&mut image, &create(vec![same("a"), same("b"), same("c")]))
    else {
        panic!()
    };
    let ids: std::collections::BTreeSet<TopicId> = results
        .iter()
        .map(|(_, made)| made.as_ref().unwrap().id)
        .collect();
    assert_eq!(ids.len(), 3);
    for bits in 0..400u128 {
        let name = format!("t{bits}");
        let topic = NewTopic {
            random: bits << 119,
            ..new_topic(&name, 1, 1)
        };
        let id = created(&mut image, topic).unwrap().id;
        assert!(!id.to_string().starts_with('-'), "{id} looks like a flag");
    }
}

#[test]
fn replicas_and_leaders_take_turns_over_the_brokers() {
    let mut image = cluster(3);
    let topic_of_zero = NewTopic {
        random: 0,
        ..new_topic("a", 3, 2)
    };
    created(&mut image, topic_of_zero).unwrap();
    let replicas: Vec<_> = topic(&image, "a")
        .partitions
        .iter()
        .map(|state| state.replicas.clone())
        .collect();
    let [one, two, three] = [BrokerId(1), BrokerId(2), BrokerId(3)];
    assert_eq!(
        replicas,
        [vec![one, two], vec![two, three], vec![three, one]]
    );
}

#[test]
fn new_partitions_go_to_the_emptiest_directory() {
    let mut image = MetadataImage::empty();
    run(&mut image, &in_directories(1, &[10]));
    created(&mut image, new_topic("old", 2, 1)).unwrap();
    run(&mut image, &in_directories(1, &[10, 20]));
    created(&mut image, new_topic("new", 4, 1)).unwrap();
    let directories: Vec<_> = topic(&image, "new")
        .partitions
        .iter()
        .map(|state| state.directories[0].0.0)
        .collect();
    assert_eq!(directories, [20, 20, 10, 20]);
}

#[test]
fn partitions_are_only_ever_added() {
    let mut image = cluster(1);
    created(&mut image, new_topic("perf", 4, 1)).unwrap();
    assert_eq!(
        grow(&mut image, "perf", 2).unwrap_err().to_string(),
        "The topic perf currently has 4 partition(s); 2 would not be an increase."
    );
    assert_eq!(
        grow(&mut image, "perf", -22).unwrap_err().to_string(),
        "The topic perf currently has 4 partition(s); -22 would not be an increase."
    );
    assert_eq!(
        grow(&mut image, "perf", 4).unwrap_err().to_string(),
        "Topic already has 4 partition(s)."
    );
    assert_eq!(
        grow(&mut image, "none", 4).unwrap_err().to_string(),
        "This server does not host this topic-partition."
    );
    assert_eq!(grow(&mut image, "perf", 6), Ok(6));
    assert_eq!(topic(&image, "perf").partition_count(), 6);
    assert!(matches!(
        grow(&mut image, "perf", i32::MAX),
        Err(ControllerError::TooManyPartitions { .. })
    ));
}

#[test]
fn added_partitions_go_where_they_are_assigned() {
    let mut image = cluster(3);
    created(&mut image, new_topic("a", 1, 1)).unwrap();
    let text = |result: Result<i32, ControllerError>| result.unwrap_err().to_string();
    assert_eq!(
        text(grow_on(&mut image, "a", 2, Some(&[&[2, 3]]))),
        "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with \
         previous partitions, which have 1 replica(s)."
    );
    assert_eq!(
        text(grow_on(&mut image, "a", 4, Some(&[&[2]]))),
        "Attempted to add 3 additional partition(s), but only 1 assignment(s) were specified."
    );
    assert_eq!(grow_on(&mut image, "a", 3, Some(&[&[3], &[2]])), Ok(3));
    let leaders: Vec<_> = topic(&image, "a")
        .partitions
        .iter()
        .skip(1)
        .map(|state| state.leader.0)
        .collect();
    assert_eq!(leaders, [3, 2]);
}

#[test]
fn a_deleted_topic_takes_its_settings_with_it_and_frees_its_name() {
    let mut image = cluster(1);
    let settings = vec![Alteration::set("retention.ms", "5")];
    let first = created(
        &mut image,
        NewTopic {
            settings,
            ..new_topic("a.b", 1, 1)
        },
    )
    .unwrap();
    let second = created(&mut image, new_topic("c", 1, 1)).unwrap();
    let unknown = TopicId(Uuid(77));
    let command = Command::DeleteTopics(DeleteTopics {
        topics: vec![
            TopicReference::Name("a.b".to_owned()),
            TopicReference::Id(second.id),
            TopicReference::Name("none".to_owned()),
            TopicReference::Id(unknown),
        ],
    });
    let Reply::DeleteTopics(results) = run(&mut image, &command) else {
        panic!()
    };
    assert_eq!(results[0].1.as_ref().unwrap().id, first.id);
    assert_eq!(results[1].1.as_ref().unwrap().name.as_str(), "c");
    assert!(matches!(
        results[2].1,
        Err(ControllerError::UnknownTopic { .. })
    ));
    let text = results[3].1.as_ref().unwrap_err().to_string();
    assert_eq!(text, "This server does not host this topic ID.");
    assert_eq!(image.topic_count(), 0);

    let again = NewTopic {
        random: 5,
        ..new_topic("a_b", 1, 1)
    };
    let again = created(&mut image, again).unwrap();
    assert_ne!(again.id, first.id);
    assert!(image.topic_overrides(again.id).is_empty());
}

#[test]
fn a_topic_named_twice_by_name_and_id_is_not_deleted() {
    let mut image = cluster(1);
    let made = created(&mut image, new_topic("a", 1, 1)).unwrap();
    let command = Command::DeleteTopics(DeleteTopics {
        topics: vec![
            TopicReference::Name("a".to_owned()),
            TopicReference::Id(made.id),
        ],
    });
    let Reply::DeleteTopics(results) = run(&mut image, &command) else {
        panic!()
    };
    assert!(results.iter().all(|(_, result)| result.is_err()));
    assert_eq!(image.topic_count(), 1);
}

fn alter(image: &mut MetadataImage, alterations: Vec<Alteration>, replace: bool) -> Reply {
    let command = Command::AlterConfigs(AlterConfigs {
        resources: vec![AlterResource::Topic {
            name: "a".to_owned(),
            alterations,
            replace,
        }],
        topic_defaults: Arc::default(),
        validate_only: false,
    });
    run(image, &command)
}

#[test]
fn settings_are_changed_one_by_one_or_replaced_as_a_whole() {
    let mut image = cluster(1);
    let made = created(&mut image, new_topic("a", 1, 1)).unwrap();
    let set = |name: &str, value: &str| Alteration::set(name, value);
    alter(
        &mut image,
        vec![set("retention.ms", "5"), set("segment.ms", "6")],
        false,
    );
    let append = Alteration {
        operation: Operation::Append,
        ..set("cleanup.policy", "compact")
    };
    alter(&mut image, vec![append], false);
    let overrides = image.topic_overrides(made.id);
    assert_eq!(overrides.len(), 3);
    assert_eq!(overrides["cleanup.policy"], "delete,compact");

    alter(&mut image, vec![set("retention.ms", "7")], true);
    let expected = BTreeMap::from([("retention.ms".to_owned(), "7".to_owned())]);
    assert_eq!(image.topic_overrides(made.id), &expected);

    let version = image.version();
    alter(&mut image, vec![set("retention.ms", "7")], false);
    assert_eq!(
        image.version(),
        version,
        "what is so already needs no record"
    );
    let Reply::AlterConfigs(results) = alter(&mut image, vec![set("retention.ms", "x")], false)
    else {
        panic!()
    };
    assert!(matches!(results[0], Err(ControllerError::Settings(_))));
}

#[test]
fn a_value_that_no_record_should_hold_is_refused() {
    let mut image = cluster(1);
    created(&mut image, new_topic("a", 1, 1)).unwrap();
    let long = Alteration::set("leader.replication.throttled.replicas", "1".repeat(2 << 20));
    let Reply::AlterConfigs(results) = alter(&mut image, vec![long], false) else {
        panic!()
    };
    assert!(matches!(
        results[0],
        Err(ControllerError::SettingTooLong { what: "value", .. })
    ));
}

#[test]
fn a_resource_twice_in_one_request_is_not_changed() {
    let mut image = cluster(1);
    let made = created(&mut image, new_topic("a", 1, 1)).unwrap();
    let resource = |value: &str| AlterResource::Topic {
        name: "a".to_owned(),
        alterations: vec![Alteration::set("retention.ms", value)],
        replace: false,
    };
    let command = Command::AlterConfigs(AlterConfigs {
        resources: vec![resource("1"), resource("2")],
        topic_defaults: Arc::default(),
        validate_only: false,
    });
    let refused = || Err(ControllerError::DuplicateResource);
    assert_eq!(
        run(&mut image, &command),
        Reply::AlterConfigs(vec![refused(), refused()])
    );
    assert!(image.topic_overrides(made.id).is_empty());
}

#[test]
fn brokers_and_the_cluster_have_overrides_of_their_own() {
    let mut image = cluster(1);
    let checked = |resource: ConfigResource, value: Option<&str>| {
        Command::AlterConfigs(AlterConfigs {
            resources: vec![AlterResource::Checked {
                resource,
                changes: BTreeMap::from([(
                    "a.key".to_owned(),
                    value.map_or(Edit::Reset, |value| Edit::Set(value.to_owned())),
                )]),
                replace: false,
            }],
            topic_defaults: Arc::default(),
            validate_only: false,
        })
    };
    run(
        &mut image,
        &checked(ConfigResource::Broker(BrokerId(1)), Some("1")),
    );
    run(
        &mut image,
        &checked(ConfigResource::ClusterDefault, Some("2")),
    );
    run(
        &mut image,
        &checked(ConfigResource::Group("g".into()), Some("3")),
    );
    assert_eq!(image.broker_overrides(BrokerId(1))["a.key"], "1");
    assert_eq!(image.cluster_overrides()["a.key"], "2");
    assert_eq!(image.group_overrides("g")["a.key"], "3");
    assert_eq!(image.groups_with_overrides().collect::<Vec<_>>(), ["g"]);
    run(
        &mut image,
        &checked(ConfigResource::Group("g".into()), None),
    );
    assert_eq!(image.groups_with_overrides().count(), 0);
}

#[test]
fn the_settings_of_all_groups_are_bounded_and_can_always_be_removed() {
    let mut image = cluster(1);
    let edit = |group: usize, edit: Edit| AlterResource::Checked {
        resource: ConfigResource::Group(format!("{group:030000}").into()),
        changes: BTreeMap::from([("a.key".to_owned(), edit)]),
        replace: false,
    };
    let set = |group| edit(group, Edit::Set("1".to_owned()));
    let mut alter = |resources| {
        let command = Command::AlterConfigs(AlterConfigs {
            resources,
            topic_defaults: Arc::default(),
            validate_only: false,
        });
        let Reply::AlterConfigs(results) = run(&mut image, &command) else {
            panic!()
        };
        let refused = results.iter().position(Result::is_err);
        if let Some(first) = refused {
            let max = GROUP_SETTINGS_BYTES_MAX;
            let full = Err(ControllerError::GroupSettingsFull { max });
            assert!(results[first..].iter().all(|result| *result == full));
        }
        (refused, image.groups_with_overrides().count())
    };
    let most = GROUP_SETTINGS_BYTES_MAX / 30_706;
    assert_eq!(alter((0..100).map(set).collect()), (None, 100));
    let rest = (100..1_000).map(set).collect();
    assert_eq!(alter(rest), (Some(most - 100), most));
    let changed = edit(0, Edit::Set("2".to_owned()));
    assert_eq!(alter(vec![changed]), (None, most));
    let other = edit(0, Edit::Set("1".repeat(30_000)));
    assert_eq!(alter(vec![other]), (Some(0), most));
    let removed = (0..50).map(|group| edit(group, Edit::Reset));
    assert_eq!(alter(removed.collect()), (None, most - 50));
    assert_eq!(alter(vec![set(0)]), (None, most - 49));
}

/// Settings that nobody knows are as many as a client likes to name.
#[test]
fn the_settings_of_a_broker_and_of_all_brokers_are_bounded_and_can_always_be_removed() {
    for resource in [
        ConfigResource::Broker(BrokerId(1)),
        ConfigResource::ClusterDefault,
    ] {
        let mut image = cluster(1);
        let mut alter = |numbers: std::ops::Range<usize>, edit: &Edit| {
            let changes = numbers.map(|number| (format!("a.key.{number}"), edit.clone()));
            let command = Command::AlterConfigs(AlterConfigs {
                resources: vec![AlterResource::Checked {
                    resource: resource.clone(),
                    changes: changes.collect(),
                    replace: false,
                }],
                topic_defaults: Arc::default(),
                validate_only: false,
            });
            match run(&mut image, &command) {
                Reply::AlterConfigs(mut results) => results.remove(0),
                other => panic!("{other:?}"),
            }
        };
        let long = Edit::Set("1".repeat(10_000));
        assert_eq!(alter(0..100, &long), Ok(()));
        let max = SETTINGS_BYTES_MAX;
        let full = Err(ControllerError::SettingsFull { max });
        assert_eq!(alter(100..105, &long), full);
        assert_eq!(alter(0..50, &Edit::Reset), Ok(()));
        assert_eq!(alter(100..105, &long), Ok(()));
        let short = Edit::Set(String::new());
        assert_eq!(alter(1_000..12_000, &short), full);
        assert_eq!(alter(1_000..2_000, &short), Ok(()));
    }
}

#[test]
fn two_clients_that_add_to_one_list_both_find_their_element_there() {
    let mut image = cluster(1);
    let edit = |edit: Edit| {
        Command::AlterConfigs(AlterConfigs {
            resources: vec![AlterResource::Checked {
                resource: ConfigResource::ClusterDefault,
                changes: BTreeMap::from([("a.list".to_owned(), edit)]),
                replace: false,
            }],
            topic_defaults: Arc::default(),
            validate_only: false,
        })
    };
    let default = || "d".to_owned();
    let append = |elements: &str| Edit::Append {
        elements: elements.to_owned(),
        default: default(),
    };
    // Both were made before either was decided.
    let (one, other) = (edit(append("x")), edit(append("y,d")));
    run(&mut image, &one);
    run(&mut image, &other);
    assert_eq!(image.cluster_overrides()["a.list"], "d,x,y");
    let subtract = edit(Edit::Subtract {
        elements: "d,x".to_owned(),
        default: default(),
    });
    run(&mut image, &subtract);
    assert_eq!(image.cluster_overrides()["a.list"], "y");
    run(&mut image, &edit(Edit::Reset));
    run(&mut image, &subtract);
    assert_eq!(image.cluster_overrides()["a.list"], "");
    let much = append(&"x".repeat(super::VALUE_LENGTH_MAX));
    let Reply::AlterConfigs(results) = run(&mut image, &edit(much)) else {
        panic!()
    };
    assert!(results[0].is_ok());
    let Reply::AlterConfigs(results) = run(&mut image, &edit(append("z"))) else {
        panic!()
    };
    assert!(matches!(
        results[0],
        Err(ControllerError::SettingTooLong { what: "value", .. })
    ));
}

#[test]
fn producer_ids_come_in_blocks_that_never_overlap() {
    let mut image = cluster(1);
    let command = Command::AllocateProducerIds {
        broker: BrokerId(1),
    };
    let block = |first| {
        Reply::AllocateProducerIds(ProducerIdBlock {
            first: ProducerId(first),
            count: 1_000,
        })
    };
    assert_eq!(run(&mut image, &command), block(0));
    assert_eq!(run(&mut image, &command), block(1_000));
    let unknown = decide(
        &image,
        &Command::AllocateProducerIds {
            broker: BrokerId(9),
        },
    );
    assert_eq!(
        unknown,
        Err(ControllerError::UnknownBroker {
            broker: BrokerId(9)
        })
    );
}

#[test]
fn a_broker_epoch_is_the_offset_of_its_registration() {
    let mut image = cluster(1);
    assert_eq!(image.broker(BrokerId(1)).unwrap().epoch, 0);
    assert_eq!(
        run(&mut image, &registration(1)),
        Reply::RegisterBroker { epoch: 1 }
    );
    assert_eq!(image.broker_count(), 1);
}

#[test]
fn an_unclean_start_begins_a_leader_epoch_wherever_the_broker_leads() {
    let mut image = cluster(2);
    created(
        &mut image,
        assigned("a", &[(0, &[1]), (1, &[2]), (2, &[1])]),
    )
    .unwrap();
    let reply = run(
        &mut image,
        &Command::UncleanStart {
            broker: BrokerId(1),
        },
    );
    assert_eq!(reply, Reply::UncleanStart { partitions: 2 });
    let epochs: Vec<_> = topic(&image, "a")
        .partitions
        .iter()
        .map(|state| state.leader_epoch.0)
        .collect();
    assert_eq!(epochs, [1, 0, 1]);
}

#[test]
fn a_cordoned_directory_gets_no_new_replicas() {
    let mut image = MetadataImage::empty();
    run(&mut image, &in_directories(1, &[10, 20]));
    let directory = |id| DirectoryId(Uuid(id));
    let cordon = |directories: &[u128]| Command::CordonDirectories {
        broker: BrokerId(1),
        directories: directories.iter().map(|&id| directory(id)).collect(),
    };
    let places = |image: &MetadataImage, name: &str| -> Vec<_> {
        let partitions = topic(image, name).partitions.clone();
        partitions
            .iter()
            .map(|state| state.directories[0])
            .collect()
    };
    run(&mut image, &cordon(&[10]));
    created(&mut image, new_topic("a", 3, 1)).unwrap();
    assert_eq!(places(&image, "a"), [directory(20); 3]);
    // A snapshot knows it, too, and a start of the broker does not change it.
    let again = MetadataImage::empty().apply(&image.to_records()).unwrap();
    assert_eq!(again.cordoned_directories(BrokerId(1)), [directory(10)]);
    run(&mut image, &in_directories(1, &[10, 20]));
    let version = image.version();
    run(&mut image, &cordon(&[10]));
    assert_eq!(
        image.version(),
        version,
        "what is so already needs no record"
    );

    run(&mut image, &cordon(&[10, 20]));
    let refused = created(&mut image, new_topic("b", 1, 1));
    assert!(
        matches!(
            refused,
            Err(ControllerError::TooFewBrokers { brokers: 0, .. })
        ),
        "{refused:?}"
    );
    let broker = BrokerId(1);
    let cordoned = ControllerError::AssignmentCordonedBroker { broker };
    let refused = created(&mut image, assigned("b", &[(0, &[1])]));
    assert_eq!(refused.map(drop), Err(cordoned.clone()));
    let refused = grow_on(&mut image, "a", 4, Some(&[&[1]]));
    assert_eq!(refused, Err(cordoned));
    run(&mut image, &cordon(&[]));
    created(&mut image, new_topic("b", 2, 1)).unwrap();
    assert_eq!(places(&image, "b"), [directory(10); 2], "it has the fewest");
    assert!(matches!(
        decide(&image, &cordon(&[30])),
        Err(ControllerError::UnknownDirectory { .. })
    ));
}

#[test]
fn a_failed_directory_gets_no_new_replicas_until_the_broker_registers_anew() {
    let mut image = MetadataImage::empty();
    run(&mut image, &in_directories(1, &[10, 20]));
    let fail = |directory| Command::FailDirectory {
        broker: BrokerId(1),
        directory: DirectoryId(Uuid(directory)),
    };
    let failed = |failed| Reply::FailDirectory { failed };
    assert_eq!(run(&mut image, &fail(10)), failed(true));
    assert_eq!(run(&mut image, &fail(10)), failed(false), "nothing is new");
    created(&mut image, new_topic("a", 3, 1)).unwrap();
    for state in &topic(&image, "a").partitions {
        assert_eq!(state.directories, [DirectoryId(Uuid(20))]);
    }
    assert_eq!(run(&mut image, &fail(20)), failed(false), "it is the last");
    run(&mut image, &in_directories(1, &[10, 20]));
    created(&mut image, new_topic("b", 1, 1)).unwrap();
    let there = &topic(&image, "b").partitions[0].directories;
    assert_eq!(*there, [DirectoryId(Uuid(10))]);
}

#[test]
fn replicas_found_in_another_directory_are_noted_there() {
    let mut image = MetadataImage::empty();
    run(&mut image, &in_directories(1, &[10, 20]));
    let made = created(&mut image, new_topic("a", 1, 1)).unwrap();
    let key = TopicIdPartition {
        topic_id: made.id,
        partition: 0,
    };
    let to = |directory| Command::AssignDirectories {
        broker: BrokerId(1),
        directories: vec![(key, DirectoryId(Uuid(directory)))],
    };
    assert_eq!(
        run(&mut image, &to(20)),
        Reply::AssignDirectories { partitions: 1 }
    );
    assert_eq!(
        image.partition(key).unwrap().directories,
        [DirectoryId(Uuid(20))]
    );
    assert_eq!(
        run(&mut image, &to(20)),
        Reply::AssignDirectories { partitions: 0 }
    );
    assert!(matches!(
        decide(&image, &to(30)),
        Err(ControllerError::UnknownDirectory { .. })
    ));
}

#[test]
fn a_change_of_one_topic_shares_all_others() {
    let mut image = cluster(1);
    created(&mut image, new_topic("a", 1, 1)).unwrap();
    created(&mut image, new_topic("b", 2, 1)).unwrap();
    let before = image.clone();
    grow(&mut image, "a", 2).unwrap();
    assert!(Arc::ptr_eq(topic(&before, "b"), topic(&image, "b")));
    let (old, new) = (topic(&before, "a"), topic(&image, "a"));
    assert!(Arc::ptr_eq(&old.partitions[0], &new.partitions[0]));
    assert_eq!(old.partition_count(), 1, "the old image stays what it was");
}

#[test]
fn pages_of_topics_begin_at_the_cursor_whether_or_not_it_exists() {
    let mut image = cluster(1);
    for name in ["c", "a", "e"] {
        created(&mut image, new_topic(name, 1, 1)).unwrap();
    }
    let from = |name: &str| -> Vec<String> {
        image
            .topics_from(name)
            .map(|topic| topic.name.to_string())
            .collect()
    };
    assert_eq!(from("c"), ["c", "e"]);
    assert_eq!(from("b"), ["c", "e"]);
    assert!(from("f").is_empty());
}
