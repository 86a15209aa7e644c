//! The checkpoint files at the top of each log directory: one file holds the lines of partitions of every shard, so
//! they are kept here, in one place, and written whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::io::{Disk, IoError};
use crate::log::checkpoint::{
    CLEANER_CHECKPOINT, CheckpointError, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
    REPLICATION_CHECKPOINT, read_offset_checkpoint, write_offset_checkpoint,
};
use crate::types::{Offset, TopicId, TopicPartition};

/// What the checkpoints say of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CheckpointLine {
    /// Everything below was durable: recovery starts here.
    pub recovery_point: Offset,
    /// First offset that still counts.
    pub log_start_offset: Offset,
    /// Exclusive bound of what readers saw.
    pub high_watermark: Offset,
}

impl CheckpointLine {
    /// The later of both in every respect: none of the offsets ever goes back.
    fn max(self, other: Self) -> Self {
        Self {
            recovery_point: self.recovery_point.max(other.recovery_point),
            log_start_offset: self.log_start_offset.max(other.log_start_offset),
            high_watermark: self.high_watermark.max(other.high_watermark),
        }
    }
}

/// A line, and whose it is: the files know partitions by name only, and a name may come to stand for another topic
/// while the line is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedLine {
    /// The partition by name.
    pub name: TopicPartition,
    /// The topic it is of.
    pub topic_id: TopicId,
    /// What is to be said of it.
    pub line: CheckpointLine,
}

type Lines = BTreeMap<TopicPartition, CheckpointLine>;

/// What is known of one log directory.
#[derive(Debug, Default)]
struct Known {
    lines: Lines,
    /// Which topic's partition has the directory of that name, and so the line.
    owners: BTreeMap<TopicPartition, Owner>,
    /// Whose lines those are that were loaded.
    loaded_for: BTreeMap<TopicPartition, TopicId>,
    /// Up to where compacted logs are clean.
    cleaned: BTreeMap<TopicPartition, Offset>,
    /// The file that told so made no sense when it was loaded: any log may have been compacted.
    cleaned_unknown: bool,
}

/// Who has a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    topic_id: TopicId,
    /// It is being removed.
    doomed: bool,
}

impl Known {
    /// Whether what comes of a topic counts. A name may stand for another one by now, and what is on its way while a
    /// directory is removed would outlive that.
    fn listens_to(&self, name: &TopicPartition, topic_id: TopicId) -> bool {
        let doomed = false;
        self.owners.get(name) == Some(&Owner { topic_id, doomed })
    }

    /// Lines come over several threads, so an older one may come later.
    fn take_in(&mut self, owned: OwnedLine) {
        if self.listens_to(&owned.name, owned.topic_id) {
            let line = self.lines.entry(owned.name).or_default();
            *line = line.max(owned.line);
        }
    }
}

/// The checkpoints of all log directories of this process. Only maintenance threads take its lock.
#[derive(Debug, Default)]
pub struct Checkpoints {
    by_directory: Mutex<BTreeMap<PathBuf, Known>>,
    /// Held while a partition's directory gets another name, so that two topics of one name do not cross.
    renames: Mutex<()>,
}

