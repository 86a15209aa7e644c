//! Making anew what the log can make anew. Record files are only read; where their records are not sound nothing that
//! stands on them is touched.

use std::collections::BTreeSet;

use super::finding::{Cure, Finding, Sort};
use super::{PartitionCheck, Verified};
use crate::io::{Disk, File};
use crate::log::OpenError;
use crate::log::checkpoint::PartitionMetadata;
use crate::log::leader_epochs::LeaderEpochs;
use crate::log::names::{self, FileKind};
use crate::log::producer_snapshot;
use crate::log::producer_state::ProducerStates;
use crate::log::replay;
use crate::log::roll::write_epochs;
use crate::log::segment::{SegmentIndex, replace};
use crate::log::walk::Walker;
use crate::types::Offset;

/// Kafka's default of `index.interval.bytes`: which bytes have an entry changes nothing but the speed of look-ups.
const INDEX_INTERVAL_BYTES: u32 = 4096;

impl PartitionCheck {
    /// Repairs what `verified` says can be repaired, and says in `done` what was done, a sentence each.
    ///
    /// # Errors
    /// The disk refused, or a record file changed since it was read. What was done before stands.
    pub fn repair(
        &self,
        disk: &Disk,
        verified: &Verified,
        done: &mut Vec<String>,
    ) -> Result<(), OpenError> {
        for finding in verified
            .findings
            .iter()
            .filter(|found| found.cure == Cure::Remove)
        {
            disk.remove_file(&finding.path)?;
            done.push(format!("removed {}", finding.path.display()));
        }
        let rebuild = verified
            .findings
            .iter()
            .filter(|found| found.cure == Cure::Rebuild);
        let rebuild: Vec<&Finding> = rebuild.collect();
        let has = |sort: Sort| rebuild.iter().any(|finding| finding.sort == sort);
        if let (true, Some(topic_id)) = (has(Sort::PartitionMetadata), self.topic_id) {
            PartitionMetadata { topic_id }.write(disk, &self.directory)?;
            let path = self.directory.join(names::PARTITION_METADATA);
            done.push(format!("wrote {} with topic_id {topic_id}", path.display()));
        }
        if rebuild.is_empty() || !verified.records_are_sound() {
            return Ok(disk.sync_dir(&self.directory)?);
        }
        let logs = self.logs(disk)?;
        let of = |finding: &&Finding| base_offset(finding);
        let indexes = [Sort::OffsetIndex, Sort::TimeIndex];
        let wanted = rebuild
            .iter()
            .filter(|finding| indexes.contains(&finding.sort));
        for base in wanted.filter_map(of).collect::<BTreeSet<_>>() {
            let Some((_, file)) = logs.iter().find(|(offset, _)| *offset == base) else {
                continue;
            };
            let length = sound_length(file)?;
            SegmentIndex::rebuild(base, file, length, INDEX_INTERVAL_BYTES)?.write(
                disk,
                &self.directory,
                base,
            )?;
            done.push(format!(
                "rebuilt the indexes of {} from its records",
                file.path().display()
            ));
        }
        let snapshots = [Sort::Snapshot, Sort::Windows];
        let wanted = rebuild
            .iter()
            .filter(|finding| snapshots.contains(&finding.sort));
        let wanted: BTreeSet<Offset> = wanted.filter_map(of).collect();
        if !wanted.is_empty() {
            self.rebuild_snapshots(disk, &logs, &wanted, verified.end_offset, done)?;
        }
        if has(Sort::LeaderEpochs) {
            let epochs = epochs_of(&logs)?;
            write_epochs(disk, &self.directory, &epochs)?;
            let path = self.directory.join(names::LEADER_EPOCH_CHECKPOINT);
            done.push(format!("rebuilt {} from the log", path.display()));
        }
        Ok(disk.sync_dir(&self.directory)?)
    }

