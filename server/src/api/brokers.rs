//! Where brokers are, as one client should see it, and what that client may do.

use std::collections::BTreeMap;

use millrace_engine::metadata::{MetadataImage, Partition};
use millrace_engine::types::{BrokerId, TopicIdPartition};
use millrace_wire::Str;

use super::context::RequestContext;

/// A broker's address on the listener of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokerAddress {
    pub(super) id: i32,
    pub(super) host: Str,
    pub(super) port: i32,
    pub(super) rack: Option<Str>,
}

impl RequestContext {
    /// This broker's id.
    pub(super) fn node_id(&self) -> BrokerId {
        self.settings().config.node_id
    }

    /// The brokers that can be reached through the listener of the request, by id.
    pub(super) fn brokers(&self, image: &MetadataImage) -> Vec<BrokerAddress> {
        image
            .brokers()
            .filter_map(|broker| self.broker(image, broker.id))
            .collect()
    }

    /// One broker, if it is registered and has the listener of the request.
    pub(super) fn broker(&self, image: &MetadataImage, id: BrokerId) -> Option<BrokerAddress> {
        let broker = image.broker(id)?;
        let (host, port) = if id == self.node_id() {
            let own = self.client().advertised();
            (Str::from(own.host), own.port)
        } else {
            let name = self.client().listener();
            let endpoint = broker
                .endpoints
                .iter()
                .find(|endpoint| endpoint.listener == name)?;
            (Str::from(&endpoint.host), endpoint.port)
        };
        let rack = broker.rack.as_ref().map(Str::from);
        Some(BrokerAddress {
            id: id.0,
            host,
            port: port.into(),
            rack,
        })
    }

    /// The broker to send admin requests to: the controller, or this one, which passes on what it cannot decide.
    pub(super) fn controller(&self, image: &MetadataImage) -> i32 {
        match image.broker(image.controller()) {
            Some(broker) => broker.id.0,
            None => self.node_id().0,
        }
    }
}

/// Where the leaders are that a client missed (KIP-951), gathered over one answer.
#[derive(Debug, Default)]
pub(super) struct LeaderHints {
    endpoints: BTreeMap<i32, BrokerAddress>,
}

impl LeaderHints {
    /// The leader of a partition and its epoch; its address is kept for [`Self::endpoints`]. `None` when nobody leads, or
    /// when it is this broker after all: a hint back to where the error comes from would make clients turn in circles.
    pub(super) fn leader(
        &mut self,
        context: &RequestContext,
        image: &MetadataImage,
        partition: TopicIdPartition,
    ) -> Option<(i32, i32)> {
        let state = image.partition(partition)?;
        if state.leader == context.node_id() {
            return None;
        }
        let address = context.broker(image, state.leader)?;
        self.endpoints.insert(address.id, address);
        Some((state.leader.0, state.leader_epoch.0))
    }

    /// The addresses of all leaders named.
    pub(super) fn endpoints(self) -> impl Iterator<Item = BrokerAddress> {
        self.endpoints.into_values()
    }
}

/// Replicas of a partition on brokers that are not there, or in log directories that have failed.
pub(super) fn offline_replicas(image: &MetadataImage, partition: &Partition) -> Vec<i32> {
    let gone = partition
        .replicas
        .iter()
        .filter(|&&id| !image.is_online(partition, id));
    gone.map(|id| id.0).collect()
}

/// The ids as they travel.
pub(super) fn numbers(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

/// The bit masks of "authorized operations": bit n stands for the operation with the number n. Without an authorizer
/// everybody may do everything that the kind of resource knows.
pub(super) mod authorized {
    const READ: i32 = 1 << 3;
    const WRITE: i32 = 1 << 4;
    const CREATE: i32 = 1 << 5;
    const DELETE: i32 = 1 << 6;
    const ALTER: i32 = 1 << 7;
    const DESCRIBE: i32 = 1 << 8;
    const CLUSTER_ACTION: i32 = 1 << 9;
    const DESCRIBE_CONFIGS: i32 = 1 << 10;
    const ALTER_CONFIGS: i32 = 1 << 11;
    const IDEMPOTENT_WRITE: i32 = 1 << 12;

    /// What can be done to a cluster.
    pub(in crate::api) const CLUSTER: i32 = CREATE
        | ALTER
        | DESCRIBE
        | CLUSTER_ACTION
        | DESCRIBE_CONFIGS
        | ALTER_CONFIGS
        | IDEMPOTENT_WRITE;
    /// What can be done to a topic.
    pub(in crate::api) const TOPIC: i32 =
        READ | WRITE | CREATE | DELETE | ALTER | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;
    /// What can be done to a group.
    pub(in crate::api) const GROUP: i32 =
        READ | DELETE | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;
    /// The client did not ask.
    pub(in crate::api) const NOT_ASKED: i32 = i32::MIN;

    /// Measured at Kafka 4.3.1.
    const _: () = assert!(CLUSTER == 8096);
}
