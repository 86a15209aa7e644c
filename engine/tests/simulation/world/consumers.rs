//! Groups of consumers that rebalance, while what they committed has to stand.

use std::hash::Hash;

use millrace_engine::group::{GroupError, GroupReply, partition_for};
use millrace_engine::shard::command::{Command, GroupRequest};
use millrace_engine::types::GenerationId;
use tokio::sync::oneshot;

use super::World;
use crate::consumers::{Ask, Consumer, Phase};
use crate::invariants::Verdict;
use crate::invariants::group_generations::GroupGenerations;
use crate::invariants::static_members::StaticMembers;
use crate::topics::OFFSETS;

impl World {
    /// The consumers that there are at first.
    pub(super) fn consumers() -> Vec<Consumer> {
        let (a, b) = (Some("a"), Some("b"));
        let instances = [a, a, b, None, None, None, a, None, None];
        let numbered = instances.iter().enumerate();
        numbered
            .map(|(number, &instance)| Consumer::new(["crew-0", "crew-1"][number % 2], instance))
            .collect()
    }

    /// There are only these static members, all of one group.
    pub(crate) fn employ(&mut self, group: &str, instances: &[&str]) {
        let instances = instances.iter();
        self.consumers = instances
            .map(|&instance| Consumer::new(group, Some(instance)))
            .collect();
        self.newest_at_commit = self.no_generations();
        self.holder_at_ask = vec![0; self.consumers.len()];
    }

    /// Whether every consumer is at work, in the generation that was shared out last.
    pub(crate) fn all_at_work(&self) -> bool {
        let at_work = |consumer: &Consumer| {
            matches!(consumer.phase, Phase::Stable(_))
                && consumer.generation == self.checkers.generations.newest(&consumer.group)
        };
        self.consumers.iter().all(at_work)
    }

    /// The consumers do their work for a while, and time passes as slowly as it can.
    pub(crate) fn let_work(&mut self, rounds: u64) -> Verdict {
        for _ in 0..rounds {
            self.steps += 1;
            self.use_consumer();
            self.machine.pump(&mut self.random);
            self.hear_consumers()?;
        }
        Ok(())
    }

    /// The process of one of the consumers ends, and the next begins.
    pub(crate) fn replace_consumer(&mut self) {
        let index = self.below(self.consumers.len());
        self.consumers[index].pending = None;
        self.consumers[index].begin_anew();
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
        if matches!(ask, Ask::Join) && consumer.member_id.is_empty() {
            self.incarnations += 1;
            consumer.incarnation = self.incarnations;
        }
        self.holder_at_ask[index] = self.checkers.statics.holder(consumer);
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
        // Anybody may look at offsets.
        let is_members = !matches!(ask, Ask::Fetch { .. });
        match &answer {
            Some(Ok(GroupReply::OffsetsCommitted(results))) if results[0].is_err() => {}
            Some(Ok(_)) if is_members => {
                StaticMembers::served(consumer, self.holder_at_ask[index])?;
            }
            Some(Err(GroupError::FencedInstanceId { .. })) => self.checkers.statics.fenced += 1,
            _ => {}
        }
        match (ask, answer) {
            (_, Some(Ok(GroupReply::Joined(joined)))) => {
                let generations = &self.checkers.generations;
                generations.joined(&consumer.group, joined.generation)?;
                consumer.joined(joined);
            }
            (_, Some(Ok(GroupReply::Synced(synced)))) => {
                let generations = &mut self.checkers.generations;
                let stood = generations.newest(&consumer.group) == consumer.generation;
                let slots = generations.synced(
                    &consumer.group,
                    consumer.generation,
                    &consumer.seat(),
                    synced,
                )?;
                self.checkers.statics.synced(consumer, stood);
                consumer.synced(slots);
            }
            (_, Some(Ok(GroupReply::Left(_)))) => consumer.begin_anew(),
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
