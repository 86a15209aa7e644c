//! The metadata of the cluster at one moment: immutable, held by every shard behind an `Arc`.
//!
//! It answers look-ups. It does not decide (`controller`), and only `apply` makes the next one.
//!
//! Cost of a next image: the maps are shared until they change. A batch of records copies each map it touches once
//! (two pointers per topic for a batch that creates, removes or changes topics; nothing of the topics for one that
//! does not), and of a changed topic one pointer per partition. With 100,000 topics that is some milliseconds per
//! batch on the control thread; if that ever hurts, a persistent map can take the place of `Arc<BTreeMap>` behind the
//! same methods.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Weak};

use super::record::{Broker, ConfigResource, MetadataRecord, Partition};
use crate::config::Overrides;
use crate::types::{
    BrokerId, DirectoryId, ProducerId, TopicId, TopicIdPartition, TopicName, TopicPartition,
};

/// The cluster's metadata after one certain record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataImage {
    pub(super) version: i64,
    pub(super) term: u64,
    pub(super) controller: BrokerId,
    pub(super) cluster_id: Arc<str>,
    pub(super) topics: Arc<Topics>,
    /// Of all resources but topics; no entry is empty.
    pub(super) overrides: Arc<BTreeMap<ConfigResource, Arc<Overrides>>>,
    pub(super) brokers: Arc<BTreeMap<BrokerId, Broker>>,
    /// Log directories that get no new replicas; no entry is empty, and every broker is registered.
    pub(super) cordoned: Arc<BTreeMap<BrokerId, Vec<DirectoryId>>>,
    pub(super) features: Arc<BTreeMap<String, i16>>,
    pub(super) producer_id_next: ProducerId,
}

/// All topics, by name and by id. `by_collision` has the names with `.` or `_` under their form with `_` only.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Topics {
    pub(super) by_name: BTreeMap<TopicName, Arc<Topic>>,
    pub(super) by_id: BTreeMap<TopicId, Arc<Topic>>,
    pub(super) by_collision: BTreeMap<String, TopicName>,
}

/// By which the topics of an image are told from those of others. It keeps none of them in memory.
#[derive(Clone, Debug)]
pub struct TopicsMark(Weak<Topics>);

/// How the topics of an image differ from those of an earlier one; both lists are in order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChanges {
    /// Those of the earlier image that are gone. A new one may have the name.
    pub gone: Vec<Arc<Topic>>,
    /// Those that are new, or not as they were.
    pub changed: Vec<Arc<Topic>>,
}

/// One topic: its partitions and its configuration overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its partitions; the place in the list is the partition's number.
    pub partitions: Vec<Arc<Partition>>,
    /// Its configuration overrides.
    pub overrides: Arc<Overrides>,
}

impl Topic {
    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// The replicas per partition, as its first partition has them; 0 without partitions.
    #[must_use]
    pub fn replication_factor(&self) -> i16 {
        let replicas = self
            .partitions
            .first()
            .map_or(0, |partition| partition.replicas.len());
        i16::try_from(replicas).unwrap_or(i16::MAX)
    }

    /// One partition by its number.
    #[must_use]
    pub fn partition(&self, partition: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    /// The partitions with their numbers, in order.
    pub fn partitions(&self) -> impl Iterator<Item = (i32, &Arc<Partition>)> {
        (0..).zip(&self.partitions)
    }

    /// Whether the brokers keep their own state in it, see [`is_internal`].
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(self.name.as_str())
    }
}

