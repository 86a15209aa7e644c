//! INV-OWN-1: what a partition shows was sent to it, with the key, the value and the timestamp that it was sent with.

use std::collections::BTreeMap;

use millrace_engine::record::Record;
use millrace_engine::types::{Timestamp, TopicIdPartition};

use super::Violation;
use crate::clients::{content_of, id_of};

/// What was sent under a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) partition: TopicIdPartition,
    /// Which of all producers sent it.
    pub(crate) producer: usize,
    pub(crate) topic: &'static str,
    pub(crate) timestamp: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct OwnRecords {
    /// By number. Nothing is ever forgotten: what comes back from a deleted topic was sent to another one.
    sent: BTreeMap<u64, Message>,
}

impl OwnRecords {
    pub(crate) fn sent(&mut self, ids: &[u64], message: Message) {
        self.sent.extend(ids.iter().map(|id| (*id, message)));
    }

    pub(crate) fn producer_of(&self, id: u64) -> Option<usize> {
        self.sent.get(&id).map(|message| message.producer)
    }

    /// Answers the number of the message that a record is.
    pub(crate) fn check(
        &self,
        partition: TopicIdPartition,
        record: &Record,
    ) -> Result<u64, Violation> {
        let broken = |what: &str| Violation {
            invariant: "INV-OWN-1",
            text: format!("{partition:?}: {what}: {record:?}"),
        };
        let id = id_of(record).ok_or_else(|| broken("a record without a number"))?;
        let message = self.sent.get(&id);
        let message = message.ok_or_else(|| broken("nobody sent that"))?;
        if message.partition != partition {
            return Err(broken("it was sent elsewhere"));
        }
        let content = content_of(message.topic, id);
        let is_as_sent = record.key.as_deref() == content.key.as_deref()
            && record.value.as_deref() == content.value.as_deref()
            && record.headers == content.headers
            && record.timestamp == message.timestamp;
        if !is_as_sent {
            return Err(broken("it is not as it was sent"));
        }
        Ok(id)
    }
}
