//! What a log remembers of idempotent producers: epoch and the last five batches of each, so that a batch sent twice is
//! stored once.
//!
//! The same `apply` serves a live append and a replay of the log. It knows neither files nor clocks; transactions leave
//! only their first offset and their coordinator's epoch here.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::producer_count::{Counted, ProducerCount};
use crate::record::BatchHeader;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// How many batches per producer a repetition is recognised among: as many as a client may have in flight.
pub const WINDOW_BATCHES: usize = 5;

/// One appended batch of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendedBatch {
    /// The sequence of its last record.
    pub last_sequence: Sequence,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Last offset minus first; not negative.
    pub offset_delta: i32,
    /// The greatest timestamp in it.
    pub timestamp: Timestamp,
}

impl AppendedBatch {
    /// The sequence of its first record (wraps below 0 to `i32::MAX`).
    #[must_use]
    pub fn base_sequence(&self) -> Sequence {
        Sequence(self.last_sequence.0.wrapping_sub(self.offset_delta) & i32::MAX)
    }

    /// The offset of its first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(
            self.last_offset
                .0
                .saturating_sub(i64::from(self.offset_delta)),
        )
    }
}

/// The last batches of one producer, oldest first, at most [`WINDOW_BATCHES`].
#[derive(Clone, Copy, Default)]
pub struct Window {
    batches: [AppendedBatch; WINDOW_BATCHES],
    count: usize,
}

impl Window {
    /// The batches, oldest first.
    #[must_use]
    pub fn batches(&self) -> &[AppendedBatch] {
        self.batches.get(..self.count).unwrap_or_default()
    }

    /// The newest batch.
    #[must_use]
    pub fn last(&self) -> Option<&AppendedBatch> {
        self.batches().last()
    }

    /// Adds the newest batch; the oldest of five goes.
    pub fn push(&mut self, batch: AppendedBatch) {
        if self.count == WINDOW_BATCHES {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        if let Some(place) = self.batches.get_mut(self.count) {
            *place = batch;
            self.count += 1;
        }
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.batches() == other.batches()
    }
}

impl Eq for Window {}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.batches()).finish()
    }
}

/// What is remembered of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its incarnation; batches of a lower one are refused.
    pub epoch: ProducerEpoch,
    /// Its last batches under `epoch`.
    pub window: Window,
    /// The greatest timestamp of its last batch or marker.
    pub last_timestamp: Timestamp,
    /// Epoch of the coordinator that wrote its last transaction marker; -1 for none.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub transaction_start: Option<Offset>,
    /// When it last appended here, by our clock (or when the log was opened): expiry counts from it, because record
    /// timestamps are the client's and may lie years back.
    pub touched: Timestamp,
}

impl Producer {
    fn new(epoch: ProducerEpoch, touched: Timestamp) -> Self {
        Self {
            epoch,
            window: Window::default(),
            last_timestamp: Timestamp::NONE,
            coordinator_epoch: -1,
            transaction_start: None,
            touched,
        }
    }

    fn begin_epoch(&mut self, epoch: ProducerEpoch) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.window = Window::default();
        }
    }

    /// Sequence of its last record; -1 when nothing is remembered.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.window
            .last()
            .map_or(Sequence::NONE, |batch| batch.last_sequence)
    }
}

/// A batch of an idempotent producer, as far as its sequence is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Who sent it.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: Sequence,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Last offset minus first; not negative.
    pub offset_delta: i32,
    /// The greatest timestamp in it.
    pub timestamp: Timestamp,
    /// Part of a transaction.
    pub transactional: bool,
}

impl ProducerBatch {
    /// What `header` says; `None` for a batch without producer id and for control batches.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        let attributes = header.attributes();
        if header.producer_id() < ProducerId(0) || attributes.is_control() {
            return None;
        }
        Some(Self {
            producer_id: header.producer_id(),
            epoch: header.producer_epoch(),
            base_sequence: header.base_sequence(),
            base_offset: header.base_offset(),
            offset_delta: header.last_offset_delta(),
            timestamp: header.max_timestamp(),
            transactional: attributes.is_transactional(),
        })
    }

    fn last_sequence(&self) -> Sequence {
        self.base_sequence.wrapping_add(self.offset_delta)
    }

    fn appended(&self) -> AppendedBatch {
        AppendedBatch {
            last_sequence: self.last_sequence(),
            last_offset: Offset(
                self.base_offset
                    .0
                    .saturating_add(i64::from(self.offset_delta)),
            ),
            offset_delta: self.offset_delta,
            timestamp: self.timestamp,
        }
    }
}

