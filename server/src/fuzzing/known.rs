//! What a client of a conversation knows: words that mean something to any broker, and what this one told it.

use bytes::Bytes;
use millrace_engine::metadata::MetadataImage;
use millrace_engine::record::control::{EndTransactionMarker, TransactionOutcome};
use millrace_engine::record::{BatchBuilder, Compression};
use millrace_engine::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use millrace_wire::message::{FetchResponse, InitProducerIdResponse, JoinGroupResponse};
use millrace_wire::sample::Known;
use millrace_wire::{ApiKey, Message, Reader, Str, Uuid};

/// What was heard so far.
#[derive(Default)]
pub(super) struct Acquaintance {
    members: Vec<Str>,
    numbers: Vec<i64>,
    producer: Option<(i64, i16)>,
}

impl Acquaintance {
    /// Notes what an answer says that later requests need.
    pub(super) fn listen(&mut self, key: ApiKey, version: i16, message: Bytes) {
        let mut reader = Reader::new(message, usize::MAX);
        match key {
            ApiKey::JoinGroup => {
                if let Ok(joined) = JoinGroupResponse::decode(&mut reader, version) {
                    self.members.insert(0, joined.member_id);
                    self.members.truncate(HEARD_MAX);
                    self.note(joined.generation_id.into());
                }
            }
            ApiKey::Fetch => {
                if let Ok(fetched) = FetchResponse::decode(&mut reader, version)
                    && fetched.session_id != 0
                {
                    self.note(fetched.session_id.into());
                }
            }
            ApiKey::InitProducerId => {
                if let Ok(given) = InitProducerIdResponse::decode(&mut reader, version) {
                    self.producer = Some((given.producer_id, given.producer_epoch));
                    self.note(given.producer_id);
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, number: i64) {
        self.numbers.retain(|known| *known != number);
        self.numbers.insert(0, number);
        self.numbers.truncate(HEARD_MAX);
    }

    /// What is worth naming now, with the metadata that anybody may ask for.
    pub(super) fn known(&self, image: &MetadataImage) -> Known {
        let words = WORDS.iter().map(|&word| Str::from(word));
        let topics = image.topics().take(TOPICS_MAX);
        let ids = topics.map(|topic| Uuid(topic.id.0.0));
        Known {
            words: words.chain(self.members.iter().cloned()).collect(),
            ids: ids.chain([Uuid(0), Uuid(1)]).collect(),
            numbers: NUMBERS.into_iter().chain(self.numbers.clone()).collect(),
            payloads: self.payloads(),
        }
    }

    fn payloads(&self) -> Vec<Bytes> {
        let (id, epoch) = self.producer.unwrap_or((0, 0));
        let produced = |sequence| {
            BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence))
        };
        let packed = |codec: Compression| batch(BatchBuilder::new().compression(codec));
        let marker = EndTransactionMarker {
            outcome: TransactionOutcome::Commit,
            coordinator_epoch: 0,
        };
        vec![
            batch(BatchBuilder::new()),
            packed(Compression::Gzip),
            packed(Compression::Snappy),
            packed(Compression::Lz4),
            packed(Compression::Zstd),
            batch(produced(0)),
            batch(produced(3)),
            batch(produced(0).transactional()),
            marker.batch(ProducerId(id), ProducerEpoch(epoch), NOW),
            [batch(BatchBuilder::new()), batch(BatchBuilder::new())]
                .concat()
                .into(),
            Bytes::from_static(LEGACY),
            Bytes::from_static(SUBSCRIPTION),
        ]
    }
}

fn batch(mut builder: BatchBuilder) -> Bytes {
    builder.push(NOW, Some(b"key"), Some(b"value value value"), &[]);
    builder.push(NOW, Some(b"key"), None, &[]);
    builder.push(Timestamp(NOW.0 + 1), None, Some(b""), &[]);
    builder.build()
}

const WORDS: &[&str] = &[
    "t",
    "u",
    "g",
    "h",
    "",
    "consumer",
    "range",
    "1",
    "0",
    "-1",
    "1000",
    "1048576",
    "cleanup.policy",
    "compact",
    "delete",
    "compact,delete",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
    "compression.type",
    "zstd",
    "message.timestamp.type",
    "LogAppendTime",
    "max.message.bytes",
    "log.retention.ms",
    "min.insync.replicas",
    "flush.messages",
    "true",
    "__consumer_offsets",
    "log.cleaner.threads",
    "uncompressed",
    "max.compaction.lag.ms",
    "write.caching",
    "group.max.session.timeout.ms",
    "client",
    "PLAINTEXT",
];
const NUMBERS: [i64; 20] = [
    0,
    1,
    -1,
    2,
    3,
    -2,
    -3,
    4,
    10,
    100,
    1_000,
    30_000,
    300_000,
    1 << 20,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
    1_700_000_000_000,
    -1_000,
];
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// A message of the format before record batches (magic 1).
const LEGACY: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\0\x1c\x5c\xd2\x59\xcb\x01\0\0\0\x01\x8b\xcf\xe5\x68\0\0\0\0\x01k\0\0\0\x01v";
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x01t\0\0\0\0";
const HEARD_MAX: usize = 8;
const TOPICS_MAX: usize = 8;
