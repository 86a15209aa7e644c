//! `kafka-consumer-groups --delete` and `--delete-offsets`: forgets groups, or what they read of topics.

use std::collections::BTreeMap;
use std::io::Write;

use millrace_wire::message::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use millrace_wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
};
use millrace_wire::{ErrorCode, Str};

use super::{Failure, Flags, print_error};
use crate::admin::{Admin, AdminError, Target, TopicPartition, exception};
use crate::flags::topic_partitions;
use crate::print::{MISSING, Table, joined};

/// Deletes groups.
pub(super) async fn groups(
    flags: &Flags,
    admin: &mut Admin,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let groups = flags.groups(admin).await?;
    let code_of = |response: &DeleteGroupsResponse| {
        let group = response.results.first();
        group.map_or(ErrorCode::None, |group| group.error_code)
    };
    let mut deleted = Vec::new();
    let mut failed = Vec::new();
    for group in groups {
        let coordinator = admin.coordinator(&group).await?;
        let request = DeleteGroupsRequest {
            groups_names: vec![Str::from(&group)],
        };
        let target = Target::Node(coordinator.id);
        let response = admin.ask_patiently(target, &request, code_of).await?;
        match code_of(&response) {
            ErrorCode::None => deleted.push(format!("'{group}'")),
            code => failed.push((group, code)),
        }
    }
    let deleted = joined(deleted, ", ");
    if failed.is_empty() {
        writeln!(
            out,
            "Deletion of requested consumer groups ({deleted}) was successful."
        )?;
        return Ok(());
    }
    print_error("Deletion of some consumer groups failed:", out)?;
    for (group, code) in failed {
        let error = format!("{}: {}", exception(code), code.message());
        writeln!(
            out,
            "* Group '{group}' could not be deleted due to: {error}"
        )?;
    }
    if !deleted.is_empty() {
        writeln!(
            out,
            "\nThese consumer groups were deleted successfully: {deleted}"
        )?;
    }
    Ok(())
}

/// Deletes offsets of a group.
pub(super) async fn offsets(
    flags: &Flags,
    admin: &mut Admin,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let group = flags.group.last().cloned().unwrap_or_default();
    let mut partitions = Vec::new();
    let mut results: BTreeMap<(String, i32), String> = BTreeMap::new();
    for argument in &flags.topic {
        if argument.contains(':') {
            partitions.extend(topic_partitions(argument)?);
            continue;
        }
        match admin.partitions_of(std::slice::from_ref(argument)).await {
            Ok(found) => partitions.extend(found),
            Err(error @ AdminError::Refused { .. }) => {
                let status = format!("Error: {}", error.as_exception());
                results.insert((argument.clone(), -1), status);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut topics: BTreeMap<String, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
    for TopicPartition { topic, partition } in partitions {
        let entry = OffsetDeleteRequestPartition {
            partition_index: partition,
        };
        topics.entry(topic).or_default().push(entry);
    }
    let topic = |(name, partitions): (&String, &Vec<_>)| OffsetDeleteRequestTopic {
        name: Str::from(name),
        partitions: partitions.clone(),
    };
    let request = OffsetDeleteRequest {
        group_id: Str::from(&group),
        topics: topics.iter().map(topic).collect(),
    };
    let target = Target::Node(admin.coordinator(&group).await?.id);
    let code_of = |response: &OffsetDeleteResponse| response.error_code;
    let response = admin.ask_patiently(target, &request, code_of).await?;
    let mut worst = response.error_code;
    let status = |code: ErrorCode| match code {
        ErrorCode::None => "Successful".to_owned(),
        code => format!("Error: {}: {}", exception(code), code.message()),
    };
    for (name, partitions) in &topics {
        for partition in partitions {
            let text = status(response.error_code);
            results.insert((name.clone(), partition.partition_index), text);
        }
    }
    for topic in &response.topics {
        for partition in &topic.partitions {
            if partition.error_code.is_error() && !worst.is_error() {
                worst = partition.error_code;
            }
            let key = (topic.name.to_string(), partition.partition_index);
            results.insert(key, status(partition.error_code));
        }
    }
    match worst {
        ErrorCode::None => {
            writeln!(
                out,
                "Request succeeded for deleting offsets from group {group}."
            )?;
        }
        ErrorCode::InvalidGroupId
        | ErrorCode::GroupIdNotFound
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::NonEmptyGroup => print_error(worst.message(), out)?,
        ErrorCode::GroupSubscribedToTopic
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::UnknownTopicOrPartition => {
            print_error(
                "Encountered some partition-level error, see the follow-up details.",
                out,
            )?;
        }
        code => print_error(&format!("Encountered some unknown error: {code}"), out)?,
    }
    let mut table = Table::new(&[("TOPIC", 15), ("PARTITION", 10), ("STATUS", 15)]);
    table.fix(2);
    for ((topic, partition), status) in results {
        let partition = if partition < 0 {
            MISSING.to_owned()
        } else {
            partition.to_string()
        };
        table.row(vec![topic, partition, status]);
    }
    table.print(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use millrace_wire::message::delete_groups::DeleteGroupsResult;
    use millrace_wire::message::offset_delete::{
        OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
    };

    use super::*;
    use crate::admin::stub::{self, Question};

    /// What a coordinator says that is still being read when it is asked first.
    fn once_loading() -> impl FnMut() -> ErrorCode + Send + 'static {
        let mut codes = vec![ErrorCode::CoordinatorLoadInProgress];
        move || codes.pop().unwrap_or_default()
    }

    #[tokio::test]
    async fn groups_are_deleted_once_their_coordinator_has_been_read() {
        let mut next = once_loading();
        let answer = move |question: &mut Question| {
            question.answer(|request: DeleteGroupsRequest| {
                let one = |group_id| DeleteGroupsResult {
                    group_id,
                    error_code: next(),
                };
                DeleteGroupsResponse {
                    results: request.groups_names.into_iter().map(one).collect(),
                    ..Default::default()
                }
            });
        };
        let flags = Flags {
            group: vec!["g".into()],
            ..Default::default()
        };
        let mut out = Vec::new();
        let mut admin = stub::admin(answer).await;
        groups(&flags, &mut admin, &mut out).await.unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Deletion of requested consumer groups ('g') was successful.\n"
        );
    }

    #[tokio::test]
    async fn offsets_are_deleted_once_their_coordinator_has_been_read() {
        let mut next = once_loading();
        let answer = move |question: &mut Question| {
            question.answer(|_: OffsetDeleteRequest| OffsetDeleteResponse {
                error_code: next(),
                topics: vec![OffsetDeleteResponseTopic {
                    name: "t".into(),
                    partitions: vec![OffsetDeleteResponsePartition::default()],
                }],
                ..Default::default()
            });
        };
        let flags = Flags {
            group: vec!["g".into()],
            topic: vec!["t:0".into()],
            ..Default::default()
        };
        let mut out = Vec::new();
        let mut admin = stub::admin(answer).await;
        offsets(&flags, &mut admin, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = "Request succeeded for deleting offsets from group g.\n";
        assert!(text.starts_with(expected), "{text}");
    }
}
