//! The bytes of a metadata record: length (u32), version (u8), kind (u8), fields; all big-endian.
//!
//! It is our own form, not Kafka's. The length counts what follows it. The version is one for all kinds, now 1; a new one
//! is written only at a finalised feature level, so that an older binary can still read the journal below it. Decoding
//! takes arbitrary bytes and either gives the record or says what was wrong.

use super::{
    Broker, ConfigResource, Endpoint, MetadataRecord, Partition, PartitionEpoch, Reader,
    SecurityProtocol,
};
use crate::types::{BrokerId, DirectoryId, LeaderEpoch, ProducerId, TopicId, TopicNameError, Uuid};

/// The version of every kind that this code writes, and the newest it reads.
const VERSION: u8 = 1;

/// The longest record, in bytes behind its length field: no value of a configuration and no list of replicas comes near.
pub const LENGTH_MAX: usize = 16 * 1024 * 1024;

const NO_OP: u8 = 0;
const LEADER_CHANGED: u8 = 1;
const CLUSTER_ID_SET: u8 = 2;
const FEATURE_LEVEL_SET: u8 = 3;
const BROKER_REGISTERED: u8 = 4;
const BROKER_REMOVED: u8 = 5;
const TOPIC_CREATED: u8 = 6;
const PARTITION_CREATED: u8 = 7;
const PARTITION_CHANGED: u8 = 8;
const TOPIC_REMOVED: u8 = 9;
const CONFIG_SET: u8 = 10;
const CONFIG_REMOVED: u8 = 11;
const PRODUCER_IDS_ALLOCATED: u8 = 12;
const DIRECTORIES_CORDONED: u8 = 13;

const RESOURCE_TOPIC: u8 = 0;
const RESOURCE_BROKER: u8 = 1;
const RESOURCE_CLUSTER_DEFAULT: u8 = 2;
const RESOURCE_GROUP: u8 = 3;

/// Why bytes are no metadata record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordDecodeError {
    /// A field reaches past the end.
    #[error("a field of {needed} byte(s) where {remaining} are left")]
    Truncated {
        /// What the field claims, in bytes.
        needed: usize,
        /// What there is, in bytes.
        remaining: usize,
    },
    /// The length field is past [`LENGTH_MAX`].
    #[error("a record of {length} bytes where {LENGTH_MAX} is the most")]
    TooLong {
        /// The length found.
        length: usize,
    },
    /// Bytes behind the last field.
    #[error("{count} byte(s) behind the last field of a record of kind {kind}")]
    Trailing {
        /// The kind found.
        kind: u8,
        /// How many bytes are too many.
        count: usize,
    },
    /// A version of this kind that this code does not know: a newer binary wrote it.
    #[error("version {found} of record kind {kind}, newest known here is {known}")]
    UnknownVersion {
        /// The kind found.
        kind: u8,
        /// The version found.
        found: u8,
        /// The newest version readable.
        known: u8,
    },
    /// A kind that this code does not know: a newer binary wrote it.
    #[error("unknown record kind {found}")]
    UnknownKind {
        /// The kind found.
        found: u8,
    },
    /// A number that stands for nothing in its field.
    #[error("{field} has no meaning for {found}")]
    UnknownCode {
        /// Which field.
        field: &'static str,
        /// The number found.
        found: u8,
    },
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// A topic name that is none.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
}

impl RecordDecodeError {
    /// Whether a newer binary explains it, as opposed to damage.
    #[must_use]
    pub fn is_newer_version(&self) -> bool {
        matches!(self, Self::UnknownVersion { found, known, .. } if found > known)
            || matches!(self, Self::UnknownKind { .. })
    }
}

