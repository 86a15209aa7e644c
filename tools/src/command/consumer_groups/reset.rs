//! `kafka-consumer-groups --reset-offsets`: works out new offsets, shows or exports them, and stores them if told to.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use millrace_wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use millrace_wire::{ErrorCode, Str};

use super::describe::state_of;
use super::time::{parse_datetime, parse_duration};
use super::{Failure, Flags, print_error};
use crate::admin::{
    Admin, AdminError, OFFSETS_BY_NAME_VERSION, OffsetAnswer, Target, TopicPartition,
};
use crate::flags::topic_partitions;
use crate::print::{Table, joined};

type Offsets = BTreeMap<TopicPartition, i64>;

/// Special times of ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Runs the action.
pub(super) async fn run(
    flags: &Flags,
    admin: &mut Admin,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut plan: BTreeMap<String, Offsets> = BTreeMap::new();
    for group in flags.groups(admin).await? {
        let state = match state_of(admin, &group).await {
            // A group that was never there can be given offsets.
            Err(AdminError::Refused {
                code: ErrorCode::GroupIdNotFound,
                ..
            }) => "Dead".to_owned(),
            state => state?,
        };
        if !matches!(state.as_str(), "Empty" | "Dead") {
            let text = format!(
                "Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
            );
            print_error(&text, out)?;
            plan.insert(group, Offsets::new());
            continue;
        }
        let offsets = prepare(flags, admin, &group, out).await?;
        if flags.execute {
            commit(admin, &group, &offsets).await?;
        }
        plan.insert(group, offsets);
    }
    if flags.export {
        return export(flags, &plan, out);
    }
    let mut table = Table::new(&[
        ("GROUP", 15),
        ("TOPIC", 15),
        ("PARTITION", 10),
        ("NEW-OFFSET", 0),
    ]);
    for (group, offsets) in &plan {
        for (place, offset) in offsets {
            let partition = place.partition.to_string();
            table.row(vec![
                group.clone(),
                place.topic.clone(),
                partition,
                offset.to_string(),
            ]);
        }
    }
    table.print(out)?;
    Ok(())
}

async fn prepare(
    flags: &Flags,
    admin: &mut Admin,
    group: &str,
    out: &mut dyn Write,
) -> Result<Offsets, Failure> {
    let committed = admin.group_offsets(group).await;
    let committed: Offsets = match committed {
        Err(AdminError::Refused {
            code: ErrorCode::GroupIdNotFound,
            ..
        }) => Offsets::new(),
        offsets => offsets?
            .into_iter()
            .map(|(place, (offset, _))| (place, offset))
            .collect(),
    };
    let scope = scope(flags, admin, &committed).await?;
    check_exist(admin, &scope).await?;
    let everywhere = |offset: i64| {
        scope
            .iter()
            .map(move |place| (place.clone(), offset))
            .collect()
    };
    if let Some(offset) = flags.to_offset {
        return in_range(admin, everywhere(offset)).await;
    }
    if flags.to_earliest {
        return offsets_at(admin, &scope, EARLIEST).await;
    }
    if flags.to_latest {
        return offsets_at(admin, &scope, LATEST).await;
    }
    if let Some(shift) = flags.shift_by {
        return in_range(admin, shifted(&scope, &committed, shift)?).await;
    }
    if let Some(text) = &flags.to_datetime {
        let time = parse_datetime(text).ok_or_else(|| {
            let reason = if text.contains('T') {
                format!("Unparseable date: \"{text}\"")
            } else {
                "Error parsing timestamp. It does not contain a 'T' according to ISO8601 format"
                    .to_owned()
            };
            Failure::Text(format!("java.text.ParseException: {reason}"))
        })?;
        return at_time(admin, &scope, time, out).await;
    }
    if let Some(text) = &flags.by_duration {
        let duration = parse_duration(text)
            .ok_or_else(|| Failure::Text("Text cannot be parsed to a Duration".to_owned()))?;
        return at_time(admin, &scope, now_ms().saturating_sub(duration), out).await;
    }
    if let Some(path) = &flags.from_file {
        let mut plan = read_plan(flags, path)?;
        return match plan.remove(group) {
            Some(offsets) => {
                check_exist(admin, &offsets.keys().cloned().collect::<Vec<_>>()).await?;
                in_range(admin, offsets).await
            }
            None => {
                print_error(&format!("No reset plan for group {group} found."), out)?;
                Ok(Offsets::new())
            }
        };
    }
    let (known, unknown): (Vec<_>, Vec<_>) = scope
        .iter()
        .cloned()
        .partition(|place| committed.contains_key(place));
    let mut offsets = offsets_at(admin, &unknown, LATEST).await?;
    offsets.extend(known.into_iter().filter_map(|place| {
        let offset = *committed.get(&place)?;
        Some((place, offset))
    }));
    Ok(offsets)
}

