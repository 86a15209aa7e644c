//! Why the controller refuses. The sentences are Kafka's wherever it has one: tools print them and people search them.

use crate::config::AlterError;
use crate::types::{BrokerId, DirectoryId, TopicId, TopicIdPartition, TopicName, TopicNameError};

/// A command, or the part of it for one topic or resource, that was refused. Nothing of that part happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// The name is none.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// The name of what is no topic here.
    #[error("Creation of internal topic {} is prohibited.", TopicName::METADATA)]
    MetadataTopic,
    /// Metrics would mix up two topics.
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    TopicCollides {
        /// The name asked for.
        name: TopicName,
        /// The topic that has it, but for `.` and `_`.
        existing: TopicName,
    },
    /// The name is taken.
    #[error("Topic '{name}' already exists.")]
    TopicExists {
        /// The name asked for.
        name: TopicName,
    },
    /// One name twice in a command: neither is done.
    #[error("Duplicate topic name.")]
    DuplicateTopicName,
    /// One id twice in a command, or the id of a topic that is named too: nothing is done to it.
    #[error("Duplicate topic id.")]
    DuplicateTopicId,
    /// No topic has the name.
    #[error("This server does not host this topic-partition.")]
    UnknownTopic {
        /// The name asked for.
        name: String,
    },
    /// No topic has the id.
    #[error("This server does not host this topic ID.")]
    UnknownTopicId {
        /// The id asked for.
        id: TopicId,
    },
    /// A partition that is not there.
    #[error("This server does not host this topic-partition.")]
    UnknownPartition {
        /// The partition asked for.
        partition: TopicIdPartition,
    },
    /// Assignments beside a replication factor.
    #[error(
        "A manual partition assignment was specified, but replication factor was not set to -1."
    )]
    AssignmentAndReplicationFactor {
        /// The factor given.
        replication_factor: i16,
    },
    /// Assignments beside a count of partitions.
    #[error("A manual partition assignment was specified, but numPartitions was not set to -1.")]
    AssignmentAndPartitions {
        /// The count given.
        partitions: i32,
    },
    /// A replication factor that is none.
    #[error("Replication factor must be larger than 0, or -1 to use the default value.")]
    ReplicationFactorNotPositive {
        /// The factor given.
        replication_factor: i16,
    },
    /// More replicas than brokers.
    #[error(
        "Unable to replicate the partition {replication_factor} time(s): The target replication factor of \
         {replication_factor} cannot be reached because only {brokers} broker(s) are registered or some brokers have \
         all their log directories cordoned."
    )]
    TooFewBrokers {
        /// The factor asked for.
        replication_factor: i16,
        /// How many brokers there are.
        brokers: usize,
    },
    /// A count of partitions that is none.
    #[error("Number of partitions was set to an invalid non-positive value.")]
    PartitionsNotPositive {
        /// The count given.
        partitions: i32,
    },
    /// More partitions at once than allowed.
    #[error("Excessively large number of partitions per request.")]
    TooManyPartitions {
        /// How many were asked for in all.
        requested: usize,
        /// How many are allowed.
        max: usize,
    },
    /// As many partitions as there are.
    #[error("Topic already has {current} partition(s).")]
    SamePartitions {
        /// How many there are.
        current: i32,
    },
    /// Fewer partitions than there are.
    #[error(
        "The topic {topic} currently has {current} partition(s); {requested} would not be an increase."
    )]
    FewerPartitions {
        /// The topic.
        topic: TopicName,
        /// How many there are.
        current: i32,
        /// How many were asked for.
        requested: i32,
    },
    /// More partitions of a topic in which brokers keep their own state: its number of partitions says where that lies. Kafka
    /// goes by the new one from its next start on, and has lost what lies elsewhere.
    #[error(
        "Partitions cannot be added to the internal topic {topic}: groups would lose their members and offsets."
    )]
    InternalTopicGrows {
        /// The topic.
        topic: TopicName,
    },
    /// Assignments for more or fewer partitions than are added.
    #[error(
        "Attempted to add {added} additional partition(s), but only {assigned} assignment(s) were specified."
    )]
    AssignmentCount {
        /// How many partitions are added.
        added: usize,
        /// How many assignments there are.
        assigned: usize,
    },
    /// Two assignments for one partition.
    #[error("Found multiple manual partition assignments for partition {partition}")]
    AssignmentTwice {
        /// The partition.
        partition: i32,
    },
    /// Assignments with a gap in the numbers of the partitions.
    #[error("partitions should be a consecutive 0-based integer sequence")]
    AssignmentGap {
        /// The first number without an assignment.
        missing: i32,
    },
    /// An assignment without a broker.
    #[error("The manual partition assignment includes an empty replica list.")]
    AssignmentEmpty,
    /// An assignment to a broker that is not there.
    #[error(
        "The manual partition assignment includes broker {broker}, but no such broker is registered."
    )]
    AssignmentUnknownBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// An assignment to a broker that takes nothing new.
    #[error(
        "The manual partition assignment includes broker {broker}, but all its log directories are cordoned."
    )]
    AssignmentCordonedBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// An assignment with a broker twice.
    #[error("The manual partition assignment includes the broker {broker} more than once.")]
    AssignmentBrokerTwice {
        /// The broker.
        broker: BrokerId,
    },
    /// Assignments of different lengths.
    #[error(
        "The manual partition assignment includes a partition with {found} replica(s), but this is not consistent \
         with previous partitions, which have {expected} replica(s)."
    )]
    AssignmentUneven {
        /// How many replicas this one has.
        found: usize,
        /// How many the others have.
        expected: usize,
    },
    /// One resource twice in a command: nothing is done to it.
    #[error("Each resource must appear at most once.")]
    DuplicateResource,
    /// Settings that are refused.
    #[error(transparent)]
    Settings(#[from] AlterError),
    /// A name or value of a setting that messages cannot carry. In Kafka's words.
    #[error(
        "The configuration {what} cannot be added because it exceeds the maximum {what} size of {max} bytes."
    )]
    SettingTooLong {
        /// `name` or `value`.
        what: &'static str,
        /// The longest allowed.
        max: usize,
    },
    /// The settings of groups take too much together.
    #[error(
        "The settings of all groups together cannot take more than {max} bytes; those of groups that are gone can be deleted."
    )]
    GroupSettingsFull {
        /// How much they may take.
        max: usize,
    },
    /// The settings of a broker, or of all brokers, take too much.
    #[error(
        "The settings of one resource cannot take more than {max} bytes; those that are not needed can be deleted."
    )]
    SettingsFull {
        /// How much they may take.
        max: usize,
    },
    /// A broker that is not there.
    #[error("Broker {broker} is not registered.")]
    UnknownBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// A broker without a place to put anything.
    #[error("Broker {broker} has no usable log directory.")]
    NoLogDirectory {
        /// The broker.
        broker: BrokerId,
    },
    /// A directory that the broker does not have.
    #[error("Broker {broker} has no log directory {directory}.")]
    UnknownDirectory {
        /// The broker.
        broker: BrokerId,
        /// The directory.
        directory: DirectoryId,
    },
    /// A partition that the broker does not store.
    #[error("Broker {broker} has no replica of {partition}.")]
    NotAReplica {
        /// The broker.
        broker: BrokerId,
        /// The partition.
        partition: TopicIdPartition,
    },
    /// All producer ids are given out; does not happen before 2^63 of them are.
    #[error(
        "Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit"
    )]
    ProducerIdsExhausted,
}
