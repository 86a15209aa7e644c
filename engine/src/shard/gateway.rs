//! What a connection's task holds of the engine: the mailboxes of all shards, its own thread's ring, the metadata.
//!
//! It lives on one shard's thread and never sees a partition.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::command::{
    Command, DirectorySpace, FetchId, LookupEpochEnds, MeasureDirectories, StandingId,
};
use super::helm::Helm;
use super::router::{ShardIndex, shard_of};
use crate::control::{ControlError, ControlHandle, Proposed};
use crate::io::{Clock, LocalRing, Random};
use crate::metadata::{self, MetadataImage};
use crate::types::{LeaderEpoch, Now, TopicId, TopicIdPartition};

/// The shard that was asked is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker is stopping")]
pub struct Stopped;

/// A command that was not sent without waiting.
#[derive(Debug)]
pub enum NotSent {
    /// The shard's mailbox has no room now for this command.
    Full(Box<Command>),
    /// The shard is stopping; the command's slot is dropped.
    Stopped,
}

/// A metadata change that is at the controller.
#[derive(Debug)]
pub struct HandedIn {
    proposed: Proposed,
    is_rehearsal: bool,
}

/// One thread's door to the engine. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    inner: Rc<Inner>,
}

struct Inner {
    shard: ShardIndex,
    peers: Peers,
    control: ControlHandle,
    seen: RefCell<Seen>,
    ring: LocalRing,
    clock: Clock,
    random: RefCell<Random>,
    fetches: Cell<u64>,
}

/// The metadata as one thread holds it: requests share it without touching the count that all threads share.
pub type ThreadImage = Rc<Arc<MetadataImage>>;

/// The newest image that this thread has looked at.
struct Seen {
    news: watch::Receiver<Arc<MetadataImage>>,
    image: ThreadImage,
}

/// The ways to a shard.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) mailbox: mpsc::Sender<Command>,
    /// None where no thread is spared a wake-up: commands go by the mailbox then.
    pub(super) helm: Option<Arc<Helm>>,
}

/// The ways to all shards.
pub(super) type Peers = Arc<[Way]>;

impl Gateway {
    /// The door of the first shard's thread where all shards share it and are moved by hand.
    pub(crate) fn by_mailboxes(
        mailboxes: Vec<mpsc::Sender<Command>>,
        control: ControlHandle,
        ring: LocalRing,
        clock: Clock,
        random: Random,
    ) -> Self {
        let ways = mailboxes.into_iter().map(|mailbox| Way {
            mailbox,
            helm: None,
        });
        Self::new(ShardIndex(0), ways.collect(), control, ring, clock, random)
    }

