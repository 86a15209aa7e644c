//! Reading a partition's directory from end to end, offline, and saying everything that is wrong with it.
//!
//! Checking changes nothing; `repair` makes anew what the log can make anew, and removes leftovers. What a log holds is
//! never cut here. Blocking, and without the broker's haste: it goes on behind a fault, to find the next one.

mod finding;
mod index;
mod repair;
mod search;
mod segments;
mod small;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use finding::{Cure, Finding, Place, Sort};

use super::checkpoint::PartitionMetadata;
use super::names::{self, FileKind};
use super::producer_state::ProducerStates;
use crate::io::{Disk, IoError};
use crate::types::{Offset, Timestamp, TopicId};
use segments::SegmentsWalk;

/// What is known of a partition before its directory is read.
#[derive(Clone, Debug)]
pub struct PartitionCheck {
    /// Its directory.
    pub directory: PathBuf,
    /// The log directory carries the mark of a clean stop.
    pub clean: bool,
    /// From the recovery-point checkpoint, else [`Offset::ZERO`].
    pub recovery_point: Offset,
    /// From the log-start checkpoint, if it names the partition.
    pub log_start_offset: Option<Offset>,
    /// Compaction may have left the gaps that end here or before; [`Offset::ZERO`] where it has left none.
    pub compacted_to: Offset,
    /// The topic has `write.caching`, as far as the metadata says: after a power cut its log may end before its start.
    pub caches_writes: bool,
    /// The topic's id, if the metadata says which topic has this name.
    pub topic_id: Option<TopicId>,
    /// The time: what is rebuilt counts as used now.
    pub now: Timestamp,
}

/// What reading a partition brought.
#[derive(Debug, Default)]
pub struct Verified {
    /// Everything that is wrong, or worth a line.
    pub findings: Vec<Finding>,
    /// Where the sound part of the log ends.
    pub end_offset: Offset,
    /// Segments, batches, and bytes of record files read.
    pub segments: u64,
    /// Batches that are sound.
    pub batches: u64,
    /// Bytes of record files.
    pub bytes: u64,
}

impl Verified {
    /// Whether the records themselves are sound, apart from a torn tail.
    #[must_use]
    pub fn records_are_sound(&self) -> bool {
        let records = |finding: &&Finding| finding.sort == Sort::Records;
        self.findings
            .iter()
            .filter(records)
            .all(|finding| !finding.is_fault())
    }
}

/// The files of a partition's directory, by what they are.
#[derive(Debug, Default)]
struct Files {
    /// Length of each record file.
    logs: BTreeMap<Offset, u64>,
    /// Offsets that have a `.snapshot` and a `.windows` file.
    snapshots: BTreeMap<Offset, (bool, bool)>,
    /// Index files without a record file, by the offset in their names.
    companions: BTreeMap<Offset, Vec<PathBuf>>,
    /// A compaction was interrupted while it put its files in place.
    has_swap: bool,
}

impl PartitionCheck {
    /// Reads everything in the directory. `progress` is told the bytes of record files as they are read.
    ///
    /// # Errors
    /// The directory cannot be listed. What cannot be read within it is a finding.
    pub fn run(&self, disk: &Disk, progress: &mut dyn FnMut(u64)) -> Result<Verified, IoError> {
        let mut verified = Verified::default();
        let files = self.files(disk, &mut verified.findings)?;
        self.check_metadata(disk, &mut verified.findings);
        let epochs = self.read_epochs(disk, &files, &mut verified.findings);
        let snapshots = self.read_snapshots(disk, &files, &mut verified.findings);
        let mut walk = SegmentsWalk::new(self, disk, &files, epochs.as_ref(), &snapshots);
        let lost = walk.run(&mut verified, progress);
        for (&base_offset, paths) in &files.companions {
            if !lost.contains(&base_offset) {
                let useless = paths.iter().map(|path| useless(base_offset, path));
                verified.findings.extend(useless);
            }
        }
        self.check_ends(&files, epochs.as_ref(), &snapshots, &mut verified);
        Ok(verified)
    }

