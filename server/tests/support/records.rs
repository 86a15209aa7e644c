//! Record batches as clients make and read them.

use bytes::Bytes;
use millrace_engine::record::{BatchBuilder, Batches, Compression, Record, records};
use millrace_engine::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::wire::{Limits, Wire, record_bytes};

/// More than any batch of the tests unfolds to.
const BODY_BYTES_MAX: usize = 64 << 20;

/// An uncompressed batch of these values, with keys `k` and timestamps 1000, 1001, ...
pub(crate) fn batch(values: &[&str]) -> Bytes {
    build(BatchBuilder::new(), values)
}

/// The same, packed.
pub(crate) fn packed(values: &[&str], compression: Compression) -> Bytes {
    build(BatchBuilder::new().compression(compression), values)
}

/// The same, of an idempotent producer.
pub(crate) fn numbered(values: &[&str], (id, epoch): (i64, i16), sequence: i32) -> Bytes {
    let builder =
        BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
    build(builder, values)
}

fn build(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for (timestamp, value) in (1000..).zip(values) {
        builder.push(
            Timestamp(timestamp),
            Some(b"k"),
            Some(value.as_bytes()),
            &[],
        );
    }
    builder.build()
}

/// All records of whole batches; what is cut off at the end is left out, as clients do.
pub(crate) fn read(bytes: &Bytes) -> Vec<Record> {
    let mut read = Vec::new();
    for batch in Batches::new(bytes.clone()) {
        let Ok(batch) = batch else { return read };
        for record in records(&batch.bytes, BODY_BYTES_MAX).expect("a batch that opens") {
            read.push(record.expect("a record that reads"));
        }
    }
    read
}

/// Reads a partition from an offset up to its high watermark.
pub(crate) fn read_all(wire: &mut Wire, topic: &str, partition: i32, from: i64) -> Vec<Record> {
    let mut all: Vec<Record> = Vec::new();
    let mut next = from;
    loop {
        let answer = wire.fetch(topic, partition, next, Limits::default());
        assert_eq!(
            answer.error_code,
            millrace_wire::ErrorCode::None,
            "at offset {next}"
        );
        let fresh = read(&record_bytes(&answer))
            .into_iter()
            .filter(|record| record.offset.0 >= next);
        all.extend(fresh);
        let after = all.last().map_or(from, |record| record.offset.0 + 1);
        if after >= answer.high_watermark || after == next {
            return all;
        }
        next = after;
    }
}

/// The values as text.
pub(crate) fn values(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"")).into_owned())
        .collect()
}
