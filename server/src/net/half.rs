//! One half of a task that is looked at only when something of its own has happened.
//!
//! The halves of a connection share a task, and what wakes the task has one of them looked at for nothing: to ask a socket, two
//! timers and the broker's stop whether there is news takes as long as half of the work on a small request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

pin_project! {
    /// A future with a waker of its own, to be polled as often as its task is.
    pub(super) struct Half<F> {
        // What wakes it, and the same as a waker.
        caller: Option<(Arc<Caller>, Waker)>,
        #[pin]
        half: F,
    }
}

/// Wakes the task on behalf of one half.
struct Caller {
    task: Waker,
    /// Since the half was polled last.
    has_called: AtomicBool,
}

impl<F> Half<F> {
    pub(super) const fn new(half: F) -> Self {
        Self { caller: None, half }
    }
}

impl<F: Future> Future for Half<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Some((caller, waker)) = this.caller
            && caller.task.will_wake(context.waker())
        {
            // Before the poll: who calls during it is heard next time.
            let has_called = caller.has_called.load(Ordering::Relaxed)
                && caller.has_called.swap(false, Ordering::AcqRel);
            return if has_called {
                this.half.poll(&mut Context::from_waker(waker))
            } else {
                Poll::Pending
            };
        }
        let new = Arc::new(Caller {
            task: context.waker().clone(),
            has_called: AtomicBool::new(false),
        });
        let (_, waker) = this.caller.insert((Arc::clone(&new), Waker::from(new)));
        this.half.poll(&mut Context::from_waker(waker))
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Who has called already has had the task woken, and it has not looked since.
        if !self.has_called.swap(true, Ordering::AcqRel) {
            self.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;
    use crate::net::wakes::Wakes;

    #[test]
    fn a_half_is_looked_at_when_it_has_called_and_each_time_by_another_task() {
        let (polls, own) = (Cell::new(0), Cell::new(None::<Waker>));
        let mut half = pin!(Half::new(poll_fn(|context| {
            polls.set(polls.get() + 1);
            own.set(Some(context.waker().clone()));
            Poll::<()>::Pending
        })));
        let wakes = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
        let wakers = wakes.clone().map(Waker::from);
        let mut look = |task: usize| {
            let mut context = Context::from_waker(&wakers[task]);
            assert!(half.as_mut().poll(&mut context).is_pending());
            polls.get()
        };
        assert_eq!([look(0), look(0)], [1, 1]);
        let first = own.take().unwrap();
        first.wake_by_ref();
        first.wake_by_ref();
        assert_eq!(wakes[0].so_far(), 1);
        assert_eq!([look(0), look(0)], [2, 2]);
        first.wake_by_ref();
        assert_eq!(wakes[0].so_far(), 2);
        assert_eq!([look(1), look(1)], [3, 3], "it is another task");
        own.take().unwrap().wake();
        assert_eq!(wakes[1].so_far(), 1);
        assert_eq!([look(1), look(1)], [4, 4]);
    }

    #[test]
    fn who_calls_while_it_is_looked_at_is_heard_the_next_time() {
        let polls = Cell::new(0);
        let mut half = pin!(Half::new(poll_fn(|context| {
            polls.set(polls.get() + 1);
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        })));
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        for polled in 1..4 {
            assert!(half.as_mut().poll(&mut context).is_pending());
            assert_eq!((polls.get(), wakes.so_far()), (polled, polled));
        }
    }
}
