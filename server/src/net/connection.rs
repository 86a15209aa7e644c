//! One connection: requests in, answers out in their order, both halves in one task.
//!
//! A Produce is handed to its shards when it is read; all other requests run when their turn to be answered has come. When
//! too many requests wait, the socket is not read.

use std::collections::VecDeque;
use std::future;
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use millrace_engine::io::{SendFileError, send_file};
use millrace_engine::log::Extent;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::backpressure::{RequestBudget, Reservation};
use super::census::Activity;
use super::closing::Closing;
use super::frames::{FrameLimits, FrameReader};
use super::turns::{Place, Turns, WaitingRequests};
use crate::api::{Answer, Client, Part, Parts, dispatch};

/// What the connections of one thread may take.
pub(super) struct Limits {
    /// Memory for requests.
    pub(super) budget: RequestBudget,
    /// Requests that wait behind others.
    pub(super) waiting: WaitingRequests,
    /// How requests have to come.
    pub(super) frames: FrameLimits,
}

/// A request in work, its share of the request memory, and its place among those that wait.
struct Queued {
    answer: Answer,
    reservation: Reservation,
    place: Place,
}

/// Serves a client until it leaves, breaks a rule, or the broker stops. What was taken before is answered in every case but
/// a broken socket.
pub(super) async fn serve(
    stream: &mut TcpStream,
    client: Rc<Client>,
    limits: &Limits,
    activity: &Activity,
) -> Result<(), Closing> {
    let used = || activity.touch(client.frontend().gateway().now().monotonic);
    used();
    let (queue, answers) = mpsc::channel(REQUESTS_MAX);
    let turns = Turns::new(&limits.waiting);
    let (from_client, to_client) = stream.split();
    let frames = FrameReader::new(from_client, &limits.budget, limits.frames);
    let reading = read(frames, &client, &turns, &used, queue);
    let idle = limits.frames.idle;
    let to_client = to_client.as_ref();
    let mut writing = std::pin::pin!(write(to_client, &client, answers, &turns, &used, idle));
    tokio::select! {
        read = reading => {
            writing.await?;
            read
        }
        written = &mut writing => written,
    }
}

/// Ends when the client has no more to say, or the broker stops.
async fn read(
    mut frames: FrameReader<'_>,
    client: &Rc<Client>,
    turns: &Turns,
    used: &impl Fn(),
    queue: mpsc::Sender<Queued>,
) -> Result<(), Closing> {
    let mut stopping = client.stopping();
    let mut stopped = std::pin::pin!(stopping.wait_for(|&stopping| stopping));
    loop {
        let frame = tokio::select! {
            biased;
            _ = &mut stopped => return Ok(()),
            frame = frames.next() => frame?,
        };
        let Some(frame) = frame else { return Ok(()) };
        used();
        let request = dispatch(client, frame.body).await?;
        let queued = Queued {
            answer: request.answer,
            reservation: frame.reservation,
            place: turns.queue(request.has_begun).await,
        };
        if queue.send(queued).await.is_err() {
            // The writing half has ended and says why.
            return Ok(());
        }
    }
}

async fn write(
    stream: &TcpStream,
    client: &Rc<Client>,
    mut answers: mpsc::Receiver<Queued>,
    turns: &Turns,
    used: &impl Fn(),
    idle: Duration,
) -> Result<(), Closing> {
    let mut parts = Parts::new();
    let mut begun = None;
    loop {
        let Some(mut next) = (match begun.take() {
            Some(begun) => Some(begun),
            None => answers.recv().await,
        }) else {
            return Ok(());
        };
        next.place.release();
        parts.extend(next.answer.await?);
        drop(next.reservation);
        // Clients that keep several requests in flight get their answers together: one system call for all.
        let mut failed = None;
        let mut answered = 1;
        while parts.len() < PARTS_TOGETHER_MAX && is_in_memory(&parts) {
            let Ok(mut next) = answers.try_recv() else {
                break;
            };
            next.place.release();
            match poll_once(&mut next.answer).await {
                Poll::Ready(Ok(more)) => {
                    parts.extend(more);
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
        let patience = if begun.is_none() && answers.is_empty() {
            idle
        } else {
            idle.min(PATIENCE)
        };
        send(stream, client, parts.drain(..), patience).await?;
        used();
        turns.answered(answered);
        if let Some(closing) = failed {
            return Err(closing);
        }
    }
}

/// Whether nothing of an answer has to come from a file: sending that may take long, and nobody should wait behind it.
fn is_in_memory(parts: &Parts) -> bool {
    matches!(parts.last(), None | Some(Part::Bytes(_)))
}

async fn poll_once(answer: &mut Answer) -> Poll<Result<Parts, Closing>> {
    future::poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await
}

async fn send(
    stream: &TcpStream,
    client: &Client,
    parts: impl Iterator<Item = Part>,
    patience: Duration,
) -> Result<(), Closing> {
    let mut run = VecDeque::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => run.push_back(bytes),
            Part::Extent(extent) => {
                send_bytes(stream, &mut run, patience).await?;
                send_extent(stream, client, &extent, patience).await?;
            }
        }
    }
    send_bytes(stream, &mut run, patience).await
}

async fn send_bytes(
    stream: &TcpStream,
    run: &mut VecDeque<Bytes>,
    patience: Duration,
) -> Result<(), Closing> {
    while !run.is_empty() {
        let slices: Vec<_> = run
            .iter()
            .take(SLICES_MAX)
            .map(|bytes| IoSlice::new(bytes))
            .collect();
        match stream.try_write_vectored(&slices) {
            Ok(0) => return Err(Closing::Socket(ErrorKind::WriteZero.into())),
            Ok(sent) => advance(run, sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match timeout(patience, stream.writable()).await {
                    Ok(ready) => ready?,
                    Err(_) => return Err(Closing::SlowReader),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn advance(run: &mut VecDeque<Bytes>, mut sent: usize) {
    while let Some(front) = run.front_mut() {
        if sent < front.len() {
            front.advance(sent);
            return;
        }
        sent -= front.len();
        run.pop_front();
    }
}

async fn send_extent(
    stream: &TcpStream,
    client: &Client,
    extent: &Extent,
    patience: Duration,
) -> Result<(), Closing> {
    let ring = client.frontend().gateway().ring();
    let mut sent = 0;
    // In steps, so that a slow reader of much is told from one that does not read.
    while sent < extent.length {
        let step = STEP_BYTES.min(extent.length - sent);
        let position = extent.position.saturating_add(sent);
        let sending = send_file(stream, ring, &extent.file, position, step);
        match timeout(patience, sending).await {
            Ok(Ok(())) => sent += step,
            Ok(Err(SendFileError::Socket(error))) => return Err(error.into()),
            Ok(Err(error)) => return Err(Closing::File(error.to_string())),
            Err(_) => return Err(Closing::SlowReader),
        }
    }
    Ok(())
}

/// Requests in work for one connection; clients keep 5 to 10 in flight.
const REQUESTS_MAX: usize = 16;
/// How long a client with more requests waiting may leave an answer unread.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much has to be read within the patience.
const STEP_BYTES: u64 = 1 << 20;
/// Past this many parts no further answer joins those that are about to be sent. Answers are small, or end in an extent.
const PARTS_TOGETHER_MAX: usize = 16;
/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_leaves_the_run() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let mut run = VecDeque::from([bytes("abc"), bytes("de"), bytes("f")]);
        advance(&mut run, 4);
        assert_eq!(run, [bytes("e"), bytes("f")]);
        advance(&mut run, 2);
        assert!(run.is_empty());
    }
}
