//! Controller, journal and image of one node, joined: a command in, a durable change out.
//!
//! It is synchronous and has no thread of its own. That there is one voter is known here and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, LogPosition, TERM_MAX};
use super::error::{CommitError, FEATURE, FEATURE_LEVEL, OpenError, ProposeError, StorageError};
use super::journal::{Journal, Purged, Reserve};
use super::snapshot::{self, Newest, Snapshot};
use super::vote::Vote;
use crate::io::{Disk, IoError};
use crate::metadata::controller::{Command, Decision, Reply, decide};
use crate::metadata::image::MetadataImage;
use crate::metadata::record::MetadataRecord;
use crate::types::BrokerId;

/// What an operator may tune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataOptions {
    /// A snapshot is written when the entries behind the last have this many bytes. Not zero.
    pub snapshot_after_bytes: u64,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            snapshot_after_bytes: 4 * 1024 * 1024,
        }
    }
}

/// How the log stands, for metrics and DescribeQuorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// The present term.
    pub term: u64,
    /// The last entry; all entries are committed.
    pub last: LogPosition,
    /// The offset of the next record: the high watermark of the metadata log.
    pub next_offset: i64,
    /// The last entry in the newest snapshot.
    pub snapshot: Option<LogPosition>,
    /// Length of the journal in bytes.
    pub journal_bytes: u64,
}

/// The metadata of a cluster of one node.
pub struct Metadata {
    disk: Disk,
    dir: PathBuf,
    options: MetadataOptions,
    vote: Vote,
    journal: Journal,
    image: Arc<MetadataImage>,
    snapshot: Option<LogPosition>,
    /// The journal length from which the next snapshot is tried; moves on when one fails.
    snapshot_due_bytes: u64,
}

impl Metadata {
    /// Whether there is metadata in `dir`, or what is left of it.
    ///
    /// # Errors
    /// The disk failed.
    pub fn is_in(disk: &Disk, dir: &Path) -> Result<bool, IoError> {
        Ok(disk.exists(&Journal::path(dir))? || disk.exists(&Vote::path(dir))?)
    }

    /// Opens the metadata in `dir` and makes `node` the controller of a new term. What is missing is created: an empty
    /// directory becomes the metadata of cluster `cluster_id`. Only one process may work in `dir`; the lock is the
    /// caller's.
    ///
    /// # Errors
    /// The disk failed or is full, a file is damaged or newer, or the directory belongs to another cluster.
    pub fn open(
        disk: &Disk,
        dir: &Path,
        node: BrokerId,
        cluster_id: &str,
        options: MetadataOptions,
    ) -> Result<Self, OpenError> {
        Self::open_checked(disk, dir, node, cluster_id, true, options)
    }

    /// The same for whichever cluster the metadata is of: only an empty directory becomes the metadata of `cluster_id`.
    ///
    /// # Errors
    /// As [`Metadata::open`].
    pub fn open_of_any(
        disk: &Disk,
        dir: &Path,
        node: BrokerId,
        cluster_id: &str,
        options: MetadataOptions,
    ) -> Result<Self, OpenError> {
        Self::open_checked(disk, dir, node, cluster_id, false, options)
    }

    /// `only`: metadata of another cluster is refused.
    fn open_checked(
        disk: &Disk,
        dir: &Path,
        node: BrokerId,
        cluster_id: &str,
        only: bool,
        options: MetadataOptions,
    ) -> Result<Self, OpenError> {
        disk.create_dir_all(dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent)?;
        }
        snapshot::clear_unfinished(disk, dir)?;
        let stored = Vote::load(disk, dir)?;
        let Newest { snapshot, unread } = snapshot::load_newest(disk, dir)?;
        let opened = open_journal(disk, dir, stored.as_ref(), snapshot.as_ref(), unread);
        let (mut journal, entries) = opened?;
        let place = snapshot.as_ref().map(|snapshot| snapshot.position);
        let image = replay(dir, snapshot, &entries, journal.next_offset())?;
        check_origin(dir, &image, only.then_some(cluster_id))?;
        journal.expect_partitions(image.partition_count());