    fn logs(&self, disk: &Disk) -> Result<Vec<(Offset, File)>, OpenError> {
        let mut logs = Vec::new();
        for entry in disk.list(&self.directory)? {
            if let FileKind::Segment {
                base_offset,
                ending: names::LOG,
            } = FileKind::of(&entry.name)
            {
                let path = self.directory.join(&entry.name);
                logs.push((base_offset, disk.open_read_only(&path)?));
            }
        }
        logs.sort_by_key(|(base_offset, _)| *base_offset);
        Ok(logs)
    }

    /// The producers at each offset, as the log tells them from the snapshot at its first segment on: what a start
    /// without the broken snapshots would find.
    fn rebuild_snapshots(
        &self,
        disk: &Disk,
        logs: &[(Offset, File)],
        wanted: &BTreeSet<Offset>,
        end_offset: Offset,
        done: &mut Vec<String>,
    ) -> Result<(), OpenError> {
        let first = logs.first().map(|(first, _)| *first).unwrap_or_default();
        let mut states = self
            .snapshot_at(disk, first)
            .filter(|_| !wanted.contains(&first));
        let mut states = states.take().unwrap_or_default();
        let mut left: Vec<Offset> = wanted.iter().rev().copied().collect();
        let mut write = |states: &ProducerStates, offset: Offset| -> Result<(), OpenError> {
            let path = names::segment_file(&self.directory, offset, names::SNAPSHOT);
            if offset < first || offset > end_offset {
                // The log says nothing about that place.
                crate::log::sweep::remove_snapshot(disk, &self.directory, offset)?;
                done.push(format!("removed {}", path.display()));
                return Ok(());
            }
            let (snapshot, windows) = producer_snapshot::encode(states);
            let companion = names::segment_file(&self.directory, offset, names::WINDOWS);
            replace(disk, &path, &snapshot)?.sync_data()?;
            replace(disk, &companion, &windows)?.sync_data()?;
            done.push(format!(
                "rebuilt {} and its companion from the log",
                path.display()
            ));
            Ok(())
        };
        for (_, file) in logs {
            let mut walker = Walker::new(file, 0, sound_length(file)?);
            while let Some(batch) = walker.next_batch()? {
                let base_offset = batch.header.base_offset();
                while let Some(offset) = left.pop_if(|offset| *offset <= base_offset) {
                    write(&states, offset)?;
                }
                replay::apply(&mut states, &batch, &mut walker, self.now)?;
            }
        }
        while let Some(offset) = left.pop() {
            write(&states, offset)?;
        }
        Ok(())
    }

    fn snapshot_at(&self, disk: &Disk, offset: Offset) -> Option<ProducerStates> {
        let path = names::segment_file(&self.directory, offset, names::SNAPSHOT);
        let bytes = crate::log::checkpoint::read_if_there(disk, &path).ok()??;
        producer_snapshot::decode(&bytes, self.now).ok()
    }
}

/// The offset in the file's name.
fn base_offset(finding: &Finding) -> Option<Offset> {
    match FileKind::of(finding.path.file_name()?.to_str()?) {
        FileKind::Segment { base_offset, .. } => Some(base_offset),
        _ => None,
    }
}

/// Up to where whole batches lie: a torn tail is left to the next start.
fn sound_length(file: &File) -> Result<u64, OpenError> {
    let length = file.length()?;
    let mut walker = Walker::new(file, 0, length);
    loop {
        let position = walker.position();
        match walker.next_batch() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(length),
            Err(crate::log::WalkError::Fault(_)) => return Ok(position),
            Err(crate::log::WalkError::Io(error)) => return Err(error.into()),
        }
    }
}

fn epochs_of(logs: &[(Offset, File)]) -> Result<LeaderEpochs, OpenError> {
    let mut epochs = LeaderEpochs::default();
    for (_, file) in logs {
        let mut walker = Walker::new(file, 0, sound_length(file)?);
        while let Some(batch) = walker.next_batch()? {
            let epoch = batch.header.leader_epoch();
            if epochs.latest().is_none_or(|latest| epoch > latest.epoch) {
                epochs.assign(epoch, batch.header.base_offset());
            }
        }
    }
    Ok(epochs)
}
