//! The sparse offset index of one segment: which batch lies at which place in the file.
//!
//! An entry names the last offset of a batch and the position the batch starts at, as Kafka's `.index` files do. It
//! knows nothing of records and is only a hint: whoever uses a position checks the batch he finds there.

use crate::types::Offset;

/// Bytes of one entry in the file: relative offset and position, both big-endian i32.
pub const OFFSET_ENTRY_BYTES: usize = 8;

/// One entry: a batch's last offset, counted from the segment's base, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    relative_offset: u32,
    position: u32,
}

/// A segment's sparse offset index in memory. Offsets and positions both grow strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetIndex {
    base_offset: Offset,
    entries: Vec<Entry>,
}

/// Why the bytes of an index file are of no use; the index is rebuilt from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The file is no whole number of entries.
    #[error("{length} bytes are no whole number of {entry_bytes}-byte entries")]
    PartialEntry {
        /// Bytes in the file.
        length: usize,
        /// Bytes of one entry.
        entry_bytes: usize,
    },
    /// An entry does not lie behind the one before it.
    #[error("entry {index} does not follow the one before it")]
    Disordered {
        /// The place of the entry, from 0.
        index: usize,
    },
    /// An entry points behind the end of the log or has a negative number.
    #[error("entry {index} points outside of the segment")]
    OutOfBounds {
        /// The place of the entry, from 0.
        index: usize,
    },
    /// A log with records has an index that says nothing about them.
    #[error("the index is empty, the segment is not")]
    Empty,
}

impl OffsetIndex {
    /// An index without entries for the segment at `base_offset`.
    #[must_use]
    pub fn new(base_offset: Offset) -> Self {
        Self {
            base_offset,
            entries: Vec::new(),
        }
    }

    /// Adds the batch that ends with `last_offset` and starts at `position`. Refuses (`false`) what Kafka's 32-bit
    /// fields cannot hold or what does not lie behind the last entry.
    pub fn push(&mut self, last_offset: Offset, position: u64) -> bool {
        let (Some(relative_offset), Some(position)) =
            (relative(self.base_offset, last_offset), fits_i32(position))
        else {
            return false;
        };
        let follows = self
            .entries
            .last()
            .is_none_or(|last| relative_offset > last.relative_offset && position > last.position);
        if follows {
            self.entries.push(Entry {
                relative_offset,
                position,
            });
        }
        follows
    }

    /// The entry with the greatest offset that is not above `offset`: its offset and position. `None`: start at 0.
    #[must_use]
    pub fn floor(&self, offset: Offset) -> Option<(Offset, u64)> {
        let above = self
            .entries
            .partition_point(|entry| self.offset_of(entry) <= offset);
        let entry = self.entries.get(above.checked_sub(1)?)?;
        Some((self.offset_of(entry), u64::from(entry.position)))
    }

    /// The entry with the least offset above `offset`: its offset and position. `None` behind the last.
    #[must_use]
    pub fn above(&self, offset: Offset) -> Option<(Offset, u64)> {
        let above = self
            .entries
            .partition_point(|entry| self.offset_of(entry) <= offset);
        let entry = self.entries.get(above)?;
        Some((self.offset_of(entry), u64::from(entry.position)))
    }

    /// The last entry: offset and position.
    #[must_use]
    pub fn last(&self) -> Option<(Offset, u64)> {
        let entry = self.entries.last()?;
        Some((self.offset_of(entry), u64::from(entry.position)))
    }

    /// All entries in order: the last offset of a batch and the position it starts at.
    pub fn entries(&self) -> impl Iterator<Item = (Offset, u64)> {
        let entries = self.entries.iter();
        entries.map(|entry| (self.offset_of(entry), u64::from(entry.position)))
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Drops entries of batches that start at or behind `position`.
    pub fn truncate(&mut self, position: u64) {
        let keep = self
            .entries
            .partition_point(|entry| u64::from(entry.position) < position);
        self.entries.truncate(keep);
    }

    /// Leaves the first entry and the last, and between them one for every so many bytes of the log.
    pub fn thin(&mut self, distance: u64) {
        let last = self.entries.last().copied();
        let mut due = 0;
        self.entries.retain(|entry| {
            let position = u64::from(entry.position);
            let stays = position >= due || last == Some(*entry);
            if stays {
                due = position.saturating_add(distance);
            }
            stays
        });
        self.entries.shrink_to_fit();
    }

    /// What it takes in memory, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// The contents of the `.index` file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * OFFSET_ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    /// Reads a `.index` file of the segment at `base_offset` whose log has `log_bytes`. The unused zeros that a
    /// preallocated index of Kafka ends with are left out.
    ///
    /// # Errors
    /// [`IndexError`] when the entries cannot be an index of such a segment.
    pub fn decode(base_offset: Offset, bytes: &[u8], log_bytes: u64) -> Result<Self, IndexError> {
        let (chunks, rest) = bytes.as_chunks::<OFFSET_ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(IndexError::PartialEntry {
                length: bytes.len(),
                entry_bytes: OFFSET_ENTRY_BYTES,
            });
        }
        let used = chunks
            .iter()
            .rposition(|chunk| *chunk != [0; OFFSET_ENTRY_BYTES])
            .map_or(0, |last| last + 1);
        let mut index = Self::new(base_offset);
        index.entries.reserve_exact(used);
        for (place, chunk) in chunks.iter().take(used).enumerate() {
            let [a, b, c, d, e, f, g, h] = *chunk;
            let relative_offset = u32::from_be_bytes([a, b, c, d]);
            let position = u32::from_be_bytes([e, f, g, h]);
            let offset = base_offset
                .checked_add(i64::from(relative_offset))
                .filter(|_| u64::from(position) < log_bytes);
            let Some(offset) = offset.filter(|_| relative_offset <= I32_MAX) else {
                return Err(IndexError::OutOfBounds { index: place });
            };
            if !index.push(offset, u64::from(position)) {
                return Err(IndexError::Disordered { index: place });
            }
        }
        Ok(index)
    }

