//! The clients of the simulation: what each has asked and not been told yet.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::group::{GroupError, GroupReply};
use millrace_engine::partition::{Acks, AppendError, Appended, DeleteRecordsError, ReadError};
use millrace_engine::record::{BatchBuilder, Record, RecordHeader};
use millrace_engine::shard::command::{Command, Fetched, Produce, ProducePartition, Produced};
use millrace_engine::types::{
    Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicIdPartition,
};
use tokio::sync::oneshot;

use crate::topics::{PACKED, is_compacted};

/// The slot an answer comes into.
pub(crate) type Answer<T> = oneshot::Receiver<T>;

/// The command that produces one batch, and where its answer comes.
pub(crate) fn produce(
    partition: TopicIdPartition,
    records: Bytes,
    acks: Acks,
    timeout: Duration,
) -> (Command, Answer<Produced>) {
    let (reply, answer) = oneshot::channel();
    let entry = ProducePartition {
        partition,
        records,
        zstd_allowed: true,
    };
    let produce = Produce {
        partitions: [entry].into(),
        acks,
        timeout,
        reply,
    };
    (Command::Produce(produce), answer)
}

/// A batch on its way.
pub(crate) struct Sent {
    pub(crate) sequence: i32,
    pub(crate) ids: Vec<u64>,
    pub(crate) timestamp: Timestamp,
    /// Nothing before it was unanswered when it was sent last.
    pub(crate) alone: bool,
    /// How often it was sent, and how often its topic's `write.caching` had been changed when it was sent last.
    pub(crate) sendings: u64,
    pub(crate) cachings: u64,
    pub(crate) answer: Option<Answer<Produced>>,
    pub(crate) result: Option<Result<Appended, AppendError>>,
}

/// Writes to one partition; an idempotent one sends again what it was not told of, in order, and goes on behind it.
pub(crate) struct Producer {
    pub(crate) topic: &'static str,
    pub(crate) number: i32,
    pub(crate) acks: Acks,
    /// For idempotent ones.
    pub(crate) identity: Option<(ProducerId, ProducerEpoch)>,
    pub(crate) next_sequence: i32,
    /// The partition that what is outstanding is for.
    pub(crate) target: Option<TopicIdPartition>,
    pub(crate) outstanding: VecDeque<Sent>,
    /// How many batches found no room.
    pub(crate) refused: u64,
}

impl Producer {
    pub(crate) fn new(topic: &'static str, number: i32, acks: Acks, id: Option<i64>) -> Self {
        Self {
            topic,
            number,
            acks,
            identity: id.map(|id| (ProducerId(id), ProducerEpoch(0))),
            next_sequence: 0,
            target: None,
            outstanding: VecDeque::new(),
            refused: 0,
        }
    }

    /// The bytes of a batch.
    pub(crate) fn batch(&self, sent: &Sent) -> Bytes {
        let mut builder = BatchBuilder::new();
        if let Some((id, epoch)) = self.identity {
            builder = builder.producer(id, epoch, Sequence(sent.sequence));
        }
        for id in &sent.ids {
            let Content {
                key,
                value,
                headers,
            } = content_of(self.topic, *id);
            builder.push(sent.timestamp, key.as_deref(), value.as_deref(), &headers);
        }
        builder.build()
    }

    /// Of a producer that it does not know a broker takes any sequence, Kafka as well: were the very first batch to fail
    /// and the next to succeed, the first could never be sent again. So the first goes alone.
    pub(crate) fn in_flight_max(&self) -> usize {
        match self.outstanding.front() {
            Some(first) if first.sequence == 0 => 1,
            _ => 5,
        }
    }

    /// A new batch behind the others.
    pub(crate) fn prepare(&mut self, ids: Vec<u64>, timestamp: Timestamp) -> Sent {
        let sequence = self.next_sequence;
        self.next_sequence += i32::try_from(ids.len()).unwrap();
        Sent {
            sequence,
            ids,
            timestamp,
            alone: false,
            sendings: 0,
            cachings: 0,
            answer: None,
            result: None,
        }
    }

