//! The records of `__consumer_offsets`, byte for byte Kafka's: offsets (key types 0 and 1) and classic groups (key type 2).
//!
//! It knows layouts and versions, not what a group does with them. Reads every version Kafka has written; bytes of a
//! stranger cost no more memory than they have length.

mod hostile;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use bytes::Bytes;

use self::reader::Reader;
use self::writer::Writer;
use super::ids::{GroupId, InstanceId, MemberId};
use super::stored::{CommittedOffset, StoredGroup, StoredMember};
use crate::coordinator::{CoordinatorRecord, DecodeError, FRAMING_BYTES_MAX};
use crate::types::{GenerationId, LeaderEpoch, Offset, Timestamp, TopicPartition};

pub use hostile::decode_hostile;

/// One change of durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// An offset is committed, or removed when `value` is `None`.
    Offset {
        /// Whose.
        group: GroupId,
        /// Where.
        partition: TopicPartition,
        /// What was committed.
        value: Option<CommittedOffset>,
    },
    /// A group has this membership, or is removed when `value` is `None`.
    Group {
        /// Which.
        group: GroupId,
        /// Its membership.
        value: Option<StoredGroup>,
    },
}

const OFFSET_KEY_V0: i16 = 0;
const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE_EXPIRING: i16 = 1;
const OFFSET_VALUE: i16 = 3;
const OFFSET_VALUE_FLEXIBLE: i16 = 4;
const GROUP_VALUE: i16 = 3;
const GROUP_VALUE_FLEXIBLE: i16 = 4;
/// What the record of a committed offset takes at most besides its texts, in bytes: its fields, and what frames it.
const OFFSET_RECORD_BYTES: usize = 38 + FRAMING_BYTES_MAX;
/// An empty member of the oldest group value: five lengths and a timeout.
const MEMBER_BYTES_MIN: usize = 6;

impl GroupRecord {
    /// The group it is about.
    #[must_use]
    pub const fn group(&self) -> &GroupId {
        match self {
            Self::Offset { group, .. } | Self::Group { group, .. } => group,
        }
    }

    /// The record as stored. Texts must be short enough for a record, which commands are checked for.
    #[must_use]
    pub fn encode(&self) -> CoordinatorRecord {
        match self {
            Self::Offset {
                group,
                partition,
                value,
            } => CoordinatorRecord {
                key: offset_key(group, partition),
                value: value.as_ref().map(offset_value),
            },
            Self::Group { group, value } => CoordinatorRecord {
                key: group_key(group),
                value: value.as_ref().map(group_value),
            },
        }
    }

    /// The record back from its bytes; `None` for key types of other kinds of group.
    ///
    /// # Errors
    /// When a key or value of a known type cannot be read.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, DecodeError> {
        let mut key = Reader::new(key);
        match key.i16("key type")? {
            OFFSET_KEY_V0 | OFFSET_KEY => {
                let group = GroupId::from(key.text("group")?);
                let topic = key.text("topic")?;
                let topic = topic
                    .parse()
                    .map_err(|_| DecodeError::Text { field: "topic" })?;
                let partition = TopicPartition {
                    topic,
                    partition: key.i32("partition")?,
                };
                let value = value.map(read_offset).transpose()?;
                Ok(Some(Self::Offset {
                    group,
                    partition,
                    value,
                }))
            }
            GROUP_KEY => {
                let group = GroupId::from(key.text("group")?);
                let value = value.map(read_group).transpose()?;
                Ok(Some(Self::Group { group, value }))
            }
            _ => Ok(None),
        }
    }
}

/// How many bytes key and value of a group's record take together.
#[must_use]
pub fn group_record_length(group: &GroupId, value: &StoredGroup) -> usize {
    let texts = |text: &Option<Arc<str>>| 2 + text.as_ref().map_or(0, |text| text.len());
    let members = value.members.iter().map(|(id, member)| {
        2 + id.as_str().len()
            + texts(&member.instance_id.as_ref().map(|id| id.0.clone()))
            + (2 + member.client_id.len())
            + (2 + member.client_host.len())
            + 8
            + (4 + member.subscription.len())
            + (4 + member.assignment.len())
    });
    let leader = value.leader.as_ref().map(|id| id.0.clone());
    let head =
        2 + texts(&value.protocol_type) + 4 + texts(&value.protocol) + texts(&leader) + 8 + 4;
    4 + group.as_str().len() + head + members.sum::<usize>()
}

/// How many bytes the record of a committed offset takes at most, with what frames a record in a batch.
#[must_use]
pub fn offset_record_length_max(
    group: &GroupId,
    partition: &TopicPartition,
    metadata: &str,
) -> usize {
    let texts = [group.as_str(), partition.topic.as_str(), metadata];
    texts.map(str::len).iter().sum::<usize>() + OFFSET_RECORD_BYTES
}

fn offset_key(group: &GroupId, partition: &TopicPartition) -> Bytes {
    let mut key = Writer::new(OFFSET_KEY);
    key.text(group.as_str());
    key.text(partition.topic.as_str());
    key.i32(partition.partition);
    key.finish()
}

