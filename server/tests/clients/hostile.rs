//! Bytes that are no request, or one from another world: closed or answered, one line in the log, others unharmed.

use std::time::{Duration, Instant};

use millrace_wire::message::describe_configs::DescribeConfigsRequestResource;
use millrace_wire::message::describe_producers::DescribeProducersRequestTopic;
use millrace_wire::message::fetch::{FetchRequestPartition, FetchRequestTopic};
use millrace_wire::message::list_offsets::{ListOffsetsRequestPartition, ListOffsetsRequestTopic};
use millrace_wire::message::metadata::MetadataRequestTopic;
use millrace_wire::message::produce::{ProduceRequestPartition, ProduceRequestTopic};
use millrace_wire::message::{
    ApiVersionsRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeProducersRequest,
    DescribeProducersResponse, FetchRequest, FetchResponse, ListOffsetsRequest, MetadataRequest,
    MetadataResponse, ProduceRequest,
};
use millrace_wire::{ApiKey, ErrorCode, Str, frame};

use crate::support::broker::Broker;
use crate::support::records::{batch, numbered};
use crate::support::wire::{Limits, Wire, produce_request};

/// A client that is served throughout, or the test fails.
struct Bystander {
    wire: Wire,
    appended: i64,
}

impl Bystander {
    fn new(broker: &Broker) -> Self {
        let mut wire = Wire::connect(broker);
        wire.create_topic("bystander", 1, &[]);
        Self { wire, appended: 0 }
    }

    fn is_answered(&mut self) {
        self.wire.ask(&ApiVersionsRequest::default(), 0);
    }

    fn is_served(&mut self) {
        let offset = self.wire.append("bystander", 0, batch(&["v"]));
        assert_eq!(offset, self.appended);
        self.appended += 1;
        let answer = self.wire.fetch("bystander", 0, offset, Limits::default());
        assert_eq!(answer.high_watermark, self.appended);
    }
}

/// A whole frame of a Metadata request.
fn metadata_frame() -> Vec<u8> {
    frame::request_frame(1, None, &MetadataRequest::default(), 9)
        .unwrap()
        .to_vec()
}

#[test]
fn garbage_closes_the_connection() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    let mut noise = Noise(7);
    let samples: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client hello".to_vec(),
        vec![0xff; 100],
        vec![0; 12],
        (0..5000).map(|_| noise.byte() | 0x80).collect(),
    ];
    for sample in samples {
        let mut wire = Wire::connect(&broker);
        let _ = wire.try_send_bytes(&sample);
        wire.assert_closed();
        bystander.is_served();
    }
}

/// SEMANTICS 12.
#[test]
fn a_negative_or_huge_length_closes_the_connection() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    for length in [-1, i32::MIN, i32::MAX, 104_857_601] {
        let mut wire = Wire::connect(&broker);
        wire.send_bytes(&length.to_be_bytes());
        wire.assert_closed();
        bystander.is_served();
    }
    assert!(broker.resident_bytes() < 200 << 20);
}

/// Over and over, thousands of times a second, it would take the others' time.
#[test]
fn what_is_no_request_is_closed_without_haste() {
    let broker = Broker::start(&[]);
    for sample in [&(-1_i32).to_be_bytes()[..], &[0, 0, 0, 1, 0]] {
        let mut wire = Wire::connect(&broker);
        let sent = Instant::now();
        wire.send_bytes(sample);
        wire.assert_closed();
        assert!(sent.elapsed() >= Duration::from_millis(90), "{sample:?}");
    }
}

/// SEMANTICS 5. One line of the log names the client, the API and the version.
#[test]
fn an_unknown_api_or_version_closes_the_connection_with_one_line_in_the_log() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    for (key, version, named) in [
        (999_i16, 0_i16, "999"),
        (3, 99, "Metadata"),
        (1, 3, "Fetch"),
        (4, 0, "LeaderAndIsr"),
        (-1, -1, "-1"),
    ] {
        let mut wire = Wire::connect(&broker);
        let address = wire.stream().local_addr().unwrap().to_string();
        let body = [
            &key.to_be_bytes()[..],
            &version.to_be_bytes(),
            &[0, 0, 0, 1, 0, 4],
            b"evil",
        ]
        .concat();
        wire.send_frame(&body);
        wire.assert_closed();
        bystander.is_served();
        if key == 999 {
            let lines = broker.await_printed(&address, 1);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(
                lines[0].contains(named) && lines[0].contains("evil"),
                "{lines:?}"
            );
        }
    }
}

