//! What stands in front of every message: which API and version, and which request an answer belongs to.

use bytes::Bytes;

use crate::api_key::ApiKey;
use crate::error::{DecodeError, DecodeFault, EncodeError};
use crate::field::{Field, Form};
use crate::reader::Reader;
use crate::text::Str;
use crate::writer::Writer;

/// The form of header fields: even beside a flexible message the client id has a plain length (KIP-482).
const FORM: Form = Form {
    version: 0,
    flexible: false,
    nullable: true,
};

/// The front of a request: header version 1, or 2 (with tagged fields) before flexible messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// Number of the API; any value a client sent.
    pub api_key: i16,
    /// Version of the message; any value a client sent.
    pub api_version: i16,
    /// Chosen by the client, repeated in the answer.
    pub correlation_id: i32,
    /// The name the client gave itself.
    pub client_id: Option<Str>,
}

impl RequestHeader {
    /// Takes a header off the front of a frame and leaves the message.
    ///
    /// An unknown API or version is not an error here: the four fields stand in the same place in all header versions. What
    /// follows them then is unreadable, though, but for ApiVersions, all of whose later versions are flexible.
    ///
    /// # Errors
    /// The frame is too short.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let header = Self {
            api_key: Field::decode(reader, FORM)
                .map_err(|error: DecodeError| error.at("RequestHeader.api_key"))?,
            api_version: Field::decode(reader, FORM)
                .map_err(|error: DecodeError| error.at("RequestHeader.api_version"))?,
            correlation_id: Field::decode(reader, FORM)
                .map_err(|error: DecodeError| error.at("RequestHeader.correlation_id"))?,
            client_id: client_id(reader)
                .map_err(|fault| DecodeError::from(fault).at("RequestHeader.client_id"))?,
        };
        if ApiKey::from_number(header.api_key)
            .is_some_and(|key| request_header_version(key, header.api_version) >= 2)
        {
            reader
                .skip_tagged(TAGS_MAX)
                .map_err(|fault| DecodeError::from(fault).at("RequestHeader tags"))?;
        }
        Ok(header)
    }

    /// Appends the header that fits its API and version; version 1 for an unknown API.
    ///
    /// # Errors
    /// The client id is longer than 32767 bytes.
    pub fn encode<W: Writer>(&self, writer: &mut W) -> Result<(), EncodeError> {
        self.api_key.encode(writer, FORM)?;
        self.api_version.encode(writer, FORM)?;
        self.correlation_id.encode(writer, FORM)?;
        self.client_id
            .encode(writer, FORM)
            .map_err(|error| error.at("RequestHeader.client_id"))?;
        if ApiKey::from_number(self.api_key)
            .is_some_and(|key| request_header_version(key, self.api_version) >= 2)
        {
            writer.unsigned_varint(0);
        }
        Ok(())
    }
}

/// As in Kafka it need not be UTF-8: some clients send what their application gave them, and would be told nothing else for ever.
fn client_id(reader: &mut Reader) -> Result<Option<Str>, DecodeFault> {
    let length = Reader::plain_length(reader.i16()?.into())?;
    let bytes = length.map(|length| reader.bytes(length)).transpose()?;
    Ok(bytes.map(Str::from_utf8_lossy))
}

/// The front of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeader {
    /// That of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Takes a header off the front of a frame and leaves the message. The client knows what it asked.
    ///
    /// # Errors
    /// The frame is too short.
    pub fn decode(reader: &mut Reader, key: ApiKey, version: i16) -> Result<Self, DecodeError> {
        let correlation_id = Field::decode(reader, FORM)
            .map_err(|error: DecodeError| error.at("ResponseHeader.correlation_id"))?;
        if response_header_version(key, version) >= 1 {
            reader
                .skip_tagged(TAGS_MAX)
                .map_err(|fault| DecodeError::from(fault).at("ResponseHeader tags"))?;
        }
        Ok(Self { correlation_id })
    }

    /// Appends the header.
    pub fn encode<W: Writer>(self, writer: &mut W, key: ApiKey, version: i16) {
        writer.bytes(&self.correlation_id.to_be_bytes());
        if response_header_version(key, version) >= 1 {
            writer.unsigned_varint(0);
        }
    }
}

/// The version of the header in front of a request: 1, or 2 if the message is flexible.
///
/// Kafka 4 has no version 0 left: it belonged to ControlledShutdown.
#[must_use]
pub const fn request_header_version(key: ApiKey, version: i16) -> i16 {
    if key.is_flexible(version) { 2 } else { 1 }
}

/// The version of the header in front of a response: 0, or 1 if the message is flexible.
///
/// ApiVersions stays at 0: a client reads its answer before it knows which versions the broker speaks (KIP-511).
#[must_use]
pub const fn response_header_version(key: ApiKey, version: i16) -> i16 {
    if key.is_flexible(version) && !matches!(key, ApiKey::ApiVersions) {
        1
    } else {
        0
    }
}

