//! Properties of all messages in all versions: they read back, agree with another implementation, and no bytes can make
//! decoding panic or allocate beyond its budget.

mod seeds;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as other;
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message as OtherMessage, VersionRange,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use crate::message::{self, for_each_api};
use crate::sample::{SampleMessage, Source};
use crate::{ApiKey, DecodeError, DecodeFault, Message, Reader, Uuid, header};

/// Enough for any message the tests make up.
const BUDGET_BYTES: usize = 1 << 20;

/// A made-up message reads back from its bytes, which are as many as announced.
fn reads_back<M: SampleMessage + Message>(choices: &[u8]) -> TestCaseResult {
    for version in M::VERSIONS {
        let sample = M::sample_message(&mut Source::new(choices), version).unwrap();
        let bytes = sample.to_bytes(version).unwrap();
        prop_assert_eq!(bytes.len(), sample.encoded_length(version).unwrap());
        let mut reader = Reader::new(bytes, BUDGET_BYTES);
        let read = M::decode(&mut reader, version);
        prop_assert_eq!(read, Ok(sample), "version {}", version);
        prop_assert_eq!(reader.remaining(), 0);
    }
    Ok(())
}

/// The other implementation understands our bytes, writes the same ones, and those read back.
fn agrees<M, O>(choices: &[u8]) -> TestCaseResult
where
    M: SampleMessage + Message,
    O: OtherMessage + Decodable + Encodable + HeaderVersion,
{
    for version in shared_versions::<M, O>() {
        let sample = M::sample_message(&mut Source::new(choices), version).unwrap();
        let bytes = sample.to_bytes(version).unwrap();
        let mut unread = bytes.clone();
        let theirs = O::decode(&mut unread, version)
            .map_err(|error| TestCaseError::fail(format!("{} {version}: {error}", M::NAME)))?;
        prop_assert!(unread.is_empty());
        let mut written = BytesMut::new();
        theirs.encode(&mut written, version).unwrap();
        prop_assert_eq!(&written, &bytes, "{} {}", M::NAME, version);
        let read = M::decode(&mut Reader::new(written.freeze(), BUDGET_BYTES), version);
        prop_assert_eq!(read, Ok(sample));
    }
    Ok(())
}

/// Versions both sides have.
fn shared_versions<M: Message, O: OtherMessage>() -> impl Iterator<Item = i16> {
    let VersionRange { min, max } = O::VERSIONS;
    M::VERSIONS.filter(move |version| (min..=max).contains(version))
}

/// Whatever the bytes, decoding returns, and within its budget.
fn survives<M: Message>(bytes: &Bytes) {
    for version in M::VERSIONS {
        for budget_bytes in [0, 200, BUDGET_BYTES] {
            let mut reader = Reader::new(bytes.clone(), budget_bytes);
            if let Ok(message) = M::decode(&mut reader, version) {
                // What was read can be written again in the same version.
                message.to_bytes(version).unwrap();
            }
            assert!(reader.budget_bytes() <= budget_bytes);
        }
    }
}

/// Valid bytes cut short anywhere are an error, and changed anywhere are at worst another message.
fn survives_damage<M: SampleMessage + Message>(choices: &[u8], place: usize, value: u8) {
    for version in M::VERSIONS {
        let sample = M::sample_message(&mut Source::new(choices), version).unwrap();
        let bytes = sample.to_bytes(version).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let place = place % bytes.len();
        let mut reader = Reader::new(bytes.slice(..place), BUDGET_BYTES);
        let cut = M::decode(&mut reader, version);
        assert!(
            cut.is_err(),
            "{} {version} cut at {place}: {cut:?}",
            M::NAME
        );
        let mut changed = BytesMut::from(bytes);
        changed[place] = value;
        let _ = M::decode(&mut Reader::new(changed.freeze(), BUDGET_BYTES), version);
    }
}