        let last = journal.last();
        let term = next_term(dir, stored, last, &image)?;
        let vote = Vote {
            term,
            candidate: node,
            durable_index: last.index,
        };
        save_vote(disk, dir, vote, stored.is_some())?;
        let (disk, dir, image) = (disk.clone(), dir.to_path_buf(), Arc::new(image));
        let mut metadata = Self {
            disk,
            dir,
            options,
            vote,
            journal,
            image,
            snapshot: place,
            snapshot_due_bytes: options.snapshot_after_bytes,
        };
        metadata.begin_term(node, cluster_id)?;
        Ok(metadata)
    }

    fn begin_term(&mut self, node: BrokerId, cluster_id: &str) -> Result<(), OpenError> {
        let mut records = vec![MetadataRecord::LeaderChanged {
            leader: node,
            term: self.vote.term,
        }];
        if self.image.cluster_id().is_empty() {
            records.push(MetadataRecord::ClusterIdSet {
                cluster_id: cluster_id.to_owned(),
            });
            let name = FEATURE.to_owned();
            records.push(MetadataRecord::FeatureLevelSet {
                name,
                level: FEATURE_LEVEL,
            });
        }
        self.commit(records, Reserve::Use)
            .map_err(|error| match error {
                CommitError::Storage(error) => OpenError::Storage(error),
                CommitError::Inconsistent(error) => OpenError::Replay {
                    path: Journal::path(&self.dir),
                    position: self.journal.last(),
                    error,
                },
            })
    }

    /// The metadata as of the last committed change.
    #[must_use]
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// Decides `command`, makes what follows durable and applies it. Returns the image after it, which is the one
    /// before where nothing changed.
    ///
    /// # Errors
    /// The image is as it was, and so is the journal if the controller refused or there is no room. After another failure
    /// of the disk the journal takes no changes until it is opened again, and may turn out to hold this one then.
    pub fn propose(
        &mut self,
        command: &Command,
    ) -> Result<(Arc<MetadataImage>, Reply), ProposeError> {
        self.propose_with(command, reserve_of(command))
    }

    /// The same for what a start must write: it may use the space that is kept for that on a full disk.
    ///
    /// # Errors
    /// As [`Metadata::propose`].
    pub fn propose_at_start(
        &mut self,
        command: &Command,
    ) -> Result<(Arc<MetadataImage>, Reply), ProposeError> {
        self.propose_with(command, Reserve::Use)
    }

    fn propose_with(
        &mut self,
        command: &Command,
        reserve: Reserve,
    ) -> Result<(Arc<MetadataImage>, Reply), ProposeError> {
        let Decision { records, reply } = decide(&self.image, command)?;
        if !records.is_empty() {
            self.commit(records, reserve).map_err(|error| match error {
                CommitError::Storage(error) => ProposeError::Storage(error),
                CommitError::Inconsistent(error) => ProposeError::Inconsistent(error),
            })?;
        }
        Ok((Arc::clone(&self.image), reply))
    }

    /// Whether a change finds room on a full disk where others find none.
    pub(crate) const fn has_reserve(command: &Command) -> bool {
        !matches!(reserve_of(command), Reserve::Keep)
    }

    /// How the log stands.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        LogStatus {
            term: self.vote.term,
            last: self.journal.last(),
            next_offset: self.journal.next_offset(),
            snapshot: self.snapshot,
            journal_bytes: self.journal.length_bytes(),
        }
    }

    /// Ends the work cleanly: notes that everything is durable, so that the next start can tell damage from a crash up
    /// to the last byte. Without it nothing is lost.
    ///
    /// # Errors
    /// The note could not be written.
    pub fn close(mut self) -> Result<(), StorageError> {
        self.vote.durable_index = self.journal.last().index;
        self.vote.save(&self.disk, &self.dir)
    }

    /// Writes a snapshot of the image now and lets the journal begin behind the snapshot before it.
    ///
    /// # Errors
    /// The disk said no; nothing is lost, the journal stays longer.
    pub fn write_snapshot(&mut self) -> Result<(), StorageError> {
        let (position, previous) = (self.journal.last(), self.snapshot);
        if previous == Some(position) {
            return Ok(());
        }
        let image = (*self.image).clone();
        snapshot::save(
            &self.disk,
            &self.dir,
            &Snapshot { position, image },
            previous,
        )?;
        self.snapshot = Some(position);
        if let Some(previous) = previous {
            self.journal.purge_prefix(previous.index)?;
        }
        Ok(())
    }

    fn commit(
        &mut self,
        records: Vec<MetadataRecord>,
        reserve: Reserve,
    ) -> Result<(), CommitError> {
        // Applied first: what does not fit the image must never reach the file.
        let next = self.image.apply(&records)?;
        let index = self.journal.last().index + 1;
        let position = LogPosition {
            term: self.vote.term,
            index,
        };
        let base_offset = self.image.version() + 1;
        let entry = Entry {
            position,
            base_offset,
            records,
        };
        if !next.has_topics_of(&self.image) {
            self.journal.expect_partitions(next.partition_count());
        }
        if let Err(error) = self.journal.append(&entry, reserve) {
            self.journal.expect_partitions(self.image.partition_count());
            return Err(error.into());
        }
        self.image = Arc::new(next);
        self.snapshot_when_due();
        Ok(())
    }

    /// A change stands whether or not the snapshot after it can be written.
    fn snapshot_when_due(&mut self) {
        let since = self
            .journal
            .bytes_after(self.snapshot.map_or(0, |place| place.index));
        if since < self.snapshot_due_bytes {
            return;
        }
        let step = self.options.snapshot_after_bytes;
        self.snapshot_due_bytes = match self.write_snapshot() {
            Ok(()) => step,
            Err(error) => {
                // What it left behind would take the space that is missing.
                let _ = snapshot::clear_unfinished(&self.disk, &self.dir);
                tracing::warn!(%error, "no metadata snapshot; the journal grows until one succeeds");
                since.saturating_add(step / 4)
            }
        };
    }
}

