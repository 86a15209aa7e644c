//! What lies in a partition's directory when it is opened, and the leftovers of work that a stop interrupted.
//!
//! It goes by names and lengths; only a finished compaction has to be looked into, to know which segments it replaces, and
//! a segment before an empty one, to know whether it ends there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::names::{self, FileKind};
use super::offset_index::{OFFSET_ENTRY_BYTES, OffsetIndex};
use super::retention::remove_if_there;
use super::segment::{is_batch_at, last_entry};
use super::walk::{WalkError, Walker};
use crate::io::{Disk, IoError};
use crate::types::Offset;

/// The files of a directory that belong to a log, after sweeping.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Length of each record file by its base offset.
    pub(super) logs: BTreeMap<Offset, u64>,
    /// The offsets of producer snapshots.
    pub(super) snapshots: BTreeSet<Offset>,
}

/// Finishes or undoes what was interrupted, and tells what there is. `notes` gets a line for everything removed or
/// unknown.
pub(super) fn sweep(
    disk: &Disk,
    directory: &Path,
    notes: &mut Vec<String>,
) -> Result<Inventory, WalkError> {
    finish_compactions(disk, directory, notes)?;
    let mut inventory = Inventory::default();
    let (mut companions, mut windows) = (Vec::new(), Vec::new());
    for entry in disk.list(directory)? {
        let path = directory.join(&entry.name);
        match FileKind::of(&entry.name) {
            _ if entry.is_dir => notes.push(format!("left alone: directory {}", path.display())),
            FileKind::Segment {
                base_offset,
                ending,
            } => match ending {
                names::LOG => {
                    inventory.logs.insert(base_offset, entry.length);
                }
                names::SNAPSHOT => {
                    inventory.snapshots.insert(base_offset);
                }
                names::WINDOWS => windows.push((base_offset, path)),
                _ => companions.push((base_offset, path)),
            },
            FileKind::Leftover | FileKind::Cleaned { .. } | FileKind::Swap { .. } => {
                disk.remove_file(&path)?;
                notes.push(format!("removed leftover {}", path.display()));
            }
            FileKind::Known => {}
            FileKind::Foreign(_) => notes.push(format!("left alone: {}", path.display())),
        }
    }
    remove_overtaken(disk, directory, &mut inventory, notes)?;
    for (offset, path) in windows {
        if !inventory.snapshots.contains(&offset) {
            disk.remove_file(&path)?;
            notes.push(format!("removed {}: it has no snapshot", path.display()));
        }
    }
    for (base_offset, path) in companions {
        if !inventory.logs.contains_key(&base_offset) {
            disk.remove_file(&path)?;
            notes.push(format!("removed {}: it has no log", path.display()));
        }
    }
    Ok(inventory)
}

/// A roll that failed may leave an empty segment, and the one before goes on past its base: what it has there would not seem
/// to be in the log. Compaction leaves empty segments, too, any number in a row, but none that begins before another ends.
fn remove_overtaken(
    disk: &Disk,
    directory: &Path,
    inventory: &mut Inventory,
    notes: &mut Vec<String>,
) -> Result<(), WalkError> {
    let mut overtaken = Vec::new();
    let (mut before, mut end) = (None, None);
    for (&base_offset, &length) in &inventory.logs {
        if length > 0 {
            (before, end) = (Some((base_offset, length)), None);
        } else if let Some((before, length)) = before {
            let known = match end {
                Some(known) => known,
                None => sound_end(disk, directory, before, length)?,
            };
            end = Some(known);
            if base_offset < known {
                overtaken.push(base_offset);
            }
        }
    }
    for base_offset in overtaken {
        inventory.logs.remove(&base_offset);
        let path = names::segment_file(directory, base_offset, names::LOG);
        disk.remove_file(&path)?;
        notes.push(format!(
            "removed {}: it is empty, and the segment before it goes on past its base",
            path.display()
        ));
    }
    Ok(())
}

/// Where a segment ends (exclusive), as far as its batches are sound: by those from its last index entry on.
fn sound_end(
    disk: &Disk,
    directory: &Path,
    base_offset: Offset,
    length: u64,
) -> Result<Offset, WalkError> {
    let path = |ending| names::segment_file(directory, base_offset, ending);
    let file = disk.open_read_only(&path(names::LOG))?;
    let entry = last_entry::<OFFSET_ENTRY_BYTES>(disk, &path(names::OFFSET_INDEX))?;
    let entry = entry.and_then(|entry| OffsetIndex::decode(base_offset, &entry, length).ok());
    let from = match entry.and_then(|entry| entry.last()) {
        Some((last_offset, position)) if is_batch_at(&file, length, last_offset, position)? => {
            position
        }
        _ => 0,
    };
    let mut walker = Walker::new(&file, from, length);
    let mut end = base_offset;
    loop {
        let stepped = walker.next_batch().and_then(|batch| {
            if let Some(batch) = &batch {
                walker.check_crc(batch)?;
            }
            Ok(batch)
        });
        match stepped {
            Ok(Some(batch)) => end = batch.header.next_offset(),
            Ok(None) | Err(WalkError::Fault(_)) => return Ok(end),
            Err(error) => return Err(error),
        }
    }
}

