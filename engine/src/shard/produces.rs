//! Produce requests in work: each is answered once all of its partitions have been told of, or its time is up. Those whose time
//! was up stay until then: whoever asked has to know for how long their bytes take memory.

use slab::Slab;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;

use super::command::{Produce, ProducePartition, Produced, ReplySlot};
use super::early::EarlyRequest;
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
    asker: Asker,
}

#[derive(Debug)]
enum Asker {
    /// Waits for the answer.
    Waits(ReplySlot<Produced>),
    /// Was answered when the time was up. This is dropped with the work.
    Answered { _held: oneshot::Sender<()> },
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
            asker: Asker::Waits(reply),
        });
        number
    }

    /// None when all of it has been told of.
    fn get_mut(&mut self, number: WorkNumber) -> Option<&mut ProduceWork> {
        let work = self.works.get_mut(number.place())?;
        (work.number == number).then_some(work)
    }

    /// All of it has been told of.
    fn end(&mut self, number: WorkNumber) {
        if self.get_mut(number).is_some() {
            self.works.remove(number.place()).end();
        }
    }

    /// Answers those whose time is up: whether there were any, and the time at which the next one is due.
    fn answer_due(&mut self, now: Monotonic) -> (bool, Option<Monotonic>) {
        let mut were_any = false;
        let mut next: Option<Monotonic> = None;
        for (_, work) in &mut self.works {
            match work.due {
                Some(due) if due <= now => {
                    work.answer_early();
                    were_any = true;
                }
                Some(due) => next = Some(next.map_or(due, |next| next.min(due))),
                None => {}
            }
        }
        (were_any, next)
    }

    /// Whether the time of a request was up before all of it was told of.
    fn was_answered_early(&self, waiter: Waiter) -> bool {
        let Waiter::Produce { work, .. } = waiter else {
            return false;
        };
        let number = WorkNumber(work);
        let work = self.works.get(number.place());
        work.is_some_and(|work| {
            work.number == number && matches!(work.asker, Asker::Answered { .. })
        })
    }
}

impl ProduceWork {
    /// Answers, unless that has been done.
    fn end(mut self) {
        let Asker::Waits(reply) = self.asker else {
            return;
        };
        let results = if self.results.len() == 1 {
            // The common case: nothing to be collected.
            smallvec![or_timed_out(self.results.pop().flatten())]
        } else {
            self.results.into_iter().map(or_timed_out).collect()
        };
        // Whoever asked may have gone.
        let _ = reply.send(Produced {
            results,
            left_behind: None,
        });
    }

    /// Answers with what there is; entries not told of are timed out.
    fn answer_early(&mut self) {
        self.due = None;
        let (held, left_behind) = oneshot::channel();
        let answered = Asker::Answered { _held: held };
        if let Asker::Waits(reply) = std::mem::replace(&mut self.asker, answered) {
            // Whoever asked may have gone.
            let _ = reply.send(Produced {
                results: self.results.iter().cloned().map(or_timed_out).collect(),
                left_behind: Some(left_behind),
            });
        }
    }
}

fn or_timed_out(result: Option<Result<Appended, AppendError>>) -> Result<Appended, AppendError> {
    result.unwrap_or(Err(AppendError::TimedOut))
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
        let request = EarlyRequest {
            work: number.0,
            bytes: bytes_in(&partitions),
        };
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
            self.append(id, offered, request, now, &mut told);
            self.tell(id, told, effects);
        }
        let Some(work) = self.produces.get_mut(number) else {
            return;
        };
        if work.left == 0 {
            self.produces.end(number);
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
            self.produces.end(number);
        }
    }

    /// The time of some produce requests may be up; their batches may still be committed. But for those that wait for a log to be
    /// opened: whoever was told that the time is up sends them again, and would have them twice.
    pub(super) fn produces_timed_out(&mut self, now: Now, effects: &mut Effects) {
        self.produces.alarm = None;
        let (were_any, next) = self.produces.answer_due(now.monotonic);
        if let Some(due) = next {
            self.ring_for_produces(due);
        }
        if were_any {
            let overdue = |waiter| self.produces.was_answered_early(waiter);
            for (id, told) in self.early.drop_overdue(overdue, now.monotonic) {
                self.tell(id, told, effects);
            }
        }
    }
}

/// What batches take in memory where they wait.
fn bytes_in(partitions: &[ProducePartition]) -> usize {
    let bytes = |entry: &ProducePartition| entry.records.len() + size_of::<Offered>();
    partitions.iter().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot::error::TryRecvError;

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
        produces.end(first);
        let produced = answer.try_recv().unwrap();
        assert!(matches!(*produced.results, [Err(AppendError::TimedOut)]));
        let (second, mut answer) = begun(&mut produces);
        assert_eq!(first.place(), second.place());
        assert!(produces.get_mut(first).is_none());
        produces.end(first);
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
        let none = produces.answer_due(Monotonic(9));
        assert_eq!(none, (false, Some(Monotonic(10))));
        let two = produces.answer_due(Monotonic(20));
        assert_eq!(two, (true, Some(Monotonic(30))));
        let answered = answers.each_mut().map(|answer| answer.try_recv().is_ok());
        assert_eq!(answered, [false, true, true, false]);
        assert_eq!(produces.answer_due(Monotonic(40)), (true, None));
        assert_eq!(produces.answer_due(Monotonic(50)), (false, None));
    }

    #[test]
    fn who_is_answered_early_learns_when_the_batches_are_let_go() {
        let mut produces = Produces::default();
        let (number, mut answer) = begun(&mut produces);
        let waiter = Waiter::Produce {
            work: number.0,
            index: 0,
        };
        produces.get_mut(number).unwrap().due = Some(Monotonic(5));
        assert!(!produces.was_answered_early(waiter));
        produces.answer_due(Monotonic(5));
        assert!(produces.was_answered_early(waiter));
        let produced = answer.try_recv().unwrap();
        assert!(matches!(*produced.results, [Err(AppendError::TimedOut)]));
        let mut left_behind = produced.left_behind.unwrap();
        assert_eq!(left_behind.try_recv(), Err(TryRecvError::Empty));
        produces.end(number);
        assert_eq!(left_behind.try_recv(), Err(TryRecvError::Closed));
        assert!(!produces.was_answered_early(waiter));
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
