//! Which neighbouring segments become one: as many as fit one segment's bytes, indexes and span of offsets.

use std::ops::Range;

use crate::types::Offset;

/// A segment to be cleaned, as far as grouping is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) base_offset: Offset,
    /// Where the next segment starts.
    pub(super) end_offset: Offset,
    pub(super) length: u64,
}

/// What one segment may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentLimits {
    pub(super) bytes_max: u64,
    /// Entries of the larger of both indexes.
    pub(super) entries_max: u64,
    /// Log bytes between two entries, at least.
    pub(super) interval_bytes: u64,
}

impl SegmentLimits {
    /// An index has one entry per interval at most, so the length of a log bounds it.
    fn entries(&self, length: u64) -> u64 {
        length / self.interval_bytes.max(1) + 1
    }
}

/// Cuts `pieces`, which follow one another, into groups: each becomes one segment at the base of its first piece.
pub(super) fn group(pieces: &[Piece], limits: SegmentLimits) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    while let Some(first) = pieces.get(start) {
        let mut bytes = first.length;
        let mut end = start + 1;
        while let Some(next) = pieces.get(end) {
            let together = bytes.saturating_add(next.length);
            let span = next.end_offset.0.saturating_sub(1) - first.base_offset.0;
            // An empty piece always fits, or empty segments would stay for ever where offsets are far apart.
            let near = next.length == 0 || span <= i64::from(i32::MAX);
            if together > limits.bytes_max || limits.entries(together) > limits.entries_max || !near
            {
                break;
            }
            bytes = together;
            end += 1;
        }
        groups.push(start..end);
        start = end;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SegmentLimits = SegmentLimits {
        bytes_max: 100,
        entries_max: 1_000,
        interval_bytes: 10,
    };

    fn pieces(of: &[(i64, u64)]) -> Vec<Piece> {
        let ends = of.iter().skip(1).map(|(base, _)| *base);
        of.iter()
            .zip(ends.chain([i64::MAX / 2]))
            .map(|(&(base, length), end)| Piece {
                base_offset: Offset(base),
                end_offset: Offset(end),
                length,
            })
            .collect()
    }

    #[test]
    fn segments_are_put_together_up_to_the_size_of_one() {
        let pieces = pieces(&[(0, 40), (10, 60), (20, 1), (30, 100), (40, 101), (50, 3)]);
        assert_eq!(group(&pieces[..5], LIMITS), [0..2, 2..3, 3..4, 4..5]);
    }

    #[test]
    fn a_group_fits_the_index_of_one_segment() {
        let limits = SegmentLimits {
            entries_max: 4,
            ..LIMITS
        };
        let pieces = pieces(&[(0, 15), (10, 15), (20, 15), (30, 1), (40, 1)]);
        assert_eq!(group(&pieces[..4], limits), [0..2, 2..4]);
    }

    #[test]
    fn offsets_too_far_apart_for_one_index_stay_apart() {
        let far = i64::from(i32::MAX);
        let apart = pieces(&[(0, 1), (10, 1), (far, 1), (far + 1, 1)]);
        // Offset `far` itself is the last that fits.
        assert_eq!(group(&apart[..3], LIMITS).len(), 1);
        let apart = pieces(&[(0, 1), (10, 1), (far, 1), (far + 2, 1)]);
        assert_eq!(group(&apart[..3], LIMITS), [0..2, 2..3]);
        let empty = pieces(&[(0, 1), (10, 1), (far, 0), (far + 2, 1)]);
        assert_eq!(group(&empty[..3], LIMITS).len(), 1);
    }

    #[test]
    fn every_piece_is_in_one_group_whatever_the_limits() {
        let pieces = pieces(&[(0, 500), (10, 0), (20, 500), (30, 500)]);
        let limits = SegmentLimits {
            bytes_max: 0,
            entries_max: 0,
            interval_bytes: 0,
        };
        assert_eq!(group(&pieces, limits), [0..1, 1..2, 2..3, 3..4]);
        assert!(group(&[], LIMITS).is_empty());
    }
}
