//! Compaction as seen by the log: it hands out the work, and takes in the segments that come of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::Log;
use super::super::producer_state::ProducerStates;
use super::super::retention::Doomed;
use super::super::segment::{IndexState, Segment};
use super::super::{offset_index, time_index};
use super::dirt::Dirt;
use super::group::SegmentLimits;
use super::key_map::KeyMap;
use super::rule::LastBatch;
use super::task::{CleanLimits, CleanStats, Cleaning, Source, Stage};
use super::transactions::Transactions;
use crate::io::File;
use crate::types::{Offset, ProducerId, Timestamp};

/// Segments whose files were replaced by one, on their way to the log.
#[derive(Debug)]
#[must_use = "the log reads the old files until it has taken this in"]
pub struct Swapped {
    pub(super) replaced: Vec<Offset>,
    pub(super) end_offset: Offset,
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) first_timestamp: Timestamp,
    pub(super) hollow: bool,
    pub(super) modified: Timestamp,
    pub(super) max_timestamp: Option<(Timestamp, Offset)>,
    pub(super) doomed: Vec<PathBuf>,
}

impl Log {
    /// Where this log is clean to, from the checkpoint of its directory.
    pub fn set_cleaned_to(&mut self, offset: Offset) {
        self.clean.cleaned_to = offset;
    }

    /// Whether a compaction is under way.
    #[must_use]
    pub fn is_cleaning(&self) -> bool {
        self.clean.running
    }

    /// Begins the compaction that `dirt` told of. One at a time: [`Self::end_clean`] ends it.
    pub fn begin_clean(
        &mut self,
        dirt: &Dirt,
        limits: CleanLimits,
        now: Timestamp,
    ) -> Box<Cleaning> {
        self.clean.running = true;
        let below = |segment: &&Segment| segment.base_offset < dirt.upper_bound;
        let sources = self.segments.closed().iter().filter(below);
        let sources: Vec<Source> = sources.map(|segment| self.source(segment, dirt)).collect();
        // Every record has an offset of its own: there are no more keys than offsets.
        let offsets = dirt.upper_bound.0.saturating_sub(dirt.first_dirty.0);
        let keys = KeyMap::new(
            u64::try_from(offsets).unwrap_or(0),
            limits.key_memory_bytes,
            limits.load_factor,
            limits.seed,
        );
        Box::new(Cleaning {
            directory: self.directory.clone(),
            limits,
            segment_limits: self.segment_limits(),
            index_interval_bytes: self.config.index_interval_bytes,
            delete_retention_ms: self.config.delete_retention_ms,
            now,
            first_dirty: dirt.first_dirty,
            upper_bound: dirt.upper_bound,
            sources,
            segment_bases: self.segments.iter().map(|s| s.base_offset).collect(),
            last_batches: last_batches(&self.producers, dirt.upper_bound),
            keys,
            keys_end: dirt.first_dirty,
            aborted: Vec::new(),
            transactions: Transactions::default(),
            groups: std::collections::VecDeque::new(),
            stage: Stage::Begin,
            swapped: None,
            stats: CleanStats::default(),
            moved_bytes: 0,
        })
    }

    fn source(&self, segment: &Segment, dirt: &Dirt) -> Source {
        let last_clean = Offset(dirt.first_dirty.0.saturating_sub(1));
        let position = match &segment.index {
            IndexState::Loaded(index) => index.offsets.floor(last_clean).map(|e| e.1),
            IndexState::OnDisk => None,
        };
        let end = self.segments.end_of(segment.base_offset);
        Source {
            base_offset: segment.base_offset,
            end_offset: end.unwrap_or(self.log_end_offset),
            file: segment.file.clone(),
            length: segment.length,
            modified: segment.modified,
            dirty_position: position.unwrap_or(0),
        }
    }

    fn segment_limits(&self) -> SegmentLimits {
        let index_bytes = u64::from(self.config.segment_index_bytes);
        let entry_bytes = offset_index::OFFSET_ENTRY_BYTES.max(time_index::TIME_ENTRY_BYTES);
        SegmentLimits {
            bytes_max: u64::from(self.config.segment_bytes),
            entries_max: index_bytes / u64::try_from(entry_bytes).unwrap_or(u64::MAX),
            interval_bytes: u64::from(self.config.index_interval_bytes),
        }
    }

