//! The memory of answers that their clients do not take, for the connections of one thread; requests that clients do not finish are
//! told apart in the same way.
//!
//! An answer is charged when its socket takes no more of it, and anew each time it takes some. When all together are more than they
//! may be, the client that has taken nothing for the longest is given up: whoever reads, however slowly, comes behind those who do not.
//! An answer that is larger than all together may be gives up none of them, only another like it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

/// One thread's account.
#[derive(Debug)]
pub(crate) struct Unread {
    bytes_max: usize,
    holdings: RefCell<Holdings>,
}

#[derive(Debug, Default)]
struct Holdings {
    /// Of all but the large one.
    bytes: usize,
    /// One that is larger than all others together may be.
    large: Option<Age>,
    by_age: BTreeMap<Age, Holding>,
    next: Age,
}

#[derive(Debug)]
struct Holding {
    bytes: usize,
    given_up: Rc<Notify>,
}

/// When something was charged, in the order of charging: the smallest has waited longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age(u64);

/// What one connection holds; dropping it takes it off the account.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    unread: &'a Unread,
    age: Age,
    given_up: Rc<Notify>,
}

impl Unread {
    /// An account for `bytes_max` in all, and for one answer that exceeds it.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            holdings: RefCell::default(),
        }
    }

    /// Charges an answer of `bytes`. Others are given up, the oldest first, as far as there is no room for it.
    pub(crate) fn hold(&self, bytes: usize) -> Held<'_> {
        let given_up = Rc::new(Notify::new());
        let mut holdings = self.holdings.borrow_mut();
        let age = holdings.next;
        holdings.next.0 += 1;
        if bytes > self.bytes_max {
            if let Some(before) = holdings.large {
                holdings.give_up(before);
            }
            holdings.large = Some(age);
        } else {
            while holdings.bytes.saturating_add(bytes) > self.bytes_max
                && let Some(oldest) = holdings.oldest_but_large()
            {
                holdings.give_up(oldest);
            }
            holdings.bytes = holdings.bytes.saturating_add(bytes);
        }
        let holding = Holding {
            bytes,
            given_up: Rc::clone(&given_up),
        };
        holdings.by_age.insert(age, holding);
        Held {
            unread: self,
            age,
            given_up,
        }
    }

    /// The age of what will be charged next.
    pub(crate) fn now(&self) -> Age {
        self.holdings.borrow().next
    }

    /// Gives up everything that was charged before `age`, and has not moved since.
    pub(crate) fn give_up_before(&self, age: Age) {
        let mut holdings = self.holdings.borrow_mut();
        while let Some((&oldest, _)) = holdings.by_age.first_key_value()
            && oldest < age
        {
            holdings.give_up(oldest);
        }
    }
}

impl Holdings {
    fn oldest_but_large(&self) -> Option<Age> {
        let mut ages = self.by_age.keys().copied();
        ages.find(|age| Some(*age) != self.large)
    }

    fn give_up(&mut self, age: Age) {
        if let Some(holding) = self.take_off(age) {
            holding.given_up.notify_one();
        }
    }

    fn take_off(&mut self, age: Age) -> Option<Holding> {
        let holding = self.by_age.remove(&age)?;
        if self.large == Some(age) {
            self.large = None;
        } else {
            self.bytes = self.bytes.saturating_sub(holding.bytes);
        }
        Some(holding)
    }
}

impl Held<'_> {
    /// Ends when the connection is given up.
    pub(crate) async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.unread.holdings.borrow_mut().take_off(self.age);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn is_given_up(held: &Held<'_>) -> bool {
        timeout(Duration::ZERO, held.given_up()).await.is_ok()
    }

    #[tokio::test]
    async fn who_has_taken_nothing_for_the_longest_is_given_up_first() {
        let unread = Unread::new(100);
        let moving = unread.hold(40);
        let still = unread.hold(40);
        drop(moving);
        let moving = unread.hold(40);
        let newcomer = unread.hold(40);
        assert!(is_given_up(&still).await);
        assert!(!is_given_up(&moving).await);
        assert!(!is_given_up(&newcomer).await);
        drop((still, moving, newcomer));
        assert_eq!(unread.holdings.borrow().bytes, 0);
    }

    /// It gave up all others, whose clients may have been about to read them.
    #[tokio::test]
    async fn an_answer_larger_than_everything_harms_none_but_another_like_it() {
        let unread = Unread::new(100);
        let (small, large) = (unread.hold(40), unread.hold(1_000));
        let next = unread.hold(60);
        for held in [&small, &large, &next] {
            assert!(!is_given_up(held).await);
        }
        let larger = unread.hold(2_000);
        assert!(is_given_up(&large).await);
        drop(large);
        let last = unread.hold(1);
        assert!(is_given_up(&small).await);
        for held in [&next, &larger, &last] {
            assert!(!is_given_up(held).await);
        }
        drop((small, next, larger, last));
        let holdings = unread.holdings.borrow();
        assert_eq!((holdings.bytes, holdings.large), (0, None));
        assert!(holdings.by_age.is_empty());
    }

    #[tokio::test]
    async fn what_has_not_moved_since_is_given_up_when_others_need_it() {
        let unread = Unread::new(100);
        let (moving, still) = (unread.hold(1), unread.hold(1));
        let before = unread.now();
        drop(moving);
        let moving = unread.hold(1);
        unread.give_up_before(before);
        assert!(is_given_up(&still).await);
        assert!(!is_given_up(&moving).await);
    }
}
