//! Members that join a group, get their assignment, commit and leave.

use std::sync::atomic::Ordering;

use millrace_wire::message::find_coordinator::FindCoordinatorRequest;
use millrace_wire::message::join_group::{JoinGroupProtocol, JoinGroupRequest, JoinGroupResponse};
use millrace_wire::message::leave_group::{LeaveGroupRequest, LeaveGroupRequestMember};
use millrace_wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use millrace_wire::message::sync_group::{SyncGroupAssignment, SyncGroupRequest};
use millrace_wire::{ErrorCode, Str};

use super::records::TURNED_OVER;
use super::work::Scene;
use crate::{Client, Outcome};

pub(super) fn join_and_leave(scene: &Scene) -> Outcome<()> {
    scene.keep_pace(scene.plan.joins, |client, number| {
        let group = Str::from(format!("passing-{}", number % GROUPS).as_str());
        let find = FindCoordinatorRequest {
            key: group.clone(),
            ..Default::default()
        };
        demand("a coordinator", client.ask(&find, 3)?.error_code)?;
        let joined = join(client, &group)?;
        let assigned = SyncGroupRequest {
            group_id: group.clone(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: vec![SyncGroupAssignment {
                member_id: joined.member_id.clone(),
                assignment: vec![7; 40].into(),
            }],
            ..Default::default()
        };
        demand("a sync", client.ask(&assigned, 5)?.error_code)?;
        let commit = OffsetCommitRequest {
            group_id: group.clone(),
            generation_id_or_member_epoch: joined.generation_id,
            member_id: joined.member_id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: TURNED_OVER.into(),
                partitions: vec![OffsetCommitRequestPartition {
                    committed_offset: i64::try_from(number)?,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let committed = client.ask(&commit, 8)?;
        let topics = committed.topics.iter();
        for partition in topics.flat_map(|topic| &topic.partitions) {
            demand("a commit", partition.error_code)?;
        }
        let leave = LeaveGroupRequest {
            group_id: group,
            members: vec![LeaveGroupRequestMember {
                member_id: joined.member_id,
                ..Default::default()
            }],
            ..Default::default()
        };
        demand("a leave", client.ask(&leave, 5)?.error_code)?;
        scene.done.joins.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

/// Joins in the two steps that a member without an id takes.
fn join(client: &mut Client, group: &Str) -> Outcome<JoinGroupResponse> {
    let mut request = JoinGroupRequest {
        group_id: group.clone(),
        // One that a restart has cut off is not waited for long.
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 1_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupProtocol {
            name: "range".into(),
            metadata: vec![0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff].into(),
        }],
        ..Default::default()
    };
    let mut joined = client.ask(&request, 9)?;
    if joined.error_code == ErrorCode::MemberIdRequired {
        request.member_id = joined.member_id;
        joined = client.ask(&request, 9)?;
    }
    demand("a join", joined.error_code)?;
    Ok(joined)
}

fn demand(what: &str, code: ErrorCode) -> Outcome<()> {
    match code.is_error() {
        true => Err(format!("{what} is refused: {code}").into()),
        false => Ok(()),
    }
}

const GROUPS: u64 = 100;
