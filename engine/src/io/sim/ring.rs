//! The sim inside of a ring: actions wait until somebody reaps, and are then performed in an order of the seed's.

use std::collections::VecDeque;

use super::Sim;
use crate::io::action::{Completion, Job, Outcome, Task};
use crate::io::error::IoError;

/// A ring's place in the world; void after a crash.
pub(in crate::io) struct SimRing {
    sim: Sim,
    id: u64,
}

/// A job that waits for its turn.
pub(super) struct Queued {
    job: Job,
    /// How many changes of its file there were when it was submitted: a sync promises no later ones.
    changes: u64,
}

impl Queued {
    fn new(job: Job) -> Self {
        let changes = job.task.file().simulated_changes();
        Self { job, changes }
    }

    pub(super) fn perform(self) -> Result<Outcome, IoError> {
        match self.job.task {
            Task::Sync { file } => file.sync_simulated(self.changes).map(|()| Outcome::Synced),
            task => task.finish(),
        }
    }
}

impl SimRing {
    pub(super) fn new(sim: Sim) -> Self {
        let mut world = sim.lock();
        let id = world.new_id();
        world.rings.insert(id, Vec::new());
        drop(world);
        Self { sim, id }
    }

    /// Queues the job. After a crash nobody will ever do it.
    pub(in crate::io) fn submit(&mut self, job: Job) {
        let queued = Queued::new(job);
        let mut world = self.sim.lock();
        let refused = match world.rings.get_mut(&self.id) {
            Some(jobs) => {
                jobs.push(queued);
                None
            }
            None => Some(queued),
        };
        // Only then may the job's file go.
        drop(world);
        drop(refused);
    }

    /// Performs between one and all of the queued jobs.
    pub(in crate::io) fn turn(&mut self, done: &mut VecDeque<Completion>) {
        for queued in self.chosen() {
            let completion = Completion {
                ticket: queued.job.ticket,
                result: queued.perform(),
            };
            let mut world = self.sim.lock();
            world.note((completion.ticket, completion.result.is_ok()));
            done.push_back(completion);
        }
    }

    fn chosen(&self) -> Vec<Queued> {
        let mut world = self.sim.lock();
        let mut jobs = world
            .rings
            .get_mut(&self.id)
            .map(std::mem::take)
            .unwrap_or_default();
        let mut chosen = Vec::new();
        let mut below = |end: usize| usize::try_from(world.random.below(end as u64)).unwrap_or(0);
        let count = if jobs.is_empty() {
            0
        } else {
            1 + below(jobs.len())
        };
        for _ in 0..count {
            chosen.push(jobs.swap_remove(below(jobs.len())));
        }
        if let Some(left) = world.rings.get_mut(&self.id) {
            *left = jobs;
        }
        chosen
    }
}

impl Drop for SimRing {
    /// As with the real ring: what has not begun never does.
    fn drop(&mut self) {
        let jobs = self.sim.lock().rings.remove(&self.id);
        drop(jobs);
    }
}
