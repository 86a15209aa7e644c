//! What Produce promises about acknowledgements and duplicates.

use std::time::Duration;

use millrace_wire::ErrorCode;
use millrace_wire::message::{MetadataRequest, MetadataResponse};

use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::records::{batch, numbered, read_all, values};
use crate::support::wire::{Wire, produce_request};
use crate::with_topic;

/// SEMANTICS 14.
#[test]
fn acks_0_has_no_answer_and_the_next_answer_follows_directly() {
    let (_broker, mut wire) = with_topic();
    for number in 0..3 {
        wire.send(
            &produce_request("t", 0, 0, batch(&[&number.to_string()])),
            9,
        );
    }
    let metadata = wire.send(&MetadataRequest::default(), 9);
    assert_eq!(wire.receive::<MetadataResponse>(9).0, metadata);
    eventually("the records to be there", || {
        (values(&read_all(&mut wire, "t", 0, 0)) == ["0", "1", "2"]).then_some(())
    });
}

/// SEMANTICS 14: the only signal there is.
#[test]
fn an_error_at_acks_0_closes_the_connection() {
    let (broker, _) = with_topic();
    let mut damaged = batch(&["v"]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    for request in [
        produce_request("unknown", 0, 0, batch(&["v"])),
        produce_request("t", 9, 0, batch(&["v"])),
        produce_request("t", 0, 0, damaged),
    ] {
        let mut wire = Wire::connect(&broker);
        wire.send(&request, 9);
        wire.assert_closed();
    }
}

/// SEMANTICS 14.
#[test]
fn acks_other_than_0_1_and_all_are_refused() {
    let (_broker, mut wire) = with_topic();
    for acks in [2, -2, 100] {
        let answer = wire.ask(&produce_request("t", 0, acks, batch(&["v"])), 9);
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::InvalidRequiredAcks, "acks {acks}");
    }
    assert_eq!(
        wire.list_offset("t", 0, -1).offset,
        0,
        "nothing was appended"
    );
}

/// SEMANTICS 39: the last five batches are known; a repeated one is answered with the offset it got.
#[test]
fn a_repeated_batch_is_answered_with_its_first_offset_and_not_appended() {
    let (_broker, mut wire) = with_topic();
    let producer = wire.producer_id();
    for sequence in (0..12).step_by(2) {
        let offset = wire.append("t", 0, numbered(&["a", "b"], producer, sequence));
        assert_eq!(offset, i64::from(sequence));
    }
    for sequence in (2..12).step_by(2) {
        let again = wire.produce("t", 0, numbered(&["a", "b"], producer, sequence));
        assert_eq!(
            (again.error_code, again.base_offset),
            (ErrorCode::None, i64::from(sequence))
        );
    }
    let forgotten = wire.produce("t", 0, numbered(&["a", "b"], producer, 0));
    assert_eq!(
        forgotten.error_code,
        ErrorCode::OutOfOrderSequenceNumber,
        "the sixth last"
    );
    assert_eq!(wire.list_offset("t", 0, -1).offset, 12);
}

/// SEMANTICS 39.
#[test]
fn sequences_follow_one_another_and_epochs_start_anew() {
    let (_broker, mut wire) = with_topic();
    let (id, epoch) = wire.producer_id();
    let mut code = |epoch, sequence| {
        wire.produce("t", 0, numbered(&["v"], (id, epoch), sequence))
            .error_code
    };
    assert_eq!(code(epoch, 0), ErrorCode::None);
    assert_eq!(code(epoch, 2), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(code(epoch, 1), ErrorCode::None);
    assert_eq!(
        code(epoch + 1, 5),
        ErrorCode::OutOfOrderSequenceNumber,
        "a new epoch starts at 0"
    );
    assert_eq!(code(epoch + 1, 0), ErrorCode::None);
    assert_eq!(code(epoch, 2), ErrorCode::InvalidProducerEpoch);
    // An unknown producer may start anywhere: its state may have gone with its records.
    assert_eq!(
        wire.produce("t", 0, numbered(&["v"], (id + 1000, 0), 77))
            .error_code,
        ErrorCode::None
    );
}

/// SEMANTICS 39.
#[test]
fn sequences_wrap_from_the_largest_to_zero() {
    let (_broker, mut wire) = with_topic();
    let producer = wire.producer_id();
    wire.append("t", 0, numbered(&["a"], producer, i32::MAX - 1));
    wire.append("t", 0, numbered(&["b", "c"], producer, i32::MAX));
    wire.append("t", 0, numbered(&["d"], producer, 1));
    let again = wire.append("t", 0, numbered(&["b", "c"], producer, i32::MAX));
    assert_eq!(again, 1);
    assert_eq!(
        values(&read_all(&mut wire, "t", 0, 0)),
        ["a", "b", "c", "d"]
    );
}

#[test]
fn a_duplicate_in_flight_is_appended_once() {
    let (_broker, mut wire) = with_topic();
    let producer = wire.producer_id();
    let request = produce_request("t", 0, -1, numbered(&["v"], producer, 0));
    for _ in 0..5 {
        wire.send(&request, 9);
    }
    for _ in 0..5 {
        let (_, answer) = wire.receive::<millrace_wire::message::ProduceResponse>(9);
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(
            (partition.error_code, partition.base_offset),
            (ErrorCode::None, 0)
        );
    }
    assert_eq!(wire.list_offset("t", 0, -1).offset, 1);
}

#[test]
fn producer_ids_are_never_given_out_twice() {
    let broker = Broker::start(&[]);
    let mut ids = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::connect(&broker);
        wire.patience(Duration::from_secs(10));
        ids.extend((0..50).map(|_| wire.producer_id().0));
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
