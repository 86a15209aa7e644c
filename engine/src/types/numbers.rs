//! Places and moments: offsets, epochs, timestamps.

use std::fmt;
use std::time::Duration;

/// A place in a partition: the ordinal of a record since the partition was made. Not negative, except for the
/// sentinels that its constants name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);
    /// No offset: what the protocol answers where there is none to name.
    pub const NONE: Self = Self(-1);

    /// The offset `count` records further on, or `None` past the end of the number line.
    #[must_use]
    pub fn checked_add(self, count: i64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The term of one partition leader; every election and every unclean start begins a new one. Not negative, except
/// for [`LeaderEpoch::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// The epoch of a partition's first leader.
    pub const ZERO: Self = Self(0);
    /// No epoch known (the protocol's -1): the check is skipped.
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The generation of a classic consumer group: one more after every completed rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GenerationId(pub i32);

impl GenerationId {
    /// No generation (the protocol's -1): a simple consumer or an admin client commits.
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Wall-clock time in milliseconds since 1970-01-01 UTC, as records carry it; -1 stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// No timestamp.
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Time since the process started, in microseconds; never goes back. Deadlines are kept in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The moment `duration` from here; saturates instead of wrapping.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long from `self` until `later`; zero when `later` has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(later.0.saturating_sub(self.0))
    }
}

/// The time a step happens at, read once per step so that everything in it agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// What the calendar says: for timestamps of records and for retention.
    pub wall: Timestamp,
    /// What the stop-watch says: for deadlines and timers.
    pub monotonic: Monotonic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_too_far_away_stays_at_the_end_of_time() {
        let now = Monotonic(5);
        assert_eq!(now.after(Duration::MAX), Monotonic(u64::MAX));
        assert_eq!(now.after(Duration::from_millis(2)), Monotonic(2_005));
        assert_eq!(Monotonic(10).until(now), Duration::ZERO);
    }
}
