//! From the first join to a stable group and round again (SEMANTICS 45).

use super::*;

#[test]
fn a_first_rebalance_waits_for_more_members() {
    let mut broker = Broker::new(GroupConfig::default());
    let first = broker.enter(consumer());
    broker.pass(seconds(2));
    assert!(broker.waits(first));
    let second = broker.enter(consumer());
    broker.pass(seconds(2));
    assert!(
        broker.waits(first),
        "somebody came, so the delay runs once more"
    );
    broker.pass(seconds(2));
    assert_eq!(broker.joined(first).members.len(), 2);
    assert_eq!(
        broker.joined(second).members.len(),
        0,
        "only the leader is told the members"
    );
    assert_eq!(broker.joined(second).leader, broker.joined(first).member_id);
}

#[test]
fn the_first_delay_ends_with_the_rebalance_timeout() {
    let mut broker = Broker::new(GroupConfig::default());
    let join = || Join {
        rebalance_timeout_ms: 7_000,
        ..consumer()
    };
    let first = broker.enter(join());
    for _ in 0..4 {
        broker.pass(seconds(2));
        broker.enter(join());
    }
    assert!(!broker.waits(first), "eight seconds are more than seven");
}

#[test]
fn everyone_gets_what_the_leader_says_and_the_forgotten_get_nothing() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(3);
    broker.enter(rejoin(&ids[0]));
    broker.enter(rejoin(&ids[1]));
    broker.enter(rejoin(&ids[2]));
    let tickets = broker.settle(&ids, &[ids[1].clone()]);
    assert_eq!(broker.assignment(tickets[0]), ids[0].to_string());
    assert_eq!(broker.assignment(tickets[1]), "");
    assert_eq!(broker.assignment(tickets[2]), ids[2].to_string());
    broker.restart();
    assert_eq!(broker.state(), GroupState::Stable);
    let ticket = broker.send(GroupCommand::Sync(sync(&ids[2], 4, Vec::new())));
    assert_eq!(
        broker.assignment(ticket),
        ids[2].to_string(),
        "the assignment survives a restart"
    );
}

#[test]
fn a_sync_that_does_not_belong_is_refused() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(1);
    let refused =
        |broker: &mut Broker, sync: Sync| broker.ask(GroupCommand::Sync(sync)).unwrap_err();
    let stranger = sync(&MemberId::from("x"), 1, Vec::new());
    assert!(matches!(
        refused(&mut broker, stranger),
        GroupError::UnknownMember { .. }
    ));
    let old = sync(&ids[0], 0, Vec::new());
    assert!(matches!(
        refused(&mut broker, old),
        GroupError::IllegalGeneration { .. }
    ));
    let other = Sync {
        protocol: Some(Arc::from("sticky")),
        ..sync(&ids[0], 1, Vec::new())
    };
    assert!(matches!(
        refused(&mut broker, other),
        GroupError::InconsistentProtocol { .. }
    ));
    let other = Sync {
        protocol_type: Some(Arc::from("connect")),
        ..sync(&ids[0], 1, Vec::new())
    };
    assert!(matches!(
        refused(&mut broker, other),
        GroupError::InconsistentProtocol { .. }
    ));
    broker.enter(consumer());
    let late = sync(&ids[0], 1, Vec::new());
    assert!(matches!(
        refused(&mut broker, late),
        GroupError::RebalanceInProgress { .. }
    ));
}

#[test]
fn the_protocol_is_one_that_all_support_and_most_prefer() {
    let mut broker = Broker::new(GroupConfig::default());
    let both = |first: &str, second: &str| vec![protocol(first, "t"), protocol(second, "t")];
    let join = |protocols| Join {
        protocols,
        ..consumer()
    };
    let first = broker.enter(join(both("range", "sticky")));
    broker.enter(join(both("sticky", "range")));
    let mut three = both("other", "sticky");
    three.push(protocol("range", "t"));
    broker.enter(join(three));
    broker.pass(seconds(10));
    assert_eq!(&*broker.joined(first).protocol, "sticky");
}

#[test]
fn a_follower_that_says_nothing_new_disturbs_nobody() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    let ticket = broker.enter(rejoin(&ids[1]));
    let joined = broker.joined(ticket);
    assert_eq!(
        (joined.generation, joined.skip_assignment),
        (GenerationId(2), false)
    );
    assert_eq!(broker.state(), GroupState::Stable);
}

#[test]
fn a_leader_that_joins_again_wants_a_rebalance() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    let ticket = broker.enter(rejoin(&ids[0]));
    assert!(broker.waits(ticket));
    broker.enter(rejoin(&ids[1]));
    assert_eq!(broker.joined(ticket).generation, GenerationId(3));
}

