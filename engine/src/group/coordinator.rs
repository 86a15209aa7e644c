//! All the classic groups of one partition of `__consumer_offsets`: finds the group a command is for, checks what concerns
//! no group in particular, fires timers, and removes groups that nothing is left of.
//!
//! What happens within a group is in `join`, `rebalance`, `session` and `offsets`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::classic::{ClassicGroup, GroupTimer, Step};
use super::command::{CommitOffsets, DeleteOffsets, GroupCommand, GroupReply, Join, ListGroups};
use super::config::GroupConfig;
use super::error::GroupError;
use super::ids::{GroupId, InstanceId, MemberId};
use super::member;
use super::offsets;
use super::record::{GroupRecord, group_record_length};
use super::state::{GroupState, GroupType};
use super::stored::Stored;
use crate::coordinator::timers::Timers;
use crate::coordinator::{
    CoordinatorRecord, Decision, DecodeError, ReplyTicket, Scope, StateMachine, Unavailable,
};
use crate::types::{GenerationId, Monotonic, Now};

/// The state machine of one partition's groups.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    /// What the records say; changed by `apply` alone.
    stored: Stored,
    /// Every group that `stored` knows, and groups whose first members are just joining.
    groups: Groups,
    timers: Timers<GroupTimer>,
    /// What `groups` take in memory, about.
    groups_bytes: usize,
    /// What other coordinators take that share `memory_bytes_max` with this one.
    elsewhere_bytes: usize,
    /// Where the look for expired offsets goes on, when one turn was not enough.
    expiry_cursor: Option<GroupId>,
}

type Groups = BTreeMap<GroupId, ClassicGroup>;
type Outcome = Result<GroupReply, GroupError>;

/// How long the texts of a command may be, in bytes. A record holds 32,767; a member id is made of one of them and a UUID.
const TEXT_BYTES_MAX: usize = 32_000;

/// How many removals one turn of expiry makes, and how many offsets it looks at, about; what is left follows a moment later, when
/// others have had their turn.
const EXPIRY_RECORDS: usize = 1_000;
const EXPIRY_LOOKS: usize = 10_000;
const EXPIRY_PAUSE: Duration = Duration::from_millis(1);

impl GroupCoordinator {
    /// A coordinator that knows no group yet.
    #[must_use]
    pub const fn new(config: GroupConfig) -> Self {
        Self {
            config,
            stored: Stored::new(),
            groups: BTreeMap::new(),
            timers: Timers::new(),
            groups_bytes: 0,
            elsewhere_bytes: 0,
            expiry_cursor: None,
        }
    }

    /// The durable part.
    #[must_use]
    pub const fn stored(&self) -> &Stored {
        &self.stored
    }

    /// What members and offsets take in memory, about, in bytes.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.groups_bytes + self.stored.held_bytes()
    }

    /// Notes what the coordinators take that share [`GroupConfig::memory_bytes_max`] with this one, in bytes.
    pub const fn set_elsewhere_bytes(&mut self, bytes: usize) {
        self.elsewhere_bytes = bytes;
    }

    /// Changes [`GroupConfig::record_bytes_max`]; what is recorded stays.
    pub const fn set_record_bytes_max(&mut self, bytes: usize) {
        self.config.record_bytes_max = bytes;
    }

    /// How many groups there are in each state, for metrics.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<GroupState, usize> {
        let mut counts = BTreeMap::new();
        for group in self.groups.values() {
            *counts.entry(group.state).or_default() += 1;
        }
        counts
    }

    #[cfg(test)]
    pub(super) const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Runs `decide` with a step, then forgets the group if nothing is left of it.
    fn in_step(
        &mut self,
        now: Now,
        group: Option<&GroupId>,
        decide: impl FnOnce(&mut Groups, &Stored, &mut Step<'_>),
    ) -> Decision<GroupRecord, Outcome> {
        let taken = self.held_bytes() + self.elsewhere_bytes;
        let mut step = Step {
            config: &self.config,
            timers: &mut self.timers,
            now,
            room: self.config.memory_bytes_max.saturating_sub(taken),
            decision: Decision::default(),
        };
        let before = group.map_or(0, |id| bytes_of(&self.groups, id));
        decide(&mut self.groups, &self.stored, &mut step);
        let decision = step.decision;
        if let Some(id) = group
            && decision.records.is_empty()
            && !self.stored.knows(id)
            && self.groups.get(id).is_some_and(ClassicGroup::is_idle)
        {
            self.groups.remove(id);
        }
        let after = group.map_or(0, |id| bytes_of(&self.groups, id));
        self.groups_bytes = self.groups_bytes + after - before;
        decision
    }

    /// Looks through groups for expired offsets, and removes groups that have neither members nor offsets.
    fn expire(&mut self, now: Now) -> Decision<GroupRecord, Outcome> {
        let cursor = self.expiry_cursor.take();
        let mut next = None;
        let mut freed_bytes = 0;
        let interval = self.config.offsets_retention_check_interval;
        let decision = self.in_step(now, None, |groups, stored, step| {
            let mut gone = Vec::new();
            let mut looks = 0;
            let start = cursor.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
            for (id, group) in groups.range((start, std::ops::Bound::Unbounded)) {
                if step.decision.records.len() >= EXPIRY_RECORDS || looks >= EXPIRY_LOOKS {
                    next = Some(id.clone());
                    break;
                }
                looks += 1 + stored.count_offsets(id);
                if offsets::expire(group, stored, step) && group.is_idle() {
                    if stored.group(id).is_some() {
                        step.decision.records.push(GroupRecord::Group {
                            group: id.clone(),
                            value: None,
                        });
                    }
                    gone.push(id.clone());
                }
            }
            for id in gone {
                freed_bytes += bytes_of(groups, &id);
                groups.remove(&id);
            }
            let delay = if next.is_some() {
                EXPIRY_PAUSE
            } else {
                interval
            };
            step.schedule(GroupTimer::Expiry, delay);
        });
        self.expiry_cursor = next;
        self.groups_bytes -= freed_bytes;
        decision
    }
}

