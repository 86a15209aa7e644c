//! Joining: who is let in, under which id, and whether that starts a rebalance.
//!
//! Static members (KIP-345) come back under a new id and take over what the old one had.

use std::sync::Arc;
use std::time::Duration;

use super::classic::{ClassicGroup, GroupTimer, Step};
use super::command::{GroupReply, Join, Protocol};
use super::config::GroupConfig;
use super::error::GroupError;
use super::ids::{InstanceId, MemberId};
use super::member::{self, Member};
use super::record::{GroupRecord, group_record_length};
use super::state::GroupState;
use super::subscription;
use crate::coordinator::ReplyTicket;

/// How long a member that is in no generation yet may wait in a rebalance. It cannot send heartbeats, and a dead
/// connection is not noticed while the join is parked; who is still there joins again. Kafka's constant.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

/// The most ids of one group that were given out and never used. Kafka has no bound here.
const PENDING_MEMBERS_MAX: usize = 10_000;

impl ClassicGroup {
    /// Serves a join whose values have been checked.
    pub(super) fn join(&mut self, step: &mut Step<'_>, ticket: ReplyTicket, join: &Join) {
        if !self.accepts(join, step.config) {
            self.remove(step, &join.member_id);
            step.answer(&self.id, ticket, Err(self.full(step.config.size_max)));
            self.complete_join_if_all_joined(step);
        } else if !self.supports(&join.protocol_type, &join.protocols) {
            let group = self.id.clone();
            step.answer(
                &self.id,
                ticket,
                Err(GroupError::InconsistentProtocol { group }),
            );
        } else if join.member_id.is_empty() {
            self.join_anew(step, ticket, join);
        } else {
            self.join_again(step, ticket, join);
        }
    }

