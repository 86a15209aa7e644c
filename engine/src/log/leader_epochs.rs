//! Which leader epoch began at which offset: what followers and clients ask to find where two logs diverge.
//!
//! The list and its checkpoint file in Kafka's text format; it neither reads nor writes files.

use std::fmt::Write as _;
use std::path::Path;

use super::checkpoint::{CheckpointError, Lines};
use crate::types::{LeaderEpoch, Offset};

/// One leader epoch and the first offset written under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch; never [`LeaderEpoch::NONE`].
    pub epoch: LeaderEpoch,
    /// The first offset that was, or will be, written under it.
    pub start_offset: Offset,
}

/// The epochs of one log, oldest first. Epochs grow strictly, start offsets do not fall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

/// The answer to "where did this epoch end here?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The greatest epoch we know that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// The first offset that does not belong to it.
    pub end_offset: Offset,
}

impl LeaderEpochs {
    /// The newest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// All epochs, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Notes that `epoch` begins at `start_offset`; `true` when that is news. What contradicts it goes: entries of the
    /// same or a later epoch, and entries that start at or behind it (epochs under which nothing was written).
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        if epoch < LeaderEpoch::ZERO || self.latest().is_some_and(|last| last.epoch == epoch) {
            return false;
        }
        self.entries
            .retain(|entry| entry.epoch < epoch && entry.start_offset < start_offset);
        self.entries.push(EpochStart {
            epoch,
            start_offset,
        });
        true
    }

    /// Where `requested` ended in a log that ends at `log_end_offset` (OffsetForLeaderEpoch, KIP-101 and KIP-279):
    /// `None` for an epoch newer than all known and for [`LeaderEpoch::NONE`].
    #[must_use]
    pub fn end_offset(&self, requested: LeaderEpoch, log_end_offset: Offset) -> Option<EpochEnd> {
        if requested < LeaderEpoch::ZERO {
            return None;
        }
        if self.latest()?.epoch == requested {
            return Some(EpochEnd {
                epoch: requested,
                end_offset: log_end_offset,
            });
        }
        let above = self
            .entries
            .partition_point(|entry| entry.epoch <= requested);
        let next = self.entries.get(above)?;
        let epoch = above
            .checked_sub(1)
            .and_then(|floor| self.entries.get(floor))
            .map_or(requested, |floor| floor.epoch);
        Some(EpochEnd {
            epoch,
            end_offset: next.start_offset,
        })
    }

    /// The epoch that the record at `offset` was, or will be, written under.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        self.entries
            .get(above.checked_sub(1)?)
            .map(|entry| entry.epoch)
    }

    /// Forgets what began at or behind `end_offset`, where the log now ends. `true` when something went.
    pub fn truncate_from_end(&mut self, end_offset: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        self.entries.len() != before
    }

    /// Forgets what ended at or below `start_offset`, where the log now starts; the epoch in force there starts there.
    /// `true` when something changed.
    pub fn truncate_from_start(&mut self, start_offset: Offset) -> bool {
        let below = self
            .entries
            .partition_point(|entry| entry.start_offset <= start_offset);
        let Some(in_force) = below.checked_sub(1) else {
            return false;
        };
        let moved = self.entries.drain(..in_force).len() > 0;
        match self.entries.first_mut() {
            Some(first) if first.start_offset != start_offset => {
                first.start_offset = start_offset;
                true
            }
            _ => moved,
        }
    }

    /// The contents of `leader-epoch-checkpoint`: a version, a count, then `epoch offset` per line.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{VERSION}\n{}\n", self.entries.len());
        for entry in &self.entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
        }
        text
    }

    /// Reads a `leader-epoch-checkpoint`; `path` is for the messages.
    ///
    /// # Errors
    /// [`CheckpointError`] for a newer version or a line that is none.
    pub fn decode(path: &Path, text: &[u8]) -> Result<Self, CheckpointError> {
        let mut lines = Lines::open(path, text, VERSION)?;
        let mut epochs = Self::default();
        while let Some(line) = lines.next_entry()? {
            let mut words = line.split_ascii_whitespace();
            let entry = match (words.next(), words.next(), words.next()) {
                (Some(epoch), Some(offset), None) => epoch.parse().ok().zip(offset.parse().ok()),
                _ => None,
            };
            let follows = entry.filter(|&(epoch, offset)| {
                epochs.latest().is_none_or(|last| {
                    LeaderEpoch(epoch) > last.epoch && Offset(offset) >= last.start_offset
                })
            });
            let Some((epoch, offset)) =
                follows.filter(|&(epoch, offset)| epoch >= 0 && offset >= 0)
            else {
                return Err(lines.malformed("an epoch and its start offset, both growing"));
            };
            epochs.entries.push(EpochStart {
                epoch: LeaderEpoch(epoch),
                start_offset: Offset(offset),
            });
        }
        Ok(epochs)
    }
}

