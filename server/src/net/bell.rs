//! How the tasks of a thread are woken from other threads: one ring of the bell for all that came meanwhile.
//!
//! Left alone, the runtime is interrupted for every task that is woken from outside, awake or not: a system call, and one more
//! look at all sockets, for each answer of another shard. Here whoever wakes a task leaves word, and only the first one rings.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use pin_project_lite::pin_project;

/// The bell of one thread. Clones are the same bell.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    thread: ThreadId,
    word: Mutex<Word>,
}

/// What was left at the door.
#[derive(Debug, Default)]
struct Word {
    /// Tasks to be woken on their own thread.
    tasks: Vec<Waker>,
    /// Who listens; gone from the first ring until it listens again.
    listener: Option<Waker>,
}

impl Bell {
    /// A bell of the calling thread. Somebody has to [`Bell::answer`] it.
    pub(super) fn new() -> Self {
        let shared = Shared {
            thread: thread::current().id(),
            word: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Wakes those for whom word was left, for ever. On the bell's thread.
    pub(super) async fn answer(&self) {
        let mut tasks = Vec::new();
        poll_fn(|context| {
            {
                let mut word = self.shared.word();
                std::mem::swap(&mut word.tasks, &mut tasks);
                word.listener = Some(context.waker().clone());
            }
            for task in tasks.drain(..) {
                task.wake();
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// `task`, to be run on the bell's thread, so that whoever wakes it from another rings.
    pub(super) fn guard<F: Future>(&self, task: F) -> Guarded<F> {
        Guarded {
            bell: self.clone(),
            caller: None,
            task,
        }
    }
}

pin_project! {
    /// A task whose wakers ring the bell. A plain structure: an async function that wraps a task keeps it twice, and there is one
    /// for each connection.
    pub(super) struct Guarded<F> {
        bell: Bell,
        // What wakes the task, and the same as a waker.
        caller: Option<(Arc<Caller>, Waker)>,
        #[pin]
        task: F,
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Some((caller, waker)) = this.caller
            && caller.task.will_wake(context.waker())
        {
            return this.task.poll(&mut Context::from_waker(waker));
        }
        let new = Arc::new(Caller {
            task: context.waker().clone(),
            bell: Arc::clone(&this.bell.shared),
        });
        let (_, waker) = this.caller.insert((Arc::clone(&new), Waker::from(new)));
        this.task.poll(&mut Context::from_waker(waker))
    }
}

impl Shared {
    fn word(&self) -> MutexGuard<'_, Word> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes one task: at once on its own thread, by the bell from another.
struct Caller {
    task: Waker,
    bell: Arc<Shared>,
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if thread::current().id() == self.bell.thread {
            self.task.wake_by_ref();
            return;
        }
        let listener = {
            let mut word = self.bell.word();
            word.tasks.push(self.task.clone());
            word.listener.take()
        };
        if let Some(listener) = listener {
            listener.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::net::wakes::Wakes;

    /// A guarded task that waits for a word, polled once.
    fn waiting(bell: &Bell, count: &Arc<Wakes>) -> (oneshot::Sender<()>, impl Future) {
        let (sender, receiver) = oneshot::channel::<()>();
        let mut task = Box::pin(bell.guard(receiver));
        let waker = Waker::from(Arc::clone(count));
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        (sender, task)
    }

    #[test]
    fn other_threads_ring_once_for_all_and_the_tasks_are_woken_when_the_bell_is_answered() {
        let bell = Bell::new();
        let (rings, wakes) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
        let answering = Box::pin(bell.answer());
        let mut answering = answering;
        let listener = Waker::from(Arc::clone(&rings));
        let mut context = Context::from_waker(&listener);
        assert!(answering.as_mut().poll(&mut context).is_pending());
        let (senders, _tasks): (Vec<_>, Vec<_>) = (0..3).map(|_| waiting(&bell, &wakes)).unzip();
        thread::spawn(move || {
            senders
                .into_iter()
                .for_each(|sender| sender.send(()).unwrap())
        })
        .join()
        .unwrap();
        assert_eq!((rings.so_far(), wakes.so_far()), (1, 0));
        assert!(answering.as_mut().poll(&mut context).is_pending());
        assert_eq!((rings.so_far(), wakes.so_far()), (1, 3));
    }

    #[test]
    fn word_that_comes_before_anybody_listens_is_not_lost() {
        let bell = Bell::new();
        let wakes = Arc::new(Wakes::default());
        let (sender, _task) = waiting(&bell, &wakes);
        thread::spawn(move || sender.send(()).unwrap())
            .join()
            .unwrap();
        assert_eq!(wakes.so_far(), 0);
        let mut answering = Box::pin(bell.answer());
        let mut context = Context::from_waker(Waker::noop());
        assert!(answering.as_mut().poll(&mut context).is_pending());
        assert_eq!(wakes.so_far(), 1);
    }

    #[test]
    fn on_its_own_thread_a_task_is_woken_at_once() {
        let bell = Bell::new();
        let wakes = Arc::new(Wakes::default());
        let (sender, _task) = waiting(&bell, &wakes);
        sender.send(()).unwrap();
        assert_eq!(wakes.so_far(), 1);
        assert!(bell.shared.word().tasks.is_empty());
    }
}