    /// Whether there is room; a static member that comes back needs none. During the first phase the parked joins count, so that of a group that is too large (the
    /// limit was lowered) the last to come are turned away.
    fn accepts(&self, join: &Join, config: &GroupConfig) -> bool {
        let id = &join.member_id;
        if join
            .instance_id
            .as_ref()
            .is_some_and(|instance| self.instances.contains_key(instance))
        {
            return true;
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                let is_waiting = self
                    .members
                    .get(id)
                    .is_some_and(|member| member.join.is_some());
                is_waiting || self.joining < config.size_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(id) || self.members.len() < config.size_max
            }
        }
    }

    fn full(&self, max: usize) -> GroupError {
        GroupError::GroupMaxSizeReached {
            group: self.id.clone(),
            max,
        }
    }

    /// Whether the group's members and these protocols have one in common.
    fn supports(&self, protocol_type: &Arc<str>, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let count = |protocol: &Protocol| self.supported.get(&protocol.name).copied().unwrap_or(0);
        self.protocol_type.as_ref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|protocol| count(protocol) == self.members.len())
    }

    /// A join without a member id.
    fn join_anew(&mut self, step: &mut Step<'_>, ticket: ReplyTicket, join: &Join) {
        let member_id = member::new_member_id(join);
        if let Some(instance) = &join.instance_id {
            match self.instances.get(instance).cloned() {
                Some(former) => self.replace(step, ticket, join, instance, &former, &member_id),
                None => self.add(step, ticket, join, member_id),
            }
        } else if !join.requires_known_member_id {
            self.add(step, ticket, join, member_id);
        } else if self.pending.len() >= PENDING_MEMBERS_MAX {
            let refusal = GroupError::TooManyReserved {
                group: self.id.clone(),
                max: PENDING_MEMBERS_MAX,
            };
            step.answer(&self.id, ticket, Err(refusal));
        } else {
            self.reserve(member_id.clone());
            let timer = GroupTimer::Session(self.id.clone(), member_id.clone());
            let timeout = u64::try_from(join.session_timeout_ms).unwrap_or(0);
            step.schedule(timer, Duration::from_millis(timeout));
            step.answer(
                &self.id,
                ticket,
                Err(GroupError::MemberIdRequired { member_id }),
            );
        }
    }

    /// A join under an id that was given out before.
    fn join_again(&mut self, step: &mut Step<'_>, ticket: ReplyTicket, join: &Join) {
        let id = &join.member_id;
        if join.instance_id.is_none() && self.pending.contains(id) {
            return self.add(step, ticket, join, id.clone());
        }
        if let Err(error) = self.validate(id, join.instance_id.as_ref()) {
            return step.answer(&self.id, ticket, Err(error));
        }
        let matches = self
            .members
            .get(id)
            .is_some_and(|member| member.matches(&join.protocols));
        let changes_something = match self.state {
            GroupState::CompletingRebalance => !matches,
            // A leader that joins wants a rebalance, for reasons it alone knows (the topics have more partitions, say).
            GroupState::Stable => self.is_leader(id) || !matches,
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => true,
        };
        if changes_something {
            self.update(step, ticket, join, id);
            self.rebalance(step);
        } else {
            // The member has missed the answer to its join: it is told once more and will sync.
            self.touch(step, id);
            step.answer(&self.id, ticket, Ok(GroupReply::Joined(self.joined(id))));
        }
    }

    /// Lets a new member in.
    fn add(&mut self, step: &mut Step<'_>, ticket: ReplyTicket, join: &Join, id: MemberId) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(delay) = &mut self.initial_delay {
            delay.extended = true;
        }
        let timer = GroupTimer::Session(self.id.clone(), id.clone());
        step.schedule(timer, NEW_MEMBER_JOIN_TIMEOUT);
        self.insert(id, Member::new(join, ticket));
        self.rebalance(step);
    }

    /// Takes over what a member says of itself, and parks its join.
    fn update(&mut self, step: &mut Step<'_>, ticket: ReplyTicket, join: &Join, id: &MemberId) {
        let Some(mut member) = self.take(id) else {
            return;
        };
        member.protocols = member::owned_protocols(&join.protocols);
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
        if let Some(former) = member.join.replace(ticket) {
            let member_id = id.clone();
            step.answer(&self.id, former, Err(GroupError::Superseded { member_id }));
        }
        self.insert(id.clone(), member);
    }

    /// A static member is back: the new id takes the place of the former, whose requests are fenced.
    fn replace(
        &mut self,
        step: &mut Step<'_>,
        ticket: ReplyTicket,
        join: &Join,
        instance: &InstanceId,
        former: &MemberId,
        id: &MemberId,
    ) {
        let before = self.members.get(former).cloned();
        let Some(member) = self.take(former) else {
            return;
        };
        let fenced = GroupError::FencedInstanceId {
            instance_id: instance.clone(),
            member_id: former.clone(),
        };
        for parked in member.join.into_iter().chain(member.sync) {
            step.answer(&self.id, parked, Err(fenced.clone()));
        }
        let former_leader = self.leader.clone();
        if self.is_leader(former) {
            self.leader = Some(id.clone());
        }
        if self.pending_sync.remove(former) {
            self.pending_sync.insert(id.clone());
        }
        step.timers
            .cancel(&GroupTimer::Session(self.id.clone(), former.clone()));
        let replacement = Member {
            assignment: member.assignment,
            is_new: false,
            ..Member::new(join, ticket)
        };
        self.insert(id.clone(), replacement);
        self.touch(step, id);
        match self.state {
            GroupState::Stable if self.is_unchanged(before.as_ref(), id) => {
                self.welcome_back(step, join, id, former_leader);
            }
            // The former id may be in the leader's hands already; an assignment for it would reach nobody.
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(step),
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {
                self.complete_join_if_all_joined(step);
            }
        }
    }

    /// Whether a replaced member leaves the protocol and its topics as they were. Its metadata as a whole may differ without
    /// consequence: assignors write into it what the member owned before.
    fn is_unchanged(&self, before: Option<&Member>, id: &MemberId) -> bool {
        let (Some(before), Some(after), Some(protocol)) =
            (before, self.members.get(id), &self.protocol)
        else {
            return false;
        };
        let (before, after) = (before.metadata(protocol), after.metadata(protocol));
        let changes_topics =
            || self.is_consumer() && subscription::differ_in_topics(&before, &after);
        self.vote().as_ref() == Some(protocol) && !changes_topics()
    }

    /// Gives a static member its place in the running generation.
    fn welcome_back(
        &mut self,
        step: &mut Step<'_>,
        join: &Join,
        id: &MemberId,
        former_leader: Option<MemberId>,
    ) {
        let Some(ticket) = self
            .members
            .get_mut(id)
            .and_then(|member| member.join.take())
        else {
            return;
        };
        self.joining -= 1;
        let stored = self.to_stored();
        let (length, max) = (
            group_record_length(&self.id, &stored),
            step.config.record_bytes_max,
        );
        if length > max {
            let group = self.id.clone();
            step.answer(
                &self.id,
                ticket,
                Err(GroupError::GroupRecordTooLarge { group, length, max }),
            );
            self.remove(step, id);
            return self.prepare_rebalance(step);
        }
        step.decision.records.push(GroupRecord::Group {
            group: self.id.clone(),
            value: Some(stored),
        });
        let mut joined = self.joined(id);
        if join.supports_skip_assignment {
            joined.skip_assignment = self.is_leader(id);
        } else {
            // An older client that learns it leads would compute an assignment nobody waits for. Told the former leader's
            // id, it takes itself for a follower and fetches its assignment.
            joined.leader = former_leader.unwrap_or(joined.leader);
            joined.members.clear();
        }
        step.answer(&self.id, ticket, Ok(GroupReply::Joined(joined)));
    }
}
