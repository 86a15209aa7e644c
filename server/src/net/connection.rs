//! One connection: requests in, answers out in their order, both halves in one task.
//!
//! A Produce is handed to its shards when it is read; all other requests run when their turn to be answered has come. When
//! too many requests wait, or one that may take long, the socket is not read.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use millrace_engine::shard::ShardIndex;
use millrace_engine::types::Monotonic;
use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::acceptor::Doors;
use super::backlog::Backlog;
use super::backpressure::RequestBudget;
use super::closing::Closing;
use super::frames::{FrameLimits, FrameReader};
use super::half::Half;
use super::lately::Lately;
use super::moves::{Moves, Work};
use super::pace::Pace;
use super::queue::Queue;
use super::reins::Reins;
use super::sending::{Sender, memory_bytes, poll_once, send};
use super::turns::{Place, Turns, WaitingRequests};
use super::usage::Usage;
use crate::api::{Answer, Client, Dispatched, Part, Parts, dispatch};

/// What the connections of one thread may take.
pub(super) struct Limits {
    /// Memory for requests.
    pub(super) budget: RequestBudget,
    /// Requests that wait behind others.
    pub(super) waiting: WaitingRequests,
    /// How requests have to come.
    pub(super) frames: FrameLimits,
    /// What was read of files to be sent.
    pub(super) lately: Lately,
    /// What was done for all of them.
    pub(super) work: Work,
}

/// A request in work, and its place among those that wait.
struct Queued {
    answer: Answer,
    /// Bytes of its frame.
    bytes: usize,
    place: Place,
    /// Whether its work has begun when it was read, so that it does not wait for anything but that.
    has_begun: bool,
}

/// How the service of a connection ended without a fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has left, or the broker stops. What was taken before is answered.
    Over,
    /// It goes on, on the thread of this shard. Nothing is in work, and no byte has been read that was not answered.
    Elsewhere(ShardIndex),
}

/// One connection, as its two halves share it.
struct Conversation<'a> {
    client: &'a Rc<Client>,
    usage: &'a Usage,
    queue: Queue<Queued>,
    turns: Turns,
    moves: Moves<'a>,
    reins: &'a Reins,
    pace: &'a Pace,
    limits: &'a Limits,
}

impl Conversation<'_> {
    /// Where the connection should go on, if it should and may.
    fn goes_to(&self, now: Monotonic) -> Option<ShardIndex> {
        let shard = if self.reins.are_held() {
            self.moves.heading()
        } else {
            self.moves.due(now)
        }?;
        if self.reins.at_rest() && self.turns.is_idle() {
            return Some(shard);
        }
        // Who always has a request in flight would never go: the next is left in the socket until those in work are
        // answered. Not where that may take long.
        if self.queue.all(|queued| queued.has_begun) {
            self.reins.hold();
        }
        None
    }
}

/// Serves a client until it leaves or is sent away, breaks a rule, has to go to another thread, or the broker stops.
///
/// # Errors
/// Why the connection has to be closed.
pub(super) async fn serve(
    stream: &mut TcpStream,
    client: &Rc<Client>,
    limits: &Limits,
    usage: &Usage,
    doors: &Doors,
) -> Result<End, Closing> {
    let (reins, pace) = (Reins::default(), Pace::of_bytes());
    let conversation = Conversation {
        client,
        usage,
        queue: Queue::new(REQUESTS_MAX),
        turns: Turns::new(&limits.waiting),
        moves: Moves::new(doors, client, &limits.work),
        reins: &reins,
        pace: &pace,
        limits,
    };
    usage.note();
    let (from_client, to_client) = stream.split();
    let mut frames = FrameReader::new(
        from_client,
        &limits.budget,
        limits.frames,
        &reins,
        client.parking(),
        &pace,
        usage,
    );
    let mut reading = pin!(read(&mut frames, &conversation));
    let mut leaving = pin!(usage.sent_away());
    let reading = Half::new(poll_fn(|context| {
        if leaving.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Closing::Excess));
        }
        reading.as_mut().poll(context)
    }));
    let mut writing = pin!(write(to_client.as_ref(), &conversation));
    let read = tokio::select! {
        // What is read in this turn finds the writing half in the same: it need not be called.
        biased;
        read = reading => read,
        written = &mut writing => return written,
    };
    if matches!(read, Err(Closing::Excess)) {
        return Err(Closing::Excess);
    }
    conversation.queue.close();
    let idle = limits.frames.idle;
    tokio::select! {
        biased;
        () = leaving => return Err(Closing::Excess),
        written = writing => written?,
        // Boxed, because every quiet connection keeps room for its largest state.
        () = Box::pin(client.parking().outlasts(idle)) => {
            return Err(read.err().unwrap_or(Closing::Idle));
        }
    };
    read.map(|()| End::Over)
}