#[test]
fn a_changed_subscription_wants_a_rebalance() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    let ticket = broker.enter(Join {
        protocols: vec![protocol("range", "other")],
        ..rejoin(&ids[1])
    });
    assert!(broker.waits(ticket));
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
}

#[test]
fn cooperative_members_get_two_generations_in_a_row() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    for generation in [3, 4] {
        let tickets: Vec<u64> = ids.iter().map(|id| broker.enter(rejoin(id))).collect();
        assert_eq!(
            broker.joined(tickets[0]).generation,
            GenerationId(generation)
        );
        broker.settle(&ids, &[]);
    }
}

#[test]
fn who_does_not_join_in_time_is_dropped() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    let ticket = broker.enter(rejoin(&ids[0]));
    for _ in 0..12 {
        broker.pass(seconds(5));
        broker.ask(heartbeat(&ids[1], 2)).unwrap_err();
    }
    let joined = broker.joined(ticket);
    assert_eq!(
        joined.members.len(),
        1,
        "heartbeats do not save one who does not rejoin"
    );
}

#[test]
fn who_does_not_sync_in_time_is_dropped() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    for id in &ids {
        broker.enter(rejoin(id));
    }
    let generation = broker.generation();
    broker
        .ask(GroupCommand::Sync(sync(&ids[0], generation, Vec::new())))
        .unwrap();
    for _ in 0..13 {
        broker.pass(seconds(5));
        for id in &ids {
            let _ = broker.ask(heartbeat(id, generation));
        }
    }
    assert!(is_unknown(&broker.ask(heartbeat(&ids[1], generation))));
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_newcomer_during_the_sync_sends_all_back_to_join() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    for id in &ids {
        broker.enter(rejoin(id));
    }
    let generation = broker.generation();
    let waiting = broker.send(GroupCommand::Sync(sync(&ids[1], generation, Vec::new())));
    assert!(broker.waits(waiting));
    broker.enter(consumer());
    assert!(is_rebalancing(&broker.answer(waiting)));
}

#[test]
fn a_repeated_join_takes_the_place_of_the_parked_one() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    let first = broker.enter(rejoin(&ids[0]));
    let second = broker.enter(rejoin(&ids[0]));
    assert!(matches!(
        broker.answer(first),
        Err(GroupError::Superseded { .. })
    ));
    broker.enter(rejoin(&ids[1]));
    assert_eq!(broker.joined(second).generation, GenerationId(3));
}

#[test]
fn an_assignment_that_fits_no_record_is_refused() {
    let mut broker = Broker::new(GroupConfig {
        record_bytes_max: 1_000,
        initial_rebalance_delay: Duration::ZERO,
        ..GroupConfig::default()
    });
    let ticket = broker.enter(consumer());
    let id = broker.joined(ticket).member_id;
    let plan = vec![(id.clone(), Bytes::from(vec![0; 1_000]))];
    let refused = broker.ask(GroupCommand::Sync(sync(&id, 1, plan)));
    assert!(matches!(
        refused,
        Err(GroupError::GroupRecordTooLarge { max: 1_000, .. })
    ));
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
}

#[test]
fn loaded_members_get_a_fresh_session() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(2);
    broker.pass(seconds(9));
    broker.restart();
    broker.pass(seconds(9));
    assert_eq!(broker.ask(heartbeat(&ids[0], 2)), Ok(GroupReply::Heartbeat));
    broker.pass(seconds(2));
    assert_eq!(
        broker.state(),
        GroupState::PreparingRebalance,
        "the other was silent for eleven seconds"
    );
}

#[test]
fn a_group_above_a_lowered_limit_shrinks_after_loading() {
    let mut broker = Broker::eager();
    let ids = broker.stable_group(3);
    let log = std::mem::take(&mut broker.log);
    let config = GroupConfig {
        size_max: 2,
        initial_rebalance_delay: Duration::ZERO,
        ..GroupConfig::default()
    };
    let mut broker = Broker::new(config);
    broker.log = log;
    broker.restart();
    assert_eq!(broker.state(), GroupState::PreparingRebalance);
    let tickets: Vec<u64> = ids.iter().map(|id| broker.enter(rejoin(id))).collect();
    assert!(matches!(
        broker.answer(tickets[2]),
        Err(GroupError::GroupMaxSizeReached { .. })
    ));
    assert_eq!(broker.joined(tickets[0]).members.len(), 2);
}
