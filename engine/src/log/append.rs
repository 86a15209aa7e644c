//! Appending: batches get their offsets at once, and leave as one write that the caller executes.
//!
//! Everything a batch changes before it is written (offsets, producers, epochs) can be taken back, so a failed write
//! leaves no trace. Nothing here touches a file.

use bytes::{Bytes, BytesMut};

use super::leader_epochs::LeaderEpochs;
use super::producer_state::{Producer, ProducerBatch, ProducerError, SequenceCheck};
use super::producer_turn::{EarliestTurns, ProducerTurn};
use super::replay::marker_of;
use super::roll::RollReason;
use super::segment::BatchPlace;
use super::{Damage, Log};
use crate::io::{Disk, File, IoError};
use crate::record::{BatchHeader, PreparedBatch};
use crate::types::{LeaderEpoch, Offset, ProducerId, Timestamp};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    /// It has its offsets and is part of the next write.
    Assigned {
        /// Offset of its first record.
        base_offset: Offset,
        /// Offset of its last record.
        last_offset: Offset,
    },
    /// It was appended before and is not appended again. When `last_offset` is not written yet, its answer has to
    /// wait for the write that carries it, and fails with it.
    Duplicate {
        /// Offset its first record got.
        base_offset: Offset,
        /// Offset its last record got.
        last_offset: Offset,
        /// Its greatest timestamp.
        timestamp: Timestamp,
    },
}

/// Why a batch is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Present state: the segment must be rolled first, then the batch can be staged again.
    #[error("the segment must be rolled: {0}")]
    RollNeeded(RollReason),
    /// Present state: a roll is under way.
    #[error("a new segment is being made")]
    RollInProgress,
    /// Present state: a failed write has to be cut off first ([`CutBack`]).
    #[error("a failed write is being cut off")]
    CutPending,
    /// The client's mistake, or its batch was overtaken.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The client's mistake: no segment could hold it.
    #[error("a batch of {length_bytes} bytes does not fit a segment of {segment_bytes}")]
    BatchTooLarge {
        /// Bytes of the batch.
        length_bytes: u64,
        /// `segment.bytes` of the topic.
        segment_bytes: u32,
    },
    /// Present state: the caller is no longer the leader it thinks it is.
    #[error("append under leader epoch {requested}, the log is at {current}")]
    FencedLeaderEpoch {
        /// The epoch of the append.
        requested: LeaderEpoch,
        /// The log's newest epoch.
        current: LeaderEpoch,
    },
    /// The number line ends.
    #[error("no {count} offsets are left after {next_offset}")]
    OffsetsExhausted {
        /// The next offset.
        next_offset: Offset,
        /// How many are needed.
        count: i64,
    },
    /// A fault of the disk: what is behind it cannot be continued.
    #[error("the log is damaged: {0}")]
    Damaged(Damage),
}

/// A batch that was not taken, back in the caller's hands.
#[derive(Debug)]
pub struct StageRefused {
    /// The batch, unchanged.
    pub batch: PreparedBatch,
    /// Why.
    pub error: AppendError,
}

/// One write to the active segment: whole batches with their headers stamped. Execute it, then hand it back to
/// [`Log::appended`] or [`Log::append_failed`].
#[derive(Debug)]
#[must_use = "a plan that is dropped blocks the log: hand it to `appended` or `append_failed`"]
pub struct AppendPlan {
    /// The active segment's file.
    pub file: File,
    /// Where the first byte goes.
    pub position: u64,
    /// What to write, in order: small batches together, headers and payloads of larger ones in turn.
    pub buffers: Vec<Bytes>,
    /// Bytes in all buffers.
    pub length: u64,
    /// Offset of the first record.
    pub first_offset: Offset,
    /// The log end offset when it is written.
    pub end_offset: Offset,
    /// Every batch of it, in order.
    pub batches: Vec<BatchPlace>,
    /// When the last of its batches was staged, by our clock.
    pub staged_at: Timestamp,
    serial: u64,
}