impl StateMachine for GroupCoordinator {
    type Command = GroupCommand;
    type Reply = Outcome;
    type Record = GroupRecord;

    fn decide(
        &mut self,
        ticket: ReplyTicket,
        command: GroupCommand,
        now: Now,
    ) -> Decision<GroupRecord, Outcome> {
        let group = command.group().cloned();
        self.in_step(now, group.as_ref(), |groups, stored, step| {
            if let Some(id) = &group
                && let Err(error) = check_text("group id", id.as_str())
            {
                return step.answer(id, ticket, Err(error));
            }
            dispatch(groups, stored, step, ticket, command);
        })
    }

    fn tick(&mut self, now: Now) -> Option<Decision<GroupRecord, Outcome>> {
        let timer = self.timers.pop_due(now.monotonic)?;
        let id = match &timer {
            GroupTimer::Session(id, _) | GroupTimer::Join(id) | GroupTimer::Sync(id) => id.clone(),
            GroupTimer::Expiry => return Some(self.expire(now)),
        };
        Some(self.in_step(now, Some(&id), |groups, _, step| {
            let Some(group) = groups.get_mut(&id) else {
                return;
            };
            match &timer {
                GroupTimer::Session(_, member) => group.session_expired(step, member),
                GroupTimer::Join(_) => group.join_deadline_passed(step),
                GroupTimer::Sync(_) => group.sync_deadline_passed(step),
                GroupTimer::Expiry => {}
            }
        }))
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        self.timers.next_deadline()
    }

    fn apply(&mut self, record: &GroupRecord) {
        self.stored.apply(record);
    }

    fn loaded(&mut self, now: Now) -> Decision<GroupRecord, Outcome> {
        let interval = self.config.offsets_retention_check_interval;
        let decision = self.in_step(now, None, |groups, stored, step| {
            groups.clear();
            for id in stored.group_ids() {
                groups
                    .entry(id.clone())
                    .or_insert_with(|| match stored.group(id) {
                        Some(group) => ClassicGroup::from_stored(id.clone(), group),
                        None => ClassicGroup::new(id.clone(), now.wall),
                    });
            }
            for group in groups.values_mut() {
                for id in group.members.keys() {
                    group.touch(step, id);
                }
                if group.members.len() > step.config.size_max {
                    // The limit was lowered: the rebalance lets in as many as there is room for.
                    group.prepare_rebalance(step);
                }
            }
            step.schedule(GroupTimer::Expiry, interval);
        });
        self.groups_bytes = self.groups.values().map(ClassicGroup::held_bytes).sum();
        decision
    }

