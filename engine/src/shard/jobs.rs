//! Jobs this shard has out at the maintenance threads, and what to do with their results.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::fetches::IndexLoad;
use super::hosting::{NO_SPACE_DELAY, fault};
use super::step::{Effects, Shard, Timer};
use crate::io::IoError;
use crate::log::{Doomed, RollJob, Searched, WalkError};
use crate::maintenance::{Done, DoomedDirectory, Job, JobId, Removal, UNMARKED};
use crate::partition::OffsetLookupError;
use crate::types::{DirectoryId, Now, TopicIdPartition};

/// Whom the result of a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// A partition that is being opened.
    Open(TopicIdPartition),
    /// The same for one that has just been made: its first try.
    Make(TopicIdPartition),
    /// A directory that goes away: nobody waits.
    Remove(TopicIdPartition),
    /// A leader's roll.
    Roll(TopicIdPartition),
    /// A leader's cut.
    CutBack(TopicIdPartition),
    /// A leader's preallocation.
    Preallocate(TopicIdPartition),
    /// A leader's epochs.
    Epochs(TopicIdPartition),
    /// A log's recovery point.
    Flush(TopicIdPartition),
    /// The mark of a partition whose files have failed. Until it is there a start trusts the page cache.
    Mark(TopicIdPartition),
    /// The same for one of very many, whose log directory has failed.
    MarkWithDirectory(TopicIdPartition),
    /// A batch that a leader has to have opened.
    Unpack(TopicIdPartition),
    /// Segments that are let go.
    Delete(TopicIdPartition),
    /// Segments that are unlinked: nobody waits.
    Unlink,
    /// The same of a partition's directory.
    UnlinkDirectory,
    /// An index that fetches wait for.
    LoadIndex(IndexLoad),
    /// One entry of an offset lookup.
    Lookup { work: u64, index: usize },
    /// A coordinator's partition.
    Replay(TopicIdPartition),
    /// A slice of a compaction, on open files.
    Clean(TopicIdPartition),
    /// A step of a compaction that names files.
    CleanFiles(TopicIdPartition),
    /// A compaction of a log that is gone: nobody waits.
    LetGo,
    /// Checkpoints nobody waits for.
    Checkpoint,
    /// A log directory that may have failed.
    Probe(DirectoryId),
    /// Room that somebody asked for.
    Measure { work: u64 },
    /// Checkpoints of a log directory that DeleteRecords wait for.
    DeleteRecords(DirectoryId),
    /// A log that is being closed.
    Close(TopicIdPartition),
}

impl Errand {
    /// The partition whose files the job changes, if it changes any that others may. Such jobs run one at a time, in the
    /// order they were ordered. A cut is of the active record file alone, which its leader keeps from rolls and syncs.
    const fn changes(self) -> Option<TopicIdPartition> {
        match self {
            Self::Open(id)
            | Self::Make(id)
            | Self::Remove(id)
            | Self::Roll(id)
            | Self::Preallocate(id)
            | Self::Epochs(id)
            | Self::Flush(id)
            | Self::Mark(id)
            | Self::MarkWithDirectory(id)
            | Self::Delete(id)
            | Self::CleanFiles(id)
            | Self::Close(id) => Some(id),
            Self::CutBack(_)
            | Self::Unpack(_)
            | Self::Unlink
            | Self::UnlinkDirectory
            | Self::LoadIndex(_)
            | Self::Lookup { .. }
            | Self::Replay(_)
            | Self::Clean(_)
            | Self::LetGo
            | Self::Checkpoint
            | Self::Probe(_)
            | Self::Measure { .. }
            | Self::DeleteRecords(_) => None,
        }
    }

    /// Whether somebody waits for it, or will as soon as the next append finds no room, or a kill before it is done would do
    /// harm. What is done at the shard's own pace, however much it is, does not stand in its way.
    const fn is_urgent(self) -> bool {
        match self {
            Self::Roll(_)
            | Self::CutBack(_)
            | Self::Preallocate(_)
            | Self::Epochs(_)
            | Self::Mark(_)
            | Self::LoadIndex(_)
            | Self::Replay(_)
            | Self::Measure { .. }
            | Self::DeleteRecords(_) => true,
            Self::Open(_)
            | Self::Make(_)
            | Self::Remove(_)
            | Self::Flush(_)
            | Self::MarkWithDirectory(_)
            | Self::Unpack(_)
            | Self::Delete(_)
            | Self::Unlink
            | Self::UnlinkDirectory
            | Self::Lookup { .. }
            | Self::Clean(_)
            | Self::CleanFiles(_)
            | Self::LetGo
            | Self::Checkpoint
            | Self::Probe(_)
            | Self::Close(_) => false,
        }
    }
}

