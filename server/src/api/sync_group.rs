//! SyncGroup (key 14): the leader of a classic group hands in the assignment, every member gets its part.

use std::sync::Arc;

use bytes::Bytes;
use millrace_engine::group::{
    GroupCommand, GroupError, GroupId, GroupReply, InstanceId, MemberId, Sync, Synced,
};
use millrace_engine::shard::Stopped;
use millrace_engine::types::GenerationId;
use millrace_wire::message::sync_group::{SyncGroupRequest, SyncGroupResponse};
use millrace_wire::{ErrorCode, Str};

use super::context::RequestContext;
use super::coordination::{Answer, MEMBERS_MAX, ask_parked};
use super::error::ToErrorCode;

pub(super) async fn handle(
    request: SyncGroupRequest,
    context: &RequestContext,
) -> Result<SyncGroupResponse, Stopped> {
    let version = context.version();
    let sync = move |request| sync(&request, version);
    let synced = match context.in_peace(request, sync).await? {
        Ok(sync) => {
            let pick = |reply| match reply {
                GroupReply::Synced(synced) => Some(synced),
                _ => None,
            };
            ask_parked(context, GroupCommand::Sync(sync), pick).await?
        }
        Err(error) => Err(error),
    };
    Ok(response(synced))
}

fn sync(request: &SyncGroupRequest, version: i16) -> Result<Sync, GroupError> {
    let group = GroupId::from(&*request.group_id);
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if version >= 5 && !named {
        return Err(GroupError::InconsistentProtocol { group });
    }
    if group.is_empty() {
        return Err(GroupError::GroupIdInvalid);
    }
    if request.assignments.len() > MEMBERS_MAX {
        return Err(GroupError::InconsistentProtocol { group });
    }
    let assignments = request.assignments.iter().map(|one| {
        // Copied, as all that outlives the request: a slice would hold the whole frame.
        (
            MemberId::from(&*one.member_id),
            Bytes::copy_from_slice(&one.assignment),
        )
    });
    Ok(Sync {
        group,
        member_id: MemberId::from(&*request.member_id),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: GenerationId(request.generation_id),
        protocol_type: request.protocol_type.as_deref().map(Arc::from),
        protocol: request.protocol_name.as_deref().map(Arc::from),
        assignments: assignments.collect(),
    })
}

fn response(synced: Answer<Synced>) -> SyncGroupResponse {
    match synced {
        Ok(synced) => SyncGroupResponse {
            protocol_type: Some(Str::from(&*synced.protocol_type)),
            protocol_name: Some(Str::from(&*synced.protocol)),
            assignment: synced.assignment,
            ..Default::default()
        },
        Err(error) => SyncGroupResponse {
            error_code: match error {
                // As in Kafka's classic coordinator: clients do not expect the code of one that is being read here, and Java's gives
                // up on it.
                GroupError::CoordinatorLoading => ErrorCode::RebalanceInProgress,
                error => error.error_code(),
            },
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millrace_wire::Message;

    use super::*;

    #[test]
    fn version_5_must_name_the_protocol() {
        let request = SyncGroupRequest {
            group_id: "g".into(),
            protocol_type: Some("consumer".into()),
            ..Default::default()
        };
        let error = sync(&request, 5).unwrap_err();
        assert_eq!(error.error_code(), ErrorCode::InconsistentGroupProtocol);
        assert!(sync(&request, 4).is_ok());
        let nameless = SyncGroupRequest {
            group_id: "".into(),
            ..request
        };
        assert_eq!(sync(&nameless, 4), Err(GroupError::GroupIdInvalid));
    }

    #[test]
    fn the_leaders_assignments_reach_the_coordinator() {
        use millrace_wire::message::sync_group::SyncGroupAssignment;
        let one = SyncGroupAssignment {
            member_id: "m".into(),
            assignment: Bytes::from_static(b"a"),
        };
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: 4,
            assignments: vec![one],
            ..Default::default()
        };
        let sync = sync(&request, 3).unwrap();
        assert_eq!(sync.generation, GenerationId(4));
        assert_eq!(
            sync.assignments,
            BTreeMap::from([(MemberId::from("m"), Bytes::from_static(b"a"))])
        );
        let crowd = SyncGroupRequest {
            assignments: vec![request.assignments[0].clone(); MEMBERS_MAX + 1],
            ..request
        };
        assert!(super::sync(&crowd, 3).is_err());
    }

    #[test]
    fn a_refusal_can_be_written_in_every_version() {
        let refused = response(Err(GroupError::CoordinatorLoading));
        assert_eq!(refused.error_code, ErrorCode::RebalanceInProgress);
        assert!((0..=5).all(|version| refused.to_bytes(version).is_ok()));
    }
}