    fn unload(&mut self) -> Vec<ReplyTicket> {
        let groups = std::mem::take(&mut self.groups);
        self.stored = Stored::new();
        self.timers = Timers::new();
        self.groups_bytes = 0;
        self.expiry_cursor = None;
        let members = groups.values().flat_map(|group| group.members.values());
        members
            .flat_map(|member| member.join.into_iter().chain(member.sync))
            .collect()
    }

    fn append_bytes_max(&self) -> usize {
        self.config.record_bytes_max
    }

    fn scope(record: &GroupRecord) -> Scope {
        record.group().0.clone()
    }

    fn encode(record: &GroupRecord) -> CoordinatorRecord {
        record.encode()
    }

    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<GroupRecord>, DecodeError> {
        GroupRecord::decode(key, value)
    }

    fn refuse(reason: Unavailable) -> Outcome {
        Err(reason.into())
    }
}

fn dispatch(
    groups: &mut Groups,
    stored: &Stored,
    step: &mut Step<'_>,
    ticket: ReplyTicket,
    command: GroupCommand,
) {
    let id = command.group().cloned();
    let outcome = match command {
        GroupCommand::Join(command) => return join(groups, step, ticket, &command),
        GroupCommand::Sync(sync) => match member_group(groups, &sync.group, &sync.member_id) {
            Ok(group) => {
                if step.room < step.config.record_bytes_max {
                    // What the group brings takes the place of what is recorded of it.
                    let recorded = stored.group(&sync.group);
                    step.room += recorded.map_or(0, |it| group_record_length(&sync.group, it));
                }
                return group.sync(step, ticket, sync);
            }
            Err(error) => Err(error),
        },
        GroupCommand::Heartbeat(heartbeat) => {
            let group = member_group(groups, &heartbeat.group, &heartbeat.member_id);
            let outcome = group.and_then(|group| group.heartbeat(step, &heartbeat));
            return step.answer_now(ticket, outcome);
        }
        GroupCommand::Leave(leave) => {
            let nobody = MemberId::from("");
            member_group(groups, &leave.group, &nobody).map(|group| group.leave(step, &leave))
        }
        GroupCommand::CommitOffsets(commit) => commit_offsets(groups, stored, step, commit),
        GroupCommand::FetchOffsets(fetch) => Ok(offsets::fetch(stored, fetch)),
        GroupCommand::DeleteOffsets(delete) => delete_offsets(groups, stored, step, delete),
        GroupCommand::DescribeGroup { group } => {
            existing(groups, &group).map(|group| GroupReply::Described(group.describe()))
        }
        GroupCommand::ListGroups(filter) => Ok(list(groups, &filter)),
        GroupCommand::DeleteGroup { group } => delete_group(groups, stored, step, &group),
        GroupCommand::ForgetTopics { topics } => {
            offsets::forget_topics(stored, step, &topics);
            Ok(GroupReply::TopicsForgotten)
        }
    };
    match id {
        Some(id) => step.answer(&id, ticket, outcome),
        None => step.answer_now(ticket, outcome),
    }
}

fn join(groups: &mut Groups, step: &mut Step<'_>, ticket: ReplyTicket, join: &Join) {
    let checked = check_join(step.config, join);
    if let Err(error) = checked.and_then(|()| check_room(groups, step, join)) {
        return step.answer(&join.group, ticket, Err(error));
    }
    let is_new = join.member_id.is_empty();
    if !is_new && !groups.contains_key(&join.group) {
        let (group, member_id) = (join.group.clone(), join.member_id.clone());
        return step.answer(
            &join.group,
            ticket,
            Err(GroupError::UnknownMember { group, member_id }),
        );
    }
    let now = step.now.wall;
    let group = groups.entry(join.group.clone());
    let group = group.or_insert_with(|| ClassicGroup::new(join.group.clone(), now));
    group.join(step, ticket, join);
}

fn check_join(config: &GroupConfig, join: &Join) -> Result<(), GroupError> {
    if join.group.is_empty() {
        return Err(GroupError::GroupIdInvalid);
    }
    check_text("client id", &join.client_id)?;
    check_text("client host", &join.client_host)?;
    check_text("protocol type", &join.protocol_type)?;
    check_text(
        "instance id",
        join.instance_id.as_ref().map_or("", InstanceId::as_str),
    )?;
    for protocol in &join.protocols {
        check_text("protocol name", &protocol.name)?;
    }
    // Only the protocol that is chosen is stored.
    let protocols = join.protocols.iter();
    let lengths = protocols.map(|protocol| protocol.name.len() + protocol.metadata.len());
    let length = lengths.max().unwrap_or(0);
    let max = config.record_bytes_max;
    if length > max {
        // A group with such a member could never be stored.
        let group = join.group.clone();
        return Err(GroupError::GroupRecordTooLarge { group, length, max });
    }
    let (min_ms, max_ms) = (config.session_timeout_min_ms, config.session_timeout_max_ms);
    let requested_ms = join.session_timeout_ms;
    if !(min_ms..=max_ms).contains(&requested_ms) {
        return Err(GroupError::InvalidSessionTimeout {
            requested_ms,
            min_ms,
            max_ms,
        });
    }
    Ok(())
}

