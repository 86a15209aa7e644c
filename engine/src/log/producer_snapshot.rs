//! The files that keep the producers' state over a restart: Kafka's `.snapshot` with one batch per producer, and our
//! `.windows` with all five.
//!
//! A windows file names the checksum of the snapshot it was written with; without that match it is ignored. Neither is
//! ever trusted over the log: they say where a replay may begin.

use super::producer_state::{AppendedBatch, Producer, ProducerStates, WINDOW_BATCHES, Window};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Kafka's only version of the snapshot.
const SNAPSHOT_VERSION: i16 = 1;
/// Version and checksum before the entries.
const SNAPSHOT_HEADER_BYTES: usize = 6;
/// Bytes of one producer in a snapshot.
const SNAPSHOT_ENTRY_BYTES: usize = 46;
const WINDOWS_VERSION: i16 = 0;
/// Bytes of a producer in a windows file before its batches.
const WINDOWS_ENTRY_BYTES: usize = 17;
/// Bytes of one batch in a windows file.
const WINDOWS_BATCH_BYTES: usize = 24;

/// Why a snapshot cannot be used; an older one and the log take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A newer program wrote it.
    #[error("version {found}, this program reads version {supported}")]
    UnsupportedVersion {
        /// The version it says it has.
        found: i16,
        /// The one we read.
        supported: i16,
    },
    /// Its checksum does not fit its contents.
    #[error("its checksum is {stored:#010x}, its contents have {computed:#010x}")]
    Checksum {
        /// The one in the file.
        stored: u32,
        /// That of what the file holds.
        computed: u32,
    },
    /// Shorter or longer than its count says, or a number that cannot be.
    #[error("{length} bytes are no snapshot")]
    Malformed {
        /// Bytes in the file.
        length: usize,
    },
}

/// The contents of a `.snapshot` file and of the `.windows` file that goes with it.
#[must_use]
pub fn encode(states: &ProducerStates) -> (Vec<u8>, Vec<u8>) {
    let mut entries = Vec::with_capacity(4 + states.count() * SNAPSHOT_ENTRY_BYTES);
    entries.extend_from_slice(&count_of(states));
    for (id, producer) in states.iter() {
        encode_producer(&mut entries, id, producer);
    }
    let snapshot = frame(SNAPSHOT_VERSION, &entries);
    let windows = encode_windows(states, &snapshot);
    (snapshot, windows)
}

/// The contents of the `.windows` file that goes with the snapshot whose bytes are `snapshot`.
#[must_use]
pub fn encode_windows(states: &ProducerStates, snapshot: &[u8]) -> Vec<u8> {
    let entries = snapshot.get(SNAPSHOT_HEADER_BYTES..).unwrap_or_default();
    let mut windows = crc32c::crc32c(entries).to_be_bytes().to_vec();
    windows.extend_from_slice(&count_of(states));
    for (id, producer) in states.iter() {
        encode_window(&mut windows, id, producer);
    }
    frame(WINDOWS_VERSION, &windows)
}

fn count_of(states: &ProducerStates) -> [u8; 4] {
    u32::try_from(states.count())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}

fn frame(version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SNAPSHOT_HEADER_BYTES + body.len());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(body).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The same contents with versions and checksums that fit, as far as there is room for them: for fuzzing.
pub(super) fn mend(snapshot: &[u8], windows: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let body = snapshot.get(SNAPSHOT_HEADER_BYTES..).unwrap_or_default();
    let mended = frame(SNAPSHOT_VERSION, body);
    let windows = windows.get(SNAPSHOT_HEADER_BYTES + 4..).unwrap_or_default();
    let windows = [&crc32c::crc32c(body).to_be_bytes()[..], windows].concat();
    (mended, frame(WINDOWS_VERSION, &windows))
}

fn encode_producer(bytes: &mut Vec<u8>, id: ProducerId, producer: &Producer) {
    let none = AppendedBatch {
        last_sequence: Sequence::NONE,
        last_offset: Offset::NONE,
        offset_delta: 0,
        timestamp: Timestamp::NONE,
    };
    let last = producer.window.last().unwrap_or(&none);
    let transaction_start = producer.transaction_start.unwrap_or(Offset::NONE);
    bytes.extend_from_slice(&id.0.to_be_bytes());
    bytes.extend_from_slice(&producer.epoch.0.to_be_bytes());
    bytes.extend_from_slice(&last.last_sequence.0.to_be_bytes());
    bytes.extend_from_slice(&last.last_offset.0.to_be_bytes());
    bytes.extend_from_slice(&last.offset_delta.to_be_bytes());
    bytes.extend_from_slice(&producer.last_timestamp.0.to_be_bytes());
    bytes.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
    bytes.extend_from_slice(&transaction_start.0.to_be_bytes());
}

