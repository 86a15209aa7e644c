//! INV-MD-4: a change of the metadata that was answered is never undone, and what nobody asked for never comes about.
//! INV-MD-5: no id is given twice: neither a topic's nor a producer's; leader epochs never go back.

use std::collections::{BTreeMap, BTreeSet};

use millrace_engine::metadata::{MetadataImage, ProducerIdBlock};
use millrace_engine::types::{LeaderEpoch, ProducerId, TopicId, TopicIdPartition};

use super::{Verdict, Violation};

/// What clients see of the metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    topics: BTreeMap<String, Topic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Topic {
    id: TopicId,
    partitions: i32,
    settings: BTreeMap<String, String>,
}

/// A change as a client asks for it.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create {
        name: String,
        partitions: i32,
        settings: BTreeMap<String, String>,
    },
    Delete {
        name: String,
    },
    Grow {
        name: String,
        partitions: i32,
    },
    Set {
        name: String,
        setting: &'static str,
        value: Option<String>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct MetadataStays {
    facts: Facts,
    /// A change of which nobody knows whether it came about.
    unknown: Option<Change>,
    /// Every topic id there ever was, and the name it had.
    ids: BTreeMap<TopicId, String>,
    deleted: BTreeSet<TopicId>,
    /// Producer ids below were handed out.
    producer_id_next: i64,
    epochs: BTreeMap<TopicIdPartition, LeaderEpoch>,
    /// How many changes were answered.
    pub(crate) answered: u64,
    /// How many of those nobody was told of came about.
    pub(crate) came_about: u64,
}

impl Facts {
    pub(crate) fn of(image: &MetadataImage) -> Self {
        let topics = image.topics().map(|topic| {
            let settings = image.topic_overrides(topic.id);
            let facts = Topic {
                id: topic.id,
                partitions: topic.partition_count(),
                settings: settings.clone(),
            };
            (topic.name.to_string(), facts)
        });
        Self {
            topics: topics.collect(),
        }
    }

    /// What is seen when `change` came about. The id of a new topic is its own affair: `seen` knows it.
    fn with(&self, change: &Change, seen: &Self) -> Self {
        let mut facts = self.clone();
        match change {
            Change::Create {
                name,
                partitions,
                settings,
            } => {
                if let Some(there) = seen.topics.get(name) {
                    let topic = Topic {
                        id: there.id,
                        partitions: *partitions,
                        settings: settings.clone(),
                    };
                    facts.topics.insert(name.clone(), topic);
                }
            }
            Change::Delete { name } => {
                facts.topics.remove(name);
            }
            Change::Grow { name, partitions } => {
                if let Some(topic) = facts.topics.get_mut(name) {
                    topic.partitions = *partitions;
                }
            }
            Change::Set {
                name,
                setting,
                value,
            } => {
                if let Some(topic) = facts.topics.get_mut(name) {
                    match value {
                        Some(value) => topic.settings.insert((*setting).to_owned(), value.clone()),
                        None => topic.settings.remove(*setting),
                    };
                }
            }
        }
        facts
    }
}

impl MetadataStays {
    /// A change was answered, and `image` shows it.
    pub(crate) fn answered(&mut self, change: &Change, image: &MetadataImage) -> Verdict {
        self.answered += 1;
        self.facts = self.facts.with(change, &Facts::of(image));
        self.observe(image)
    }

    /// Nobody knows whether a change came about.
    pub(crate) fn unanswered(&mut self, change: Change) {
        self.unknown = Some(change);
    }

    pub(crate) fn block(&mut self, block: ProducerIdBlock) -> Verdict {
        let ProducerId(first) = block.first;
        if first < self.producer_id_next {
            return Err(Violation {
                invariant: "INV-MD-5",
                text: format!(
                    "{block:?} was handed out, all below {} had been",
                    self.producer_id_next
                ),
            });
        }
        self.answered += 1;
        self.producer_id_next = first + i64::from(block.count);
        Ok(())
    }

    /// What is there at first.
    pub(crate) fn begin(&mut self, image: &MetadataImage) -> Verdict {
        self.facts = Facts::of(image);
        self.observe(image)
    }

    /// Judges what a start shows, which is all that there will be: what nobody knew about came about or never does. Before it a
    /// change that changes nothing is still answered, by a journal that takes no more.
    pub(crate) fn started(&mut self, image: &MetadataImage) -> Verdict {
        self.observe(image)?;
        self.unknown = None;
        Ok(())
    }

    /// Judges what is seen.
    fn observe(&mut self, image: &MetadataImage) -> Verdict {
        let seen = Facts::of(image);
        if seen != self.facts {
            let change = self.unknown.take();
            let with = change.map(|change| self.facts.with(&change, &seen));
            if with.as_ref() != Some(&seen) {
                return Err(Violation {
                    invariant: "INV-MD-4",
                    text: format!("{:?} became {seen:?}", self.facts),
                });
            }
            self.came_about += 1;
        }
        self.facts = seen;
        self.observe_ids()?;
        self.observe_epochs(image)
    }

    fn observe_ids(&mut self) -> Verdict {
        for (name, topic) in &self.facts.topics {
            let before = self.ids.insert(topic.id, name.clone());
            if self.deleted.contains(&topic.id) || before.is_some_and(|before| before != *name) {
                return Err(Violation {
                    invariant: "INV-MD-5",
                    text: format!(
                        "topic {name} has the id {:?}, which was another's",
                        topic.id
                    ),
                });
            }
        }
        let there: BTreeSet<TopicId> = self.facts.topics.values().map(|topic| topic.id).collect();
        let gone = self.ids.keys().filter(|id| !there.contains(id));
        self.deleted.extend(gone);
        Ok(())
    }

    fn observe_epochs(&mut self, image: &MetadataImage) -> Verdict {
        for topic in image.topics() {
            for (number, partition) in topic.partitions() {
                let id = TopicIdPartition {
                    topic_id: topic.id,
                    partition: number,
                };
                let epoch = partition.leader_epoch;
                let before = self.epochs.insert(id, epoch);
                if before.is_some_and(|before| epoch < before) {
                    return Err(Violation {
                        invariant: "INV-MD-5",
                        text: format!("{id:?} is in epoch {epoch:?}, it was in {before:?}"),
                    });
                }
            }
        }
        Ok(())
    }
}
