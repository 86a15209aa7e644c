//! The entries in one append-only file, each durable before it is reported.
//!
//! Header: `MILLJRNL`, version (u16), then index (u64), term (u64) of the last entry purged from the front and the
//! offset (i64) of its last record, CRC-32C of all before (u32); entries follow back to back (see [`super::entry`]).
//!
//! One append is in flight at a time, so a crash can spoil only the last entry. At open a spoiled end is cut if no whole
//! entry follows it and the file reaches what was known durable; anything else is damage and refused. The file is the
//! only copy of what it holds: it is never cut on a guess.

mod contents;

use std::path::{Path, PathBuf};

pub(super) use contents::Checked;
use contents::{Contents, decode_header, encode_header, parse};

use super::entry::{self, BODY_LENGTH_MAX, Entry, LogPosition};
use super::error::StorageError;
use crate::io::{Disk, File, IoError};

const FILE_NAME: &str = "millrace-metadata.journal";
const HEADER_LENGTH: usize = 38;
/// What is reserved for a start at least: a term, the broker's registration, and a new leader epoch for each partition.
const START_BYTES_MIN: u64 = 1 << 20;
/// What is reserved for each partition where they are many: its record takes 74 bytes, and 24 more with each further replica.
const START_BYTES_PER_PARTITION: u64 = 128;
/// What is reserved besides, for what makes room.
const ROOM_BYTES: u64 = 1 << 20;
/// The part of that which is for deletions only.
const DELETIONS_BYTES: u64 = ROOM_BYTES / 2;
/// The reserve is moved on in steps of this many bytes.
const RESERVE_STEP_BYTES: u64 = 64 << 10;
/// The longest journal that is read, in bytes: far above what is kept between snapshots.
const LENGTH_MAX: u64 = u32::MAX as u64;

/// What stands before the first entry of a journal: the end of what was purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// The last entry purged.
    pub position: LogPosition,
    /// The offset of its last record; -1 for none.
    pub offset: i64,
}

impl Purged {
    /// Nothing was purged.
    pub const NOTHING: Self = Self {
        position: LogPosition { term: 0, index: 0 },
        offset: -1,
    };
}

/// Reads the journal in `dir` from end to end and says everything that is wrong with it; nothing is changed.
///
/// # Errors
/// The file cannot be read, or does not begin as a journal does.
pub(super) fn check(disk: &Disk, dir: &Path, durable_index: u64) -> Result<Checked, StorageError> {
    let path = Journal::path(dir);
    let bytes = disk.read(&path, LENGTH_MAX)?;
    contents::check(&path, &bytes, durable_index)
}

/// Makes any bytes look like a journal: its header, and the entries as far as their lengths lead.
pub(super) fn mend(bytes: &mut [u8]) {
    if let Some((header, entries)) = bytes.split_at_mut_checked(HEADER_LENGTH) {
        contents::mend_header(header);
        entry::mend(entries);
    }
}

/// The open journal.
pub struct Journal {
    disk: Disk,
    path: PathBuf,
    file: File,
    purged: Purged,
    /// Each entry in the file, in order; the first has the index `purged.position.index + 1`.
    places: Vec<Place>,
    /// Where the next entry goes. Everything below is durable.
    end: u64,
    /// Up to where the file is known to have its blocks. At least [`Journal::reserve_bytes`] behind the end stay free of what
    /// clients ask for, so that a start finds room on a disk that is full.
    reserved_to: u64,
    /// What a start may need.
    start_bytes: u64,
    /// Nothing is written before this is done.
    renewal: Option<Renewal>,
    /// A failure that could not be undone: no more writes.
    offline: bool,
}

/// The file was written anew without its first entries, and is still to be opened.
#[derive(Clone, Copy, Debug)]
struct Renewal {
    /// What the new file stands behind.
    purged: Purged,
    /// So many entries are gone from the front.
    count: usize,
    /// The end of the last of them in the old file.
    cut: u64,
    /// Whether its name is known to be on stable storage.
    named: bool,
}

/// Whether an entry may take the space that is reserved for a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// It is refused before the reserve would shrink.
    Keep,
    /// It may make room: it is refused before less is left than a start and deletions may need.
    KeepForDeletions,
    /// It makes room: it is refused before less is left than a start may need.
    KeepForStart,
    /// A start writes it: without it nothing can be served.
    Use,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    term: u64,
    next_offset: i64,
    /// One past the entry's last byte.
    end: u64,
}

