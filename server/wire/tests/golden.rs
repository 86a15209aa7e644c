//! What a real Kafka sent and answered, byte for byte: every recorded exchange is read and written again.
//!
//! The bytes and how they were recorded: `server/tests/clients/golden/README.md`.

#![expect(
    clippy::panic,
    reason = "a golden file that cannot be read ends the test"
)]

use std::fmt::Write as _;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use millrace_wire::{ApiKey, Message, Reader, RequestHeader, ResponseHeader, message};

/// More memory than any recorded message takes.
const BUDGET_BYTES: usize = 64 << 20;

/// One line of a golden file.
struct Exchange {
    version: i16,
    request: Bytes,
    /// Nothing for acks=0.
    response: Option<Bytes>,
}

macro_rules! every_recorded_exchange {
    ($($test:ident: $key:ident $request:ident $response:ident,)*) => {
        $(
            #[test]
            fn $test() {
                replay(ApiKey::$key, request_again::<message::$request>, response_again::<message::$response>);
            }
        )*

        /// The APIs that have a test here.
        const TESTED: &[ApiKey] = &[$(ApiKey::$key),*];
    };
}

every_recorded_exchange! {
    produce_reads_and_writes_kafkas_bytes: Produce ProduceRequest ProduceResponse,
    fetch_reads_and_writes_kafkas_bytes: Fetch FetchRequest FetchResponse,
    list_offsets_reads_and_writes_kafkas_bytes: ListOffsets ListOffsetsRequest ListOffsetsResponse,
    metadata_reads_and_writes_kafkas_bytes: Metadata MetadataRequest MetadataResponse,
    offset_commit_reads_and_writes_kafkas_bytes: OffsetCommit OffsetCommitRequest OffsetCommitResponse,
    offset_fetch_reads_and_writes_kafkas_bytes: OffsetFetch OffsetFetchRequest OffsetFetchResponse,
    find_coordinator_reads_and_writes_kafkas_bytes:
        FindCoordinator FindCoordinatorRequest FindCoordinatorResponse,
    join_group_reads_and_writes_kafkas_bytes: JoinGroup JoinGroupRequest JoinGroupResponse,
    heartbeat_reads_and_writes_kafkas_bytes: Heartbeat HeartbeatRequest HeartbeatResponse,
    leave_group_reads_and_writes_kafkas_bytes: LeaveGroup LeaveGroupRequest LeaveGroupResponse,
    sync_group_reads_and_writes_kafkas_bytes: SyncGroup SyncGroupRequest SyncGroupResponse,
    describe_groups_reads_and_writes_kafkas_bytes: DescribeGroups DescribeGroupsRequest DescribeGroupsResponse,
    list_groups_reads_and_writes_kafkas_bytes: ListGroups ListGroupsRequest ListGroupsResponse,
    sasl_handshake_reads_and_writes_kafkas_bytes: SaslHandshake SaslHandshakeRequest SaslHandshakeResponse,
    api_versions_reads_and_writes_kafkas_bytes: ApiVersions ApiVersionsRequest ApiVersionsResponse,
    create_topics_reads_and_writes_kafkas_bytes: CreateTopics CreateTopicsRequest CreateTopicsResponse,
    delete_topics_reads_and_writes_kafkas_bytes: DeleteTopics DeleteTopicsRequest DeleteTopicsResponse,
    delete_records_reads_and_writes_kafkas_bytes: DeleteRecords DeleteRecordsRequest DeleteRecordsResponse,
    init_producer_id_reads_and_writes_kafkas_bytes:
        InitProducerId InitProducerIdRequest InitProducerIdResponse,
    offset_for_leader_epoch_reads_and_writes_kafkas_bytes:
        OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
    describe_acls_reads_and_writes_kafkas_bytes: DescribeAcls DescribeAclsRequest DescribeAclsResponse,
    create_acls_reads_and_writes_kafkas_bytes: CreateAcls CreateAclsRequest CreateAclsResponse,
    delete_acls_reads_and_writes_kafkas_bytes: DeleteAcls DeleteAclsRequest DeleteAclsResponse,
    describe_configs_reads_and_writes_kafkas_bytes:
        DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse,
    alter_configs_reads_and_writes_kafkas_bytes: AlterConfigs AlterConfigsRequest AlterConfigsResponse,
    describe_log_dirs_reads_and_writes_kafkas_bytes:
        DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse,
    create_partitions_reads_and_writes_kafkas_bytes:
        CreatePartitions CreatePartitionsRequest CreatePartitionsResponse,
    delete_groups_reads_and_writes_kafkas_bytes: DeleteGroups DeleteGroupsRequest DeleteGroupsResponse,
    incremental_alter_configs_reads_and_writes_kafkas_bytes:
        IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
    offset_delete_reads_and_writes_kafkas_bytes: OffsetDelete OffsetDeleteRequest OffsetDeleteResponse,
    describe_cluster_reads_and_writes_kafkas_bytes:
        DescribeCluster DescribeClusterRequest DescribeClusterResponse,
    describe_producers_reads_and_writes_kafkas_bytes:
        DescribeProducers DescribeProducersRequest DescribeProducersResponse,
    describe_topic_partitions_reads_and_writes_kafkas_bytes:
        DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
}

