//! Fetch and ListOffsets at their edges: limits, offsets inside batches, waiting, sessions, epochs, times.

use std::time::{Duration, Instant};

use millrace_engine::record::{Batches, Compression};
use millrace_wire::ErrorCode;
use millrace_wire::message::{FetchResponse, MetadataRequest, MetadataResponse, ProduceResponse};

use crate::support::broker::Broker;
use crate::support::records::{batch, packed, read, read_all, values};
use crate::support::wire::{Limits, Wire, fetch_request, produce_request, record_bytes};
use crate::with_topic;

/// SEMANTICS 23: otherwise a consumer with small limits waits for ever.
#[test]
fn the_first_batch_comes_whole_however_small_the_limits() {
    let (_broker, mut wire) = with_topic();
    let value = "x".repeat(20_000);
    for _ in 0..3 {
        wire.append("t", 0, batch(&[&value]));
    }
    for limit in [0, 1, 61] {
        let limits = Limits {
            max_bytes: limit,
            partition_max_bytes: limit,
            ..Default::default()
        };
        for offset in 0..3 {
            let records = read(&record_bytes(&wire.fetch("t", 0, offset, limits)));
            let first = records.first().map(|record| record.offset.0);
            assert_eq!(first, Some(offset), "limit {limit}");
            assert_eq!(values(&records)[0], value);
        }
    }
    let limits = Limits {
        partition_max_bytes: 45_000,
        ..Default::default()
    };
    let answer = record_bytes(&wire.fetch("t", 0, 0, limits));
    assert!(answer.len() <= 45_000, "{} bytes", answer.len());
    assert_eq!(read(&answer).len(), 2);
}

/// SEMANTICS 25: the client drops what lies before.
#[test]
fn an_offset_inside_a_batch_brings_the_whole_batch() {
    let (_broker, mut wire) = with_topic();
    wire.append("t", 0, batch(&["a", "b", "c"]));
    for codec in [Compression::Gzip, Compression::Zstd] {
        wire.append("t", 0, packed(&["d", "e", "f"], codec));
    }
    for offset in 0..9 {
        let bytes = record_bytes(&wire.fetch("t", 0, offset, Limits::default()));
        let first = Batches::new(bytes).next().unwrap().unwrap();
        assert_eq!(first.header.base_offset().0, offset / 3 * 3);
        assert_eq!(first.header.record_count(), 3);
    }
}

/// SEMANTICS 11: answers leave in the order of the requests, though the first one waits.
#[test]
fn answers_come_in_the_order_of_pipelined_requests() {
    let (_broker, mut wire) = with_topic();
    let limits = Limits {
        // Kafka takes one request at a time and waits the fetch out; we may append already, which ends the wait.
        max_wait_ms: 700,
        min_bytes: 1,
        ..Default::default()
    };
    let fetch = wire.send(&fetch_request("t", 0, 0, limits), 12);
    let metadata = wire.send(&MetadataRequest::default(), 9);
    let produce = wire.send(&produce_request("t", 0, -1, batch(&["v"])), 9);
    assert_eq!(wire.receive::<FetchResponse>(12).0, fetch);
    assert_eq!(wire.receive::<MetadataResponse>(9).0, metadata);
    let (answered, produced) = wire.receive::<ProduceResponse>(9);
    assert_eq!(answered, produce);
    assert_eq!(produced.responses[0].partition_responses[0].base_offset, 0);
}

