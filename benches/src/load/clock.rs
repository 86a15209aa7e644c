//! Time, as a measurement needs it: the generator has no simulation to be part of.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock, which timers of the system count in too.
///
/// # Panics
/// Never: Linux has this clock.
#[must_use]
pub fn nanos() -> u64 {
    in_nanos(ClockId::CLOCK_MONOTONIC)
}

/// Milliseconds since 1970.
///
/// # Panics
/// Never: Linux has this clock.
#[must_use]
pub fn unix_millis() -> i64 {
    let millis = in_nanos(ClockId::CLOCK_REALTIME) / 1_000_000;
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// Does nothing for a while.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement waits for the broker to come to rest"
)]
pub fn rest(duration: Duration) {
    std::thread::sleep(duration);
}

fn in_nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let rest = u64::try_from(time.tv_nsec()).unwrap_or_default();
    seconds * 1_000_000_000 + rest
}