macro_rules! properties {
    ($($api:ident $request:ident $response:ident,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(96))]

            #[test]
            fn every_message_reads_back_in_every_version(choices in vec(any::<u8>(), 0..1500)) {
                $(
                    reads_back::<message::$request>(&choices)?;
                    reads_back::<message::$response>(&choices)?;
                )*
            }

            #[test]
            fn every_message_agrees_with_another_implementation(choices in vec(any::<u8>(), 0..1500)) {
                $(
                    agrees::<message::$request, other::$request>(&choices)?;
                    agrees::<message::$response, other::$response>(&choices)?;
                )*
            }

            #[test]
            fn arbitrary_bytes_are_survived(bytes in hostile_bytes()) {
                $(
                    survives::<message::$request>(&bytes);
                    survives::<message::$response>(&bytes);
                )*
            }

            #[test]
            fn damaged_messages_are_survived(
                choices in vec(any::<u8>(), 0..600),
                place in any::<usize>(),
                value in any::<u8>(),
            ) {
                $(
                    survives_damage::<message::$request>(&choices, place, value);
                    survives_damage::<message::$response>(&choices, place, value);
                )*
            }
        }

        #[test]
        fn headers_agree_with_another_implementation() {
            $(
                for version in shared_versions::<message::$request, other::$request>() {
                    assert_eq!(
                        header::request_header_version(ApiKey::$api, version),
                        other::$request::header_version(version),
                        "{} {version}", ApiKey::$api
                    );
                }
                for version in shared_versions::<message::$response, other::$response>() {
                    assert_eq!(
                        header::response_header_version(ApiKey::$api, version),
                        other::$response::header_version(version),
                        "{} {version}", ApiKey::$api
                    );
                }
            )*
        }

        #[test]
        fn a_version_outside_the_range_is_refused_both_ways() {
            $(
                refuses_other_versions::<message::$request>();
                refuses_other_versions::<message::$response>();
            )*
        }

        #[test]
        fn defaults_agree_with_another_implementation() {
            let mut differing = Vec::new();
            $(
                if !same_default::<message::$request, other::$request>() {
                    differing.push(stringify!($request));
                }
                if !same_default::<message::$response, other::$response>() {
                    differing.push(stringify!($response));
                }
            )*
            // Error messages, a transactional id and filters that nobody gave are null with us, not empty.
            assert_eq!(differing, [
                "FindCoordinatorResponse",
                "InitProducerIdRequest",
                "DescribeAclsRequest",
                "DescribeAclsResponse",
            ]);
        }

        /// Versions the other implementation lacks, which bytes captured from a real Kafka have to cover.
        #[test]
        fn only_a_few_versions_have_no_second_opinion() {
            let mut lacking = Vec::new();
            $(
                lacking.extend(versions_alone::<message::$request, other::$request>());
                lacking.extend(versions_alone::<message::$response, other::$response>());
            )*
            assert_eq!(lacking, [
                "ListOffsetsRequest 11",
                "ListOffsetsResponse 11",
                "OffsetCommitRequest 10",
                "OffsetFetchRequest 10",
                "DescribeLogDirsRequest 5",
                "DescribeLogDirsResponse 5",
            ]);
        }
    };
}

for_each_api!(properties);

/// Mostly small numbers, so that lengths often fit, with large and negative ones among them.
fn hostile_bytes() -> impl Strategy<Value = Bytes> {
    let byte = prop_oneof![
        5 => Just(0u8),
        4 => 0u8..6,
        1 => Just(0xff),
        1 => Just(0x7f),
        2 => any::<u8>(),
    ];
    vec(byte, 0..300).prop_map(Bytes::from)
}

fn refuses_other_versions<M: Message>() {
    for version in [M::VERSIONS.start() - 1, M::VERSIONS.end() + 1, i16::MAX] {
        assert!(M::default().to_bytes(version).is_err());
        let error = M::decode(&mut Reader::new(Bytes::new(), 0), version).unwrap_err();
        assert!(matches!(
            error.fault,
            DecodeFault::UnsupportedVersion { .. }
        ));
    }
}

fn same_default<M: Message, O: OtherMessage + Encodable + Default>() -> bool {
    for version in shared_versions::<M, O>() {
        let mut theirs = BytesMut::new();
        // Some of their defaults cannot be written in every version; ours can.
        if O::default().encode(&mut theirs, version).is_ok() {
            let ours = M::default().to_bytes(version).unwrap();
            if ours != theirs {
                return false;
            }
        }
    }
    true
}

