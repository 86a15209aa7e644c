//! The room's door for fuzzing: any bytes as key and value of a record.

use super::GroupRecord;

/// Reads `data` as a record of `__consumer_offsets`: its first byte is the length of the key, and a length beyond the
/// end leaves no value. Never panics on the bytes.
///
/// # Panics
/// When a record that was read does not read back from what we write for it: that is the finding.
pub fn decode_hostile(data: &[u8]) {
    let Some((&key_length, rest)) = data.split_first() else {
        return;
    };
    let (key, value) = match rest.split_at_checked(usize::from(key_length)) {
        Some((key, value)) => (key, Some(value)),
        None => (rest, None),
    };
    let Ok(Some(record)) = GroupRecord::decode(key, value) else {
        return;
    };
    let written = record.encode();
    let read = GroupRecord::decode(&written.key, written.value.as_deref());
    let rewritten = read.map(|read| read.map(|read| read.encode()));
    assert_eq!(
        rewritten,
        Ok(Some(written)),
        "a record that was read can be written"
    );
}
