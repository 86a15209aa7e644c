//! Looking for the next sound batch behind a fault, among bytes that may be anything.
//!
//! What a client wrote may look like the head of a large batch at every byte, so what is read for it has a bound, which
//! all searches in a segment have together.

use crate::io::File;
use crate::record::{BATCH_HEADER_LENGTH, BATCH_OVERHEAD_LENGTH, BatchHeader, check_crc};
use crate::types::Offset;

/// The searches in the file of one segment.
pub(super) struct Search<'a> {
    file: &'a File,
    length: u64,
    /// Bytes that may still be read.
    left: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(file: &'a File, length: u64) -> Self {
        let left = length.saturating_mul(READ_TIMES_MAX).max(READ_BYTES_MIN);
        Self { file, length, left }
    }

    /// Where the next sound batch with an offset not below `from` begins, behind the fault at `position`. `None` when
    /// there is none.
    pub(super) fn behind(
        &mut self,
        position: u64,
        from: Offset,
    ) -> Result<Option<u64>, NotLookedAt> {
        // To find the fault took as much.
        self.spend(self.claimed_bytes(position))?;
        self.next_batch(position + 1, from)
    }

    fn next_batch(&mut self, mut position: u64, from: Offset) -> Result<Option<u64>, NotLookedAt> {
        let mut buffer = vec![0; CHUNK_BYTES];
        while position + count(BATCH_HEADER_LENGTH) <= self.length {
            let read = self.file.read_full_at(position, &mut buffer);
            let read = read.map_err(|_| NotLookedAt)?;
            self.spend(count(read))?;
            let bytes = buffer.get(..read).unwrap_or_default();
            for (place, window) in (0_u64..).zip(bytes.windows(BATCH_HEADER_LENGTH)) {
                // The magic byte first: it is cheap.
                if window.get(MAGIC_AT) == Some(&2)
                    && let Some(batch_bytes) = self.batch_bytes(window, position + place, from)
                {
                    self.spend(count(batch_bytes))?;
                    if self.is_sound(position + place, batch_bytes) {
                        return Ok(Some(position + place));
                    }
                }
            }
            let step = read
                .checked_sub(BATCH_HEADER_LENGTH - 1)
                .filter(|step| *step > 0);
            // Without a step the file has become shorter.
            position += count(step.ok_or(NotLookedAt)?);
        }
        Ok(None)
    }

    /// How long the batch is that begins with `window` at `position`, if one may begin there.
    fn batch_bytes(&self, window: &[u8], position: u64, from: Offset) -> Option<usize> {
        let header = BatchHeader::parse(window).ok()?;
        let batch_bytes = header.length_bytes();
        let end = position.saturating_add(u64::try_from(batch_bytes).ok()?);
        let may_be = header.is_plausible() && header.base_offset() >= from && end <= self.length;
        may_be.then_some(batch_bytes)
    }

    fn is_sound(&self, position: u64, batch_bytes: usize) -> bool {
        let mut batch = vec![0; batch_bytes];
        self.file.read_exact_at(position, &mut batch).is_ok() && check_crc(&batch).is_ok()
    }

    /// How long whatever begins at `position` says it is, if the file is as long: a batch, or an old message, which has
    /// its length in the same place.
    fn claimed_bytes(&self, position: u64) -> u64 {
        let mut head = [0; BATCH_OVERHEAD_LENGTH];
        if self.file.read_exact_at(position, &mut head).is_err() {
            return 0;
        }
        let field = head
            .last_chunk::<4>()
            .map_or(0, |field| u32::from_be_bytes(*field));
        let overhead = u64::try_from(BATCH_OVERHEAD_LENGTH).unwrap_or_default();
        let claimed = u64::from(field).saturating_add(overhead);
        if position.saturating_add(claimed) <= self.length {
            claimed
        } else {
            0
        }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), NotLookedAt> {
        self.left = self.left.checked_sub(bytes).ok_or(NotLookedAt)?;
        Ok(())
    }
}

/// No more may be read, or the disk does not give it: what lies behind may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotLookedAt;

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How much is looked through at a time, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// Where a batch has its format version.
const MAGIC_AT: usize = 16;
/// How often the bytes of a segment may be read for all searches in it.
const READ_TIMES_MAX: u64 = 4;
/// What may be read of a short one: some tens of milliseconds.
const READ_BYTES_MIN: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::io::Disk;
    use crate::record::BatchBuilder;
    use crate::types::Timestamp;

    fn batch(base_offset: i64, value_bytes: usize) -> Bytes {
        let mut builder = BatchBuilder::new().at(Offset(base_offset));
        builder.push(Timestamp(1), None, Some(&vec![1; value_bytes]), &[]);
        builder.build()
    }

    /// A file with these bytes, and zeros behind them.
    fn file(bytes: &[u8], length: u64) -> File {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("00000000000000000000.log");
        let file = Disk::real().create_new(&path).unwrap();
        file.write_all_at(0, bytes).unwrap();
        file.truncate(length).unwrap();
        file
    }

    /// A batch of 33 MB seemed to begin at each of its bytes, and was read: hours for a mebibyte.
    #[test]
    fn a_payload_that_has_a_magic_byte_everywhere_is_passed_over() {
        let payload = vec![2; 1 << 20];
        let sound = batch(0x0202_0202_0202_0202, 10);
        let length = 36 << 20;
        let file = file(&[&payload[..], &sound[..]].concat(), length);
        let mut search = Search::new(&file, length);
        let before = search.left;
        assert_eq!(search.next_batch(0, Offset::ZERO), Ok(Some(1 << 20)));
        let read = before - search.left;
        assert!(read < 2 << 20, "{read} bytes");
    }

    /// Heads may be made that nothing tells from those of sound batches.
    #[test]
    fn no_more_is_read_behind_faults_than_the_bound_allows() {
        let sound = batch(0, 3_000);
        let heads = sound[..BATCH_HEADER_LENGTH].repeat(20);
        let bytes = [&heads[..], &sound[..]].concat();
        let length = bytes.len() as u64;
        let file = file(&bytes, length);
        let search = |left| Search {
            left,
            ..Search::new(&file, length)
        };
        let found = |left| search(left).next_batch(1, Offset::ZERO);
        assert_eq!(found(100_000), Ok(Some(heads.len() as u64)));
        assert_eq!(found(20_000), Err(NotLookedAt));
        let (mut searched, mut walked) = (search(100_000), search(100_000));
        searched.next_batch(1, Offset::ZERO).unwrap();
        walked.behind(0, Offset::ZERO).unwrap();
        let walk = searched.left - walked.left;
        assert_eq!(walk, sound.len() as u64, "what the walk has read counts");
    }
}
