//! INV-HW-1: what a reader once got stays there, byte for byte, until it is deleted; no offset ever shows two things.

use std::collections::BTreeMap;

use millrace_engine::types::{Offset, TopicIdPartition};

use super::{Reading, SeenBatch, Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct VisibleStays {
    seen: BTreeMap<TopicIdPartition, BTreeMap<Offset, SeenBatch>>,
}

impl VisibleStays {
    pub(crate) fn observe(&mut self, partition: TopicIdPartition, batch: &SeenBatch) -> Verdict {
        let seen = self.seen.entry(partition).or_default();
        let below = seen.range(..batch.next).next_back();
        if let Some((_, before)) = below
            && before.next > batch.base
            && before != batch
        {
            return Err(Violation {
                invariant: "INV-HW-1",
                text: format!("{partition:?}: read {before:?}, and now {batch:?}"),
            });
        }
        seen.insert(batch.base, batch.clone());
        Ok(())
    }

    pub(crate) fn audit(&mut self, partition: TopicIdPartition, reading: &Reading) -> Verdict {
        for batch in &reading.batches {
            self.observe(partition, batch)?;
        }
        let seen = self.seen.entry(partition).or_default();
        // A log start inside a batch leaves all of the batch readable.
        for batch in seen.values().filter(|batch| batch.next > reading.log_start) {
            if !reading.batches.contains(batch) {
                return Err(Violation {
                    invariant: "INV-HW-1",
                    text: format!(
                        "{partition:?}: {batch:?} was read and is gone; readable is {}..{}",
                        reading.log_start, reading.high_watermark
                    ),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.seen.remove(&partition);
    }
}