/// The jobs of a shard: out, or waiting to be. What waits is bounded by what partitions and requests there are: each
/// has at most one of a kind.
#[derive(Debug)]
pub(super) struct Jobs {
    errands: BTreeMap<JobId, Errand>,
    /// Those about files that are urgent.
    urgent: Lane,
    /// New partitions: somebody waits for them, too, but however many they are, a full segment does not.
    new: Lane,
    /// The others about files.
    files: Lane,
    /// Directories that are unlinked, which for a large topic takes minutes: nothing else may have to wait for that.
    unlinks: Lane,
    /// Those about batches of clients, who must not hold up the others.
    batches: Lane,
    /// Coordinators that are read: one is served before the next is begun, or all would have to wait for the last.
    replays: Lane,
    /// Partitions whose files a job is changing.
    changing: BTreeMap<TopicIdPartition, Changing>,
    /// Those that found no room, until they are done.
    put_off: BTreeMap<JobId, PutOff>,
}

/// A job that has not been handed out.
#[derive(Debug)]
struct Ordered {
    id: JobId,
    errand: Errand,
    job: Job,
}

/// Jobs about the files of one partition.
#[derive(Debug)]
struct Changing {
    /// The one whose turn it is.
    first: JobId,
    /// Those that wait for it.
    behind: VecDeque<Ordered>,
}

/// A job that found no room, and is tried again until there is some.
#[derive(Debug)]
struct PutOff {
    /// `None` while it is tried.
    job: Option<Box<Job>>,
    error: IoError,
}

/// Jobs that are handed out in order.
#[derive(Debug)]
struct Lane {
    /// At most so many are out.
    out_max: usize,
    out: usize,
    /// Those that wait until fewer are out.
    waiting: VecDeque<Ordered>,
}

impl Lane {
    const fn of(out_max: usize) -> Self {
        Self {
            out_max,
            out: 0,
            waiting: VecDeque::new(),
        }
    }

    fn hand_out(&mut self, ordered: Ordered, effects: &mut Effects) {
        if self.out < self.out_max {
            self.out += 1;
            effects.jobs.push((ordered.id, ordered.job));
        } else {
            self.waiting.push_back(ordered);
        }
    }

    fn done(&mut self, effects: &mut Effects) {
        self.out -= 1;
        if self.out < self.out_max {
            self.go_on(effects);
        }
    }

    /// Hands out the next, if one waits. Removals that stand together go as one job, which flushes no more for many than
    /// for one. Each of them counts as out: those that are urgent wait behind one such job and not behind several.
    fn go_on(&mut self, effects: &mut Effects) {
        let Some(Ordered { id, job, .. }) = self.waiting.pop_front() else {
            return;
        };
        self.out += 1;
        let job = match job {
            Job::Remove(removal) => {
                let mut removals = vec![(id, removal)];
                while removals.len() < REMOVALS_MAX
                    && let Some(another) = self.next_removal()
                {
                    self.out += 1;
                    removals.push(another);
                }
                Job::RemoveAll(removals)
            }
            job => job,
        };
        effects.jobs.push((id, job));
    }

    /// The next that waits, if it is a removal.
    fn next_removal(&mut self) -> Option<(JobId, Removal)> {
        let Ordered { id, errand, job } = self.waiting.pop_front()?;
        match job {
            Job::Remove(removal) => Some((id, removal)),
            job => {
                self.waiting.push_front(Ordered { id, errand, job });
                None
            }
        }
    }

    /// Makes the job about the files of `partition`, if it waits here, the next.
    fn bring_forward(&mut self, partition: TopicIdPartition) {
        let mut waiting = self.waiting.iter();
        let place = waiting.position(|ordered| ordered.errand.changes() == Some(partition));
        if let Some(ordered) = place.and_then(|place| self.waiting.remove(place)) {
            self.waiting.push_front(ordered);
        }
    }
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            errands: BTreeMap::new(),
            urgent: Lane::of(URGENT_OUT_MAX),
            new: Lane::of(NEW_OUT_MAX),
            files: Lane::of(LEISURELY_OUT_MAX),
            unlinks: Lane::of(UNLINKS_OUT_MAX),
            batches: Lane::of(UNPACKING_OUT_MAX),
            replays: Lane::of(REPLAYS_OUT_MAX),
            changing: BTreeMap::new(),
            put_off: BTreeMap::new(),
        }
    }
}

