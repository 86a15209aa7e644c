//! One core's state and what changes it: `step(now, input)` takes one thing that happened and leaves in [`Effects`]
//! what has to be done about it. No I/O, no clock, no waiting: the loop around it does those, or a simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::admission::Admission;
use super::cleaning::{CleanerShare, Compactions};
use super::command::Command;
use super::coordinators::Coordinators;
use super::deletions::Deletions;
use super::directories::{FailedDirectory, Suspects};
use super::early::EarlyAppends;
use super::fetches::{FetchPlace, Fetches};
use super::hosting::Slot;
use super::housekeeping::Flushes;
use super::indexes::Indexes;
use super::jobs::{Errand, Jobs};
use super::lookups::Lookups;
use super::produces::Produces;
use super::reported::Reported;
use super::router::{ShardIndex, shard_of};
use super::standings::Standings;
use super::timers::{TimerKey, Timers};
use crate::config::{Overrides, TopicDefaults};
use crate::group::{GroupCommand, GroupConfig};
use crate::io::{Action, Completion, Ticket};
use crate::log::producer_count::ProducerCount;
use crate::log::{Doomed, Lookup};
use crate::maintenance::{CheckpointLine, Done, DoomedDirectory, Job, JobId, OpenPartition};
use crate::metadata::MetadataImage;
use crate::record::Allowance;
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
    /// For the controller.
    pub failed_directories: Vec<FailedDirectory>,
}

/// A log directory as a shard needs to know it.
#[derive(Clone, Debug)]
pub struct LogDirectory {
    /// Its id in the metadata.
    pub id: DirectoryId,
    /// Its place in the configured list, which has those too that cannot be used.
    pub place: usize,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was left in order: then no log in it needs recovery.
    pub clean: bool,
}

/// Makes the defaults of topics out of what was changed at run time for the whole cluster and for this broker. The table
/// of broker properties is the server's, so the engine is given this.
#[derive(Clone)]
pub struct TopicDefaultsSource(pub Arc<MakeTopicDefaults>);

/// Out of the overrides of the cluster and of the broker.
pub type MakeTopicDefaults = dyn Fn(&Overrides, &Overrides) -> Arc<TopicDefaults> + Send + Sync;

impl fmt::Debug for TopicDefaultsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TopicDefaultsSource")
    }
}

/// What does not change while a shard lives, but for one time that others may change.
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
    /// Where the defaults of topics come from.
    pub topic_defaults: TopicDefaultsSource,
    /// The group coordinators' settings.
    pub groups: GroupConfig,
    /// How much is read of a coordinator's partition before others get their turn.
    pub replay_slice_bytes: usize,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: Arc<AtomicI64>,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub checkpoint_interval: Duration,
    /// `log.cleaner.*`, and what the shards have in common of it.
    pub cleaner: CleanerShare,
    /// How many group commits this shard may have in flight in each log directory.
    pub syncs_in_flight_max: usize,
}

/// What a ring action was for.
#[derive(Debug)]
pub(super) enum Pending {
    /// A partition's write.
    Write(TopicIdPartition),
    /// A partition's sync.
    Sync(TopicIdPartition),
    /// A read that a fetch's lookup goes on with.
    Scan(Scan),
}

/// A lookup of a fetch that waits for bytes.
#[derive(Debug)]
pub(super) struct Scan {
    /// The fetch, and which of its partitions.
    pub(super) place: FetchPlace,
    pub(super) lookup: Box<Lookup>,
}

