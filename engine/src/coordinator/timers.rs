//! Deadlines by key, earliest first. Equal deadlines fire in the order of their keys, so that a run repeats exactly.
//!
//! It knows no clock and calls nobody: who owns it asks what is due.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::Monotonic;

/// At most one deadline per key.
#[derive(Clone, Debug)]
pub struct Timers<Key> {
    deadlines: BTreeMap<Key, Monotonic>,
    /// The same entries, sorted by time.
    queue: BTreeSet<(Monotonic, Key)>,
}

impl<Key: Ord + Clone> Timers<Key> {
    /// No timers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            deadlines: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }

    /// Sets the deadline of `key`, in place of the one it may have.
    pub fn schedule(&mut self, key: Key, deadline: Monotonic) {
        if let Some(old) = self.deadlines.insert(key.clone(), deadline) {
            if old == deadline {
                return;
            }
            let entry = (old, key);
            self.queue.remove(&entry);
            self.queue.insert((deadline, entry.1));
        } else {
            self.queue.insert((deadline, key));
        }
    }

    /// Forgets the deadline of `key`, if it has one.
    pub fn cancel(&mut self, key: &Key) {
        if let Some((key, deadline)) = self.deadlines.remove_entry(key) {
            self.queue.remove(&(deadline, key));
        }
    }

    /// Takes out the earliest key whose deadline is `now` or before.
    pub fn pop_due(&mut self, now: Monotonic) -> Option<Key> {
        if self.next_deadline()? > now {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        self.deadlines.remove(&key);
        Some(key)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }
}

impl<Key: Ord + Clone> Default for Timers<Key> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fires_once_at_its_newest_deadline() {
        let mut timers = Timers::new();
        timers.schedule("a", Monotonic(10));
        timers.schedule("b", Monotonic(20));
        timers.schedule("a", Monotonic(30));
        assert_eq!(timers.next_deadline(), Some(Monotonic(20)));
        assert_eq!(timers.pop_due(Monotonic(19)), None);
        assert_eq!(timers.pop_due(Monotonic(40)), Some("b"));
        assert_eq!(timers.pop_due(Monotonic(40)), Some("a"));
        assert_eq!(timers.pop_due(Monotonic(40)), None);
    }

    #[test]
    fn a_cancelled_key_never_fires() {
        let mut timers = Timers::new();
        timers.schedule("a", Monotonic(10));
        timers.cancel(&"a");
        timers.cancel(&"b");
        assert_eq!(timers.next_deadline(), None);
        assert_eq!(timers.pop_due(Monotonic(40)), None);
    }
}
