//! The memory that requests of one shard may occupy: charged as their bytes arrive, given back when they are answered.
//!
//! When the budget is spent, sockets are simply not read; the order of waiting is first come, first served. A claimed
//! length is charged nothing: a client that announces much and sends little must not keep others waiting. So that
//! several half-arrived requests cannot wait for each other's memory, one request at a time may exceed the budget; and so that
//! clients that stop halfway do not keep it, those whose requests do not move are given up while others wait.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::unread::{Held, Unread};

/// One shard's budget for requests in work. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RequestBudget {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    units: Arc<Semaphore>,
    units_max: u32,
    /// The right to exceed the budget, for the request that has waited longest.
    excess: Arc<Semaphore>,
    /// Requests whose clients are to send the rest.
    arriving: Unread,
}

/// A request's share of the budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: RequestBudget,
    share: Option<OwnedSemaphorePermit>,
    excess: Option<OwnedSemaphorePermit>,
}

/// The budget is counted in units, because a semaphore counts in 32 bits and requests in bytes.
const UNIT_BYTES: usize = 1024;
/// How long a request that has not arrived whole may stand still while others wait for memory.
const STANDSTILL_MAX: Duration = Duration::from_secs(1);

impl RequestBudget {
    /// A budget of `bytes`, at least one unit.
    pub(crate) fn new(bytes: usize) -> Self {
        let units_max = units_of(bytes).max(1);
        let units_max = units_max.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            shared: Rc::new(Shared {
                units: Arc::new(Semaphore::new(units_max as usize)),
                units_max,
                excess: Arc::new(Semaphore::new(1)),
                // The budget bounds them.
                arriving: Unread::new(usize::MAX),
            }),
        }
    }

    /// Notes that the rest of a request is waited for: it may be given up once others wait for memory.
    pub(super) fn awaits_rest(&self) -> Held<'_> {
        self.shared.arriving.hold(0)
    }

    /// A share of nothing.
    pub(crate) fn open(&self) -> Reservation {
        Reservation {
            budget: self.clone(),
            share: None,
            excess: None,
        }
    }
}

impl Reservation {
    /// Makes the share as large as `bytes`: waits until they are free, or until this request may exceed the budget. True if it had
    /// to wait.
    pub(crate) async fn cover(&mut self, bytes: usize) -> bool {
        let held = self
            .share
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        let missing = units_of(bytes).saturating_sub(held);
        if missing == 0 || self.excess.is_some() {
            return false;
        }
        let shared = Rc::clone(&self.budget.shared);
        let Shared {
            units,
            units_max,
            excess,
            arriving,
        } = &*shared;
        let missing = missing.min(*units_max);
        // Nobody is overtaken: while somebody waits, nothing is free.
        if let Ok(more) = Arc::clone(units).try_acquire_many_owned(missing) {
            self.grow(more);
            return false;
        }
        // The semaphores are never closed; were they, letting requests in uncounted is the lesser harm.
        let mut room = pin!(async {
            tokio::select! {
                biased;
                more = Arc::clone(units).acquire_many_owned(missing) => {
                    if let Ok(more) = more {
                        self.grow(more);
                    }
                }
                excess = Arc::clone(excess).acquire_owned() => self.excess = excess.ok(),
            }
        });
        loop {
            let before = arriving.now();
            tokio::select! {
                biased;
                () = &mut room => return true,
                () = sleep(STANDSTILL_MAX) => arriving.give_up_before(before),
            }
        }
    }

    /// How many bytes it covers, in whole units.
    pub(crate) fn bytes(&self) -> usize {
        let units = self
            .share
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        units * UNIT_BYTES
    }

    fn grow(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.share {
            Some(share) => share.merge(more),
            none => *none = Some(more),
        }
    }
}

fn units_of(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn must_wait(reservation: &mut Reservation, units: usize) -> bool {
        let wait = timeout(Duration::ZERO, reservation.cover(units * UNIT_BYTES));
        wait.await.is_err()
    }

    #[tokio::test]
    async fn requests_wait_until_others_are_answered_but_for_one() {
        let budget = RequestBudget::new(4 * UNIT_BYTES);
        let (mut first, mut second, mut third) = (budget.open(), budget.open(), budget.open());
        first.cover(3 * UNIT_BYTES).await;
        second.cover(2 * UNIT_BYTES).await;
        assert!(second.excess.is_some(), "one of four units is free");
        assert!(
            must_wait(&mut third, 2).await,
            "another exceeds the budget already"
        );
        drop(first);
        third.cover(2 * UNIT_BYTES).await;
        assert!(third.excess.is_none());
    }

    #[tokio::test]
    async fn a_growing_request_is_charged_the_difference() {
        let budget = RequestBudget::new(4 * UNIT_BYTES);
        let mut growing = budget.open();
        for bytes in [1, 700, 1024, 1025, 3000, 4096] {
            growing.cover(bytes).await;
        }
        assert!(growing.excess.is_none());
        assert_eq!(budget.shared.units.available_permits(), 0);
        drop(growing);
        assert_eq!(budget.shared.units.available_permits(), 4);
    }

    #[tokio::test]
    async fn requests_that_outgrow_the_budget_together_all_end() {
        let budget = RequestBudget::new(4 * UNIT_BYTES);
        let (mut first, mut second) = (budget.open(), budget.open());
        first.cover(2 * UNIT_BYTES).await;
        second.cover(2 * UNIT_BYTES).await;
        first.cover(100 * UNIT_BYTES).await;
        assert!(must_wait(&mut second, 100).await, "only one at a time");
        drop(first);
        second.cover(100 * UNIT_BYTES).await;
    }
}
