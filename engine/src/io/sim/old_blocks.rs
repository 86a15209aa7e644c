//! What lies in the blocks that a file was given and that no write of it had reached when the power failed.
//!
//! A careful file system shows zeros there. Others show what the device happens to hold: noise, or what a file was once
//! written with.

use std::path::Path;

use super::content::SECTOR_BYTES;
use crate::io::rng::Random;

/// Sectors for files to show that never wrote them.
#[derive(Debug, Default, Hash)]
pub(super) struct OldBlocks {
    /// Files with a path that ends like one of these leave their sectors to others. Without any, new blocks are zeros.
    left_by: Vec<String>,
    /// The last that were left.
    sectors: Vec<Vec<u8>>,
    /// How many were left so far.
    count: usize,
}

impl OldBlocks {
    pub(super) fn left_by(endings: &[&str]) -> Self {
        Self {
            left_by: endings.iter().map(|&ending| ending.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// A file was written to.
    pub(super) fn written(&mut self, path: &Path, position: u64, bytes: &[u8]) {
        let path = path.to_string_lossy();
        if !self.left_by.iter().any(|ending| path.ends_with(ending)) {
            return;
        }
        let inside = usize::try_from(position % SECTOR_BYTES as u64).unwrap_or(0);
        let mut padded = vec![0; inside];
        padded.extend_from_slice(bytes);
        for sector in padded.chunks(SECTOR_BYTES) {
            let mut sector = sector.to_vec();
            sector.resize(SECTOR_BYTES, 0);
            let place = self.count % SECTORS_KEPT_MAX;
            self.count += 1;
            match self.sectors.get_mut(place) {
                Some(old) => *old = sector,
                None => self.sectors.push(sector),
            }
        }
    }

    /// Fills the part of a new sector, zeros so far, that its file shows.
    pub(super) fn show(&self, part: &mut [u8], random: &mut Random) {
        if self.left_by.is_empty() {
            return;
        }
        match random.below(4) {
            0 => random.fill(part),
            1 | 2 => {
                let place = random.below(self.sectors.len() as u64);
                let old = usize::try_from(place).ok();
                if let Some(old) = old.and_then(|place| self.sectors.get(place)) {
                    let length = part.len();
                    part.copy_from_slice(&old[..length]);
                }
            }
            _ => {}
        }
    }
}

const SECTORS_KEPT_MAX: usize = 64;
