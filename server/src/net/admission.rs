//! The way in and out of the [`Census`], shared by the acceptor and the shards: waiting for a place, giving it back.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_engine::io::Clock;
use tokio::sync::Notify;

use super::census::{Census, Guest, Limits, ListenerLimits, Wait};
use super::token_bucket::Rate;
use super::usage::Usage;
use crate::config::{Listeners, SocketConfig};

/// The limits, and who counts against them. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Admissions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    census: Mutex<Census>,
    /// Somebody has gone, or other limits hold.
    changed: Notify,
    clock: Clock,
    /// The names of the listeners, in order.
    listeners: Vec<String>,
}

/// A place for one more connection.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Arc<Shared>,
    listener: usize,
    guest: Guest,
    usage: Usage,
}

/// One admitted connection; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    seat: Seat,
    address: IpAddr,
    load: Arc<AtomicUsize>,
}

impl Admissions {
    /// The limits of `config` for these listeners. Host names are looked up now.
    pub(crate) fn new(config: &SocketConfig, listeners: &Listeners, clock: Clock) -> Self {
        let names: Vec<_> = listeners
            .clients
            .iter()
            .map(|one| one.name.clone())
            .collect();
        let protected = listeners.protected.as_ref();
        let protected = names.iter().position(|name| Some(name) == protected);
        let census = Census::new(limits(config, &names), protected, clock.now().monotonic);
        let shared = Shared {
            census: Mutex::new(census),
            changed: Notify::new(),
            clock,
            listeners: names,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The limits of `config` hold from now on. Host names are looked up now, which may take long.
    pub(crate) fn set_limits(&self, config: &SocketConfig) {
        let limits = limits(config, &self.shared.listeners);
        let now = self.shared.clock.now().monotonic;
        self.shared.census().set_limits(limits, now);
        self.shared.changed.notify_waiters();
    }

    /// Waits until a connection that came through the listener at `listener` may come in.
    pub(super) async fn seat(&self, listener: usize) -> Seat {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let now = self.shared.clock.now().monotonic;
            let entered = self.shared.census().enter(listener, now);
            match entered {
                Ok((guest, activity)) => {
                    return Seat {
                        shared: Arc::clone(&self.shared),
                        listener,
                        guest,
                        usage: Usage::new(activity, self.shared.clock.clone()),
                    };
                }
                Err(Wait::ForOthers) => changed.await,
                Err(Wait::For(pause)) => {
                    // Either way it asks again.
                    let _ = tokio::time::timeout(pause, changed).await;
                }
            }
        }
    }
}

impl Shared {
    fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Admits the connection that waited for this place, from `address` to the thread whose connections `load` counts,
    /// or says how many the address may have.
    pub(super) fn admit(self, address: IpAddr, load: Arc<AtomicUsize>) -> Result<Admission, u32> {
        let address = address.to_canonical();
        let counted = self.shared.census().count(address);
        counted?;
        load.fetch_add(1, Ordering::Relaxed);
        Ok(Admission {
            seat: self,
            address,
            load,
        })
    }
}

impl Admission {
    /// Where the connection notes its use, and hears that it has to go.
    pub(super) fn usage(&self) -> &Usage {
        &self.seat.usage
    }

