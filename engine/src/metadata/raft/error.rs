//! What can be wrong with the files of the metadata log, and with what they say.

use std::path::{Path, PathBuf};

use super::entry::LogPosition;
use crate::io::IoError;
use crate::metadata::apply::ApplyError;
use crate::metadata::controller::ControllerError;

/// Under this name the level of our record versions is finalised.
pub(super) const FEATURE: &str = "millrace.metadata";
/// The newest level that this code understands.
pub(super) const FEATURE_LEVEL: i16 = 1;

/// A file of the metadata log could not be read, written or believed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk said no. With [`StorageError::is_out_of_space`] nothing was changed and a later attempt may succeed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Bytes that were on stable storage are not what was written. Nothing is cut or repaired: a copy of the
    /// directory has to take its place.
    #[error("{} is damaged at byte {position}: expected {expected}, found {found}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from its start.
        position: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A newer Millrace wrote the file.
    #[error("{} was written by a newer version of Millrace: {found}, known here: {known}", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// What this code does not know.
        found: String,
        /// What it knows.
        known: String,
    },
    /// After a failed write that could not be undone, or a failed fdatasync, what the file holds is unknown until
    /// it is read again at the next start.
    #[error("{} takes no writes until a restart: an earlier write failed", path.display())]
    Offline {
        /// The file.
        path: PathBuf,
    },
    /// More bytes than an entry may have. Nothing was changed.
    #[error("a change of {length} bytes does not fit into one entry of {}; the most is {max}", path.display())]
    EntryTooLong {
        /// The file.
        path: PathBuf,
        /// What the entry needs, in bytes.
        length: usize,
        /// What it may need, in bytes.
        max: usize,
    },
}

impl StorageError {
    /// No room on the device; passes when space returns.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Io(error) if error.is_out_of_space())
    }

    pub(super) fn damaged(
        path: &Path,
        position: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            position,
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(super) fn newer(path: &Path, found: u16, known: u16) -> Self {
        Self::NewerVersion {
            path: path.to_path_buf(),
            found: format!("file version {found}"),
            known: format!("file version {known}"),
        }
    }
}

/// Why metadata could not be opened. The files say what they said: what an unfinished write had left may be gone by then,
/// a torn end be cut off, a term have begun.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A record that does not fit what came before.
    #[error("{} holds what cannot have happened: {position}: {error}", path.display())]
    Replay {
        /// The journal.
        path: PathBuf,
        /// The entry.
        position: LogPosition,
        /// Why it does not fit.
        error: ApplyError,
    },
    /// The directory belongs to another cluster.
    #[error("{} belongs to cluster {found}, not to {expected}", dir.display())]
    ForeignCluster {
        /// The directory.
        dir: PathBuf,
        /// The id it has.
        found: String,
        /// The id it should have.
        expected: String,
    },
    /// A newer version finalised a feature level that this one does not understand.
    #[error("{} needs {FEATURE} level {found}; this version of Millrace knows {FEATURE_LEVEL}", dir.display())]
    NewerFeatureLevel {
        /// The directory.
        dir: PathBuf,
        /// The level it has.
        found: i16,
    },
}

impl From<IoError> for OpenError {
    fn from(error: IoError) -> Self {
        Self::Storage(error.into())
    }
}

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The controller refused.
    #[error(transparent)]
    Refused(#[from] ControllerError),
    /// It could not be made durable; see [`StorageError`] for whether trying again can help.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The controller decided what cannot be: a bug of ours. Nothing was written.
    #[error("the controller decided what cannot be: {0}")]
    Inconsistent(#[from] ApplyError),
}

/// Why a change did not become true; its cause decides what the caller says.
pub(super) enum CommitError {
    Storage(StorageError),
    Inconsistent(ApplyError),
}

impl From<StorageError> for CommitError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<ApplyError> for CommitError {
    fn from(error: ApplyError) -> Self {
        Self::Inconsistent(error)
    }
}
