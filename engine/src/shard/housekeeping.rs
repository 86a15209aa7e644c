//! What a shard does at its own pace: retention, recovery points, checkpoints, forgetting idle producers, unlinking what the
//! last stop left; and closing everything in order.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::hosting::Slot;
use super::jobs::Errand;
use super::step::{Effects, Shard, Timer};
use crate::io::IoError;
use crate::log::Closed;
use crate::maintenance::{CheckpointLine, DoomedDirectory, Job, OwnedLine};
use crate::partition::Told;
use crate::types::{Now, TopicIdPartition};

/// Recovery points that are to be brought up.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    /// Whose, in order.
    pub(super) waiting: VecDeque<TopicIdPartition>,
    /// Flushes that were ordered and have not ended.
    pub(super) out: usize,
}

impl Shard {
    /// Lets go of what retention lets go of, and forgets producers that have been silent for too long.
    pub(super) fn retain(&mut self, now: Now, effects: &mut Effects) {
        let expiration_ms = self
            .settings
            .producer_id_expiration_ms
            .load(Ordering::Relaxed);
        for id in self.led() {
            let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
                continue;
            };
            leader.log_mut().expire_producers(now.wall, expiration_ms);
            let work = leader.retain(now);
            if let Some(job) = work.delete {
                self.stir_readers(id);
                self.order(Errand::Delete(id), Job::Delete(job), effects);
            }
            if let Some(job) = work.roll {
                self.order_roll(id, job, now, effects);
            }
        }
        self.forget_topics_again(now, effects);
        let due = now.monotonic.after(self.settings.retention_check_interval);
        self.timers.set(due, Timer::Retention);
    }

    /// Brings recovery points up where they are behind, and writes down those that have come up since.
    pub(super) fn checkpoint(&mut self, now: Now, effects: &mut Effects) {
        let mut lines: BTreeMap<PathBuf, Vec<OwnedLine>> = BTreeMap::new();
        self.flushes.waiting.clear();
        for id in self.led() {
            if let Some((directory, owned)) = self.checkpoint_line(id)
                && self.checkpointed.get(&id) != Some(&owned.line)
            {
                self.checkpointed.insert(id, owned.line);
                lines.entry(directory).or_default().push(owned);
            }
            let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
                continue;
            };
            if leader.flush_due() {
                self.flushes.waiting.push_back(id);
            }
            self.touched.push(id);
        }
        self.flush_on(effects);
        for (log_directory, lines) in lines {
            let job = Job::Checkpoint {
                log_directory,
                lines,
            };
            self.order(Errand::Checkpoint, job, effects);
        }
        self.probe_directories(effects);
        let due = now.monotonic.after(self.settings.checkpoint_interval);
        self.timers.set(due, Timer::Checkpoint);
    }

    /// Orders the next flushes that are due, a few at a time: a partition whose segment is full waits for its own. Each takes a
    /// copy of its partition's index, and many in one turn would keep everybody waiting.
    pub(super) fn flush_on(&mut self, effects: &mut Effects) {
        let mut copied_bytes = 0;
        while self.flushes.out < FLUSHES_OUT_MAX
            && copied_bytes < COPIED_BYTES_PER_TURN
            && let Some(id) = self.flushes.waiting.pop_front()
        {
            // It would stand there, and keep its place from others, until there is room. The next checkpoint looks again.
            if self.jobs.is_held_up(id) {
                continue;
            }
            let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
                continue;
            };
            copied_bytes += leader.log().index_bytes();
            if let Some(job) = leader.flush_work() {
                self.flushes.out += 1;
                self.order(Errand::Flush(id), Job::Flush(job), effects);
            }
        }
    }

    /// A flush that waits behind a job which is put off gives its place to another. The next checkpoint looks again.
    pub(super) fn put_flush_off(&mut self, id: TopicIdPartition, effects: &mut Effects) {
        if let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) {
            leader.flush_put_off();
        }
        self.flushes.out -= 1;
        self.flush_on(effects);
    }

    /// Takes over deleted directories that the last stop left. They are unlinked when the partitions are open that there are.
    pub fn take_over(&mut self, doomed: Vec<DoomedDirectory>, now: Now) {
        if !doomed.is_empty() {
            self.timers
                .set(now.monotonic, Timer::UnlinkDirectories(doomed));
        }
    }

    /// Orders what was taken over, unless a partition is still on its way in. A stop leaves it to the next start.
    pub(super) fn unlink_directories(
        &mut self,
        doomed: Vec<DoomedDirectory>,
        now: Now,
        effects: &mut Effects,
    ) {
        if self.stopping {
            return;
        }
        // What waits for room may have to wait for this.
        if !self.wants_room() && self.slots.keys().any(|id| self.is_awaited(*id)) {
            let due = now.monotonic.after(OPENINGS_CHECK_DELAY);
            self.timers.set(due, Timer::UnlinkDirectories(doomed));
            return;
        }
        for directory in doomed {
            let job = Job::UnlinkDirectory(directory);
            self.order(Errand::UnlinkDirectory, job, effects);
        }
    }

    /// What the checkpoints should say of a partition, and where.
    pub(super) fn checkpoint_line(&self, id: TopicIdPartition) -> Option<(PathBuf, OwnedLine)> {
        let Some(Slot::Leading(leader)) = self.slots.get(&id) else {
            return None;
        };
        let directory = self.log_directory_of(id)?;
        let line = CheckpointLine {
            recovery_point: leader.log().recovery_point(),
            log_start_offset: leader.log().log_start_offset(),
            high_watermark: leader.high_watermark(),
        };
        let owned = OwnedLine {
            name: leader.name().clone(),
            topic_id: id.topic_id,
            line,
        };
        Some((directory.path.clone(), owned))
    }

    fn led(&self) -> Vec<TopicIdPartition> {
        let leading = |slot: &Slot| matches!(slot, Slot::Leading(_));
        self.slots
            .iter()
            .filter(|(_, slot)| leading(slot))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Stops taking part: what is in flight is let finish, then every log is closed.
    pub(super) fn stop(&mut self, now: Now, effects: &mut Effects) {
        self.stopping = true;
        self.answer_all_fetches();
        self.give_up_recoveries(effects);
        self.give_up_slices();
        self.stop_cleaning(now, effects);
        self.give_up_put_off(now, effects);
        self.close_quiet_logs(effects);
    }

    /// Closes the logs that have nothing in flight any more.
    pub(super) fn close_quiet_logs(&mut self, effects: &mut Effects) {
        for id in self.led() {
            let Some(Slot::Leading(leader)) = self.slots.get(&id) else {
                continue;
            };
            let Some(directory) = self.log_directory_of(id) else {
                continue;
            };
            if !leader.is_quiet() || leader.log().is_cleaning() || self.has_scan_of(id) {
                continue;
            }
            let log_directory = directory.path.clone();
            let Some(Slot::Leading(leader)) = self.slots.remove(&id) else {
                continue;
            };
            let (name, high_watermark) = (leader.name().clone(), leader.high_watermark());
            let log = leader.into_log(&mut Told::new());
            // A start after a clean stop would not look where the damage is.
            self.closed_in_order &= log.damage().is_none();
            let job = Box::new(log.close());
            let close = Job::Close {
                log_directory,
                name,
                topic_id: id.topic_id,
                high_watermark,
                job,
            };
            self.order(Errand::Close(id), close, effects);
        }
    }

    /// A log is closed, or could not be: then the clean-shutdown marker must not be written.
    pub(super) fn closed(&mut self, id: TopicIdPartition, result: Result<Closed, IoError>) {
        if let Err(error) = result {
            tracing::error!(partition = %id, %error, "a log could not be closed in order");
            self.closed_in_order = false;
        }
    }

    /// Whether a stopping shard has nothing left to do, and whether all its logs were closed in order. Asked in every round of a
    /// shard's loop: what looks at all partitions comes last.
    #[must_use]
    pub fn stopped(&self) -> Option<bool> {
        if !self.stopping || self.has_jobs() || !self.pending.is_empty() {
            return None;
        }
        let leading = |slot: &Slot| matches!(slot, Slot::Leading(_));
        if self.slots.values().any(leading) {
            return None;
        }
        // A log that waits to be opened may need its recovery still.
        let opening = |slot: &Slot| matches!(slot, Slot::Opening(_));
        Some(self.closed_in_order && !self.slots.values().any(opening))
    }
}

/// How many bytes of indexes one turn of flushes copies, about: half a millisecond.
const COPIED_BYTES_PER_TURN: usize = 1 << 20;
/// How many recovery points are brought up at a time: enough to keep the threads busy.
const FLUSHES_OUT_MAX: usize = 4;
/// How long it takes until somebody looks again whether all partitions are open.
const OPENINGS_CHECK_DELAY: Duration = Duration::from_secs(1);
