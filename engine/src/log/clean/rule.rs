//! What stays of one batch: the records that are the newest of their key, delete markers until their time is over, and
//! an empty batch where its header alone is still needed.
//!
//! Kafka's rules (KIP-534 for delete markers): the first compaction that meets a delete marker only notes in its batch
//! when it may go. Offsets never change, and a batch that is rewritten keeps its first and last one.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::key_map::KeyMap;
use crate::record::{BODY_BYTES_MAX_DEFAULT, Batch, BatchBuilder, Record, records};
use crate::types::{Offset, ProducerEpoch, ProducerId, Timestamp};

/// The last batch of a producer that is still remembered: it stays, so that the log alone tells its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastBatch {
    /// Last offset of its last batch with data; `None` when only a marker is known.
    pub(super) last_offset: Option<Offset>,
    pub(super) epoch: ProducerEpoch,
}

/// What a compaction goes by.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    pub(super) keys: &'a KeyMap,
    /// Keys above have not been looked at: records there stay.
    pub(super) keys_end: Offset,
    pub(super) now: Timestamp,
    /// `delete.retention.ms`.
    pub(super) delete_retention_ms: i64,
    pub(super) last_batches: &'a BTreeMap<ProducerId, LastBatch>,
    /// End of the compaction: the batch that ends there stays, so that its end is known from the log alone.
    pub(super) upper_bound: Offset,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing of it stays.
    Gone,
    /// All of it stays, byte for byte.
    AsIs,
    /// This takes its place.
    Changed(Bytes),
}

/// A batch, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) kept: Kept,
    pub(super) records_read: u64,
    pub(super) records_kept: u64,
}

impl Rule<'_> {
    /// Judges a batch; `discarded` is what [`super::transactions::Transactions::note`] said of it. A batch whose
    /// records make no sense is somebody's data all the same, and stays.
    pub(super) fn judge(&self, batch: &Batch, discarded: bool) -> Judged {
        let header = &batch.header;
        let control = header.attributes().is_control();
        let horizon = header
            .attributes()
            .has_delete_horizon()
            .then(|| header.base_timestamp());
        let past = horizon.is_some_and(|horizon| horizon <= self.now);
        let all_go = discarded && (!control || past);
        let count = u64::try_from(header.record_count()).unwrap_or(0);
        let (mut kept, mut delete_markers) = (Vec::new(), false);
        if !all_go {
            let Ok(records) = records(&batch.bytes, BODY_BYTES_MAX_DEFAULT) else {
                return judged(Kept::AsIs, count, count);
            };
            for record in records {
                let Ok(record) = record else {
                    return judged(Kept::AsIs, count, count);
                };
                if control || self.keeps(&record, past) {
                    delete_markers |= record.value.is_none();
                    kept.push(record);
                }
            }
        }
        let kept_count = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        if kept.is_empty() {
            let kept = match self.is_needed_empty(batch) {
                false => Kept::Gone,
                true if header.record_count() == 0 => Kept::AsIs,
                true => Kept::Changed(BatchBuilder::empty_in_place_of(header)),
            };
            return judged(kept, count, 0);
        }
        let set_horizon = horizon.is_none() && (delete_markers || (control && discarded));
        if kept_count == count && !set_horizon {
            return judged(Kept::AsIs, count, count);
        }
        let mut builder = BatchBuilder::in_place_of(header);
        if set_horizon {
            let horizon = self.now.0.saturating_add(self.delete_retention_ms);
            builder = builder.delete_horizon(Timestamp(horizon));
        }
        for record in &kept {
            builder.retain(record);
        }
        judged(Kept::Changed(builder.build()), count, kept_count)
    }

    fn keeps(&self, record: &Record, past_horizon: bool) -> bool {
        if record.offset >= self.keys_end {
            return true;
        }
        // A record without key is of no use where only the last of each key counts.
        let Some(key) = &record.key else {
            return false;
        };
        let newest = self.keys.newest(key);
        let is_newest = newest.is_none_or(|newest| record.offset >= newest);
        is_newest && (record.value.is_some() || !past_horizon)
    }

    fn is_needed_empty(&self, batch: &Batch) -> bool {
        let header = &batch.header;
        let last_of_producer = self
            .last_batches
            .get(&header.producer_id())
            .is_some_and(|last| match last.last_offset {
                Some(last_offset) => header.last_offset() == last_offset,
                None => header.attributes().is_control() && header.producer_epoch() == last.epoch,
            });
        last_of_producer || header.next_offset() == self.upper_bound
    }
}

fn judged(kept: Kept, records_read: u64, records_kept: u64) -> Judged {
    Judged {
        kept,
        records_read,
        records_kept,
    }
}
