//! Records of Kafka's internal topics as JSON, in the words of Kafka's own tool.

use bytes::{Buf, Bytes};
use millrace_engine::record::Record;

use super::schema::{Json, Row, SchemaError, varint};
use super::schemas::{
    CONSUMER_PROTOCOL, CONTROL, GROUP_KEYS, GROUP_VALUES, METADATA, TRANSACTION_KEYS,
    TRANSACTION_VALUES,
};

/// Whose records they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    /// `__consumer_offsets`.
    Offsets,
    /// `__transaction_state`.
    Transactions,
    /// `__cluster_metadata`.
    Metadata,
}

/// Key and value as they are shown; what is `None` is not.
pub(super) type Shown = (Option<String>, Option<String>);

impl Decoder {
    /// Shows a record. `None`: it has no key, and should.
    pub(super) fn show(self, record: &Record) -> Option<Shown> {
        match self {
            Self::Offsets => coordinator(record, GROUP_KEYS, GROUP_VALUES),
            Self::Transactions => coordinator(record, TRANSACTION_KEYS, TRANSACTION_VALUES),
            Self::Metadata => {
                let shown = metadata(record.value.clone().unwrap_or_default());
                let text = shown.unwrap_or_else(|reason| {
                    format!("Error at {}, skipping. {reason}", record.offset)
                });
                Some((None, Some(text)))
            }
        }
    }
}

