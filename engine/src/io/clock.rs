//! The only source of time: the calendar and the stop-watch, or a simulation's own.
//!
//! Everything else is told the time; it never looks.

#![expect(clippy::disallowed_methods, reason = "this is where the time is read")]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::{Monotonic, Now, Timestamp};

/// Tells the time. Cheap to clone; clones agree.
#[derive(Clone, Debug)]
pub struct Clock {
    inside: Inside,
}

#[derive(Clone, Debug)]
enum Inside {
    Real { started: Instant },
    Sim(Arc<Hands>),
}

#[derive(Debug)]
struct Hands {
    wall_ms: AtomicI64,
    monotonic_us: AtomicU64,
}

/// Turns the clocks of a simulation; nothing else moves them.
#[derive(Clone, Debug)]
pub struct SimClock {
    hands: Arc<Hands>,
}

impl Clock {
    /// The machine's time. All real clocks of a process count from the same start.
    #[must_use]
    pub fn real() -> Self {
        static STARTED: OnceLock<Instant> = OnceLock::new();
        Self {
            inside: Inside::Real {
                started: *STARTED.get_or_init(Instant::now),
            },
        }
    }

    /// A clock that stands at `wall`, with zero on the stop-watch, and what turns it.
    #[must_use]
    pub fn sim(wall: Timestamp) -> (Self, SimClock) {
        let hands = Arc::new(Hands {
            wall_ms: wall.0.into(),
            monotonic_us: 0.into(),
        });
        (
            Self {
                inside: Inside::Sim(hands.clone()),
            },
            SimClock { hands },
        )
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Now {
        match &self.inside {
            Inside::Real { started } => Now {
                wall: wall(),
                monotonic: since(*started),
            },
            Inside::Sim(hands) => Now {
                wall: Timestamp(hands.wall_ms.load(Ordering::Relaxed)),
                monotonic: Monotonic(hands.monotonic_us.load(Ordering::Relaxed)),
            },
        }
    }
}

impl SimClock {
    /// Lets `duration` pass, on both hands.
    pub fn advance(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let before = self.hands.monotonic_us.load(Ordering::Relaxed);
        let after = before.saturating_add(micros);
        self.hands.monotonic_us.store(after, Ordering::Relaxed);
        // The difference of the whole milliseconds, so that many short advances do not lose their fractions.
        let passed_ms = i64::try_from(after / 1000 - before / 1000).unwrap_or(i64::MAX);
        let wall_ms = self
            .hands
            .wall_ms
            .load(Ordering::Relaxed)
            .saturating_add(passed_ms);
        self.hands.wall_ms.store(wall_ms, Ordering::Relaxed);
    }

    /// Sets the calendar alone, forwards or back, as an administrator or NTP does.
    pub fn set_wall(&self, wall: Timestamp) {
        self.hands.wall_ms.store(wall.0, Ordering::Relaxed);
    }
}

fn wall() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

fn since(started: Instant) -> Monotonic {
    Monotonic::default().after(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_clock_goes_forward_and_knows_the_century() {
        let clock = Clock::real();
        let first = clock.now();
        let second = Clock::real().now();
        assert!(second.monotonic >= first.monotonic);
        assert!(first.wall > Timestamp(1_700_000_000_000));
    }

    #[test]
    fn a_simulated_clock_moves_only_when_it_is_turned() {
        let (clock, turn) = Clock::sim(Timestamp(1000));
        assert_eq!(
            clock.now(),
            Now {
                wall: Timestamp(1000),
                monotonic: Monotonic(0)
            }
        );
        for _ in 0..4 {
            turn.advance(Duration::from_micros(600));
        }
        assert_eq!(
            clock.now(),
            Now {
                wall: Timestamp(1002),
                monotonic: Monotonic(2400)
            }
        );
        turn.set_wall(Timestamp(500));
        assert_eq!(
            clock.now(),
            Now {
                wall: Timestamp(500),
                monotonic: Monotonic(2400)
            }
        );
    }
}
