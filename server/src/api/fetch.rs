//! Fetch (key 1): finds record batches for consumers, waits for more if there are too few, and points to them in their files.
//!
//! Sessions are in `fetch_session`; bytes are not touched here: an answer is pieces of encoding with extents between them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::log::Extent;
use millrace_engine::metadata::MetadataImage;
use millrace_engine::partition::{Isolation, ReadError};
use millrace_engine::shard::command::{Command, Fetch, FetchId, FetchPartition, Fetched};
use millrace_engine::shard::{Gateway, ShardIndex, Stopped};
use millrace_engine::types::{LeaderEpoch, Monotonic, Offset, TopicIdPartition};
use millrace_wire::ErrorCode;
use millrace_wire::frame::response_pieces;
use millrace_wire::message::fetch::{
    FetchCurrentLeader, FetchDivergingEpoch, FetchNodeEndpoint, FetchRequest, FetchResponse,
    FetchResponsePartition, FetchResponseTopic, Records,
};
use millrace_wire::{Piece, Str, Uuid};
use tokio::sync::oneshot;

use super::brokers::LeaderHints;
use super::context::RequestContext;
use super::error::ToErrorCode;
use super::fetch_session::{NO_SESSION, Scope, TOPIC_IDS_FIRST, TopicKey, Wish};
use super::topics::{partition_by_id, partition_by_name};
use super::turns::Turns;
use super::{Answer, Call, Closing, Part, Parts};

/// The row's function.
pub(super) fn in_turn(call: Call) -> Answer {
    Box::pin(async move {
        let (request, context) = call.decode::<FetchRequest>()?;
        let (response, extents) = handle(&request, &context).await?;
        encode(&response, extents, &context)
    })
}

/// The response as encoded pieces with the extents where their records belong.
fn encode(
    response: &FetchResponse,
    extents: Vec<Extent>,
    context: &RequestContext,
) -> Result<Parts, Closing> {
    let pieces = response_pieces(context.correlation_id(), response, context.version());
    let pieces =
        pieces.map_err(|error| context.refuse(format!("the answer has no form: {error}")))?;
    let parts = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => Some(Part::Bytes(bytes)),
        Piece::Records { index, .. } => extents.get(index).cloned().map(Part::Extent),
    });
    let parts: Option<Parts> = parts.collect();
    parts.ok_or_else(|| context.refuse("the answer lost an extent"))
}

async fn handle(
    request: &FetchRequest,
    context: &RequestContext,
) -> Result<(FetchResponse, Vec<Extent>), Stopped> {
    let frontend = context.client().frontend();
    let now = context.gateway().now().monotonic;
    let entered = frontend.sessions().enter(request, context.version(), now);
    let (scope, mut wishes) = match entered {
        Err(error_code) => {
            return Ok((
                FetchResponse {
                    error_code,
                    ..Default::default()
                },
                Vec::new(),
            ));
        }
        Ok(Scope::Once(wishes)) => (Remember::Nothing, wishes),
        Ok(Scope::First(wishes)) => (Remember::All, wishes),
        Ok(Scope::Next {
            session,
            epoch,
            wishes,
        }) => (Remember::News(session, epoch), wishes),
    };
    let image = context.image();
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let mut turns = Turns::default();
    let mut reads = Vec::with_capacity(wishes.len());
    for wish in &mut wishes {
        turns.next().await;
        reads.push(resolve(&image, wish, isolation));
    }
    let limits = Limits::of(
        request,
        context.settings().config.sockets.fetch_bytes_max,
        now,
    );
    let good = reads
        .iter()
        .filter_map(|read| read.as_ref().ok().copied())
        .collect();
    let fetched = fetch(context, good, &limits).await?;
    let mut results = within(fetched, limits.bytes_max).into_iter();

    let mut dressing = Dressing {
        context,
        isolation,
        hints: LeaderHints::default(),
    };
    let mut answers = Vec::with_capacity(wishes.len());
    for (wish, read) in wishes.into_iter().zip(reads) {
        let result = match read {
            // As many results as reads.
            Ok(read) => Ok((read.partition, results.next().ok_or(Stopped)?)),
            Err(error) => Err(error),
        };
        turns.next().await;
        let (response, extent) = dressing.dress(wish.read.partition, result);
        answers.push((wish, response, extent));
    }
    let (session_id, answers) = match scope {
        Remember::Nothing => (NO_SESSION, answers),
        Remember::All => {
            let answered = answers
                .iter()
                .map(|(wish, response, _)| (wish.clone(), response));
            let by_id = context.version() >= TOPIC_IDS_FIRST;
            let random = context.gateway().random();
            let now = context.gateway().now().monotonic;
            (
                frontend.sessions().create(answered, by_id, now, random),
                answers,
            )
        }
        Remember::News(session, epoch) => {
            let mut session = session.borrow_mut();
            if session.epoch() != epoch {
                // Another connection went on with the session while this request waited.
                let error_code = ErrorCode::InvalidFetchSessionEpoch;
                return Ok((
                    FetchResponse {
                        error_code,
                        ..Default::default()
                    },
                    Vec::new(),
                ));
            }
            answers.retain(|(wish, response, _)| session.is_news(wish, response));
            (session.id(), answers)
        }
    };
    context.client().set_session(session_id);
    let node_endpoints = dressing.hints.endpoints().map(|broker| FetchNodeEndpoint {
        node_id: broker.id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
    });
    let node_endpoints = node_endpoints.collect();
    let (responses, extents) = gather(answers);
    Ok((
        FetchResponse {
            session_id,
            responses,
            node_endpoints,
            ..Default::default()
        },
        extents,
    ))
}

