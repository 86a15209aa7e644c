//! DeleteGroups (key 42): deletes empty groups with their offsets.

use std::collections::BTreeSet;

use millrace_engine::group::{GroupCommand, GroupId, GroupReply};
use millrace_engine::shard::Stopped;
use millrace_wire::message::delete_groups::{
    DeleteGroupsRequest, DeleteGroupsResponse, DeleteGroupsResult,
};
use millrace_wire::{ErrorCode, Str};

use super::context::RequestContext;
use super::coordination::{Answer, ask_each};
use super::error::ToErrorCode;

pub(super) async fn handle(
    request: DeleteGroupsRequest,
    context: &RequestContext,
) -> Result<DeleteGroupsResponse, Stopped> {
    let commands = |names| {
        let groups = distinct(names);
        let commands = groups.iter().map(|group| GroupCommand::DeleteGroup {
            group: GroupId::from(&**group),
        });
        let commands = commands.collect();
        (groups, commands)
    };
    let (groups, commands) = context.in_peace(request.groups_names, commands).await?;
    let pick = |reply| matches!(reply, GroupReply::GroupDeleted).then_some(());
    let answers = ask_each(context, commands, pick).await?;
    let results = |(groups, answers): (Vec<_>, Vec<Answer<()>>)| {
        let results = groups.into_iter().zip(answers);
        let results = results.map(|(group_id, answer)| DeleteGroupsResult {
            group_id,
            error_code: answer.map_or_else(|error| error.error_code(), |()| ErrorCode::None),
        });
        results.collect()
    };
    Ok(DeleteGroupsResponse {
        results: context.in_peace((groups, answers), results).await?,
        ..Default::default()
    })
}

/// The names in their order, each once: deleting a group twice would answer that it is not there.
fn distinct(names: Vec<Str>) -> Vec<Str> {
    let mut seen = BTreeSet::new();
    names
        .into_iter()
        .filter(|name| seen.insert(name.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_named_twice_is_deleted_once() {
        let names = ["b", "a", "b"].map(Str::from).to_vec();
        assert_eq!(distinct(names), ["b", "a"]);
    }
}
