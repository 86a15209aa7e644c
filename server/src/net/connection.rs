//! One connection: requests in, answers out in their order, both halves in one task.
//!
//! A Produce is handed to its shards when it is read; all other requests run when their turn to be answered has come. When
//! too many requests wait, the socket is not read.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
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
    stream: &TcpStream,
    client: Rc<Client>,
    limits: &Limits,
    activity: &Activity,
) -> Result<(), Closing> {
    let used = || activity.touch(client.frontend().gateway().now().monotonic);
    used();
    let (queue, answers) = mpsc::channel(REQUESTS_MAX);
    let turns = Turns::new(&limits.waiting);
    let reading = read(stream, &client, limits, &turns, &used, queue);
    let idle = limits.frames.idle;
    let mut writing = std::pin::pin!(write(stream, &client, answers, &turns, &used, idle));
    tokio::select! {
        read = reading => {
            writing.await?;
            read
        }
        written = &mut writing => written,
    }
}

async fn read(
    stream: &TcpStream,
    client: &Rc<Client>,
    limits: &Limits,
    turns: &Turns,
    used: &impl Fn(),
    queue: mpsc::Sender<Queued>,
) -> Result<(), Closing> {
    let mut frames = FrameReader::new(stream, &limits.budget, limits.frames);
    let mut stopping = client.stopping();
    loop {
        let frame = tokio::select! {
            biased;
            _ = stopping.wait_for(|&stopping| stopping) => return Ok(()),
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
    while let Some(Queued {
        answer,
        reservation,
        place,
    }) = answers.recv().await
    {
        drop(place);
        let parts = answer.await?;
        drop(reservation);
        // Who has sent more than it reads keeps memory from others; who is only busy elsewhere may take its time.
        let patience = if answers.is_empty() {
            idle
        } else {
            idle.min(PATIENCE)
        };
        send(stream, client, parts, patience).await?;
        used();
        turns.answered();
    }
    Ok(())
}

async fn send(
    stream: &TcpStream,
    client: &Client,
    parts: Parts,
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
