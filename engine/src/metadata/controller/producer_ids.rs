//! Producer ids are given out in blocks, so that a broker asks the controller once in a thousand producers.

use super::{ControllerError, Decision, ProducerIdBlock, Reply};
use crate::metadata::image::MetadataImage;
use crate::metadata::record::MetadataRecord;
use crate::types::{BrokerId, ProducerId};

/// How many ids a block has, as in Kafka. What a broker did not use of its block is lost when it stops.
pub const BLOCK_LENGTH: i32 = 1_000;

pub(super) fn decide(image: &MetadataImage, broker: BrokerId) -> Result<Decision, ControllerError> {
    if image.broker(broker).is_none() {
        return Err(ControllerError::UnknownBroker { broker });
    }
    let first = image.producer_id_next();
    let next = first
        .0
        .checked_add(i64::from(BLOCK_LENGTH))
        .map(ProducerId)
        .ok_or(ControllerError::ProducerIdsExhausted)?;
    Ok(Decision {
        records: vec![MetadataRecord::ProducerIdsAllocated { broker, next }],
        reply: Reply::AllocateProducerIds(ProducerIdBlock {
            first,
            count: BLOCK_LENGTH,
        }),
    })
}
