//! How a connection notes that it is used: it came, asks for something, takes some of an answer, was answered. Whoever
//! has not used it for `connections.max.idle.ms` loses it, and where there are too many, whoever used it least lately.

use std::sync::Arc;
use std::time::Duration;

use millrace_engine::io::Clock;
use millrace_engine::types::Monotonic;

use super::census::Activity;

/// One connection's own look at its [`Activity`].
#[derive(Debug)]
pub(super) struct Usage {
    activity: Arc<Activity>,
    clock: Clock,
}

impl Usage {
    pub(super) const fn new(activity: Arc<Activity>, clock: Clock) -> Self {
        Self { activity, clock }
    }

    /// Notes that the connection is used. Gives the time.
    pub(super) fn note(&self) -> Monotonic {
        let now = self.clock.now().monotonic;
        self.activity.touch(now);
        now
    }

    /// Notes that nobody is served on the connection any more.
    pub(super) fn end(&self) {
        self.activity.end();
    }

    /// What is left of so long a time, which began when it was used last.
    pub(super) fn left_of(&self, idle: Duration) -> Duration {
        let now = self.clock.now().monotonic;
        idle.saturating_sub(self.activity.used().until(now))
    }

    /// Ends when the connection has to go.
    pub(super) async fn sent_away(&self) {
        self.activity.sent_away().await;
    }
}

#[cfg(test)]
mod tests {
    use millrace_engine::types::Timestamp;

    use super::*;

    #[test]
    fn each_use_begins_the_time_anew() {
        let (clock, hands) = Clock::sim(Timestamp(0));
        let usage = Usage::new(Arc::default(), clock);
        let minute = Duration::from_secs(60);
        for _ in 0..2 {
            usage.note();
            assert_eq!(usage.left_of(minute), minute);
            hands.advance(Duration::from_secs(50));
            assert_eq!(usage.left_of(minute), Duration::from_secs(10));
        }
        hands.advance(minute);
        assert_eq!(usage.left_of(minute), Duration::ZERO);
    }
}
