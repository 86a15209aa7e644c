//! The rebalance: from "all join again" through the vote and the leader's assignment to a stable group.
//!
//! It moves members between states; whether one is let in is decided in `join`.

use std::time::Duration;

use bytes::Bytes;

use super::classic::{ClassicGroup, GroupTimer, InitialDelay, Step};
use super::command::GroupReply;
use super::error::GroupError;
use super::ids::MemberId;
use super::state::GroupState;
use crate::types::GenerationId;

impl ClassicGroup {
    /// Starts a rebalance where one can start; where one is waiting for joins already, looks whether it has them all.
    pub(super) fn rebalance(&mut self, step: &mut Step<'_>) {
        if self.state == GroupState::PreparingRebalance {
            self.complete_join_if_all_joined(step);
        } else {
            self.prepare_rebalance(step);
        }
    }

    /// Asks all members to join again. The first rebalance of an empty group waits a while for more of them.
    pub(super) fn prepare_rebalance(&mut self, step: &mut Step<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.refuse_syncs(step, &self.rebalancing());
        }
        self.pending_sync.clear();
        step.timers.cancel(&GroupTimer::Sync(self.id.clone()));
        let is_initial = self.state == GroupState::Empty;
        self.transition(GroupState::PreparingRebalance, step.now.wall);
        if is_initial {
            let delay = step.config.initial_rebalance_delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            self.initial_delay = Some(InitialDelay {
                delay,
                remaining,
                extended: false,
            });
            step.schedule(GroupTimer::Join(self.id.clone()), delay);
        } else if self.have_all_joined() {
            self.complete_join(step);
        } else {
            step.schedule(GroupTimer::Join(self.id.clone()), self.rebalance_timeout());
        }
    }

    /// Ends the first phase when nobody is missing. The delay of a first rebalance runs on, unless nobody is left to wait.
    pub(super) fn complete_join_if_all_joined(&mut self, step: &mut Step<'_>) {
        let waits = self.initial_delay.is_some() && !self.members.is_empty();
        if self.state == GroupState::PreparingRebalance && !waits && self.have_all_joined() {
            self.complete_join(step);
        }
    }

    fn have_all_joined(&self) -> bool {
        self.joining == self.members.len() && self.pending.is_empty()
    }

    /// The first phase has taken as long as it may.
    pub(super) fn join_deadline_passed(&mut self, step: &mut Step<'_>) {
        match self.initial_delay {
            Some(former) if former.extended && !former.remaining.is_zero() => {
                let delay = step.config.initial_rebalance_delay.min(former.remaining);
                let remaining = former.remaining.saturating_sub(former.delay);
                self.initial_delay = Some(InitialDelay {
                    delay,
                    remaining,
                    extended: false,
                });
                step.schedule(GroupTimer::Join(self.id.clone()), delay);
            }
            _ if self.state == GroupState::PreparingRebalance => self.complete_join(step),
            _ => {}
        }
    }

    /// Ends the first phase: drops dynamic members that stayed away, begins the next generation, and answers the joins.
    fn complete_join(&mut self, step: &mut Step<'_>) {
        step.timers.cancel(&GroupTimer::Join(self.id.clone()));
        self.initial_delay = None;
        let absent = self
            .members
            .iter()
            .filter(|(_, member)| member.join.is_none() && member.instance_id.is_none());
        let absent: Vec<MemberId> = absent.map(|(id, _)| id.clone()).collect();
        for id in absent {
            self.remove(step, &id);
        }
        if self.members.is_empty() {
            self.begin_empty_generation(step);
        } else if self.elect_leader() {
            self.begin_generation(step);
        } else {
            // Only static members are left and none has come: wait until their sessions end. They say how long; some say 0.
            let wait = self.rebalance_timeout().max(ABSENT_WAIT_MIN);
            step.schedule(GroupTimer::Join(self.id.clone()), wait);
        }
    }

    /// Makes sure that the leader is one who has joined; `false` when nobody has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &MemberId| {
            self.members
                .get(id)
                .is_some_and(|member| member.join.is_some())
        };
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let first = self
            .members
            .iter()
            .find(|(_, member)| member.join.is_some());
        let Some((id, _)) = first else {
            return false;
        };
        self.leader = Some(id.clone());
        true
    }

    fn begin_empty_generation(&mut self, step: &mut Step<'_>) {
        self.generation = next(self.generation);
        self.protocol = None;
        self.leader = None;
        self.transition(GroupState::Empty, step.now.wall);
        step.decision.records.push(self.record());
    }

    fn begin_generation(&mut self, step: &mut Step<'_>) {
        self.generation = next(self.generation);
        self.protocol = self.vote();
        assert!(
            self.protocol.is_some(),
            "INV-GROUP-2: no protocol is common to all members of {}",
            self.id
        );
        self.transition(GroupState::CompletingRebalance, step.now.wall);
        self.pending_sync = self.members.keys().cloned().collect();
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
                if let Some(ticket) = member.join.take() {
                    self.joining -= 1;
                    step.answer(&self.id, ticket, Ok(GroupReply::Joined(joined)));
                }
            }
            self.touch(step, &id);
        }
        step.schedule(GroupTimer::Sync(self.id.clone()), self.rebalance_timeout());
    }

    /// The leader has spoken: records the group, and gives everyone who asked the assignment.
    pub(super) fn complete_sync(&mut self, step: &mut Step<'_>) {
        self.transition(GroupState::Stable, step.now.wall);
        step.decision.records.push(self.record());
        let parked = self.members.iter_mut();
        let parked = parked.filter_map(|(id, member)| {
            Some((id.clone(), member.sync.take()?, member.assignment.clone()))
        });
        let parked: Vec<_> = parked.collect();
        for (id, ticket, assignment) in parked {
            step.answer(
                &self.id,
                ticket,
                Ok(GroupReply::Synced(self.synced(assignment))),
            );
            self.touch(step, &id);
        }
    }

    /// Nobody gets an assignment in this generation.
    pub(super) fn refuse_syncs(&mut self, step: &mut Step<'_>, error: &GroupError) {
        let mut refused = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = Bytes::new();
            refused.extend(member.sync.take().map(|ticket| (id.clone(), ticket)));
        }
        for (id, ticket) in refused {
            step.answer(&self.id, ticket, Err(error.clone()));
            self.touch(step, &id);
        }
    }

    /// Members that joined the generation and never asked for their assignment are gone.
    pub(super) fn sync_deadline_passed(&mut self, step: &mut Step<'_>) {
        let is_waiting = matches!(
            self.state,
            GroupState::CompletingRebalance | GroupState::Stable
        );
        if !is_waiting || self.pending_sync.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.remove(step, &id);
        }
        self.prepare_rebalance(step);
    }
}

/// The generation after this one. It starts again at 0 after 2^31 rebalances.
const fn next(generation: GenerationId) -> GenerationId {
    GenerationId(generation.0.wrapping_add(1) & i32::MAX)
}

/// How long a group waits at least before it looks again for static members that stay away.
const ABSENT_WAIT_MIN: Duration = Duration::from_secs(1);
