//! The image as a file: the records that make it, and the place in the log it stands for.
//!
//! Layout: `MILLSNAP`, version (u16), index (u64), term (u64), offset of the last record (i64), records to the end,
//! CRC-32C of all before (u32). Written as a whole under a name that says index and term. The two newest are kept, and
//! the journal reaches back to the older: one damaged snapshot costs nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::entry::{INDEX_MAX, LogPosition, OFFSET_MAX};
use super::error::StorageError;
use super::vote::{mend_envelope, open_envelope};
use crate::io::{Disk, IoError};
use crate::metadata::image::MetadataImage;
use crate::metadata::record::{MetadataRecord, Reader};

const MAGIC: &[u8; 8] = b"MILLSNAP";
const VERSION: u16 = 1;
const NAME_PREFIX: &str = "millrace-metadata-";
/// Begins the name of every file here.
const NAME_PREFIX_ALL: &str = "millrace-metadata";
const NAME_SUFFIX: &str = ".snapshot";
/// The longest snapshot that is read, in bytes.
const LENGTH_MAX: u64 = u32::MAX as u64;

/// An image and the last entry that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that is in the image.
    pub position: LogPosition,
    /// The image after it.
    pub image: MetadataImage,
}

/// The path of the snapshot at `position`.
#[must_use]
pub fn path_of(dir: &Path, position: LogPosition) -> PathBuf {
    let LogPosition { term, index } = position;
    dir.join(format!("{NAME_PREFIX}{index:020}-{term:020}{NAME_SUFFIX}"))
}

/// The places of the snapshots in `dir`, newest first. Other files are not looked at.
///
/// # Errors
/// The directory cannot be read.
pub fn list(disk: &Disk, dir: &Path) -> Result<Vec<LogPosition>, StorageError> {
    let mut positions: Vec<_> = disk
        .list(dir)?
        .iter()
        .filter_map(|entry| parse_name(&entry.name))
        .collect();
    positions.sort_unstable_by_key(|position| std::cmp::Reverse((position.index, position.term)));
    Ok(positions)
}

/// The place in a snapshot's name.
pub(super) fn parse_name(name: &str) -> Option<LogPosition> {
    let numbers = name.strip_prefix(NAME_PREFIX)?.strip_suffix(NAME_SUFFIX)?;
    let (index, term) = numbers.split_once('-')?;
    Some(LogPosition {
        term: term.parse().ok()?,
        index: index.parse().ok()?,
    })
}

/// What the snapshots of a directory come to.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest that is whole.
    pub snapshot: Option<Snapshot>,
    /// Why a newer one could not be read, if that was the disk's doing.
    pub unread: Option<StorageError>,
}

