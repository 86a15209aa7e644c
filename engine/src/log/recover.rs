//! Finding out what of a log is sound: where it ends, what its tail lost, whether what was stable still is.
//!
//! Up to the recovery point only headers are followed; behind it everything is checked. A first failure behind it is a
//! torn tail and is cut; one below it is damage and is left alone.

use std::path::Path;
use std::sync::Arc;

use super::Damage;
use super::leader_epochs::LeaderEpochs;
use super::names;
use super::open::{Cut, OpenError, OpenOptions, RecoveryReport};
use super::segment::{IndexState, Segment, SegmentIndex, is_batch_at, last_entry, remove_index};
use super::sweep::{Inventory, remove_segment};
use super::time_index::{TIME_ENTRY_BYTES, TimeIndex};
use super::walk::{Fault, FaultReason, WalkError, Walked, Walker};
use crate::io::{Check, Disk, File, IoError, Reread};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// How far a log may be believed before it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It was left in order.
    Everything,
    /// What reads show behind the recovery point is there, in the page cache at least.
    Cache,
    /// Behind the recovery point only the device knows: a sync failed.
    Device,
}

/// What a scan of the segments found.
#[derive(Debug)]
pub(super) struct Scan {
    /// All sound segments, oldest first; never empty.
    pub(super) segments: Vec<Segment>,
    /// Where the log ends.
    pub(super) end_offset: Offset,
    pub(super) damage: Option<Damage>,
    /// What is to be cut: the fault, the segment it is in (the last of `segments`, unless all of it goes), and the
    /// segments behind it.
    torn: Option<Torn>,
}

#[derive(Debug)]
struct Torn {
    fault: Fault,
    /// File and length to cut it to.
    cut: Option<(File, u64)>,
    bytes_cut: u64,
    removed: Vec<Offset>,
}

/// The state of a scan that goes from segment to segment.
struct Scanner<'a> {
    disk: &'a Disk,
    options: &'a OpenOptions,
    epochs: &'a mut LeaderEpochs,
    report: &'a mut RecoveryReport,
    trust: Trust,
    /// Offsets below were on stable storage: what is wrong there is damage.
    stable_below: Offset,
    /// The offset that continues the log; unknown before the first batch.
    expected: Option<Offset>,
    last_epoch: LeaderEpoch,
    /// The index of the segment that was checked last is in its files.
    index_written: bool,
}

/// Opens the segments of `inventory` and checks those that have to be.
pub(super) fn scan(
    disk: &Disk,
    options: &OpenOptions,
    inventory: &Inventory,
    trust: Trust,
    epochs: &mut LeaderEpochs,
    report: &mut RecoveryReport,
) -> Result<Scan, OpenError> {
    let bases: Vec<Offset> = inventory.logs.keys().copied().collect();
    let last = bases.len().saturating_sub(1);
    let point = options.recovery_point;
    let clean = trust == Trust::Everything;
    let first_scanned = if clean {
        last
    } else {
        bases
            .partition_point(|&base| base <= point)
            .saturating_sub(1)
    };
    let mut scanner = Scanner {
        disk,
        options,
        epochs,
        report,
        trust,
        stable_below: if clean { Offset(i64::MAX) } else { point },
        expected: None,
        last_epoch: LeaderEpoch::NONE,
        index_written: false,
    };
    let mut found = Scan {
        segments: Vec::with_capacity(bases.len()),
        end_offset: Offset::ZERO,
        damage: None,
        torn: None,
    };
    for (place, &base_offset) in bases.iter().enumerate() {
        let length = inventory.logs.get(&base_offset).copied().unwrap_or(0);
        if place < first_scanned {
            let segment = scanner.trusted(base_offset, length)?;
            found.segments.push(segment);
            continue;
        }
        let is_last = place == last;
        let fault = scanner.check_segment(base_offset, length, is_last, &mut found)?;
        let end = scanner.expected.unwrap_or(base_offset);
        found.end_offset = end;
        let Some(fault) = fault else {
            continue;
        };
        if matches!(fault.reason, FaultReason::OldFormat { .. }) {
            return Err(OpenError::OldFormat(fault));
        }
        if end < scanner.stable_below {
            found.damage = Some(Damage { offset: end, fault });
        } else {
            let behind = bases.get(place + 1..).unwrap_or_default();
            found.torn = Some(torn(fault, length, base_offset, behind, inventory, &found));
        }
        break;
    }
    if found.damage.is_none() && found.end_offset < point {
        found.damage = missing(&found, point);
        found.torn = None;
    }
    Ok(found)
}

