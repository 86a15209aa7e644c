//! DescribeGroups (key 15): state and members of classic groups.

use std::collections::BTreeSet;

use millrace_engine::group::{
    GroupCommand, GroupDescription, GroupError, GroupId, GroupReply, GroupState, MemberDescription,
};
use millrace_engine::shard::Stopped;
use millrace_wire::message::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use millrace_wire::{ErrorCode, Str};

use super::brokers::authorized;
use super::context::RequestContext;
use super::coordination::{Answer, ask_each};
use super::error::ToErrorCode;

pub(super) async fn handle(
    request: DescribeGroupsRequest,
    context: &RequestContext,
) -> Result<DescribeGroupsResponse, Stopped> {
    context.answers_much().await;
    let version = context.version();
    let operations = request.include_authorized_operations;
    let (groups, commands) = context.in_peace(request.groups, commands).await?;
    let pick = |reply| match reply {
        GroupReply::Described(description) => Some(description),
        _ => None,
    };
    let answers = ask_each(context, commands, pick).await?;
    let members = answers.iter().flatten().flat_map(|group| &group.members);
    let bytes = members.map(|member| {
        let instance = member.instance_id.as_ref();
        let instance_bytes = instance.map_or(0, |instance| instance.as_str().len());
        let names = member.member_id.as_str().len() + member.client_id.len() + instance_bytes;
        let payload = member.metadata.len() + member.assignment.len();
        MEMBER_BYTES + names + payload
    });
    context.answers_bytes(bytes.sum()).await;
    let describe = move |(groups, answers): (Vec<_>, Vec<_>)| {
        let groups = groups.into_iter().zip(answers);
        let groups = groups.map(|(group, answer)| described(group, answer, operations, version));
        groups.collect()
    };
    Ok(DescribeGroupsResponse {
        groups: context.in_peace((groups, answers), describe).await?,
        ..Default::default()
    })
}

/// The groups, each once, with a question about each: a few bytes ask for thousands of members, so nothing is described twice in
/// one answer.
fn commands(mut groups: Vec<Str>) -> (Vec<Str>, Vec<GroupCommand>) {
    let mut seen = BTreeSet::new();
    groups.retain(|group| seen.insert(group.clone()));
    let commands = groups.iter().map(|group| GroupCommand::DescribeGroup {
        group: GroupId::from(&**group),
    });
    let commands = commands.collect();
    (groups, commands)
}

fn described(
    group_id: Str,
    answer: Answer<GroupDescription>,
    operations_asked: bool,
    version: i16,
) -> DescribedGroup {
    let mut group = match answer {
        Ok(description) => DescribedGroup {
            group_state: Str::from(description.state.name()),
            protocol_type: Str::from(&*description.protocol_type),
            protocol_data: Str::from(&*description.protocol),
            members: description.members.into_iter().map(member).collect(),
            ..Default::default()
        },
        Err(GroupError::GroupIdNotFound { .. }) => {
            // Tools tell a dead group from a fault by the state, and since version 6 by the code (KIP-1043).
            let mut dead = DescribedGroup {
                group_state: Str::from(GroupState::Dead.name()),
                ..Default::default()
            };
            if version >= 6 {
                dead.error_code = ErrorCode::GroupIdNotFound;
                dead.error_message = Some(Str::from(format!("Group {group_id} not found.")));
            }
            dead
        }
        Err(error) => DescribedGroup {
            error_code: error.error_code(),
            ..Default::default()
        },
    };
    if operations_asked && !group.error_code.is_error() {
        group.authorized_operations = authorized::GROUP;
    }
    group.group_id = group_id;
    group
}

fn member(member: MemberDescription) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: Str::from(member.member_id.as_str()),
        group_instance_id: member.instance_id.map(|id| Str::from(id.as_str())),
        client_id: Str::from(&*member.client_id),
        client_host: Str::from(&*member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    }
}

/// What a member takes in an answer besides its names, its subscription and its assignment.
const MEMBER_BYTES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> Answer<GroupDescription> {
        Err(GroupError::GroupIdNotFound {
            group: GroupId::from("unk"),
        })
    }

    #[test]
    fn an_unknown_group_is_dead_and_from_version_6_an_error() {
        let old = described("unk".into(), unknown(), true, 5);
        assert_eq!(
            (old.error_code, &*old.group_state),
            (ErrorCode::None, "Dead")
        );
        assert_eq!(old.authorized_operations, 3400);
        let new = described("unk".into(), unknown(), true, 6);
        assert_eq!(
            (new.error_code, &*new.group_state),
            (ErrorCode::GroupIdNotFound, "Dead")
        );
        assert_eq!(new.error_message.as_deref(), Some("Group unk not found."));
        assert_eq!(new.authorized_operations, i32::MIN);
    }

    #[test]
    fn without_a_coordinator_the_state_stays_empty() {
        let group = described("g".into(), Err(GroupError::NotCoordinator), true, 6);
        assert_eq!(
            (group.error_code, &*group.group_state),
            (ErrorCode::NotCoordinator, "")
        );
    }

    #[test]
    fn a_group_is_shown_with_its_state_and_protocol() {
        let description = GroupDescription {
            state: GroupState::Stable,
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            members: Vec::new(),
        };
        let group = described("g".into(), Ok(description), false, 6);
        let shown = (&*group.group_id, &*group.group_state, &*group.protocol_data);
        assert_eq!(shown, ("g", "Stable", "range"));
        assert_eq!(group.authorized_operations, authorized::NOT_ASKED);
    }
}
