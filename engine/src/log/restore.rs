//! What the producers of a log had sent last: from the newest whole snapshot and the batches behind it.

use std::collections::BTreeMap;
use std::path::Path;

use super::checkpoint::read_if_there;
use super::names;
use super::open::{OpenOptions, RecoveryReport};
use super::producer_snapshot;
use super::producer_state::ProducerStates;
use super::replay;
use super::segment::{IndexState, Segment};
use super::sweep::{Inventory, remove_snapshot};
use super::walk::{WalkError, Walker};
use crate::io::{Disk, IoError};
use crate::types::{Offset, Timestamp};

/// Restores the producers' state at `end_offset` from the newest sound snapshot and the log behind it.
pub(super) fn restore_producers(
    disk: &Disk,
    options: &OpenOptions,
    inventory: &Inventory,
    segments: &[Segment],
    end_offset: Offset,
    report: &mut RecoveryReport,
) -> Result<ProducerStates, WalkError> {
    let directory = &options.directory;
    for &offset in inventory
        .snapshots
        .range(Offset(end_offset.0.saturating_add(1))..)
    {
        remove_snapshot(disk, directory, offset)?;
        report.notes.push(format!(
            "removed the producer snapshot at {offset}, behind the log's end"
        ));
    }
    // An older one says nothing of the segments deleted since: a producer it knows may have gone on in those.
    let first = segments
        .first()
        .map_or(end_offset, |first| first.base_offset);
    let mut found = Vec::new();
    for &offset in inventory
        .snapshots
        .range(first..=end_offset.max(first))
        .rev()
    {
        let path = names::segment_file(directory, offset, names::SNAPSHOT);
        match read_snapshot(disk, directory, offset, options.now)? {
            None => {}
            Some(Ok(snapshot)) => {
                let whole = snapshot.whole;
                found.push(snapshot);
                // A power cut may leave the newest one without its companion; the one before it then serves.
                if whole || found.len() == 2 {
                    break;
                }
            }
            Some(Err(error)) => {
                remove_snapshot(disk, directory, offset)?;
                report
                    .notes
                    .push(format!("removed {}: {error}", path.display()));
            }
        }
    }
    let chosen = found.iter().position(|snapshot| snapshot.whole);
    let (start, mut states) = match found.into_iter().nth(chosen.unwrap_or(0)) {
        None => (Offset(i64::MIN), ProducerStates::default()),
        Some(mut snapshot) => {
            if !snapshot.whole {
                let replayed = replay_segment_before(snapshot.offset, segments, options)?;
                snapshot.states.widen(&replayed);
            }
            (snapshot.offset, snapshot.states)
        }
    };
    remove_overtaken(disk, directory, inventory, segments, start, report);
    report.replayed_from = start.max(options.log_start_offset);
    replay_range(&mut states, segments, start, end_offset, options.now)?;
    Ok(states)
}

/// Each clean stop leaves a snapshot amid a segment, where neither retention nor compaction looks for one. Those before the
/// one that serves, `start`, are of no use any more, nor are those before the first segment. It is only tidying: what
/// cannot be removed stays.
fn remove_overtaken(
    disk: &Disk,
    directory: &Path,
    inventory: &Inventory,
    segments: &[Segment],
    start: Offset,
    report: &mut RecoveryReport,
) {
    let Some(first) = segments.first().map(|first| first.base_offset) else {
        return;
    };
    let begins = |offset| {
        let found = segments.binary_search_by_key(&offset, |segment| segment.base_offset);
        found.is_ok()
    };
    for &offset in inventory.snapshots.range(..start.max(first)) {
        if begins(offset) {
            continue;
        }
        if let Err(error) = remove_snapshot(disk, directory, offset) {
            report.notes.push(format!("left for later: {error}"));
            return;
        }
    }
}

/// What the files of a snapshot say.
struct Snapshot {
    offset: Offset,
    states: ProducerStates,
    /// All batches that matter are in it: its companion is there too, or no producer is.
    whole: bool,
}

/// `None` when it is not there, an error in words when it is not to be used. What it tells of lies below its own offset: a batch
/// that is repeated would wait for ever for an offset beyond the log's end.
fn read_snapshot(
    disk: &Disk,
    directory: &Path,
    offset: Offset,
    now: Timestamp,
) -> Result<Option<Result<Snapshot, String>>, IoError> {
    let path = |ending| names::segment_file(directory, offset, ending);
    let Some(bytes) = read_if_there(disk, &path(names::SNAPSHOT))? else {
        return Ok(None);
    };
    let states = match producer_snapshot::decode(&bytes, now) {
        Ok(states) => states,
        Err(error) => return Ok(Some(Err(error.to_string()))),
    };
    if let Some((id, found)) = states.beyond(offset) {
        let error = format!("it tells of offset {found} of producer {id}");
        return Ok(Some(Err(error)));
    }
    let windows = read_if_there(disk, &path(names::WINDOWS))?;
    let wide =
        windows.and_then(|windows| producer_snapshot::widened(&states, &bytes, &windows, offset));
    Ok(Some(Ok(Snapshot {
        offset,
        whole: wide.is_some() || states.count() == 0,
        states: wide.unwrap_or(states),
    })))
}

/// Kafka's snapshots hold one batch of each producer; the last segment before it holds the others that matter.
fn replay_segment_before(
    offset: Offset,
    segments: &[Segment],
    options: &OpenOptions,
) -> Result<ProducerStates, WalkError> {
    let mut states = ProducerStates::default();
    let before = segments
        .iter()
        .rfind(|segment| segment.base_offset < offset);
    if let Some(segment) = before {
        let only = std::slice::from_ref(segment);
        replay_range(&mut states, only, segment.base_offset, offset, options.now)?;
    }
    Ok(states)
}

fn replay_range(
    states: &mut ProducerStates,
    segments: &[Segment],
    from: Offset,
    to: Offset,
    now: Timestamp,
) -> Result<(), WalkError> {
    let ends: BTreeMap<Offset, Offset> = segments
        .iter()
        .zip(segments.iter().skip(1))
        .map(|(segment, next)| (segment.base_offset, next.base_offset))
        .collect();
    for segment in segments {
        let end = ends.get(&segment.base_offset).copied().unwrap_or(to);
        if end <= from || segment.base_offset >= to {
            continue;
        }
        let position = match &segment.index {
            IndexState::Loaded(index) => index.offsets.floor(from).map_or(0, |entry| entry.1),
            IndexState::OnDisk => 0,
        };
        let mut walker = Walker::new(&segment.file, position, segment.length);
        while let Some(batch) = walker.next_batch()? {
            let header = &batch.header;
            if header.base_offset() >= to {
                break;
            }
            if header.base_offset() >= from {
                replay::apply(states, &batch, &mut walker, now)?;
            }
        }
    }
    Ok(())
}
