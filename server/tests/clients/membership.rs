//! The classic group protocol request by request: joining, syncing, heartbeats, leaving, commits.

use bytes::Bytes;
use millrace_wire::message::join_group::JoinGroupProtocol;
use millrace_wire::message::leave_group::LeaveGroupRequestMember;
use millrace_wire::message::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_wire::message::offset_fetch::OffsetFetchRequestTopic;
use millrace_wire::message::sync_group::SyncGroupAssignment;
use millrace_wire::message::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use millrace_wire::{ErrorCode, Str};

use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::wire::Wire;

const GROUP: &str = "g";

fn join(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(&[0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        }],
        ..Default::default()
    }
}

fn sync(joined: &JoinGroupResponse, assignments: &[(&str, &'static [u8])]) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments
            .iter()
            .map(|(member_id, assignment)| SyncGroupAssignment {
                member_id: (*member_id).into(),
                assignment: Bytes::from_static(assignment),
            })
            .collect(),
        ..Default::default()
    }
}

fn heartbeat(wire: &mut Wire, member_id: &Str, generation_id: i32) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: GROUP.into(),
        generation_id,
        member_id: member_id.clone(),
        ..Default::default()
    };
    wire.ask(&request, 4).error_code
}

/// Joins in the two steps of KIP-394 and waits for the generation.
fn join_alone(wire: &mut Wire) -> JoinGroupResponse {
    let first = wire.ask(&join(""), 9);
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired);
    assert!(!first.member_id.is_empty());
    let joined = wire.ask(&join(&first.member_id), 9);
    assert_eq!(joined.error_code, ErrorCode::None);
    joined
}

/// SEMANTICS 44 and 46.
#[test]
fn a_member_joins_in_two_steps_and_heartbeats_tell_the_state() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.await_coordinator(GROUP);
    let joined = join_alone(&mut wire);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(
        joined.members.len(),
        1,
        "the leader gets the list of members"
    );
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    let (id, generation) = (joined.member_id.clone(), joined.generation_id);
    // CompletingRebalance
    assert_eq!(heartbeat(&mut wire, &id, generation), ErrorCode::None);
    let synced = wire.ask(&sync(&joined, &[(&id, b"opaque")]), 5);
    assert_eq!(
        (synced.error_code, &synced.assignment[..]),
        (ErrorCode::None, &b"opaque"[..])
    );
    // Stable
    assert_eq!(heartbeat(&mut wire, &id, generation), ErrorCode::None);
    assert_eq!(
        heartbeat(&mut wire, &id, generation + 1),
        ErrorCode::IllegalGeneration
    );
    assert_eq!(
        heartbeat(&mut wire, &"stranger".into(), generation),
        ErrorCode::UnknownMemberId
    );
    let stranger = wire.ask(&join("stranger"), 9);
    assert_eq!(stranger.error_code, ErrorCode::UnknownMemberId);
    assert_eq!(&*stranger.member_id, "stranger");
}

/// SEMANTICS 45 and 46.
#[test]
fn a_second_member_makes_the_first_rejoin_and_unmentioned_members_get_nothing() {
    let broker = Broker::start(&[]);
    let mut first = Wire::connect(&broker);
    first.await_coordinator(GROUP);
    let joined = join_alone(&mut first);
    let id = joined.member_id.clone();
    first.ask(&sync(&joined, &[(&id, b"all")]), 5);

    let mut second = Wire::connect(&broker);
    let given = second.ask(&join(""), 9).member_id;
    second.send(&join(&given), 9);
    eventually("the first member to be called back", || {
        (heartbeat(&mut first, &id, joined.generation_id) == ErrorCode::RebalanceInProgress)
            .then_some(())
    });
    let rejoined = first.ask(&join(&id), 9);
    let (_, other) = second.receive::<JoinGroupResponse>(9);
    assert_eq!(rejoined.generation_id, joined.generation_id + 1);
    assert_eq!(other.generation_id, rejoined.generation_id);
    assert_eq!(other.leader, rejoined.leader);
    let (leader, follower) = if rejoined.leader == id {
        (&rejoined, &other)
    } else {
        (&other, &rejoined)
    };
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));

    let (leader_wire, follower_wire) = if rejoined.leader == id {
        (&mut first, &mut second)
    } else {
        (&mut second, &mut first)
    };
    follower_wire.send(&sync(follower, &[]), 5);
    let led = leader_wire.ask(&sync(leader, &[(&leader.member_id, b"mine")]), 5);
    assert_eq!(&led.assignment[..], b"mine");
    let (_, followed) = follower_wire.receive::<SyncGroupResponse>(5);
    assert_eq!(
        (followed.error_code, followed.assignment.len()),
        (ErrorCode::None, 0)
    );
}

