//! The threads inside: a few workers that perform tasks by blocking, for where io_uring is forbidden.
//!
//! Same promises as the ring, more context switches. Workers start when work finds none of them idle.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::EventFd;

use super::action::{Completion, Job};
use super::queue::Queue;

/// A small pool and what it has been given.
pub(super) struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Rung for every job, and for the end.
    work: Condvar,
    /// Written for every completion.
    event: Arc<EventFd>,
}

struct State {
    jobs: Queue,
    done: VecDeque<Completion>,
    /// Workers that wait for a job.
    idle: usize,
    closing: bool,
}

impl Threads {
    pub(super) fn new(event: Arc<EventFd>) -> Self {
        let state = State {
            jobs: Queue::new(READING_AHEAD_MAX),
            done: VecDeque::new(),
            idle: 0,
            closing: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            event,
        };
        Self {
            shared: Arc::new(shared),
            workers: Vec::new(),
        }
    }

    /// Queues the job for the next free worker.
    pub(super) fn submit(&mut self, job: Job) {
        let mut state = self.shared.lock();
        state.jobs.push(job);
        let short = state.jobs.ready() > state.idle;
        drop(state);
        if short && self.workers.len() < WORKERS_MAX {
            let shared = self.shared.clone();
            let worker = thread::Builder::new()
                .name("io-worker".into())
                .spawn(move || shared.work());
            match worker {
                Ok(worker) => self.workers.push(worker),
                // Without a single worker nobody else would do it.
                Err(_) if self.workers.is_empty() => self.shared.work_once(),
                Err(_) => {}
            }
        }
        self.shared.work.notify_one();
    }

    /// Moves what has completed to `done`.
    pub(super) fn reap(&mut self, done: &mut VecDeque<Completion>) {
        done.append(&mut self.shared.lock().done);
    }
}

impl Drop for Threads {
    /// Waits for the jobs under way; those that have not begun never do.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        let never_begun = state.jobs.give_up();
        drop(state);
        drop(never_begun);
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let mut state = self.lock();
            while state.jobs.ready() == 0 && !state.closing {
                state.idle += 1;
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
            if state.closing {
                return;
            }
            drop(state);
            self.work_once();
        }
    }

    fn work_once(&self) {
        let Some(job) = self.lock().jobs.begin() else {
            return;
        };
        let reads_ahead = job.reads_ahead();
        let completion = Completion {
            ticket: job.ticket,
            result: job.task.finish(),
        };
        let mut state = self.lock();
        state.jobs.ended(reads_ahead);
        state.done.push_back(completion);
        drop(state);
        let _ = self.event.write(1);
    }

    /// No job runs under the lock, so what a panic leaves behind is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enough for a flush and a cold read beside the writes; each ring has its own.
const WORKERS_MAX: usize = 4;
/// One is left for what commits and lookups wait for.
const READING_AHEAD_MAX: usize = WORKERS_MAX - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::action::Ticket;
    use crate::io::queue::tests::{file, read_ahead, sync};

    #[test]
    fn a_sync_waits_for_no_reading_ahead_and_one_worker_does_none() {
        let event = Arc::new(EventFd::new().unwrap());
        let (file, mut threads) = (file(), Threads::new(event));
        for number in 0..9 {
            let job = read_ahead(number, &file);
            threads.shared.lock().jobs.push(job);
        }
        threads.shared.lock().jobs.push(sync(9, &file));
        // As the next worker that is free.
        threads.shared.work_once();
        let mut done = VecDeque::new();
        threads.reap(&mut done);
        let done: Vec<Ticket> = done.iter().map(|completion| completion.ticket).collect();
        assert_eq!(done, [Ticket(9)]);
        let begun = std::iter::from_fn(|| threads.shared.lock().jobs.begin());
        assert_eq!(begun.count(), WORKERS_MAX - 1);
    }
}
