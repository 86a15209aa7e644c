//! INV-IDEM-1: a message stands at one offset only, however often its producer had to send it.
//! INV-IDEM-2: a producer that sends in order, and was told of everything before, is not out of order.

use std::collections::BTreeMap;

use millrace_engine::types::{Offset, TopicIdPartition};

use super::{SeenBatch, Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct ExactlyOnce {
    places: BTreeMap<(TopicIdPartition, u64), Offset>,
}

impl ExactlyOnce {
    pub(crate) fn observe(&mut self, partition: TopicIdPartition, batch: &SeenBatch) -> Verdict {
        for id in &batch.ids {
            let first = *self.places.entry((partition, *id)).or_insert(batch.base);
            if first != batch.base {
                return Err(Violation {
                    invariant: "INV-IDEM-1",
                    text: format!(
                        "{partition:?}: message {id} stands at {first} and at {}",
                        batch.base
                    ),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn out_of_order(topic: &str, partition: TopicIdPartition, ids: &[u64]) -> Verdict {
        Err(Violation {
            invariant: "INV-IDEM-2",
            text: format!(
                "{topic} {partition:?}: {ids:?} is out of order although all before it is acknowledged"
            ),
        })
    }

    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.places.retain(|(of, _), _| *of != partition);
    }
}
