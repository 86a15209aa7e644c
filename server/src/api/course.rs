//! Where one connection's reads and writes lead: to one shard, or to several. Plain counting.

use std::cell::Cell;

use millrace_engine::shard::ShardIndex;

/// The shard of the last requests in a row, how many they were, and how often the way changed lately.
#[derive(Debug, Default)]
pub(super) struct Course {
    toward: Cell<Option<ShardIndex>>,
    in_a_row: Cell<u32>,
    /// One bit for each of the last requests, the lowest for the last: whether it led elsewhere than the one before it, or to
    /// several shards.
    turns: Cell<u16>,
}

/// What a client's requests were about, lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// It cannot be told: there were too few, or they have just turned to others.
    Unknown,
    /// Partitions of this shard only.
    Toward(ShardIndex),
    /// Partitions of several.
    Round,
}

impl Course {
    /// A request concerned partitions of this shard only; `None` when of several, or of none.
    pub(super) fn note(&self, shard: Option<ShardIndex>) {
        let turns = shard != self.toward.replace(shard) || shard.is_none();
        self.turns.set(self.turns.get() << 1 | u16::from(turns));
        let in_a_row = if turns { 0 } else { self.in_a_row.get() };
        self.in_a_row.set(in_a_row.saturating_add(1));
    }

    /// What the last [`IN_A_ROW`] requests tell.
    pub(super) fn bearing(&self) -> Bearing {
        match self.toward.get() {
            Some(shard) if self.in_a_row.get() >= IN_A_ROW => Bearing::Toward(shard),
            _ if self.turns.get().count_ones() >= TURNS_ROUND => Bearing::Round,
            _ => Bearing::Unknown,
        }
    }
}

/// Enough that clients which go round their partitions are not taken for ones that have settled, and that a move costs
/// little beside the requests between two of them.
const IN_A_ROW: u32 = 16;
/// Of the last 16 requests. Who goes over from one partition to another makes one.
const TURNS_ROUND: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_keeps_asking_one_shard_is_told_from_one_that_goes_round() {
        let course = Course::default();
        for number in 1..100 {
            course.note(Some(ShardIndex(number % 2)));
            let known = number >= TURNS_ROUND as usize;
            let bearing = if known {
                Bearing::Round
            } else {
                Bearing::Unknown
            };
            assert_eq!(course.bearing(), bearing);
        }
        let three = Some(ShardIndex(3));
        for _ in 0..IN_A_ROW {
            course.note(three);
        }
        assert_eq!(course.bearing(), Bearing::Toward(ShardIndex(3)));
        for number in 1..=IN_A_ROW {
            course.note(Some(ShardIndex(4)));
            let settled = number == IN_A_ROW;
            let bearing = if settled {
                Bearing::Toward(ShardIndex(4))
            } else {
                Bearing::Unknown
            };
            assert_eq!(course.bearing(), bearing, "the way has turned once");
        }
        for _ in 0..TURNS_ROUND {
            course.note(None);
        }
        assert_eq!(course.bearing(), Bearing::Round, "requests about several");
    }
}