/// The only version of the checkpoint there is.
const VERSION: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, start) in entries {
            assert!(epochs.assign(LeaderEpoch(epoch), Offset(start)));
        }
        epochs
    }

    fn end(epochs: &LeaderEpochs, requested: i32) -> Option<(i32, i64)> {
        let end = epochs.end_offset(LeaderEpoch(requested), Offset(100))?;
        Some((end.epoch.0, end.end_offset.0))
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(2, 10), (5, 40), (7, 60)]);
        assert_eq!(end(&epochs, 7), Some((7, 100)));
        assert_eq!(end(&epochs, 5), Some((5, 60)));
        assert_eq!(end(&epochs, 6), Some((5, 60)));
        assert_eq!(end(&epochs, 2), Some((2, 40)));
        assert_eq!(end(&epochs, 1), Some((1, 10)), "before all known epochs");
        assert_eq!(end(&epochs, 8), None, "newer than all known epochs");
        assert_eq!(end(&epochs, -1), None);
        assert_eq!(end(&LeaderEpochs::default(), 0), None);
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_the_next() {
        let mut epochs = epochs(&[(0, 0), (1, 10)]);
        assert!(epochs.assign(LeaderEpoch(2), Offset(10)));
        assert!(!epochs.assign(LeaderEpoch(2), Offset(20)));
        assert_eq!(epochs.encode(), "0\n2\n0 0\n2 10\n");
        assert_eq!(epochs.epoch_of(Offset(9)), Some(LeaderEpoch(0)));
        assert_eq!(epochs.epoch_of(Offset(10)), Some(LeaderEpoch(2)));
    }

    #[test]
    fn truncation_keeps_the_epoch_in_force() {
        let mut front = epochs(&[(0, 0), (1, 10), (2, 20)]);
        assert!(front.truncate_from_start(Offset(15)));
        assert_eq!(front.encode(), "0\n2\n1 15\n2 20\n");
        assert!(!front.truncate_from_start(Offset(15)));
        assert!(!front.truncate_from_start(Offset(3)));
        let mut back = epochs(&[(0, 0), (1, 10), (2, 20)]);
        assert!(back.truncate_from_end(Offset(20)));
        assert_eq!(back.encode(), "0\n2\n0 0\n1 10\n");
    }

    #[test]
    fn the_checkpoint_reads_back_and_a_newer_one_is_refused() {
        let path = Path::new("leader-epoch-checkpoint");
        let written = epochs(&[(0, 0), (3, 12)]);
        assert_eq!(
            LeaderEpochs::decode(path, written.encode().as_bytes()).unwrap(),
            written
        );
        assert!(matches!(
            LeaderEpochs::decode(path, b"1\n0\n"),
            Err(CheckpointError::UnsupportedVersion {
                found: 1,
                supported: 0,
                ..
            })
        ));
        for broken in [
            "0\n1\n",
            "0\n1\n5\n",
            "0\n2\n5 1\n4 2\n",
            "0\n1\n-1 0\n",
            "x",
            "",
        ] {
            assert!(
                LeaderEpochs::decode(path, broken.as_bytes()).is_err(),
                "{broken:?}"
            );
        }
    }
}
