//! The checkpoint files at the top of each log directory: one file holds the lines of partitions of every shard, so
//! they are kept here, in one place, and written whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::io::{Disk, IoError};
use crate::log::checkpoint::{
    CheckpointError, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, REPLICATION_CHECKPOINT,
    read_offset_checkpoint, write_offset_checkpoint,
};
use crate::types::{Offset, TopicPartition};

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

type Lines = BTreeMap<TopicPartition, CheckpointLine>;

/// The checkpoints of all log directories of this process. Only maintenance threads take its lock.
#[derive(Debug, Default)]
pub struct Checkpoints {
    by_directory: Mutex<BTreeMap<PathBuf, Lines>>,
    /// Held while a partition's directory gets another name, so that two topics of one name do not cross.
    renames: Mutex<()>,
}

impl Checkpoints {
    /// Reads what `log_directory` says; missing files say nothing. A partition that stands only in some of them is
    /// recovered from offset 0 where the others are silent.
    ///
    /// # Errors
    /// A file cannot be read or is damaged.
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
        self.locked().insert(log_directory.to_owned(), lines);
        Ok(())
    }

    /// What is known of a partition.
    #[must_use]
    pub fn line(&self, log_directory: &Path, partition: &TopicPartition) -> Option<CheckpointLine> {
        self.locked().get(log_directory)?.get(partition).copied()
    }

    /// Takes a line in without writing it yet.
    pub fn note(&self, log_directory: &Path, partition: TopicPartition, line: CheckpointLine) {
        self.locked()
            .entry(log_directory.to_owned())
            .or_default()
            .insert(partition, line);
    }

    /// Takes `lines` in and writes the three files.
    ///
    /// # Errors
    /// A file cannot be written; the old one then still stands.
    pub fn write(
        &self,
        disk: &Disk,
        log_directory: &Path,
        lines: Vec<(TopicPartition, CheckpointLine)>,
    ) -> Result<(), IoError> {
        // Held while writing, so that an older view never replaces a newer one.
        let mut directories = self.locked();
        let known = directories.entry(log_directory.to_owned()).or_default();
        known.extend(lines);
        write_files(disk, log_directory, known)
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
        let mut directories = self.locked();
        let Some(known) = directories.get_mut(log_directory) else {
            return Ok(());
        };
        let Some(line) = known.remove(partition) else {
            return Ok(());
        };
        write_files(disk, log_directory, known).inspect_err(|_| {
            known.insert(partition.clone(), line);
        })
    }

    /// Keeps others from renaming partition directories until it is dropped.
    pub(super) fn renaming(&self) -> MutexGuard<'_, ()> {
        self.renames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Lines>> {
        // A panic aborts a release build; in a test the lines of a panicked job are as good as any.
        self.by_directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_files(disk: &Disk, log_directory: &Path, lines: &Lines) -> Result<(), IoError> {
    let files: [(&str, fn(&CheckpointLine) -> Offset); 3] = [
        (RECOVERY_POINT_CHECKPOINT, |line| line.recovery_point),
        (LOG_START_CHECKPOINT, |line| line.log_start_offset),
        (REPLICATION_CHECKPOINT, |line| line.high_watermark),
    ];
    for (name, offset_of) in files {
        let offsets = lines
            .iter()
            .map(|(name, line)| (name.clone(), offset_of(line)))
            .collect();
        write_offset_checkpoint(disk, &log_directory.join(name), &offsets)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_is_written_is_read_after_a_restart_and_what_is_forgotten_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        let checkpoints = Checkpoints::default();
        checkpoints.note(directory.path(), partition(0), line(7));
        checkpoints
            .write(&disk, directory.path(), vec![(partition(1), line(9))])
            .unwrap();

        let restarted = Checkpoints::default();
        restarted.load(&disk, directory.path()).unwrap();
        assert_eq!(
            restarted.line(directory.path(), &partition(0)),
            Some(line(7))
        );
        assert_eq!(
            restarted.line(directory.path(), &partition(1)),
            Some(line(9))
        );

        restarted
            .forget(&disk, directory.path(), &partition(1))
            .unwrap();
        let again = Checkpoints::default();
        again.load(&disk, directory.path()).unwrap();
        assert_eq!(again.line(directory.path(), &partition(1)), None);
        assert_eq!(again.line(directory.path(), &partition(0)), Some(line(7)));
    }
}
