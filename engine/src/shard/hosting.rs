//! The partitions a shard owns, and how they come and go with the metadata: opened, reconfigured, taken away, taken
//! offline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::admission::DirectoryPlace;
use super::early::EarlyRequest;
use super::jobs::Errand;
use super::step::{Effects, LogDirectory, Pending, Shard, Timer, is_abandoned};
use crate::config::TopicConfig;
use crate::io::{Action, Completion, IoError, Outcome, Ticket};
use crate::log::{Log, MarkJob, OpenError, RecoveryReport, names};
use crate::maintenance::{Job, NotYet, OpenPartition, Removal};
use crate::metadata::{MetadataImage, Partition, Topic, TopicChanges};
use crate::partition::{AppendError, Fault, Leader, Offered, Told, Unavailable, Work};
use crate::types::{LeaderEpoch, Now, TopicId, TopicIdPartition, TopicName, TopicPartition};

/// What a shard has of a partition.
#[derive(Debug)]
pub(super) enum Slot {
    /// Its log is being opened; what is to be appended waits ([`super::early`]).
    Opening(Opening),
    /// It is led from here.
    Leading(Box<Leader>),
    /// A fault took it away, until a restart.
    Offline,
}

/// A partition on its way in.
#[derive(Debug)]
pub(super) struct Opening {
    name: TopicPartition,
    epoch: LeaderEpoch,
    config: Arc<TopicConfig>,
    /// There was no room for it: it is tried again, and questions about it are not kept waiting.
    wants_room: bool,
}

impl Shard {
    /// Follows the metadata to `image`.
    pub(super) fn adopt(&mut self, image: Arc<MetadataImage>, now: Now, effects: &mut Effects) {
        let before = std::mem::replace(&mut self.image, image);
        let image = Arc::clone(&self.image);
        self.follow_directories(&before, now, effects);
        let defaults_changed = self.refresh_defaults();
        if image.has_topics_of(&before) && !defaults_changed {
            return;
        }
        let TopicChanges { gone, changed } = image.topic_changes_since(&before);
        for topic in &gone {
            self.remove_topic(topic, effects);
        }
        if !gone.is_empty() {
            self.retry_deferred(now, effects);
            let names: Vec<TopicName> = gone.iter().map(|topic| topic.name.clone()).collect();
            self.forget_topics(&names, now, effects);
        }
        // What there is at a start may need its recovery; what comes later is new.
        let opening: fn(TopicIdPartition) -> Errand = match before.version() {
            ..0 => Errand::Open,
            0.. => Errand::Make,
        };
        let changed = match defaults_changed {
            true => image.topics().cloned().collect(),
            false => changed,
        };
        for topic in &changed {
            self.follow_topic(topic, opening, now, effects);
        }
    }

    /// `opening`: what it is to open a partition that is not here yet.
    fn follow_topic(
        &mut self,
        topic: &Arc<Topic>,
        opening: fn(TopicIdPartition) -> Errand,
        now: Now,
        effects: &mut Effects,
    ) {
        let mut config = None;
        for (number, partition) in topic.partitions() {
            let id = TopicIdPartition {
                topic_id: topic.id,
                partition: number,
            };
            if !self.owns(id) || partition.leader != self.settings.broker {
                continue;
            }
            let config = config.get_or_insert_with(|| {
                Arc::new(TopicConfig::resolve(&topic.overrides, &self.topic_defaults))
            });
            match self.slots.get_mut(&id) {
                Some(Slot::Leading(_)) => {
                    let (config, epoch) = (Arc::clone(config), partition.leader_epoch);
                    self.advance(id, now, effects, |leader, told| {
                        leader.reconfigure(config, epoch, told);
                        Ok(())
                    });
                    self.fit_coordinator(id);
                }
                Some(Slot::Opening(opening)) => {
                    opening.config = Arc::clone(config);
                    opening.epoch = partition.leader_epoch;
                }
                Some(Slot::Offline) => {}
                None => {
                    let config = Arc::clone(config);
                    if let Some(job) = self.open(id, &topic.name, partition, config, now) {
                        self.order(opening(id), job, effects);
                    }
                }
            }
        }
    }

