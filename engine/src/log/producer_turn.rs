//! Where a batch of an idempotent producer stands among those of its producer: what must not come before what.
//!
//! It knows what headers say, not what a log remembers of a producer ([`super::producer_state`]).

use std::collections::{BTreeMap, btree_map};

use crate::record::BatchHeader;
use crate::types::{ProducerEpoch, ProducerId, Sequence};

/// The place of a batch among those of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerTurn {
    /// Who sent it.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: Sequence,
}

impl ProducerTurn {
    /// None for batches that need not come in order.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        let turn = Self {
            producer_id: header.producer_id(),
            epoch: header.producer_epoch(),
            base_sequence: header.base_sequence(),
        };
        let is_in_order = turn.producer_id >= ProducerId(0) && turn.base_sequence >= Sequence(0);
        is_in_order.then_some(turn)
    }

    /// Whether it comes after `other`, of the same producer, or is of an incarnation that ended before that one.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        // After the last sequence comes 0 again.
        let distance = self.base_sequence.0.wrapping_sub(other.base_sequence.0) & i32::MAX;
        let follows = (1..=i32::MAX / 2).contains(&distance);
        self.epoch < other.epoch || (self.epoch == other.epoch && follows)
    }
}

/// Of some batches the earliest of each producer, under its newest epoch among them.
#[derive(Debug, Default)]
pub struct EarliestTurns {
    of_producers: BTreeMap<ProducerId, ProducerTurn>,
}

impl EarliestTurns {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of_producers.is_empty()
    }

    /// Counts a batch in.
    pub fn insert(&mut self, turn: ProducerTurn) {
        let earliest = self.of_producers.entry(turn.producer_id).or_insert(turn);
        if !turn.is_after(*earliest) {
            *earliest = turn;
        }
    }

    /// Leaves those of some producers out.
    pub fn leave_out(&mut self, is_left_out: impl Fn(ProducerId) -> bool) {
        self.of_producers.retain(|&id, _| !is_left_out(id));
    }
}

impl Extend<ProducerTurn> for EarliestTurns {
    fn extend<T: IntoIterator<Item = ProducerTurn>>(&mut self, turns: T) {
        for turn in turns {
            self.insert(turn);
        }
    }
}

impl IntoIterator for EarliestTurns {
    type Item = ProducerTurn;
    type IntoIter = btree_map::IntoValues<ProducerId, ProducerTurn>;

    fn into_iter(self) -> Self::IntoIter {
        self.of_producers.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(producer: i64, epoch: i16, sequence: i32) -> ProducerTurn {
        ProducerTurn {
            producer_id: ProducerId(producer),
            epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
        }
    }

    #[test]
    fn the_earliest_turn_of_the_newest_epoch_counts_in_whatever_order_they_come() {
        let mut turns = [
            turn(7, 2, 5),
            turn(8, 0, 3),
            turn(9, 3, 7),
            turn(9, 4, 0),
            turn(9, 4, i32::MAX),
        ];
        for _ in 0..turns.len() {
            turns.rotate_left(1);
            let mut earliest = EarliestTurns::default();
            earliest.extend(turns);
            earliest.leave_out(|id| id == ProducerId(8));
            let left: Vec<_> = earliest.into_iter().collect();
            assert_eq!(left, [turn(7, 2, 5), turn(9, 4, i32::MAX)]);
        }
    }
}
