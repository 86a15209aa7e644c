//! A partition's directory: made, opened, set aside, taken away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoints::Checkpoints;
use crate::config::TopicConfig;
use crate::io::{Disk, IoError};
use crate::log::checkpoint::{CheckpointError, PartitionMetadata};
use crate::log::{Log, OpenError, OpenOptions, RecoveryReport, names, open};
use crate::types::{Offset, Timestamp, TopicId, TopicPartition};

/// How to open, or make, the directory of a partition.
#[derive(Debug)]
pub struct OpenPartition {
    /// The partition by name.
    pub name: TopicPartition,
    /// The topic's id; a directory of another topic by that name is set aside.
    pub topic_id: TopicId,
    /// The log directory it lives in.
    pub log_directory: PathBuf,
    /// Whether the log directory was left in order.
    pub clean: bool,
    /// The effective topic settings.
    pub config: Arc<TopicConfig>,
    /// The time to recover by.
    pub now: Timestamp,
}

impl OpenPartition {
    pub(super) fn run(
        &self,
        disk: &Disk,
        checkpoints: &Checkpoints,
    ) -> Result<(Box<Log>, RecoveryReport), OpenError> {
        let directory = self
            .log_directory
            .join(names::partition_directory(&self.name));
        if is_of_metadata(&self.name) {
            return Err(OpenError::OfMetadata { directory });
        }
        self.set_stranger_aside(disk, checkpoints, &directory)?;
        let (log_directory, id) = (&self.log_directory, self.topic_id);
        let fresh = !disk.exists(&directory)?;
        // A line of this topic's own tells the log what it has lost.
        if fresh && !checkpoints.was_loaded_for(log_directory, &self.name, id) {
            checkpoints.forget(disk, log_directory, &self.name)?;
        }
        let line = checkpoints
            .line(&self.log_directory, &self.name)
            .unwrap_or_default();
        let cleaned_to = checkpoints.cleaned_to(&self.log_directory, &self.name);
        let (log, report) = open(
            disk,
            OpenOptions {
                directory: directory.clone(),
                clean: self.clean,
                recovery_point: line.recovery_point,
                log_start_offset: line.log_start_offset,
                cleaned_to: cleaned_to.unwrap_or(Offset::NONE),
                config: Arc::clone(&self.config),
                now: self.now,
            },
        )?;
        if log.damage().is_none() {
            let end = log.log_end_offset();
            checkpoints.opened(&self.log_directory, &self.name, end);
        }
        if PartitionMetadata::read(disk, &directory)?.is_none() {
            PartitionMetadata {
                topic_id: self.topic_id,
            }
            .write(disk, &directory)?;
        }
        Ok((Box::new(log), report))
    }

    /// A directory by our name that belongs to a topic deleted since is renamed, so that nobody mistakes one topic's
    /// records for another's; Kafka calls such a directory stray.
    fn set_stranger_aside(
        &self,
        disk: &Disk,
        checkpoints: &Checkpoints,
        directory: &Path,
    ) -> Result<(), OpenError> {
        let _renaming = checkpoints.renaming();
        if !disk.exists(directory)? {
            return Ok(());
        }
        let Some(found) = PartitionMetadata::read(disk, directory)? else {
            return Ok(());
        };
        if found.topic_id == self.topic_id {
            return Ok(());
        }
        checkpoints.forget(disk, &self.log_directory, &self.name)?;
        let aside = names::stray_directory(&self.name, found.topic_id);
        disk.rename(directory, &self.log_directory.join(aside))?;
        disk.sync_dir(&self.log_directory)?;
        Ok(())
    }
}

/// A partition's directory that is to be taken away for good.
#[derive(Debug)]
pub struct Removal {
    /// The partition by name.
    pub name: TopicPartition,
    /// The log directory it lives in.
    pub log_directory: PathBuf,
    /// The topic's id: a directory of another topic by that name is left alone.
    pub topic_id: TopicId,
}

