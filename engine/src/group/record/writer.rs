//! Writes Kafka's primitive types in the plain encoding.
//!
//! It trusts its lengths: commands are checked before they become records.

use bytes::{BufMut, Bytes, BytesMut};

/// The bytes of one key or value.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: BytesMut,
}

impl Writer {
    /// Begins with the type of a key or the version of a value.
    pub(super) fn new(version: i16) -> Self {
        let mut bytes = BytesMut::with_capacity(64);
        bytes.put_i16(version);
        Self { bytes }
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.put_i64(value);
    }

    pub(super) fn text(&mut self, text: &str) {
        let length = i16::try_from(text.len());
        assert!(
            length.is_ok(),
            "a text of {} bytes does not fit a record",
            text.len()
        );
        self.bytes.put_i16(length.unwrap_or_default());
        self.bytes.put_slice(text.as_bytes());
    }

    pub(super) fn nullable_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.bytes.put_i16(-1),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.put_slice(bytes);
    }

    pub(super) fn count(&mut self, count: usize) {
        let length = i32::try_from(count);
        assert!(length.is_ok(), "a count of {count} does not fit a record");
        self.bytes.put_i32(length.unwrap_or_default());
    }

    pub(super) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}
