//! Image and records in, next image out: the only way metadata changes, live and on replay alike.
//!
//! Records come from a file too, so a record that does not fit the image is an error, never a panic. The old image is
//! untouched.

use std::sync::Arc;

use super::image::{MetadataImage, Topic, Topics, collision_form};
use super::record::{ConfigResource, MetadataRecord, Partition, PartitionEpoch};
use crate::types::{BrokerId, ProducerId, TopicId, TopicIdPartition, TopicName};

/// Why a record does not fit the image it meets: a bug, or a journal that was tampered with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A record speaks of a topic that is not there.
    #[error("no topic has the id {id}")]
    UnknownTopic {
        /// The id named.
        id: TopicId,
    },
    /// A topic was made under a name or an id that is taken.
    #[error("topic {name} ({id}) exists")]
    TopicExists {
        /// The name.
        name: TopicName,
        /// The id.
        id: TopicId,
    },
    /// A partition was made out of order.
    #[error("partition {partition} was created where {expected} is the next number")]
    PartitionOutOfOrder {
        /// The partition created.
        partition: TopicIdPartition,
        /// The number that was due.
        expected: i32,
    },
    /// A change of a partition that is not there.
    #[error("there is no partition {partition}")]
    UnknownPartition {
        /// The partition named.
        partition: TopicIdPartition,
    },
    /// A change that is not newer than what is there.
    #[error(
        "a change of {partition} carries partition epoch {found}, the partition is at {current}"
    )]
    StalePartition {
        /// The partition named.
        partition: TopicIdPartition,
        /// The epoch of the record.
        found: PartitionEpoch,
        /// The epoch of the image.
        current: PartitionEpoch,
    },
    /// A partition whose lists contradict each other.
    #[error(
        "partition {partition} has {replicas} replica(s) and {directories} directories, leader {leader}"
    )]
    InconsistentPartition {
        /// The partition named.
        partition: TopicIdPartition,
        /// How many replicas the record names.
        replicas: usize,
        /// How many directories the record names.
        directories: usize,
        /// The leader it names.
        leader: BrokerId,
    },
    /// A broker left that was not there.
    #[error("broker {broker} is not registered")]
    UnknownBroker {
        /// The broker named.
        broker: BrokerId,
    },
    /// A term that does not follow.
    #[error("term {found} begins where term {current} is")]
    StaleTerm {
        /// The term of the record.
        found: u64,
        /// The term of the image.
        current: u64,
    },
    /// The cluster id was to change.
    #[error("cluster id {found:?} where the cluster has {current:?}")]
    ClusterIdChanged {
        /// The id of the record.
        found: String,
        /// The id of the image.
        current: String,
    },
    /// Producer ids would be given out a second time.
    #[error("the next producer id would go from {current} back to {found}")]
    ProducerIdsReused {
        /// The next id of the record.
        found: ProducerId,
        /// The next id of the image.
        current: ProducerId,
    },
}

