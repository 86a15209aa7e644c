//! The messages, one file per API, and what they all can do.
//!
//! [`for_each_api!`] is the list of APIs: the table of versions in [`ApiKey`](crate::ApiKey) and the tests come from it.

#[macro_use]
mod notation;

macro_rules! modules {
    ($($module:ident $request:ident $response:ident $text:literal,)*) => {$(
        #[doc = $text]
        pub mod $module;
        pub use $module::{$request, $response};
    )*};
}

modules! {
    alter_configs AlterConfigsRequest AlterConfigsResponse "Replaces the whole configuration of topics, brokers, groups.",
    api_versions ApiVersionsRequest ApiVersionsResponse "Which versions of which APIs the broker serves.",
    create_partitions CreatePartitionsRequest CreatePartitionsResponse "Adds partitions to topics.",
    create_topics CreateTopicsRequest CreateTopicsResponse "Creates topics.",
    delete_groups DeleteGroupsRequest DeleteGroupsResponse "Deletes empty groups.",
    delete_records DeleteRecordsRequest DeleteRecordsResponse "Moves the log start offset of partitions.",
    delete_topics DeleteTopicsRequest DeleteTopicsResponse "Deletes topics by name or id.",
    describe_cluster DescribeClusterRequest DescribeClusterResponse "Who belongs to the cluster.",
    describe_configs DescribeConfigsRequest DescribeConfigsResponse "Configuration of topics, brokers, groups, with sources.",
    describe_groups DescribeGroupsRequest DescribeGroupsResponse "State and members of classic groups.",
    describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse "What lies in the broker's log directories.",
    describe_producers DescribeProducersRequest DescribeProducersResponse "Producers a partition remembers.",
    describe_topic_partitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse "Topics page by page.",
    fetch FetchRequest FetchResponse "Reads record batches.",
    find_coordinator FindCoordinatorRequest FindCoordinatorResponse "Which broker coordinates groups or transactions.",
    heartbeat HeartbeatRequest HeartbeatResponse "A member of a classic group is alive.",
    incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse "Changes single configuration values.",
    init_producer_id InitProducerIdRequest InitProducerIdResponse "A producer id and epoch.",
    join_group JoinGroupRequest JoinGroupResponse "Joins a classic group.",
    leave_group LeaveGroupRequest LeaveGroupResponse "Members leave a classic group.",
    list_groups ListGroupsRequest ListGroupsResponse "Groups this broker coordinates.",
    list_offsets ListOffsetsRequest ListOffsetsResponse "Offsets by timestamp.",
    metadata MetadataRequest MetadataResponse "Brokers, topics, partitions and their leaders.",
    offset_commit OffsetCommitRequest OffsetCommitResponse "Stores a group's offsets.",
    offset_delete OffsetDeleteRequest OffsetDeleteResponse "Deletes a group's offsets.",
    offset_fetch OffsetFetchRequest OffsetFetchResponse "Reads groups' offsets.",
    offset_for_leader_epoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse "Where a leader epoch ended.",
    produce ProduceRequest ProduceResponse "Appends record batches.",
    sync_group SyncGroupRequest SyncGroupResponse "Hands out the assignment of a classic group.",
}

use std::fmt::Debug;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};

use crate::api_key::ApiKey;
use crate::error::{DecodeError, DecodeFault, EncodeError, EncodeFault};
use crate::field::Form;
use crate::reader::Reader;
use crate::writer::{LengthWriter, Writer};

/// A request or a response, without its header.
///
/// Fields that a version does not have are not written, and read as the protocol's default.
pub trait Message: Clone + Debug + Default + PartialEq {
    /// The API it belongs to.
    const KEY: ApiKey;
    /// The name of the structure.
    const NAME: &'static str;
    /// The versions it can be written in.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields; `i16::MAX` if there is none.
    const FLEXIBLE_FIRST: i16;

