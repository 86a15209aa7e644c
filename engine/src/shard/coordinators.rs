//! The group coordinators that live with this shard's partitions of `__consumer_offsets`: loaded when the partition is
//! opened, fed with commands and time, their records appended, their replies passed on once those are committed.

mod forgetting;

use std::collections::BTreeMap;

use self::forgetting::{Forgetting, Removals};
use super::command::{GroupRequest, ReplySlot};
use super::hosting::Slot;
use super::jobs::Errand;
use super::step::{Effects, Shard, Timer};
use super::timers::TimerKey;
use crate::config::TopicConfig;
use crate::coordinator::runtime::Effects as CoordinatorEffects;
use crate::coordinator::{AppendSequence, ReplyTicket, Unavailable as CoordinatorUnavailable};
use crate::group::{BATCH_FRAMING_BYTES, GroupCommand, GroupError, GroupReply, GroupRuntime};
use crate::maintenance::{Job, Replay, ReplayError};
use crate::partition::{Told, Waiter};
use crate::record::BatchBuilder;
use crate::types::{Monotonic, Now, TopicIdPartition};

/// The coordinators of one shard, by the partition they live with.
#[derive(Debug, Default)]
pub(super) struct Coordinators {
    hosted: BTreeMap<TopicIdPartition, Hosted>,
    forgetting: Forgetting,
}

#[derive(Debug)]
enum Hosted {
    /// Its partition is being read.
    Loading,
    /// It serves.
    Serving(Box<Serving>),
    /// An append failed: it is read again once every batch before it is committed or has failed as well. What of it
    /// is committed later would be missing from the state else.
    Unsettled,
    /// Its partition cannot be read, or not to its end.
    Unreadable,
}

#[derive(Debug)]
struct Serving {
    runtime: GroupRuntime,
    replies: BTreeMap<ReplyTicket, Slotted>,
    timer: Option<(Monotonic, TimerKey)>,
    removals: Removals,
}

impl Coordinators {
    /// What the coordinators besides one take in memory: `group.memory.bytes` is for all of a shard.
    fn held_bytes_besides(&self, id: TopicIdPartition) -> usize {
        let others = self.hosted.iter().filter(|(other, _)| **other != id);
        let held = others.map(|(_, hosted)| match hosted {
            Hosted::Serving(serving) => serving.runtime.machine().held_bytes(),
            Hosted::Loading | Hosted::Unsettled | Hosted::Unreadable => 0,
        });
        held.sum()
    }
}

type GroupResult = Result<GroupReply, GroupError>;
type Slotted = ReplySlot<GroupResult>;

impl Shard {
    /// Starts reading a partition of `__consumer_offsets` that has just been opened.
    pub(super) fn load_coordinator(&mut self, id: TopicIdPartition, effects: &mut Effects) {
        let Some(Slot::Leading(leader)) = self.slots.get(&id) else {
            return;
        };
        if leader.name().topic.as_str() != OFFSETS_TOPIC {
            return;
        }
        if let Some(damage) = leader.log().damage() {
            // What lies before it would pass for all that was committed.
            let partition = leader.name();
            tracing::error!(%partition, %damage, "a group coordinator cannot be loaded");
            self.coordinators.hosted.insert(id, Hosted::Unreadable);
            return;
        }
        let scan = leader.log().scan(leader.high_watermark());
        let settings = &self.settings;
        let replay = Replay::new(scan, settings.groups.clone(), settings.replay_slice_bytes);
        self.coordinators.hosted.insert(id, Hosted::Loading);
        self.order(Errand::Replay(id), Job::Replay(Box::new(replay)), effects);
    }

    /// A coordinator's partition has been read.
    pub(super) fn coordinator_loaded(
        &mut self,
        id: TopicIdPartition,
        result: Result<Box<GroupRuntime>, ReplayError>,
        now: Now,
        effects: &mut Effects,
    ) {
        if !self.coordinators.hosted.contains_key(&id) {
            return self.retry_deferred(now, effects);
        }
        match result {
            Ok(mut runtime) => {
                let loaded = runtime.loaded(now);
                let serving = Serving {
                    runtime: *runtime,
                    replies: BTreeMap::new(),
                    timer: None,
                    removals: Removals::default(),
                };
                self.coordinators
                    .hosted
                    .insert(id, Hosted::Serving(Box::new(serving)));
                self.fit_coordinator(id);
                self.take_coordinator_effects(id, loaded, now, effects);
                self.catch_up_once_read(id, now, effects);
            }
            Err(error) => {
                tracing::error!(partition = %id, %error, "a group coordinator cannot be loaded");
                self.coordinators.hosted.insert(id, Hosted::Unreadable);
            }
        }
        self.retry_deferred(now, effects);
    }

