//! The walk through all segments of a partition: every batch with its checksum, its place in the log and its records,
//! and the indexes, epochs and producer snapshots held against them on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::finding::{Cure, Finding, Place, Sort};
use super::index::IndexWalk;
use super::search::{NotLookedAt, Search};
use super::{Files, PartitionCheck, Verified};
use crate::io::{Disk, File};
use crate::log::leader_epochs::LeaderEpochs;
use crate::log::names;
use crate::log::producer_state::ProducerStates;
use crate::log::replay;
use crate::log::walk::{Fault, FaultReason, WalkError, Walked, Walker};
use crate::record::{
    BODY_BYTES_MAX_DEFAULT, BatchHeader, Compression, RecordError, Records, records,
};
use crate::types::{LeaderEpoch, Offset};

/// The state of the walk.
pub(super) struct SegmentsWalk<'a> {
    check: &'a PartitionCheck,
    disk: &'a Disk,
    files: &'a Files,
    epochs: Option<&'a LeaderEpochs>,
    snapshots: &'a BTreeMap<Offset, ProducerStates>,
    /// The offset that continues the log; unknown before the first segment and behind a fault.
    expected: Option<Offset>,
    last_epoch: LeaderEpoch,
    /// The producers as the log tells them, from its first segment on.
    producers: ProducerStates,
    /// Snapshots below were compared.
    compared: Offset,
    epochs_differ: bool,
    /// Behind a fault in the records the log is no measure for anything else.
    broken: bool,
}

impl<'a> SegmentsWalk<'a> {
    pub(super) fn new(
        check: &'a PartitionCheck,
        disk: &'a Disk,
        files: &'a Files,
        epochs: Option<&'a LeaderEpochs>,
        snapshots: &'a BTreeMap<Offset, ProducerStates>,
    ) -> Self {
        let first = files.logs.keys().next().copied();
        // What was deleted with older segments is known from the snapshot at the first one.
        let producers = first.and_then(|first| snapshots.get(&first)).cloned();
        Self {
            check,
            disk,
            files,
            epochs,
            snapshots,
            expected: None,
            last_epoch: LeaderEpoch::NONE,
            producers: producers.unwrap_or_default(),
            compared: first.unwrap_or_default(),
            epochs_differ: false,
            broken: false,
        }
    }

    /// Reads all segments; answers with the base offsets of those that are gone from between them.
    pub(super) fn run(
        &mut self,
        verified: &mut Verified,
        progress: &mut dyn FnMut(u64),
    ) -> BTreeSet<Offset> {
        let mut lost = BTreeSet::new();
        let mut before = None;
        let count = self.files.logs.len();
        for (place, (&base_offset, &length)) in self.files.logs.iter().enumerate() {
            verified.segments += 1;
            let is_last = place + 1 == count;
            match before.replace(base_offset) {
                None => self.check_begin(base_offset, verified),
                Some(before) => lost.extend(self.check_between(before, base_offset, verified)),
            }
            let path = names::segment_file(&self.check.directory, base_offset, names::LOG);
            if length == 0
                && let Some(end) = self.expected.filter(|&end| base_offset < end)
            {
                // A roll failed, and the segment before went on.
                verified.findings.push(Finding {
                    cure: Cure::AtStart,
                    ..Finding::leftover(path)
                });
                verified.end_offset = end;
                continue;
            }
            self.check_base(base_offset, verified);
            match self.disk.open_read_only(&path) {
                Ok(file) => self.segment(base_offset, &file, length, is_last, verified, progress),
                Err(error) => {
                    self.expected = None;
                    self.broken = true;
                    verified.findings.push(Finding::unreadable(
                        Sort::Records,
                        &error,
                        Cure::Restore,
                    ));
                }
            }
        }
        self.compare_snapshots(verified.end_offset, verified);
        lost
    }

    /// A clean stop leaves the log's start in the checkpoint: the segment that has it must be there.
    fn check_begin(&self, base_offset: Offset, verified: &mut Verified) {
        let start = self.check.log_start_offset.filter(|_| self.check.clean);
        if let Some(start) = start.filter(|start| *start < base_offset) {
            verified.findings.push(Finding {
                path: self.check.directory.clone(),
                sort: Sort::Records,
                place: Place::File,
                expected: format!("records from offset {start}, where the log starts"),
                found: format!("the first segment at offset {base_offset}"),
                cure: Cure::Restore,
            });
        }
    }

