//! Reading a file from the device although the page cache has it, and making the cache agree.
//!
//! After a failed fdatasync Linux takes the pages it could not write for written: reads show bytes that the device does
//! not have, and the next fdatasync succeeds without them. Blocking; for recovery.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;

use super::error::IoError;
use super::file::File;

/// How a file was read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// From the device, around the cache; the cache now has the same bytes.
    FromDevice,
    /// The kernel was told to forget the cached pages; whether it did cannot be told, for this file system knows no
    /// reads around the cache.
    CacheDropped,
}

impl File {
    /// Makes what reads show from `from` to `to` what the device holds. The bytes read from it count as written anew:
    /// they are durable, and the cache and the device agree for good, after the next [`File::sync_data`].
    ///
    /// # Errors
    /// The device fails still; the cache may then show anything.
    pub fn reread(&self, from: u64, to: u64) -> Result<Reread, IoError> {
        // What was written since the failure is brought to the device: it is as good as anything else there.
        self.sync_data()?;
        let Some(descriptor) = self.descriptor() else {
            self.reread_simulated(from, to)?;
            return Ok(Reread::FromDevice);
        };
        posix_fadvise(descriptor, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(|errno| IoError::new("fadvise", self.path(), errno))?;
        let around = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(self.path());
        let around = match around {
            Ok(file) => file,
            Err(error) if is_unsupported(&error) => return Ok(Reread::CacheDropped),
            Err(error) => return Err(IoError::new("open", self.path(), error)),
        };
        match self.copy_from(&around, from, to) {
            Err(error) if is_unsupported(&error.source) => Ok(Reread::CacheDropped),
            copied => copied.map(|()| Reread::FromDevice),
        }
    }

    fn copy_from(&self, around: &fs::File, from: u64, to: u64) -> Result<(), IoError> {
        let mut memory = vec![0; CHUNK_BYTES + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let Some(chunk) = memory.get_mut(start..start.saturating_add(CHUNK_BYTES)) else {
            return Err(self.error_of("read", io::ErrorKind::OutOfMemory));
        };
        let mut at = from - from % ALIGNMENT as u64;
        while at < to {
            let found = match around.read_at(chunk, at) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.error_of("read", error)),
            };
            let end = at.saturating_add(found as u64);
            // Only the end of a file may come in part; what lies behind a shorter read is read aligned again.
            let next = if end >= to {
                to
            } else {
                end - end % ALIGNMENT as u64
            };
            if next <= at {
                return Err(self.error_of("read", io::ErrorKind::UnexpectedEof));
            }
            let skipped = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX);
            let kept = usize::try_from(next - at).unwrap_or(usize::MAX);
            if let Some(bytes) = chunk.get(skipped..kept) {
                self.write_all_at(at.saturating_add(skipped as u64), bytes)?;
            }
            at = next;
        }
        Ok(())
    }

    fn error_of(&self, operation: &'static str, source: impl Into<io::Error>) -> IoError {
        IoError::new(operation, self.path(), source)
    }
}

/// What file systems answer that know no reads around the cache, at the opening or at the first read.
fn is_unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EINVAL | Errno::EOPNOTSUPP))
}

/// Enough for the logical blocks of every device, and a page.
const ALIGNMENT: usize = 4_096;
/// Bytes read at a time; a multiple of [`ALIGNMENT`].
const CHUNK_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::{Disk, Sim, SimOperation};

    #[test]
    fn rereading_a_sound_file_changes_nothing_wherever_it_begins_and_ends() {
        let directory = tempfile::tempdir().unwrap();
        let file = Disk::real()
            .create_new(&directory.path().join("f"))
            .unwrap();
        let bytes: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
        file.write_all_at(0, &bytes).unwrap();
        let length = bytes.len() as u64;
        for (from, to) in [
            (0, length),
            (1, 4_097),
            (1_048_577, length),
            (length, length),
        ] {
            file.reread(from, to).unwrap();
            let mut found = vec![0; bytes.len()];
            file.read_exact_at(0, &mut found).unwrap();
            assert!(found == bytes, "{from}..{to}");
            assert_eq!(file.length().unwrap(), length);
        }
    }

    #[test]
    fn what_a_failed_sync_lost_is_seen_and_what_is_seen_is_durable_after_the_next_sync() {
        let path = Path::new("/f");
        let mut lost = 0;
        for seed in 0..40 {
            let sim = Sim::new(seed);
            let disk = sim.disk();
            let file = disk.create_new(path).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            file.write_all_at(0, &[1; 2_000]).unwrap();
            sim.fail_next(SimOperation::Sync, "f", 5);
            assert!(file.sync_data().is_err());
            let read = |file: &File| {
                let mut bytes = vec![9; 2_000];
                let count = file.read_full_at(0, &mut bytes).unwrap();
                bytes.truncate(count);
                bytes
            };
            assert_eq!(read(&file), [1; 2_000], "the cache shows all of it");
            file.reread(0, 2_000).unwrap();
            let seen = read(&file);
            lost += usize::from(seen != [1; 2_000]);
            file.sync_data().unwrap();
            sim.crash();
            assert_eq!(read(&disk.open(path).unwrap()), seen, "seed {seed}");
        }
        assert!(lost > 10, "{lost}");
    }
}
