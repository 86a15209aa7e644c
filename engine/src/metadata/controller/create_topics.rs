//! Making topics: names, counts, assignments and settings are judged topic by topic.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::Placement;
use super::{
    ControllerError, CreateTopics, CreatedTopic, Decision, NewTopic, Reply, answer_each_name,
    configs,
};
use crate::config::{Overrides, alter_topic};
use crate::metadata::image::{MetadataImage, collision_form};
use crate::metadata::record::{ConfigResource, MetadataRecord, Partition};
use crate::types::{BrokerId, TopicId, TopicName, Uuid};

pub(super) fn decide(image: &MetadataImage, command: &CreateTopics) -> Decision {
    let mut making = Making::new(image, command);
    let results = answer_each_name(
        &command.topics,
        |topic| topic.name.as_str(),
        |topic| making.make(topic),
    );
    let records = if command.validate_only {
        Vec::new()
    } else {
        making.records
    };
    Decision {
        records,
        reply: Reply::CreateTopics(results),
    }
}

/// The topics made so far in this command.
struct Making<'a> {
    image: &'a MetadataImage,
    command: &'a CreateTopics,
    placement: Placement,
    records: Vec<MetadataRecord>,
    ids: BTreeSet<TopicId>,
    collision_forms: BTreeMap<String, TopicName>,
    partitions: usize,
}

impl<'a> Making<'a> {
    fn new(image: &'a MetadataImage, command: &'a CreateTopics) -> Self {
        Self {
            image,
            command,
            placement: Placement::new(image),
            records: Vec::new(),
            ids: BTreeSet::new(),
            collision_forms: BTreeMap::new(),
            partitions: 0,
        }
    }

    fn make(&mut self, topic: &NewTopic) -> Result<CreatedTopic, ControllerError> {
        let name = self.name_of(topic)?;
        // Settings first, as in Kafka, and because partitions that are not made count for nothing.
        let overrides = self.overrides_of(topic)?;
        let replicas = self.replicas_of(topic)?;
        let id = self.id_from(topic.random);
        let replication_factor = replicas.first().map_or(0, Vec::len);
        let created = CreatedTopic {
            id,
            name: name.clone(),
            partitions: i32::try_from(replicas.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(replication_factor).unwrap_or(i16::MAX),
            overrides,
        };
        self.partitions += replicas.len();
        self.ids.insert(id);
        if let Some(form) = collision_form(name.as_str()) {
            self.collision_forms.insert(form, name);
        }
        self.record(&created, replicas);
        Ok(created)
    }

    fn name_of(&self, topic: &NewTopic) -> Result<TopicName, ControllerError> {
        let name: TopicName = topic.name.parse()?;
        if name.as_str() == TopicName::METADATA {
            return Err(ControllerError::MetadataTopic);
        }
        if self.image.topic(&name).is_some() {
            return Err(ControllerError::TopicExists { name });
        }
        let form = collision_form(name.as_str());
        let in_command = form.and_then(|form| self.collision_forms.get(&form));
        match self.image.collides(&name).or(in_command) {
            None => Ok(name),
            Some(existing) => Err(ControllerError::TopicCollides {
                existing: existing.clone(),
                name,
            }),
        }
    }

    /// The brokers of each partition.
    fn replicas_of(&self, topic: &NewTopic) -> Result<Vec<Vec<BrokerId>>, ControllerError> {
        if !topic.assignments.is_empty() {
            return self.assigned(topic);
        }
        let factor = match topic.replication_factor {
            -1 => self.command.replication_factor_default,
            given => given,
        };
        if factor <= 0 {
            return Err(ControllerError::ReplicationFactorNotPositive {
                replication_factor: factor,
            });
        }
        let count = match topic.partitions {
            -1 => self.command.partitions_default,
            given => given,
        };
        let partitions = usize::try_from(count)
            .ok()
            .filter(|&count| count > 0)
            .ok_or(ControllerError::PartitionsNotPositive { partitions: count })?;
        self.check_count(partitions)?;
        self.placement.choose(
            partitions,
            factor,
            usize::try_from(topic.random >> 96).unwrap_or(0),
        )
    }

    fn check_count(&self, more: usize) -> Result<(), ControllerError> {
        let requested = self.partitions.saturating_add(more);
        if requested <= self.command.partitions_max {
            return Ok(());
        }
        Err(ControllerError::TooManyPartitions {
            requested,
            max: self.command.partitions_max,
        })
    }

    fn assigned(&self, topic: &NewTopic) -> Result<Vec<Vec<BrokerId>>, ControllerError> {
        if topic.replication_factor != -1 {
            let replication_factor = topic.replication_factor;
            return Err(ControllerError::AssignmentAndReplicationFactor { replication_factor });
        }
        if topic.partitions != -1 {
            let partitions = topic.partitions;
            return Err(ControllerError::AssignmentAndPartitions { partitions });
        }
        self.check_count(topic.assignments.len())?;
        let mut replicas = BTreeMap::new();
        let mut expected = None;
        for (partition, brokers) in &topic.assignments {
            if replicas.insert(*partition, brokers.clone()).is_some() {
                return Err(ControllerError::AssignmentTwice {
                    partition: *partition,
                });
            }
            self.placement.check_assignment(brokers, expected)?;
            expected = Some(brokers.len());
        }
        for (due, &found) in (0..).zip(replicas.keys()) {
            if found != due {
                return Err(ControllerError::AssignmentGap { missing: due });
            }
        }
        Ok(replicas.into_values().collect())
    }

    fn overrides_of(&self, topic: &NewTopic) -> Result<Overrides, ControllerError> {
        configs::check_lengths(&topic.settings)?;
        let none = Overrides::new();
        Ok(alter_topic(
            &none,
            &topic.settings,
            &self.command.topic_defaults,
        )?)
    }

    /// An id made of `random` that is free, and that does not begin with `-`: tools would take it for a flag.
    fn id_from(&self, random: u128) -> TopicId {
        let mut bits = random;
        loop {
            let id = TopicId(Uuid::from_random(bits));
            let taken = self.image.topic_by_id(id).is_some() || self.ids.contains(&id);
            if !taken && !id.to_string().starts_with('-') {
                return id;
            }
            // An odd step walks through all ids, whatever the bits were.
            bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        }
    }

    fn record(&mut self, created: &CreatedTopic, replicas: Vec<Vec<BrokerId>>) {
        let topic_id = created.id;
        self.records.push(MetadataRecord::TopicCreated {
            id: topic_id,
            name: created.name.clone(),
        });
        for (partition, brokers) in (0..).zip(replicas) {
            let state: Partition = self.placement.first_state(brokers);
            self.records.push(MetadataRecord::PartitionCreated {
                topic_id,
                partition,
                state,
            });
        }
        for (name, value) in &created.overrides {
            self.records.push(MetadataRecord::ConfigSet {
                resource: ConfigResource::Topic(topic_id),
                name: name.clone(),
                value: value.clone(),
            });
        }
    }
}
