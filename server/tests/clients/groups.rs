//! Consumer groups as librdkafka's members live them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_wire::message::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_wire::message::{OffsetCommitRequest, OffsetCommitResponse};
use millrace_wire::{ErrorCode, frame};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::support::broker::Broker;
use crate::support::librdkafka::{
    Sender, assigned, consumer, consumer_config, create_topic, take, text,
};
use crate::support::wire::Wire;
use crate::support::{PATIENCE, eventually};

/// Counts the rebalances a member goes through.
#[derive(Clone, Default)]
struct Rebalances {
    count: Arc<AtomicUsize>,
}

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

fn member(
    broker: &Broker,
    group: &str,
    settings: &[(&str, &str)],
) -> (BaseConsumer<Rebalances>, Rebalances) {
    let rebalances = Rebalances::default();
    let config = consumer_config(broker, group, settings);
    let member = BaseConsumer::from_config_and_context(&config, rebalances.clone()).unwrap();
    (member, rebalances)
}

/// Polls all members until they hold the demanded numbers of partitions.
fn until_assigned(
    members: &[&BaseConsumer<Rebalances>],
    counts: &[usize],
) -> Vec<Vec<(String, i32)>> {
    eventually("the partitions to be shared out", || {
        for member in members {
            let _ = member.poll(Duration::from_millis(20));
        }
        let shares: Vec<_> = members.iter().map(|member| assigned(member)).collect();
        shares
            .iter()
            .map(Vec::len)
            .eq(counts.iter().copied())
            .then_some(shares)
    })
}

fn two_members_share_and_inherit(strategy: &str) {
    let broker = Broker::start(&[]);
    create_topic(&broker, "jobs", 6, &[]);
    let settings = [("partition.assignment.strategy", strategy)];
    let (first, _) = member(&broker, "workers", &settings);
    first.subscribe(&["jobs"]).unwrap();
    until_assigned(&[&first], &[6]);
    let (second, _) = member(&broker, "workers", &settings);
    second.subscribe(&["jobs"]).unwrap();
    let shares = until_assigned(&[&first, &second], &[3, 3]);
    let both: BTreeSet<_> = shares.concat().into_iter().collect();
    assert_eq!(both.len(), 6, "{shares:?} overlap");

    let sender = Sender::new(&broker, &[]);
    for number in 0..60 {
        sender.send_value(
            "jobs",
            i32::try_from(number % 6).unwrap(),
            number,
            &number.to_string(),
        );
    }
    sender.finish_well();
    let mut came: Vec<usize> = Vec::new();
    for member in [&first, &second] {
        came.extend(
            take(member, 30)
                .iter()
                .map(|message| text(message).parse::<usize>().unwrap()),
        );
    }
    came.sort_unstable();
    assert_eq!(came, (0..60).collect::<Vec<_>>());

    drop(second);
    until_assigned(&[&first], &[6]);
}

#[test]
fn two_members_share_a_topic_by_range_and_one_inherits_it() {
    two_members_share_and_inherit("range");
}

#[test]
fn two_members_share_a_topic_cooperatively_and_one_inherits_it() {
    two_members_share_and_inherit("cooperative-sticky");
}

#[test]
fn a_cooperative_member_keeps_reading_what_it_keeps() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "jobs", 4, &[]);
    let settings = [("partition.assignment.strategy", "cooperative-sticky")];
    let (first, _) = member(&broker, "workers", &settings);
    first.subscribe(&["jobs"]).unwrap();
    let before = until_assigned(&[&first], &[4]).remove(0);
    let (second, _) = member(&broker, "workers", &settings);
    second.subscribe(&["jobs"]).unwrap();
    let after = until_assigned(&[&first, &second], &[2, 2]);
    assert!(after[0].iter().all(|partition| before.contains(partition)));
    assert!(
        after[1]
            .iter()
            .all(|partition| !after[0].contains(partition))
    );
}

/// SEMANTICS 49: what Kubernetes' rolling restarts rely on.
#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "jobs", 4, &[]);
    let settings = |instance| {
        [
            ("group.instance.id", instance),
            ("session.timeout.ms", "20000"),
            ("partition.assignment.strategy", "range"),
        ]
    };
    let (first, rebalances) = member(&broker, "workers", &settings("one"));
    let (second, _) = member(&broker, "workers", &settings("two"));
    first.subscribe(&["jobs"]).unwrap();
    second.subscribe(&["jobs"]).unwrap();
    let before = until_assigned(&[&first, &second], &[2, 2]);
    let count = rebalances.count.load(Ordering::SeqCst);

    drop(second);
    let (again, _) = member(&broker, "workers", &settings("two"));
    again.subscribe(&["jobs"]).unwrap();
    let after = until_assigned(&[&first, &again], &[2, 2]);
    assert_eq!(after, before, "everyone has what they had");
    assert_eq!(
        rebalances.count.load(Ordering::SeqCst),
        count,
        "the other member was disturbed"
    );
}

