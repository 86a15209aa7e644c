//! Finds what requests name: topics and partitions, by name or by id.

use std::collections::{BTreeMap, BTreeSet};

use millrace_engine::metadata::MetadataImage;
use millrace_engine::types::{TopicId, TopicIdPartition, Uuid};
use millrace_wire::ErrorCode;

/// The partition with that number of the topic with that name.
///
/// # Errors
/// [`ErrorCode::UnknownTopicOrPartition`], also for what could be no name.
pub(super) fn partition_by_name(
    image: &MetadataImage,
    name: &str,
    partition: i32,
) -> Result<TopicIdPartition, ErrorCode> {
    let topic = image
        .topic(name)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    topic
        .partition(partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok(TopicIdPartition {
        topic_id: topic.id,
        partition,
    })
}

/// The partition with that number of the topic with that id.
///
/// # Errors
/// [`ErrorCode::UnknownTopicId`], or [`ErrorCode::UnknownTopicOrPartition`] for a topic without such a partition.
pub(super) fn partition_by_id(
    image: &MetadataImage,
    id: millrace_wire::Uuid,
    partition: i32,
) -> Result<TopicIdPartition, ErrorCode> {
    let topic_id = topic_id(id);
    let topic = image
        .topic_by_id(topic_id)
        .ok_or(ErrorCode::UnknownTopicId)?;
    topic
        .partition(partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok(TopicIdPartition {
        topic_id,
        partition,
    })
}

/// Drops the partitions that were named before. `topics` are what stands for each topic and the list of its partitions, `number` is the
/// number of one of them. By topic first: a name may be long, and is compared once for all partitions behind it.
pub(super) fn each_once<'a, Topic: Ord, Partition: 'a>(
    topics: impl Iterator<Item = (Topic, &'a mut Vec<Partition>)>,
    number: impl Fn(&Partition) -> i32,
) {
    let mut seen: BTreeMap<Topic, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partitions) in topics {
        let seen = seen.entry(topic).or_default();
        partitions.retain(|partition| seen.insert(number(partition)));
    }
}

/// A topic id as the engine has it.
pub(super) const fn topic_id(id: millrace_wire::Uuid) -> TopicId {
    TopicId(Uuid(id.0))
}

/// A topic id as it travels.
pub(super) const fn wire_id(id: TopicId) -> millrace_wire::Uuid {
    millrace_wire::Uuid(id.0.0)
}