/// What a failed write leaves to do.
#[derive(Debug)]
pub struct AppendUndone {
    /// Run it on a maintenance thread, then call [`Log::cut_back`]; no append is taken before.
    pub cut: CutBack,
    /// Offsets from here ...
    pub from_offset: Offset,
    /// ... to here (exclusive) are void, also those of batches staged behind the plan: whoever waits for one gets an
    /// error.
    pub to_offset: Offset,
    /// The void batches of producers that the log does not know any more, the earliest of each: it would take a later one for its
    /// first.
    pub of_unknown: EarliestTurns,
}

/// Blocking work: removes what a failed write may have left behind the last whole batch.
#[derive(Debug)]
pub struct CutBack {
    file: File,
    position: u64,
}

impl CutBack {
    /// Cuts and makes the cut durable.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses: the partition must not be appended to until it is opened anew.
    pub fn run(&self, _disk: &Disk) -> Result<(), IoError> {
        self.file.truncate(self.position)?;
        self.file.sync_all()
    }
}

/// The bytes of staged batches. Small ones are copied together: to write a few long pieces costs less than to write many short
/// ones.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// In order; behind them what is in `open`.
    whole: Vec<Bytes>,
    open: BytesMut,
    copied_bytes: usize,
    /// How much was copied of late.
    usual_bytes: usize,
}

impl Buffers {
    fn push(&mut self, header: &[u8], payload: Bytes) {
        if self.copied_bytes == 0 {
            self.open = BytesMut::with_capacity(self.usual_bytes.max(ROOM_BYTES_MIN));
        }
        self.copy(header);
        if payload.len() <= COPIED_BYTES_MAX {
            self.copy(&payload);
        } else {
            self.close();
            self.whole.push(payload);
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        self.copied_bytes += bytes.len();
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.whole.push(self.open.split().freeze());
        }
    }

    /// All of them; none is left, nor any memory kept.
    fn take(&mut self) -> Vec<Bytes> {
        self.close();
        self.open = BytesMut::new();
        let copied_bytes = std::mem::take(&mut self.copied_bytes);
        self.usual_bytes = of_late(self.usual_bytes, copied_bytes).min(ROOM_BYTES_MAX);
        std::mem::take(&mut self.whole)
    }
}

/// What one staged batch changed, to be taken back if it is not written.
#[derive(Debug)]
pub(super) struct Undo {
    /// The batch's.
    base_offset: Offset,
    /// Its place among those of its producer.
    turn: Option<ProducerTurn>,
    producer: Option<(ProducerId, Option<Producer>)>,
    epochs: Option<LeaderEpochs>,
}

/// The batches that have offsets but no plan yet, and what all unwritten ones changed.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) batches: Vec<BatchPlace>,
    /// How many they were of late in one plan.
    usual_count: usize,
    pub(super) buffers: Buffers,
    staged_at: Timestamp,
    /// Of batches that changed more than the end of the log, oldest first: those of the plan in flight, then those staged.
    undo: Vec<Undo>,
    /// The plan in flight.
    pub(super) in_flight: Option<u64>,
    serial: u64,
    pub(super) cut_pending: bool,
}

impl Unwritten {
    /// Nothing staged and nothing on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.in_flight.is_none()
    }
}

impl Log {
    /// Whether a batch with this header continues its producer's sequence, counting batches not yet written.
    ///
    /// # Errors
    /// [`ProducerError`] when it does not.
    pub fn check_producer(&self, header: &BatchHeader) -> Result<SequenceCheck, ProducerError> {
        match ProducerBatch::of(header) {
            Some(batch) => self.producers.check(&batch),
            None => Ok(SequenceCheck::Next),
        }
    }