/// The log ends before what was stable.
fn missing(found: &Scan, recovery_point: Offset) -> Option<Damage> {
    let last = found.segments.last()?;
    Some(Damage {
        offset: found.end_offset,
        fault: Fault {
            path: last.file.path().to_owned(),
            position: last.length,
            reason: FaultReason::Missing {
                end: found.end_offset,
                recovery_point,
            },
        },
    })
}

fn torn(
    fault: Fault,
    length: u64,
    base_offset: Offset,
    behind: &[Offset],
    inventory: &Inventory,
    found: &Scan,
) -> Torn {
    let lengths = |offset: &Offset| inventory.logs.get(offset).copied().unwrap_or(0);
    let mut removed = behind.to_vec();
    let mut bytes_cut: u64 = behind.iter().map(lengths).sum();
    let cut = match found.segments.last() {
        Some(segment) if segment.base_offset == base_offset => {
            bytes_cut += length.saturating_sub(segment.length);
            Some((segment.file.clone(), segment.length))
        }
        // The whole segment does not continue the log.
        _ => {
            bytes_cut += length;
            removed.insert(0, base_offset);
            None
        }
    };
    Torn {
        fault,
        cut,
        bytes_cut,
        removed,
    }
}

impl Scanner<'_> {
    fn open(&self, base_offset: Offset) -> Result<File, IoError> {
        let path = names::segment_file(&self.options.directory, base_offset, names::LOG);
        self.disk.open(&path)
    }

    /// A closed segment below the recovery point: only its greatest timestamp is asked for.
    fn trusted(&mut self, base_offset: Offset, length: u64) -> Result<Segment, OpenError> {
        let file = self.open(base_offset)?;
        let mut segment = Segment::new(base_offset, file, self.options.now);
        segment.length = length;
        segment.synced = true;
        segment.index = IndexState::OnDisk;
        segment.max_timestamp = last_time_entry(self.disk, &self.options.directory, base_offset)?;
        // The age of what waits for compaction counts from there.
        if self.options.config.cleanup_policy.compact
            && let Ok(Some(first)) = Walker::new(&segment.file, 0, length).next_batch()
        {
            segment.first_timestamp = first.header.max_timestamp();
        }
        if segment.max_timestamp.is_none() && length > 0 {
            let interval = self.options.config.index_interval_bytes;
            let job = segment.index_job(&self.options.directory, interval, false, true);
            match job.run(self.disk) {
                Ok(loaded) => segment.max_timestamp = loaded.index.max_timestamp,
                Err(WalkError::Io(error)) => return Err(error.into()),
                // Found again, and answered, by whoever reads there.
                Err(WalkError::Fault(fault)) => self.report.notes.push(format!("damage: {fault}")),
            }
            segment.hollow = segment.max_timestamp.is_none() && is_hollow(&segment)?;
        }
        Ok(segment)
    }

    /// Follows the batches of a segment as far as they are sound. The sound part becomes the next segment of `found`,
    /// unless it does not continue the log at all.
    fn check_segment(
        &mut self,
        base_offset: Offset,
        length: u64,
        is_last: bool,
        found: &mut Scan,
    ) -> Result<Option<Fault>, OpenError> {
        let file = self.open(base_offset)?;
        if let Some(fault) = self.check_base(base_offset, &file) {
            return Ok(Some(fault));
        }
        let mut index = self.index_so_far(base_offset, &file, length)?;
        // An entry tells where a batch was written, not that it arrived.
        let believed_below = if file.asks_for(Check::Indexes) {
            self.stable_below
        } else {
            Offset(i64::MAX)
        };
        let entries = index.offsets.count();
        let mut from = index.resume_below(believed_below);
        // The last entry was held against the log when the index was read.
        if index.offsets.count() < entries
            && let Some((last_offset, position)) = index.offsets.last()
            && !is_batch_at(&file, length, last_offset, position)?
        {
            index = SegmentIndex::new(base_offset);
            from = 0;
        }
        if self.trust == Trust::Device {
            self.reread(&file, from, length)?;
        }
        if from > 0 {
            self.expected = None;
        } else {
            self.expected = Some(base_offset);
        }
        let mut walker = Walker::new(&file, from, length);
        let interval = self.options.config.index_interval_bytes;
        let mut sound = from;
        // What was read from the device counts as written anew.
        let mut synced = self.trust != Trust::Device;
        let fault = loop {
            match self.next_sound(&mut walker, is_last) {
                Ok(None) => break None,
                Ok(Some(batch)) => {
                    let place = batch.place();
                    index.note(&place, interval);
                    sound = place.end_position();
                    synced &= place.last_offset < self.stable_below;
                }
                Err(WalkError::Io(error)) => return Err(error.into()),
                Err(WalkError::Fault(fault)) => break Some(fault),
            }
        };
        self.report.scanned_bytes += sound - from;
        let mut segment = Segment::new(base_offset, file, self.options.now);
        segment.length = sound;
        segment.synced = synced;
        segment.max_timestamp = index.max_timestamp;
        if let Ok(Some(first)) = Walker::new(&segment.file, 0, sound).next_batch() {
            segment.first_timestamp = first.header.max_timestamp();
        }
        segment.hollow = !is_last && segment.max_timestamp.is_none() && is_hollow(&segment)?;
        let mut written = false;
        if !is_last && fault.is_none() {
            index.complete();
            let result = index.write(self.disk, &self.options.directory, base_offset);
            written = unless_full(result, self.report)?;
        }
        segment.index = IndexState::Loaded(Arc::new(index));
        // Only now: the one before would go on if this one were cut off.
        if std::mem::replace(&mut self.index_written, written)
            && let Some(before) = found.segments.last_mut()
        {
            before.index = IndexState::OnDisk;
        }
        found.segments.push(segment);
        Ok(fault)
    }

    /// Lets the rest of the file show what the device holds.
    fn reread(&mut self, file: &File, from: u64, length: u64) -> Result<(), IoError> {
        let path = file.path().display();
        match file.reread(from, length)? {
            Reread::FromDevice => self.report.notes.push(format!(
                "{path} was read from the device from position {from} on, because a flush had failed"
            )),
            Reread::CacheDropped => self.report.warnings.push(format!(
                "a flush of {path} had failed, and its file system cannot be read around the page cache: if it \
                 was not mounted anew since, records may be shown that the device does not have"
            )),
        }
        Ok(())
    }

    /// A segment begins where the one before ends; later where compaction removed what was between. How far that came
    /// the cleaner's line does not say: it was written before, and stays where a compaction comes to no end.
    fn check_base(&self, base_offset: Offset, file: &File) -> Option<Fault> {
        let expected = self.expected?;
        let was_compacted = self.options.cleaned_to > Offset::NONE;
        let gap_allowed = self.options.config.cleanup_policy.compact || was_compacted;
        if base_offset == expected || (base_offset > expected && gap_allowed) {
            return None;
        }
        Some(Fault {
            path: file.path().to_owned(),
            position: 0,
            reason: FaultReason::Offset {
                expected,
                found: base_offset,
            },
        })
    }

    fn index_so_far(
        &self,
        base_offset: Offset,
        file: &File,
        length: u64,
    ) -> Result<SegmentIndex, IoError> {
        let directory = &self.options.directory;
        let loaded = SegmentIndex::load(directory, base_offset, file, length, self.disk)?;
        Ok(loaded.unwrap_or_else(|| SegmentIndex::new(base_offset)))
    }

    fn next_sound(
        &mut self,
        walker: &mut Walker<'_>,
        is_last: bool,
    ) -> Result<Option<Walked>, WalkError> {
        let position = walker.position();
        let Some(batch) = walker.next_batch()? else {
            return Ok(None);
        };
        let header = &batch.header;
        let fault = |walker: &Walker<'_>, reason| {
            let mut fault = walker.fault(reason);
            fault.position = position;
            Err(WalkError::Fault(fault))
        };
        if let Some(expected) = self.expected {
            let found = header.base_offset();
            // Only the last segment is sure never to have been compacted here.
            let gap_allowed = !is_last || self.options.config.cleanup_policy.compact;
            if found < expected || (found > expected && !gap_allowed) {
                return fault(walker, FaultReason::Offset { expected, found });
            }
        }
        let found = header.leader_epoch();
        if found != LeaderEpoch::NONE && found < self.last_epoch {
            let previous = self.last_epoch;
            return fault(walker, FaultReason::Epoch { previous, found });
        }
        if header.last_offset() == Offset(i64::MAX) {
            let found = header.base_offset();
            let expected = self.expected.unwrap_or(found);
            return fault(walker, FaultReason::Offset { expected, found });
        }
        if header.last_offset() >= self.stable_below && walker.asks_for(Check::Checksums) {
            walker.check_crc(&batch)?;
        }
        self.last_epoch = self.last_epoch.max(found);
        self.expected = Some(header.next_offset());
        let supposed = self.epochs.epoch_of(header.base_offset());
        if supposed.is_some_and(|supposed| found > supposed) {
            // The checkpoint is wrong: who went on from there would write batches that no later start takes.
            self.epochs.truncate_from_end(header.base_offset());
        }
        let latest = self.epochs.latest();
        if latest.is_none_or(|latest| found > latest.epoch) {
            self.epochs.assign(found, header.base_offset());
        }
        Ok(Some(batch))
    }
}

