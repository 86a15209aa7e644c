//! Groups without members: clients that commit offsets, look at them and delete them; and the one that looks at all
//! offsets there are.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use millrace_engine::group::{
    CommitOffsets, DeleteOffsets, FetchOffsets, GroupCommand, GroupError, GroupId, GroupReply,
    MemberId, NamedTopic, OffsetToCommit, OffsetsWanted, partition_for,
};
use millrace_engine::shard::command::{Command, GroupRequest};
use millrace_engine::types::{GenerationId, LeaderEpoch, Offset, TopicPartition};
use tokio::sync::oneshot;

use super::{ANSWER_ROUNDS_MAX, World};
use crate::clients::{Answer, GroupAsk};
use crate::invariants::{Verdict, Violation, everyone_is_answered};
use crate::topics::OFFSETS;

impl World {
    pub(super) fn use_group(&mut self) {
        let index = self.below(self.groups.len());
        let group = &mut self.groups[index];
        if group.pending.is_some() {
            return;
        }
        let name = group.name.clone();
        let id = GroupId::from(name.as_str());
        let (ask, command) = match self.random.below(12) {
            0 => (GroupAsk::Delete, GroupCommand::DeleteGroup { group: id }),
            1 => (GroupAsk::Delete, delete(id)),
            2..=4 => (GroupAsk::Look, look(id, Some(vec![place()]))),
            _ => {
                group.sent += 1;
                (GroupAsk::Commit(group.sent), commit(id, group.sent))
            }
        };
        let answer = self.ask_group(&name, command);
        self.groups[index].pending = answer.map(|answer| (ask, answer));
    }

    pub(super) fn hear_group(&mut self, index: usize) -> Verdict {
        let group = &mut self.groups[index];
        let Some((ask, answer)) = &mut group.pending else {
            return Ok(());
        };
        let ask = *ask;
        let answer = match answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => return Ok(()),
            Err(oneshot::error::TryRecvError::Closed) => None,
        };
        group.pending = None;
        let (name, sent) = (group.name.as_str(), group.sent);
        let offsets = &mut self.checkers.groups;
        match (ask, answer) {
            (GroupAsk::Commit(offset), Some(Ok(GroupReply::OffsetsCommitted(results))))
                if results.iter().all(Result::is_ok) =>
            {
                offsets.committed(name, offset);
            }
            (GroupAsk::Look, Some(Ok(GroupReply::OffsetsFetched(fetched)))) => {
                let found = fetched[0].offset.0;
                (index, found).hash(&mut self.trace);
                offsets.fetched(name, found, sent)?;
            }
            (GroupAsk::Delete, Some(Ok(GroupReply::GroupDeleted))) => offsets.deleted(name, sent),
            (GroupAsk::Delete, Some(Ok(GroupReply::OffsetsDeleted(results))))
                if results.iter().all(Result::is_ok) =>
            {
                offsets.deleted(name, sent);
            }
            // There is nothing to delete.
            (GroupAsk::Delete, Some(Err(GroupError::GroupIdNotFound { .. }))) => {
                offsets.fetched(name, -1, sent)?;
            }
            // Nobody has looked at it.
            (GroupAsk::Delete, Some(Err(GroupError::CoordinatorLoading))) => {}
            (GroupAsk::Delete, _) => offsets.may_be_deleted(name, sent),
            _ => {}
        }
        Ok(())
    }

    /// Looks at all offsets that were ever committed, before anybody commits the next and so covers one that was lost.
    pub(crate) fn look_at_offsets(&mut self) -> Verdict {
        // A coordinator whose partition was never opened finds no room on a full disk.
        self.machine.sim.set_capacity_bytes(1 << 40);
        for index in 0..self.groups.len() {
            let (name, sent) = (self.groups[index].name.clone(), self.groups[index].sent);
            let found = self.offsets_of(&name)?;
            let offset = found.get(&place().partition).copied().unwrap_or(-1);
            self.checkers.groups.fetched(&name, offset, sent)?;
        }
        let consumers = self.consumers.iter();
        let crews: BTreeSet<String> = consumers.map(|consumer| consumer.group.clone()).collect();
        for group in crews {
            let found = self.offsets_of(&group)?;
            let slots = format!("{group} slot ");
            for (key, sent) in &self.slots_sent {
                let Some(slot) = key.strip_prefix(&slots) else {
                    continue;
                };
                let slot: i32 = slot.parse().unwrap();
                let offset = found.get(&slot).copied().unwrap_or(-1);
                self.checkers.groups.fetched(key, offset, *sent)?;
            }
        }
        Ok(())
    }

    /// What a group has committed, by partition.
    fn offsets_of(&mut self, group: &str) -> Result<BTreeMap<i32, i64>, Violation> {
        for _ in 0..ANSWER_ROUNDS_MAX {
            let Some(answer) = self.ask_group(group, look(GroupId::from(group), None)) else {
                break;
            };
            if let Ok(GroupReply::OffsetsFetched(fetched)) = self.wait_for(answer, group)? {
                let fetched = fetched.into_iter();
                let found = fetched.map(|one| (one.partition.partition, one.offset.0));
                return Ok(found.collect());
            }
            // Its coordinator is being read.
            self.machine.pump(&mut self.random);
        }
        Err(everyone_is_answered::violated(group))
    }

    fn ask_group(
        &mut self,
        group: &str,
        command: GroupCommand,
    ) -> Option<Answer<Result<GroupReply, GroupError>>> {
        let number = partition_for(group, 2);
        let partition = self.machine.partition(OFFSETS, number)?;
        let (reply, answer) = oneshot::channel();
        let request = GroupRequest {
            partition,
            command,
            reply,
        };
        let request = Command::Group(Box::new(request));
        self.machine.send(partition, request);
        Some(answer)
    }
}

fn commit(group: GroupId, offset: i64) -> GroupCommand {
    let offset = OffsetToCommit {
        partition: place(),
        topic: NamedTopic::ByName,
        offset: Offset(offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: "".into(),
    };
    GroupCommand::CommitOffsets(CommitOffsets {
        group,
        member_id: MemberId::from(""),
        instance_id: None,
        generation: GenerationId(-1),
        retention_ms: None,
        offsets: vec![offset],
    })
}

fn look(group: GroupId, partitions: Option<Vec<TopicPartition>>) -> GroupCommand {
    GroupCommand::FetchOffsets(FetchOffsets {
        group,
        wanted: partitions.map_or(OffsetsWanted::ALL, OffsetsWanted::Of),
        require_stable: false,
    })
}

fn delete(group: GroupId) -> GroupCommand {
    GroupCommand::DeleteOffsets(DeleteOffsets {
        group,
        partitions: vec![place()],
    })
}

/// In a topic that is there: offsets of others do not outlive the coordinator.
fn place() -> TopicPartition {
    TopicPartition {
        topic: OFFSETS.parse().unwrap(),
        partition: 0,
    }
}
