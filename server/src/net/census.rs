//! Who is connected and who may come in: Kafka's rules for connections, pure and told the time.
//!
//! In all there may be `max.connections`, and as many per listener unless it has a bound of its own; a newcomer waits for
//! its listener's turn, at most at `max.connection.creation.rate`. Beside other listeners, the one that brokers use is
//! protected: it need not wait for others, and where that makes too many, the connection of another listener that was
//! used least lately has to go (KIP-402, KIP-612).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_engine::types::Monotonic;
use tokio::sync::Notify;

use super::token_bucket::{Rate, TokenBucket};

/// The bounds that hold now.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Of all connections.
    pub(super) total_max: u32,
    /// Of new connections of listeners that are not protected.
    pub(super) rate: Rate,
    /// By place of the listener.
    pub(super) listeners: Vec<ListenerLimits>,
    /// Per address without an entry of its own.
    pub(super) per_address_max: u32,
    /// Addresses with a bound of their own.
    pub(super) addresses: BTreeMap<IpAddr, u32>,
}

/// One listener's own bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenerLimits {
    pub(super) connections_max: u32,
    pub(super) rate: Rate,
}

/// What a newcomer has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Another connection's end, or other limits.
    ForOthers,
    /// That long, or other limits.
    For(Duration),
}

/// When a connection was last used, and whether it has to go. Shared by the census and the connection's task.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// [`Monotonic`]; 0 while it is on its way to its shard.
    used: AtomicU64,
    sent_away: Notify,
}

/// A connection's name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guest(u64);

/// Everybody who is in.
#[derive(Debug)]
pub(super) struct Census {
    limits: Limits,
    rate: TokenBucket,
    gates: Vec<Gate>,
    total: u32,
    addresses: BTreeMap<IpAddr, u32>,
    /// Who may be sent away: the connections of listeners that are not protected.
    guests: BTreeMap<Guest, Arc<Activity>>,
    /// How many were sent away and are not gone yet.
    leaving: u32,
    serial: u64,
}

#[derive(Debug)]
struct Gate {
    protected: bool,
    count: u32,
    rate: TokenBucket,
}

impl Activity {
    /// Notes that the connection was used.
    pub(super) fn touch(&self, now: Monotonic) {
        self.used.store(now.0, Ordering::Relaxed);
    }

    /// Notes that nobody is served on the connection any more: where there are too many, it goes first.
    pub(super) fn end(&self) {
        self.touch(Monotonic(1));
    }

    /// When it was used last.
    pub(super) fn used(&self) -> Monotonic {
        Monotonic(self.used.load(Ordering::Relaxed))
    }

    /// Ends when the connection has to go.
    pub(super) async fn sent_away(&self) {
        self.sent_away.notified().await;
    }

    /// Those on their way come last.
    fn idle_since(&self) -> u64 {
        match self.used() {
            Monotonic(0) => u64::MAX,
            Monotonic(used) => used,
        }
    }
}

impl Census {
    /// Nobody is in. `protected` is the place of the listener that need not wait for others.
    pub(super) fn new(limits: Limits, protected: Option<usize>, now: Monotonic) -> Self {
        let gates = limits
            .listeners
            .iter()
            .enumerate()
            .map(|(place, own)| Gate {
                protected: protected == Some(place),
                count: 0,
                rate: TokenBucket::new(own.rate, now),
            });
        Self {
            gates: gates.collect(),
            rate: TokenBucket::new(limits.rate, now),
            limits,
            total: 0,
            addresses: BTreeMap::new(),
            guests: BTreeMap::new(),
            leaving: 0,
            serial: 0,
        }
    }

    /// Other limits hold from now on. If too many are in, those used least lately have to go.
    pub(super) fn set_limits(&mut self, limits: Limits, now: Monotonic) {
        self.rate.set_rate(limits.rate, now);
        for (gate, own) in self.gates.iter_mut().zip(&limits.listeners) {
            gate.rate.set_rate(own.rate, now);
        }
        self.limits = limits;
        self.send_excess_away();
    }

    /// Lets a connection in that came through the listener at `place`, or says what it waits for.
    pub(super) fn enter(
        &mut self,
        place: usize,
        now: Monotonic,
    ) -> Result<(Guest, Arc<Activity>), Wait> {
        let own = self.limits.listeners.get(place);
        let (Some(gate), Some(own)) = (self.gates.get_mut(place), own) else {
            return Err(Wait::ForOthers);
        };
        let is_full = gate.count >= own.connections_max
            || !gate.protected && self.total >= self.limits.total_max;
        if is_full {
            return Err(Wait::ForOthers);
        }
        // The protected listener has its own rate only.
        let of_all = if gate.protected {
            Some(Duration::ZERO)
        } else {
            self.rate.wait(now)
        };
        match of_all.zip(gate.rate.wait(now)) {
            None => return Err(Wait::ForOthers),
            Some((Duration::ZERO, Duration::ZERO)) => {}
            Some((of_all, own)) => return Err(Wait::For(of_all.max(own))),
        }
        gate.rate.take();
        gate.count += 1;
        let activity = Arc::<Activity>::default();
        let guest = Guest(self.serial);
        if !gate.protected {
            self.rate.take();
            self.guests.insert(guest, Arc::clone(&activity));
        }
        self.total += 1;
        self.serial += 1;
        self.send_excess_away();
        Ok((guest, activity))
    }

