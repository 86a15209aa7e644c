//! Giving topics more partitions. The new ones have as many replicas as the topic's first.

use std::ops::Range;

use super::placement::Placement;
use super::{ControllerError, CreatePartitions, Decision, GrowTopic, Reply, answer_each_name};
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::record::MetadataRecord;
use crate::types::BrokerId;

pub(super) fn decide(image: &MetadataImage, command: &CreatePartitions) -> Decision {
    let mut growing = Growing {
        image,
        command,
        placement: Placement::new(image),
        records: Vec::new(),
        added: 0,
    };
    let results = answer_each_name(
        &command.topics,
        |topic| topic.name.as_str(),
        |topic| growing.grow(topic),
    );
    let records = if command.validate_only {
        Vec::new()
    } else {
        growing.records
    };
    Decision {
        records,
        reply: Reply::CreatePartitions(results),
    }
}

/// The partitions added so far in this command.
struct Growing<'a> {
    image: &'a MetadataImage,
    command: &'a CreatePartitions,
    placement: Placement,
    records: Vec<MetadataRecord>,
    added: usize,
}

impl Growing<'_> {
    /// Says which are added.
    fn grow(&mut self, wish: &GrowTopic) -> Result<Range<i32>, ControllerError> {
        let image = self.image;
        let topic =
            image
                .topic(wish.name.as_str())
                .ok_or_else(|| ControllerError::UnknownTopic {
                    name: wish.name.clone(),
                })?;
        let added = added_to(topic, wish.count)?;
        if topic.is_internal() {
            let topic = topic.name.clone();
            return Err(ControllerError::InternalTopicGrows { topic });
        }
        let requested = self.added.saturating_add(added);
        if requested > self.command.partitions_max {
            let max = self.command.partitions_max;
            return Err(ControllerError::TooManyPartitions { requested, max });
        }
        let replicas = self.replicas_of(topic, wish, added)?;
        self.added = requested;
        for (partition, brokers) in (topic.partition_count()..).zip(replicas) {
            let state = self.placement.first_state(brokers);
            let topic_id = topic.id;
            self.records.push(MetadataRecord::PartitionCreated {
                topic_id,
                partition,
                state,
            });
        }
        Ok(topic.partition_count()..wish.count)
    }

    fn replicas_of(
        &self,
        topic: &Topic,
        wish: &GrowTopic,
        added: usize,
    ) -> Result<Vec<Vec<BrokerId>>, ControllerError> {
        let Some(assignments) = &wish.assignments else {
            return self.placement.choose(
                added,
                topic.replication_factor(),
                topic.partitions.len(),
            );
        };
        if assignments.len() != added {
            return Err(ControllerError::AssignmentCount {
                added,
                assigned: assignments.len(),
            });
        }
        let expected = topic
            .partitions
            .first()
            .map(|partition| partition.replicas.len());
        for brokers in assignments {
            self.placement.check_assignment(brokers, expected)?;
        }
        Ok(assignments.clone())
    }
}

fn added_to(topic: &Topic, requested: i32) -> Result<usize, ControllerError> {
    let current = topic.partition_count();
    if requested == current {
        return Err(ControllerError::SamePartitions { current });
    }
    let fewer = ControllerError::FewerPartitions {
        topic: topic.name.clone(),
        current,
        requested,
    };
    if requested < current {
        return Err(fewer);
    }
    usize::try_from(requested - current).map_err(|_| fewer)
}
