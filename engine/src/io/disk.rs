//! Blocking file-system calls by path: open, list, rename, lock, sync a directory.
//!
//! For start-up, maintenance threads and the metadata journal; a shard's data goes over its ring. What is durable and
//! when is said at each call; a new name is durable only after [`Disk::sync_dir`] of its directory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;

use super::error::IoError;
use super::file::File;
use super::sim::{Sim, SimLock};

/// A file system: the machine's, or the simulated one of a test. Clones see the same files.
#[derive(Clone)]
pub struct Disk {
    inside: Inside,
}

#[derive(Clone)]
enum Inside {
    Real,
    Sim(Sim),
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bare name, without the directory.
    pub name: String,
    /// A directory, or a link to one.
    pub is_dir: bool,
    /// Bytes in the file; 0 for a directory.
    pub length: u64,
}

/// How much a file system holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Capacity in bytes.
    pub total_bytes: u64,
    /// What this process may still write, in bytes: the reserve of root is not in it.
    pub usable_bytes: u64,
}

/// A directory that only this process works in, until this value is dropped.
#[derive(Debug)]
pub struct DirLock {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    Real { _file: Flock<fs::File> },
    Sim { _lock: SimLock },
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another part of this one, works in it.
    #[error("{} is in use by another process{}", dir.display(), named(*process))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The holder's process id, if its lock file says so.
        process: Option<u32>,
    },
    /// The lock file could not be opened or locked at all.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Disk {
    /// The machine's file system.
    #[must_use]
    pub fn real() -> Self {
        Self {
            inside: Inside::Real,
        }
    }

    pub(super) fn sim(sim: Sim) -> Self {
        Self {
            inside: Inside::Sim(sim),
        }
    }

    /// Opens a file that must be there, for reading and writing.
    pub fn open(&self, path: &Path) -> Result<File, IoError> {
        self.open_with(path, Open::Existing)
    }

    /// Creates a file that must not be there yet, for reading and writing.
    pub fn create_new(&self, path: &Path) -> Result<File, IoError> {
        self.open_with(path, Open::New)
    }

    /// Opens a file for reading and writing and creates it, empty, if it is not there.
    pub fn open_or_create(&self, path: &Path) -> Result<File, IoError> {
        self.open_with(path, Open::Either)
    }

    /// Opens a file that must be there, for reading.
    pub fn open_read_only(&self, path: &Path) -> Result<File, IoError> {
        self.open_with(path, Open::ReadOnly)
    }

    fn open_with(&self, path: &Path, how: Open) -> Result<File, IoError> {
        match &self.inside {
            Inside::Sim(sim) => {
                let file = sim.open(path, how).map_err(failed(how.verb(), path))?;
                Ok(File::sim(path, file))
            }
            Inside::Real => {
                let file = options(how).open(path).map_err(failed(how.verb(), path))?;
                Ok(File::real(path, file))
            }
        }
    }

    /// The whole file. One longer than `length_max` bytes is refused with kind `FileTooLarge` before anything is
    /// allocated.
    pub fn read(&self, path: &Path, length_max: u64) -> Result<Vec<u8>, IoError> {
        let file = self.open_read_only(path)?;
        let length = file.length()?;
        let length = usize::try_from(length)
            .ok()
            .filter(|_| length <= length_max)
            .ok_or_else(|| IoError::new("read", path, io::ErrorKind::FileTooLarge))?;
        let mut bytes = vec![0; length];
        let filled = file.read_full_at(0, &mut bytes)?;
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Replaces the file's content so that after any crash it is the old or the new one, whole; durable on return.
    /// Goes through `path` with `.tmp` appended, which only one writer may use at a time.
    pub fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<(), IoError> {
        self.write_atomic_reserving(path, bytes, 0)
    }

    /// The same with the blocks for `reserve_bytes` more behind them, which the file has before it takes the place of
    /// the old one, where the file system can reserve at all.
    pub fn write_atomic_reserving(
        &self,
        path: &Path,
        bytes: &[u8],
        reserve_bytes: u64,
    ) -> Result<(), IoError> {
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(IoError::new("write", path, io::ErrorKind::InvalidInput)),
        };
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = self.open_or_create(&temporary)?;
        file.truncate(0)?;
        file.write_all_at(0, bytes)?;
        if reserve_bytes > 0 {
            match file.preallocate(bytes.len() as u64, reserve_bytes) {
                Err(error) if error.is_out_of_space() => return Err(error),
                _ => {}
            }
        }
        file.sync_data()?;
        self.rename(&temporary, path)?;
        self.sync_dir(parent)
    }

    /// Creates the directory and all that lead to it; none of the new names is durable yet.
    pub fn create_dir_all(&self, dir: &Path) -> Result<(), IoError> {
        match &self.inside {
            Inside::Sim(sim) => sim
                .create_dir_all(dir)
                .map_err(failed("create directory", dir)),
            Inside::Real => fs::create_dir_all(dir).map_err(failed("create directory", dir)),
        }
    }

    /// What the directory holds, sorted by name. Names that are not UTF-8 are nobody's of ours and left out.
    pub fn list(&self, dir: &Path) -> Result<Vec<Entry>, IoError> {
        let mut entries = match &self.inside {
            Inside::Sim(sim) => sim.list(dir).map_err(failed("list", dir))?,
            Inside::Real => list_real(dir).map_err(failed("list", dir))?,
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Gives `from` the name `to`, replacing a file of that name in one step. Durable after [`Self::sync_dir`].
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        match &self.inside {
            Inside::Sim(sim) => sim.rename(from, to).map_err(failed("rename", from)),
            Inside::Real => fs::rename(from, to).map_err(failed("rename", from)),
        }
    }

    /// Takes the name away; the bytes go with the last open handle. Durable after [`Self::sync_dir`].
    pub fn remove_file(&self, path: &Path) -> Result<(), IoError> {
        match &self.inside {
            Inside::Sim(sim) => sim.remove_file(path).map_err(failed("remove", path)),
            Inside::Real => fs::remove_file(path).map_err(failed("remove", path)),
        }
    }

    /// Removes the directory with all it holds.
    pub fn remove_dir_all(&self, dir: &Path) -> Result<(), IoError> {
        match &self.inside {
            Inside::Sim(sim) => sim
                .remove_dir_all(dir)
                .map_err(failed("remove directory", dir)),
            Inside::Real => fs::remove_dir_all(dir).map_err(failed("remove directory", dir)),
        }
    }

    /// Makes every creation, rename and removal of names in `dir` durable.
    pub fn sync_dir(&self, dir: &Path) -> Result<(), IoError> {
        match &self.inside {
            Inside::Sim(sim) => sim.sync_dir(dir).map_err(failed("fsync directory", dir)),
            Inside::Real => fs::File::open(dir)
                .and_then(|opened| opened.sync_all())
                .map_err(failed("fsync directory", dir)),
        }
    }

    /// Makes the names durable that lead to `dir`. A directory above it that this process may not open, or that cannot
    /// be synced, is passed over: somebody else made it.
    pub fn sync_names_of(&self, dir: &Path) -> Result<(), IoError> {
        for above in dir.ancestors().skip(1) {
            let above = match above.as_os_str().is_empty() {
                true => Path::new("."),
                false => above,
            };
            match self.sync_dir(above) {
                Err(error) if error.is_refusal() => {}
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Whether a file or directory has this name. An error is not an answer.
    pub fn exists(&self, path: &Path) -> Result<bool, IoError> {
        match &self.inside {
            Inside::Sim(sim) => sim.exists(path).map_err(failed("stat", path)),
            Inside::Real => path.try_exists().map_err(failed("stat", path)),
        }
    }

    /// Whether both are names of one directory; both have to be there.
    pub fn is_same_directory(&self, one: &Path, other: &Path) -> Result<bool, IoError> {
        match &self.inside {
            // It has no links.
            Inside::Sim(_) => Ok(one == other),
            Inside::Real => {
                let one = fs::metadata(one).map_err(failed("stat", one))?;
                let other = fs::metadata(other).map_err(failed("stat", other))?;
                Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
            }
        }
    }

    /// Takes the directory for this process alone: `flock` on its file `.lock`, which names the holder and is left
    /// behind when the lock goes.
    pub fn lock_dir(&self, dir: &Path) -> Result<DirLock, LockError> {
        match &self.inside {
            Inside::Sim(sim) => match sim.lock_dir(dir).map_err(failed("flock", dir))? {
                Some(lock) => Ok(DirLock {
                    _held: Held::Sim { _lock: lock },
                }),
                None => Err(LockError::InUse {
                    dir: dir.to_path_buf(),
                    process: None,
                }),
            },
            Inside::Real => lock_real(dir),
        }
    }

    /// Capacity and free space of the file system that `dir` lies on.
    pub fn space(&self, dir: &Path) -> Result<Space, IoError> {
        match &self.inside {
            Inside::Sim(sim) => sim.space(dir).map_err(failed("statvfs", dir)),
            Inside::Real => {
                let found = statvfs(dir).map_err(failed("statvfs", dir))?;
                let unit = found.fragment_size();
                let bytes = |blocks: u64| blocks.saturating_mul(unit);
                Ok(Space {
                    total_bytes: bytes(found.blocks()),
                    usable_bytes: bytes(found.blocks_available()),
                })
            }
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.inside {
            Inside::Real => f.write_str("Disk(real)"),
            Inside::Sim(_) => f.write_str("Disk(sim)"),
        }
    }
}

/// What an opening expects to find, and wants to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    Existing,
    New,
    Either,
    ReadOnly,
}

impl Open {
    pub(super) fn verb(self) -> &'static str {
        if self == Self::New { "create" } else { "open" }
    }
}

fn options(how: Open) -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .write(how != Open::ReadOnly)
        .create_new(how == Open::New)
        .create(how == Open::Either);
    options
}

fn list_real(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for found in fs::read_dir(dir)? {
        let found = found?;
        let Ok(name) = found.file_name().into_string() else {
            continue;
        };
        // Follows links: a log directory may be one. What vanished since it was listed is not there.
        let metadata = match fs::metadata(found.path()) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_dir = metadata.is_dir();
        entries.push(Entry {
            name,
            is_dir,
            length: if is_dir { 0 } else { metadata.len() },
        });
    }
    Ok(entries)
}

fn lock_real(dir: &Path) -> Result<DirLock, LockError> {
    let path = dir.join(LOCK_FILE);
    let file = options(Open::Either)
        .open(&path)
        .map_err(failed("open", &path))?;
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, Errno::EWOULDBLOCK)) => {
            let process = fs::read_to_string(&path)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            return Err(LockError::InUse {
                dir: dir.to_path_buf(),
                process,
            });
        }
        Err((_, errno)) => return Err(IoError::new("flock", &path, errno).into()),
    };
    // Only so that the next one can say who is in the way; a full disk must not keep us from starting.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(DirLock {
        _held: Held::Real { _file: file },
    })
}

fn named(process: Option<u32>) -> String {
    process
        .map(|id| format!(" (process {id})"))
        .unwrap_or_default()
}

fn failed<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> IoError {
    let path = path.to_path_buf();
    move |source| IoError {
        operation,
        path,
        source: source.into(),
    }
}

/// Kafka's name for it, though Kafka locks it with `fcntl`, which does not see ours.
const LOCK_FILE: &str = ".lock";

#[cfg(test)]
mod tests;
