//! One entry of the log and its bytes: sync mark (4), length (u32), CRC-32C (u32), then the body of `length` bytes:
//! term (u64), index (u64), offset of the first record (i64), count of records (u32), records. All big-endian.
//!
//! The CRC covers the length and the body. It knows no file. Decoding takes arbitrary bytes.

use std::fmt;

use crate::metadata::record::{MetadataRecord, Reader, RecordDecodeError};

/// Begins each entry. None of its bytes occurs in UTF-8, so no text that a client chose can look like an entry.
pub(super) const SYNC_MARK: [u8; 4] = [0xff, 0xc0, 0xfe, 0xf5];

/// Bytes in front of the body.
pub(super) const PREFIX_LENGTH: usize = 12;

/// The longest body, in bytes: what one command can want is bounded by the size of a request.
pub const BODY_LENGTH_MAX: usize = 512 * 1024 * 1024;

/// No log comes near this index; below it counting cannot overflow.
pub(super) const INDEX_MAX: u64 = u64::MAX >> 2;
/// No log comes near this term; below it there is a next one.
pub(super) const TERM_MAX: u64 = u64::MAX >> 2;
/// No log comes near this offset; below it counting cannot overflow.
pub(super) const OFFSET_MAX: i64 = i64::MAX >> 2;

/// The fields of a body in front of the records.
const BODY_LENGTH_MIN: usize = 28;

/// A place in the log. Index and term are 0 before the first entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPosition {
    /// The term in which the entry was written.
    pub term: u64,
    /// The number of the entry, from 1.
    pub index: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of term {}", self.index, self.term)
    }
}

/// Records that became true together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: LogPosition,
    /// The offset of its first record: one more than that of the last record before.
    pub base_offset: i64,
    /// Its records.
    pub records: Vec<MetadataRecord>,
}

impl Entry {
    /// The offset that the first record of the next entry gets.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        let count = i64::try_from(self.records.len()).unwrap_or(i64::MAX);
        self.base_offset.saturating_add(count)
    }

    /// The entry as it lies in the file; `Err` with its length when the body would be longer than
    /// [`BODY_LENGTH_MAX`].
    pub(super) fn encode(&self) -> Result<Vec<u8>, usize> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&SYNC_MARK);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.position.term.to_be_bytes());
        out.extend_from_slice(&self.position.index.to_be_bytes());
        out.extend_from_slice(&self.base_offset.to_be_bytes());
        let count = u32::try_from(self.records.len()).map_err(|_| usize::MAX)?;
        out.extend_from_slice(&count.to_be_bytes());
        for record in &self.records {
            record.encode(&mut out);
            if out.len() > BODY_LENGTH_MAX {
                return Err(out.len());
            }
        }
        let length = u32::try_from(out.len() - PREFIX_LENGTH).map_err(|_| out.len())?;
        let crc = checksum(length, &out[PREFIX_LENGTH..]);
        out[4..8].copy_from_slice(&length.to_be_bytes());
        out[8..12].copy_from_slice(&crc.to_be_bytes());
        Ok(out)
    }
}

/// Why there is no entry at a place: what was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unframed {
    pub(super) expected: String,
    pub(super) found: String,
}

/// The body of the entry at the start of `bytes`, checked against its CRC but not looked into.
pub(super) fn unframe(bytes: &[u8]) -> Result<&[u8], Unframed> {
    let fail = |expected: String, found: String| Err(Unframed { expected, found });
    let mut reader = Reader::new(bytes);
    let (Ok(mark), Ok(length), Ok(crc)) = (reader.bytes(4), reader.u32(), reader.u32()) else {
        return fail(
            format!("{PREFIX_LENGTH} bytes"),
            format!("{} to the end", bytes.len()),
        );
    };
    if mark != SYNC_MARK {
        return fail(format!("the mark {SYNC_MARK:02x?}"), format!("{mark:02x?}"));
    }
    let body_length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(BODY_LENGTH_MIN..=BODY_LENGTH_MAX).contains(&body_length) {
        return fail(
            format!("a length from {BODY_LENGTH_MIN} to {BODY_LENGTH_MAX}"),
            length.to_string(),
        );
    }
    let Ok(body) = reader.bytes(body_length) else {
        return fail(
            format!("{length} bytes"),
            format!("{} to the end", reader.remaining()),
        );
    };
    let computed = checksum(length, body);
    if computed != crc {
        return fail(format!("CRC-32C {crc:#010x}"), format!("{computed:#010x}"));
    }
    Ok(body)
}

/// The entry that a body holds. With a correct CRC it fails only for what a newer or a faulty version wrote.
pub(super) fn decode_body(body: &[u8]) -> Result<Entry, RecordDecodeError> {
    let mut reader = Reader::new(body);
    let position = LogPosition {
        term: reader.u64()?,
        index: reader.u64()?,
    };
    let base_offset = reader.i64()?;
    // The shortest record has six bytes: length, version, kind.
    let records = reader.list(6, MetadataRecord::read)?;
    match reader.remaining() {
        0 => Ok(Entry {
            position,
            base_offset,
            records,
        }),
        count => Err(RecordDecodeError::Trailing {
            kind: u8::MAX,
            count,
        }),
    }
}

/// The same bytes with the right checksum in each entry, as far as their lengths lead: for fuzzing.
pub(super) fn mend(bytes: &mut [u8]) {
    let mut rest = bytes;
    while let Some((prefix, behind)) = rest.split_first_chunk_mut::<PREFIX_LENGTH>() {
        prefix[..4].copy_from_slice(&SYNC_MARK);
        let length = u32::from_be_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
        let body_length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((body, after)) = behind.split_at_mut_checked(body_length) else {
            return;
        };
        prefix[8..].copy_from_slice(&checksum(length, body).to_be_bytes());
        rest = after;
    }
}

/// Where the next whole entry begins in `bytes`, if one does.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    let marks = bytes
        .windows(SYNC_MARK.len())
        .enumerate()
        .filter(|(_, four)| *four == SYNC_MARK);
    marks
        .map(|(place, _)| place)
        .find(|&place| bytes.get(place..).is_some_and(|rest| unframe(rest).is_ok()))
}

fn checksum(length: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_be_bytes()), body)
}
