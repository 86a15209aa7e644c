//! The bytes of a journal: which of them are entries, which a crash left behind, and which are damage.
//!
//! It takes a whole file as bytes and opens none.

use std::path::Path;

use super::{HEADER_LENGTH, Place, Purged};
use crate::metadata::raft::entry::{self, Entry, INDEX_MAX, LogPosition, OFFSET_MAX};
use crate::metadata::raft::error::StorageError;
use crate::metadata::raft::vote::{mend_envelope, open_envelope};
use crate::metadata::record::Reader;

const MAGIC: &[u8; 8] = b"MILLJRNL";
const VERSION: u16 = 1;

/// What the bytes of a journal hold.
pub(super) struct Contents {
    pub(super) purged: Purged,
    pub(super) entries: Vec<Entry>,
    pub(super) places: Vec<Place>,
    /// Where the last whole entry ends.
    pub(super) end: usize,
}

/// Makes any bytes look like a header.
pub(super) fn mend_header(header: &mut [u8]) {
    mend_envelope(header, MAGIC, VERSION);
}

/// Reads a whole journal. A spoiled end is left out; a journal that is spoiled before its durable end is refused.
pub(super) fn parse(
    path: &Path,
    bytes: &[u8],
    durable_index: u64,
) -> Result<Contents, StorageError> {
    let header = bytes.get(..HEADER_LENGTH).unwrap_or(bytes);
    let purged = decode_header(path, header)?;
    let mut found = Contents {
        purged,
        entries: Vec::new(),
        places: Vec::new(),
        end: HEADER_LENGTH,
    };
    let mut last = purged.position;
    let mut offset = purged.offset.saturating_add(1);
    while let Some(rest) = bytes.get(found.end..).filter(|rest| !rest.is_empty()) {
        let position = found.end as u64;
        let body = match entry::unframe(rest) {
            Ok(body) => body,
            Err(error) => {
                let whole_follows = rest.get(1..).and_then(entry::find).is_some();
                if whole_follows || last.index < durable_index {
                    return Err(StorageError::damaged(
                        path,
                        position,
                        error.expected,
                        error.found,
                    ));
                }
                break;
            }
        };
        let entry = decode_entry(path, position, body)?;
        check_follows(path, position, last, offset, &entry)?;
        last = entry.position;
        offset = entry.next_offset();
        found.end += entry::PREFIX_LENGTH + body.len();
        let (term, next_offset, end) = (last.term, offset, found.end as u64);
        found.places.push(Place {
            term,
            next_offset,
            end,
        });
        found.entries.push(entry);
    }
    if last.index < durable_index {
        let expected = format!(
            "entry {}, known to be durable up to {durable_index}",
            last.index + 1
        );
        return Err(StorageError::damaged(
            path,
            found.end as u64,
            expected,
            "the end of the file",
        ));
    }
    Ok(found)
}

/// What reading a journal from end to end brought.
#[derive(Debug)]
pub(in crate::metadata::raft) struct Checked {
    pub(in crate::metadata::raft) purged: Purged,
    /// All whole entries, also those behind a fault.
    pub(in crate::metadata::raft) entries: Vec<Entry>,
    pub(in crate::metadata::raft) faults: Vec<StorageError>,
    /// Where a spoiled end begins that a start would cut.
    pub(in crate::metadata::raft) torn: Option<u64>,
    /// Where the last whole entry ends.
    pub(in crate::metadata::raft) end: u64,
}

