//! JoinGroup (key 11): a member asks to be part of the next generation of a classic group.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use millrace_engine::group::{
    GroupCommand, GroupError, GroupId, GroupReply, InstanceId, Join, Joined, MemberId, Protocol,
};
use millrace_engine::shard::Stopped;
use millrace_wire::Str;
use millrace_wire::message::join_group::{JoinGroupMember, JoinGroupRequest, JoinGroupResponse};

use super::context::RequestContext;
use super::coordination::{Answer, ask_parked};
use super::error::ToErrorCode;

pub(super) async fn handle(
    request: JoinGroupRequest,
    context: &RequestContext,
) -> Result<JoinGroupResponse, Stopped> {
    let version = context.version();
    let from = From {
        client_id: context.client_id(),
        address: context.client().peer().ip(),
        random: context.gateway().random(),
    };
    let join = join(&request, version, from);
    // Copied, as what is to be answered after a wait.
    let sent_member_id = Str::from(&*request.member_id);
    context.in_peace(request, drop).await?;
    let joined = match join {
        Ok(join) => {
            let pick = |reply| match reply {
                GroupReply::Joined(joined) => Some(joined),
                _ => None,
            };
            ask_parked(context, GroupCommand::Join(join), pick).await?
        }
        Err(error) => Err(error),
    };
    let members = joined.as_ref().map_or(0, |joined| joined.members.len());
    context.answers_many(members).await;
    let response = move |joined| response(joined, sent_member_id, version);
    context.in_peace(joined, response).await
}

/// What does not stand in the request.
struct From<'a> {
    client_id: &'a str,
    address: IpAddr,
    random: u128,
}

fn join(request: &JoinGroupRequest, version: i16, from: From<'_>) -> Result<Join, GroupError> {
    if request.group_id.is_empty() {
        return Err(GroupError::GroupIdInvalid);
    }
    if request.protocols.len() > PROTOCOLS_MAX {
        let group = GroupId::from(&*request.group_id);
        return Err(GroupError::InconsistentProtocol { group });
    }
    // Version 0 has no field for it.
    let rebalance_timeout_ms = match version {
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    let protocol = |sent: &millrace_wire::message::join_group::JoinGroupProtocol| Protocol {
        name: Arc::from(&*sent.name),
        // Copied, as all that outlives the request: a slice would hold the whole frame.
        metadata: Bytes::copy_from_slice(&sent.metadata),
    };
    Ok(Join {
        group: GroupId::from(&*request.group_id),
        member_id: MemberId::from(&*request.member_id),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        client_id: Arc::from(from.client_id),
        client_host: Arc::from(format!("/{}", from.address.to_canonical())),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: Arc::from(&*request.protocol_type),
        protocols: request.protocols.iter().map(protocol).collect(),
        requires_known_member_id: version >= 4,
        supports_skip_assignment: version >= 9,
        random: from.random,
    })
}

fn response(joined: Answer<Joined>, sent_member_id: Str, version: i16) -> JoinGroupResponse {
    match joined {
        Ok(joined) => JoinGroupResponse {
            generation_id: joined.generation.0,
            protocol_type: Some(Str::from(&*joined.protocol_type)),
            protocol_name: Some(Str::from(&*joined.protocol)),
            leader: Str::from(joined.leader.as_str()),
            skip_assignment: joined.skip_assignment,
            member_id: Str::from(joined.member_id.as_str()),
            members: joined
                .members
                .into_iter()
                .map(|member| JoinGroupMember {
                    member_id: Str::from(member.member_id.as_str()),
                    group_instance_id: member.instance_id.map(|id| Str::from(id.as_str())),
                    metadata: member.metadata,
                })
                .collect(),
            ..Default::default()
        },
        Err(error) => JoinGroupResponse {
            error_code: error.error_code(),
            // Null is not expressible before version 7.
            protocol_name: (version < 7).then(Str::default),
            member_id: refused_member_id(&error, sent_member_id),
            ..Default::default()
        },
    }
}

/// Assignors that a member may offer. Clients have a handful; Kafka counts none.
const PROTOCOLS_MAX: usize = 1_000;

/// The member id beside a refusal: a fresh one to join again with, none where Kafka gives none, else the one sent.
fn refused_member_id(error: &GroupError, sent: Str) -> Str {
    match error {
        GroupError::MemberIdRequired { member_id } => Str::from(member_id.as_str()),
        GroupError::GroupMaxSizeReached { .. }
        | GroupError::InvalidSessionTimeout { .. }
        | GroupError::GroupIdInvalid => Str::default(),
        _ => sent,
    }
}

#[cfg(test)]
mod tests {
    use millrace_engine::group::JoinedMember;
    use millrace_engine::types::GenerationId;
    use millrace_wire::message::join_group::JoinGroupProtocol;
    use millrace_wire::{ErrorCode, Message};

    use super::*;

    fn request() -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"m"),
            }],
            ..Default::default()
        }
    }

    fn from() -> From<'static> {
        From {
            client_id: "c",
            address: "::ffff:127.0.0.1".parse().unwrap(),
            random: 7,
        }
    }

    #[test]
    fn the_first_version_takes_the_session_timeout_for_the_rebalance() {
        let old = join(&request(), 0, from()).unwrap();
        assert_eq!(old.rebalance_timeout_ms, 10_000);
        assert!(!old.requires_known_member_id);
        let new = join(&request(), 9, from()).unwrap();
        assert_eq!(new.rebalance_timeout_ms, 60_000);
        assert!(new.requires_known_member_id && new.supports_skip_assignment);
        assert_eq!(&*new.client_host, "/127.0.0.1");
    }

    #[test]
    fn a_group_without_a_name_is_refused_before_a_coordinator_is_looked_for() {
        let nameless = JoinGroupRequest {
            group_id: "".into(),
            ..request()
        };
        assert_eq!(join(&nameless, 9, from()), Err(GroupError::GroupIdInvalid));
    }

    #[test]
    fn a_refusal_can_be_written_in_every_version() {
        for version in 0..=9 {
            let refused = response(Err(GroupError::NotCoordinator), "m".into(), version);
            assert_eq!(refused.member_id, "m");
            assert!(refused.to_bytes(version).is_ok(), "version {version}");
        }
    }

    #[test]
    fn a_new_member_is_told_its_id() {
        let error = GroupError::MemberIdRequired {
            member_id: MemberId::from("c-1"),
        };
        let refused = response(Err(error), "".into(), 4);
        assert_eq!(refused.error_code, ErrorCode::MemberIdRequired);
        assert_eq!(refused.member_id, "c-1");
    }

    #[test]
    fn the_leader_gets_the_members() {
        let joined = Joined {
            generation: GenerationId(3),
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            leader: MemberId::from("a"),
            skip_assignment: false,
            member_id: MemberId::from("a"),
            members: vec![JoinedMember {
                member_id: MemberId::from("a"),
                instance_id: None,
                metadata: Bytes::from_static(b"m"),
            }],
        };
        let response = response(Ok(joined), "".into(), 9);
        assert_eq!((response.generation_id, &*response.leader), (3, "a"));
        assert_eq!(response.members.len(), 1);
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
    }
}
