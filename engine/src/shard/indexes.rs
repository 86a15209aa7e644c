//! The indexes of closed segments that a shard has in memory: where all of them take too much, those go that no read has used for
//! the longest. They are in their files, or built anew, for the next read that needs one.

use std::collections::{BTreeMap, BTreeSet};

use super::hosting::Slot;
use super::step::Shard;
use crate::types::{Offset, TopicIdPartition};

/// What is in memory. One whose segment is gone since, with its index, is let go in its turn.
#[derive(Debug)]
pub(super) struct Indexes {
    held: BTreeMap<IndexPlace, Held>,
    /// By when they were used last.
    by_use: BTreeSet<(u64, IndexPlace)>,
    /// The last use.
    clock: u64,
    bytes: usize,
    pub(super) bytes_max: usize,
}

/// The partition, and the base offset of the segment.
pub(super) type IndexPlace = (TopicIdPartition, Offset);

#[derive(Clone, Copy, Debug)]
struct Held {
    bytes: usize,
    used: u64,
    /// By a read, and not only by the appends it came of.
    was_read: bool,
}

impl Default for Indexes {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            by_use: BTreeSet::new(),
            clock: 0,
            bytes: 0,
            bytes_max: INDEX_BYTES_MAX,
        }
    }
}

impl Indexes {
    /// An index has come into memory.
    fn hold(&mut self, place: IndexPlace, bytes: usize, was_read: bool) {
        self.let_go(place);
        self.clock += 1;
        let held = Held {
            bytes: bytes.saturating_add(HELD_BYTES),
            used: self.clock,
            was_read,
        };
        self.bytes = self.bytes.saturating_add(held.bytes);
        self.by_use.insert((held.used, place));
        self.held.insert(place, held);
    }

    /// A read uses an index.
    pub(super) fn used(&mut self, place: IndexPlace) {
        if let Some(held) = self.held.get_mut(&place) {
            self.by_use.remove(&(held.used, place));
            self.clock += 1;
            held.used = self.clock;
            held.was_read = true;
            self.by_use.insert((held.used, place));
        }
    }

    fn let_go(&mut self, place: IndexPlace) {
        if let Some(held) = self.held.remove(&place) {
            self.by_use.remove(&(held.used, place));
            self.bytes = self.bytes.saturating_sub(held.bytes);
        }
    }

    /// The last before `place` in its log, if no read has used it.
    fn unread_before(&self, place: IndexPlace) -> Option<IndexPlace> {
        let (before, held) = self.held.range(..place).next_back()?;
        (before.0 == place.0 && !held.was_read).then_some(*before)
    }

    /// Takes the longest unused off the list, where they take too much.
    fn take_surplus(&mut self) -> Option<IndexPlace> {
        if self.bytes <= self.bytes_max || self.held.len() <= KEPT_MIN {
            return None;
        }
        let (_, place) = *self.by_use.first()?;
        self.let_go(place);
        Some(place)
    }
}

impl Shard {
    /// A log is open. Only indexes that found no room on the disk are in memory.
    pub(super) fn note_opened_indexes(&mut self, id: TopicIdPartition) {
        if let Some(Slot::Leading(leader)) = self.slots.get(&id) {
            for (base_offset, bytes) in leader.log().loaded_indexes() {
                self.indexes.hold((id, base_offset), bytes, true);
            }
            self.drop_surplus_indexes();
        }
    }

    /// A segment may have been closed. Who reads close behind the end of the log goes on with its index; that of the one before
    /// goes, unless somebody has read there.
    pub(super) fn note_rolled_index(&mut self, id: TopicIdPartition) {
        let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
            return;
        };
        let Some((base_offset, bytes)) = leader.log().loaded_indexes().next_back() else {
            return;
        };
        let place = (id, base_offset);
        if self.indexes.held.contains_key(&place) {
            return;
        }
        if let Some(before) = self.indexes.unread_before(place) {
            leader.log_mut().drop_index(before.1);
            self.indexes.let_go(before);
        }
        self.indexes.hold(place, bytes, false);
        self.drop_surplus_indexes();
    }

    /// An index was loaded. It may be let go at once only after the reads that it was loaded for.
    pub(super) fn note_loaded_index(&mut self, id: TopicIdPartition, base_offset: Offset) {
        let Some(Slot::Leading(leader)) = self.slots.get(&id) else {
            return;
        };
        let found = leader
            .log()
            .loaded_indexes()
            .find(|(base, _)| *base == base_offset);
        if let Some((_, bytes)) = found {
            self.indexes.hold((id, base_offset), bytes, true);
            self.drop_surplus_indexes();
        }
    }

    fn drop_surplus_indexes(&mut self) {
        while let Some((id, base_offset)) = self.indexes.take_surplus() {
            if let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) {
                leader.log_mut().drop_index(base_offset);
            }
        }
    }
}

/// How much the indexes of closed segments take in memory: thinned as they are, some twenty of full segments of the default
/// settings, or more of larger batches.
const INDEX_BYTES_MAX: usize = 32 << 20;
/// So many are kept whatever they take: readers of two old segments would have theirs loaded in turns else. Those that found no room
/// on the disk at a start are whole, some 21 MB each at most unless `segment.index.bytes` is raised.
const KEPT_MIN: usize = 3;
/// What an index takes besides its entries, here and in its log.
const HELD_BYTES: usize = 256;

#[cfg(test)]
mod tests;
