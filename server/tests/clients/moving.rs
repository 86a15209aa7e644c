//! Connections that go over to another thread, seen from the client: as if nothing had happened.

use std::time::Duration;

use millrace_wire::ErrorCode;
use millrace_wire::message::ProduceResponse;

use crate::support::broker::Broker;
use crate::support::records::{batch, read, values};
use crate::support::wire::{Limits, Wire, fetch_request, produce_request, record_bytes};
use crate::support::within;

/// A client with one request in flight, and pauses that leave the other thread calm.
const ROUNDS: i64 = 40;
const PAUSE: Duration = Duration::from_millis(3);
/// Requests of one that never waits for an answer before it sends the next.
const IN_FLIGHT: usize = 5;
/// A thread that the machine keeps waiting looks busy, and a connection may go elsewhere, or nowhere: on a busy machine
/// it may take minutes until the threads look as calm as they are.
const CALM: Duration = Duration::from_secs(300);

#[test]
fn a_connection_that_asks_for_one_partition_moves_and_keeps_its_order_and_its_session() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    let mut producer = Wire::connect(&broker);
    let mut reader = Wire::connect(&broker);
    let moves = || broker.printed_with("goes where its partitions are");
    let has_moved = |wire: &Wire| {
        let address = wire.stream().local_addr().unwrap().to_string();
        moves().iter().any(|line| line.contains(&address))
    };
    // The two partitions are on different threads, so each connection is on the wrong one in every other turn.
    let mut turns = 0;
    within(CALM, "both connections to move", || {
        let (partition, first) = (turns % 2, i64::from(turns / 2) * ROUNDS);
        let mut request = fetch_request("t", partition, first, Limits::default());
        request.session_epoch = 0;
        let mut session_id = 0;
        for round in 0..ROUNDS {
            let (offset, value) = (first + round, format!("{partition}-{round}"));
            assert_eq!(producer.append("t", partition, batch(&[&value])), offset);
            let answer = reader.ask(&request, 12);
            assert!(!answer.error_code.is_error(), "{:?}", answer.error_code);
            let entry = &answer.responses[0].partitions[0];
            assert_eq!(values(&read(&record_bytes(entry))), [value]);
            assert!(answer.session_id != 0 && [0, session_id].contains(&session_id));
            session_id = answer.session_id;
            request = fetch_request("t", partition, offset + 1, Limits::default());
            request.session_id = session_id;
            request.session_epoch = i32::try_from(round + 1).unwrap();
            std::thread::sleep(PAUSE);
        }
        turns += 1;
        (turns >= 2 && has_moved(&producer) && has_moved(&reader)).then_some(())
    });
    let (moves, most) = (moves().len(), usize::try_from(2 * turns).unwrap());
    assert!(
        moves <= most,
        "{moves} moves of two connections, {turns} turns"
    );
}

#[test]
fn connections_that_ask_for_all_partitions_share_a_thread_while_it_has_time() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    // Every connection comes to the thread with the fewest, so one of them at least is not on the first.
    let mut producers = [(); 3].map(|()| Wire::connect(&broker));
    let addresses = producers
        .each_ref()
        .map(|producer| producer.stream().local_addr().unwrap().to_string());
    let mut round = 0;
    let mut go_round = || {
        for producer in &mut producers {
            producer.append("t", round % 2, batch(&["x"]));
        }
        round += 1;
        std::thread::sleep(PAUSE);
    };
    let moved = || broker.printed_with("goes where there is time for it");
    // Where each went last, if anywhere.
    let is_on_the_first = |moves: &[String], address: &String| {
        let address = format!("address={address} ");
        let last = moves.iter().rfind(|line| line.contains(&address));
        last.is_none_or(|line| line.contains("shard=0"))
    };
    within(CALM, "all of them to share the first thread", || {
        for _ in 0..2 * ROUNDS {
            go_round();
        }
        let moves = moved();
        let share = addresses
            .iter()
            .all(|address| is_on_the_first(&moves, address));
        (!moves.is_empty() && share).then_some(())
    });
    let settled = broker.printed_with("goes where its partitions are");
    assert_eq!(settled, Vec::<String>::new());
}

#[test]
fn a_connection_that_always_has_requests_in_flight_moves_and_keeps_their_order() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    wire.create_topic("t", 2, &[]);
    let mut producer = Wire::connect(&broker);
    for partition in [0, 1] {
        assert_eq!(producer.append("t", partition, batch(&["first"])), 0);
        let request = produce_request("t", partition, -1, batch(&["x"]));
        for _ in 0..IN_FLIGHT {
            producer.send(&request, 9);
        }
        let moved = || broker.printed_with("goes where its partitions are").len();
        let (before, mut answered) = (moved(), 0);
        let mut answer_one = |producer: &mut Wire| {
            let (_, answer): (_, ProduceResponse) = producer.receive(9);
            let answer = &answer.responses[0].partition_responses[0];
            answered += 1;
            assert_eq!(
                (answer.error_code, answer.base_offset),
                (ErrorCode::None, answered)
            );
        };
        // The two partitions are on different threads: the connection is on the wrong one for one of them, at least.
        for _ in 0..ROUNDS {
            answer_one(&mut producer);
            producer.send(&request, 9);
            std::thread::sleep(PAUSE);
        }
        if partition == 1 && moved() == 0 {
            within(CALM, "the connection to move", || {
                answer_one(&mut producer);
                producer.send(&request, 9);
                (moved() > before).then_some(())
            });
        }
        for _ in 0..IN_FLIGHT {
            answer_one(&mut producer);
        }
    }
}
