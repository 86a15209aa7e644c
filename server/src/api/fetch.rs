//! Fetch (key 1): finds record batches for consumers, waits for more if there are too few, and points to them in their files.
//!
//! Here are requests that name all they want; `fetch_news` goes on with sessions, which `fetch_session` remembers, and
//! `fetch_answer` makes the responses.

use std::sync::Arc;
use std::time::Duration;

use millrace_engine::metadata::MetadataImage;
use millrace_engine::partition::{Isolation, ReadError};
use millrace_engine::shard::command::{Command, Fetch, FetchPartition, Fetched};
use millrace_engine::shard::{Gateway, ShardIndex, Stopped};
use millrace_engine::types::{LeaderEpoch, Monotonic, Offset, TopicName};
use millrace_wire::ErrorCode;
use millrace_wire::message::fetch::FetchRequest;
use tokio::sync::oneshot;

use super::context::RequestContext;
use super::fetch_answer::{
    Dressed, Dressing, PartitionAnswer, dress, encode, hold_within, length, refusal,
};
use super::fetch_news::{forget_left_behind, next};
use super::fetch_session::{
    NO_SESSION, REFUSED_MAX, Scope, TOPIC_IDS_FIRST, TopicKey, Wish, last_of_each, wishes,
};
use super::fetch_waiting::{Waiting, all_of};
use super::topics::{partition_by_id, partition_by_name};
use super::{Answer, Call};
use crate::net::Pace;

/// The row's function.
pub(super) fn in_turn(call: Call) -> Answer {
    Box::pin(async move {
        let (request, context) = call.decode_of_any_length().await?;
        let answer = handle(request, &context).await?;
        encode(answer, &context).await
    })
}

async fn handle(request: FetchRequest, context: &RequestContext) -> Result<Dressed, Stopped> {
    let (version, is_long) = (context.version(), context.is_long());
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let image = Arc::clone(&context.image());
    let with_wishes = move |mut request: FetchRequest| {
        let topics = std::mem::take(&mut request.topics);
        let mut named = topics.iter();
        let has_names = named.all(|topic| topic.topic.len() <= TopicName::LENGTH_MAX);
        let mut wishes = wishes(topics, version);
        let mut refused = 0;
        let in_full = request.session_epoch <= 0;
        if is_long || (in_full && wishes.len() > FEW_PARTITIONS) {
            // No client asks twice but to keep the shard busy. Where they are few it is not worth looking for.
            wishes = last_of_each(wishes);
        }
        if is_long && !in_full {
            // All others are counted where they are read.
            let found = wishes.iter_mut();
            refused = found
                .filter_map(|wish| resolve(&image, wish, isolation).err())
                .count();
        }
        (wishes, request, has_names, refused)
    };
    let prepared = context.in_peace(request, with_wishes).await?;
    let (wishes, request, has_names, refused) = prepared;
    let frontend = context.client().frontend();
    forget_left_behind(context).await?;
    let now = context.gateway().now().monotonic;
    let mut limits = {
        let settings = context.settings();
        let sockets = &settings.config.sockets;
        Limits::of(&request, sockets.fetch_bytes_max, sockets.idle_ms_max, now)
    };
    // A session's partitions are known to their shards, and looked at one by one.
    let has_many = request.session_epoch <= 0 && wishes.len() > MANY_PARTITIONS;
    if context.is_long() || has_many {
        // It has memory that others wait for.
        limits.deadline = limits.deadline.min(now.after(LONG_WAIT_MAX));
    }
    if !has_names {
        // It keeps texts of any length, and the memory of its frame for them, for which others wait.
        (limits.bytes_min, limits.deadline) = (0, now);
    }
    if request.session_epoch > 0 && (!has_names || refused > REFUSED_MAX) {
        frontend.sessions().end(request.session_id);
        context.in_peace((request, wishes), drop).await?;
        return Ok(refusal(ErrorCode::FetchSessionIdNotFound));
    }
    let entered = frontend.sessions().enter(&request, wishes, version, now);
    // What is wanted was copied out of it.
    context.in_peace(request, drop).await?;
    if has_names {
        context.frame_is_gone();
    }
    let (wishes, opens_session) = match entered {
        Err(error_code) => return Ok(refusal(error_code)),
        Ok(Scope::Once(wishes)) => (wishes, false),
        Ok(Scope::First(wishes)) => (wishes, has_names),
        Ok(Scope::Next { session, epoch }) => {
            return next(context, &session, epoch, isolation, &limits).await;
        }
    };
    if has_many {
        context.waits_for_many(wishes.len()).await;
    }
    let Full {
        dressing,
        wishes,
        answers,
        refused,
    } = full(context, wishes, isolation, &limits).await?;
    let session_id = if opens_session && refused <= REFUSED_MAX {
        let responses = answers.iter().map(|(_, response, _)| response);
        let answered = wishes.into_iter().zip(responses);
        let by_id = version >= TOPIC_IDS_FIRST;
        let random = context.gateway().random();
        let now = context.gateway().now().monotonic;
        frontend.sessions().create(answered, by_id, now, random)
    } else {
        context.in_peace(wishes, drop).await?;
        NO_SESSION
    };
    context.client().set_session(session_id);
    Ok(dressing.respond(session_id, answers))
}