#[test]
fn no_line_of_the_log_is_of_a_clients_making() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let topic = "x\n2026-12-01T00:00:00Z ERROR forged";
    wire.send(&produce_request(topic, 0, 0, batch(&["v"])), 9);
    wire.assert_closed();
    let lines = broker.await_printed("forged", 1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("connection closed"), "{lines:?}");
}

/// However often a client does it.
#[test]
fn refusals_do_not_flood_the_log() {
    let broker = Broker::start(&[]);
    for _ in 0..500 {
        let mut wire = Wire::connect(&broker);
        wire.send_frame(&[3, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
        wire.assert_closed();
    }
    Bystander::new(&broker).is_served();
    let lines = broker.printed().len();
    assert!(lines < 200, "{lines} lines for 500 refusals");
}

/// SEMANTICS 5: a whole frame with too few bytes in it.
#[test]
fn a_body_that_ends_early_closes_the_connection() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    let whole = metadata_frame();
    for length in 0..whole.len() - 4 {
        let mut wire = Wire::connect(&broker);
        wire.send_frame(&whole[4..4 + length]);
        wire.assert_closed();
    }
    // and a frame that ends early because the client leaves
    for length in 0..whole.len() {
        let mut wire = Wire::connect(&broker);
        wire.send_bytes(&whole[..length]);
    }
    bystander.is_served();
}

/// SEMANTICS 5.
#[test]
fn bytes_behind_a_request_are_ignored() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let body = [&metadata_frame()[4..], b"trailing"].concat();
    wire.send_frame(&body);
    assert_eq!(wire.receive::<MetadataResponse>(9).0, 1);
}

#[test]
fn a_claimed_count_costs_nothing() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    // Metadata 1 with two thousand million topics, CreateTopics 2, DescribeConfigs 1, OffsetFetch 2 likewise
    for (key, version) in [(3, 1), (19, 2), (32, 1), (20, 1), (15, 0), (42, 0)] {
        let mut wire = Wire::connect(&broker);
        wire.send_frame(&[
            0, key, 0, version, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff,
        ]);
        wire.assert_closed();
        bystander.is_served();
    }
    assert!(broker.resident_bytes() < 200 << 20);
}

/// Arrays that are there, not only claimed: two bytes of a frame each, many more in memory.
#[test]
fn a_giant_array_is_refused_before_it_takes_memory() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    // Metadata 9: empty names (a length of one more than 0) with no tags.
    let count = 25_000_000;
    let mut frame = vec![0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0];
    unsigned_varint(&mut frame, count + 1);
    frame.resize(frame.len() + 2 * count, 0);
    for name in frame.iter_mut().skip(15).step_by(2) {
        *name = 1;
    }
    let mut wire = Wire::connect(&broker).patiently();
    wire.send_frame(&frame);
    wire.assert_closed();
    bystander.is_served();
    let resident = broker.resident_bytes() >> 20;
    // The frame itself, received, and what the allocator keeps of it.
    assert!(resident < 250, "{resident} MiB are resident");
}

/// A few bytes ask for all settings of the broker; an answer that repeats them would take gigabytes.
#[test]
fn a_resource_that_is_asked_for_many_times_is_described_once() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    let mut wire = Wire::connect(&broker).patiently();
    wire.create_topic("t", 1, &[]);
    let resource = |resource_type, name: &str| DescribeConfigsRequestResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: None,
    };
    // Zeros before a number are another way to spell it.
    let spelled = (1..100).map(|digits| resource(4, &format!("{:0>1$}", 1, digits)));
    let both: Vec<_> = [resource(2, "t")].into_iter().chain(spelled).collect();
    let request = DescribeConfigsRequest {
        resources: both.iter().cycle().take(100_000).cloned().collect(),
        include_synonyms: true,
        include_documentation: true,
    };
    let answer = wire.ask(&request, 4);
    assert_eq!(answer.results.len(), 2);
    assert!(answer.results.iter().all(|one| !one.configs.is_empty()));
    let request = DescribeGroupsRequest {
        groups: vec!["g".into(); 100_000],
        ..Default::default()
    };
    assert_eq!(wire.ask(&request, 5).groups.len(), 1);
    let request = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: "t".into(),
            partition_indexes: vec![0; 100_000],
        }],
    };
    let topics = wire.ask(&request, 0).topics;
    assert_eq!(topics[0].partitions.len(), 1);
    bystander.is_served();
    let resident = broker.resident_bytes() >> 20;
    assert!(resident < 200, "{resident} MiB are resident");
}

