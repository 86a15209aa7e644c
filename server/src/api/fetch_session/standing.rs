//! What the shards were told of a session's partitions, and what they are still to be told. Plain book-keeping: where a
//! partition is led, and what a topic is called, others know.

use std::collections::BTreeMap;

use millrace_engine::metadata::{MetadataImage, TopicsMark};
use millrace_engine::partition::Isolation;
use millrace_engine::shard::ShardIndex;
use millrace_engine::shard::command::{FetchPartition, StandingId};
use millrace_engine::types::TopicIdPartition;
use millrace_wire::ErrorCode;

/// A session's standing reads, one on each shard that has partitions of it.
#[derive(Debug)]
pub(in crate::api) struct Standing {
    isolation: Isolation,
    /// Those that the partitions were found among.
    topics: Option<TopicsMark>,
    /// Where each place is read.
    known: BTreeMap<u64, (ShardIndex, TopicIdPartition)>,
    /// Places that nobody can read.
    refused: BTreeMap<u64, ErrorCode>,
    shares: BTreeMap<ShardIndex, Share>,
}

/// What one shard has of it.
#[derive(Debug, Default)]
struct Share {
    /// None until it is asked for the first time.
    id: Option<StandingId>,
    places: usize,
    remove: Vec<u64>,
    put: BTreeMap<u64, FetchPartition>,
}

/// What to ask a shard.
#[derive(Debug)]
pub(in crate::api) struct Ask {
    pub(in crate::api) shard: ShardIndex,
    pub(in crate::api) id: StandingId,
    pub(in crate::api) begins: bool,
    pub(in crate::api) remove: Vec<u64>,
    pub(in crate::api) put: Vec<(u64, FetchPartition)>,
}

impl Standing {
    pub(super) const fn new(isolation: Isolation) -> Self {
        Self {
            isolation,
            topics: None,
            known: BTreeMap::new(),
            refused: BTreeMap::new(),
            shares: BTreeMap::new(),
        }
    }

    pub(super) const fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Notes the topics of the metadata; true when partitions may be elsewhere than they were.
    pub(super) fn follow(&mut self, image: &MetadataImage) -> bool {
        let known = self.topics.as_ref();
        if known.is_some_and(|topics| image.has_marked_topics(topics)) {
            return false;
        }
        self.topics = Some(image.mark_topics());
        true
    }

    /// Whether this is what is read at `place`.
    pub(super) fn stands(&self, place: u64, partition: TopicIdPartition) -> bool {
        self.known
            .get(&place)
            .is_some_and(|(_, known)| *known == partition)
    }

    /// A place is read in this way from now on, or cannot be read.
    pub(super) fn put(
        &mut self,
        place: u64,
        found: Result<(ShardIndex, FetchPartition), ErrorCode>,
    ) {
        match found {
            Ok((shard, read)) => {
                if self.known.get(&place) != Some(&(shard, read.partition)) {
                    self.remove(place);
                    self.known.insert(place, (shard, read.partition));
                    self.shares.entry(shard).or_default().places += 1;
                }
                self.refused.remove(&place);
                if let Some(share) = self.shares.get_mut(&shard) {
                    share.put.insert(place, read);
                }
            }
            Err(error) => {
                self.remove(place);
                self.refused.insert(place, error);
            }
        }
    }

    /// A place is no longer read.
    pub(super) fn remove(&mut self, place: u64) {
        self.refused.remove(&place);
        let Some((shard, _)) = self.known.remove(&place) else {
            return;
        };
        if let Some(share) = self.shares.get_mut(&shard) {
            share.places -= 1;
            // It may have been put since the shard was asked last.
            share.put.remove(&place);
            share.remove.push(place);
        }
    }

    /// How many places nobody can read.
    pub(in crate::api) fn refused_count(&self) -> usize {
        self.refused.len()
    }

    /// What to ask the shards that have places, with what they are to be told first. `name` gives a new name.
    pub(in crate::api) fn asks(&mut self, mut name: impl FnMut() -> StandingId) -> Vec<Ask> {
        let shares = self.shares.iter_mut();
        let asked = shares.filter(|(_, share)| share.places > 0);
        let ask = |(shard, share): (&ShardIndex, &mut Share)| {
            let begins = share.id.is_none();
            Ask {
                shard: *shard,
                id: *share.id.get_or_insert_with(&mut name),
                begins,
                remove: std::mem::take(&mut share.remove),
                put: std::mem::take(&mut share.put).into_iter().collect(),
            }
        };
        asked.map(ask).collect()
    }

    /// Places that nobody can read, and why.
    pub(in crate::api) fn refused(&self) -> impl Iterator<Item = (u64, ErrorCode)> {
        self.refused.iter().map(|(place, error)| (*place, *error))
    }

    /// Where a place is read.
    pub(in crate::api) fn partition(&self, place: u64) -> Option<TopicIdPartition> {
        self.known.get(&place).map(|(_, partition)| *partition)
    }

    /// What the shards remember.
    pub(super) fn into_ids(self) -> impl Iterator<Item = (ShardIndex, StandingId)> {
        let shares = self.shares.into_iter();
        shares.filter_map(|(shard, share)| Some((shard, share.id?)))
    }
}

#[cfg(test)]
mod tests;
