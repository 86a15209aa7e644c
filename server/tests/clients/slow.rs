//! Clients that take their time: sending a byte now and then, or never reading.

use std::io::Read;
use std::time::{Duration, Instant};

use millrace_wire::frame::request_frame;
use millrace_wire::message::join_group::JoinGroupProtocol;
use millrace_wire::message::metadata::MetadataRequestTopic;
use millrace_wire::message::produce::ProduceRequestPartition;
use millrace_wire::message::{
    FetchRequest, FetchResponse, JoinGroupRequest, ListGroupsRequest, MetadataRequest,
    ProduceResponse,
};
use millrace_wire::{ErrorCode, Request};

use crate::support::broker::Broker;
use crate::support::records::batch;
use crate::support::wire::{Limits, Wire, fetch_request, produce_request, record_bytes};
use crate::support::{PATIENCE, eventually};

/// Others are served, and wait for nobody.
fn is_prompt(broker: &Broker) {
    let began = Instant::now();
    // As many connections as there are shards, twice: one of them is beside the slow client.
    for _ in 0..4 {
        let mut wire = Wire::connect(broker);
        wire.ask(&MetadataRequest::default(), 9);
        wire.append("t", 0, batch(&["v"]));
    }
    let took = began.elapsed();
    assert!(took < PATIENCE, "others waited {took:?}");
}

/// Others are served while nobody is given up, so that it is not for the memory of those.
fn is_prompt_before_anyone_is_given_up(broker: &Broker) {
    is_prompt(broker);
    assert_eq!(broker.printed_with(GIVEN_UP), [""; 0]);
}

/// What is printed of a client that has not read while it had more requests waiting, and others needed their memory.
const GIVEN_UP: &str = "an answer was not read in time";

/// Makes a topic `t` with 18 MB in it; the request is for all of them.
fn much_to_read(broker: &Broker) -> FetchRequest {
    let mut wire = Wire::connect(broker);
    wire.create_topic("t", 1, &[]);
    let value = "x".repeat(900_000);
    for _ in 0..20 {
        wire.append("t", 0, batch(&[&value]));
    }
    let limits = Limits {
        partition_max_bytes: 50 << 20,
        ..Default::default()
    };
    fetch_request("t", 0, 0, limits)
}

