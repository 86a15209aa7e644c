//! DeleteRecords: moves the starts of logs. It is answered when the checkpoints tell of them, so that no record comes back
//! that somebody was told is gone.
//!
//! One job at a time writes them in a log directory: what is asked for meanwhile, however much it is, goes into the next.

use std::collections::BTreeMap;

use super::command::{DeleteRecords, ReplySlot};
use super::jobs::Errand;
use super::step::{Effects, Shard};
use crate::io::IoError;
use crate::maintenance::{Job, OwnedLine};
use crate::partition::DeleteRecordsError;
use crate::types::{DirectoryId, Offset, TopicIdPartition};

/// Requests that wait, and what they wait for.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    works: BTreeMap<u64, DeleteWork>,
    /// From so many works on those are let go whose askers wait no longer.
    works_kept_max: usize,
    checkpoints: BTreeMap<DirectoryId, Checkpoints>,
    /// Starts that are known to be on stable storage: who asks for no more waits for nothing.
    durable: BTreeMap<TopicIdPartition, Offset>,
}

type Results = Vec<Result<Offset, DeleteRecordsError>>;

#[derive(Debug)]
struct DeleteWork {
    results: Results,
    checkpoints_left: usize,
    reply: ReplySlot<Results>,
}

/// The job that is out in a log directory, and the next.
#[derive(Debug, Default)]
struct Checkpoints {
    out: Option<Out>,
    next: Next,
}

#[derive(Debug)]
struct Out {
    starts: Vec<(TopicIdPartition, Offset)>,
    works: Vec<u64>,
}

#[derive(Debug, Default)]
struct Next {
    lines: Lines,
    works: Vec<u64>,
}

type Lines = BTreeMap<TopicIdPartition, OwnedLine>;

impl Deletions {
    fn is_durable(&self, id: TopicIdPartition, start: Offset) -> bool {
        let durable = self.durable.get(&id).copied();
        start <= durable.unwrap_or(Offset::ZERO)
    }

    /// A partition is gone.
    pub(super) fn forget(&mut self, id: TopicIdPartition) {
        self.durable.remove(&id);
    }

    fn keep(&mut self, number: u64, work: DeleteWork) {
        if self.works.len() >= self.works_kept_max {
            // A disk may hang for longer than anybody waits for it.
            self.works.retain(|_, work| !work.reply.is_closed());
            for checkpoints in self.checkpoints.values_mut() {
                let works = &mut checkpoints.next.works;
                works.retain(|number| self.works.contains_key(number));
            }
            self.works_kept_max = WORKS_KEPT_MIN.max(2 * self.works.len());
        }
        self.works.insert(number, work);
    }

    /// One of the checkpoints that a request waits for is written, or not.
    fn checkpointed(&mut self, number: u64, written: bool) {
        let Some(work) = self.works.get_mut(&number) else {
            return;
        };
        work.checkpoints_left -= 1;
        if !written {
            for result in work.results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(DeleteRecordsError::Storage);
            }
        }
        if work.checkpoints_left == 0
            && let Some(work) = self.works.remove(&number)
        {
            // Whoever asked may have gone.
            let _ = work.reply.send(work.results);
        }
    }
}

impl Shard {
    pub(super) fn delete_records(&mut self, delete: DeleteRecords, effects: &mut Effects) {
        let DeleteRecords { partitions, reply } = delete;
        let mut results = Vec::with_capacity(partitions.len());
        let mut lines: BTreeMap<DirectoryId, Lines> = BTreeMap::new();
        for (id, offset) in partitions {
            let result = self.move_log_start(id, offset);
            if let Ok(start) = result
                && !self.deletions.is_durable(id, start)
                && let Some(directory) = self.log_directory_of(id).map(|directory| directory.id)
                && let Some((_, line)) = self.checkpoint_line(id)
            {
                lines.entry(directory).or_default().insert(id, line);
            }
            results.push(result);
        }
        if lines.is_empty() {
            // Whoever asked may have gone.
            let _ = reply.send(results);
            return;
        }
        let number = self.next_serial();
        let work = DeleteWork {
            results,
            checkpoints_left: lines.len(),
            reply,
        };
        self.deletions.keep(number, work);
        for (directory, lines) in lines {
            let checkpoints = self.deletions.checkpoints.entry(directory).or_default();
            checkpoints.next.lines.extend(lines);
            checkpoints.next.works.push(number);
            self.write_log_starts(directory, effects);
        }
    }

