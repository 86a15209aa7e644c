//! What the connections of one shard's thread share: the engine's door, settings, budgets, producer ids, sessions.

use std::cell::{RefCell, RefMut};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millrace_engine::config::Overrides;
use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Gateway;
use tokio::sync::mpsc;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::fetch_session::FetchSessions;
use super::init_producer_id::ProducerIds;
use crate::config::{BrokerConfig, ConfigView};
use crate::net::{RefusalLog, RequestBudget, Reservation, Unread};

/// One thread's share of the server.
pub(crate) struct Frontend {
    gateway: Gateway,
    started: Arc<ConfigView>,
    settings: RefCell<Rc<Effective>>,
    sessions: RefCell<FetchSessions>,
    producer_ids: Mutex<ProducerIds>,
    /// For messages of very many elements, which take several times their frame's bytes.
    long_requests: RequestBudget,
    /// Answers that clients do not take.
    unread: Unread,
    /// What the log says of which addresses.
    refusals: RefCell<RefusalLog>,
    /// For answers that may be much longer than their requests.
    licenses: Arc<Semaphore>,
    /// What is still at shards, or the controller, of requests that nobody waits for any more. Each has its memory from a
    /// budget, which bounds them.
    left_behind: mpsc::UnboundedSender<LeftBehind>,
    /// Where that is taken over, until somebody does.
    to_take_over: RefCell<Option<mpsc::UnboundedReceiver<LeftBehind>>>,
}

/// Ends when shards and controller have let go of what a request brought, and gives back its memory then.
pub(crate) type LeftBehind = Pin<Box<dyn Future<Output = ()>>>;

/// The right to make an answer that may be much longer than its request.
pub(super) type License = OwnedSemaphorePermit;

/// The settings that hold: those of the start, with what clients changed since.
pub(crate) struct Effective {
    /// Typed, for those who obey them.
    pub(crate) config: BrokerConfig,
    /// By name, for those who describe and change them.
    pub(crate) view: ConfigView,
    /// The dynamic part, to see whether it is still true.
    cluster: Overrides,
    broker: Overrides,
    /// The image in which it was last found to be true.
    image_version: i64,
}

impl Frontend {
    /// The frontend of the thread that `gateway` belongs to, with the settings of the start.
    pub(crate) fn new(gateway: Gateway, started: Arc<ConfigView>) -> Self {
        let settings = Effective::new(&started, &gateway.image());
        let (shard, shards) = (gateway.shard().0, gateway.shard_count());
        let bytes = usize::try_from(settings.config.request_memory_bytes).unwrap_or(usize::MAX);
        let slots = usize::try_from(settings.config.sockets.fetch_sessions_max);
        let sessions = FetchSessions::new(share(slots.unwrap_or(0), shard, shards), shard, shards);
        let (left_behind, to_take_over) = mpsc::unbounded_channel();
        Self {
            gateway,
            started,
            settings: RefCell::new(Rc::new(settings)),
            sessions: RefCell::new(sessions),
            producer_ids: Mutex::default(),
            long_requests: RequestBudget::new(bytes),
            unread: Unread::new(bytes),
            refusals: RefCell::default(),
            licenses: Arc::new(Semaphore::new(LICENSES)),
            left_behind,
            to_take_over: RefCell::new(Some(to_take_over)),
        }
    }

    /// What requests leave behind, to be run: for one caller.
    pub(crate) fn take_over(&self) -> Option<mpsc::UnboundedReceiver<LeftBehind>> {
        self.to_take_over.take()
    }

    /// Has somebody else wait for what is still at shards or the controller.
    pub(super) fn leave_behind(&self, left: LeftBehind) {
        // When the thread ends, nobody takes it: neither is its memory wanted then.
        let _ = self.left_behind.send(left);
    }

    /// The door to the engine.
    pub(crate) const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The fetch sessions of this thread.
    pub(super) fn sessions(&self) -> RefMut<'_, FetchSessions> {
        self.sessions.borrow_mut()
    }

    /// The producer ids this thread may give out, for one request at a time.
    pub(super) async fn producer_ids(&self) -> MutexGuard<'_, ProducerIds> {
        self.producer_ids.lock().await
    }

    /// Whether a line about something that `address` did may be written to the log now; if so, how many were left out since the last.
    pub(crate) fn admit_line(&self, address: IpAddr) -> Option<u64> {
        let now = self.gateway.now().monotonic;
        self.refusals.borrow_mut().admit(address, now)
    }

    /// Where answers are charged while their clients do not take them.
    pub(crate) const fn unread(&self) -> &Unread {
        &self.unread
    }

    /// Where the memory of long requests is from.
    pub(crate) const fn long_requests(&self) -> &RequestBudget {
        &self.long_requests
    }

    /// So many bytes for a long request and its answer; waits for them. Clients that leave their answers unread meanwhile are given up.
    pub(super) async fn room_for_long_request(&self, bytes: usize) -> Reservation {
        let mut room = self.long_requests.open();
        {
            let mut covering = pin!(room.cover(bytes));
            loop {
                let before = self.unread.now();
                tokio::select! {
                    biased;
                    _ = &mut covering => break,
                    () = sleep(UNREAD_MAX) => self.unread.give_up_before(before),
                }
            }
        }
        room
    }

    /// One of the rights to make an answer that may be much longer than its request; waits for it.
    pub(super) async fn license_for_much(&self) -> Option<License> {
        // It is never closed.
        Arc::clone(&self.licenses).acquire_owned().await.ok()
    }

    /// As [`Self::license_for_much`], if there is one that nobody waits for.
    pub(super) fn license_at_hand(&self) -> Option<License> {
        Arc::clone(&self.licenses).try_acquire_owned().ok()
    }

    /// The settings that hold now. Made anew only when one of them changed.
    pub(crate) fn settings(&self) -> Rc<Effective> {
        let image = self.gateway.image();
        let mut settings = self.settings.borrow_mut();
        if settings.image_version != image.version() {
            let node = settings.config.node_id;
            let unchanged = settings.cluster == *image.cluster_overrides()
                && settings.broker == *image.broker_overrides(node);
            match Rc::get_mut(&mut settings) {
                Some(settings) if unchanged => settings.image_version = image.version(),
                // Held by a request in work; the comparison is made again by the next.
                None if unchanged => {}
                _ => *settings = Rc::new(Effective::new(&self.started, &image)),
            }
        }
        Rc::clone(&settings)
    }
}

impl Effective {
    fn new(started: &ConfigView, image: &MetadataImage) -> Self {
        let node = started.broker_config().node_id;
        let (cluster, broker) = (image.cluster_overrides(), image.broker_overrides(node));
        let view = started.with_dynamic(cluster.clone(), broker.clone());
        Self {
            config: view.broker_config(),
            view,
            cluster: cluster.clone(),
            broker: broker.clone(),
            image_version: image.version(),
        }
    }
}

/// How long an answer may stay unread while others wait for its memory.
const UNREAD_MAX: Duration = Duration::from_secs(5);

/// Answers of any length that are made at a time.
const LICENSES: usize = 16;

/// Thread number `index` of `count`'s share of what all of them may have: the shares add up to `total`.
pub(crate) const fn share(total: usize, index: usize, count: usize) -> usize {
    let rest = if index < total % count { 1 } else { 0 };
    total / count + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        let shares = |total| [share(total, 0, 3), share(total, 1, 3), share(total, 2, 3)];
        assert_eq!(shares(10), [4, 3, 3]);
        assert_eq!(shares(2), [1, 1, 0]);
    }
}
