//! What every coordinator is made of: a state machine that answers commands with records and replies, the runtime that
//! parks each reply until what it rests on is committed, and the timers.
//!
//! It knows no group, no transaction, no log and no clock: those who drive it bring bytes in and carry bytes out.

pub mod runtime;
pub mod timers;

use std::sync::Arc;

use bytes::Bytes;

use crate::types::{Monotonic, Now};

/// Names one waiting requester. The caller chooses the numbers; every one gets exactly one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTicket(pub u64);

/// The ordinal of an append handed out by one runtime; grows by one each time, also across reloads, so that the news of
/// an append from before a reload is recognised as old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AppendSequence(pub u64);

/// What a reply may depend on: everything in one scope commits before it is answered. A group coordinator has one scope
/// per group.
pub type Scope = Arc<str>;

/// A record as the coordinator's partition stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    /// The key, beginning with its two-byte type. Compaction keeps the newest record of each.
    pub key: Bytes,
    /// The value, beginning with its two-byte version; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl CoordinatorRecord {
    /// How many bytes it takes in a batch, at most.
    #[must_use]
    pub fn length_max(&self) -> usize {
        let value = self.value.as_ref().map_or(0, Bytes::len);
        self.key.len() + value + FRAMING_BYTES_MAX
    }
}

/// The numbers of variable length around a record's key and value, in bytes.
pub const FRAMING_BYTES_MAX: usize = 26;

/// Why nobody can be answered at present. Both are passing conditions for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The coordinator's partition is being read.
    Loading,
    /// The partition's leader is elsewhere, or an append to it failed and the state is dropped.
    Unloaded,
}

/// A record of the coordinator's partition that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("a coordinator record ends within its field `{field}`")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
    },
    /// A length or count that is negative where it must not be, or greater than the bytes that are left.
    #[error(
        "field `{field}` of a coordinator record claims {found} elements, {left} bytes are left"
    )]
    Length {
        /// The field that was being read.
        field: &'static str,
        /// The length or count claimed.
        found: i64,
        /// How many bytes follow.
        left: usize,
    },
    /// A text that is not UTF-8, or no legal topic name.
    #[error("field `{field}` of a coordinator record is no legal text")]
    Text {
        /// The field that was being read.
        field: &'static str,
    },
    /// A value written by a later Kafka or Millrace.
    #[error("a coordinator record has value version {found}, the highest known is {highest}")]
    UnknownVersion {
        /// The version in the bytes.
        found: i16,
        /// The highest this build reads.
        highest: i16,
    },
}

/// One reply on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<Reply> {
    /// Whom it is for.
    pub ticket: ReplyTicket,
    /// What is said.
    pub reply: Reply,
    /// Everything appended in this scope, records of the same decision included, commits first. `None`: at once.
    pub after: Option<Scope>,
}

/// What a state machine wants to happen: records to write, replies to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<Record, Reply> {
    /// To be applied, then appended, in this order; together, unless they take more than
    /// [`StateMachine::append_bytes_max`].
    pub records: Vec<Record>,
    /// To be given; not only to the one who sent the command.
    pub replies: Vec<Answer<Reply>>,
}

impl<Record, Reply> Default for Decision<Record, Reply> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            replies: Vec::new(),
        }
    }
}

/// A coordinator's logic, pure: time and random bits are arguments, and the only durable effects are its records.
///
/// It has a durable part, which `apply` alone changes, and a volatile part (timers, requests that wait for one another),
/// which `decide` and `tick` change and a reload forgets.
pub trait StateMachine {
    /// What it can be asked.
    type Command;
    /// What it answers.
    type Reply;
    /// What it writes.
    type Record;

    /// Decides about one command. The reply to `ticket` is in this decision or in a later one.
    fn decide(
        &mut self,
        ticket: ReplyTicket,
        command: Self::Command,
        now: Now,
    ) -> Decision<Self::Record, Self::Reply>;

    /// Does what the earliest due timer asks for; `None` when none is due.
    fn tick(&mut self, now: Now) -> Option<Decision<Self::Record, Self::Reply>>;

    /// When `tick` next has something to do.
    fn next_deadline(&self) -> Option<Monotonic>;

    /// Folds one record into the durable part: the same call for a record just decided and for one replayed.
    fn apply(&mut self, record: &Self::Record);

    /// Every record of the partition has been applied: builds the volatile part afresh.
    fn loaded(&mut self, now: Now) -> Decision<Self::Record, Self::Reply>;

    /// Forgets everything, configuration excepted, and names the requesters who still waited for a decision.
    fn unload(&mut self) -> Vec<ReplyTicket>;

    /// The most bytes that records appended together may take, framing included; one that takes more is appended alone.
    fn append_bytes_max(&self) -> usize;

    /// The scope that a record belongs to.
    fn scope(record: &Self::Record) -> Scope;

    /// The record as stored.
    fn encode(record: &Self::Record) -> CoordinatorRecord;

    /// The record back from its bytes; `None` for a key type this coordinator does not use.
    ///
    /// # Errors
    /// When a known key or its value cannot be read.
    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self::Record>, DecodeError>;

    /// The reply that says the coordinator is not available.
    fn refuse(reason: Unavailable) -> Self::Reply;
}
