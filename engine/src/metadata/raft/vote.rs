//! The small file beside the journal: the term we are in, whom we voted for in it, and how far the journal is known to
//! be durable. Replaced as a whole.
//!
//! Layout: `MILLVOTE`, version (u16), term (u64), vote (i32), durable index (u64), CRC-32C of all before (u32).

use std::path::{Path, PathBuf};

use super::entry::TERM_MAX;
use super::error::StorageError;
use crate::io::Disk;
use crate::metadata::record::Reader;
use crate::types::BrokerId;

const MAGIC: &[u8; 8] = b"MILLVOTE";
const VERSION: u16 = 1;
const FILE_NAME: &str = "millrace-metadata.vote";
const LENGTH: usize = 34;

/// What must survive beside the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The newest term we know of. Never goes back.
    pub term: u64,
    /// Whom we voted for in it, or [`BrokerId::NONE`].
    pub candidate: BrokerId,
    /// The journal (or a snapshot) reaches this entry at least; a journal that ends before it was damaged. Written at
    /// start and clean stop, so it lags behind while running.
    pub durable_index: u64,
}

impl Vote {
    /// The file's path in the metadata directory.
    #[must_use]
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    /// Makes any bytes look like a vote.
    pub(super) fn mend(bytes: &mut [u8]) {
        mend_envelope(bytes, MAGIC, VERSION);
    }

    /// The vote in `dir`; `None` when none was ever written there.
    ///
    /// # Errors
    /// Unreadable, damaged, or written by a newer version.
    pub fn load(disk: &Disk, dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = Self::path(dir);
        if !disk.exists(&path)? {
            return Ok(None);
        }
        let bytes = disk.read(&path, 4096)?;
        Self::decode(&path, &bytes).map(Some)
    }

    /// Makes this the vote in `dir`; durable on return. After an error the old or the new one stands there.
    ///
    /// # Errors
    /// The disk said no.
    pub fn save(&self, disk: &Disk, dir: &Path) -> Result<(), StorageError> {
        Ok(disk.write_atomic(&Self::path(dir), &self.encode())?)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LENGTH);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.term.to_be_bytes());
        out.extend_from_slice(&self.candidate.0.to_be_bytes());
        out.extend_from_slice(&self.durable_index.to_be_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self, StorageError> {
        let body = open_envelope(path, bytes, MAGIC, VERSION)?;
        let mut reader = Reader::new(body);
        let fields = (reader.u64(), reader.i32(), reader.u64(), reader.remaining());
        let (Ok(term), Ok(candidate), Ok(durable_index), 0) = fields else {
            let expected = format!("{LENGTH} bytes");
            return Err(StorageError::damaged(
                path,
                0,
                expected,
                bytes.len().to_string(),
            ));
        };
        if term >= TERM_MAX {
            let expected = format!("a term below {TERM_MAX}");
            return Err(StorageError::damaged(path, 10, expected, term.to_string()));
        }
        Ok(Self {
            term,
            candidate: BrokerId(candidate),
            durable_index,
        })
    }
}

/// The same bytes with `magic` and `version` in front and their checksum at the end, as far as there is room: for fuzzing.
pub(super) fn mend_envelope(bytes: &mut [u8], magic: &[u8; 8], version: u16) {
    let Some(body_end) = bytes.len().checked_sub(4).filter(|&end| end >= 10) else {
        return;
    };
    bytes[..8].copy_from_slice(magic);
    bytes[8..10].copy_from_slice(&version.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[..body_end]);
    bytes[body_end..].copy_from_slice(&crc.to_be_bytes());
}

/// What lies between magic and version in front and a CRC-32C of everything at the end.
pub(super) fn open_envelope<'a>(
    path: &Path,
    bytes: &'a [u8],
    magic: &[u8; 8],
    version: u16,
) -> Result<&'a [u8], StorageError> {
    let Some((found, rest)) = bytes.split_first_chunk::<8>() else {
        let found = format!("{} bytes", bytes.len());
        return Err(StorageError::damaged(path, 0, "a header", found));
    };
    if found != magic {
        let expected = String::from_utf8_lossy(magic);
        return Err(StorageError::damaged(
            path,
            0,
            expected,
            format!("{found:02x?}"),
        ));
    }
    let Some((stated, rest)) = rest.split_first_chunk::<2>() else {
        return Err(StorageError::damaged(
            path,
            8,
            "a version",
            "the end of the file",
        ));
    };
    // Before the CRC: a newer version may keep it elsewhere.
    let stated = u16::from_be_bytes(*stated);
    if stated > version {
        return Err(StorageError::newer(path, stated, version));
    }
    let Some((body, crc)) = rest.split_last_chunk::<4>() else {
        return Err(StorageError::damaged(
            path,
            10,
            "a body",
            "the end of the file",
        ));
    };
    let crc = u32::from_be_bytes(*crc);
    let covered = bytes.len().saturating_sub(4);
    let computed = crc32c::crc32c(bytes.get(..covered).unwrap_or_default());
    if crc != computed {
        let (expected, found) = (format!("CRC-32C {crc:#010x}"), format!("{computed:#010x}"));
        let position = u64::try_from(covered).unwrap_or(u64::MAX);
        return Err(StorageError::damaged(path, position, expected, found));
    }
    Ok(body)
}