impl Jobs {
    fn order(&mut self, ordered: Ordered, effects: &mut Effects) {
        self.errands.insert(ordered.id, ordered.errand);
        if let Some(partition) = ordered.errand.changes() {
            match self.changing.entry(partition) {
                Entry::Occupied(mut changing) => {
                    changing.get_mut().behind.push_back(ordered);
                    return self.clear_the_way(partition);
                }
                Entry::Vacant(free) => {
                    free.insert(Changing {
                        first: ordered.id,
                        behind: VecDeque::new(),
                    });
                }
            }
        }
        self.hand_out(ordered, effects);
    }

    fn hand_out(&mut self, ordered: Ordered, effects: &mut Effects) {
        let errand = ordered.errand;
        match self.lane(errand) {
            Some(lane) => lane.hand_out(ordered, effects),
            None => effects.jobs.push((ordered.id, ordered.job)),
        }
        if let Some(partition) = errand.changes() {
            self.clear_the_way(partition);
        }
    }

    /// Where an errand waits for its turn. `None` for those that are counted by whoever orders them.
    const fn lane(&mut self, errand: Errand) -> Option<&mut Lane> {
        match errand {
            Errand::Lookup { .. } => None,
            Errand::Unpack(_) => Some(&mut self.batches),
            Errand::Replay(_) => Some(&mut self.replays),
            Errand::Make(_) => Some(&mut self.new),
            Errand::UnlinkDirectory => Some(&mut self.unlinks),
            _ if errand.is_urgent() => Some(&mut self.urgent),
            _ => Some(&mut self.files),
        }
    }

    /// Where an urgent job waits for another about the same partition, that one is not kept waiting either.
    fn clear_the_way(&mut self, partition: TopicIdPartition) {
        let is_urgent = |ordered: &Ordered| ordered.errand.is_urgent();
        let changing = self.changing.get(&partition);
        if changing.is_some_and(|changing| changing.behind.iter().any(is_urgent)) {
            self.files.bring_forward(partition);
        }
    }

    /// Takes a job off the books and hands out what waited for it.
    fn done(&mut self, id: JobId, effects: &mut Effects) -> Option<Errand> {
        let errand = self.errands.remove(&id)?;
        if let Some(lane) = self.lane(errand) {
            lane.done(effects);
        }
        self.put_off.remove(&id);
        self.hand_out_next(errand, effects);
        Some(errand)
    }

    /// Hands out what waits for the end of a job about the same partition.
    fn hand_out_next(&mut self, ended: Errand, effects: &mut Effects) {
        let Some(partition) = ended.changes() else {
            return;
        };
        let Some(changing) = self.changing.get_mut(&partition) else {
            return;
        };
        match changing.behind.pop_front() {
            Some(next) => {
                changing.first = next.id;
                self.hand_out(next, effects);
            }
            None => {
                self.changing.remove(&partition);
            }
        }
    }

    /// Keeps a job that is to be tried again; those behind it go on waiting. True when it is put off for the first time.
    fn keep(&mut self, id: JobId, job: Box<Job>, error: IoError, effects: &mut Effects) -> bool {
        let errand = self.errands.get(&id).copied();
        if let Some(lane) = errand.and_then(|errand| self.lane(errand)) {
            lane.done(effects);
        }
        let job = Some(job);
        self.put_off.insert(id, PutOff { job, error }).is_none()
    }

    /// The partition that a job is to mark, if that is what it does.
    fn marks(&self, id: JobId) -> Option<TopicIdPartition> {
        match self.errands.get(&id)? {
            Errand::Mark(partition) | Errand::MarkWithDirectory(partition) => Some(*partition),
            _ => None,
        }
    }

    /// Whether what is to change a partition's files has to wait until a job that is put off is tried again.
    pub(super) fn is_held_up(&self, partition: TopicIdPartition) -> bool {
        let changing = self.changing.get(&partition);
        let put_off = changing.and_then(|changing| self.put_off.get(&changing.first));
        put_off.is_some_and(|put_off| put_off.job.is_some())
    }

    /// Takes a job off the books that waits behind another, the first that `is_one`; says of which partition.
    fn take_behind(&mut self, id: JobId, is_one: fn(Errand) -> bool) -> Option<TopicIdPartition> {
        let partition = self.errands.get(&id)?.changes()?;
        let behind = &mut self.changing.get_mut(&partition)?.behind;
        let place = behind.iter().position(|ordered| is_one(ordered.errand))?;
        let taken = behind.remove(place)?;
        self.errands.remove(&taken.id);
        Some(partition)
    }

    /// Hands a job out again that was put off.
    fn try_again(&mut self, id: JobId, effects: &mut Effects) {
        let put_off = self.put_off.get_mut(&id);
        let job = put_off.and_then(|put_off| put_off.job.take());
        if let (Some(job), Some(&errand)) = (job, self.errands.get(&id)) {
            let job = *job;
            self.hand_out(Ordered { id, errand, job }, effects);
        }
    }

