//! Reading a log from its start to a bound, batch by batch, blocking: for coordinators that are loaded.

use super::Log;
use super::segment::Segment;
use super::walk::{Ahead, WalkError, Walker};
use crate::io::File;
use crate::record::Batch;
use crate::types::Offset;

/// Blocking work: a walk through all batches that lay below a bound when it was asked for.
#[derive(Debug)]
pub struct BatchScan {
    /// Files and their lengths, the next one last.
    files: Vec<(File, u64)>,
    position: u64,
    ahead: Ahead,
    log_start_offset: Offset,
    /// Offsets from here on are not read (exclusive, a batch's edge).
    upper_bound: Offset,
}

impl Log {
    /// A walk from the log's start to `upper_bound`.
    #[must_use]
    pub fn scan(&self, upper_bound: Offset) -> BatchScan {
        let below = |segment: &&Segment| segment.base_offset < upper_bound && segment.length > 0;
        let files = self.segments.iter().rev().filter(below);
        BatchScan {
            files: files
                .map(|segment| (segment.file.clone(), segment.length))
                .collect(),
            position: 0,
            ahead: Ahead::default(),
            log_start_offset: self.log_start_offset,
            upper_bound,
        }
    }
}

impl BatchScan {
    /// The next batch that has an offset within the bounds, its checksum verified; `None` at the end.
    ///
    /// # Errors
    /// [`WalkError`] when the disk refuses or a batch is not sound.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, WalkError> {
        while let Some((file, length)) = self.files.last() {
            let ahead = std::mem::take(&mut self.ahead);
            let mut walker = Walker::going_on(file, self.position, *length, ahead);
            let Some(walked) = walker.next_batch()? else {
                self.files.pop();
                self.position = 0;
                continue;
            };
            if walked.header.base_offset() >= self.upper_bound {
                self.files.clear();
                break;
            }
            walker.check_crc(&walked)?;
            let bytes = walker.whole(&walked)?;
            self.position = walker.position();
            self.ahead = walker.into_ahead();
            if walked.header.next_offset() > self.log_start_offset {
                return Ok(Some(Batch {
                    header: walked.header,
                    bytes,
                }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
impl BatchScan {
    /// A walk where nothing is.
    pub(crate) fn of_nothing() -> Self {
        Self {
            files: Vec::new(),
            position: 0,
            ahead: Ahead::default(),
            log_start_offset: Offset::ZERO,
            upper_bound: Offset::ZERO,
        }
    }
}
