//! Batches that come before the log of their partition is open: they wait for it, in order, as far as there is room for them.
//!
//! Their memory is the requests', which others get none of meanwhile; and nobody knows how long a recovery takes.

use std::collections::BTreeMap;

use crate::partition::{AppendError, Offered, Told, Waiter};
use crate::types::TopicIdPartition;

/// The batches of a shard that wait for logs to be opened.
#[derive(Debug, Default)]
pub(super) struct EarlyAppends {
    waiting: BTreeMap<TopicIdPartition, Vec<Early>>,
    /// What the requests that they are of take in memory, about.
    bytes: usize,
}

#[derive(Debug)]
struct Early {
    offered: Offered,
    /// Bytes of its request; 0 where another of its batches counts for it.
    request_bytes: usize,
}

impl EarlyAppends {
    /// Keeps a batch. The first of a request that is kept counts for all of it and leaves 0 in `request_bytes`. A request that
    /// alone is too large is taken when no other waits.
    ///
    /// # Errors
    /// There is no room for the request: who waits is to be told.
    pub(super) fn push(
        &mut self,
        id: TopicIdPartition,
        offered: Offered,
        request_bytes: &mut usize,
    ) -> Result<(), Waiter> {
        let bytes = self.bytes + *request_bytes;
        if *request_bytes > 0 && self.bytes > 0 && bytes > EARLY_BYTES_MAX {
            return Err(offered.waiter);
        }
        self.bytes = bytes;
        self.waiting.entry(id).or_default().push(Early {
            offered,
            request_bytes: std::mem::take(request_bytes),
        });
        Ok(())
    }

    /// Lets the batches of a partition go, in their order.
    pub(super) fn take(&mut self, id: TopicIdPartition) -> impl Iterator<Item = Offered> {
        let waiting = self.waiting.remove(&id).unwrap_or_default();
        let bytes: usize = waiting.iter().map(|early| early.request_bytes).sum();
        self.bytes -= bytes;
        waiting.into_iter().map(|early| early.offered)
    }

    /// Drops those whose waiters are `overdue`, and says so, partition by partition.
    pub(super) fn drop_overdue(
        &mut self,
        overdue: impl Fn(Waiter) -> bool,
    ) -> Vec<(TopicIdPartition, Told)> {
        let mut dropped = Vec::new();
        for (id, waiting) in &mut self.waiting {
            let mut told = Told::new();
            for early in waiting.extract_if(.., |early| overdue(early.offered.waiter)) {
                self.bytes -= early.request_bytes;
                told.push((early.offered.waiter, Err(AppendError::TimedOut)));
            }
            if !told.is_empty() {
                dropped.push((*id, told));
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        dropped
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

    fn who(work: u64) -> Waiter {
        Waiter::Produce { work, index: 0 }
    }

    /// Offers a batch of a request of so many bytes; says whether it waits.
    fn offer(early: &mut EarlyAppends, place: i32, work: u64, request_bytes: &mut usize) -> bool {
        let offered = Offered {
            records: Bytes::new(),
            zstd_allowed: true,
            acks: Acks::Leader,
            waiter: who(work),
        };
        early.push(partition(place), offered, request_bytes).is_ok()
    }

    fn left(early: &mut EarlyAppends, place: i32) -> Vec<Waiter> {
        let taken = early.take(partition(place));
        taken.map(|offered| offered.waiter).collect()
    }

    #[test]
    fn what_waits_is_bounded_over_all_partitions_and_gives_its_room_back() {
        let mut early = EarlyAppends::default();
        assert!(offer(&mut early, 0, 1, &mut { HALF }));
        assert!(offer(&mut early, 1, 2, &mut { HALF }));
        assert!(!offer(&mut early, 0, 3, &mut 1));
        assert_eq!(left(&mut early, 1), [who(2)]);
        assert!(offer(&mut early, 0, 4, &mut { HALF }));
        assert!(!offer(&mut early, 1, 5, &mut 1));
        let dropped = early.drop_overdue(|waiter| waiter == who(1));
        assert!(matches!(
            dropped.as_slice(),
            [(id, told)] if *id == partition(0) && told.len() == 1
        ));
        assert!(offer(&mut early, 1, 6, &mut { HALF }));
        assert_eq!(left(&mut early, 0), [who(4)]);
        assert_eq!(left(&mut early, 1), [who(6)]);
        assert_eq!(early.bytes, 0);
    }

    #[test]
    fn a_request_waits_whole_and_counts_once_and_a_large_one_is_taken_alone() {
        let mut early = EarlyAppends::default();
        let mut large = 2 * EARLY_BYTES_MAX;
        assert!(offer(&mut early, 0, 1, &mut large));
        assert!(offer(&mut early, 1, 1, &mut large));
        assert!(!offer(&mut early, 0, 2, &mut 1));
        assert_eq!(left(&mut early, 0), [who(1)]);
        assert!(offer(&mut early, 0, 2, &mut 1));
        assert!(!offer(&mut early, 0, 3, &mut { 2 * EARLY_BYTES_MAX }));
        assert_eq!(left(&mut early, 1), [who(1)]);
        assert_eq!(left(&mut early, 0), [who(2)]);
        assert_eq!(early.bytes, 0);
    }
}
