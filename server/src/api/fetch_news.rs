//! A Fetch that goes on with a session: the shards are told what changed, look at what something happened to, and the client
//! hears what is new. Whatever stands still costs nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use millrace_engine::partition::{Isolation, ReadError};
use millrace_engine::shard::Stopped;
use millrace_engine::shard::command::{Command, FetchNews, Fetched, News};
use millrace_engine::types::TopicIdPartition;
use millrace_wire::ErrorCode;
use tokio::sync::oneshot;

use super::context::RequestContext;
use super::fetch::{Limits, resolve};
use super::fetch_answer::{Dressed, Dressing, hold_within, length, refusal};
use super::fetch_session::{Ask, REFUSED_MAX, Session, Standing};
use super::fetch_waiting::{Waiting, all_of};

/// Has the shards forget what they remember of sessions that are no more.
pub(super) async fn forget_left_behind(context: &RequestContext) -> Result<(), Stopped> {
    let left_behind = context.client().frontend().sessions().take_left_behind();
    for (shard, id) in left_behind {
        let command = Command::ForgetStanding(id);
        context.gateway().send(shard, command).await?;
    }
    Ok(())
}

/// Answers a request of `session`, which has `epoch` while it is in work.
pub(super) async fn next(
    context: &RequestContext,
    session: &Rc<RefCell<Session>>,
    epoch: i32,
    isolation: Isolation,
    limits: &Limits,
) -> Result<Dressed, Stopped> {
    let Some((mut lent, found)) = ask(context, session, isolation, limits).await? else {
        let id = session.borrow().id();
        context.client().frontend().sessions().end(id);
        return Ok(refusal(ErrorCode::FetchSessionIdNotFound));
    };
    let mut session = session.borrow_mut();
    if session.epoch() != epoch {
        // Another connection went on with the session while this request waited.
        return Ok(refusal(ErrorCode::InvalidFetchSessionEpoch));
    }
    let mut dressing = Dressing::new(context, isolation);
    let mut answers = Vec::new();
    for (place, result) in found {
        let Some(wish) = session.wish(place) else {
            continue;
        };
        let topic = wish.topic.clone();
        let result = match (result, lent.partition(place)) {
            (Ok(result), Some(partition)) => Ok((partition, result)),
            (Ok(_), None) => continue,
            (Err(error), _) => Err(error),
        };
        let (response, extent) = dressing.dress(wish.read.partition, result);
        if session.note(place, &response) {
            answers.push((topic, response, extent));
        }
    }
    lent.give_back(&mut session);
    let id = session.id();
    context.client().set_session(id);
    Ok(dressing.respond(id, answers))
}

/// What there is to say of places, in their order.
type Places = BTreeMap<u64, Result<Result<Fetched, ReadError>, ErrorCode>>;

/// Asks the shards until there is enough. One that does not know the session any more, because something went wrong on the
/// way, is told all of it again. `None` when the session has more partitions that cannot be read than it may have.
async fn ask<'a>(
    context: &'a RequestContext,
    session: &RefCell<Session>,
    isolation: Isolation,
    limits: &Limits,
) -> Result<Option<(Lent<'a>, Places)>, Stopped> {
    for _ in 0..TRIES {
        let mut lent = Lent::take(context, session, isolation);
        if lent.refused_count() > REFUSED_MAX {
            return Ok(None);
        }
        if let Some(found) = rounds(context, &mut lent, limits).await? {
            return Ok(Some((lent, found)));
        }
    }
    Err(Stopped)
}

