//! What went wrong between us and the kernel: the operation, the path and the errno.
//!
//! It sorts errors into those a caller treats differently (full, missing, broken device) and decides nothing.

use std::io;
use std::path::{Path, PathBuf};

use nix::libc;

/// A failed operation on a file or directory. `source` is the kernel's errno wherever the kernel spoke.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct IoError {
    /// What was asked for, as a verb: `write`, `open`, `fdatasync`.
    pub operation: &'static str,
    /// What it was asked of. A file keeps the path it was opened by, also after a rename.
    pub path: PathBuf,
    /// Why it was refused.
    pub source: io::Error,
}

impl IoError {
    /// An error of `operation` on `path`.
    pub fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self {
            operation,
            path: path.to_path_buf(),
            source: source.into(),
        }
    }

    /// The same once more, for another whom it concerns.
    #[must_use]
    pub(crate) fn duplicate(&self) -> Self {
        let source = match self.source.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => self.source.kind().into(),
        };
        Self::new(self.operation, &self.path, source)
    }

    /// No room: ENOSPC, or EDQUOT where a quota stands in for the device; or no file descriptor left. Passes when there
    /// is some again, and says nothing against the device.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENOSPC | libc::EDQUOT | libc::EMFILE | libc::ENFILE)
        )
    }

    /// The file or directory is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// The file or directory is there already.
    #[must_use]
    pub fn is_already_there(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    /// Not this process, or not this kind of file system.
    pub(super) fn is_refusal(&self) -> bool {
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        matches!(
            self.source.kind(),
            PermissionDenied | InvalidInput | Unsupported
        )
    }

    /// The device or its file system can no longer be trusted with this file: a failed transfer, a lost device, a
    /// corrupt or read-only file system.
    #[must_use]
    pub fn is_device_fault(&self) -> bool {
        matches!(self.errno(), Some(errno) if DEVICE_FAULTS.contains(&errno))
    }

    /// A file's bytes could not be made durable. The page cache may claim from then on what the device does not have,
    /// whatever the reason was.
    #[must_use]
    pub fn is_failed_sync(&self) -> bool {
        matches!(self.operation, "fdatasync" | "fsync")
    }

    fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// EUCLEAN and EBADMSG are what ext4 and XFS answer for metadata and checksums that do not fit; EROFS is what they
/// become after an error.
const DEVICE_FAULTS: [i32; 9] = [
    libc::EIO,
    libc::ENXIO,
    libc::ENODEV,
    libc::ENOMEDIUM,
    libc::EREMOTEIO,
    libc::EUCLEAN,
    libc::EBADMSG,
    libc::ESTALE,
    libc::EROFS,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: i32) -> IoError {
        IoError::new(
            "write",
            Path::new("/data/a.log"),
            io::Error::from_raw_os_error(errno),
        )
    }

    #[test]
    fn an_error_names_the_operation_and_the_path_and_the_cause() {
        let text = error(libc::ENOSPC).to_string();
        assert!(
            text.starts_with("write /data/a.log: No space left"),
            "{text}"
        );
    }

    #[test]
    fn a_full_disk_is_not_a_broken_one() {
        assert!(error(libc::ENOSPC).is_out_of_space() && !error(libc::ENOSPC).is_device_fault());
        assert!(error(libc::EDQUOT).is_out_of_space());
        assert!(error(libc::EMFILE).is_out_of_space() && error(libc::ENFILE).is_out_of_space());
        assert!(error(libc::EIO).is_device_fault() && !error(libc::EIO).is_out_of_space());
        assert!(error(libc::ENOENT).is_not_found());
    }
}
