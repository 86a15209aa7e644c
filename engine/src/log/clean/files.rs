//! The files of a compaction: made under other names, then put in the place of those they replace, as Kafka does it.
//!
//! A power cut may undo or reorder names that were not synced, so the directory is synced between the steps: while a
//! `.cleaned` file is left, nothing has happened; once there are only `.swap` files, the next start finishes the work.

use std::path::{Path, PathBuf};

use super::super::checkpoint::read_if_there;
use super::super::names::{self, FileKind};
use super::super::retention::remove_if_there;
use super::super::segment::{SegmentIndex, replace};
use super::super::sweep::name_swapped;
use super::task::CleanError;
use super::transactions::Aborted;
use crate::io::{Disk, File, IoError};
use crate::types::Offset;

/// The endings of a segment's own files; snapshots of producers stand beside them, not in them.
const OWN_ENDINGS: [&str; 4] = [
    names::LOG,
    names::OFFSET_INDEX,
    names::TIME_INDEX,
    names::TRANSACTION_INDEX,
];

/// Removes what compactions that failed may have left. While a `.cleaned` file stands, a start takes swap files behind
/// it for unfinished, and those of the compaction to come are not.
pub(super) fn clear(disk: &Disk, directory: &Path) -> Result<(), IoError> {
    for entry in disk.list(directory)? {
        if let FileKind::Cleaned { .. } = FileKind::of(&entry.name) {
            remove_if_there(disk, &directory.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Makes the empty file that cleaned batches are written to.
pub(super) fn create(disk: &Disk, directory: &Path, base_offset: Offset) -> Result<File, IoError> {
    let file = disk.open_or_create(&cleaned(directory, base_offset, names::LOG))?;
    // One that was given up may still be there.
    file.truncate(0)?;
    Ok(file)
}

/// Removes whatever a compaction that is given up has written for the segment at `base_offset`.
pub(super) fn give_up(disk: &Disk, directory: &Path, base_offset: Offset) -> Result<(), IoError> {
    for ending in OWN_ENDINGS {
        remove_if_there(disk, &cleaned(directory, base_offset, ending))?;
    }
    Ok(())
}

/// The aborted transactions that the `.txnindex` files of the segments at `base_offsets` list.
pub(super) fn read_aborted(
    disk: &Disk,
    directory: &Path,
    base_offsets: &[Offset],
) -> Result<Vec<Aborted>, CleanError> {
    let mut all = Vec::new();
    for &base_offset in base_offsets {
        let path = names::segment_file(directory, base_offset, names::TRANSACTION_INDEX);
        if let Some(bytes) = read_if_there(disk, &path)? {
            let found = Aborted::decode(&bytes);
            all.extend(found.ok_or(CleanError::TransactionIndex { path })?);
        }
    }
    Ok(all)
}

/// What to put in place.
#[derive(Debug)]
pub(super) struct Replacement<'a> {
    pub(super) directory: &'a Path,
    /// The segments that go, oldest first; the new one has the base of the first.
    pub(super) replaced: &'a [Offset],
    pub(super) index: &'a SegmentIndex,
    pub(super) aborted: &'a [Aborted],
}

impl Replacement<'_> {
    /// Puts the cleaned file, which is on stable storage, in the place of the segments. Answers the file by its new
    /// name, and the renamed old files.
    ///
    /// # Errors
    /// [`CleanError::Io`]: nothing has happened yet. [`CleanError::HalfSwapped`]: the files are neither the old nor
    /// the new, and only a start sorts them out.
    pub(super) fn run(&self, disk: &Disk) -> Result<(File, Vec<PathBuf>), CleanError> {
        let base_offset = self.base_offset();
        let endings = self.write_companions(disk, base_offset)?;
        if let Err(error) = self.announce(disk, base_offset, &endings) {
            return Err(self.take_back(disk, base_offset, &endings, error));
        }
        self.put(disk, base_offset, &endings)
            .map_err(CleanError::HalfSwapped)
    }

    fn base_offset(&self) -> Offset {
        self.replaced.first().copied().unwrap_or_default()
    }

    /// Writes the indexes beside the log; answers the endings of all files of the new segment.
    fn write_companions(
        &self,
        disk: &Disk,
        base_offset: Offset,
    ) -> Result<Vec<&'static str>, IoError> {
        let mut endings = vec![names::OFFSET_INDEX, names::TIME_INDEX];
        let mut contents = vec![self.index.offsets.encode(), self.index.times.encode()];
        if !self.aborted.is_empty() {
            endings.push(names::TRANSACTION_INDEX);
            contents.push(Aborted::encode(self.aborted));
        }
        for (ending, bytes) in endings.iter().zip(&contents) {
            replace(disk, &cleaned(self.directory, base_offset, ending), bytes)?.sync_data()?;
        }
        endings.push(names::LOG);
        Ok(endings)
    }

    /// From here on a start finishes what was begun.
    fn announce(&self, disk: &Disk, base_offset: Offset, endings: &[&str]) -> Result<(), IoError> {
        for ending in endings {
            let (from, to) = (
                cleaned(self.directory, base_offset, ending),
                swap(self.directory, base_offset, ending),
            );
            disk.rename(&from, &to)?;
        }
        disk.sync_dir(self.directory)
    }

    /// The announcement failed half-way: the swap files must not be taken for a finished work later.
    fn take_back(
        &self,
        disk: &Disk,
        base_offset: Offset,
        endings: &[&str],
        error: IoError,
    ) -> CleanError {
        let remove = || -> Result<(), IoError> {
            // The log first: the others alone replace nothing.
            for ending in endings.iter().rev() {
                remove_if_there(disk, &swap(self.directory, base_offset, ending))?;
            }
            disk.sync_dir(self.directory)
        };
        match remove() {
            Ok(()) => CleanError::Io(error),
            Err(error) => CleanError::HalfSwapped(error),
        }
    }

    fn put(
        &self,
        disk: &Disk,
        base_offset: Offset,
        endings: &[&str],
    ) -> Result<(File, Vec<PathBuf>), IoError> {
        let mut doomed = Vec::new();
        for &replaced in self.replaced {
            // The state of the producers at the start of the new segment is still of use.
            let snapshots = [names::SNAPSHOT, names::WINDOWS];
            let snapshots = snapshots.iter().filter(|_| replaced != base_offset);
            for ending in OWN_ENDINGS.iter().chain(snapshots) {
                let path = names::segment_file(self.directory, replaced, ending);
                let to = names::with_ending(&path, names::DELETED);
                match disk.rename(&path, &to) {
                    Ok(()) => doomed.push(to),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        // An old segment that came back beside the new one would hold offsets twice.
        disk.sync_dir(self.directory)?;
        let swaps: Vec<_> = endings
            .iter()
            .map(|&ending| (base_offset, ending))
            .collect();
        name_swapped(disk, self.directory, &swaps)?;
        let file = disk.open(&names::segment_file(
            self.directory,
            base_offset,
            names::LOG,
        ))?;
        Ok((file, doomed))
    }
}

fn cleaned(directory: &Path, base_offset: Offset, ending: &str) -> PathBuf {
    let path = names::segment_file(directory, base_offset, ending);
    names::with_ending(&path, names::CLEANED)
}

fn swap(directory: &Path, base_offset: Offset, ending: &str) -> PathBuf {
    let path = names::segment_file(directory, base_offset, ending);
    names::with_ending(&path, names::SWAP)
}
