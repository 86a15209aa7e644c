//! What the coordinators forget when topics are deleted: at once where they serve. What was deleted while one could not be asked, or
//! could not write, is kept with its time: until then the topic may have been made anew, and nothing else would tell its offsets
//! from those of the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Hosted, OFFSETS_TOPIC};
use crate::coordinator::{AppendSequence, ReplyTicket};
use crate::group::GroupCommand;
use crate::metadata::is_internal;
use crate::shard::step::{Effects, Shard};
use crate::types::{Now, Timestamp, TopicIdPartition, TopicName};

/// What coordinators of this shard may have to forget still.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    /// Topics that were deleted, and when last. None when no coordinator is behind.
    deleted: DeletedTopics,
    /// Coordinators that have begun to catch up and have not written all of it. Should that fail they try again at leisure, or they
    /// would be read anew for it without end.
    late: BTreeSet<TopicIdPartition>,
}

/// Removals of a coordinator that are not committed yet.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// The last append that has some.
    last: Option<AppendSequence>,
    /// Whether it has caught up with them.
    catch_up: bool,
}

impl Removals {
    /// Whether there are some, of which the last are committed with `sequence`.
    pub(super) fn end_with(&self, sequence: AppendSequence) -> bool {
        self.last.is_some_and(|last| last <= sequence)
    }
}

type DeletedTopics = BTreeMap<TopicName, Timestamp>;

impl Shard {
    /// Tells every coordinator here that topics are gone.
    pub(in crate::shard) fn forget_topics(
        &mut self,
        topics: &[TopicName],
        now: Now,
        effects: &mut Effects,
    ) {
        let topics = topics.iter().filter(|topic| !is_internal(topic.as_str()));
        let gone: DeletedTopics = topics.map(|topic| (topic.clone(), EVER)).collect();
        let noted = gone.keys().map(|topic| (topic.clone(), now.wall));
        self.coordinators.forgetting.deleted.extend(noted);
        let gone = Arc::new(gone);
        let ids: Vec<TopicIdPartition> = self.coordinators.hosted.keys().copied().collect();
        for id in ids {
            self.forget_topics_in(id, &gone, now, effects);
        }
        self.let_go_of_deletions();
    }

    /// Tries again what coordinators had to forget and could not.
    pub(in crate::shard) fn forget_topics_again(&mut self, now: Now, effects: &mut Effects) {
        let hosted = &self.coordinators.hosted;
        let late = &mut self.coordinators.forgetting.late;
        late.retain(|id| !matches!(hosted.get(id), Some(Hosted::Unreadable) | None));
        for id in late.clone() {
            self.catch_up_with_deletions(id, now, effects);
        }
        self.let_go_of_deletions();
    }

    /// A coordinator that has just been read may not have heard of all deletions, or have lost what it wrote of one: whoever has made
    /// such a topic anew, or does so later, would be given the offsets of the old one.
    pub(super) fn catch_up_once_read(
        &mut self,
        id: TopicIdPartition,
        now: Now,
        effects: &mut Effects,
    ) {
        if !self.coordinators.forgetting.late.contains(&id) {
            self.catch_up_with_deletions(id, now, effects);
        }
    }

    fn catch_up_with_deletions(&mut self, id: TopicIdPartition, now: Now, effects: &mut Effects) {
        let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get(&id) else {
            return;
        };
        let forgetting = &mut self.coordinators.forgetting;
        let topics = serving.runtime.machine().stored().topics();
        let behind = topics.filter_map(|topic| {
            let deleted = match self.image.topic(topic) {
                Some(_) => *forgetting.deleted.get(topic)?,
                None => EVER,
            };
            Some((topic.clone(), deleted))
        });
        let behind = Arc::new(behind.collect());
        forgetting.late.insert(id);
        self.forget_topics_in(id, &behind, now, effects);
        // Unless it has failed at once.
        if let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get_mut(&id) {
            serving.removals.catch_up = true;
            if serving.removals.last.is_none() {
                self.removals_committed(id);
            }
        }
    }

