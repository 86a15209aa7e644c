//! Starts the shards' threads: each gets its core, its ring, its runtime, and the server's task beside its loop.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use super::gateway::{Gateway, Peers, Way};
use super::helm::{Helm, Tackle};
use super::jobs::{JOBS_OUT_MAX, REPLAYS_OUT_MAX, UNPACKING_OUT_MAX};
use super::lookups::SEARCHES_OUT_MAX;
use super::router::ShardIndex;
use super::run::Loop;
use super::step::{Shard, ShardSettings};
use crate::control::ControlHandle;
use crate::io::{self, Clock, IoBackend, IoError, LocalRing, Random, Ring};
use crate::maintenance::{Done, DoomedDirectory, JobId, PoolHandle};

/// What the server runs on every shard's thread: it gets the thread's gateway and ends when the server has finished
/// with the connections of that thread.
pub type ShardTask = Arc<dyn Fn(Gateway) -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// Where and how the shards run.
pub(crate) struct Seat {
    /// The cores to pin to: all that are ours, the first of them for the first shard; empty for none.
    pub(crate) cores: Vec<usize>,
    pub(crate) backend: IoBackend,
    pub(crate) clock: Clock,
    pub(crate) control: ControlHandle,
    pub(crate) pool: PoolHandle,
    pub(crate) task: ShardTask,
}

/// The running shards.
#[derive(Debug)]
pub struct Shards {
    threads: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<bool, IoError>>,
}

impl Shards {
    /// Starts one thread per entry of `settings`. The first unlinks what is `doomed`.
    ///
    /// # Errors
    /// The system gives no thread, no ring or no runtime; those started already are stopped.
    pub(crate) fn start(
        settings: Vec<ShardSettings>,
        mut doomed: Vec<DoomedDirectory>,
        seat: &Seat,
    ) -> Result<Self, IoError> {
        let (peers, owns): (Vec<_>, Vec<_>) = settings
            .into_iter()
            .map(|settings| way(settings, std::mem::take(&mut doomed), seat))
            .unzip();
        let peers: Peers = peers.into();
        let mut shards = Self {
            threads: Vec::with_capacity(peers.len()),
        };
        for (index, own) in owns.into_iter().enumerate() {
            match start_one(ShardIndex(index), Arc::clone(&peers), own, seat) {
                Ok(running) => shards.threads.push(running),
                Err(error) => {
                    shards.stop();
                    return Err(error);
                }
            }
        }
        Ok(shards)
    }

    /// Stops all shards. True when every log was closed in order.
    pub fn stop(self) -> bool {
        let (stops, threads): (Vec<_>, Vec<_>) = self
            .threads
            .into_iter()
            .map(|running| (running.stop, running.thread))
            .unzip();
        for stop in stops {
            // A shard that has gone already has been reported.
            let _ = stop.send(());
        }
        let mut in_order = true;
        for thread in threads {
            in_order &= matches!(thread.join(), Ok(Ok(true)));
        }
        in_order
    }
}

/// What a shard's own thread needs of it.
struct Own {
    helm: Arc<Helm>,
    results: mpsc::Receiver<(JobId, Done)>,
}

/// A shard at its helm, with the ways to it, and what its jobs come to.
fn way(settings: ShardSettings, doomed: Vec<DoomedDirectory>, seat: &Seat) -> (Way, Own) {
    let (mailbox, commands) = mpsc::channel(MAILBOX_LENGTH);
    let apart = UNPACKING_OUT_MAX + SEARCHES_OUT_MAX + REPLAYS_OUT_MAX;
    let (results_sender, results) = mpsc::channel(JOBS_OUT_MAX + apart + 1);
    let now = seat.clock.now();
    let mut shard = Shard::new(settings, now);
    shard.take_over(doomed, now);
    let tackle = Tackle {
        clock: seat.clock.clone(),
        image: seat.control.watch(),
        pool: seat.pool.clone(),
        results: results_sender,
    };
    let helm = Arc::new(Helm::new(shard, commands, tackle));
    (
        Way {
            mailbox,
            helm: Some(Arc::clone(&helm)),
        },
        Own { helm, results },
    )
}

fn start_one(shard: ShardIndex, peers: Peers, own: Own, seat: &Seat) -> Result<Running, IoError> {
    let (stop, stopped) = oneshot::channel();
    let (ready, started) = std::sync::mpsc::channel();
    let ShardIndex(index) = shard;
    let Own { helm, results } = own;
    let core = seat.cores.get(index).copied();
    let (backend, clock) = (seat.backend.clone(), seat.clock.clone());
    let (control, task) = (seat.control.clone(), Arc::clone(&seat.task));
    let roaming = seat.cores.clone();
    let body = move || {
        if let Some(Err(error)) = core.map(io::pin_to) {
            tracing::warn!(shard = index, %error, "runs unpinned");
        }
        let failed = |error| IoError::new("start", std::path::Path::new("tokio"), error);
        let (parked, unparked) = (Arc::clone(&helm), Arc::clone(&helm));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name("aside")
            .max_blocking_threads(ASIDE_THREADS_MAX)
            .on_thread_start(move || {
                io::run_when_idle();
                // It has its maker's core only, if that is pinned; there it would run, too, just later.
                let _ = io::let_roam(&roaming);
            })
            .on_thread_park(move || parked.sleeps(true))
            .on_thread_unpark(move || unparked.sleeps(false))
            .build_local(LocalOptions::default())
            .map_err(failed)?;
        runtime.block_on(async move {
            let ring = LocalRing::new(Ring::open(&backend)?)?;
            let image = control.watch();
            let gateway = Gateway::new(
                shard,
                peers,
                control.clone(),
                ring.clone(),
                clock.clone(),
                Random::system(),
            );
            let shard_loop = Loop {
                helm,
                clock,
                ring,
                image,
                control,
                results,
                stop: stopped,
            };
            let server = spawn_local(task(gateway));
            // The starter waits for this word, so it is there to hear it.
            let _ = ready.send(());
            // A task as the connections are: waking what the runtime blocks on costs it one more look at the sockets.
            let in_order = spawn_local(shard_loop.run()).await;
            server.abort();
            in_order.map_err(|error| failed(error.into()))
        })
    };
    let name = format!("shard-{index}");
    let thread = std::thread::Builder::new()
        .name(name.clone())
        .spawn(body)
        .map_err(|error| IoError::new("start a thread", std::path::Path::new(&name), error))?;
    match started.recv() {
        Ok(()) => Ok(Running { stop, thread }),
        Err(_) => match thread.join() {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => {
                let reason = std::io::Error::other("the thread ended as it began");
                Err(IoError::new(
                    "start a thread",
                    std::path::Path::new(&name),
                    reason,
                ))
            }
        },
    }
}

/// Pieces of work of one shard that are done aside at the same time.
const ASIDE_THREADS_MAX: usize = 2;

/// How many commands may wait for a shard; senders wait for room.
const MAILBOX_LENGTH: usize = 1_024;
