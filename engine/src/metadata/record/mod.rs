//! The facts cluster metadata is made of: one record per fact, in the order they were decided.
//!
//! A record says what became true, never why. Whoever decides stands in `controller`, whoever folds the records into
//! an image in `apply`, whoever stores them in `raft`; the bytes of a record are in `codec`.

mod codec;
mod hostile;
mod reader;

use std::fmt;
use std::sync::Arc;

use crate::types::{BrokerId, DirectoryId, LeaderEpoch, ProducerId, TopicId, TopicName, Uuid};

pub use codec::{LENGTH_MAX, RecordDecodeError};
pub use hostile::decode_hostile;
pub(super) use reader::Reader;

/// One fact about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// Nothing: takes an offset and changes nothing.
    NoOp,
    /// A term began and this broker decides in it. The first record of every term.
    LeaderChanged {
        /// The broker whose controller decides from here on.
        leader: BrokerId,
        /// Its term; greater than every term before.
        term: u64,
    },
    /// The cluster got its id: the first fact of a new cluster, never changed afterwards.
    ClusterIdSet {
        /// 22 characters of base64 where Kafka or we made it; any text in an adopted directory.
        cluster_id: String,
    },
    /// A feature was finalised at a level (KIP-584); level 0 removes it.
    FeatureLevelSet {
        /// The feature's name, such as `metadata.version`.
        name: String,
        /// The level; not negative.
        level: i16,
    },
    /// A broker started, or started anew: replaces what was known of it.
    BrokerRegistered(Broker),
    /// Which of a broker's log directories get no new replicas; replaces what was known of that.
    DirectoriesCordoned {
        /// Which broker; registered.
        broker: BrokerId,
        /// The directories; empty: all of them get replicas again.
        directories: Vec<DirectoryId>,
    },
    /// A broker left for good.
    BrokerRemoved {
        /// Which.
        broker: BrokerId,
    },
    /// A topic without partitions; its `PartitionCreated` records follow in the same batch.
    TopicCreated {
        /// The id nobody else ever has.
        id: TopicId,
        /// The name nobody else has now.
        name: TopicName,
    },
    /// A partition came into being. Partitions of a topic appear in order of their numbers.
    PartitionCreated {
        /// Whose.
        topic_id: TopicId,
        /// Its number: the count of partitions the topic had.
        partition: i32,
        /// Its first state.
        state: Partition,
    },
    /// A partition has another state: leader, replicas, in-sync replicas or directories.
    PartitionChanged {
        /// Whose.
        topic_id: TopicId,
        /// Its number.
        partition: i32,
        /// The whole new state; its partition epoch is greater than before.
        state: Partition,
    },
    /// A topic, its partitions and its configuration are gone; the name is free.
    TopicRemoved {
        /// Which.
        id: TopicId,
    },
    /// A configuration override holds from now on.
    ConfigSet {
        /// Whose.
        resource: ConfigResource,
        /// Kafka's name of the property.
        name: String,
        /// Its value as text.
        value: String,
    },
    /// A configuration override holds no longer.
    ConfigRemoved {
        /// Whose.
        resource: ConfigResource,
        /// Kafka's name of the property.
        name: String,
    },
    /// A broker was given a block of producer ids; they are never given out again.
    ProducerIdsAllocated {
        /// To whom.
        broker: BrokerId,
        /// The first id of the next block: one past the last of this.
        next: ProducerId,
    },
}

/// Who can have configuration overrides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// One topic; the override goes with it.
    Topic(TopicId),
    /// One broker.
    Broker(BrokerId),
    /// Every broker that has no override of its own.
    ClusterDefault,
    /// One consumer, share or streams group.
    Group(Arc<str>),
}

/// How often a partition's state changed since it was made, from 0 (Kafka's partition epoch). A change that was
/// decided on an older epoch is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionEpoch(pub i32);

impl fmt::Display for PartitionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who stores a partition, who leads it, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The brokers that store it; the first is the preferred leader. Not empty, no broker twice.
    pub replicas: Vec<BrokerId>,
    /// In which of its log directories each replica stores it: as many as `replicas`, in their order. The zero id
    /// stands for a directory not chosen yet.
    pub directories: Vec<DirectoryId>,
    /// The replicas that have everything acknowledged. A subset of `replicas`.
    pub isr: Vec<BrokerId>,
    /// The replica that takes appends, or [`BrokerId::NONE`].
    pub leader: BrokerId,
    /// The leader's term; grows with each election and each unclean start.
    pub leader_epoch: LeaderEpoch,
    /// Grows with each change of this state.
    pub partition_epoch: PartitionEpoch,
}

impl Partition {
    /// The log directory in which `broker` stores its replica; `None` when it has no replica.
    #[must_use]
    pub fn directory_of(&self, broker: BrokerId) -> Option<DirectoryId> {
        let place = self
            .replicas
            .iter()
            .position(|&replica| replica == broker)?;
        self.directories.get(place).copied()
    }
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its `node.id`.
    pub id: BrokerId,
    /// One start of its process; another start has another.
    pub incarnation: Uuid,
    /// The broker epoch: the offset of its registration, so that it grows with each start.
    pub epoch: i64,
    /// Where clients and brokers reach it, one per listener. The order is the configured one.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The ids of its usable `log.dirs`, in configured order; new partitions go into these.
    pub log_directories: Vec<DirectoryId>,
}

/// One advertised listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, such as `PLAINTEXT` or `EXTERNAL`.
    pub listener: String,
    /// Host name or address; empty when the broker advertises the address a client connected to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How to speak there.
    pub security_protocol: SecurityProtocol,
}

/// Kafka's four ways to speak on a listener, with the protocol's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecurityProtocol {
    /// Neither TLS nor SASL (0).
    Plaintext,
    /// TLS (1).
    Ssl,
    /// SASL without TLS (2).
    SaslPlaintext,
    /// SASL inside TLS (3).
    SaslSsl,
}

impl SecurityProtocol {
    /// The protocol's number for it, 0 to 3.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }

    /// The way that has this number in the protocol.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Plaintext),
            1 => Some(Self::Ssl),
            2 => Some(Self::SaslPlaintext),
            3 => Some(Self::SaslSsl),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