/// What of an answer the broker keeps.
enum Remember {
    Nothing,
    All,
    News(
        std::rc::Rc<std::cell::RefCell<super::fetch_session::Session>>,
        i32,
    ),
}

/// How much is wanted and how long it may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes_max: u64,
    bytes_min: u64,
    deadline: Monotonic,
}

impl Limits {
    fn of(request: &FetchRequest, broker_max: u32, now: Monotonic) -> Self {
        let number = |field: i32| u64::try_from(field).unwrap_or(0);
        let bytes_max = number(request.max_bytes).min(broker_max.into());
        let wait = Duration::from_millis(number(request.max_wait_ms));
        Self {
            bytes_max,
            // More than the most would never be reached.
            bytes_min: if wait.is_zero() {
                0
            } else {
                number(request.min_bytes).min(bytes_max)
            },
            deadline: now.after(wait),
        }
    }
}

/// What a wish means to the engine.
fn resolve(
    image: &MetadataImage,
    wish: &mut Wish,
    isolation: Isolation,
) -> Result<FetchPartition, ErrorCode> {
    let asked = &wish.read;
    let partition = match &wish.topic {
        TopicKey::Name(name) => partition_by_name(image, name, asked.partition),
        TopicKey::Id(id) => partition_by_id(image, *id, asked.partition),
    };
    let partition = partition.map_err(|error| match &wish.known_as {
        // The topic of a session was made anew: the client has to learn its new id.
        Some(name) if error == ErrorCode::UnknownTopicId && image.topic(name).is_some() => {
            ErrorCode::InconsistentTopicId
        }
        _ => error,
    })?;
    if wish.known_as.is_none() {
        wish.known_as = image
            .topic_by_id(partition.topic_id)
            .map(|topic| topic.name.clone());
    }
    Ok(FetchPartition {
        partition,
        offset: Offset(asked.fetch_offset),
        bytes_max: u64::try_from(asked.partition_max_bytes).unwrap_or(0),
        current_leader_epoch: LeaderEpoch(asked.current_leader_epoch),
        last_fetched_epoch: LeaderEpoch(asked.last_fetched_epoch),
        isolation,
    })
}

type Results = Vec<Result<Fetched, ReadError>>;

/// What one shard is asked, and what it answered last.
struct Share {
    shard: ShardIndex,
    places: Vec<usize>,
    partitions: Vec<FetchPartition>,
    results: Results,
}

impl Share {
    fn bytes(&self) -> u64 {
        self.results
            .iter()
            .flatten()
            .map(|fetched| length(fetched.extent.as_ref()))
            .sum()
    }
}

/// Reads `partitions`, in their order; ends when there are `limits.bytes_min`, an error, or no more time.
///
/// With one shard that shard waits. With several, each waits for its part of what is missing: when there is enough in all, at
/// least one has its part, answers, and wakes the others. What they have then may still be too little; they are asked
/// again for more, each beyond what it has.
async fn fetch(
    context: &RequestContext,
    partitions: Vec<FetchPartition>,
    limits: &Limits,
) -> Result<Results, Stopped> {
    let gateway = context.gateway();
    let count = partitions.len();
    let mut shares = share_out(gateway, partitions);
    let only_shard = match &*shares {
        [share] => Some(share.shard),
        _ => None,
    };
    context.client().led_to(only_shard);
    let parts = u64::try_from(shares.len()).unwrap_or(u64::MAX).max(1);
    let mut missing = limits.bytes_min;
    loop {
        round(context, &mut shares, missing.div_ceil(parts), limits).await?;
        let found: u64 = shares.iter().map(Share::bytes).sum();
        missing = limits.bytes_min.saturating_sub(found);
        let failed = shares
            .iter()
            .flat_map(|share| &share.results)
            .any(|result| match result {
                Ok(fetched) => fetched.diverging.is_some(),
                Err(_) => true,
            });
        let is_over = gateway.now().monotonic >= limits.deadline || context.is_stopping();
        if missing == 0 || failed || is_over || shares.len() < 2 {
            break;
        }
    }
    let mut results: Vec<Option<_>> = Vec::new();
    results.resize_with(count, || None);
    for share in shares {
        for (place, result) in share.places.into_iter().zip(share.results) {
            if let Some(slot) = results.get_mut(place) {
                *slot = Some(result);
            }
        }
    }
    results.into_iter().collect::<Option<_>>().ok_or(Stopped)
}

