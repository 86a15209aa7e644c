//! Joining, staying alive, leaving (SEMANTICS 44, 46, 50, 51).

use super::*;

#[test]
fn a_new_member_joins_in_two_steps() {
    let mut broker = Broker::eager();
    let refused = broker.ask(GroupCommand::Join(consumer()));
    let Err(GroupError::MemberIdRequired { member_id }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        member_id.as_str(),
        "app-00000000-0000-4000-8000-000000000001"
    );
    let ticket = broker.send(GroupCommand::Join(rejoin(&member_id)));
    let joined = broker.joined(ticket);
    assert_eq!(
        (joined.generation, &joined.leader),
        (GenerationId(1), &member_id)
    );
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn a_client_of_before_the_two_steps_joins_at_once() {
    let mut broker = Broker::eager();
    let ticket = broker.send(GroupCommand::Join(Join {
        requires_known_member_id: false,
        ..consumer()
    }));
    assert_eq!(broker.joined(ticket).generation, GenerationId(1));
}

#[test]
fn a_reserved_id_lasts_one_session() {
    let mut broker = Broker::eager();
    let Err(GroupError::MemberIdRequired { member_id }) =
        broker.ask(GroupCommand::Join(consumer()))
    else {
        panic!("no id");
    };
    broker.pass(seconds(11));
    assert!(is_unknown(
        &broker.ask(GroupCommand::Join(rejoin(&member_id)))
    ));
    let group = GroupId::from("g");
    let gone = broker.ask(GroupCommand::DescribeGroup {
        group: group.clone(),
    });
    assert_eq!(
        gone,
        Err(GroupError::GroupIdNotFound { group }),
        "nothing is left of the group"
    );
    assert_eq!(broker.log, []);
}

#[test]
fn ids_that_nobody_joins_with_are_limited_until_their_sessions_are_over() {
    let mut broker = Broker::eager();
    let mut join = || {
        broker.ask(GroupCommand::Join(Join {
            random: u128::from(broker.tickets) << 80,
            ..consumer()
        }))
    };
    for _ in 0..10_000 {
        let given = join();
        assert!(matches!(given, Err(GroupError::MemberIdRequired { .. })));
    }
    let refused = join();
    assert!(
        matches!(refused, Err(GroupError::TooManyReserved { .. })),
        "{refused:?}"
    );
    broker.pass(seconds(11));
    let ticket = broker.enter(consumer());
    assert_eq!(broker.joined(ticket).members.len(), 1);
}

#[test]
fn impossible_joins_are_refused() {
    let mut broker = Broker::eager();
    let mut refusal = |join: Join| broker.ask(GroupCommand::Join(join)).unwrap_err();
    let no_group = refusal(Join {
        group: GroupId::from(""),
        ..consumer()
    });
    assert_eq!(no_group, GroupError::GroupIdInvalid);
    for session_timeout_ms in [-1, 5_999, 1_800_001] {
        let refused = refusal(Join {
            session_timeout_ms,
            ..consumer()
        });
        assert!(matches!(refused, GroupError::InvalidSessionTimeout { .. }));
    }
    let refused = refusal(Join {
        protocols: Vec::new(),
        ..consumer()
    });
    assert!(matches!(refused, GroupError::InconsistentProtocol { .. }));
    let refused = refusal(Join {
        protocol_type: Arc::from(""),
        ..consumer()
    });
    assert!(matches!(refused, GroupError::InconsistentProtocol { .. }));
    assert!(matches!(
        refusal(rejoin(&MemberId::from("x"))),
        GroupError::UnknownMember { .. }
    ));
    let refused = refusal(Join {
        client_id: Arc::from("x".repeat(32_001)),
        ..consumer()
    });
    assert!(matches!(
        refused,
        GroupError::TextTooLong {
            what: "client id",
            ..
        }
    ));
}

#[test]
fn a_member_of_another_kind_is_refused() {
    let mut broker = Broker::eager();
    broker.stable_group(1);
    let mut refusal = |join: Join| broker.ask(GroupCommand::Join(join)).unwrap_err();
    let refused = refusal(Join {
        protocol_type: Arc::from("connect"),
        ..consumer()
    });
    assert!(matches!(refused, GroupError::InconsistentProtocol { .. }));
    let refused = refusal(Join {
        protocols: vec![protocol("sticky", "t")],
        ..consumer()
    });
    assert!(matches!(refused, GroupError::InconsistentProtocol { .. }));
}

#[test]
fn a_full_group_takes_nobody_in() {
    let mut broker = Broker::new(GroupConfig {
        size_max: 1,
        initial_rebalance_delay: Duration::ZERO,
        ..GroupConfig::default()
    });
    broker.stable_group(1);
    let refused = broker.ask(GroupCommand::Join(consumer()));
    assert!(matches!(
        refused,
        Err(GroupError::GroupMaxSizeReached { max: 1, .. })
    ));
}

#[test]
fn a_heartbeat_says_where_the_group_stands() {
    let mut broker = Broker::eager();
    let nobody = MemberId::from("x");
    assert!(is_unknown(&broker.ask(heartbeat(&nobody, 1))));
    let ticket = broker.enter(consumer());
    let id = broker.joined(ticket).member_id;
    assert_eq!(broker.state(), GroupState::CompletingRebalance);
    assert_eq!(broker.ask(heartbeat(&id, 1)), Ok(GroupReply::Heartbeat));
    broker.settle(std::slice::from_ref(&id), &[]);
    assert_eq!(broker.ask(heartbeat(&id, 1)), Ok(GroupReply::Heartbeat));
    assert!(is_unknown(&broker.ask(heartbeat(&nobody, 1))));
    let (requested, current) = (GenerationId(0), GenerationId(1));
    let refused = broker.ask(heartbeat(&id, 0));
    assert_eq!(
        refused,
        Err(GroupError::IllegalGeneration { requested, current })
    );
    broker.enter(consumer());
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
    assert!(is_rebalancing(&broker.ask(heartbeat(&id, 1))));
    let GroupCommand::Heartbeat(beat) = heartbeat(&id, 1) else {
        unreachable!()
    };
    let refused = broker.ask(GroupCommand::Heartbeat(Heartbeat {
        group: GroupId::from(""),
        ..beat
    }));
    assert_eq!(refused, Err(GroupError::GroupIdInvalid));
}

#[test]
fn a_silent_member_is_dropped_after_its_session() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    for _ in 0..4 {
        broker.pass(seconds(4));
        let _ = broker.ask(heartbeat(&ids[0], 2));
    }
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
    let ticket = broker.enter(rejoin(&ids[0]));
    assert_eq!(broker.joined(ticket).members.len(), 1);
    assert!(is_unknown(&broker.ask(heartbeat(&ids[1], 2))));
}