/// SEMANTICS 11: what one connection sends is appended in its order, however fast it comes.
#[test]
fn pipelined_produces_are_appended_in_order() {
    let (_broker, mut wire) = with_topic();
    let sent: Vec<i32> = (0..200)
        .map(|n| wire.send(&produce_request("t", 0, -1, batch(&[&n.to_string()])), 9))
        .collect();
    for (offset, sent) in (0..).zip(sent) {
        let (answered, response) = wire.receive::<ProduceResponse>(9);
        assert_eq!(answered, sent);
        assert_eq!(
            response.responses[0].partition_responses[0].base_offset,
            offset
        );
    }
    let came = values(&read_all(&mut wire, "t", 0, 0));
    assert_eq!(came, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// SEMANTICS 26.
#[test]
fn a_fetch_waits_for_its_bytes_or_its_time() {
    let (broker, mut wire) = with_topic();
    let began = Instant::now();
    let limits = Limits {
        max_wait_ms: 600,
        min_bytes: 1,
        ..Default::default()
    };
    assert_eq!(record_bytes(&wire.fetch("t", 0, 0, limits)).len(), 0);
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(590),
        "answered empty after {waited:?}"
    );

    for limits in [
        Limits {
            max_wait_ms: LONG_MS,
            min_bytes: 0,
            ..Default::default()
        },
        Limits {
            max_wait_ms: 0,
            min_bytes: 1,
            ..Default::default()
        },
    ] {
        // There is nothing to wait for.
        wire.fetch("t", 0, 0, limits);
    }

    let limits = Limits {
        max_wait_ms: LONG_MS,
        min_bytes: 1,
        ..Default::default()
    };
    let waiting = wire.send(&fetch_request("t", 0, 0, limits), 12);
    Wire::connect(&broker).append("t", 0, batch(&["now"]));
    let (answered, response) = wire.receive::<FetchResponse>(12);
    assert_eq!(answered, waiting);
    assert_eq!(
        values(&read(&record_bytes(&response.responses[0].partitions[0]))),
        ["now"]
    );
}

/// SEMANTICS 27.
#[test]
fn an_offset_out_of_range_is_told_at_once() {
    let (_broker, mut wire) = with_topic();
    wire.append("t", 0, batch(&["a"]));
    let limits = Limits {
        max_wait_ms: LONG_MS,
        min_bytes: 1,
        ..Default::default()
    };
    for offset in [2, 1_000_000, -1] {
        let answer = wire.fetch("t", 0, offset, limits);
        assert_eq!(
            answer.error_code,
            ErrorCode::OffsetOutOfRange,
            "offset {offset}"
        );
        assert_eq!((answer.high_watermark, answer.log_start_offset), (-1, -1));
    }
    let at_end = wire.fetch("t", 0, 1, Limits::default());
    assert_eq!(
        (at_end.error_code, at_end.high_watermark),
        (ErrorCode::None, 1)
    );
    let limits = Limits::default();
    let unknown = wire.fetch("t", 7, 0, limits);
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition);
}

/// SEMANTICS 31 and 32: without transactions the last stable offset is the high watermark and nothing was aborted.
#[test]
fn read_committed_is_bounded_by_the_last_stable_offset() {
    let (_broker, mut wire) = with_topic();
    wire.append("t", 0, batch(&["a", "b"]));
    let mut request = fetch_request("t", 0, 0, Limits::default());
    let uncommitted = wire.ask(&request, 12).responses[0].partitions[0].clone();
    assert_eq!(uncommitted.aborted_transactions, None);
    request.isolation_level = 1;
    let committed = wire.ask(&request, 12).responses[0].partitions[0].clone();
    assert_eq!(committed.aborted_transactions, Some(vec![]));
    assert_eq!(
        (committed.last_stable_offset, committed.high_watermark),
        (2, 2)
    );
    assert_eq!(values(&read(&record_bytes(&committed))), ["a", "b"]);
}

/// SEMANTICS 29. A broker without sessions may answer id 0; ours has them.
#[test]
fn a_fetch_session_answers_only_what_changed() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    wire.append("t", 0, batch(&["a"]));
    let mut open = fetch_request("t", 0, 0, Limits::default());
    let mut second = open.topics[0].partitions[0].clone();
    second.partition = 1;
    open.topics[0].partitions.push(second);
    open.session_epoch = 0;
    let opened = wire.ask(&open, 12);
    assert_eq!(opened.responses[0].partitions.len(), 2);
    let session_id = opened.session_id;
    assert_ne!(session_id, 0, "no session was opened");

    let mut next = fetch_request("t", 0, 1, Limits::default());
    next.session_id = session_id;
    next.session_epoch = 1;
    assert_eq!(wire.ask(&next, 12).responses, [], "nothing changed");
    wire.append("t", 1, batch(&["b"]));
    next.topics = Vec::new();
    next.session_epoch = 2;
    let changed = wire.ask(&next, 12).responses;
    assert_eq!(changed[0].partitions.len(), 1);
    assert_eq!(changed[0].partitions[0].partition_index, 1);

    next.session_epoch = 9;
    assert_eq!(
        wire.ask(&next, 12).error_code,
        ErrorCode::InvalidFetchSessionEpoch
    );
    next.session_id = session_id.wrapping_add(1);
    assert_eq!(
        wire.ask(&next, 12).error_code,
        ErrorCode::FetchSessionIdNotFound
    );
}

