//! Heartbeat (key 12): a member of a classic group is alive, and learns of rebalances.

use millrace_engine::group::{
    GroupCommand, GroupError, GroupId, GroupReply, Heartbeat, InstanceId, MemberId,
};
use millrace_engine::shard::Stopped;
use millrace_engine::types::GenerationId;
use millrace_wire::ErrorCode;
use millrace_wire::message::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::context::RequestContext;
use super::coordination::ask;
use super::error::ToErrorCode;

pub(super) async fn handle(
    request: HeartbeatRequest,
    context: &RequestContext,
) -> Result<HeartbeatResponse, Stopped> {
    let outcome = match heartbeat(&request) {
        Ok(heartbeat) => {
            let pick = |reply| matches!(reply, GroupReply::Heartbeat).then_some(());
            ask(context, GroupCommand::Heartbeat(heartbeat), pick).await?
        }
        Err(error) => Err(error),
    };
    let error_code = match outcome {
        // As in Kafka: the member will be there when its group has been read, and some clients rejoin at any code they do not expect.
        Ok(()) | Err(GroupError::CoordinatorLoading) => ErrorCode::None,
        Err(error) => error.error_code(),
    };
    Ok(HeartbeatResponse {
        error_code,
        ..Default::default()
    })
}

fn heartbeat(request: &HeartbeatRequest) -> Result<Heartbeat, GroupError> {
    if request.group_id.is_empty() {
        return Err(GroupError::GroupIdInvalid);
    }
    Ok(Heartbeat {
        group: GroupId::from(&*request.group_id),
        member_id: MemberId::from(&*request.member_id),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: GenerationId(request.generation_id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_names_member_and_generation() {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: 2,
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
        };
        let sent = heartbeat(&request).unwrap();
        assert_eq!(sent.member_id, MemberId::from("m"));
        assert_eq!(sent.instance_id, Some(InstanceId::from("i")));
        assert_eq!(sent.generation, GenerationId(2));
        let nameless = HeartbeatRequest {
            group_id: "".into(),
            ..request
        };
        assert_eq!(heartbeat(&nameless), Err(GroupError::GroupIdInvalid));
    }
}