/// The topics in which the brokers keep their own state: listed as internal, written only by the broker.
pub const INTERNAL_TOPICS: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// Whether a topic of this name is one of [`INTERNAL_TOPICS`].
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// The form under which names collide: metrics write `.` as `_`. `None` for a name with neither, which cannot collide.
pub(super) fn collision_form(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

impl MetadataImage {
    /// Whether no topic differs from those of `other`, as far as that can be told at a glance.
    #[must_use]
    pub fn has_topics_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.topics, &other.topics)
    }

    /// What became of the topics of `before`. It goes over all of them, side by side, and looks into those only that the two images
    /// do not share.
    #[must_use]
    pub fn topic_changes_since(&self, before: &Self) -> TopicChanges {
        let mut changes = TopicChanges::default();
        let mut former = before.topics().peekable();
        for topic in self.topics() {
            if former.next_if(|old| Arc::ptr_eq(old, topic)).is_some() {
                continue;
            }
            while let Some(old) = former.next_if(|old| old.name < topic.name) {
                changes.gone.push(Arc::clone(old));
            }
            if let Some(old) = former.next_if(|old| old.name == topic.name) {
                if Arc::ptr_eq(old, topic) {
                    continue;
                }
                if old.id != topic.id {
                    changes.gone.push(Arc::clone(old));
                }
            }
            changes.changed.push(Arc::clone(topic));
        }
        changes.gone.extend(former.cloned());
        changes
    }

    /// What [`Self::has_marked_topics`] knows these topics by.
    #[must_use]
    pub fn mark_topics(&self) -> TopicsMark {
        TopicsMark(Arc::downgrade(&self.topics))
    }

    /// As [`Self::has_topics_of`] for the image whose topics were marked, which may be gone.
    #[must_use]
    pub fn has_marked_topics(&self, mark: &TopicsMark) -> bool {
        // Nothing else comes to lie where a `Weak` points to, and topics do not change there.
        std::ptr::eq(mark.0.as_ptr(), Arc::as_ptr(&self.topics))
    }

    /// Nothing known: before the first record.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            version: -1,
            term: 0,
            controller: BrokerId::NONE,
            cluster_id: Arc::from(""),
            topics: Arc::default(),
            overrides: Arc::default(),
            brokers: Arc::default(),
            cordoned: Arc::default(),
            features: Arc::default(),
            producer_id_next: ProducerId(0),
        }
    }

    /// The offset of the last record in it, counted from 0 over the life of the cluster; -1 for the empty image.
    /// Of two images the one with the greater version is the newer.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The term of the controller that decided the last records (Kafka's controller epoch); 0 before the first.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The broker whose controller decides, or [`BrokerId::NONE`].
    #[must_use]
    pub fn controller(&self) -> BrokerId {
        self.controller
    }

    /// The id of the cluster; empty before the first record.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// A topic by its name, or by a text that may be one.
    #[must_use]
    pub fn topic<Name>(&self, name: &Name) -> Option<&Arc<Topic>>
    where
        TopicName: Borrow<Name>,
        Name: Ord + ?Sized,
    {
        self.topics.by_name.get(name)
    }

    /// A topic by its id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.by_id.get(&id)
    }

    /// A partition by its topic's id.
    #[must_use]
    pub fn partition(&self, partition: TopicIdPartition) -> Option<&Arc<Partition>> {
        self.topic_by_id(partition.topic_id)?
            .partition(partition.partition)
    }

    /// The topic whose partition has that name at present.
    #[must_use]
    pub fn topic_of(&self, partition: &TopicPartition) -> Option<TopicId> {
        let topic = self.topic(&partition.topic)?;
        topic.partition(partition.partition).map(|_| topic.id)
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.by_name.len()
    }

    /// How many partitions all topics have. It goes over all topics.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.topics().map(|topic| topic.partitions.len()).sum()
    }

    /// All topics in order of their names.
    pub fn topics(&self) -> impl DoubleEndedIterator<Item = &Arc<Topic>> {
        self.topics.by_name.values()
    }

    /// The topics from `name` on (inclusive, whether or not a topic has it, or could), in order of their names: for answers
    /// that come in pages.
    pub fn topics_from(&self, name: &str) -> impl DoubleEndedIterator<Item = &Arc<Topic>> {
        self.topics
            .by_name
            .range::<str, _>((Bound::Included(name), Bound::Unbounded))
            .map(|(_, topic)| topic)
    }

    /// Another existing topic whose name differs from `name` only in `.` and `_`: their metrics would be one.
    #[must_use]
    pub fn collides(&self, name: &TopicName) -> Option<&TopicName> {
        let form = collision_form(name.as_str())?;
        self.topics
            .by_collision
            .get(&form)
            .filter(|&existing| existing != name)
    }

    /// The configuration overrides of a topic; empty for one that does not exist.
    #[must_use]
    pub fn topic_overrides(&self, id: TopicId) -> &Overrides {
        self.topic_by_id(id)
            .map_or(&NO_OVERRIDES, |topic| &topic.overrides)
    }

    /// The overrides of one broker, as set by a client (not its properties file).
    #[must_use]
    pub fn broker_overrides(&self, broker: BrokerId) -> &Overrides {
        self.overrides_of(&ConfigResource::Broker(broker))
    }

    /// The overrides for all brokers without one of their own.
    #[must_use]
    pub fn cluster_overrides(&self) -> &Overrides {
        self.overrides_of(&ConfigResource::ClusterDefault)
    }

    /// The overrides of a group.
    #[must_use]
    pub fn group_overrides(&self, group: &str) -> &Overrides {
        self.overrides_of(&ConfigResource::Group(group.into()))
    }

    /// The overrides of any resource.
    #[must_use]
    pub fn overrides_of(&self, resource: &ConfigResource) -> &Overrides {
        match resource {
            ConfigResource::Topic(id) => self.topic_overrides(*id),
            _ => self
                .overrides
                .get(resource)
                .map_or(&NO_OVERRIDES, |overrides| overrides),
        }
    }

    /// The groups that have overrides, in order of their names.
    pub fn groups_with_overrides(&self) -> impl Iterator<Item = &str> {
        self.overrides_of_groups().map(|(group, _)| group)
    }

    pub(super) fn overrides_of_groups(&self) -> impl Iterator<Item = (&str, &Overrides)> {
        self.overrides
            .iter()
            .filter_map(|(resource, overrides)| match resource {
                ConfigResource::Group(group) => Some((&**group, &**overrides)),
                _ => None,
            })
    }

    /// The registered brokers in order of their ids.
    pub fn brokers(&self) -> impl DoubleEndedIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// How many brokers are registered.
    #[must_use]
    pub fn broker_count(&self) -> usize {
        self.brokers.len()
    }

    /// One registered broker.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// Whether a broker is there with the log directory in which it stores its replica of a partition. One that has failed is none of
    /// the broker's until that registers anew.
    #[must_use]
    pub fn is_online(&self, partition: &Partition, broker: BrokerId) -> bool {
        let Some(registered) = self.broker(broker) else {
            return false;
        };
        partition.directory_of(broker).is_none_or(|directory| {
            directory == DirectoryId::default() || registered.log_directories.contains(&directory)
        })
    }

    /// The log directories of a broker that get no new replicas.
    #[must_use]
    pub fn cordoned_directories(&self, broker: BrokerId) -> &[DirectoryId] {
        self.cordoned.get(&broker).map_or(&[], Vec::as_slice)
    }

    /// The level at which a feature is finalised; `None` when it is not.
    #[must_use]
    pub fn feature_level(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// The finalised features with their levels, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features
            .iter()
            .map(|(name, &level)| (name.as_str(), level))
    }

    /// The first producer id of the next block to be given out.
    #[must_use]
    pub fn producer_id_next(&self) -> ProducerId {
        self.producer_id_next
    }

    /// The records that make this image out of the empty one, apart from its version: what a snapshot holds.
    #[must_use]
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        if self.term > 0 {
            let (leader, term) = (self.controller, self.term);
            records.push(MetadataRecord::LeaderChanged { leader, term });
        }
        if !self.cluster_id.is_empty() {
            let cluster_id = self.cluster_id.to_string();
            records.push(MetadataRecord::ClusterIdSet { cluster_id });
        }
        for (name, &level) in self.features.iter() {
            records.push(MetadataRecord::FeatureLevelSet {
                name: name.clone(),
                level,
            });
        }
        records.extend(
            self.brokers
                .values()
                .cloned()
                .map(MetadataRecord::BrokerRegistered),
        );
        for (&broker, directories) in self.cordoned.iter() {
            records.push(MetadataRecord::DirectoriesCordoned {
                broker,
                directories: directories.clone(),
            });
        }
        for topic in self.topics() {
            topic.to_records(&mut records);
        }
        for (resource, overrides) in self.overrides.iter() {
            push_overrides(resource, overrides, &mut records);
        }
        records.push(MetadataRecord::ProducerIdsAllocated {
            broker: BrokerId::NONE,
            next: self.producer_id_next,
        });
        records
    }
}

