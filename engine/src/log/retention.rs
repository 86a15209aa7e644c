//! Retention: which segments are past their time, their share of space or the log's start, and how they go.
//!
//! Deciding is pure. Files are first renamed, so that a crash never leaves half a segment behind, and unlinked later.

use std::path::{Path, PathBuf};

use super::Log;
use super::names;
use crate::io::{Disk, IoError};
use crate::types::{Offset, Timestamp};

/// What retention asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// So many segments, the oldest, may go now: [`Log::delete_segments`].
    pub delete: usize,
    /// The active segment is past retention too: roll it, then ask again.
    pub roll_first: bool,
}

/// Blocking work: takes the files of deleted segments out of the log's sight.
#[derive(Debug)]
pub struct DeleteJob {
    directory: PathBuf,
    base_offsets: Vec<Offset>,
    /// Files renamed so far.
    doomed: Vec<PathBuf>,
}

/// Renamed files, to be unlinked after `file.delete.delay.ms`.
#[derive(Debug)]
#[must_use = "the files stay until they are unlinked, or until the next start"]
pub struct Doomed {
    paths: Vec<PathBuf>,
}

impl DeleteJob {
    /// Renames every file of the segments, oldest first. That a record file is gone is durable before the next one goes:
    /// were a later one lost and an earlier one back after a power cut, the log would end, or have a gap, between them.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses: another run goes on where this one was. Without one the log goes on without the
    /// segments, and the files come back with the next start.
    pub fn run(&mut self, disk: &Disk) -> Result<Doomed, IoError> {
        for (place, &base_offset) in self.base_offsets.iter().enumerate() {
            if place > 0 {
                disk.sync_dir(&self.directory)?;
            }
            for ending in names::SEGMENT_ENDINGS {
                let path = names::segment_file(&self.directory, base_offset, ending);
                self.doomed.extend(doom(disk, &path)?);
            }
        }
        disk.sync_dir(&self.directory)?;
        Ok(Doomed::new(std::mem::take(&mut self.doomed)))
    }
}

impl Doomed {
    pub(super) const fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// Unlinks the files; readers that still hold them are not disturbed.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses; the next start tries again.
    pub fn run(&self, disk: &Disk) -> Result<(), IoError> {
        for path in &self.paths {
            remove_if_there(disk, path)?;
        }
        Ok(())
    }
}

/// Renames a file that is to be unlinked later, if it is there; says its new name. Where the longer name finds no room in the
/// directory, the file goes at once: whoever reads it holds it open.
pub(super) fn doom(disk: &Disk, path: &Path) -> Result<Option<PathBuf>, IoError> {
    let doomed = names::with_ending(path, names::DELETED);
    match disk.rename(path, &doomed) {
        Ok(()) => Ok(Some(doomed)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) if error.is_out_of_space() => remove_if_there(disk, path).map(|()| None),
        Err(error) => Err(error),
    }
}

pub(super) fn remove_if_there(disk: &Disk, path: &Path) -> Result<(), IoError> {
    match disk.remove_file(path) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

impl Log {
    /// Which segments may go: all of them lie below `high_watermark`, and are past `retention.ms` by their greatest
    /// timestamp, past `retention.bytes`, or below the log's start. The first that may stay ends the list; but one that has no records
    /// left goes as soon as the next may.
    #[must_use]
    pub fn retention(&self, now: Timestamp, high_watermark: Offset) -> RetentionPlan {
        let mut plan = RetentionPlan::default();
        if self.damage.is_some() || self.clean.swapping {
            return plan;
        }
        let deletes = self.config.cleanup_policy.delete;
        let retention_ms = self.config.retention_ms.filter(|_| deletes);
        let retention_bytes = self.config.retention_bytes.filter(|_| deletes);
        let mut excess = retention_bytes.and_then(|bytes| self.size_bytes().checked_sub(bytes));
        let mut hollow = 0;
        for segment in self.segments.iter() {
            let next = self.segments.end_of(segment.base_offset);
            if next.unwrap_or(self.log_end_offset) > high_watermark {
                break;
            }
            let past_time =
                retention_ms.is_some_and(|limit| now.0.saturating_sub(segment.newest().0) > limit);
            // Whatever it goes for, the log is by so much smaller then.
            excess = excess.and_then(|excess| excess.checked_sub(segment.length));
            let past_size = excess.is_some();
            let past_start = next.is_some_and(|next| next <= self.log_start_offset);
            if !(past_time || past_size || past_start) {
                if next.is_none() || !segment.is_hollow() {
                    break;
                }
                hollow += 1;
                continue;
            }
            if next.is_some() {
                plan.delete += 1 + std::mem::take(&mut hollow);
            } else {
                plan.roll_first = segment.length > 0;
            }
        }
        plan
    }

    /// Forgets the `count` oldest segments; the log starts behind them at once. The active one stays in any case.
    #[must_use = "the files go when the job is run"]
    pub fn delete_segments(&mut self, count: usize) -> DeleteJob {
        let closed = self.segments.closed_mut();
        let count = count.min(closed.len());
        let base_offsets = closed.drain(..count).map(|gone| gone.base_offset).collect();
        let first = self.segments.iter().next().map(|first| first.base_offset);
        let first = first.unwrap_or(self.log_start_offset);
        self.move_log_start(first);
        // What is gone needs no sync any more.
        self.durable_end_offset = self.durable_end_offset.max(first);
        DeleteJob {
            directory: self.directory.clone(),
            base_offsets,
            doomed: Vec::new(),
        }
    }

    /// Moves the log's start up to `offset`, at most to its end (the caller bounds by the high watermark): records
    /// below are gone for readers. `false` when it is there already. The new start is durable once it stands in the
    /// log-start checkpoint of the directory.
    pub fn move_log_start(&mut self, offset: Offset) -> bool {
        let offset = offset.min(self.log_end_offset);
        if offset <= self.log_start_offset {
            return false;
        }
        self.log_start_offset = offset;
        if self.epochs.truncate_from_start(offset) {
            self.epochs_version += 1;
        }
        true
    }
}