impl Journal {
    /// The file's path in the metadata directory.
    #[must_use]
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    /// A new journal in `dir` that goes on behind `purged`; durable on return.
    ///
    /// # Errors
    /// The disk said no.
    pub fn create(disk: &Disk, dir: &Path, purged: Purged) -> Result<Self, StorageError> {
        let path = Self::path(dir);
        disk.write_atomic(&path, &encode_header(purged))?;
        let file = disk.open(&path)?;
        let end = HEADER_LENGTH as u64;
        let disk = disk.clone();
        Ok(Self {
            disk,
            path,
            file,
            purged,
            places: Vec::new(),
            end,
            reserved_to: end,
            start_bytes: START_BYTES_MIN,
            renewal: None,
            offline: false,
        })
    }

    /// Opens the journal in `dir` and gives its entries. What a crash left at the end is cut, and all that remains is
    /// durable on return. `durable_index`: an entry that is known to have been durable.
    ///
    /// # Errors
    /// The disk failed; or the file is damaged before its durable end, or a newer version wrote it: it is left as it is.
    pub fn open(
        disk: &Disk,
        dir: &Path,
        durable_index: u64,
    ) -> Result<(Self, Vec<Entry>), StorageError> {
        let path = Self::path(dir);
        let bytes = disk.read(&path, LENGTH_MAX)?;
        let Contents {
            purged,
            entries,
            places,
            end,
        } = parse(&path, &bytes, durable_index)?;
        let file = disk.open(&path)?;
        let (disk, offline) = (disk.clone(), false);
        let journal = Self {
            disk,
            path,
            file,
            purged,
            places,
            end: end as u64,
            reserved_to: end as u64,
            start_bytes: START_BYTES_MIN,
            renewal: None,
            offline,
        };
        journal.make_durable(&bytes, end, durable_index)?;
        Ok((journal, entries))
    }

    /// Bytes behind the known durable end may be in the page cache only, and after a failed fdatasync the kernel takes
    /// such pages for written; so they are written again before they are synced.
    fn make_durable(
        &self,
        bytes: &[u8],
        end: usize,
        durable_index: u64,
    ) -> Result<(), StorageError> {
        let known = usize::try_from(self.end_of(durable_index)).unwrap_or(end);
        if known == bytes.len() {
            return Ok(());
        }
        if end < bytes.len() {
            tracing::warn!(
                path = %self.path.display(), position = end, bytes = bytes.len() - end,
                "what a crash left at the end of the metadata journal is cut"
            );
        }
        self.file
            .write_all_at(known as u64, bytes.get(known..end).unwrap_or_default())?;
        if end < bytes.len() {
            self.file.truncate(self.end)?;
        }
        Ok(self.file.sync_all()?)
    }