    fn forget_topics_in(
        &mut self,
        id: TopicIdPartition,
        topics: &Arc<DeletedTopics>,
        now: Now,
        effects: &mut Effects,
    ) {
        // Nobody waits for the answer.
        let ticket = ReplyTicket(self.next_serial());
        let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get_mut(&id) else {
            return;
        };
        if topics.is_empty() {
            return;
        }
        let topics = Arc::clone(topics);
        let command = GroupCommand::ForgetTopics { topics };
        let forgotten = serving.runtime.submit(ticket, command, now);
        if let Some(append) = forgotten.appends.last() {
            serving.removals.last = Some(append.sequence);
        }
        self.take_coordinator_effects(id, forgotten, now, effects);
    }

    /// All that a coordinator has removed so far is committed.
    pub(super) fn removals_committed(&mut self, id: TopicIdPartition) {
        if let Some(Hosted::Serving(serving)) = self.coordinators.hosted.get_mut(&id) {
            let removals = std::mem::take(&mut serving.removals);
            if removals.catch_up {
                self.coordinators.forgetting.late.remove(&id);
            }
        }
        self.let_go_of_deletions();
    }

    /// Forgets which topics were deleted as soon as no coordinator is behind.
    fn let_go_of_deletions(&mut self) {
        if self.coordinators.forgetting.deleted.is_empty() {
            return;
        }
        let is_behind = self.has_coordinators_behind();
        let deleted = &mut self.coordinators.forgetting.deleted;
        if !is_behind {
            *deleted = DeletedTopics::new();
        } else if deleted.len() > DELETED_TOPICS_MAX {
            // What is not there is forgotten also without this, if it is not made anew before.
            deleted.retain(|topic, _| self.image.topic(topic).is_some());
        }
    }

    /// Whether a coordinator here has not heard of all deletions, or not written what follows from them.
    fn has_coordinators_behind(&self) -> bool {
        let is_behind = |(id, hosted): (&TopicIdPartition, &Hosted)| match hosted {
            Hosted::Loading | Hosted::Unsettled => true,
            Hosted::Serving(serving) => {
                serving.removals.last.is_some() || self.coordinators.forgetting.late.contains(id)
            }
            Hosted::Unreadable => false,
        };
        self.coordinators.hosted.iter().any(is_behind) || self.is_opening_coordinators()
    }

    fn is_opening_coordinators(&self) -> bool {
        let Some(topic) = self.image.topic(OFFSETS_TOPIC) else {
            return false;
        };
        let mut ids = topic.partitions().map(|(partition, _)| TopicIdPartition {
            topic_id: topic.id,
            partition,
        });
        ids.any(|id| self.is_opening(id))
    }
}

/// When a topic was deleted that is not there: whatever is recorded of it is to be forgotten, also where clocks were set back.
const EVER: Timestamp = Timestamp(i64::MAX);
/// How many deleted topics are kept that are not there, while a coordinator is behind: some megabytes with the longest names.
const DELETED_TOPICS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::io::Sim;
    use crate::shard::step::Input;
    use crate::shard::step::tests::{NOW, bench_of_nothing, image};

    #[test]
    fn deleted_topics_are_kept_while_a_coordinator_is_opened_and_not_without_end() {
        let mut bench = bench_of_nothing(&Sim::new(1), 1);
        let image = Input::Image(Arc::new(image("__consumer_offsets", 1)));
        let mut effects = Effects::default();
        bench.shard.step(NOW, image, &mut effects);
        let mut kept_after = |topics: Range<usize>| {
            let topics = topics.map(|number| format!("t{number}").parse().unwrap());
            let topics: Vec<TopicName> = topics.collect();
            bench.shard.forget_topics(&topics, NOW, &mut effects);
            bench.shard.coordinators.forgetting.deleted.len()
        };
        assert_eq!(kept_after(0..DELETED_TOPICS_MAX), DELETED_TOPICS_MAX);
        assert_eq!(kept_after(0..1), DELETED_TOPICS_MAX);
        let one_more = DELETED_TOPICS_MAX..DELETED_TOPICS_MAX + 1;
        assert_eq!(kept_after(one_more.clone()), 0);
        assert_eq!(kept_after(one_more), 1);
        bench.carry_out(effects);
        assert_eq!(bench.shard.coordinators.forgetting.deleted.len(), 0);
    }
}
