//! Batches that come before the log of their partition is open: they wait for it, in order, as far as there is room for them.
//!
//! Their memory is the requests', which others get none of meanwhile; and nobody knows how long a recovery takes.

use std::collections::BTreeMap;

use super::refused::RefusedBatches;
use crate::log::ProducerTurn;
use crate::partition::{AppendError, Leader, Offered, Told, Waiter};
use crate::types::{Monotonic, TopicIdPartition};

/// The batches of a shard that wait for logs to be opened.
#[derive(Debug, Default)]
pub(super) struct EarlyAppends {
    waiting: BTreeMap<TopicIdPartition, Vec<Early>>,
    /// The requests that they are of, by their numbers.
    requests: BTreeMap<u64, Counted>,
    /// What those take in memory, about.
    bytes: usize,
    /// Those that did not wait, or not long enough; and what leaders refused later.
    refused: RefusedBatches,
}

/// A request, as far as its batches may have to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct EarlyRequest {
    /// The request, as the shard numbers them.
    pub(super) work: u64,
    /// What it takes in memory, about: all of it, for as long as one of its batches waits.
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Early {
    offered: Offered,
    /// The request that it is of.
    work: u64,
}

#[derive(Debug, Default)]
struct Counted {
    bytes: usize,
    /// How many of its batches wait.
    batches: usize,
}

impl EarlyAppends {
    /// Keeps a batch. A request that alone is too large is taken when no other waits. False where there is no room for the request, or
    /// an earlier batch of the producer was refused: who waits is to be told.
    pub(super) fn push(
        &mut self,
        id: TopicIdPartition,
        offered: Offered,
        request: EarlyRequest,
        now: Monotonic,
    ) -> bool {
        if self.refused.overtakes(id, &offered.records, now) {
            return false;
        }
        if !self.has_room(request) {
            self.refused.note(id, &offered.records, now);
            return false;
        }
        let EarlyRequest { work, bytes } = request;
        let counted = self.requests.entry(work).or_default();
        if counted.batches == 0 {
            counted.bytes = bytes;
            self.bytes += bytes;
        }
        counted.batches += 1;
        let early = Early { offered, work };
        self.waiting.entry(id).or_default().push(early);
        true
    }

    fn has_room(&self, request: EarlyRequest) -> bool {
        self.requests.is_empty()
            || self.requests.contains_key(&request.work)
            || self.bytes + request.bytes <= EARLY_BYTES_MAX
    }

    /// Lets the batches of a partition go, in their order.
    pub(super) fn take(&mut self, id: TopicIdPartition) -> impl Iterator<Item = Offered> + use<> {
        let waiting = self.waiting.remove(&id).unwrap_or_default();
        for early in &waiting {
            self.let_go(early.work);
        }
        waiting.into_iter().map(|early| early.offered)
    }

    /// Whether a batch may be appended to the open log of `leader`, also one that has waited for it: none is before an earlier one of
    /// its producer that was refused.
    pub(super) fn lets_in(
        &mut self,
        id: TopicIdPartition,
        offered: &Offered,
        leader: &Leader,
        now: Monotonic,
    ) -> bool {
        let is_known = |producer| leader.log().knows_producer(producer);
        self.refused.lets_in(id, &offered.records, is_known, now)
    }

    /// Notes a batch that a leader has refused and that may come again.
    pub(super) fn note_refused(
        &mut self,
        id: TopicIdPartition,
        turn: ProducerTurn,
        now: Monotonic,
    ) {
        self.refused.note_turn(id, turn, now);
    }

    /// Refuses the batches of a partition that is not open yet: who waits is to be told.
    pub(super) fn refuse(&mut self, id: TopicIdPartition, now: Monotonic) -> Vec<Waiter> {
        let refused = self.take(id).map(|offered| {
            self.refused.note(id, &offered.records, now);
            offered.waiter
        });
        refused.collect()
    }

    /// A batch of a request has left.
    fn let_go(&mut self, work: u64) {
        let Some(counted) = self.requests.get_mut(&work) else {
            return;
        };
        counted.batches -= 1;
        if counted.batches == 0 {
            self.bytes -= counted.bytes;
            self.requests.remove(&work);
        }
    }