    /// Takes the message off the reader. Bytes behind it are left there.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes, and a version outside of [`Self::VERSIONS`].
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Appends the message.
    ///
    /// # Errors
    /// A version outside of [`Self::VERSIONS`], null or lengths that the version cannot express.
    fn encode<W: Writer>(&self, writer: &mut W, version: i16) -> Result<(), EncodeError>;

    /// How many bytes [`Self::encode`] appends, records that lie elsewhere included.
    ///
    /// # Errors
    /// As [`Self::encode`].
    fn encoded_length(&self, version: i16) -> Result<usize, EncodeError> {
        let mut length = LengthWriter::default();
        self.encode(&mut length, version)?;
        Ok(length.length())
    }

    /// The message alone, in a buffer of its size.
    ///
    /// # Errors
    /// As [`Self::encode`].
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::with_capacity(self.encoded_length(version)?);
        self.encode(&mut buffer, version)?;
        Ok(buffer.freeze())
    }
}

/// A message from client to broker.
pub trait Request: Message {
    /// The answer.
    type Response: Response<Request = Self>;
}

/// A message from broker to client.
pub trait Response: Message {
    /// What it answers.
    type Request: Request<Response = Self>;
}

/// The form a received message of this version has.
pub(crate) fn decode_form<M: Message>(version: i16) -> Result<Form, DecodeFault> {
    form::<M>(version).ok_or(DecodeFault::UnsupportedVersion {
        version,
        first: *M::VERSIONS.start(),
        last: *M::VERSIONS.end(),
    })
}

/// The form to write a message of this version in.
pub(crate) fn encode_form<M: Message>(version: i16) -> Result<Form, EncodeFault> {
    form::<M>(version).ok_or(EncodeFault::UnsupportedVersion {
        version,
        first: *M::VERSIONS.start(),
        last: *M::VERSIONS.end(),
    })
}

fn form<M: Message>(version: i16) -> Option<Form> {
    M::VERSIONS.contains(&version).then_some(Form {
        version,
        flexible: version >= M::FLEXIBLE_FIRST,
        nullable: true,
    })
}

/// Calls a macro with the list of APIs: `Name RequestType ResponseType,` each, in the order of their keys.
macro_rules! for_each_api {
    ($callback:ident) => {
        $callback! {
            Produce ProduceRequest ProduceResponse,
            Fetch FetchRequest FetchResponse,
            ListOffsets ListOffsetsRequest ListOffsetsResponse,
            Metadata MetadataRequest MetadataResponse,
            OffsetCommit OffsetCommitRequest OffsetCommitResponse,
            OffsetFetch OffsetFetchRequest OffsetFetchResponse,
            FindCoordinator FindCoordinatorRequest FindCoordinatorResponse,
            JoinGroup JoinGroupRequest JoinGroupResponse,
            Heartbeat HeartbeatRequest HeartbeatResponse,
            LeaveGroup LeaveGroupRequest LeaveGroupResponse,
            SyncGroup SyncGroupRequest SyncGroupResponse,
            DescribeGroups DescribeGroupsRequest DescribeGroupsResponse,
            ListGroups ListGroupsRequest ListGroupsResponse,
            ApiVersions ApiVersionsRequest ApiVersionsResponse,
            CreateTopics CreateTopicsRequest CreateTopicsResponse,
            DeleteTopics DeleteTopicsRequest DeleteTopicsResponse,
            DeleteRecords DeleteRecordsRequest DeleteRecordsResponse,
            InitProducerId InitProducerIdRequest InitProducerIdResponse,
            OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
            DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse,
            AlterConfigs AlterConfigsRequest AlterConfigsResponse,
            DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse,
            CreatePartitions CreatePartitionsRequest CreatePartitionsResponse,
            DeleteGroups DeleteGroupsRequest DeleteGroupsResponse,
            IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
            OffsetDelete OffsetDeleteRequest OffsetDeleteResponse,
            DescribeCluster DescribeClusterRequest DescribeClusterResponse,
            DescribeProducers DescribeProducersRequest DescribeProducersResponse,
            DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
        }
    };
}

pub(crate) use for_each_api;