    /// Before segments are put in place: whether the compaction may go on. If they still are what it has read, nothing of
    /// them may be deleted until [`Self::swapped`] or [`Self::end_clean`]; those that retention took meanwhile it leaves
    /// out, and copies the rest of the group anew. If not the compaction has to be given up.
    pub fn begin_swap(&mut self, cleaning: &mut Cleaning) -> bool {
        let Some(group) = cleaning.swapping_group() else {
            return false;
        };
        let oldest = self.segments.iter().next().map(|first| first.base_offset);
        let is_gone = |source: &&Source| Some(source.base_offset) < oldest;
        let gone = group.iter().take_while(is_gone).count();
        let left = group.get(gone..).unwrap_or_default();
        let closed = self.segments.closed();
        let first = left.first().map(|source| source.base_offset);
        let start = closed.partition_point(|segment| Some(segment.base_offset) < first);
        let here = closed.range(start.min(closed.len())..).take(left.len());
        let same = here
            .zip(left)
            .filter(|(segment, source)| {
                segment.base_offset == source.base_offset && segment.file == source.file
            })
            .count();
        let unchanged = self.clean.running && same == left.len();
        self.clean.swapping = unchanged && gone == 0;
        if unchanged && gone > 0 {
            cleaning.leave_out(gone);
        }
        unchanged
    }

    /// Takes in the segment that stands in place of others now; the old files are to be unlinked some time.
    ///
    /// # Panics
    /// When it was not announced by [`Self::begin_swap`].
    pub fn swapped(&mut self, swapped: Swapped) -> Doomed {
        assert!(
            self.clean.swapping,
            "INV-CLEAN-1: segments up to {} were replaced unannounced",
            swapped.end_offset
        );
        self.clean.swapping = false;
        let base_offset = swapped.replaced.first().copied().unwrap_or_default();
        let segment = Segment {
            base_offset,
            file: swapped.file,
            length: swapped.length,
            first_timestamp: swapped.first_timestamp,
            max_timestamp: swapped.max_timestamp,
            modified: swapped.modified,
            opened: swapped.modified,
            hollow: swapped.hollow,
            synced: true,
            // Nobody has asked for it, and a compaction may make any number.
            index: IndexState::OnDisk,
            index_fault: None,
        };
        let closed = self.segments.closed_mut();
        let start = closed.partition_point(|old| old.base_offset < base_offset);
        let end = (start + swapped.replaced.len()).min(closed.len());
        let gone: Vec<Offset> = closed
            .drain(start..end)
            .map(|old| old.base_offset)
            .collect();
        assert!(
            gone == swapped.replaced,
            "INV-CLEAN-2: segments {:?} were replaced, the log has {gone:?} there",
            swapped.replaced
        );
        closed.insert(start, segment);
        // Batches lie elsewhere now.
        self.recent.forget_below(swapped.end_offset);
        Doomed::new(swapped.doomed)
    }

    /// The compaction has ended: done up to `cleaned_to`, or given up.
    pub fn end_clean(&mut self, cleaned_to: Option<Offset>) {
        self.clean.running = false;
        self.clean.swapping = false;
        if let Some(offset) = cleaned_to {
            self.clean.cleaned_to = offset;
        }
    }
}

/// The last batch below `bound` of each producer that is still remembered: those above may yet fail to be written.
fn last_batches(producers: &ProducerStates, bound: Offset) -> BTreeMap<ProducerId, LastBatch> {
    let last = producers.iter().map(|(id, producer)| {
        let batches = producer.window.batches();
        let below = batches.iter().rev().find(|batch| batch.last_offset < bound);
        let last_offset = below
            .or(producer.window.last())
            .map(|batch| batch.last_offset);
        let last = LastBatch {
            last_offset,
            epoch: producer.epoch,
        };
        (id, last)
    });
    last.collect()
}
