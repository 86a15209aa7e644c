//! Produce requests in work: each is answered once all of its partitions have been told of, or its time is up.

use std::collections::BTreeMap;

use super::command::{Produce, ReplySlot};
use super::step::{Effects, Shard, Timer};
use super::timers::TimerKey;
use crate::coordinator::AppendSequence;
use crate::partition::{Acks, AppendError, Appended, Offered, Told, Waiter};
use crate::types::{Now, TopicIdPartition};

type Results = Vec<Result<Appended, AppendError>>;

/// Those in work, by number.
#[derive(Debug, Default)]
pub(super) struct Produces {
    works: BTreeMap<u64, ProduceWork>,
}

#[derive(Debug)]
struct ProduceWork {
    results: Vec<Option<Result<Appended, AppendError>>>,
    left: usize,
    timer: Option<TimerKey>,
    reply: ReplySlot<Results>,
}

impl ProduceWork {
    /// Answers with what there is; entries not told of are timed out.
    fn answer(self) {
        let timed_out = || Err(AppendError::TimedOut);
        let results = self
            .results
            .into_iter()
            .map(|result| result.unwrap_or_else(timed_out))
            .collect();
        // Whoever asked may have gone.
        let _ = self.reply.send(results);
    }
}

impl Shard {
    pub(super) fn produce(&mut self, produce: Produce, now: Now, effects: &mut Effects) {
        let Produce {
            partitions,
            acks,
            timeout,
            reply,
        } = produce;
        let number = self.next_serial();
        let count = partitions.len();
        let work = ProduceWork {
            results: vec![None; count],
            left: count,
            timer: None,
            reply,
        };
        self.produces.works.insert(number, work);
        for (index, entry) in partitions.into_iter().enumerate() {
            let waiter = Waiter::Produce {
                work: number,
                index,
            };
            let mut told = Told::new();
            let id = entry.partition;
            let offered = Offered {
                records: entry.records,
                zstd_allowed: entry.zstd_allowed,
                acks,
                waiter,
            };
            self.append(id, offered, now, &mut told);
            self.tell(id, told, effects);
            self.touched.push(id);
        }
        if count == 0 {
            self.finish_produce(number);
        }
        if acks == Acks::All
            && let Some(work) = self.produces.works.get_mut(&number)
        {
            let due = now.monotonic.after(timeout);
            work.timer = Some(self.timers.set(due, Timer::Produce(number)));
        }
    }

    /// Passes on what became of batches of partition `id`.
    pub(super) fn tell(&mut self, id: TopicIdPartition, told: Told, effects: &mut Effects) {
        for (waiter, result) in told {
            match waiter {
                Waiter::Produce { work, index } => self.tell_produce(work, index, result),
                Waiter::Coordinator { sequence } => {
                    self.coordinator_told(id, AppendSequence(sequence), result.is_ok(), effects);
                }
            }
        }
    }

    fn tell_produce(&mut self, number: u64, index: usize, result: Result<Appended, AppendError>) {
        // Answered already, because its time was up.
        let Some(work) = self.produces.works.get_mut(&number) else {
            return;
        };
        if let Some(entry @ None) = work.results.get_mut(index) {
            *entry = Some(result);
            work.left -= 1;
        }
        if work.left == 0 {
            self.finish_produce(number);
        }
    }

    fn finish_produce(&mut self, number: u64) {
        let Some(work) = self.produces.works.remove(&number) else {
            return;
        };
        if let Some(timer) = work.timer {
            self.timers.cancel(timer);
        }
        work.answer();
    }

    /// The time of a produce request is up; its batches may still be committed.
    pub(super) fn produce_timed_out(&mut self, number: u64) {
        if let Some(work) = self.produces.works.remove(&number) {
            work.answer();
        }
    }
}