fn encode_window(bytes: &mut Vec<u8>, id: ProducerId, producer: &Producer) {
    let batches = producer.window.batches();
    bytes.extend_from_slice(&id.0.to_be_bytes());
    bytes.extend_from_slice(&producer.touched.0.to_be_bytes());
    // At most five.
    bytes.push(u8::try_from(batches.len()).unwrap_or(0));
    for batch in batches {
        bytes.extend_from_slice(&batch.last_sequence.0.to_be_bytes());
        bytes.extend_from_slice(&batch.last_offset.0.to_be_bytes());
        bytes.extend_from_slice(&batch.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&batch.timestamp.0.to_be_bytes());
    }
}

/// Reads a `.snapshot` file. Every producer counts as touched at `now`.
///
/// # Errors
/// [`SnapshotError`] when it is newer, damaged or senseless.
pub fn decode(bytes: &[u8], now: Timestamp) -> Result<ProducerStates, SnapshotError> {
    let malformed = SnapshotError::Malformed {
        length: bytes.len(),
    };
    let body = unframe(bytes, SNAPSHOT_VERSION)?;
    let mut body = Reader(body);
    let count = body.u32().ok_or(malformed)?;
    let expected = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(SNAPSHOT_ENTRY_BYTES));
    if expected != Some(body.0.len()) {
        return Err(malformed);
    }
    let mut states = ProducerStates::default();
    for _ in 0..count {
        let (id, producer) = decode_producer(&mut body, now).ok_or(malformed)?;
        states.restore(id, Some(producer));
    }
    Ok(states)
}

fn decode_producer(body: &mut Reader<'_>, now: Timestamp) -> Option<(ProducerId, Producer)> {
    let id = ProducerId(body.i64()?);
    let epoch = ProducerEpoch(body.i16()?);
    let last_sequence = Sequence(body.i32()?);
    let last_offset = Offset(body.i64()?);
    let offset_delta = body.i32().filter(|&delta| delta >= 0)?;
    let last_timestamp = Timestamp(body.i64()?);
    let coordinator_epoch = body.i32()?;
    let transaction_start = Offset(body.i64()?);
    let mut window = Window::default();
    // Kafka writes -1 for a producer of whom only a marker is known.
    if last_offset >= Offset::ZERO {
        window.push(AppendedBatch {
            last_sequence,
            last_offset,
            offset_delta,
            timestamp: last_timestamp,
        });
    }
    let producer = Producer {
        epoch,
        window,
        last_timestamp,
        coordinator_epoch,
        transaction_start: (transaction_start >= Offset::ZERO).then_some(transaction_start),
        touched: now,
    };
    Some((id, producer))
}

/// Gives `states`, read from the snapshot whose bytes are `snapshot`, the batches that its `.windows` file remembers.
/// `false`, and nothing done, when the two do not belong together.
pub fn widen(states: &mut ProducerStates, snapshot: &[u8], windows: &[u8]) -> bool {
    let Some(found) = decode_windows(snapshot, windows) else {
        return false;
    };
    for (id, touched, window) in found {
        if let Some(producer) = states.find_mut(id) {
            producer.touched = touched;
            producer.window = window;
        }
    }
    true
}

/// What [`widen`] makes of `states`, the snapshot of `offset`. `None` where the files do not belong together, or its windows tell of
/// batches that do not lie below.
pub(super) fn widened(
    states: &ProducerStates,
    snapshot: &[u8],
    windows: &[u8],
    offset: Offset,
) -> Option<ProducerStates> {
    let mut wide = states.clone();
    let sound = widen(&mut wide, snapshot, windows) && wide.beyond(offset).is_none();
    sound.then_some(wide)
}

fn decode_windows(snapshot: &[u8], windows: &[u8]) -> Option<Vec<(ProducerId, Timestamp, Window)>> {
    let mut body = Reader(unframe(windows, WINDOWS_VERSION).ok()?);
    let entries = snapshot.get(SNAPSHOT_HEADER_BYTES..)?;
    if body.u32()? != crc32c::crc32c(entries) {
        return None;
    }
    let count = usize::try_from(body.u32()?).ok()?;
    if count > body.0.len() / WINDOWS_ENTRY_BYTES {
        return None;
    }
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        let id = ProducerId(body.i64()?);
        let touched = Timestamp(body.i64()?);
        let batches = usize::from(body.u8()?);
        if batches > WINDOW_BATCHES || batches * WINDOWS_BATCH_BYTES > body.0.len() {
            return None;
        }
        let mut window = Window::default();
        for _ in 0..batches {
            window.push(AppendedBatch {
                last_sequence: Sequence(body.i32()?),
                last_offset: Offset(body.i64()?),
                offset_delta: body.i32().filter(|&delta| delta >= 0)?,
                timestamp: Timestamp(body.i64()?),
            });
        }
        found.push((id, touched, window));
    }
    body.0.is_empty().then_some(found)
}