/// Writes the vote of a new term. On a full disk the one before may stay: there is one voter, and the entry that begins
/// the term, for which the journal has space, tells of it as well.
fn save_vote(disk: &Disk, dir: &Path, vote: Vote, stored: bool) -> Result<(), StorageError> {
    match vote.save(disk, dir) {
        Err(error) if error.is_out_of_space() && stored => {
            tracing::warn!(%error, "no vote is written for this start");
            // What it left behind takes the space that is missing.
            snapshot::clear_unfinished(disk, dir)?;
            // Writing it would have made durable what an earlier process named here.
            Ok(disk.sync_dir(dir)?)
        }
        saved => saved,
    }
}

/// What of the reserve is for a command of a client: room is made on a full disk by deleting topics and by settings that keep less,
/// and log directories that take no more help to get by without.
const fn reserve_of(command: &Command) -> Reserve {
    match command {
        Command::DeleteTopics(_)
        | Command::CordonDirectories { .. }
        | Command::FailDirectory { .. } => Reserve::KeepForStart,
        Command::AlterConfigs(_) => Reserve::KeepForDeletions,
        _ => Reserve::Keep,
    }
}

/// Opens the journal, or creates it where a first start got no further than the vote. `unread`: why there may be a snapshot
/// that reaches further.
fn open_journal(
    disk: &Disk,
    dir: &Path,
    vote: Option<&Vote>,
    snapshot: Option<&Snapshot>,
    unread: Option<StorageError>,
) -> Result<(Journal, Vec<Entry>), StorageError> {
    let path = Journal::path(dir);
    let durable_index = vote.map_or(0, |vote| vote.durable_index);
    if disk.exists(&path)? {
        if vote.is_none() {
            let missing = Vote::path(dir);
            return Err(StorageError::damaged(
                &missing,
                0,
                "the vote beside the journal",
                "no file",
            ));
        }
        let (journal, entries) = Journal::open(disk, dir, durable_index)?;
        let reached = snapshot.map_or(LogPosition::default(), |snapshot| snapshot.position);
        let purged = journal.purged().position;
        if purged.index > reached.index {
            if let Some(unread) = unread {
                return Err(unread);
            }
            let expected = format!("a whole snapshot of entry {} or later", purged.index);
            let newest = snapshot::path_of(dir, purged);
            return Err(StorageError::damaged(
                &newest,
                0,
                expected,
                reached.to_string(),
            ));
        }
        if journal.last().index < reached.index {
            let (expected, found) = (reached.to_string(), journal.last().to_string());
            return Err(StorageError::damaged(
                &path,
                journal.length_bytes(),
                expected,
                found,
            ));
        }
        return Ok((journal, entries));
    }
    if durable_index > 0 || snapshot.is_some() {
        let expected = format!("a journal up to entry {durable_index}");
        return Err(StorageError::damaged(&path, 0, expected, "no file"));
    }
    // The vote comes first: a journal without one is then a lost vote and never a first start.
    if vote.is_none() {
        Vote {
            term: 0,
            candidate: BrokerId::NONE,
            durable_index: 0,
        }
        .save(disk, dir)?;
    }
    Ok((Journal::create(disk, dir, Purged::NOTHING)?, Vec::new()))
}