impl Checkpoints {
    /// Reads what `log_directory` says; missing files say nothing. A partition that stands only in some of them is
    /// recovered from offset 0 where the others are silent. The cleaner's may be damaged, and is then done without.
    ///
    /// # Errors
    /// A file cannot be read, or another one is damaged.
    pub fn load(&self, disk: &Disk, log_directory: &Path) -> Result<(), CheckpointError> {
        let read = |name| read_offset_checkpoint(disk, &log_directory.join(name));
        let mut lines = Lines::new();
        for (partition, offset) in read(RECOVERY_POINT_CHECKPOINT)? {
            lines.entry(partition).or_default().recovery_point = offset;
        }
        for (partition, offset) in read(LOG_START_CHECKPOINT)? {
            lines.entry(partition).or_default().log_start_offset = offset;
        }
        for (partition, offset) in read(REPLICATION_CHECKPOINT)? {
            lines.entry(partition).or_default().high_watermark = offset;
        }
        let (cleaned, cleaned_unknown) = match read(CLEANER_CHECKPOINT) {
            Ok(cleaned) => (cleaned, false),
            // To compact again what is clean only costs time. Gaps that compaction left are no torn tails meanwhile, nor once the
            // file has been written anew: then the line of each says so.
            Err(error @ CheckpointError::Malformed { .. }) => {
                tracing::warn!(%error, "what is compacted is compacted from its start again");
                let unclean = lines.keys().map(|name| (name.clone(), Offset::ZERO));
                (unclean.collect(), true)
            }
            Err(error) => return Err(error),
        };
        let known = Known {
            lines,
            cleaned,
            cleaned_unknown,
            ..Known::default()
        };
        self.locked().insert(log_directory.to_owned(), known);
        Ok(())
    }

    /// Forgets what was loaded of a directory that is not used after all; its files stay.
    pub fn unload(&self, log_directory: &Path) {
        self.locked().remove(log_directory);
    }

    /// Holds the lines that were loaded against the metadata of a start: `topic_of` says whose partition has a name. Those of
    /// nobody are forgotten, in the files first; a topic that is made later would look as if it had lost records.
    ///
    /// # Errors
    /// A file cannot be written; nothing is forgotten then.
    pub fn attribute(
        &self,
        disk: &Disk,
        log_directory: &Path,
        topic_of: impl Fn(&TopicPartition) -> Option<TopicId>,
    ) -> Result<(), IoError> {
        let mut directories = self.locked();
        let Some(known) = directories.get_mut(log_directory) else {
            return Ok(());
        };
        let loaded = known.lines.keys();
        let loaded = loaded.filter_map(|name| Some((name.clone(), topic_of(name)?)));
        known.loaded_for = loaded.collect();
        let mut cleaned = known.cleaned.clone();
        cleaned.retain(|name, _| topic_of(name).is_some());
        if cleaned.len() < known.cleaned.len() {
            write_offset_checkpoint(disk, &log_directory.join(CLEANER_CHECKPOINT), &cleaned)?;
            known.cleaned = cleaned;
        }
        let mut lines = known.lines.clone();
        lines.retain(|name, _| topic_of(name).is_some());
        if lines.len() < known.lines.len() {
            write_files(disk, log_directory, &lines)?;
            known.lines = lines;
        }
        Ok(())
    }

    /// Whether the line of a partition was loaded, and is that topic's and no older one's of its name.
    pub(super) fn was_loaded_for(
        &self,
        log_directory: &Path,
        partition: &TopicPartition,
        topic_id: TopicId,
    ) -> bool {
        let directories = self.locked();
        let known = directories.get(log_directory);
        known.is_some_and(|known| known.loaded_for.get(partition) == Some(&topic_id))
    }

    /// Takes the directory of `partition` for a topic. False while another topic of that name has it: jobs of that one
    /// may still go by the name. One claim by the same topic is as good as two.
    pub fn claim(
        &self,
        log_directory: &Path,
        partition: &TopicPartition,
        topic_id: TopicId,
    ) -> bool {
        let doomed = false;
        self.take(log_directory, partition, Owner { topic_id, doomed })
    }

    /// The same for a topic whose partition is being removed: what is noted of it from now on is not kept.
    pub(super) fn claim_doomed(
        &self,
        log_directory: &Path,
        partition: &TopicPartition,
        topic_id: TopicId,
    ) -> bool {
        let doomed = true;
        self.take(log_directory, partition, Owner { topic_id, doomed })
    }