#[test]
fn every_version_of_every_api_is_among_the_recorded() {
    let mut missing = String::new();
    for key in ApiKey::ALL {
        assert!(TESTED.contains(key), "{key} has no test here");
        let recorded: Vec<i16> = exchanges(*key)
            .iter()
            .map(|(_, exchange)| exchange.version)
            .collect();
        for version in key.versions().filter(|version| !recorded.contains(version)) {
            let _ = write!(missing, " {key} {version}");
        }
    }
    assert_eq!(missing, "", "versions no exchange was recorded of");
}

/// Reads and writes every recorded exchange of the API; tells all that disagree at once.
fn replay(
    key: ApiKey,
    request_again: fn(&Bytes) -> Result<Bytes, String>,
    response_again: fn(&Bytes, i16) -> Result<Bytes, String>,
) {
    let mut differences = Vec::new();
    for (place, exchange) in exchanges(key) {
        let mut compare = |what: &str, recorded: &Bytes, again: Result<Bytes, String>| match again {
            Ok(again) if again == *recorded => {}
            Ok(again) => differences.push(format!(
                "{place} {what}\n  kafka: {}\n  ours:  {}",
                hex(recorded),
                hex(&again)
            )),
            Err(error) => {
                differences.push(format!(
                    "{place} {what}: {error}\n  kafka: {}",
                    hex(recorded)
                ));
            }
        };
        // A client from the future is answered in version 0; what its request says beyond the header is unknown.
        let future = !key.versions().contains(&exchange.version);
        if !future {
            compare(
                "request",
                &exchange.request,
                request_again(&exchange.request),
            );
        }
        let version = if future { 0 } else { exchange.version };
        if let Some(response) = &exchange.response {
            compare("response", response, response_again(response, version));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn request_again<M: Message>(frame: &Bytes) -> Result<Bytes, String> {
    let mut reader = Reader::new(frame.clone(), BUDGET_BYTES);
    let header = RequestHeader::decode(&mut reader).map_err(|error| error.to_string())?;
    let request = M::decode(&mut reader, header.api_version).map_err(|error| error.to_string())?;
    nothing_left(&reader)?;
    let mut again = BytesMut::new();
    header
        .encode(&mut again)
        .map_err(|error| error.to_string())?;
    request
        .encode(&mut again, header.api_version)
        .map_err(|error| error.to_string())?;
    Ok(again.freeze())
}

fn response_again<M: Message>(frame: &Bytes, version: i16) -> Result<Bytes, String> {
    let mut reader = Reader::new(frame.clone(), BUDGET_BYTES);
    let header =
        ResponseHeader::decode(&mut reader, M::KEY, version).map_err(|error| error.to_string())?;
    let response = M::decode(&mut reader, version).map_err(|error| error.to_string())?;
    nothing_left(&reader)?;
    let mut again = BytesMut::new();
    header.encode(&mut again, M::KEY, version);
    response
        .encode(&mut again, version)
        .map_err(|error| error.to_string())?;
    Ok(again.freeze())
}

fn nothing_left(reader: &Reader) -> Result<(), String> {
    match reader.remaining() {
        0 => Ok(()),
        count => Err(format!("{count} bytes are left behind the message")),
    }
}

/// The lines of the API's file, each with a name for messages.
fn exchanges(key: ApiKey) -> Vec<(String, Exchange)> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/clients/golden/{key}.txt"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let exchanges: Vec<_> = text.lines().map(|line| exchange(key, line)).collect();
    assert!(!exchanges.is_empty(), "{} is empty", path.display());
    exchanges
}

fn exchange(key: ApiKey, line: &str) -> (String, Exchange) {
    let mut words = line.split(' ');
    let mut word = || {
        words
            .next()
            .unwrap_or_else(|| panic!("{key}: a word is missing in {line:?}"))
    };
    let version = word()
        .parse()
        .unwrap_or_else(|_| panic!("{key}: no version in {line:?}"));
    let place = format!("{key} {version} {}", word());
    let request = unhex(word());
    let response = Some(word()).filter(|word| *word != "-").map(unhex);
    (
        place,
        Exchange {
            version,
            request,
            response,
        },
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Bytes {
    text.as_bytes()
        .chunks(2)
        .map(|digits| {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{digits:?} is no hex byte"))
        })
        .collect()
}