/// The newest snapshot in `dir` that is whole. One that is damaged or cannot be read is passed over with a warning:
/// whether the journal reaches back far enough without it is for the caller to see.
///
/// # Errors
/// The directory cannot be read, or a newer version wrote the newest.
pub fn load_newest(disk: &Disk, dir: &Path) -> Result<Newest, StorageError> {
    let mut newest = Newest::default();
    for position in list(disk, dir)? {
        match load(disk, dir, position) {
            Ok(snapshot) => {
                newest.snapshot = Some(snapshot);
                break;
            }
            Err(error @ (StorageError::Damaged { .. } | StorageError::Io(_))) => {
                tracing::warn!(%error, "a metadata snapshot is passed over");
                if newest.unread.is_none() && matches!(error, StorageError::Io(_)) {
                    newest.unread = Some(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(newest)
}

/// Writes a snapshot, durable on return, and removes all others but `previous`: the newest that is known to be whole.
///
/// # Errors
/// The disk said no, or it is longer than what would be read; the older snapshots are then still there.
pub fn save(
    disk: &Disk,
    dir: &Path,
    snapshot: &Snapshot,
    previous: Option<LogPosition>,
) -> Result<(), StorageError> {
    save_up_to(LENGTH_MAX, disk, dir, snapshot, previous)
}

/// The same where a snapshot may have `length_max` bytes.
pub(super) fn save_up_to(
    length_max: u64,
    disk: &Disk,
    dir: &Path,
    snapshot: &Snapshot,
    previous: Option<LogPosition>,
) -> Result<(), StorageError> {
    let (path, bytes) = (path_of(dir, snapshot.position), encode(snapshot));
    if bytes.len() as u64 > length_max {
        return Err(IoError::new("write", &path, ErrorKind::FileTooLarge).into());
    }
    disk.write_atomic(&path, &bytes)?;
    for position in list(disk, dir)? {
        if position != snapshot.position && Some(position) != previous {
            disk.remove_file(&path_of(dir, position))?;
        }
    }
    Ok(())
}

/// Removes what unfinished atomic writes left in `dir`: never a file that counts.
///
/// # Errors
/// The disk said no.
pub fn clear_unfinished(disk: &Disk, dir: &Path) -> Result<(), StorageError> {
    for entry in disk.list(dir)? {
        if is_unfinished(&entry.name) {
            disk.remove_file(&dir.join(entry.name))?;
        }
    }
    Ok(())
}

/// Whether a file of this name is what an unfinished atomic write left.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.starts_with(NAME_PREFIX_ALL) && name.ends_with(".tmp")
}

/// The snapshot at `position`.
///
/// # Errors
/// It is damaged, newer, or cannot be read.
pub(super) fn load(
    disk: &Disk,
    dir: &Path,
    position: LogPosition,
) -> Result<Snapshot, StorageError> {
    let path = path_of(dir, position);
    decode(&path, &disk.read(&path, LENGTH_MAX)?)
}

/// Makes any bytes look like a snapshot, and says the place they stand for.
pub(super) fn mend(bytes: &mut [u8]) -> Option<LogPosition> {
    mend_envelope(bytes, MAGIC, VERSION);
    let mut reader = Reader::new(bytes.get(MAGIC.len() + 2..)?);
    let (index, term) = (reader.u64().ok()?, reader.u64().ok()?);
    Some(LogPosition { term, index })
}

fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&snapshot.position.index.to_be_bytes());
    out.extend_from_slice(&snapshot.position.term.to_be_bytes());
    out.extend_from_slice(&snapshot.image.version().to_be_bytes());
    for record in snapshot.image.to_records() {
        record.encode(&mut out);
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Snapshot, StorageError> {
    let body = open_envelope(path, bytes, MAGIC, VERSION)?;
    let mut reader = Reader::new(body);
    let fields = (reader.u64(), reader.u64(), reader.i64());
    let (Ok(index), Ok(term), Ok(version)) = fields else {
        return Err(StorageError::damaged(
            path,
            10,
            "index, term and offset",
            "the end of the file",
        ));
    };
    if index > INDEX_MAX || !(-1..=OFFSET_MAX).contains(&version) {
        let found = format!("index {index}, offset {version}");
        return Err(StorageError::damaged(
            path,
            10,
            "an index and an offset",
            found,
        ));
    }
    let position = LogPosition { term, index };
    if path.file_name() != path_of(Path::new(""), position).file_name() {
        return Err(StorageError::damaged(
            path,
            10,
            "what its name says",
            position.to_string(),
        ));
    }
    let records = reader
        .bytes(reader.remaining())
        .and_then(MetadataRecord::decode_all);
    let records = records.map_err(|error| {
        if error.is_newer_version() {
            return StorageError::NewerVersion {
                path: path.to_path_buf(),
                found: error.to_string(),
                known: format!("file version {VERSION}"),
            };
        }
        StorageError::damaged(path, 34, "records", error.to_string())
    })?;
    let image = MetadataImage::empty().advance(&records).map_err(|error| {
        StorageError::damaged(path, 34, "the records of an image", error.to_string())
    })?;
    Ok(Snapshot {
        position,
        image: image.at_version(version),
    })
}
