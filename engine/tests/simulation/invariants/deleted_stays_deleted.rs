//! INV-DEL-1: records that DeleteRecords said to be gone do not come back.

use std::collections::BTreeMap;

use millrace_engine::types::{Offset, TopicIdPartition};

use super::{Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct DeletedStaysDeleted {
    below: BTreeMap<TopicIdPartition, Offset>,
}

impl DeletedStaysDeleted {
    pub(crate) fn deleted(&mut self, partition: TopicIdPartition, below: Offset) {
        let known = self.below.entry(partition).or_default();
        *known = below.max(*known);
    }

    pub(crate) fn observe(&self, partition: TopicIdPartition, log_start: Offset) -> Verdict {
        match self.below.get(&partition) {
            Some(below) if log_start < *below => Err(Violation {
                invariant: "INV-DEL-1",
                text: format!("{partition:?}: deleted below {below}, starts at {log_start}"),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.below.remove(&partition);
    }
}
