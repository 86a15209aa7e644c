//! The broker under load: where it is, what it is, and its topics.

use std::net::SocketAddr;
use std::time::Duration;

use millrace_wire::Uuid;
use millrace_wire::message::delete_topics::{DeleteTopicsRequest, DeleteTopicsRequestTopic};
use millrace_wire::message::init_producer_id::InitProducerIdRequest;
use millrace_wire::message::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic,
};
use millrace_wire::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponsePartition,
};

use super::clock::{nanos, rest};
use super::floor::FloorLayout;
use super::process::Process;
use super::scenario::Durability;
use crate::{Client, Outcome};

/// What kind of program answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Millrace: topics are durable unless they ask for `write.caching`.
    Millrace,
    /// Apache Kafka: topics are in the page cache unless they ask for `flush.messages`.
    Kafka,
    /// The floor, which knows nothing of topics.
    Floor,
}

/// A running broker.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it costs is read there.
    pub process: Process,
    /// What it is.
    pub kind: Kind,
}

/// A topic made for one round.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) partitions: i32,
    pub(super) durability: Durability,
}

/// What an idempotent producer is told at its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProducerIdentity {
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
}

impl Target {
    pub(super) fn client(&self) -> Outcome<Client> {
        Client::connect(self.address)
    }

    /// Makes a topic and waits until all its partitions are led.
    pub(super) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        durability: Durability,
    ) -> Outcome<Topic> {
        let mut topic = Topic {
            name: name.to_owned(),
            id: Uuid(u128::from(nanos())),
            partitions,
            durability,
        };
        let configs: &[(&str, &str)] = match (self.kind, durability) {
            (Kind::Floor, _) => return Ok(topic),
            (Kind::Millrace, Durability::PageCache) => &[("write.caching", "true")],
            (Kind::Kafka, Durability::Device) => &[("flush.messages", "1")],
            (Kind::Millrace, Durability::Device)
            | (Kind::Kafka, Durability::PageCache)
            | (_, Durability::Default) => &[],
        };
        let mut client = self.client()?;
        client.create_topic_with(name, partitions, configs)?;
        let begun = nanos();
        loop {
            // Kafka shows a leader before that broker knows of it.
            if let Some(id) = id_when_led(&mut client, name, partitions)?
                && ends(&mut client, name, partitions).is_ok()
            {
                topic.id = id;
                return Ok(topic);
            }
            if nanos() - begun > PATIENCE_NANOS {
                return Err(format!("topic {name} has no leaders after 30 s").into());
            }
            rest(Duration::from_millis(20));
        }
    }

    pub(super) fn delete_topic(&self, topic: &Topic) -> Outcome<()> {
        if self.kind == Kind::Floor {
            // It begins anew with every layout.
            return self.client()?.exchange(&FloorLayout::default().encode());
        }
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicsRequestTopic {
                name: None,
                topic_id: topic.id,
            }],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let response = self.client()?.ask(&request, DELETE_TOPICS_VERSION)?;
        match response.responses.first().map(|topic| topic.error_code) {
            Some(code) if !code.is_error() => Ok(()),
            refused => Err(format!("topic {} is not deleted: {refused:?}", topic.name).into()),
        }
    }

    /// Asks for a producer id. A broker that has just started may have to be asked twice.
    pub(super) fn producer_identity(&self) -> Outcome<ProducerIdentity> {
        if self.kind == Kind::Floor {
            return Ok(ProducerIdentity {
                producer_id: 1,
                producer_epoch: 0,
            });
        }
        let request = InitProducerIdRequest {
            transaction_timeout_ms: 60_000,
            producer_epoch: -1,
            ..Default::default()
        };
        let mut client = self.client()?;
        let begun = nanos();
        loop {
            let response = client.ask(&request, INIT_PRODUCER_ID_VERSION)?;
            if !response.error_code.is_error() {
                return Ok(ProducerIdentity {
                    producer_id: response.producer_id,
                    producer_epoch: response.producer_epoch,
                });
            }
            if nanos() - begun > PATIENCE_NANOS {
                return Err(format!("no producer id: {}", response.error_code).into());
            }
            rest(Duration::from_millis(50));
        }
    }
}

fn id_when_led(client: &mut Client, name: &str, partitions: i32) -> Outcome<Option<Uuid>> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let response = client.ask(&request, METADATA_VERSION)?;
    let topic = response.topics.first().ok_or("no topic in the answer")?;
    let led = |partition: &MetadataResponsePartition| {
        partition.leader_id >= 0 && !partition.error_code.is_error()
    };
    let ready = !topic.error_code.is_error()
        && topic.partitions.len() == usize::try_from(partitions)?
        && topic.partitions.iter().all(led);
    Ok(ready.then_some(topic.topic_id))
}

/// The end of each partition. Fails while one of them is not served.
pub(super) fn ends(client: &mut Client, topic: &str, partitions: i32) -> Outcome<Vec<i64>> {
    let partition = |partition_index| ListOffsetsRequestPartition {
        partition_index,
        timestamp: -1,
        ..Default::default()
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsRequestTopic {
            name: topic.into(),
            partitions: (0..partitions).map(partition).collect(),
        }],
        ..Default::default()
    };
    let response = client.ask(&request, LIST_OFFSETS_VERSION)?;
    let results = response.topics.iter().flat_map(|topic| &topic.partitions);
    let mut ends = Vec::new();
    for result in results {
        if result.error_code.is_error() {
            return Err(format!("no end: {}", result.error_code).into());
        }
        ends.push((result.partition_index, result.offset));
    }
    ends.sort_unstable();
    Ok(ends.into_iter().map(|(_, end)| end).collect())
}

const LIST_OFFSETS_VERSION: i16 = 7;
const METADATA_VERSION: i16 = 12;
const DELETE_TOPICS_VERSION: i16 = 6;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const PATIENCE_NANOS: u64 = 30_000_000_000;
