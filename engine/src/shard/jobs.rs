//! Jobs this shard has out at the maintenance threads, and what to do with their results.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::fetches::IndexLoad;
use super::hosting::{NO_SPACE_DELAY, fault};
use super::step::{Effects, Shard, Timer};
use crate::io::IoError;
use crate::log::{Doomed, TimestampedOffset, WalkError};
use crate::maintenance::{Done, Job, JobId, UNMARKED};
use crate::partition::OffsetLookupError;
use crate::types::{DirectoryId, Now, TopicIdPartition};

/// Whom the result of a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// A partition that is being opened.
    Open(TopicIdPartition),
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
    /// The mark of a partition that was taken offline.
    Mark(TopicIdPartition),
    /// A batch that a leader has to have opened.
    Unpack(TopicIdPartition),
    /// Segments that are let go.
    Delete(TopicIdPartition),
    /// Segments that are unlinked: nobody waits.
    Unlink,
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
    /// The partition whose files the job changes, if it changes any. Such jobs run one at a time, in the order they
    /// were ordered.
    const fn changes(self) -> Option<TopicIdPartition> {
        match self {
            Self::Open(id)
            | Self::Remove(id)
            | Self::Roll(id)
            | Self::CutBack(id)
            | Self::Preallocate(id)
            | Self::Epochs(id)
            | Self::Flush(id)
            | Self::Mark(id)
            | Self::Delete(id)
            | Self::CleanFiles(id)
            | Self::Close(id) => Some(id),
            Self::Unpack(_)
            | Self::Unlink
            | Self::LoadIndex(_)
            | Self::Lookup { .. }
            | Self::Replay(_)
            | Self::Clean(_)
            | Self::Checkpoint
            | Self::Probe(_)
            | Self::Measure { .. }
            | Self::DeleteRecords(_) => None,
        }
    }
}

/// The jobs of a shard: out, or waiting to be. What waits is bounded by what partitions and requests there are: each
/// has at most one of a kind.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    errands: BTreeMap<JobId, Errand>,
    /// Those about files.
    files: Lane<JOBS_OUT_MAX>,
    /// Those about batches of clients, who must not hold up the others.
    batches: Lane<UNPACKING_OUT_MAX>,
    /// Partitions whose files a job is changing, and the jobs that wait for it.
    changing: BTreeMap<TopicIdPartition, VecDeque<(JobId, Job)>>,
    /// Those that found no room, until they are done.
    put_off: BTreeMap<JobId, PutOff>,
}

/// A job that found no room, and is tried again until there is some.
#[derive(Debug)]
struct PutOff {
    /// `None` while it is tried.
    job: Option<Box<Job>>,
    error: IoError,
}

/// Jobs of which at most `MAX` are out.
#[derive(Debug, Default)]
struct Lane<const MAX: usize> {
    out: usize,
    /// Those that wait until fewer are out.
    waiting: VecDeque<(JobId, Job)>,
}

impl<const MAX: usize> Lane<MAX> {
    fn hand_out(&mut self, id: JobId, job: Job, effects: &mut Effects) {
        if self.out < MAX {
            self.out += 1;
            effects.jobs.push((id, job));
        } else {
            self.waiting.push_back((id, job));
        }
    }

    fn done(&mut self, effects: &mut Effects) {
        self.out -= 1;
        if let Some((id, job)) = self.waiting.pop_front() {
            self.hand_out(id, job, effects);
        }
    }
}

impl Jobs {
    fn order(&mut self, id: JobId, errand: Errand, job: Job, effects: &mut Effects) {
        self.errands.insert(id, errand);
        if let Some(partition) = errand.changes() {
            match self.changing.entry(partition) {
                Entry::Occupied(mut queue) => return queue.get_mut().push_back((id, job)),
                Entry::Vacant(free) => {
                    free.insert(VecDeque::new());
                }
            }
        }
        match errand {
            Errand::Unpack(_) => self.batches.hand_out(id, job, effects),
            // Whoever orders them counts them.
            Errand::Lookup { .. } => effects.jobs.push((id, job)),
            _ => self.files.hand_out(id, job, effects),
        }
    }

    /// Takes a job off the books and hands out what waited for it.
    fn done(&mut self, id: JobId, effects: &mut Effects) -> Option<Errand> {
        let errand = self.errands.remove(&id)?;
        match errand {
            Errand::Unpack(_) => self.batches.done(effects),
            Errand::Lookup { .. } => {}
            _ => self.files.done(effects),
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
        match self
            .changing
            .get_mut(&partition)
            .and_then(VecDeque::pop_front)
        {
            Some((id, job)) => self.files.hand_out(id, job, effects),
            None => {
                self.changing.remove(&partition);
            }
        }
    }

    /// Keeps a job that is to be tried again; those behind it go on waiting. True when it is put off for the first time.
    fn keep(&mut self, id: JobId, job: Box<Job>, error: IoError, effects: &mut Effects) -> bool {
        self.files.done(effects);
        let job = Some(job);
        self.put_off.insert(id, PutOff { job, error }).is_none()
    }

    /// Hands a job out again that was put off.
    fn try_again(&mut self, id: JobId, effects: &mut Effects) {
        let put_off = self.put_off.get_mut(&id);
        if let Some(job) = put_off.and_then(|put_off| put_off.job.take()) {
            self.files.hand_out(id, *job, effects);
        }
    }

    /// Takes the partitions off the books that wait for their recovery, but for those whose files another job is changing.
    fn give_up_recoveries(&mut self, effects: &mut Effects) {
        for (id, job) in std::mem::take(&mut self.files.waiting) {
            match (self.errands.get(&id), &job) {
                (Some(&errand @ Errand::Open(_)), Job::Open(open)) if !open.clean => {
                    self.errands.remove(&id);
                    self.hand_out_next(errand, effects);
                }
                _ => self.files.hand_out(id, job, effects),
            }
        }
    }

    /// Takes a job off the books that was put off, and will not be tried again.
    fn give_up(&mut self, id: JobId, effects: &mut Effects) -> Option<(Errand, IoError)> {
        let error = self.put_off.remove(&id)?.error;
        let errand = self.errands.remove(&id)?;
        self.hand_out_next(errand, effects);
        Some((errand, error))
    }
}

impl Shard {
    /// Recovers no more partitions than are being opened: the others need it at the next start. What was left in order is opened
    /// soon, and left so again.
    pub(super) fn give_up_recoveries(&mut self, effects: &mut Effects) {
        self.jobs.give_up_recoveries(effects);
    }

