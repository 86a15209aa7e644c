//! The files of a compaction: made under other names, then put in the place of those they replace, as Kafka does it.
//!
//! A power cut may undo or reorder names that were not synced, so the directory is synced between the steps: while a
//! `.cleaned` file is left, nothing has happened; once there are only `.swap` files, the next start finishes the work.

use std::path::{Path, PathBuf};

use super::super::checkpoint::read_if_there;
use super::super::names::{self, FileKind};
use super::super::retention::{doom, remove_if_there};
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
    /// Writes the indexes beside the log, which is on stable storage.
    pub(super) fn prepare(&self, disk: &Disk) -> Result<Exchange, IoError> {
        let base_offset = self.replaced.first().copied().unwrap_or_default();
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
        Ok(Exchange {
            directory: self.directory.to_owned(),
            base_offset,
            replaced: self.replaced.to_vec(),
            endings,
            doomed: Vec::new(),
            step: Step::Announce,
        })
    }
}

/// Cleaned files on their way into the place of the segments they replace.
#[derive(Debug)]
pub(super) struct Exchange {
    directory: PathBuf,
    base_offset: Offset,
    replaced: Vec<Offset>,
    /// Of all files of the new segment, the log last.
    endings: Vec<&'static str>,
    /// The old files, by their new names.
    doomed: Vec<PathBuf>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Announce,
    /// The announcement failed half-way, for this reason.
    TakeBack(IoError),
    DoomOld,
    NameNew,
}

impl Exchange {
    /// Puts the new files in place. Answers the record file by its new name, and the renamed old files.
    ///
    /// # Errors
    /// [`CleanError::Io`]: nothing has happened yet. [`CleanError::HalfSwapped`]: the files are neither the old nor
    /// the new. Another run goes on where this one was; else only a start sorts them out.
    pub(super) fn run(&mut self, disk: &Disk) -> Result<(File, Vec<PathBuf>), CleanError> {
        let half = CleanError::HalfSwapped;
        loop {
            match self.step {
                Step::Announce => {
                    self.step = match self.announce(disk) {
                        Ok(()) => Step::DoomOld,
                        Err(error) => Step::TakeBack(error),
                    };
                }
                Step::TakeBack(_) => {
                    self.take_back(disk).map_err(half)?;
                    let taken_back = std::mem::replace(&mut self.step, Step::Announce);
                    if let Step::TakeBack(error) = taken_back {
                        return Err(CleanError::Io(error));
                    }
                }
                Step::DoomOld => {
                    self.doom_old(disk).map_err(half)?;
                    self.step = Step::NameNew;
                }
                Step::NameNew => {
                    let file = self.name_new(disk).map_err(half)?;
                    return Ok((file, std::mem::take(&mut self.doomed)));
                }
            }
        }
    }

    /// From here on a start finishes what was begun.
    fn announce(&self, disk: &Disk) -> Result<(), IoError> {
        for ending in &self.endings {
            let from = cleaned(&self.directory, self.base_offset, ending);
            disk.rename(&from, &self.swap(ending))?;
        }
        disk.sync_dir(&self.directory)
    }

    /// The swap files must not be taken for a finished work later.
    fn take_back(&self, disk: &Disk) -> Result<(), IoError> {
        // The log first: the others alone replace nothing.
        for ending in self.endings.iter().rev() {
            remove_if_there(disk, &self.swap(ending))?;
        }
        disk.sync_dir(&self.directory)
    }

    /// Oldest first, and that one has gone is durable before the next one goes: a start finishes the work only up to the last
    /// offset that is left, and where a delete marker behind it were gone, what it deleted must be, too.
    fn doom_old(&mut self, disk: &Disk) -> Result<(), IoError> {
        for (place, &replaced) in self.replaced.iter().enumerate() {
            if place > 0 {
                disk.sync_dir(&self.directory)?;
            }
            // The state of the producers at the start of the new segment is still of use.
            let snapshots = [names::SNAPSHOT, names::WINDOWS];
            let snapshots = snapshots.iter().filter(|_| replaced != self.base_offset);
            for ending in OWN_ENDINGS.iter().chain(snapshots) {
                let path = names::segment_file(&self.directory, replaced, ending);
                self.doomed.extend(doom(disk, &path)?);
            }
        }
        // An old segment that came back beside the new one would hold offsets twice.
        disk.sync_dir(&self.directory)
    }

    fn name_new(&self, disk: &Disk) -> Result<File, IoError> {
        let mut swaps = Vec::with_capacity(self.endings.len());
        for &ending in &self.endings {
            // An earlier run may have named some.
            if disk.exists(&self.swap(ending))? {
                swaps.push((self.base_offset, ending));
            }
        }
        name_swapped(disk, &self.directory, &swaps)?;
        let path = names::segment_file(&self.directory, self.base_offset, names::LOG);
        disk.open(&path)
    }

    fn swap(&self, ending: &str) -> PathBuf {
        let path = names::segment_file(&self.directory, self.base_offset, ending);
        names::with_ending(&path, names::SWAP)
    }
}

fn cleaned(directory: &Path, base_offset: Offset, ending: &str) -> PathBuf {
    let path = names::segment_file(directory, base_offset, ending);
    names::with_ending(&path, names::CLEANED)
}
