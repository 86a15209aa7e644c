//! The room's door for fuzzing: any bytes as records.

use super::MetadataRecord;

/// Reads `data` as records that lie back to back. Never panics on the bytes.
///
/// # Panics
/// When records that were read are written differently: that is the finding.
pub fn decode_hostile(data: &[u8]) {
    let Ok(records) = MetadataRecord::decode_all(data) else {
        return;
    };
    let mut written = Vec::new();
    for record in &records {
        record.encode(&mut written);
    }
    assert_eq!(
        written, data,
        "one record has one form: {records:?} was read from another"
    );
}