/// A few bytes ask for all that a partition remembers of producers: those who ask at the same time wait for room.
#[test]
fn descriptions_of_very_many_producers_are_made_as_there_is_room() {
    const PRODUCERS: i64 = 45_000;
    let broker = Broker::start(&[
        ("num.shards", "1"),
        ("request.memory.bytes", "4194304"),
        // What the kernel takes of an answer is not the broker's. Of more answers than fit, the oldest is given up.
        ("socket.send.buffer.bytes", "16384"),
    ]);
    let mut bystander = Bystander::new(&broker);
    let mut wire = Wire::connect(&broker).patiently();
    wire.create_topic("t", 1, &[]);
    for first in (0..PRODUCERS).step_by(1_000) {
        let ids = first..first + 1_000;
        let mut produce = produce_request("t", 0, -1, batch(&["v"]));
        produce.topic_data[0].partition_data = ids
            .map(|id| ProduceRequestPartition {
                index: 0,
                records: Some(numbered(&["v"], (id, 0), 0)),
            })
            .collect();
        let answer = wire.ask(&produce, 9);
        let mut appended = answer.responses[0].partition_responses.iter();
        assert!(appended.all(|one| one.error_code == ErrorCode::None));
    }
    let request = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: "t".into(),
            partition_indexes: vec![0],
        }],
    };
    let before = broker.resident_bytes_max();
    let mut wires: Vec<_> = (0..16)
        .map(|_| Wire::connect(&broker).patiently())
        .collect();
    for wire in &mut wires {
        wire.send(&request, 0);
    }
    let readers = wires
        .into_iter()
        .map(|mut wire| std::thread::spawn(move || wire.receive::<DescribeProducersResponse>(0).1));
    for reader in readers.collect::<Vec<_>>() {
        let answer = reader.join().unwrap();
        let described = &answer.topics[0].partitions[0];
        assert_eq!(described.error_code, ErrorCode::None);
        let ids = described.active_producers.iter().map(|one| one.producer_id);
        assert!(ids.eq(0..PRODUCERS), "all of them, by id");
    }
    bystander.is_served();
    // One has the room, another the right to exceed it; each takes some 4 MiB. All at once would be more than 25.
    let grown = broker.resident_bytes_max().saturating_sub(before) >> 20;
    assert!(grown < 20, "{grown} MiB more were resident");
}

/// A name is compared once for all partitions behind it, not once for each.
#[test]
fn very_many_partitions_behind_a_long_name_cost_no_more_than_behind_a_short_one() {
    let broker = Broker::start(&[("num.shards", "1")]);
    let mut wire = Wire::connect(&broker).patiently();
    let [short, long] = [10, 32_000].map(|length| Str::from("x".repeat(length)));
    let partitions = || 0..100_000;
    let mut listed = |name: &Str| {
        let partitions = partitions().map(|partition_index| ListOffsetsRequestPartition {
            partition_index,
            timestamp: -1,
            ..Default::default()
        });
        let topic = ListOffsetsRequestTopic {
            name: name.clone(),
            partitions: partitions.collect(),
        };
        let request = ListOffsetsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        cost_of(&broker, || drop(wire.ask(&request, 8)))
    };
    assert_alike("ListOffsets", listed(&short), listed(&long));
    let mut described = |name: &Str| {
        let topic = DescribeProducersRequestTopic {
            name: name.clone(),
            partition_indexes: partitions().collect(),
        };
        let request = DescribeProducersRequest {
            topics: vec![topic],
        };
        cost_of(&broker, || drop(wire.ask(&request, 0)))
    };
    assert_alike("DescribeProducers", described(&short), described(&long));
    let mut fetched = |name: &Str| {
        let partitions = partitions().map(|partition| FetchRequestPartition {
            partition,
            ..Default::default()
        });
        let topic = FetchRequestTopic {
            topic: name.clone(),
            partitions: partitions.collect(),
            ..Default::default()
        };
        let request = FetchRequest {
            topics: vec![topic],
            ..Default::default()
        };
        cost_of(&broker, || drop(wire.ask(&request, 12)))
    };
    assert_alike("Fetch", fetched(&short), fetched(&long));
}

