//! The APIs: one table, one file per API, and the way from a frame to its handler.
//!
//! A handler is added in two steps. Its file `api/<name>.rs` gets
//! `pub(super) async fn handle(request: XRequest, context: &RequestContext) -> Result<XResponse, Stopped>`, and [`TABLE`]
//! gets the row `in_turn!(X, x::handle)`, in the order of the keys. What is advertised and which versions reach the handler
//! follows from the table and the wire crate; the module comment of `offset_for_leader_epoch` walks through an example.
//!
//! A handler asks partitions through `scatter::ask`, reads metadata from [`RequestContext::image`], changes it by
//! [`RequestContext::propose`], maps engine errors with `api/error.rs` and calls no other handler. [`Stopped`] is not an answer: it closes the
//! connection, because the fate of what was asked is unknown.

mod admin;
mod alter_configs;
mod api_versions;
mod brokers;
mod configs;
mod context;
mod coordination;
mod course;
mod create_acls;
mod create_partitions;
mod create_topics;
mod creation;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod error;
mod fetch;
mod fetch_answer;
mod fetch_news;
mod fetch_session;
mod fetch_waiting;
mod find_coordinator;
mod frontend;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sasl_handshake;
mod scatter;
mod sync_group;
#[cfg(test)]
mod test_image;
mod topics;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use millrace_engine::log::Extent;
use millrace_wire::{ApiKey, Reader, RequestHeader, Str};
use smallvec::SmallVec;

use crate::net::{Closing, Frame, Refusal, Reservation};

pub(crate) use context::{Belongings, Client, RequestContext};
pub(crate) use course::Bearing;
pub(crate) use frontend::{Frontend, share};

/// What a client gets for one request, in the order of sending; nothing at all for a Produce with acks=0.
pub(crate) type Parts = SmallVec<[Part; 1]>;

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a file.
    Extent(Extent),
    /// Nothing to send: memory set aside for what comes before it, given back when that has left.
    Room(Box<Reservation>),
}

/// An answer that is being made. Nothing but a Produce has begun before it is first polled.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Parts, Closing>>>>;

/// A request that was taken.
pub(crate) struct Dispatched {
    /// How its answer comes about. The next request of the connection may be taken when the work is handed over.
    pub(crate) submission: Submission,
    /// Whether the work begins now; else it does when the answer is first polled.
    pub(crate) has_begun: bool,
}

impl Dispatched {
    fn in_turn(answer: Answer) -> Self {
        Self {
            submission: Submission::Done(answer),
            has_begun: false,
        }
    }
}

/// Work that is handed over, in the order of requests.
pub(crate) enum Submission {
    /// It is; this is its answer.
    Done(Answer),
    /// It is when this ends, which yields its answer.
    Waiting(Pin<Box<dyn Future<Output = Result<Answer, Closing>>>>),
}

impl Submission {
    /// Waits until the work is handed over.
    pub(crate) async fn done(self) -> Result<Answer, Closing> {
        match self {
            Self::Done(answer) => Ok(answer),
            Self::Waiting(submission) => submission.await,
        }
    }
}

/// A request whose body has not been looked at.
pub(crate) struct Call {
    context: RequestContext,
    body: Reader,
}

/// One row of the table.
struct Api {
    key: ApiKey,
    serve: Serve,
}

/// When a request's work begins. Answers leave in the order of requests either way.
enum Serve {
    /// When all requests before it are answered, as in Kafka.
    InTurn(fn(Call) -> Answer),
    /// On arrival.
    OnArrival(fn(Call) -> Result<Submission, Closing>),
}

/// The row of an API whose handler takes a message and gives one back.
macro_rules! in_turn {
    ($key:ident, $handle:path) => {
        Api {
            key: ApiKey::$key,
            serve: Serve::InTurn(|call| {
                Box::pin(async move {
                    let (request, context) = call.decode_of_any_length().await?;
                    let response = $handle(request, &context).await?;
                    context.encode(response).await
                })
            }),
        }
    };
}