/// The partitions that the flags mean.
async fn scope(
    flags: &Flags,
    admin: &mut Admin,
    committed: &Offsets,
) -> Result<Vec<TopicPartition>, Failure> {
    if flags.all_topics {
        return Ok(committed.keys().cloned().collect());
    }
    let mut scope = Vec::new();
    for argument in &flags.topic {
        if argument.contains(':') {
            scope.extend(topic_partitions(argument)?);
        } else {
            scope.extend(admin.partitions_of(std::slice::from_ref(argument)).await?);
        }
    }
    Ok(scope)
}

async fn check_exist(admin: &mut Admin, scope: &[TopicPartition]) -> Result<(), Failure> {
    let leaders = admin.leaders(scope).await?;
    let with = |wanted: ErrorCode| {
        let found = leaders.iter().filter(|(_, leader)| **leader == Err(wanted));
        joined(found.map(|(place, _)| place), ",")
    };
    let unknown = with(ErrorCode::UnknownTopicOrPartition);
    if !unknown.is_empty() {
        return Err(Failure::Text(format!(
            "The partitions \"{unknown}\" do not exist"
        )));
    }
    let leaderless = with(ErrorCode::LeaderNotAvailable);
    if !leaderless.is_empty() {
        return Err(Failure::Text(format!(
            "The partitions \"{leaderless}\" have no leader"
        )));
    }
    Ok(())
}

async fn offsets_at(
    admin: &mut Admin,
    scope: &[TopicPartition],
    time: i64,
) -> Result<Offsets, Failure> {
    let answers = admin.list_offsets(scope, time).await?;
    let offset = |(place, answer): (TopicPartition, OffsetAnswer)| match answer {
        Ok(offset) => Ok((place, offset)),
        Err(code) => Err(AdminError::refused(code, None).into()),
    };
    answers.into_iter().map(offset).collect()
}

/// The first offsets of that time or later; the end where there are none.
async fn at_time(
    admin: &mut Admin,
    scope: &[TopicPartition],
    time: i64,
    out: &mut dyn Write,
) -> Result<Offsets, Failure> {
    let mut offsets = offsets_at(admin, scope, time).await?;
    let none: Vec<TopicPartition> = offsets
        .iter()
        .filter(|(_, offset)| **offset < 0)
        .map(|(place, _)| place.clone())
        .collect();
    for TopicPartition { topic, partition } in &none {
        writeln!(
            out,
            "\nWarn: Partition {partition} from topic {topic} is empty. Falling back to latest known offset."
        )?;
    }
    offsets.extend(offsets_at(admin, &none, LATEST).await?);
    Ok(offsets)
}

fn shifted(scope: &[TopicPartition], committed: &Offsets, shift: i64) -> Result<Offsets, Failure> {
    let offset = |place: &TopicPartition| match committed.get(place) {
        Some(offset) => Ok((place.clone(), offset.saturating_add(shift))),
        None => Err(Failure::Usage(format!(
            "Cannot shift offset for partition {place} since there is no current committed offset"
        ))),
    };
    scope.iter().map(offset).collect()
}

/// The offsets, moved to the next one that is there.
async fn in_range(admin: &mut Admin, wanted: Offsets) -> Result<Offsets, Failure> {
    let scope: Vec<TopicPartition> = wanted.keys().cloned().collect();
    let starts = offsets_at(admin, &scope, EARLIEST).await?;
    let ends = offsets_at(admin, &scope, LATEST).await?;
    let offset = |(place, offset): (TopicPartition, i64)| {
        let start = starts.get(&place).copied().unwrap_or(offset);
        let end = ends.get(&place).copied().unwrap_or(offset);
        let place_text = &place;
        if offset > end {
            eprintln!(
                "WARN New offset ({offset}) is higher than latest offset for topic partition {place_text}. Value will be set to {end}."
            );
        } else if offset < start {
            eprintln!(
                "WARN New offset ({offset}) is lower than earliest offset for topic partition {place_text}. Value will be set to {start}."
            );
        }
        (place, offset.min(end).max(start))
    };
    Ok(wanted.into_iter().map(offset).collect())
}

async fn commit(admin: &mut Admin, group: &str, offsets: &Offsets) -> Result<(), Failure> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (place, offset) in offsets {
        topics
            .entry(&place.topic)
            .or_default()
            .push(OffsetCommitRequestPartition {
                partition_index: place.partition,
                committed_offset: *offset,
                committed_metadata: Some(Str::default()),
                ..Default::default()
            });
    }
    let topic = |(name, partitions): (&str, _)| OffsetCommitRequestTopic {
        name: name.into(),
        partitions,
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    };
    let coordinator = Target::Node(admin.coordinator(group).await?.id);
    let response = admin
        .ask_patiently_up_to(coordinator, &request, OFFSETS_BY_NAME_VERSION, first_error)
        .await?;
    AdminError::check(first_error(&response), None).map_err(Failure::Admin)
}

