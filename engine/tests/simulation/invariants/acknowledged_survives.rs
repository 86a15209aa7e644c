//! INV-DUR-1: an acknowledged batch is readable at its offset, with its messages, after whatever its acknowledgement
//! was to survive.

use std::collections::BTreeMap;
use std::ops::Range;

use millrace_engine::partition::ReadError;
use millrace_engine::types::{Offset, Timestamp, TopicIdPartition};

use super::{Reading, Verdict, Violation};

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grade {
    /// To survive the process.
    Process,
    /// To survive a power cut.
    Power,
}

/// On a disk without faults everything can be read.
pub(crate) fn unreadable(partition: TopicIdPartition, error: &ReadError) -> Violation {
    Violation {
        invariant: "INV-DUR-1",
        text: format!("{partition:?} cannot be read: {error}"),
    }
}

/// What is shown is what was written.
pub(crate) fn spoiled(error: &impl std::fmt::Display) -> Violation {
    Violation {
        invariant: "INV-DUR-1",
        text: format!("a reader got bytes that nobody wrote: {error}"),
    }
}

/// On what the broker itself has left, it starts.
pub(crate) fn refused(error: &str) -> Violation {
    Violation {
        invariant: "INV-DUR-1",
        text: format!("the broker does not start: {error}"),
    }
}

#[derive(Debug, Default)]
pub(crate) struct AcknowledgedSurvives {
    batches: BTreeMap<(TopicIdPartition, Offset), Acknowledged>,
}

#[derive(Debug)]
struct Acknowledged {
    grade: Grade,
    ids: Vec<u64>,
    /// Of its records.
    timestamp: Timestamp,
}

impl AcknowledgedSurvives {
    pub(crate) fn acknowledged(
        &mut self,
        partition: TopicIdPartition,
        base: Offset,
        grade: Grade,
        ids: &[u64],
        timestamp: Timestamp,
    ) -> Verdict {
        let batch = Acknowledged {
            grade,
            ids: ids.to_vec(),
            timestamp,
        };
        match self.batches.insert((partition, base), batch) {
            Some(Acknowledged { ids: other, .. }) if other != ids => Err(Violation {
                invariant: "INV-DUR-1",
                text: format!("{partition:?}: offset {base} was given to {other:?} and to {ids:?}"),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn audit(&self, partition: TopicIdPartition, reading: &Reading) -> Verdict {
        let all = (partition, reading.log_start)..=(partition, Offset(i64::MAX));
        for ((_, base), Acknowledged { grade, ids, .. }) in self.batches.range(all) {
            let found = reading.batches.iter().find(|batch| batch.base == *base);
            if found.map(|batch| &batch.ids) != Some(ids) {
                return Err(Violation {
                    invariant: "INV-DUR-1",
                    text: format!(
                        "{partition:?}: {ids:?} was acknowledged at {base} ({grade:?}), there is {found:?}; \
                         readable is {}..{}",
                        reading.log_start, reading.high_watermark
                    ),
                });
            }
        }
        Ok(())
    }

    /// Of the batches that begin there, the newest by its timestamp, and its offset.
    pub(crate) fn newest_in(
        &self,
        partition: TopicIdPartition,
        offsets: &Range<Offset>,
    ) -> Option<(Offset, Timestamp)> {
        let all = (partition, offsets.start)..(partition, offsets.end);
        let batches = self.batches.range(all);
        let newest = batches.max_by_key(|(_, batch)| batch.timestamp);
        newest.map(|((_, base), batch)| (*base, batch.timestamp))
    }

    pub(crate) fn power_failed(&mut self) {
        self.batches.retain(|_, batch| batch.grade == Grade::Power);
    }

    pub(crate) fn settled(&mut self) {
        for batch in self.batches.values_mut() {
            batch.grade = Grade::Power;
        }
    }

    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.batches.retain(|(of, _), _| *of != partition);
    }
}