    /// The last entry, or what was purged last.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        let index = self.purged.position.index + self.places.len() as u64;
        let term = self
            .places
            .last()
            .map_or(self.purged.position.term, |place| place.term);
        LogPosition { term, index }
    }

    /// What was purged from the front.
    #[must_use]
    pub fn purged(&self) -> Purged {
        self.purged
    }

    /// The term of an entry that is here or was purged last.
    #[must_use]
    pub fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.purged.position.index {
            return Some(self.purged.position.term);
        }
        self.place_of(index).map(|place| place.term)
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.end
    }

    /// Bytes of the entries behind `index`.
    #[must_use]
    pub fn bytes_after(&self, index: u64) -> u64 {
        self.end.saturating_sub(self.end_of(index))
    }

    /// The offset of the next record.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.places
            .last()
            .map_or(self.purged.offset.saturating_add(1), |place| {
                place.next_offset
            })
    }

    /// Reads one entry again; `None` when it is not here.
    ///
    /// # Errors
    /// The disk failed, or the bytes are not what was written.
    pub fn read(&self, index: u64) -> Result<Option<Entry>, StorageError> {
        let Some(place) = self.place_of(index) else {
            return Ok(None);
        };
        let start = self.end_of(index.saturating_sub(1));
        let mut bytes = vec![0; usize::try_from(place.end.saturating_sub(start)).unwrap_or(0)];
        self.file.read_exact_at(start, &mut bytes)?;
        let body = entry::unframe(&bytes)
            .map_err(|error| self.damaged_at(start, error.expected, error.found))?;
        let entry = entry::decode_body(body)
            .map_err(|error| self.damaged_at(start, "an entry", error.to_string()))?;
        Ok(Some(entry))
    }

    /// Says how many partitions a start may have to begin a new epoch of; from the next entry on the reserve is for so many.
    pub fn expect_partitions(&mut self, count: usize) {
        let bytes = START_BYTES_PER_PARTITION.saturating_mul(count as u64);
        self.start_bytes = START_BYTES_MIN.max(bytes);
    }

    const fn reserve_bytes(&self) -> u64 {
        self.start_bytes.saturating_add(ROOM_BYTES)
    }

    /// Appends an entry; durable on return. Its index, term and offset must follow the last. `reserve` says whether it
    /// may take what is kept for a full disk.
    ///
    /// # Errors
    /// When the device is full nothing was appended, and a later attempt may succeed. After any other failure of the disk
    /// the journal is offline until it is opened again, because it is unknown whether it holds the entry.
    pub fn append(&mut self, entry: &Entry, reserve: Reserve) -> Result<(), StorageError> {
        self.make_ready()?;
        let last = self.last();
        let (next, offset) = (last.index + 1, self.next_offset());
        let (index, term) = (entry.position.index, entry.position.term);
        assert!(
            index == next,
            "INV-MD-1: entry {index} is appended where {next} is due"
        );
        assert!(
            term >= last.term,
            "INV-MD-2: term {term} is appended behind term {}",
            last.term
        );
        assert!(
            entry.base_offset == offset,
            "INV-MD-3: the entry begins at offset {}, the journal ends before {offset}",
            entry.base_offset
        );
        let bytes = entry
            .encode()
            .map_err(|length| StorageError::EntryTooLong {
                path: self.path.clone(),
                length,
                max: BODY_LENGTH_MAX,
            })?;
        let length = bytes.len() as u64;
        match self.keep_reserve(length) {
            Err(error) if error.is_out_of_space() => match reserve {
                Reserve::Keep => return Err(error.into()),
                Reserve::KeepForDeletions => {
                    self.allocate(length + self.start_bytes + DELETIONS_BYTES)?;
                }
                Reserve::KeepForStart => self.allocate(length + self.start_bytes)?,
                // To cut off what was written of an entry that is too large would free the reserve.
                Reserve::Use => self.allocate(length)?,
            },
            // Whatever else stands in the way, the write meets it too.
            _ => {}
        }
        let written = self
            .file
            .write_all_at(self.end, &bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A device that is full keeps what it had. Otherwise, or if the cut fails too, the file is unknown.
            let cut = || {
                self.file
                    .truncate(self.end)
                    .and_then(|()| self.file.sync_data())
            };
            self.offline = !error.is_out_of_space() || cut().is_err();
            self.reserved_to = self.end;
            return Err(error.into());
        }
        self.end += bytes.len() as u64;
        self.places.push(Place {
            term,
            next_offset: entry.next_offset(),
            end: self.end,
        });
        Ok(())
    }

    /// Sees to it that the reserve stands behind an entry of `length` bytes.
    fn keep_reserve(&mut self, length: u64) -> Result<(), IoError> {
        let needed = self
            .end
            .saturating_add(length)
            .saturating_add(self.reserve_bytes());
        if needed > self.reserved_to {
            let to = needed.saturating_add(RESERVE_STEP_BYTES);
            self.allocate(to.saturating_sub(self.end))?;
            self.reserved_to = to;
        }
        Ok(())
    }

    /// Sees to it that the file has its blocks for `length` bytes behind its end. Those of an earlier run are still there.
    fn allocate(&self, length: u64) -> Result<(), IoError> {
        self.file.preallocate(self.end, length)
    }

    /// Removes the entries from `index` on: a leader of a newer term overrules them. The caller lowers the durable
    /// index of the vote first.
    ///
    /// # Errors
    /// The disk failed; the journal is then offline.
    pub fn truncate_suffix(&mut self, index: u64) -> Result<(), StorageError> {
        self.make_ready()?;
        let kept = index
            .saturating_sub(self.purged.position.index)
            .saturating_sub(1);
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        if kept >= self.places.len() {
            return Ok(());
        }
        let end = self.end_of(self.purged.position.index + kept as u64);
        let cut = self.file.truncate(end).and_then(|()| self.file.sync_all());
        self.offline = cut.is_err();
        cut?;
        self.places.truncate(kept);
        self.end = end;
        self.reserved_to = end;
        Ok(())
    }

    /// Removes the entries up to and including `index`, which a snapshot has. Rewrites the file without them; after a
    /// crash it is the old or the new one.
    ///
    /// # Errors
    /// The disk said no; the journal goes on as it was or, if that cannot be told, is offline.
    pub fn purge_prefix(&mut self, index: u64) -> Result<(), StorageError> {
        self.make_ready()?;
        let count = index.saturating_sub(self.purged.position.index);
        let count = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(self.places.len());
        let Some(last) = count
            .checked_sub(1)
            .and_then(|last| self.places.get(last))
            .copied()
        else {
            return Ok(());
        };
        let purged = Purged {
            position: LogPosition {
                term: last.term,
                index: self.purged.position.index + count as u64,
            },
            offset: last.next_offset.saturating_sub(1),
        };
        let mut bytes = encode_header(purged);
        let rest = usize::try_from(self.end.saturating_sub(last.end)).unwrap_or(0);
        bytes.resize(HEADER_LENGTH + rest, 0);
        self.file
            .read_exact_at(last.end, &mut bytes[HEADER_LENGTH..])?;
        // On a disk that fills up meanwhile the next start needs its reserve in the new file.
        let reserve_bytes = self.reserve_bytes().saturating_add(RESERVE_STEP_BYTES);
        let written = self
            .disk
            .write_atomic_reserving(&self.path, &bytes, reserve_bytes);
        // Whether it went well or not, the file of that name is the one that counts from now on, if it keeps the name.
        self.renewal = Some(Renewal {
            purged,
            count,
            cut: last.end,
            named: written.is_ok(),
        });
        self.make_ready()?;
        Ok(written?)
    }

    /// Does what a purge has left to do. What passes, as that there is no file descriptor, leaves it for the next time.
    fn make_ready(&mut self) -> Result<(), StorageError> {
        if self.offline {
            return Err(StorageError::Offline {
                path: self.path.clone(),
            });
        }
        let Some(renewal) = self.renewal else {
            return Ok(());
        };
        let renewed = self.renew(renewal);
        match &renewed {
            Err(error) if error.is_out_of_space() => {}
            _ => {
                self.renewal = None;
                self.offline = renewed.is_err();
            }
        }
        renewed
    }

    /// Opens the file of the journal's name anew and adopts `purged` if that file has it.
    fn renew(&mut self, renewal: Renewal) -> Result<(), StorageError> {
        let Renewal {
            purged, count, cut, ..
        } = renewal;
        let file = self.disk.open(&self.path)?;
        let mut header = [0; HEADER_LENGTH];
        file.read_exact_at(0, &mut header)?;
        self.file = file;
        self.reserved_to = 0;
        // An earlier try may have come so far.
        if decode_header(&self.path, &header)? == purged && self.purged != purged {
            let moved = cut - HEADER_LENGTH as u64;
            self.places.drain(..count);
            self.places.iter_mut().for_each(|place| place.end -= moved);
            self.end -= moved;
            self.purged = purged;
        }
        match self.path.parent() {
            Some(dir) if !renewal.named => Ok(self.disk.sync_dir(dir)?),
            _ => Ok(()),
        }
    }

    fn place_of(&self, index: u64) -> Option<&Place> {
        let place = index
            .checked_sub(self.purged.position.index)?
            .checked_sub(1)?;
        self.places.get(usize::try_from(place).ok()?)
    }

    /// One past the last byte of entry `index`; the header's end for what was purged, the file's for what is to come.
    fn end_of(&self, index: u64) -> u64 {
        if index <= self.purged.position.index {
            return HEADER_LENGTH as u64;
        }
        self.place_of(index).map_or(self.end, |place| place.end)
    }

    /// Sends what follows to another file: how a test makes writes fail.
    #[cfg(test)]
    pub(super) fn write_to(&mut self, file: File) {
        self.file = file;
    }

    fn damaged_at(
        &self,
        position: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> StorageError {
        StorageError::damaged(&self.path, position, expected, found)
    }
}