/// A batch may be appended, or already was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It continues its producer's sequence, or has none.
    Next,
    /// The same batch was appended before (perhaps not yet written): the answer is that of the first time.
    Duplicate {
        /// Offset its first record got.
        base_offset: Offset,
        /// Offset its last record got.
        last_offset: Offset,
        /// Greatest timestamp of the first time.
        timestamp: Timestamp,
    },
}

/// Why a batch of an idempotent producer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// A later incarnation has appended.
    #[error("producer {producer_id} sends with epoch {found}, its epoch here is {current}")]
    Fenced {
        /// Who sent it.
        producer_id: ProducerId,
        /// The epoch of the batch.
        found: ProducerEpoch,
        /// The epoch we know.
        current: ProducerEpoch,
    },
    /// Records are missing before it, or it was appended longer ago than we remember.
    #[error("producer {producer_id} sends sequence {found}, expected {expected}")]
    OutOfOrderSequence {
        /// Who sent it.
        producer_id: ProducerId,
        /// Sequence of the batch's first record.
        found: Sequence,
        /// The sequence that continues what is here.
        expected: Sequence,
    },
}

/// The producers of one log. Ordered, so that snapshots and replays do not depend on chance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: BTreeMap<ProducerId, Producer>,
    counted: Counted,
}

impl ProducerStates {
    /// From now on these count as a part of `total`.
    pub fn count_in(&mut self, total: ProducerCount) {
        self.counted = Counted::new(total, self.producers.len());
    }

    /// Whether `batch` may be appended next. Its base offset plays no part.
    ///
    /// # Errors
    /// [`ProducerError`] when its epoch is fenced or its sequence does not follow.
    pub fn check(&self, batch: &ProducerBatch) -> Result<SequenceCheck, ProducerError> {
        // An unknown producer may start anywhere: retention or expiry may have removed what we knew of it.
        let Some(producer) = self.producers.get(&batch.producer_id) else {
            return Ok(SequenceCheck::Next);
        };
        if batch.epoch < producer.epoch {
            return Err(ProducerError::Fenced {
                producer_id: batch.producer_id,
                found: batch.epoch,
                current: producer.epoch,
            });
        }
        if batch.epoch == producer.epoch {
            let repeated = producer.window.batches().iter().find(|known| {
                known.base_sequence() == batch.base_sequence
                    && known.last_sequence == batch.last_sequence()
            });
            if let Some(known) = repeated {
                return Ok(SequenceCheck::Duplicate {
                    base_offset: known.base_offset(),
                    last_offset: known.last_offset,
                    timestamp: known.timestamp,
                });
            }
        }
        let expected = match producer.window.last() {
            Some(last) if batch.epoch == producer.epoch => last.last_sequence.wrapping_add(1),
            _ => Sequence(0),
        };
        if batch.base_sequence == expected {
            Ok(SequenceCheck::Next)
        } else {
            Err(ProducerError::OutOfOrderSequence {
                producer_id: batch.producer_id,
                found: batch.base_sequence,
                expected,
            })
        }
    }