    /// Follows the settings of a coordinator's topic, which say how large its records may be.
    pub(super) fn fit_coordinator(&mut self, id: TopicIdPartition) {
        if let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get_mut(&id)
            && let Some(Slot::Leading(leader)) = self.slots.get(&id)
        {
            let least = self.settings.groups.record_bytes_max;
            let bytes = record_bytes_max(leader.config(), least);
            serving.runtime.machine_mut().set_record_bytes_max(bytes);
        }
    }

    /// Whether a coordinator's partition is being read for the first time since it was opened, or is about to be. Most of what is
    /// asked of it waits: a client that has just been told of its coordinator need not hear that it is not ready. On a full
    /// disk that may be long, so there it is told.
    pub(super) fn is_loading(&self, id: TopicIdPartition) -> bool {
        self.is_being_read(id) || self.is_awaited(id)
    }

    /// Whether a coordinator's partition is being read.
    pub(super) fn is_being_read(&self, id: TopicIdPartition) -> bool {
        matches!(self.coordinators.hosted.get(&id), Some(Hosted::Loading))
    }

    /// Asks a coordinator.
    pub(super) fn group(&mut self, request: GroupRequest, now: Now, effects: &mut Effects) {
        let GroupRequest {
            partition: id,
            mut command,
            reply,
        } = request;
        // It may have waited for its coordinator since its names were looked up.
        if let GroupCommand::CommitOffsets(commit) = &mut command {
            commit.leave_out_gone(|id| self.image.topic_by_id(id).is_some());
        }
        let number = self.next_serial();
        let opening = self.is_opening(id);
        let adds = command.adds();
        let elsewhere_bytes = adds.then(|| self.coordinators.held_bytes_besides(id));
        let refusal = match self.coordinators.hosted.get_mut(&id) {
            Some(Hosted::Serving(serving)) => {
                let ticket = ReplyTicket(number);
                serving.replies.insert(ticket, reply);
                if let Some(bytes) = elsewhere_bytes {
                    serving.runtime.machine_mut().set_elsewhere_bytes(bytes);
                }
                let effects_of = serving.runtime.submit(ticket, command, now);
                self.take_coordinator_effects(id, effects_of, now, effects);
                return;
            }
            Some(Hosted::Loading | Hosted::Unsettled) => GroupError::CoordinatorLoading,
            Some(Hosted::Unreadable) => GroupError::NotCoordinator,
            None if opening => GroupError::CoordinatorLoading,
            None => GroupError::NotCoordinator,
        };
        // Whoever asked may have gone.
        let _ = reply.send(Err(refusal));
    }

    /// A coordinator's deadline has come.
    pub(super) fn tick_coordinator(
        &mut self,
        id: TopicIdPartition,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get_mut(&id) else {
            return;
        };
        serving.timer = None;
        let ticked = serving.runtime.tick(now);
        self.take_coordinator_effects(id, ticked, now, effects);
    }

    /// An append of a coordinator is committed, or has failed.
    pub(super) fn coordinator_told(
        &mut self,
        id: TopicIdPartition,
        sequence: AppendSequence,
        committed: bool,
        effects: &mut Effects,
    ) {
        let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get_mut(&id) else {
            return;
        };
        if committed {
            let replies = serving.runtime.committed(sequence);
            let removed = serving.removals.end_with(sequence);
            answer(&mut serving.replies, replies);
            self.set_coordinator_timer(id);
            if removed {
                self.removals_committed(id);
            }
        } else {
            // What it decided since is not in the log: its state is dropped and read again.
            self.unload_coordinator(id);
            self.coordinators.hosted.insert(id, Hosted::Unsettled);
            self.reload_coordinator_if_settled(id, effects);
        }
    }

