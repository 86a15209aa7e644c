//! One core's state and what changes it: `step(now, input)` takes one thing that happened and leaves in [`Effects`]
//! what has to be done about it. No I/O, no clock, no waiting: the loop around it does those, or a simulation.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use super::command::Command;
use super::coordinators::Coordinators;
use super::fetches::Fetches;
use super::hosting::Slot;
use super::produces::Produces;
use super::router::ShardIndex;
use super::timers::Timers;
use crate::config::{TopicConfig, TopicDefaults};
use crate::group::GroupConfig;
use crate::io::{Action, Completion, File, Outcome, Ticket};
use crate::log::{Doomed, Lookup};
use crate::maintenance::{Done, Job, JobId};
use crate::metadata::{MetadataImage, Topic};
use crate::partition::{Leader, Told, Unavailable, Work};
use crate::types::{BrokerId, DirectoryId, Monotonic, Now, TopicIdPartition};

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The cluster metadata changed.
    Image(Arc<MetadataImage>),
    /// A client's request arrived.
    Command(Command),
    /// The ring finished an action.
    Completed(Completion),
    /// A maintenance thread finished a job.
    Done(JobId, Done),
    /// Time has passed.
    Tick,
    /// The broker stops: close everything in order.
    Stop,
}

/// What has to be done about it.
#[derive(Debug, Default)]
pub struct Effects {
    /// For the ring.
    pub actions: Vec<(Ticket, Action)>,
    /// For the maintenance threads.
    pub jobs: Vec<(JobId, Job)>,
}

/// A log directory as a shard needs to know it.
#[derive(Clone, Debug)]
pub struct LogDirectory {
    /// Its id in the metadata.
    pub id: DirectoryId,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was left in order: then no log in it needs recovery.
    pub clean: bool,
}

/// What does not change while a shard lives.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// This broker.
    pub broker: BrokerId,
    /// This shard.
    pub shard: ShardIndex,
    /// How many shards there are.
    pub shards: usize,
    /// `log.dirs`, in the configured order.
    pub log_directories: Vec<LogDirectory>,
    /// The broker's twins of the topic settings.
    pub topic_defaults: Arc<TopicDefaults>,
    /// The group coordinators' settings.
    pub groups: GroupConfig,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: std::time::Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub checkpoint_interval: std::time::Duration,
}

/// What a ring action was for.
#[derive(Debug)]
pub(super) enum Pending {
    /// A partition's write.
    Write(TopicIdPartition),
    /// A partition's sync.
    Sync(TopicIdPartition),
    /// A read that a fetch's lookup goes on with.
    Scan {
        fetch: u64,
        index: usize,
        partition: TopicIdPartition,
        lookup: Box<Lookup>,
    },
}

/// What is due.
#[derive(Debug)]
pub(super) enum Timer {
    /// A parked fetch has waited long enough.
    Fetch(u64),
    /// A produce request has waited long enough.
    Produce(u64),
    /// A coordinator has something to do.
    Coordinator(TopicIdPartition),
    /// `flush.ms` of a partition.
    Flush(TopicIdPartition),
    /// Renamed segments may be unlinked.
    Unlink(Doomed),
    /// Retention, and what else is done at its pace.
    Retention,
    /// Recovery points and checkpoints.
    Checkpoint,
}

/// One core: the partitions it owns, by value, and everything under way for them.
#[derive(Debug)]
pub struct Shard {
    pub(super) settings: ShardSettings,
    pub(super) image: Arc<MetadataImage>,
    pub(super) slots: BTreeMap<TopicIdPartition, Slot>,
    pub(super) produces: Produces,
    pub(super) fetches: Fetches,
    pub(super) coordinators: Coordinators,
    pub(super) timers: Timers<Timer>,
    pub(super) pending: BTreeMap<Ticket, Pending>,
    pub(super) jobs: BTreeMap<JobId, super::jobs::Errand>,
    /// Jobs that wait until fewer are out.
    pub(super) jobs_waiting: VecDeque<(JobId, Job)>,
    /// Commands that wait for a partition to be opened, in order.
    pub(super) deferred: Vec<Command>,
    /// Partitions whose flush timer is set.
    pub(super) serial: u64,
    pub(super) stopping: bool,
}