/// What is served, by key: exactly this is advertised.
static TABLE: &[Api] = &[
    Api {
        key: ApiKey::Produce,
        serve: Serve::OnArrival(produce::on_arrival),
    },
    Api {
        key: ApiKey::Fetch,
        serve: Serve::InTurn(fetch::in_turn),
    },
    in_turn!(ListOffsets, list_offsets::handle),
    in_turn!(Metadata, metadata::handle),
    in_turn!(OffsetCommit, offset_commit::handle),
    in_turn!(OffsetFetch, offset_fetch::handle),
    in_turn!(FindCoordinator, find_coordinator::handle),
    in_turn!(JoinGroup, join_group::handle),
    in_turn!(Heartbeat, heartbeat::handle),
    in_turn!(LeaveGroup, leave_group::handle),
    in_turn!(SyncGroup, sync_group::handle),
    in_turn!(DescribeGroups, describe_groups::handle),
    in_turn!(ListGroups, list_groups::handle),
    in_turn!(SaslHandshake, sasl_handshake::handle),
    in_turn!(ApiVersions, api_versions::handle),
    in_turn!(CreateTopics, create_topics::handle),
    in_turn!(DeleteTopics, delete_topics::handle),
    in_turn!(DeleteRecords, delete_records::handle),
    in_turn!(InitProducerId, init_producer_id::handle),
    in_turn!(OffsetForLeaderEpoch, offset_for_leader_epoch::handle),
    in_turn!(DescribeAcls, describe_acls::handle),
    in_turn!(CreateAcls, create_acls::handle),
    in_turn!(DeleteAcls, delete_acls::handle),
    in_turn!(DescribeConfigs, describe_configs::handle),
    in_turn!(AlterConfigs, alter_configs::handle),
    in_turn!(DescribeLogDirs, describe_log_dirs::handle),
    in_turn!(CreatePartitions, create_partitions::handle),
    in_turn!(DeleteGroups, delete_groups::handle),
    in_turn!(IncrementalAlterConfigs, incremental_alter_configs::handle),
    in_turn!(OffsetDelete, offset_delete::handle),
    in_turn!(DescribeCluster, describe_cluster::handle),
    in_turn!(DescribeProducers, describe_producers::handle),
    in_turn!(DescribeTopicPartitions, describe_topic_partitions::handle),
];

/// The APIs that are served.
pub(crate) fn served() -> impl Iterator<Item = ApiKey> {
    TABLE.iter().map(|api| api.key)
}

/// Takes a request and says how its answer comes about.
///
/// # Errors
/// The connection cannot go on.
pub(crate) fn dispatch(client: &Rc<Client>, frame: Frame) -> Result<Dispatched, Closing> {
    let has_own_buffer = frame.has_own_buffer();
    let Frame { body, reservation } = frame;
    let length = body.len();
    let mut body = Reader::new(body, request_budget(length));
    let mut header =
        RequestHeader::decode(&mut body).map_err(|error| Closing::NoRequest(error.to_string()))?;
    let api = TABLE.iter().find(|api| api.key.number() == header.api_key);
    let holds_up = api.is_some_and(|api| MAY_WAIT.contains(&api.key));
    if has_own_buffer || holds_up {
        // A slice would keep all of the frame, and what was read with it (2 KiB at least), for as long as the request waits.
        header.client_id = header.client_id.map(|name| Str::from(&*name));
    }
    let context = RequestContext::new(Rc::clone(client), header, reservation, holds_up);
    let Some(api) = api else {
        return Err(context.refuse("this API is not served"));
    };
    let versions = api.key.versions();
    if !versions.contains(&context.version()) {
        if api.key == ApiKey::ApiVersions {
            let answer = async move { context.encode_as(&api_versions::from_the_future(), 0) };
            return Ok(Dispatched::in_turn(Box::pin(answer)));
        }
        let (first, last) = (versions.start(), versions.end());
        return Err(context.refuse(format!("versions {first} to {last} are served")));
    }
    let call = Call { context, body };
    match api.serve {
        Serve::InTurn(serve) => Ok(Dispatched::in_turn(serve(call))),
        Serve::OnArrival(serve) => Ok(Dispatched {
            submission: serve(call)?,
            has_begun: true,
        }),
    }
}

/// Memory that a request of so many bytes may take when it is decoded.
pub(crate) fn request_budget(frame_bytes: usize) -> usize {
    frame_bytes
        .saturating_mul(DECODED_PER_BYTE)
        .saturating_add(DECODED_BASE)
        .min(DECODED_MAX)
}

/// What may wait for minutes when its turn has come.
const MAY_WAIT: [ApiKey; 3] = [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup];
/// Memory that a decoded request may take beyond its frame: per byte of it, and in any case. The smallest array
/// elements are two bytes on the wire and a few words in memory.
const DECODED_PER_BYTE: usize = 16;
const DECODED_BASE: usize = 64 * 1024;
/// And never more than this, which is 250,000 partitions: large requests are large by their records, which stay in the frame.
const DECODED_MAX: usize = 16 * 1024 * 1024;
