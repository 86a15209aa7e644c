//! What a group coordinator can be asked, and what it answers: plain values, free of any request format.
//!
//! Every command but two concerns one group; which coordinator that is, the caller finds with
//! [`partition_for`](super::partition_for).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::error::GroupError;
use super::ids::{GroupId, InstanceId, MemberId};
use super::state::{GroupState, GroupType};
use crate::types::{
    GenerationId, LeaderEpoch, Offset, Timestamp, TopicId, TopicName, TopicPartition,
};

/// One question to a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupCommand {
    /// Become or stay a member; answered by [`GroupReply::Joined`] when the rebalance's first phase ends.
    Join(Join),
    /// Bring (leader) or fetch (others) the assignment; answered by [`GroupReply::Synced`].
    Sync(Sync),
    /// Stay alive; answered by [`GroupReply::Heartbeat`].
    Heartbeat(Heartbeat),
    /// Remove members; answered by [`GroupReply::Left`].
    Leave(Leave),
    /// Store offsets; answered by [`GroupReply::OffsetsCommitted`].
    CommitOffsets(CommitOffsets),
    /// Read offsets; answered by [`GroupReply::OffsetsFetched`].
    FetchOffsets(FetchOffsets),
    /// Remove offsets; answered by [`GroupReply::OffsetsDeleted`].
    DeleteOffsets(DeleteOffsets),
    /// Look at one group; answered by [`GroupReply::Described`] or `GroupIdNotFound`.
    DescribeGroup {
        /// The group.
        group: GroupId,
    },
    /// Look at all groups of this coordinator; answered by [`GroupReply::Listed`].
    ListGroups(ListGroups),
    /// Remove an empty group and its offsets; answered by [`GroupReply::GroupDeleted`].
    DeleteGroup {
        /// The group.
        group: GroupId,
    },
    /// These topics are gone: forgets the offsets in them, of every group of this coordinator; answered by
    /// [`GroupReply::TopicsForgotten`].
    ForgetTopics {
        /// The topics that were deleted, and when (inclusive): what was committed later is of a topic that was made anew.
        topics: Arc<BTreeMap<TopicName, Timestamp>>,
    },
}

impl GroupCommand {
    /// Whether serving it may take memory that stays.
    #[must_use]
    pub const fn adds(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Sync(_) | Self::CommitOffsets(_))
    }

    /// Whether it may wait for other members, for minutes: it holds nothing of the memory for requests then.
    #[must_use]
    pub const fn parks(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Sync(_))
    }

    /// How many bytes a command that [parks](Self::parks) carries, about; 0 for others, whose frames are counted.
    #[must_use]
    pub fn carried_bytes(&self) -> usize {
        match self {
            Self::Join(join) => {
                let texts = [
                    join.group.as_str(),
                    join.member_id.as_str(),
                    &*join.client_id,
                    &*join.client_host,
                    &*join.protocol_type,
                ];
                let protocols = join.protocols.iter();
                let pieces = protocols.map(|one| one.name.len() + one.metadata.len());
                carried(&texts, join.instance_id.as_ref(), pieces)
            }
            Self::Sync(sync) => {
                let texts = [
                    sync.group.as_str(),
                    sync.member_id.as_str(),
                    sync.protocol_type.as_deref().unwrap_or_default(),
                    sync.protocol.as_deref().unwrap_or_default(),
                ];
                let plans = sync.assignments.iter();
                let pieces = plans.map(|(id, plan)| id.as_str().len() + plan.len());
                carried(&texts, sync.instance_id.as_ref(), pieces)
            }
            _ => 0,
        }
    }

    /// The one group it concerns.
    #[must_use]
    pub const fn group(&self) -> Option<&GroupId> {
        match self {
            Self::Join(Join { group, .. })
            | Self::Sync(Sync { group, .. })
            | Self::Heartbeat(Heartbeat { group, .. })
            | Self::Leave(Leave { group, .. })
            | Self::CommitOffsets(CommitOffsets { group, .. })
            | Self::FetchOffsets(FetchOffsets { group, .. })
            | Self::DeleteOffsets(DeleteOffsets { group, .. })
            | Self::DescribeGroup { group }
            | Self::DeleteGroup { group } => Some(group),
            Self::ListGroups(_) | Self::ForgetTopics { .. } => None,
        }
    }
}

