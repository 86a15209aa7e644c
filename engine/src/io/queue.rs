//! Jobs that have not begun: what commits and lookups wait for comes before reading ahead.
//!
//! Every connection whose client reads what is not in memory has a mebibyte on its way from the device, and there may be
//! thousands of them. It does not know who performs the jobs.

use std::collections::VecDeque;

use super::action::Job;

/// What is to be begun, and how much of what was is reading ahead.
pub(super) struct Queue {
    /// Writes, syncs and reads, in order.
    first: VecDeque<Job>,
    /// Reading ahead, in order.
    ahead: VecDeque<Job>,
    /// How many of the latter are under way.
    ahead_begun: usize,
    /// At most so many are.
    ahead_max: usize,
    /// How many jobs were begun before one of the latter that might have been.
    passed_over: usize,
}

impl Queue {
    /// At most `ahead_max` jobs that are under way will read ahead.
    pub(super) const fn new(ahead_max: usize) -> Self {
        Self {
            first: VecDeque::new(),
            ahead: VecDeque::new(),
            ahead_begun: 0,
            ahead_max,
            passed_over: 0,
        }
    }

    pub(super) fn push(&mut self, job: Job) {
        if job.reads_ahead() {
            self.ahead.push_back(job);
        } else {
            self.first.push_back(job);
        }
    }

    /// How many jobs may begin.
    pub(super) fn ready(&self) -> usize {
        let room = self.ahead_max.saturating_sub(self.ahead_begun);
        self.first.len() + self.ahead.len().min(room)
    }

    /// Takes out the job that begins now, if one may. [`Self::ended`] follows.
    pub(super) fn begin(&mut self) -> Option<Job> {
        let may_read_ahead = !self.ahead.is_empty() && self.ahead_begun < self.ahead_max;
        if may_read_ahead && (self.first.is_empty() || self.passed_over >= PASSED_OVER_MAX) {
            self.ahead_begun += 1;
            self.passed_over = 0;
            return self.ahead.pop_front();
        }
        self.passed_over += usize::from(may_read_ahead);
        self.first.pop_front()
    }

    /// A job that was begun has ended, one that read ahead or another.
    pub(super) fn ended(&mut self, read_ahead: bool) {
        self.ahead_begun -= usize::from(read_ahead);
    }

    /// Takes out all jobs: they will never begin.
    pub(super) fn give_up(&mut self) -> [VecDeque<Job>; 2] {
        [&mut self.first, &mut self.ahead].map(std::mem::take)
    }
}

/// Then reading ahead has its turn: it goes on, if slowly, where commits come without a pause.
const PASSED_OVER_MAX: usize = 8;

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::action::{Action, Task, Ticket};
    use crate::io::{File, Sim};

    pub(in crate::io) fn file() -> File {
        let disk = Sim::new(1).disk();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.create_new(Path::new("/data/f")).unwrap()
    }

    pub(in crate::io) fn read_ahead(number: u64, file: &File) -> Job {
        let (file, position, length) = (file.clone(), 0, 1);
        let action = Action::ReadAhead {
            file,
            position,
            length,
        };
        job(number, action)
    }

    pub(in crate::io) fn sync(number: u64, file: &File) -> Job {
        let file = file.clone();
        job(number, Action::Sync { file })
    }

    fn job(number: u64, action: Action) -> Job {
        Job {
            ticket: Ticket(number),
            task: Task::of(action).unwrap(),
        }
    }

    fn begun(queue: &mut Queue) -> Vec<u64> {
        let begun = std::iter::from_fn(|| queue.begin());
        begun.map(|job| job.ticket.0).collect()
    }

    #[test]
    fn what_others_wait_for_begins_before_reading_ahead_of_which_only_so_much_is_under_way() {
        let (file, mut queue) = (file(), Queue::new(3));
        (0..5).for_each(|number| queue.push(read_ahead(number, &file)));
        (5..7).for_each(|number| queue.push(sync(number, &file)));
        assert_eq!(queue.ready(), 5);
        assert_eq!(begun(&mut queue), [5, 6, 0, 1, 2]);
        assert_eq!(queue.ready(), 0);
        queue.push(sync(7, &file));
        queue.ended(false);
        assert_eq!(begun(&mut queue), [7]);
        queue.ended(true);
        assert_eq!(queue.ready(), 1);
        assert_eq!(begun(&mut queue), [3]);
        assert_eq!(queue.give_up().map(|left| left.len()), [0, 1]);
    }

    #[test]
    fn reading_ahead_goes_on_where_others_come_without_a_pause() {
        let (file, mut queue) = (file(), Queue::new(1));
        queue.push(read_ahead(0, &file));
        let begun = (1..).map(|number| {
            queue.push(sync(number, &file));
            queue.begin().unwrap().ticket
        });
        let before = begun.take_while(|ticket| *ticket != Ticket(0));
        assert_eq!(before.count(), PASSED_OVER_MAX);
    }
}
