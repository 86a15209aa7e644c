//! The threads inside: a few workers that perform tasks by blocking, for where io_uring is forbidden.
//!
//! Same promises as the ring, more context switches. Workers start when work finds none of them idle.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::EventFd;

use super::action::{Completion, Job};

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

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    done: VecDeque<Completion>,
    /// Workers that wait for a job.
    idle: usize,
    closing: bool,
}

impl Threads {
    pub(super) fn new(event: Arc<EventFd>) -> Self {
        let shared = Shared {
            state: Mutex::default(),
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
        state.jobs.push_back(job);
        let short = state.jobs.len() > state.idle;
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
        let never_begun = std::mem::take(&mut state.jobs);
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
            while state.jobs.is_empty() && !state.closing {
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
        let Some(job) = self.lock().jobs.pop_front() else {
            return;
        };
        let completion = Completion {
            ticket: job.ticket,
            result: job.task.finish(),
        };
        self.lock().done.push_back(completion);
        let _ = self.event.write(1);
    }

    /// No job runs under the lock, so what a panic leaves behind is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enough for a flush and a cold read beside the writes; each ring has its own.
const WORKERS_MAX: usize = 4;
