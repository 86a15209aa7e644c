//! The sparse time index of one segment: how far the greatest timestamp had grown by which batch.
//!
//! An entry names a timestamp no earlier batch had reached and the last offset of the batch that reached it, as Kafka's
//! `.timeindex` files do. Like the offset index it is a hint, checked against the log by whoever uses it.

use super::offset_index::{IndexError, relative};
use crate::types::{Offset, Timestamp};

/// Bytes of one entry in the file: timestamp as i64 and relative offset as i32, big-endian.
pub const TIME_ENTRY_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    timestamp: Timestamp,
    relative_offset: u32,
}

/// A segment's sparse time index in memory. Timestamps grow strictly, offsets do not fall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIndex {
    base_offset: Offset,
    entries: Vec<Entry>,
}

impl TimeIndex {
    /// An index without entries for the segment at `base_offset`.
    #[must_use]
    pub fn new(base_offset: Offset) -> Self {
        Self {
            base_offset,
            entries: Vec::new(),
        }
    }

    /// Notes that `timestamp` is the greatest so far and was reached by the batch ending with `last_offset`. Nothing
    /// happens when the last entry already says as much.
    pub fn push(&mut self, timestamp: Timestamp, last_offset: Offset) {
        let Some(relative_offset) = relative(self.base_offset, last_offset) else {
            return;
        };
        let follows = self.entries.last().is_none_or(|last| {
            timestamp > last.timestamp && relative_offset >= last.relative_offset
        });
        if follows && timestamp > Timestamp::NONE {
            self.entries.push(Entry {
                timestamp,
                relative_offset,
            });
        }
    }

    /// The offset of the last entry whose timestamp is not above `timestamp`: every record of an earlier batch is not
    /// later than `timestamp`. `None`: start with the segment's first batch.
    #[must_use]
    pub fn floor(&self, timestamp: Timestamp) -> Option<Offset> {
        let above = self
            .entries
            .partition_point(|entry| entry.timestamp <= timestamp);
        let entry = self.entries.get(above.checked_sub(1)?)?;
        Some(self.offset_of(entry))
    }

    /// The greatest timestamp that was reached by a batch ending below `offset`, and that batch's last offset.
    #[must_use]
    pub fn floor_by_offset(&self, offset: Offset) -> Option<(Timestamp, Offset)> {
        let above = self
            .entries
            .partition_point(|entry| self.offset_of(entry) < offset);
        let entry = self.entries.get(above.checked_sub(1)?)?;
        Some((entry.timestamp, self.offset_of(entry)))
    }

    /// The last entry: the greatest timestamp and the last offset of the batch that reached it.
    #[must_use]
    pub fn last(&self) -> Option<(Timestamp, Offset)> {
        let entry = self.entries.last()?;
        Some((entry.timestamp, self.offset_of(entry)))
    }