    /// Looks for index files between two segments that follow each other: a compacted log may have a gap there, but no
    /// segment. Compaction leaves none behind without its swap files, and retention none above the log's start; where the
    /// segment before goes on past their base, a roll had failed.
    fn check_between(
        &mut self,
        before: Offset,
        next: Offset,
        verified: &mut Verified,
    ) -> Vec<Offset> {
        let deleted = self
            .check
            .log_start_offset
            .is_some_and(|start| next <= start);
        if self.files.has_swap || deleted {
            return Vec::new();
        }
        let end = self.expected;
        let between = self.files.companions.range(before..next);
        let between = between.map(|(base_offset, _)| *base_offset);
        let lost: Vec<Offset> = between
            .filter(|base_offset| end.is_none_or(|end| *base_offset >= end))
            .collect();
        for &base_offset in &lost {
            self.broken = true;
            verified.findings.push(Finding {
                path: names::segment_file(&self.check.directory, base_offset, names::LOG),
                sort: Sort::Records,
                place: Place::File,
                expected: "the records that its index files are of".to_owned(),
                found: "no record file".to_owned(),
                cure: Cure::Restore,
            });
        }
        lost
    }

    fn check_base(&mut self, base_offset: Offset, verified: &mut Verified) {
        let Some(expected) = self.expected else {
            self.expected = Some(base_offset);
            return;
        };
        if base_offset != expected && !self.may_follow(expected, base_offset) {
            let path = names::segment_file(&self.check.directory, base_offset, names::LOG);
            let reason = FaultReason::Offset {
                expected,
                found: base_offset,
            };
            let position = 0;
            let fault = Fault {
                path,
                position,
                reason,
            };
            self.fault(&fault, expected, true, verified);
        }
        self.expected = Some(base_offset);
    }

    /// Whether compaction may have removed what lay between.
    fn may_follow(&self, expected: Offset, found: Offset) -> bool {
        found > expected && found <= self.check.compacted_to
    }

    fn segment(
        &mut self,
        base_offset: Offset,
        file: &File,
        length: u64,
        is_last: bool,
        verified: &mut Verified,
        progress: &mut dyn FnMut(u64),
    ) {
        // The files of the active segment are written when it is closed; until then they may end anywhere.
        let complete = !is_last || self.check.clean;
        let mut index = IndexWalk::open(
            self.disk,
            &self.check.directory,
            base_offset,
            length,
            complete,
            &mut verified.findings,
        );
        let before = verified.findings.len();
        let mut walker = Walker::new(file, 0, length);
        let mut search = Search::new(file, length);
        let mut reported = 0;
        loop {
            let position = walker.position();
            progress(position.saturating_sub(reported));
            reported = position;
            let stepped = walker.next_batch().and_then(|batch| {
                if let Some(batch) = &batch {
                    walker.check_crc(batch)?;
                }
                Ok(batch)
            });
            match stepped {
                Ok(None) => break,
                Ok(Some(batch)) => {
                    self.batch(&batch, &mut walker, is_last, verified);
                    index.note(&batch, &mut verified.findings);
                    verified.batches += 1;
                    if is_last {
                        verified.end_offset = batch.header.next_offset();
                    }
                }
                Err(WalkError::Io(error)) => {
                    self.broken = true;
                    self.expected = None;
                    verified.findings.push(Finding::unreadable(
                        Sort::Records,
                        &error,
                        Cure::Restore,
                    ));
                    break;
                }
                Err(WalkError::Fault(mut fault)) => {
                    fault.position = position;
                    let from = self.expected.unwrap_or(base_offset);
                    let next = search.behind(position, from);
                    // A torn tail has nothing sound behind it, and what was not looked at may be sound.
                    self.fault(&fault, from, !is_last || next != Ok(None), verified);
                    if let (Err(NotLookedAt), Some(finding)) = (next, verified.findings.last_mut())
                    {
                        finding.found.push_str(NOT_LOOKED_AT);
                    }
                    // What lies behind may continue anywhere.
                    self.expected = None;
                    let Ok(Some(next)) = next else {
                        break;
                    };
                    walker = Walker::new(file, next, length);
                }
            }
        }
        progress(length.saturating_sub(reported));
        verified.bytes += length;
        if is_last {
            verified.end_offset = verified
                .end_offset
                .max(self.expected.unwrap_or(base_offset));
        }
        let sound = verified.findings[before..]
            .iter()
            .all(|finding| finding.sort != Sort::Records || finding.cure == Cure::LeaveAlone);
        index.finish(sound, &mut verified.findings);
    }