    fn take(&self, log_directory: &Path, partition: &TopicPartition, owner: Owner) -> bool {
        let mut directories = self.locked();
        let known = directories.entry(log_directory.to_owned()).or_default();
        let owners = known.owners.entry(partition.clone());
        let present = owners.or_insert(owner);
        let taken = present.topic_id == owner.topic_id;
        present.doomed |= taken && owner.doomed;
        taken
    }

    /// Gives the directory of `partition` free again, if that topic has it.
    pub fn release(&self, log_directory: &Path, partition: &TopicPartition, topic_id: TopicId) {
        if let Some(known) = self.locked().get_mut(log_directory)
            && known
                .owners
                .get(partition)
                .is_some_and(|owner| owner.topic_id == topic_id)
        {
            known.owners.remove(partition);
        }
    }

    /// What is known of a partition.
    #[must_use]
    pub fn line(&self, log_directory: &Path, partition: &TopicPartition) -> Option<CheckpointLine> {
        self.locked()
            .get(log_directory)?
            .lines
            .get(partition)
            .copied()
    }

    /// A log that was opened ends at `end`. Where a page cache was lost readers had seen more of it, which is not there
    /// any more.
    pub(super) fn opened(&self, log_directory: &Path, partition: &TopicPartition, end: Offset) {
        let mut directories = self.locked();
        let known = directories.get_mut(log_directory);
        if let Some(line) = known.and_then(|known| known.lines.get_mut(partition)) {
            line.high_watermark = line.high_watermark.min(end);
        }
    }

    /// Takes a line in without writing it yet.
    pub fn note(&self, log_directory: &Path, line: OwnedLine) {
        self.locked()
            .entry(log_directory.to_owned())
            .or_default()
            .take_in(line);
    }

    /// Takes `lines` in and writes the three files.
    ///
    /// # Errors
    /// A file cannot be written; the old one then still stands.
    pub fn write(
        &self,
        disk: &Disk,
        log_directory: &Path,
        lines: Vec<OwnedLine>,
    ) -> Result<(), IoError> {
        // Held while writing, so that an older view never replaces a newer one.
        let mut directories = self.locked();
        let known = directories.entry(log_directory.to_owned()).or_default();
        for line in lines {
            known.take_in(line);
        }
        write_files(disk, log_directory, &known.lines)
    }

    /// Up to where a partition's log is clean, if it was ever compacted; up to 0 where nobody knows whether it was.
    #[must_use]
    pub fn cleaned_to(&self, log_directory: &Path, partition: &TopicPartition) -> Option<Offset> {
        let directories = self.locked();
        let known = directories.get(log_directory)?;
        let cleaned = known.cleaned.get(partition).copied();
        cleaned.or(known.cleaned_unknown.then_some(Offset::ZERO))
    }

    /// Notes up to where a partition's log is clean, unless another topic has its name by now.
    ///
    /// # Errors
    /// The file cannot be written; after the next start some of the log is compacted again.
    pub fn write_cleaned(
        &self,
        disk: &Disk,
        log_directory: &Path,
        partition: TopicPartition,
        topic_id: TopicId,
        offset: Offset,
    ) -> Result<(), IoError> {
        let mut directories = self.locked();
        let known = directories.entry(log_directory.to_owned()).or_default();
        if !known.listens_to(&partition, topic_id) {
            return Ok(());
        }
        known.cleaned.insert(partition, offset);
        write_offset_checkpoint(
            disk,
            &log_directory.join(CLEANER_CHECKPOINT),
            &known.cleaned,
        )
    }

    /// Notes that a log is about to be compacted for the first time, and clean up to `offset` until then: by its line
    /// gaps in it are known for what they are, also when the compaction comes to no end. A line that is there stays.
    ///
    /// # Errors
    /// The file cannot be written; nothing is noted then.
    pub(super) fn write_first_cleaned(
        &self,
        disk: &Disk,
        log_directory: &Path,
        partition: &TopicPartition,
        topic_id: TopicId,
        offset: Offset,
    ) -> Result<(), IoError> {
        let mut directories = self.locked();
        let known = directories.entry(log_directory.to_owned()).or_default();
        if !known.listens_to(partition, topic_id) || known.cleaned.contains_key(partition) {
            return Ok(());
        }
        known.cleaned.insert(partition.clone(), offset);
        let path = log_directory.join(CLEANER_CHECKPOINT);
        write_offset_checkpoint(disk, &path, &known.cleaned).inspect_err(|_| {
            known.cleaned.remove(partition);
        })
    }

