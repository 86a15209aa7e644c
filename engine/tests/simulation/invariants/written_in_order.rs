//! INV-ORDER-1: what a producer sends to a partition stands there in the order in which it was sent.

use std::collections::BTreeMap;

use millrace_engine::types::{Offset, TopicIdPartition};

use super::acknowledged_survives::Grade;
use super::own_records::OwnRecords;
use super::{Reading, Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct WrittenInOrder {
    /// Where the last batch of a producer that was acknowledged begins.
    last: BTreeMap<(TopicIdPartition, usize), (Offset, Grade)>,
}

impl WrittenInOrder {
    /// Acknowledgements are heard in the order in which the batches were sent.
    pub(crate) fn acknowledged(
        &mut self,
        partition: TopicIdPartition,
        producer: usize,
        base: Offset,
        grade: Grade,
    ) -> Verdict {
        match self.last.insert((partition, producer), (base, grade)) {
            Some((before, _)) if before >= base => Err(Violation {
                invariant: "INV-ORDER-1",
                text: format!(
                    "{partition:?}: producer {producer} is at {base}, what it had sent before at {before}"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Producers number what they send.
    pub(crate) fn check(
        partition: TopicIdPartition,
        reading: &Reading,
        own: &OwnRecords,
    ) -> Verdict {
        let mut last = BTreeMap::new();
        for batch in &reading.batches {
            for id in &batch.ids {
                let Some(producer) = own.producer_of(*id) else {
                    continue;
                };
                let before = last.insert(producer, *id);
                if let Some(before) = before.filter(|before| before >= id) {
                    return Err(Violation {
                        invariant: "INV-ORDER-1",
                        text: format!(
                            "{partition:?}: producer {producer} sent {before} after {id}, in {batch:?}"
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// Offsets of what is lost are given again.
    pub(crate) fn power_failed(&mut self) {
        self.last.retain(|_, (_, grade)| *grade == Grade::Power);
    }

    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.last.retain(|(of, _), _| *of != partition);
    }
}
