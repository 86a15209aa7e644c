//! The bytes of one simulated file: as the page cache shows them, and as the device holds them.
//!
//! What was changed since the last sync is kept as a list; a crash, or a sync that fails, decides what of it arrived.

use std::collections::BTreeSet;

use nix::errno::Errno;

use super::old_blocks::OldBlocks;
use crate::io::rng::Random;

/// One file, with or without a name.
#[derive(Debug, Default, Hash)]
pub(super) struct Content {
    /// What a read sees.
    cached: Vec<u8>,
    /// What is left after a crash that loses all of `unsynced`.
    durable: Vec<u8>,
    /// Changes of `cached` since the last sync, oldest first.
    unsynced: Vec<Change>,
    /// How many changes there ever were.
    changes: u64,
    /// End of the reserved blocks, in bytes; may lie past the length.
    reserved: usize,
    /// The same as the device holds it.
    reserved_durably: usize,
    /// Handles on the file.
    pub(super) opened: u64,
}

#[derive(Debug, Hash)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.cached.len() as u64
    }

    /// How many changes there were so far: the number of the newest.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes of the device that the file occupies.
    pub(super) fn occupied(&self) -> u64 {
        self.cached.len().max(self.reserved) as u64
    }

    /// The bytes from `position` on, at most `length`.
    pub(super) fn read(&self, position: u64, length: usize) -> &[u8] {
        let from = usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(self.cached.len());
        let to = from.saturating_add(length).min(self.cached.len());
        &self.cached[from..to]
    }

    pub(super) fn write(&mut self, position: u64, bytes: &[u8]) -> Result<(), Errno> {
        let end = position.saturating_add(bytes.len() as u64);
        let (position, _) = (bounded(position)?, bounded(end)?);
        if !bytes.is_empty() {
            self.change(Change::Write {
                position,
                bytes: bytes.to_vec(),
            });
        }
        Ok(())
    }

    pub(super) fn set_length(&mut self, length: u64) -> Result<(), Errno> {
        let length = bounded(length)?;
        self.reserved = self.reserved.min(length);
        if length != self.cached.len() {
            self.change(Change::Length(length));
        }
        Ok(())
    }

    pub(super) fn reserve(&mut self, end: u64) -> Result<(), Errno> {
        self.reserved = self.reserved.max(bounded(end)?);
        Ok(())
    }

    /// The cache is dropped: what the device holds is seen, in the length that the file has. From `from` to `to` it
    /// counts as written anew. Nothing may be unsynced.
    pub(super) fn reread(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        let length = self.cached.len();
        self.cached.clone_from(&self.durable);
        self.cached.resize(length, 0);
        let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        let bytes = self.read(from, count).to_vec();
        self.write(from, &bytes)
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached, |_| true);
        self.unsynced.push(change);
        self.changes += 1;
    }

    /// A sync that was asked for behind so many changes. Of later ones it promises nothing: they go with it or stay.
    pub(super) fn sync(&mut self, changes: u64, random: &mut Random) {
        let later = usize::try_from(self.changes.saturating_sub(changes)).unwrap_or(usize::MAX);
        let later = later.min(self.unsynced.len());
        let stay = if later > 0 && random.chance(1, 2) {
            later
        } else {
            0
        };
        for change in self.unsynced.drain(..self.unsynced.len() - stay) {
            change.apply(&mut self.durable, |_| true);
        }
        self.reserved_durably = self.reserved;
    }

    /// A sync that failed: some of the writes arrived, and the cache forgets that the others did not. Lengths are the
    /// file system's own bookkeeping: it keeps them, or takes the whole disk away.
    pub(super) fn sync_in_part(&mut self, random: &mut Random) {
        self.arrive_in_part(random, true);
    }

    /// Answers which sectors the file has now that nobody wrote: zeros, as they are left.
    fn arrive_in_part(&mut self, random: &mut Random, lengths_arrive: bool) -> Vec<usize> {
        let cached_length = self.cached.len();
        let mut kept_bytes = self.durable.len();
        let mut written = BTreeSet::new();
        for change in self.unsynced.drain(..) {
            let arrived = if lengths_arrive && matches!(change, Change::Length(_)) {
                1
            } else {
                random.below(4)
            };
            change.apply(&mut self.durable, |at| {
                let arrives = match arrived {
                    0 => false,
                    1 => true,
                    // Sectors go their own ways; which of them arrive does not depend on their order.
                    _ => random.chance(1, 2),
                };
                if arrives && matches!(change, Change::Write { .. }) {
                    written.insert(at / SECTOR_BYTES);
                }
                arrives
            });
            if self.durable.len() < kept_bytes {
                kept_bytes = self.durable.len();
            }
            written.split_off(&self.durable.len().div_ceil(SECTOR_BYTES));
        }
        // A file system may remember the length and not the bytes.
        if self.durable.len() < cached_length && random.chance(1, 4) {
            self.durable.resize(cached_length, 0);
        }
        let new = kept_bytes.div_ceil(SECTOR_BYTES)..self.durable.len().div_ceil(SECTOR_BYTES);
        new.filter(|sector| !written.contains(sector)).collect()
    }

    /// The machine stops, and starts again with what the device holds.
    pub(super) fn crash(&mut self, old_blocks: &OldBlocks, random: &mut Random) {
        for sector in self.arrive_in_part(random, false) {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(self.durable.len());
            old_blocks.show(&mut self.durable[from..to], random);
        }
        self.cached = self.durable.clone();
        self.reserved = self.reserved_durably;
        self.opened = 0;
    }
}

impl Change {
    /// Carries the change out on `bytes`: of a write those sectors that `arrives` lets through, each whole.
    fn apply(&self, bytes: &mut Vec<u8>, mut arrives: impl FnMut(usize) -> bool) {
        match self {
            Self::Length(length) => {
                if arrives(*length) {
                    bytes.resize(*length, 0);
                }
            }
            Self::Write {
                position,
                bytes: written,
            } => {
                let (mut at, end) = (*position, *position + written.len());
                while at < end {
                    let next = (at / SECTOR_BYTES + 1)
                        .saturating_mul(SECTOR_BYTES)
                        .min(end);
                    if arrives(at) {
                        let length = bytes.len().max(next);
                        bytes.resize(length, 0);
                        bytes[at..next].copy_from_slice(&written[at - position..next - position]);
                    }
                    at = next;
                }
            }
        }
    }
}

fn bounded(position: u64) -> Result<usize, Errno> {
    let position = usize::try_from(position).ok();
    position
        .filter(|&position| position <= FILE_BYTES_MAX)
        .ok_or(Errno::EFBIG)
}

/// What a device writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// A simulation lives in memory: what is larger is a mistake of the test.
const FILE_BYTES_MAX: usize = 1 << 30;