fn versions_alone<M: Message, O: OtherMessage>() -> Vec<String> {
    M::VERSIONS
        .filter(|version| !shared_versions::<M, O>().any(|shared| shared == *version))
        .map(|version| format!("{} {version}", M::NAME))
        .collect()
}

#[test]
fn a_claimed_array_length_costs_nothing() {
    // A Metadata request whose array claims two thousand million topics: "kafka-protocol" asks for 154 GB here.
    let bytes = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let error =
        message::MetadataRequest::decode(&mut Reader::new(bytes, usize::MAX), 1).unwrap_err();
    assert_eq!(error.place, "MetadataRequest.topics");
    assert_eq!(
        error.fault,
        DecodeFault::TooManyElements {
            count: 0x7fff_ffff,
            fitting: 0
        }
    );
}

/// Kafka refuses them in the flexible versions, too, which could say more.
#[test]
fn strings_beyond_a_length_of_16_bits_are_refused() {
    let request = |length: usize| {
        let groups = vec![crate::Str::from("g".repeat(length))];
        let request = message::DescribeGroupsRequest {
            groups,
            ..Default::default()
        };
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, 5).unwrap();
        message::DescribeGroupsRequest::decode(&mut Reader::new(bytes.freeze(), usize::MAX), 5)
    };
    assert!(request(32_767).is_ok());
    let error = request(32_768).unwrap_err();
    assert_eq!(error.fault, DecodeFault::StringTooLong { length: 32_768 });
}

/// Kafka takes them: a client that was refused would come again for ever.
#[test]
fn strings_that_are_not_utf8_are_read_with_replacements() {
    let heartbeat = Bytes::from_static(b"\x00\x03g\xff\xfe\x00\x00\x00\x05\x00\x01m");
    let read = |budget_bytes| -> Result<_, DecodeError> {
        let mut reader = Reader::new(heartbeat.clone(), budget_bytes);
        let request = message::HeartbeatRequest::decode(&mut reader, 0)?;
        Ok((request, reader.budget_bytes()))
    };
    let (request, left) = read(10).unwrap();
    assert_eq!(request.group_id, "g\u{fffd}\u{fffd}");
    assert_eq!((request.generation_id, &*request.member_id), (5, "m"));
    assert_eq!(left, 1, "up to three times its length is charged");
    let error = read(8).unwrap_err();
    assert_eq!(error.place, "HeartbeatRequest.group_id");
    assert!(matches!(error.fault, DecodeFault::TooLarge { .. }));
}

/// It could not be written down in an answer that repeats it.
#[test]
fn strings_that_become_too_long_by_replacements_are_refused() {
    let read = |count: usize| {
        let mut bytes = BytesMut::from(&[0, 0, 0, 1][..]);
        bytes.extend_from_slice(&u16::try_from(count).unwrap().to_be_bytes());
        bytes.resize(bytes.len() + count, 0xff);
        message::DescribeGroupsRequest::decode(&mut Reader::new(bytes.freeze(), usize::MAX), 0)
    };
    let request = read(10_922).unwrap();
    assert_eq!(request.groups[0], "\u{fffd}".repeat(10_922).as_str());
    let error = read(10_923).unwrap_err();
    assert_eq!(error.fault, DecodeFault::StringTooLong { length: 32_769 });
}

#[test]
fn a_frame_of_tiny_elements_stays_within_the_budget() {
    // A million empty topic names of one byte each would take 32 MB of strings.
    let mut bytes = BytesMut::from(&[0xc1, 0x84, 0x3d][..]);
    bytes.resize(1_000_100, 1);
    let mut reader = Reader::new(bytes.freeze(), 1 << 20);
    let error = message::DescribeGroupsRequest::decode(&mut reader, 5).unwrap_err();
    assert_eq!(error.place, "DescribeGroupsRequest.groups");
    assert!(matches!(error.fault, DecodeFault::TooLarge { .. }));
    assert_eq!(reader.budget_bytes(), 1 << 20);
}