    /// Hands a job out as soon as it may run.
    pub(super) fn order(&mut self, errand: Errand, job: Job, effects: &mut Effects) {
        let id = JobId(self.next_serial());
        self.jobs.order(id, errand, job, effects);
    }

    /// A job has ended.
    pub(super) fn done(&mut self, id: JobId, done: Done, now: Now, effects: &mut Effects) {
        let done = match done {
            Done::PutOff(job, error) => return self.put_off(id, job, error, now, effects),
            done => done,
        };
        let Some(errand) = self.jobs.done(id, effects) else {
            return;
        };
        match (errand, done) {
            (Errand::Open(id), Done::Opened(result)) => self.opened(id, result, now, effects),
            (Errand::Open(id), Done::NotYetOpened(open, why)) => {
                self.open_later(id, open, &why, now, effects);
            }
            (Errand::Roll(id), Done::Rolled(result)) => {
                let result = result.map(|rolled| *rolled);
                self.advance(id, now, effects, |leader, told| {
                    leader.rolled(result, now, told)
                });
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
            }
            (Errand::Unpack(id), Done::Unpacked(result)) => {
                let result = result.map(|batch| *batch);
                self.advance(id, now, effects, |leader, told| {
                    leader.unpacked(result, now, told);
                    Ok(())
                });
            }
            (Errand::Mark(id), Done::Marked(result)) => {
                if let Err(error) = result {
                    tracing::error!(partition = %id, %error, "{UNMARKED}");
                }
            }
            (Errand::Delete(id), Done::Deleted(result)) => self.deleted(id, result, now, effects),
            (Errand::LoadIndex(load), Done::IndexLoaded(result)) => {
                self.index_loaded(load, result, now, effects);
            }
            (Errand::Lookup { work, index }, Done::LookedUp(result)) => {
                self.searched(work, index, found(result), effects);
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
            (Errand::Checkpoint, Done::Checkpointed(result)) => warn_of(result, "a checkpoint"),
            (Errand::Remove(_), Done::Removed(result)) => warn_of(result, "a deleted partition"),
            (Errand::Unlink, Done::Unlinked(result)) => warn_of(result, "a deleted segment"),
            (Errand::Close(id), Done::Closed(result)) => self.closed(id, result),
            (errand, done) => unreachable_pair(errand, &done),
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
        if self.stopping {
            return self.give_up_job(id, now, effects);
        }
        if is_new {
            tracing::warn!(error = %text, "a change of a partition's files is put off");
        }
        let due = now.monotonic.after(NO_SPACE_DELAY);
        self.timers.set(due, Timer::TryAgain(id));
    }

    /// A job was put off for long enough. One about a partition that is not led here any more is in the way of what is to
    /// come of that.
    pub(super) fn try_again(&mut self, id: JobId, now: Now, effects: &mut Effects) {
        let wanted = match self.jobs.errands.get(&id).copied() {
            Some(Errand::Remove(_)) => true,
            Some(errand) => errand.changes().is_some_and(|id| self.leads(id)),
            None => return,
        };
        if wanted {
            self.jobs.try_again(id, effects);
        } else {
            self.give_up_job(id, now, effects);
        }
    }

    /// A stop waits for no room.
    pub(super) fn give_up_put_off(&mut self, now: Now, effects: &mut Effects) {
        let waiting = self.jobs.put_off.iter();
        let waiting: Vec<JobId> = waiting
            .filter(|(_, put_off)| put_off.job.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.give_up_job(id, now, effects);
        }
    }

    fn give_up_job(&mut self, id: JobId, now: Now, effects: &mut Effects) {
        match self.jobs.give_up(id, effects) {
            // Its directory stays, perhaps by the name of a topic that was made since.
            Some((Errand::Remove(_), error)) => {
                self.closed_in_order = false;
                warn_of(Err(error), "a deleted partition");
            }
            // The files come back with the next start, which has to look at them.
            Some((Errand::Delete(id), error)) if self.leads(id) => {
                self.closed_in_order = false;
                warn_of(Err(error), "deleted segments");
            }
            Some((Errand::CleanFiles(id), error)) => self.half_swapped(id, &error, now, effects),
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

    /// Whether a job is out or waits to be.
    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.errands.is_empty()
    }
}

fn found(
    result: Result<Option<TimestampedOffset>, WalkError>,
) -> Result<Option<TimestampedOffset>, OffsetLookupError> {
    result.map_err(|error| {
        tracing::error!(%error, "an offset cannot be looked up");
        OffsetLookupError::Storage
    })
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
/// And how many about batches: more would only wait elsewhere.
pub(super) const UNPACKING_OUT_MAX: usize = 8;
