//! The memory that requests of one shard may occupy: reserved before a body is read, given back when it is answered.
//!
//! When the budget is spent, sockets are simply not read; the order of waiting is first come, first served.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One shard's budget for requests in work. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RequestBudget {
    units: Arc<Semaphore>,
    units_max: u32,
}

/// A share of the budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Reservation {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The budget is counted in units, because a semaphore counts in 32 bits and requests in bytes.
const UNIT_BYTES: usize = 1024;

impl RequestBudget {
    /// A budget of `bytes`, at least one unit.
    pub(crate) fn new(bytes: usize) -> Self {
        let units_max = u32::try_from(bytes.div_ceil(UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .max(1);
        let units_max = units_max.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            units: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Waits until `bytes` are free. A request larger than the whole budget waits for all of it, and so is let in
    /// alone.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reservation {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let units = units.clamp(1, self.units_max);
        // The semaphore is never closed; were it, letting requests in uncounted is the lesser harm.
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await.ok();
        Reservation { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_waits_until_others_are_answered() {
        let budget = RequestBudget::new(4 * UNIT_BYTES);
        let first = budget.reserve(3 * UNIT_BYTES).await;
        let mut second = std::pin::pin!(budget.reserve(2 * UNIT_BYTES));
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, second.as_mut()).await;
        assert!(waiting.is_err(), "two of four units are not free");
        drop(first);
        let _second = second.await;
    }

    #[tokio::test]
    async fn a_request_larger_than_the_budget_is_let_in_alone() {
        let budget = RequestBudget::new(2 * UNIT_BYTES);
        let giant = budget.reserve(100 * UNIT_BYTES).await;
        let other = tokio::time::timeout(std::time::Duration::ZERO, budget.reserve(1)).await;
        assert!(other.is_err(), "the giant has it all");
        drop(giant);
        let _other = budget.reserve(1).await;
    }
}
