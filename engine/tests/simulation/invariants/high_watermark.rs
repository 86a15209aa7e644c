//! INV-HW-4: the high watermark that clients see never goes back; where writes are cached, not while the power is on.

use std::collections::BTreeMap;

use millrace_engine::types::{Offset, TopicIdPartition};

use super::{Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct HighWatermark {
    highest: BTreeMap<TopicIdPartition, Offset>,
}

impl HighWatermark {
    pub(crate) fn observe(
        &mut self,
        partition: TopicIdPartition,
        high_watermark: Offset,
    ) -> Verdict {
        let highest = self.highest.entry(partition).or_default();
        if high_watermark < *highest {
            return Err(Violation {
                invariant: "INV-HW-4",
                text: format!("{partition:?}: was at {highest}, is at {high_watermark}"),
            });
        }
        *highest = high_watermark;
        Ok(())
    }

    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.highest.remove(&partition);
    }
}
