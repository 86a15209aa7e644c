//! A broker whose disk runs full, judged from outside: reads and administration go on, a start succeeds, producers go on
//! by themselves once there is room, and nothing acknowledged is missing.
//!
//! Where no mount namespace is to be had the test says so and does nothing.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests run on the machine's clock, wait for other processes, and fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod small_disk;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_wire::ErrorCode;
use millrace_wire::message::DescribeLogDirsRequest;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::BaseRecord;
use small_disk::SmallDisk;
use support::broker::Broker;
use support::eventually;
use support::librdkafka::{Sender, create_topic, try_create_topic};
use support::records::{batch, read_all};
use support::wire::Wire;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 2;
/// Records a producer has under way at most.
const UNDER_WAY_MAX: usize = 200;
const PADDING: &str =
    "................................................................................";

/// By partition and offset: the number of the acknowledged record.
type Acknowledged = Arc<Mutex<BTreeMap<(i32, i64), usize>>>;

/// A producer that goes on until it is told to stop. Says how many records it sent.
fn produce(
    broker: &Broker,
    acknowledged: &Acknowledged,
    producing: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<usize> {
    let settings = [("enable.idempotence", "true"), ("message.timeout.ms", "0")];
    let sender = Sender::new(broker, &settings);
    let (acknowledged, producing) = (Arc::clone(acknowledged), Arc::clone(producing));
    std::thread::spawn(move || {
        let (mut sent, mut heard) = (0, 0);
        let keep = |reported: Vec<(usize, support::librdkafka::Delivery)>| {
            let mut acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            let count = reported.len();
            for (number, delivery) in reported {
                let place = delivery.unwrap_or_else(|error| panic!("record {number}: {error}"));
                acknowledged.insert(place, number);
            }
            count
        };
        while producing.load(Ordering::SeqCst) {
            if sent - heard < UNDER_WAY_MAX {
                let value = format!("{sent} {PADDING}");
                let record = BaseRecord::with_opaque_to(TOPIC, sent)
                    .partition(i32::try_from(sent).unwrap_or(0) % PARTITIONS)
                    .payload(value.as_bytes());
                sender
                    .send(record)
                    .unwrap_or_else(|error| panic!("record {sent}: {error}"));
                sent += 1;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
            heard += keep(sender.take_reported());
        }
        keep(sender.finish());
        sent
    })
}

fn count(acknowledged: &Acknowledged) -> usize {
    let acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    acknowledged.len()
}

/// Reads everything and holds it against what was acknowledged; the numbers of all records there.
fn check(broker: &Broker, acknowledged: &Acknowledged) -> Vec<usize> {
    // What is acknowledged while it is read is judged the next time.
    let expected = acknowledged
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let mut wire = Wire::connect(broker);
    let mut found = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for record in read_all(&mut wire, TOPIC, partition, 0) {
            let value =
                String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap_or_default();
            let number = value
                .split(' ')
                .next()
                .and_then(|number| number.parse().ok());
            found.insert((partition, record.offset.0), number.unwrap_or(usize::MAX));
        }
    }
    for (place, number) in &expected {
        let there = found.get(place);
        assert_eq!(
            there,
            Some(number),
            "at {place:?} of {} records",
            found.len()
        );
    }
    found.into_values().collect()
}

/// Waits until the disk takes nothing more from this producer.
fn wait_until_refused(broker: &Broker, disk: &SmallDisk) {
    let large = "x".repeat(200_000);
    eventually("a produce that finds no room", || {
        // What the broker gave back in the meantime (a cut, a rename) is taken as well.
        disk.fill();
        let answer = Wire::connect(broker).produce(TOPIC, 0, batch(&[large.as_str()]));
        match answer.error_code {
            ErrorCode::KafkaStorageError => Some(()),
            ErrorCode::None => None,
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_full_disk_stops_producers_only_and_only_until_there_is_room() {
    let disk = match SmallDisk::mount(48) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("SKIPPED, nothing was tested: {why}");
            return;
        }
    };
    let data = disk.data().display().to_string();
    let settings = [
        ("log.dirs", data.as_str()),
        ("log.segment.bytes", "1048576"),
    ];
    let mut broker = Broker::start_on_a_lasting_port(&settings);
    create_topic(&broker, TOPIC, PARTITIONS, &[]);
    let (acknowledged, producing) = (Acknowledged::default(), Arc::new(AtomicBool::new(true)));
    let producer = produce(&broker, &acknowledged, &producing);
    eventually("the first records", || {
        (count(&acknowledged) > 1_000).then_some(())
    });

    let ballast = disk.fill();
    wait_until_refused(&broker, &disk);
    let before = check(&broker, &acknowledged).len();
    println!("{ballast} bytes of ballast, {before} records when the disk was full");

    // What needs no room goes on.
    let mut wire = Wire::connect(&broker);
    let described = wire.ask(&DescribeLogDirsRequest::default(), 4);
    assert_eq!(described.results[0].error_code, ErrorCode::None);
    assert!(described.results[0].usable_bytes < 1 << 20);

    // A broker that dies now starts again, reads, and refuses.
    broker.kill();
    disk.fill();
    broker.start_again();
    assert!(check(&broker, &acknowledged).len() >= before);
    wait_until_refused(&broker, &disk);
    // Each takes some kilobytes of the journal, whose reserve is not for them.
    let replicas = ["0:1"; 2_000].join(",");
    let settings = [("leader.replication.throttled.replicas", replicas.as_str())];
    let name = |number| format!("no-room-{number}");
    let refused = (0..50).find_map(|number| {
        let refusal = try_create_topic(&broker, &name(number), 1, &settings).err()?;
        Some((number, refusal))
    });
    let Some((made, RDKafkaErrorCode::KafkaStorageError)) = refused else {
        panic!("creating topics ends with {refused:?}");
    };
    broker.kill();
    disk.fill();
    broker.start_again();

    disk.make_room();
    let stopped_at = count(&acknowledged);
    eventually("producers to go on", || {
        (count(&acknowledged) > stopped_at + 1_000).then_some(())
    });
    for number in 0..made {
        eventually("a topic that found no room to be there", || {
            let answer = Wire::connect(&broker).produce(&name(number), 0, batch(&["late"]));
            (answer.error_code == ErrorCode::None).then_some(())
        });
    }
    producing.store(false, Ordering::SeqCst);
    let sent = producer
        .join()
        .unwrap_or_else(|_| panic!("the producer failed"));
    let numbers = check(&broker, &acknowledged);
    let ours = numbers.iter().filter(|number| **number < sent).count();
    assert_eq!(ours, sent, "each record once");
    assert_eq!(count(&acknowledged), sent);
    broker.restart();
    check(&broker, &acknowledged);
    println!("{sent} records, all there once");
}
