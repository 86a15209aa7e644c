//! The small files of a partition: producer snapshots with their companions, and the leader epochs.

use std::collections::BTreeMap;

use super::finding::{Cure, Finding, Place, Sort};
use super::{Files, PartitionCheck};
use crate::io::Disk;
use crate::log::checkpoint::read_if_there;
use crate::log::leader_epochs::LeaderEpochs;
use crate::log::names;
use crate::log::producer_snapshot::{self, SnapshotError};
use crate::log::producer_state::ProducerStates;
use crate::types::Offset;

impl PartitionCheck {
    /// The epochs of the file; `None` when there is none that can be used.
    pub(super) fn read_epochs(
        &self,
        disk: &Disk,
        files: &Files,
        findings: &mut Vec<Finding>,
    ) -> Option<LeaderEpochs> {
        let path = self.directory.join(names::LEADER_EPOCH_CHECKPOINT);
        let sort = Sort::LeaderEpochs;
        match read_if_there(disk, &path) {
            Ok(Some(bytes)) => match LeaderEpochs::decode(&path, &bytes) {
                Ok(epochs) => return Some(epochs),
                Err(error) => {
                    findings.push(Finding::of_checkpoint(sort, path, &error, Cure::Rebuild));
                }
            },
            Ok(None) if self.clean && files.logs.values().any(|length| *length > 0) => {
                findings.push(Finding {
                    path,
                    sort,
                    place: Place::File,
                    expected: "the epochs of the log".to_owned(),
                    found: "no file".to_owned(),
                    cure: Cure::Rebuild,
                });
            }
            Ok(None) => {}
            Err(error) => findings.push(Finding::unreadable(sort, &error, Cure::Rebuild)),
        }
        None
    }

    /// The producers of each snapshot that can be read.
    pub(super) fn read_snapshots(
        &self,
        disk: &Disk,
        files: &Files,
        findings: &mut Vec<Finding>,
    ) -> BTreeMap<Offset, ProducerStates> {
        let mut found = BTreeMap::new();
        for (&offset, &(snapshot, windows)) in &files.snapshots {
            if !snapshot {
                let path = names::segment_file(&self.directory, offset, names::WINDOWS);
                findings.push(Finding {
                    path,
                    sort: Sort::Windows,
                    place: Place::File,
                    expected: "the snapshot it belongs to".to_owned(),
                    found: "no file".to_owned(),
                    cure: Cure::Rebuild,
                });
                continue;
            }
            if let Some(states) = self.read_snapshot(disk, offset, windows, findings) {
                found.insert(offset, states);
            }
        }
        found
    }

    fn read_snapshot(
        &self,
        disk: &Disk,
        offset: Offset,
        windows: bool,
        findings: &mut Vec<Finding>,
    ) -> Option<ProducerStates> {
        let path = names::segment_file(&self.directory, offset, names::SNAPSHOT);
        let sort = Sort::Snapshot;
        let bytes = match read_if_there(disk, &path) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                findings.push(Finding::unreadable(sort, &error, Cure::Rebuild));
                return None;
            }
        };
        let mut states = match producer_snapshot::decode(&bytes, self.now) {
            Ok(states) => states,
            Err(error) => {
                let place = match error {
                    SnapshotError::UnsupportedVersion { .. } => Place::Byte(0),
                    SnapshotError::Checksum { .. } => Place::Byte(2),
                    SnapshotError::Malformed { .. } => Place::File,
                };
                findings.push(Finding {
                    path,
                    sort,
                    place,
                    expected: "the producers as of the offset in its name".to_owned(),
                    found: error.to_string(),
                    cure: Cure::Rebuild,
                });
                return None;
            }
        };
        if let Some((id, beyond)) = states.beyond(offset) {
            findings.push(Finding {
                path,
                sort,
                place: Place::File,
                expected: format!("offsets below {offset}, as its name says"),
                found: format!("offset {beyond} of producer {id}"),
                cure: Cure::Rebuild,
            });
            return None;
        }
        // Kafka writes no companion, and nothing is lost with that of nobody.
        if windows && states.count() > 0 {
            let path = names::segment_file(&self.directory, offset, names::WINDOWS);
            let windows = read_if_there(disk, &path).ok().flatten();
            let windows = windows.unwrap_or_default();
            match producer_snapshot::widened(&states, &bytes, &windows, offset) {
                Some(wide) => states = wide,
                None => findings.push(Finding {
                    path,
                    sort: Sort::Windows,
                    place: Place::File,
                    expected: "the batches of the snapshot beside it".to_owned(),
                    found: "a damaged file, or that of another snapshot".to_owned(),
                    cure: Cure::Rebuild,
                }),
            }
        }
        Some(states)
    }
}