    /// What a batch says of itself, held against what came before.
    fn batch(
        &mut self,
        batch: &Walked,
        walker: &mut Walker<'_>,
        is_last: bool,
        verified: &mut Verified,
    ) {
        let header = &batch.header;
        let mut wrong = |this: &mut Self, reason: FaultReason| {
            let fault = Fault {
                path: walker.fault(FaultReason::Short { missing_bytes: 0 }).path,
                position: batch.position,
                reason,
            };
            this.fault(&fault, header.base_offset(), !is_last, verified);
        };
        if let Some(expected) = self.expected {
            let found = header.base_offset();
            if found != expected && !self.may_follow(expected, found) {
                wrong(self, FaultReason::Offset { expected, found });
            }
        }
        let found = header.leader_epoch();
        if found != LeaderEpoch::NONE && found < self.last_epoch {
            let previous = self.last_epoch;
            wrong(self, FaultReason::Epoch { previous, found });
        }
        if let Ok(bytes) = walker.whole(batch) {
            let read = records(&bytes, BODY_BYTES_MAX_DEFAULT);
            if let Err(error) = read.and_then(walk_through) {
                let path = walker.fault(FaultReason::Short { missing_bytes: 0 }).path;
                let finding = unread(path, batch, &error);
                verified.findings.push(finding);
            }
        }
        self.last_epoch = self.last_epoch.max(found);
        self.compare_snapshots(header.base_offset(), verified);
        self.compare_epoch(header, verified);
        // A walk that is over says so itself.
        let _ = replay::apply(&mut self.producers, batch, walker, self.check.now);
        self.expected = Some(header.next_offset());
    }

    /// Puts a fault into the report. Behind the recovery point of a log that was not closed, a fault that nothing sound
    /// follows is a torn tail.
    fn fault(
        &mut self,
        fault: &Fault,
        offset: Offset,
        sound_follows: bool,
        verified: &mut Verified,
    ) {
        let torn = !self.check.clean && !sound_follows && offset >= self.check.recovery_point;
        let cure = if torn { Cure::AtStart } else { Cure::Restore };
        self.broken = true;
        verified.findings.push(Finding::of_walk(fault, cure));
    }

    fn compare_epoch(&mut self, header: &BatchHeader, verified: &mut Verified) {
        let Some(epochs) = self.epochs.filter(|_| !self.epochs_differ && !self.broken) else {
            return;
        };
        let written = self.check.clean || header.last_offset() < self.check.recovery_point;
        // Epochs begin where the log does, which may be inside of a batch.
        let start = self.check.log_start_offset.unwrap_or(Offset::ZERO);
        let offset = header.base_offset().max(start);
        let (said, found) = (epochs.epoch_of(offset), header.leader_epoch());
        if !written || found == LeaderEpoch::NONE || said == Some(found) {
            return;
        }
        // A log start that no checkpoint tells of yet.
        let deleted = said.is_none() && !self.check.clean && epochs.latest().is_some();
        if header.last_offset() < start || deleted {
            return;
        }
        self.epochs_differ = true;
        let said = said.map_or("none".to_owned(), |epoch| epoch.to_string());
        verified.findings.push(Finding {
            path: self.check.directory.join(names::LEADER_EPOCH_CHECKPOINT),
            sort: Sort::LeaderEpochs,
            place: Place::File,
            expected: format!("epoch {found} at offset {offset}, as in the log"),
            found: format!("epoch {said}"),
            cure: Cure::Rebuild,
        });
    }

