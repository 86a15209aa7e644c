//! A disk that runs full: reads and administration go on, a start succeeds, and producers go on by themselves once there
//! is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_wire::ErrorCode;
use millrace_wire::message::DescribeLogDirsRequest;
use rdkafka::error::RDKafkaErrorCode;

use crate::ledger::{Acknowledged, TOPIC, check, count, produce};
use crate::skipped;
use crate::small_disk::SmallDisk;
use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::librdkafka::{admin, create_topic, options, try_create_topic, wait};
use crate::support::records::batch;
use crate::support::wire::Wire;

const PARTITIONS: i32 = 2;
const SEGMENT_BYTES: i64 = 1 << 20;

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
            skipped(&why);
            return;
        }
    };
    let data = disk.data().display().to_string();
    let segment_bytes = SEGMENT_BYTES.to_string();
    let settings = [
        ("log.dirs", data.as_str()),
        ("log.segment.bytes", segment_bytes.as_str()),
    ];
    let mut broker = Broker::start_on_a_lasting_port(&settings);
    create_topic(&broker, TOPIC, PARTITIONS, &[]);
    create_topic(&broker, "doomed", 1, &[]);
    let (acknowledged, producing) = (Acknowledged::default(), Arc::new(AtomicBool::new(true)));
    let producer = produce(&broker, &acknowledged, &producing, PARTITIONS);
    eventually("the first records", || {
        (count(&acknowledged) > 1_000).then_some(())
    });

    let ballast = disk.fill();
    wait_until_refused(&broker, &disk);
    let before = check(&broker, &acknowledged, PARTITIONS).len();
    println!("{ballast} bytes of ballast, {before} records when the disk was full");

    // What needs no room goes on.
    let mut wire = Wire::connect(&broker);
    disk.fill();
    let described = wire.ask(&DescribeLogDirsRequest::default(), 4);
    assert_eq!(described.results[0].error_code, ErrorCode::None);
    // Up to a segment of each partition may just have been cut off again.
    let most = i64::from(PARTITIONS + 1) * SEGMENT_BYTES;
    let usable = described.results[0].usable_bytes;
    assert!(usable < most, "{usable} bytes are usable");

    // A broker that dies now starts again, reads, and refuses.
    broker.kill();
    disk.fill();
    broker.start_again();
    assert!(check(&broker, &acknowledged, PARTITIONS).len() >= before);
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
    // How an operator makes room, also of a broker that was started on the full disk.
    let deleted = wait(admin(&broker).delete_topics(&["doomed"], &options()));
    assert_eq!(deleted.unwrap(), [Ok("doomed".to_owned())]);

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
    let numbers = check(&broker, &acknowledged, PARTITIONS);
    let ours = numbers.iter().filter(|number| **number < sent).count();
    assert_eq!(ours, sent, "each record once");
    assert_eq!(count(&acknowledged), sent);
    broker.restart();
    check(&broker, &acknowledged, PARTITIONS);
    println!("{sent} records, all there once");
}
