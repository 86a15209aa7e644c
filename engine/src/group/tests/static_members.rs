//! Members that come back under their own name (SEMANTICS 49, KIP-345).

use super::*;

/// A stable group of the instances `a` (the leader) and `b`.
fn group(broker: &mut Broker) -> Vec<MemberId> {
    let first = broker.enter(instance("a"));
    let first = broker.joined(first).member_id;
    broker.settle(std::slice::from_ref(&first), &[]);
    let second = broker.enter(instance("b"));
    broker.enter(Join {
        member_id: first.clone(),
        ..instance("a")
    });
    let second = broker.joined(second).member_id;
    let ids = vec![first, second];
    broker.settle(&ids, &[]);
    ids
}

#[test]
fn a_restarted_follower_keeps_its_assignment() {
    let mut broker = Broker::eager();
    let ids = group(&mut broker);
    let ticket = broker.enter(instance("b"));
    let joined = broker.joined(ticket);
    assert_eq!(
        (joined.generation, joined.skip_assignment),
        (GenerationId(2), false)
    );
    assert_ne!(joined.member_id, ids[1]);
    assert_eq!(broker.state(), GroupState::Stable);
    let ticket = broker.send(GroupCommand::Sync(sync(&joined.member_id, 2, Vec::new())));
    assert_eq!(broker.assignment(ticket), ids[1].to_string());
    broker.restart();
    assert_eq!(
        broker.ask(heartbeat(&joined.member_id, 2)),
        Ok(GroupReply::Heartbeat),
        "the new id is recorded"
    );
}

#[test]
fn a_restarted_leader_skips_the_assignment() {
    let mut broker = Broker::eager();
    group(&mut broker);
    let ticket = broker.enter(instance("a"));
    let joined = broker.joined(ticket);
    assert!(joined.skip_assignment);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.members.len(), 2);
}

#[test]
fn a_restarted_leader_that_cannot_skip_is_told_another_leads() {
    let mut broker = Broker::eager();
    let ids = group(&mut broker);
    let ticket = broker.enter(Join {
        supports_skip_assignment: false,
        ..instance("a")
    });
    let joined = broker.joined(ticket);
    assert_eq!((&joined.leader, joined.skip_assignment), (&ids[0], false));
    assert_eq!(joined.members, []);
}

#[test]
fn the_former_holder_of_an_instance_is_fenced() {
    let mut broker = Broker::eager();
    let ids = group(&mut broker);
    broker.enter(instance("b"));
    let GroupCommand::Heartbeat(beat) = heartbeat(&ids[1], 2) else {
        unreachable!()
    };
    let fenced = |outcome: &Outcome| matches!(outcome, Err(GroupError::FencedInstanceId { .. }));
    let instance_id = Some(InstanceId::from("b"));
    assert!(fenced(&broker.ask(GroupCommand::Heartbeat(Heartbeat {
        instance_id: instance_id.clone(),
        ..beat
    }))));
    let late = Sync {
        instance_id: instance_id.clone(),
        ..sync(&ids[1], 2, Vec::new())
    };
    assert!(fenced(&broker.ask(GroupCommand::Sync(late))));
    let late = CommitOffsets {
        instance_id: instance_id.clone(),
        ..commit(ids[1].as_str(), 2, &[])
    };
    assert!(fenced(&broker.ask(GroupCommand::CommitOffsets(late))));
    let late = Join {
        member_id: ids[1].clone(),
        ..instance("b")
    };
    assert!(fenced(&broker.ask(GroupCommand::Join(late))));
    let leaver = Leaver {
        member_id: ids[1].clone(),
        instance_id,
    };
    let left = broker.ask(GroupCommand::Leave(Leave {
        group: GroupId::from("g"),
        members: vec![leaver],
    }));
    assert!(
        matches!(left, Ok(GroupReply::Left(results)) if matches!(results[..], [Err(GroupError::FencedInstanceId { .. })]))
    );
}