    /// Remembers an appended batch. What is in the log is the truth: nothing is checked.
    pub fn apply(&mut self, batch: &ProducerBatch, now: Timestamp) {
        let producer = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| Producer::new(batch.epoch, now));
        producer.begin_epoch(batch.epoch);
        producer.window.push(batch.appended());
        producer.last_timestamp = batch.timestamp;
        producer.touched = now;
        if batch.transactional && producer.transaction_start.is_none() {
            producer.transaction_start = Some(batch.base_offset);
        }
        self.forget_surplus();
    }

    /// Remembers the end of a transaction: its marker carries the producer's epoch and the coordinator's.
    pub fn apply_marker(
        &mut self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        timestamp: Timestamp,
        now: Timestamp,
    ) {
        let producer = self
            .producers
            .entry(producer_id)
            .or_insert_with(|| Producer::new(epoch, now));
        producer.begin_epoch(epoch);
        producer.transaction_start = None;
        producer.coordinator_epoch = coordinator_epoch;
        producer.last_timestamp = timestamp;
        producer.touched = now;
        self.forget_surplus();
    }

    /// Where there are too many producers, here or in all logs of the shard, forgets those without an open transaction whose last
    /// batches lie furthest back: an id costs a client nothing, and one that is made for every batch would be remembered for a day.
    fn forget_surplus(&mut self) {
        let grown = !self.counted.is(self.producers.len());
        self.recount();
        let count = self.producers.len();
        let is_one_of_many = grown && count > PRODUCERS_SPARED && self.counted.is_crowded();
        if count <= PRODUCERS_MAX && !is_one_of_many {
            return;
        }
        let idle = self
            .producers
            .iter()
            .filter(|(_, producer)| producer.transaction_start.is_none());
        let mut idle: Vec<(Option<Offset>, ProducerId)> = idle
            .map(|(id, producer)| (producer.window.last().map(|last| last.last_offset), *id))
            .collect();
        // A quarter more than needed, so that this is not done for every batch; of few it takes no time.
        let kept = (count.min(PRODUCERS_MAX) / 4 * 3).max(PRODUCERS_SPARED);
        let surplus = count - kept;
        if surplus < idle.len() {
            idle.select_nth_unstable(surplus);
        }
        for (_, id) in idle.iter().take(surplus) {
            self.producers.remove(id);
        }
        self.recount();
    }

    fn recount(&mut self) {
        self.counted.set(self.producers.len());
    }

    /// What is remembered of one producer.
    #[must_use]
    pub fn find(&self, producer_id: ProducerId) -> Option<&Producer> {
        self.producers.get(&producer_id)
    }

    /// Puts back what [`Self::find`] answered before an append that did not happen.
    pub fn restore(&mut self, producer_id: ProducerId, before: Option<Producer>) {
        match before {
            Some(producer) => self.producers.insert(producer_id, producer),
            None => self.producers.remove(&producer_id),
        };
        self.recount();
    }

    /// All producers by id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.producers.iter().map(|(&id, producer)| (id, producer))
    }

    /// Those with higher ids than `after`, by id.
    pub fn after(
        &self,
        after: Option<ProducerId>,
    ) -> impl Iterator<Item = (ProducerId, &Producer)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.producers.range((from, Bound::Unbounded));
        range.map(|(&id, producer)| (id, producer))
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.producers.len()
    }

    /// Forgets producers that have not appended for `expiration_ms` and have no transaction open; answers how many.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, producer| {
            producer.transaction_start.is_some()
                || now.0.saturating_sub(producer.touched.0) < expiration_ms
        });
        self.recount();
        before - self.producers.len()
    }

    /// A producer of whom a batch or transaction is told that does not lie below `end`, and where.
    pub(super) fn beyond(&self, end: Offset) -> Option<(ProducerId, Offset)> {
        self.producers.iter().find_map(|(&id, producer)| {
            let batches = producer.window.batches().iter();
            let told = batches.map(|batch| batch.last_offset);
            let mut told = told.chain(producer.transaction_start);
            Some((id, told.find(|&offset| offset >= end)?))
        })
    }

    /// First offset of the oldest open transaction.
    #[must_use]
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.producers
            .values()
            .filter_map(|producer| producer.transaction_start)
            .min()
    }

    /// Widens the window of a producer by batches older than those remembered, found in the log: only where both agree
    /// on the newest.
    pub(super) fn widen(&mut self, replayed: &Self) {
        for (id, producer) in &mut self.producers {
            let Some(found) = replayed.producers.get(id) else {
                continue;
            };
            if found.epoch == producer.epoch && found.window.last() == producer.window.last() {
                producer.window = found.window;
            }
        }
    }

    pub(super) fn find_mut(&mut self, producer_id: ProducerId) -> Option<&mut Producer> {
        self.producers.get_mut(&producer_id)
    }
}