    /// Takes the partitions off the books that wait for their recovery, but for those whose files another job is changing.
    fn give_up_recoveries(&mut self, effects: &mut Effects) {
        let new = std::mem::take(&mut self.new.waiting);
        let files = std::mem::take(&mut self.files.waiting);
        for ordered in new.into_iter().chain(files) {
            match &ordered.job {
                Job::Open(open) if !open.clean => {
                    self.errands.remove(&ordered.id);
                    self.hand_out_next(ordered.errand, effects);
                }
                _ => self.hand_out(ordered, effects),
            }
        }
    }

    /// Takes the coordinators off the books that wait to be read, and the directories that wait to be unlinked.
    fn give_up_slices(&mut self) {
        for lane in [&mut self.replays, &mut self.unlinks] {
            for ordered in std::mem::take(&mut lane.waiting) {
                self.errands.remove(&ordered.id);
            }
        }
    }

    /// Whether any was put off.
    pub(super) fn has_put_off(&self) -> bool {
        !self.put_off.is_empty()
    }

    /// Takes a job off the books that was put off, and will not be tried again.
    fn give_up(&mut self, id: JobId, effects: &mut Effects) -> Option<(Errand, PutOff)> {
        let put_off = self.put_off.remove(&id)?;
        let errand = self.errands.remove(&id)?;
        self.hand_out_next(errand, effects);
        Some((errand, put_off))
    }
}

impl Shard {
    /// Recovers no more partitions than are being opened: the others need it at the next start. What was left in order is opened
    /// soon, and left so again.
    pub(super) fn give_up_recoveries(&mut self, effects: &mut Effects) {
        self.jobs.give_up_recoveries(effects);
    }

    /// Reads no more coordinators and unlinks no more directories than it has begun with, and of those no more than a slice: nobody
    /// asks the former any more, and the next start sees to the latter.
    pub(super) fn give_up_slices(&mut self) {
        self.jobs.give_up_slices();
    }

    /// Hands a job out as soon as it may run.
    pub(super) fn order(&mut self, errand: Errand, job: Job, effects: &mut Effects) {
        let id = JobId(self.next_serial());
        self.jobs.order(Ordered { id, errand, job }, effects);
    }

    /// Orders a leader's roll. Behind a job that is put off it would keep appends waiting for as long as that finds no room, so it
    /// ends as if it had found none itself.
    pub(super) fn order_roll(
        &mut self,
        id: TopicIdPartition,
        job: RollJob,
        now: Now,
        effects: &mut Effects,
    ) {
        if self.jobs.is_held_up(id) {
            self.put_roll_off(id, now, effects);
        } else {
            self.order(Errand::Roll(id), Job::Roll(job), effects);
        }
    }

    fn put_roll_off(&mut self, id: TopicIdPartition, now: Now, effects: &mut Effects) {
        self.advance(id, now, effects, |leader, told| {
            leader.roll_put_off(now, told);
            Ok(())
        });
    }

