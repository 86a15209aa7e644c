//! Committed offsets: who may commit, what is fetched, what is removed, and what expires.
//!
//! It reads the durable part and the group's state and writes records only; topics and partitions need not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::classic::{ClassicGroup, Step};
use super::command::{
    CommitOffsets, FetchOffsets, FetchedOffset, GroupReply, NamedTopic, OffsetToCommit,
    OffsetsWanted,
};
use super::config::GroupConfig;
use super::error::GroupError;
use super::ids::GroupId;
use super::record::{GroupRecord, offset_record_length_max};
use super::state::GroupState;
use super::stored::{CommittedOffset, Stored, TOPIC_BYTES, offset_bytes};
use crate::types::{GenerationId, LeaderEpoch, Offset, Timestamp, TopicName, TopicPartition};

/// What the metadata of an offset may have at most in a record, in bytes.
const METADATA_BYTES_MAX: usize = i16::MAX as usize;

/// Serves a commit of a group that exists, or has just been made for it.
pub(super) fn commit(
    group: &ClassicGroup,
    stored: &Stored,
    step: &mut Step<'_>,
    commit: CommitOffsets,
) -> Result<GroupReply, GroupError> {
    validate_commit(group, &commit)?;
    check_size(step.config, &commit)?;
    check_room(stored, step.room, &commit)?;
    if matches!(
        group.state,
        GroupState::Stable | GroupState::PreparingRebalance
    ) {
        group.touch(step, &commit.member_id);
    }
    let now = step.now.wall;
    let expires = commit
        .retention_ms
        .map(|retention| Timestamp(now.0.saturating_add(retention)));
    let mut results = Vec::with_capacity(commit.offsets.len());
    for offset in commit.offsets {
        let checked = check_topic(&offset).and_then(|()| check_metadata(step.config, &offset));
        if checked.is_ok() {
            step.decision
                .records
                .push(committed(&group.id, offset, now, expires));
        }
        results.push(checked);
    }
    Ok(GroupReply::OffsetsCommitted(results))
}

fn validate_commit(group: &ClassicGroup, commit: &CommitOffsets) -> Result<(), GroupError> {
    let has_generation = commit.generation > GenerationId::NONE;
    if !has_generation && group.state == GroupState::Empty {
        // A tool, or a consumer that manages its partitions itself.
        return Ok(());
    }
    if !has_generation && commit.member_id.is_empty() && commit.instance_id.is_none() {
        return Err(group.unknown(&commit.member_id));
    }
    group.validate(&commit.member_id, commit.instance_id.as_ref())?;
    group.validate_generation(commit.generation)?;
    if group.state == GroupState::CompletingRebalance {
        Err(group.rebalancing())
    } else {
        Ok(())
    }
}

/// Whether the records fit one batch: looks at no more of them than would.
fn check_size(config: &GroupConfig, commit: &CommitOffsets) -> Result<(), GroupError> {
    let max = config.record_bytes_max;
    let mut left = max;
    for offset in &commit.offsets {
        let bytes = offset_record_length_max(&commit.group, &offset.partition, &offset.metadata);
        left = left
            .checked_sub(bytes)
            .ok_or_else(|| GroupError::CommitTooLarge {
                group: commit.group.clone(),
                count: commit.offsets.len(),
                max,
            })?;
    }
    Ok(())
}

/// Whether there is memory for what is new in a commit.
fn check_room(stored: &Stored, left: usize, commit: &CommitOffsets) -> Result<(), GroupError> {
    let all = commit.offsets.iter();
    let most = all.map(|offset| TOPIC_BYTES + offset_bytes(&offset.metadata));
    if most.sum::<usize>() <= left {
        return Ok(());
    }
    let added = commit.offsets.iter().map(|offset| {
        let former = stored.offset(&commit.group, &offset.partition);
        let former = former.map_or(0, |former| offset_bytes(&former.metadata));
        let topic = match stored.has_offsets_in(&commit.group, &offset.partition.topic) {
            true => 0,
            false => TOPIC_BYTES,
        };
        topic + offset_bytes(&offset.metadata).saturating_sub(former)
    });
    let bytes = added.sum();
    if bytes <= left {
        return Ok(());
    }
    let group = commit.group.clone();
    Err(GroupError::OutOfMemory { group, bytes, left })
}

