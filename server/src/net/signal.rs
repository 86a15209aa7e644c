//! A sign that one half of a task gives the other. What tokio has for this is for waiters on any thread, and takes a lock and a
//! list each time: several times for each request.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Given or not; who waits takes it back. One waits at a time.
#[derive(Debug, Default)]
pub(super) struct Signal {
    given: Cell<bool>,
    is_awaited: Cell<bool>,
    /// Of the task that waited last: mostly it is the next, too.
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// As [`Self::give`], to one who is looked at later in this turn of the task: nobody is woken.
    pub(super) fn leave(&self) {
        self.given.set(true);
    }

    pub(super) fn give(&self) {
        self.given.set(true);
        if self.is_awaited.replace(false)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Waits until it is given; at once if that was since the last time.
    pub(super) async fn given(&self) {
        poll_fn(|context| {
            if self.given.replace(false) {
                return Poll::Ready(());
            }
            self.is_awaited.set(true);
            let mut waker = self.waker.borrow_mut();
            match &mut *waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Context;

    use super::*;
    use crate::net::wakes::Wakes;

    #[test]
    fn who_waits_is_woken_once_and_takes_the_sign_back() {
        let (signal, wakes) = (Signal::default(), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        signal.give();
        assert!(pin!(signal.given()).poll(&mut context).is_ready());
        let mut waiting = pin!(signal.given());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert_eq!(wakes.so_far(), 0);
        signal.give();
        signal.give();
        assert_eq!(wakes.so_far(), 1);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        assert!(pin!(signal.given()).poll(&mut context).is_pending());
        signal.leave();
        assert_eq!(wakes.so_far(), 1);
        assert!(pin!(signal.given()).poll(&mut context).is_ready());
    }
}