fn unframe(bytes: &[u8], supported: i16) -> Result<&[u8], SnapshotError> {
    let malformed = SnapshotError::Malformed {
        length: bytes.len(),
    };
    let mut reader = Reader(bytes);
    let found = reader.i16().ok_or(malformed)?;
    if found != supported {
        return Err(SnapshotError::UnsupportedVersion { found, supported });
    }
    let stored = reader.u32().ok_or(malformed)?;
    let computed = crc32c::crc32c(reader.0);
    if stored == computed {
        Ok(reader.0)
    } else {
        Err(SnapshotError::Checksum { stored, computed })
    }
}

/// Takes big-endian numbers from the front; `None` when too little is left.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(u8::from_be_bytes)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::producer_state::ProducerBatch;
    use super::*;

    const NOW: Timestamp = Timestamp(5);

    fn arbitrary_states() -> impl Strategy<Value = ProducerStates> {
        let batch = (
            0_i64..4,
            0_i16..3,
            0_i32..i32::MAX,
            0_i32..50,
            any::<bool>(),
        );
        prop::collection::vec(batch, 0..40).prop_map(|batches| {
            let mut states = ProducerStates::default();
            let mut offset = 0;
            for (id, epoch, sequence, delta, transactional) in batches {
                let (id, epoch) = (ProducerId(id), ProducerEpoch(epoch));
                if delta == 49 {
                    states.apply_marker(id, epoch, 3, Timestamp(offset), NOW);
                    continue;
                }
                let batch = ProducerBatch {
                    producer_id: id,
                    epoch,
                    base_sequence: Sequence(sequence),
                    base_offset: Offset(offset),
                    offset_delta: delta,
                    timestamp: Timestamp(offset),
                    transactional,
                };
                states.apply(&batch, NOW);
                offset += i64::from(delta) + 1;
            }
            states
        })
    }

    #[test]
    fn a_snapshot_has_kafkas_layout() {
        let mut states = ProducerStates::default();
        let batch = ProducerBatch {
            producer_id: ProducerId(0x0102),
            epoch: ProducerEpoch(3),
            base_sequence: Sequence(4),
            base_offset: Offset(9),
            offset_delta: 1,
            timestamp: Timestamp(7),
            transactional: false,
        };
        states.apply(&batch, NOW);
        let (snapshot, _) = encode(&states);
        let entries: &[u8] = &[
            0, 0, 0, 1, // producers
            0, 0, 0, 0, 0, 0, 1, 2, // id
            0, 3, // epoch
            0, 0, 0, 5, // last sequence
            0, 0, 0, 0, 0, 0, 0, 10, // last offset
            0, 0, 0, 1, // offset delta
            0, 0, 0, 0, 0, 0, 0, 7, // timestamp
            0xff, 0xff, 0xff, 0xff, // coordinator epoch
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // transaction start
        ];
        assert_eq!(&snapshot[..2], [0, 1]);
        assert_eq!(snapshot[2..6], crc32c::crc32c(entries).to_be_bytes());
        assert_eq!(&snapshot[6..], entries);
    }

    #[test]
    fn a_newer_snapshot_is_refused() {
        let (mut snapshot, _) = encode(&ProducerStates::default());
        snapshot[1] = 2;
        assert_eq!(
            decode(&snapshot, NOW),
            Err(SnapshotError::UnsupportedVersion {
                found: 2,
                supported: 1
            })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn snapshot_and_windows_together_read_back_whole(states in arbitrary_states()) {
            let (snapshot, windows) = encode(&states);
            let mut read = decode(&snapshot, NOW).unwrap();
            prop_assert_eq!(read.count(), states.count());
            prop_assert!(widen(&mut read, &snapshot, &windows));
            // A snapshot keeps one timestamp per producer: that of its last batch may be its marker's.
            prop_assert_eq!(read, states);
        }

        #[test]
        fn damage_anywhere_is_noticed(
            states in arbitrary_states(),
            place in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let (mut snapshot, mut windows) = encode(&states);
            let whole = snapshot.clone();
            let at = place.index(snapshot.len());
            snapshot[at] ^= 1 << bit;
            prop_assert!(decode(&snapshot, NOW).is_err());
            let mut read = decode(&whole, NOW).unwrap();
            let at = place.index(windows.len());
            windows[at] ^= 1 << bit;
            prop_assert!(!widen(&mut read, &whole, &windows));
        }
    }
}
