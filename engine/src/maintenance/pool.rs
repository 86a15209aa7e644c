//! The threads that run jobs: few, at low priority, behind bounded queues. Batches that have to be opened have threads of
//! their own: a recovery must not hold them up, nor they a roll. So have the search by time, which opens batches, too, and the
//! reading of coordinators, whose many slices would each wait behind recoveries.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::checkpoints::Checkpoints;
use super::job::{Done, Job, JobId};
use crate::io::{Disk, lower_priority};

/// A job and where its result goes. The sender keeps room for it: a shard has no more jobs out than its channel holds.
#[derive(Debug)]
struct Order {
    id: JobId,
    job: Job,
    results: mpsc::Sender<(JobId, Done)>,
}

/// The running pool. Stopped when every handle is gone.
#[derive(Debug)]
pub struct Pool {
    threads: Vec<JoinHandle<()>>,
}

/// A way to give the pool jobs.
#[derive(Clone, Debug)]
pub struct PoolHandle {
    about_files: SyncSender<Order>,
    about_batches: SyncSender<Order>,
    about_times: SyncSender<Order>,
    about_coordinators: SyncSender<Order>,
}

/// How many threads a pool has.
#[derive(Clone, Copy, Debug)]
pub struct PoolThreads {
    /// For the work on files.
    pub files: usize,
    /// For batches: each holds at most two unfolded ones.
    pub batches: usize,
    /// For searches by time: each holds at most one unfolded batch.
    pub searches: usize,
    /// For reading coordinators.
    pub replays: usize,
}

impl Pool {
    /// Starts threads on `disk`, with a queue of `queue_length_max` jobs for each kind.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        threads: PoolThreads,
        queue_length_max: usize,
        disk: &Disk,
        checkpoints: &Arc<Checkpoints>,
    ) -> std::io::Result<(Self, PoolHandle)> {
        let count = threads.files + threads.batches + threads.searches + threads.replays;
        let mut pool = Self {
            threads: Vec::with_capacity(count),
        };
        let mut queue = |name, count| pool.queue(name, count, queue_length_max, disk, checkpoints);
        let about_files = queue("maintain", threads.files)?;
        let about_batches = queue("unpack", threads.batches)?;
        let about_times = queue("search", threads.searches)?;
        let about_coordinators = queue("replay", threads.replays)?;
        let handle = PoolHandle {
            about_files,
            about_batches,
            about_times,
            about_coordinators,
        };
        Ok((pool, handle))
    }

    /// Starts the threads of one queue.
    fn queue(
        &mut self,
        name: &str,
        count: usize,
        length_max: usize,
        disk: &Disk,
        checkpoints: &Arc<Checkpoints>,
    ) -> std::io::Result<SyncSender<Order>> {
        let (orders, queue) = sync_channel::<Order>(length_max);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..count {
            let queue = Arc::clone(&queue);
            let disk = disk.clone();
            let checkpoints = Arc::clone(checkpoints);
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            let thread = thread.spawn(move || work(&queue, &disk, &checkpoints))?;
            self.threads.push(thread);
        }
        Ok(orders)
    }

    /// Waits until the threads have ended, which they do once every [`PoolHandle`] is gone and the queue is empty.
    pub fn join(self) {
        for thread in self.threads {
            // A panicked job has been reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl PoolHandle {
    /// Queues a job; its result comes over `results`. Gives the job back when the queue is full.
    ///
    /// # Errors
    /// The job, for a later try.
    pub fn order(
        &self,
        id: JobId,
        job: Job,
        results: &mpsc::Sender<(JobId, Done)>,
    ) -> Result<(), Box<Job>> {
        let order = Order {
            id,
            job,
            results: results.clone(),
        };
        let orders = match order.job {
            Job::Unpack(_) => &self.about_batches,
            Job::Lookup(_) => &self.about_times,
            Job::Replay(_) => &self.about_coordinators,
            _ => &self.about_files,
        };
        orders.try_send(order).map_err(|refused| match refused {
            TrySendError::Full(order) | TrySendError::Disconnected(order) => Box::new(order.job),
        })
    }
}

fn work(queue: &Mutex<Receiver<Order>>, disk: &Disk, checkpoints: &Checkpoints) {
    lower_priority();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Order { id, job, results }) = next else {
            return;
        };
        let done = job.run(disk, checkpoints);
        // The shard has gone: it is stopping, and what it did not wait for it did not need.
        let _ = results.blocking_send((id, done));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::GroupConfig;
    use crate::io::Sim;
    use crate::log::BatchScan;
    use crate::maintenance::{REPLAY_SLICE_BYTES, Replay};

    #[test]
    fn a_coordinator_that_is_read_keeps_no_thread_from_other_jobs() {
        let threads = PoolThreads {
            files: 1,
            batches: 0,
            searches: 0,
            replays: 0,
        };
        let (_pool, handle) =
            Pool::start(threads, 2, &Sim::new(1).disk(), &Arc::default()).unwrap();
        let (sender, mut results) = mpsc::channel(2);
        let (scan, config) = (BatchScan::of_nothing(), GroupConfig::default());
        let replay = Replay::new(scan, config, REPLAY_SLICE_BYTES);
        // Nobody takes it.
        let _ = handle.order(JobId(1), Job::Replay(Box::new(replay)), &sender);
        handle
            .order(JobId(2), Job::Measure(Vec::new()), &sender)
            .unwrap();
        let (id, _) = results.blocking_recv().unwrap();
        assert_eq!(id, JobId(2));
    }
}
