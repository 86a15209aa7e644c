//! Frames: four bytes of length, then a header and a message.

use bytes::{BufMut, Bytes, BytesMut};

use crate::api_key::ApiKey;
use crate::error::{DecodeError, EncodeError, EncodeFault};
use crate::header::{self, RequestHeader, ResponseHeader};
use crate::message::{self, Message, Request, Response, for_each_api};
use crate::reader::Reader;
use crate::sample::{SampleMessage, Source};
use crate::text::Str;
use crate::writer::{LengthWriter, Piece, PieceWriter, Writer};

/// Bytes of the length in front of each frame; it does not count itself.
pub const PREFIX_LENGTH: usize = 4;

/// A length no frame may have; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Below zero: not this protocol.
    #[error("negative frame length {length}")]
    Negative {
        /// What was claimed.
        length: i32,
    },
    /// More than the limit (`socket.request.max.bytes`).
    #[error("frame of {length} bytes exceeds the limit of {length_max}")]
    TooLarge {
        /// What was claimed.
        length: usize,
        /// The most that is accepted.
        length_max: usize,
    },
}

/// How many bytes follow the prefix, if that is at most `length_max`.
///
/// # Errors
/// The length is negative or too large.
pub fn frame_length(prefix: [u8; PREFIX_LENGTH], length_max: usize) -> Result<usize, FrameError> {
    let claimed = i32::from_be_bytes(prefix);
    let length = usize::try_from(claimed).map_err(|_| FrameError::Negative { length: claimed })?;
    if length > length_max {
        return Err(FrameError::TooLarge { length, length_max });
    }
    Ok(length)
}

/// A whole request frame, prefix included.
///
/// # Errors
/// As [`Message::encode`].
pub fn request_frame<R: Request>(
    correlation_id: i32,
    client_id: Option<&Str>,
    request: &R,
    version: i16,
) -> Result<Bytes, EncodeError> {
    let header = RequestHeader {
        api_key: R::KEY.number(),
        api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
    };
    let mut measure = LengthWriter::default();
    header.encode(&mut measure)?;
    request.encode(&mut measure, version)?;
    let mut buffer = BytesMut::with_capacity(PREFIX_LENGTH.saturating_add(measure.length()));
    buffer.put_slice(&prefix(measure.length())?);
    header.encode(&mut buffer)?;
    request.encode(&mut buffer, version)?;
    Ok(buffer.freeze())
}

/// A whole response frame, prefix included, in one buffer.
///
/// # Errors
/// As [`Message::encode`]; records that lie elsewhere need [`response_pieces`].
pub fn response_frame<R: Response>(
    correlation_id: i32,
    response: &R,
    version: i16,
) -> Result<Bytes, EncodeError> {
    let header = ResponseHeader { correlation_id };
    let length = response_length(header, response, version)?.length();
    let mut buffer = BytesMut::with_capacity(PREFIX_LENGTH.saturating_add(length));
    buffer.put_slice(&prefix(length)?);
    header.encode(&mut buffer, R::KEY, version);
    response.encode(&mut buffer, version)?;
    Ok(buffer.freeze())
}

/// A whole response frame, prefix included, as pieces to be sent in order: bytes, and gaps for records in files.
///
/// # Errors
/// As [`Message::encode`].
pub fn response_pieces<R: Response>(
    correlation_id: i32,
    response: &R,
    version: i16,
) -> Result<Vec<Piece>, EncodeError> {
    let header = ResponseHeader { correlation_id };
    let measure = response_length(header, response, version)?;
    let mut writer =
        PieceWriter::with_capacity(PREFIX_LENGTH.saturating_add(measure.length_copied()));
    writer.bytes(&prefix(measure.length())?);
    header.encode(&mut writer, R::KEY, version);
    response.encode(&mut writer, version)?;
    Ok(writer.into_pieces())
}

/// Reads a request of any API, only to find out whether it can be read: for fuzzing, and to say what is wrong with one.
///
/// An unknown API leaves nothing to read but the header.
///
/// # Errors
/// Whatever is wrong with the frame (without its prefix).
pub fn check_request(frame: Bytes, budget_bytes: usize) -> Result<RequestHeader, DecodeError> {
    let (header, mut reader) = header::open_request(frame, budget_bytes)?;
    if let Some(key) = ApiKey::from_number(header.api_key) {
        check_message(key, header.api_version, &mut reader)?;
    }
    Ok(header)
}

