//! Deadlines of one shard, in order. It keeps no clock: the shard asks what is due at the time of its step.

use std::collections::BTreeMap;

use crate::types::Monotonic;

/// Names a timer, so that it can be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerKey {
    due: Monotonic,
    sequence: u64,
}

/// Timers that carry a `T` each; those of one moment fire in the order they were set.
#[derive(Debug)]
pub(super) struct Timers<T> {
    waiting: BTreeMap<TimerKey, T>,
    sequence: u64,
}

impl<T> Timers<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Sets a timer for `due`; a moment that has passed fires at the next asking.
    pub(super) fn set(&mut self, due: Monotonic, what: T) -> TimerKey {
        let key = TimerKey {
            due,
            sequence: self.sequence,
        };
        self.sequence += 1;
        self.waiting.insert(key, what);
        key
    }

    /// Takes a timer back; `None` when it has fired already.
    pub(super) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.waiting.remove(&key)
    }

    /// Takes out the next timer that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<T> {
        let entry = self.waiting.first_entry()?;
        (entry.key().due <= now).then(|| entry.remove())
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.waiting.first_key_value().map(|(key, _)| key.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_not_after_cancelling() {
        let mut timers = Timers::new();
        timers.set(Monotonic(30), "late");
        let cancelled = timers.set(Monotonic(10), "cancelled");
        timers.set(Monotonic(20), "first");
        timers.set(Monotonic(20), "second");
        assert_eq!(timers.cancel(cancelled), Some("cancelled"));
        assert_eq!(timers.cancel(cancelled), None);
        assert_eq!(timers.next(), Some(Monotonic(20)));
        assert_eq!(timers.pop_due(Monotonic(19)), None);
        assert_eq!(timers.pop_due(Monotonic(25)), Some("first"));
        assert_eq!(timers.pop_due(Monotonic(25)), Some("second"));
        assert_eq!(timers.pop_due(Monotonic(25)), None);
    }
}