/// On a full disk a small file is left for later: what is in memory serves as well. Says whether it was written.
pub(super) fn unless_full(
    written: Result<(), IoError>,
    report: &mut RecoveryReport,
) -> Result<bool, IoError> {
    match written {
        Err(error) if error.is_out_of_space() => {
            report.notes.push(format!("left for later: {error}"));
            Ok(false)
        }
        written => written.map(|()| true),
    }
}

/// Whether no batch of a segment has records. Of damage nobody knows.
fn is_hollow(segment: &Segment) -> Result<bool, IoError> {
    let mut walker = Walker::new(&segment.file, 0, segment.length);
    loop {
        match walker.next_batch() {
            Ok(Some(batch)) if batch.header.record_count() == 0 => {}
            Ok(Some(_)) | Err(WalkError::Fault(_)) => return Ok(false),
            Ok(None) => return Ok(true),
            Err(WalkError::Io(error)) => return Err(error),
        }
    }
}

/// The last entry of a time index file, if it can be one.
fn last_time_entry(
    disk: &Disk,
    directory: &Path,
    base_offset: Offset,
) -> Result<Option<(Timestamp, Offset)>, IoError> {
    let path = names::segment_file(directory, base_offset, names::TIME_INDEX);
    let Some(entry) = last_entry::<TIME_ENTRY_BYTES>(disk, &path)? else {
        return Ok(None);
    };
    let index = TimeIndex::decode(base_offset, &entry);
    Ok(index.ok().and_then(|index| index.last()))
}

