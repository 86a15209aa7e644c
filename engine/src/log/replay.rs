//! What a batch found in the log says about its producer: the same for a live append and for a replay.
//!
//! It reads records of control batches only.

use bytes::Bytes;

use super::producer_state::{ProducerBatch, ProducerStates};
use super::walk::{WalkError, Walked, Walker};
use crate::record::control::ControlRecord;
use crate::record::{BatchHeader, records};
use crate::types::{ProducerEpoch, ProducerId, Timestamp};

/// Control batches are tiny; a larger body is none of ours.
const CONTROL_BODY_BYTES_MAX: usize = 64 * 1024;

/// The end of a transaction, as its marker tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marker {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    coordinator_epoch: i32,
    timestamp: Timestamp,
}

impl Marker {
    pub(super) fn apply(self, producers: &mut ProducerStates, now: Timestamp) {
        producers.apply_marker(
            self.producer_id,
            self.epoch,
            self.coordinator_epoch,
            self.timestamp,
            now,
        );
    }
}

/// The transaction marker in a control batch; `None` for other control records and nonsense.
pub(super) fn marker_of(header: &BatchHeader, batch: &Bytes) -> Option<Marker> {
    if header.producer_id() < ProducerId(0) {
        return None;
    }
    let record = records(batch, CONTROL_BODY_BYTES_MAX).ok()?.next()?.ok()?;
    match ControlRecord::decode(&record).ok()? {
        ControlRecord::EndTransaction(marker) => Some(Marker {
            producer_id: header.producer_id(),
            epoch: header.producer_epoch(),
            coordinator_epoch: marker.coordinator_epoch,
            timestamp: record.timestamp,
        }),
        ControlRecord::Other { .. } => None,
    }
}

/// Applies a batch met on a walk.
pub(super) fn apply(
    producers: &mut ProducerStates,
    batch: &Walked,
    walker: &mut Walker<'_>,
    now: Timestamp,
) -> Result<(), WalkError> {
    if let Some(appended) = ProducerBatch::of(&batch.header) {
        producers.apply(&appended, now);
    } else if batch.header.attributes().is_control() {
        let whole = walker.whole(batch)?;
        if let Some(marker) = marker_of(&batch.header, &whole) {
            marker.apply(producers, now);
        }
    }
    Ok(())
}