/// SEMANTICS 44.
#[test]
fn a_join_that_cannot_be_is_refused_with_kafkas_code() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.await_coordinator(GROUP);
    let mut code = |change: fn(&mut JoinGroupRequest)| {
        let mut request = join("");
        change(&mut request);
        wire.ask(&request, 3).error_code
    };
    assert_eq!(
        code(|join| join.session_timeout_ms = 1),
        ErrorCode::InvalidSessionTimeout
    );
    assert_eq!(
        code(|join| join.session_timeout_ms = 90_000_000),
        ErrorCode::InvalidSessionTimeout
    );
    assert_eq!(
        code(|join| join.group_id = "".into()),
        ErrorCode::InvalidGroupId
    );
    assert_eq!(
        code(|join| join.protocols.clear()),
        ErrorCode::InconsistentGroupProtocol
    );
    assert_eq!(
        code(|join| join.protocol_type = "".into()),
        ErrorCode::InconsistentGroupProtocol
    );
}

/// SEMANTICS 50.
#[test]
fn a_member_that_leaves_is_gone() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.await_coordinator(GROUP);
    let joined = join_alone(&mut wire);
    let leave = |member_id: &str| LeaveGroupRequest {
        group_id: GROUP.into(),
        members: vec![LeaveGroupRequestMember {
            member_id: member_id.into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let stranger = wire.ask(&leave("stranger"), 5);
    assert_eq!(stranger.error_code, ErrorCode::None);
    assert_eq!(stranger.members[0].error_code, ErrorCode::UnknownMemberId);
    let left = wire.ask(&leave(&joined.member_id), 5);
    assert_eq!(left.members[0].error_code, ErrorCode::None);
    let beat = heartbeat(&mut wire, &joined.member_id, joined.generation_id);
    assert_eq!(beat, ErrorCode::UnknownMemberId);
    let describe = DescribeGroupsRequest {
        groups: vec![GROUP.into()],
        ..Default::default()
    };
    assert_eq!(&*wire.ask(&describe, 5).groups[0].group_state, "Empty");
}

/// SEMANTICS 49: the older holder of an instance id is fenced.
#[test]
fn a_static_member_takes_over_its_instance_and_fences_the_older_holder() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.await_coordinator(GROUP);
    let with_instance = || JoinGroupRequest {
        group_instance_id: Some("pod-1".into()),
        ..join("")
    };
    let first = wire.ask(&with_instance(), 9);
    assert_eq!(
        first.error_code,
        ErrorCode::None,
        "a static member joins in one step"
    );
    let mut assign = sync(&first, &[(&first.member_id, b"kept")]);
    assign.group_instance_id = Some("pod-1".into());
    assert_eq!(wire.ask(&assign, 5).error_code, ErrorCode::None);

    let again = wire.ask(&with_instance(), 9);
    assert_eq!(again.error_code, ErrorCode::None);
    assert_eq!(again.generation_id, first.generation_id, "no rebalance");
    assert_ne!(again.member_id, first.member_id);
    let mut resync = sync(&again, &[]);
    resync.group_instance_id = Some("pod-1".into());
    assert_eq!(&wire.ask(&resync, 5).assignment[..], b"kept");

    let late = HeartbeatRequest {
        group_id: GROUP.into(),
        generation_id: first.generation_id,
        member_id: first.member_id,
        group_instance_id: Some("pod-1".into()),
    };
    assert_eq!(wire.ask(&late, 4).error_code, ErrorCode::FencedInstanceId);
}

fn commit(
    member_id: &str,
    generation: i32,
    topic: &str,
    offset: i64,
    metadata: &str,
) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_metadata: Some(metadata.into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// SEMANTICS 47 and 48.
#[test]
fn a_committed_offset_is_fetched_with_its_metadata() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    wire.await_coordinator(GROUP);
    let mut code = |request: &OffsetCommitRequest, version| {
        wire.ask(request, version).topics[0].partitions[0].error_code
    };
    assert_eq!(code(&commit("", -1, "t", 42, "node 7"), 8), ErrorCode::None);
    assert_eq!(
        code(&commit("", -1, "unknown", 42, ""), 8),
        ErrorCode::UnknownTopicOrPartition
    );
    let long = "m".repeat(4097);
    assert_eq!(
        code(&commit("", -1, "t", 43, &long), 8),
        ErrorCode::OffsetMetadataTooLarge
    );

    for version in [1, 2, 3, 5, 7] {
        let asked = OffsetFetchRequest {
            group_id: GROUP.into(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: "t".into(),
                partition_indexes: vec![0, 1, 5],
            }]),
            ..Default::default()
        };
        let fetched = wire.ask(&asked, version).topics.remove(0).partitions;
        let seen: Vec<_> = fetched
            .iter()
            .map(|p| {
                (
                    p.partition_index,
                    p.committed_offset,
                    p.metadata.as_deref(),
                    p.error_code,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (0, 42, Some("node 7"), ErrorCode::None),
                (1, -1, Some(""), ErrorCode::None),
                (5, -1, Some(""), ErrorCode::None)
            ],
            "version {version}"
        );
    }
    let everything = OffsetFetchRequest {
        group_id: GROUP.into(),
        topics: None,
        ..Default::default()
    };
    let all = wire.ask(&everything, 7).topics;
    assert_eq!(
        (all.len(), all[0].partitions.len()),
        (1, 1),
        "null asks for all committed"
    );
}

