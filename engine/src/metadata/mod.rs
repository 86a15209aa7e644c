//! The metadata of the cluster: facts as records, folded into an immutable image that every shard holds by `Arc`.
//!
//! `controller` decides (pure), `apply` folds, `raft` makes the records durable; [`Metadata`] joins the three for one
//! node. Shards, requests and threads are unknown here.

mod apply;
mod controller;
mod image;
pub mod raft;
mod record;

pub use apply::ApplyError;
pub use controller::{
    AlterConfigs, AlterResource, BLOCK_LENGTH, Command, ControllerError, CreatePartitions,
    CreateTopics, CreatedTopic, Decision, DeleteTopics, DeletedTopic, Edit,
    GROUP_SETTINGS_BYTES_MAX, GrowTopic, NAME_LENGTH_MAX, NewTopic, ProducerIdBlock,
    RegisterBroker, Reply, Results, TopicReference, VALUE_LENGTH_MAX, decide,
};
pub use image::{INTERNAL_TOPICS, MetadataImage, Topic, TopicChanges, TopicsMark, is_internal};
pub use raft::{
    LogStatus, Metadata, MetadataCheck, MetadataFile, MetadataOptions, OpenError, ProposeError,
    StorageError, open_hostile,
};
pub use record::{
    Broker, ConfigResource, Endpoint, LENGTH_MAX, MetadataRecord, Partition, PartitionEpoch,
    RecordDecodeError, SecurityProtocol, decode_hostile,
};