/// Demands that what has a long name costs about as much as the same with a short one.
fn assert_alike(what: &str, short: Duration, long: Duration) {
    let most = 2 * short + Duration::from_millis(500);
    assert!(
        long < most,
        "{what}: {short:?} with a short name, {long:?} with a long one"
    );
}

/// Each is to be made and cannot be: the others of that thread go on.
#[test]
fn a_request_for_a_hundred_thousand_topics_that_cannot_be_made_is_answered_soon() {
    let broker = Broker::start(&[("num.shards", "1"), ("num.partitions", "10001")]);
    let mut bystander = Wire::connect(&broker);
    let mut wire = Wire::connect(&broker).patiently();
    let few = cost_of(&broker, || {
        wire.ask(&unknown_topics(10_000), 9);
    });
    let many = cost_of(&broker, || {
        wire.send(&unknown_topics(100_000), 9);
        bystander.ask(&ApiVersionsRequest::default(), 0);
        let (_, answer) = wire.receive::<MetadataResponse>(9);
        assert_eq!(answer.topics.len(), 100_000);
        let mut codes = answer.topics.iter().map(|topic| topic.error_code);
        assert!(codes.all(|code| code.is_error()));
    });
    assert_in_proportion(few, many);
}

/// Topics that are not there and may be made.
fn unknown_topics(count: usize) -> MetadataRequest {
    let names = (0..count).map(|number| MetadataRequestTopic {
        name: Some(format!("unknown-{number}").into()),
        ..Default::default()
    });
    MetadataRequest {
        topics: Some(names.collect()),
        allow_auto_topic_creation: true,
        ..Default::default()
    }
}

/// Processor time of the broker: the time that passes depends on what else the machine does.
fn cost_of(broker: &Broker, act: impl FnOnce()) -> Duration {
    let before = broker.processor_time();
    act();
    broker.processor_time() - before
}

/// Demands that ten times as many elements do not cost much more than ten times as much: were each looked for among all the
/// others, it would be a hundred.
fn assert_in_proportion(few: Duration, many: Duration) {
    let most = 40 * few.max(Duration::from_millis(20));
    assert!(many < most, "{few:?} for a tenth of what takes {many:?}");
}

/// Tags are skipped one by one, as many as a message may have elements; a header has a thousand at most.
#[test]
fn tags_are_skipped_and_bounded() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    let mut wire = Wire::connect(&broker).patiently();
    let metadata = |tags: &[u8]| {
        let front = [0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff];
        // No topics, nothing created, no operations, no tags.
        [&front[..], tags, &[1, 0, 0, 0, 0]].concat()
    };
    let in_header = |count| {
        let mut tags = Vec::new();
        unsigned_varint(&mut tags, count);
        tags.extend([9, 0].repeat(count));
        metadata(&tags)
    };
    wire.send_frame(&in_header(1_000));
    assert_eq!(wire.receive::<MetadataResponse>(9).0, 1);
    // A tag as long as a frame may be, and more tags than there are bytes.
    let mut tags = vec![1, 9];
    unsigned_varint(&mut tags, 10_000_000);
    tags.resize(tags.len() + 10_000_000, 0xff);
    wire.send_frame(&metadata(&tags));
    assert_eq!(wire.receive::<MetadataResponse>(9).0, 1);
    // Fetch 12 knows tag 0 (the cluster's id): however often it comes, the last one counts.
    let fetch = FetchRequest::default();
    let known = frame::request_frame(1, None, &fetch, 12).unwrap();
    let (fields, no_tags) = known[4..].split_at(known.len() - 5);
    assert_eq!(no_tags, [0]);
    let repeated = |count| {
        let mut repeated = fields.to_vec();
        unsigned_varint(&mut repeated, count);
        repeated.extend([0, 2, 2, b'c'].repeat(count));
        repeated
    };
    wire.send_frame(&repeated(200_000));
    assert_eq!(wire.receive::<FetchResponse>(12).0, 1);
    let too_many = [in_header(1_001), in_header(1_000_000), repeated(1_000_000)];
    for frame in too_many {
        let mut wire = Wire::connect(&broker).patiently();
        wire.send_frame(&frame);
        wire.assert_closed();
    }
    wire.send_frame(&metadata(&[0xff, 0xff, 0xff, 0xff, 0x0f]));
    wire.assert_closed();
    bystander.is_served();
    assert!(broker.resident_bytes() < 200 << 20);
}