    /// Takes a partition in; yields the job that opens its log, unless its log directory is offline.
    fn open(
        &mut self,
        id: TopicIdPartition,
        topic: &TopicName,
        partition: &Partition,
        config: Arc<TopicConfig>,
        now: Now,
    ) -> Option<Job> {
        let name = TopicPartition {
            topic: topic.clone(),
            partition: id.partition,
        };
        let directory = self.directory_of(partition);
        let Some(directory) = directory.filter(|one| !self.has_failed(one.id)) else {
            tracing::error!(partition = %name, "its log directory is offline, and so is it");
            self.slots.insert(id, Slot::Offline);
            return None;
        };
        let open = OpenPartition {
            name: name.clone(),
            topic_id: id.topic_id,
            log_directory: directory.path.clone(),
            clean: directory.clean,
            config: Arc::clone(&config),
            now: now.wall,
        };
        let epoch = partition.leader_epoch;
        let opening = Opening {
            name,
            epoch,
            config,
            wants_room: false,
        };
        self.slots.insert(id, Slot::Opening(opening));
        Some(Job::Open(Box::new(open)))
    }

    pub(super) fn directory_of(&self, partition: &Partition) -> Option<&LogDirectory> {
        let wanted = partition.directory_of(self.settings.broker)?;
        self.settings
            .log_directories
            .iter()
            .find(|directory| directory.id == wanted)
    }

    /// The log of a partition is open, or cannot be.
    pub(super) fn opened(
        &mut self,
        id: TopicIdPartition,
        result: Result<(Box<Log>, RecoveryReport), OpenError>,
        now: Now,
        effects: &mut Effects,
    ) {
        // Deleted meanwhile: the job that removes the directory stands behind this one.
        let Some(Slot::Opening(opening)) = self.slots.remove(&id) else {
            return;
        };
        match result {
            // It was on its way when the directory failed.
            Ok(_) if self.lies_in_failed(id) => self.refuse_opening(id, effects),
            Ok((mut log, report)) => {
                log.count_producers_in(self.producers.clone());
                report_recovery(&opening.name, &report);
                let Opening {
                    name,
                    epoch,
                    config,
                    wants_room: _,
                } = opening;
                let mut leader = Box::new(Leader::new(id, name, *log, epoch, config));
                let mut told = Told::new();
                for offered in self.early.take(id) {
                    if self.early.lets_in(id, &offered, &leader, now.monotonic) {
                        leader.append(offered, now, &mut self.allowance, &mut told);
                    } else {
                        told.push((offered.waiter, Err(Unavailable::NotLeader(id).into())));
                    }
                }
                self.slots.insert(id, Slot::Leading(leader));
                self.note_opened_indexes(id);
                self.tell(id, told, effects);
                self.drive(id, now, effects);
                if !self.stopping {
                    self.load_coordinator(id, effects);
                }
            }
            Err(error) => {
                tracing::error!(partition = %opening.name, %error, "cannot be opened and is offline");
                self.refuse_opening(id, effects);
                if let OpenError::Io(error) = &error {
                    self.mark_unopened(id, &opening.name, error, effects);
                    self.suspect_directory_of(id, effects);
                }
            }
        }
        self.wake_readers(id);
        self.retry_deferred(now, effects);
    }

    /// The job that opened it has tried to mark it, at once. On a full disk that is to be tried again.
    fn mark_unopened(
        &mut self,
        id: TopicIdPartition,
        name: &TopicPartition,
        error: &IoError,
        effects: &mut Effects,
    ) {
        if let Some(directory) = self.log_directory_of(id)
            && error.is_failed_sync()
        {
            let directory = directory.path.join(names::partition_directory(name));
            let job = MarkJob::new(&directory, &error.to_string());
            self.order(Errand::Mark(id), Job::Mark(job), effects);
        }
    }

