//! INV-DUR-1: an acknowledged batch is readable at its offset, with its messages, after whatever its acknowledgement
//! was to survive.

use std::collections::BTreeMap;

use millrace_engine::partition::ReadError;
use millrace_engine::types::{Offset, TopicIdPartition};

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
    batches: BTreeMap<(TopicIdPartition, Offset), (Grade, Vec<u64>)>,
}

impl AcknowledgedSurvives {
    pub(crate) fn acknowledged(
        &mut self,
        partition: TopicIdPartition,
        base: Offset,
        grade: Grade,
        ids: &[u64],
    ) -> Verdict {
        let before = self
            .batches
            .insert((partition, base), (grade, ids.to_vec()));
        match before {
            Some((_, other)) if other != ids => Err(Violation {
                invariant: "INV-DUR-1",
                text: format!("{partition:?}: offset {base} was given to {other:?} and to {ids:?}"),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn audit(&self, partition: TopicIdPartition, reading: &Reading) -> Verdict {
        let all = (partition, reading.log_start)..=(partition, Offset(i64::MAX));
        for ((_, base), (grade, ids)) in self.batches.range(all) {
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

    pub(crate) fn power_failed(&mut self) {
        self.batches.retain(|_, (grade, _)| *grade == Grade::Power);
    }

    pub(crate) fn settled(&mut self) {
        for (grade, _) in self.batches.values_mut() {
            *grade = Grade::Power;
        }
    }

    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.batches.retain(|(of, _), _| *of != partition);
    }
}
