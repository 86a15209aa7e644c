//! Batches of idempotent producers that were refused and may come again: before the log of their partition was open, or on a full
//! disk. A log that does not know a producer takes any batch for its first, so that a later one must not come before them: they
//! would be out of order for ever.
//!
//! What is remembered is bounded, and forgotten after a while: whoever has given up does not come again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::log::ProducerTurn;
use crate::record::BatchHeader;
use crate::types::{Monotonic, ProducerId, TopicIdPartition};

/// The earliest refused batch of each producer, until it comes again.
#[derive(Debug, Default)]
pub(super) struct RefusedBatches {
    earliest: BTreeMap<(TopicIdPartition, ProducerId), Refused>,
    /// When nothing of it counts any more.
    until: Monotonic,
    /// When it may be worth looking for what does not count any more.
    full_until: Monotonic,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    turn: ProducerTurn,
    /// When it does not count any more.
    until: Monotonic,
}

impl RefusedBatches {
    /// Notes a batch that is refused and may come again.
    pub(super) fn note(&mut self, id: TopicIdPartition, records: &[u8], now: Monotonic) {
        if let Some(turn) = turn_of(records) {
            self.note_turn(id, turn, now);
        }
    }

    /// The same for one that had been let in.
    pub(super) fn note_turn(&mut self, id: TopicIdPartition, turn: ProducerTurn, now: Monotonic) {
        if self.is_behind(id, turn, now) {
            return;
        }
        let key = (id, turn.producer_id);
        if !self.earliest.contains_key(&key) && !self.has_room(now) {
            return;
        }
        self.until = now.after(REMEMBERED);
        let until = self.until;
        self.earliest.insert(key, Refused { turn, until });
    }

    /// Whether a batch comes before an earlier one that was refused.
    pub(super) fn overtakes(&self, id: TopicIdPartition, records: &[u8], now: Monotonic) -> bool {
        if self.earliest.is_empty() {
            return false;
        }
        turn_of(records).is_some_and(|turn| self.is_behind(id, turn, now))
    }

    /// Whether a batch may be appended now. Once the earliest refused one is, the log knows the producer, as `is_known` says of it,
    /// and keeps the order.
    pub(super) fn lets_in(
        &mut self,
        id: TopicIdPartition,
        records: &[u8],
        is_known: impl FnOnce(ProducerId) -> bool,
        now: Monotonic,
    ) -> bool {
        if self.earliest.is_empty() {
            return true;
        }
        if self.until <= now {
            self.earliest.clear();
            return true;
        }
        let Some(turn) = turn_of(records) else {
            return true;
        };
        // The earlier one may have been sent again, and let in, before it was refused: where its time was up.
        if self.is_behind(id, turn, now) && !is_known(turn.producer_id) {
            return false;
        }
        // One before it may be at fault itself, and not be appended.
        let key = (id, turn.producer_id);
        let refused = self.earliest.get(&key);
        if refused.is_some_and(|refused| !refused.turn.is_after(turn)) {
            self.earliest.remove(&key);
        }
        true
    }

    fn is_behind(&self, id: TopicIdPartition, turn: ProducerTurn, now: Monotonic) -> bool {
        let refused = self.earliest.get(&(id, turn.producer_id));
        refused.is_some_and(|refused| now < refused.until && turn.is_after(refused.turn))
    }

    /// Whether there is room for one more. Where there is none, batches can be overtaken, as they can where a broker knows
    /// nothing of this.
    fn has_room(&mut self, now: Monotonic) -> bool {
        if self.earliest.len() < REFUSED_MAX {
            return true;
        }
        if now < self.full_until {
            return false;
        }
        self.earliest.retain(|_, refused| now < refused.until);
        self.full_until = now.after(LOOK_INTERVAL);
        self.earliest.len() < REFUSED_MAX
    }
}

/// None for batches that need not come in order, and for what is no batch.
fn turn_of(records: &[u8]) -> Option<ProducerTurn> {
    ProducerTurn::of(&BatchHeader::parse(records).ok()?)
}

