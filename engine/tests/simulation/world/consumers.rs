//! Groups of consumers that rebalance, while what they committed has to stand.

use std::hash::Hash;

use millrace_engine::group::{GroupError, GroupReply, partition_for};
use millrace_engine::shard::command::{Command, GroupRequest};
use millrace_engine::types::GenerationId;
use tokio::sync::oneshot;

use super::World;
use crate::consumers::{Ask, Consumer};
use crate::invariants::Verdict;
use crate::invariants::group_generations::GroupGenerations;
use crate::topics::OFFSETS;

impl World {
    /// The consumers that there are at first.
    pub(super) fn consumers() -> Vec<Consumer> {
        (0..7)
            .map(|number| Consumer::new(["crew-0", "crew-1"][number % 2]))
            .collect()
    }

    /// One of the consumers does something.
    pub(crate) fn use_consumer(&mut self) {
        let index = self.below(self.consumers.len());
        let consumer = &mut self.consumers[index];
        let number = partition_for(&consumer.group, 2);
        let Some(id) = self.machine.partition(OFFSETS, number) else {
            return;
        };
        if consumer.pending.is_some() {
            return;
        }
        let Some((ask, command)) = consumer.next(&mut self.random) else {
            return;
        };
        if let Ask::Commit { slot, offset } = ask {
            let sent = self.slots_sent.entry(key(consumer, slot)).or_insert(-1);
            *sent = offset.max(*sent);
            self.newest_at_commit[index] = self.checkers.generations.newest(&consumer.group);
        }
        let (reply, answer) = oneshot::channel();
        consumer.pending = Some((ask, answer));
        let request = GroupRequest {
            partition: id,
            command,
            reply,
        };
        self.machine.send(id, Command::Group(Box::new(request)));
    }

    /// Looks first, commits last: what one was shown may be older than what another was told of in the same moment.
    pub(super) fn hear_consumers(&mut self) -> Verdict {
        for commits in [false, true] {
            for index in 0..self.consumers.len() {
                let pending = self.consumers[index].pending.as_mut();
                let Some((ask, answer)) = pending else {
                    continue;
                };
                let ask = *ask;
                if matches!(ask, Ask::Commit { .. }) != commits {
                    continue;
                }
                let answer = match answer.try_recv() {
                    Ok(answer) => Some(answer),
                    Err(oneshot::error::TryRecvError::Empty) => continue,
                    Err(oneshot::error::TryRecvError::Closed) => None,
                };
                self.consumers[index].pending = None;
                format!("{index} {ask:?} {answer:?}").hash(&mut self.trace);
                self.hear_consumer(index, ask, answer)?;
            }
        }
        Ok(())
    }

    fn hear_consumer(
        &mut self,
        index: usize,
        ask: Ask,
        answer: Option<Result<GroupReply, GroupError>>,
    ) -> Verdict {
        let newest = self.newest_at_commit[index];
        let consumer = &mut self.consumers[index];
        match (ask, answer) {
            (_, Some(Ok(GroupReply::Joined(joined)))) => {
                let generations = &self.checkers.generations;
                generations.joined(&consumer.group, joined.generation)?;
                consumer.joined(joined);
            }
            (_, Some(Ok(GroupReply::Synced(synced)))) => {
                let slots = self.checkers.generations.synced(
                    &consumer.group,
                    consumer.generation,
                    &consumer.member_id,
                    synced,
                )?;
                consumer.synced(slots);
            }
            (_, Some(Ok(GroupReply::Left(_)))) => *consumer = Consumer::new(&consumer.group),
            (Ask::Fetch { slot }, Some(Ok(GroupReply::OffsetsFetched(offsets)))) => {
                let key = key(consumer, slot);
                let (found, sent) = (offsets[0].offset.0, self.slots_sent.get(&key));
                let sent = sent.copied().unwrap_or(-1);
                self.checkers.groups.fetched(&key, found, sent)?;
                consumer.at(slot, Some(found));
            }
            (Ask::Commit { slot, offset }, Some(Ok(GroupReply::OffsetsCommitted(results)))) => {
                match &results[0] {
                    Ok(()) => {
                        GroupGenerations::committed(&consumer.group, consumer.generation, newest)?;
                        let key = key(consumer, slot);
                        self.checkers.groups.committed(&key, offset);
                        consumer.at(slot, Some(offset));
                    }
                    Err(error) => {
                        consumer.at(slot, None);
                        consumer.refused(error);
                    }
                }
            }
            (ask, Some(Err(error))) => {
                if let Ask::Commit { slot, .. } = ask {
                    consumer.at(slot, None);
                }
                consumer.refused(&error);
            }
            // The broker died: nobody knows.
            (Ask::Commit { slot, .. }, None) => consumer.at(slot, None),
            _ => {}
        }
        Ok(())
    }

    /// How many slots were committed by members at least once.
    pub(crate) fn slots_committed(&self) -> u64 {
        self.slots_sent
            .values()
            .map(|sent| u64::try_from(sent + 1).unwrap_or(0))
            .sum()
    }

    pub(super) fn no_generations(&self) -> Vec<GenerationId> {
        vec![GenerationId(-1); self.consumers.len()]
    }
}

fn key(consumer: &Consumer, slot: u8) -> String {
    format!("{} slot {slot}", consumer.group)
}
