//! One thread's ring, shared by its shard loop and its connection tasks.
//!
//! The loop submits with tickets, awaits [`LocalRing::ready`] and reaps; a task awaits [`LocalRing::perform`]. Whoever
//! reaps, or waits in `ready`, takes every completion from the kernel, wakes the tasks whose results came and keeps
//! the loop's for the loop. So the loop must be waiting or reaping for a task to go on.

#![expect(
    unsafe_code,
    reason = "tokio watches a descriptor only on our word that it stays open"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use nix::sys::eventfd::EventFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use super::action::{Action, Completion, Outcome, Ticket};
use super::error::IoError;
use super::ring::Ring;

/// A handle on the thread's ring; clones share it and stay on the thread.
#[derive(Clone)]
pub struct LocalRing {
    shared: Rc<Shared>,
}

struct Shared {
    state: RefCell<State>,
    /// The ring's event; `None` for a simulated ring, which needs turns instead.
    event: Option<AsyncFd<Arc<EventFd>>>,
    /// Wakes `ready` when something became reapable without the kernel.
    arrived: Notify,
}

struct State {
    ring: Ring,
    /// Completions of the shard loop, waiting for it.
    done: Vec<Completion>,
    /// Tasks that wait, by ticket. One whose task has gone stays until its completion comes.
    waiters: BTreeMap<Ticket, oneshot::Sender<Result<Outcome, IoError>>>,
    /// The next ticket of a task; counts up from [`FIRST_TASK_TICKET`].
    next_task: u64,
}

impl LocalRing {
    /// Shares `ring`. Inside a tokio runtime with I/O enabled, unless the ring is simulated.
    pub fn new(ring: Ring) -> Result<Self, IoError> {
        let event = ring.event().map(watched).transpose()?;
        let state = State {
            ring,
            done: Vec::new(),
            waiters: BTreeMap::new(),
            next_task: FIRST_TASK_TICKET,
        };
        let shared = Shared {
            state: RefCell::new(state),
            event,
            arrived: Notify::new(),
        };
        Ok(Self {
            shared: Rc::new(shared),
        })
    }

    /// Begins `action` for the shard loop; the completion comes by [`LocalRing::reap`]. The ticket must lie in the
    /// lower half of the numbers.
    pub fn submit(&self, ticket: Ticket, action: Action) {
        assert!(
            ticket.0 < FIRST_TASK_TICKET,
            "{ticket:?} belongs to the tasks' half"
        );
        let mut state = self.shared.state.borrow_mut();
        state.ring.submit(ticket, action);
        // Nothing outside this thread announces what a ring without an event, or without waiting, has done.
        if self.shared.event.is_none() || state.ring.has_done() {
            self.shared.arrived.notify_one();
        }
    }

    /// Appends every completion of the shard loop there is to `out`.
    pub fn reap(&self, out: &mut Vec<Completion>) {
        self.take_completions();
        out.append(&mut self.shared.state.borrow_mut().done);
    }

    /// Waits until [`LocalRing::reap`] has something for the shard loop; wakes the tasks meanwhile. May be dropped at
    /// any time; one caller at a time.
    pub async fn ready(&self) {
        loop {
            let before = self.in_flight();
            if self.take_completions() {
                return;
            }
            let Some(event) = &self.shared.event else {
                // A simulated ring goes on by turns; one without work, or whose machine crashed, stands still.
                if self.in_flight() == before {
                    self.shared.arrived.notified().await;
                }
                continue;
            };
            tokio::select! {
                biased;
                guard = event.readable() => match guard {
                    // Cleared before the completions are taken: a later signal is a new edge.
                    Ok(mut guard) => guard.clear_ready(),
                    // The runtime is shutting down, and this future with it.
                    Err(_) => future::pending().await,
                },
                () = self.shared.arrived.notified() => {}
            }
        }
    }

    /// Actions submitted whose completion has not been taken from the ring, those of tasks included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.state.borrow().ring.in_flight()
    }

    /// Performs `action` for a connection's task. Returns without yielding when nothing had to be waited for; else as
    /// soon as the shard loop waits or reaps after the completion. Dropped early, the action still runs to its end.
    pub async fn perform(&self, action: Action) -> Result<Outcome, IoError> {
        let (sender, receiver) = oneshot::channel();
        let file = action.file().clone();
        {
            let mut state = self.shared.state.borrow_mut();
            let ticket = Ticket(state.next_task);
            state.next_task = state.next_task.checked_add(1).unwrap_or(FIRST_TASK_TICKET);
            if let Some(result) = state.ring.start(ticket, action) {
                return result;
            }
            state.waiters.insert(ticket, sender);
        }
        if self.shared.event.is_none() {
            self.shared.arrived.notify_one();
        }
        let gone = |_| {
            Err(IoError::new(
                "await",
                file.path(),
                std::io::ErrorKind::Interrupted,
            ))
        };
        receiver.await.unwrap_or_else(gone)
    }

    /// Empties the ring; true when the loop has something to reap.
    fn take_completions(&self) -> bool {
        let mut arrived = Vec::new();
        let mut state = self.shared.state.borrow_mut();
        state.ring.reap(&mut arrived);
        for completion in arrived {
            if completion.ticket.0 < FIRST_TASK_TICKET {
                state.done.push(completion);
            } else if let Some(waiter) = state.waiters.remove(&completion.ticket) {
                // A task that gave up does not listen.
                let _ = waiter.send(completion.result);
            }
        }
        !state.done.is_empty()
    }
}

fn watched(event: Arc<EventFd>) -> Result<AsyncFd<Arc<EventFd>>, IoError> {
    // SAFETY: the `AsyncFd` owns a count of the `EventFd`, which closes its one descriptor only when the last count is
    // gone and never changes it.
    let watched = unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) };
    watched.map_err(|error| IoError::new("epoll", Path::new("eventfd"), error.into_parts().1))
}

/// Tickets from here on are the tasks'.
const FIRST_TASK_TICKET: u64 = 1 << 63;
