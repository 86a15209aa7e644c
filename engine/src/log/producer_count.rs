//! How many producers the logs of one shard remember together: each log is bounded alone, and a client may write to all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The producers of a shard's logs, counted. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct ProducerCount(Arc<AtomicUsize>);

impl ProducerCount {
    /// Whether there are more than [`PRODUCERS_OF_SHARD_MAX`].
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.0.load(Ordering::Relaxed) > PRODUCERS_OF_SHARD_MAX
    }
}

/// What one log has added to the count; taken off when it is dropped. A copy counts for nothing: it is of one moment, as for a
/// snapshot.
#[derive(Debug, Default)]
pub(super) struct Counted {
    total: Option<ProducerCount>,
    count: usize,
}

impl Counted {
    /// `count` producers of one log, as a part of `total`.
    pub(super) fn new(total: ProducerCount, count: usize) -> Self {
        total.0.fetch_add(count, Ordering::Relaxed);
        Self {
            total: Some(total),
            count,
        }
    }

    /// The log remembers `count` producers now.
    pub(super) fn set(&mut self, count: usize) {
        if let Some(total) = &self.total
            && self.count != count
        {
            // Wraps where the difference is negative, and back.
            let difference = count.wrapping_sub(self.count);
            total.0.fetch_add(difference, Ordering::Relaxed);
            self.count = count;
        }
    }

    /// Whether the log remembered as many when it was last counted.
    pub(super) const fn is(&self, count: usize) -> bool {
        self.count == count
    }

    /// Whether the logs together remember too many.
    pub(super) fn is_crowded(&self) -> bool {
        self.total.as_ref().is_some_and(ProducerCount::is_crowded)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Who counts makes no difference to what is remembered.
impl PartialEq for Counted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Counted {}

/// The most producers that the logs of one shard remember together, some 60 MB, before each log forgets some whenever it is to
/// remember one more; those that remember few are left alone.
pub const PRODUCERS_OF_SHARD_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_counts_from_when_it_is_told_to_until_it_is_gone() {
        let total = ProducerCount::default();
        let count = || total.0.load(Ordering::Relaxed);
        let mut one = Counted::new(total.clone(), 5);
        let two = Counted::new(total.clone(), 7);
        one.set(3);
        assert_eq!(count(), 10);
        drop(one.clone());
        assert_eq!(count(), 10);
        one.set(4);
        drop(two);
        assert_eq!(count(), 4);
        drop(one);
        assert_eq!(count(), 0);
        let mut alone = Counted::default();
        alone.set(9);
        assert!(!alone.is_crowded());
        assert_eq!(count(), 0);
    }
}
