//! Any bytes as one of the small files beside the logs. What can be read can be written, and says the same again.

use std::path::Path;

use super::put;
use crate::io::{Disk, Sim};
use crate::log::checkpoint::{
    CLEAN_SHUTDOWN, CleanShutdown, META_PROPERTIES, MetaProperties, PartitionMetadata,
    RECOVERY_POINT_CHECKPOINT, read_offset_checkpoint, write_offset_checkpoint,
};
use crate::log::offset_index::OffsetIndex;
use crate::log::time_index::TimeIndex;
use crate::log::{LeaderEpochs, names, producer_snapshot};
use crate::types::{LeaderEpoch, Offset, Timestamp};

const DIRECTORY: &str = "/data";
const NOW: Timestamp = Timestamp(1_000);
const BASE: Offset = Offset(1 << 40);

/// Reads what follows the first byte of `data` as the file that this byte names: an offset checkpoint, the leader epochs,
/// `meta.properties`, `partition.metadata`, the mark of a clean stop, an offset index, a time index, a producer snapshot
/// (its length in two bytes, then its contents) with its windows. Checksums are mended. Never panics on the bytes.
///
/// # Panics
/// When something that was read is not read again from what is written for it: that is the finding.
pub fn read_small_hostile(data: &[u8]) {
    let Some((kind, content)) = data.split_first() else {
        return;
    };
    let disk = Sim::new(0).disk();
    let directory = Path::new(DIRECTORY);
    disk.create_dir_all(directory)
        .expect("an empty disk takes a directory");
    match kind % 8 {
        0 => offset_checkpoint(&disk, directory, content),
        1 => leader_epochs(content),
        2 => meta_properties(&disk, directory, content),
        3 => partition_metadata(&disk, directory, content),
        4 => clean_shutdown(&disk, directory, content),
        5 => offset_index(content),
        6 => time_index(content),
        _ => producers(content),
    }
}

fn offset_checkpoint(disk: &Disk, directory: &Path, content: &[u8]) {
    let path = directory.join(RECOVERY_POINT_CHECKPOINT);
    put(disk, &path, content);
    let Ok(offsets) = read_offset_checkpoint(disk, &path) else {
        return;
    };
    write_offset_checkpoint(disk, &path, &offsets).expect("a disk without faults");
    let again = read_offset_checkpoint(disk, &path).expect("what we wrote can be read");
    assert_eq!(again, offsets, "an offset checkpoint reads back");
}

fn leader_epochs(content: &[u8]) {
    let path = Path::new(names::LEADER_EPOCH_CHECKPOINT);
    let Ok(mut epochs) = LeaderEpochs::decode(path, content) else {
        return;
    };
    let again = LeaderEpochs::decode(path, epochs.encode().as_bytes());
    assert_eq!(
        again.ok().as_ref(),
        Some(&epochs),
        "leader epochs read back"
    );
    for epoch in [-1, 0, 1, i32::MAX] {
        let _ = epochs.end_offset(LeaderEpoch(epoch), BASE);
    }
    let _ = epochs.epoch_of(BASE);
    epochs.truncate_from_start(Offset(1));
    epochs.truncate_from_end(Offset(2));
    let again = LeaderEpochs::decode(path, epochs.encode().as_bytes());
    assert_eq!(again.ok(), Some(epochs), "cut leader epochs read back");
}

fn meta_properties(disk: &Disk, directory: &Path, content: &[u8]) {
    put(disk, &directory.join(META_PROPERTIES), content);
    let Ok(Some(found)) = MetaProperties::read(disk, directory) else {
        return;
    };
    found.write(disk, directory).expect("a disk without faults");
    let again = MetaProperties::read(disk, directory).expect("what we wrote can be read");
    assert_eq!(again, Some(found), "meta.properties reads back");
}

fn partition_metadata(disk: &Disk, directory: &Path, content: &[u8]) {
    put(disk, &directory.join(names::PARTITION_METADATA), content);
    let Ok(Some(found)) = PartitionMetadata::read(disk, directory) else {
        return;
    };
    found.write(disk, directory).expect("a disk without faults");
    let again = PartitionMetadata::read(disk, directory).expect("what we wrote can be read");
    assert_eq!(again, Some(found), "partition.metadata reads back");
}

fn clean_shutdown(disk: &Disk, directory: &Path, content: &[u8]) {
    put(disk, &directory.join(CLEAN_SHUTDOWN), content);
    let Ok(Some(found)) = CleanShutdown::read(disk, directory) else {
        return;
    };
    found.write(disk, directory).expect("a disk without faults");
    let again = CleanShutdown::read(disk, directory).expect("what we wrote can be read");
    assert_eq!(again, Some(found), "the mark of a clean stop reads back");
}

fn offset_index(content: &[u8]) {
    let Ok(mut index) = OffsetIndex::decode(BASE, content, u64::MAX) else {
        return;
    };
    let again = OffsetIndex::decode(BASE, &index.encode(), u64::MAX);
    assert_eq!(again.as_ref(), Ok(&index), "an offset index reads back");
    for (offset, position) in index.entries() {
        assert_eq!(
            index.floor(offset),
            Some((offset, position)),
            "an entry is found"
        );
    }
    for offset in [Offset::ZERO, BASE, Offset(i64::MAX)] {
        let _ = index.floor(offset);
    }
    index.truncate(100);
    assert!(index.last().is_none_or(|(_, position)| position < 100));
}

fn time_index(content: &[u8]) {
    let Ok(mut index) = TimeIndex::decode(BASE, content) else {
        return;
    };
    let again = TimeIndex::decode(BASE, &index.encode());
    assert_eq!(again.as_ref(), Ok(&index), "a time index reads back");
    for timestamp in [i64::MIN, -1, 0, 1_000, i64::MAX] {
        let _ = index.floor(Timestamp(timestamp));
    }
    for offset in [Offset::ZERO, BASE, Offset(i64::MAX)] {
        let _ = index.floor_by_offset(offset);
    }
    index.truncate(BASE);
}

fn producers(content: &[u8]) {
    let Some((length, rest)) = content.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (snapshot, windows) = rest.split_at(length);
    let (snapshot, windows) = producer_snapshot::mend(snapshot, windows);
    let Ok(mut states) = producer_snapshot::decode(&snapshot, NOW) else {
        return;
    };
    producer_snapshot::widen(&mut states, &snapshot, &windows);
    let (snapshot, windows) = producer_snapshot::encode(&states);
    let mut again =
        producer_snapshot::decode(&snapshot, NOW).expect("a snapshot that we wrote can be read");
    assert!(
        producer_snapshot::widen(&mut again, &snapshot, &windows),
        "windows belong to the snapshot they were written with"
    );
    assert_eq!(again, states, "producers read back");
}
