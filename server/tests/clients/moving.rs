//! Connections that go over to the thread of their partitions, seen from the client: as if nothing had happened.

use std::time::Duration;

use crate::support::broker::Broker;
use crate::support::records::{batch, read, values};
use crate::support::wire::{Limits, Wire, fetch_request, record_bytes};

/// A client with one request in flight, and pauses that leave the other thread calm.
const ROUNDS: i64 = 40;
const PAUSE: Duration = Duration::from_millis(3);

#[test]
fn a_connection_that_asks_for_one_partition_moves_and_keeps_its_order_and_its_session() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    // The two partitions are on different threads, so each connection is on the wrong one once at least.
    let mut producer = Wire::connect(&broker);
    let mut reader = Wire::connect(&broker);
    for partition in [0, 1] {
        let mut request = fetch_request("t", partition, 0, Limits::default());
        request.session_epoch = 0;
        let mut session_id = 0;
        for round in 0..ROUNDS {
            let value = format!("{partition}-{round}");
            assert_eq!(producer.append("t", partition, batch(&[&value])), round);
            let answer = reader.ask(&request, 12);
            assert!(!answer.error_code.is_error(), "{:?}", answer.error_code);
            let entry = &answer.responses[0].partitions[0];
            assert_eq!(values(&read(&record_bytes(entry))), [value]);
            assert!(answer.session_id != 0 && [0, session_id].contains(&session_id));
            session_id = answer.session_id;
            request = fetch_request("t", partition, round + 1, Limits::default());
            request.session_id = session_id;
            request.session_epoch = i32::try_from(round + 1).unwrap();
            std::thread::sleep(PAUSE);
        }
    }
    let moves = broker.printed_with("goes where its partitions are").len();
    assert!((2..=4).contains(&moves), "{moves} moves of two connections");
}

#[test]
fn a_connection_that_asks_for_all_partitions_stays() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    for round in 0..2 * ROUNDS {
        let partition = i32::try_from(round % 2).unwrap();
        wire.append("t", partition, batch(&["x"]));
        std::thread::sleep(PAUSE);
    }
    let moves = broker.printed_with("goes where its partitions are");
    assert_eq!(moves, Vec::<String>::new());
}