impl MetadataRecord {
    /// Appends the record, its length in front.
    ///
    /// Texts and lists of a record are bounded by what decided them (request sizes), far below [`LENGTH_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(VERSION);
        self.encode_body(out);
        let length = out.len() - start - 4;
        assert!(
            length <= LENGTH_MAX,
            "a metadata record of {length} bytes is longer than {LENGTH_MAX}"
        );
        put_length(&mut out[start..start + 4], length);
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::NoOp => out.push(NO_OP),
            Self::LeaderChanged { leader, term } => {
                out.push(LEADER_CHANGED);
                put_broker_id(out, *leader);
                out.extend_from_slice(&term.to_be_bytes());
            }
            Self::ClusterIdSet { cluster_id } => {
                out.push(CLUSTER_ID_SET);
                put_text(out, cluster_id);
            }
            Self::FeatureLevelSet { name, level } => {
                out.push(FEATURE_LEVEL_SET);
                put_text(out, name);
                out.extend_from_slice(&level.to_be_bytes());
            }
            Self::BrokerRegistered(broker) => {
                out.push(BROKER_REGISTERED);
                put_broker(out, broker);
            }
            Self::DirectoriesCordoned {
                broker,
                directories,
            } => {
                out.push(DIRECTORIES_CORDONED);
                put_broker_id(out, *broker);
                put_count(out, directories.len());
                directories
                    .iter()
                    .for_each(|directory| put_uuid(out, directory.0));
            }
            Self::BrokerRemoved { broker } => {
                out.push(BROKER_REMOVED);
                put_broker_id(out, *broker);
            }
            Self::TopicCreated { id, name } => {
                out.push(TOPIC_CREATED);
                put_uuid(out, id.0);
                put_text(out, name.as_str());
            }
            Self::PartitionCreated {
                topic_id,
                partition,
                state,
            } => {
                out.push(PARTITION_CREATED);
                put_partition(out, *topic_id, *partition, state);
            }
            Self::PartitionChanged {
                topic_id,
                partition,
                state,
            } => {
                out.push(PARTITION_CHANGED);
                put_partition(out, *topic_id, *partition, state);
            }
            Self::TopicRemoved { id } => {
                out.push(TOPIC_REMOVED);
                put_uuid(out, id.0);
            }
            Self::ConfigSet {
                resource,
                name,
                value,
            } => {
                out.push(CONFIG_SET);
                put_resource(out, resource);
                put_text(out, name);
                put_text(out, value);
            }
            Self::ConfigRemoved { resource, name } => {
                out.push(CONFIG_REMOVED);
                put_resource(out, resource);
                put_text(out, name);
            }
            Self::ProducerIdsAllocated { broker, next } => {
                out.push(PRODUCER_IDS_ALLOCATED);
                put_broker_id(out, *broker);
                out.extend_from_slice(&next.0.to_be_bytes());
            }
        }
    }

    /// Takes one record off the front of `reader`. Safe on arbitrary bytes.
    pub(in crate::metadata) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordDecodeError> {
        let length = reader.length()?;
        if length > LENGTH_MAX {
            return Err(RecordDecodeError::TooLong { length });
        }
        let mut fields = Reader::new(reader.bytes(length)?);
        let version = fields.u8()?;
        let kind = fields.u8()?;
        if version != VERSION {
            return Err(RecordDecodeError::UnknownVersion {
                kind,
                found: version,
                known: VERSION,
            });
        }
        let record = Self::read_body(kind, &mut fields)?;
        match fields.remaining() {
            0 => Ok(record),
            count => Err(RecordDecodeError::Trailing { kind, count }),
        }
    }

    /// Decodes records that lie back to back and fill `bytes`. Safe on arbitrary bytes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, RecordDecodeError> {
        let mut reader = Reader::new(bytes);
        let mut records = Vec::new();
        while reader.remaining() > 0 {
            records.push(Self::read(&mut reader)?);
        }
        Ok(records)
    }

    fn read_body(kind: u8, reader: &mut Reader<'_>) -> Result<Self, RecordDecodeError> {
        Ok(match kind {
            NO_OP => Self::NoOp,
            LEADER_CHANGED => Self::LeaderChanged {
                leader: BrokerId(reader.i32()?),
                term: reader.u64()?,
            },
            CLUSTER_ID_SET => Self::ClusterIdSet {
                cluster_id: reader.text()?.to_owned(),
            },
            FEATURE_LEVEL_SET => Self::FeatureLevelSet {
                name: reader.text()?.to_owned(),
                level: reader.i16()?,
            },
            BROKER_REGISTERED => Self::BrokerRegistered(read_broker(reader)?),
            BROKER_REMOVED => Self::BrokerRemoved {
                broker: BrokerId(reader.i32()?),
            },
            TOPIC_CREATED => Self::TopicCreated {
                id: TopicId(Uuid(reader.u128()?)),
                name: reader.text()?.parse()?,
            },
            PARTITION_CREATED => Self::PartitionCreated {
                topic_id: TopicId(Uuid(reader.u128()?)),
                partition: reader.i32()?,
                state: read_partition(reader)?,
            },
            PARTITION_CHANGED => Self::PartitionChanged {
                topic_id: TopicId(Uuid(reader.u128()?)),
                partition: reader.i32()?,
                state: read_partition(reader)?,
            },
            TOPIC_REMOVED => Self::TopicRemoved {
                id: TopicId(Uuid(reader.u128()?)),
            },
            CONFIG_SET => Self::ConfigSet {
                resource: read_resource(reader)?,
                name: reader.text()?.to_owned(),
                value: reader.text()?.to_owned(),
            },
            CONFIG_REMOVED => Self::ConfigRemoved {
                resource: read_resource(reader)?,
                name: reader.text()?.to_owned(),
            },
            PRODUCER_IDS_ALLOCATED => Self::ProducerIdsAllocated {
                broker: BrokerId(reader.i32()?),
                next: ProducerId(reader.i64()?),
            },
            DIRECTORIES_CORDONED => Self::DirectoriesCordoned {
                broker: BrokerId(reader.i32()?),
                directories: reader.list(16, |reader| reader.u128().map(Uuid).map(DirectoryId))?,
            },
            found => return Err(RecordDecodeError::UnknownKind { found }),
        })
    }
}