    /// Reads a coordinator again after a failed append, as soon as that shows all there is.
    pub(super) fn reload_coordinator_if_settled(
        &mut self,
        id: TopicIdPartition,
        effects: &mut Effects,
    ) {
        let hosted = self.coordinators.hosted.get(&id);
        if self.stopping || !matches!(hosted, Some(Hosted::Unsettled)) {
            return;
        }
        if let Some(Slot::Leading(leader)) = self.slots.get(&id)
            && leader.is_settled()
        {
            self.load_coordinator(id, effects);
        }
    }

    /// Refuses all who wait for a coordinator and drops its state.
    pub(super) fn unload_coordinator(&mut self, id: TopicIdPartition) {
        if let Some(Hosted::Serving(mut serving)) = self.coordinators.hosted.remove(&id) {
            let refused = serving.runtime.unload(CoordinatorUnavailable::Unloaded);
            answer(&mut serving.replies, refused);
            if let Some((_, key)) = serving.timer {
                self.timers.cancel(key);
            }
        }
    }

    fn take_coordinator_effects(
        &mut self,
        id: TopicIdPartition,
        coordinator: CoordinatorEffects<GroupResult>,
        now: Now,
        effects: &mut Effects,
    ) {
        if let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get_mut(&id) {
            answer(&mut serving.replies, coordinator.replies);
        }
        let mut told = Told::new();
        for append in coordinator.appends {
            let mut batch = BatchBuilder::new();
            for record in &append.records {
                batch.push(now.wall, Some(&record.key), record.value.as_deref(), &[]);
            }
            let waiter = Waiter::Coordinator {
                sequence: append.sequence.0,
            };
            match self.leading(id) {
                Ok(leader) => leader.append_own(batch.build(), waiter, now, &mut told),
                Err(unavailable) => told.push((waiter, Err(unavailable.into()))),
            }
        }
        self.tell(id, told, effects);
        self.touched.push(id);
        self.set_coordinator_timer(id);
    }

    fn set_coordinator_timer(&mut self, id: TopicIdPartition) {
        let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get_mut(&id) else {
            return;
        };
        let wanted = serving.runtime.next_deadline();
        let set = serving.timer.map(|(due, _)| due);
        if wanted == set {
            return;
        }
        if let Some((_, key)) = serving.timer.take() {
            self.timers.cancel(key);
        }
        if let Some(due) = wanted {
            serving.timer = Some((due, self.timers.set(due, Timer::Coordinator(id))));
        }
    }
}

/// What a coordinator may put into one batch, framing aside. A `max.message.bytes` below Kafka's default, of which `least` comes, is
/// for users' batches; groups that it had room for must not stop.
fn record_bytes_max(config: &TopicConfig, least: usize) -> usize {
    let bytes = |setting: u32| {
        let bytes = usize::try_from(setting).unwrap_or(usize::MAX);
        bytes.saturating_sub(BATCH_FRAMING_BYTES)
    };
    bytes(config.message_bytes_max)
        .max(least)
        .min(bytes(config.segment_bytes))
}

fn answer(waiting: &mut BTreeMap<ReplyTicket, Slotted>, replies: Vec<(ReplyTicket, GroupResult)>) {
    for (ticket, reply) in replies {
        if let Some(slot) = waiting.remove(&ticket) {
            // Whoever asked may have gone.
            let _ = slot.send(reply);
        }
    }
}

/// The topic whose partitions the group coordinators live with.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TopicDefaults;
    use crate::group::GroupConfig;

    #[test]
    fn a_coordinators_records_fit_its_topic_and_are_never_held_below_kafkas_default() {
        let least = GroupConfig::default().record_bytes_max;
        let of = |settings: &[(&str, &str)]| {
            let overrides = settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let config = TopicConfig::resolve(&overrides, &TopicDefaults::default());
            record_bytes_max(&config, least)
        };
        let defaults = of(&[]);
        assert_eq!(defaults, least);
        assert_eq!(of(&[("max.message.bytes", "1000")]), least);
        assert_eq!(of(&[("max.message.bytes", "5000128")]), 5_000_000);
        let settings = [
            ("max.message.bytes", "5000128"),
            ("segment.bytes", "2000128"),
        ];
        assert_eq!(of(&settings), 2_000_000);
    }
}