    fn refuse_opening(&mut self, id: TopicIdPartition, effects: &mut Effects) {
        self.closed_in_order = false;
        self.slots.insert(id, Slot::Offline);
        let refused = || Err(AppendError::from(Unavailable::Offline(id)));
        let lost = self.early.take(id);
        let told = lost.map(|offered| (offered.waiter, refused())).collect();
        self.tell(id, told, effects);
    }

    /// A partition cannot be opened yet: it is tried again after a while. On a full disk that may be long, so nobody is
    /// kept waiting for it.
    pub(super) fn open_later(
        &mut self,
        id: TopicIdPartition,
        open: Box<OpenPartition>,
        why: &NotYet,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(Slot::Opening(opening)) = self.slots.get_mut(&id) else {
            return;
        };
        let delay = match why {
            NotYet::NameTaken => NAME_TAKEN_DELAY,
            NotYet::NoSpace(error) => {
                if !opening.wants_room {
                    tracing::error!(partition = %opening.name, %error, "cannot be opened yet");
                }
                opening.wants_room = true;
                let refused = self.early.refuse(id, now.monotonic).into_iter();
                let told = refused.map(|waiter| (waiter, Err(AppendError::Storage)));
                self.tell(id, told.collect(), effects);
                self.wake_readers(id);
                self.retry_deferred(now, effects);
                NO_SPACE_DELAY
            }
        };
        self.timers
            .set(now.monotonic.after(delay), Timer::Open(id, open));
    }

    /// Looks again at the commands that wait for a partition: those that still have to are put back, and those dropped that nobody
    /// waits for any more.
    pub(super) fn retry_deferred(&mut self, now: Now, effects: &mut Effects) {
        for command in std::mem::take(&mut self.deferred) {
            if !is_abandoned(&command) {
                self.command(command, now, effects);
            }
        }
    }

    /// Appends to a partition, wherever it stands. The waiter is told in `told` or later. [`Shard::flush`] sees to what the disk has
    /// to do. Where it has to wait for the log its `request` counts, once.
    pub(super) fn append(
        &mut self,
        id: TopicIdPartition,
        offered: Offered,
        request: EarlyRequest,
        now: Now,
        told: &mut Told,
    ) {
        let waiter = offered.waiter;
        let why = match self.slots.get_mut(&id) {
            Some(Slot::Leading(leader)) => {
                if self.early.lets_in(id, &offered, leader, now.monotonic) {
                    leader.append(offered, now, &mut self.allowance, told);
                    if leader.touch() {
                        self.touched.push(id);
                    }
                    return;
                }
                Unavailable::NotLeader(id)
            }
            Some(Slot::Opening(_)) => {
                if self.early.push(id, offered, request, now.monotonic) {
                    return;
                }
                Unavailable::NotLeader(id)
            }
            Some(Slot::Offline) => Unavailable::Offline(id),
            None => self.absent(id),
        };
        told.push((waiter, Err(why.into())));
    }

    /// Why there is no slot for a partition.
    pub(super) fn absent(&self, id: TopicIdPartition) -> Unavailable {
        match self.image.partition(id) {
            Some(_) => Unavailable::NotLeader(id),
            None => Unavailable::Unknown(id),
        }
    }

    /// The leader of a partition.
    ///
    /// # Errors
    /// There is none here, or none yet.
    pub(super) fn leading(&mut self, id: TopicIdPartition) -> Result<&mut Leader, Unavailable> {
        if !self.slots.contains_key(&id) {
            return Err(self.absent(id));
        }
        match self.slots.get_mut(&id) {
            Some(Slot::Leading(leader)) => Ok(leader),
            Some(Slot::Offline) => Err(Unavailable::Offline(id)),
            Some(Slot::Opening(_)) | None => Err(Unavailable::NotLeader(id)),
        }
    }

