//! Offsets: commit, fetch, removal, expiry (SEMANTICS 47, 48, 52).

use super::*;

const DAY: u64 = 24 * 60 * 60;

fn fetch(broker: &mut Broker, partitions: Option<Vec<TopicPartition>>) -> Vec<FetchedOffset> {
    let wanted = partitions.map_or(OffsetsWanted::ALL, OffsetsWanted::Of);
    fetch_those(broker, wanted)
}

fn fetch_those(broker: &mut Broker, wanted: OffsetsWanted) -> Vec<FetchedOffset> {
    let group = GroupId::from("g");
    match broker.ask(GroupCommand::FetchOffsets(FetchOffsets {
        group,
        wanted,
        require_stable: true,
    })) {
        Ok(GroupReply::OffsetsFetched(offsets)) => offsets,
        other => panic!("{other:?}"),
    }
}

fn commit_simple(broker: &mut Broker, offsets: &[(TopicPartition, i64)]) {
    let committed = broker.ask(GroupCommand::CommitOffsets(commit("", -1, offsets)));
    assert_eq!(
        committed,
        Ok(GroupReply::OffsetsCommitted(vec![Ok(()); offsets.len()]))
    );
}

/// A member that stays, by heartbeats, for so long.
fn stay(broker: &mut Broker, id: &MemberId, generation: i32, time: u64) {
    for _ in 0..time.div_ceil(8) {
        broker.pass(seconds(8));
        broker.ask(heartbeat(id, generation)).unwrap();
    }
}

#[test]
fn all_offsets_are_fetched_once_however_few_at_a_time() {
    let mut broker = Broker::eager();
    let places = [("a", 0), ("a", 3), ("b", 0), ("b", 1), ("c", 7)];
    let places = places.map(|(topic, partition)| place(topic, partition));
    let offsets: Vec<_> = places.iter().map(|place| (place.clone(), 1)).collect();
    commit_simple(&mut broker, &offsets);
    let mut found: Vec<TopicPartition> = Vec::new();
    for count in [2, 2, 1, 0] {
        let next = OffsetsWanted::Next {
            after: found.last().cloned(),
            count_max: 2,
        };
        let some = fetch_those(&mut broker, next);
        assert_eq!(some.len(), count);
        found.extend(some.into_iter().map(|offset| offset.partition));
    }
    assert_eq!(found, places);
}

#[test]
fn a_commit_comes_back_whole() {
    let mut broker = Broker::eager();
    commit_simple(&mut broker, &[(place("t", 1), 42), (place("s", 0), 7)]);
    broker.restart();
    let all = fetch(&mut broker, None);
    assert_eq!(
        all.iter()
            .map(|found| found.partition.to_string())
            .collect::<Vec<_>>(),
        ["s-0", "t-1"]
    );
    let expected = FetchedOffset {
        partition: place("t", 1),
        offset: Offset(42),
        leader_epoch: LeaderEpoch(3),
        metadata: Arc::from("note"),
    };
    assert_eq!(fetch(&mut broker, Some(vec![place("t", 1)])), [expected]);
}

#[test]
fn what_was_never_committed_is_no_error() {
    let mut broker = Broker::eager();
    let none = FetchedOffset {
        partition: place("t", 1),
        offset: Offset::NONE,
        leader_epoch: LeaderEpoch::NONE,
        metadata: Arc::from(""),
    };
    assert_eq!(
        fetch(&mut broker, Some(vec![place("t", 1)])),
        std::slice::from_ref(&none)
    );
    assert_eq!(fetch(&mut broker, None), []);
    commit_simple(&mut broker, &[(place("t", 0), 1)]);
    assert_eq!(fetch(&mut broker, Some(vec![place("t", 1)])), [none]);
}