    pub(super) fn new(
        shard: ShardIndex,
        peers: Peers,
        control: ControlHandle,
        ring: LocalRing,
        clock: Clock,
        random: Random,
    ) -> Self {
        let mut news = control.watch();
        let image = Rc::new(Arc::clone(&news.borrow_and_update()));
        let inner = Inner {
            shard,
            peers,
            control,
            seen: RefCell::new(Seen { news, image }),
            ring,
            clock,
            random: RefCell::new(random),
            fetches: Cell::new(0),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// Does `work`, which takes long and waits for nothing, on one of two threads beside this shard's that go after all shards.
    /// How much is queued for them is the callers' to bound. Where shards are moved by hand it is done at once.
    ///
    /// # Errors
    /// The broker is stopping.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let by_hand = self.inner.peers.iter().all(|way| way.helm.is_none());
        if by_hand {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work).await.map_err(|_| Stopped)
    }

    /// The shard whose thread this is.
    #[must_use]
    pub fn shard(&self) -> ShardIndex {
        self.inner.shard
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.inner.peers.len()
    }

    /// The shard that owns `partition`.
    #[must_use]
    pub fn owner(&self, partition: TopicIdPartition) -> ShardIndex {
        shard_of(partition, self.shard_count())
    }

    /// Hands `command` to a shard, waiting for room in its mailbox; a small one for a shard whose thread sleeps is dealt with here.
    /// Commands of one sender arrive in order. The answer comes through the command's slot.
    ///
    /// # Errors
    /// The shard is stopping; the command's slot is dropped.
    pub async fn send(&self, shard: ShardIndex, command: Command) -> Result<(), Stopped> {
        match self.try_send(shard, command) {
            Ok(()) => Ok(()),
            Err(NotSent::Stopped) => Err(Stopped),
            Err(NotSent::Full(command)) => {
                let way = self.inner.peers.get(shard.0).ok_or(Stopped)?;
                way.mailbox.send(*command).await.map_err(|_| Stopped)
            }
        }
    }

    /// As [`Gateway::send`], without waiting.
    ///
    /// # Errors
    /// There is no room, or the shard is stopping.
    pub fn try_send(&self, shard: ShardIndex, command: Command) -> Result<(), NotSent> {
        let way = self.inner.peers.get(shard.0).ok_or(NotSent::Stopped)?;
        let command = match &way.helm {
            Some(helm) if shard != self.shard() => match helm.steer(command) {
                Ok(()) => return Ok(()),
                Err(command) => command,
            },
            _ => command,
        };
        way.mailbox
            .try_send(command)
            .map_err(|refused| match refused {
                TrySendError::Full(command) => NotSent::Full(Box::new(command)),
                TrySendError::Closed(_) => NotSent::Stopped,
            })
    }

    /// Proposes a metadata change and waits until it is durable. [`Gateway::image`] shows it then, and partitions that
    /// it brought are open, unless that takes long: whoever hears of a new topic can use it at once.
    ///
    /// # Errors
    /// As [`ControlHandle::propose`].
    pub async fn propose(
        &self,
        command: metadata::Command,
    ) -> Result<metadata::Reply, ControlError> {
        let handed_in = self.hand_in(command).await?;
        self.outcome(handed_in).await
    }

    /// Hands a metadata change in, as soon as the controller has room for it; see [`ControlHandle::hand_in`].
    ///
    /// # Errors
    /// As there.
    pub async fn hand_in(&self, command: metadata::Command) -> Result<HandedIn, ControlError> {
        let is_rehearsal = command.is_rehearsal();
        let proposed = self.inner.control.hand_in(command).await?;
        Ok(HandedIn {
            proposed,
            is_rehearsal,
        })
    }

    /// Waits for what a change that was handed in comes to, as [`Gateway::propose`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn outcome(&self, handed_in: HandedIn) -> Result<metadata::Reply, ControlError> {
        let reply = handed_in.proposed.outcome().await?;
        if !handed_in.is_rehearsal {
            let partitions = self.partitions_brought_by(&reply);
            self.wait_until_open(&partitions).await;
        }
        Ok(reply)
    }

    fn partitions_brought_by(&self, reply: &metadata::Reply) -> Vec<TopicIdPartition> {
        let brought: Vec<(TopicId, Range<i32>)> = match reply {
            metadata::Reply::CreateTopics(results) => {
                let created = results.iter().filter_map(|(_, topic)| topic.as_ref().ok());
                created
                    .map(|topic| (topic.id, 0..topic.partitions))
                    .collect()
            }
            // The others may be in recovery for long.
            metadata::Reply::CreatePartitions(results) => {
                let image = self.image();
                let added = |(name, added): &(String, Result<Range<i32>, _>)| {
                    let topic = image.topic(name.as_str())?;
                    Some((topic.id, added.as_ref().ok()?.clone()))
                };
                results.iter().filter_map(added).collect()
            }
            _ => Vec::new(),
        };
        let partitions = |(topic_id, numbers): (TopicId, Range<i32>)| {
            numbers.map(move |partition| TopicIdPartition {
                topic_id,
                partition,
            })
        };
        brought.into_iter().flat_map(partitions).collect()
    }

    /// A question about epochs waits for the log, so its answer says that the log is open, or cannot be. Where that takes
    /// long whoever comes to a partition waits there.
    async fn wait_until_open(&self, partitions: &[TopicIdPartition]) {
        let mut answers = Vec::new();
        for shard in 0..self.shard_count() {
            let shard = ShardIndex(shard);
            let owned = partitions.iter().filter(|id| self.owner(**id) == shard);
            let ask = |id: &TopicIdPartition| (*id, LeaderEpoch::NONE, LeaderEpoch::NONE);
            let lookups: Vec<_> = owned.map(ask).collect();
            if lookups.is_empty() {
                continue;
            }
            let (reply, answer) = oneshot::channel();
            let question = Command::LookupEpochEnds(LookupEpochEnds { lookups, reply });
            if self.send(shard, question).await.is_ok() {
                answers.push(answer);
            }
        }
        if answers.is_empty() {
            return;
        }
        let all = async {
            for answer in answers {
                // A shard that stops answers nobody any more, and the change stands.
                let _ = answer.await;
            }
        };
        let _ = tokio::time::timeout(OPENING_WAIT_MAX, all).await;
    }