/// The socket is asked again after every byte: an answer to somebody else in between says that the broker has been there.
#[test]
fn requests_split_at_every_byte_are_answered() {
    let broker = Broker::start(&[("num.shards", "1")]);
    let mut bystander = Bystander::new(&broker);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 1, &[]);
    let mut frames = vec![metadata_frame()];
    for (key, case) in [(ApiKey::FindCoordinator, 0), (ApiKey::ApiVersions, 3)] {
        let body = recorded_requests(key).swap_remove(case);
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        frames.push([&length[..], &body].concat());
    }
    let produce = ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![ProduceRequestTopic {
            name: "t".into(),
            partition_data: vec![ProduceRequestPartition {
                index: 0,
                records: Some(batch(&["v"])),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    frames.push(frame::request_frame(5, None, &produce, 9).unwrap().to_vec());
    for frame in frames {
        for at in 1..frame.len() {
            let (first, rest) = frame.split_at(at);
            wire.send_bytes(first);
            bystander.is_answered();
            wire.send_bytes(rest);
            let answer = wire.frame().expect("an answer");
            assert_eq!(answer[..4], frame[8..12], "split at {at}");
        }
        for byte in &frame {
            wire.send_bytes(&[*byte]);
        }
        let answer = wire.frame().expect("an answer");
        assert_eq!(answer[..4], frame[8..12], "byte by byte");
    }
    // Not one of the batches was taken twice or left out.
    let produced = frame::request_frame(5, None, &produce, 9).unwrap().len();
    let end = wire.list_offset("t", 0, -1).offset;
    assert_eq!(usize::try_from(end), Ok(produced));
}

#[test]
fn a_thousand_pipelined_requests_are_all_answered_in_order() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    let mut wire = Wire::connect(&broker);
    let all: Vec<u8> = (0..1000)
        .flat_map(|number| {
            frame::request_frame(number, None, &MetadataRequest::default(), 9).unwrap()
        })
        .collect();
    wire.send_bytes(&all);
    for number in 0..1000 {
        assert_eq!(wire.receive::<MetadataResponse>(9).0, number);
    }
    bystander.is_served();
}

/// Every request a real client ever sent in the recording, cut and bent at random. What comes back is its business; the
/// broker has to live and serve others.
#[test]
fn bent_requests_harm_nobody() {
    let broker = Broker::start(&[]);
    let mut bystander = Bystander::new(&broker);
    let mut noise = Noise(20_261_122);
    for key in ApiKey::ALL {
        for request in recorded_requests(*key) {
            let mut bent = request;
            for _ in 0..=noise.below(3) {
                let at = 4 + noise.below(bent.len() - 4);
                bent[at] = noise.byte();
            }
            if noise.below(4) == 0 {
                bent.truncate(noise.below(bent.len()));
            }
            let mut wire = Wire::connect(&broker);
            wire.patience(Duration::from_millis(20));
            wire.send_frame(&bent);
            let _ = wire.try_frame();
        }
        bystander.is_served();
    }
    assert!(broker.resident_bytes() < 400 << 20);
}

/// The requests of a golden file.
fn recorded_requests(key: ApiKey) -> Vec<Vec<u8>> {
    let path = format!(
        "{}/tests/clients/golden/{key}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    assert!(!text.is_empty(), "{key}");
    text.lines()
        .map(|line| {
            let hex = line.split(' ').nth(2).unwrap();
            (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect()
        })
        .collect()
}

fn unsigned_varint(bytes: &mut Vec<u8>, value: usize) {
    let mut rest = value;
    while rest >= 0x80 {
        bytes.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
}

/// A small generator of numbers without pattern: the same ones in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[2]
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// Each name was looked for among all the others: a minute, in which the core did nothing else.
#[test]
fn very_many_names_that_cannot_be_created_are_answered_one_by_one_in_no_time() {
    // Every creation is refused: one request may not make so many partitions.
    let broker = Broker::start(&[("num.partitions", "10001")]);
    let mut wire = Wire::connect(&broker).patiently();
    let mut answered = |count| {
        cost_of(&broker, || {
            let answer = wire.ask(&unknown_topics(count), 9);
            assert_eq!(answer.topics.len(), count);
            for topic in &answer.topics {
                assert_eq!(topic.error_code, ErrorCode::UnknownTopicOrPartition);
            }
        })
    };
    assert_in_proportion(answered(3_000), answered(30_000));
}
