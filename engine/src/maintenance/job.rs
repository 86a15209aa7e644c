//! The jobs themselves. Each owns all it needs; what it learns goes back to the shard that sent it.

use std::path::{Path, PathBuf};

use super::checkpoints::{CheckpointLine, Checkpoints, OwnedLine};
use super::directory::{self, DoomedDirectory, OpenPartition, Removal};
use super::replay::{Replay, ReplayError, Replayed};
use crate::group::GroupRuntime;
use crate::io::{Disk, IoError, Space};
use crate::log::clean::{CleanError, Failed};
use crate::log::{
    Cleaning, CloseJob, Closed, CutBack, DeleteJob, Doomed, EpochsJob, EpochsWritten, FlushJob,
    Flushed, IndexJob, LoadedIndex, Log, MarkJob, OpenError, Preallocation, RecoveryReport,
    RollJob, RolledSegment, Searched, TimeLookup, WalkError, names,
};
use crate::record::{PackedBatch, PreparedBatch, RecordError};
use crate::types::{Offset, TopicId, TopicPartition};

/// Names a job of one shard, so that its result finds what waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One piece of slow work.
#[derive(Debug)]
pub enum Job {
    /// Open or make a partition's directory.
    Open(Box<OpenPartition>),
    /// Take a partition's directory out of the way, for good.
    Remove(Removal),
    /// The same for several that were ordered one by one.
    RemoveAll(Vec<(JobId, Removal)>),
    /// Unlink the next few files of a removed directory.
    UnlinkDirectory(DoomedDirectory),
    /// Roll the active segment.
    Roll(RollJob),
    /// Cut a failed write off.
    CutBack(CutBack),
    /// Reserve space.
    Preallocate(Preallocation),
    /// Write the leader epochs down.
    Epochs(EpochsJob),
    /// Bring the recovery point up.
    Flush(FlushJob),
    /// Mark a partition that a fault took offline.
    Mark(MarkJob),
    /// Rename segments that are let go.
    Delete(DeleteJob),
    /// Unlink renamed segments.
    Unlink(Doomed),
    /// Load a closed segment's index.
    LoadIndex(IndexJob),
    /// Look an offset up by time, in a few segments.
    Lookup(TimeLookup),
    /// Open a client's batch.
    Unpack(Box<PackedBatch>),
    /// Read the next slice of a coordinator's partition.
    Replay(Box<Replay>),
    /// Write the checkpoints of a log directory.
    Checkpoint {
        /// The log directory.
        log_directory: PathBuf,
        /// The lines that changed.
        lines: Vec<OwnedLine>,
    },
    /// Do the next piece of a compaction.
    Clean {
        /// The compaction.
        cleaning: Box<Cleaning>,
        /// To be on stable storage before it, with a line of the cleaner: a recovery must not begin below what was
        /// compacted, and the gaps there must not pass for losses, whether it comes to its end or not.
        line: Option<(PathBuf, OwnedLine)>,
    },
    /// Let go of a compaction whose log is gone: of its memory, and of files that may be unlinked by now. It removes
    /// nothing by name: what its directory was called may be another topic's.
    LetGo(Box<Cleaning>),
    /// Note up to where a log is clean.
    NoteCleaned {
        /// The log directory.
        log_directory: PathBuf,
        /// The partition by name.
        name: TopicPartition,
        /// The topic's id.
        topic_id: TopicId,
        /// It is clean up to here.
        offset: Offset,
    },
    /// Find out whether a log directory takes anything at all.
    Probe {
        /// The log directory.
        log_directory: PathBuf,
        /// Who asks: two of a name would meet in one file.
        shard: usize,
    },
    /// Ask how much room there is in these directories.
    Measure(Vec<PathBuf>),
    /// Close a log in order, and note its checkpoint lines.
    Close {
        /// The log directory.
        log_directory: PathBuf,
        /// The partition by name.
        name: TopicPartition,
        /// The topic's id.
        topic_id: TopicId,
        /// Exclusive bound of what readers saw.
        high_watermark: Offset,
        /// The close itself.
        job: Box<CloseJob>,
    },
}