/// SEMANTICS 28.
#[test]
fn a_fetch_with_another_leader_epoch_is_refused() {
    let (_broker, mut wire) = with_topic();
    let mut request = fetch_request("t", 0, 0, Limits::default());
    let mut with_epoch = |epoch| {
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        wire.ask(&request, 12).responses[0].partitions[0].error_code
    };
    assert_eq!(with_epoch(-1), ErrorCode::None);
    assert_eq!(with_epoch(0), ErrorCode::None);
    assert_eq!(with_epoch(99), ErrorCode::UnknownLeaderEpoch);
}

/// SEMANTICS 36: to the record, not to the batch, whatever the codec.
#[test]
fn a_time_is_found_inside_a_packed_batch() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    for codec in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let topic = format!("times-{codec}");
        wire.create_topic(&topic, 1, &[]);
        // timestamps 1000, 1001, 1002, twice
        wire.append(&topic, 0, packed(&["a", "b", "c"], codec));
        wire.append(&topic, 0, packed(&["d", "e", "f"], codec));
        for (time, offset, timestamp) in [
            (0, 0, 1000),
            (1000, 0, 1000),
            (1001, 1, 1001),
            (1002, 2, 1002),
            (1003, -1, -1),
        ] {
            let found = wire.list_offset(&topic, 0, time);
            assert_eq!(found.error_code, ErrorCode::None);
            assert_eq!(
                (found.offset, found.timestamp),
                (offset, timestamp),
                "{codec} at {time}"
            );
        }
        let latest_time = wire.list_offset(&topic, 0, -3);
        assert_eq!(
            (latest_time.offset, latest_time.timestamp),
            (2, 1002),
            "{codec}"
        );
    }
}

/// SEMANTICS 35.
#[test]
fn special_timestamps_ask_for_start_and_end() {
    let (_broker, mut wire) = with_topic();
    let nothing = wire.list_offset("t", 0, -3);
    assert_eq!((nothing.offset, nothing.timestamp), (-1, -1));
    wire.append("t", 0, batch(&["a", "b", "c"]));
    for (special, offset) in [(-1, 3), (-2, 0), (-4, 0)] {
        let found = wire.list_offset("t", 0, special);
        assert_eq!(
            (found.error_code, found.offset),
            (ErrorCode::None, offset),
            "{special}"
        );
        assert_eq!(found.timestamp, -1, "{special}");
    }
    assert_eq!(
        wire.list_offset("t", 0, -99).error_code,
        ErrorCode::UnsupportedVersion
    );
    let unknown = wire.list_offset("t", 9, -1);
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition);
}

/// What is read ends with its segment: no more of it would come by waiting, whatever the other shard has.
#[test]
fn a_fetch_of_two_shards_does_not_wait_at_the_end_of_a_segment() {
    let broker = Broker::start(&[
        ("num.shards", "2"),
        ("log.index.interval.bytes", "0"),
        ("log.index.size.max.bytes", "24"),
    ]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    // Each has an index entry of its own.
    let value = "v".repeat(600);
    for _ in 0..10 {
        wire.append("t", 0, batch(&[&value]));
    }
    let limits = Limits {
        max_wait_ms: LONG_MS,
        min_bytes: 1 << 20,
        ..Default::default()
    };
    let mut request = fetch_request("t", 0, 0, limits);
    let quiet = fetch_request("t", 1, 0, limits).topics.remove(0);
    request.topics[0].partitions.extend(quiet.partitions);
    let answer: FetchResponse = wire.ask(&request, 12);
    assert!(!record_bytes(&answer.responses[0].partitions[0]).is_empty());
}

/// Longer than any test waits for an answer.
const LONG_MS: i32 = 600_000;
