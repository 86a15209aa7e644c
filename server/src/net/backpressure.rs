//! The memory that requests of one shard may occupy: charged as their bytes arrive, given back when they are answered.
//!
//! When the budget is spent, sockets are simply not read; the order of waiting is first come, first served. A claimed
//! length is charged nothing: a client that announces much and sends little must not keep others waiting. So that
//! several half-arrived requests cannot wait for each other's memory, one request at a time may exceed the budget; and so that
//! clients that stop halfway do not keep it, those whose requests do not move are given up while others wait.

use std::cell::Cell;
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
    /// For small requests while larger ones have the rest.
    reserve: Arc<Semaphore>,
    /// The right to exceed the budget, for the request that has waited longest.
    excess: Arc<Semaphore>,
    /// Requests whose clients are to send the rest.
    arriving: Unread,
    /// How many requests wait for memory.
    waiting: Cell<usize>,
}

/// One request that waits for memory; counts until it is dropped.
struct Waiting<'a>(&'a Cell<usize>);

/// A request's share of the budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: RequestBudget,
    share: Option<OwnedSemaphorePermit>,
    /// Whether it may take of the reserve.
    is_small: bool,
    reserve: Option<OwnedSemaphorePermit>,
    excess: Option<OwnedSemaphorePermit>,
}

/// The budget is counted in units, because a semaphore counts in 32 bits and requests in bytes.
const UNIT_BYTES: usize = 1024;
/// What is kept for small requests beside the budget, as a part of it.
const RESERVE_SHARE: u32 = 8;
/// How long a request that has not arrived whole may stand still while others wait for memory.
const STANDSTILL_MAX: Duration = Duration::from_secs(1);
/// For how long in all a client may keep others waiting for memory while a request of its own arrives, or an answer leaves, and the time
/// more for each mebibyte of it: 5 MiB per second of a long one.
const WANTED_GRACE: Duration = Duration::from_secs(8);
const WANTED_PER_MEBIBYTE: Duration = Duration::from_millis(125);
/// How often it is seen whether somebody waits.
pub(super) const WANTED_STEP: Duration = Duration::from_secs(1);

/// For how long a client may keep others waiting with so many bytes.
pub(super) fn wanted_max(bytes: usize) -> Duration {
    let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    WANTED_GRACE + WANTED_PER_MEBIBYTE * mebibytes
}

impl RequestBudget {
    /// A budget of `bytes`, at least one unit.
    pub(crate) fn new(bytes: usize) -> Self {
        let units_max = units_of(bytes).max(1);
        let units_max = units_max.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            shared: Rc::new(Shared {
                units: Arc::new(Semaphore::new(units_max as usize)),
                units_max,
                reserve: Arc::new(Semaphore::new((units_max / RESERVE_SHARE) as usize)),
                excess: Arc::new(Semaphore::new(1)),
                // The budget bounds them.
                arriving: Unread::new(usize::MAX),
                waiting: Cell::new(0),
            }),
        }
    }

    /// Notes that the rest of a request is waited for: it may be given up once others wait for memory.
    pub(super) fn awaits_rest(&self) -> Held<'_> {
        self.shared.arriving.hold(0)
    }

    /// Whether somebody waits for memory.
    pub(super) fn is_wanted(&self) -> bool {
        self.shared.waiting.get() > 0
    }

    /// A share of nothing.
    pub(crate) fn open(&self) -> Reservation {
        Reservation {
            budget: self.clone(),
            share: None,
            is_small: false,
            reserve: None,
            excess: None,
        }
    }

    /// As [`Self::open`], for a request that stays small: it finds room also where larger ones have taken all of it.
    pub(crate) fn open_small(&self) -> Reservation {
        Reservation {
            is_small: true,
            ..self.open()
        }
    }
}

impl Reservation {
    /// Makes the share as large as `bytes`: waits until they are free, or until this request may exceed the budget. True if it had
    /// to wait.
    pub(crate) async fn cover(&mut self, bytes: usize) -> bool {
        let Err(missing) = self.cover_at_once(bytes) else {
            return false;
        };
        let shared = Rc::clone(&self.budget.shared);
        // Boxed, because every quiet connection keeps room for its largest state.
        Box::pin(self.wait(&shared, missing)).await;
        true
    }

