//! `kafka-consumer-groups --describe`: offsets and lag, members, or states, in Kafka's tables.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::{Buf, Bytes};
use millrace_wire::message::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};
use millrace_wire::{ErrorCode, Str};

use super::{Failure, Flags, print_error};
use crate::admin::{Admin, AdminError, GroupOffsets, Node, OffsetAnswer, Target, TopicPartition};
use crate::print::{self, MISSING, Table, joined, or_missing};

/// A group, and who told about it.
struct Description {
    group: DescribedGroup,
    coordinator: Node,
}

/// Runs the action.
pub(super) async fn run(
    flags: &Flags,
    admin: &mut Admin,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut names = flags.groups(admin).await?;
    names.sort();
    names.dedup();
    let bar = print::progress(
        u64::try_from(names.len()).unwrap_or(0),
        "describing",
        print::Unit::Pieces,
    );
    let mut groups = Vec::new();
    for name in &names {
        groups.push(described(admin, name).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    for description in &groups {
        if flags.members {
            members(flags, &description.group, out)?;
        } else if flags.state.is_some() {
            state(flags, description, out)?;
        } else {
            let offsets = admin.group_offsets(&description.group.group_id).await?;
            let mut partitions: Vec<TopicPartition> = offsets.keys().cloned().collect();
            for member in &description.group.members {
                partitions.extend(assignment(&member.member_assignment));
            }
            partitions.sort();
            partitions.dedup();
            let ends = admin.list_offsets(&partitions, LATEST).await?;
            offsets_table(flags, &description.group, &offsets, &ends, out)?;
        }
    }
    Ok(())
}

/// The special time for the end of a partition.
const LATEST: i64 = -1;

async fn described(admin: &mut Admin, name: &str) -> Result<Description, AdminError> {
    let coordinator = admin.coordinator(name).await?;
    let request = DescribeGroupsRequest {
        groups: vec![Str::from(name)],
        include_authorized_operations: false,
    };
    let code_of = |response: &DescribeGroupsResponse| {
        let group = response.groups.first();
        group.map_or(ErrorCode::None, |group| group.error_code)
    };
    let target = Target::Node(coordinator.id);
    let response = admin.ask_patiently(target, &request, code_of).await?;
    let group = response.groups.into_iter().next().unwrap_or_default();
    AdminError::check(group.error_code, group.error_message.as_deref())?;
    Ok(Description { group, coordinator })
}

/// The state of a group, for those who want to change it.
pub(super) async fn state_of(admin: &mut Admin, name: &str) -> Result<String, AdminError> {
    Ok(described(admin, name).await?.group.group_state.to_string())
}

/// Says what is special about the state; false if there is nothing to show.
fn announce(group: &DescribedGroup, rows: usize, out: &mut dyn Write) -> Result<bool, Failure> {
    let name = &group.group_id;
    let state: &str = &group.group_state;
    match state {
        "Dead" => print_error(&format!("Consumer group '{name}' does not exist."), out)?,
        "Empty" => {
            out.flush()?;
            eprintln!("\nConsumer group '{name}' has no active members.");
        }
        "Stable" => {}
        _ => {
            out.flush()?;
            eprintln!("\nWarning: Consumer group '{name}' is rebalancing.");
        }
    }
    Ok(state != "Dead" && rows > 0)
}

fn offsets_table(
    flags: &Flags,
    group: &DescribedGroup,
    offsets: &GroupOffsets,
    ends: &BTreeMap<TopicPartition, OffsetAnswer>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let rows = offset_rows(group, offsets, ends);
    if !announce(group, rows.len(), out)? {
        return Ok(());
    }
    let mut headings = vec![("GROUP", 15), ("TOPIC", 15), ("PARTITION", 10)];
    if flags.verbose {
        headings.push(("LEADER-EPOCH", 15));
    }
    headings.extend([("CURRENT-OFFSET", 15), ("LOG-END-OFFSET", 15), ("LAG", 15)]);
    headings.extend([("CONSUMER-ID", 15), ("HOST", 15), ("CLIENT-ID", 0)]);
    let mut table = Table::new(&headings);
    for mut row in rows {
        if !flags.verbose {
            row.remove(LEADER_EPOCH_COLUMN);
        }
        table.row(row);
    }
    table.print(out)?;
    Ok(())
}

const LEADER_EPOCH_COLUMN: usize = 3;

/// The partitions of members with the most partitions first, then those without a member.
fn offset_rows(
    group: &DescribedGroup,
    offsets: &GroupOffsets,
    ends: &BTreeMap<TopicPartition, OffsetAnswer>,
) -> Vec<Vec<String>> {
    let row = |partition: &TopicPartition, consumer: [&str; 3]| {
        let (offset, epoch) = match offsets.get(partition) {
            Some((offset, epoch)) => (Some(*offset), Some(*epoch).filter(|epoch| *epoch >= 0)),
            None => (None, None),
        };
        let end = ends
            .get(partition)
            .and_then(|answer| answer.as_ref().ok().copied());
        let lag = offset.zip(end).map(|(offset, end)| end - offset);
        let [id, host, client] = consumer.map(str::to_owned);
        vec![
            group.group_id.to_string(),
            partition.topic.clone(),
            partition.partition.to_string(),
            or_missing(epoch),
            or_missing(offset),
            or_missing(end),
            or_missing(lag),
            id,
            host,
            client,
        ]
    };
    let mut members: Vec<_> = group
        .members
        .iter()
        .map(|member| (member, assignment(&member.member_assignment)))
        .collect();
    members.retain(|(_, assigned)| !assigned.is_empty());
    members.sort_by_key(|(_, assigned)| std::cmp::Reverse(assigned.len()));
    let mut rows = Vec::new();
    let mut unassigned: Vec<&TopicPartition> = offsets.keys().collect();
    for (member, assigned) in &members {
        let consumer = [&*member.member_id, &*member.client_host, &*member.client_id];
        rows.extend(assigned.iter().map(|partition| row(partition, consumer)));
        unassigned.retain(|partition| !assigned.contains(partition));
    }
    rows.extend(
        unassigned
            .iter()
            .map(|partition| row(partition, [MISSING; 3])),
    );
    rows
}

fn members(flags: &Flags, group: &DescribedGroup, out: &mut dyn Write) -> Result<(), Failure> {
    announce(group, group.members.len(), out)?;
    let instances = group
        .members
        .iter()
        .any(|member| member.group_instance_id.is_some());
    let mut headings = vec![("GROUP", 15), ("CONSUMER-ID", 15)];
    if instances {
        headings.push(("GROUP-INSTANCE-ID", 17));
    }
    headings.extend([("HOST", 15), ("CLIENT-ID", 15), ("#PARTITIONS", 15)]);
    if flags.verbose {
        headings.extend([("CURRENT-EPOCH", 15), ("CURRENT-ASSIGNMENT", 20)]);
        headings.extend([("TARGET-EPOCH", 15), ("TARGET-ASSIGNMENT", 20)]);
    } else {
        // Kafka ends the line with a space.
        headings.push(("", 0));
    }
    let mut table = Table::new(&headings);
    for member in &group.members {
        let assigned = assignment(&member.member_assignment);
        let mut row = vec![group.group_id.to_string(), member.member_id.to_string()];
        if instances {
            row.push(
                member
                    .group_instance_id
                    .as_deref()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
        row.extend([member.client_host.to_string(), member.client_id.to_string()]);
        row.push(assigned.len().to_string());
        if flags.verbose {
            let missing = || MISSING.to_owned();
            row.extend([missing(), assignment_text(&assigned), missing(), missing()]);
        } else {
            row.push(String::new());
        }
        table.row(row);
    }
    table.print(out)?;
    Ok(())
}

fn state(flags: &Flags, description: &Description, out: &mut dyn Write) -> Result<(), Failure> {
    let Description { group, coordinator } = description;
    if !announce(group, 1, out)? {
        return Ok(());
    }
    let coordinator = format!(
        "{}:{}  ({})",
        coordinator.host, coordinator.port, coordinator.id
    );
    let strategy = Some(&group.protocol_data).filter(|text| !text.is_empty());
    let mut headings = vec![("GROUP", 15), ("COORDINATOR (ID)", 25)];
    headings.extend([("ASSIGNMENT-STRATEGY", 20), ("STATE", 20)]);
    let mut row = vec![group.group_id.to_string(), coordinator];
    row.extend([or_missing(strategy), group.group_state.to_string()]);
    if flags.verbose {
        headings.extend([("GROUP-EPOCH", 15), ("TARGET-ASSIGNMENT-EPOCH", 25)]);
        row.extend([MISSING.to_owned(), MISSING.to_owned()]);
    }
    headings.push(("#MEMBERS", 0));
    row.push(group.members.len().to_string());
    let mut table = Table::new(&headings);
    table.row(row);
    table.print(out)?;
    Ok(())
}

/// The partitions in an assignment of the consumer protocol, sorted; none if the bytes are something else.
fn assignment(bytes: &Bytes) -> Vec<TopicPartition> {
    let mut partitions = Vec::new();
    let mut rest = bytes.clone();
    // Version, then topics with their partitions; user data behind them is of no interest.
    let _ = read_assignment(&mut rest, &mut partitions);
    partitions.sort();
    partitions
}

fn read_assignment(rest: &mut Bytes, found: &mut Vec<TopicPartition>) -> Option<()> {
    rest.try_get_i16().ok()?;
    for _ in 0..rest.try_get_i32().ok()? {
        let length = usize::try_from(rest.try_get_i16().ok()?).ok()?;
        if length > rest.len() {
            return None;
        }
        let topic = String::from_utf8(rest.split_to(length).to_vec()).ok()?;
        for _ in 0..rest.try_get_i32().ok()? {
            let partition = rest.try_get_i32().ok()?;
            found.push(TopicPartition {
                topic: topic.clone(),
                partition,
            });
        }
    }
    Some(())
}

/// `a:0,1;b:2`.
fn assignment_text(partitions: &[TopicPartition]) -> String {
    if partitions.is_empty() {
        return MISSING.to_owned();
    }
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics
            .entry(&partition.topic)
            .or_default()
            .push(partition.partition);
    }
    joined(
        topics
            .iter()
            .map(|(topic, list)| format!("{topic}:{}", joined(list, ","))),
        ";",
    )
}

#[cfg(test)]
mod tests {
    use millrace_wire::message::describe_groups::DescribedGroupMember;

    use super::*;

    const ASSIGNMENT: &[u8] =
        b"\0\x01\0\0\0\x01\0\x05plain\0\0\0\x02\0\0\0\x01\0\0\0\0\xff\xff\xff\xff";

    fn group() -> DescribedGroup {
        DescribedGroup {
            group_id: "live".into(),
            group_state: "Stable".into(),
            members: vec![DescribedGroupMember {
                member_id: "inst1-4cee63d4".into(),
                group_instance_id: Some("inst1".into()),
                client_id: "cc".into(),
                client_host: "/127.0.0.1".into(),
                member_assignment: Bytes::from_static(ASSIGNMENT),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn an_assignment_is_read_from_the_consumer_protocol() {
        let found = assignment(&Bytes::from_static(ASSIGNMENT));
        assert_eq!(assignment_text(&found), "plain:0,1");
        assert!(assignment(&Bytes::from_static(b"\0\x01\x7f\xff\xff\xff")).is_empty());
        assert!(assignment(&Bytes::new()).is_empty());
    }

    #[test]
    fn offsets_and_lag_are_printed_as_kafka_prints_them() {
        let at = |partition| TopicPartition {
            topic: "plain".into(),
            partition,
        };
        let offsets = GroupOffsets::from([(at(0), (1, 0)), (at(7), (4, -1))]);
        let ends = BTreeMap::from([
            (at(0), Ok(3)),
            (at(1), Ok(5)),
            (at(7), Err(ErrorCode::UnknownTopicOrPartition)),
        ]);
        let mut out = Vec::new();
        offsets_table(&Flags::default(), &group(), &offsets, &ends, &mut out).unwrap();
        let expected = "
GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID
live            plain           0          1               3               2               inst1-4cee63d4  /127.0.0.1      cc
live            plain           1          -               5               -               inst1-4cee63d4  /127.0.0.1      cc
live            plain           7          4               -               -               -               -               -
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn members_are_printed_as_kafka_prints_them() {
        let mut out = Vec::new();
        let flags = Flags {
            verbose: true,
            ..Default::default()
        };
        members(&flags, &group(), &mut out).unwrap();
        let expected = "
GROUP           CONSUMER-ID     GROUP-INSTANCE-ID HOST            CLIENT-ID       #PARTITIONS     CURRENT-EPOCH   CURRENT-ASSIGNMENT   TARGET-EPOCH    TARGET-ASSIGNMENT   
live            inst1-4cee63d4  inst1             /127.0.0.1      cc              2               -               plain:0,1            -               -                   
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