    /// Forgets a partition, in the files first: a new partition by the same name must not inherit its offsets.
    ///
    /// # Errors
    /// A file cannot be written; nothing is forgotten then.
    pub fn forget(
        &self,
        disk: &Disk,
        log_directory: &Path,
        partition: &TopicPartition,
    ) -> Result<(), IoError> {
        self.forget_all(disk, log_directory, &[partition])
    }

    /// The same for several: each file is written once for all of them.
    ///
    /// # Errors
    /// As [`Self::forget`].
    pub(super) fn forget_all(
        &self,
        disk: &Disk,
        log_directory: &Path,
        partitions: &[&TopicPartition],
    ) -> Result<(), IoError> {
        let mut directories = self.locked();
        let Some(known) = directories.get_mut(log_directory) else {
            return Ok(());
        };
        let cleaned = take_out(&mut known.cleaned, partitions);
        if !cleaned.is_empty() {
            let path = log_directory.join(CLEANER_CHECKPOINT);
            write_offset_checkpoint(disk, &path, &known.cleaned)
                .inspect_err(|_| known.cleaned.extend(cleaned))?;
        }
        let lines = take_out(&mut known.lines, partitions);
        if !lines.is_empty() {
            write_files(disk, log_directory, &known.lines)
                .inspect_err(|_| known.lines.extend(lines))?;
        }
        for partition in partitions {
            known.loaded_for.remove(*partition);
        }
        Ok(())
    }

    /// Keeps others from renaming partition directories until it is dropped.
    pub(super) fn renaming(&self) -> MutexGuard<'_, ()> {
        self.renames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Known>> {
        // A panic aborts a release build; in a test the lines of a panicked job are as good as any.
        self.by_directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what there is of `partitions` out of `entries`.
fn take_out<T>(
    entries: &mut BTreeMap<TopicPartition, T>,
    partitions: &[&TopicPartition],
) -> BTreeMap<TopicPartition, T> {
    let taken = partitions.iter().map(|name| entries.remove_entry(*name));
    taken.flatten().collect()
}

fn write_files(disk: &Disk, log_directory: &Path, lines: &Lines) -> Result<(), IoError> {
    let write = |file: &str, offset_of: fn(&CheckpointLine) -> Offset| {
        let offsets = lines
            .iter()
            .map(|(name, line)| (name.clone(), offset_of(line)))
            .collect();
        write_offset_checkpoint(disk, &log_directory.join(file), &offsets)
    };
    write(RECOVERY_POINT_CHECKPOINT, |line| line.recovery_point)?;
    write(LOG_START_CHECKPOINT, |line| line.log_start_offset)?;
    write(REPLICATION_CHECKPOINT, |line| line.high_watermark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Sim, SimOperation};
    use crate::types::Uuid;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition {
            topic: "t".parse().unwrap(),
            partition: number,
        }
    }

    fn line(offset: i64) -> CheckpointLine {
        CheckpointLine {
            recovery_point: Offset(offset),
            log_start_offset: Offset(offset - 1),
            high_watermark: Offset(offset),
        }
    }

    const OURS: TopicId = TopicId(Uuid(1));
    const THEIRS: TopicId = TopicId(Uuid(2));

    fn owned(number: i32, topic_id: TopicId, offset: i64) -> OwnedLine {
        OwnedLine {
            name: partition(number),
            topic_id,
            line: line(offset),
        }
    }

    #[test]
    fn a_high_watermark_behind_the_end_of_a_log_goes_with_the_page_cache_that_held_the_rest() {
        let directory = Path::new("/data");
        let checkpoints = Checkpoints::default();
        assert!(checkpoints.claim(directory, &partition(0), OURS));
        checkpoints.note(directory, owned(0, OURS, 7));
        checkpoints.opened(directory, &partition(0), Offset(9));
        let known = |offset| Some(line(offset));
        assert_eq!(checkpoints.line(directory, &partition(0)), known(7));
        checkpoints.opened(directory, &partition(0), Offset(5));
        let line = checkpoints.line(directory, &partition(0)).unwrap();
        assert_eq!(line.high_watermark, Offset(5));
        assert_eq!(line.recovery_point, Offset(7), "recovery judges by it");
    }

    #[test]
    fn what_is_written_is_read_after_a_restart_and_what_is_forgotten_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let disk = Disk::real();
        let checkpoints = Checkpoints::default();
        assert!(checkpoints.claim(directory, &partition(0), OURS));
        assert!(checkpoints.claim(directory, &partition(1), OURS));
        checkpoints.note(directory, owned(0, OURS, 7));
        checkpoints
            .write(&disk, directory, vec![owned(1, OURS, 9)])
            .unwrap();

        let restarted = Checkpoints::default();
        restarted.load(&disk, directory).unwrap();
        assert_eq!(restarted.line(directory, &partition(0)), Some(line(7)));
        assert_eq!(restarted.line(directory, &partition(1)), Some(line(9)));

        restarted.forget(&disk, directory, &partition(1)).unwrap();
        let again = Checkpoints::default();
        again.load(&disk, directory).unwrap();
        assert_eq!(again.line(directory, &partition(1)), None);
        assert_eq!(again.line(directory, &partition(0)), Some(line(7)));
    }

