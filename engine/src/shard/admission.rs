//! How many group commits run at a time in each log directory: the others wait in the order they asked, and go on
//! gathering until their turn comes. Where that brings something, because commits cover several batches each, one runs at a time.
//!
//! Each shard has its share of a directory's commits, so nothing is shared between shards. It knows neither files nor
//! what a commit covers: that is decided when its turn has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::types::TopicIdPartition;

/// A log directory's place among those of the shard.
pub(super) type DirectoryPlace = usize;

/// The group commits of one shard.
#[derive(Debug)]
pub(super) struct Admission {
    /// How many may run in one directory where they cover a batch each; at least one.
    running_max: usize,
    directories: BTreeMap<DirectoryPlace, Directory>,
    running: BTreeMap<TopicIdPartition, Running>,
}

#[derive(Debug, Default)]
struct Directory {
    running: usize,
    /// How many batches a commit covers, in [`BATCH`] parts: the average of the last ones.
    coverage: usize,
    /// Those that asked, in order; each once.
    queue: VecDeque<TopicIdPartition>,
    queued: BTreeSet<TopicIdPartition>,
}

impl Directory {
    /// Several at once cover less each than one after the other, and cost the more for it. What they bring is time, to those who
    /// have nothing to send until they are answered: commits cover one batch each then.
    fn has_room(&self, running_max: usize) -> bool {
        let max = if self.coverage > GATHERING {
            1
        } else {
            running_max
        };
        self.running < max
    }

    fn covered(&mut self, batches: usize) {
        self.coverage = (self.coverage * 7 + batches.min(BATCHES_MAX) * BATCH) / 8;
    }
}

/// A group commit under way.
#[derive(Debug)]
struct Running {
    place: DirectoryPlace,
    files_left: usize,
}

impl Admission {
    /// Lets `running_max` commits run in each directory, and one where that is zero.
    pub(super) fn new(running_max: usize) -> Self {
        Self {
            running_max: running_max.max(1),
            directories: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// Whether a commit of `id` may begin now; if not, it has its place in the queue, the one it had before if any.
    pub(super) fn ask(&mut self, id: TopicIdPartition, place: DirectoryPlace) -> bool {
        let directory = self.directories.entry(place).or_default();
        if directory.has_room(self.running_max) && directory.queue.is_empty() {
            return true;
        }
        if directory.queued.insert(id) {
            directory.queue.push_back(id);
        }
        false
    }

    /// A commit of `id` has begun with this many files, each of which will end; it covers so many batches.
    pub(super) fn began(
        &mut self,
        id: TopicIdPartition,
        place: DirectoryPlace,
        files: usize,
        batches: usize,
    ) {
        if files == 0 {
            return;
        }
        let directory = self.directories.entry(place).or_default();
        directory.running += 1;
        directory.covered(batches);
        let files_left = files;
        self.running.insert(id, Running { place, files_left });
    }

    /// One file of the commit of `id` is synced, or failed. Says where there is room for another commit when it was
    /// the last.
    pub(super) fn ended(&mut self, id: TopicIdPartition) -> Option<DirectoryPlace> {
        let running = self.running.get_mut(&id)?;
        running.files_left -= 1;
        if running.files_left > 0 {
            return None;
        }
        let place = self.running.remove(&id)?.place;
        if let Some(directory) = self.directories.get_mut(&place) {
            directory.running -= 1;
        }
        Some(place)
    }

    /// Takes out who is next in a directory that has room.
    pub(super) fn next(&mut self, place: DirectoryPlace) -> Option<TopicIdPartition> {
        let directory = self.directories.get_mut(&place)?;
        if !directory.has_room(self.running_max) {
            return None;
        }
        let id = directory.queue.pop_front()?;
        directory.queued.remove(&id);
        Some(id)
    }
}

/// One batch, in the parts in which coverage is reckoned.
const BATCH: usize = 16;
/// A coverage above which commits run one at a time: one and a half batches.
const GATHERING: usize = 24;
/// Only bounds the arithmetic.
const BATCHES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::step::tests::partition as id;

    #[test]
    fn commits_that_gather_run_one_at_a_time_and_others_together() {
        let mut admission = Admission::new(2);
        let mut run = |batches: usize| {
            for _ in 0..20 {
                assert!(admission.ask(id(0), 0));
                admission.began(id(0), 0, 1, batches);
                assert_eq!(admission.ended(id(0)), Some(0));
            }
            admission.began(id(0), 0, 1, batches);
            let goes_along = admission.ask(id(1), 0);
            assert_eq!(admission.ended(id(0)), Some(0));
            if !goes_along {
                assert_eq!(admission.next(0), Some(id(1)));
            }
            goes_along
        };
        assert!(run(1));
        assert!(!run(2));
        assert!(run(1));
    }

    #[test]
    fn who_asks_first_is_first_and_directories_do_not_wait_for_each_other() {
        let mut admission = Admission::new(1);
        assert!(admission.ask(id(0), 0));
        admission.began(id(0), 0, 2, 1);
        for number in [3, 1, 3, 2] {
            assert!(!admission.ask(id(number), 0));
        }
        assert!(admission.ask(id(9), 1), "another directory");
        assert_eq!(admission.ended(id(0)), None, "it has another file");
        assert_eq!(admission.next(0), None);
        assert_eq!(admission.ended(id(0)), Some(0));
        assert!(!admission.ask(id(0), 0), "behind those who wait");
        let mut order = Vec::new();
        while let Some(next) = admission.next(0) {
            admission.began(next, 0, 1, 1);
            order.push(next.partition);
            assert_eq!(admission.ended(next), Some(0));
        }
        assert_eq!(order, [3, 1, 2, 0]);
    }
}
