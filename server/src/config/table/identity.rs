//! Rows about who the broker is and where it listens.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them, but that listeners are bound once, at start.

use millrace_engine::config::Allowed::{Anything, EachOf, OneOf};
use millrace_engine::config::Handling::{Accepted, Honoured, Mapped, Pending};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::{CLUSTER, REPLICA_SELECTOR};

pub(super) const ROWS: &[Property] = properties! {
    "node.id": Int, Allowed::at_least(0), ReadOnly, Honoured,
        "The broker's number, in every answer that names it; `broker.id` when unset.";
    "broker.id": Int = "-1", Allowed::at_least(-1), ReadOnly, Mapped,
        "Older name of `node.id`; -1 is unset.";
    "process.roles": List, EachOf(&["broker", "controller"]), ReadOnly, Mapped,
        "Roles of the process; this one is always broker and controller.";
    "controller.listener.names": List, Anything, ReadOnly, Mapped,
        "Listeners that are not shown to clients.";
    "controller.quorum.voters": List = "", Anything, ReadOnly, Mapped,
        "Controllers as id@host:port; more than one needs a cluster.";
    "controller.quorum.bootstrap.servers": List = "", Anything, ReadOnly, Mapped,
        "Controllers to ask first, as host:port.";
    "listeners": List = "PLAINTEXT://:9092", Anything, ReadOnly, Honoured,
        "Where to listen, NAME://host:port each; an empty host is every interface, port 0 is any free one.";
    "advertised.listeners": List, Anything, ReadOnly, Honoured,
        "What clients are told to connect to; unset, the address each client came to.";
    "listener.security.protocol.map": String = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", Anything, ReadOnly, Honoured,
        "The security protocol of each listener name, NAME:PROTOCOL each.";
    "inter.broker.listener.name": String, Anything, ReadOnly, Mapped,
        "The listener that other brokers use.";
    "security.inter.broker.protocol": String = "PLAINTEXT", OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), ReadOnly, Mapped,
        "The protocol between brokers, where no listener is named for it.";
    "early.start.listeners": List, Anything, ReadOnly, Accepted,
        "Listeners open before the broker has started; ours all open when it serves.";
    "broker.rack": String, Anything, ReadOnly, Honoured,
        "Where the broker stands; clients use it to read close by.";
    "replica.selector.class": String, REPLICA_SELECTOR, ReadOnly, Pending(CLUSTER),
        "Which replica a consumer reads from; only Kafka's own selectors are known.";
    "zookeeper.connect": String, Anything, ReadOnly, Accepted,
        [unlisted],
        "Where ZooKeeper was; there is none to connect to, metadata is kept by the broker.";
};