    /// A job has ended.
    pub(super) fn done(&mut self, id: JobId, done: Done, now: Now, effects: &mut Effects) {
        let done = match done {
            Done::PutOff(job, error) => return self.put_off(id, job, error, now, effects),
            Done::PartReplayed(replay) => {
                let wanted = self.is_replay_wanted(id);
                return self.go_on(id, Job::Replay(replay), wanted, effects);
            }
            Done::PartUnlinked(directory) => {
                return self.go_on(id, Job::UnlinkDirectory(directory), true, effects);
            }
            Done::RemovedAll(each) => {
                for (id, done) in each {
                    self.done(id, done, now, effects);
                }
                return;
            }
            done => done,
        };
        let was_put_off = self.jobs.put_off.contains_key(&id);
        let Some(errand) = self.jobs.done(id, effects) else {
            return;
        };
        match (errand, done) {
            (Errand::Open(id) | Errand::Make(id), Done::Opened(result)) => {
                self.opened(id, result, now, effects);
            }
            (Errand::Open(id) | Errand::Make(id), Done::NotYetOpened(open, why)) => {
                self.open_later(id, open, &why, now, effects);
            }
            (Errand::Roll(id), Done::Rolled(result)) => {
                let result = result.map(|rolled| *rolled);
                self.advance(id, now, effects, |leader, told| {
                    leader.rolled(result, now, told)
                });
                self.note_rolled_index(id);
            }
            (Errand::CutBack(id), Done::CutBack(result)) => {
                self.advance(id, now, effects, |leader, told| {
                    leader.cut_back(result, now, told)
                });
            }
            (Errand::Preallocate(id), Done::Preallocated) => {
                self.advance(id, now, effects, |leader, _| {
                    leader.preallocated();
                    Ok(())
                });
            }
            (Errand::Epochs(id), Done::EpochsWritten(result)) => {
                self.advance(id, now, effects, |leader, _| leader.epochs_written(result));
            }
            (Errand::Flush(id), Done::Flushed(result)) => {
                self.advance(id, now, effects, |leader, told| {
                    leader.flushed(result, told)
                });
                self.flushes.out -= 1;
                self.flush_on(effects);
            }
            (Errand::Unpack(id), Done::Unpacked(result)) => {
                let result = result.map(|batch| *batch);
                self.advance(id, now, effects, |leader, told| {
                    leader.unpacked(result, now, told);
                    Ok(())
                });
            }
            (Errand::Mark(id) | Errand::MarkWithDirectory(id), Done::Marked(result)) => {
                match result {
                    Ok(()) if was_put_off => tracing::info!(partition = %id, "its fault is marked"),
                    Ok(()) => {}
                    Err(error) => tracing::error!(partition = %id, %error, "{UNMARKED}"),
                }
            }
            (Errand::Delete(id), Done::Deleted(result)) => self.deleted(id, result, now, effects),
            (Errand::LoadIndex(load), Done::IndexLoaded(result)) => {
                self.index_loaded(load, result, now, effects);
            }
            (Errand::Lookup { work, index }, Done::LookedUp(result)) => {
                let result = self.found(result);
                self.searched(work, index, result, effects);
            }
            (Errand::Replay(id), Done::Replayed(result)) => {
                self.coordinator_loaded(id, result, now, effects);
            }
            (Errand::Probe(directory), Done::Probed(result)) => {
                self.probed(directory, result, effects);
            }
            (Errand::Measure { work }, Done::Measured(spaces)) => self.measured(work, spaces),
            (Errand::DeleteRecords(directory), Done::Checkpointed(result)) => {
                self.log_starts_written(directory, &result, effects);
            }
            (Errand::Clean(id) | Errand::CleanFiles(id), Done::Cleaned(result)) => {
                self.cleaned(id, result, now, effects);
            }
            (Errand::LetGo, Done::LetGo) => {}
            (Errand::Checkpoint, Done::Checkpointed(result)) => warn_of(result, "a checkpoint"),
            (Errand::Remove(_), Done::Removed(result)) => self.removed(result, effects),
            (Errand::UnlinkDirectory, Done::Unlinked(result)) => {
                warn_of(result, "a deleted partition");
            }
            (Errand::Unlink, Done::Unlinked(result)) => warn_of(result, "a deleted segment"),
            (Errand::Close(id), Done::Closed(result)) => self.closed(id, result),
            (errand, done) => unreachable_pair(errand, &done),
        }
    }

    /// A slice of a job is done. The next comes behind what was ordered meanwhile, but before others of its lane that wait; none does
    /// in a stop, or where it is not `wanted` any more.
    fn go_on(&mut self, id: JobId, job: Job, wanted: bool, effects: &mut Effects) {
        if wanted && !self.stopping {
            effects.jobs.push((id, job));
        } else {
            self.jobs.done(id, effects);
        }
    }

    /// Whether somebody still waits for the coordinator that a job reads.
    fn is_replay_wanted(&self, id: JobId) -> bool {
        let errand = self.jobs.errands.get(&id);
        matches!(errand, Some(Errand::Replay(partition)) if self.is_being_read(*partition))
    }

    /// A partition is out of the way, whatever has to be unlinked still.
    fn removed(&mut self, result: Result<Option<DoomedDirectory>, IoError>, effects: &mut Effects) {
        match result {
            Ok(Some(directory)) if !self.stopping => {
                let job = Job::UnlinkDirectory(directory);
                self.order(Errand::UnlinkDirectory, job, effects);
            }
            result => warn_of(result.map(drop), "a deleted partition"),
        }
    }

    fn put_off(
        &mut self,
        id: JobId,
        job: Box<Job>,
        error: IoError,
        now: Now,
        effects: &mut Effects,
    ) {
        let text = error.to_string();
        let is_new = self.jobs.keep(id, job, error, effects);
        let unmarked = self.jobs.marks(id);
        if is_new && let Some(partition) = unmarked {
            tracing::error!(%partition, error = %text, "{UNMARKED}");
        }
        if self.stopping {
            return self.give_up_job(id, now, effects);
        }
        if is_new && unmarked.is_none() {
            tracing::warn!(error = %text, "a change of a partition's files is put off");
        }
        let due = now.monotonic.after(NO_SPACE_DELAY);
        self.timers.set(due, Timer::TryAgain(id));
        let is_roll = |errand: Errand| matches!(errand, Errand::Roll(_));
        if let Some(partition) = self.jobs.take_behind(id, is_roll) {
            self.put_roll_off(partition, now, effects);
        }
        let is_flush = |errand: Errand| matches!(errand, Errand::Flush(_));
        if let Some(partition) = self.jobs.take_behind(id, is_flush) {
            self.put_flush_off(partition, effects);
        }
    }

