//! The durable part of a coordinator: exactly what its partition says, and nothing that is not in a record.
//!
//! It changes by `apply` alone, live and on replay; it takes no decisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::ids::{GroupId, InstanceId, MemberId};
use super::record::{GroupRecord, group_record_length};
use crate::types::{GenerationId, LeaderEpoch, Offset, Timestamp, TopicName, TopicPartition};

/// Groups and offsets as recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    groups: BTreeMap<GroupId, StoredGroup>,
    /// No inner map is empty.
    offsets: BTreeMap<GroupId, TopicOffsets>,
    /// What both take in memory, about.
    held_bytes: usize,
}

/// The offsets of one group by topic and partition.
pub(super) type TopicOffsets = BTreeMap<TopicName, BTreeMap<i32, CommittedOffset>>;

/// A group as it was when it last became stable or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredGroup {
    /// `consumer`, `connect` ...; `None` (stored as empty) when there never was a member.
    pub protocol_type: Option<Arc<str>>,
    /// The generation.
    pub generation: GenerationId,
    /// The chosen protocol; `None` without members.
    pub protocol: Option<Arc<str>>,
    /// The leader; `None` without members.
    pub leader: Option<MemberId>,
    /// Since when the group is in this state; [`Timestamp::NONE`] in records of old brokers.
    pub state_since: Timestamp,
    /// The members; none for an empty group.
    pub members: BTreeMap<MemberId, StoredMember>,
}

/// A member as recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredMember {
    /// The name of a static member.
    pub instance_id: Option<InstanceId>,
    /// The client's own name.
    pub client_id: Arc<str>,
    /// Where the client was.
    pub client_host: Arc<str>,
    /// How long a rebalance waits for it, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// Its subscription for the chosen protocol.
    pub subscription: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// How far a group has read one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to be read.
    pub offset: Offset,
    /// The epoch of the last record read, or [`LeaderEpoch::NONE`].
    pub leader_epoch: LeaderEpoch,
    /// The client's own note.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub committed: Timestamp,
    /// When it is to be removed, where the client asked for a time of its own. Excludes a leader epoch.
    pub expires: Option<Timestamp>,
}

impl CommittedOffset {
    /// What it takes in memory, about, in bytes.
    fn held_bytes(&self) -> usize {
        offset_bytes(&self.metadata)
    }
}

/// What a committed offset with this note takes in memory, about, in bytes.
pub(super) const fn offset_bytes(metadata: &str) -> usize {
    OFFSET_BYTES + metadata.len()
}

impl Stored {
    /// Nothing recorded.
    pub(super) const fn new() -> Self {
        Self {
            groups: BTreeMap::new(),
            offsets: BTreeMap::new(),
            held_bytes: 0,
        }
    }

    /// Folds one record in.
    pub(super) fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Group { group, value } => {
                let bytes = |value: &StoredGroup| group_record_length(group, value);
                self.held_bytes += value.as_ref().map_or(0, bytes);
                let former = match value {
                    Some(value) => self.groups.insert(group.clone(), value.clone()),
                    None => self.groups.remove(group),
                };
                self.held_bytes -= former.as_ref().map_or(0, bytes);
            }
            GroupRecord::Offset {
                group,
                partition,
                value: Some(value),
            } => {
                let topics = self.offsets.entry(group.clone()).or_default();
                let partitions = topics.entry(partition.topic.clone()).or_default();
                if partitions.is_empty() {
                    self.held_bytes += TOPIC_BYTES;
                }
                self.held_bytes += value.held_bytes();
                let former = partitions.insert(partition.partition, value.clone());
                self.held_bytes -= former.map_or(0, |former| former.held_bytes());
            }
            GroupRecord::Offset {
                group,
                partition,
                value: None,
            } => self.remove_offset(group, partition),
        }
    }

    /// What is recorded takes in memory, about, in bytes.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The recorded membership of a group.
    #[must_use]
    pub fn group(&self, group: &GroupId) -> Option<&StoredGroup> {
        self.groups.get(group)
    }

    /// The recorded offset of a group in one partition.
    #[must_use]
    pub fn offset(&self, group: &GroupId, partition: &TopicPartition) -> Option<&CommittedOffset> {
        self.offsets(group)?
            .get(&partition.topic)?
            .get(&partition.partition)
    }

    pub(super) fn offsets(&self, group: &GroupId) -> Option<&TopicOffsets> {
        self.offsets.get(group)
    }

    pub(super) fn has_offsets_in(&self, group: &GroupId, topic: &TopicName) -> bool {
        self.offsets(group)
            .is_some_and(|topics| topics.contains_key(topic))
    }

    pub(super) fn count_offsets(&self, group: &GroupId) -> usize {
        let topics = self.offsets.get(group).into_iter().flatten();
        topics.map(|(_, partitions)| partitions.len()).sum()
    }

    pub(super) fn all_offsets(&self) -> impl Iterator<Item = (&GroupId, &TopicOffsets)> {
        self.offsets.iter()
    }

    /// The topics of all offsets, some of them more than once.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.offsets.values().flat_map(BTreeMap::keys)
    }

    /// Every group with a membership, and every group with offsets (some of them twice).
    pub(super) fn group_ids(&self) -> impl Iterator<Item = &GroupId> {
        self.groups.keys().chain(self.offsets.keys())
    }

    /// Whether any record of the group is left.
    pub(super) fn knows(&self, group: &GroupId) -> bool {
        self.groups.contains_key(group) || self.offsets.contains_key(group)
    }

    fn remove_offset(&mut self, group: &GroupId, partition: &TopicPartition) {
        let Some(topics) = self.offsets.get_mut(group) else {
            return;
        };
        if let Some(partitions) = topics.get_mut(&partition.topic) {
            let former = partitions.remove(&partition.partition);
            self.held_bytes -= former.map_or(0, |former| former.held_bytes());
            if partitions.is_empty() {
                topics.remove(&partition.topic);
                self.held_bytes -= TOPIC_BYTES;
            }
        }
        if topics.is_empty() {
            self.offsets.remove(group);
        }
    }
}

/// A committed offset besides its note, with its place.
const OFFSET_BYTES: usize = 110;
/// A topic in which a group has offsets: the room that is made for the first of them is for eleven.
pub(super) const TOPIC_BYTES: usize = 650;