    /// As [`Self::cover`], without waiting.
    ///
    /// # Errors
    /// So many units are not free; it is as large as before.
    pub(super) fn cover_at_once(&mut self, bytes: usize) -> Result<(), u32> {
        let missing = units_of(bytes).saturating_sub(self.units());
        if missing == 0 || self.excess.is_some() {
            return Ok(());
        }
        let shared = &self.budget.shared;
        let missing = missing.min(shared.units_max);
        // Nobody is overtaken: while somebody waits, nothing is free.
        if let Ok(more) = Arc::clone(&shared.units).try_acquire_many_owned(missing) {
            grow(&mut self.share, more);
            return Ok(());
        }
        if self.is_small
            && let Ok(more) = Arc::clone(&shared.reserve).try_acquire_many_owned(missing)
        {
            grow(&mut self.reserve, more);
            return Ok(());
        }
        Err(missing)
    }

    async fn wait(&mut self, shared: &Shared, missing: u32) {
        let Shared {
            units,
            reserve,
            excess,
            arriving,
            waiting,
            ..
        } = shared;
        let _waiting = Waiting::one(waiting);
        let is_small = self.is_small;
        // The semaphores are never closed; were they, letting requests in uncounted is the lesser harm.
        let mut room = pin!(async {
            tokio::select! {
                biased;
                more = Arc::clone(units).acquire_many_owned(missing) => {
                    if let Ok(more) = more {
                        grow(&mut self.share, more);
                    }
                }
                more = Arc::clone(reserve).acquire_many_owned(missing), if is_small => {
                    if let Ok(more) = more {
                        grow(&mut self.reserve, more);
                    }
                }
                excess = Arc::clone(excess).acquire_owned() => self.excess = excess.ok(),
            }
        });
        loop {
            let before = arriving.now();
            tokio::select! {
                biased;
                () = &mut room => return,
                () = sleep(STANDSTILL_MAX) => arriving.give_up_before(before),
            }
        }
    }

    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let spare = self.units().saturating_sub(units_of(bytes)) as usize;
        if let Some(share) = &mut self.share {
            drop(share.split(spare.min(share.num_permits())));
        }
        if let Some(excess) = self.excess.take()
            && self.cover_at_once(bytes).is_err()
        {
            self.excess = Some(excess);
        }
    }

    /// Where it is from.
    pub(super) const fn budget(&self) -> &RequestBudget {
        &self.budget
    }

    /// How many bytes it covers, in whole units.
    pub(crate) fn bytes(&self) -> usize {
        self.units() as usize * UNIT_BYTES
    }

    fn units(&self) -> u32 {
        let permits = [&self.share, &self.reserve].map(|permit| {
            let count = permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            u32::try_from(count).unwrap_or(u32::MAX)
        });
        permits
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl<'a> Waiting<'a> {
    fn one(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

fn grow(permit: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match permit {
        Some(permit) => permit.merge(more),
        none => *none = Some(more),
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
        assert!(!budget.is_wanted());
        let waits = async { third.cover(2 * UNIT_BYTES).await };
        tokio::join!(biased; waits, async {
            assert!(budget.is_wanted());
            drop(first);
        });
        assert!(!budget.is_wanted());
        assert!(third.excess.is_none());
    }

    #[tokio::test]
    async fn small_requests_go_on_while_larger_ones_have_the_budget() {
        let budget = RequestBudget::new(16 * UNIT_BYTES);
        let (mut first, mut second) = (budget.open(), budget.open());
        first.cover(16 * UNIT_BYTES).await;
        second.cover(16 * UNIT_BYTES).await;
        let mut small = budget.open_small();
        assert!(!small.cover(2 * UNIT_BYTES).await);
        assert_eq!(small.bytes(), 2 * UNIT_BYTES);
        let mut next = budget.open_small();
        assert!(must_wait(&mut next, 1).await, "a few of them");
        let waits = async { assert!(next.cover(UNIT_BYTES).await) };
        tokio::join!(biased; waits, async { drop(small) });
        assert!(!budget.open_small().cover(UNIT_BYTES).await);
        assert!(must_wait(&mut budget.open(), 1).await);
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
    async fn what_a_share_is_too_large_by_goes_to_others() {
        let budget = RequestBudget::new(4 * UNIT_BYTES);
        let (mut first, mut second) = (budget.open(), budget.open());
        first.cover(100 * UNIT_BYTES).await;
        second.cover(UNIT_BYTES).await;
        assert!(second.excess.is_some());
        first.shrink(4 * UNIT_BYTES);
        assert_eq!(first.units(), 4, "it has no more than that");
        second.shrink(UNIT_BYTES);
        assert!(second.excess.is_some(), "nothing is free");
        first.shrink(UNIT_BYTES + 1);
        assert_eq!(first.units(), 2);
        second.shrink(UNIT_BYTES);
        assert!(second.excess.is_none());
        assert_eq!(second.units(), 1);
        assert_eq!(budget.shared.units.available_permits(), 1);
        drop((first, second));
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