/// A request to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group; made when it does not exist and the member id is empty.
    pub group: GroupId,
    /// Empty for a new member.
    pub member_id: MemberId,
    /// The name of a static member.
    pub instance_id: Option<InstanceId>,
    /// The client's own name; a new member id begins with it. Empty when the client sent none.
    pub client_id: Arc<str>,
    /// Where the client is, as DescribeGroups shows it. Kafka writes `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// How long the member may be silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for this member, in milliseconds. Clients older than JoinGroup v1 say nothing: give the
    /// session timeout.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect` ...
    pub protocol_type: Arc<str>,
    /// In the order of the member's preference.
    pub protocols: Vec<Protocol>,
    /// A member without an id gets one in a refusal and has to join again with it (JoinGroup v4 and later).
    pub requires_known_member_id: bool,
    /// A static leader that comes back can be told to skip its assignment (JoinGroup v9 and later).
    pub supports_skip_assignment: bool,
    /// 128 random bits for the member id that may be made.
    pub random: u128,
}

/// A way of sharing work that a member supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The assignor's name.
    pub name: Arc<str>,
    /// The member's subscription in the assignor's own format.
    pub metadata: Bytes,
}

/// A request for the assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member_id: MemberId,
    /// The name of a static member.
    pub instance_id: Option<InstanceId>,
    /// The generation the member joined.
    pub generation: GenerationId,
    /// What the member believes the type to be; not checked when `None`.
    pub protocol_type: Option<Arc<str>>,
    /// What the member believes the protocol to be; not checked when `None`.
    pub protocol: Option<Arc<str>>,
    /// From the leader: who gets what, in the assignor's own format. Members left out get an empty assignment.
    pub assignments: BTreeMap<MemberId, Bytes>,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member_id: MemberId,
    /// The name of a static member.
    pub instance_id: Option<InstanceId>,
    /// The generation the member is in.
    pub generation: GenerationId,
}

/// A request to remove members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The group.
    pub group: GroupId,
    /// Who leaves. Clients older than LeaveGroup v3 name exactly one, without an instance id.
    pub members: Vec<Leaver>,
}

/// One who leaves: by member id, or a static member by its instance id with an empty member id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// Empty when an administrator names the instance only.
    pub member_id: MemberId,
    /// The name of a static member.
    pub instance_id: Option<InstanceId>,
}

/// Offsets to store. Whether topics and partitions exist is the caller's to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffsets {
    /// The group; made when it does not exist and the generation is negative.
    pub group: GroupId,
    /// Empty for a consumer that manages its partitions itself, and for tools.
    pub member_id: MemberId,
    /// The name of a static member.
    pub instance_id: Option<InstanceId>,
    /// Negative for a consumer that manages its partitions itself, and for tools.
    pub generation: GenerationId,
    /// Keep the offsets so long from now, in milliseconds, instead of the broker's retention (OffsetCommit v2 to v4).
    pub retention_ms: Option<i64>,
    /// What to store.
    pub offsets: Vec<OffsetToCommit>,
}

impl CommitOffsets {
    /// Leaves out what is of topics that are not there: since they were named by their ids others of the same names may
    /// have been made.
    pub fn leave_out_gone(&mut self, is_there: impl Fn(TopicId) -> bool) {
        for offset in &mut self.offsets {
            if let NamedTopic::ById(id) = offset.topic
                && !is_there(id)
            {
                offset.topic = NamedTopic::Gone;
            }
        }
    }
}

/// How a client named the topic of an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedTopic {
    /// By its name: it is whichever has that.
    ByName,
    /// By its id.
    ById(TopicId),
    /// By its id, and it is gone.
    Gone,
}

/// One offset to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// Where.
    pub partition: TopicPartition,
    /// Of which topic.
    pub topic: NamedTopic,
    /// The next offset to be read.
    pub offset: Offset,
    /// The epoch of the last record read, or [`LeaderEpoch::NONE`].
    pub leader_epoch: LeaderEpoch,
    /// The client's own note; empty when the client sent none.
    pub metadata: Arc<str>,
}

/// Offsets to read. An unknown group is one without offsets, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOffsets {
    /// The group.
    pub group: GroupId,
    /// Which.
    pub wanted: OffsetsWanted,
    /// Whether an offset that an open transaction is about to replace is to be withheld. There are no transactional
    /// commits yet, so every offset is stable and both values mean the same.
    pub require_stable: bool,
}

/// Which offsets of a group to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetsWanted {
    /// Those in these partitions.
    Of(Vec<TopicPartition>),
    /// What the group has committed, some at a time: it may be very much, and the coordinator's shard has other clients' turns
    /// in between.
    Next {
        /// Those behind this partition; `None` stands for the first.
        after: Option<TopicPartition>,
        /// At most so many.
        count_max: usize,
    },
}

impl OffsetsWanted {
    /// All that the group has committed.
    pub const ALL: Self = Self::Next {
        after: None,
        count_max: usize::MAX,
    };
}