#[test]
fn a_heartbeat_a_commit_and_a_sync_all_keep_a_member_alive() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(1);
    broker.pass(seconds(9));
    broker
        .ask(GroupCommand::CommitOffsets(commit(ids[0].as_str(), 1, &[])))
        .unwrap();
    broker.pass(seconds(9));
    broker
        .ask(GroupCommand::Sync(sync(&ids[0], 1, Vec::new())))
        .unwrap();
    broker.pass(seconds(9));
    assert_eq!(broker.ask(heartbeat(&ids[0], 1)), Ok(GroupReply::Heartbeat));
    broker.pass(seconds(11));
    assert_eq!(broker.state(), GroupState::Empty);
}

#[test]
fn members_leave_together_and_each_is_told() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(3);
    let stranger = MemberId::from("x");
    let left = broker.ask(leave(&[&ids[1], &stranger, &ids[2]]));
    let Ok(GroupReply::Left(results)) = left else {
        panic!("{left:?}");
    };
    assert_eq!(results.len(), 3);
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(matches!(results[1], Err(GroupError::UnknownMember { .. })));
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_group_is_empty_when_the_last_has_left() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(1);
    broker.ask(leave(&[&ids[0]])).unwrap();
    let description = broker.describe();
    assert_eq!(description.state, GroupState::Empty);
    assert_eq!(&*description.protocol_type, "consumer");
    broker.restart();
    assert_eq!(broker.state(), GroupState::Empty);
    assert_eq!(broker.generation(), 2);
}

#[test]
fn somebody_who_reserved_an_id_leaves_without_a_rebalance() {
    let mut broker = Broker::eager();
    broker.stable_group(1);
    let Err(GroupError::MemberIdRequired { member_id }) =
        broker.ask(GroupCommand::Join(consumer()))
    else {
        panic!("no id");
    };
    broker.ask(leave(&[&member_id])).unwrap();
    assert_eq!(broker.state(), GroupState::Stable);
    assert!(is_unknown(
        &broker.ask(GroupCommand::Join(rejoin(&member_id)))
    ));
}

