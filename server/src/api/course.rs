//! Where one connection's reads and writes lead: to one shard, or to several. Plain counting.

use std::cell::Cell;

use millrace_engine::shard::ShardIndex;

/// The shard of the last requests in a row, and how many they were.
#[derive(Debug, Default)]
pub(super) struct Course {
    toward: Cell<Option<ShardIndex>>,
    in_a_row: Cell<u32>,
}

impl Course {
    /// A request concerned partitions of this shard only; `None` when of several, or of none.
    pub(super) fn note(&self, shard: Option<ShardIndex>) {
        let in_a_row = if shard == self.toward.replace(shard) {
            self.in_a_row.get().saturating_add(1)
        } else {
            1
        };
        self.in_a_row.set(in_a_row);
    }

    /// The shard that all of the last [`IN_A_ROW`] requests concerned.
    pub(super) fn destination(&self) -> Option<ShardIndex> {
        self.toward
            .get()
            .filter(|_| self.in_a_row.get() >= IN_A_ROW)
    }
}

/// Enough that clients which go round their partitions are not taken for ones that have settled, and that a move costs
/// little beside the requests between two of them.
const IN_A_ROW: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_keeps_asking_one_shard_has_a_destination() {
        let course = Course::default();
        for number in 0..100 {
            course.note(Some(ShardIndex(number % 2)));
            assert_eq!(course.destination(), None);
        }
        for number in 1..=IN_A_ROW {
            course.note(Some(ShardIndex(3)));
            let settled = number == IN_A_ROW;
            assert_eq!(course.destination(), settled.then_some(ShardIndex(3)));
        }
        course.note(None);
        assert_eq!(course.destination(), None);
        for _ in 0..2 * IN_A_ROW {
            course.note(None);
        }
        assert_eq!(course.destination(), None, "several shards are no place");
    }
}
