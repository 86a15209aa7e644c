//! Where encoded bytes go: a counter of lengths, one buffer, or pieces with gaps for records that lie in files.
//!
//! A message is written twice with the same code, first into a [`LengthWriter`] and then for real, so that buffers are
//! allocated once and length prefixes are known before what they measure.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::EncodeFault;

/// Takes the bytes of a message in order.
pub trait Writer {
    /// Appends bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// Appends a byte field that may be large; a writer that can pass it on without copying does.
    fn payload(&mut self, payload: &Bytes) {
        self.bytes(payload);
    }

    /// Leaves a gap for `length` bytes of records that are not in memory.
    ///
    /// # Errors
    /// [`EncodeFault::Elsewhere`] from a writer that must have all bytes in one buffer.
    fn elsewhere(&mut self, length: u32) -> Result<(), EncodeFault>;

    /// Appends an unsigned integer in groups of seven bits, lowest first.
    fn unsigned_varint(&mut self, mut value: u32) {
        let mut buffer = [0; 5];
        let mut length: usize = 0;
        for byte in &mut buffer {
            length = length.saturating_add(1);
            // The mask makes the conversion exact.
            let low = u8::try_from(value & 0x7f).unwrap_or_default();
            value >>= 7;
            if value == 0 {
                *byte = low;
                break;
            }
            *byte = low | 0x80;
        }
        self.bytes(buffer.get(..length).unwrap_or_default());
    }

    /// Appends a length as the flexible versions write it: plus one, 0 for null.
    ///
    /// # Errors
    /// [`EncodeFault::TooLong`] past `i32::MAX`, which Kafka could not read.
    fn compact_length(&mut self, length: Option<usize>) -> Result<(), EncodeFault> {
        let value = match length {
            None => 0,
            Some(length) => i32::try_from(length)
                .ok()
                .and_then(|length| length.checked_add(1))
                .and_then(|length| u32::try_from(length).ok())
                .ok_or(EncodeFault::TooLong {
                    length,
                    length_max: LENGTH_MAX,
                })?,
        };
        self.unsigned_varint(value);
        Ok(())
    }

    /// Appends a length as the other versions write it: four bytes, -1 for null.
    ///
    /// # Errors
    /// [`EncodeFault::TooLong`] past `i32::MAX`.
    fn plain_length(&mut self, length: Option<usize>) -> Result<(), EncodeFault> {
        let value = match length {
            None => -1,
            Some(length) => i32::try_from(length).map_err(|_| EncodeFault::TooLong {
                length,
                length_max: LENGTH_MAX,
            })?,
        };
        self.bytes(&value.to_be_bytes());
        Ok(())
    }
}

/// The longest field: what a four-byte length can say, less the one that compact lengths add.
const LENGTH_MAX: usize = 0x7fff_fffe;

/// Counts bytes instead of keeping them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LengthWriter {
    length: usize,
    apart: usize,
}

impl LengthWriter {
    /// All bytes of the message, gaps included.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// The bytes a [`PieceWriter`] has to copy into its buffer: without gaps and large payloads.
    #[must_use]
    pub const fn length_copied(&self) -> usize {
        self.length.saturating_sub(self.apart)
    }
}

impl Writer for LengthWriter {
    fn bytes(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len());
    }

    fn payload(&mut self, payload: &Bytes) {
        self.bytes(payload);
        if payload.len() >= PAYLOAD_APART_BYTES {
            self.apart = self.apart.saturating_add(payload.len());
        }
    }

    fn elsewhere(&mut self, length: u32) -> Result<(), EncodeFault> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.length = self.length.saturating_add(length);
        self.apart = self.apart.saturating_add(length);
        Ok(())
    }
}

impl Writer for BytesMut {
    fn bytes(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn elsewhere(&mut self, length: u32) -> Result<(), EncodeFault> {
        Err(EncodeFault::Elsewhere { length })
    }
}

/// A part of an encoded frame, to be sent in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes to be sent as they are.
    Bytes(Bytes),
    /// The place of records that are not in memory.
    Records {
        /// Which of the message's `Records::Elsewhere`, counted from 0 in the order they are encoded. Those of length 0
        /// are counted but have no piece.
        index: usize,
        /// Exactly this many bytes must be sent here. Not 0.
        length: u32,
    },
}

/// From this size on, a payload becomes a piece of its own; below, copying is cheaper than another entry in a vectored write.
const PAYLOAD_APART_BYTES: usize = 4096;

/// Collects a message as pieces: one buffer cut at the gaps.
#[derive(Debug, Default)]
pub struct PieceWriter {
    pieces: Vec<Piece>,
    buffer: BytesMut,
    elsewhere_count: usize,
}

impl PieceWriter {
    /// With room for `capacity` copied bytes ([`LengthWriter::length_copied`]).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: BytesMut::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// The pieces, none of them empty.
    #[must_use]
    pub fn into_pieces(mut self) -> Vec<Piece> {
        self.cut();
        self.pieces
    }

    /// Ends the current run of copied bytes.
    fn cut(&mut self) {
        if !self.buffer.is_empty() {
            let run = self.buffer.split().freeze();
            self.pieces.push(Piece::Bytes(run));
        }
    }
}

impl Writer for PieceWriter {
    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    fn payload(&mut self, payload: &Bytes) {
        if payload.len() >= PAYLOAD_APART_BYTES {
            self.cut();
            self.pieces.push(Piece::Bytes(payload.clone()));
        } else {
            self.bytes(payload);
        }
    }

    fn elsewhere(&mut self, length: u32) -> Result<(), EncodeFault> {
        let index = self.elsewhere_count;
        self.elsewhere_count = index.saturating_add(1);
        if length > 0 {
            self.cut();
            self.pieces.push(Piece::Records { index, length });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: u32) -> Vec<u8> {
        let mut buffer = BytesMut::new();
        buffer.unsigned_varint(value);
        buffer.to_vec()
    }

    #[test]
    fn varints_are_as_short_as_possible() {
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [0x7f]);
        assert_eq!(written(128), [0x80, 0x01]);
        assert_eq!(written(u32::MAX), [0xff, 0xff, 0xff, 0xff, 0x0f]);
    }

    #[test]
    fn pieces_are_cut_at_gaps_and_large_payloads() {
        let large = Bytes::from(vec![7; PAYLOAD_APART_BYTES]);
        let mut writer = PieceWriter::default();
        let mut length = LengthWriter::default();
        let write = |writer: &mut dyn Writer| {
            writer.bytes(b"a");
            writer.elsewhere(0).unwrap();
            writer.bytes(b"b");
            writer.elsewhere(5).unwrap();
            writer.payload(&large);
            writer.payload(&Bytes::from_static(b"small"));
        };
        write(&mut writer);
        write(&mut length);
        assert_eq!(
            writer.into_pieces(),
            [
                Piece::Bytes(Bytes::from_static(b"ab")),
                Piece::Records {
                    index: 1,
                    length: 5
                },
                Piece::Bytes(large.clone()),
                Piece::Bytes(Bytes::from_static(b"small")),
            ]
        );
        assert_eq!(length.length(), 2 + 5 + PAYLOAD_APART_BYTES + 5);
        assert_eq!(length.length_copied(), 7);
    }

    #[test]
    fn one_buffer_has_no_place_for_records_in_files() {
        assert_eq!(
            BytesMut::new().elsewhere(9),
            Err(EncodeFault::Elsewhere { length: 9 })
        );
    }
}