#[test]
fn a_stable_group_is_described_in_full() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(1);
    let described = broker.describe();
    assert_eq!(
        (described.state.name(), &*described.protocol),
        ("Stable", "range")
    );
    let member = &described.members[0];
    assert_eq!(member.member_id, ids[0]);
    assert_eq!(
        (&*member.client_id, &*member.client_host),
        ("app", "/127.0.0.1")
    );
    assert_eq!(member.assignment, ids[0].to_string());
    assert_eq!(member.metadata, protocol("range", "t").metadata);
    broker.enter(consumer());
    let described = broker.describe();
    assert_eq!(
        (described.state.name(), &*described.protocol),
        ("PreparingRebalance", "")
    );
    assert_eq!(described.members[0].assignment, "");
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut broker = Broker::eager();
    broker.stable_group(1);
    let mut simple = commit("", -1, &[(place("t", 0), 1)]);
    simple.group = GroupId::from("a");
    broker.ask(GroupCommand::CommitOffsets(simple)).unwrap();
    let mut names = |filter: ListGroups| match broker.ask(GroupCommand::ListGroups(filter)) {
        Ok(GroupReply::Listed(groups)) => groups
            .into_iter()
            .map(|listed| (listed.group.to_string(), listed.protocol_type.to_string()))
            .collect(),
        other => panic!("{other:?}"),
    };
    let names: &mut dyn FnMut(ListGroups) -> Vec<(String, String)> = &mut names;
    let (simple, stable) = (
        ("a".to_owned(), String::new()),
        ("g".to_owned(), "consumer".to_owned()),
    );
    assert_eq!(names(ListGroups::default()), [simple, stable.clone()]);
    let states = Some(GroupState::parse("stable").into_iter().collect());
    assert_eq!(
        names(ListGroups {
            states,
            types: None
        }),
        [stable]
    );
    let types = Some(GroupType::parse("share").into_iter().collect());
    assert_eq!(
        names(ListGroups {
            states: None,
            types
        }),
        [],
        "a filter of unknown names lists nothing"
    );
}

#[test]
fn only_an_empty_group_is_deleted() {
    let mut broker = Broker::eager();
    let group = GroupId::from("g");
    let delete = GroupCommand::DeleteGroup {
        group: group.clone(),
    };
    let not_found = Err(GroupError::GroupIdNotFound {
        group: group.clone(),
    });
    assert_eq!(broker.ask(delete.clone()), not_found);
    let ids = broker.stable_group(1);
    broker
        .ask(GroupCommand::CommitOffsets(commit(
            ids[0].as_str(),
            1,
            &[(place("t", 0), 5)],
        )))
        .unwrap();
    assert_eq!(
        broker.ask(delete.clone()),
        Err(GroupError::NonEmptyGroup {
            group: group.clone()
        })
    );
    broker.ask(leave(&[&ids[0]])).unwrap();
    assert_eq!(broker.ask(delete.clone()), Ok(GroupReply::GroupDeleted));
    broker.restart();
    assert_eq!(broker.ask(delete), not_found);
    assert_eq!(broker.runtime.machine().stored(), &Stored::default());
}

#[test]
fn answers_wait_for_the_disk_and_heartbeats_do_not() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(1);
    broker.holds_commits = true;
    let offsets = [(place("t", 0), 5)];
    let committed = broker.send(GroupCommand::CommitOffsets(commit(
        ids[0].as_str(),
        1,
        &offsets,
    )));
    let described = broker.send(GroupCommand::DescribeGroup {
        group: GroupId::from("g"),
    });
    assert!(broker.waits(committed) && broker.waits(described));
    assert_eq!(broker.ask(heartbeat(&ids[0], 1)), Ok(GroupReply::Heartbeat));
    broker.commit();
    assert!(!broker.waits(committed) && !broker.waits(described));
}

#[test]
fn a_failed_append_refuses_everyone_who_waits() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    let joining = broker.enter(rejoin(&ids[0]));
    broker.holds_commits = true;
    let committing = broker.send(GroupCommand::CommitOffsets(commit(
        ids[1].as_str(),
        2,
        &[(place("t", 0), 5)],
    )));
    broker.log.pop();
    broker.restart();
    assert_eq!(broker.answer(joining), Err(GroupError::NotCoordinator));
    assert_eq!(broker.answer(committing), Err(GroupError::NotCoordinator));
    assert_eq!(broker.state(), GroupState::Stable);
    assert_eq!(broker.ask(heartbeat(&ids[1], 2)), Ok(GroupReply::Heartbeat));
}

