//! Batches like those of real producers.

use std::fmt;

use bytes::Bytes;
use millrace_engine::io::Random;
use millrace_engine::record::{BatchBuilder, Compression, PreparedBatch, Rules, prepare};
use millrace_engine::types::Timestamp;

/// How many records a batch has and how long they are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Records in the batch.
    pub record_count: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
}

impl Shape {
    /// Many small records, 16 KiB in all.
    pub const SMALL_RECORDS: Self = Self::of(160, 100);
    /// What producers send by default: 16 KiB.
    pub const TYPICAL: Self = Self::of(16, 1024);
    /// What producers tuned for throughput send: 1 MiB less what surrounds the values.
    pub const BULK: Self = Self::of(1000, 1024);

    /// So many records with values of so many bytes.
    #[must_use]
    pub const fn of(record_count: usize, value_bytes: usize) -> Self {
        Self {
            record_count,
            value_bytes,
        }
    }

    /// One record of such a length that the batch has about `bytes` in all.
    #[must_use]
    pub const fn filling(bytes: usize) -> Self {
        Self::of(1, bytes.saturating_sub(100))
    }

    /// A batch of this shape, as a producer sends it.
    #[must_use]
    pub fn batch(self, compression: Compression) -> Bytes {
        self.batch_at(NOW, compression)
    }

    /// The same, of another time: a real broker deletes what is too old.
    #[must_use]
    pub fn batch_at(self, time: Timestamp, compression: Compression) -> Bytes {
        let mut random = Random::seeded(1);
        let mut builder = BatchBuilder::new().compression(compression);
        for _ in 0..self.record_count {
            let value = value(&mut random, self.value_bytes);
            builder.push(time, None, Some(&value), &[]);
        }
        builder.build()
    }

    /// A batch of records with keys of their own: those of batch number `number`.
    #[must_use]
    pub fn keyed_batch(self, time: Timestamp, number: usize) -> Bytes {
        let mut random = Random::seeded(1);
        let mut builder = BatchBuilder::new();
        for record in 0..self.record_count {
            let key = format!("key-{number}-{record}");
            let value = value(&mut random, self.value_bytes);
            builder.push(time, Some(key.as_bytes()), Some(&value), &[]);
        }
        builder.build()
    }

    /// An uncompressed batch of this shape that was checked.
    ///
    /// # Panics
    /// When the engine refuses its own batch.
    #[must_use]
    pub fn prepared(self) -> PreparedBatch {
        let rules = Rules::default();
        let prepared = prepare(self.batch(Compression::None), &rules, NOW);
        prepared.expect("a batch of our own keeps the rules")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} B", self.record_count, self.value_bytes)
    }
}

/// When everything here happens.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Text of which about half is new: codecs find as much in it as in logs and events.
fn value(random: &mut Random, length: usize) -> Vec<u8> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        text += &format!("{{\"user\":{:016x},\"action\":\"view\"}}", random.u64());
    }
    let mut bytes = text.into_bytes();
    bytes.truncate(length);
    bytes
}
