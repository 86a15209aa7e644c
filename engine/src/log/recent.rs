//! Where the newest batches lie, so that reads at the tail and bounds at the high watermark need no index and no I/O.
//!
//! A cache and nothing more: what is not in it is found through the index and the file.

use std::collections::VecDeque;

use super::segment::BatchPlace;
use crate::types::Offset;

/// Batches kept even when nobody needs them for a bound.
const KEPT_BATCHES: usize = 256;
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
        self.batches.push_back(batch);
        self.trim();
    }

    /// Bounds are at `watermark` or above from now on.
    pub(super) fn release_below(&mut self, watermark: Offset) {
        self.watermark = self.watermark.max(watermark);
        self.trim();
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

    fn trim(&mut self) {
        while self.batches.len() > KEPT_BATCHES {
            let wanted = self
                .batches
                .front()
                .is_some_and(|oldest| oldest.last_offset >= self.watermark);
            if wanted && self.batches.len() <= KEPT_BATCHES_MAX {
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
