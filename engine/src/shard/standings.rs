//! What readers want over many fetches, remembered: which of their partitions have to be looked at, and which had nothing
//! new when they were looked at last. Plain book-keeping; it reads no log and answers nobody.
//!
//! A partition of a standing read is in one of three places: *due*, to be looked at by the next lookup; *in work*, with the
//! fetch that looks at it; or *at rest*, watched for. Whatever happens to a partition at rest makes it due once, so that
//! a reader that never comes back costs nothing more.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{FetchPartition, StandingId};
use crate::types::TopicIdPartition;

/// All standing reads of a shard.
#[derive(Debug, Default)]
pub(super) struct Standings {
    by_id: BTreeMap<StandingId, Standing>,
    /// Partitions at rest, and their places.
    watched: BTreeMap<(TopicIdPartition, StandingId), u64>,
}

#[derive(Debug, Default)]
struct Standing {
    /// By place: lower ones are read first.
    entries: BTreeMap<u64, FetchPartition>,
    due: BTreeSet<u64>,
    /// The fetch in work, if there is one.
    fetch: Option<u64>,
}

impl Standings {
    /// Begins a standing read without partitions, or forgets all that one of this id had.
    pub(super) fn begin(&mut self, id: StandingId) {
        self.forget(id);
        self.by_id.insert(id, Standing::default());
    }

    /// Takes changes in: first what goes, then what comes or is read in another way, which is due. False when there is
    /// none of this id, or a fetch of it is in work: then it has to begin anew.
    pub(super) fn change(
        &mut self,
        id: StandingId,
        remove: &[u64],
        put: Vec<(u64, FetchPartition)>,
    ) -> bool {
        let Some(standing) = self.by_id.get_mut(&id) else {
            return false;
        };
        if standing.fetch.is_some() {
            return false;
        }
        for place in remove {
            if let Some(entry) = standing.entries.remove(place) {
                standing.due.remove(place);
                self.watched.remove(&(entry.partition, id));
            }
        }
        for (place, entry) in put {
            let partition = entry.partition;
            if let Some(before) = standing.entries.insert(place, entry) {
                self.watched.remove(&(before.partition, id));
            }
            self.watched.remove(&(partition, id));
            standing.due.insert(place);
        }
        true
    }

    /// A fetch goes to work; nothing else may begin before [`Self::rest`].
    pub(super) fn engage(&mut self, id: StandingId, fetch: u64) {
        if let Some(standing) = self.by_id.get_mut(&id) {
            standing.fetch = Some(fetch);
        }
    }

    /// Hands what is due to the fetch in work, in the order of places.
    pub(super) fn take_due(&mut self, id: StandingId) -> Vec<(u64, FetchPartition)> {
        let Some(standing) = self.by_id.get_mut(&id) else {
            return Vec::new();
        };
        let due = std::mem::take(&mut standing.due).into_iter();
        due.filter_map(|place| Some((place, *standing.entries.get(&place)?)))
            .collect()
    }

    /// The fetch is answered. What it looked at comes back: with true to rest, because there was nothing and its reader is
    /// told so, else to be looked at again.
    pub(super) fn rest(&mut self, id: StandingId, looked_at: impl Iterator<Item = (u64, bool)>) {
        let Some(standing) = self.by_id.get_mut(&id) else {
            return;
        };
        standing.fetch = None;
        for (place, at_rest) in looked_at {
            let Some(entry) = standing.entries.get(&place) else {
                continue;
            };
            // Something happened to it meanwhile.
            if standing.due.contains(&place) {
                continue;
            }
            if at_rest {
                self.watched.insert((entry.partition, id), place);
            } else {
                standing.due.insert(place);
            }
        }
    }

    /// Something happened to a partition: it is due for all that have it at rest. Says which fetches in work that concerns.
    pub(super) fn stir(&mut self, partition: TopicIdPartition) -> Vec<u64> {
        let all = (partition, StandingId(0))..=(partition, StandingId(u64::MAX));
        let watchers: Vec<_> = self.watched.range(all).map(|(key, _)| *key).collect();
        let mut fetches = Vec::new();
        for key in watchers {
            if let Some(place) = self.watched.remove(&key)
                && let Some(standing) = self.by_id.get_mut(&key.1)
            {
                standing.due.insert(place);
                fetches.extend(standing.fetch);
            }
        }
        fetches
    }

    /// Forgets a standing read; says which fetch of it is in work.
    pub(super) fn forget(&mut self, id: StandingId) -> Option<u64> {
        let standing = self.by_id.remove(&id)?;
        for entry in standing.entries.values() {
            self.watched.remove(&(entry.partition, id));
        }
        standing.fetch
    }
}

#[cfg(test)]
mod tests;