/// Ends when the client has no more to say, or the broker stops.
async fn read(
    frames: &mut FrameReader<'_>,
    conversation: &Conversation<'_>,
) -> Result<(), Closing> {
    let client = conversation.client;
    let mut stopping = client.stopping();
    let mut stopped = pin!(stopping.wait_for(|&stopping| stopping));
    loop {
        if client.is_stopping() {
            return Ok(());
        }
        frames.rest();
        let Some(frame) = (tokio::select! {
            biased;
            frame = frames.next() => frame?,
            _ = &mut stopped => None,
        }) else {
            return Ok(());
        };
        if conversation.turns.is_idle() {
            conversation.usage.note();
        }
        let bytes = frame.body.len();
        let Dispatched {
            submission,
            has_begun,
        } = dispatch(client, frame)?;
        let answer = submission.done().await?;
        if !has_begun {
            // It may wait for long, and what comes behind it should not wait to be read.
            conversation.reins.release();
        }
        let queued = Queued {
            answer,
            bytes,
            place: conversation.turns.queue(has_begun).await,
            has_begun,
        };
        conversation.queue.push(queued).await;
    }
}

async fn write(stream: &TcpStream, conversation: &Conversation<'_>) -> Result<End, Closing> {
    let Conversation {
        client,
        queue,
        turns,
        moves,
        pace,
        limits,
        usage,
        ..
    } = conversation;
    let frontend = client.frontend();
    let mut parts = Parts::new();
    let mut begun = None;
    loop {
        let Some(mut next) = (match begun.take() {
            Some(begun) => Some(begun),
            None => queue.pop().await,
        }) else {
            return Ok(End::Over);
        };
        next.place.release();
        join(&mut parts, next.answer.await?);
        let mut bytes = next.bytes;
        // Producers that keep several requests in flight get their answers together: one system call for all. Answers that are
        // not there yet may be when everybody else on this thread, its shard included, has had a turn. Others begin when these
        // are sent: what they hold that others want, they would hold until the client reads.
        let mut failed = None;
        let mut answered = 1;
        let mut has_waited = false;
        while is_short(&parts) {
            let Some(mut next) = queue.try_pop_if(|queued| queued.has_begun) else {
                break;
            };
            next.place.release();
            let polled = match poll_once(next.answer.as_mut()).await {
                Poll::Pending if !has_waited => {
                    has_waited = true;
                    yield_now().await;
                    poll_once(next.answer.as_mut()).await
                }
                polled => polled,
            };
            match polled {
                Poll::Ready(Ok(more)) => {
                    join(&mut parts, more);
                    bytes += next.bytes;
                    answered += 1;
                }
                Poll::Ready(Err(closing)) => failed = Some(closing),
                Poll::Pending => begun = Some(next),
            }
            if failed.is_some() || begun.is_some() {
                break;
            }
        }
        // Who has sent more than it reads keeps memory from others; who is only busy elsewhere may take its time.
        let sender = Sender {
            stream,
            ring: frontend.gateway().ring(),
            lately: &limits.lately,
            unread: frontend.unread(),
            pace,
            usage,
            backlog: Backlog {
                turns,
                answered,
                budgets: [&limits.budget, frontend.long_requests()],
                limits: &limits.frames,
            },
        };
        let bytes = bytes as u64 + length(&parts);
        send(&sender, &mut parts).await?;
        let now = usage.note();
        turns.answered(answered);
        moves.answered(answered, bytes);
        if let Some(closing) = failed {
            return Err(closing);
        }
        if let Some(shard) = conversation.goes_to(now) {
            return Ok(End::Elsewhere(shard));
        }
    }
}

/// Puts `more` behind `parts`. Most often it is one part.
fn join(parts: &mut Parts, mut more: Parts) {
    if more.len() == 1
        && let Some(part) = more.pop()
    {
        parts.push(part);
    } else {
        parts.append(&mut more);
    }
}

/// How many bytes the parts are, in memory and in files.
fn length(parts: &Parts) -> u64 {
    let files = parts.iter().map(|part| match part {
        Part::Extent(extent) => extent.length,
        Part::Bytes(_) | Part::Room(_) => 0,
    });
    files.sum::<u64>() + memory_bytes(parts) as u64
}

/// Whether it is little, and nothing of it has to come from a file: sending anything else may take long, and nobody should wait
/// behind it.
fn is_short(parts: &Parts) -> bool {
    parts.len() < PARTS_TOGETHER_MAX
        && matches!(parts.last(), None | Some(Part::Bytes(_)))
        && memory_bytes(parts) < BYTES_TOGETHER_MAX
}

/// Requests in work for one connection; clients keep 5 to 10 in flight.
const REQUESTS_MAX: usize = 16;
/// Past this many parts no further answer joins those that are about to be sent. Answers are small, or end in an extent.
const PARTS_TOGETHER_MAX: usize = 16;
/// And past so many bytes.
const BYTES_TOGETHER_MAX: usize = 64 * 1024;