    fn move_log_start(
        &mut self,
        id: TopicIdPartition,
        offset: Option<Offset>,
    ) -> Result<Offset, DeleteRecordsError> {
        let leader = self.leading(id)?;
        let before = leader.log().log_start_offset();
        let start = leader.delete_records(offset)?;
        if start > before {
            self.stir_readers(id);
        }
        Ok(start)
    }

    /// Orders the next job of a log directory, unless one is out or nobody wants any.
    fn write_log_starts(&mut self, directory: DirectoryId, effects: &mut Effects) {
        let mut directories = self.settings.log_directories.iter();
        let known = directories.find(|known| known.id == directory);
        let checkpoints = self.deletions.checkpoints.get_mut(&directory);
        let (Some(known), Some(checkpoints)) = (known, checkpoints) else {
            return;
        };
        if checkpoints.out.is_some() || checkpoints.next.lines.is_empty() {
            return;
        }
        let Next { lines, works } = std::mem::take(&mut checkpoints.next);
        let start =
            |(id, owned): (&TopicIdPartition, &OwnedLine)| (*id, owned.line.log_start_offset);
        let starts = lines.iter().map(start).collect();
        checkpoints.out = Some(Out { starts, works });
        let job = Job::Checkpoint {
            log_directory: known.path.clone(),
            lines: lines.into_values().collect(),
        };
        self.order(Errand::DeleteRecords(directory), job, effects);
    }

    /// The starts of logs are written in a log directory, or not.
    pub(super) fn log_starts_written(
        &mut self,
        directory: DirectoryId,
        result: &Result<(), IoError>,
        effects: &mut Effects,
    ) {
        let checkpoints = self.deletions.checkpoints.get_mut(&directory);
        let Some(out) = checkpoints.and_then(|checkpoints| checkpoints.out.take()) else {
            return;
        };
        if let Err(error) = result {
            tracing::error!(%error, "a new log start offset cannot be made safe");
        } else {
            for (id, start) in out.starts {
                // Unless it was deleted meanwhile.
                if self.slots.contains_key(&id) {
                    self.deletions.durable.insert(id, start);
                }
            }
        }
        for work in out.works {
            self.deletions.checkpointed(work, result.is_ok());
        }
        self.write_log_starts(directory, effects);
    }
}