/// The image after the snapshot and the entries behind it, in a journal whose next record gets `next_offset`.
pub(super) fn replay(
    dir: &Path,
    snapshot: Option<Snapshot>,
    entries: &[Entry],
    next_offset: i64,
) -> Result<MetadataImage, OpenError> {
    let reached = snapshot
        .as_ref()
        .map_or(0, |snapshot| snapshot.position.index);
    let mut image = snapshot.map_or_else(MetadataImage::empty, |snapshot| snapshot.image);
    for entry in entries
        .iter()
        .filter(|entry| entry.position.index > reached)
    {
        let (path, position) = (Journal::path(dir), entry.position);
        let due = image.version().saturating_add(1);
        if entry.base_offset != due {
            let (expected, found) = (
                format!("offset {due}"),
                format!("offset {}", entry.base_offset),
            );
            return Err(StorageError::damaged(&path, 0, expected, found).into());
        }
        image = image
            .advance(&entry.records)
            .map_err(|error| OpenError::Replay {
                path,
                position,
                error,
            })?;
    }
    // Without an entry behind the snapshot nothing above held the two against each other.
    let due = image.version().saturating_add(1);
    if due != next_offset {
        let expected = format!("an end at offset {due}, as in the snapshot");
        let found = format!("offset {next_offset}");
        return Err(StorageError::damaged(&Journal::path(dir), 0, expected, found).into());
    }
    Ok(image)
}

/// The term that a start begins: behind all that were seen.
///
/// # Errors
/// One of them is beyond any that can be.
pub(super) fn next_term(
    dir: &Path,
    vote: Option<Vote>,
    last: LogPosition,
    image: &MetadataImage,
) -> Result<u64, StorageError> {
    let voted = vote.map_or(0, |vote| vote.term);
    let newest = voted.max(last.term).max(image.term());
    if newest < TERM_MAX {
        return Ok(newest + 1);
    }
    let expected = format!("a term below {TERM_MAX}");
    Err(StorageError::damaged(
        &Journal::path(dir),
        0,
        expected,
        newest.to_string(),
    ))
}

/// Whether this broker may go on with the metadata. `cluster_id`: of which cluster it must be, if it is of one.
pub(super) fn check_origin(
    dir: &Path,
    image: &MetadataImage,
    cluster_id: Option<&str>,
) -> Result<(), OpenError> {
    if let Some(cluster_id) = cluster_id
        && !image.cluster_id().is_empty()
        && image.cluster_id() != cluster_id
    {
        return Err(OpenError::ForeignCluster {
            dir: dir.to_path_buf(),
            found: image.cluster_id().to_owned(),
            expected: cluster_id.to_owned(),
        });
    }
    match image.feature_level(FEATURE) {
        Some(found) if found > FEATURE_LEVEL => Err(OpenError::NewerFeatureLevel {
            dir: dir.to_path_buf(),
            found,
        }),
        _ => Ok(()),
    }
}
