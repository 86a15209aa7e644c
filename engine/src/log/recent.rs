//! Where the newest batches lie, so that reads at the tail and bounds at the high watermark need no index and no I/O.
//!
//! A cache and nothing more: what is not in it is found through the index and the file.

use std::collections::VecDeque;

use super::segment::BatchPlace;
use crate::types::Offset;

/// Batches kept even when nobody needs them for a bound; reads further back find theirs by the index. All of them pass through the
/// core's cache again and again, in every partition that is written to.
const KEPT_BATCHES: usize = 64;
/// Batches kept at most, however far behind the watermark is.
const KEPT_BATCHES_MAX: usize = 16 * 1024;

/// The newest written batches in order of offsets, without a gap in between (other than those of compaction).
#[derive(Debug, Default)]
pub(super) struct Recent {
    batches: VecDeque<BatchPlace>,
    /// Batches that end at or above this are wanted.
    watermark: Offset,
}

impl Recent {
    pub(super) fn push(&mut self, batch: BatchPlace) {
        // Room first: the deque doubles when it is full.
        self.trim_to(KEPT_BATCHES - 1);
        self.batches.push_back(batch);
    }

    /// Bounds are at `watermark` or above from now on.
    pub(super) fn release_below(&mut self, watermark: Offset) {
        self.watermark = self.watermark.max(watermark);
        self.trim_to(KEPT_BATCHES);
    }

    /// Forgets the batches that end below `offset`: they do not lie where they lay.
    pub(super) fn forget_below(&mut self, offset: Offset) {
        while self
            .batches
            .front()
            .is_some_and(|oldest| oldest.last_offset < offset)
        {
            self.batches.pop_front();
        }
    }

    /// Leaves `kept` batches, or as many as are wanted.
    fn trim_to(&mut self, kept: usize) {
        while self.batches.len() > kept {
            let wanted = self
                .batches
                .front()
                .is_some_and(|oldest| oldest.last_offset >= self.watermark);
            if wanted && self.batches.len() < KEPT_BATCHES_MAX {
                break;
            }
            self.batches.pop_front();
        }
    }

    /// Whether the batch that holds `offset` would be here.
    pub(super) fn covers(&self, offset: Offset) -> bool {
        self.batches
            .front()
            .is_some_and(|oldest| oldest.base_offset <= offset)
    }

    /// The first batch that ends at or after `offset`. Only meaningful when [`Self::covers`] it.
    pub(super) fn find(&self, offset: Offset) -> Option<&BatchPlace> {
        let below = self
            .batches
            .partition_point(|batch| batch.last_offset < offset);
        self.batches.get(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    /// One record at `offset`.
    fn batch(offset: i64) -> BatchPlace {
        BatchPlace {
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            position: 0,
            length_bytes: 100,
            max_timestamp: Timestamp(0),
        }
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for_from_the_start() {
        let mut recent = Recent {
            watermark: Offset(1_000),
            ..Recent::default()
        };
        let mut room_max = 0;
        for offset in 0..1_000 {
            recent.push(batch(offset));
            room_max = room_max.max(recent.batches.capacity());
        }
        assert_eq!(
            (recent.batches.len(), room_max),
            (KEPT_BATCHES, KEPT_BATCHES)
        );
        let oldest = 1_000 - i64::try_from(KEPT_BATCHES).unwrap();
        assert!(recent.covers(Offset(oldest)));
        assert!(!recent.covers(Offset(oldest - 1)));
    }

    #[test]
    fn those_above_the_watermark_are_kept_until_they_are_too_many() {
        let mut recent = Recent::default();
        let most = i64::try_from(KEPT_BATCHES_MAX).unwrap();
        for offset in 0..most {
            recent.push(batch(offset));
        }
        assert!(recent.covers(Offset(0)));
        recent.push(batch(most));
        assert!(!recent.covers(Offset(0)));
        assert_eq!(recent.batches.len(), KEPT_BATCHES_MAX);
        recent.release_below(Offset(most - 99));
        assert!(recent.covers(Offset(most - 99)));
        assert_eq!(recent.batches.len(), 100);
    }
}
