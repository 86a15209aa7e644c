//! A classic group: its members, its generation, and the small facts about them that every decision reads.
//!
//! Joining is in `join`, the rebalance in `rebalance`, everything a member does between rebalances in `session`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::command::{
    GroupDescription, GroupReply, Join, Joined, JoinedMember, ListedGroup, MemberDescription,
    Synced,
};
use super::config::GroupConfig;
use super::error::GroupError;
use super::ids::{GroupId, InstanceId, MemberId};
use super::member::Member;
use super::record::GroupRecord;
use super::state::{GroupState, GroupType};
use super::stored::StoredGroup;
use super::subscription;
use crate::coordinator::timers::Timers;
use crate::coordinator::{Answer, Decision, ReplyTicket};
use crate::types::{GenerationId, Now, Timestamp};

/// A group and those of its members that are known at present.
#[derive(Clone, Debug)]
pub(super) struct ClassicGroup {
    pub(super) id: GroupId,
    pub(super) state: GroupState,
    pub(super) state_since: Timestamp,
    pub(super) generation: GenerationId,
    /// `None` until a first member has come; then it outlives the members.
    pub(super) protocol_type: Option<Arc<str>>,
    /// Chosen when a rebalance's first phase ends.
    pub(super) protocol: Option<Arc<str>>,
    /// One of `members`, whenever there are any.
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// The member behind each instance id.
    pub(super) instances: BTreeMap<InstanceId, MemberId>,
    /// How many members support each protocol.
    pub(super) supported: BTreeMap<Arc<str>, usize>,
    /// How many members have a parked join.
    pub(super) joining: usize,
    /// Ids that were given out and have not joined yet. Each has a session timer.
    pub(super) pending: BTreeSet<MemberId>,
    /// Members that have joined this generation and not asked for their assignment yet.
    pub(super) pending_sync: BTreeSet<MemberId>,
    /// Set while the first rebalance of an empty group waits for more members.
    pub(super) initial_delay: Option<InitialDelay>,
    /// What the members, without their assignments, and the ids given out take in memory, about.
    held_bytes: usize,
}

/// The patience of a first rebalance.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    /// The period now running.
    pub(super) delay: Duration,
    /// What is left of the rebalance timeout after it.
    pub(super) remaining: Duration,
    /// Somebody came in this period, so another may follow.
    pub(super) extended: bool,
}

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupTimer {
    /// The member was silent for too long.
    Session(GroupId, MemberId),
    /// The rebalance waits no longer for joins.
    Join(GroupId),
    /// The rebalance waits no longer for syncs.
    Sync(GroupId),
    /// Offsets and groups are to be looked through for what has expired.
    Expiry,
}

/// What one decision works with and gathers.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) config: &'a GroupConfig,
    pub(super) timers: &'a mut Timers<GroupTimer>,
    pub(super) now: Now,
    /// How many bytes groups may still take.
    pub(super) room: usize,
    pub(super) decision: Decision<GroupRecord, Result<GroupReply, GroupError>>,
}

impl Step<'_> {
    /// Answers once everything the group has in flight is committed.
    pub(super) fn answer(
        &mut self,
        group: &GroupId,
        ticket: ReplyTicket,
        reply: Result<GroupReply, GroupError>,
    ) {
        let after = Some(group.0.clone());
        self.decision.replies.push(Answer {
            ticket,
            reply,
            after,
        });
    }

    /// Answers without waiting for anything: for what no record backs.
    pub(super) fn answer_now(
        &mut self,
        ticket: ReplyTicket,
        reply: Result<GroupReply, GroupError>,
    ) {
        let after = None;
        self.decision.replies.push(Answer {
            ticket,
            reply,
            after,
        });
    }

    pub(super) fn schedule(&mut self, timer: GroupTimer, delay: Duration) {
        self.timers.schedule(timer, self.now.monotonic.after(delay));
    }
}

