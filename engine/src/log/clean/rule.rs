//! What stays of one batch: the records that are the newest of their key, delete markers until their time is over, and
//! an empty batch where its header alone is still needed.
//!
//! Kafka's rules (KIP-534 for delete markers): the first compaction that meets a delete marker only notes in its batch
//! when it may go. Offsets never change, and a batch that is rewritten keeps its first and last one.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::key_map::KeyMap;
use crate::record::{
    BODY_BYTES_MAX_DEFAULT, Batch, BatchBuilder, RawRecord, RecordError, Records, records,
};
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
        let count = u64::try_from(header.record_count()).unwrap_or(0);
        if discarded && (!control || past) {
            return judged(self.emptied(batch), count, 0);
        }
        let as_is = judged(Kept::AsIs, count, count);
        let Ok(records) = records(&batch.bytes, BODY_BYTES_MAX_DEFAULT) else {
            return as_is;
        };
        let (mut kept_count, mut delete_markers) = (0, false);
        let looked_at = self.each_kept(records.clone(), past, |record| {
            kept_count += 1;
            delete_markers |= !record.has_value;
        });
        if looked_at.is_err() {
            return as_is;
        }
        if kept_count == 0 {
            return judged(self.emptied(batch), count, 0);
        }
        let set_horizon = horizon.is_none() && (delete_markers || (control && discarded));
        if kept_count == count && !set_horizon {
            return as_is;
        }
        let mut builder = BatchBuilder::in_place_of(header);
        if set_horizon {
            let horizon = self.now.0.saturating_add(self.delete_retention_ms);
            builder = builder.delete_horizon(Timestamp(horizon));
        }
        // Once more, now that it is known whether there is a horizon: kept aside they may take many times their bytes.
        let copied = self.each_kept(records, past, |record| builder.retain(record));
        if copied.is_err() {
            return as_is;
        }
        judged(Kept::Changed(builder.build()), count, kept_count)
    }

    /// Goes through the records, and calls `with` for each that stays.
    fn each_kept(
        &self,
        mut records: Records,
        past_horizon: bool,
        mut with: impl FnMut(&RawRecord<'_>),
    ) -> Result<(), RecordError> {
        let control = records.header().attributes().is_control();
        while let Some(record) = records.next_raw()? {
            if control || self.keeps(&record, past_horizon) {
                with(&record);
            }
        }
        Ok(())
    }

    fn keeps(&self, record: &RawRecord<'_>, past_horizon: bool) -> bool {
        if record.offset >= self.keys_end {
            return true;
        }
        // A record without key is of no use where only the last of each key counts.
        let Some(key) = record.key else {
            return false;
        };
        let newest = self.keys.newest(key);
        let is_newest = newest.is_none_or(|newest| record.offset >= newest);
        is_newest && (record.has_value || !past_horizon)
    }

    /// What becomes of a batch of which no record stays.
    fn emptied(&self, batch: &Batch) -> Kept {
        match self.is_needed_empty(batch) {
            false => Kept::Gone,
            true if batch.header.record_count() == 0 => Kept::AsIs,
            true => Kept::Changed(BatchBuilder::empty_in_place_of(&batch.header)),
        }
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
