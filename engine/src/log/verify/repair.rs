//! Making anew what the log can make anew. Record files are only read; where their records are not sound nothing that
//! stands on them is touched.

use std::collections::BTreeSet;

use super::finding::{Cure, Finding, Sort};
use super::{PartitionCheck, Verified};
use crate::io::{Disk, File};
use crate::log::OpenError;
use crate::log::checkpoint::{PartitionMetadata, read_if_there};
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
        let offsets = |sort: Sort| -> BTreeSet<Offset> {
            let found = rebuild.iter().filter(|finding| finding.sort == sort);
            found.filter_map(of).collect()
        };
        let (broken, bare) = (offsets(Sort::Snapshot), offsets(Sort::Windows));
        if !broken.is_empty() || !bare.is_empty() {
            self.rebuild_snapshots(disk, &logs, &broken, &bare, verified.end_offset, done)?;
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
    /// without the `broken` snapshots would find. Snapshots that are only `bare`, without a sound companion, keep what
    /// they say.
    fn rebuild_snapshots(
        &self,
        disk: &Disk,
        logs: &[(Offset, File)],
        broken: &BTreeSet<Offset>,
        bare: &BTreeSet<Offset>,
        end_offset: Offset,
        done: &mut Vec<String>,
    ) -> Result<(), OpenError> {
        let first = logs.first().map(|(first, _)| *first).unwrap_or_default();
        let sound_at = |offset: Offset| {
            let found = self.snapshot_at(disk, offset);
            found.filter(|_| !broken.contains(&offset))
        };
        let (_, mut states) = sound_at(first).unwrap_or_default();
        let wanted = broken | bare;
        let mut left: Vec<Offset> = wanted.into_iter().rev().collect();
        let mut write = |states: &ProducerStates, offset: Offset| -> Result<(), OpenError> {
            let path = names::segment_file(&self.directory, offset, names::SNAPSHOT);
            if offset < first || offset > end_offset {
                // The log says nothing about that place.
                crate::log::sweep::remove_snapshot(disk, &self.directory, offset)?;
                done.push(format!("removed {}", path.display()));
                return Ok(());
            }
            let companion = names::segment_file(&self.directory, offset, names::WINDOWS);
            if let Some((snapshot, mut known)) = sound_at(offset) {
                // It may know producers whose batches retention took.
                known.widen(states);
                let windows = producer_snapshot::encode_windows(&known, &snapshot);
                replace(disk, &companion, &windows)?.sync_data()?;
                done.push(format!(
                    "rebuilt {} from the snapshot beside it and the log",
                    companion.display()
                ));
                return Ok(());
            }
            let (snapshot, windows) = producer_snapshot::encode(states);
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

    /// The bytes of a snapshot, and its producers with the batches of its companion, where that is sound and the two agree
    /// on the newest.
    fn snapshot_at(&self, disk: &Disk, offset: Offset) -> Option<(Vec<u8>, ProducerStates)> {
        let read = |ending: &str| -> Option<Vec<u8>> {
            let path = names::segment_file(&self.directory, offset, ending);
            read_if_there(disk, &path).ok()?
        };
        let snapshot = read(names::SNAPSHOT)?;
        let mut states = producer_snapshot::decode(&snapshot, self.now).ok()?;
        let windows = read(names::WINDOWS).unwrap_or_default();
        let whole = producer_snapshot::widened(&states, &snapshot, &windows, offset);
        if let Some(whole) = whole {
            states.widen(&whole);
        }
        Some((snapshot, states))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::producer_state::{AppendedBatch, Window};
    use crate::log::tests::{Fixture, config, of_producer};
    use crate::types::{ProducerId, Timestamp};

    /// Where retention left the log's first segment.
    const FIRST: Offset = Offset(12);
    const END: Offset = Offset(14);

    /// A closed log whose first segment retention took, with all that producer 9 wrote, and its producers.
    fn closed_log(fixture: &Fixture) -> ProducerStates {
        let mut log = fixture.fresh();
        for n in 0..6 {
            fixture.append(&mut log, &of_producer(9, n * 2, 2));
        }
        fixture.roll(&mut log);
        fixture.append(&mut log, &of_producer(10, 0, 2));
        let doomed = log.delete_segments(1).run(&fixture.disk).unwrap();
        doomed.run(&fixture.disk).unwrap();
        let producers = log.producers.clone();
        fixture.close(log);
        producers
    }

    fn damage(fixture: &Fixture, offset: Offset, ending: &str) {
        let path = names::segment_file(&fixture.path(), offset, ending);
        let file = fixture.disk.open(&path).unwrap();
        file.write_all_at(20, &[0xff]).unwrap();
    }

    /// What a repair did; afterwards all snapshots and their companions are sound.
    fn repair(fixture: &Fixture) -> Vec<String> {
        let check = PartitionCheck {
            directory: fixture.path(),
            clean: true,
            recovery_point: END,
            log_start_offset: Some(FIRST),
            compacted_to: Offset::ZERO,
            caches_writes: false,
            topic_id: None,
            now: Timestamp(1_000),
        };
        let run = || check.run(&fixture.disk, &mut |_| {}).unwrap();
        let mut done = Vec::new();
        check.repair(&fixture.disk, &run(), &mut done).unwrap();
        let of_producers =
            |finding: &&Finding| matches!(finding.sort, Sort::Snapshot | Sort::Windows);
        let left = run().findings;
        assert_eq!(left.iter().find(of_producers), None);
        done
    }

    /// The bytes of a snapshot, its producers, and whether its companion belongs to it.
    fn read(fixture: &Fixture, offset: Offset) -> (Vec<u8>, ProducerStates, bool) {
        let read = |ending| {
            let path = names::segment_file(&fixture.path(), offset, ending);
            read_if_there(&fixture.disk, &path).unwrap().unwrap()
        };
        let snapshot = read(names::SNAPSHOT);
        let mut states = producer_snapshot::decode(&snapshot, Timestamp(1_000)).unwrap();
        let widened = producer_snapshot::widen(&mut states, &snapshot, &read(names::WINDOWS));
        (snapshot, states, widened)
    }

    #[test]
    fn a_sound_snapshot_at_the_first_segment_stays_where_its_companion_is_damaged() {
        let fixture = Fixture::new(config(100_000));
        let producers = closed_log(&fixture);
        let (before, _, _) = read(&fixture, FIRST);
        damage(&fixture, FIRST, names::WINDOWS);
        let done = repair(&fixture);
        assert!(
            done.iter().any(|line| line.contains("12.windows")),
            "{done:?}"
        );
        let (after, states, widened) = read(&fixture, FIRST);
        assert!(after == before && widened);
        let last = |states: &ProducerStates| {
            let producer = states.find(ProducerId(9)).unwrap();
            *producer.window.last().unwrap()
        };
        assert_eq!(last(&states), last(&producers), "the last of a deleted one");
    }

    /// They were written again as they were, and the next check found the same.
    #[test]
    fn windows_that_tell_of_offsets_beyond_their_own_are_not_written_again() {
        let fixture = Fixture::new(config(100_000));
        closed_log(&fixture);
        let (before, mut lying, _) = read(&fixture, FIRST);
        let producer = lying.find_mut(ProducerId(9)).unwrap();
        let sound = producer.window;
        producer.window = Window::default();
        producer.window.push(AppendedBatch {
            last_offset: Offset(1_000_000_000_000_000_000),
            ..sound.batches()[0]
        });
        for batch in &sound.batches()[1..] {
            producer.window.push(*batch);
        }
        assert!(lying.beyond(FIRST).is_some());
        let path = names::segment_file(&fixture.path(), FIRST, names::WINDOWS);
        let windows = producer_snapshot::encode_windows(&lying, &before);
        let file = fixture.disk.open(&path).unwrap();
        file.write_all_at(0, &windows).unwrap();
        repair(&fixture);
        let (after, states, widened) = read(&fixture, FIRST);
        assert!(after == before && widened);
        assert_eq!(states.beyond(FIRST), None);
    }

    #[test]
    fn what_is_rebuilt_of_a_later_snapshot_has_all_batches_of_those_silent_since_the_first() {
        for ending in [names::SNAPSHOT, names::WINDOWS] {
            let fixture = Fixture::new(config(100_000));
            let producers = closed_log(&fixture);
            damage(&fixture, END, ending);
            repair(&fixture);
            assert_eq!(read(&fixture, END).1, producers, "{ending}");
            assert_eq!(fixture.open(true, END.0).0.producers, producers, "{ending}");
        }
    }
}