/// How long a refused batch is waited for: `delivery.timeout.ms` of clients by default.
const REMEMBERED: Duration = Duration::from_secs(120);
/// How many are remembered: some 3 MB.
const REFUSED_MAX: usize = 1 << 15;
/// How often those that do not count any more are looked for where there is no room.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::BatchBuilder;
    use crate::shard::step::tests::partition;
    use crate::types::{ProducerEpoch, Sequence, Timestamp};

    const NOW: Monotonic = Monotonic(0);

    fn unknown(_: ProducerId) -> bool {
        false
    }

    fn build(mut builder: BatchBuilder) -> Bytes {
        builder.push(Timestamp(1), None, Some(b"value"), &[]);
        builder.build()
    }

    fn batch(producer: i64, epoch: i16, sequence: i32) -> Bytes {
        let (id, epoch) = (ProducerId(producer), ProducerEpoch(epoch));
        build(BatchBuilder::new().producer(id, epoch, Sequence(sequence)))
    }

    #[test]
    fn only_later_batches_of_the_same_producer_wait_for_a_refused_one() {
        let mut refused = RefusedBatches::default();
        assert!(refused.lets_in(partition(0), &batch(9, 0, 11), unknown, NOW));
        for sequence in [10, 11] {
            refused.note(partition(0), &batch(9, 0, sequence), NOW);
        }
        let mut lets_in = |number, records: &Bytes| {
            let overtakes = refused.overtakes(partition(number), records, NOW);
            let let_in = refused.lets_in(partition(number), records, unknown, NOW);
            assert_eq!(let_in, !overtakes);
            let_in
        };
        assert!(!lets_in(0, &batch(9, 0, 11)));
        assert!(lets_in(1, &batch(9, 0, 11)), "another partition");
        assert!(lets_in(0, &batch(8, 0, 11)), "another producer");
        assert!(lets_in(0, &build(BatchBuilder::new())), "no producer");
        assert!(lets_in(0, &Bytes::from_static(b"no batch")));
        assert!(lets_in(0, &batch(9, 0, 5)), "one before it");
        assert!(!lets_in(0, &batch(9, 0, 12)));
        assert!(lets_in(0, &batch(9, 0, 10)), "it comes again");
        assert!(lets_in(0, &batch(9, 0, 11)));
    }

    #[test]
    fn nothing_waits_for_a_refused_batch_of_a_producer_that_the_log_knows_by_now() {
        let mut refused = RefusedBatches::default();
        let id = partition(0);
        refused.note(id, &batch(9, 0, 10), NOW);
        assert!(!refused.lets_in(id, &batch(9, 0, 11), unknown, NOW));
        let is_known = |producer| producer == ProducerId(9);
        assert!(refused.lets_in(id, &batch(9, 0, 11), is_known, NOW));
        assert!(refused.earliest.is_empty());
    }

    #[test]
    fn the_earliest_batch_of_the_newest_incarnation_is_waited_for() {
        let mut refused = RefusedBatches::default();
        let id = partition(0);
        for (epoch, sequence) in [(3, 10), (3, 5), (3, 10)] {
            refused.note(id, &batch(9, epoch, sequence), NOW);
        }
        assert!(refused.overtakes(id, &batch(9, 3, 10), NOW));
        assert!(!refused.overtakes(id, &batch(9, 3, 5), NOW));
        for (epoch, sequence) in [(4, i32::MAX), (3, 0)] {
            refused.note(id, &batch(9, epoch, sequence), NOW);
        }
        assert!(refused.overtakes(id, &batch(9, 3, 0), NOW), "an older one");
        assert!(refused.overtakes(id, &batch(9, 4, 0), NOW), "behind it");
        assert!(!refused.overtakes(id, &batch(9, 4, i32::MAX), NOW));
        assert!(!refused.overtakes(id, &batch(9, 5, 7), NOW), "a newer one");
    }

    #[test]
    fn whoever_does_not_come_again_is_forgotten_after_a_while_and_very_many_are_not_remembered() {
        let mut refused = RefusedBatches::default();
        let id = partition(0);
        let note = |refused: &mut RefusedBatches, producers: std::ops::Range<i64>, now| {
            for producer in producers {
                refused.note(id, &batch(producer, 0, 0), now);
            }
        };
        let many = i64::try_from(REFUSED_MAX).unwrap();
        note(&mut refused, 0..many + 10, NOW);
        assert_eq!(refused.earliest.len(), REFUSED_MAX);
        let later = NOW.after(REMEMBERED);
        assert!(refused.overtakes(id, &batch(9, 0, 1), Monotonic(later.0 - 1)));
        assert!(!refused.overtakes(id, &batch(9, 0, 1), later));
        note(&mut refused, many..many + 1, later);
        assert_eq!(refused.earliest.len(), 1, "the others made room");
        let next = batch(many, 0, 1);
        assert!(!refused.lets_in(id, &next, unknown, later));
        assert!(refused.lets_in(id, &next, unknown, later.after(REMEMBERED)));
        assert!(refused.earliest.is_empty());
    }
}