/// A record of a coordinator: the key begins with its type, the value with its version.
fn coordinator(record: &Record, keys: &'static [Row], values: &'static [Row]) -> Option<Shown> {
    let mut key = record.key.clone()?;
    let offset = record.offset;
    let skipped = |reason: &str| {
        Some((
            Some(format!("Error at offset {offset}, skipping. {reason}")),
            None,
        ))
    };
    let Ok(kind) = key.try_get_u16() else {
        return skipped("the key has no type");
    };
    let (Some(key_row), Some(value_row)) = (Row::find(keys, kind), Row::find(values, kind)) else {
        let text = format!("Unknown record type {kind} at offset {offset}, skipping.");
        return Some((Some(text), None));
    };
    let key = match key_row.read(0, &mut key) {
        Ok(json) => format!(r#"{{"type":"{kind}","data":{json}}}"#),
        Err(error) => return skipped(&error.to_string()),
    };
    let Some(mut value) = record.value.clone() else {
        return Some((Some(key), Some("<DELETE>".to_owned())));
    };
    let Ok(version) = value.try_get_u16() else {
        return skipped("the value has no version");
    };
    match value_row.read(version, &mut value) {
        Ok(mut json) => {
            if value_row.name == GROUP_METADATA {
                show_members(&mut json);
            }
            let value = format!(r#"{{"version":"{version}","data":{json}}}"#);
            Some((Some(key), Some(value)))
        }
        Err(error) => skipped(&error.to_string()),
    }
}

const GROUP_METADATA: &str = "GroupMetadata";

/// What members of a consumer group keep there in bytes is the consumer protocol.
fn show_members(group: &mut Json) {
    let Json::Map(fields) = group else { return };
    let consumer = Json::Text("consumer".to_owned());
    if !fields
        .iter()
        .any(|(name, value)| name == "protocolType" && *value == consumer)
    {
        return;
    }
    let members = fields.iter_mut().find(|(name, _)| name == "members");
    let Some((_, Json::List(members))) = members else {
        return;
    };
    for member in members {
        let Json::Map(fields) = member else { continue };
        for (place, name) in ["subscription", "assignment"].into_iter().enumerate() {
            let field = fields.iter_mut().find(|(found, _)| found == name);
            if let Some((_, value)) = field
                && let Json::Bytes(bytes) = value
                && let Some(shown) = consumer_protocol(place, bytes.clone())
            {
                *value = shown;
            }
        }
    }
}

/// A version, then the fields. Versions to come have more fields behind those we know.
fn consumer_protocol(place: usize, mut bytes: Bytes) -> Option<Json> {
    let row = CONSUMER_PROTOCOL.get(place)?;
    let version = bytes.try_get_u16().ok()?;
    row.read(version.min(row.version_max), &mut bytes).ok()
}

/// A record of the cluster's metadata: version of the frame, type, version, fields.
fn metadata(mut bytes: Bytes) -> Result<String, String> {
    let mut number = |what: &str| {
        let number = varint(&mut bytes);
        number.ok_or_else(|| format!("Error while reading {what}"))
    };
    let frame = number("frame version")?;
    if frame != FRAME_VERSION {
        return Err(format!(
            "Could not deserialize metadata record due to unknown frame version {frame}(only frame version {FRAME_VERSION} is supported)"
        ));
    }
    let kind = number("type")?;
    let version = number("version")?;
    let row = u16::try_from(kind)
        .ok()
        .and_then(|kind| Row::find(METADATA, kind));
    let row = row.ok_or_else(|| format!("Unknown metadata id {kind}"))?;
    let version = u16::try_from(version).unwrap_or(u16::MAX);
    let json = row
        .read(version, &mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(format!(
        r#"{{"type":"{}","version":{version},"data":{json}}}"#,
        row.name
    ))
}

const FRAME_VERSION: u32 = 1;

/// The name and the fields of a control record's value, if its type is known. The value itself begins with its version.
pub(super) fn control(
    kind: u16,
    value: &Bytes,
) -> Option<Result<(&'static str, Json), SchemaError>> {
    let row = Row::find(CONTROL, kind)?;
    let version = value.clone().try_get_u16().unwrap_or(0);
    let json = row.read(version.min(row.version_max), &mut value.clone());
    Some(json.map(|json| (row.name, json)))
}

#[cfg(test)]
mod tests {
    use millrace_engine::types::{Offset, Timestamp};

    use super::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
        Record {
            offset: Offset(7),
            timestamp: Timestamp(0),
            key: key.map(Bytes::copy_from_slice),
            value: value.map(Bytes::copy_from_slice),
            headers: Vec::new(),
        }
    }

    fn text(text: &str) -> Vec<u8> {
        let length = i16::try_from(text.len()).unwrap();
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn a_transaction_is_shown_with_its_partitions() {
        let key = [&[0, 0][..], &text("tx")].concat();
        let value = [
            &[0, 0][..],
            &5_i64.to_be_bytes(),
            &1_i16.to_be_bytes(),
            &60_000_i32.to_be_bytes(),
            &[1],
            &1_i32.to_be_bytes(),
            &text("t"),
            &2_i32.to_be_bytes(),
            &0_i32.to_be_bytes(),
            &3_i32.to_be_bytes(),
            &100_i64.to_be_bytes(),
            &90_i64.to_be_bytes(),
        ]
        .concat();
        let shown = Decoder::Transactions.show(&record(Some(&key), Some(&value)));
        let (shown_key, shown_value) = shown.unwrap();
        assert_eq!(
            shown_key.unwrap(),
            r#"{"type":"0","data":{"transactionalId":"tx"}}"#
        );
        assert_eq!(
            shown_value.unwrap(),
            r#"{"version":"0","data":{"producerId":5,"producerEpoch":1,"transactionTimeoutMs":60000,"transactionStatus":1,"transactionPartitions":[{"topic":"t","partitionIds":[0,3]}],"transactionLastUpdateTimestampMs":100,"transactionStartTimestampMs":90}}"#
        );
        let gone = Decoder::Transactions.show(&record(Some(&key), None));
        assert_eq!(gone.unwrap().1.unwrap(), "<DELETE>");
    }

    #[test]
    fn what_cannot_be_read_is_skipped_and_said() {
        let show = |key: Option<&[u8]>, value| Decoder::Offsets.show(&record(key, value));
        assert_eq!(show(None, None), None);
        let unknown = "Unknown record type 99 at offset 7, skipping.";
        assert_eq!(show(Some(&[0, 99]), None).unwrap().0.unwrap(), unknown);
        let key = [&[0, 2][..], &text("g")].concat();
        for (key, value) in [
            (&key[..], &[0, 3, 1][..]),
            (&key, &[0, 9]),
            (&[0, 1, 0, 9], &[]),
        ] {
            let (shown, nothing) = show(Some(key), Some(value)).unwrap();
            let shown = shown.unwrap();
            assert!(
                shown.starts_with("Error at offset 7, skipping. "),
                "{shown}"
            );
            assert_eq!(nothing, None);
        }
    }
}