fn check_topic(offset: &OffsetToCommit) -> Result<(), GroupError> {
    match offset.topic {
        NamedTopic::ByName | NamedTopic::ById(_) => Ok(()),
        NamedTopic::Gone => Err(GroupError::TopicGone {
            topic: offset.partition.topic.clone(),
        }),
    }
}

fn check_metadata(config: &GroupConfig, offset: &OffsetToCommit) -> Result<(), GroupError> {
    let metadata = &offset.metadata;
    let max = config.offset_metadata_max;
    // A text never has more UTF-16 units than bytes: the count is needed only for those that may be too long.
    let length = if metadata.len() <= max {
        metadata.len()
    } else {
        metadata.encode_utf16().count()
    };
    if length > max || metadata.len() > METADATA_BYTES_MAX {
        return Err(GroupError::OffsetMetadataTooLarge {
            length,
            max: max.min(METADATA_BYTES_MAX),
        });
    }
    Ok(())
}

fn committed(
    group: &GroupId,
    offset: OffsetToCommit,
    now: Timestamp,
    expires: Option<Timestamp>,
) -> GroupRecord {
    // The one record version with an expiry time has no leader epoch, and requests have never had both.
    let leader_epoch = if expires.is_some() {
        LeaderEpoch::NONE
    } else {
        offset.leader_epoch
    };
    let value = CommittedOffset {
        offset: offset.offset,
        leader_epoch,
        metadata: offset.metadata,
        committed: now,
        expires,
    };
    GroupRecord::Offset {
        group: group.clone(),
        partition: offset.partition,
        value: Some(value),
    }
}

/// Serves a fetch; a group that does not exist has no offsets.
pub(super) fn fetch(stored: &Stored, fetch: FetchOffsets) -> GroupReply {
    let offsets = match fetch.wanted {
        OffsetsWanted::Of(partitions) => {
            let found = partitions.into_iter().map(|partition| {
                let offset = stored.offset(&fetch.group, &partition);
                fetched(partition, offset)
            });
            found.collect()
        }
        OffsetsWanted::Next { after, count_max } => {
            let found = all_after(stored, &fetch.group, after.as_ref()).take(count_max);
            found
                .map(|(partition, offset)| fetched(partition, Some(offset)))
                .collect()
        }
    };
    GroupReply::OffsetsFetched(offsets)
}

fn fetched(partition: TopicPartition, offset: Option<&CommittedOffset>) -> FetchedOffset {
    FetchedOffset {
        partition,
        offset: offset.map_or(Offset::NONE, |offset| offset.offset),
        leader_epoch: offset.map_or(LeaderEpoch::NONE, |offset| offset.leader_epoch),
        metadata: offset
            .map(|offset| offset.metadata.clone())
            .unwrap_or_default(),
    }
}

/// Serves a removal of offsets.
pub(super) fn delete(
    group: &ClassicGroup,
    stored: &Stored,
    step: &mut Step<'_>,
    partitions: Vec<TopicPartition>,
) -> Result<GroupReply, GroupError> {
    if group.state != GroupState::Empty && !group.is_consumer() {
        return Err(GroupError::NonEmptyGroup {
            group: group.id.clone(),
        });
    }
    let asked = partitions.iter().map(|partition| partition.topic.as_str());
    let in_use = group.in_use(step.config, asked.collect());
    let mut seen = BTreeSet::new();
    let mut results = Vec::with_capacity(partitions.len());
    for partition in &partitions {
        if in_use.contains(partition.topic.as_str()) {
            let (group, topic) = (group.id.clone(), partition.topic.clone());
            results.push(Err(GroupError::SubscribedToTopic { group, topic }));
            continue;
        }
        if stored.offset(&group.id, partition).is_some() && seen.insert(partition) {
            let partition = partition.clone();
            step.decision.records.push(tombstone(&group.id, partition));
        }
        results.push(Ok(()));
    }
    Ok(GroupReply::OffsetsDeleted(results))
}

/// Removes every offset of a group.
pub(super) fn delete_all(group: &GroupId, stored: &Stored, step: &mut Step<'_>) {
    let tombstones = all(stored, group).map(|(partition, _)| tombstone(group, partition));
    step.decision.records.extend(tombstones);
}