/// The most producers that are remembered of one log. Kafka has no bound but their expiry.
pub const PRODUCERS_MAX: usize = 50_000;
/// As many are remembered of each log however many all others have.
const PRODUCERS_SPARED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn batch(epoch: i16, base_sequence: i32, count: i32, base_offset: i64) -> ProducerBatch {
        ProducerBatch {
            producer_id: ProducerId(7),
            epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(base_sequence),
            base_offset: Offset(base_offset),
            offset_delta: count - 1,
            timestamp: Timestamp(base_offset),
            transactional: false,
        }
    }

    fn states(batches: &[ProducerBatch]) -> ProducerStates {
        let mut states = ProducerStates::default();
        for batch in batches {
            assert_eq!(states.check(batch), Ok(SequenceCheck::Next));
            states.apply(batch, NOW);
        }
        states
    }

    #[test]
    fn an_unknown_producer_starts_anywhere() {
        let states = ProducerStates::default();
        assert_eq!(states.check(&batch(3, 812, 5, 0)), Ok(SequenceCheck::Next));
    }

    #[test]
    fn each_of_the_last_five_batches_is_recognised_when_it_comes_again() {
        let appended: Vec<_> = (0..6)
            .map(|n| batch(0, n * 10, 10, i64::from(n) * 10))
            .collect();
        let states = states(&appended);
        for again in &appended[1..] {
            let duplicate = SequenceCheck::Duplicate {
                base_offset: again.base_offset,
                last_offset: Offset(again.base_offset.0 + 9),
                timestamp: again.timestamp,
            };
            assert_eq!(states.check(again), Ok(duplicate));
        }
        assert_eq!(
            states.check(&appended[0]),
            Err(ProducerError::OutOfOrderSequence {
                producer_id: ProducerId(7),
                found: Sequence(0),
                expected: Sequence(60)
            })
        );
        assert!(states.check(&batch(0, 50, 9, 0)).is_err(), "other range");
        assert!(states.check(&batch(0, 61, 1, 0)).is_err(), "gap");
    }

    #[test]
    fn a_sequence_wraps_to_zero() {
        let mut states = states(&[batch(0, i32::MAX - 1, 4, 0)]);
        let known = states.find(ProducerId(7)).unwrap();
        assert_eq!(known.last_sequence(), Sequence(1));
        assert!(matches!(
            states.check(&batch(0, i32::MAX - 1, 4, 0)),
            Ok(SequenceCheck::Duplicate { .. })
        ));
        assert_eq!(states.check(&batch(0, 2, 1, 4)), Ok(SequenceCheck::Next));
        states.apply(&batch(0, 2, 1, 4), NOW);
        let end = batch(0, 3, i32::MAX - 2, 5);
        states.apply(&end, NOW);
        assert_eq!(states.check(&batch(0, 0, 1, 9)), Ok(SequenceCheck::Next));
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_fences_the_old() {
        let mut states = states(&[batch(4, 0, 10, 0)]);
        assert_eq!(
            states.check(&batch(5, 10, 1, 0)),
            Err(ProducerError::OutOfOrderSequence {
                producer_id: ProducerId(7),
                found: Sequence(10),
                expected: Sequence(0)
            })
        );
        assert_eq!(states.check(&batch(5, 0, 10, 10)), Ok(SequenceCheck::Next));
        states.apply(&batch(5, 0, 10, 10), NOW);
        assert_eq!(
            states.check(&batch(4, 10, 1, 0)),
            Err(ProducerError::Fenced {
                producer_id: ProducerId(7),
                found: ProducerEpoch(4),
                current: ProducerEpoch(5)
            })
        );
        let again = states.check(&batch(5, 0, 10, 0));
        assert!(matches!(
            again,
            Ok(SequenceCheck::Duplicate {
                base_offset: Offset(10),
                ..
            })
        ));
    }

    #[test]
    fn a_marker_ends_the_transaction_and_may_raise_the_epoch() {
        let mut open = batch(0, 0, 3, 40);
        open.transactional = true;
        let mut states = states(&[open]);
        assert_eq!(states.first_open_transaction(), Some(Offset(40)));
        states.apply_marker(ProducerId(7), ProducerEpoch(1), 2, Timestamp(9), NOW);
        assert_eq!(states.first_open_transaction(), None);
        assert!(states.check(&batch(0, 3, 1, 0)).is_err());
        assert_eq!(states.check(&batch(1, 0, 1, 0)), Ok(SequenceCheck::Next));
    }

    #[test]
    fn a_quiet_producer_is_forgotten_unless_a_transaction_is_open() {
        let mut quiet = states(&[batch(0, 0, 1, 0)]);
        assert_eq!(quiet.expire(Timestamp(NOW.0 + 99), 100), 0);
        assert_eq!(quiet.expire(Timestamp(NOW.0 + 100), 100), 1);
        assert_eq!(quiet.count(), 0);
        let mut open = batch(0, 0, 1, 0);
        open.transactional = true;
        assert_eq!(states(&[open]).expire(Timestamp(i64::MAX), 100), 0);
    }

    #[test]
    fn undoing_an_append_leaves_no_trace() {
        let mut states = states(&[batch(0, 0, 1, 0)]);
        let before = states.clone();
        let kept = states.find(ProducerId(7)).copied();
        states.apply(&batch(0, 1, 1, 1), NOW);
        states.restore(ProducerId(7), kept);
        assert_eq!(states, before);
        states.restore(ProducerId(7), None);
        assert_eq!(states, ProducerStates::default());
    }

    #[test]
    fn of_too_many_producers_those_of_long_ago_are_forgotten() {
        let mut states = ProducerStates::default();
        let count = i64::try_from(PRODUCERS_MAX).unwrap() + 1;
        for number in 0..count {
            let batch = ProducerBatch {
                producer_id: ProducerId(count - number),
                transactional: number == 3,
                ..batch(0, 0, 1, number)
            };
            states.apply(&batch, NOW);
        }
        assert_eq!(states.count(), PRODUCERS_MAX / 4 * 3);
        assert!(states.find(ProducerId(1)).is_some(), "the last to come");
        assert!(states.find(ProducerId(count)).is_none(), "the first");
        let open = states.find(ProducerId(count - 3));
        assert!(open.is_some(), "its transaction is open");
    }

    #[test]
    fn where_a_shard_remembers_too_many_a_log_that_gets_one_more_forgets_some_of_its_own() {
        let total = ProducerCount::default();
        let log = |count: i64| {
            let mut states = ProducerStates::default();
            states.count_in(total.clone());
            for number in 0..count {
                let batch = ProducerBatch {
                    producer_id: ProducerId(number),
                    ..batch(0, 0, 1, number)
                };
                states.apply(&batch, NOW);
            }
            states
        };
        let mut small = log(63);
        let full: Vec<_> = (0..4).map(|_| log(49_900)).collect();
        let mut last = log(337);
        assert!(!total.is_crowded());
        let (known, new) = (ProducerId(1), ProducerId(1_000));
        let append = |producer_id, base_sequence| ProducerBatch {
            producer_id,
            ..batch(0, base_sequence, 1, 1_000)
        };
        last.apply(&append(new, 0), NOW);
        assert_eq!(last.count(), 338 - 86, "the shard had one too many");
        assert!(last.find(ProducerId(85)).is_none(), "long ago");
        assert!(last.find(ProducerId(86)).is_some() && last.find(new).is_some());
        let others = log(100);
        assert_eq!(others.count(), 78, "it found the shard full at its 86th");
        let spared = [log(64), log(64)];
        assert!(total.is_crowded() && spared.iter().all(|log| log.count() == 64));
        assert_eq!(log(65).count(), 64, "as many are kept in any case");
        last.apply(&append(ProducerId(200), 1), NOW);
        assert_eq!(last.count(), 252, "that one was known");
        small.apply(&append(known, 1), NOW);
        small.apply(&append(new, 0), NOW);
        assert_eq!((small.count(), full[0].count()), (64, 49_900));
        drop(full);
        last.apply(&append(ProducerId(2_000), 0), NOW);
        assert_eq!(last.count(), 253, "there is room again");
    }
}