impl Removal {
    /// Renames what there is of the partition, so that a crash half-way leaves nothing that looks alive. Says what may be
    /// unlinked once that is durable. `claimed` says whether the directory of its name is kept from other topics meanwhile.
    fn doom(
        &self,
        disk: &Disk,
        checkpoints: &Checkpoints,
        claimed: bool,
    ) -> Result<Option<PathBuf>, IoError> {
        let Self {
            name,
            log_directory,
            topic_id,
        } = self;
        if is_of_metadata(name) {
            return Ok(None);
        }
        let doomed = log_directory.join(names::deleted_directory(name, *topic_id));
        if disk.exists(&doomed)? {
            return Ok(Some(doomed));
        }
        let _renaming = checkpoints.renaming();
        let directory = log_directory.join(names::partition_directory(name));
        // A new topic of the same name may have been faster, and have set ours aside.
        let aside = log_directory.join(names::stray_directory(name, *topic_id));
        if disk.exists(&aside)? {
            disk.rename(&aside, &doomed)?;
        } else if is_ours(disk, &directory, *topic_id, claimed)? {
            let doom = || {
                checkpoints.forget(disk, log_directory, name)?;
                disk.rename(&directory, &doomed)
            };
            match doom() {
                // Its own records have taken the room.
                Err(error) if error.is_out_of_space() => {
                    empty(disk, &directory)?;
                    doom()?;
                }
                done => done?,
            }
        } else {
            // It may have been lost.
            if claimed {
                checkpoints.forget(disk, log_directory, name)?;
            }
            return Ok(None);
        }
        Ok(Some(doomed))
    }
}

/// A deleted partition's directory, by the name that says so: nobody looks for it any more but the sweep of the next start.
#[derive(Debug)]
pub struct DoomedDirectory {
    path: PathBuf,
    /// Names of files that are left, perhaps not all; `None` before somebody has looked.
    left: Option<Vec<String>>,
}

impl DoomedDirectory {
    const fn at(path: PathBuf) -> Self {
        Self { path, left: None }
    }

    /// Unlinks a few of its files, and behind the last the directory itself: true when that is gone. Each may have a gibibyte
    /// to be given back, and whatever waits for the thread waits for all of these.
    pub(super) fn unlink_some(&mut self, disk: &Disk) -> Result<bool, IoError> {
        let mut names = match self.left.take() {
            Some(names) => names,
            None => {
                let files = disk.list(&self.path)?.into_iter();
                let files = files.filter(|entry| !entry.is_dir);
                files.map(|entry| entry.name).collect()
            }
        };
        let left = names.split_off(names.len().min(UNLINKED_AT_ONCE_MAX));
        let is_last = left.is_empty();
        self.left = Some(left);
        for name in names {
            disk.remove_file(&self.path.join(name))?;
        }
        if is_last {
            disk.remove_dir_all(&self.path)?;
        }
        Ok(is_last)
    }
}

/// Takes partitions of deleted topics out of the way, and says in their order what is to be unlinked of each. What has to be on
/// stable storage is written once for all of a log directory: first that the checkpoints know none of them, then their new names.
///
/// A removal that the disk refuses goes on where it was when it comes again.
pub(super) fn remove(
    disk: &Disk,
    checkpoints: &Checkpoints,
    removals: &[&Removal],
) -> Vec<Result<Option<DoomedDirectory>, IoError>> {
    let mut claims = Vec::with_capacity(removals.len());
    let mut claimed: BTreeMap<&Path, Vec<&TopicPartition>> = BTreeMap::new();
    for removal in removals {
        let (directory, name) = (removal.log_directory.as_path(), &removal.name);
        let is_claimed = checkpoints.claim_doomed(directory, name, removal.topic_id);
        claims.push(is_claimed);
        let names = claimed.entry(directory).or_default();
        if is_claimed && !is_of_metadata(name) {
            names.push(name);
        }
    }
    for (directory, names) in &claimed {
        // Where that fails each tries it by itself, and can make room.
        let _ = checkpoints.forget_all(disk, directory, names);
    }
    let doomed: Vec<_> = removals
        .iter()
        .zip(claims)
        .map(|(removal, is_claimed)| removal.doom(disk, checkpoints, is_claimed))
        .collect();
    let synced: BTreeMap<&Path, Result<(), IoError>> = claimed
        .into_keys()
        .map(|directory| (directory, disk.sync_dir(directory)))
        .collect();
    let ended = removals.iter().zip(doomed).map(|(removal, doomed)| {
        checkpoints.release(&removal.log_directory, &removal.name, removal.topic_id);
        match (doomed?, synced.get(&*removal.log_directory)) {
            (Some(_), Some(Err(error))) => Err(error.duplicate()),
            (doomed, _) => Ok(doomed.map(DoomedDirectory::at)),
        }
    });
    ended.collect()
}

/// Whether a directory is that of the topic. One that does not say so is of the topic that has claimed it.
fn is_ours(
    disk: &Disk,
    directory: &Path,
    topic_id: TopicId,
    claimed: bool,
) -> Result<bool, IoError> {
    let found = match PartitionMetadata::read(disk, directory) {
        Err(CheckpointError::Io(error)) if error.is_out_of_space() => return Err(error),
        read => read.ok().flatten(),
    };
    let ours = found.map_or(claimed, |found| found.topic_id == topic_id);
    Ok(ours && disk.exists(directory)?)
}