/// What a job came to.
#[derive(Debug)]
pub enum Done {
    /// Of [`Job::Open`].
    Opened(Result<(Box<Log>, RecoveryReport), OpenError>),
    /// Of [`Job::Open`]: to be ordered again.
    NotYetOpened(Box<OpenPartition>, NotYet),
    /// Of [`Job::Remove`]: what is to be unlinked.
    Removed(Result<Option<DoomedDirectory>, IoError>),
    /// Of [`Job::RemoveAll`]: what each by itself would have come to.
    RemovedAll(Vec<(JobId, Done)>),
    /// Of [`Job::Roll`].
    Rolled(Result<Box<RolledSegment>, IoError>),
    /// Of [`Job::CutBack`].
    CutBack(Result<(), IoError>),
    /// Of [`Job::Preallocate`], done or not: it only saves time later.
    Preallocated,
    /// Of [`Job::Epochs`].
    EpochsWritten(Result<EpochsWritten, IoError>),
    /// Of [`Job::Flush`].
    Flushed(Result<Flushed, IoError>),
    /// Of [`Job::Mark`].
    Marked(Result<(), IoError>),
    /// Of [`Job::Delete`].
    Deleted(Result<Doomed, IoError>),
    /// Of [`Job::Unlink`], and of [`Job::UnlinkDirectory`] when all is gone.
    Unlinked(Result<(), IoError>),
    /// Of [`Job::UnlinkDirectory`]: to be ordered again.
    PartUnlinked(DoomedDirectory),
    /// Of [`Job::LoadIndex`].
    IndexLoaded(Result<LoadedIndex, WalkError>),
    /// Of [`Job::Lookup`].
    LookedUp(Result<Searched, WalkError>),
    /// Of [`Job::Unpack`].
    Unpacked(Result<Box<PreparedBatch>, RecordError>),
    /// Of [`Job::Replay`]: to be ordered again.
    PartReplayed(Box<Replay>),
    /// Of [`Job::Replay`], when all is read.
    Replayed(Result<Box<GroupRuntime>, ReplayError>),
    /// Of [`Job::Clean`].
    Cleaned(Result<Box<Cleaning>, Box<Failed>>),
    /// Of [`Job::LetGo`].
    LetGo,
    /// Of [`Job::Checkpoint`] and [`Job::NoteCleaned`].
    Checkpointed(Result<(), IoError>),
    /// Of [`Job::Probe`].
    Probed(Result<(), IoError>),
    /// Of [`Job::Measure`]: those that could be asked.
    Measured(Vec<(PathBuf, Space)>),
    /// Of [`Job::Close`].
    Closed(Result<Closed, IoError>),
    /// Of a job that has begun to change files and found no room, or no file descriptor: it goes on where it was when it is
    /// ordered again, and until then no other job may name files of its partition.
    PutOff(Box<Job>, IoError),
}

/// Why a partition could not be opened and may be later.
#[derive(Debug)]
pub enum NotYet {
    /// An older topic of the same name still has jobs out for its directory.
    NameTaken,
    /// The disk is full.
    NoSpace(IoError),
}

