//! The words of the engine: one newtype per notion, so that a byte is never an offset and an epoch never a count.
//!
//! They hold a number and its meaning and nothing else: no I/O, no clock, no wire format.

mod ids;
mod numbers;
mod topic;

pub use ids::{
    BrokerId, DirectoryId, ProducerEpoch, ProducerId, Sequence, TopicId, Uuid, UuidError,
};
pub use numbers::{GenerationId, LeaderEpoch, Monotonic, Now, Offset, Timestamp};
pub use topic::{TopicIdPartition, TopicName, TopicNameError, TopicPartition};