#[test]
fn a_member_commits_in_its_generation() {
    let mut broker = Broker::eager();
    let offsets = [(place("t", 0), 5)];
    let unknown = broker.ask(GroupCommand::CommitOffsets(commit("x", 3, &offsets)));
    assert!(matches!(unknown, Err(GroupError::GroupIdNotFound { .. })));
    let ids = broker.stable_group(1);
    let try_it = |broker: &mut Broker, id: &str, generation| {
        broker.ask(GroupCommand::CommitOffsets(commit(
            id, generation, &offsets,
        )))
    };
    assert!(try_it(&mut broker, ids[0].as_str(), 1).is_ok());
    assert!(matches!(
        try_it(&mut broker, ids[0].as_str(), 2),
        Err(GroupError::IllegalGeneration { .. })
    ));
    assert!(is_unknown(&try_it(&mut broker, "x", 1)));
    assert!(
        is_unknown(&try_it(&mut broker, "", -1)),
        "a tool must wait until the group is empty"
    );
    broker.enter(consumer());
    assert!(
        try_it(&mut broker, ids[0].as_str(), 1).is_ok(),
        "a member may commit while it is asked to rejoin"
    );
    broker.enter(rejoin(&ids[0]));
    let generation = broker.generation();
    assert!(is_rebalancing(&try_it(
        &mut broker,
        ids[0].as_str(),
        generation
    )));
    let everyone: Vec<MemberId> = broker
        .describe()
        .members
        .into_iter()
        .map(|member| member.member_id)
        .collect();
    broker
        .ask(leave(&everyone.iter().collect::<Vec<_>>()))
        .unwrap();
    assert!(try_it(&mut broker, "", -1).is_ok());
}

#[test]
fn long_metadata_fails_its_own_offset_only() {
    let mut broker = Broker::eager();
    let mut command = commit(
        "",
        -1,
        &[(place("t", 0), 1), (place("t", 1), 2), (place("t", 2), 3)],
    );
    command.offsets[1].metadata = Arc::from("x".repeat(4_097));
    // Two bytes, one character: Kafka counts the latter.
    command.offsets[2].metadata = Arc::from("ä".repeat(4_096));
    let Ok(GroupReply::OffsetsCommitted(results)) =
        broker.ask(GroupCommand::CommitOffsets(command))
    else {
        panic!("refused");
    };
    assert_eq!(results[0], Ok(()));
    assert_eq!(
        results[1],
        Err(GroupError::OffsetMetadataTooLarge {
            length: 4_097,
            max: 4_096
        })
    );
    assert_eq!(results[2], Ok(()));
    assert_eq!(fetch(&mut broker, None).len(), 2);
}

#[test]
fn a_commit_that_fits_no_batch_is_refused_and_nothing_of_it_is_stored() {
    let mut broker = Broker::new(GroupConfig {
        record_bytes_max: 1_000,
        ..GroupConfig::default()
    });
    let offsets: Vec<_> = (0..20).map(|number| (place("topic", number), 1)).collect();
    let refused = broker.ask(GroupCommand::CommitOffsets(commit("", -1, &offsets)));
    let expected = GroupError::CommitTooLarge {
        group: GroupId::from("g"),
        count: 20,
        max: 1_000,
    };
    assert_eq!(refused, Err(expected));
    assert!(fetch(&mut broker, None).is_empty());
    let fits = broker.ask(GroupCommand::CommitOffsets(commit("", -1, &offsets[..13])));
    assert!(fits.is_ok());
    assert_eq!(fetch(&mut broker, None).len(), 13);
}

#[test]
fn offsets_in_use_are_not_removed() {
    let mut broker = Broker::eager();
    let delete = |broker: &mut Broker, topic: &str| {
        let (group, partitions) = (GroupId::from("g"), vec![place(topic, 0)]);
        broker.ask(GroupCommand::DeleteOffsets(DeleteOffsets {
            group,
            partitions,
        }))
    };
    assert!(matches!(
        delete(&mut broker, "t"),
        Err(GroupError::GroupIdNotFound { .. })
    ));
    let ids = broker.stable_group(1);
    let offsets = [(place("t", 0), 1), (place("old", 0), 2)];
    broker
        .ask(GroupCommand::CommitOffsets(commit(
            ids[0].as_str(),
            1,
            &offsets,
        )))
        .unwrap();
    let refused = delete(&mut broker, "t");
    assert!(
        matches!(refused, Ok(GroupReply::OffsetsDeleted(results)) if matches!(results[..], [Err(GroupError::SubscribedToTopic { .. })]))
    );
    assert_eq!(
        delete(&mut broker, "old"),
        Ok(GroupReply::OffsetsDeleted(vec![Ok(())]))
    );
    assert_eq!(
        delete(&mut broker, "never"),
        Ok(GroupReply::OffsetsDeleted(vec![Ok(())]))
    );
    assert_eq!(fetch(&mut broker, None).len(), 1);
}