/// A compaction writes `.cleaned` files, renames them to `.swap` from the last to the first, then puts them in place of
/// the segments they replace. While there are cleaned files, swap files from the first of them on are unfinished too.
fn finish_compactions(
    disk: &Disk,
    directory: &Path,
    notes: &mut Vec<String>,
) -> Result<(), WalkError> {
    let mut first_cleaned = None;
    let mut swaps: Vec<(Offset, &'static str)> = Vec::new();
    let mut there = BTreeSet::new();
    for entry in disk.list(directory)? {
        match FileKind::of(&entry.name) {
            FileKind::Cleaned { base_offset } => {
                first_cleaned =
                    Some(first_cleaned.map_or(base_offset, |o: Offset| o.min(base_offset)));
            }
            FileKind::Swap {
                base_offset,
                ending,
            } => swaps.push((base_offset, ending)),
            FileKind::Segment {
                base_offset,
                ending,
            } => {
                there.insert((base_offset, ending));
            }
            _ => {}
        }
    }
    // Those that are not finished are swept with the other leftovers.
    swaps.retain(|&(base_offset, _)| first_cleaned.is_none_or(|cleaned| base_offset < cleaned));
    let logs = swaps.iter().filter(|(_, ending)| *ending == names::LOG);
    let logs: BTreeSet<Offset> = logs.map(|&(base_offset, _)| base_offset).collect();
    // Companions without their log: it has its own name already, or a sweep of what had not come about was interrupted. Then
    // the segment that is there has such a file, and is not given another.
    swaps.retain(|swap| logs.contains(&swap.0) || !there.contains(swap));
    if swaps.is_empty() {
        return Ok(());
    }
    // Were the renaming to `.swap` lost, and not the removal of what it replaces, nothing would be left.
    disk.sync_dir(directory)?;
    for &base_offset in &logs {
        let path = names::segment_file(directory, base_offset, names::LOG);
        let swap = names::with_ending(&path, names::SWAP);
        remove_replaced(disk, directory, base_offset, &swap)?;
        notes.push(format!("finished the compaction of {}", swap.display()));
    }
    // A replaced segment that came back beside the new one would hold offsets twice.
    disk.sync_dir(directory)?;
    Ok(name_swapped(disk, directory, &swaps)?)
}

/// Gives swap files their own names; durable on return. The logs first: a start that finds one named `.swap` removes what has
/// the names of its companions.
pub(super) fn name_swapped(
    disk: &Disk,
    directory: &Path,
    swaps: &[(Offset, &str)],
) -> Result<(), IoError> {
    for is_log in [true, false] {
        for &(base_offset, ending) in swaps {
            if (ending == names::LOG) == is_log {
                let path = names::segment_file(directory, base_offset, ending);
                disk.rename(&names::with_ending(&path, names::SWAP), &path)?;
            }
        }
        disk.sync_dir(directory)?;
    }
    Ok(())
}

fn remove_replaced(
    disk: &Disk,
    directory: &Path,
    base_offset: Offset,
    swap: &Path,
) -> Result<(), WalkError> {
    let file = disk.open_read_only(swap)?;
    let mut walker = Walker::new(&file, 0, file.length()?);
    let mut last_offset = base_offset;
    while let Some(batch) = walker.next_batch()? {
        last_offset = batch.header.last_offset();
    }
    for entry in disk.list(directory)? {
        let replaced = match FileKind::of(&entry.name) {
            FileKind::Segment {
                base_offset: found,
                ending: names::LOG | names::OFFSET_INDEX | names::TIME_INDEX,
            }
            | FileKind::Segment {
                base_offset: found,
                ending: names::TRANSACTION_INDEX,
            } => (base_offset..=last_offset).contains(&found),
            _ => false,
        };
        if replaced {
            disk.remove_file(&directory.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Removes every file of the segment at `base_offset`.
pub(super) fn remove_segment(
    disk: &Disk,
    directory: &Path,
    base_offset: Offset,
) -> Result<(), IoError> {
    for ending in names::SEGMENT_ENDINGS {
        remove_if_there(disk, &names::segment_file(directory, base_offset, ending))?;
    }
    Ok(())
}

/// Removes both files of the snapshot at `offset`.
pub(super) fn remove_snapshot(
    disk: &Disk,
    directory: &Path,
    offset: Offset,
) -> Result<(), IoError> {
    for ending in [names::SNAPSHOT, names::WINDOWS] {
        remove_if_there(disk, &names::segment_file(directory, offset, ending))?;
    }
    Ok(())
}
