//! What is on stable storage: plans for group commits, flushes that move the recovery point, the clean close.
//!
//! A sync counts for what was written before it was planned, never for what came meanwhile.

use std::path::PathBuf;
use std::sync::Arc;

use super::Log;
use super::leader_epochs::LeaderEpochs;
use super::producer_state::ProducerStates;
use super::roll::{write_epochs, write_snapshot};
use super::segment::{IndexState, SegmentIndex};
use crate::io::{Disk, File, IoError};
use crate::types::Offset;

/// Files to fdatasync; then hand the plan to [`Log::synced`].
#[derive(Clone, Debug)]
#[must_use = "a sync counts only when it is handed to `synced`"]
pub struct SyncPlan {
    /// All of them: usually just the active segment's.
    pub files: Vec<File>,
    /// The durable end offset afterwards.
    pub end_offset: Offset,
}

/// Blocking work: writes the small files that recovery starts from, so that it may start at what is durable.
///
/// It leaves syncing the record files to the group commits: of two syncs of one file at a time only one hears of a
/// failure, and the other would answer for bytes that are lost.
#[derive(Debug)]
pub struct FlushJob {
    directory: PathBuf,
    /// To be synced first: none while group commits may run.
    files: Vec<File>,
    base_offset: Offset,
    end_offset: Offset,
    index: Option<Arc<SegmentIndex>>,
    epochs: LeaderEpochs,
    epochs_version: u64,
}

/// A flush that is done.
#[derive(Clone, Copy, Debug)]
pub struct Flushed {
    end_offset: Offset,
    epochs_version: u64,
}

/// Blocking work: writes the leader epochs where recovery and followers find them.
#[derive(Debug)]
pub struct EpochsJob {
    directory: PathBuf,
    epochs: LeaderEpochs,
    version: u64,
}

/// Epochs that are on stable storage.
#[derive(Clone, Copy, Debug)]
pub struct EpochsWritten {
    version: u64,
}

impl EpochsJob {
    /// Replaces the checkpoint.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses; the old one is still there.
    pub fn run(&self, disk: &Disk) -> Result<EpochsWritten, IoError> {
        write_epochs(disk, &self.directory, &self.epochs)?;
        Ok(EpochsWritten {
            version: self.version,
        })
    }
}

impl FlushJob {
    /// Syncs the files, then writes epochs and the active segment's index.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses: after a failed sync the partition must go offline.
    pub fn run(&self, disk: &Disk) -> Result<Flushed, IoError> {
        for file in &self.files {
            file.sync_data()?;
        }
        write_epochs(disk, &self.directory, &self.epochs)?;
        if let Some(index) = &self.index {
            index.write(disk, &self.directory, self.base_offset)?;
        }
        Ok(Flushed {
            end_offset: self.end_offset,
            epochs_version: self.epochs_version,
        })
    }
}

/// Blocking work: leaves the log as the next start likes to find it.
#[derive(Debug)]
pub struct CloseJob {
    flush: FlushJob,
    active: File,
    active_length: u64,
    producers: ProducerStates,
    damaged: bool,
    closed: Closed,
}

/// A log that was closed cleanly: what the checkpoints of its directory have to say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// All below is on stable storage: for the recovery-point checkpoint.
    pub recovery_point: Offset,
    /// For the log-start checkpoint.
    pub log_start_offset: Offset,
    /// Where the log ends.
    pub log_end_offset: Offset,
}

impl CloseJob {
    /// Trims the active segment, syncs, writes indexes, epochs and the snapshot. A damaged log is left as it is.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses: the stop is then not a clean one.
    pub fn run(&self, disk: &Disk) -> Result<Closed, IoError> {
        if !self.damaged {
            self.active.truncate(self.active_length)?;
            self.flush.run(disk)?;
            let (directory, end) = (&self.flush.directory, self.flush.end_offset);
            write_snapshot(disk, directory, end, &self.producers)?;
            disk.sync_dir(directory)?;
        }
        Ok(self.closed)
    }
}

impl Log {
    /// What to sync so that everything written now is durable; `None` when it is.
    pub fn plan_sync(&self) -> Option<SyncPlan> {
        if self.durable_end_offset >= self.log_end_offset {
            return None;
        }
        Some(SyncPlan {
            files: self.unsynced_files(),
            end_offset: self.log_end_offset,
        })
    }

