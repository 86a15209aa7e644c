//! The mark of a partition that a fault took offline: the next opening must read its record files from the device, for
//! after a failed fdatasync the page cache shows bytes that the device does not have.
//!
//! That the file is there is what counts; its text says why, for people. A mark that a power cut takes is not missed: so
//! is the cache.

use std::path::{Path, PathBuf};

use super::names;
use crate::io::{Disk, IoError};

/// Blocking work: leaves the mark.
#[derive(Debug)]
pub struct MarkJob {
    path: PathBuf,
    reason: String,
}

impl MarkJob {
    /// The mark of the partition in `directory`, whose fault was `reason`.
    #[must_use]
    pub fn new(directory: &Path, reason: &str) -> Self {
        Self {
            path: path(directory),
            reason: reason.to_owned(),
        }
    }

    /// Leaves the mark.
    ///
    /// # Errors
    /// The name could not be made: until it is, an opening will believe the page cache.
    pub fn run(&self, disk: &Disk) -> Result<(), IoError> {
        let file = disk.open_or_create(&self.path)?;
        let text = format!("version: 0\nreason: {}\n", self.reason);
        // The device fails as it is: what matters, the name, stands in memory, where the deceptive pages are.
        let _ = file.write_all_at(0, text.as_bytes());
        let _ = file.sync_data();
        if let Some(directory) = self.path.parent() {
            let _ = disk.sync_dir(directory);
        }
        Ok(())
    }
}

/// Whether the partition is marked.
pub(super) fn stands(disk: &Disk, directory: &Path) -> Result<bool, IoError> {
    disk.exists(&path(directory))
}

/// Takes the mark away. What was read from the device is durable by now.
pub(super) fn take_away(disk: &Disk, directory: &Path) -> Result<(), IoError> {
    disk.remove_file(&path(directory))?;
    disk.sync_dir(directory)
}

fn path(directory: &Path) -> PathBuf {
    directory.join(names::FLUSH_FAILED)
}
