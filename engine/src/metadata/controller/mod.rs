//! The controller: decides what changes in the cluster. Pure: image and command in, records and reply out.
//!
//! It has no clock, no randomness and no files: random bits come with the command, and nothing it decides is true until
//! the records are durable and applied. One file per subject.

mod brokers;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod error;
mod placement;
mod producer_ids;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::image::MetadataImage;
use super::record::{ConfigResource, Endpoint, MetadataRecord};
use crate::config::{Alteration, Overrides, TopicDefaults};
use crate::types::{BrokerId, DirectoryId, ProducerId, TopicId, TopicIdPartition, TopicName, Uuid};

pub use configs::{GROUP_SETTINGS_BYTES_MAX, NAME_LENGTH_MAX, VALUE_LENGTH_MAX};
pub use error::ControllerError;
pub use producer_ids::BLOCK_LENGTH;

/// A wish to change the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make topics.
    CreateTopics(CreateTopics),
    /// Remove topics. Their files go later, when the shards see them missing.
    DeleteTopics(DeleteTopics),
    /// Give topics more partitions.
    CreatePartitions(CreatePartitions),
    /// Change configuration overrides.
    AlterConfigs(AlterConfigs),
    /// Give a broker a block of producer ids.
    AllocateProducerIds {
        /// Which broker; must be registered.
        broker: BrokerId,
    },
    /// A broker started.
    RegisterBroker(RegisterBroker),
    /// A broker started after a stop that was not clean: what its partitions showed may be gone, so every partition
    /// it leads begins a new leader epoch.
    UncleanStart {
        /// Which broker; must be registered.
        broker: BrokerId,
    },
    /// Put a broker's replicas into other log directories: where they were found, or where they shall be.
    AssignDirectories {
        /// Which broker; must be registered.
        broker: BrokerId,
        /// Partition by partition, the directory; must be one of the broker's.
        directories: Vec<(TopicIdPartition, DirectoryId)>,
    },
    /// Keep new replicas out of some of a broker's log directories, and of no others (KIP-1066).
    CordonDirectories {
        /// Which broker; must be registered.
        broker: BrokerId,
        /// The directories, each one of the broker's.
        directories: Vec<DirectoryId>,
    },
    /// One of a broker's log directories has failed: until the broker registers anew it is none of its directories. The
    /// last one stays, for then there is nowhere else to go.
    FailDirectory {
        /// Which broker; must be registered.
        broker: BrokerId,
        /// The directory.
        directory: DirectoryId,
    },
}

impl Command {
    /// Whether it only asks what would come of it.
    #[must_use]
    pub const fn is_rehearsal(&self) -> bool {
        match self {
            Self::CreateTopics(command) => command.validate_only,
            Self::CreatePartitions(command) => command.validate_only,
            Self::AlterConfigs(command) => command.validate_only,
            Self::DeleteTopics(_)
            | Self::AllocateProducerIds { .. }
            | Self::RegisterBroker(_)
            | Self::UncleanStart { .. }
            | Self::AssignDirectories { .. }
            | Self::CordonDirectories { .. }
            | Self::FailDirectory { .. } => false,
        }
    }
}

/// Topics to be made, independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopics {
    /// The topics.
    pub topics: Vec<NewTopic>,
    /// `num.partitions`: for topics that ask for -1.
    pub partitions_default: i32,
    /// `default.replication.factor`: for topics that ask for -1.
    pub replication_factor_default: i16,
    /// The most partitions that all topics of one command may have together; Kafka's bound is 10,000.
    pub partitions_max: usize,
    /// What holds for settings that a topic does not have: needed to judge settings together.
    pub topic_defaults: Arc<TopicDefaults>,
    /// Only say what would be made.
    pub validate_only: bool,
}

/// One topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name as the client wrote it; may be illegal.
    pub name: String,
    /// How many partitions; -1 for the default or with `assignments`.
    pub partitions: i32,
    /// How many replicas of each; -1 for the default or with `assignments`.
    pub replication_factor: i16,
    /// Partition by partition, which brokers shall have it; empty: we choose.
    pub assignments: Vec<(i32, Vec<BrokerId>)>,
    /// Its settings.
    pub settings: Vec<Alteration>,
    /// 128 random bits, from which its id is made.
    pub random: u128,
}

/// A topic as it was made, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; thrown away when it was only validated.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas of each.
    pub replication_factor: i16,
    /// Its settings.
    pub overrides: Overrides,
}

/// Topics to be removed, independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopics {
    /// The topics.
    pub topics: Vec<TopicReference>,
}

/// How a client points at a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicReference {
    /// By name; may be illegal, then there is no such topic.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// A topic that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// The id it had.
    pub id: TopicId,
    /// The name it had.
    pub name: TopicName,
}

/// Topics to get more partitions, independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePartitions {
    /// The topics.
    pub topics: Vec<GrowTopic>,
    /// The most partitions that all topics of one command may get together; Kafka's bound is 10,000.
    pub partitions_max: usize,
    /// Only say whether it could be done.
    pub validate_only: bool,
}

/// One topic to get more partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrowTopic {
    /// Its name as the client wrote it.
    pub name: String,
    /// How many partitions it shall have in all.
    pub count: i32,
    /// For each partition to be added, which brokers shall have it; `None`: we choose.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// Overrides to be changed, resource by resource, independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterConfigs {
    /// The resources; one that appears twice is not changed.
    pub resources: Vec<AlterResource>,
    /// What holds for settings that a topic does not have.
    pub topic_defaults: Arc<TopicDefaults>,
    /// Only say whether it could be done.
    pub validate_only: bool,
}