/// What came of reading all that a request names.
struct Full<'a> {
    dressing: Dressing<'a>,
    /// With what is known of their topics.
    wishes: Vec<Wish>,
    /// One for each.
    answers: Vec<PartitionAnswer>,
    /// How many of them cannot be read.
    refused: usize,
}

/// Reads all of `wishes`.
async fn full<'a>(
    context: &'a RequestContext,
    wishes: Vec<Wish>,
    isolation: Isolation,
    limits: &Limits,
) -> Result<Full<'a>, Stopped> {
    let image = Arc::clone(&context.image());
    let resolve_all = move |mut wishes: Vec<Wish>| {
        let reads = wishes.iter_mut();
        let reads: Vec<_> = reads.map(|wish| resolve(&image, wish, isolation)).collect();
        let good: Vec<_> = reads.iter().flatten().copied().collect();
        (wishes, reads, good)
    };
    let (wishes, reads, good) = context.in_peace(wishes, resolve_all).await?;
    let (version, refused) = (context.version(), reads.len() - good.len());
    let mut fetched = fetch(context, good, limits).await?;
    hold_within(fetched.iter_mut().flatten(), limits.bytes_max);
    let dress_all = move |(wishes, fetched): (Vec<Wish>, Results)| {
        let mut results = fetched.into_iter();
        let mut answers = Vec::with_capacity(wishes.len());
        let mut elsewhere = Vec::new();
        for (place, (wish, read)) in wishes.iter().zip(reads).enumerate() {
            let result = match read {
                // As many results as reads.
                Ok(read) => Ok((read.partition, results.next().ok_or(Stopped)?)),
                Err(error) => Err(error),
            };
            let dressed = dress(version, isolation, wish.read.partition, result);
            let (response, extent, led_elsewhere) = dressed;
            elsewhere.extend(led_elsewhere.map(|partition| (place, partition)));
            answers.push((wish.topic.clone(), response, extent));
        }
        Ok((wishes, answers, elsewhere))
    };
    let dressed = context.in_peace((wishes, fetched), dress_all).await?;
    let (wishes, mut answers, elsewhere) = dressed?;
    let mut dressing = Dressing::new(context, isolation);
    let pace = Pace::of_elements();
    for (place, partition) in elsewhere {
        pace.after(1).await;
        if let Some((_, response, _)) = answers.get_mut(place) {
            dressing.hint(partition, response);
        }
    }
    Ok(Full {
        dressing,
        wishes,
        answers,
        refused,
    })
}

/// So many partitions are read without looking whether one is named twice.
const FEW_PARTITIONS: usize = 64;
/// A request that names more than so many partitions, other than as changes of a session, waits briefly and in memory set aside.
const MANY_PARTITIONS: usize = 256;
/// As long as a fetch waits by default (`fetch.max.wait.ms`).
const LONG_WAIT_MAX: Duration = Duration::from_millis(500);

/// How much is wanted and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes_max: u64,
    pub(super) bytes_min: u64,
    pub(super) deadline: Monotonic,
}

impl Limits {
    /// `broker_max` is the most bytes; `idle_ms_max` is how long a connection may be idle: a client that waits for longer is taken to
    /// have gone, for nothing else shows it.
    fn of(
        request: &FetchRequest,
        broker_max: u32,
        idle_ms_max: Option<i64>,
        now: Monotonic,
    ) -> Self {
        let number = |field: i32| u64::try_from(field).unwrap_or(0);
        let bytes_max = number(request.max_bytes).min(broker_max.into());
        let idle_ms_max = idle_ms_max.and_then(|idle| u64::try_from(idle).ok());
        let wait_ms = number(request.max_wait_ms).min(idle_ms_max.unwrap_or(u64::MAX));
        let wait = Duration::from_millis(wait_ms);
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
pub(super) fn resolve(
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

/// Reads `partitions`, in their order; ends when there are `limits.bytes_min`, an error, no more time, or nothing to wait for, because
/// what was read ends with its segment and not with the log, or the limit left something out.
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
        let is_final = shares
            .iter()
            .flat_map(|share| &share.results)
            .any(|result| match result {
                Ok(fetched) => fetched.has_more || fetched.diverging.is_some(),
                Err(_) => true,
            });
        let is_over = gateway.now().monotonic >= limits.deadline || context.is_stopping();
        if missing == 0 || is_final || is_over || shares.len() < 2 {
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
        waiting.push(Waiting::new(id, share.shard, answer));
    }
    for (share, results) in shares.iter_mut().zip(all_of(context, waiting).await?) {
        share.results = results;
    }
    Ok(())
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
        let limits = |request, idle_ms_max| Limits::of(&request, 800, idle_ms_max, Monotonic(7));
        let bounded = limits(request(500, 2_000, 1_000), None);
        assert_eq!((bounded.bytes_max, bounded.bytes_min), (800, 800));
        assert_eq!(bounded.deadline, Monotonic(500_007));
        let bounded = limits(request(0, 1, -5), None);
        assert_eq!((bounded.bytes_max, bounded.bytes_min), (0, 0));
        let bounded = limits(request(i32::MAX, 1, 1), Some(400));
        assert_eq!(bounded.deadline, Monotonic(400_007));
    }
}