    /// The connection goes over to the thread whose connections `load` counts.
    pub(super) fn move_to(&mut self, load: Arc<AtomicUsize>) {
        load.fetch_add(1, Ordering::Relaxed);
        let before = std::mem::replace(&mut self.load, load);
        before.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.census().leave(self.listener, self.guest);
        self.shared.changed.notify_waiters();
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.seat.shared.census().discount(self.address);
    }
}

fn limits(config: &SocketConfig, listeners: &[String]) -> Limits {
    let rate = |per_second| Rate {
        per_second,
        burst_seconds: config.rate_window_s,
    };
    let of_listener = |name: &String| {
        let own = config.of_listeners.get(name);
        ListenerLimits {
            connections_max: own
                .and_then(|own| own.connections_max)
                .unwrap_or(config.connections_max),
            rate: rate(
                own.and_then(|own| own.connection_rate_max)
                    .unwrap_or(config.connection_rate_max),
            ),
        }
    };
    let mut addresses = BTreeMap::new();
    for (host, max) in &config.connections_per_address_overrides {
        match (host.as_str(), 0).to_socket_addrs() {
            Ok(found) => addresses.extend(found.map(|found| (found.ip().to_canonical(), *max))),
            Err(error) => {
                tracing::warn!(host, %error, "max.connections.per.ip.overrides names an unknown host");
            }
        }
    }
    Limits {
        total_max: config.connections_max,
        rate: rate(config.connection_rate_max),
        listeners: listeners.iter().map(of_listener).collect(),
        per_address_max: config.connections_per_address_max,
        addresses,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_engine::types::Timestamp;

    use super::*;
    use crate::config::{BrokerConfig, Sources, load};

    fn config(overrides: &[&str]) -> BrokerConfig {
        let overrides = overrides.iter().map(|&text| text.to_owned()).collect();
        let sources = Sources {
            overrides,
            ..Sources::default()
        };
        load(&sources).unwrap().config
    }

    fn admissions(overrides: &[&str]) -> Admissions {
        let config = config(overrides);
        let (clock, _hands) = Clock::sim(Timestamp(0));
        Admissions::new(&config.sockets, &config.listeners, clock)
    }

    async fn must_wait(admissions: &Admissions) -> bool {
        let seat = tokio::time::timeout(Duration::from_millis(20), admissions.seat(0));
        seat.await.is_err()
    }

    #[tokio::test]
    async fn a_newcomer_gets_the_place_that_another_leaves() {
        let admissions = admissions(&["max.connections=1"]);
        let seat = admissions.seat(0).await;
        assert!(must_wait(&admissions).await);
        let both = async { tokio::join!(admissions.seat(0), async { drop(seat) }) };
        let _seat = both.await;
        assert!(must_wait(&admissions).await);
    }

    #[tokio::test]
    async fn who_waits_hears_of_other_limits() {
        let admissions = admissions(&["max.connection.creation.rate=0"]);
        assert!(must_wait(&admissions).await);
        let changed = config(&["max.connection.creation.rate=1000000"]);
        // The first token comes with time, and the clock stands: only an unlimited rate lets anybody in.
        admissions.set_limits(&changed.sockets);
        assert!(must_wait(&admissions).await);
        let unlimited = config(&[]);
        tokio::join!(admissions.seat(0), async {
            admissions.set_limits(&unlimited.sockets);
        });
    }

    #[tokio::test]
    async fn an_address_is_told_how_many_it_may_have() {
        let admissions = admissions(&[
            "max.connections.per.ip=1",
            "max.connections.per.ip.overrides=127.0.0.1:2",
        ]);
        let load = Arc::new(AtomicUsize::new(0));
        let admit = async |address: [u8; 4]| {
            let seat = admissions.seat(0).await;
            seat.admit(address.into(), Arc::clone(&load))
        };
        let first = admit([10, 0, 0, 1]).await.unwrap();
        assert_eq!(admit([10, 0, 0, 1]).await.err(), Some(1));
        let _second = admit([127, 0, 0, 1]).await.unwrap();
        let _third = admit([127, 0, 0, 1]).await.unwrap();
        assert_eq!(admit([127, 0, 0, 1]).await.err(), Some(2));
        assert_eq!(load.load(Ordering::Relaxed), 3);
        drop(first);
        assert!(admit([10, 0, 0, 1]).await.is_ok());
    }

    #[test]
    fn a_listener_follows_the_broker_unless_it_says_otherwise() {
        let config = config(&[
            "listeners=ONE://localhost:0,TWO://localhost:0",
            "listener.security.protocol.map=ONE:PLAINTEXT,TWO:PLAINTEXT",
            "inter.broker.listener.name=TWO",
            "max.connections=9",
            "max.connection.creation.rate=8",
            "listener.name.two.max.connections=7",
            "listener.name.two.max.connection.creation.rate=6",
            "quota.window.num=3",
            "quota.window.size.seconds=2",
        ]);
        assert_eq!(config.listeners.protected.as_deref(), Some("TWO"));
        let limits = limits(&config.sockets, &["ONE".to_owned(), "TWO".to_owned()]);
        let shown: Vec<_> = limits
            .listeners
            .iter()
            .map(|own| (own.connections_max, own.rate.per_second))
            .collect();
        assert_eq!(shown, [(9, 8), (7, 6)]);
        assert_eq!(limits.rate.burst_seconds, 4);
    }
}