/// SEMANTICS 47.
#[test]
fn a_commit_belongs_to_its_generation() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    wire.await_coordinator(GROUP);
    let unknown = |version| (commit("m", 3, "t", 1, ""), version);
    for ((request, version), expected) in [
        (unknown(8), ErrorCode::IllegalGeneration),
        (unknown(9), ErrorCode::GroupIdNotFound),
    ] {
        let answer = wire.ask(&request, version);
        assert_eq!(
            answer.topics[0].partitions[0].error_code, expected,
            "version {version}"
        );
    }

    let joined = join_alone(&mut wire);
    let (id, generation) = (joined.member_id.clone(), joined.generation_id);
    let code = |wire: &mut Wire, member: &str, generation| {
        wire.ask(&commit(member, generation, "t", 1, ""), 8).topics[0].partitions[0].error_code
    };
    assert_eq!(
        code(&mut wire, &id, generation),
        ErrorCode::RebalanceInProgress,
        "no assignment yet"
    );
    wire.ask(&sync(&joined, &[(&id, b"a")]), 5);
    assert_eq!(code(&mut wire, &id, generation), ErrorCode::None);
    assert_eq!(
        code(&mut wire, &id, generation + 1),
        ErrorCode::IllegalGeneration
    );
    assert_eq!(
        code(&mut wire, "stranger", generation),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(
        code(&mut wire, "", -1),
        ErrorCode::UnknownMemberId,
        "the group is not empty"
    );
}

/// Ids are given out for the asking, and kept for a session, each with its group.
#[test]
fn what_groups_hold_is_bounded() {
    let broker = Broker::start(&[("group.memory.bytes", "1048576"), ("num.shards", "1")]);
    let mut wire = Wire::connect(&broker);
    wire.await_coordinator(GROUP);
    let given = (0..100).take_while(|number| {
        let request = JoinGroupRequest {
            group_id: format!("{number:030000}").as_str().into(),
            ..join("")
        };
        match wire.ask(&request, 9).error_code {
            ErrorCode::MemberIdRequired => true,
            error => {
                assert_eq!(error, ErrorCode::CoordinatorNotAvailable);
                false
            }
        }
    });
    let given = given.count();
    assert!((10..40).contains(&given), "{given} ids were given out");
    broker.await_printed("of group.memory.bytes", 1);
}