/// What is due.
#[derive(Debug)]
pub(super) enum Timer {
    /// A parked fetch has waited long enough.
    Fetch(u64),
    /// A produce request may have waited long enough.
    Produces,
    /// A coordinator has something to do.
    Coordinator(TopicIdPartition),
    /// `flush.ms` of a partition.
    Flush(TopicIdPartition),
    /// A partition whose name was not free yet.
    Open(TopicIdPartition, Box<OpenPartition>),
    /// A job that found no room.
    TryAgain(JobId),
    /// Renamed segments may be unlinked.
    Unlink(Doomed),
    /// Deleted directories, which the last stop left, may be unlinked.
    UnlinkDirectories(Vec<DoomedDirectory>),
    /// Retention, and what else is done at its pace.
    Retention,
    /// Recovery points and checkpoints.
    Checkpoint,
    /// Look for a log to compact.
    Clean,
    /// A compaction has kept its rate and may go on.
    CleanOn(TopicIdPartition),
    /// Further fetches are to look again.
    LookOn,
}

/// One core: the partitions it owns, by value, and everything under way for them.
#[derive(Debug)]
pub struct Shard {
    pub(super) settings: ShardSettings,
    pub(super) image: Arc<MetadataImage>,
    pub(super) topic_defaults: Arc<TopicDefaults>,
    pub(super) slots: BTreeMap<TopicIdPartition, Slot>,
    pub(super) produces: Produces,
    pub(super) early: EarlyAppends,
    pub(super) fetches: Fetches,
    pub(super) indexes: Indexes,
    pub(super) standings: Standings,
    pub(super) lookups: Lookups,
    pub(super) deletions: Deletions,
    pub(super) compactions: Compactions,
    pub(super) suspects: Suspects,
    pub(super) reported: Reported,
    pub(super) coordinators: Coordinators,
    pub(super) timers: Timers<Timer>,
    pub(super) pending: BTreeMap<Ticket, Pending>,
    pub(super) jobs: Jobs,
    pub(super) admission: Admission,
    pub(super) flushes: Flushes,
    /// The timers of `flush.ms`, and when they ring: at most one of a partition.
    pub(super) flush_timers: BTreeMap<TopicIdPartition, (Monotonic, TimerKey)>,
    /// Commands that wait for a partition to be opened, in order.
    pub(super) deferred: Vec<Command>,
    /// Partitions that may have work for the disk since the last [`Shard::flush`], some of them more than once.
    pub(super) touched: Vec<TopicIdPartition>,
    /// What is left to this turn, which ends with [`Shard::flush`], of the time for batches that have to be opened.
    pub(super) allowance: Allowance,
    /// What the checkpoints say, as far as this shard has told them.
    pub(super) checkpointed: BTreeMap<TopicIdPartition, CheckpointLine>,
    /// The idempotent producers of all logs.
    pub(super) producers: ProducerCount,
    pub(super) stopping: bool,
    pub(super) closed_in_order: bool,
    /// The last number given to a job, an action or a request.
    serial: u64,
}

impl Shard {
    /// A shard that owns nothing yet; the first image brings its partitions.
    #[must_use]
    pub fn new(settings: ShardSettings, now: Now) -> Self {
        let image = Arc::new(MetadataImage::empty());
        let mut timers = Timers::new();
        timers.set(
            now.monotonic.after(settings.retention_check_interval),
            Timer::Retention,
        );
        timers.set(
            now.monotonic.after(settings.checkpoint_interval),
            Timer::Checkpoint,
        );
        let none = Overrides::new();
        let cleaner = (settings.cleaner.settings.0)(&none, &none);
        timers.set(now.monotonic.after(cleaner.backoff), Timer::Clean);
        Self {
            topic_defaults: (settings.topic_defaults.0)(&none, &none),
            admission: Admission::new(settings.syncs_in_flight_max),
            flushes: Flushes::default(),
            flush_timers: BTreeMap::new(),
            settings,
            image,
            slots: BTreeMap::new(),
            produces: Produces::default(),
            early: EarlyAppends::default(),
            fetches: Fetches::default(),
            indexes: Indexes::default(),
            standings: Standings::default(),
            lookups: Lookups::default(),
            deletions: Deletions::default(),
            compactions: Compactions::default(),
            suspects: Suspects::default(),
            reported: Reported::default(),
            coordinators: Coordinators::default(),
            timers,
            pending: BTreeMap::new(),
            jobs: Jobs::default(),
            deferred: Vec::new(),
            touched: Vec::new(),
            allowance: Allowance::default(),
            checkpointed: BTreeMap::new(),
            producers: ProducerCount::default(),
            stopping: false,
            closed_in_order: true,
            serial: 0,
        }
    }

