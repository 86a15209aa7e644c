//! Behaviour of the room as a whole.

mod golden;
mod properties;
mod rules;
mod stored;

use bytes::Bytes;

use super::{BatchBuilder, Compression, RecordHeader, records};
use crate::types::{Offset, Timestamp};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

const LIMIT: usize = 1024 * 1024;
const NOW: Timestamp = Timestamp(1_600_000_000_000);

fn header(key: &'static str, value: Option<&'static str>) -> RecordHeader {
    RecordHeader {
        key: Bytes::from_static(key.as_bytes()),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    }
}

/// A batch with one record, key "key" and value "value", for every timestamp.
fn batch_at(timestamps: &[i64], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new().compression(compression);
    for &timestamp in timestamps {
        builder.push(Timestamp(timestamp), Some(b"key"), Some(b"value"), &[]);
    }
    builder.build()
}

/// Copies the records of `batch` whose offsets stay.
fn retain(builder: &mut BatchBuilder, batch: &Bytes, stays: impl Fn(Offset) -> bool) {
    let mut records = records(batch, LIMIT).unwrap();
    while let Some(record) = records.next_raw().unwrap() {
        if stays(record.offset) {
            builder.retain(&record);
        }
    }
}

/// `batch` with `change` made to its bytes and its checksum made right again.
fn forged(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}