#[test]
fn bytes_behind_a_message_are_left_to_the_caller() {
    let mut reader = Reader::new(
        Bytes::from_static(b"\x00\x01g\x00\x00\x00\x05\x00\x01mrest"),
        0,
    );
    let request = message::HeartbeatRequest::decode(&mut reader, 0).unwrap();
    assert_eq!((request.generation_id, &*request.member_id), (5, "m"));
    assert_eq!(reader.into_rest(), "rest");
}

#[test]
fn fields_a_version_lacks_read_as_the_protocols_default() {
    let bytes = message::FetchRequest::default().to_bytes(4).unwrap();
    let request = message::FetchRequest::decode(&mut Reader::new(bytes, 0), 4).unwrap();
    assert_eq!(request.session_epoch, -1);
    let response =
        message::MetadataResponse::decode(&mut Reader::new(Bytes::from_static(&[0; 8]), 0), 0)
            .unwrap();
    assert_eq!(response.controller_id, -1);
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
}

#[test]
fn null_where_the_version_has_none_is_an_error_both_ways() {
    let request = message::MetadataRequest {
        topics: None,
        ..Default::default()
    };
    assert!(request.to_bytes(1).is_ok());
    assert_eq!(
        request.to_bytes(0).unwrap_err().place,
        "MetadataRequest.topics"
    );
    let null = Bytes::from_static(&[0xff; 4]);
    let error = message::MetadataRequest::decode(&mut Reader::new(null, 0), 0).unwrap_err();
    assert_eq!(error.fault, DecodeFault::Null);
}

fn written(message: &impl Message, version: i16) -> Bytes {
    message.to_bytes(version).unwrap()
}

#[test]
fn list_offsets_11_looks_like_10() {
    // KIP-1023 adds a special timestamp, no field.
    let choices: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let request =
        message::ListOffsetsRequest::sample_message(&mut Source::new(&choices), 11).unwrap();
    assert_eq!(written(&request, 11), written(&request, 10));
    let response =
        message::ListOffsetsResponse::sample_message(&mut Source::new(&choices), 11).unwrap();
    assert_eq!(written(&response, 11), written(&response, 10));
}

#[test]
fn offset_commit_10_names_topics_by_id() {
    use message::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let request = message::OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 2,
        member_id: "m".into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "ignored".into(),
            topic_id: Uuid(0x0102),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 3,
                committed_offset: 4,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let expected = [
        &b"\x02g\x00\x00\x00\x02\x02m\x00\x02"[..],
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02",
        b"\x02\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x04\xff\xff\xff\xff\x00\x00\x00\x00",
    ]
    .concat();
    assert_eq!(written(&request, 10), expected);
}

#[test]
fn offset_fetch_10_names_topics_by_id() {
    use message::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestGroupTopic};
    let request = message::OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![OffsetFetchRequestGroupTopic {
                name: "ignored".into(),
                topic_id: Uuid(0x0102),
                partition_indexes: vec![3],
            }]),
            ..Default::default()
        }],
        require_stable: true,
        ..Default::default()
    };
    let expected = [
        &b"\x02\x02g\x00\xff\xff\xff\xff\x02"[..],
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02",
        b"\x02\x00\x00\x00\x03\x00\x00\x01\x00",
    ]
    .concat();
    assert_eq!(written(&request, 10), expected);
}

#[test]
fn describe_log_dirs_5_says_what_is_cordoned() {
    // KIP-1066: one more boolean at the end of each directory.
    use message::describe_log_dirs::DescribeLogDirsDirectory;
    let response = message::DescribeLogDirsResponse {
        results: vec![DescribeLogDirsDirectory {
            log_dir: "d".into(),
            total_bytes: 9,
            usable_bytes: 8,
            is_cordoned: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    let expected = [
        &b"\x00\x00\x00\x00\x00\x00\x02\x00\x00\x02d\x01"[..],
        b"\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x08\x01\x00\x00",
    ]
    .concat();
    assert_eq!(written(&response, 5), expected);
}