#[test]
fn a_group_of_another_protocol_keeps_its_offsets_while_it_lives() {
    let mut broker = Broker::eager();
    let ticket = broker.enter(Join {
        protocol_type: Arc::from("connect"),
        ..consumer()
    });
    broker.joined(ticket);
    let (group, partitions) = (GroupId::from("g"), vec![place("t", 0)]);
    let refused = broker.ask(GroupCommand::DeleteOffsets(DeleteOffsets {
        group,
        partitions,
    }));
    assert!(matches!(refused, Err(GroupError::NonEmptyGroup { .. })));
}

#[test]
fn unreadable_subscriptions_keep_all_offsets() {
    let mut broker = Broker::eager();
    let garbage = Protocol {
        name: Arc::from("range"),
        metadata: Bytes::from_static(b"garbage"),
    };
    let ticket = broker.enter(Join {
        protocols: vec![garbage],
        ..consumer()
    });
    let id = broker.joined(ticket).member_id;
    broker.settle(&[id], &[]);
    let (group, partitions) = (GroupId::from("g"), vec![place("t", 0)]);
    let refused = broker.ask(GroupCommand::DeleteOffsets(DeleteOffsets {
        group,
        partitions,
    }));
    assert!(matches!(refused, Ok(GroupReply::OffsetsDeleted(results)) if results[0].is_err()));
}

#[test]
fn offsets_of_deleted_topics_are_forgotten() {
    // Fewer than the group has offsets in, and more.
    for deleted in [["t"].as_slice(), &["q", "r", "s", "t"]] {
        let mut broker = Broker::eager();
        commit_simple(
            &mut broker,
            &[(place("t", 0), 1), (place("t", 1), 1), (place("u", 0), 1)],
        );
        forget(&mut broker, deleted, Timestamp(i64::MAX));
        broker.restart();
        let left = fetch(&mut broker, None);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].partition, place("u", 0));
    }
}

fn forget(broker: &mut Broker, topics: &[&str], deleted: Timestamp) {
    let topics = topics.iter().map(|topic| (topic.parse().unwrap(), deleted));
    let topics = Arc::new(topics.collect());
    assert_eq!(
        broker.ask(GroupCommand::ForgetTopics { topics }),
        Ok(GroupReply::TopicsForgotten)
    );
}

#[test]
fn offsets_that_were_committed_after_a_topic_was_deleted_are_of_another() {
    for topics in [["t"].as_slice(), &["q", "r", "s", "t"]] {
        let mut broker = Broker::eager();
        commit_simple(
            &mut broker,
            &[(place("t", 0), 1), (place("t", 1), 1), (place("u", 0), 1)],
        );
        let deleted = broker.now.wall;
        broker.pass(Duration::from_millis(1));
        commit_simple(&mut broker, &[(place("t", 1), 2)]);
        forget(&mut broker, topics, deleted);
        let left = fetch(&mut broker, None).into_iter();
        let left: Vec<_> = left.map(|offset| offset.partition).collect();
        assert_eq!(left, [place("t", 1), place("u", 0)]);
    }
}

#[test]
fn offsets_of_a_group_without_members_expire_with_their_commit() {
    let mut broker = Broker::eager();
    commit_simple(&mut broker, &[(place("t", 0), 1)]);
    broker.pass(seconds(3 * DAY));
    commit_simple(&mut broker, &[(place("t", 1), 1)]);
    broker.pass(seconds(4 * DAY + 601));
    assert_eq!(fetch(&mut broker, None).len(), 1);
    broker.pass(seconds(3 * DAY));
    let group = GroupId::from("g");
    let gone = broker.ask(GroupCommand::DescribeGroup {
        group: group.clone(),
    });
    assert_eq!(gone, Err(GroupError::GroupIdNotFound { group }));
}

#[test]
fn offsets_of_a_group_expire_after_its_members_have_left() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(1);
    broker
        .ask(GroupCommand::CommitOffsets(commit(
            ids[0].as_str(),
            1,
            &[(place("t", 0), 1)],
        )))
        .unwrap();
    stay(&mut broker, &ids[0], 1, 8 * 60);
    broker.pass(seconds(6 * DAY));
    assert_eq!(broker.state(), GroupState::Empty);
    commit_simple(&mut broker, &[(place("t", 1), 1)]);
    broker.pass(seconds(DAY + 700));
    let left = fetch(&mut broker, None);
    assert_eq!(
        left.len(),
        1,
        "a later commit of a tool is not lost with the others"
    );
    broker.pass(seconds(7 * DAY));
    assert_eq!(fetch(&mut broker, None), []);
    assert_eq!(
        broker.runtime.machine().stored(),
        &Stored::default(),
        "the group itself is removed too"
    );
}

