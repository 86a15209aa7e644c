//! A client of bare sockets: sends any bytes or any request in any version, and sees exactly what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use millrace_wire::message::create_topics::{CreateTopicsRequestConfig, CreateTopicsRequestTopic};
use millrace_wire::message::fetch::{
    FetchRequestPartition, FetchRequestTopic, FetchResponsePartition, Records,
};
use millrace_wire::message::list_offsets::{
    ListOffsetsRequestPartition, ListOffsetsRequestTopic, ListOffsetsResponsePartition,
};
use millrace_wire::message::produce::{
    ProduceRequestPartition, ProduceRequestTopic, ProduceResponsePartition,
};
use millrace_wire::message::{
    CreateTopicsRequest, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
    InitProducerIdRequest, ListOffsetsRequest, ProduceRequest,
};
use millrace_wire::{ErrorCode, Reader, Request, Response, ResponseHeader, Uuid, frame};

use super::broker::Broker;
use super::{PATIENCE, eventually};

/// More memory than any answer takes.
const BUDGET_BYTES: usize = 256 << 20;

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    correlation_id: i32,
}

/// What a fetch is limited to.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Of the whole answer.
    pub(crate) max_bytes: i32,
    /// Of the partition.
    pub(crate) partition_max_bytes: i32,
    /// How long to wait for `min_bytes`.
    pub(crate) max_wait_ms: i32,
    /// How much to wait for.
    pub(crate) min_bytes: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            max_wait_ms: 0,
            min_bytes: 0,
        }
    }
}

impl Wire {
    /// Connects to the broker.
    pub(crate) fn connect(broker: &Broker) -> Self {
        Self::try_connect(broker).expect("a connection")
    }

    /// Connects to a broker that may be down.
    pub(crate) fn try_connect(broker: &Broker) -> std::io::Result<Self> {
        Self::to(broker.address())
    }

