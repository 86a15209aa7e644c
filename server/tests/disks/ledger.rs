//! A producer whose acknowledged records are remembered, and the reckoning: each stands where it was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::producer::BaseRecord;

use crate::support::broker::Broker;
use crate::support::librdkafka::{Delivery, Sender};
use crate::support::records::read_all;
use crate::support::wire::Wire;

/// Where it produces to.
pub(crate) const TOPIC: &str = "orders";
/// Records a producer has under way at most.
const UNDER_WAY_MAX: usize = 200;
const PADDING: &str =
    "................................................................................";

/// By partition and offset: the number of the acknowledged record.
pub(crate) type Acknowledged = Arc<Mutex<BTreeMap<(i32, i64), usize>>>;

/// A producer that goes on until it is told to stop. Says how many records it sent.
pub(crate) fn produce(
    broker: &Broker,
    acknowledged: &Acknowledged,
    producing: &Arc<AtomicBool>,
    partitions: i32,
) -> std::thread::JoinHandle<usize> {
    let settings = [("enable.idempotence", "true"), ("message.timeout.ms", "0")];
    let sender = Sender::new(broker, &settings);
    let (acknowledged, producing) = (Arc::clone(acknowledged), Arc::clone(producing));
    std::thread::spawn(move || {
        let (mut sent, mut heard) = (0, 0);
        let keep = |reported: Vec<(usize, Delivery)>| {
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
                    .partition(i32::try_from(sent).unwrap_or(0) % partitions)
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

pub(crate) fn count(acknowledged: &Acknowledged) -> usize {
    let acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    acknowledged.len()
}

/// Reads everything and holds it against what was acknowledged; the numbers of all records there.
pub(crate) fn check(broker: &Broker, acknowledged: &Acknowledged, partitions: i32) -> Vec<usize> {
    // What is acknowledged while it is read is judged the next time.
    let expected = acknowledged
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let mut wire = Wire::connect(broker);
    let mut found = BTreeMap::new();
    for partition in 0..partitions {
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