#[test]
fn offsets_of_subscribed_topics_do_not_expire() {
    let mut broker = Broker::new(GroupConfig {
        offsets_retention_ms: 60_000,
        offsets_retention_check_interval: seconds(10),
        initial_rebalance_delay: Duration::ZERO,
        ..GroupConfig::default()
    });
    let ids = broker.stable_group(1);
    let offsets = [(place("t", 0), 1), (place("old", 0), 2)];
    broker
        .ask(GroupCommand::CommitOffsets(commit(
            ids[0].as_str(),
            1,
            &offsets,
        )))
        .unwrap();
    stay(&mut broker, &ids[0], 1, 120);
    let left: Vec<String> = fetch(&mut broker, None)
        .iter()
        .map(|found| found.partition.to_string())
        .collect();
    assert_eq!(left, ["t-0"]);
}

#[test]
fn an_old_client_sets_the_retention_itself() {
    let mut broker = Broker::eager();
    let command = CommitOffsets {
        retention_ms: Some(1_000_000),
        ..commit("", -1, &[(place("t", 0), 1)])
    };
    broker.ask(GroupCommand::CommitOffsets(command)).unwrap();
    broker.restart();
    broker.pass(seconds(900));
    assert_eq!(fetch(&mut broker, None).len(), 1);
    broker.pass(seconds(900));
    assert_eq!(fetch(&mut broker, None), []);
}

#[test]
fn expiry_of_very_many_offsets_takes_several_turns() {
    let mut broker = Broker::eager();
    for group in 0..30 {
        let offsets: Vec<_> = (0..100)
            .map(|partition| (place("t", partition), 1))
            .collect();
        let mut command = commit("", -1, &offsets);
        command.group = GroupId::from(format!("g{group}").as_str());
        broker.ask(GroupCommand::CommitOffsets(command)).unwrap();
    }
    broker.turn_to(broker.now.monotonic.after(seconds(8 * DAY)));
    let effects = broker.runtime.tick(broker.now);
    assert_eq!(effects.appends.len(), 1);
    assert_eq!(effects.appends[0].records.len(), 1_000);
    broker.absorb(effects);
    broker.pass(Duration::from_millis(1));
    assert_eq!(
        broker
            .runtime
            .machine()
            .stored()
            .count_offsets(&GroupId::from("g9")),
        100
    );
    broker.pass(Duration::from_millis(1));
    assert_eq!(broker.runtime.machine().stored(), &Stored::default());
}

/// One decision may bring more than a batch holds.
#[test]
fn a_group_with_very_many_offsets_is_deleted_in_several_appends() {
    let mut broker = Broker::eager();
    let name = "g".repeat(30_000);
    for partition in 0..100 {
        let mut command = commit("", -1, &[(place("t", partition), 1)]);
        command.group = GroupId::from(name.as_str());
        broker.ask(GroupCommand::CommitOffsets(command)).unwrap();
    }
    broker.tickets += 1;
    let ticket = ReplyTicket(broker.tickets);
    let group = GroupId::from(name.as_str());
    let effects = broker
        .runtime
        .submit(ticket, GroupCommand::DeleteGroup { group }, broker.now);
    assert_eq!(effects.appends.len(), 3);
    for append in &effects.appends {
        let length: usize = append
            .records
            .iter()
            .map(CoordinatorRecord::length_max)
            .sum();
        assert!(length <= GroupConfig::default().record_bytes_max);
    }
    broker.absorb(effects);
    assert_eq!(broker.answer(ticket.0), Ok(GroupReply::GroupDeleted));
    broker.restart();
    assert_eq!(broker.runtime.machine().stored(), &Stored::default());
}

/// Each would be another tombstone, with the group's name in it.
#[test]
fn an_offset_that_is_deleted_many_times_at_once_is_deleted_once() {
    let mut broker = Broker::eager();
    let offsets = [(place("t", 0), 1)];
    let command = GroupCommand::CommitOffsets(commit("", -1, &offsets));
    broker.ask(command).unwrap();
    let before = broker.log.len();
    let (group, partitions) = (GroupId::from("g"), vec![place("t", 0); 1_000]);
    let deleted = broker.ask(GroupCommand::DeleteOffsets(DeleteOffsets {
        group,
        partitions,
    }));
    assert_eq!(deleted, Ok(GroupReply::OffsetsDeleted(vec![Ok(()); 1_000])));
    assert_eq!(broker.log.len() - before, 1);
}