    fn offset_of(&self, entry: &Entry) -> Offset {
        // Checked when the entry was pushed: base plus relative offset is an offset.
        Offset(
            self.base_offset
                .0
                .saturating_add(i64::from(entry.relative_offset)),
        )
    }
}

const I32_MAX: u32 = i32::MAX.unsigned_abs();

/// `offset` counted from `base_offset`, when Kafka's non-negative i32 can hold it.
pub(super) fn relative(base_offset: Offset, offset: Offset) -> Option<u32> {
    let distance = offset.0.checked_sub(base_offset.0)?;
    i32::try_from(distance)
        .ok()
        .and_then(|distance| u32::try_from(distance).ok())
}

fn fits_i32(position: u64) -> Option<u32> {
    u32::try_from(position).ok().filter(|&p| p <= I32_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_behind_the_last_entry_are_kafkas_preallocation() {
        let mut index = OffsetIndex::new(Offset(100));
        assert!(index.push(Offset(105), 4200));
        let mut bytes = index.encode();
        assert_eq!(bytes, [0, 0, 0, 5, 0, 0, 0x10, 0x68]);
        bytes.extend_from_slice(&[0; 80]);
        assert_eq!(OffsetIndex::decode(Offset(100), &bytes, 5000), Ok(index));
    }

    #[test]
    fn an_index_that_cannot_be_true_is_refused() {
        let entry =
            |offset: i32, position: i32| [offset.to_be_bytes(), position.to_be_bytes()].concat();
        let decode = |bytes: &[u8]| OffsetIndex::decode(Offset(0), bytes, 1000);
        assert_eq!(
            decode(&[1, 2, 3]),
            Err(IndexError::PartialEntry {
                length: 3,
                entry_bytes: 8
            })
        );
        assert_eq!(
            decode(&entry(5, 1000)),
            Err(IndexError::OutOfBounds { index: 0 })
        );
        assert_eq!(
            decode(&entry(-5, 10)),
            Err(IndexError::OutOfBounds { index: 0 })
        );
        assert_eq!(
            decode(&[entry(5, 20), entry(5, 30)].concat()),
            Err(IndexError::Disordered { index: 1 })
        );
    }

    #[test]
    fn an_offset_too_far_from_the_base_is_not_indexed() {
        let mut index = OffsetIndex::new(Offset(10));
        assert!(!index.push(Offset(10 + i64::from(i32::MAX) + 1), 1));
        assert!(!index.push(Offset(9), 1));
        assert!(index.push(Offset(10 + i64::from(i32::MAX)), 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_lookup_finds_what_a_plain_search_finds(
            steps in prop::collection::vec((1_i64..50, 1_u64..5000), 0..60),
            base in 0_i64..1_000_000,
            probes in prop::collection::vec(-10_i64..4000, 1..20),
        ) {
            let mut index = OffsetIndex::new(Offset(base));
            let mut model: Vec<(Offset, u64)> = Vec::new();
            let (mut offset, mut position) = (base, 0);
            for (records, bytes) in steps {
                offset += records;
                position += bytes;
                prop_assert!(index.push(Offset(offset), position));
                model.push((Offset(offset), position));
            }
            for probe in probes {
                let target = Offset(base + probe);
                let expected = model.iter().rev().find(|entry| entry.0 <= target).copied();
                prop_assert_eq!(index.floor(target), expected);
            }
            let read_back = OffsetIndex::decode(Offset(base), &index.encode(), position + 1);
            prop_assert_eq!(read_back, Ok(index));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length in any::<u64>()) {
            let _ = OffsetIndex::decode(Offset(7), &bytes, length);
            let _ = OffsetIndex::decode(Offset(i64::MAX), &bytes, length);
        }
    }
}
