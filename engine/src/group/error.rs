//! Why a group says no: one variant per meaning, so that a client can be told exactly what to do next.

use super::ids::{GroupId, InstanceId, MemberId};
use crate::coordinator::Unavailable;
use crate::types::{GenerationId, TopicName};

/// A refusal by the group coordinator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The group id is empty where a group needs a name.
    #[error("the group id is empty")]
    GroupIdInvalid,
    /// A group id, member id, client id, host or protocol name does not fit a record.
    #[error("the {what} has {length} bytes, at most {max} are allowed")]
    TextTooLong {
        /// Which of the texts.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The longest that is taken.
        max: usize,
    },
    /// The session timeout lies outside the broker's bounds.
    #[error("the session timeout of {requested_ms} ms lies outside {min_ms} to {max_ms} ms")]
    InvalidSessionTimeout {
        /// What the member asked for.
        requested_ms: i32,
        /// `group.min.session.timeout.ms`.
        min_ms: i32,
        /// `group.max.session.timeout.ms`.
        max_ms: i32,
    },
    /// The protocol type is not the group's, or no protocol is one that all members support, or there is none at all.
    #[error("the protocol type or protocols do not fit group {group}")]
    InconsistentProtocol {
        /// The group.
        group: GroupId,
    },
    /// Join again with this id (KIP-394): it is reserved for one session timeout.
    #[error("join again as member {member_id}")]
    MemberIdRequired {
        /// The fresh id.
        member_id: MemberId,
    },
    /// The member is not one of the group, or the group has no members or does not exist.
    #[error("{member_id} is no member of group {group}")]
    UnknownMember {
        /// The group asked.
        group: GroupId,
        /// The member id as sent; empty when named by its instance id only.
        member_id: MemberId,
    },
    /// Another process has taken over this instance id.
    #[error("instance {instance_id} is held by another member than {member_id}")]
    FencedInstanceId {
        /// The instance id.
        instance_id: InstanceId,
        /// The member id that no longer holds it.
        member_id: MemberId,
    },
    /// The generation is not the group's.
    #[error("generation {requested} is not the current one, {current}")]
    IllegalGeneration {
        /// What the member said.
        requested: GenerationId,
        /// The group's.
        current: GenerationId,
    },
    /// The group is rebalancing: the member has to join again.
    #[error("group {group} is rebalancing")]
    RebalanceInProgress {
        /// The group.
        group: GroupId,
    },
    /// A later request of the same member took the place of this one while it waited. Nobody should be listening any
    /// more; who is may join again.
    #[error("a later request of member {member_id} took the place of this one")]
    Superseded {
        /// The member.
        member_id: MemberId,
    },
    /// The group has `group.max.size` members already.
    #[error("group {group} has reached its limit of {max} members")]
    GroupMaxSizeReached {
        /// The group.
        group: GroupId,
        /// The limit.
        max: usize,
    },
    /// So many ids wait for those they were given to that another is not kept. They are let go with their sessions: try
    /// again then. Kafka sets no limit.
    #[error("group {group} has {max} reserved member ids that nobody has joined with yet")]
    TooManyReserved {
        /// The group.
        group: GroupId,
        /// The limit.
        max: usize,
    },
    /// The members' subscriptions and assignments together do not fit one record of the offsets topic.
    #[error("the metadata of group {group} takes {length} bytes, a record holds {max}")]
    GroupRecordTooLarge {
        /// The group.
        group: GroupId,
        /// What it would take, in bytes.
        length: usize,
        /// What there is.
        max: usize,
    },
    /// The group still has members.
    #[error("group {group} is not empty")]
    NonEmptyGroup {
        /// The group.
        group: GroupId,
    },
    /// There is no such group.
    #[error("there is no group {group}")]
    GroupIdNotFound {
        /// The group asked for.
        group: GroupId,
    },
    /// The offset is in use: a member subscribes to the topic.
    #[error("group {group} is subscribed to topic {topic}")]
    SubscribedToTopic {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicName,
    },
    /// The topic was deleted since its client named it by its id; one of the same name is another.
    #[error("topic {topic} is not the one any more that was meant")]
    TopicGone {
        /// The name it had.
        topic: TopicName,
    },
    /// The metadata beside an offset is longer than `offset.metadata.max.bytes`.
    #[error("the offset's metadata has length {length}, at most {max} is allowed")]
    OffsetMetadataTooLarge {
        /// Its length in UTF-16 units.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The offsets of one commit, which are stored together or not at all, do not fit one batch of the offsets topic.
    #[error("group {group} commits {count} offsets at once, which take more than {max} bytes")]
    CommitTooLarge {
        /// The group.
        group: GroupId,
        /// How many there are.
        count: usize,
        /// What a batch holds.
        max: usize,
    },
    /// What the group would add does not fit in `group.memory.bytes`: try again when others have left.
    #[error(
        "group {group} would take {bytes} bytes more, of group.memory.bytes there are {left} left"
    )]
    OutOfMemory {
        /// The group.
        group: GroupId,
        /// What it would take, in bytes.
        bytes: usize,
        /// What there is, in bytes.
        left: usize,
    },
    /// The coordinator is reading its partition: try again.
    #[error("the coordinator is loading")]
    CoordinatorLoading,
    /// The coordinator is elsewhere, or has just lost its state: find it again.
    #[error("this is not the coordinator at present")]
    NotCoordinator,
}

impl From<Unavailable> for GroupError {
    fn from(reason: Unavailable) -> Self {
        match reason {
            Unavailable::Loading => Self::CoordinatorLoading,
            Unavailable::Unloaded => Self::NotCoordinator,
        }
    }
}