    #[test]
    fn how_far_a_log_is_clean_stands_in_kafkas_file_and_goes_with_its_partition() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let disk = Disk::real();
        let checkpoints = Checkpoints::default();
        assert!(checkpoints.claim(directory, &partition(0), OURS));
        let note = |topic_id, offset| {
            let offset = Offset(offset);
            checkpoints.write_cleaned(&disk, directory, partition(0), topic_id, offset)
        };
        note(OURS, 70).unwrap();
        note(THEIRS, 90).unwrap();
        let path = directory.join(CLEANER_CHECKPOINT);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "0\n1\nt 0 70\n");
        // Unlike the others it may go back: what is clean can become dirty.
        note(OURS, 60).unwrap();
        let restarted = Checkpoints::default();
        restarted.load(&disk, directory).unwrap();
        let cleaned_to = restarted.cleaned_to(directory, &partition(0));
        assert_eq!(cleaned_to, Some(Offset(60)));
        restarted.forget(&disk, directory, &partition(0)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n0\n");
    }

    #[test]
    fn a_log_that_is_compacted_has_a_line_before_and_keeps_the_one_it_has() {
        let sim = Sim::new(1);
        let (disk, directory) = (sim.disk(), Path::new("/data"));
        disk.create_dir_all(directory).unwrap();
        let checkpoints = Checkpoints::default();
        assert!(checkpoints.claim(directory, &partition(0), OURS));
        let begin = |topic_id, offset| {
            let name = partition(0);
            checkpoints.write_first_cleaned(&disk, directory, &name, topic_id, Offset(offset))
        };
        let cleaned_to = || {
            let restarted = Checkpoints::default();
            restarted.load(&disk, directory).unwrap();
            restarted.cleaned_to(directory, &partition(0))
        };
        sim.fail_next(SimOperation::Open, "cleaner-offset-checkpoint.tmp", 28);
        begin(OURS, 3).unwrap_err();
        begin(THEIRS, 4).unwrap();
        assert_eq!(cleaned_to(), None);
        begin(OURS, 5).unwrap();
        assert_eq!(cleaned_to(), Some(Offset(5)));
        begin(OURS, 6).unwrap();
        assert_eq!(cleaned_to(), Some(Offset(5)));
    }

    /// It stopped the start.
    #[test]
    fn a_checkpoint_of_the_cleaner_that_makes_no_sense_is_done_without() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let disk = Disk::real();
        let path = directory.join(CLEANER_CHECKPOINT);
        let load = || {
            let checkpoints = Checkpoints::default();
            let loaded = checkpoints.load(&disk, directory);
            loaded.map(|()| checkpoints)
        };
        let cleaned_to =
            |known: &Checkpoints, number| known.cleaned_to(directory, &partition(number));
        let starts = directory.join(LOG_START_CHECKPOINT);
        std::fs::write(starts, "0\n1\nt 2 0\n").unwrap();
        for text in ["", "nonsense", "0\n2\nt 0 70\n", "0\n1\nt 0 many\n"] {
            std::fs::write(&path, text).unwrap();
            let known = load().unwrap();
            assert_eq!(cleaned_to(&known, 0), Some(Offset::ZERO), "{text:?}");
        }
        let known = load().unwrap();
        assert!(known.claim(directory, &partition(0), OURS));
        let written = known.write_cleaned(&disk, directory, partition(0), OURS, Offset(5));
        written.unwrap();
        let restarted = load().unwrap();
        assert_eq!(cleaned_to(&restarted, 0), Some(Offset(5)));
        assert_eq!(cleaned_to(&restarted, 1), None);
        let of_before = cleaned_to(&restarted, 2);
        assert_eq!(of_before, Some(Offset::ZERO), "it may have gaps");
        std::fs::write(&path, "1\n0\n").unwrap();
        let newer = load().unwrap_err();
        assert!(matches!(newer, CheckpointError::UnsupportedVersion { .. }));
        std::fs::write(&path, "nonsense").unwrap();
        std::fs::write(directory.join(RECOVERY_POINT_CHECKPOINT), "nonsense").unwrap();
        let error = load().unwrap_err();
        assert!(matches!(error, CheckpointError::Malformed { .. }));
    }

    #[test]
    fn an_older_line_that_comes_later_takes_nothing_back() {
        let checkpoints = Checkpoints::default();
        let directory = Path::new("/logs");
        checkpoints.claim(directory, &partition(0), OURS);
        checkpoints.note(directory, owned(0, OURS, 9));
        checkpoints.note(directory, owned(0, OURS, 7));
        assert_eq!(checkpoints.line(directory, &partition(0)), Some(line(9)));
    }

    #[test]
    fn a_line_on_its_way_while_the_directory_is_removed_does_not_outlive_it() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let disk = Disk::real();
        let checkpoints = Checkpoints::default();
        assert!(checkpoints.claim(directory, &partition(0), OURS));
        checkpoints.note(directory, owned(0, OURS, 7));
        assert!(checkpoints.claim_doomed(directory, &partition(0), OURS));
        checkpoints.forget(&disk, directory, &partition(0)).unwrap();
        let late = vec![owned(0, OURS, 9)];
        checkpoints.write(&disk, directory, late).unwrap();
        assert_eq!(checkpoints.line(directory, &partition(0)), None);
        assert!(!checkpoints.claim_doomed(directory, &partition(0), THEIRS));
    }

    #[test]
    fn a_late_line_of_a_deleted_topic_does_not_speak_for_the_new_one_of_its_name() {
        let checkpoints = Checkpoints::default();
        let directory = Path::new("/logs");
        assert!(checkpoints.claim(directory, &partition(0), OURS));
        assert!(!checkpoints.claim(directory, &partition(0), THEIRS));
        checkpoints.release(directory, &partition(0), OURS);
        assert!(checkpoints.claim(directory, &partition(0), THEIRS));
        checkpoints.note(directory, owned(0, OURS, 900));
        assert_eq!(checkpoints.line(directory, &partition(0)), None);
    }
}
