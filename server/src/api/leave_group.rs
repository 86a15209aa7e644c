//! LeaveGroup (key 13): members leave a classic group.
//!
//! Up to version 2 one member leaves and its refusal is the answer's; from version 3 each member has its own (KIP-345).

use millrace_engine::group::{
    GroupCommand, GroupError, GroupId, GroupReply, InstanceId, Leave, Leaver, MemberId,
};
use millrace_engine::shard::Stopped;
use millrace_wire::ErrorCode;
use millrace_wire::message::leave_group::{
    LeaveGroupRequest, LeaveGroupRequestMember, LeaveGroupResponse, LeaveGroupResponseMember,
};

use super::context::RequestContext;
use super::coordination::{Answer, MEMBERS_MAX, ask};
use super::error::ToErrorCode;

pub(super) async fn handle(
    request: LeaveGroupRequest,
    context: &RequestContext,
) -> Result<LeaveGroupResponse, Stopped> {
    if request.members.len() > MEMBERS_MAX {
        context.in_peace(request, drop).await?;
        return Ok(LeaveGroupResponse {
            error_code: ErrorCode::InvalidRequest,
            ..Default::default()
        });
    }
    let version = context.version();
    let leave = move |request| {
        let leave = leave(&request, version);
        (request, leave)
    };
    let (request, leave) = context.in_peace(request, leave).await?;
    let left = match leave {
        Ok(leave) => {
            let pick = |reply| match reply {
                GroupReply::Left(left) => Some(left),
                _ => None,
            };
            ask(context, GroupCommand::Leave(leave), pick).await?
        }
        Err(error) => Err(error),
    };
    let answer = move |(request, left)| response(&request, left, version);
    context.in_peace((request, left), answer).await
}

fn leave(request: &LeaveGroupRequest, version: i16) -> Result<Leave, GroupError> {
    if request.group_id.is_empty() {
        return Err(GroupError::GroupIdInvalid);
    }
    let members = if version <= SINGLE_LAST {
        let member_id = MemberId::from(&*request.member_id);
        vec![Leaver {
            member_id,
            instance_id: None,
        }]
    } else {
        let members = request.members.iter().map(|member| Leaver {
            member_id: MemberId::from(&*member.member_id),
            instance_id: member.group_instance_id.as_deref().map(InstanceId::from),
        });
        members.collect()
    };
    Ok(Leave {
        group: GroupId::from(&*request.group_id),
        members,
    })
}

fn response(
    request: &LeaveGroupRequest,
    left: Answer<Vec<Result<(), GroupError>>>,
    version: i16,
) -> LeaveGroupResponse {
    let code = |result: Result<(), GroupError>| match result {
        Ok(()) => ErrorCode::None,
        Err(error) => error.error_code(),
    };
    let member = |sent: &LeaveGroupRequestMember, error_code| LeaveGroupResponseMember {
        member_id: sent.member_id.clone(),
        group_instance_id: sent.group_instance_id.clone(),
        error_code,
    };
    match left {
        // The group does not exist: nobody is a member of it.
        Err(GroupError::UnknownMember { .. }) if version > SINGLE_LAST => {
            let members = request.members.iter();
            LeaveGroupResponse {
                members: members
                    .map(|sent| member(sent, ErrorCode::UnknownMemberId))
                    .collect(),
                ..Default::default()
            }
        }
        Err(error) => LeaveGroupResponse {
            error_code: error.error_code(),
            ..Default::default()
        },
        Ok(results) if version <= SINGLE_LAST => LeaveGroupResponse {
            error_code: results.into_iter().next().map_or(ErrorCode::None, code),
            ..Default::default()
        },
        Ok(results) => {
            let members = request.members.iter().zip(results);
            let members = members.map(|(sent, result)| member(sent, code(result)));
            LeaveGroupResponse {
                members: members.collect(),
                ..Default::default()
            }
        }
    }
}

/// The last version with one member.
const SINGLE_LAST: i16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> GroupError {
        GroupError::UnknownMember {
            group: GroupId::from("g"),
            member_id: MemberId::from("m"),
        }
    }

    #[test]
    fn the_one_member_of_old_versions_is_refused_at_the_top() {
        let request = LeaveGroupRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            ..Default::default()
        };
        assert_eq!(leave(&request, 2).unwrap().members.len(), 1);
        let answer = response(&request, Ok(vec![Err(unknown())]), 2);
        assert_eq!(answer.error_code, ErrorCode::UnknownMemberId);
        assert_eq!(answer.members, []);
    }

    #[test]
    fn every_member_of_new_versions_has_its_own_result() {
        let member = |id: &str, instance: Option<&str>| LeaveGroupRequestMember {
            member_id: id.into(),
            group_instance_id: instance.map(Into::into),
            reason: None,
        };
        let request = LeaveGroupRequest {
            group_id: "g".into(),
            members: vec![member("m", None), member("", Some("i"))],
            ..Default::default()
        };
        let leavers = leave(&request, 5).unwrap().members;
        assert_eq!(leavers[1].instance_id, Some(InstanceId::from("i")));
        let answer = response(&request, Ok(vec![Err(unknown()), Ok(())]), 5);
        assert_eq!(answer.error_code, ErrorCode::None);
        let codes: Vec<_> = answer
            .members
            .iter()
            .map(|member| member.error_code)
            .collect();
        assert_eq!(codes, [ErrorCode::UnknownMemberId, ErrorCode::None]);
        assert_eq!(answer.members[1].group_instance_id.as_deref(), Some("i"));
    }

    #[test]
    fn nobody_is_a_member_of_a_group_that_does_not_exist() {
        let request = LeaveGroupRequest {
            members: vec![LeaveGroupRequestMember::default()],
            ..Default::default()
        };
        let answer = response(&request, Err(unknown()), 3);
        assert_eq!(answer.error_code, ErrorCode::None);
        assert_eq!(answer.members[0].error_code, ErrorCode::UnknownMemberId);
        let old = response(&request, Err(unknown()), 2);
        assert_eq!(old.error_code, ErrorCode::UnknownMemberId);
    }

    #[test]
    fn without_a_coordinator_nobody_is_listed() {
        let answer = response(
            &LeaveGroupRequest::default(),
            Err(GroupError::NotCoordinator),
            5,
        );
        assert_eq!(answer.error_code, ErrorCode::NotCoordinator);
        assert_eq!(answer.members, []);
    }
}
