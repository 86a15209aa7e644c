//! Brings the parts of answers onto a socket, in order: memory by gathered writes, files by sendfile.
//!
//! A short piece of a file that is in the page cache is read and leaves with its neighbours in one write: a sendfile of its own
//! would cost four more system calls and another segment that wakes the client.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io::{ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use millrace_engine::io::{LocalRing, Piece, SendFileError, TURN_BYTES, send_file};
use millrace_engine::log::Extent;
use smallvec::SmallVec;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::backlog::Backlog;
use super::backpressure::{RequestBudget, WANTED_STEP, wanted_max};
use super::closing::Closing;
use super::lately::Lately;
use super::pace::Pace;
use super::unread::Unread;
use super::usage::Usage;
use crate::api::{Part, Parts};

/// How answers get to one client.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) ring: &'a LocalRing,
    pub(super) lately: &'a Lately,
    /// Where an answer is charged while the client does not take it.
    pub(super) unread: &'a Unread,
    /// What the connection may do before others get the core.
    pub(super) pace: &'a Pace,
    /// Where it is noted that the client takes some.
    pub(super) usage: &'a Usage,
    /// What waits behind.
    pub(super) backlog: Backlog<'a>,
}

/// Sends `parts`, and leaves none. Returns when the socket's buffer has taken all of them.
///
/// # Errors
/// The client is gone, or takes nothing for as long as the patience, or while others need the memory; or a file could not be read.
pub(super) async fn send(sender: &Sender<'_>, parts: &mut Parts) -> Result<(), Closing> {
    let mut burden = Burden::of(parts);
    let mut run = Run {
        pieces: VecDeque::with_capacity(parts.len().min(SLICES_ON_STACK)),
        length: 0,
    };
    for part in parts.drain(..) {
        let extent = match part {
            Part::Bytes(bytes) => {
                run.push(bytes);
                continue;
            }
            Part::Room(room) => {
                run.send(sender, &mut burden).await?;
                drop(room);
                continue;
            }
            Part::Extent(extent) => extent,
        };
        if extent.length <= GATHERED_BYTES_MAX
            && let Some(bytes) = sender
                .lately
                .read(&extent.file, extent.position, extent.length)
        {
            run.push(bytes);
            if run.length >= RUN_BYTES_MAX {
                run.send(sender, &mut burden).await?;
            }
            continue;
        }
        run.send(sender, &mut burden).await?;
        Box::pin(sender.send_extent(&extent, &mut burden)).await?;
    }
    run.send(sender, &mut burden).await
}

/// What the parts keep in memory; all of it until the last has left, for they may be slices of one buffer.
pub(super) fn memory_bytes(parts: &Parts) -> usize {
    let bytes = parts.iter().map(|part| match part {
        Part::Bytes(bytes) => bytes.len(),
        Part::Extent(_) | Part::Room(_) => 0,
    });
    bytes.sum()
}

/// What an answer keeps from others until all of it has left.
struct Burden {
    /// Of its parts, in memory.
    bytes: usize,
    /// In memory that was set aside for it.
    stay: Option<Stay>,
}

/// How long an answer may keep others waiting for the memory that was set aside for it, all in all: whoever takes a little of it now
/// and then is none who has taken nothing for the longest.
struct Stay {
    left: Duration,
    /// Where they wait.
    budget: RequestBudget,
}

impl Burden {
    fn of(parts: &Parts) -> Self {
        let bytes = memory_bytes(parts);
        let stay = parts.iter().find_map(|part| match part {
            Part::Room(room) => Some(Stay::new(room.budget().clone(), bytes)),
            Part::Bytes(_) | Part::Extent(_) => None,
        });
        Self { bytes, stay }
    }

    /// What is charged for it while a run of so many bytes waits to leave.
    fn held_bytes(&self, run_bytes: usize) -> usize {
        // What was read of files comes on top.
        let bytes = self.bytes.max(run_bytes);
        if self.stay.is_some() {
            // What was set aside is in nobody's reach, however little it came to.
            bytes.max(CHARGED_BYTES_MIN)
        } else {
            bytes
        }
    }
}

impl Stay {
    fn new(budget: RequestBudget, bytes: usize) -> Self {
        Self {
            left: wanted_max(bytes),
            budget,
        }
    }

    /// What comes of `wait`, unless others are kept waiting for too long.
    async fn bound<T>(&mut self, wait: impl Future<Output = T>) -> Option<T> {
        let mut wait = pin!(wait);
        loop {
            let is_wanted = self.budget.is_wanted();
            let step = if is_wanted {
                WANTED_STEP.min(self.left)
            } else {
                WANTED_STEP
            };
            let began = Instant::now();
            let come = timeout(step, wait.as_mut()).await;
            if is_wanted {
                self.left = self.left.saturating_sub(began.elapsed());
            }
            match come {
                Ok(come) => return Some(come),
                Err(_) if is_wanted && self.left.is_zero() => return None,
                Err(_) => {}
            }
        }
    }
}

