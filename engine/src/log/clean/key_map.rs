//! The newest offset of each key, in memory that is bounded beforehand: a table of hashes, without the keys.
//!
//! As in Kafka two keys count as one when 16 bytes of hash agree, and a key takes 24 bytes, so that
//! `log.cleaner.dedupe.buffer.size` holds as many keys here as there. The hash is seeded, so that no client can choose
//! keys that fall together.

use std::hash::{DefaultHasher, Hasher};

use crate::types::Offset;

/// Bytes that one key takes: hash and offset.
pub const ENTRY_BYTES: usize = 24;

/// Two words of hash, then the offset plus one: 0 is a free place.
type Slot = [u64; 3];

const _: () = assert!(size_of::<Slot>() == ENTRY_BYTES);

/// Newest offsets by key.
#[derive(Debug)]
pub(super) struct KeyMap {
    /// Never empty.
    slots: Vec<Slot>,
    keys_max: usize,
    count: usize,
    seed: u64,
}

impl KeyMap {
    /// A table for `keys` keys, or for as many as fit into `memory_bytes` when it is filled up to `load_factor` (0 to
    /// 1), but for one at least.
    pub(super) fn new(keys: u64, memory_bytes: u64, load_factor: f64, seed: u64) -> Self {
        let slots_max = usize::try_from(memory_bytes).unwrap_or(usize::MAX) / ENTRY_BYTES;
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        let wanted = scaled(keys, 1.0 / load_factor.clamp(0.01, 1.0)).saturating_add(1);
        let slots = slots_max.min(wanted).max(2);
        Self {
            slots: vec![[0; 3]; slots],
            // A free place must remain, or a search for an unknown key never ends.
            keys_max: scaled(slots, load_factor).clamp(1, slots - 1),
            count: 0,
            seed,
        }
    }

    /// Notes that `key` stands at `offset`, which is above all noted before. `false`, and nothing noted, when the key
    /// is new and no room is left.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let place = self.find(hash);
        let Some(slot) = self.slots.get_mut(place) else {
            return false;
        };
        if slot[2] == 0 {
            if self.count >= self.keys_max {
                return false;
            }
            self.count += 1;
        }
        *slot = [hash.0, hash.1, offset.0.cast_unsigned().wrapping_add(1)];
        true
    }

    /// The newest offset noted for `key`.
    pub(super) fn newest(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots.get(self.find(self.hash(key)))?;
        (slot[2] != 0).then(|| Offset(slot[2].wrapping_sub(1).cast_signed()))
    }

    /// How many keys are noted.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How full it is: 1 when no new key is taken any more.
    pub(super) fn utilisation(&self) -> f64 {
        ratio(self.count, self.keys_max)
    }

    /// The place of the hash, or the free one where it would be.
    fn find(&self, hash: (u64, u64)) -> usize {
        let length = self.slots.len();
        let start = hash.0 % u64::try_from(length).unwrap_or(u64::MAX);
        let mut place = usize::try_from(start).unwrap_or(0);
        while let Some(slot) = self.slots.get(place) {
            if slot[2] == 0 || (slot[0], slot[1]) == hash {
                break;
            }
            place = if place + 1 == length { 0 } else { place + 1 };
        }
        place
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let word = |number: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(self.seed);
            hasher.write_u8(number);
            hasher.write(key);
            hasher.finish()
        };
        (word(0), word(1))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes of tables, not of one entry more or less; the product is not negative"
)]
fn scaled(count: usize, factor: f64) -> usize {
    (count as f64 * factor) as usize
}

#[expect(clippy::cast_precision_loss, reason = "a share, for people to read")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_bounds_how_many_keys_are_taken() {
        let mut map = KeyMap::new(u64::MAX, 10 * 24, 0.5, 1);
        let taken = (0..20_u64).filter(|&key| map.put(&key.to_be_bytes(), Offset(key as i64)));
        assert_eq!(taken.count(), 5);
        assert!((map.utilisation() - 1.0).abs() < f64::EPSILON);
        assert!(map.put(&0_u64.to_be_bytes(), Offset(99)), "a known key");
        assert_eq!(map.newest(&0_u64.to_be_bytes()), Some(Offset(99)));
        assert_eq!(map.newest(&7_u64.to_be_bytes()), None);
    }

    #[test]
    fn a_table_is_no_larger_than_the_keys_need() {
        let map = KeyMap::new(90, u64::MAX, 0.9, 1);
        assert!(
            (100..=102).contains(&map.slots.len()),
            "{}",
            map.slots.len()
        );
        assert!(map.keys_max >= 90);
        assert_eq!(KeyMap::new(0, 0, 0.0, 1).keys_max, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_remembers_what_a_map_remembers(
            keys in prop::collection::vec(prop::collection::vec(0_u8..4, 0..4), 0..200),
            seed: u64,
        ) {
            let mut map = KeyMap::new(keys.len() as u64, u64::MAX, 0.9, seed);
            let mut model = BTreeMap::new();
            for (offset, key) in keys.iter().enumerate() {
                let offset = Offset(offset as i64);
                prop_assert!(map.put(key, offset));
                model.insert(key.clone(), offset);
            }
            prop_assert_eq!(map.count(), model.len());
            for (key, offset) in &model {
                prop_assert_eq!(map.newest(key), Some(*offset));
            }
            prop_assert_eq!(map.newest(b"absent"), None);
        }
    }
}
