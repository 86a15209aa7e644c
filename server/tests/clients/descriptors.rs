//! A broker that has no file descriptor left: those who are connected go on, newcomers wait, and nothing goes offline over
//! it.

use std::net::TcpStream;
use std::time::Duration;

use millrace_wire::ErrorCode;
use millrace_wire::message::create_topics::CreateTopicsRequestTopic;
use millrace_wire::message::{CreateTopicsRequest, MetadataRequest};

use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::records::{batch, read_all, values};
use crate::support::wire::{Limits, Wire};

#[test]
fn without_descriptors_clients_go_on_newcomers_wait_and_no_partition_goes_offline() {
    let mut broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    // Small segments: a roll needs new files.
    wire.create_topic("t", 1, &[("segment.bytes", "1048576")]);
    wire.append("t", 0, batch(&["a"]));
    let settled = eventually("files that stay open", || {
        let open = broker.open_files();
        std::thread::sleep(Duration::from_millis(100));
        (broker.open_files() == open).then_some(open)
    });
    broker.allow_open_files(settled);
    let newcomers: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(broker.address()).unwrap())
        .collect();
    let told = "connections cannot be accepted";
    let said = broker.await_printed(told, 1).len();
    for value in ["b", "c"] {
        wire.append("t", 0, batch(&[value]));
    }
    // A segment more is not to be had: what needs it is refused.
    let large = "x".repeat(900_000);
    eventually("an append that finds no descriptor", || {
        let answer = wire.produce("t", 0, batch(&[&large]));
        (answer.error_code == ErrorCode::KafkaStorageError).then_some(())
    });
    let read = wire.fetch("t", 0, 0, Limits::default());
    assert_eq!(read.error_code, ErrorCode::None);
    // The partitions of a new topic wait for theirs.
    let early = CreateTopicsRequest {
        topics: vec![CreateTopicsRequestTopic {
            name: "early".into(),
            num_partitions: 2,
            replication_factor: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let made = wire.ask(&early, 7);
    assert_eq!(made.topics[0].error_code, ErrorCode::None);
    let mut waiting = Wire::connect(&broker);
    waiting.send(&MetadataRequest::default(), 9);
    // Ten more attempts; a descriptor that was free for a moment may have been taken.
    waiting.patience(Duration::from_secs(1));
    assert!(waiting.try_frame().is_err(), "somebody answered");
    let lines = broker.printed_with(told);
    assert!(lines.len() <= said + 1, "{lines:?}");

    // Descriptors return as clients leave; those who waited are served without asking again.
    drop(newcomers);
    broker.allow_open_files(4_096);
    waiting.patience(Duration::from_secs(30));
    assert!(waiting.try_frame().unwrap().is_some());
    wire.append("t", 0, batch(&[&large]));
    wire.append("t", 0, batch(&["z"]));
    // One that is still to be opened would need a look at the next start: no stop in order.
    for partition in [0, 1] {
        wire.append("early", partition, batch(&["e"]));
    }
    assert_eq!(broker.printed_with("offline").len(), 0);
    let found = values(&read_all(&mut wire, "t", 0, 0));
    assert_eq!(
        (found[0].as_str(), found.last().unwrap().as_str()),
        ("a", "z")
    );
    assert!(broker.stop().success());
}
