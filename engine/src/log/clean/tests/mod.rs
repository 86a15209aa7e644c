//! Compaction of whole logs on real and simulated disks, against plain models of what must be left.

mod crash;
mod model;
mod pieces;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::Log;
use super::super::tests::{EPOCH, Fixture, config};
use super::task::{CleanLimits, CleanStats, Cleaning, Failed, Next};
use crate::config::{CleanupPolicy, TopicConfig};
use crate::io::Disk;
use crate::record::{Batch, BatchHeader, Batches, Record, records};
use crate::types::{Offset, Timestamp};

const LIMITS: CleanLimits = CleanLimits {
    key_memory_bytes: 1 << 20,
    load_factor: 0.9,
    slice_bytes: 300,
    seed: 3,
};

fn compacted(segment_bytes: u32) -> TopicConfig {
    TopicConfig {
        cleanup_policy: CleanupPolicy {
            delete: false,
            compact: true,
        },
        delete_retention_ms: 1_000,
        ..config(segment_bytes)
    }
}

/// Compacts whatever may be, as a shard would; `None` when nothing is dirty.
fn clean(
    log: &mut Log,
    disk: &Disk,
    now: i64,
    limits: CleanLimits,
) -> Result<Option<CleanStats>, Box<Failed>> {
    let Some(dirt) = log.dirt(Timestamp(now), log.log_end_offset()) else {
        return Ok(None);
    };
    if dirt.dirty_bytes == 0 {
        return Ok(None);
    }
    let cleaning = log.begin_clean(&dirt, limits, Timestamp(now));
    let cleaning = go_on(log, disk, cleaning)?;
    Ok(Some(*cleaning.stats()))
}

/// Takes a compaction to its end.
fn go_on(
    log: &mut Log,
    disk: &Disk,
    mut cleaning: Box<Cleaning>,
) -> Result<Box<Cleaning>, Box<Failed>> {
    loop {
        match cleaning.next() {
            Next::End => break,
            Next::Swap => assert!(log.begin_swap(&mut cleaning), "nothing else has changed"),
            Next::Slice | Next::Directory => {}
        }
        cleaning = cleaning.run(disk).map_err(Box::new)?;
        if let Some(swapped) = cleaning.take_swapped() {
            // What cannot be unlinked is swept away by the next start.
            let _ = log.swapped(swapped).run(disk);
        }
    }
    log.end_clean(cleaning.cleaned_to());
    Ok(cleaning)
}

/// All batches of the log, read as a consumer reads them.
fn batches(fixture: &Fixture, log: &mut Log) -> Vec<Batch> {
    let end = log.log_end_offset();
    let mut offset = log.log_start_offset();
    let mut found: Vec<Batch> = Vec::new();
    while offset < end {
        let bytes = fixture.read(log, offset.0, u64::MAX, end.0).unwrap();
        if bytes.is_empty() {
            break;
        }
        for batch in Batches::new(bytes) {
            let batch = batch.unwrap();
            crate::record::check_crc(&batch.bytes).unwrap();
            offset = batch.header.next_offset();
            found.push(batch);
        }
    }
    found
}

fn all_records(batches: &[Batch]) -> Vec<Record> {
    let of_data = |batch: &&Batch| !batch.header.attributes().is_control();
    let batches = batches.iter().filter(of_data);
    let records = batches.flat_map(|batch| records(&batch.bytes, 1 << 20).unwrap());
    records.map(Result::unwrap).collect()
}

/// What a consumer that started at the beginning knows in the end.
fn folded(records: &[Record]) -> BTreeMap<Bytes, Bytes> {
    let mut map = BTreeMap::new();
    for record in records {
        let Some(key) = record.key.clone() else {
            continue;
        };
        match record.value.clone() {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
    map
}

fn header_of(bytes: &Bytes) -> BatchHeader {
    BatchHeader::parse(bytes).unwrap()
}

fn offsets(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.offset.0).collect()
}

fn end_of(batches: &[Batch]) -> Offset {
    batches
        .last()
        .map_or(Offset::ZERO, |batch| batch.header.next_offset())
}