/// A request for so many topics that are not there.
fn metadata_of(count: usize, name: &str) -> MetadataRequest {
    let topic = |number| MetadataRequestTopic {
        name: Some(format!("{name}{number}").into()),
        ..Default::default()
    };
    MetadataRequest {
        topics: Some((0..count).map(topic).collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}

#[test]
fn a_request_sent_byte_by_byte_delays_nobody() {
    let broker = Broker::start(&[]);
    Wire::connect(&broker).create_topic("t", 1, &[]);
    let mut slow: Vec<Wire> = (0..8).map(|_| Wire::connect(&broker)).collect();
    for wire in &mut slow {
        wire.send_bytes(&20_i32.to_be_bytes());
    }
    for _ in 0..6 {
        for wire in &mut slow {
            wire.send_bytes(&[0]);
        }
        is_prompt(&broker);
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// They claim more memory than there is for requests, and send next to nothing of it.
#[test]
fn large_requests_that_hardly_come_delay_nobody() {
    let broker = Broker::start(&[("request.memory.bytes", "8388608")]);
    Wire::connect(&broker).create_topic("t", 1, &[]);
    let mut slow: Vec<Wire> = (0..8).map(|_| Wire::connect(&broker)).collect();
    for (wire, bytes) in slow
        .iter_mut()
        .zip([0, 1, 100, 5_000, 20_000, 40_000, 100_000, 300_000])
    {
        wire.send_bytes(&100_000_000_i32.to_be_bytes());
        wire.send_bytes(&vec![0; bytes]);
    }
    for _ in 0..5 {
        for wire in &mut slow {
            let _ = wire.try_send_bytes(&[0]);
        }
        is_prompt(&broker);
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_client_that_never_reads_delays_nobody_and_costs_little_memory() {
    let broker = Broker::start(&[]);
    let request = much_to_read(&broker);
    let mut deaf: Vec<Wire> = (0..4).map(|_| Wire::connect(&broker)).collect();
    for wire in &mut deaf {
        wire.stream().set_nonblocking(true).unwrap();
        for _ in 0..200 {
            // The broker stops reading, too.
            let Ok(_) = wire.try_send(&request, 12) else {
                break;
            };
        }
    }
    for _ in 0..5 {
        is_prompt(&broker);
        std::thread::sleep(Duration::from_millis(200));
    }
    let resident = broker.resident_bytes() >> 20;
    assert!(resident < 200, "{resident} MiB are resident");
}

/// Answers that take much memory, asked for by many who do not read them: those who have not read for the longest are let go.
#[test]
fn answers_that_nobody_reads_take_no_more_than_their_memory() {
    let broker = Broker::start(&[
        ("num.shards", "1"),
        ("request.memory.bytes", "1048576"),
        // What the kernel takes for a socket is not the broker's, and hides it.
        ("socket.send.buffer.bytes", "16384"),
    ]);
    Wire::connect(&broker).create_topic("t", 1, &[]);
    Wire::connect(&broker)
        .patiently()
        .create_topic("wide", 1_500, &[]);
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("wide".into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let answer_bytes = {
        let mut wire = Wire::connect(&broker);
        wire.send(&request, 9);
        wire.frame().unwrap().len()
    };
    is_prompt(&broker);
    let before = broker.resident_bytes();
    let asked = 12;
    let deaf = |_| {
        let mut wire = Wire::connect(&broker);
        wire.stream().set_nonblocking(true).unwrap();
        for _ in 0..asked {
            wire.try_send(&request, 9).unwrap();
        }
        wire
    };
    // More than there is memory for.
    let count = 8 * 1_048_576 / answer_bytes;
    let _deaf: Vec<Wire> = (0..count).map(deaf).collect();
    broker.await_printed("were not read while others needed the memory", 1);
    // Each has its turn until its socket is full.
    let mut bystander = Wire::connect(&broker);
    eventually("nobody is answered any more", || {
        let began = Instant::now();
        bystander.ask(&MetadataRequest::default(), 9);
        (began.elapsed() < Duration::from_millis(100)).then_some(())
    });
    let grown = broker.resident_bytes().saturating_sub(before);
    assert!(grown < 14 << 20, "{grown} bytes more");
    // The others have not read for longer.
    let mut late = deaf(0);
    late.stream().set_nonblocking(false).unwrap();
    std::thread::scope(|scope| {
        // However long the others take, it does not become one that has not read for long.
        scope.spawn(|| {
            for _ in 0..asked {
                assert_eq!(late.frame().unwrap().len(), answer_bytes);
            }
        });
        is_prompt(&broker);
    });
}

/// Answers of any length are made a few at a time: one that waits behind an answer which nobody reads is none of them.
#[test]
fn answers_behind_those_that_nobody_reads_do_not_keep_others_from_being_made() {
    let broker = Broker::start(&[("socket.send.buffer.bytes", "16384")]);
    let mut bystander = Wire::connect(&broker);
    bystander.create_topic("t", 1, &[]);
    bystander.create_topic("wide", 1_000, &[]);
    bystander.await_coordinator("g");
    let wide = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("wide".into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let deaf = |_| {
        let mut wire = Wire::connect(&broker);
        for _ in 0..20 {
            wire.send(&wide, 9);
            wire.send(&ListGroupsRequest::default(), 4);
        }
        wire
    };
    let _deaf: Vec<Wire> = (0..64).map(deaf).collect();
    is_prompt(&broker);
    for _ in 0..8 {
        let mut wire = Wire::connect(&broker);
        wire.patience(Duration::from_secs(20));
        wire.ask(&ListGroupsRequest::default(), 4);
    }
}

/// Who waits for records or for other members for minutes keeps nobody's request out meanwhile: neither by what it sent, nor by
/// what it sends behind that.
#[test]
fn requests_that_wait_hold_no_memory_that_others_need() {
    let broker = Broker::start(&[
        ("num.shards", "1"),
        ("request.memory.bytes", "1048576"),
        ("group.initial.rebalance.delay.ms", "0"),
    ]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    wire.await_coordinator("g0");
    let for_ever = Limits {
        max_wait_ms: i32::MAX,
        min_bytes: 1,
        ..Limits::default()
    };
    // What follows a request in its frame is ignored, as in Kafka, and counts all the same.
    let mut fetch = framed(&fetch_request("t", 0, 0, for_ever), 11);
    fetch.resize(900_000, 0);
    let metadata = framed(&MetadataRequest::default(), 9);
    let join = |group: usize, metadata_bytes: usize| JoinGroupRequest {
        group_id: format!("g{group}").as_str().into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 600_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupProtocol {
            name: "range".into(),
            metadata: vec![0; metadata_bytes].into(),
        }],
        ..Default::default()
    };
    let mut waiting = Vec::new();
    for group in 0..4 {
        let mut reader = Wire::connect(&broker);
        reader.send_frame(&fetch);
        // Behind it, and not to be read before it is answered.
        reader.stream().set_nonblocking(true).unwrap();
        for _ in 0..20 {
            let mut padded = metadata.clone();
            padded.resize(50_000, 0);
            let _ = reader.try_send_bytes(&u32::try_from(padded.len()).unwrap().to_be_bytes());
            let _ = reader.try_send_bytes(&padded);
        }
        let mut first = Wire::connect(&broker);
        assert_eq!(first.ask(&join(group, 10), 2).error_code, ErrorCode::None);
        let mut second = Wire::connect(&broker);
        second.send(&join(group, 900_000), 2);
        waiting.extend([reader, first, second]);
    }
    let mut other = Wire::connect(&broker);
    other.patience(Duration::from_secs(20));
    other.send_frame(&[metadata, vec![0; 900_000]].concat());
    assert!(other.frame().is_some());
    other.append("t", 0, batch(&["v"]));
    // And those who waited for it have it.
    for reader in waiting.iter_mut().step_by(3) {
        reader.stream().set_nonblocking(false).unwrap();
        let (_, answer) = reader.receive::<FetchResponse>(11);
        assert!(!record_bytes(&answer.responses[0].partitions[0]).is_empty());
    }
    // More than a group could keep is no member.
    let refused = other.ask(&join(9, 1_100_000), 2);
    assert_eq!(refused.error_code, ErrorCode::MessageTooLarge);
}

fn framed<R: Request>(request: &R, version: i16) -> Vec<u8> {
    let frame = request_frame(1, None, request, version).unwrap();
    frame[4..].to_vec()
}

/// More under way than there is memory for: what does not fit stays in the sockets, and has its turn.
#[test]
fn requests_beyond_the_memory_for_them_wait_and_are_all_answered() {
    let broker = Broker::start(&[("request.memory.bytes", "2097152")]);
    Wire::connect(&broker).create_topic("t", 8, &[]);
    let value = "x".repeat(900_000);
    let request = |partition| produce_request("t", partition, -1, batch(&[&value]));
    let before = broker.resident_bytes();
    let mut wires: Vec<Wire> = (0..64).map(|_| Wire::connect(&broker)).collect();
    std::thread::scope(|scope| {
        for (wire, number) in wires.iter_mut().zip(0..) {
            let request = request(number % 8);
            scope.spawn(move || {
                for _ in 0..4 {
                    wire.send(&request, 9);
                }
                for _ in 0..4 {
                    let (_, answer) = wire.receive::<ProduceResponse>(9);
                    let answer = &answer.responses[0].partition_responses[0];
                    assert_eq!(answer.error_code, ErrorCode::None);
                }
            });
        }
        is_prompt(&broker);
    });
    let grown = broker.resident_bytes_max().saturating_sub(before) >> 20;
    // What a connection has begun to read is charged after it was read: up to 1 MiB each, where all would be 230.
    let bound = 64 + 4 + 16;
    assert!(
        grown < bound,
        "{grown} MiB more for 4 MiB of requests at a time"
    );
}

/// Each held the room for a whole read, for as long as a connection may be idle.
#[test]
fn connections_that_send_two_bytes_of_a_request_cost_next_to_nothing() {
    let broker = Broker::start(&[]);
    Wire::connect(&broker).create_topic("t", 1, &[]);
    is_prompt(&broker);
    let before = broker.resident_bytes();
    let mut half_open: Vec<Wire> = (0..500).map(|_| Wire::connect(&broker)).collect();
    for wire in &mut half_open {
        wire.send_bytes(&[0, 0]);
    }
    is_prompt(&broker);
    std::thread::sleep(Duration::from_millis(500));
    let each = broker.resident_bytes().saturating_sub(before) / 500;
    assert!(each < 12_000, "{each} bytes each");
}

/// The name of its client is all that is kept of a request that waits: it was kept as a piece of all that was read.
#[test]
fn fetches_that_wait_keep_little_of_what_was_sent() {
    let broker = Broker::start(&[]);
    for topic in ["t", "quiet"] {
        Wire::connect(&broker).create_topic(topic, 1, &[]);
    }
    is_prompt(&broker);
    let for_ever = Limits {
        max_wait_ms: i32::MAX,
        min_bytes: 1,
        ..Limits::default()
    };
    let fetch = fetch_request("quiet", 0, 0, for_ever);
    let mut frame = request_frame(1, Some(&"reader".into()), &fetch, 11).unwrap()[4..].to_vec();
    frame.resize(60_000, 0);
    let before = broker.resident_bytes();
    let mut waiting: Vec<Wire> = (0..300).map(|_| Wire::connect(&broker)).collect();
    for wire in &mut waiting {
        wire.send_frame(&frame);
    }
    is_prompt(&broker);
    let each = broker.resident_bytes().saturating_sub(before) / 300;
    assert!(each < 40_000, "{each} bytes each");
}

#[test]
fn many_idle_connections_delay_nobody() {
    let broker = Broker::start(&[]);
    Wire::connect(&broker).create_topic("t", 1, &[]);
    let idle: Vec<Wire> = (0..300).map(|_| Wire::connect(&broker)).collect();
    is_prompt(&broker);
    drop(idle);
    is_prompt(&broker);
}

#[test]
fn a_quiet_connection_is_closed_after_its_time_and_says_nothing() {
    let broker = Broker::start(&[("connections.max.idle.ms", "1500")]);
    let mut wire = Wire::connect(&broker);
    wire.ask(&MetadataRequest::default(), 9);
    let address = wire.stream().local_addr().unwrap().to_string();
    wire.assert_closed();
    assert_eq!(broker.printed_with(&address), [""; 0]);
}

/// The connection was closed behind the answer, for nothing had been asked for so long.
#[test]
fn a_client_that_takes_an_answer_slowly_is_not_idle() {
    let idle = Duration::from_secs(3);
    let broker = Broker::start(&[
        ("connections.max.idle.ms", "3000"),
        ("socket.send.buffer.bytes", "16384"),
    ]);
    let request = much_to_read(&broker);
    let mut wire = Wire::connect(&broker);
    // Otherwise it may grow to take all of the answer.
    let sized = socket2::SockRef::from(wire.stream()).set_recv_buffer_size(262_144);
    sized.unwrap();
    wire.send(&request, 12);
    let began = Instant::now();
    let mut length = [0; 4];
    wire.stream().read_exact(&mut length).unwrap();
    let mut left = usize::try_from(i32::from_be_bytes(length)).unwrap();
    let mut room = vec![0; 65_536];
    while left > 0 {
        let some = &mut room[..left.min(65_536)];
        wire.stream().read_exact(some).unwrap();
        left -= some.len();
        // Most of it is left by then.
        if began.elapsed() < 2 * idle {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(began.elapsed() > 2 * idle);
    wire.ask(&MetadataRequest::default(), 9);
}

/// Nothing else tells a client that waits from one that has gone without a word.
#[test]
fn a_fetch_waits_no_longer_than_a_connection_may_be_idle() {
    let broker = Broker::start(&[("connections.max.idle.ms", "1500")]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let for_ever = Limits {
        max_wait_ms: i32::MAX,
        min_bytes: 1,
        ..Limits::default()
    };
    let answer = wire.fetch("t", 0, 0, for_ever);
    assert_eq!(answer.error_code, ErrorCode::None);
}

/// Each kept a place among the connections until its group was complete.
#[test]
fn clients_that_left_while_they_waited_for_a_group_are_forgotten() {
    let broker = Broker::start(&[
        ("connections.max.idle.ms", "1500"),
        ("max.connections", "1"),
    ]);
    for (group, sends_more) in [("a", false), ("b", true)] {
        let join = JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: 60_000,
            rebalance_timeout_ms: 600_000,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupProtocol {
                name: "range".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut first = Wire::connect(&broker);
        first.await_coordinator(group);
        assert_eq!(first.ask(&join, 2).error_code, ErrorCode::None);
        drop(first);
        // It waits for the first to join again.
        let mut gone = Wire::connect(&broker);
        gone.send(&join, 2);
        if sends_more {
            // Which is not read before the join is answered, and so the end is not seen.
            gone.send(&MetadataRequest::default(), 9);
        }
        drop(gone);
        let mut newcomer = Wire::connect(&broker);
        newcomer.patience(Duration::from_secs(15));
        newcomer.ask(&MetadataRequest::default(), 9);
    }
}

/// They hold the memory of all requests for as long as the answer in front of them is not taken.
#[test]
fn requests_behind_an_answer_that_nobody_reads_keep_nobody_out() {
    let broker = Broker::start(&[
        ("num.shards", "1"),
        ("request.memory.bytes", "1048576"),
        ("socket.send.buffer.bytes", "16384"),
    ]);
    let request = much_to_read(&broker);
    let mut deaf = Wire::connect(&broker);
    deaf.send(&request, 12);
    let value = "x".repeat(900_000);
    for _ in 0..2 {
        deaf.send(&produce_request("t", 0, 1, batch(&[&value])), 9);
    }
    is_prompt_before_anyone_is_given_up(&broker);
    // Larger ones as soon as it is given up.
    let large = "y".repeat(200_000);
    Wire::connect(&broker).append("t", 0, batch(&[&large]));
    broker.await_printed(GIVEN_UP, 1);
}

/// The answer in front of them was in a file, and took no memory itself.
#[test]
fn long_requests_behind_an_answer_that_nobody_reads_keep_no_other_waiting_for_long() {
    let broker = Broker::start(&[
        ("num.shards", "1"),
        ("request.memory.bytes", "1048576"),
        ("socket.send.buffer.bytes", "16384"),
    ]);
    let request = much_to_read(&broker);
    let mut long = produce_request("t", 0, 1, batch(&["v"]));
    let not_there = ProduceRequestPartition {
        index: 1,
        records: None,
    };
    long.topic_data[0].partition_data = vec![not_there; 12_000];
    // One has the memory, the other the right to exceed it.
    let mut deaf: Vec<Wire> = (0..2).map(|_| Wire::connect(&broker)).collect();
    for wire in &mut deaf {
        wire.send(&request, 12);
        let mut first = [0];
        wire.stream().read_exact(&mut first).unwrap();
        wire.send(&long, 9);
    }
    is_prompt_before_anyone_is_given_up(&broker);
    let mut other = Wire::connect(&broker);
    other.patience(Duration::from_secs(25));
    other.ask(&metadata_of(12_000, "y"), 9);
    broker.await_printed(GIVEN_UP, 1);
}