#[test]
fn committed_offsets_come_back_with_their_metadata() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "jobs", 2, &[]);
    let consumer = consumer(&broker, "workers", &[]);
    let mut offsets = TopicPartitionList::new();
    for (partition, offset, metadata) in [(0, 7, "host=a; höhe=3"), (1, 0, "")] {
        let mut element = offsets.add_partition("jobs", partition);
        element.set_offset(Offset::Offset(offset)).unwrap();
        element.set_metadata(metadata);
    }
    consumer.commit(&offsets, CommitMode::Sync).unwrap();

    let mut asked = TopicPartitionList::new();
    asked.add_partition_range("jobs", 0, 1);
    let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
    let committed: Vec<_> = committed
        .elements()
        .iter()
        .map(|element| {
            (
                element.partition(),
                element.offset(),
                element.metadata().to_owned(),
            )
        })
        .collect();
    assert_eq!(
        committed,
        [
            (0, Offset::Offset(7), "host=a; höhe=3".to_owned()),
            (1, Offset::Offset(0), String::new())
        ]
    );
}

/// Some clients put bytes of their own there. Were they refused, they would connect and commit again for ever.
#[test]
fn metadata_that_is_not_utf8_is_committed_and_comes_back_with_replacements() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "jobs", 1, &[]);
    let mut wire = Wire::connect(&broker);
    wire.await_coordinator("workers");
    let offset = OffsetCommitRequestPartition {
        committed_offset: 7,
        committed_metadata: Some("<>".into()),
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        group_id: "workers".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "jobs".into(),
            partitions: vec![offset],
            ..Default::default()
        }],
        ..Default::default()
    };
    // Before the flexible versions, and since.
    for version in [7, 8] {
        let frame = frame::request_frame(1, None, &commit, version).unwrap();
        let mut frame = frame.to_vec();
        let at = frame.windows(2).position(|two| two == b"<>").unwrap();
        frame[at..at + 2].copy_from_slice(b"\xff\xfe");
        wire.send_bytes(&frame);
        let (_, answer) = wire.receive::<OffsetCommitResponse>(version);
        let committed = &answer.topics[0].partitions[0];
        assert_eq!(committed.error_code, ErrorCode::None);
    }
    let mut asked = TopicPartitionList::new();
    asked.add_partition("jobs", 0);
    let consumer = consumer(&broker, "workers", &[]);
    let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
    let element = &committed.elements()[0];
    assert_eq!(element.offset(), Offset::Offset(7));
    assert_eq!(element.metadata(), "\u{fffd}\u{fffd}");
}

#[test]
fn a_new_member_goes_on_where_the_group_stopped() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "jobs", 1, &[]);
    let sender = Sender::new(&broker, &[]);
    for number in 0..10 {
        sender.send_value("jobs", 0, number, &number.to_string());
    }
    sender.finish_well();
    let first = consumer(&broker, "workers", &[]);
    first.subscribe(&["jobs"]).unwrap();
    let taken = take(&first, 10);
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset("jobs", 0, Offset::Offset(taken[3].offset() + 1))
        .unwrap();
    first.commit(&offsets, CommitMode::Sync).unwrap();
    drop(first);

    let second = consumer(&broker, "workers", &[]);
    second.subscribe(&["jobs"]).unwrap();
    let came: Vec<String> = take(&second, 6).iter().map(text).collect();
    assert_eq!(came, ["4", "5", "6", "7", "8", "9"]);
}

#[test]
fn a_group_is_listed_and_described_with_its_members() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "jobs", 1, &[]);
    let (first, _) = member(&broker, "workers", &[("client.id", "the-worker")]);
    first.subscribe(&["jobs"]).unwrap();
    until_assigned(&[&first], &[1]);
    let groups = eventually("all coordinators", || {
        first.fetch_group_list(None, PATIENCE).ok()
    });
    let group = groups
        .groups()
        .iter()
        .find(|group| group.name() == "workers")
        .unwrap();
    assert_eq!(
        (group.state(), group.protocol_type()),
        ("Stable", "consumer")
    );
    let members = group.members();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].client_id(), "the-worker");
    assert!(
        members[0].client_host().contains("127.0.0.1"),
        "{}",
        members[0].client_host()
    );
    assert!(
        members[0]
            .assignment()
            .is_some_and(|bytes| !bytes.is_empty())
    );
}