impl MetadataImage {
    /// The image after `records`, whose first has the offset `version() + 1`.
    ///
    /// # Errors
    /// The first record that does not fit; the batch then has no effect.
    pub fn apply<'a>(
        &self,
        records: impl IntoIterator<Item = &'a MetadataRecord>,
    ) -> Result<Self, ApplyError> {
        self.clone().advance(records)
    }

    /// As [`MetadataImage::apply`], but uses this image up: nothing is copied that nobody else holds. For replay.
    pub(super) fn advance<'a>(
        mut self,
        records: impl IntoIterator<Item = &'a MetadataRecord>,
    ) -> Result<Self, ApplyError> {
        for record in records {
            self.fold(record)?;
            self.version = self.version.saturating_add(1);
        }
        Ok(self)
    }

    /// This image, standing for the log up to the record at `version`: what a snapshot says of its records.
    pub(super) fn at_version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    fn fold(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::NoOp => Ok(()),
            MetadataRecord::LeaderChanged { leader, term } => self.change_leader(*leader, *term),
            MetadataRecord::ClusterIdSet { cluster_id } => self.set_cluster_id(cluster_id),
            MetadataRecord::FeatureLevelSet { name, level } => {
                let features = Arc::make_mut(&mut self.features);
                match level {
                    0 => features.remove(name),
                    _ => features.insert(name.clone(), *level),
                };
                Ok(())
            }
            MetadataRecord::BrokerRegistered(broker) => {
                Arc::make_mut(&mut self.brokers).insert(broker.id, broker.clone());
                Ok(())
            }
            MetadataRecord::DirectoriesCordoned {
                broker,
                directories,
            } => {
                if !self.brokers.contains_key(broker) {
                    return Err(ApplyError::UnknownBroker { broker: *broker });
                }
                let cordoned = Arc::make_mut(&mut self.cordoned);
                if directories.is_empty() {
                    cordoned.remove(broker);
                } else {
                    cordoned.insert(*broker, directories.clone());
                }
                Ok(())
            }
            MetadataRecord::BrokerRemoved { broker } => {
                Arc::make_mut(&mut self.cordoned).remove(broker);
                Arc::make_mut(&mut self.overrides).remove(&ConfigResource::Broker(*broker));
                Arc::make_mut(&mut self.brokers)
                    .remove(broker)
                    .map(drop)
                    .ok_or(ApplyError::UnknownBroker { broker: *broker })
            }
            MetadataRecord::TopicCreated { id, name } => {
                Arc::make_mut(&mut self.topics).create(*id, name)
            }
            MetadataRecord::PartitionCreated {
                topic_id,
                partition,
                state,
            } => {
                let key = TopicIdPartition {
                    topic_id: *topic_id,
                    partition: *partition,
                };
                self.create_partition(key, state)
            }
            MetadataRecord::PartitionChanged {
                topic_id,
                partition,
                state,
            } => {
                let key = TopicIdPartition {
                    topic_id: *topic_id,
                    partition: *partition,
                };
                self.change_partition(key, state)
            }
            MetadataRecord::TopicRemoved { id } => Arc::make_mut(&mut self.topics).remove(*id),
            MetadataRecord::ConfigSet {
                resource,
                name,
                value,
            } => self.change_override(resource, name, Some(value)),
            MetadataRecord::ConfigRemoved { resource, name } => {
                self.change_override(resource, name, None)
            }
            MetadataRecord::ProducerIdsAllocated { next, .. } => self.allocate_producer_ids(*next),
        }
    }

    fn change_leader(&mut self, leader: BrokerId, term: u64) -> Result<(), ApplyError> {
        if term <= self.term {
            return Err(ApplyError::StaleTerm {
                found: term,
                current: self.term,
            });
        }
        self.term = term;
        self.controller = leader;
        Ok(())
    }

    fn set_cluster_id(&mut self, cluster_id: &str) -> Result<(), ApplyError> {
        if !self.cluster_id.is_empty() && *self.cluster_id != *cluster_id {
            return Err(ApplyError::ClusterIdChanged {
                found: cluster_id.to_owned(),
                current: self.cluster_id.to_string(),
            });
        }
        self.cluster_id = Arc::from(cluster_id);
        Ok(())
    }

    fn create_partition(
        &mut self,
        key: TopicIdPartition,
        state: &Partition,
    ) -> Result<(), ApplyError> {
        check_partition(key, state)?;
        Arc::make_mut(&mut self.topics).change(key.topic_id, |topic| {
            let expected = topic.partition_count();
            if key.partition != expected {
                return Err(ApplyError::PartitionOutOfOrder {
                    partition: key,
                    expected,
                });
            }
            topic.partitions.push(Arc::new(state.clone()));
            Ok(())
        })
    }

    fn change_partition(
        &mut self,
        key: TopicIdPartition,
        state: &Partition,
    ) -> Result<(), ApplyError> {
        check_partition(key, state)?;
        let unknown = ApplyError::UnknownPartition { partition: key };
        Arc::make_mut(&mut self.topics).change(key.topic_id, |topic| {
            let place = usize::try_from(key.partition).unwrap_or(usize::MAX);
            let slot = topic.partitions.get_mut(place).ok_or(unknown)?;
            if state.partition_epoch <= slot.partition_epoch {
                return Err(ApplyError::StalePartition {
                    partition: key,
                    found: state.partition_epoch,
                    current: slot.partition_epoch,
                });
            }
            *slot = Arc::new(state.clone());
            Ok(())
        })
    }

    fn change_override(
        &mut self,
        resource: &ConfigResource,
        name: &str,
        value: Option<&String>,
    ) -> Result<(), ApplyError> {
        if let ConfigResource::Topic(id) = resource {
            return Arc::make_mut(&mut self.topics).change(*id, |topic| {
                let overrides = Arc::make_mut(&mut topic.overrides);
                match value {
                    Some(value) => overrides.insert(name.to_owned(), value.clone()),
                    None => overrides.remove(name),
                };
                Ok(())
            });
        }
        let all = Arc::make_mut(&mut self.overrides);
        let overrides = Arc::make_mut(all.entry(resource.clone()).or_default());
        match value {
            Some(value) => overrides.insert(name.to_owned(), value.clone()),
            None => overrides.remove(name),
        };
        if overrides.is_empty() {
            all.remove(resource);
        }
        Ok(())
    }

    fn allocate_producer_ids(&mut self, next: ProducerId) -> Result<(), ApplyError> {
        if next < self.producer_id_next {
            let current = self.producer_id_next;
            return Err(ApplyError::ProducerIdsReused {
                found: next,
                current,
            });
        }
        self.producer_id_next = next;
        Ok(())
    }
}

