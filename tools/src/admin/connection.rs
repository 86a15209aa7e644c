//! One connection to one broker: frames out and in, and the versions both sides know.
//!
//! One request at a time; who is asked what is decided elsewhere.

use std::io;

use bytes::Bytes;
use millrace_wire::frame::{self, PREFIX_LENGTH};
use millrace_wire::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use millrace_wire::{ApiKey, ErrorCode, Message, Reader, Request, ResponseHeader, Str};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::AdminError;

/// The largest answer that is read.
const FRAME_LENGTH_MAX: usize = 256 * 1024 * 1024;

/// The most memory an answer may take up besides its bytes.
const DECODE_BUDGET_BYTES: usize = 1024 * 1024 * 1024;

/// The version of ApiVersions to begin with: the first in which a client gives its name.
const API_VERSIONS_VERSION: i16 = 3;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    client_id: Str,
    correlation_id: i32,
    /// What the broker serves.
    pub(super) versions: ApiVersionsResponse,
}

impl Connection {
    /// Connects and asks what the broker serves.
    pub(super) async fn open(address: &str, client_id: &str) -> Result<Self, AdminError> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|source| broken(address, source))?;
        stream
            .set_nodelay(true)
            .map_err(|source| broken(address, source))?;
        let mut connection = Self {
            address: address.to_owned(),
            stream,
            client_id: client_id.into(),
            correlation_id: 0,
            versions: ApiVersionsResponse::default(),
        };
        connection.versions = connection.learn_versions().await?;
        Ok(connection)
    }

    /// Asks in the highest version that both sides know and that is not above `version_max`.
    pub(super) async fn ask<R: Request>(
        &mut self,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, AdminError> {
        let unsupported = AdminError::Unsupported { api: R::KEY.name() };
        let served = self
            .versions
            .api_keys
            .iter()
            .find(|api| api.api_key == R::KEY.number());
        let Some(served) = served else {
            return Err(unsupported);
        };
        let version = served.max_version.min(*R::VERSIONS.end()).min(version_max);
        if version < served.min_version || version < *R::VERSIONS.start() {
            return Err(unsupported);
        }
        let answer = self.exchange(request, version).await?;
        decode(answer, version)
    }

    async fn learn_versions(&mut self) -> Result<ApiVersionsResponse, AdminError> {
        let request = ApiVersionsRequest {
            client_software_name: "millrace-tools".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let answer = self.exchange(&request, API_VERSIONS_VERSION).await?;
        // KIP-511: a broker that does not know the version answers in version 0, the error in front.
        let refused = ErrorCode::UnsupportedVersion.code().to_be_bytes();
        let response: ApiVersionsResponse = if answer.starts_with(&refused) {
            decode(self.exchange(&request, 0).await?, 0)?
        } else {
            decode(answer, API_VERSIONS_VERSION)?
        };
        AdminError::check(response.error_code, None)?;
        Ok(response)
    }

    /// Sends a request and answers the message of its response, undecoded.
    async fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<Bytes, AdminError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let client_id = Some(&self.client_id);
        let bytes = frame::request_frame(self.correlation_id, client_id, request, version)?;
        let answer = self.transfer(&bytes).await;
        let answer = answer.map_err(|source| broken(&self.address, source))?;
        let mut reader = Reader::new(answer, 0);
        let header = ResponseHeader::decode(&mut reader, R::KEY, version).map_err(|source| {
            AdminError::Decode {
                api: R::KEY.name(),
                source,
            }
        })?;
        if header.correlation_id != self.correlation_id {
            let text = format!(
                "answer {} to request {}",
                header.correlation_id, self.correlation_id
            );
            return Err(broken(&self.address, io::Error::other(text)));
        }
        Ok(reader.into_rest())
    }

    async fn transfer(&mut self, request: &[u8]) -> io::Result<Bytes> {
        self.stream.write_all(request).await?;
        let mut prefix = [0; PREFIX_LENGTH];
        self.stream.read_exact(&mut prefix).await?;
        let length = frame::frame_length(prefix, FRAME_LENGTH_MAX).map_err(io::Error::other)?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer.into())
    }
}

fn decode<M: Message>(bytes: Bytes, version: i16) -> Result<M, AdminError> {
    let key: ApiKey = M::KEY;
    M::decode(&mut Reader::new(bytes, DECODE_BUDGET_BYTES), version).map_err(|source| {
        AdminError::Decode {
            api: key.name(),
            source,
        }
    })
}

fn broken(address: &str, source: io::Error) -> AdminError {
    AdminError::Connection {
        address: address.to_owned(),
        source,
    }
}