/// As in `fetch`: ends when there are `limits.bytes_min`, an error, no more time, or nothing to wait for. `None` when a shard does
/// not know what it is asked about.
async fn rounds(
    context: &RequestContext,
    lent: &mut Lent<'_>,
    limits: &Limits,
) -> Result<Option<Places>, Stopped> {
    let gateway = context.gateway();
    let mut places: Places = BTreeMap::new();
    let (mut asks, refused) = lent.asks();
    let only_shard = match &*asks {
        [ask] => Some(ask.shard),
        _ => None,
    };
    context.client().led_to(only_shard);
    let parts = u64::try_from(asks.len()).unwrap_or(u64::MAX).max(1);
    let mut bytes = vec![0; asks.len()];
    let mut missing = limits.bytes_min;
    loop {
        let more = missing.div_ceil(parts);
        let mut waiting = Vec::with_capacity(asks.len());
        for (ask, &bytes) in asks.iter_mut().zip(&bytes) {
            waiting.push(send(context, ask, bytes, more, limits).await?);
        }
        let mut is_final = false;
        for (news, bytes) in all_of(context, waiting).await?.into_iter().zip(&mut bytes) {
            let Some(news) = news else {
                return Ok(None);
            };
            *bytes = 0;
            for (place, result) in news {
                match &result {
                    Ok(fetched) => {
                        is_final |= fetched.has_more || fetched.diverging.is_some();
                        *bytes += length(fetched.extent.as_ref());
                    }
                    Err(_) => is_final = true,
                }
                // What was said before and is not said again is as it was: at rest.
                places.insert(place, Ok(result));
            }
        }
        missing = limits.bytes_min.saturating_sub(bytes.iter().sum());
        let is_over = gateway.now().monotonic >= limits.deadline || context.is_stopping();
        if missing == 0 || is_final || is_over || asks.len() < 2 {
            break;
        }
    }
    let read = places.values_mut().flatten().flatten();
    hold_within(read, limits.bytes_max);
    places.extend(
        refused
            .into_iter()
            .map(|(place, error)| (place, Err(error))),
    );
    Ok(Some(places))
}

/// Asks one shard, once; what it is to be told goes with it.
async fn send(
    context: &RequestContext,
    ask: &mut Ask,
    bytes: u64,
    more: u64,
    limits: &Limits,
) -> Result<Waiting<News>, Stopped> {
    let gateway = context.gateway();
    let (reply, answer) = oneshot::channel();
    let id = gateway.next_fetch_id();
    let command = FetchNews {
        id,
        standing: ask.id,
        begins: std::mem::take(&mut ask.begins),
        remove: std::mem::take(&mut ask.remove),
        put: std::mem::take(&mut ask.put),
        bytes_max: limits.bytes_max,
        bytes_min: match more {
            0 => 0,
            more => bytes.saturating_add(more),
        },
        deadline: limits.deadline,
        reply,
    };
    gateway.send(ask.shard, Command::FetchNews(command)).await?;
    Ok(Waiting::new(id, ask.shard, answer))
}

/// A session's standing reads while a request is in work with them. A request that does not come to its end, because its
/// connection is gone or another went on with the session, leaves them behind: nobody knows what was answered.
struct Lent<'a> {
    context: &'a RequestContext,
    standing: Option<Standing>,
}

impl<'a> Lent<'a> {
    fn take(context: &'a RequestContext, session: &RefCell<Session>, isolation: Isolation) -> Self {
        let image = context.image();
        let gateway = context.gateway();
        let mut useless = Vec::new();
        let standing = session.borrow_mut().lend_standing(
            isolation,
            &image,
            |wish| {
                let read = resolve(&image, wish, isolation)?;
                Ok((gateway.owner(read.partition), read))
            },
            &mut useless,
        );
        let mut sessions = context.client().frontend().sessions();
        for standing in useless {
            sessions.leave(standing);
        }
        drop(sessions);
        Self {
            context,
            standing: Some(standing),
        }
    }

    /// What to ask the shards, and which places nobody can be asked about.
    fn asks(&mut self) -> (Vec<Ask>, Vec<(u64, ErrorCode)>) {
        let gateway = self.context.gateway();
        match &mut self.standing {
            Some(standing) => (
                standing.asks(|| gateway.next_standing_id()),
                standing.refused().collect(),
            ),
            None => (Vec::new(), Vec::new()),
        }
    }

    fn refused_count(&self) -> usize {
        self.standing.as_ref().map_or(0, Standing::refused_count)
    }

    fn partition(&self, place: u64) -> Option<TopicIdPartition> {
        self.standing.as_ref()?.partition(place)
    }

    fn give_back(&mut self, session: &mut Session) {
        if let Some(standing) = self.standing.take() {
            self.standing = session.return_standing(standing);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(standing) = self.standing.take() {
            self.context.client().frontend().sessions().leave(standing);
        }
    }
}

/// The second time a shard is told everything, so it knows.
const TRIES: usize = 2;