    /// A connection that came through the listener at `place` is gone.
    pub(super) fn leave(&mut self, place: usize, guest: Guest) {
        self.total = self.total.saturating_sub(1);
        let Some(gate) = self.gates.get_mut(place) else {
            return;
        };
        gate.count = gate.count.saturating_sub(1);
        if !gate.protected && self.guests.remove(&guest).is_none() {
            self.leaving = self.leaving.saturating_sub(1);
        }
    }

    /// Counts a connection for its address, or says how many that may have.
    pub(super) fn count(&mut self, address: IpAddr) -> Result<(), u32> {
        let own = self.limits.addresses.get(&address).copied();
        let max = own.unwrap_or(self.limits.per_address_max);
        let count = self.addresses.get(&address).copied().unwrap_or(0);
        if count >= max {
            return Err(max);
        }
        self.addresses.insert(address, count + 1);
        Ok(())
    }

    /// The end of a connection that was counted for its address.
    pub(super) fn discount(&mut self, address: IpAddr) {
        match self.addresses.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.addresses.remove(&address);
            }
        }
    }

    fn send_excess_away(&mut self) {
        let staying = self.total.saturating_sub(self.leaving);
        for _ in self.limits.total_max..staying {
            // Of those on their way the latest goes first.
            let idlest = self
                .guests
                .iter()
                .min_by_key(|(guest, activity)| (activity.idle_since(), Reverse(**guest)));
            let Some((&guest, activity)) = idlest else {
                return;
            };
            activity.sent_away.notify_one();
            self.guests.remove(&guest);
            self.leaving += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER_FULL: u32 = 1_000_000;

    fn at(milliseconds: u64) -> Monotonic {
        Monotonic(milliseconds * 1_000)
    }

    fn rate(per_second: u32) -> Rate {
        Rate {
            per_second,
            burst_seconds: 1,
        }
    }

    /// Listeners with these bounds and rates, beside those of all.
    fn limits(total_max: u32, of_all: u32, listeners: &[(u32, u32)]) -> Limits {
        let own = |&(connections_max, per_second): &(u32, u32)| ListenerLimits {
            connections_max,
            rate: rate(per_second),
        };
        Limits {
            total_max,
            rate: rate(of_all),
            listeners: listeners.iter().map(own).collect(),
            per_address_max: u32::MAX,
            addresses: BTreeMap::new(),
        }
    }

    fn unbounded(total_max: u32) -> Limits {
        let listener = (NEVER_FULL, Rate::UNLIMITED);
        limits(total_max, Rate::UNLIMITED, &[listener, listener])
    }

    fn is_sent_away(activity: &Activity) -> bool {
        let waiting = std::pin::pin!(activity.sent_away());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        waiting.poll(&mut context).is_ready()
    }

    #[test]
    fn when_all_places_are_taken_the_next_waits_for_an_end() {
        let mut census = Census::new(unbounded(2), None, at(0));
        let (first, activity) = census.enter(0, at(0)).unwrap();
        census.enter(1, at(0)).unwrap();
        for place in [0, 1] {
            assert_eq!(census.enter(place, at(0)).unwrap_err(), Wait::ForOthers);
        }
        assert!(!is_sent_away(&activity), "nobody goes for a newcomer");
        census.leave(0, first);
        assert!(census.enter(1, at(0)).is_ok());
    }

    #[test]
    fn the_protected_listener_does_not_wait_and_the_idlest_of_the_others_goes() {
        let mut census = Census::new(unbounded(2), Some(1), at(0));
        let (_, busy) = census.enter(0, at(0)).unwrap();
        let (idle_guest, idle) = census.enter(0, at(0)).unwrap();
        idle.touch(at(1));
        busy.touch(at(2));
        let (_, protected) = census.enter(1, at(3)).unwrap();
        assert!(is_sent_away(&idle));
        assert!(!is_sent_away(&busy));
        // It is on its way out: nobody else goes for the same place.
        census.set_limits(unbounded(2), at(3));
        assert!(!is_sent_away(&busy));
        census.leave(0, idle_guest);
        assert_eq!(census.enter(0, at(3)).unwrap_err(), Wait::ForOthers);
        census.enter(1, at(3)).unwrap();
        assert!(is_sent_away(&busy));
        // Nobody is left to go, and the protected stay.
        census.enter(1, at(3)).unwrap();
        assert!(!is_sent_away(&protected));
    }

    #[test]
    fn whoever_is_not_served_any_more_goes_before_the_idlest() {
        let mut census = Census::new(unbounded(2), Some(1), at(0));
        let (_, idle) = census.enter(0, at(0)).unwrap();
        let (_, refused) = census.enter(0, at(0)).unwrap();
        idle.touch(at(1));
        refused.touch(at(2));
        refused.end();
        census.enter(1, at(3)).unwrap();
        assert!(is_sent_away(&refused));
        assert!(!is_sent_away(&idle));
    }

    #[test]
    fn a_lower_bound_sends_away_who_was_used_least_lately() {
        let mut census = Census::new(unbounded(3), None, at(0));
        let all: Vec<_> = (0..3).map(|_| census.enter(0, at(0)).unwrap()).collect();
        for ((_, activity), used) in all.iter().zip([5, 3, 4]) {
            activity.touch(at(used));
        }
        census.set_limits(unbounded(1), at(6));
        let gone: Vec<_> = all.iter().map(|(_, who)| is_sent_away(who)).collect();
        assert_eq!(gone, [false, true, true]);
        for (guest, _) in &all {
            census.leave(0, *guest);
        }
        assert!(census.enter(0, at(7)).is_ok());
        assert_eq!(census.enter(0, at(7)).unwrap_err(), Wait::ForOthers);
    }

    #[test]
    fn a_listener_may_have_a_lower_bound_of_its_own() {
        let listeners = [(1, Rate::UNLIMITED), (5, Rate::UNLIMITED)];
        let limits = limits(5, Rate::UNLIMITED, &listeners);
        let mut census = Census::new(limits, Some(0), at(0));
        let (guest, _) = census.enter(0, at(0)).unwrap();
        assert_eq!(
            census.enter(0, at(0)).unwrap_err(),
            Wait::ForOthers,
            "it binds the protected one, too"
        );
        census.enter(1, at(0)).unwrap();
        census.leave(0, guest);
        assert!(census.enter(0, at(0)).is_ok());
    }

    #[test]
    fn newcomers_above_the_rate_wait_their_turn() {
        let listener = (NEVER_FULL, Rate::UNLIMITED);
        let mut census = Census::new(limits(NEVER_FULL, 2, &[listener]), None, at(0));
        for _ in 0..2 {
            census.enter(0, at(0)).unwrap();
        }
        let wait = Wait::For(Duration::from_millis(500));
        assert_eq!(census.enter(0, at(0)).unwrap_err(), wait);
        assert!(census.enter(0, at(500)).is_ok());
        assert_eq!(census.enter(0, at(500)).unwrap_err(), wait);
        census.set_limits(limits(NEVER_FULL, 0, &[listener]), at(1_500));
        assert_eq!(census.enter(0, at(9_000)).unwrap_err(), Wait::ForOthers);
        census.set_limits(limits(NEVER_FULL, 1_000, &[listener]), at(9_000));
        let wait = Wait::For(Duration::from_millis(1));
        assert_eq!(census.enter(0, at(9_000)).unwrap_err(), wait);
    }

    #[test]
    fn one_listeners_rate_does_not_hold_up_another() {
        let listeners = [(NEVER_FULL, 1), (NEVER_FULL, Rate::UNLIMITED)];
        let mut census = Census::new(limits(NEVER_FULL, 4, &listeners), None, at(0));
        census.enter(0, at(0)).unwrap();
        let wait = Wait::For(Duration::from_secs(1));
        assert_eq!(census.enter(0, at(0)).unwrap_err(), wait);
        // Those who wait have taken nothing from the rate of all.
        for _ in 0..3 {
            census.enter(1, at(0)).unwrap();
        }
        let wait = Wait::For(Duration::from_millis(250));
        assert_eq!(census.enter(1, at(0)).unwrap_err(), wait);
    }

    #[test]
    fn the_rate_of_all_does_not_hold_up_the_protected_listener() {
        let listener = (NEVER_FULL, Rate::UNLIMITED);
        let limits = limits(NEVER_FULL, 1, &[listener, listener]);
        let mut census = Census::new(limits, Some(1), at(0));
        census.enter(0, at(0)).unwrap();
        assert!(census.enter(0, at(0)).is_err());
        for _ in 0..10 {
            census.enter(1, at(0)).unwrap();
        }
    }

    #[test]
    fn an_address_has_its_bound_until_one_of_its_connections_ends() {
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut limits = unbounded(9);
        limits.per_address_max = 1;
        limits.addresses = BTreeMap::from([(other, 2)]);
        let mut census = Census::new(limits, None, at(0));
        assert_eq!(census.count(one), Ok(()));
        assert_eq!(census.count(one), Err(1));
        assert_eq!(census.count(other), Ok(()));
        assert_eq!(census.count(other), Ok(()));
        assert_eq!(census.count(other), Err(2));
        census.discount(one);
        assert_eq!(census.count(one), Ok(()));
        census.discount(one);
        census.discount(other);
        census.discount(other);
        assert!(census.addresses.is_empty());
    }
}
