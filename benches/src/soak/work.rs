//! The workers: each does its share at an even pace, and tries again what a restart of the broker has cut off.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{groups, records, topics};
use crate::load::{nanos, rest};
use crate::{Client, Outcome};

/// How much is to be done, and in what time.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// All of it takes so long.
    pub duration: Duration,
    /// Topics made and deleted.
    pub topics: u64,
    /// Times that a member joins its group, and leaves it.
    pub joins: u64,
    /// Bytes of records.
    pub bytes: u64,
}

/// What was done so far.
#[derive(Debug, Default)]
pub struct Done {
    /// Topics made and deleted.
    pub topics: AtomicU64,
    /// Joins, each with a commit and a leave.
    pub joins: AtomicU64,
    /// Bytes of records acknowledged.
    pub bytes: AtomicU64,
    /// Records that a consumer followed, without a gap but for those that retention took.
    pub followed: AtomicU64,
}

/// Workers under way.
#[derive(Debug)]
pub struct Work {
    scene: Scene,
    workers: Vec<JoinHandle<Result<(), String>>>,
}

/// What workers share.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) plan: Plan,
    pub(super) done: Arc<Done>,
    address: Arc<Mutex<SocketAddr>>,
    stopping: Arc<AtomicBool>,
}

impl Work {
    /// Makes the topics and begins.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn begin(address: SocketAddr, plan: Plan) -> Outcome<Self> {
        let scene = Scene {
            plan,
            done: Arc::default(),
            address: Arc::new(Mutex::new(address)),
            stopping: Arc::default(),
        };
        records::create_topics(&mut Client::connect(address)?)?;
        let begin = |work: fn(&Scene) -> Outcome<()>| {
            let scene = scene.clone();
            std::thread::spawn(move || work(&scene).map_err(|error| error.to_string()))
        };
        let workers = vec![
            begin(topics::make_and_delete),
            begin(groups::join_and_leave),
            begin(records::turn_over),
            begin(records::rewrite_keys),
            begin(records::follow),
        ];
        Ok(Self { scene, workers })
    }

    /// What was done so far.
    #[must_use]
    pub fn done(&self) -> &Done {
        &self.scene.done
    }

    /// The broker is to be found here from now on.
    pub fn moved_to(&self, address: SocketAddr) {
        *self.scene.held_address() = address;
    }

    /// Whether a worker has given up.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Lets everybody finish what they are at.
    ///
    /// # Errors
    /// What went wrong for one of them.
    pub fn end(self) -> Outcome<()> {
        self.scene.stopping.store(true, Ordering::SeqCst);
        for worker in self.workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(())
    }
}

impl Scene {
    fn held_address(&self) -> std::sync::MutexGuard<'_, SocketAddr> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to end.
    pub(super) fn is_over(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Does `turn` so many times, evenly over the plan's duration. A turn that fails is done again, on a new connection,
    /// for as long as a restart may take.
    pub(super) fn keep_pace(
        &self,
        turns: u64,
        mut turn: impl FnMut(&mut Client, u64) -> Outcome<()>,
    ) -> Outcome<()> {
        let begin = nanos();
        let length = u64::try_from(self.plan.duration.as_nanos())?;
        let mut client = None;
        for number in 0..turns {
            let due = begin + length / turns.max(1) * number;
            while nanos() < due {
                if self.is_over() {
                    return Ok(());
                }
                rest(Duration::from_nanos(
                    (due - nanos().min(due)).min(WAIT_NANOS_MAX),
                ));
            }
            self.insist(&mut client, |client| turn(client, number))?;
            if self.is_over() {
                return Ok(());
            }
        }
        while !self.is_over() {
            rest(Duration::from_nanos(WAIT_NANOS_MAX));
        }
        Ok(())
    }

    /// Does it until it succeeds.
    pub(super) fn insist<T>(
        &self,
        client: &mut Option<Client>,
        mut act: impl FnMut(&mut Client) -> Outcome<T>,
    ) -> Outcome<T> {
        let begin = nanos();
        loop {
            let connected = match client.take() {
                Some(client) => Ok(client),
                None => Client::connect(*self.held_address()),
            };
            let acted = connected.and_then(|mut connected| {
                let done = act(&mut connected)?;
                *client = Some(connected);
                Ok(done)
            });
            match acted {
                Err(error) if nanos() - begin > PATIENCE_NANOS => return Err(error),
                Err(_) => rest(Duration::from_millis(20)),
                Ok(done) => return Ok(done),
            }
        }
    }
}

const WAIT_NANOS_MAX: u64 = 50_000_000;
/// Longer than any restart.
const PATIENCE_NANOS: u64 = 30_000_000_000;

#[cfg(test)]
mod tests {
    use millrace_server::Server;
    use millrace_server::config::{Sources, load};

    use super::*;

    /// The short form of `--bin soak`, without what takes long to judge.
    #[test]
    fn everyday_life_goes_on_without_a_fault() {
        let _turn = crate::in_turn();
        let directory = tempfile::tempdir().unwrap();
        let overrides = [
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
            format!("log.dirs={}", directory.path().display()),
            "group.initial.rebalance.delay.ms=0".to_owned(),
        ];
        let sources = Sources {
            file: None,
            environment: Vec::new(),
            overrides: overrides.to_vec(),
        };
        let broker = Server::start(load(&sources).unwrap()).unwrap();
        let plan = Plan {
            duration: Duration::from_secs(2),
            topics: 10,
            joins: 20,
            bytes: 8 << 20,
        };
        let work = Work::begin(broker.addresses.first().unwrap().1, plan).unwrap();
        let done = Arc::clone(&work.scene.done);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let begin = nanos();
        while count(&done.topics) < 10 || count(&done.joins) < 20 || count(&done.bytes) < 6 << 20 {
            assert!(!work.has_failed(), "{:?}", work.end());
            assert!(nanos() - begin < 300_000_000_000, "{done:?}");
            rest(Duration::from_millis(20));
        }
        work.end().unwrap();
        assert!(count(&done.followed) > 0, "{done:?}");
        assert!(broker.stop());
    }
}
