//! ListGroups (key 16): the groups this broker coordinates.

use std::collections::BTreeSet;

use millrace_engine::group::{
    GroupCommand, GroupError, GroupReply, GroupState, GroupType, ListGroups,
    ListedGroup as EngineGroup,
};
use millrace_engine::shard::Stopped;
use millrace_wire::Str;
use millrace_wire::message::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use super::context::RequestContext;
use super::coordination::{Answer, ask_everywhere};
use super::error::ToErrorCode;

pub(super) async fn handle(
    request: ListGroupsRequest,
    context: &RequestContext,
) -> Result<ListGroupsResponse, Stopped> {
    context.answers_much().await;
    let command = GroupCommand::ListGroups(filter(&request));
    let pick = |reply| match reply {
        GroupReply::Listed(groups) => Some(groups),
        _ => None,
    };
    let answers = ask_everywhere(context, &command, pick).await?;
    let count = answers.iter().flatten().map(Vec::len).sum();
    context.answers_many(count).await;
    context.in_peace(answers, response).await
}

/// A filter of names that nobody knows lists nothing; no filter lists all.
fn filter(request: &ListGroupsRequest) -> ListGroups {
    fn set<T: Ord>(names: &[Str], parse: impl Fn(&str) -> Option<T>) -> Option<BTreeSet<T>> {
        (!names.is_empty()).then(|| names.iter().filter_map(|name| parse(name)).collect())
    }
    ListGroups {
        states: set(&request.states_filter, GroupState::parse),
        types: set(&request.types_filter, GroupType::parse),
    }
}

fn response(answers: Vec<Answer<Vec<EngineGroup>>>) -> ListGroupsResponse {
    let mut response = ListGroupsResponse::default();
    for answer in answers {
        match answer {
            Ok(groups) => response.groups.extend(groups.iter().map(listed)),
            // Its groups are listed by the broker they moved to.
            Err(GroupError::NotCoordinator) => {}
            // Half a list would pass for a whole one.
            Err(error) => {
                let error_code = error.error_code();
                return ListGroupsResponse {
                    error_code,
                    ..Default::default()
                };
            }
        }
    }
    response
}

fn listed(group: &EngineGroup) -> ListedGroup {
    ListedGroup {
        group_id: Str::from(group.group.as_str()),
        protocol_type: Str::from(&*group.protocol_type),
        group_state: Str::from(group.state.name()),
        group_type: Str::from(group.group_type.name()),
    }
}

#[cfg(test)]
mod tests {
    use millrace_engine::group::GroupId;
    use millrace_wire::ErrorCode;

    use super::*;

    fn group(name: &str) -> EngineGroup {
        EngineGroup {
            group: GroupId::from(name),
            protocol_type: "consumer".into(),
            state: GroupState::Stable,
            group_type: GroupType::Classic,
        }
    }

    #[test]
    fn an_unknown_filter_lists_nothing_and_no_filter_everything() {
        let all = filter(&ListGroupsRequest::default());
        assert_eq!((all.states, all.types), (None, None));
        let request = ListGroupsRequest {
            states_filter: vec!["empty".into(), "x".into()],
            types_filter: vec!["what".into()],
        };
        let some = filter(&request);
        assert_eq!(some.states, Some(BTreeSet::from([GroupState::Empty])));
        assert_eq!(some.types, Some(BTreeSet::new()));
    }

    #[test]
    fn the_groups_of_all_coordinators_make_one_list() {
        let elsewhere = Err(GroupError::NotCoordinator);
        let answer = response(vec![Ok(vec![group("a")]), elsewhere, Ok(vec![group("b")])]);
        let names: Vec<_> = answer.groups.iter().map(|group| &*group.group_id).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(&*answer.groups[0].group_type, "classic");
    }

    #[test]
    fn a_list_is_not_shown_before_it_is_whole() {
        let answer = response(vec![
            Ok(vec![group("a")]),
            Err(GroupError::CoordinatorLoading),
        ]);
        assert_eq!(answer.error_code, ErrorCode::CoordinatorLoadInProgress);
        assert_eq!(answer.groups, []);
    }
}
