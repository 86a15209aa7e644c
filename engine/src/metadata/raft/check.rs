//! Reading the files of the metadata log offline, and saying everything that is wrong with them. Nothing is changed.

use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::error::{OpenError, StorageError};
use super::journal::{self, Journal};
use super::node;
use super::snapshot::{self, Snapshot};
use super::vote::Vote;
use crate::io::Disk;
use crate::metadata::image::MetadataImage;

/// What the files of a metadata directory hold.
#[derive(Debug, Default)]
pub struct MetadataCheck {
    /// The metadata, when nothing keeps a start from reading it.
    pub image: Option<MetadataImage>,
    /// What keeps a start from reading it, by file.
    pub faults: Vec<(MetadataFile, OpenError)>,
    /// Snapshots that a start passes over, and the next snapshot takes away.
    pub passed_over: Vec<StorageError>,
    /// What a crash left at the end of the journal: the file and where its last whole entry ends.
    pub torn: Option<(PathBuf, u64)>,
    /// What unfinished writes left.
    pub leftovers: Vec<PathBuf>,
    /// What is not ours.
    pub foreign: Vec<PathBuf>,
}

/// The files of a metadata directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataFile {
    /// The journal.
    Journal,
    /// The vote.
    Vote,
    /// A snapshot.
    Snapshot,
}

/// Reads all files of the metadata directory `dir`.
///
/// # Errors
/// The directory cannot be listed.
pub fn check(disk: &Disk, dir: &Path) -> Result<MetadataCheck, StorageError> {
    let mut found = MetadataCheck::default();
    let vote = match Vote::load(disk, dir) {
        Ok(vote) => vote,
        Err(error) => {
            found.faults.push((MetadataFile::Vote, error.into()));
            None
        }
    };
    let snapshots = check_snapshots(disk, dir, &mut found)?;
    let newest = snapshots.into_iter().next();
    check_journal(disk, dir, vote, newest, &mut found)?;
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        let known = path == Journal::path(dir)
            || path == Vote::path(dir)
            || snapshot::parse_name(&entry.name).is_some();
        if snapshot::is_unfinished(&entry.name) {
            found.leftovers.push(path);
        } else if !known {
            found.foreign.push(path);
        }
    }
    Ok(found)
}

/// The whole snapshots, newest first.
fn check_snapshots(
    disk: &Disk,
    dir: &Path,
    found: &mut MetadataCheck,
) -> Result<Vec<Snapshot>, StorageError> {
    let mut whole = Vec::new();
    for position in snapshot::list(disk, dir)? {
        match snapshot::load(disk, dir, position) {
            Ok(snapshot) => whole.push(snapshot),
            Err(error @ (StorageError::Damaged { .. } | StorageError::Io(_))) => {
                found.passed_over.push(error);
            }
            Err(error) => found.faults.push((MetadataFile::Snapshot, error.into())),
        }
    }
    Ok(whole)
}

/// The journal by itself, then beside the vote and the snapshot, then replayed.
fn check_journal(
    disk: &Disk,
    dir: &Path,
    vote: Option<Vote>,
    newest: Option<Snapshot>,
    found: &mut MetadataCheck,
) -> Result<(), StorageError> {
    let path = Journal::path(dir);
    let reached = newest.as_ref().map(|snapshot| snapshot.position);
    let durable_index = vote.map_or(0, |vote| vote.durable_index);
    if !disk.exists(&path)? {
        if durable_index > 0 || reached.is_some() {
            let expected = format!("a journal up to entry {durable_index}");
            let error = StorageError::damaged(&path, 0, expected, "no file");
            found.faults.push((MetadataFile::Journal, error.into()));
        }
        return Ok(());
    }
    let vote_is_bad = found
        .faults
        .iter()
        .any(|(file, _)| *file == MetadataFile::Vote);
    if vote.is_none() && !vote_is_bad {
        let expected = "the vote beside the journal";
        let error = StorageError::damaged(&Vote::path(dir), 0, expected, "no file");
        found.faults.push((MetadataFile::Vote, error.into()));
    }
    let checked = match journal::check(disk, dir, durable_index) {
        Ok(checked) => checked,
        Err(error) => {
            found.faults.push((MetadataFile::Journal, error.into()));
            return Ok(());
        }
    };
    found.torn = checked.torn.map(|position| (path.clone(), position));
    let mut sound = checked.faults.is_empty();
    for error in checked.faults {
        found.faults.push((MetadataFile::Journal, error.into()));
    }
    let reached = reached.unwrap_or_default();
    let purged = checked.purged.position;
    if purged.index > reached.index {
        let expected = format!("a whole snapshot of entry {} or later", purged.index);
        let missing = snapshot::path_of(dir, purged);
        let error = StorageError::damaged(&missing, 0, expected, reached.to_string());
        found.faults.push((MetadataFile::Snapshot, error.into()));
        sound = false;
    }
    let last = checked
        .entries
        .last()
        .map_or(purged, |entry| entry.position);
    if sound && last.index < reached.index {
        let (expected, end) = (reached.to_string(), checked.end);
        let error = StorageError::damaged(&path, end, expected, last.to_string());
        found.faults.push((MetadataFile::Journal, error.into()));
        sound = false;
    }
    if sound {
        let next_offset = checked.entries.last().map_or_else(
            || checked.purged.offset.saturating_add(1),
            Entry::next_offset,
        );
        let replayed = node::replay(dir, newest, &checked.entries, next_offset);
        let usable = replayed.and_then(|image| {
            node::check_origin(dir, &image, None)?;
            node::next_term(dir, vote, last, &image)?;
            Ok(image)
        });
        match usable {
            Ok(image) => found.image = Some(image),
            Err(error) => found.faults.push((MetadataFile::Journal, error)),
        }
    }
    Ok(())
}

impl StorageError {
    /// The file concerned, where in it, what should be there and what is: for a report.
    #[must_use]
    pub fn parts(&self) -> (&Path, Option<u64>, String, String) {
        match self {
            Self::Io(error) => (
                &error.path,
                None,
                "a file that can be read".to_owned(),
                error.source.to_string(),
            ),
            Self::Damaged {
                path,
                position,
                expected,
                found,
            } => (path, Some(*position), expected.clone(), found.clone()),
            Self::NewerVersion { path, found, known } => (path, None, known.clone(), found.clone()),
            Self::Offline { path } | Self::EntryTooLong { path, .. } => {
                (path, None, "a journal at rest".to_owned(), self.to_string())
            }
        }
    }
}
