//! Classic consumer groups: who is a member, what the members agreed on, and how far they have read.
//!
//! Pure: commands come in with their time and random bits, records and replies go out. It knows no request format, no
//! log and no clock; subscriptions are opaque but for the list of topics, assignments are opaque altogether.

mod classic;
mod command;
mod config;
mod coordinator;
mod error;
mod ids;
mod join;
mod member;
mod offsets;
mod rebalance;
pub mod record;
mod session;
mod state;
mod stored;
mod subscription;
#[cfg(test)]
mod tests;

pub use command::{
    CommitOffsets, DeleteOffsets, FetchOffsets, FetchedOffset, GroupCommand, GroupDescription,
    GroupReply, Heartbeat, Join, Joined, JoinedMember, Leave, Leaver, ListGroups, ListedGroup,
    MemberDescription, NamedTopic, OffsetToCommit, OffsetsWanted, Protocol, Sync, Synced,
};
pub use config::{BATCH_FRAMING_BYTES, GroupConfig};
pub use coordinator::GroupCoordinator;
pub use error::GroupError;
pub use ids::{GroupId, InstanceId, MemberId};
pub use state::{GroupState, GroupType};
pub use stored::{CommittedOffset, Stored, StoredGroup, StoredMember};

use crate::coordinator::runtime::Runtime;

/// A group coordinator as the owner of one partition of `__consumer_offsets` drives it.
pub type GroupRuntime = Runtime<GroupCoordinator>;

/// The partition of `__consumer_offsets`, of `partition_count` (above 0), whose leader coordinates `group`. Kafka's
/// formula (Java's `String.hashCode`), because tools that read the topic use it.
#[must_use]
pub fn partition_for(group: &str, partition_count: i32) -> i32 {
    assert!(
        partition_count > 0,
        "the offsets topic has {partition_count} partitions"
    );
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    (hash & i32::MAX) % partition_count
}