/// Writes `length` into four bytes. Nothing longer than `u32::MAX` is ever encoded: requests and files are far smaller.
fn put_length(four: &mut [u8], length: usize) {
    let length = u32::try_from(length).expect("a length in metadata fits 32 bits");
    four.copy_from_slice(&length.to_be_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let mut four = [0; 4];
    put_length(&mut four, count);
    out.extend_from_slice(&four);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_uuid(out: &mut Vec<u8>, id: Uuid) {
    out.extend_from_slice(&id.0.to_be_bytes());
}

fn put_broker_id(out: &mut Vec<u8>, broker: BrokerId) {
    out.extend_from_slice(&broker.0.to_be_bytes());
}

fn put_partition(out: &mut Vec<u8>, topic_id: TopicId, partition: i32, state: &Partition) {
    put_uuid(out, topic_id.0);
    out.extend_from_slice(&partition.to_be_bytes());
    put_count(out, state.replicas.len());
    state
        .replicas
        .iter()
        .for_each(|&replica| put_broker_id(out, replica));
    put_count(out, state.directories.len());
    state
        .directories
        .iter()
        .for_each(|directory| put_uuid(out, directory.0));
    put_count(out, state.isr.len());
    state
        .isr
        .iter()
        .for_each(|&replica| put_broker_id(out, replica));
    put_broker_id(out, state.leader);
    out.extend_from_slice(&state.leader_epoch.0.to_be_bytes());
    out.extend_from_slice(&state.partition_epoch.0.to_be_bytes());
}

fn read_partition(reader: &mut Reader<'_>) -> Result<Partition, RecordDecodeError> {
    let broker_id = |reader: &mut Reader<'_>| reader.i32().map(BrokerId);
    Ok(Partition {
        replicas: reader.list(4, broker_id)?,
        directories: reader.list(16, |reader| reader.u128().map(Uuid).map(DirectoryId))?,
        isr: reader.list(4, broker_id)?,
        leader: broker_id(reader)?,
        leader_epoch: LeaderEpoch(reader.i32()?),
        partition_epoch: PartitionEpoch(reader.i32()?),
    })
}

fn put_broker(out: &mut Vec<u8>, broker: &Broker) {
    put_broker_id(out, broker.id);
    put_uuid(out, broker.incarnation);
    out.extend_from_slice(&broker.epoch.to_be_bytes());
    put_count(out, broker.endpoints.len());
    for endpoint in &broker.endpoints {
        put_text(out, &endpoint.listener);
        put_text(out, &endpoint.host);
        out.extend_from_slice(&endpoint.port.to_be_bytes());
        out.push(endpoint.security_protocol.id());
    }
    match &broker.rack {
        None => out.push(0),
        Some(rack) => {
            out.push(1);
            put_text(out, rack);
        }
    }
    put_count(out, broker.log_directories.len());
    broker
        .log_directories
        .iter()
        .for_each(|directory| put_uuid(out, directory.0));
}

fn read_broker(reader: &mut Reader<'_>) -> Result<Broker, RecordDecodeError> {
    Ok(Broker {
        id: BrokerId(reader.i32()?),
        incarnation: Uuid(reader.u128()?),
        epoch: reader.i64()?,
        endpoints: reader.list(11, read_endpoint)?,
        rack: match reader.u8()? {
            0 => None,
            1 => Some(reader.text()?.to_owned()),
            found => {
                return Err(RecordDecodeError::UnknownCode {
                    field: "rack",
                    found,
                });
            }
        },
        log_directories: reader.list(16, |reader| reader.u128().map(Uuid).map(DirectoryId))?,
    })
}

fn read_endpoint(reader: &mut Reader<'_>) -> Result<Endpoint, RecordDecodeError> {
    Ok(Endpoint {
        listener: reader.text()?.to_owned(),
        host: reader.text()?.to_owned(),
        port: reader.u16()?,
        security_protocol: {
            let found = reader.u8()?;
            SecurityProtocol::from_id(found).ok_or(RecordDecodeError::UnknownCode {
                field: "security protocol",
                found,
            })?
        },
    })
}

fn put_resource(out: &mut Vec<u8>, resource: &ConfigResource) {
    match resource {
        ConfigResource::Topic(id) => {
            out.push(RESOURCE_TOPIC);
            put_uuid(out, id.0);
        }
        ConfigResource::Broker(broker) => {
            out.push(RESOURCE_BROKER);
            put_broker_id(out, *broker);
        }
        ConfigResource::ClusterDefault => out.push(RESOURCE_CLUSTER_DEFAULT),
        ConfigResource::Group(group) => {
            out.push(RESOURCE_GROUP);
            put_text(out, group);
        }
    }
}

fn read_resource(reader: &mut Reader<'_>) -> Result<ConfigResource, RecordDecodeError> {
    Ok(match reader.u8()? {
        RESOURCE_TOPIC => ConfigResource::Topic(TopicId(Uuid(reader.u128()?))),
        RESOURCE_BROKER => ConfigResource::Broker(BrokerId(reader.i32()?)),
        RESOURCE_CLUSTER_DEFAULT => ConfigResource::ClusterDefault,
        RESOURCE_GROUP => ConfigResource::Group(reader.text()?.into()),
        found => {
            return Err(RecordDecodeError::UnknownCode {
                field: "config resource",
                found,
            });
        }
    })
}
