//! INV-COMPACT-1: a reader of a compacted topic finds the newest record of each key at its offset, whatever was
//! acknowledged or seen before. INV-COMPACT-2: no offset of it ever shows two records, and offsets only ascend.
//!
//! A newest record may be missing below the log's start; and where delete markers go after a while one may be missing, if
//! nothing older of its key is there either.

use std::collections::{BTreeMap, BTreeSet};

use millrace_engine::types::{Offset, TopicIdPartition};

use super::acknowledged_survives::Grade;
use super::{Reading, SeenBatch, Verdict, Violation};
use crate::clients::{is_delete_marker, key_of};

type Places<T> = BTreeMap<TopicIdPartition, BTreeMap<Offset, T>>;

#[derive(Debug, Default)]
pub(crate) struct Compacted {
    acknowledged: Places<(Grade, u64)>,
    seen: Places<u64>,
    /// The delete markers that were ever sent. One that nobody was told of and no reader met may have done its work.
    markers: BTreeMap<TopicIdPartition, BTreeSet<u64>>,
    /// Records that gave way to a newer one of their key: without any the simulation proves nothing.
    pub(crate) superseded: u64,
    /// Delete markers that went when their time was over.
    pub(crate) markers_gone: u64,
}

impl Compacted {
    pub(crate) fn sent(&mut self, partition: TopicIdPartition, ids: &[u64]) {
        let markers = ids.iter().copied().filter(|id| is_delete_marker(*id));
        self.markers.entry(partition).or_default().extend(markers);
    }

    pub(crate) fn acknowledged(
        &mut self,
        partition: TopicIdPartition,
        base: Offset,
        grade: Grade,
        ids: &[u64],
    ) -> Verdict {
        let known = self.acknowledged.entry(partition).or_default();
        for (place, id) in (0..).zip(ids) {
            let offset = Offset(base.0 + place);
            let before = known.insert(offset, (grade, *id));
            if let Some((_, other)) = before.filter(|(_, other)| other != id) {
                return Err(twice(partition, offset, other, *id));
            }
        }
        Ok(())
    }

    pub(crate) fn observe(&mut self, partition: TopicIdPartition, batch: &SeenBatch) -> Verdict {
        let seen = self.seen.entry(partition).or_default();
        for (offset, id) in batch.offsets.iter().zip(&batch.ids) {
            let before = seen.insert(*offset, *id);
            if let Some(other) = before.filter(|other| other != id) {
                return Err(twice(partition, *offset, other, *id));
            }
        }
        Ok(())
    }

    pub(crate) fn audit(&mut self, partition: TopicIdPartition, reading: &Reading) -> Verdict {
        let mut found = BTreeMap::new();
        let mut newest = BTreeMap::new();
        let mut next = Offset::ZERO;
        for batch in &reading.batches {
            self.observe(partition, batch)?;
            if batch.base < next {
                return Err(Violation {
                    invariant: "INV-COMPACT-2",
                    text: format!("{partition:?}: {batch:?} follows {next}"),
                });
            }
            next = batch.next;
            for (offset, id) in batch.offsets.iter().zip(&batch.ids) {
                found.insert(*offset, *id);
                newest.insert(key_of(*id), *offset);
            }
        }
        let acknowledged = self.acknowledged.entry(partition).or_default();
        let acknowledged = acknowledged.iter().map(|(offset, (_, id))| (*offset, *id));
        let seen = self.seen.entry(partition).or_default();
        let seen = seen.iter().map(|(offset, id)| (*offset, *id));
        let known: Vec<(Offset, u64)> = acknowledged.chain(seen).collect();
        let places = known.iter().map(|(offset, id)| (*id, *offset)).collect();
        for (offset, id) in known {
            match found.get(&offset) {
                Some(here) if *here == id => continue,
                Some(other) => return Err(twice(partition, offset, id, *other)),
                None if offset < reading.log_start => continue,
                None => {}
            }
            let newest = newest.get(&key_of(id)).copied();
            if newest.is_some_and(|newest| newest > offset) {
                self.superseded += 1;
                continue;
            }
            // Amid compactions a reader may get what is deleted before that goes, and come to the marker too late.
            let gone = newest.is_none() || !reading.at_rest;
            let deleted = reading.loses_markers && self.is_deleted(partition, offset, id, &places);
            if !(gone && deleted) {
                return Err(Violation {
                    invariant: "INV-COMPACT-1",
                    text: format!(
                        "{partition:?}: {id} at {offset} is gone, and nothing newer of its key is there; readable is \
                         {}..{}",
                        reading.log_start, reading.high_watermark
                    ),
                });
            }
            self.markers_gone += u64::from(is_delete_marker(id));
        }
        Ok(())
    }

    /// Whether a record is a delete marker, or one may have followed it.
    fn is_deleted(
        &self,
        partition: TopicIdPartition,
        offset: Offset,
        id: u64,
        places: &BTreeMap<u64, Offset>,
    ) -> bool {
        let follows = |marker: &u64| {
            let place = places.get(marker);
            key_of(*marker) == key_of(id) && place.is_none_or(|place| *place > offset)
        };
        let markers = self.markers.get(&partition);
        is_delete_marker(id) || markers.is_some_and(|markers| markers.iter().any(follows))
    }

    pub(crate) fn power_failed(&mut self) {
        for known in self.acknowledged.values_mut() {
            known.retain(|_, (grade, _)| *grade == Grade::Power);
        }
    }

    pub(crate) fn settled(&mut self) {
        for (grade, _) in self
            .acknowledged
            .values_mut()
            .flat_map(BTreeMap::values_mut)
        {
            *grade = Grade::Power;
        }
    }
}

fn twice(partition: TopicIdPartition, offset: Offset, one: u64, other: u64) -> Violation {
    Violation {
        invariant: "INV-COMPACT-2",
        text: format!("{partition:?}: offset {offset} has {one} and {other}"),
    }
}