    /// Gives `batch` the next offsets under `leader_epoch`. It is part of the plan that [`Self::take_plan`] answers
    /// next; also while a write is in flight.
    ///
    /// # Errors
    /// [`StageRefused`] with the batch and the [`AppendError`]; the log is unchanged.
    pub fn stage(
        &mut self,
        batch: PreparedBatch,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Staged, Box<StageRefused>> {
        match self.admit(&batch, leader_epoch, now) {
            Ok(SequenceCheck::Next) => Ok(self.assign(batch, leader_epoch, now)),
            Ok(SequenceCheck::Duplicate {
                base_offset,
                last_offset,
                timestamp,
            }) => Ok(Staged::Duplicate {
                base_offset,
                last_offset,
                timestamp,
            }),
            Err(error) => Err(Box::new(StageRefused { batch, error })),
        }
    }

    fn admit(
        &self,
        batch: &PreparedBatch,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<SequenceCheck, AppendError> {
        if let Some(damage) = &self.damage {
            return Err(AppendError::Damaged(damage.clone()));
        }
        let current = self.latest_epoch();
        if leader_epoch < current {
            return Err(AppendError::FencedLeaderEpoch {
                requested: leader_epoch,
                current,
            });
        }
        let length_bytes = length(batch.length_bytes());
        let segment_bytes = self.config.segment_bytes;
        if length_bytes > u64::from(segment_bytes) {
            return Err(AppendError::BatchTooLarge {
                length_bytes,
                segment_bytes,
            });
        }
        let header = batch.header();
        let check = self.check_producer(header)?;
        if check != SequenceCheck::Next {
            return Ok(check);
        }
        if self.rolling {
            return Err(AppendError::RollInProgress);
        }
        if self.unwritten.cut_pending {
            return Err(AppendError::CutPending);
        }
        let count = i64::from(header.last_offset_delta()) + 1;
        if self.next_offset.checked_add(count).is_none() {
            return Err(AppendError::OffsetsExhausted {
                next_offset: self.next_offset,
                count,
            });
        }
        let delta = header.last_offset_delta();
        match self.roll_needed(length_bytes, header.max_timestamp(), delta, now) {
            Some(reason) => Err(AppendError::RollNeeded(reason)),
            None => Ok(SequenceCheck::Next),
        }
    }

    fn assign(
        &mut self,
        batch: PreparedBatch,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Staged {
        let base_offset = self.next_offset;
        let (header, payload) = batch.stamp(base_offset, leader_epoch);
        let mut undo = Undo {
            base_offset,
            turn: ProducerTurn::of(&header),
            producer: None,
            epochs: None,
        };
        if header.producer_id() >= ProducerId(0) {
            let id = header.producer_id();
            undo.producer = Some((id, self.producers.find(id).copied()));
        }
        if let Some(appended) = ProducerBatch::of(&header) {
            self.producers.apply(&appended, now);
        } else if header.attributes().is_control() {
            let whole = Bytes::from([header.bytes(), &payload[..]].concat());
            if let Some(marker) = marker_of(&header, &whole) {
                marker.apply(&mut self.producers, now);
            }
        }
        let news = leader_epoch > self.latest_epoch();
        if news {
            undo.epochs = Some(self.epochs.clone());
            self.epochs.assign(leader_epoch, base_offset);
            self.epochs_version += 1;
        }
        let place = BatchPlace::of(&header, self.next_position);
        if self.next_position == 0 {
            self.next_first_timestamp = place.max_timestamp;
        }
        self.next_offset = header.next_offset();
        self.next_position = place.end_position();
        let unwritten = &mut self.unwritten;
        if unwritten.batches.capacity() == 0 {
            unwritten.batches.reserve(unwritten.usual_count);
        }
        unwritten.batches.push(place);
        unwritten.buffers.push(header.bytes(), payload);
        unwritten.staged_at = now;
        if undo.producer.is_some() || undo.epochs.is_some() {
            unwritten.undo.push(undo);
        }
        Staged::Assigned {
            base_offset,
            last_offset: place.last_offset,
        }
    }

    /// Everything staged, as one write. `None` when nothing is staged or a write is in flight.
    pub fn take_plan(&mut self) -> Option<AppendPlan> {
        let unwritten = &mut self.unwritten;
        if unwritten.in_flight.is_some() {
            return None;
        }
        let (first, last) = (unwritten.batches.first()?, unwritten.batches.last()?);
        let position = first.position;
        let count = of_late(unwritten.usual_count, unwritten.batches.len());
        unwritten.usual_count = count.min(USUAL_COUNT_MAX);
        unwritten.serial += 1;
        unwritten.in_flight = Some(unwritten.serial);
        Some(AppendPlan {
            file: self.segments.active().file.clone(),
            position,
            length: last.end_position() - position,
            first_offset: first.base_offset,
            end_offset: Offset(last.last_offset.0.saturating_add(1)),
            buffers: unwritten.buffers.take(),
            batches: std::mem::take(&mut unwritten.batches),
            staged_at: unwritten.staged_at,
            serial: unwritten.serial,
        })
    }

    /// Stages all of `batches` and takes the plan: for callers that know that they fit, such as tests and logs of our
    /// own. Duplicates are left out.
    ///
    /// # Errors
    /// The first refusal; what was staged before it stays staged.
    pub fn plan_append(
        &mut self,
        batches: impl IntoIterator<Item = PreparedBatch>,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Option<AppendPlan>, Box<StageRefused>> {
        for batch in batches {
            self.stage(batch, leader_epoch, now)?;
        }
        Ok(self.take_plan())
    }

    /// The plan is in the page cache: its batches are readable and the log end offset moves.
    ///
    /// # Panics
    /// When the plan is not the one in flight.
    pub fn appended(&mut self, plan: &AppendPlan) {
        self.land(plan);
        let interval = self.config.index_interval_bytes;
        let active = self.segments.active_mut();
        active.modified = plan.staged_at;
        for batch in &plan.batches {
            active.note(batch, interval);
            self.recent.push(*batch);
        }
        let undo = &mut self.unwritten.undo;
        let written = undo.partition_point(|undo| undo.base_offset < plan.end_offset);
        undo.drain(..written);
        self.log_end_offset = plan.end_offset;
    }

    /// The plan could not be written: takes back everything it and the batches staged behind it changed.
    ///
    /// # Panics
    /// When the plan is not the one in flight.
    #[must_use = "the cut must be run, and waiters in the range must be told"]
    pub fn append_failed(&mut self, plan: &AppendPlan) -> AppendUndone {
        self.land(plan);
        let to_offset = self.next_offset;
        let mut of_unknown = EarliestTurns::default();
        for undo in self.unwritten.undo.drain(..).rev() {
            of_unknown.extend(undo.turn);
            if let Some((id, before)) = undo.producer {
                self.producers.restore(id, before);
            }
            if let Some(epochs) = undo.epochs {
                self.epochs = epochs;
                self.epochs_version += 1;
            }
        }
        of_unknown.leave_out(|id| self.producers.find(id).is_some());
        self.unwritten.batches.clear();
        self.unwritten.buffers = Buffers::default();
        self.unwritten.cut_pending = true;
        let active = self.segments.active();
        self.next_offset = self.log_end_offset;
        self.next_position = active.length;
        self.next_first_timestamp = active.first_timestamp;
        AppendUndone {
            cut: CutBack {
                file: active.file.clone(),
                position: active.length,
            },
            from_offset: plan.first_offset,
            to_offset,
            of_unknown,
        }
    }

    /// The cut that [`Self::append_failed`] asked for was made: appends are taken again.
    pub fn cut_back(&mut self) {
        self.unwritten.cut_pending = false;
        // The cut also took the space kept ready behind the end.
        self.preallocated_to = self.segments.active().length;
    }

    fn land(&mut self, plan: &AppendPlan) {
        let in_flight = self.unwritten.in_flight.take();
        assert!(
            in_flight == Some(plan.serial),
            "INV-LOG-2: plan {} ended while {in_flight:?} is in flight",
            plan.serial
        );
    }
}

/// What a number reached lately, that was `before` until now: the greatest, but falling. Plans differ from one to the next, and to
/// grow costs more than some room too much.
fn of_late(before: usize, now: usize) -> usize {
    now.max(before - before.div_ceil(8))
}

/// Payloads up to this long are copied to those before them.
const COPIED_BYTES_MAX: usize = 1_024;
/// Room is made at once for as much as was copied of late, at least this and at most that.
const ROOM_BYTES_MIN: usize = 512;
const ROOM_BYTES_MAX: usize = 64 << 10;
/// And for so many batches at most.
const USUAL_COUNT_MAX: usize = 1_024;

pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reached_of_late_rises_at_once_and_falls_slowly() {
        assert_eq!(of_late(0, 800), 800);
        assert_eq!(of_late(800, 10), 700);
        assert_eq!(of_late(10, 800), 800);
        assert_eq!(of_late(1, 0), 0);
    }
}
