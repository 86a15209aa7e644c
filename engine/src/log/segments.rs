//! The segments of one log in order of their offsets; the last is the active one.

use std::collections::VecDeque;

use super::segment::Segment;
use crate::types::Offset;

/// All segments of a log, oldest first; never empty.
#[derive(Debug)]
pub(super) struct Segments {
    closed: VecDeque<Segment>,
    active: Segment,
}

impl Segments {
    /// The segments of a log, oldest first, the active one apart.
    pub(super) fn new(closed: Vec<Segment>, active: Segment) -> Self {
        Self {
            closed: closed.into(),
            active,
        }
    }

    pub(super) fn active(&self) -> &Segment {
        &self.active
    }

    pub(super) fn active_mut(&mut self) -> &mut Segment {
        &mut self.active
    }

    /// How many there are, the active one included.
    pub(super) fn count(&self) -> usize {
        self.closed.len() + 1
    }

    /// All, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.closed.iter().chain(std::iter::once(&self.active))
    }

    /// All, oldest first.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Segment> {
        self.closed
            .iter_mut()
            .chain(std::iter::once(&mut self.active))
    }

    /// The closed ones, oldest first.
    pub(super) fn closed(&self) -> &VecDeque<Segment> {
        &self.closed
    }

    /// The closed ones, oldest first.
    pub(super) fn closed_mut(&mut self) -> &mut VecDeque<Segment> {
        &mut self.closed
    }

    /// The segment that holds `offset`, or would: the last whose base is not above it. `None` below the first.
    pub(super) fn floor(&self, offset: Offset) -> Option<&Segment> {
        if self.active.base_offset <= offset {
            return Some(&self.active);
        }
        let above = self
            .closed
            .partition_point(|segment| segment.base_offset <= offset);
        self.closed.get(above.checked_sub(1)?)
    }

    /// The segment based at exactly `base_offset`.
    pub(super) fn find_mut(&mut self, base_offset: Offset) -> Option<&mut Segment> {
        self.iter_mut()
            .find(|segment| segment.base_offset == base_offset)
    }

    /// Where the segment after the one based at `base_offset` starts; `None` for the active one.
    pub(super) fn end_of(&self, base_offset: Offset) -> Option<Offset> {
        if base_offset >= self.active.base_offset {
            return None;
        }
        let above = self
            .closed
            .partition_point(|segment| segment.base_offset <= base_offset);
        let next = self.closed.get(above).unwrap_or(&self.active);
        Some(next.base_offset)
    }

    /// Closes the active segment and makes `next` the active one.
    pub(super) fn roll(&mut self, next: Segment) {
        let last = std::mem::replace(&mut self.active, next);
        self.closed.push_back(last);
    }
}
