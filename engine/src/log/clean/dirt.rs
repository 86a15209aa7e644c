//! How much of a log is not compacted yet, how far a compaction may go now, and whether it is worth it.
//!
//! Kafka's rules. Everything ends at the edge of a segment; which of several logs is taken is for their owner to say.

use super::super::Log;
use super::super::segment::Segment;
use crate::types::{Offset, Timestamp};

/// What of a log waits for compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirt {
    /// Keys from here on have not been looked at.
    pub first_dirty: Offset,
    /// Where the compaction would end (exclusive): the start of the first segment that must stay as it is.
    pub upper_bound: Offset,
    /// Bytes of the segments that were compacted before.
    pub clean_bytes: u64,
    /// Bytes of the segments to look for keys in.
    pub dirty_bytes: u64,
    /// How long `max.compaction.lag.ms` has passed for its oldest record; 0 when it has not.
    pub overdue_ms: i64,
}

impl Dirt {
    /// Dirty bytes of all that a compaction would read, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share, compared with a share")]
    pub fn ratio(&self) -> f64 {
        let total = self.clean_bytes.saturating_add(self.dirty_bytes);
        if total == 0 {
            return 0.0;
        }
        self.dirty_bytes as f64 / total as f64
    }

    /// Whether it is time: dirtier than `min.cleanable.dirty.ratio`, or overdue.
    #[must_use]
    pub fn is_due(&self, ratio_min: f64) -> bool {
        self.dirty_bytes > 0 && (self.overdue_ms > 0 || self.ratio() > ratio_min)
    }
}

impl Log {
    /// What waits for compaction below `bound` (the last stable offset). `None` when nothing may be compacted: the
    /// topic does not ask for it, the log is damaged, or a compaction is under way.
    #[must_use]
    pub fn dirt(&self, now: Timestamp, bound: Offset) -> Option<Dirt> {
        let compacted = self.config.cleanup_policy.compact;
        if !compacted || self.damage.is_some() || self.clean.running {
            return None;
        }
        let first_dirty = self.first_dirty();
        let upper_bound = self.clean_bound(first_dirty, now, bound);
        let dirty_from = self.floor_base(first_dirty.min(upper_bound));
        let closed = self.segments.closed().iter();
        let bytes = |wanted: &dyn Fn(&Segment) -> bool| {
            let wanted = closed.clone().filter(|segment| wanted(segment));
            wanted.map(|segment| segment.length).sum()
        };
        Some(Dirt {
            first_dirty,
            upper_bound,
            // The segment that holds the first dirty offset counts as both, as in Kafka.
            clean_bytes: bytes(&|segment| segment.base_offset < first_dirty),
            dirty_bytes: bytes(&|segment| {
                segment.base_offset >= dirty_from && segment.base_offset < upper_bound
            }),
            overdue_ms: self.overdue_ms(dirty_from, now),
        })
    }

    /// The checkpoint may tell of another life of this log: then all of it counts as dirty.
    fn first_dirty(&self) -> Offset {
        let known = self.log_start_offset..=self.log_end_offset;
        let cleaned_to = self.clean.cleaned_to;
        if known.contains(&cleaned_to) {
            cleaned_to
        } else {
            self.log_start_offset
        }
    }

    /// The start of the first segment that must stay: the active one, one that is not wholly below `bound` and on
    /// stable storage, one with a record younger than `min.compaction.lag.ms`.
    fn clean_bound(&self, first_dirty: Offset, now: Timestamp, bound: Offset) -> Offset {
        let bound = bound.min(self.recovery_point);
        let lag_ms = self.config.min_compaction_lag_ms.max(0);
        let dirty_from = self.floor_base(first_dirty);
        for segment in self.segments.closed() {
            let end = self.segments.end_of(segment.base_offset);
            let beyond = end.is_none_or(|end| end > bound) || !segment.synced;
            let young = lag_ms > 0
                && segment.base_offset >= dirty_from
                && segment.newest().0 > now.0.saturating_sub(lag_ms);
            if beyond || young {
                return segment.base_offset;
            }
        }
        self.segments.active().base_offset
    }

    fn floor_base(&self, offset: Offset) -> Offset {
        let segment = self.segments.floor(offset);
        segment.map_or(offset, |segment| segment.base_offset)
    }

    fn overdue_ms(&self, dirty_from: Offset, now: Timestamp) -> i64 {
        let Some(lag_ms) = self.config.max_compaction_lag_ms else {
            return 0;
        };
        let dirty = self.segments.closed().iter();
        let dirty = dirty.filter(|segment| segment.base_offset >= dirty_from && segment.length > 0);
        // Of a segment that was opened before the topic was compacted only the newest is known: no record is younger.
        let known = dirty.filter_map(|segment| {
            let is_known = |timestamp: &Timestamp| *timestamp > Timestamp(0);
            let newest = segment.max_timestamp.map(|(timestamp, _)| timestamp);
            let first = Some(segment.first_timestamp).filter(is_known);
            first.or(newest.filter(is_known))
        });
        let oldest = known.min();
        let until = now.0.saturating_sub(lag_ms);
        oldest.map_or(0, |oldest| until.saturating_sub(oldest.0).max(0))
    }
}
