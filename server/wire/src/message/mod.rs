//! The messages, one file per API, and what they all can do.
//!
//! `for_each_api!` is the list of APIs: the table of versions in [`ApiKey`] and the tests come from it.

#[macro_use]
mod notation;

pub mod lone_batch;

macro_rules! modules {
    ($($module:ident $request:ident $response:ident,)*) => {$(
        pub mod $module;
        pub use $module::{$request, $response};
    )*};
}

modules! {
    alter_configs AlterConfigsRequest AlterConfigsResponse,
    api_versions ApiVersionsRequest ApiVersionsResponse,
    create_acls CreateAclsRequest CreateAclsResponse,
    create_partitions CreatePartitionsRequest CreatePartitionsResponse,
    create_topics CreateTopicsRequest CreateTopicsResponse,
    delete_acls DeleteAclsRequest DeleteAclsResponse,
    delete_groups DeleteGroupsRequest DeleteGroupsResponse,
    delete_records DeleteRecordsRequest DeleteRecordsResponse,
    delete_topics DeleteTopicsRequest DeleteTopicsResponse,
    describe_acls DescribeAclsRequest DescribeAclsResponse,
    describe_cluster DescribeClusterRequest DescribeClusterResponse,
    describe_configs DescribeConfigsRequest DescribeConfigsResponse,
    describe_groups DescribeGroupsRequest DescribeGroupsResponse,
    describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse,
    describe_producers DescribeProducersRequest DescribeProducersResponse,
    describe_topic_partitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
    fetch FetchRequest FetchResponse,
    find_coordinator FindCoordinatorRequest FindCoordinatorResponse,
    heartbeat HeartbeatRequest HeartbeatResponse,
    incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
    init_producer_id InitProducerIdRequest InitProducerIdResponse,
    join_group JoinGroupRequest JoinGroupResponse,
    leave_group LeaveGroupRequest LeaveGroupResponse,
    list_groups ListGroupsRequest ListGroupsResponse,
    list_offsets ListOffsetsRequest ListOffsetsResponse,
    metadata MetadataRequest MetadataResponse,
    offset_commit OffsetCommitRequest OffsetCommitResponse,
    offset_delete OffsetDeleteRequest OffsetDeleteResponse,
    offset_fetch OffsetFetchRequest OffsetFetchResponse,
    offset_for_leader_epoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
    produce ProduceRequest ProduceResponse,
    sasl_handshake SaslHandshakeRequest SaslHandshakeResponse,
    sync_group SyncGroupRequest SyncGroupResponse,
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
pub trait Message: Clone + Debug + Default + PartialEq + Send + 'static {
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
            SaslHandshake SaslHandshakeRequest SaslHandshakeResponse,
            ApiVersions ApiVersionsRequest ApiVersionsResponse,
            CreateTopics CreateTopicsRequest CreateTopicsResponse,
            DeleteTopics DeleteTopicsRequest DeleteTopicsResponse,
            DeleteRecords DeleteRecordsRequest DeleteRecordsResponse,
            InitProducerId InitProducerIdRequest InitProducerIdResponse,
            OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
            DescribeAcls DescribeAclsRequest DescribeAclsResponse,
            CreateAcls CreateAclsRequest CreateAclsResponse,
            DeleteAcls DeleteAclsRequest DeleteAclsResponse,
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