/// Takes the header off a request frame; the reader is left at the message.
///
/// # Errors
/// As [`RequestHeader::decode`].
pub fn open_request(
    frame: Bytes,
    budget_bytes: usize,
) -> Result<(RequestHeader, Reader), DecodeError> {
    let mut reader = Reader::new(frame, budget_bytes);
    let header = RequestHeader::decode(&mut reader)?;
    Ok((header, reader))
}

/// Tagged fields of a header. None is known yet, and a header is read before it is known what its message may cost.
const TAGS_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn read(bytes: &'static [u8]) -> Result<(RequestHeader, usize), DecodeError> {
        open_request(Bytes::from_static(bytes), 0).map(|(header, rest)| (header, rest.remaining()))
    }

    #[test]
    fn a_flexible_request_has_a_plain_client_id_and_tags() {
        // Metadata 9: tag 5 with two bytes is unknown and skipped, 0xaa begins the message.
        let bytes = b"\x00\x03\x00\x09\x00\x00\x00\x07\x00\x02me\x01\x05\x02\x01\x02\xaa";
        let (header, rest) = read(bytes).unwrap();
        assert_eq!(header.client_id.as_deref(), Some("me"));
        assert_eq!((header.correlation_id, rest), (7, 1));
    }

    #[test]
    fn a_client_id_that_is_not_utf8_is_read_as_kafka_reads_it() {
        let bytes = b"\x00\x12\x00\x00\x00\x00\x00\x07\x00\x04m\xfcll";
        let (header, rest) = read(bytes).unwrap();
        assert_eq!(header.client_id.as_deref(), Some("m\u{fffd}ll"));
        assert_eq!(rest, 0);
    }

    #[test]
    fn a_header_of_very_many_tags_is_none() {
        let with_tags = |count: u32| {
            let front: &[u8] = b"\x00\x03\x00\x09\x00\x00\x00\x07\xff\xff";
            let mut bytes = BytesMut::from(front);
            bytes.unsigned_varint(count);
            for _ in 0..count {
                bytes.extend([5, 0]);
            }
            open_request(bytes.freeze(), 0)
        };
        assert!(with_tags(1_000).is_ok());
        let error = with_tags(1_001).unwrap_err();
        assert_eq!(error.place, "RequestHeader tags");
    }

    #[test]
    fn a_null_client_id_is_legal() {
        let (header, rest) = read(b"\x00\x03\x00\x01\x00\x00\x00\x07\xff\xff\xaa").unwrap();
        assert_eq!((header.client_id, rest), (None, 1));
    }

    #[test]
    fn an_unknown_api_or_version_still_has_a_readable_header() {
        let (header, _) = read(b"\x03\xe7\x00\x63\x00\x00\x00\x07\x00\x02me").unwrap();
        assert_eq!((header.api_key, header.api_version), (999, 99));
        let (header, rest) = read(b"\x00\x12\x7f\xff\x00\x00\x00\x07\x00\x02me\x00\xaa").unwrap();
        assert_eq!((header.api_version, rest), (i16::MAX, 1));
        let (header, _) = read(b"\xff\xff\xff\xff\x00\x00\x00\x07\xff\xff").unwrap();
        assert_eq!((header.api_key, header.api_version), (-1, -1));
    }

    #[test]
    fn a_cut_header_names_its_field() {
        let error = read(b"\x00\x03\x00\x01\x00\x00").unwrap_err();
        assert_eq!(error.place, "RequestHeader.correlation_id");
    }

    #[test]
    fn the_answer_to_api_versions_has_the_old_header() {
        // KIP-511
        assert_eq!(request_header_version(ApiKey::ApiVersions, 3), 2);
        assert_eq!(response_header_version(ApiKey::ApiVersions, 3), 0);
        assert_eq!(response_header_version(ApiKey::Metadata, 9), 1);
        assert_eq!(response_header_version(ApiKey::Metadata, 8), 0);
        // never flexible
        assert_eq!(request_header_version(ApiKey::OffsetDelete, 0), 1);
        assert_eq!(response_header_version(ApiKey::OffsetDelete, 0), 0);
    }

    #[test]
    fn headers_read_back() {
        for version in [1, 9] {
            let header = RequestHeader {
                api_key: 3,
                api_version: version,
                correlation_id: -5,
                client_id: Some("rdkafka".into()),
            };
            let mut buffer = BytesMut::new();
            header.encode(&mut buffer).unwrap();
            let (read, rest) = open_request(buffer.freeze(), 0).unwrap();
            assert_eq!((read, rest.remaining()), (header, 0));

            let header = ResponseHeader { correlation_id: 9 };
            let mut buffer = BytesMut::new();
            header.encode(&mut buffer, ApiKey::Metadata, version);
            let mut reader = Reader::new(buffer.freeze(), 0);
            let read = ResponseHeader::decode(&mut reader, ApiKey::Metadata, version);
            assert_eq!((read, reader.remaining()), (Ok(header), 0));
        }
    }
}