#[test]
fn a_duplicate_instance_fences_the_one_that_waits_to_join() {
    let mut broker = Broker::eager();
    let ids = group(&mut broker);
    let waiting = broker.enter(Join {
        member_id: ids[0].clone(),
        ..instance("a")
    });
    assert!(broker.waits(waiting));
    let twin = broker.enter(instance("a"));
    assert!(matches!(
        broker.answer(waiting),
        Err(GroupError::FencedInstanceId { .. })
    ));
    broker.enter(Join {
        member_id: ids[1].clone(),
        ..instance("b")
    });
    assert_eq!(broker.joined(twin).generation, GenerationId(3));
}

#[test]
fn a_restart_with_other_topics_rebalances() {
    let mut broker = Broker::eager();
    group(&mut broker);
    let ticket = broker.enter(Join {
        protocols: vec![protocol("range", "other")],
        ..instance("b")
    });
    assert!(broker.waits(ticket));
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_restart_with_other_notes_of_the_assignor_does_not_rebalance() {
    let mut broker = Broker::eager();
    group(&mut broker);
    let mut changed = protocol("range", "t");
    changed.metadata = Bytes::from(
        [
            &changed.metadata[..changed.metadata.len() - 4],
            b"\0\0\0\x01x",
        ]
        .concat(),
    );
    let ticket = broker.enter(Join {
        protocols: vec![changed],
        ..instance("b")
    });
    assert_eq!(broker.joined(ticket).generation, GenerationId(2));
}

#[test]
fn a_restart_while_the_leader_assigns_rebalances() {
    let mut broker = Broker::eager();
    let ids = group(&mut broker);
    broker.enter(Join {
        member_id: ids[0].clone(),
        ..instance("a")
    });
    broker.enter(Join {
        member_id: ids[1].clone(),
        ..instance("b")
    });
    assert_eq!(broker.state(), GroupState::CompletingRebalance);
    let waiting = broker.send(GroupCommand::Sync(sync(&ids[0], 3, Vec::new())));
    assert!(!broker.waits(waiting));
    broker.enter(Join {
        member_id: ids[0].clone(),
        ..instance("a")
    });
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
}

#[test]
fn an_absent_instance_is_kept_through_a_rebalance_until_its_session_ends() {
    let mut broker = Broker::eager();
    let ids = group(&mut broker);
    let ticket = broker.enter(Join {
        member_id: ids[0].clone(),
        rebalance_timeout_ms: 8_000,
        ..instance("a")
    });
    broker.pass(seconds(5));
    assert!(broker.waits(ticket));
    broker.pass(seconds(6));
    assert_eq!(
        broker.joined(ticket).members.len(),
        1,
        "its session of ten seconds is over"
    );
}

#[test]
fn an_administrator_removes_an_instance_by_its_name() {
    let mut broker = Broker::eager();
    group(&mut broker);
    let by_name = |name: &str| Leaver {
        member_id: MemberId::from(""),
        instance_id: Some(InstanceId::from(name)),
    };
    let members = vec![by_name("b"), by_name("c")];
    let left = broker.ask(GroupCommand::Leave(Leave {
        group: GroupId::from("g"),
        members,
    }));
    assert!(
        matches!(left, Ok(GroupReply::Left(results)) if matches!(results[..], [Ok(()), Err(_)]))
    );
    assert_eq!(broker.describe().members.len(), 1);
}

/// The deadline of the first phase was set anew at once, again and again, and the shard never came back.
#[test]
fn absent_instances_that_give_a_rebalance_no_time_are_waited_for_until_their_sessions_end() {
    for rebalance_timeout_ms in [0, -1] {
        let mut broker = Broker::eager();
        group(&mut broker);
        for name in ["a", "b"] {
            broker.enter(Join {
                rebalance_timeout_ms,
                ..instance(name)
            });
        }
        assert_eq!(broker.state(), GroupState::Stable);
        let leaver = Leaver {
            member_id: MemberId::from(""),
            instance_id: Some(InstanceId::from("a")),
        };
        let left = broker.ask(GroupCommand::Leave(Leave {
            group: GroupId::from("g"),
            members: vec![leaver],
        }));
        assert!(matches!(left, Ok(GroupReply::Left(_))));
        broker.pass(seconds(5));
        assert_eq!(broker.state(), GroupState::PreparingRebalance);
        broker.restart();
        broker.pass(seconds(11));
        assert_eq!(broker.state(), GroupState::Empty);
    }
}
