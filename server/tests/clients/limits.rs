//! How many connections there may be, how fast they may come, and who has to go.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use millrace_wire::ErrorCode;
use millrace_wire::message::incremental_alter_configs::{
    IncrementalAlterConfigsEntry, IncrementalAlterConfigsRequestResource,
};
use millrace_wire::message::{IncrementalAlterConfigsRequest, MetadataRequest};

use crate::support::broker::Broker;
use crate::support::wire::Wire;
use crate::support::{PATIENCE, eventually};

const BROKER: i8 = 4;

/// An answer is noted as a use of its connection a little after it was sent, and before its thread answers another: with
/// one thread, those who are served one after the other were used in that order.
const ONE_THREAD: (&str, &str) = ("num.shards", "1");

/// Two listeners; clients use the first, and the second is the one between brokers.
const TWO_LISTENERS: [(&str, &str); 3] = [
    ("listeners", "PLAINTEXT://127.0.0.1:0,BETWEEN://127.0.0.1:0"),
    (
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,BETWEEN:PLAINTEXT",
    ),
    ("inter.broker.listener.name", "BETWEEN"),
];

/// Where the second listener is.
fn between(broker: &Broker) -> SocketAddr {
    let lines = broker.await_printed("BETWEEN://127.0.0.1:", 1);
    let (_, rest) = lines[0].split_once("BETWEEN://").unwrap();
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    rest[..end.unwrap_or(rest.len())].parse().unwrap()
}

fn is_served(wire: &mut Wire) -> bool {
    wire.try_ask(&MetadataRequest::default(), 9).is_some()
}

/// Asks on a connection of its own, without waiting for the answer.
fn asking(address: SocketAddr) -> Wire {
    let mut wire = Wire::to(address).unwrap();
    wire.send(&MetadataRequest::default(), 9);
    wire
}

fn has_answer(wire: &mut Wire) -> bool {
    wire.patience(Duration::from_millis(300));
    let frame = wire.try_frame();
    wire.patience(PATIENCE);
    match frame {
        Ok(Some(_)) => true,
        Ok(None) => panic!("the connection was closed"),
        Err(_) => false,
    }
}

/// Changes settings of all brokers.
pub(crate) fn set(wire: &mut Wire, settings: &[(&str, i8, Option<&str>)]) {
    let code = try_set(wire, "", settings);
    assert_eq!(code, ErrorCode::None, "{settings:?}");
}

/// Changes settings of one broker, or of all: name, operation and value each.
pub(crate) fn try_set(
    wire: &mut Wire,
    broker: &str,
    settings: &[(&str, i8, Option<&str>)],
) -> ErrorCode {
    let entry = |&(name, config_operation, value): &(&str, i8, Option<&str>)| {
        IncrementalAlterConfigsEntry {
            name: name.into(),
            config_operation,
            value: value.map(Into::into),
        }
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![IncrementalAlterConfigsRequestResource {
            resource_type: BROKER,
            resource_name: broker.into(),
            configs: settings.iter().map(entry).collect(),
        }],
        validate_only: false,
    };
    wire.ask(&request, 1).responses[0].error_code
}

/// The connection that the harness made to see the broker is gone when this many are served.
fn connect_all(broker: &Broker, count: usize) -> Vec<Wire> {
    let connect = |_| {
        let mut wire = Wire::connect(broker);
        assert!(is_served(&mut wire));
        wire
    };
    (0..count).map(connect).collect()
}

#[test]
fn at_max_connections_the_next_waits_until_another_ends() {
    let broker = Broker::start(&[("max.connections", "2")]);
    let mut served = connect_all(&broker, 2);
    let mut waiting = asking(broker.address());
    assert!(!has_answer(&mut waiting));
    assert!(
        served.iter_mut().all(is_served),
        "nobody goes for a newcomer"
    );
    served.pop();
    eventually("the place that was left", || {
        has_answer(&mut waiting).then_some(())
    });
}

