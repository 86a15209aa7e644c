//! A broker for tests: it answers as the test says, and says itself who it is and what it serves.
//!
//! It takes one connection after another. A request that has no answer ends it, and the test with it.

use bytes::Bytes;
use millrace_wire::frame::{self, PREFIX_LENGTH};
use millrace_wire::header::open_request;
use millrace_wire::message::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use millrace_wire::message::find_coordinator::{
    FindCoordinatorEntry, FindCoordinatorRequest, FindCoordinatorResponse,
};
use millrace_wire::message::metadata::{MetadataBroker, MetadataRequest, MetadataResponse};
use millrace_wire::{ApiKey, Reader, Request, RequestHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Admin;
use crate::properties::Properties;

/// A request, and the answer once there is one.
pub(crate) struct Question {
    header: RequestHeader,
    message: Reader,
    answer: Option<Bytes>,
}

impl Question {
    /// Answers it if it is of this kind and has no answer yet.
    pub(crate) fn answer<R: Request>(&mut self, respond: impl FnOnce(R) -> R::Response) {
        if self.header.api_key != R::KEY.number() || self.answer.is_some() {
            return;
        }
        let version = self.header.api_version;
        let request = R::decode(&mut self.message, version).unwrap();
        let response = respond(request);
        let answer = frame::response_frame(self.header.correlation_id, &response, version);
        self.answer = Some(answer.unwrap());
    }

    /// What a broker alone in its cluster, with number 1, has to say for itself.
    fn introduce(&mut self, port: u16) {
        self.answer(|_: ApiVersionsRequest| {
            let served = |key: &ApiKey| ApiVersion {
                api_key: key.number(),
                min_version: *key.versions().start(),
                max_version: *key.versions().end(),
            };
            ApiVersionsResponse {
                api_keys: ApiKey::ALL.iter().map(served).collect(),
                ..Default::default()
            }
        });
        self.answer(|_: MetadataRequest| MetadataResponse {
            brokers: vec![MetadataBroker {
                node_id: 1,
                host: HOST.into(),
                port: port.into(),
                rack: None,
            }],
            controller_id: 1,
            ..Default::default()
        });
        self.answer(|request: FindCoordinatorRequest| {
            let entry = |key| FindCoordinatorEntry {
                key,
                node_id: 1,
                host: HOST.into(),
                port: port.into(),
                ..Default::default()
            };
            FindCoordinatorResponse {
                coordinators: request.coordinator_keys.into_iter().map(entry).collect(),
                ..Default::default()
            }
        });
    }

    /// The next one of a connection; none when the client has closed it.
    async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut prefix = [0; PREFIX_LENGTH];
        stream.read_exact(&mut prefix).await.ok()?;
        let length = frame::frame_length(prefix, REQUEST_BYTES_MAX).unwrap();
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.ok()?;
        let (header, message) = open_request(bytes.into(), REQUEST_BYTES_MAX).unwrap();
        Some(Self {
            header,
            message,
            answer: None,
        })
    }
}

/// A client of a broker that gives every request to `answer`.
pub(crate) async fn admin(answer: impl FnMut(&mut Question) + Send + 'static) -> Admin {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, address.port(), answer));
    Admin::new(&address.to_string(), &Properties::new()).unwrap()
}

async fn serve(
    listener: TcpListener,
    port: u16,
    mut answer: impl FnMut(&mut Question) + Send + 'static,
) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some(mut question) = Question::read(&mut stream).await {
            answer(&mut question);
            question.introduce(port);
            let answer = question.answer.expect("the test answers what it asks");
            stream.write_all(&answer).await.unwrap();
        }
    }
}

const HOST: &str = "127.0.0.1";

/// More than any request of a test takes.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