/// Bytes in memory that leave together.
#[derive(Debug, Default)]
struct Run {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Run {
    fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Sends all of it, as a part of an answer that is such a burden.
    async fn send(&mut self, sender: &Sender<'_>, burden: &mut Burden) -> Result<(), Closing> {
        while self.length > 0 {
            sender.pace.rest_if_due().await;
            let sent = {
                let pieces = self.pieces.iter().take(SLICES_MAX);
                let slices: SmallVec<[_; SLICES_ON_STACK]> =
                    pieces.map(|bytes| IoSlice::new(bytes)).collect();
                sender.stream.try_write_vectored(&slices)
            };
            match sent {
                Ok(0) => return Err(Closing::Socket(ErrorKind::WriteZero.into())),
                Ok(sent) => {
                    sender.pace.add(sent);
                    self.advance(sent);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let writable = sender.stream.writable();
                    // Boxed, because every quiet connection keeps room for its largest state.
                    Box::pin(sender.in_time(burden, self.length, writable)).await??;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.pieces.clear();
        Ok(())
    }

    /// Forgets the first `sent` bytes.
    fn advance(&mut self, mut sent: usize) {
        self.length = self.length.saturating_sub(sent);
        while let Some(front) = self.pieces.front_mut() {
            if sent < front.len() {
                front.advance(sent);
                return;
            }
            sent -= front.len();
            self.pieces.pop_front();
        }
    }
}

impl Sender<'_> {
    async fn send_extent(&self, extent: &Extent, burden: &mut Burden) -> Result<(), Closing> {
        let mut sent = 0;
        // In steps, so that a slow reader of much is told from one that does not read.
        while sent < extent.length {
            self.pace.rest_if_due().await;
            let step = STEP_BYTES.min(extent.length - sent);
            let piece = Piece {
                file: &extent.file,
                position: extent.position.saturating_add(sent),
                length: step,
                more: extent.length - sent - step,
            };
            let sending = send_file(self.stream, self.ring, piece);
            match self.in_time(burden, 0, sending).await? {
                Ok(()) => {
                    self.pace.add(usize::try_from(step).unwrap_or(usize::MAX));
                    sent += step;
                }
                Err(SendFileError::Socket(error)) => return Err(error.into()),
                Err(error) => return Err(Closing::File(error.to_string())),
            }
        }
        Ok(())
    }

    /// Waits for `progress` of an answer that is such a burden, with a run of so many bytes.
    async fn in_time<T>(
        &self,
        burden: &mut Burden,
        run_bytes: usize,
        progress: impl Future<Output = T>,
    ) -> Result<T, Closing> {
        let mut progress = pin!(progress);
        if let Poll::Ready(done) = poll_once(progress.as_mut()).await {
            return Ok(done);
        }
        // However slowly, the client has taken what was before this.
        self.usage.note();
        let bytes = burden.held_bytes(run_bytes);
        let held = (bytes >= CHARGED_BYTES_MIN).then(|| self.unread.hold(bytes));
        let given_up = async {
            match &held {
                Some(held) => held.given_up().await,
                None => pending().await,
            }
        };
        let waiting = async {
            tokio::select! {
                biased;
                done = progress => Ok(done),
                () = given_up => Err(Closing::Unread { bytes }),
                () = self.backlog.patience() => Err(Closing::SlowReader),
            }
        };
        match &mut burden.stay {
            None => waiting.await,
            Some(stay) => {
                let done = stay.bound(waiting).await;
                done.unwrap_or(Err(Closing::Unread { bytes }))
            }
        }
    }
}

/// What comes of one look at a future.
pub(super) async fn poll_once<T>(
    mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
) -> Poll<T> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Extents up to this long are read into memory: copying them costs less than the calls of a sendfile.
const GATHERED_BYTES_MAX: u64 = 32 << 10;
/// A run with this much is sent before more is read: what a connection may keep in memory of what it is being sent.
const RUN_BYTES_MAX: usize = 256 << 10;
/// How much of a file has to be read within the patience; and so as not to be taken for one that does not read when others wait
/// for the memory of its answer: at 5 s for that, some 50 kB per second.
const STEP_BYTES: u64 = TURN_BYTES;
/// What is not worth an entry in the account: so much has the head of a fetch's answer, whose records are in files.
const CHARGED_BYTES_MIN: usize = 1_024;
/// Slices of one vectored write.
const SLICES_MAX: usize = 64;
const SLICES_ON_STACK: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_engine::io::{Clock, Sim};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;
    use crate::net::frames::FrameLimits;
    use crate::net::turns::{Turns, WaitingRequests};

    /// A client, and the broker's end of its connection, which takes no more before the client reads. From then on time is not real.
    async fn full() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let client = client.await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        socket2::SockRef::from(&stream)
            .set_send_buffer_size(16_384)
            .unwrap();
        // It takes some more when what was sent has arrived.
        while let Ok(writable) = timeout(Duration::from_millis(200), stream.writable()).await {
            writable.unwrap();
            while stream.try_write(&[0; 65_536]).is_ok() {}
        }
        tokio::time::pause();
        (client, stream)
    }