fn share_out(gateway: &Gateway, partitions: Vec<FetchPartition>) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    let mut share_of = vec![None; gateway.shard_count()];
    for (place, partition) in partitions.into_iter().enumerate() {
        let shard = gateway.owner(partition.partition);
        let Some(index) = share_of.get_mut(shard.0) else {
            continue;
        };
        let index = *index.get_or_insert_with(|| {
            let (places, partitions, results) = (Vec::new(), Vec::new(), Vec::new());
            shares.push(Share {
                shard,
                places,
                partitions,
                results,
            });
            shares.len() - 1
        });
        if let Some(share) = shares.get_mut(index) {
            share.places.push(place);
            share.partitions.push(partition);
        }
    }
    shares
}

/// Asks every shard once; the first to answer wakes the others, and so does the stop of the broker.
async fn round(
    context: &RequestContext,
    shares: &mut [Share],
    more_bytes: u64,
    limits: &Limits,
) -> Result<(), Stopped> {
    let gateway = context.gateway();
    let mut waiting = Vec::with_capacity(shares.len());
    for share in &*shares {
        let (reply, answer) = oneshot::channel();
        let id = gateway.next_fetch_id();
        let bytes_min = match more_bytes {
            0 => 0,
            more => share.bytes().saturating_add(more),
        };
        let command = Fetch {
            id,
            partitions: share.partitions.clone(),
            bytes_max: limits.bytes_max,
            bytes_min,
            deadline: limits.deadline,
            reply,
        };
        gateway.send(share.shard, Command::Fetch(command)).await?;
        waiting.push(Waiting {
            id,
            shard: share.shard,
            answer,
            results: None,
        });
    }
    let mut stopping = context.client().stopping();
    tokio::select! {
        () = first_of(&mut waiting) => {}
        _ = stopping.wait_for(|&stopping| stopping) => {}
    }
    for waiting in waiting.iter().filter(|waiting| waiting.results.is_none()) {
        gateway
            .send(waiting.shard, Command::WakeFetch(waiting.id))
            .await?;
    }
    for (share, waiting) in shares.iter_mut().zip(waiting) {
        share.results = match waiting.results {
            Some(results) => results?,
            None => waiting.answer.await.map_err(|_| Stopped)?,
        };
    }
    Ok(())
}

/// A shard that has been asked.
struct Waiting {
    id: FetchId,
    shard: ShardIndex,
    answer: oneshot::Receiver<Results>,
    results: Option<Result<Results, Stopped>>,
}