    /// A job was put off for long enough. One about a partition that is not led here any more is in the way of what is to
    /// come of that, and so is the mark of one that is not there any more.
    pub(super) fn try_again(&mut self, id: JobId, now: Now, effects: &mut Effects) {
        let put_off = self.jobs.put_off.get(&id);
        if put_off.is_none_or(|put_off| put_off.job.is_none()) {
            // It is out: a stop was ahead of the timer.
            return;
        }
        let wanted = match self.jobs.errands.get(&id).copied() {
            Some(Errand::Remove(_) | Errand::UnlinkDirectory) => true,
            Some(Errand::Mark(id) | Errand::MarkWithDirectory(id)) => self.is_offline(id),
            Some(errand) => errand.changes().is_some_and(|id| self.leads(id)),
            None => return,
        };
        if wanted {
            self.jobs.try_again(id, effects);
        } else {
            self.give_up_job(id, now, effects);
        }
    }

    /// A stop waits for no room. A mark has a last try: without it the next start believes the page cache.
    pub(super) fn give_up_put_off(&mut self, now: Now, effects: &mut Effects) {
        let waiting = self.jobs.put_off.iter();
        let waiting: Vec<JobId> = waiting
            .filter(|(_, put_off)| put_off.job.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            match self.jobs.marks(id) {
                Some(_) => self.try_again(id, now, effects),
                None => self.give_up_job(id, now, effects),
            }
        }
    }

    fn give_up_job(&mut self, id: JobId, now: Now, effects: &mut Effects) {
        match self.jobs.give_up(id, effects) {
            // Its directory stays, perhaps by the name of a topic that was made since.
            Some((Errand::Remove(_), PutOff { error, .. })) => {
                self.closed_in_order = false;
                warn_of(Err(error), "a deleted partition");
            }
            // The files come back with the next start, which has to look at them.
            Some((Errand::Delete(id), PutOff { error, .. })) if self.leads(id) => {
                self.closed_in_order = false;
                warn_of(Err(error), "deleted segments");
            }
            Some((Errand::CleanFiles(id), PutOff { job, error })) => {
                self.half_swapped(id, &error, now, effects);
                if let Some(Job::Clean { cleaning, .. }) = job.map(|job| *job) {
                    self.let_go(cleaning, effects);
                }
            }
            _ => {}
        }
    }

    fn deleted(
        &mut self,
        id: TopicIdPartition,
        result: Result<Doomed, IoError>,
        now: Now,
        effects: &mut Effects,
    ) {
        match result {
            Ok(doomed) => self.unlink_later(id, doomed, now),
            Err(error) => self.take_offline(id, &fault(&error), now, effects),
        }
    }

    /// Files that were renamed stay for `file.delete.delay.ms`.
    pub(super) fn unlink_later(&mut self, id: TopicIdPartition, doomed: Doomed, now: Now) {
        let delay = match self.leading(id) {
            Ok(leader) => leader.config().file_delete_delay_ms,
            Err(_) => 0,
        };
        let delay = Duration::from_millis(delay.unsigned_abs());
        self.timers
            .set(now.monotonic.after(delay), Timer::Unlink(doomed));
    }

    /// What a search by time has come to.
    fn found(
        &mut self,
        result: Result<Searched, WalkError>,
    ) -> Result<Searched, OffsetLookupError> {
        result.map_err(|error| {
            if self.reported.is_news(error.path()) {
                tracing::error!(%error, "an offset cannot be looked up");
            } else {
                tracing::debug!(%error, "an offset cannot be looked up");
            }
            OffsetLookupError::Storage
        })
    }

    /// Whether a job is out or waits to be.
    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.errands.is_empty()
    }
}

/// What is lost is only housekeeping: the next round, or the next start, does it again.
fn warn_of(result: Result<(), IoError>, what: &str) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what} could not be dealt with");
    }
}

/// `Job::run` answers every kind of job with its own kind of result.
fn unreachable_pair(errand: Errand, done: &Done) {
    debug_assert!(false, "{errand:?} was answered with {done:?}");
}