impl Topics {
    fn create(&mut self, id: TopicId, name: &TopicName) -> Result<(), ApplyError> {
        if self.by_name.contains_key(name) || self.by_id.contains_key(&id) {
            return Err(ApplyError::TopicExists {
                name: name.clone(),
                id,
            });
        }
        if let Some(form) = collision_form(name.as_str()) {
            self.by_collision.insert(form, name.clone());
        }
        let topic = Topic {
            id,
            name: name.clone(),
            partitions: Vec::new(),
            overrides: Arc::default(),
        };
        self.put(Arc::new(topic));
        Ok(())
    }

    fn remove(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let topic = self
            .by_id
            .remove(&id)
            .ok_or(ApplyError::UnknownTopic { id })?;
        self.by_name.remove(&topic.name);
        if let Some(form) = collision_form(topic.name.as_str()) {
            self.by_collision.remove(&form);
        }
        Ok(())
    }

    /// Takes the topic out, so that a topic nobody else holds is changed in place, and puts it back changed.
    fn change(
        &mut self,
        id: TopicId,
        change: impl FnOnce(&mut Topic) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let mut topic = self
            .by_id
            .remove(&id)
            .ok_or(ApplyError::UnknownTopic { id })?;
        self.by_name.remove(&topic.name);
        let changed = change(Arc::make_mut(&mut topic));
        self.put(topic);
        changed
    }

    fn put(&mut self, topic: Arc<Topic>) {
        self.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }
}