    /// Connects to an address where a broker may be.
    pub(crate) fn to(address: std::net::SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            correlation_id: 0,
        })
    }

    /// How long to wait for bytes from now on.
    pub(crate) fn patience(&self, patience: Duration) {
        self.stream
            .set_read_timeout(Some(patience))
            .expect("a timeout above zero");
    }

    /// Waits for what is worked on where nobody else wants the core: on a busy machine that may take minutes.
    pub(crate) fn patiently(self) -> Self {
        self.patience(Duration::from_secs(300));
        self
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).expect("bytes can be sent");
    }

    /// Sends bytes to a broker that may have closed.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a body with its length in front.
    pub(crate) fn send_frame(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len()).expect("a frame below 4 GiB");
        self.send_bytes(&[&length.to_be_bytes(), body].concat());
    }

    /// Sends a request; its correlation id.
    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.try_send(request, version)
            .expect("a request can be sent")
    }

    /// Sends a request to a broker that may be down; its correlation id.
    pub(crate) fn try_send<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> std::io::Result<i32> {
        self.correlation_id += 1;
        let client_id = "wire".into();
        let bytes = frame::request_frame(self.correlation_id, Some(&client_id), request, version)
            .expect("a request that the version can express");
        self.stream.write_all(&bytes)?;
        Ok(self.correlation_id)
    }

    /// The next frame without its length; nothing if the broker closed the connection.
    pub(crate) fn frame(&mut self) -> Option<Bytes> {
        self.try_frame()
            .unwrap_or_else(|error| panic!("no answer and no end of the connection: {error}"))
    }

    /// The next frame, or nothing at the end; an error if neither comes in time.
    pub(crate) fn try_frame(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if is_end(error.kind()) => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut body =
            vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length from 0")];
        match self.stream.read_exact(&mut body) {
            Ok(()) => Ok(Some(body.into())),
            Err(error) if is_end(error.kind()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next answer with its correlation id.
    pub(crate) fn receive<R: Response>(&mut self, version: i16) -> (i32, R) {
        let frame = self
            .frame()
            .expect("an answer; the broker closed the connection");
        decode(frame, version)
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version);
        let (answered, response) = self.receive(version);
        assert_eq!(answered, sent, "the answer belongs to another request");
        response
    }

    /// Sends a request to a broker that may go down meanwhile.
    pub(crate) fn try_ask<R: Request>(&mut self, request: &R, version: i16) -> Option<R::Response> {
        let sent = self.try_send(request, version).ok()?;
        let (answered, response) = decode(self.try_frame().ok()??, version);
        assert_eq!(answered, sent, "the answer belongs to another request");
        Some(response)
    }

    /// Demands that the broker closes the connection without another byte.
    pub(crate) fn assert_closed(&mut self) {
        let frame = self.frame();
        assert!(
            frame.is_none(),
            "an answer instead of a closed connection: {frame:02x?}"
        );
    }

    /// Creates a topic, demands success and waits until its partitions are served; its id.
    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Uuid {
        let request = CreateTopicsRequest {
            topics: vec![CreateTopicsRequestTopic {
                name: name.into(),
                num_partitions: partitions,
                replication_factor: 1,
                configs: configs
                    .iter()
                    .map(|(name, value)| CreateTopicsRequestConfig {
                        name: (*name).into(),
                        value: Some((*value).into()),
                    })
                    .collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = self.ask(&request, 7);
        let topic = &response.topics[0];
        assert_eq!(
            topic.error_code,
            ErrorCode::None,
            "{:?}",
            topic.error_message
        );
        let topic_id = topic.topic_id;
        for partition in 0..partitions {
            self.list_offset(name, partition, -1);
        }
        topic_id
    }

    /// Appends one batch with acks=all.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: impl Into<Bytes>,
    ) -> ProduceResponsePartition {
        let request = produce_request(topic, partition, -1, batch);
        eventually("the partition to be served", || {
            let response = self.ask(&request, 9);
            let answer = response.responses[0].partition_responses[0].clone();
            is_served(answer.error_code).then_some(answer)
        })
    }

    /// Appends one batch with acks=all and demands success; its base offset.
    pub(crate) fn append(&mut self, topic: &str, partition: i32, batch: impl Into<Bytes>) -> i64 {
        let answer = self.produce(topic, partition, batch);
        assert_eq!(
            answer.error_code,
            ErrorCode::None,
            "{:?}",
            answer.error_message
        );
        answer.base_offset
    }

    /// Reads one partition.
    pub(crate) fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        limits: Limits,
    ) -> FetchResponsePartition {
        let request = fetch_request(topic, partition, offset, limits);
        eventually("the partition to be served", || {
            let response = self.ask(&request, 12);
            assert_eq!(response.error_code, ErrorCode::None);
            let answer = response.responses[0].partitions[0].clone();
            is_served(answer.error_code).then_some(answer)
        })
    }

    /// Asks for the offset of a time, or of one of the special timestamps.
    pub(crate) fn list_offset(
        &mut self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> ListOffsetsResponsePartition {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsRequestTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsRequestPartition {
                    partition_index: partition,
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        eventually("the partition to be served", || {
            let answer = self.ask(&request, 8).topics[0].partitions[0].clone();
            is_served(answer.error_code).then_some(answer)
        })
    }

    /// Makes sure that the group's coordinator is there and has loaded what it knows.
    pub(crate) fn await_coordinator(&mut self, group: &str) {
        let find = FindCoordinatorRequest {
            key: group.into(),
            ..Default::default()
        };
        let beat = HeartbeatRequest {
            group_id: group.into(),
            member_id: "nobody".into(),
            ..Default::default()
        };
        eventually("the group's coordinator", || {
            let found = self.ask(&find, 3).error_code == ErrorCode::None;
            let loaded = found && self.ask(&beat, 3).error_code == ErrorCode::UnknownMemberId;
            loaded.then_some(())
        });
    }

    /// A new producer id with its epoch.
    pub(crate) fn producer_id(&mut self) -> (i64, i16) {
        let answer = eventually("a producer id", || {
            let answer = self.ask(&InitProducerIdRequest::default(), 4);
            (answer.error_code == ErrorCode::None).then_some(answer)
        });
        (answer.producer_id, answer.producer_epoch)
    }
}

/// Takes an answer apart, to its last byte.
pub(crate) fn decode<R: Response>(frame: Bytes, version: i16) -> (i32, R) {
    let mut reader = Reader::new(frame.clone(), BUDGET_BYTES);
    let header = ResponseHeader::decode(&mut reader, R::KEY, version);
    let header = header.unwrap_or_else(|error| panic!("{error} in {frame:02x?}"));
    let response = R::decode(&mut reader, version)
        .unwrap_or_else(|error| panic!("{} {version}: {error} in {frame:02x?}", R::NAME));
    assert_eq!(
        reader.remaining(),
        0,
        "bytes behind {} {version}: {frame:02x?}",
        R::NAME
    );
    (header.correlation_id, response)
}

/// A Produce for one partition.
pub(crate) fn produce_request(
    topic: &str,
    partition: i32,
    acks: i16,
    batch: impl Into<Bytes>,
) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 10_000,
        topic_data: vec![ProduceRequestTopic {
            name: topic.into(),
            partition_data: vec![ProduceRequestPartition {
                index: partition,
                records: Some(batch.into()),
            }],
            ..Default::default()
        }],
    }
}

/// A Fetch of one partition, without a session; for versions that name topics (up to 12).
pub(crate) fn fetch_request(
    topic: &str,
    partition: i32,
    offset: i64,
    limits: Limits,
) -> FetchRequest {
    FetchRequest {
        max_wait_ms: limits.max_wait_ms,
        min_bytes: limits.min_bytes,
        max_bytes: limits.max_bytes,
        topics: vec![FetchRequestTopic {
            topic: topic.into(),
            partitions: vec![FetchRequestPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: limits.partition_max_bytes,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The bytes of records in an answer.
pub(crate) fn record_bytes(partition: &FetchResponsePartition) -> Bytes {
    match &partition.records {
        Some(Records::Bytes(bytes)) => bytes.clone(),
        Some(Records::Elsewhere { .. }) | None => Bytes::new(),
    }
}

/// Whether the partition has its leader: not yet while it is created or, after a start, recovered. Clients ask again then.
fn is_served(code: ErrorCode) -> bool {
    code != ErrorCode::NotLeaderOrFollower
}

/// Whether an error of reading means that the other side is gone.
fn is_end(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
