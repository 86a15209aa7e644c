//! What members do between joins: fetch their assignment, stay alive, leave; and what happens to those who fall silent.
//!
//! It knows no offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::classic::{ClassicGroup, GroupTimer, Step};
use super::command::{GroupReply, Heartbeat, Leave, Leaver, Sync};
use super::error::GroupError;
use super::ids::MemberId;
use super::record::group_record_length;
use super::state::GroupState;
use crate::coordinator::ReplyTicket;

impl ClassicGroup {
    /// Serves a sync: the leader's ends the rebalance, the others' wait for it.
    pub(super) fn sync(&mut self, step: &mut Step<'_>, ticket: ReplyTicket, sync: Sync) {
        if let Err(error) = self.validate_sync(&sync) {
            return step.answer(&self.id, ticket, Err(error));
        }
        let id = &sync.member_id;
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            step.timers.cancel(&GroupTimer::Sync(self.id.clone()));
        }
        self.touch(step, id);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if self.state == GroupState::Stable {
            let assignment = member.assignment.clone();
            return step.answer(
                &self.id,
                ticket,
                Ok(GroupReply::Synced(self.synced(assignment))),
            );
        }
        if let Some(former) = member.sync.replace(ticket) {
            let member_id = id.clone();
            step.answer(&self.id, former, Err(GroupError::Superseded { member_id }));
        }
        if self.is_leader(id) {
            self.assign(step, sync.assignments);
        }
    }

    fn validate_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        if self.state == GroupState::Empty {
            return Err(self.unknown(&sync.member_id));
        }
        self.validate(&sync.member_id, sync.instance_id.as_ref())?;
        self.validate_generation(sync.generation)?;
        let differs = |said: &Option<Arc<str>>, is: &Option<Arc<str>>| {
            said.is_some() && is.is_some() && said != is
        };
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol {
                group: self.id.clone(),
            });
        }
        if self.state == GroupState::PreparingRebalance {
            Err(self.rebalancing())
        } else {
            Ok(())
        }
    }

    /// Takes the leader's assignment. Members it does not mention get an empty one; strangers it mentions are ignored.
    fn assign(&mut self, step: &mut Step<'_>, mut assignments: BTreeMap<MemberId, Bytes>) {
        for (id, member) in &mut self.members {
            let assignment = assignments.remove(id).unwrap_or_default();
            // A copy, so that the group does not keep the whole request alive.
            member.assignment = Bytes::copy_from_slice(&assignment);
        }
        let length = group_record_length(&self.id, &self.to_stored());
        match self.check_record(step, length) {
            Ok(()) => self.complete_sync(step),
            Err(error) => {
                self.refuse_syncs(step, &error);
                self.prepare_rebalance(step);
            }
        }
    }

    fn check_record(&self, step: &Step<'_>, length: usize) -> Result<(), GroupError> {
        let group = self.id.clone();
        let max = step.config.record_bytes_max;
        if length > max {
            return Err(GroupError::GroupRecordTooLarge { group, length, max });
        }
        if length > step.room {
            let (bytes, left) = (length, step.room);
            return Err(GroupError::OutOfMemory { group, bytes, left });
        }
        Ok(())
    }

    /// Serves a heartbeat.
    pub(super) fn heartbeat(
        &self,
        step: &mut Step<'_>,
        heartbeat: &Heartbeat,
    ) -> Result<GroupReply, GroupError> {
        self.validate(&heartbeat.member_id, heartbeat.instance_id.as_ref())?;
        self.validate_generation(heartbeat.generation)?;
        self.touch(step, &heartbeat.member_id);
        match self.state {
            GroupState::PreparingRebalance => Err(self.rebalancing()),
            // A member may beat as soon as its join is answered, before it has synced.
            GroupState::CompletingRebalance | GroupState::Stable => Ok(GroupReply::Heartbeat),
            GroupState::Empty | GroupState::Dead => Err(self.unknown(&heartbeat.member_id)),
        }
    }

    /// Removes those who leave, then rebalances among the others.
    pub(super) fn leave(&mut self, step: &mut Step<'_>, leave: &Leave) -> GroupReply {
        let count = self.members.len();
        let results: Vec<_> = leave
            .members
            .iter()
            .map(|leaver| self.remove_leaver(step, leaver))
            .collect();
        if self.members.len() < count {
            self.members_left(step);
        } else {
            self.complete_join_if_all_joined(step);
        }
        GroupReply::Left(results)
    }

    fn remove_leaver(&mut self, step: &mut Step<'_>, leaver: &Leaver) -> Result<(), GroupError> {
        let id = &leaver.member_id;
        let instance = leaver.instance_id.as_ref();
        let id = if id.is_empty() {
            let holder = instance.and_then(|instance| self.instances.get(instance));
            holder.cloned().ok_or_else(|| self.unknown(id))?
        } else if self.pending.contains(id) {
            id.clone()
        } else {
            self.validate(id, instance)?;
            id.clone()
        };
        self.remove(step, &id);
        Ok(())
    }

    fn members_left(&mut self, step: &mut Step<'_>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(step),
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(step),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// A session has ended: a member that waits for others stays, one that should have spoken goes.
    pub(super) fn session_expired(&mut self, step: &mut Step<'_>, id: &MemberId) {
        if let Some(member) = self.members.get(id) {
            if !member.is_new && (member.join.is_some() || member.sync.is_some()) {
                return;
            }
            self.remove(step, id);
            self.members_left(step);
        } else if self.pending.contains(id) {
            self.remove(step, id);
            self.complete_join_if_all_joined(step);
        }
    }
}