const WORKS_KEPT_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::oneshot;

    use super::*;
    use crate::maintenance::{Done, JobId};
    use crate::shard::command::Command;
    use crate::shard::step::Input;
    use crate::shard::step::tests::{Bench, NOW, bench};

    type Answer = oneshot::Receiver<Results>;

    /// A shard with one partition of five records.
    fn with_records() -> Bench {
        let mut bench = bench(1, 1);
        for _ in 0..5 {
            let mut answer = bench.produce(0);
            bench.end_sync();
            assert!(answer.try_recv().unwrap().results[0].is_ok());
        }
        bench
    }

    /// Asks for the records below `offset` to be deleted; what is to be done about it stays in `effects`.
    fn ask(bench: &mut Bench, offset: i64, effects: &mut Effects) -> Answer {
        let (reply, answer) = oneshot::channel();
        let partitions = vec![(bench.partitions[0], Some(Offset(offset)))];
        let delete = Command::DeleteRecords(DeleteRecords { partitions, reply });
        bench.shard.step(NOW, Input::Command(delete), effects);
        answer
    }

    fn only_job(effects: &mut Effects) -> (JobId, Job) {
        assert_eq!(effects.jobs.len(), 1, "{:?}", effects.jobs);
        effects.jobs.remove(0)
    }

    fn run_only_job(bench: &mut Bench, effects: &mut Effects) {
        let (id, job) = only_job(effects);
        let done = bench.run(job);
        bench.shard.step(NOW, Input::Done(id, done), effects);
    }

    fn start(answer: &mut Answer) -> Option<Offset> {
        let results = answer.try_recv().ok()?;
        Some(*results[0].as_ref().unwrap())
    }

    #[test]
    fn however_many_ask_one_checkpoint_is_written_at_a_time_and_all_are_answered() {
        let mut bench = with_records();
        let mut effects = Effects::default();
        let mut first = ask(&mut bench, 1, &mut effects);
        let mut others: Vec<Answer> = (0..1_000)
            .map(|number| ask(&mut bench, 1 + number % 5, &mut effects))
            .collect();
        assert_eq!(start(&mut first), None);
        run_only_job(&mut bench, &mut effects);
        assert_eq!(start(&mut first), Some(Offset(1)));
        assert!(others.iter_mut().all(|answer| start(answer).is_none()));
        run_only_job(&mut bench, &mut effects);
        for answer in &mut others {
            assert!(start(answer).is_some());
        }
        assert!(effects.jobs.is_empty() && bench.shard.deletions.works.is_empty());
    }

    #[test]
    fn whoever_asks_for_what_is_on_stable_storage_is_answered_at_once() {
        let mut bench = with_records();
        let mut effects = Effects::default();
        let mut nothing = ask(&mut bench, 0, &mut effects);
        assert_eq!(start(&mut nothing), Some(Offset(0)));
        assert!(effects.jobs.is_empty());
        let mut moves = ask(&mut bench, 3, &mut effects);
        let mut hears_of_it = ask(&mut bench, 2, &mut effects);
        run_only_job(&mut bench, &mut effects);
        assert_eq!(start(&mut moves), Some(Offset(3)));
        run_only_job(&mut bench, &mut effects);
        assert_eq!(start(&mut hears_of_it), Some(Offset(3)));
        let mut again = ask(&mut bench, 1, &mut effects);
        assert_eq!(start(&mut again), Some(Offset(3)));
        assert!(effects.jobs.is_empty());
    }

    #[test]
    fn a_start_that_could_not_be_written_is_not_taken_for_safe() {
        let mut bench = with_records();
        let mut effects = Effects::default();
        let mut refused = ask(&mut bench, 3, &mut effects);
        let (id, _) = only_job(&mut effects);
        let full = std::io::ErrorKind::StorageFull;
        let failed = Err(IoError::new("write", Path::new("/data"), full));
        let done = Input::Done(id, Done::Checkpointed(failed));
        bench.shard.step(NOW, done, &mut effects);
        assert!(refused.try_recv().unwrap()[0].is_err());
        let mut again = ask(&mut bench, 3, &mut effects);
        run_only_job(&mut bench, &mut effects);
        assert_eq!(start(&mut again), Some(Offset(3)));
    }

    #[test]
    fn requests_whose_clients_wait_no_longer_do_not_pile_up_behind_a_disk_that_hangs() {
        let mut bench = with_records();
        let mut effects = Effects::default();
        let mut waits = ask(&mut bench, 1, &mut effects);
        let mut waits_too = ask(&mut bench, 1, &mut effects);
        for _ in 0..10_000 {
            drop(ask(&mut bench, 2, &mut effects));
        }
        let kept = bench.shard.deletions.works.len();
        assert!(kept <= 2 * WORKS_KEPT_MIN, "{kept}");
        run_only_job(&mut bench, &mut effects);
        assert_eq!(start(&mut waits), Some(Offset(1)));
        run_only_job(&mut bench, &mut effects);
        assert_eq!(start(&mut waits_too), Some(Offset(1)));
    }
}