    fn files(&self, disk: &Disk, findings: &mut Vec<Finding>) -> Result<Files, IoError> {
        let mut files = Files::default();
        for entry in disk.list(&self.directory)? {
            let path = self.directory.join(&entry.name);
            match FileKind::of(&entry.name) {
                _ if entry.is_dir => findings.push(Finding::foreign(path)),
                FileKind::Segment {
                    base_offset,
                    ending,
                } => match ending {
                    names::LOG => drop(files.logs.insert(base_offset, entry.length)),
                    names::SNAPSHOT => files.snapshots.entry(base_offset).or_default().0 = true,
                    names::WINDOWS => files.snapshots.entry(base_offset).or_default().1 = true,
                    _ => files.companions.entry(base_offset).or_default().push(path),
                },
                FileKind::Leftover | FileKind::Cleaned { .. } => {
                    findings.push(Finding::leftover(path));
                }
                // Perhaps the only copy of what it replaces: the next start knows what to do with it.
                FileKind::Swap { .. } => {
                    files.has_swap = true;
                    findings.push(Finding {
                        cure: Cure::AtStart,
                        ..Finding::leftover(path)
                    });
                }
                FileKind::Known => {}
                FileKind::Foreign(_) => findings.push(Finding::foreign(path)),
            }
        }
        let logs = &files.logs;
        files
            .companions
            .retain(|base_offset, _| !logs.contains_key(base_offset));
        Ok(files)
    }

    fn check_metadata(&self, disk: &Disk, findings: &mut Vec<Finding>) {
        let path = self.directory.join(names::PARTITION_METADATA);
        let known = self.topic_id;
        let cure = known.map_or(Cure::Restore, |_| Cure::Rebuild);
        let sort = Sort::PartitionMetadata;
        let (expected, found, cure) = match PartitionMetadata::read(disk, &self.directory) {
            Ok(Some(found)) if known.is_none_or(|known| known == found.topic_id) => return,
            Ok(Some(found)) => (
                format!("topic_id {}", known.unwrap_or(found.topic_id)),
                format!("topic_id {}: another topic's partition", found.topic_id),
                Cure::Restore,
            ),
            Ok(None) => ("the topic's id".to_owned(), "no file".to_owned(), cure),
            Err(error) => return findings.push(Finding::of_checkpoint(sort, path, &error, cure)),
        };
        findings.push(Finding {
            sort,
            place: Place::File,
            path,
            expected,
            found,
            cure,
        });
    }

    /// What can be said when the end of the log is known.
    fn check_ends(
        &self,
        files: &Files,
        epochs: Option<&super::LeaderEpochs>,
        snapshots: &BTreeMap<Offset, ProducerStates>,
        verified: &mut Verified,
    ) {
        let end = verified.end_offset;
        if files.logs.is_empty() {
            if self.recovery_point > Offset::ZERO {
                verified.findings.push(Finding {
                    sort: Sort::Records,
                    path: self.directory.clone(),
                    place: Place::File,
                    expected: format!("records up to offset {}", self.recovery_point),
                    found: "no record file".to_owned(),
                    cure: Cure::Restore,
                });
            }
            return;
        }
        if end < self.recovery_point && verified.records_are_sound() {
            let last = files.logs.last_key_value();
            let (base, length) = last.map_or((Offset::ZERO, 0), |(base, length)| (*base, *length));
            verified.findings.push(Finding {
                sort: Sort::Records,
                path: names::segment_file(&self.directory, base, names::LOG),
                place: Place::Byte(length),
                expected: format!(
                    "records up to offset {}, the recovery point",
                    self.recovery_point
                ),
                found: format!("the end of the log at offset {end}"),
                cure: Cure::Restore,
            });
        }
        if !verified.records_are_sound() {
            return;
        }
        let beyond = epochs.and_then(|epochs| epochs.latest());
        if let Some(beyond) = beyond.filter(|latest| latest.start_offset > end && self.clean) {
            verified.findings.push(Finding {
                sort: Sort::LeaderEpochs,
                path: self.directory.join(names::LEADER_EPOCH_CHECKPOINT),
                place: Place::File,
                expected: format!("epochs that begin up to offset {end}, the end of the log"),
                found: format!("epoch {} from offset {}", beyond.epoch, beyond.start_offset),
                cure: Cure::Rebuild,
            });
        }
        for &offset in snapshots.keys().filter(|&&offset| offset > end) {
            verified.findings.push(Finding {
                sort: Sort::Snapshot,
                path: names::segment_file(&self.directory, offset, names::SNAPSHOT),
                place: Place::File,
                expected: format!("an offset up to {end}, the end of the log"),
                found: offset.to_string(),
                cure: if self.clean {
                    Cure::Rebuild
                } else {
                    Cure::AtStart
                },
            });
        }
    }
}

/// An index file that nothing belongs to.
fn useless(base_offset: Offset, path: &Path) -> Finding {
    Finding {
        path: path.to_owned(),
        sort: Sort::of_segment_file(path),
        place: Place::File,
        expected: format!("a record file of offset {base_offset} beside it"),
        found: "none".to_owned(),
        cure: Cure::Remove,
    }
}
