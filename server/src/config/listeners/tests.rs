//! Which texts are listeners.

use proptest::prelude::*;

use super::*;
use crate::config::table;

fn parse(pairs: &[(&str, &str)]) -> Result<Listeners, Vec<String>> {
    let set: BTreeMap<_, _> = pairs.iter().copied().collect();
    let default = |key: &str| table::find(key).and_then(|row| row.default);
    let text = |key: &str| {
        set.get(key)
            .copied()
            .or_else(|| default(key))
            .map(str::to_owned)
    };
    Listeners::parse(text, |key| set.contains_key(key))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    parse(pairs).expect_err("must be refused").join("\n")
}

#[test]
fn by_default_every_interface_is_bound_and_the_clients_own_address_advertised() {
    let listeners = parse(&[]).unwrap();
    let default = Listener {
        name: "PLAINTEXT".to_owned(),
        host: None,
        port: 9092,
        advertised: None,
    };
    assert_eq!(listeners.clients, [default]);
}

#[test]
fn controllers_are_kept_apart_from_clients() {
    let listeners = parse(&[
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        (
            "advertised.listeners",
            "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
        ),
    ])
    .unwrap();
    assert_eq!(listeners.clients.len(), 1);
    assert_eq!(listeners.controllers, ["CONTROLLER"]);
    assert_eq!(
        listeners.clients[0].advertised,
        advertised(Some("localhost"), 9092)
    );
}

fn advertised(host: Option<&str>, port: u16) -> Option<Advertised> {
    let host = host.map(str::to_owned);
    Some(Advertised { host, port })
}

#[test]
fn an_advertised_port_counts_without_a_host_too() {
    let listeners = parse(&[
        ("listeners", "PLAINTEXT://:9092"),
        ("advertised.listeners", "PLAINTEXT://:19092"),
    ])
    .unwrap();
    assert_eq!(listeners.clients[0].advertised, advertised(None, 19092));
}

#[test]
fn the_address_0_0_0_0_is_bound_but_never_advertised() {
    assert!(parse(&[("listeners", "PLAINTEXT://0.0.0.0:9092")]).is_ok());
    for host in ["0.0.0.0", "[::]"] {
        let advertised = format!("PLAINTEXT://{host}:9092");
        let refused = refusal(&[("advertised.listeners", &advertised)]);
        assert!(refused.contains("nonroutable meta-address"), "{refused}");
    }
}

#[test]
fn a_secured_listener_is_refused_and_never_silently_plain() {
    for protocol in ["SSL", "SASL_PLAINTEXT", "SASL_SSL"] {
        let refused = refusal(&[("listeners", &format!("{protocol}://:9093"))]);
        assert!(refused.contains("TLS and SASL come later"), "{refused}");
    }
    let refused = refusal(&[
        ("listeners", "EXTERNAL://:9093"),
        ("listener.security.protocol.map", "EXTERNAL:SASL_SSL"),
    ]);
    assert!(refused.contains("EXTERNAL uses SASL_SSL"), "{refused}");
}

#[test]
fn names_and_ports_appear_once_and_names_have_a_protocol() {
    let refused = refusal(&[("listeners", "A://:1,A://:2,B://:1,C://:1,D://h:99999,E:1")]);
    for part in [
        "A is there twice",
        "A and B share 1",
        "no security protocol is defined for listener B",
        "unable to read the listener \"D://h:99999\"",
        "unable to read the listener \"E:1\"",
    ] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    assert!(
        parse(&[
            ("listeners", "A://:0,B://:0"),
            ("listener.security.protocol.map", "A:PLAINTEXT,B:plaintext")
        ])
        .is_ok()
    );
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    let listeners = parse(&[("listeners", "plaintext://[::1]:9092")]).unwrap();
    assert_eq!(listeners.clients[0].host.as_deref(), Some("::1"));
    assert_eq!(listeners.clients[0].name, "PLAINTEXT");
    assert_eq!(
        Endpoint {
            host: "::1".to_owned(),
            port: 1
        }
        .to_string(),
        "[::1]:1"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_answered(text in "[A-C:/\\[\\]0-9,. \u{e9}]{0,40}") {
        let _ = parse(&[("listeners", &text), ("advertised.listeners", &text)]);
        let _ = parse(&[("listener.security.protocol.map", &text)]);
    }
}