    /// All entries in order: a timestamp and the last offset of the batch that reached it.
    pub fn entries(&self) -> impl Iterator<Item = (Timestamp, Offset)> {
        let entries = self.entries.iter();
        entries.map(|entry| (entry.timestamp, self.offset_of(entry)))
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Drops entries of batches that end at or behind `offset`.
    pub fn truncate(&mut self, offset: Offset) {
        let keep = self
            .entries
            .partition_point(|entry| self.offset_of(entry) < offset);
        self.entries.truncate(keep);
    }

    /// Leaves the last entry, and of those before it the first of each stretch of the log: `stretch_of` says in which one an
    /// offset lies.
    pub fn thin<S: PartialEq>(&mut self, stretch_of: impl Fn(Offset) -> S) {
        let mut entries = std::mem::take(&mut self.entries);
        let last = entries.last().copied();
        let mut before = None;
        entries.retain(|entry| {
            let stretch = Some(stretch_of(self.offset_of(entry)));
            let stays = stretch != before || last == Some(*entry);
            before = stretch;
            stays
        });
        entries.shrink_to_fit();
        self.entries = entries;
    }

    /// What it takes in memory, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// The contents of the `.timeindex` file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * TIME_ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.timestamp.0.to_be_bytes());
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
        }
        bytes
    }

    /// Reads a `.timeindex` file of the segment at `base_offset`. The unused zeros that a preallocated index of Kafka
    /// ends with are left out.
    ///
    /// # Errors
    /// [`IndexError`] when the entries cannot be an index.
    pub fn decode(base_offset: Offset, bytes: &[u8]) -> Result<Self, IndexError> {
        let (chunks, rest) = bytes.as_chunks::<TIME_ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(IndexError::PartialEntry {
                length: bytes.len(),
                entry_bytes: TIME_ENTRY_BYTES,
            });
        }
        let used = match chunks.iter().rposition(|c| *c != [0; TIME_ENTRY_BYTES]) {
            Some(last) => last + 1,
            // A lone entry of zeros is a real one: timestamp 0 at the base offset.
            None if chunks.len() == 1 => 1,
            None => 0,
        };
        let mut index = Self::new(base_offset);
        index.entries.reserve_exact(used);
        for (place, chunk) in chunks.iter().take(used).enumerate() {
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *chunk;
            let timestamp = Timestamp(i64::from_be_bytes([a, b, c, d, e, f, g, h]));
            let relative_offset = i32::from_be_bytes([i, j, k, l]);
            let last_offset = base_offset.checked_add(i64::from(relative_offset));
            let (Some(last_offset), 0..) = (last_offset, relative_offset) else {
                return Err(IndexError::OutOfBounds { index: place });
            };
            let before = index.entries.len();
            index.push(timestamp, last_offset);
            if index.entries.len() == before {
                return Err(IndexError::Disordered { index: place });
            }
        }
        Ok(index)
    }

    fn offset_of(&self, entry: &Entry) -> Offset {
        Offset(
            self.base_offset
                .0
                .saturating_add(i64::from(entry.relative_offset)),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_greater_timestamp_makes_an_entry() {
        let mut index = TimeIndex::new(Offset(10));
        index.push(Timestamp::NONE, Offset(10));
        index.push(Timestamp(5), Offset(11));
        index.push(Timestamp(5), Offset(12));
        index.push(Timestamp(4), Offset(13));
        index.push(Timestamp(6), Offset(14));
        assert_eq!(index.count(), 2);
        assert_eq!(index.last(), Some((Timestamp(6), Offset(14))));
        assert_eq!(
            index.encode(),
            [
                0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, //
                0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 4
            ]
        );
    }

    #[test]
    fn a_lone_entry_of_zeros_is_an_entry_and_many_are_padding() {
        let one = TimeIndex::decode(Offset(3), &[0; 12]).unwrap();
        assert_eq!(one.last(), Some((Timestamp(0), Offset(3))));
        let none = TimeIndex::decode(Offset(3), &[0; 120]).unwrap();
        assert_eq!(none.count(), 0);
    }

    #[test]
    fn disorder_is_refused() {
        let mut bytes = Vec::new();
        for (timestamp, offset) in [(9_i64, 1_i32), (8, 2)] {
            bytes.extend_from_slice(&timestamp.to_be_bytes());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        assert_eq!(
            TimeIndex::decode(Offset(0), &bytes),
            Err(IndexError::Disordered { index: 1 })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_lookup_finds_what_a_plain_search_finds(
            batches in prop::collection::vec((1_i64..9, 0_i64..100), 0..60),
            probes in prop::collection::vec(-2_i64..110, 1..20),
        ) {
            let mut index = TimeIndex::new(Offset(0));
            let mut model: Vec<(Timestamp, Offset)> = Vec::new();
            let mut offset = -1;
            for (records, timestamp) in batches {
                offset += records;
                index.push(Timestamp(timestamp), Offset(offset));
                if model.last().is_none_or(|last| Timestamp(timestamp) > last.0) {
                    model.push((Timestamp(timestamp), Offset(offset)));
                }
            }
            for probe in probes {
                let by_time = model.iter().rev().find(|e| e.0 <= Timestamp(probe)).map(|e| e.1);
                prop_assert_eq!(index.floor(Timestamp(probe)), by_time);
                let by_offset = model.iter().rev().find(|e| e.1 < Offset(probe)).copied();
                prop_assert_eq!(index.floor_by_offset(Offset(probe)), by_offset);
            }
            prop_assert_eq!(TimeIndex::decode(Offset(0), &index.encode()), Ok(index));
        }
    }
}