impl Job {
    /// Does the work. Blocks.
    #[must_use]
    pub fn run(self, disk: &Disk, checkpoints: &Checkpoints) -> Done {
        match self {
            Self::Open(open) => {
                if !checkpoints.claim(&open.log_directory, &open.name, open.topic_id) {
                    return Done::NotYetOpened(open, NotYet::NameTaken);
                }
                let opened = open.run(disk, checkpoints);
                let opened = opened.map_err(OpenError::flattened);
                let marked = match &opened {
                    Err(OpenError::Io(error)) => {
                        mark_failed_sync(disk, &open.log_directory, &open.name, error)
                    }
                    _ => Ok(()),
                };
                match opened {
                    // Without its mark it is not tried again, which would trust the page cache: the shard orders the mark once more,
                    // and says what comes of it.
                    Err(OpenError::Io(error)) if error.is_out_of_space() && marked.is_ok() => {
                        Done::NotYetOpened(open, NotYet::NoSpace(error))
                    }
                    result => Done::Opened(result),
                }
            }
            Self::Remove(removal) => {
                let removed = directory::remove(disk, checkpoints, &[&removal]).pop();
                removed_or_put_off(removal, removed.unwrap_or(Ok(None)))
            }
            Self::RemoveAll(all) => {
                let removals: Vec<&Removal> = all.iter().map(|(_, removal)| removal).collect();
                let removed = directory::remove(disk, checkpoints, &removals);
                let each = all.into_iter().zip(removed);
                let done =
                    each.map(|((id, removal), removed)| (id, removed_or_put_off(removal, removed)));
                Done::RemovedAll(done.collect())
            }
            Self::UnlinkDirectory(mut directory) => match directory.unlink_some(disk) {
                Ok(true) => Done::Unlinked(Ok(())),
                Ok(false) => Done::PartUnlinked(directory),
                Err(error) if error.is_out_of_space() => {
                    Done::PutOff(Box::new(Self::UnlinkDirectory(directory)), error)
                }
                Err(error) => Done::Unlinked(Err(error)),
            },
            Self::Roll(job) => Done::Rolled(job.run(disk).map(Box::new)),
            Self::CutBack(job) => Done::CutBack(job.run(disk)),
            Self::Preallocate(job) => {
                if let Err(error) = job.run(disk) {
                    tracing::debug!(%error, "space could not be reserved ahead");
                }
                Done::Preallocated
            }
            Self::Epochs(job) => Done::EpochsWritten(job.run(disk)),
            Self::Flush(job) => Done::Flushed(job.run(disk)),
            Self::Mark(job) => match job.run(disk) {
                Err(error) if error.is_out_of_space() => {
                    Done::PutOff(Box::new(Self::Mark(job)), error)
                }
                result => Done::Marked(result),
            },
            Self::Delete(mut job) => match job.run(disk) {
                Err(error) if error.is_out_of_space() => {
                    Done::PutOff(Box::new(Self::Delete(job)), error)
                }
                result => Done::Deleted(result),
            },
            Self::Unlink(doomed) => Done::Unlinked(doomed.run(disk)),
            Self::LoadIndex(job) => Done::IndexLoaded(job.run(disk)),
            Self::Lookup(lookup) => Done::LookedUp(lookup.run(disk)),
            Self::Unpack(packed) => Done::Unpacked(packed.unpack().map(Box::new)),
            Self::Replay(replay) => match replay.run() {
                Ok(Replayed::Part(replay)) => Done::PartReplayed(replay),
                Ok(Replayed::Whole(runtime)) => Done::Replayed(Ok(runtime)),
                Err(error) => Done::Replayed(Err(error)),
            },
            Self::Checkpoint {
                log_directory,
                lines,
            } => Done::Checkpointed(checkpoints.write(disk, &log_directory, lines)),
            Self::Clean { cleaning, line } => {
                let noted = line.map_or(Ok(()), |(log_directory, line)| {
                    let (name, id, from) = (&line.name, line.topic_id, cleaning.first_dirty());
                    checkpoints.write_first_cleaned(disk, &log_directory, name, id, from)?;
                    checkpoints.write(disk, &log_directory, vec![line])
                });
                let cleaned = match noted {
                    Ok(()) => cleaning.run(disk),
                    Err(error) => Err(Failed {
                        error: CleanError::Io(error),
                        cleaning,
                    }),
                };
                match cleaned {
                    Err(Failed {
                        error: CleanError::HalfSwapped(error),
                        cleaning,
                    }) if error.is_out_of_space() => {
                        let line = None;
                        Done::PutOff(Box::new(Self::Clean { cleaning, line }), error)
                    }
                    cleaned => Done::Cleaned(cleaned.map_err(Box::new)),
                }
            }
            Self::LetGo(cleaning) => {
                drop(cleaning);
                Done::LetGo
            }
            Self::NoteCleaned {
                log_directory,
                name,
                topic_id,
                offset,
            } => Done::Checkpointed(checkpoints.write_cleaned(
                disk,
                &log_directory,
                name,
                topic_id,
                offset,
            )),
            Self::Probe {
                log_directory,
                shard,
            } => Done::Probed(probe(disk, &log_directory.join(names::probe(shard)))),
            Self::Measure(directories) => Done::Measured(
                directories
                    .into_iter()
                    .filter_map(|directory| {
                        disk.space(&directory).ok().map(|space| (directory, space))
                    })
                    .collect(),
            ),
            Self::Close {
                log_directory,
                name,
                topic_id,
                high_watermark,
                job,
            } => {
                let closed = job.run(disk);
                if let Err(error) = &closed
                    && let Err(error) = mark_failed_sync(disk, &log_directory, &name, error)
                {
                    tracing::error!(partition = %name, %error, "{UNMARKED}");
                }
                if let Ok(closed) = &closed {
                    let line = CheckpointLine {
                        recovery_point: closed.recovery_point,
                        log_start_offset: closed.log_start_offset,
                        high_watermark,
                    };
                    let owned = OwnedLine {
                        name,
                        topic_id,
                        line,
                    };
                    checkpoints.note(&log_directory, owned);
                }
                Done::Closed(closed)
            }
        }
    }
}

/// What a removal came to.
fn removed_or_put_off(removal: Removal, removed: Result<Option<DoomedDirectory>, IoError>) -> Done {
    match removed {
        Err(error) if error.is_out_of_space() => {
            Done::PutOff(Box::new(Job::Remove(removal)), error)
        }
        result => Done::Removed(result),
    }
}

/// Makes a file, syncs it and takes it away. A disk that is only full has not failed.
fn probe(disk: &Disk, path: &Path) -> Result<(), IoError> {
    let written = disk
        .write_atomic(path, b"Does this log directory take anything?\n")
        .and_then(|()| disk.remove_file(path));
    match written {
        Err(error) if !error.is_out_of_space() => Err(error),
        _ => Ok(()),
    }
}

/// Marks a partition when `error` says that its files could not be synced: the page cache is not to be believed then.
fn mark_failed_sync(
    disk: &Disk,
    log_directory: &Path,
    name: &TopicPartition,
    error: &IoError,
) -> Result<(), IoError> {
    if !error.is_failed_sync() {
        return Ok(());
    }
    let directory = log_directory.join(names::partition_directory(name));
    MarkJob::new(&directory, &error.to_string()).run(disk)
}

/// What to do about a partition whose fault could not be marked.
pub(crate) const UNMARKED: &str =
    "its fault cannot be marked: start the machine or mount anew before the broker's next start";
