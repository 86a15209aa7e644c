//! Removing topics, by name or by id. A removed topic takes its settings with it; its name is free at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{
    ControllerError, Decision, DeleteTopics, DeletedTopic, Reply, TopicReference, repeated,
};
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::record::MetadataRecord;
use crate::types::TopicId;

pub(super) fn decide(image: &MetadataImage, command: &DeleteTopics) -> Decision {
    let twice = repeated(command.topics.iter());
    let mut pointed_at: BTreeMap<TopicId, usize> = BTreeMap::new();
    let distinct: BTreeSet<_> = command.topics.iter().collect();
    for topic in distinct
        .iter()
        .filter_map(|reference| find(image, reference).ok())
    {
        *pointed_at.entry(topic.id).or_default() += 1;
    }
    let mut records = Vec::new();
    let mut results = Vec::new();
    let mut answered = BTreeSet::new();
    for reference in &command.topics {
        if !answered.insert(reference) {
            continue;
        }
        let result = delete(image, reference, twice.contains(reference), &pointed_at);
        if let Ok(deleted) = &result {
            records.push(MetadataRecord::TopicRemoved { id: deleted.id });
        }
        results.push((reference.clone(), result));
    }
    Decision {
        records,
        reply: Reply::DeleteTopics(results),
    }
}

fn delete(
    image: &MetadataImage,
    reference: &TopicReference,
    twice: bool,
    pointed_at: &BTreeMap<TopicId, usize>,
) -> Result<DeletedTopic, ControllerError> {
    let duplicate = match reference {
        TopicReference::Name(_) => ControllerError::DuplicateTopicName,
        TopicReference::Id(_) => ControllerError::DuplicateTopicId,
    };
    if twice {
        return Err(duplicate);
    }
    let topic = find(image, reference)?;
    if pointed_at.get(&topic.id).is_some_and(|&count| count > 1) {
        return Err(duplicate);
    }
    Ok(DeletedTopic {
        id: topic.id,
        name: topic.name.clone(),
    })
}

fn find<'a>(
    image: &'a MetadataImage,
    reference: &TopicReference,
) -> Result<&'a Arc<Topic>, ControllerError> {
    match reference {
        TopicReference::Name(name) => image
            .topic(name.as_str())
            .ok_or_else(|| ControllerError::UnknownTopic { name: name.clone() }),
        TopicReference::Id(id) => image
            .topic_by_id(*id)
            .ok_or(ControllerError::UnknownTopicId { id: *id }),
    }
}