    /// Sends an answer of so many bytes, with room set aside in `budget`.
    async fn send_in_room(
        stream: &TcpStream,
        bytes: usize,
        budget: &RequestBudget,
        unread: &Unread,
    ) -> Result<(), Closing> {
        let turns = Turns::new(&WaitingRequests::new(1));
        let limits = FrameLimits {
            frame_bytes_max: 0,
            idle: Duration::from_secs(600),
        };
        let sender = Sender {
            stream,
            ring: &LocalRing::new(Sim::new(0).ring()).unwrap(),
            lately: &Lately::default(),
            unread,
            pace: &Pace::of_bytes(),
            usage: &Usage::new(Arc::default(), Clock::real()),
            backlog: Backlog {
                turns: &turns,
                answered: 1,
                budgets: [&RequestBudget::new(0), budget],
                limits: &limits,
            },
        };
        let mut room = budget.open();
        room.cover(bytes).await;
        let answer = Part::Bytes(vec![0; bytes].into());
        send(
            &sender,
            &mut Parts::from_iter([answer, Part::Room(Box::new(room))]),
        )
        .await
    }

    /// A request of many elements may have an answer of a few bytes.
    #[tokio::test]
    async fn room_behind_a_short_answer_that_nobody_reads_is_given_back() {
        let (_client, stream) = full().await;
        let (budget, unread) = (RequestBudget::new(0), Unread::new(usize::MAX));
        let needs = async {
            sleep(Duration::from_secs(1)).await;
            unread.give_up_before(unread.now());
            pending::<()>().await
        };
        let began = Instant::now();
        tokio::select! {
            sent = send_in_room(&stream, 10, &budget, &unread) => {
                assert!(matches!(sent, Err(Closing::Unread { .. })), "{sent:?}");
            }
            () = needs => {}
        }
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    /// Sends 10 MiB to a client that takes a little every four seconds; how long until it is given up, if within five minutes.
    async fn trickled(memory_is_wanted: bool) -> Option<Duration> {
        let (mut client, stream) = full().await;
        let (budget, unread) = (RequestBudget::new(1_024), Unread::new(usize::MAX));
        // Nobody may exceed the budget: another does.
        let (mut all, mut excess) = (budget.open(), budget.open());
        all.cover(1_024).await;
        excess.cover(1_024).await;
        drop(all);
        let reads = async {
            let mut little = vec![0; 65_536];
            while client.read_exact(&mut little).await.is_ok() {
                sleep(Duration::from_secs(4)).await;
            }
        };
        let wants = async {
            if memory_is_wanted {
                // Not before the answer has it.
                sleep(Duration::from_secs(10)).await;
                budget.open().cover(1_024).await;
            }
            pending::<()>().await
        };
        let began = Instant::now();
        tokio::select! {
            sent = send_in_room(&stream, 10 << 20, &budget, &unread) => {
                assert!(matches!(sent, Err(Closing::Unread { .. })), "{sent:?}");
                Some(began.elapsed())
            }
            () = reads => None,
            () = wants => None,
            () = sleep(Duration::from_secs(300)) => None,
        }
    }

    #[tokio::test]
    async fn who_takes_a_long_answer_slowly_may_do_so_while_nobody_waits_for_its_memory() {
        assert_eq!(trickled(false).await, None);
    }

    #[tokio::test]
    async fn who_takes_a_long_answer_slowly_is_given_up_once_others_have_waited_for_its_memory() {
        let given_up = trickled(true).await.unwrap().as_secs();
        assert!((18..=30).contains(&given_up), "after {given_up} s");
    }

    #[test]
    fn what_was_sent_leaves_the_run() {
        let mut run = Run::default();
        for text in ["abc", "de", "f"] {
            run.push(Bytes::from_static(text.as_bytes()));
        }
        run.advance(4);
        assert_eq!((run.pieces.len(), run.length), (2, 2));
        assert_eq!(run.pieces[0], "e");
        run.advance(2);
        assert_eq!((run.pieces.len(), run.length), (0, 0));
    }
}
