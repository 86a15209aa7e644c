//! The sim inside of a ring: actions wait until somebody reaps, and are then performed in an order of the seed's.

use std::collections::VecDeque;

use super::Sim;
use crate::io::action::{Completion, Job};

/// A ring's place in the world; void after a crash.
pub(in crate::io) struct SimRing {
    sim: Sim,
    id: u64,
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
        let mut world = self.sim.lock();
        let refused = match world.rings.get_mut(&self.id) {
            Some(jobs) => {
                jobs.push(job);
                None
            }
            None => Some(job),
        };
        // Only then may the job's file go.
        drop(world);
        drop(refused);
    }

    /// Performs between one and all of the queued jobs.
    pub(in crate::io) fn turn(&mut self, done: &mut VecDeque<Completion>) {
        for job in self.chosen() {
            let completion = Completion {
                ticket: job.ticket,
                result: job.task.finish(),
            };
            let mut world = self.sim.lock();
            world.note((completion.ticket, completion.result.is_ok()));
            done.push_back(completion);
        }
    }

    fn chosen(&self) -> Vec<Job> {
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
