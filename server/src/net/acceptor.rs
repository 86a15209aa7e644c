//! Accepts connections on a thread of its own and gives each to the shard with the fewest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, net};

use millrace_engine::shard::ShardIndex;
use millrace_engine::types::Monotonic;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::admission::{Admission, Admissions};
use super::listening::Bound;
use super::loads::{Load, Loads, Permille};
use crate::api::Belongings;
use crate::config::Listener;

/// A connection on its way to its shard.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: net::TcpStream,
    pub(super) peer: net::SocketAddr,
    pub(super) listener: Arc<Listener>,
    pub(super) admission: Admission,
    /// Of one that comes from another shard.
    pub(super) belongings: Belongings,
}

/// The entrances of the shards, entered by each shard itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doors {
    doors: Arc<Mutex<Vec<Door>>>,
    loads: Arc<Mutex<Loads>>,
}

#[derive(Clone, Debug)]
struct Door {
    shard: ShardIndex,
    arrivals: mpsc::Sender<Arrival>,
    /// Connections of this shard, those on their way included.
    load: Arc<AtomicUsize>,
    thread: RuntimeMetrics,
}

/// A place behind another shard's door.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) shard: ShardIndex,
    pub(super) place: mpsc::OwnedPermit<Arrival>,
    pub(super) load: Arc<AtomicUsize>,
}

impl Doors {
    /// Opens the entrance of `shard`, on its thread; what comes in there is what the receiver yields.
    pub(super) fn open(&self, shard: ShardIndex) -> mpsc::Receiver<Arrival> {
        let (arrivals, receiver) = mpsc::channel(ARRIVALS_MAX);
        self.all().push(Door {
            shard,
            arrivals,
            load: Arc::default(),
            thread: Handle::current().metrics(),
        });
        receiver
    }

    /// Where `choose` has a connection go, by the loads of the threads, with its share of the load of the thread of `here`.
    pub(super) fn choose(
        &self,
        now: Monotonic,
        here: ShardIndex,
        choose: impl FnOnce(&[Load]) -> Option<(ShardIndex, Permille)>,
    ) -> Option<ShardIndex> {
        let mut loads = self.loads();
        let (there, share) = choose(loads.look(now, || self.busy()))?;
        loads.shift(here, there, share);
        Some(there)
    }

    /// A way to `shard` for a connection of another, unless there is no room now.
    pub(super) fn passage(&self, shard: ShardIndex, now: Monotonic) -> Option<Passage> {
        let door = self
            .all()
            .iter()
            .find(|door| door.shard == shard)
            .cloned()?;
        let place = door.arrivals.try_reserve_owned().ok()?;
        self.loads().begin_anew(now, self.busy());
        Some(Passage {
            shard,
            place,
            load: door.load,
        })
    }

    /// For how long in all each thread has not slept.
    fn busy(&self) -> Vec<(ShardIndex, Duration)> {
        let busy = |door: &Door| (door.shard, door.thread.worker_total_busy_duration(0));
        self.all().iter().map(busy).collect()
    }

    fn loads(&self) -> MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn least_loaded(&self) -> Option<Door> {
        self.all()
            .iter()
            .min_by_key(|door| door.load.load(Ordering::Relaxed))
            .cloned()
    }
}

/// The running acceptor.
#[derive(Debug)]
pub(crate) struct Acceptor {
    thread: JoinHandle<()>,
}

impl Acceptor {
    /// Starts accepting; ends when `stopping` turns true. `listeners` are in the order that `admissions` knows, and
    /// `upkeep` runs meanwhile: it keeps the limits up to date.
    ///
    /// # Errors
    /// The system gives no thread or no event queue.
    pub(crate) fn start(
        listeners: Vec<Bound>,
        doors: Doors,
        admissions: Admissions,
        upkeep: impl Future<Output = ()> + Send + 'static,
        stopping: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let upkeep = tokio::spawn(upkeep);
                    accept_all(listeners, doors, admissions, stopping).await;
                    upkeep.abort();
                });
                // Upkeep may be looking up names, which cannot be broken off: that takes as long as it takes.
                runtime.shutdown_background();
            })?;
        Ok(Self { thread })
    }

    /// Waits for its end.
    pub(crate) fn join(self) {
        // A panic has been reported by the panic hook, and there is nothing left to do here.
        let _ = self.thread.join();
    }
}

