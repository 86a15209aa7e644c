//! What is wrong with a file, in a form that every kind of file fits into.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::io::IoError;
use crate::log::checkpoint::CheckpointError;
use crate::log::names;
use crate::log::walk::Fault;

/// One thing that is wrong with a data directory, or worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file or directory.
    pub path: PathBuf,
    /// What it is.
    pub sort: Sort,
    /// Where in it.
    pub place: Place,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What becomes of it.
    pub cure: Cure,
}

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// So many bytes from its start.
    Byte(u64),
    /// A line of text, from 1.
    Line(usize),
}

/// What a file or directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// A segment's record file.
    Records,
    /// A segment's offset index.
    OffsetIndex,
    /// A segment's time index.
    TimeIndex,
    /// A segment's index of aborted transactions.
    TransactionIndex,
    /// A producer snapshot.
    Snapshot,
    /// The companion of a producer snapshot.
    Windows,
    /// `leader-epoch-checkpoint`.
    LeaderEpochs,
    /// `partition.metadata`.
    PartitionMetadata,
    /// A partition's directory.
    PartitionDirectory,
    /// One of the offset checkpoints at the top of a log directory.
    Checkpoint,
    /// `meta.properties`.
    MetaProperties,
    /// The mark of a clean stop.
    CleanShutdown,
    /// The journal of the cluster metadata.
    Journal,
    /// The vote beside it.
    Vote,
    /// A snapshot of the cluster metadata.
    MetadataSnapshot,
    /// What interrupted work left behind.
    Leftover,
    /// A file that is not ours.
    Foreign,
}

impl Sort {
    /// Of a file named as segment files are.
    pub(super) fn of_segment_file(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ends = |ending: &str| name.ends_with(ending);
        match () {
            () if ends(names::TIME_INDEX) => Self::TimeIndex,
            () if ends(names::TRANSACTION_INDEX) => Self::TransactionIndex,
            () if ends(names::OFFSET_INDEX) => Self::OffsetIndex,
            () if ends(names::SNAPSHOT) => Self::Snapshot,
            () if ends(names::WINDOWS) => Self::Windows,
            () => Self::Records,
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Records => "records",
            Self::OffsetIndex => "offset index",
            Self::TimeIndex => "time index",
            Self::TransactionIndex => "transaction index",
            Self::Snapshot => "producer snapshot",
            Self::Windows => "producer windows",
            Self::LeaderEpochs => "leader epochs",
            Self::PartitionMetadata => "partition metadata",
            Self::PartitionDirectory => "partition directory",
            Self::Checkpoint => "checkpoint",
            Self::MetaProperties => "meta.properties",
            Self::CleanShutdown => "mark of a clean stop",
            Self::Journal => "metadata journal",
            Self::Vote => "metadata vote",
            Self::MetadataSnapshot => "metadata snapshot",
            Self::Leftover => "leftover",
            Self::Foreign => "foreign file",
        })
    }
}

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    /// Nothing here can bring back what was lost: a copy has to.
    Restore,
    /// A repair makes it anew.
    Rebuild,
    /// Of no use to anybody: a repair, or the next start, removes it.
    Remove,
    /// What an unclean stop, or a full disk, leaves, or what a start does without; the next deals with it, and nothing promised is lost.
    AtStart,
    /// Not ours, or as its producer sent it: nobody touches it.
    LeaveAlone,
}

impl Finding {
    /// Whether something is broken. What interrupted work left, and what is not ours, is only worth a line.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(self.cure, Cure::Restore | Cure::Rebuild)
    }

    /// What interrupted work left behind.
    #[must_use]
    pub fn leftover(path: PathBuf) -> Self {
        Self {
            path,
            sort: Sort::Leftover,
            place: Place::File,
            expected: "nothing".to_owned(),
            found: "what interrupted work left".to_owned(),
            cure: Cure::Remove,
        }
    }

    /// A file or directory that is not ours.
    #[must_use]
    pub fn foreign(path: PathBuf) -> Self {
        Self {
            path,
            sort: Sort::Foreign,
            place: Place::File,
            expected: "nothing".to_owned(),
            found: "a file of somebody else".to_owned(),
            cure: Cure::LeaveAlone,
        }
    }

    /// A file that the disk does not give.
    #[must_use]
    pub fn unreadable(sort: Sort, error: &IoError, cure: Cure) -> Self {
        Self {
            path: error.path.clone(),
            sort,
            place: Place::File,
            expected: "a file that can be read".to_owned(),
            found: error.source.to_string(),
            cure,
        }
    }

    /// A small text file that is not one.
    #[must_use]
    pub fn of_checkpoint(sort: Sort, path: PathBuf, error: &CheckpointError, cure: Cure) -> Self {
        let (place, expected, found, cure) = match error {
            CheckpointError::UnsupportedVersion {
                found, supported, ..
            } => (
                Place::Line(1),
                format!("version {supported} or older"),
                format!("version {found}"),
                Cure::Restore,
            ),
            CheckpointError::Malformed { line, expected, .. } => (
                Place::Line(*line),
                (*expected).to_owned(),
                "something else".to_owned(),
                cure,
            ),
            CheckpointError::Io(error) => {
                return Self {
                    path,
                    ..Self::unreadable(sort, error, cure)
                };
            }
        };
        Self {
            path,
            sort,
            place,
            expected,
            found,
            cure,
        }
    }

    pub(super) fn of_walk(fault: &Fault, cure: Cure) -> Self {
        Self {
            path: fault.path.clone(),
            sort: Sort::Records,
            place: Place::Byte(fault.position),
            expected: "the next record batch".to_owned(),
            found: fault.reason.to_string(),
            cure,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.place {
            Place::File => {}
            Place::Byte(position) => write!(f, " at byte {position}")?,
            Place::Line(line) => write!(f, " line {line}")?,
        }
        let Self {
            sort,
            expected,
            found,
            ..
        } = self;
        match sort {
            Sort::Leftover | Sort::Foreign => write!(f, ": {found}"),
            _ => write!(f, ": {sort}: expected {expected}, found {found}"),
        }
    }
}