/// Reads a whole journal like [`parse`], but goes on behind each fault with the next whole entry.
pub(super) fn check(
    path: &Path,
    bytes: &[u8],
    durable_index: u64,
) -> Result<Checked, StorageError> {
    let header = bytes.get(..HEADER_LENGTH).unwrap_or(bytes);
    let purged = decode_header(path, header)?;
    let mut checked = Checked {
        purged,
        entries: Vec::new(),
        faults: Vec::new(),
        torn: None,
        end: HEADER_LENGTH as u64,
    };
    // Unknown behind a fault: whatever comes then may follow.
    let mut last = Some((purged.position, purged.offset.saturating_add(1)));
    let mut index = purged.position.index;
    let mut at = HEADER_LENGTH;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let position = at as u64;
        let body = match entry::unframe(rest) {
            Ok(body) => body,
            Err(error) => {
                let next = rest.get(1..).and_then(entry::find);
                if next.is_none() && index >= durable_index {
                    checked.torn = Some(position);
                    return Ok(checked);
                }
                let (expected, found) = (error.expected, error.found);
                let damaged = StorageError::damaged(path, position, expected, found);
                checked.faults.push(damaged);
                let Some(next) = next else {
                    return Ok(checked);
                };
                at = at.saturating_add(1).saturating_add(next);
                last = None;
                continue;
            }
        };
        at += entry::PREFIX_LENGTH + body.len();
        match decode_entry(path, position, body) {
            Ok(entry) => {
                let follows = last.map_or(Ok(()), |(last, offset)| {
                    check_follows(path, position, last, offset, &entry)
                });
                checked.faults.extend(follows.err());
                last = Some((entry.position, entry.next_offset()));
                index = index.max(entry.position.index);
                checked.entries.push(entry);
                checked.end = at as u64;
            }
            Err(error) => {
                checked.faults.push(error);
                last = None;
            }
        }
    }
    if index < durable_index && checked.faults.is_empty() {
        let expected = format!(
            "entry {}, known to be durable up to {durable_index}",
            index + 1
        );
        let end = checked.end;
        let damaged = StorageError::damaged(path, end, expected, "the end of the file");
        checked.faults.push(damaged);
    }
    Ok(checked)
}

fn decode_entry(path: &Path, position: u64, body: &[u8]) -> Result<Entry, StorageError> {
    entry::decode_body(body).map_err(|error| {
        if error.is_newer_version() {
            return StorageError::NewerVersion {
                path: path.to_path_buf(),
                found: format!("{error} (at byte {position})"),
                known: format!("file version {VERSION}"),
            };
        }
        StorageError::damaged(path, position, "an entry", error.to_string())
    })
}

fn check_follows(
    path: &Path,
    position: u64,
    last: LogPosition,
    offset: i64,
    entry: &Entry,
) -> Result<(), StorageError> {
    let follows = last.index.checked_add(1) == Some(entry.position.index)
        && entry.position.term >= last.term
        && entry.base_offset == offset;
    if follows {
        return Ok(());
    }
    let expected = format!("the entry behind {last}, from offset {offset}");
    let found = format!("{}, from offset {}", entry.position, entry.base_offset);
    Err(StorageError::damaged(path, position, expected, found))
}

/// The bytes in front of the entries.
pub(super) fn encode_header(purged: Purged) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LENGTH);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&purged.position.index.to_be_bytes());
    out.extend_from_slice(&purged.position.term.to_be_bytes());
    out.extend_from_slice(&purged.offset.to_be_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// What the bytes in front of the entries say.
pub(super) fn decode_header(path: &Path, header: &[u8]) -> Result<Purged, StorageError> {
    let mut reader = Reader::new(open_envelope(path, header, MAGIC, VERSION)?);
    let (Ok(index), Ok(term), Ok(offset)) = (reader.u64(), reader.u64(), reader.i64()) else {
        let found = format!("{} bytes", header.len());
        return Err(StorageError::damaged(
            path,
            0,
            format!("{HEADER_LENGTH} bytes"),
            found,
        ));
    };
    if index > INDEX_MAX || !(-1..=OFFSET_MAX).contains(&offset) {
        let found = format!("index {index}, offset {offset}");
        return Err(StorageError::damaged(
            path,
            10,
            "an index and an offset",
            found,
        ));
    }
    Ok(Purged {
        position: LogPosition { term, index },
        offset,
    })
}