/// How many jobs of one shard may be out at a time about files; their results have room in its channel.
pub(super) const JOBS_OUT_MAX: usize = 64;
/// How many of them may be such as nobody waits for. They keep the threads busy; those that are urgent wait behind these in the
/// queue of the threads.
const LEISURELY_OUT_MAX: usize = 8;
/// And how many may be new partitions.
const NEW_OUT_MAX: usize = 4;
/// And how many may unlink directories: one may be large.
const UNLINKS_OUT_MAX: usize = 2;
const URGENT_OUT_MAX: usize = JOBS_OUT_MAX - LEISURELY_OUT_MAX - NEW_OUT_MAX - UNLINKS_OUT_MAX;
/// How many removals make one job: its flushes are few among so many, and it keeps a thread no longer than a recovery.
const REMOVALS_MAX: usize = 256;
/// And how many about batches: more would only wait elsewhere.
pub(super) const UNPACKING_OUT_MAX: usize = 8;
/// And how many that read coordinators: enough to keep the threads busy.
pub(super) const REPLAYS_OUT_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::step::tests::partition;
    use crate::types::TopicPartition;

    /// Jobs of a shard, in the order of their numbers; what they do does not matter here.
    #[derive(Default)]
    struct Bench {
        jobs: Jobs,
        ordered: u64,
        effects: Effects,
    }

    impl Bench {
        fn order(&mut self, errand: Errand) -> JobId {
            self.order_job(errand, Job::Measure(Vec::new()))
        }

        fn order_job(&mut self, errand: Errand, job: Job) -> JobId {
            self.ordered += 1;
            let id = JobId(self.ordered);
            self.jobs
                .order(Ordered { id, errand, job }, &mut self.effects);
            id
        }

        /// Removes partitions by jobs that may be joined.
        fn remove(&mut self, count: i32) {
            for number in 0..count {
                let id = partition(number);
                let removal = Removal {
                    name: TopicPartition {
                        topic: "t".parse().unwrap(),
                        partition: number,
                    },
                    log_directory: "/data".into(),
                    topic_id: id.topic_id,
                };
                self.order_job(Errand::Remove(id), Job::Remove(removal));
            }
        }

        /// Removes very many partitions.
        fn fill(&mut self) -> Vec<JobId> {
            for number in 1_000..2_000 {
                self.order(Errand::Remove(partition(number)));
            }
            self.handed_out()
        }

        fn handed_out(&mut self) -> Vec<JobId> {
            let jobs = self.effects.jobs.drain(..);
            jobs.map(|(id, _)| id).collect()
        }

        fn done(&mut self, id: JobId) -> Vec<JobId> {
            self.jobs.done(id, &mut self.effects);
            self.handed_out()
        }
    }

    #[test]
    fn a_coordinator_is_read_before_what_else_waits() {
        let mut bench = Bench::default();
        for _ in 0..66 {
            bench.order(Errand::Checkpoint);
        }
        assert_eq!(bench.handed_out().len(), LEISURELY_OUT_MAX);
        let replay = bench.order(Errand::Replay(partition(0)));
        assert_eq!(bench.handed_out(), [replay]);
    }

    #[test]
    fn the_mark_of_a_failed_sync_waits_for_none_of_what_is_done_at_leisure() {
        let mut bench = Bench::default();
        let out = bench.fill();
        let mark = bench.order(Errand::Mark(partition(0)));
        assert_eq!(bench.handed_out(), [mark]);
        // Behind what is being done to its files, which then waits for nothing else either.
        let delete = bench.order(Errand::Delete(partition(1)));
        let behind = bench.order(Errand::Mark(partition(1)));
        assert_eq!(bench.done(out[0]), [delete]);
        assert_eq!(bench.done(delete), [JobId(out[7].0 + 1), behind]);
        bench.order(Errand::MarkWithDirectory(partition(2)));
        assert_eq!(bench.handed_out(), []);
    }

    #[test]
    fn coordinators_are_read_one_after_another_and_hold_up_no_full_segment() {
        let mut bench = Bench::default();
        let replays = (0..50).map(|number| bench.order(Errand::Replay(partition(number))));
        let replays: Vec<JobId> = replays.collect();
        assert_eq!(bench.handed_out(), replays[..REPLAYS_OUT_MAX]);
        let rolls = (0..50).map(|number| bench.order(Errand::Roll(partition(number))));
        let rolls: Vec<JobId> = rolls.collect();
        assert_eq!(bench.handed_out(), rolls);
        assert_eq!(bench.done(replays[0]), [replays[REPLAYS_OUT_MAX]]);
    }

    #[test]
    fn a_full_segment_waits_for_none_of_a_thousand_partitions_that_are_deleted() {
        let mut bench = Bench::default();
        let out = bench.fill();
        let rolls: Vec<JobId> = (0..100)
            .map(|number| bench.order(Errand::Roll(partition(number))))
            .collect();
        assert_eq!(bench.handed_out(), rolls[..URGENT_OUT_MAX]);
        assert_eq!(bench.done(rolls[3]), [rolls[URGENT_OUT_MAX]]);
        // Nor do the others stand still while segments are rolled.
        let next = bench.done(out[0]);
        assert_eq!(next, [JobId(out[7].0 + 1)]);
    }

    #[test]
    fn a_cut_waits_for_nothing_that_is_done_about_other_files() {
        let mut bench = Bench::default();
        let clean = bench.order(Errand::CleanFiles(partition(0)));
        let cut = bench.order(Errand::CutBack(partition(0)));
        assert_eq!(bench.handed_out(), [clean, cut]);
    }

    #[test]
    fn a_new_partition_waits_for_none_that_is_deleted_and_a_full_segment_for_none_that_is_new() {
        let mut bench = Bench::default();
        bench.fill();
        let new: Vec<JobId> = (0..100)
            .map(|number| bench.order(Errand::Make(partition(number))))
            .collect();
        assert_eq!(bench.handed_out(), new[..NEW_OUT_MAX]);
        let roll = bench.order(Errand::Roll(partition(100)));
        assert_eq!(bench.handed_out(), [roll]);
        assert_eq!(bench.done(new[0]), [new[NEW_OUT_MAX]]);
        // Its name was not free: it comes again and again, and overtakes nobody.
        bench.order(Errand::Open(partition(101)));
        assert_eq!(bench.handed_out(), []);
    }

    /// Each writes the checkpoints anew and flushes directories: one by one, a large topic took minutes.
    #[test]
    fn removals_that_wait_are_handed_out_together() {
        let mut bench = Bench::default();
        bench.remove(1_000);
        bench.order(Errand::Checkpoint);
        let mut jobs = Vec::new();
        while let Some((id, job)) = bench.effects.jobs.pop() {
            let ids: Vec<JobId> = match job {
                Job::RemoveAll(removals) => removals.into_iter().map(|(id, _)| id).collect(),
                _ => vec![id],
            };
            for id in &ids {
                bench.jobs.done(*id, &mut bench.effects);
            }
            jobs.push(ids.len());
        }
        assert_eq!(jobs, [1, 256, 256, 256, 224, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert!(bench.jobs.errands.is_empty());
    }

    /// For a large topic that took minutes, of which its partitions' own jobs were the least.
    #[test]
    fn nothing_waits_until_the_files_of_deleted_partitions_are_unlinked() {
        let mut bench = Bench::default();
        bench.remove(300);
        let alone = bench.handed_out();
        assert_eq!(alone.len(), 8);
        let joint: Vec<JobId> = alone.into_iter().flat_map(|id| bench.done(id)).collect();
        assert_eq!(joint, [JobId(9)], "256 of them");
        let one = partition(1_000);
        let flush = bench.order(Errand::Flush(one));
        let roll = bench.order(Errand::Roll(one));
        assert_eq!(bench.handed_out(), []);
        let mut unlinks = Vec::new();
        let mut handed_out = Vec::new();
        for id in (9..9 + 256).map(JobId) {
            handed_out.extend(bench.done(id));
            unlinks.push(bench.order(Errand::UnlinkDirectory));
            handed_out.extend(bench.handed_out());
        }
        let rest = JobId(9 + 256);
        assert_eq!(handed_out, [unlinks[0], unlinks[1], flush, rest]);
        assert_eq!(bench.done(flush), [roll]);
        for id in (rest.0..=300).map(JobId) {
            assert_eq!(bench.done(id), []);
        }
        let checkpoint = bench.order(Errand::Checkpoint);
        assert_eq!(bench.handed_out(), [checkpoint]);
        assert_eq!(bench.done(unlinks[0]), [unlinks[2]]);
    }

    #[test]
    fn what_a_full_segment_waits_for_does_not_wait_behind_everything_else() {
        let mut bench = Bench::default();
        let out = bench.fill();
        let (one, other) = (partition(0), partition(1));
        let delete = bench.order(Errand::Delete(one));
        let clean = bench.order(Errand::CleanFiles(one));
        let roll = bench.order(Errand::Roll(one));
        bench.order(Errand::Delete(other));
        assert_eq!(bench.handed_out(), []);
        assert_eq!(bench.done(out[0]), [delete]);
        assert_eq!(bench.done(delete), [JobId(out[7].0 + 1)]);
        assert_eq!(bench.done(out[1]), [clean]);
        assert_eq!(bench.done(clean), [JobId(out[7].0 + 2), roll]);
    }
}