    fn unsynced_files(&self) -> Vec<File> {
        // Segments that end at or below the durable end need no other sync; they are the older ones.
        self.segments
            .iter()
            .rev()
            .take_while(|segment| {
                let end = self.segments.end_of(segment.base_offset);
                end.is_none_or(|end| end > self.durable_end_offset)
            })
            .filter(|segment| !segment.synced && segment.length > 0)
            .map(|segment| segment.file.clone())
            .collect()
    }

    /// All files of the plan are on stable storage.
    pub fn synced(&mut self, plan: &SyncPlan) {
        self.settle(plan.end_offset);
    }

    fn settle(&mut self, end_offset: Offset) {
        assert!(
            end_offset <= self.log_end_offset,
            "INV-LOG-5: durable up to {end_offset}, written up to {}",
            self.log_end_offset
        );
        let before = self.durable_end_offset;
        self.durable_end_offset = before.max(end_offset);
        // A segment closed after the plan was made may have grown meanwhile: its end decides.
        let mut end = self.segments.active().base_offset;
        for segment in self.segments.closed_mut().iter_mut().rev() {
            if end <= before {
                break;
            }
            segment.synced |= end <= end_offset;
            end = segment.base_offset;
        }
    }

    /// The regular move of the recovery point, up to what is durable.
    #[must_use]
    pub fn flush_job(&self) -> FlushJob {
        self.flush_to(self.durable_end_offset, Vec::new())
    }

    fn flush_to(&self, end_offset: Offset, files: Vec<File>) -> FlushJob {
        let active = self.segments.active();
        let index = match &active.index {
            IndexState::Loaded(index) if active.length > 0 => {
                let mut index = SegmentIndex::clone(index);
                if end_offset < self.log_end_offset {
                    // A power cut may take the batches that the last entries are about.
                    index.resume_below(end_offset);
                } else {
                    index.complete();
                }
                Some(Arc::new(index))
            }
            _ => None,
        };
        FlushJob {
            directory: self.directory.clone(),
            files,
            base_offset: active.base_offset,
            end_offset,
            index,
            epochs: self.epochs.clone(),
            epochs_version: self.epochs_version,
        }
    }

    /// The flush is done: durable end and recovery point move. Write the latter to the checkpoint of the directory.
    pub fn flushed(&mut self, flushed: Flushed) {
        self.settle(flushed.end_offset);
        self.recovery_point = self.recovery_point.max(flushed.end_offset);
        self.epochs_written = self.epochs_written.max(flushed.epochs_version);
    }

    /// Writes the leader epochs; `None` when the file already says what we know, and for a damaged log, where it knows of
    /// more: the epochs behind the damage.
    #[must_use]
    pub fn epochs_job(&self) -> Option<EpochsJob> {
        let news = self.epochs_written < self.epochs_version && self.damage.is_none();
        news.then(|| EpochsJob {
            directory: self.directory.clone(),
            epochs: self.epochs.clone(),
            version: self.epochs_version,
        })
    }

    /// The epochs are written.
    pub fn epochs_written(&mut self, written: EpochsWritten) {
        self.epochs_written = self.epochs_written.max(written.version);
    }

    /// Ends the work on this log. Nothing may be in flight, no roll under way.
    ///
    /// # Panics
    /// When something is.
    #[must_use = "the log is closed when the job has run"]
    pub fn close(self) -> CloseJob {
        assert!(
            self.unwritten.is_empty() && !self.rolling,
            "INV-LOG-6: a log is closed at {} with work under way",
            self.log_end_offset
        );
        let active = self.segments.active();
        let damaged = self.damage.is_some();
        CloseJob {
            active: active.file.clone(),
            active_length: active.length,
            damaged,
            closed: Closed {
                recovery_point: if damaged {
                    self.recovery_point
                } else {
                    self.log_end_offset
                },
                log_start_offset: self.log_start_offset,
                log_end_offset: self.log_end_offset,
            },
            flush: self.flush_to(self.log_end_offset, self.unsynced_files()),
            producers: self.producers,
        }
    }
}