/// KIP-402.
#[test]
fn the_listener_between_brokers_does_not_wait_and_the_idlest_client_goes() {
    let mut settings = TWO_LISTENERS.to_vec();
    settings.extend([("max.connections", "3"), ONE_THREAD]);
    let broker = Broker::start(&settings);
    let mut clients = connect_all(&broker, 3);
    // The second was used least lately.
    assert!(is_served(&mut clients[0]) && is_served(&mut clients[2]));
    let mut broker_like = asking(between(&broker));
    assert!(broker_like.frame().is_some());
    clients[1].assert_closed();
    assert!(is_served(&mut clients[0]) && is_served(&mut clients[2]));
    // What has gone makes no room for a client: the protected one has it.
    assert!(!has_answer(&mut asking(broker.address())));
}

/// KIP-612: delayed, and nobody refused.
#[test]
fn connections_above_the_rate_are_delayed_and_the_listener_between_brokers_is_not() {
    let mut settings = TWO_LISTENERS.to_vec();
    settings.extend([
        ("max.connection.creation.rate", "2"),
        ("quota.window.num", "1"),
    ]);
    let broker = Broker::start(&settings);
    let began = Instant::now();
    let mut waiting: Vec<_> = (0..6).map(|_| asking(broker.address())).collect();
    let mut broker_like = asking(between(&broker));
    assert!(broker_like.frame().is_some());
    let took_between = began.elapsed();
    for wire in &mut waiting {
        assert!(wire.frame().is_some());
    }
    let took = began.elapsed();
    // Two may have been saved up, and two come in a second.
    assert!(took >= Duration::from_millis(1_900), "{took:?} for six");
    assert!(took_between < took, "{took_between:?} of {took:?}");
}

#[test]
fn limits_of_connections_change_while_the_broker_runs() {
    let mut broker = Broker::start(&[ONE_THREAD]);
    let mut admin = Wire::connect(&broker);
    let (set_to, reset) = (0, 1);

    set(&mut admin, &[("max.connections.per.ip", set_to, Some("1"))]);
    eventually("a second connection to be refused", || {
        let mut wire = Wire::connect(&broker);
        (!is_served(&mut wire)).then_some(())
    });
    let overrides = (
        "max.connections.per.ip.overrides",
        set_to,
        Some("127.0.0.1:2"),
    );
    set(&mut admin, &[overrides]);
    eventually("the address's own bound", || {
        is_served(&mut Wire::connect(&broker)).then_some(())
    });
    let back = [
        ("max.connections.per.ip", reset, None),
        ("max.connections.per.ip.overrides", reset, None),
    ];
    set(&mut admin, &back);

    let mut clients = Vec::new();
    eventually("three connections at once", || {
        let mut wire = Wire::connect(&broker);
        if is_served(&mut wire) {
            clients.push(wire);
        }
        (clients.len() == 3).then_some(())
    });
    // The first of them was used least lately.
    assert!(clients[1..].iter_mut().all(is_served));
    set(&mut admin, &[("max.connections", set_to, Some("3"))]);
    clients[0].assert_closed();
    assert!(clients[1..].iter_mut().all(is_served));
    // It outlives a start.
    drop((admin, clients));
    broker.restart();
    let _served = connect_all(&broker, 3);
    let mut waiting = asking(broker.address());
    assert!(!has_answer(&mut waiting));
}

#[test]
fn requests_behind_others_are_answered_however_few_may_wait() {
    let broker = Broker::start(&[
        ("queued.max.requests", "1"),
        ("queued.max.request.bytes", "1"),
    ]);
    let mut wires: Vec<_> = (0..4).map(|_| Wire::connect(&broker)).collect();
    for wire in &mut wires {
        for _ in 0..50 {
            wire.send(&MetadataRequest::default(), 9);
        }
    }
    for wire in &mut wires {
        for number in 1..=50 {
            let (answered, _) = wire.receive::<millrace_wire::message::MetadataResponse>(9);
            assert_eq!(answered, number);
        }
    }
}
