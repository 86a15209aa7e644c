//! A client of the simplest kind: one connection that asks and waits, without a thought of its own.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use millrace_wire::frame::request_frame;
use millrace_wire::message::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestConfig, CreateTopicsRequestTopic,
};
use millrace_wire::message::fetch::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, Records,
};
use millrace_wire::message::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic,
};
use millrace_wire::message::produce::{
    ProduceRequest, ProduceRequestPartition, ProduceRequestTopic,
};
use millrace_wire::{Message, Reader, Request, ResponseHeader};

/// What came of something, or why not, for people.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// One connection to a broker. An answer that does not come within five minutes is an error.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    correlation: i32,
}

impl Client {
    /// Connects to `address`.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            correlation: 0,
        })
    }

    /// Sends a request and does not wait for the answer.
    ///
    /// # Errors
    /// The message has no such version, or the connection failed.
    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Outcome<()> {
        self.correlation += 1;
        let name = "benches".into();
        let frame = request_frame(self.correlation, Some(&name), request, version)?;
        self.stream.write_all(&frame)?;
        Ok(())
    }

    /// Sends a frame as it is and waits for whatever answer.
    ///
    /// # Errors
    /// The connection failed.
    pub fn exchange(&mut self, frame: &[u8]) -> Outcome<()> {
        self.stream.write_all(frame)?;
        self.answer()?;
        Ok(())
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// As [`Client::send`], or the answer cannot be read.
    pub fn ask<R: Request>(&mut self, request: &R, version: i16) -> Outcome<R::Response> {
        self.send(request, version)?;
        self.receive::<R>(version)
    }

    /// Reads the answer to a request that was sent.
    ///
    /// # Errors
    /// The connection failed, or the answer cannot be read.
    pub fn receive<R: Request>(&mut self, version: i16) -> Outcome<R::Response> {
        let mut reader = Reader::new(self.answer()?, usize::MAX);
        ResponseHeader::decode(&mut reader, R::KEY, version)?;
        Ok(R::Response::decode(&mut reader, version)?)
    }

    fn answer(&mut self) -> Outcome<Bytes> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(prefix))?];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    /// Makes a topic with no settings of its own.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Outcome<()> {
        self.create_topic_with(name, partitions, &[])
    }

    /// Makes a topic with these settings.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create_topic_with(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Outcome<()> {
        let configs = configs
            .iter()
            .map(|(name, value)| CreateTopicsRequestConfig {
                name: (*name).into(),
                value: Some((*value).into()),
            });
        let topic = CreateTopicsRequestTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let response = self.ask(&request, 4)?;
        match response.topics.first().map(|topic| topic.error_code) {
            Some(code) if !code.is_error() => Ok(()),
            refused => Err(format!("topic {name} is not created: {refused:?}").into()),
        }
    }

    /// Appends one batch and waits for the acknowledgement that `acks` asks for (1 or -1).
    ///
    /// # Errors
    /// The broker refuses the batch.
    pub fn produce(&mut self, topic: &str, index: i32, batch: &Bytes, acks: i16) -> Outcome<()> {
        let partition = ProduceRequestPartition {
            index,
            records: Some(batch.clone()),
        };
        let topic = ProduceRequestTopic {
            name: topic.into(),
            partition_data: vec![partition],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks,
            timeout_ms: 30_000,
            topic_data: vec![topic],
            ..Default::default()
        };
        let response = self.ask(&request, 9)?;
        let mut entries = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses);
        match entries.find(|entry| entry.error_code.is_error()) {
            Some(refused) => Err(format!("a batch is refused: {}", refused.error_code).into()),
            None => Ok(()),
        }
    }

    /// The records of one partition from `offset` on, at most 1 MiB.
    ///
    /// # Errors
    /// There are none, or the broker refuses.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Outcome<Bytes> {
        let response = self.ask(&fetch_request(topic, partition, offset, 0), 11)?;
        let mut entries = response
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions);
        let entry = entries.next().ok_or("an answer without the partition")?;
        if entry.error_code.is_error() {
            return Err(format!("a fetch is refused: {}", entry.error_code).into());
        }
        match entry.records {
            Some(Records::Bytes(records)) => Ok(records),
            Some(Records::Elsewhere { .. }) | None => Err("no records".into()),
        }
    }

    /// The first offset that a partition still has.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn log_start(&mut self, topic: &str, partition_index: i32) -> Outcome<i64> {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsRequestTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsRequestPartition {
                    partition_index,
                    timestamp: -2,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let response = self.ask(&request, 7)?;
        let mut entries = response.topics.iter().flat_map(|topic| &topic.partitions);
        let entry = entries.next().ok_or("an answer without the partition")?;
        match entry.error_code.is_error() {
            true => Err(format!("no log start: {}", entry.error_code).into()),
            false => Ok(entry.offset),
        }
    }
}

/// A request for one partition, that waits up to `wait_ms` for the first byte.
#[must_use]
pub fn fetch_request(topic: &str, partition: i32, offset: i64, wait_ms: i32) -> FetchRequest {
    let partition = FetchRequestPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: FETCH_BYTES_MAX,
        ..Default::default()
    };
    let topic = FetchRequestTopic {
        topic: topic.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: 1,
        max_bytes: FETCH_BYTES_MAX,
        topics: vec![topic],
        ..Default::default()
    }
}

const FETCH_BYTES_MAX: i32 = 1 << 20;
/// Longer than any answer takes, also of a broker that is besieged on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