fn group_key(group: &GroupId) -> Bytes {
    let mut key = Writer::new(GROUP_KEY);
    key.text(group.as_str());
    key.finish()
}

/// Version 1 is the only one that carries an expiry time, and has no leader epoch; Kafka writes it in that one case too.
fn offset_value(offset: &CommittedOffset) -> Bytes {
    let version = if offset.expires.is_some() {
        OFFSET_VALUE_EXPIRING
    } else {
        OFFSET_VALUE
    };
    let mut value = Writer::new(version);
    value.i64(offset.offset.0);
    if offset.expires.is_none() {
        value.i32(offset.leader_epoch.0);
    }
    value.text(&offset.metadata);
    value.i64(offset.committed.0);
    if let Some(expires) = offset.expires {
        value.i64(expires.0);
    }
    value.finish()
}

fn group_value(group: &StoredGroup) -> Bytes {
    let mut value = Writer::new(GROUP_VALUE);
    value.text(group.protocol_type.as_deref().unwrap_or(""));
    value.i32(group.generation.0);
    value.nullable_text(group.protocol.as_deref());
    value.nullable_text(group.leader.as_ref().map(MemberId::as_str));
    value.i64(group.state_since.0);
    value.count(group.members.len());
    for (id, member) in &group.members {
        value.text(id.as_str());
        value.nullable_text(member.instance_id.as_ref().map(InstanceId::as_str));
        value.text(&member.client_id);
        value.text(&member.client_host);
        value.i32(member.rebalance_timeout_ms);
        value.i32(member.session_timeout_ms);
        value.bytes(&member.subscription);
        value.bytes(&member.assignment);
    }
    value.finish()
}

fn versioned<'a>(
    bytes: &'a [u8],
    highest: i16,
    flexible: i16,
) -> Result<(i16, Reader<'a>), DecodeError> {
    let mut reader = Reader::new(bytes);
    let found = reader.i16("version")?;
    if !(0..=highest).contains(&found) {
        return Err(DecodeError::UnknownVersion { found, highest });
    }
    reader.set_flexible(found >= flexible);
    Ok((found, reader))
}

fn read_offset(bytes: &[u8]) -> Result<CommittedOffset, DecodeError> {
    let (version, mut value) = versioned(bytes, OFFSET_VALUE_FLEXIBLE, OFFSET_VALUE_FLEXIBLE)?;
    let offset = Offset(value.i64("offset")?);
    let leader_epoch = match version {
        0..=2 => LeaderEpoch::NONE,
        _ => LeaderEpoch(value.i32("leaderEpoch")?),
    };
    let metadata = Arc::from(value.text("metadata")?);
    let committed = Timestamp(value.i64("commitTimestamp")?);
    let expires = match version {
        OFFSET_VALUE_EXPIRING => Some(Timestamp(value.i64("expireTimestamp")?)),
        _ => None,
    };
    value.skip_tags()?;
    Ok(CommittedOffset {
        offset,
        leader_epoch,
        metadata,
        committed,
        expires: expires.filter(|&expires| expires != Timestamp::NONE),
    })
}

fn read_group(bytes: &[u8]) -> Result<StoredGroup, DecodeError> {
    let (version, mut value) = versioned(bytes, GROUP_VALUE_FLEXIBLE, GROUP_VALUE_FLEXIBLE)?;
    let protocol_type = value.text("protocolType")?;
    let mut group = StoredGroup {
        protocol_type: (!protocol_type.is_empty()).then(|| Arc::from(protocol_type)),
        generation: GenerationId(value.i32("generation")?),
        protocol: value.nullable_text("protocol")?.map(Arc::from),
        leader: value.nullable_text("leader")?.map(MemberId::from),
        state_since: if version >= 2 {
            Timestamp(value.i64("currentStateTimestamp")?)
        } else {
            Timestamp::NONE
        },
        ..StoredGroup::default()
    };
    for _ in 0..value.count("members", MEMBER_BYTES_MIN)? {
        let (id, member) = read_member(version, &mut value)?;
        group.members.insert(id, member);
    }
    value.skip_tags()?;
    Ok(group)
}

fn read_member(
    version: i16,
    value: &mut Reader<'_>,
) -> Result<(MemberId, StoredMember), DecodeError> {
    let id = MemberId::from(value.text("memberId")?);
    let instance_id = match version {
        0..=2 => None,
        _ => value
            .nullable_text("groupInstanceId")?
            .map(InstanceId::from),
    };
    let client_id = Arc::from(value.text("clientId")?);
    let client_host = Arc::from(value.text("clientHost")?);
    let rebalance_timeout_ms = match version {
        0 => None,
        _ => Some(value.i32("rebalanceTimeout")?),
    };
    let session_timeout_ms = value.i32("sessionTimeout")?;
    let member = StoredMember {
        instance_id,
        client_id,
        client_host,
        rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
        session_timeout_ms,
        subscription: Bytes::copy_from_slice(value.bytes("subscription")?),
        assignment: Bytes::copy_from_slice(value.bytes("assignment")?),
    };
    value.skip_tags()?;
    Ok((id, member))
}