/// Ends when at least one has answered.
async fn first_of(waiting: &mut [Waiting]) {
    poll_fn(|cx| {
        let mut any = waiting.is_empty();
        for one in &mut *waiting {
            if one.results.is_none()
                && let Poll::Ready(answer) = Pin::new(&mut one.answer).poll(cx)
            {
                one.results = Some(answer.map_err(|_| Stopped));
                any = true;
            }
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn length(extent: Option<&Extent>) -> u64 {
    extent.map_or(0, |extent| extent.length)
}

/// Holds the response to its limit, in the order of the request. Each shard kept it on its own; together they may exceed it.
/// The first extent is whole or cut by its shard after its first batch. A later one that does not fit is left out: cut
/// here it could end inside its first batch, which clients take for a failure to make progress.
fn within(mut results: Results, bytes_max: u64) -> Results {
    let mut left = bytes_max;
    let mut is_first = true;
    for fetched in results.iter_mut().flatten() {
        let bytes = length(fetched.extent.as_ref());
        if bytes > left && !is_first {
            fetched.extent = None;
        } else if bytes > 0 {
            left = left.saturating_sub(bytes);
            is_first = false;
        }
    }
    results
}

/// Makes answers out of results.
struct Dressing<'a> {
    context: &'a RequestContext,
    isolation: Isolation,
    hints: LeaderHints,
}

impl Dressing<'_> {
    fn dress(
        &mut self,
        partition_index: i32,
        result: Result<(TopicIdPartition, Result<Fetched, ReadError>), ErrorCode>,
    ) -> (FetchResponsePartition, Option<Extent>) {
        let mut response = FetchResponsePartition {
            partition_index,
            high_watermark: -1,
            records: Some(Records::Bytes(Bytes::new())),
            // Transactions do not exist yet, so none was aborted; who did not ask gets null, as from Kafka.
            aborted_transactions: match self.isolation {
                Isolation::ReadCommitted => Some(Vec::new()),
                Isolation::ReadUncommitted => None,
            },
            ..Default::default()
        };
        let mut extent = None;
        match result {
            Ok((_, Ok(fetched))) => {
                response.high_watermark = fetched.high_watermark.0;
                response.last_stable_offset = fetched.last_stable_offset.0;
                response.log_start_offset = fetched.log_start_offset.0;
                if let Some(end) = fetched.diverging {
                    response.diverging_epoch = FetchDivergingEpoch {
                        epoch: end.epoch.0,
                        end_offset: end.end_offset.0,
                    };
                } else if let Some(found) = fetched.extent {
                    match u32::try_from(found.length) {
                        Ok(length) => {
                            response.records = Some(Records::Elsewhere { length });
                            extent = Some(found);
                        }
                        Err(_) => response.error_code = ErrorCode::UnknownServerError,
                    }
                }
            }
            Ok((partition, Err(error))) => {
                response.error_code = error.error_code();
                if matches!(
                    response.error_code,
                    ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
                ) {
                    let image = self.context.image();
                    if let Some((leader_id, leader_epoch)) =
                        self.hints.leader(self.context, &image, partition)
                    {
                        response.current_leader = FetchCurrentLeader {
                            leader_id,
                            leader_epoch,
                        };
                    }
                }
            }
            Err(error_code) => response.error_code = error_code,
        }
        (response, extent)
    }
}

/// Puts partitions that follow each other and belong to one topic under one topic, and takes out the extents in the order in
/// which their records are encoded.
fn gather(
    answers: Vec<(Wish, FetchResponsePartition, Option<Extent>)>,
) -> (Vec<FetchResponseTopic>, Vec<Extent>) {
    let mut topics: Vec<FetchResponseTopic> = Vec::new();
    let mut extents = Vec::new();
    let mut last = None;
    for (wish, response, extent) in answers {
        extents.extend(extent);
        if last.as_ref() != Some(&wish.topic) {
            let (topic, topic_id) = match &wish.topic {
                TopicKey::Name(name) => (Str::from(&**name), Uuid::ZERO),
                TopicKey::Id(id) => (Str::default(), *id),
            };
            topics.push(FetchResponseTopic {
                topic,
                topic_id,
                partitions: Vec::new(),
            });
            last = Some(wish.topic);
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(response);
        }
    }
    (topics, extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(max_wait_ms: i32, min_bytes: i32, max_bytes: i32) -> FetchRequest {
        FetchRequest {
            max_wait_ms,
            min_bytes,
            max_bytes,
            ..Default::default()
        }
    }

    #[test]
    fn limits_of_the_request_are_bounded_by_those_of_the_broker() {
        let limits = Limits::of(&request(500, 2_000, 1_000), 800, Monotonic(7));
        assert_eq!((limits.bytes_max, limits.bytes_min), (800, 800));
        assert_eq!(limits.deadline, Monotonic(500_007));
        let limits = Limits::of(&request(0, 1, -5), 800, Monotonic(7));
        assert_eq!((limits.bytes_max, limits.bytes_min), (0, 0));
    }

    fn fetched(length: u64) -> Result<Fetched, ReadError> {
        let directory = tempfile::tempdir().unwrap();
        let file = millrace_engine::io::Disk::real().create_new(&directory.path().join("log"));
        let file = file.unwrap();
        Ok(Fetched {
            high_watermark: Offset(1),
            last_stable_offset: Offset(1),
            leader_epoch: LeaderEpoch(0),
            log_start_offset: Offset(0),
            extent: (length > 0).then_some(Extent {
                file,
                position: 0,
                length,
            }),
            diverging: None,
        })
    }

    #[test]
    fn the_first_records_come_whole_and_later_ones_only_if_they_fit() {
        let lengths = |results: Results| -> Vec<u64> {
            results
                .iter()
                .flatten()
                .map(|fetched| length(fetched.extent.as_ref()))
                .collect()
        };
        let results = vec![fetched(0), fetched(50), fetched(30), fetched(20)];
        assert_eq!(lengths(within(results, 10)), [0, 50, 0, 0]);
        let results = vec![fetched(50), fetched(60), fetched(20)];
        assert_eq!(lengths(within(results, 100)), [50, 0, 20]);
    }
}