impl Topic {
    fn to_records(&self, records: &mut Vec<MetadataRecord>) {
        records.push(MetadataRecord::TopicCreated {
            id: self.id,
            name: self.name.clone(),
        });
        for (partition, state) in self.partitions() {
            records.push(MetadataRecord::PartitionCreated {
                topic_id: self.id,
                partition,
                state: (**state).clone(),
            });
        }
        push_overrides(&ConfigResource::Topic(self.id), &self.overrides, records);
    }
}

fn push_overrides(
    resource: &ConfigResource,
    overrides: &Overrides,
    records: &mut Vec<MetadataRecord>,
) {
    records.extend(
        overrides
            .iter()
            .map(|(name, value)| MetadataRecord::ConfigSet {
                resource: resource.clone(),
                name: name.clone(),
                value: value.clone(),
            }),
    );
}

static NO_OVERRIDES: Overrides = Overrides::new();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Uuid;

    fn created(id: u128, name: &str) -> MetadataRecord {
        MetadataRecord::TopicCreated {
            id: TopicId(Uuid(id)),
            name: name.parse().unwrap(),
        }
    }

    fn removed(id: u128) -> MetadataRecord {
        let id = TopicId(Uuid(id));
        MetadataRecord::TopicRemoved { id }
    }

    fn configured(id: u128) -> MetadataRecord {
        MetadataRecord::ConfigSet {
            resource: ConfigResource::Topic(TopicId(Uuid(id))),
            name: "retention.ms".to_owned(),
            value: "1".to_owned(),
        }
    }

    /// The ids of the topics that are gone, and of those that changed, after `records`.
    fn changes(before: &MetadataImage, records: &[MetadataRecord]) -> (Vec<u128>, Vec<u128>) {
        let after = before.apply(records).unwrap();
        let changes = after.topic_changes_since(before);
        let ids = |topics: Vec<Arc<Topic>>| topics.iter().map(|topic| topic.id.0.0).collect();
        (ids(changes.gone), ids(changes.changed))
    }

    #[test]
    fn topics_that_came_changed_and_went_are_told_from_those_that_stayed() {
        let before = MetadataImage::empty();
        let all = [created(4, "b"), created(3, "d"), created(5, "f")];
        assert_eq!(changes(&before, &all), (vec![], vec![4, 3, 5]));
        let before = before.apply(&all).unwrap();
        assert_eq!(changes(&before, &[]), (vec![], vec![]));
        assert_eq!(changes(&before, &[configured(3)]), (vec![], vec![3]));
        for name in ["a", "c", "g"] {
            assert_eq!(changes(&before, &[created(9, name)]), (vec![], vec![9]));
        }
        for id in [4, 3, 5] {
            assert_eq!(changes(&before, &[removed(id)]), (vec![id], vec![]));
        }
        // Another has the name of one that is gone, and its neighbours come and go.
        let anew = [removed(3), created(8, "d"), removed(4), created(7, "e")];
        assert_eq!(changes(&before, &anew), (vec![4, 3], vec![8, 7]));
        let none = [removed(3), removed(4), removed(5)];
        assert_eq!(changes(&before, &none), (vec![4, 3, 5], vec![]));
    }
}
