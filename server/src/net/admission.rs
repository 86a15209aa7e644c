//! How many connections there may be, in all and per address.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::SocketConfig;

/// The limits, and who counts against them.
#[derive(Debug)]
pub(crate) struct Admissions {
    total: Arc<Semaphore>,
    per_address_max: u32,
    overrides: BTreeMap<IpAddr, u32>,
    addresses: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

/// Room for one more connection in all.
#[derive(Debug)]
pub(super) struct Seat {
    _permit: OwnedSemaphorePermit,
}

/// One admitted connection; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    _seat: Seat,
    address: IpAddr,
    addresses: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
    load: Arc<AtomicUsize>,
}

impl Admissions {
    /// The limits of `config`. Host names are looked up now.
    pub(crate) fn new(config: &SocketConfig) -> Self {
        let total = usize::try_from(config.connections_max).unwrap_or(usize::MAX);
        let mut overrides = BTreeMap::new();
        for (host, max) in &config.connections_per_address_overrides {
            match (host.as_str(), 0).to_socket_addrs() {
                Ok(found) => overrides.extend(found.map(|found| (found.ip().to_canonical(), *max))),
                Err(error) => {
                    tracing::warn!(host, %error, "max.connections.per.ip.overrides names an unknown host");
                }
            }
        }
        Self {
            total: Arc::new(Semaphore::new(total.min(Semaphore::MAX_PERMITS))),
            per_address_max: config.connections_per_address_max,
            overrides,
            addresses: Arc::default(),
        }
    }

    /// Waits for room. `None` only when the broker is gone.
    pub(super) async fn seat(&self) -> Option<Seat> {
        let permit = Arc::clone(&self.total).acquire_owned().await.ok()?;
        Some(Seat { _permit: permit })
    }

    /// Admits a connection from `address` to the thread whose connections `load` counts, or says how many the address
    /// may have.
    pub(super) fn admit(
        &self,
        seat: Seat,
        address: IpAddr,
        load: Arc<AtomicUsize>,
    ) -> Result<Admission, u32> {
        let address = address.to_canonical();
        let max = self
            .overrides
            .get(&address)
            .copied()
            .unwrap_or(self.per_address_max);
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = addresses.get(&address).copied().unwrap_or(0);
        if count >= max {
            return Err(max);
        }
        addresses.insert(address, count + 1);
        drop(addresses);
        load.fetch_add(1, Ordering::Relaxed);
        Ok(Admission {
            _seat: seat,
            address,
            addresses: Arc::clone(&self.addresses),
            load,
        })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match addresses.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admissions(total: usize, per_address_max: u32, own: &[(IpAddr, u32)]) -> Admissions {
        Admissions {
            total: Arc::new(Semaphore::new(total)),
            per_address_max,
            overrides: own.iter().copied().collect(),
            addresses: Arc::default(),
        }
    }

    #[tokio::test]
    async fn an_address_has_its_limit_until_one_of_its_connections_ends() {
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let admissions = admissions(10, 1, &[(other, 2)]);
        let load = Arc::new(AtomicUsize::new(0));
        let seat = async || admissions.seat().await.unwrap();
        let admit = |seat, address| admissions.admit(seat, address, Arc::clone(&load));
        let first = admit(seat().await, one).unwrap();
        assert_eq!(admit(seat().await, one).err(), Some(1));
        let _second = admit(seat().await, other).unwrap();
        let _third = admit(seat().await, other).unwrap();
        assert_eq!(admit(seat().await, other).err(), Some(2));
        assert_eq!(load.load(Ordering::Relaxed), 3);
        drop(first);
        assert!(admit(seat().await, one).is_ok());
    }

    #[tokio::test]
    async fn when_all_seats_are_taken_the_next_waits() {
        let admissions = admissions(1, 10, &[]);
        let seat = admissions.seat().await;
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, admissions.seat()).await;
        assert!(waiting.is_err());
        drop(seat);
        assert!(admissions.seat().await.is_some());
    }
}
