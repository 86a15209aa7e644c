//! Produce requests in work: each is answered once all of its partitions have been told of, or its time is up.

use slab::Slab;
use smallvec::{SmallVec, smallvec};

use super::command::{Produce, Produced, ReplySlot};
use super::step::{Effects, Shard, Timer};
use super::timers::TimerKey;
use crate::coordinator::AppendSequence;
use crate::partition::{Acks, AppendError, Appended, Offered, Told, Waiter};
use crate::types::{Monotonic, Now, TopicIdPartition};

/// Those in work. They come and go by the hundred thousand in a second, nearly all of them long before their time is up: so one
/// timer is for all, and rings no later than the first of them is due.
#[derive(Debug, Default)]
pub(super) struct Produces {
    works: Slab<ProduceWork>,
    /// How many there have been, to tell apart those that had the same place.
    begun: u32,
    /// The timer, and when it rings; nobody is due before.
    alarm: Option<(Monotonic, TimerKey)>,
}

#[derive(Debug)]
struct ProduceWork {
    number: WorkNumber,
    results: SmallVec<[Option<Result<Appended, AppendError>>; 1]>,
    left: usize,
    /// When it is answered with what there is.
    due: Option<Monotonic>,
    reply: ReplySlot<Produced>,
}

/// The place of a work, and which of those that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WorkNumber(u64);

impl WorkNumber {
    fn place(self) -> usize {
        usize::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX)
    }
}

impl Produces {
    fn begin(&mut self, count: usize, reply: ReplySlot<Produced>) -> WorkNumber {
        let vacant = self.works.vacant_entry();
        self.begun = self.begun.wrapping_add(1);
        let number = WorkNumber(u64::from(self.begun) << 32 | vacant.key() as u64);
        vacant.insert(ProduceWork {
            number,
            results: smallvec![None; count],
            left: count,
            due: None,
            reply,
        });
        number
    }

    /// None when it was answered already, because its time was up.
    fn get_mut(&mut self, number: WorkNumber) -> Option<&mut ProduceWork> {
        let work = self.works.get_mut(number.place())?;
        (work.number == number).then_some(work)
    }

    fn answer(&mut self, number: WorkNumber) {
        if self.get_mut(number).is_some() {
            self.works.remove(number.place()).answer();
        }
    }

    /// Answers those whose time is up. The time at which the next one is due.
    fn answer_due(&mut self, now: Monotonic) -> Option<Monotonic> {
        let is_due = |work: &ProduceWork| work.due.is_some_and(|due| due <= now);
        let due: Vec<_> = self
            .works
            .iter()
            .filter(|(_, work)| is_due(work))
            .map(|(place, _)| place)
            .collect();
        for place in due {
            self.works.remove(place).answer();
        }
        self.works.iter().filter_map(|(_, work)| work.due).min()
    }
}

impl ProduceWork {
    /// Answers with what there is; entries not told of are timed out.
    fn answer(mut self) {
        let or_timed_out = |result: Option<_>| result.unwrap_or(Err(AppendError::TimedOut));
        let results = if self.results.len() == 1 {
            // The common case: nothing to be collected.
            Produced::from([or_timed_out(self.results.pop().flatten())])
        } else {
            self.results.into_iter().map(or_timed_out).collect()
        };
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
        let number = self.produces.begin(partitions.len(), reply);
        for (index, entry) in partitions.into_iter().enumerate() {
            let waiter = Waiter::Produce {
                work: number.0,
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
        }
        let Some(work) = self.produces.get_mut(number) else {
            return;
        };
        if work.left == 0 {
            self.produces.answer(number);
        } else if acks == Acks::All {
            let due = now.monotonic.after(timeout);
            work.due = Some(due);
            self.ring_for_produces(due);
        }
    }

    /// Sees to it that the timer rings at `due` at the latest.
    fn ring_for_produces(&mut self, due: Monotonic) {
        match self.produces.alarm {
            Some((rings, _)) if rings <= due => return,
            Some((_, key)) => drop(self.timers.cancel(key)),
            None => {}
        }
        self.produces.alarm = Some((due, self.timers.set(due, Timer::Produces)));
    }

    /// Passes on what became of batches of partition `id`.
    pub(super) fn tell(&mut self, id: TopicIdPartition, told: Told, effects: &mut Effects) {
        for (waiter, result) in told {
            match waiter {
                Waiter::Produce { work, index } => {
                    self.tell_produce(WorkNumber(work), index, result);
                }
                Waiter::Coordinator { sequence } => {
                    self.coordinator_told(id, AppendSequence(sequence), result.is_ok(), effects);
                }
            }
        }
    }

    fn tell_produce(
        &mut self,
        number: WorkNumber,
        index: usize,
        result: Result<Appended, AppendError>,
    ) {
        let Some(work) = self.produces.get_mut(number) else {
            return;
        };
        if let Some(entry @ None) = work.results.get_mut(index) {
            *entry = Some(result);
            work.left -= 1;
        }
        if work.left == 0 {
            self.produces.answer(number);
        }
    }

    /// The time of some produce requests may be up; their batches may still be committed.
    pub(super) fn produces_timed_out(&mut self, now: Now) {
        self.produces.alarm = None;
        if let Some(due) = self.produces.answer_due(now.monotonic) {
            self.ring_for_produces(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::io::Clock;
    use crate::shard::step::tests::settings;

    fn begun(produces: &mut Produces) -> (WorkNumber, oneshot::Receiver<Produced>) {
        let (reply, answer) = oneshot::channel();
        (produces.begin(1, reply), answer)
    }

    #[test]
    fn who_was_answered_is_not_taken_for_the_next_in_its_place() {
        let mut produces = Produces::default();
        let (first, mut answer) = begun(&mut produces);
        produces.answer(first);
        let results = answer.try_recv().unwrap();
        assert!(matches!(*results, [Err(AppendError::TimedOut)]));
        let (second, mut answer) = begun(&mut produces);
        assert_eq!(first.place(), second.place());
        assert!(produces.get_mut(first).is_none());
        produces.answer(first);
        assert!(answer.try_recv().is_err(), "the second is still in work");
        assert!(produces.get_mut(second).is_some());
    }

    #[test]
    fn those_that_are_due_are_answered_and_the_next_is_named() {
        let mut produces = Produces::default();
        let mut begin = |due| {
            let (number, answer) = begun(&mut produces);
            produces.get_mut(number).unwrap().due = Some(Monotonic(due));
            answer
        };
        let mut answers = [30, 10, 20, 40].map(&mut begin);
        assert_eq!(produces.answer_due(Monotonic(9)), Some(Monotonic(10)));
        assert_eq!(produces.answer_due(Monotonic(20)), Some(Monotonic(30)));
        let answered = answers.each_mut().map(|answer| answer.try_recv().is_ok());
        assert_eq!(answered, [false, true, true, false]);
        assert_eq!(produces.answer_due(Monotonic(40)), None);
        assert!(produces.works.is_empty());
    }

    #[test]
    fn one_timer_is_for_all_and_rings_for_the_first() {
        let now = Clock::real().now();
        let mut shard = Shard::new(settings(1), now);
        let mut others = 0;
        while shard
            .timers
            .pop_due(now.monotonic.after(Duration::MAX))
            .is_some()
        {
            others += 1;
        }
        assert!(others > 0);
        for due in [50, 40, 60, 30, 30] {
            shard.ring_for_produces(Monotonic(due));
        }
        assert_eq!(shard.timers.next(), Some(Monotonic(30)));
        assert!(shard.timers.pop_due(Monotonic(30)).is_some());
        assert_eq!(shard.timers.next(), None);
    }
}