    /// Whether a partition is led here.
    pub(super) fn leads(&self, id: TopicIdPartition) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Leading(_)))
    }

    /// Whether a fault has taken a partition away.
    pub(super) fn is_offline(&self, id: TopicIdPartition) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Offline))
    }

    /// Whether a partition's log is about to be open, so that questions about it wait.
    pub(super) fn is_awaited(&self, id: TopicIdPartition) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Opening(opening)) if !opening.wants_room)
    }

    /// Whether a partition's log is still being opened.
    pub(super) fn is_opening(&self, id: TopicIdPartition) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Opening(_)))
    }

    /// Gives the disk whatever a partition wants done next.
    pub(super) fn drive(&mut self, id: TopicIdPartition, now: Now, effects: &mut Effects) {
        if let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) {
            leader.looks_for_work();
        }
        while let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) {
            let Some(work) = leader.next_work(now) else {
                break;
            };
            match work {
                Work::Write {
                    file,
                    position,
                    buffers,
                } => {
                    let action = Action::Write {
                        file,
                        position,
                        buffers,
                    };
                    self.act(Pending::Write(id), action, effects);
                }
                Work::Roll(job) => self.order_roll(id, job, now, effects),
                Work::CutBack(job) => self.order(Errand::CutBack(id), Job::CutBack(job), effects),
                Work::Preallocate(job) => {
                    self.order(Errand::Preallocate(id), Job::Preallocate(job), effects);
                }
                Work::Epochs(job) => self.order(Errand::Epochs(id), Job::Epochs(job), effects),
                Work::Unpack(packed) => {
                    self.order(Errand::Unpack(id), Job::Unpack(packed), effects)
                }
            }
        }
        if let Some(Slot::Leading(leader)) = self.slots.get(&id)
            && leader.sync_due(now)
        {
            let place = self.directory_place(id);
            if self.admission.ask(id, place) {
                self.begin_sync(id, place, now, effects);
            }
        }
        self.set_flush_timer(id, now);
    }

    /// Begins a partition's group commit, of what there is by now, if it still needs one.
    fn begin_sync(
        &mut self,
        id: TopicIdPartition,
        place: DirectoryPlace,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
            return;
        };
        let (before, mut told) = (leader.high_watermark(), Told::new());
        let Some(begun) = leader.begin_sync(now, &mut told) else {
            let moved = leader.high_watermark() > before;
            self.tell(id, told, effects);
            self.reload_coordinator_if_settled(id, effects);
            if moved {
                self.wake_readers(id);
            }
            return;
        };
        let (files, batches) = (begun.files.len(), begun.batches);
        self.admission.began(id, place, files, batches);
        for file in begun.files {
            self.act(Pending::Sync(id), Action::Sync { file }, effects);
        }
    }

    /// Lets those begin who waited for a group commit of another partition to end.
    fn begin_waiting_syncs(&mut self, place: DirectoryPlace, now: Now, effects: &mut Effects) {
        while let Some(id) = self.admission.next(place) {
            self.begin_sync(id, place, now, effects);
        }
    }

    /// Where a partition's group commits queue.
    fn directory_place(&self, id: TopicIdPartition) -> DirectoryPlace {
        match self.settings.log_directories.as_slice() {
            [_] => 0,
            _ => self
                .log_directory_of(id)
                .map_or(0, |directory| directory.place),
        }
    }

    /// Sees to it that a partition is looked at when `flush.ms` is over. One timer is enough, which may ring before: it is set
    /// again then. Most deadlines are taken back long before they come, and each group commit brings another.
    fn set_flush_timer(&mut self, id: TopicIdPartition, now: Now) {
        let Some(Slot::Leading(leader)) = self.slots.get(&id) else {
            return;
        };
        // Whatever keeps a sync that is due from beginning drives the partition again when it ends.
        let Some(due) = leader.flush_deadline().filter(|due| *due > now.monotonic) else {
            return;
        };
        let set = self.flush_timers.get(&id).map(|(rings, _)| *rings);
        if set.is_some_and(|rings| rings <= due) {
            return;
        }
        self.cancel_flush_timer(id);
        let key = self.timers.set(due, Timer::Flush(id));
        self.flush_timers.insert(id, (due, key));
    }

    fn cancel_flush_timer(&mut self, id: TopicIdPartition) {
        if let Some((_, key)) = self.flush_timers.remove(&id) {
            self.timers.cancel(key);
        }
    }

    /// The ring has ended an action.
    pub(super) fn completed(&mut self, completion: Completion, now: Now, effects: &mut Effects) {
        let Completion { ticket, result } = completion;
        match self.pending.remove(&ticket) {
            Some(Pending::Write(id)) => {
                let result = result.map(|_| ());
                self.advance(id, now, effects, |leader, told| {
                    leader.written(result, now, told)
                });
            }
            Some(Pending::Sync(id)) => {
                let result = result.map(|_| ());
                let room = self.admission.ended(id);
                self.advance(id, now, effects, |leader, told| leader.synced(result, told));
                if let Some(place) = room {
                    self.begin_waiting_syncs(place, now, effects);
                }
            }
            Some(Pending::Scan(scan)) => {
                let bytes = result.map(|outcome| match outcome {
                    Outcome::Read(bytes) => bytes,
                    Outcome::Written { .. } | Outcome::Synced | Outcome::ReadAhead => Bytes::new(),
                });
                self.scanned(scan, bytes, now, effects);
            }
            None => {}
        }
    }

    /// Lets something that ended change a leader, and passes on what follows from it.
    pub(super) fn advance(
        &mut self,
        id: TopicIdPartition,
        now: Now,
        effects: &mut Effects,
        change: impl FnOnce(&mut Leader, &mut Told) -> Result<(), Fault>,
    ) {
        let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
            return;
        };
        let (before, epoch) = (leader.high_watermark(), leader.epoch());
        let mut told = Told::new();
        let outcome = change(leader, &mut told);
        let moved = leader.high_watermark() > before;
        let begun = leader.epoch() != epoch;
        for turn in leader.take_refused() {
            self.early.note_refused(id, turn, now.monotonic);
        }
        self.tell(id, told, effects);
        if let Err(fault) = outcome {
            self.take_offline(id, &fault, now, effects);
            return;
        }
        self.drive(id, now, effects);
        self.reload_coordinator_if_settled(id, effects);
        if moved {
            self.wake_readers(id);
        } else if begun {
            self.stir_readers(id);
        }
    }

    /// Whether anything waits for room on a disk.
    pub(super) fn wants_room(&self) -> bool {
        let wants = |slot: &Slot| matches!(slot, Slot::Opening(opening) if opening.wants_room);
        self.jobs.has_put_off() || self.slots.values().any(wants)
    }

    /// A fault of its files: the partition is gone until a restart, and everybody who waits for it hears so.
    pub(super) fn take_offline(
        &mut self,
        id: TopicIdPartition,
        fault: &Fault,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(Slot::Leading(leader)) = self.slots.get(&id) else {
            return;
        };
        tracing::error!(partition = %leader.name(), %fault, "is offline until a restart");
        self.give_up(id, fault, Errand::Mark(id), now, effects);
        self.suspect_directory_of(id, effects);
    }

    /// Lets go of a partition that is led here, until a restart. The next start has to find its `mark`.
    pub(super) fn give_up(
        &mut self,
        id: TopicIdPartition,
        fault: &Fault,
        mark: Errand,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(Slot::Leading(leader)) = self.slots.insert(id, Slot::Offline) else {
            return;
        };
        // Its files are not as a clean stop leaves them: the next start has to look at them.
        self.closed_in_order = false;
        let mut told = Told::new();
        let log = leader.into_log(&mut told);
        self.reported.forget(log.directory());
        let job = MarkJob::new(log.directory(), &fault.to_string());
        self.order(mark, Job::Mark(job), effects);
        self.tell(id, told, effects);
        self.cancel_flush_timer(id);
        self.unload_coordinator(id);
        self.forget_compaction(id, effects);
        self.wake_readers(id);
        // Who waited for its coordinator to be loaded hears that there is none.
        self.retry_deferred(now, effects);
    }

    fn remove_topic(&mut self, topic: &Topic, effects: &mut Effects) {
        for (number, partition) in topic.partitions() {
            let id = TopicIdPartition {
                topic_id: topic.id,
                partition: number,
            };
            if !self.owns(id) {
                continue;
            }
            self.remove_partition(id, &topic.name, topic.id, partition, effects);
        }
    }

    fn remove_partition(
        &mut self,
        id: TopicIdPartition,
        topic: &TopicName,
        topic_id: TopicId,
        partition: &Partition,
        effects: &mut Effects,
    ) {
        let mut told = Told::new();
        match self.slots.remove(&id) {
            Some(Slot::Leading(leader)) => {
                let log = leader.into_log(&mut told);
                self.reported.forget(log.directory());
            }
            Some(Slot::Opening(_)) => {
                let waiters = self.early.take(id).map(|offered| offered.waiter);
                told.extend(waiters.map(|waiter| (waiter, Err(AppendError::Storage))));
            }
            Some(Slot::Offline) | None => {}
        }
        for (_, result) in &mut told {
            *result = Err(Unavailable::Unknown(id).into());
        }
        self.tell(id, told, effects);
        self.checkpointed.remove(&id);
        self.cancel_flush_timer(id);
        self.deletions.forget(id);
        self.forget_compaction(id, effects);
        self.unload_coordinator(id);
        self.wake_readers(id);
        if let Some(directory) = self.directory_of(partition) {
            let log_directory = directory.path.clone();
            let name = TopicPartition {
                topic: topic.clone(),
                partition: id.partition,
            };
            let removal = Removal {
                name,
                log_directory,
                topic_id,
            };
            self.order(Errand::Remove(id), Job::Remove(removal), effects);
        }
    }

    /// Where the log directory of a partition is.
    pub(super) fn log_directory_of(&self, id: TopicIdPartition) -> Option<&LogDirectory> {
        self.directory_of(self.image.partition(id)?)
    }

    /// Begins a ring action.
    pub(super) fn act(&mut self, pending: Pending, action: Action, effects: &mut Effects) {
        let ticket = Ticket(self.next_serial());
        self.pending.insert(ticket, pending);
        effects.actions.push((ticket, action));
    }
}

/// Says once what an unclean stop cost.
fn report_recovery(partition: &TopicPartition, report: &RecoveryReport) {
    for cut in &report.cuts {
        tracing::warn!(
            %partition, offset = %cut.offset, bytes = cut.bytes_cut, found = %cut.fault,
            "cut an unfinished tail off the log"
        );
    }
    for warning in &report.warnings {
        tracing::warn!(%partition, %warning, "while opening the log");
    }
    for note in &report.notes {
        tracing::info!(%partition, %note, "while opening the log");
    }
    if let Some(damage) = &report.damage {
        tracing::error!(%partition, %damage, "the log is damaged; it serves only what lies before");
    }
}

/// An I/O error as a fault of the partition.
pub(super) fn fault(error: &IoError) -> Fault {
    Fault(error.to_string())
}

/// How long a new topic waits before it asks again whether the files of an old one of its name are gone.
const NAME_TAKEN_DELAY: Duration = Duration::from_millis(10);
/// How long a partition waits for space before it is tried again.
pub(super) const NO_SPACE_DELAY: Duration = Duration::from_secs(1);
