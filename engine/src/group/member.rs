//! One member of a classic group.
//!
//! It keeps what the member said and what it waits for; the group decides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::command::{Join, Protocol};
use super::ids::{InstanceId, MemberId};
use super::stored::StoredMember;
use crate::coordinator::ReplyTicket;

/// A member: its wishes, its assignment, and its parked requests.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<InstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// In the order of preference; names are unique.
    pub(super) protocols: Vec<Protocol>,
    /// Empty until the leader has spoken.
    pub(super) assignment: Bytes,
    /// Has never been in a generation: its session is its parked join, which expires by a time of its own.
    pub(super) is_new: bool,
    /// The join that waits for the rebalance.
    pub(super) join: Option<ReplyTicket>,
    /// The sync that waits for the leader.
    pub(super) sync: Option<ReplyTicket>,
}

impl Member {
    /// A member as it asked to join, new to the group.
    pub(super) fn new(join: &Join, ticket: ReplyTicket) -> Self {
        Self {
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: owned_protocols(&join.protocols),
            assignment: Bytes::new(),
            is_new: true,
            join: Some(ticket),
            sync: None,
        }
    }

    /// What it takes in memory under `id`, about, in bytes, without its assignment: that is part of what is recorded.
    pub(super) fn held_bytes(&self, id: &MemberId) -> usize {
        let client = [&self.client_id, &self.client_host];
        let instance = self.instance_id.as_ref();
        held_bytes(id.as_str().len(), instance, client, &self.protocols)
    }

    /// A member as recorded; all that is known of its protocols is the chosen one.
    pub(super) fn from_stored(stored: &StoredMember, protocol: &Arc<str>) -> Self {
        Self {
            instance_id: stored.instance_id.clone(),
            client_id: stored.client_id.clone(),
            client_host: stored.client_host.clone(),
            rebalance_timeout_ms: stored.rebalance_timeout_ms,
            session_timeout_ms: stored.session_timeout_ms,
            protocols: vec![Protocol {
                name: protocol.clone(),
                metadata: stored.subscription.clone(),
            }],
            assignment: stored.assignment.clone(),
            is_new: false,
            join: None,
            sync: None,
        }
    }

    /// The member as recorded under the chosen protocol.
    pub(super) fn to_stored(&self, protocol: &str) -> StoredMember {
        StoredMember {
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    /// Its subscription for a protocol; empty for one it does not support.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|known| &*known.name == protocol);
        found.map_or_else(Bytes::new, |known| known.metadata.clone())
    }

    /// Whether a join says nothing new.
    pub(super) fn matches(&self, protocols: &[Protocol]) -> bool {
        self.protocols == protocols
    }

    /// The protocol it prefers among the candidates.
    pub(super) fn vote(&self, candidates: &BTreeSet<Arc<str>>) -> Option<Arc<str>> {
        let mut names = self.protocols.iter().map(|protocol| &protocol.name);
        names.find(|name| candidates.contains(*name)).cloned()
    }

    pub(super) fn session_timeout(&self) -> Duration {
        millis(self.session_timeout_ms)
    }

    pub(super) fn rebalance_timeout(&self) -> Duration {
        millis(self.rebalance_timeout_ms)
    }
}

/// What a member's protocols are kept as: without repeated names, and in memory of their own, so that a member does not
/// keep the whole buffer of its request alive.
pub(super) fn owned_protocols(protocols: &[Protocol]) -> Vec<Protocol> {
    let mut seen = BTreeSet::new();
    let unique = protocols
        .iter()
        .filter(|protocol| seen.insert(&protocol.name));
    let owned = unique.map(|protocol| Protocol {
        name: protocol.name.clone(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    owned.collect()
}

/// What a member will take in memory that joins, about, in bytes.
pub(super) fn held_bytes_of(join: &Join) -> usize {
    let id_length = if join.member_id.is_empty() {
        new_member_id(join).as_str().len()
    } else {
        join.member_id.as_str().len()
    };
    let client = [&join.client_id, &join.client_host];
    held_bytes(
        id_length,
        join.instance_id.as_ref(),
        client,
        &join.protocols,
    )
}

fn held_bytes(
    id_length: usize,
    instance: Option<&InstanceId>,
    client: [&Arc<str>; 2],
    protocols: &[Protocol],
) -> usize {
    let protocols = protocols
        .iter()
        .map(|protocol| PROTOCOL_BYTES + protocol.name.len() + protocol.metadata.len());
    let instance = instance.map_or(0, |instance| instance.as_str().len());
    let client = client.map(|text| text.len());
    MEMBER_BYTES + id_length + instance + client.iter().sum::<usize>() + protocols.sum::<usize>()
}

/// The id of a new member: who it is, and a random UUID in the usual notation, as Kafka makes them.
pub(super) fn new_member_id(join: &Join) -> MemberId {
    let prefix = join
        .instance_id
        .as_ref()
        .map_or(&*join.client_id, InstanceId::as_str);
    let uuid = crate::types::Uuid::from_random(join.random).0;
    let id = format!(
        "{prefix}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        uuid >> 96,
        (uuid >> 80) & 0xffff,
        (uuid >> 64) & 0xffff,
        (uuid >> 48) & 0xffff,
        uuid & 0xffff_ffff_ffff
    );
    MemberId(Arc::from(id))
}

/// A client's milliseconds as a duration; nothing for negative ones.
fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A member besides its texts: its places in the group, in what is recorded of that, and among the timers.
const MEMBER_BYTES: usize = 700;
/// A protocol besides its texts: its places in the member, and among those that the group supports.
const PROTOCOL_BYTES: usize = 130;