/// The facts every state of a partition satisfies, whoever decided it.
fn check_partition(key: TopicIdPartition, state: &Partition) -> Result<(), ApplyError> {
    let leads = state.leader == BrokerId::NONE || state.replicas.contains(&state.leader);
    let in_sync = state
        .isr
        .iter()
        .all(|replica| state.replicas.contains(replica));
    let directories = state.directories.len() == state.replicas.len();
    if leads && in_sync && directories && !state.replicas.is_empty() {
        return Ok(());
    }
    Err(ApplyError::InconsistentPartition {
        partition: key,
        replicas: state.replicas.len(),
        directories: state.directories.len(),
        leader: state.leader,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::record::tests::any_record;
    use crate::types::{DirectoryId, LeaderEpoch, Uuid};

    const TOPIC: TopicId = TopicId(Uuid(1));

    fn created(id: u128, name: &str) -> MetadataRecord {
        MetadataRecord::TopicCreated {
            id: TopicId(Uuid(id)),
            name: name.parse().unwrap(),
        }
    }

    fn partition(number: i32, epoch: i32) -> (TopicId, i32, Partition) {
        let state = Partition {
            replicas: vec![BrokerId(1)],
            directories: vec![DirectoryId(Uuid(3))],
            isr: vec![BrokerId(1)],
            leader: BrokerId(1),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(epoch),
        };
        (TOPIC, number, state)
    }

    fn partition_created(number: i32) -> MetadataRecord {
        let (topic_id, partition, state) = partition(number, 0);
        MetadataRecord::PartitionCreated {
            topic_id,
            partition,
            state,
        }
    }

    fn partition_changed(number: i32, epoch: i32) -> MetadataRecord {
        let (topic_id, partition, state) = partition(number, epoch);
        MetadataRecord::PartitionChanged {
            topic_id,
            partition,
            state,
        }
    }

    #[test]
    fn records_that_do_not_fit_are_refused_and_the_batch_with_them() {
        let image = MetadataImage::empty()
            .apply(&[created(1, "a"), partition_created(0)])
            .unwrap();
        let refused =
            |record: MetadataRecord| image.apply([&created(5, "z"), &record]).unwrap_err();
        assert!(matches!(
            refused(created(2, "a")),
            ApplyError::TopicExists { .. }
        ));
        assert!(matches!(
            refused(created(1, "b")),
            ApplyError::TopicExists { .. }
        ));
        let gap = refused(partition_created(2));
        assert!(
            matches!(gap, ApplyError::PartitionOutOfOrder { expected: 1, .. }),
            "{gap}"
        );
        let stale = refused(partition_changed(0, 0));
        assert!(
            matches!(stale, ApplyError::StalePartition { .. }),
            "{stale}"
        );
        let unknown = refused(partition_changed(1, 1));
        assert!(
            matches!(unknown, ApplyError::UnknownPartition { .. }),
            "{unknown}"
        );
        let unknown = refused(MetadataRecord::TopicRemoved {
            id: TopicId(Uuid(9)),
        });
        assert!(
            matches!(unknown, ApplyError::UnknownTopic { .. }),
            "{unknown}"
        );
        let term = refused(MetadataRecord::LeaderChanged {
            leader: BrokerId(1),
            term: 0,
        });
        assert_eq!(
            term,
            ApplyError::StaleTerm {
                found: 0,
                current: 0
            }
        );
        assert_eq!((image.version(), image.topic_count()), (1, 1));
    }

    #[test]
    fn a_leader_outside_of_the_replicas_is_refused() {
        let (topic_id, partition, mut state) = partition(0, 0);
        state.leader = BrokerId(2);
        let record = MetadataRecord::PartitionCreated {
            topic_id,
            partition,
            state,
        };
        let refused = MetadataImage::empty()
            .apply(&[created(1, "a"), record])
            .unwrap_err();
        assert!(
            matches!(refused, ApplyError::InconsistentPartition { .. }),
            "{refused}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_records_apply_or_are_refused_and_what_applied_can_be_written_down_again(
            records in prop::collection::vec(any_record(), 0..12),
        ) {
            let mut image = MetadataImage::empty();
            for record in &records {
                if let Ok(next) = image.apply([record]) {
                    image = next;
                }
            }
            let again = MetadataImage::empty().apply(&image.to_records());
            prop_assert_eq!(again.map(|again| again.at_version(image.version())), Ok(image));
        }
    }
}