    /// The room in the log directories in use, as far as their file systems answer. Asked on a maintenance thread.
    ///
    /// # Errors
    /// The broker is stopping.
    pub async fn measure_directories(&self) -> Result<Vec<DirectorySpace>, Stopped> {
        let (reply, answer) = oneshot::channel();
        let command = Command::MeasureDirectories(MeasureDirectories { reply });
        self.send(self.shard(), command).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// The newest metadata.
    #[must_use]
    pub fn image(&self) -> ThreadImage {
        let mut seen = self.inner.seen.borrow_mut();
        // An error says that nothing new will come.
        if seen.news.has_changed().unwrap_or(false) {
            let image = Arc::clone(&seen.news.borrow_and_update());
            seen.image = Rc::new(image);
        }
        Rc::clone(&seen.image)
    }

    /// This thread's ring, to send files with.
    #[must_use]
    pub fn ring(&self) -> &LocalRing {
        &self.inner.ring
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.inner.clock.now()
    }

    /// 128 random bits, for ids.
    #[must_use]
    pub fn random(&self) -> u128 {
        self.inner.random.borrow_mut().u128()
    }

    /// A name for a fetch that no other fetch has.
    #[must_use]
    pub fn next_fetch_id(&self) -> FetchId {
        let count = self.inner.fetches.get();
        self.inner.fetches.set(count + 1);
        FetchId((self.inner.shard.0 as u64) << 48 | count)
    }

    /// A name for a standing read that no other one has.
    #[must_use]
    pub fn next_standing_id(&self) -> StandingId {
        StandingId(self.next_fetch_id().0)
    }
}

/// How long a change that is durable waits for its partitions.
const OPENING_WAIT_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Desk;
    use crate::io::Sim;
    use crate::metadata::{CreatePartitions, CreateTopics, GrowTopic, Metadata, NewTopic};
    use crate::shard::step::tests::registered;
    use crate::types::Timestamp;

    /// The metadata of a broker with a topic `t` of one partition.
    fn with_topic(sim: &Sim) -> Metadata {
        let mut metadata = registered(sim);
        let topic = NewTopic {
            name: "t".to_owned(),
            partitions: 1,
            replication_factor: 1,
            assignments: Vec::new(),
            settings: Vec::new(),
            random: 1,
        };
        let create = CreateTopics {
            topics: vec![topic],
            partitions_default: 1,
            replication_factor_default: 1,
            partitions_max: 1,
            topic_defaults: Arc::default(),
            validate_only: false,
        };
        let create = metadata::Command::CreateTopics(create);
        metadata.propose(&create).unwrap();
        metadata
    }

    #[tokio::test(start_paused = true)]
    async fn who_adds_partitions_waits_for_those_only_and_not_for_ever() {
        let sim = Sim::new(1);
        let (mut desk, control) = Desk::new(with_topic(&sim));
        let (mailbox, mut commands) = mpsc::channel(1);
        let gateway = Gateway::by_mailboxes(
            vec![mailbox],
            control,
            LocalRing::new(sim.ring()).unwrap(),
            Clock::sim(Timestamp(0)).0,
            Random::seeded(1),
        );
        let grow = CreatePartitions {
            topics: vec![GrowTopic {
                name: "t".to_owned(),
                count: 3,
                assignments: None,
            }],
            partitions_max: 2,
            validate_only: false,
        };
        let propose = gateway.propose(metadata::Command::CreatePartitions(grow));
        let decide = async {
            assert!(desk.serve_next());
            commands.recv().await.unwrap()
        };
        let (grown, asked) = tokio::join!(biased; propose, decide);
        assert!(grown.is_ok(), "{grown:?}");
        let Command::LookupEpochEnds(asked) = asked else {
            panic!("{asked:?} asks for no epochs");
        };
        let numbers = asked.lookups.iter().map(|(id, ..)| id.partition);
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2]);
    }
}