    /// Takes in one thing that happened. Appends are gathered: they reach the disk with the next [`Shard::flush`].
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Effects) {
        match input {
            Input::Image(image) => self.adopt(image, now, effects),
            Input::Command(command) => self.command(command, now, effects),
            Input::Completed(completion) => self.completed(completion, now, effects),
            Input::Done(id, done) => self.done(id, done, now, effects),
            Input::Tick => {}
            Input::Stop => self.stop(now, effects),
        }
        self.fire_timers(now, effects);
    }

    /// Hands out the disk work that the inputs since the last call have gathered: all batches of a partition become
    /// one write. Call it when no input is left to take in.
    pub fn flush(&mut self, now: Now, effects: &mut Effects) {
        self.allowance = Allowance::default();
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched.drain(..) {
            self.drive(id, now, effects);
        }
        self.look_again(now, effects);
        if self.touched.is_empty() {
            // For its capacity.
            self.touched = touched;
        }
        if self.stopping {
            self.close_quiet_logs(effects);
        }
    }

    /// The metadata this shard goes by.
    #[must_use]
    pub const fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// When the next [`Input::Tick`] is needed, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.timers.next()
    }

    fn fire_timers(&mut self, now: Now, effects: &mut Effects) {
        while let Some(timer) = self.timers.pop_due(now.monotonic) {
            match timer {
                Timer::Fetch(number) => self.fetch_timed_out(number),
                Timer::Produces => self.produces_timed_out(now, effects),
                Timer::Coordinator(id) => self.tick_coordinator(id, now, effects),
                Timer::Flush(id) => {
                    self.flush_timers.remove(&id);
                    self.touched.push(id);
                }
                // Unless it is deleted itself by now.
                Timer::Open(id, open) if self.is_opening(id) => {
                    self.order(Errand::Open(id), Job::Open(open), effects);
                }
                Timer::Open(..) => {}
                Timer::TryAgain(id) => self.try_again(id, now, effects),
                Timer::Unlink(doomed) => {
                    self.order(Errand::Unlink, Job::Unlink(doomed), effects);
                }
                Timer::UnlinkDirectories(doomed) => self.unlink_directories(doomed, now, effects),
                Timer::Retention => self.retain(now, effects),
                Timer::Checkpoint => self.checkpoint(now, effects),
                Timer::LookOn => self.look_on(),
                Timer::Clean => self.clean_logs(now, effects),
                Timer::CleanOn(id) => self.clean_on(id, now, effects),
            }
        }
    }

    /// Deals with a client's request.
    pub(super) fn command(&mut self, command: Command, now: Now, effects: &mut Effects) {
        if self.waits_for_opening(&command) {
            self.defer(command);
            return;
        }
        match command {
            Command::Produce(produce) => self.produce(produce, now, effects),
            Command::Fetch(fetch) => self.fetch(fetch, now, effects),
            Command::FetchNews(fetch) => self.fetch_news(fetch, now, effects),
            Command::WakeFetch(id) => self.hurry_fetch(id),
            Command::ForgetStanding(id) => self.forget_standing(id),
            Command::LookupOffsets(lookup) => self.look_up_offsets(lookup, effects),
            Command::LookupEpochEnds(lookup) => self.look_up_epoch_ends(lookup),
            Command::DeleteRecords(delete) => self.delete_records(delete, effects),
            Command::DescribeLogs(describe) => self.describe_logs(describe),
            Command::MeasureDirectories(measure) => self.measure_directories(measure, effects),
            Command::DescribeProducers(describe) => self.describe_producers(describe),
            Command::Group(request) => self.group(*request, now, effects),
        }
    }

    /// Keeps a command until something was opened or read. Before there would be more of them than ever, those go that nobody waits for
    /// any more: each client may have come again and again.
    fn defer(&mut self, command: Command) {
        if self.deferred.len() == self.deferred.capacity() {
            self.deferred.retain(|command| !is_abandoned(command));
            // As many again may come before the next look at all of them.
            self.deferred.reserve(self.deferred.len());
        }
        self.deferred.push(command);
    }

    /// Questions about a log wait until it is open, but for those whose answers may be long. Appends and fetches have their own ways of
    /// waiting.
    fn waits_for_opening(&self, command: &Command) -> bool {
        match command {
            Command::LookupOffsets(lookup) => lookup
                .lookups
                .iter()
                .any(|entry| self.is_awaited(entry.partition)),
            Command::LookupEpochEnds(lookup) => {
                lookup.lookups.iter().any(|(id, ..)| self.is_awaited(*id))
            }
            Command::DeleteRecords(delete) => {
                delete.partitions.iter().any(|(id, _)| self.is_awaited(*id))
            }
            Command::Group(request) => {
                self.is_loading(request.partition) && waits_for_reading(&request.command)
            }
            Command::Produce(_)
            | Command::Fetch(_)
            | Command::FetchNews(_)
            | Command::WakeFetch(_)
            | Command::ForgetStanding(_)
            | Command::DescribeLogs(_)
            | Command::MeasureDirectories(_)
            | Command::DescribeProducers(_) => false,
        }
    }

    /// Whether this shard owns `id`.
    pub(super) fn owns(&self, id: TopicIdPartition) -> bool {
        shard_of(id, self.settings.shards) == self.settings.shard
    }

    /// Follows changes of the broker's own settings; true when the defaults of topics are others than before.
    pub(super) fn refresh_defaults(&mut self) -> bool {
        let cluster = self.image.cluster_overrides();
        let broker = self.image.broker_overrides(self.settings.broker);
        let defaults = (self.settings.topic_defaults.0)(cluster, broker);
        let changed = *defaults != *self.topic_defaults;
        self.topic_defaults = defaults;
        changed
    }

    /// Whether a lookup in the log of `id` is in flight.
    pub(super) fn has_scan_of(&self, id: TopicIdPartition) -> bool {
        self.pending
            .values()
            .any(|pending| matches!(pending, Pending::Scan(scan) if scan.place.partition == id))
    }

    /// A number no job, action or request of this shard has had.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