/// A made-up request of any API, without the prefix: for fuzzing.
///
/// # Errors
/// The API does not have the version, or it cannot express what was made up.
pub fn sample_request(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    source: &mut Source<'_>,
) -> Result<Bytes, EncodeError> {
    let mut frame = sample_frame(key, version, correlation_id, source)?;
    Ok(frame.split_off(PREFIX_LENGTH.min(frame.len())))
}

/// Reads a whole response of any API, prefix included, only to find out whether it can be read: for fuzzing. Answers its
/// header, and how many bytes are left behind the message.
///
/// # Errors
/// Whatever is wrong with the frame.
pub fn check_response(
    mut frame: Bytes,
    key: ApiKey,
    version: i16,
    budget_bytes: usize,
) -> Result<(ResponseHeader, usize), DecodeError> {
    let body = frame.split_off(PREFIX_LENGTH.min(frame.len()));
    let mut reader = Reader::new(body, budget_bytes);
    let header = ResponseHeader::decode(&mut reader, key, version)?;
    check_answer(key, version, &mut reader)?;
    Ok((header, reader.remaining()))
}

macro_rules! by_key {
    ($($name:ident $request:ident $response:ident,)*) => {
        fn check_message(key: ApiKey, version: i16, reader: &mut Reader) -> Result<(), DecodeError> {
            match key {
                $(ApiKey::$name => message::$request::decode(reader, version).map(|_| ()),)*
            }
        }

        fn check_answer(key: ApiKey, version: i16, reader: &mut Reader) -> Result<(), DecodeError> {
            match key {
                $(ApiKey::$name => message::$response::decode(reader, version).map(|_| ()),)*
            }
        }

        fn sample_frame(
            key: ApiKey,
            version: i16,
            correlation_id: i32,
            source: &mut Source<'_>,
        ) -> Result<Bytes, EncodeError> {
            let name = Some(Str::from("fuzz"));
            match key {
                $(ApiKey::$name => {
                    let request = message::$request::sample_message(source, version)?;
                    request_frame(correlation_id, name.as_ref(), &request, version)
                })*
            }
        }
    };
}

for_each_api!(by_key);

fn response_length<R: Response>(
    header: ResponseHeader,
    response: &R,
    version: i16,
) -> Result<LengthWriter, EncodeError> {
    let mut measure = LengthWriter::default();
    header.encode(&mut measure, R::KEY, version);
    response.encode(&mut measure, version)?;
    Ok(measure)
}

fn prefix(length: usize) -> Result<[u8; PREFIX_LENGTH], EncodeFault> {
    let length_max = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
    i32::try_from(length)
        .map(i32::to_be_bytes)
        .map_err(|_| EncodeFault::TooLong { length, length_max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{HeartbeatRequest, HeartbeatResponse};

    #[test]
    fn only_lengths_from_zero_to_the_limit_are_frames() {
        assert_eq!(frame_length([0, 0, 1, 0], 256), Ok(256));
        assert_eq!(
            frame_length([0, 0, 1, 1], 256),
            Err(FrameError::TooLarge {
                length: 257,
                length_max: 256
            })
        );
        assert_eq!(
            frame_length([0xff, 0xff, 0xff, 0xff], usize::MAX),
            Err(FrameError::Negative { length: -1 })
        );
        // "GET " of a lost browser
        assert!(frame_length(*b"GET ", 100 << 20).is_err());
    }

    #[test]
    fn any_request_can_be_checked() {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            ..Default::default()
        };
        let frame = request_frame(1, None, &request, 4).unwrap();
        let frame = frame.slice(PREFIX_LENGTH..);
        let cut = frame.slice(..frame.len() - 1);
        assert_eq!(check_request(frame, 0).unwrap().api_key, 12);
        assert_eq!(check_request(cut, 0).unwrap_err().place, "frame");
    }

    #[test]
    fn a_frame_carries_its_own_length() {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            ..Default::default()
        };
        let frame = request_frame(1, Some(&"c".into()), &request, 4).unwrap();
        let (length, rest) = frame.split_first_chunk().unwrap();
        assert_eq!(frame_length(*length, 1000), Ok(rest.len()));

        let frame = response_frame(1, &HeartbeatResponse::default(), 0).unwrap();
        assert_eq!(frame.as_ref(), [0, 0, 0, 6, 0, 0, 0, 1, 0, 0]);
    }
}