    /// Begins anew under the next epoch: what is outstanding gets sequences from 0.
    pub(crate) fn bump_epoch(&mut self) {
        if let Some((_, ProducerEpoch(epoch))) = &mut self.identity {
            *epoch += 1;
        }
        self.next_sequence = 0;
        for sent in &mut self.outstanding {
            sent.sequence = self.next_sequence;
            self.next_sequence += i32::try_from(sent.ids.len()).unwrap();
        }
    }

    /// Takes in what has been answered; true when nothing is under way any more.
    pub(crate) fn hear(&mut self) -> bool {
        for sent in &mut self.outstanding {
            if let Some(answer) = &mut sent.answer {
                match answer.try_recv() {
                    Ok(mut produced) => {
                        let result = produced.results.remove(0);
                        self.refused += u64::from(matches!(result, Err(AppendError::Storage)));
                        sent.result = Some(result);
                    }
                    Err(oneshot::error::TryRecvError::Empty) => continue,
                    // The broker died: nobody knows.
                    Err(oneshot::error::TryRecvError::Closed) => {
                        sent.result = Some(Err(AppendError::TimedOut));
                    }
                }
                sent.answer = None;
            }
        }
        self.outstanding.iter().all(|sent| sent.answer.is_none())
    }
}

/// The key of a message to a compacted topic.
pub(crate) fn key_of(id: u64) -> u64 {
    id % KEYS
}

/// Whether a message to a compacted topic deletes its key.
pub(crate) fn is_delete_marker(id: u64) -> bool {
    id.is_multiple_of(4)
}

/// What a message is made of.
pub(crate) struct Content {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<RecordHeader>,
}

/// That of a message with this number.
pub(crate) fn content_of(topic: &str, id: u64) -> Content {
    let fill = u8::try_from(id % 251).unwrap();
    if is_compacted(topic) {
        return keyed(id, fill);
    }
    let length = match topic {
        PACKED if id.is_multiple_of(16) => PACKED_ASIDE_BYTES,
        _ => 8 + usize::try_from(id % 700).unwrap(),
    };
    let mut value = vec![fill; length];
    value[..8].copy_from_slice(&id.to_be_bytes());
    Content {
        key: None,
        value: Some(value),
        headers: Vec::new(),
    }
}

/// A message to a compacted topic: some are delete markers, whose number is in a header.
fn keyed(id: u64, fill: u8) -> Content {
    let header = RecordHeader {
        key: Bytes::from_static(b"id"),
        value: Some(Bytes::copy_from_slice(&id.to_be_bytes())),
    };
    let value = vec![fill; usize::try_from(id % 300).unwrap()];
    Content {
        key: Some(key_of(id).to_be_bytes().to_vec()),
        value: Some(value).filter(|_| !is_delete_marker(id)),
        headers: vec![header],
    }
}

/// The number of a message, if it has one.
pub(crate) fn id_of(record: &Record) -> Option<u64> {
    let header = record.headers.first();
    let bytes = header.map_or(&record.value, |header| &header.value);
    let number = bytes.as_ref()?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*number))
}

/// Tails every partition of a topic.
pub(crate) struct Reader {
    pub(crate) topic: &'static str,
    pub(crate) positions: Vec<(TopicIdPartition, Offset)>,
    /// What was asked, and the answer.
    pub(crate) pending: Option<PendingFetch>,
}

/// A fetch under way.
pub(crate) struct PendingFetch {
    pub(crate) asked: Vec<(TopicIdPartition, Offset)>,
    pub(crate) answer: Answer<Vec<Result<Fetched, ReadError>>>,
}

/// Commits offsets that only go forward, looks at them, and deletes them.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) sent: i64,
    pub(crate) pending: Option<PendingGroup>,
}

/// What a group was asked for.
#[derive(Clone, Copy)]
pub(crate) enum GroupAsk {
    /// To commit this offset.
    Commit(i64),
    /// To show its offset.
    Look,
    /// To delete its offset, or itself.
    Delete,
}

/// What was asked, and the answer.
pub(crate) type PendingGroup = (GroupAsk, Answer<Result<GroupReply, GroupError>>);

/// A DeleteRecords under way.
pub(crate) struct Deletion {
    pub(crate) partition: TopicIdPartition,
    pub(crate) answer: Answer<Vec<Result<Offset, DeleteRecordsError>>>,
}

/// More than the broker packs at once.
const PACKED_ASIDE_BYTES: usize = 70_000;
const KEYS: u64 = 13;
