//! INV-DEL-1: records that DeleteRecords said to be gone do not come back.
//! INV-DEL-2: a log starts no later than somebody asked for, or than retention lets it.

use std::collections::BTreeMap;
use std::ops::Range;

use millrace_engine::types::{Offset, Timestamp, TopicIdPartition};

use super::{Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct DeletedStaysDeleted {
    below: BTreeMap<TopicIdPartition, Offset>,
    /// The greatest offset that anybody asked to delete below, whatever was answered.
    asked: BTreeMap<TopicIdPartition, Offset>,
}

impl DeletedStaysDeleted {
    pub(crate) fn asked(&mut self, partition: TopicIdPartition, below: Offset) {
        let known = self.asked.entry(partition).or_default();
        *known = below.max(*known);
    }

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

    /// What is below the start although nobody asked for that.
    pub(crate) fn unasked(
        &self,
        partition: TopicIdPartition,
        log_start: Offset,
    ) -> Option<Range<Offset>> {
        let asked = self.asked.get(&partition).copied().unwrap_or_default();
        (asked < log_start).then_some(asked..log_start)
    }

    /// Nothing lets them go.
    pub(crate) fn lost(partition: TopicIdPartition, gone: &Range<Offset>) -> Violation {
        Violation {
            invariant: "INV-DEL-2",
            text: format!(
                "{partition:?}: starts at {}, asked was to delete below {}",
                gone.end, gone.start
            ),
        }
    }

    /// Retention keeps what is not older than `kept_from`.
    pub(crate) fn too_young(
        partition: TopicIdPartition,
        gone: &Range<Offset>,
        base: Offset,
        timestamp: Timestamp,
        kept_from: Timestamp,
    ) -> Violation {
        Violation {
            invariant: "INV-DEL-2",
            text: format!(
                "{partition:?}: starts at {}, the batch at {base} is from {timestamp}, retention keeps what is from \
                 {kept_from} on",
                gone.end
            ),
        }
    }

    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.below.remove(&partition);
        self.asked.remove(&partition);
    }
}