/// What happens to the overrides of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterResource {
    /// A topic's: checked here against the topic properties.
    Topic {
        /// Its name as the client wrote it.
        name: String,
        /// The wishes.
        alterations: Vec<Alteration>,
        /// `true`: whatever `alterations` does not name goes back to its default (AlterConfigs).
        replace: bool,
    },
    /// Another resource's: names and values were checked by whoever owns the table of its properties.
    Checked {
        /// Whose; a topic's overrides never come this way.
        resource: ConfigResource,
        /// Name to what becomes of its value.
        changes: BTreeMap<String, Edit>,
        /// `true`: whatever `changes` does not name goes back to its default (AlterConfigs).
        replace: bool,
    },
}

/// What becomes of one override. Lists are edited where changes come one after the other, so that none is lost when
/// two clients add to the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is this.
    Set(String),
    /// The default holds again.
    Reset,
    /// It gets the elements it does not have yet.
    Append {
        /// The elements, with commas between.
        elements: String,
        /// The list that holds while there is no override.
        default: String,
    },
    /// It loses the elements.
    Subtract {
        /// The elements, with commas between.
        elements: String,
        /// The list that holds while there is no override.
        default: String,
    },
}

/// A broker that started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBroker {
    /// Its `node.id`.
    pub id: BrokerId,
    /// A random id of this start.
    pub incarnation: Uuid,
    /// Its advertised listeners.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The ids of its usable `log.dirs`; new partitions go into these. Not empty.
    pub log_directories: Vec<DirectoryId>,
}

/// A block of producer ids that nobody else gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first id.
    pub first: ProducerId,
    /// How many.
    pub count: i32,
}

/// The answer to one part of a command: by the name, reference or resource that was asked for.
pub type Results<Key, Done> = Vec<(Key, Result<Done, ControllerError>)>;

/// What a command came to. Variants match those of [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Per name, in the order asked; a name asked for twice is answered once.
    CreateTopics(Results<String, CreatedTopic>),
    /// Per reference, in the order asked; a reference given twice is answered once.
    DeleteTopics(Results<TopicReference, DeletedTopic>),
    /// Per name, in the order asked; a name asked for twice is answered once. `Ok`: the numbers of the new partitions.
    CreatePartitions(Results<String, Range<i32>>),
    /// As many as resources asked for, in their order.
    AlterConfigs(Vec<Result<(), ControllerError>>),
    /// The block.
    AllocateProducerIds(ProducerIdBlock),
    /// The broker's epoch.
    RegisterBroker {
        /// See [`Broker::epoch`](super::Broker::epoch).
        epoch: i64,
    },
    /// How many partitions began a new leader epoch.
    UncleanStart {
        /// The count.
        partitions: usize,
    },
    /// How many replicas changed their directory.
    AssignDirectories {
        /// The count.
        partitions: usize,
    },
    /// They are kept out.
    CordonDirectories,
    /// Whether the directory is one fewer now.
    FailDirectory {
        /// False when it was none of the broker's any more, or is its last.
        failed: bool,
    },
}

/// What follows from a command: true once the records are durable and applied, all together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The facts; none when nothing changes.
    pub records: Vec<MetadataRecord>,
    /// What to answer when they are true.
    pub reply: Reply,
}

/// What follows from `command` in `image`.
///
/// # Errors
/// The command as a whole cannot be done. What fails for one of several topics or resources stands in the reply.
pub fn decide(image: &MetadataImage, command: &Command) -> Result<Decision, ControllerError> {
    match command {
        Command::CreateTopics(command) => Ok(create_topics::decide(image, command)),
        Command::DeleteTopics(command) => Ok(delete_topics::decide(image, command)),
        Command::CreatePartitions(command) => Ok(create_partitions::decide(image, command)),
        Command::AlterConfigs(command) => Ok(configs::decide(image, command)),
        Command::AllocateProducerIds { broker } => producer_ids::decide(image, *broker),
        Command::RegisterBroker(command) => brokers::register(image, command),
        Command::UncleanStart { broker } => brokers::unclean_start(image, *broker),
        Command::AssignDirectories {
            broker,
            directories,
        } => brokers::assign_directories(image, *broker, directories),
        Command::CordonDirectories {
            broker,
            directories,
        } => brokers::cordon_directories(image, *broker, directories),
        Command::FailDirectory { broker, directory } => {
            brokers::fail_directory(image, *broker, *directory)
        }
    }
}

/// Answers every topic of a request once, in the order of first mention; what stands twice is refused, whatever it asks.
fn answer_each_name<Topic, Done>(
    topics: &[Topic],
    name: impl Fn(&Topic) -> &str,
    mut answer: impl FnMut(&Topic) -> Result<Done, ControllerError>,
) -> Results<String, Done> {
    let twice = repeated(topics.iter().map(&name));
    let mut answered = BTreeSet::new();
    let mut results = Vec::new();
    for topic in topics {
        let name = name(topic);
        if !answered.insert(name) {
            continue;
        }
        let result = if twice.contains(name) {
            Err(ControllerError::DuplicateTopicName)
        } else {
            answer(topic)
        };
        results.push((name.to_owned(), result));
    }
    results
}

/// The keys that occur more than once.
fn repeated<K: Ord + Copy>(keys: impl Iterator<Item = K>) -> BTreeSet<K> {
    let mut seen = BTreeSet::new();
    keys.filter(|&key| !seen.insert(key)).collect()
}

#[cfg(test)]
pub(in crate::metadata) mod tests;