/// Offsets to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOffsets {
    /// The group.
    pub group: GroupId,
    /// Which. Naming one that has no offset is no error.
    pub partitions: Vec<TopicPartition>,
}

/// Which groups to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroups {
    /// Only groups in one of these states; `None`: in any. A filter of unknown names only is an empty set, not `None`.
    pub states: Option<BTreeSet<GroupState>>,
    /// Only groups of one of these types; `None`: of any.
    pub types: Option<BTreeSet<GroupType>>,
}

/// The answer to a [`GroupCommand`], when it is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupReply {
    /// To [`GroupCommand::Join`].
    Joined(Joined),
    /// To [`GroupCommand::Sync`].
    Synced(Synced),
    /// To [`GroupCommand::Heartbeat`].
    Heartbeat,
    /// To [`GroupCommand::Leave`]: one result per member, in the order of the command.
    Left(Vec<Result<(), GroupError>>),
    /// To [`GroupCommand::CommitOffsets`]: one result per offset, in the order of the command.
    OffsetsCommitted(Vec<Result<(), GroupError>>),
    /// To [`GroupCommand::FetchOffsets`]: in the order asked for, or sorted where the next were. Partitions without an offset have
    /// [`Offset::NONE`], [`LeaderEpoch::NONE`] and empty metadata.
    OffsetsFetched(Vec<FetchedOffset>),
    /// To [`GroupCommand::DeleteOffsets`]: one result per partition, in the order of the command.
    OffsetsDeleted(Vec<Result<(), GroupError>>),
    /// To [`GroupCommand::DescribeGroup`].
    Described(GroupDescription),
    /// To [`GroupCommand::ListGroups`], sorted by name.
    Listed(Vec<ListedGroup>),
    /// To [`GroupCommand::DeleteGroup`].
    GroupDeleted,
    /// To [`GroupCommand::ForgetTopics`].
    TopicsForgotten,
}

/// A member has a place in the new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: GenerationId,
    /// The group's protocol type.
    pub protocol_type: Arc<str>,
    /// The protocol that was voted for.
    pub protocol: Arc<str>,
    /// Who computes the assignment.
    pub leader: MemberId,
    /// The leader keeps the assignment there is (KIP-814).
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: MemberId,
    /// For the leader all members, sorted by id; for others nobody.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member's id.
    pub member_id: MemberId,
    /// The name of a static member.
    pub instance_id: Option<InstanceId>,
    /// Its subscription for the chosen protocol.
    pub metadata: Bytes,
}

/// What a member works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Arc<str>,
    /// The group's protocol.
    pub protocol: Arc<str>,
    /// In the assignor's own format; empty for nothing.
    pub assignment: Bytes,
}

/// One committed offset, or its absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// Where.
    pub partition: TopicPartition,
    /// The next offset to be read, or [`Offset::NONE`].
    pub offset: Offset,
    /// As committed, or [`LeaderEpoch::NONE`].
    pub leader_epoch: LeaderEpoch,
    /// As committed, or empty.
    pub metadata: Arc<str>,
}

/// What DescribeGroups shows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// The state; never `Dead` (an unknown group is refused with `GroupIdNotFound`).
    pub state: GroupState,
    /// Empty for a group that only stores offsets.
    pub protocol_type: Arc<str>,
    /// The protocol of a stable group; otherwise empty.
    pub protocol: Arc<str>,
    /// Sorted by id.
    pub members: Vec<MemberDescription>,
}

/// What DescribeGroups shows of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// The member's id.
    pub member_id: MemberId,
    /// The name of a static member.
    pub instance_id: Option<InstanceId>,
    /// The client's own name.
    pub client_id: Arc<str>,
    /// Where the client is.
    pub client_host: Arc<str>,
    /// Its subscription in a stable group; otherwise empty.
    pub metadata: Bytes,
    /// Its assignment in a stable group; otherwise empty.
    pub assignment: Bytes,
}

/// What ListGroups shows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group: GroupId,
    /// Empty for a group that only stores offsets.
    pub protocol_type: Arc<str>,
    /// Its state.
    pub state: GroupState,
    /// Its type.
    pub group_type: GroupType,
}

/// What these texts take, and so many protocols or assignments, of these lengths.
fn carried(
    texts: &[&str],
    instance: Option<&InstanceId>,
    pieces: impl Iterator<Item = usize>,
) -> usize {
    let texts = texts.iter().map(|text| text.len());
    let instance = instance.map_or(0, |instance| instance.as_str().len());
    let pieces = pieces.map(|length| PIECE_BYTES + length);
    texts.sum::<usize>() + instance + pieces.sum::<usize>()
}

/// What a protocol or an assignment takes besides its text and bytes.
const PIECE_BYTES: usize = 96;