impl Scan {
    /// Cuts off what the scan found torn, and makes the cut durable before anything is appended.
    pub(super) fn cut(
        &mut self,
        disk: &Disk,
        directory: &Path,
        inventory: &mut Inventory,
        report: &mut RecoveryReport,
    ) -> Result<(), IoError> {
        let Some(torn) = self.torn.take() else {
            return Ok(());
        };
        for &base_offset in torn.removed.iter().rev() {
            remove_segment(disk, directory, base_offset)?;
            inventory.logs.remove(&base_offset);
        }
        if let Some((file, length)) = &torn.cut {
            file.truncate(*length)?;
            file.sync_all()?;
            if let Some(segment) = self.segments.last() {
                remove_index(disk, directory, segment.base_offset)?;
            }
        }
        disk.sync_dir(directory)?;
        report.cuts.push(Cut {
            offset: self.end_offset,
            bytes_cut: torn.bytes_cut,
            fault: torn.fault,
        });
        Ok(())
    }

    /// Brings everything that may only be in the page cache to the device.
    pub(super) fn sync(&mut self, disk: &Disk, directory: &Path) -> Result<(), IoError> {
        for segment in &mut self.segments {
            if !segment.synced {
                segment.file.sync_data()?;
                segment.synced = true;
            }
        }
        disk.sync_dir(directory)
    }
}

/// The epochs, with those in front that the log's first batches have and the file has not. Batches from before there
/// were epochs have none.
pub(super) fn with_front(
    epochs: LeaderEpochs,
    segments: &[Segment],
) -> Result<LeaderEpochs, IoError> {
    let first = segments.first();
    let first = first.map(|first| Walker::new(&first.file, 0, first.length).next_batch());
    let has_epoch = |batch: &Walked| batch.header.leader_epoch() != LeaderEpoch::NONE;
    match first {
        Some(Ok(Some(batch))) if has_epoch(&batch) => {}
        Some(Err(WalkError::Io(error))) => return Err(error),
        _ => return Ok(epochs),
    }
    match replay_epochs(segments) {
        Ok(found) => Ok(found),
        Err(WalkError::Io(error)) => Err(error),
        // Answered by whoever reads there.
        Err(WalkError::Fault(_)) => Ok(epochs),
    }
}

/// Rebuilds the epochs from every batch of the log.
pub(super) fn replay_epochs(segments: &[Segment]) -> Result<LeaderEpochs, WalkError> {
    let mut epochs = LeaderEpochs::default();
    for segment in segments {
        let mut walker = Walker::new(&segment.file, 0, segment.length);
        while let Some(batch) = walker.next_batch()? {
            let epoch = batch.header.leader_epoch();
            if epochs.latest().is_none_or(|latest| epoch > latest.epoch) {
                epochs.assign(epoch, batch.header.base_offset());
            }
        }
    }
    Ok(epochs)
}
