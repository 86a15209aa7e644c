//! A rate as a bucket that fills with tokens: pure, told the time.

use std::time::Duration;

use millrace_engine::types::Monotonic;

/// So many tokens per second, and how many of them may be saved up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Tokens per second; none come at 0, and [`Rate::UNLIMITED`] runs out of none.
    pub(super) per_second: u32,
    /// For how many seconds tokens are saved up; at least 1.
    pub(super) burst_seconds: u64,
}

impl Rate {
    /// Kafka's default of every rate.
    pub(super) const UNLIMITED: u32 = i32::MAX.cast_unsigned();

    /// In millionths of a token. A token per second is a millionth per microsecond, so nothing is ever rounded.
    fn capacity(self) -> u64 {
        let seconds = self.burst_seconds.max(1);
        u64::from(self.per_second)
            .saturating_mul(seconds)
            .saturating_mul(TOKEN)
    }
}

/// The bucket of one [`Rate`].
#[derive(Debug)]
pub(super) struct TokenBucket {
    rate: Rate,
    /// In millionths of a token, at `filled`.
    level: u64,
    filled: Monotonic,
}

impl TokenBucket {
    /// A full one.
    pub(super) fn new(rate: Rate, now: Monotonic) -> Self {
        Self {
            rate,
            level: rate.capacity(),
            filled: now,
        }
    }

    /// Goes on at another rate. What was saved up stays, as far as the new rate allows it.
    pub(super) fn set_rate(&mut self, rate: Rate, now: Monotonic) {
        if rate == self.rate {
            return;
        }
        let was_unlimited = self.rate.per_second == Rate::UNLIMITED;
        self.fill(now);
        self.rate = rate;
        self.level = if was_unlimited {
            rate.capacity()
        } else {
            self.level.min(rate.capacity())
        };
    }

    /// How long until there is a token; `None` when none will come.
    pub(super) fn wait(&mut self, now: Monotonic) -> Option<Duration> {
        if self.rate.per_second == Rate::UNLIMITED {
            return Some(Duration::ZERO);
        }
        self.fill(now);
        let missing = TOKEN.saturating_sub(self.level);
        if missing == 0 {
            return Some(Duration::ZERO);
        }
        let per_microsecond = u64::from(self.rate.per_second);
        (per_microsecond > 0).then(|| Duration::from_micros(missing.div_ceil(per_microsecond)))
    }

    /// Takes the token that [`Self::wait`] found.
    pub(super) fn take(&mut self) {
        if self.rate.per_second != Rate::UNLIMITED {
            self.level = self.level.saturating_sub(TOKEN);
        }
    }

    fn fill(&mut self, now: Monotonic) {
        let passed = self.filled.until(now).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let gained = passed.saturating_mul(u64::from(self.rate.per_second));
        self.level = self.level.saturating_add(gained).min(self.rate.capacity());
        self.filled = self.filled.max(now);
    }
}

/// One token, in the unit of levels.
const TOKEN: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Monotonic {
        Monotonic(milliseconds * 1_000)
    }

    fn bucket(per_second: u32, burst_seconds: u64) -> TokenBucket {
        let rate = Rate {
            per_second,
            burst_seconds,
        };
        TokenBucket::new(rate, at(0))
    }

    #[test]
    fn what_was_saved_up_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = bucket(4, 2);
        for _ in 0..8 {
            assert_eq!(bucket.wait(at(0)), Some(Duration::ZERO));
            bucket.take();
        }
        assert_eq!(bucket.wait(at(0)), Some(Duration::from_millis(250)));
        assert_eq!(bucket.wait(at(100)), Some(Duration::from_millis(150)));
        assert_eq!(bucket.wait(at(250)), Some(Duration::ZERO));
        bucket.take();
        assert_eq!(bucket.wait(at(250)), Some(Duration::from_millis(250)));
    }

    #[test]
    fn no_more_than_the_burst_is_saved_up_however_long_it_is_quiet() {
        let mut bucket = bucket(1, 1);
        let later = at(1_000_000);
        assert_eq!(bucket.wait(later), Some(Duration::ZERO));
        bucket.take();
        assert_eq!(bucket.wait(later), Some(Duration::from_secs(1)));
    }

    #[test]
    fn over_a_long_time_the_rate_holds_to_the_token() {
        let mut bucket = bucket(3, 1);
        let taken = (0..100_000).filter(|&millisecond| {
            let there = bucket.wait(at(millisecond)) == Some(Duration::ZERO);
            if there {
                bucket.take();
            }
            there
        });
        // 3 at the start, and 3 in each of the 100 seconds but for the last, which is not quite over.
        assert_eq!(taken.count(), 302);
    }

    #[test]
    fn a_rate_of_none_gives_none_and_an_unlimited_one_all() {
        let mut none = bucket(0, 11);
        assert_eq!(none.wait(at(1_000_000)), None);
        let mut all = bucket(Rate::UNLIMITED, 11);
        for _ in 0..1_000 {
            all.take();
            assert_eq!(all.wait(at(0)), Some(Duration::ZERO));
        }
    }

    #[test]
    fn another_rate_holds_from_its_moment_on() {
        let rate = |per_second| Rate {
            per_second,
            burst_seconds: 1,
        };
        let mut bucket = bucket(0, 1);
        bucket.set_rate(rate(10), at(5_000));
        assert_eq!(bucket.wait(at(5_000)), Some(Duration::from_millis(100)));
        bucket.set_rate(rate(Rate::UNLIMITED), at(5_000));
        assert_eq!(bucket.wait(at(5_000)), Some(Duration::ZERO));
        bucket.set_rate(rate(2), at(5_000));
        for _ in 0..2 {
            assert_eq!(bucket.wait(at(5_000)), Some(Duration::ZERO));
            bucket.take();
        }
        assert_eq!(bucket.wait(at(5_000)), Some(Duration::from_millis(500)));
    }
}