    /// Holds the snapshots up to `offset` against the producers as the log has them there.
    fn compare_snapshots(&mut self, offset: Offset, verified: &mut Verified) {
        if offset <= self.compared || self.broken || self.check.compacted_to > Offset::ZERO {
            return;
        }
        let first = self.files.logs.keys().next().copied().unwrap_or_default();
        let range = Offset(self.compared.0.saturating_add(1))..=offset;
        self.compared = offset;
        for (&at, snapshot) in self.snapshots.range(range) {
            for (id, producer) in snapshot.iter() {
                let Some(last) = producer
                    .window
                    .last()
                    .filter(|last| last.last_offset >= first)
                else {
                    continue;
                };
                let walked = self
                    .producers
                    .find(id)
                    .and_then(|found| found.window.last());
                if walked == Some(last) {
                    continue;
                }
                let place = |batch: Option<&crate::log::AppendedBatch>| {
                    batch.map_or("nothing".to_owned(), |batch| {
                        let (offset, sequence) = (batch.last_offset, batch.last_sequence);
                        format!("its last batch ending at offset {offset}, sequence {sequence}")
                    })
                };
                verified.findings.push(Finding {
                    path: names::segment_file(&self.check.directory, at, names::SNAPSHOT),
                    sort: Sort::Snapshot,
                    place: Place::File,
                    expected: format!("of producer {id} {}, as in the log", place(walked)),
                    found: place(Some(last)),
                    cure: Cure::Rebuild,
                });
                break;
            }
        }
    }
}

/// Added to a fault that used up what the searches in its segment may read.
const NOT_LOOKED_AT: &str = "; not all that follows was looked at";

fn walk_through(mut records: Records) -> Result<(), RecordError> {
    while records.next_raw()?.is_some() {}
    Ok(())
}

/// A batch with the right checksum, so that every reader meets it as it is, whose records cannot be read. A compressed one
/// may have been taken unopened: then it is what its producer sent, and no copy has another. No producer sends control
/// batches.
fn unread(path: PathBuf, batch: &Walked, error: &RecordError) -> Finding {
    let header = &batch.header;
    let attributes = header.attributes();
    let packed = attributes
        .compression()
        .is_ok_and(|compression| compression != Compression::None);
    let found = match error {
        RecordError::BodyTooLarge { .. } => format!("what was not checked: {error}"),
        error => error.to_string(),
    };
    Finding {
        path,
        sort: Sort::Records,
        place: Place::Byte(batch.position),
        expected: format!("the records of batch {}", header.base_offset()),
        found,
        cure: if packed && !attributes.is_control() {
            Cure::LeaveAlone
        } else {
            Cure::Restore
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BATCH_HEADER_LENGTH, BatchBuilder};
    use crate::types::Timestamp;

    /// It passed for a torn tail, which the next start cuts, with sound batches in it.
    #[test]
    fn a_fault_is_no_torn_tail_where_not_all_that_follows_was_looked_at() {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(1), None, Some(&vec![1; 1 << 20]), &[]);
        let sound = builder.build();
        // Each is taken for that of a batch, which is read: more than 64 MiB in all.
        let heads = sound[..BATCH_HEADER_LENGTH].repeat(70);
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        let path = names::segment_file(directory.path(), Offset::ZERO, names::LOG);
        let file = disk.create_new(&path).unwrap();
        file.write_all_at(0, &[&heads[..], &sound[..]].concat())
            .unwrap();
        let check = PartitionCheck {
            directory: directory.path().to_owned(),
            clean: false,
            recovery_point: Offset::ZERO,
            log_start_offset: None,
            compacted_to: Offset::ZERO,
            caches_writes: false,
            topic_id: None,
            now: Timestamp(1_000),
        };
        let verified = check.run(&disk, &mut |_| {}).unwrap();
        assert_eq!(verified.batches, 0);
        let of_records = |finding: &&Finding| finding.sort == Sort::Records;
        let fault = verified.findings.iter().find(of_records).unwrap();
        assert_eq!(fault.cure, Cure::Restore);
        assert!(fault.found.ends_with(NOT_LOOKED_AT), "{}", fault.found);
    }
}
