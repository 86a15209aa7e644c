//! What a connection's task holds of the engine: the mailboxes of all shards, its own thread's ring, the metadata.
//!
//! It lives on one shard's thread and never sees a partition.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::command::{Command, DirectorySpace, FetchId, LookupEpochEnds, MeasureDirectories};
use super::router::{ShardIndex, shard_of};
use crate::control::{ControlError, ControlHandle};
use crate::io::{Clock, LocalRing, Random};
use crate::metadata::{self, MetadataImage};
use crate::types::{LeaderEpoch, Now, TopicIdPartition};

/// The shard that was asked is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker is stopping")]
pub struct Stopped;

/// One thread's door to the engine. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    inner: Rc<Inner>,
}

struct Inner {
    shard: ShardIndex,
    mailboxes: Vec<mpsc::Sender<Command>>,
    control: ControlHandle,
    ring: LocalRing,
    clock: Clock,
    random: RefCell<Random>,
    fetches: Cell<u64>,
}

impl Gateway {
    pub(crate) fn new(
        shard: ShardIndex,
        mailboxes: Vec<mpsc::Sender<Command>>,
        control: ControlHandle,
        ring: LocalRing,
        clock: Clock,
        random: Random,
    ) -> Self {
        let inner = Inner {
            shard,
            mailboxes,
            control,
            ring,
            clock,
            random: RefCell::new(random),
            fetches: Cell::new(0),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// The shard whose thread this is.
    #[must_use]
    pub fn shard(&self) -> ShardIndex {
        self.inner.shard
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.inner.mailboxes.len()
    }

    /// The shard that owns `partition`.
    #[must_use]
    pub fn owner(&self, partition: TopicIdPartition) -> ShardIndex {
        shard_of(partition, self.shard_count())
    }

    /// Hands `command` to a shard, waiting for room in its mailbox. The answer comes through the command's slot.
    ///
    /// # Errors
    /// The shard is stopping; the command's slot is dropped.
    pub async fn send(&self, shard: ShardIndex, command: Command) -> Result<(), Stopped> {
        let mailbox = self.inner.mailboxes.get(shard.0).ok_or(Stopped)?;
        mailbox.send(command).await.map_err(|_| Stopped)
    }

    /// Proposes a metadata change and waits until it is durable. [`Gateway::image`] shows it then, and partitions that
    /// it brought are open: whoever hears of a new topic can use it at once.
    ///
    /// # Errors
    /// As [`ControlHandle::propose`].
    pub async fn propose(
        &self,
        command: metadata::Command,
    ) -> Result<metadata::Reply, ControlError> {
        let reply = self.inner.control.propose(command).await?;
        let partitions = self.partitions_brought_by(&reply);
        self.wait_until_open(&partitions).await;
        Ok(reply)
    }

    fn partitions_brought_by(&self, reply: &metadata::Reply) -> Vec<TopicIdPartition> {
        let image = self.image();
        let topics: Vec<_> = match reply {
            metadata::Reply::CreateTopics(results) => {
                let created = results
                    .iter()
                    .filter_map(|(_, result)| result.as_ref().ok());
                created
                    .filter_map(|topic| image.topic_by_id(topic.id))
                    .collect()
            }
            metadata::Reply::CreatePartitions(results) => {
                let grown = results.iter().filter(|(_, result)| result.is_ok());
                grown
                    .filter_map(|(name, _)| image.topic(name.as_str()))
                    .collect()
            }
            _ => Vec::new(),
        };
        let partitions = |topic: &Arc<metadata::Topic>| {
            let topic_id = topic.id;
            let ids = topic
                .partitions()
                .map(move |(partition, _)| TopicIdPartition {
                    topic_id,
                    partition,
                });
            ids.collect::<Vec<_>>()
        };
        topics.into_iter().flat_map(partitions).collect()
    }

    /// A question about epochs waits for the log, so its answer says that the log is open, or cannot be.
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
        for answer in answers {
            // A shard that stops answers nobody any more, and the change stands.
            let _ = answer.await;
        }
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
    pub fn image(&self) -> Arc<MetadataImage> {
        self.inner.control.image()
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
}