/// The error of the first partition that has one.
fn first_error(response: &OffsetCommitResponse) -> ErrorCode {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let mut codes = partitions.map(|partition| partition.error_code);
    codes.find(|code| code.is_error()).unwrap_or_default()
}

fn export(
    flags: &Flags,
    plan: &BTreeMap<String, Offsets>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for (group, offsets) in plan {
        for (place, offset) in offsets {
            if flags.group.len() != 1 {
                write!(out, "{group},")?;
            }
            writeln!(out, "{},{},{offset}", place.topic, place.partition)?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// Reads `topic,partition,offset` lines for one group, or `group,topic,partition,offset` lines.
fn read_plan(flags: &Flags, path: &Path) -> Result<BTreeMap<String, Offsets>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    parse_plan(&text, &flags.group)
}

fn parse_plan(text: &str, groups: &[String]) -> Result<BTreeMap<String, Offsets>, Failure> {
    let mut plan: BTreeMap<String, Offsets> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line
            .split(',')
            .map(|field| field.trim().trim_matches('"'))
            .collect();
        let (group, topic, partition, offset) = match (fields.as_slice(), groups) {
            ([topic, partition, offset], [group]) => (group.as_str(), *topic, partition, offset),
            ([group, topic, partition, offset], _) => (*group, *topic, partition, offset),
            _ => {
                return Err(Failure::Text(format!(
                    "Unreadable line in the reset plan: {line}"
                )));
            }
        };
        let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else {
            return Err(Failure::Text(format!(
                "Unreadable line in the reset plan: {line}"
            )));
        };
        let place = TopicPartition {
            topic: topic.to_owned(),
            partition,
        };
        plan.entry(group.to_owned())
            .or_default()
            .insert(place, offset);
    }
    Ok(plan)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command-line tool asked for a time before now; nothing is simulated here"
)]
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use millrace_wire::message::offset_commit::{
        OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    };

    use super::*;
    use crate::admin::stub::{self, Question};

    #[tokio::test]
    async fn offsets_are_committed_once_their_coordinator_has_been_read() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let answer = move |question: &mut Question| {
            question.answer(|request: OffsetCommitRequest| {
                let error_code = match counted.fetch_add(1, Ordering::Relaxed) {
                    0 => ErrorCode::CoordinatorLoadInProgress,
                    _ => ErrorCode::None,
                };
                let topic = |topic: OffsetCommitRequestTopic| OffsetCommitResponseTopic {
                    name: topic.name,
                    partitions: vec![OffsetCommitResponsePartition {
                        partition_index: 0,
                        error_code,
                    }],
                    ..Default::default()
                };
                OffsetCommitResponse {
                    topics: request.topics.into_iter().map(topic).collect(),
                    ..Default::default()
                }
            });
        };
        let mut admin = stub::admin(answer).await;
        let offsets = Offsets::from([(at("t", 0), 5)]);
        commit(&mut admin, "g", &offsets).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }

    #[test]
    fn a_plan_that_was_exported_is_read_back() {
        let flags = Flags {
            group: vec!["g".into()],
            ..Default::default()
        };
        let plan = BTreeMap::from([(
            "g".to_owned(),
            Offsets::from([(at("a.b", 0), 1), (at("a.b", 1), 2)]),
        )]);
        let mut out = Vec::new();
        export(&flags, &plan, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a.b,0,1\na.b,1,2\n\n");
        assert_eq!(parse_plan(&text, &flags.group).unwrap(), plan);
    }

    #[test]
    fn a_plan_for_several_groups_names_them() {
        let plan = parse_plan("g,t,0,5\n\"h\",t,1,6\n", &[]).unwrap();
        assert_eq!(plan["g"], Offsets::from([(at("t", 0), 5)]));
        assert_eq!(plan["h"], Offsets::from([(at("t", 1), 6)]));
        assert!(parse_plan("t,0,5\n", &[]).is_err());
        assert!(parse_plan("g,t,x,5\n", &[]).is_err());
    }

    #[test]
    fn a_shift_needs_a_committed_offset() {
        let committed = Offsets::from([(at("t", 0), 5)]);
        assert_eq!(
            shifted(&[at("t", 0)], &committed, -2).unwrap()[&at("t", 0)],
            3
        );
        let error = shifted(&[at("t", 1)], &committed, 1)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "Cannot shift offset for partition t-1 since there is no current committed offset"
        );
    }
}