/// Removes the offsets of all groups in topics that are gone, as far as they were committed by the time given. Of many groups,
/// each has few topics; of many topics, each group has few: whichever are fewer are gone through.
pub(super) fn forget_topics(
    stored: &Stored,
    step: &mut Step<'_>,
    topics: &BTreeMap<TopicName, Timestamp>,
) {
    let records = &mut step.decision.records;
    for (group, offsets) in stored.all_offsets() {
        let mut forget = |topic: &TopicName, partitions: &Partitions, deleted: Timestamp| {
            let former = partitions.iter().filter(|(_, it)| it.committed <= deleted);
            records.extend(former.map(|(&partition, _)| {
                let topic = topic.clone();
                tombstone(group, TopicPartition { topic, partition })
            }));
        };
        if topics.len() < offsets.len() {
            for (topic, &deleted) in topics {
                if let Some(partitions) = offsets.get(topic) {
                    forget(topic, partitions, deleted);
                }
            }
        } else {
            for (topic, partitions) in offsets {
                if let Some(&deleted) = topics.get(topic) {
                    forget(topic, partitions, deleted);
                }
            }
        }
    }
}

/// The offsets of one group in one topic.
type Partitions = BTreeMap<i32, CommittedOffset>;

/// Removes what has expired of a group's offsets; whether that is all of them.
pub(super) fn expire(group: &ClassicGroup, stored: &Stored, step: &mut Step<'_>) -> bool {
    let mut keeps_some = false;
    let mut due = Vec::new();
    for (partition, offset) in all(stored, &group.id) {
        if is_due(group, offset, step) {
            due.push(partition);
        } else {
            keeps_some = true;
        }
    }
    let topics = due.iter().map(|partition| partition.topic.as_str());
    let in_use = group.in_use(step.config, topics.collect());
    for partition in &due {
        if in_use.contains(partition.topic.as_str()) {
            keeps_some = true;
        } else {
            let tombstone = tombstone(&group.id, partition.clone());
            step.decision.records.push(tombstone);
        }
    }
    !keeps_some
}

/// An offset without an expiry time of its own is kept for the retention time, counted from its commit; in a group whose
/// members have left, at the earliest from their leaving. Kafka counts from their leaving alone, and so loses at once what a
/// tool commits for a group that has long been empty.
fn is_due(group: &ClassicGroup, offset: &CommittedOffset, step: &Step<'_>) -> bool {
    let base = match group.state {
        GroupState::Empty if group.protocol_type.is_some() => {
            offset.committed.max(group.state_since)
        }
        GroupState::Empty => offset.committed,
        GroupState::Stable if group.is_consumer() => offset.committed,
        _ => return false,
    };
    let now = step.now.wall;
    match offset.expires {
        Some(expires) => now >= expires,
        None => now.0.saturating_sub(base.0) >= step.config.offsets_retention_ms,
    }
}

fn all<'a>(
    stored: &'a Stored,
    group: &GroupId,
) -> impl Iterator<Item = (TopicPartition, &'a CommittedOffset)> {
    all_after(stored, group, None)
}

/// Those behind `after`, if it is given.
fn all_after<'a>(
    stored: &'a Stored,
    group: &GroupId,
    after: Option<&TopicPartition>,
) -> impl Iterator<Item = (TopicPartition, &'a CommittedOffset)> {
    let from = after.map_or(Bound::Unbounded, |after| Bound::Included(&after.topic));
    let bounds = (from, Bound::<&TopicName>::Unbounded);
    let topics = stored.offsets(group).into_iter();
    let topics = topics.flat_map(move |topics| topics.range::<TopicName, _>(bounds));
    topics.flat_map(move |(topic, partitions)| {
        let from = match after {
            Some(after) if after.topic == *topic => Bound::Excluded(after.partition),
            _ => Bound::Unbounded,
        };
        let partitions = partitions.range((from, Bound::Unbounded));
        partitions.map(move |(partition, offset)| {
            let partition = TopicPartition {
                topic: topic.clone(),
                partition: *partition,
            };
            (partition, offset)
        })
    })
}

fn tombstone(group: &GroupId, partition: TopicPartition) -> GroupRecord {
    GroupRecord::Offset {
        group: group.clone(),
        partition,
        value: None,
    }
}