/// Removes all files that take room, and leaves the one that says whose the directory was: after a crash it is set aside.
fn empty(disk: &Disk, directory: &Path) -> Result<(), IoError> {
    for entry in disk.list(directory)? {
        if !entry.is_dir && entry.name != names::PARTITION_METADATA {
            disk.remove_file(&directory.join(entry.name))?;
        }
    }
    Ok(())
}

/// Whether the directory of that name holds the cluster metadata: a topic of its name may stand in the metadata of an older
/// version, and nothing about a partition may touch the directory.
fn is_of_metadata(name: &TopicPartition) -> bool {
    names::partition_directory(name) == names::METADATA_DIRECTORY
}

/// The first directory of a partition with records or an owner, by name.
///
/// # Errors
/// The log directory cannot be read.
pub fn any_partition(disk: &Disk, log_directory: &Path) -> Result<Option<PathBuf>, IoError> {
    let mut found: Vec<PathBuf> = disk
        .list(log_directory)?
        .into_iter()
        .filter(|entry| entry.is_dir && names::partition_of_directory(&entry.name).is_some())
        .map(|entry| log_directory.join(entry.name))
        .collect();
    found.sort();
    for directory in found {
        let files = disk.list(&directory)?;
        let telling = |name: &str| name == names::PARTITION_METADATA || name.ends_with(names::LOG);
        if files.iter().any(|file| telling(&file.name)) {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// What clearing a log directory came to.
#[derive(Debug, Default)]
pub struct Swept {
    /// Directories that were set aside, by their new names.
    pub set_aside: Vec<PathBuf>,
    /// Deleted directories. Unlinking them may take minutes: that is for when everything else is done.
    pub doomed: Vec<DoomedDirectory>,
    /// What the disk refused; the rest is done.
    pub refused: Vec<IoError>,
}

/// Clears a log directory of what belongs to no partition: deleted directories are found, to be unlinked, directories of
/// topics that the metadata does not know are set aside, and the checkpoints forget whom it does not know. `topic_of` says
/// which topic's partition has a name.
///
/// # Errors
/// The log directory cannot be read.
pub fn sweep(
    disk: &Disk,
    checkpoints: &Checkpoints,
    log_directory: &Path,
    topic_of: impl Fn(&TopicPartition) -> Option<TopicId>,
) -> Result<Swept, IoError> {
    let mut swept = Swept::default();
    for entry in disk.list(log_directory)? {
        if !entry.is_dir {
            continue;
        }
        if names::is_deleted_directory(&entry.name) {
            let path = log_directory.join(&entry.name);
            swept.doomed.push(DoomedDirectory::at(path));
            continue;
        }
        match sweep_directory(disk, checkpoints, log_directory, &entry.name, &topic_of) {
            Ok(set_aside) => swept.set_aside.extend(set_aside),
            Err(error) => swept.refused.push(error),
        }
    }
    let renamed = !swept.set_aside.is_empty() || !swept.doomed.is_empty();
    if renamed && let Err(error) = disk.sync_dir(log_directory) {
        // A kill may have come before their new names were durable, and by its old one a directory has to have its files.
        swept.doomed.clear();
        swept.refused.push(error);
    }
    // The line of a stranger whose directory could not be set aside goes with that, when the topic's own is opened.
    let attributed = checkpoints.attribute(disk, log_directory, topic_of);
    swept.refused.extend(attributed.err());
    Ok(swept)
}

/// Says by which name the directory was set aside, if it was.
fn sweep_directory(
    disk: &Disk,
    checkpoints: &Checkpoints,
    log_directory: &Path,
    found: &str,
    topic_of: impl Fn(&TopicPartition) -> Option<TopicId>,
) -> Result<Option<PathBuf>, IoError> {
    let path = log_directory.join(found);
    let name = names::partition_of_directory(found);
    let Some(name) = name.filter(|name| !is_of_metadata(name)) else {
        return Ok(None);
    };
    let Some(owner) = PartitionMetadata::stranger(disk, &path, &name, topic_of) else {
        return Ok(None);
    };
    checkpoints.forget(disk, log_directory, &name)?;
    let aside = log_directory.join(names::stray_directory(&name, owner));
    disk.rename(&path, &aside)?;
    Ok(Some(aside))
}

/// How many files are unlinked at once: those of some ten segments.
const UNLINKED_AT_ONCE_MAX: usize = 64;

#[cfg(test)]
mod tests;