async fn accept_all(
    listeners: Vec<Bound>,
    doors: Doors,
    admissions: Admissions,
    mut stopping: watch::Receiver<bool>,
) {
    let mut loops = JoinSet::new();
    for (place, bound) in listeners.into_iter().enumerate() {
        for socket in bound.sockets {
            match TcpListener::from_std(socket) {
                Ok(socket) => {
                    let listener = Arc::clone(&bound.listener);
                    let (doors, admissions) = (doors.clone(), admissions.clone());
                    loops.spawn(accept(socket, place, listener, doors, admissions));
                }
                Err(error) => {
                    tracing::error!(listener = bound.listener.name, %error, "a listener is lost");
                }
            }
        }
    }
    // The sender lives as long as the broker; either way it is time to end.
    let _ = stopping.wait_for(|&stopping| stopping).await;
}

async fn accept(
    socket: TcpListener,
    place: usize,
    listener: Arc<Listener>,
    doors: Doors,
    admissions: Admissions,
) {
    let mut is_failing = false;
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Without descriptors the connection stays in the backlog and accept fails at once, again and again.
                if !is_failing {
                    tracing::warn!(listener = listener.name, %error, "connections cannot be accepted");
                }
                is_failing = true;
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        is_failing = false;
        // At max.connections, and above the rate, it waits here, and those behind it in the backlog.
        let seat = admissions.seat(place).await;
        let Some(door) = doors.least_loaded() else {
            return;
        };
        let admission = match seat.admit(peer.ip(), door.load) {
            Ok(admission) => admission,
            Err(max) => {
                tracing::debug!(%peer, max, "more connections than max.connections.per.ip");
                continue;
            }
        };
        let Ok(stream) = prepared(stream) else {
            continue;
        };
        let arrival = Arrival {
            stream,
            peer,
            listener: Arc::clone(&listener),
            admission,
            belongings: Belongings::default(),
        };
        if door.arrivals.send(arrival).await.is_err() {
            return;
        }
    }
}

/// The socket ready for another thread. One that fails here is one whose client has gone.
fn prepared(stream: TcpStream) -> io::Result<net::TcpStream> {
    stream.set_nodelay(true)?;
    // As in Kafka: whose machine is gone is found out in the end, whatever is waited for.
    SockRef::from(&stream).set_keepalive(true)?;
    stream.into_std()
}

/// Connections that may wait at one door.
const ARRIVALS_MAX: usize = 64;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use millrace_engine::io::Clock;
    use millrace_engine::types::Timestamp;

    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn the_end_does_not_wait_for_upkeep_that_looks_up_names() {
        let (begins, begun) = std::sync::mpsc::channel();
        let (found, finds) = std::sync::mpsc::channel::<()>();
        let upkeep = async move {
            let look_up = move || {
                begins.send(()).unwrap();
                let _ = finds.recv();
            };
            let _ = tokio::task::spawn_blocking(look_up).await;
        };
        let config = load(&Sources::default()).unwrap().config;
        let (clock, _hands) = Clock::sim(Timestamp(0));
        let admissions = Admissions::new(&config.sockets, &config.listeners, clock);
        let (stop, stopping) = watch::channel(false);
        let acceptor =
            Acceptor::start(Vec::new(), Doors::default(), admissions, upkeep, stopping).unwrap();
        begun.recv().unwrap();
        stop.send_replace(true);
        let (ends, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            acceptor.join();
            let _ = ends.send(());
        });
        assert!(ended.recv_timeout(Duration::from_secs(10)).is_ok());
        drop(found);
    }

    #[tokio::test]
    async fn the_system_looks_whether_clients_are_still_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let _client = client.await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let stream = prepared(accepted).unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap());
        assert!(stream.nodelay().unwrap());
    }
}