fn is_out_of_memory(outcome: &Outcome) -> bool {
    matches!(outcome, Err(GroupError::OutOfMemory { .. }))
}

#[test]
fn members_that_memory_is_short_of_are_refused_and_those_that_are_there_stay() {
    let mut broker = Broker::new(GroupConfig {
        initial_rebalance_delay: Duration::ZERO,
        memory_bytes_max: 20_000,
        ..GroupConfig::default()
    });
    let ids = broker.stable_group(1);
    let large = |client: &str, bytes: usize| {
        let mut join = consumer();
        join.group = GroupId::from(client);
        join.client_id = Arc::from(client);
        join.protocols[0].metadata = Bytes::from(vec![0; bytes]);
        join
    };
    let refused = broker.ask(GroupCommand::Join(large("too large", 20_000)));
    assert!(is_out_of_memory(&refused), "{refused:?}");
    let taken = (0..100).take_while(|number| {
        let join = large(&format!("{number:01000}"), 0);
        !is_out_of_memory(&broker.ask(GroupCommand::Join(join)))
    });
    let taken = taken.count();
    assert!((4..12).contains(&taken), "{taken} ids were given out");
    assert!(broker.runtime.machine().held_bytes() <= 20_000);
    let mut grown = rejoin(&ids[0]);
    grown.protocols[0].metadata = Bytes::from(vec![0; 10_000]);
    assert!(is_out_of_memory(&broker.ask(GroupCommand::Join(grown))));
    assert_eq!(broker.settle(&ids, &[]).len(), 1, "it rebalances as it is");
    broker.pass(seconds(11));
    let refused = broker.ask(GroupCommand::Join(large("later", 1_000)));
    assert!(
        !is_out_of_memory(&refused),
        "ids that nobody used are given up"
    );
}

#[test]
fn what_other_coordinators_hold_counts() {
    let mut broker = Broker::eager();
    let machine = broker.runtime.machine_mut();
    machine.set_elsewhere_bytes(GroupConfig::default().memory_bytes_max);
    assert!(is_out_of_memory(
        &broker.ask(GroupCommand::Join(consumer()))
    ));
    let offsets = [(place("t", 0), 1)];
    let commit = GroupCommand::CommitOffsets(commit("", -1, &offsets));
    assert!(is_out_of_memory(&broker.ask(commit.clone())));
    broker.runtime.machine_mut().set_elsewhere_bytes(0);
    assert!(broker.ask(commit.clone()).is_ok());
    let full = GroupConfig::default().memory_bytes_max;
    broker.runtime.machine_mut().set_elsewhere_bytes(full);
    assert!(broker.ask(commit).is_ok(), "it takes the place of another");
}

/// It makes room for what the members have, and none for an assignment.
#[test]
fn an_assignment_that_memory_is_short_of_is_refused() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(1);
    let ticket = broker.send(GroupCommand::Join(rejoin(&ids[0])));
    let generation = broker.joined(ticket).generation.0;
    let held = broker.runtime.machine().held_bytes();
    let left = 1_000;
    let elsewhere = GroupConfig::default().memory_bytes_max - held - left;
    broker.runtime.machine_mut().set_elsewhere_bytes(elsewhere);
    let assign = |bytes: usize| {
        let assignment = Bytes::from(vec![0; bytes]);
        GroupCommand::Sync(sync(
            &ids[0],
            generation,
            vec![(ids[0].clone(), assignment)],
        ))
    };
    let refused = broker.ask(assign(left + 1_000));
    assert!(is_out_of_memory(&refused), "{refused:?}");
}

/// Only one of them is ever stored.
#[test]
fn a_member_may_offer_protocols_that_would_not_fit_a_record_together() {
    let mut broker = Broker::new(GroupConfig {
        record_bytes_max: 1_000,
        initial_rebalance_delay: Duration::ZERO,
        ..GroupConfig::default()
    });
    let of = |name: &str, bytes| Protocol {
        name: Arc::from(name),
        metadata: Bytes::from(vec![0; bytes]),
    };
    let ticket = broker.enter(Join {
        protocols: vec![of("range", 700), of("sticky", 700)],
        ..consumer()
    });
    assert_eq!(broker.joined(ticket).generation, GenerationId(1));
    let refused = broker.ask(GroupCommand::Join(Join {
        protocols: vec![of("range", 700), of("sticky", 1_000)],
        ..consumer()
    }));
    assert!(matches!(
        refused,
        Err(GroupError::GroupRecordTooLarge { length: 1_006, .. })
    ));
}