/// Whether a command waits while its coordinator is read. Others hear that it is, and their clients ask again.
fn waits_for_reading(command: &GroupCommand) -> bool {
    match command {
        // Long answers are made a few at a time: those that waited for one coordinator would keep out all others.
        GroupCommand::FetchOffsets(_)
        | GroupCommand::DescribeGroup { .. }
        | GroupCommand::ListGroups(_) => false,
        // The server answers that the member is there; until its client hears that, it may take the broker for gone.
        GroupCommand::Heartbeat(_) => false,
        // Those who may wait for other members hold nothing of the memory for requests.
        _ => command.carried_bytes() <= DEFERRED_BYTES_MAX,
    }
}

/// Whether whoever asked has gone, or was told that the time is up, before it was begun. Nobody would speak for a member, and the
/// memory of questions is not counted any more.
pub(super) fn is_abandoned(command: &Command) -> bool {
    match command {
        Command::LookupOffsets(lookup) => lookup.reply.is_closed(),
        Command::LookupEpochEnds(lookup) => lookup.reply.is_closed(),
        Command::DeleteRecords(delete) => delete.reply.is_closed(),
        Command::Group(request) => request.command.parks() && request.reply.is_closed(),
        Command::Produce(_)
        | Command::Fetch(_)
        | Command::FetchNews(_)
        | Command::WakeFetch(_)
        | Command::ForgetStanding(_)
        | Command::DescribeLogs(_)
        | Command::MeasureDirectories(_)
        | Command::DescribeProducers(_) => false,
    }
}

/// The largest request of a member that waits while its coordinator is read. There may be one of every connection.
const DEFERRED_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
pub(super) mod tests;