    /// Drops those whose waiters are `overdue`, and says so, partition by partition.
    pub(super) fn drop_overdue(
        &mut self,
        overdue: impl Fn(Waiter) -> bool,
        now: Monotonic,
    ) -> Vec<(TopicIdPartition, Told)> {
        let mut dropped = Vec::new();
        for (id, waiting) in &mut self.waiting {
            let leaving = waiting.extract_if(.., |early| overdue(early.offered.waiter));
            let leaving: Vec<Early> = leaving.collect();
            if !leaving.is_empty() {
                dropped.push((*id, leaving));
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        let told = dropped.into_iter().map(|(id, leaving)| {
            let told = leaving.into_iter().map(|early| {
                self.let_go(early.work);
                self.refused.note(id, &early.offered.records, now);
                (early.offered.waiter, Err(AppendError::TimedOut))
            });
            (id, told.collect())
        });
        told.collect()
    }
}

/// What may wait for the logs of a shard: four requests of the size that clients send by default, and an eighth of what a shard
/// has for requests by default.
const EARLY_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::partition::Acks;
    use crate::shard::step::tests::partition;

    const HALF: usize = EARLY_BYTES_MAX / 2;
    const NOW: Monotonic = Monotonic(0);

    fn who(work: u64) -> Waiter {
        Waiter::Produce { work, index: 0 }
    }

    /// Offers a batch of a request of so many bytes; says whether it waits.
    fn offer(early: &mut EarlyAppends, place: i32, work: u64, bytes: usize) -> bool {
        let offered = Offered {
            records: Bytes::new(),
            zstd_allowed: true,
            acks: Acks::Leader,
            waiter: who(work),
        };
        let request = EarlyRequest { work, bytes };
        early.push(partition(place), offered, request, NOW)
    }

    fn left(early: &mut EarlyAppends, place: i32) -> Vec<Waiter> {
        let taken = early.take(partition(place));
        taken.map(|offered| offered.waiter).collect()
    }

    #[test]
    fn what_waits_is_bounded_over_all_partitions_and_gives_its_room_back() {
        let mut early = EarlyAppends::default();
        assert!(offer(&mut early, 0, 1, HALF));
        assert!(offer(&mut early, 1, 2, HALF));
        assert!(!offer(&mut early, 0, 3, 1));
        assert_eq!(left(&mut early, 1), [who(2)]);
        assert!(offer(&mut early, 0, 4, HALF));
        assert!(!offer(&mut early, 1, 5, 1));
        let dropped = early.drop_overdue(|waiter| waiter == who(1), NOW);
        assert!(matches!(
            dropped.as_slice(),
            [(id, told)] if *id == partition(0) && told.len() == 1
        ));
        assert!(offer(&mut early, 1, 6, HALF));
        assert_eq!(left(&mut early, 0), [who(4)]);
        assert_eq!(left(&mut early, 1), [who(6)]);
        assert_eq!(early.bytes, 0);
    }

    #[test]
    fn a_request_counts_whole_until_its_last_batch_leaves_and_a_large_one_is_taken_alone() {
        let mut early = EarlyAppends::default();
        let large = 2 * EARLY_BYTES_MAX;
        assert!(offer(&mut early, 0, 1, large));
        assert!(offer(&mut early, 1, 1, large));
        assert!(!offer(&mut early, 0, 2, 1));
        assert_eq!(left(&mut early, 0), [who(1)]);
        assert!(!offer(&mut early, 0, 2, 1), "the rest still waits");
        assert_eq!(left(&mut early, 1), [who(1)]);
        assert!(offer(&mut early, 0, 2, 1));
        assert!(!offer(&mut early, 0, 3, large));
        assert_eq!(left(&mut early, 0), [who(2)]);
        assert_eq!(early.bytes, 0);
        assert!(early.requests.is_empty());
    }

    #[test]
    fn a_request_whose_time_is_up_counts_no_more() {
        let mut early = EarlyAppends::default();
        for place in [0, 1, 1] {
            assert!(offer(&mut early, place, 1, EARLY_BYTES_MAX));
        }
        let dropped = early.drop_overdue(|waiter| waiter == who(1), NOW);
        let counts = dropped.iter().map(|(id, told)| (*id, told.len()));
        let expected = [(partition(0), 1), (partition(1), 2)];
        assert_eq!(counts.collect::<Vec<_>>(), expected);
        assert!(offer(&mut early, 0, 2, EARLY_BYTES_MAX));
    }
}