/// Whether there is memory for what is new in a join.
fn check_room(groups: &Groups, step: &Step<'_>, join: &Join) -> Result<(), GroupError> {
    let former_bytes = groups
        .get(&join.group)
        .map_or(0, |group| group.held_bytes_before(join));
    let bytes = member::held_bytes_of(join).saturating_sub(former_bytes);
    let left = step.room;
    if bytes <= left {
        return Ok(());
    }
    let group = join.group.clone();
    Err(GroupError::OutOfMemory { group, bytes, left })
}

fn check_text(what: &'static str, text: &str) -> Result<(), GroupError> {
    let (length, max) = (text.len(), TEXT_BYTES_MAX);
    if length > max {
        Err(GroupError::TextTooLong { what, length, max })
    } else {
        Ok(())
    }
}

/// The group a member speaks of. One that does not exist has no members.
fn member_group<'a>(
    groups: &'a mut Groups,
    id: &GroupId,
    member_id: &MemberId,
) -> Result<&'a mut ClassicGroup, GroupError> {
    if id.is_empty() {
        return Err(GroupError::GroupIdInvalid);
    }
    let unknown = || GroupError::UnknownMember {
        group: id.clone(),
        member_id: member_id.clone(),
    };
    groups.get_mut(id).ok_or_else(unknown)
}

fn existing<'a>(groups: &'a Groups, id: &GroupId) -> Result<&'a ClassicGroup, GroupError> {
    groups
        .get(id)
        .ok_or_else(|| GroupError::GroupIdNotFound { group: id.clone() })
}

/// A commit without a generation makes the group it is for.
fn commit_offsets(
    groups: &mut Groups,
    stored: &Stored,
    step: &mut Step<'_>,
    commit: CommitOffsets,
) -> Outcome {
    if commit.generation <= GenerationId::NONE && !groups.contains_key(&commit.group) {
        let group = ClassicGroup::new(commit.group.clone(), step.now.wall);
        groups.insert(commit.group.clone(), group);
    }
    offsets::commit(existing(groups, &commit.group)?, stored, step, commit)
}

fn delete_offsets(
    groups: &Groups,
    stored: &Stored,
    step: &mut Step<'_>,
    delete: DeleteOffsets,
) -> Outcome {
    if delete.group.is_empty() {
        return Err(GroupError::GroupIdInvalid);
    }
    offsets::delete(
        existing(groups, &delete.group)?,
        stored,
        step,
        delete.partitions,
    )
}

fn delete_group(
    groups: &mut Groups,
    stored: &Stored,
    step: &mut Step<'_>,
    id: &GroupId,
) -> Outcome {
    let group = existing(groups, id)?;
    if group.state != GroupState::Empty {
        return Err(GroupError::NonEmptyGroup { group: id.clone() });
    }
    for member in &group.pending {
        step.timers
            .cancel(&GroupTimer::Session(id.clone(), member.clone()));
    }
    offsets::delete_all(id, stored, step);
    if stored.group(id).is_some() {
        step.decision.records.push(GroupRecord::Group {
            group: id.clone(),
            value: None,
        });
    }
    groups.remove(id);
    Ok(GroupReply::GroupDeleted)
}

fn bytes_of(groups: &Groups, id: &GroupId) -> usize {
    groups.get(id).map_or(0, ClassicGroup::held_bytes)
}

fn list(groups: &Groups, filter: &ListGroups) -> GroupReply {
    let type_is_asked = filter
        .types
        .as_ref()
        .is_none_or(|types| types.contains(&GroupType::Classic));
    let state_is_asked = |state| {
        filter
            .states
            .as_ref()
            .is_none_or(|states| states.contains(&state))
    };
    let groups = groups
        .values()
        .filter(|group| type_is_asked && state_is_asked(group.state));
    GroupReply::Listed(groups.map(ClassicGroup::list).collect())
}