impl ClassicGroup {
    /// A group without members.
    pub(super) const fn new(id: GroupId, now: Timestamp) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            state_since: now,
            generation: GenerationId(0),
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            supported: BTreeMap::new(),
            joining: 0,
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            initial_delay: None,
            held_bytes: 0,
        }
    }

    /// The group as recorded. A record that contradicts itself gives a group that works.
    pub(super) fn from_stored(id: GroupId, stored: &StoredGroup) -> Self {
        let mut group = Self::new(id, stored.state_since);
        group.protocol_type.clone_from(&stored.protocol_type);
        group.generation = stored.generation;
        if !stored.members.is_empty() {
            let protocol = stored.protocol.clone().unwrap_or_default();
            group.state = GroupState::Stable;
            group.protocol_type = Some(stored.protocol_type.clone().unwrap_or_default());
            for (id, member) in &stored.members {
                group.insert(id.clone(), Member::from_stored(member, &protocol));
            }
            group.protocol = Some(protocol);
            let leader = stored
                .leader
                .clone()
                .filter(|id| group.members.contains_key(id));
            group.leader = leader.or_else(|| group.members.keys().next().cloned());
        }
        group
    }

    /// The group to be recorded.
    pub(super) fn to_stored(&self) -> StoredGroup {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter();
        StoredGroup {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members: members
                .map(|(id, member)| (id.clone(), member.to_stored(protocol)))
                .collect(),
        }
    }

    pub(super) fn record(&self) -> GroupRecord {
        GroupRecord::Group {
            group: self.id.clone(),
            value: Some(self.to_stored()),
        }
    }

    pub(super) fn transition(&mut self, state: GroupState, now: Timestamp) {
        self.state = state;
        self.state_since = now;
    }

    /// Adds a member; its counts and its instance follow.
    pub(super) fn insert(&mut self, id: MemberId, member: Member) {
        for protocol in &member.protocols {
            *self.supported.entry(protocol.name.clone()).or_default() += 1;
        }
        self.joining += usize::from(member.join.is_some());
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.release(&id);
        self.held_bytes += member.held_bytes(&id);
        let former = self.members.insert(id, member);
        assert!(
            former.is_none(),
            "INV-GROUP-3: a new member of {} has the id of another",
            self.id
        );
    }

    /// Takes a member out; its counts and its instance follow, the leader does not.
    pub(super) fn take(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        for protocol in &member.protocols {
            if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
        self.held_bytes -= member.held_bytes(id);
        self.joining -= usize::from(member.join.is_some());
        if let Some(instance) = &member.instance_id
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        Some(member)
    }

    /// Notes an id that is given out.
    pub(super) fn reserve(&mut self, id: MemberId) {
        let held_bytes = PENDING_BYTES + id.as_str().len();
        if self.pending.insert(id) {
            self.held_bytes += held_bytes;
        }
    }

    fn release(&mut self, id: &MemberId) {
        if self.pending.remove(id) {
            self.held_bytes -= PENDING_BYTES + id.as_str().len();
        }
    }

    /// What the group takes in memory, about, in bytes; without what is recorded of it.
    pub(super) fn held_bytes(&self) -> usize {
        GROUP_BYTES + self.id.as_str().len() + self.held_bytes
    }

    /// As [`Self::held_bytes`], counted anew.
    #[cfg(test)]
    pub(super) fn recounted_bytes(&self) -> usize {
        let members = self.members.iter().map(|(id, it)| it.held_bytes(id));
        let pending = self
            .pending
            .iter()
            .map(|id| PENDING_BYTES + id.as_str().len());
        GROUP_BYTES + self.id.as_str().len() + members.chain(pending).sum::<usize>()
    }

    /// What the member takes whose place a join takes: the one that it names, or the one of its instance.
    pub(super) fn held_bytes_before(&self, join: &Join) -> usize {
        let instance = join.instance_id.as_ref();
        let holder = instance.and_then(|instance| self.instances.get(instance));
        let id = holder.unwrap_or(&join.member_id);
        self.members.get(id).map_or(0, |it| it.held_bytes(id))
    }

    /// Removes a member or a reserved id and all that was scheduled for it; whoever waits in its name is told so.
    pub(super) fn remove(&mut self, step: &mut Step<'_>, id: &MemberId) {
        step.timers
            .cancel(&GroupTimer::Session(self.id.clone(), id.clone()));
        self.release(id);
        self.pending_sync.remove(id);
        let Some(member) = self.take(id) else {
            return;
        };
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        for ticket in member.join.into_iter().chain(member.sync) {
            step.answer(&self.id, ticket, Err(self.unknown(id)));
        }
    }

    /// Checks that a member is who it says it is.
    pub(super) fn validate(
        &self,
        id: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            let holder = self
                .instances
                .get(instance)
                .ok_or_else(|| self.unknown(id))?;
            if holder != id {
                let (instance_id, member_id) = (instance.clone(), id.clone());
                return Err(GroupError::FencedInstanceId {
                    instance_id,
                    member_id,
                });
            }
        }
        if self.members.contains_key(id) {
            Ok(())
        } else {
            Err(self.unknown(id))
        }
    }

    pub(super) fn validate_generation(&self, requested: GenerationId) -> Result<(), GroupError> {
        let current = self.generation;
        if requested == current {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration { requested, current })
        }
    }

    pub(super) fn unknown(&self, id: &MemberId) -> GroupError {
        GroupError::UnknownMember {
            group: self.id.clone(),
            member_id: id.clone(),
        }
    }

    pub(super) fn rebalancing(&self) -> GroupError {
        GroupError::RebalanceInProgress {
            group: self.id.clone(),
        }
    }

    /// Begins a member's session anew.
    pub(super) fn touch(&self, step: &mut Step<'_>, id: &MemberId) {
        if let Some(member) = self.members.get(id) {
            let timer = GroupTimer::Session(self.id.clone(), id.clone());
            step.schedule(timer, member.session_timeout());
        }
    }

    pub(super) fn is_leader(&self, id: &MemberId) -> bool {
        self.leader.as_ref() == Some(id)
    }

    /// Whether nothing would be lost if the group were not in memory, its records aside.
    pub(super) fn is_idle(&self) -> bool {
        self.state == GroupState::Empty && self.pending.is_empty()
    }

    /// The longest rebalance timeout of all members.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(Member::rebalance_timeout);
        timeouts.max().unwrap_or_default()
    }

    /// The protocol that most members prefer among those that all support; of equals the first by name. `None` only
    /// without members.
    pub(super) fn vote(&self) -> Option<Arc<str>> {
        let all = self
            .supported
            .iter()
            .filter(|(_, count)| **count == self.members.len());
        let candidates: BTreeSet<Arc<str>> = all.map(|(name, _)| name.clone()).collect();
        let mut votes: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for name in self
            .members
            .values()
            .filter_map(|member| member.vote(&candidates))
        {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name)
    }

    /// Those of `asked` whose offsets are in use, because a member subscribes to the topic. A consumer group with a subscription
    /// that does not read, or with more of them than it can ever be recorded with, uses all of them, a group of another kind
    /// none. Looked up where it is asked for, which is seldom: many members with many topics each are much to go through at
    /// every rebalance.
    pub(super) fn in_use<'a>(
        &self,
        config: &GroupConfig,
        asked: BTreeSet<&'a str>,
    ) -> BTreeSet<&'a str> {
        let mut used = BTreeSet::new();
        if !self.is_consumer() {
            return used;
        }
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let mut left = config.record_bytes_max;
        for member in self.members.values() {
            if used.len() == asked.len() {
                break;
            }
            let metadata = member.metadata(protocol);
            let Some(rest) = left.checked_sub(metadata.len()) else {
                return asked;
            };
            left = rest;
            for topic in subscription::topics(&metadata) {
                match topic {
                    Some(topic) => used.extend(asked.get(topic)),
                    None => return asked,
                }
            }
        }
        used
    }

    pub(super) fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(subscription::CONSUMER)
    }

    /// The present generation as a member is told of it; the leader is told the members.
    pub(super) fn joined(&self, id: &MemberId) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if self.is_leader(id) {
            self.members.iter()
        } else {
            Default::default()
        };
        let members = members.map(|(id, member)| JoinedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol),
        });
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            leader: self.leader.clone().unwrap_or_else(|| MemberId::from("")),
            skip_assignment: false,
            member_id: id.clone(),
            members: members.collect(),
            protocol,
        }
    }

    /// The assignment as a member is told of it.
    pub(super) fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment,
        }
    }

    pub(super) fn describe(&self) -> GroupDescription {
        let stable = self.state == GroupState::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| MemberDescription {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable {
                member.metadata(&protocol)
            } else {
                Bytes::new()
            },
            assignment: if stable {
                member.assignment.clone()
            } else {
                Bytes::new()
            },
        });
        GroupDescription {
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol,
        }
    }

    pub(super) fn list(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state,
            group_type: GroupType::Classic,
        }
    }
}

/// A group without members, and its place in the coordinator.
const GROUP_BYTES: usize = 1_000;
/// An id that was given out, besides its text: its places among the ids and the timers.
const PENDING_BYTES: usize = 250;
