//! Takes whole frames off a socket: length checked, memory charged, progress demanded. It does not look inside.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::ReadHalf;
use tokio::time::{Instant, sleep, timeout};

use super::backpressure::{RequestBudget, Reservation, WANTED_STEP, wanted_max};
use super::closing::Closing;
use super::pace::Pace;
use super::parking::Parking;
use super::reins::Reins;
use super::sending::poll_once;
use super::unread::Held;
use super::usage::Usage;

/// What a listener allows a client to send, and how slowly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameLimits {
    /// Longest frame, in bytes after the length prefix (`socket.request.max.bytes`).
    pub(crate) frame_bytes_max: usize,
    /// How long a connection may stay silent between requests (`connections.max.idle.ms`).
    pub(crate) idle: Duration,
}

/// A frame's body and its share of the request budget, which lives until the request is answered.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The bytes after the length prefix.
    pub(crate) body: Bytes,
    /// Given back when the answer is out.
    pub(crate) reservation: Reservation,
}

impl Frame {
    /// Whether a slice of it keeps all of it in memory, and nothing else. Shorter ones are slices of what was read with others.
    pub(crate) fn has_own_buffer(&self) -> bool {
        self.body.len() > OWN_BUFFER_FROM
    }
}

/// Reads one connection.
#[derive(Debug)]
pub(crate) struct FrameReader<'a> {
    stream: ReadHalf<'a>,
    budget: &'a RequestBudget,
    limits: FrameLimits,
    reins: &'a Reins,
    parking: &'a Parking,
    /// What this connection may do before others get the core. Long frames count; how many short reads follow each other the runtime bounds, and how many frames at hand the connection's queue.
    pace: &'a Pace,
    /// When it was used last.
    usage: &'a Usage,
    /// Bytes that arrived and belong to no frame yet; unallocated while the connection is quiet.
    arrived: BytesMut,
    /// Bytes of the last frame with its prefix: the next is expected to be like it.
    last_bytes: usize,
    /// How much one read asks for, unless a longer frame is expected: about what reads bring, so that what is read into is small and
    /// in the cache where they bring little.
    read_bytes: usize,
    /// How many reads in a row have brought much less.
    short_reads: u8,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(
        stream: ReadHalf<'a>,
        budget: &'a RequestBudget,
        limits: FrameLimits,
        reins: &'a Reins,
        parking: &'a Parking,
        pace: &'a Pace,
        usage: &'a Usage,
    ) -> Self {
        Self {
            stream,
            budget,
            limits,
            reins,
            parking,
            pace,
            usage,
            arrived: BytesMut::new(),
            last_bytes: PREFIX_LENGTH,
            read_bytes: READ_BYTES_MIN,
            short_reads: 0,
        }
    }

    /// The next frame, if all of it was read with those before it and it may go on at once.
    fn next_at_hand(&mut self) -> Option<Frame> {
        let (prefix, rest) = self.arrived.split_first_chunk::<PREFIX_LENGTH>()?;
        let length = usize::try_from(i32::from_be_bytes(*prefix)).ok()?;
        let length_max = self.limits.frame_bytes_max.min(OWN_BUFFER_FROM);
        let is_whole = length <= length_max && length <= rest.len();
        if !is_whole || !self.parking.is_over() || self.pace.is_due() {
            return None;
        }
        let mut reservation = self.budget.open_small();
        reservation.cover_at_once(length).ok()?;
        self.arrived.advance(PREFIX_LENGTH);
        let body = self.arrived.split_to(length).freeze();
        self.last_bytes = PREFIX_LENGTH + length;
        Some(Frame { body, reservation })
    }

    /// The next frame, or `None` once the client has closed its side between two frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Closing> {
        if let Some(frame) = self.next_at_hand() {
            return Ok(Some(frame));
        }
        self.rest();
        self.pace.rest_if_due().await;
        let Some(length) = self.length_prefix().await? else {
            return Ok(None);
        };
        if !self.parking.is_over() {
            // Boxed, because every quiet connection keeps room for its largest state.
            Box::pin(self.unparked()).await?;
        }
        let mut reservation = if length > OWN_BUFFER_FROM {
            self.budget.open()
        } else {
            self.budget.open_small()
        };
        let body = if length > OWN_BUFFER_FROM {
            // Boxed, because every quiet connection keeps room for its largest state.
            Box::pin(self.large_body(length, &mut reservation)).await?
        } else {
            if self.arrived.len() < length {
                Box::pin(self.gather(length, &mut reservation)).await?;
            }
            reservation.cover(length).await;
            self.arrived.split_to(length).freeze()
        };
        self.last_bytes = PREFIX_LENGTH + length;
        Ok(Some(Frame { body, reservation }))
    }

    /// Waits until no request before this one may wait for others.
    async fn unparked(&self) -> Result<(), Closing> {
        tokio::select! {
            biased;
            () = self.parking.over() => Ok(()),
            () = self.parking.outlasts(self.limits.idle) => Err(Closing::Idle),
        }
    }

    /// Rests if this is between two frames. To be called before others get the core, or this task's other half its turn: it may
    /// have the connection moved meanwhile.
    pub(crate) fn rest(&self) {
        if self.arrived.is_empty() {
            self.reins.rest();
        }
    }

    async fn length_prefix(&mut self) -> Result<Option<usize>, Closing> {
        if self.arrived.is_empty() {
            self.arrived = BytesMut::new();
            {
                let readable = pin!(self.stream.readable());
                in_use(self.usage, self.limits.idle, readable).await??;
            }
            self.reins.go_on().await;
        }
        while self.arrived.len() < PREFIX_LENGTH {
            let (usage, idle) = (self.usage, self.limits.idle);
            let expected = whole_frames(self.last_bytes, self.read_bytes);
            let read = {
                let read = pin!(self.read_some(PREFIX_LENGTH, expected));
                in_use(usage, idle, read).await??
            };
            if read == 0 {
                let arrived = self.arrived.len();
                return if arrived == 0 {
                    // Answers may still be on their way for long.
                    self.arrived = BytesMut::new();
                    Ok(None)
                } else {
                    Err(Closing::Truncated { arrived })
                };
            }
        }
        let claimed = self.arrived.get_i32();
        match usize::try_from(claimed) {
            Ok(length) if length <= self.limits.frame_bytes_max => Ok(Some(length)),
            _ => Err(Closing::FrameLength {
                claimed,
                max: self.limits.frame_bytes_max,
            }),
        }
    }

    /// Reads on until `length` bytes have arrived.
    async fn gather(
        &mut self,
        length: usize,
        reservation: &mut Reservation,
    ) -> Result<(), Closing> {
        let mut patience = Patience::new(length, self.budget);
        while self.arrived.len() < length {
            patience.covered(reservation.cover(self.arrived.len()).await);
            let expected = whole_frames(PREFIX_LENGTH + length, self.read_bytes) - PREFIX_LENGTH;
            let read = self.read_some(length, expected);
            if patience.wait(read).await? == 0 {
                return Err(Closing::Truncated {
                    arrived: self.arrived.len(),
                });
            }
        }
        Ok(())
    }

    /// Reads straight into a buffer of the frame's own. It grows with what arrives: a claim alone costs nothing.
    async fn large_body(
        &mut self,
        length: usize,
        reservation: &mut Reservation,
    ) -> Result<Bytes, Closing> {
        let mut patience = Patience::new(length, self.budget);
        let capacity = if length <= WHOLE_ROOM_MAX {
            length
        } else {
            MEBIBYTE
        };
        let mut body = BytesMut::with_capacity(capacity);
        let already = self.arrived.len().min(length);
        body.extend_from_slice(&self.arrived.split_to(already));
        while body.len() < length {
            patience.covered(reservation.cover(body.len()).await);
            let missing = length - body.len();
            if body.capacity() == body.len() {
                let more = missing.min(body.len());
                body = self.moved_to_room_for(body, more).await;
            }
            self.pace.rest_if_due().await;
            let mut room = (&mut body).limit(missing.min(LARGE_READ_BYTES));
            let read = async { Ok(self.stream.read_buf(&mut room).await?) };
            let read = patience.wait(read).await?;
            if read == 0 {
                return Err(Closing::Truncated {
                    arrived: body.len(),
                });
            }
            self.pace.add(read);
        }
        reservation.cover(length).await;
        Ok(body.freeze())
    }

    /// The `body` in a buffer with room for `more`. To copy many megabytes takes its time, so others have their turn meanwhile.
    async fn moved_to_room_for(&self, mut body: BytesMut, more: usize) -> BytesMut {
        let mut larger = BytesMut::with_capacity(body.len() + more);
        while !body.is_empty() {
            let piece = body.split_to(body.len().min(LARGE_READ_BYTES));
            larger.extend_from_slice(&piece);
            self.pace.after(piece.len()).await;
        }
        larger
    }

    /// Reads until as many bytes as are `expected` have arrived, at most, and a few of what follows: a read that fills less than
    /// the room it is given tells the runtime that the socket is empty, which spares the read that would find nothing. Room is
    /// made when there is something to read: a client that sends a few bytes and then nothing holds no more than those. Held
    /// back, it reads no further than to the bytes that are `needed`.
    async fn read_some(&mut self, needed: usize, expected: usize) -> Result<usize, Closing> {
        if !self.is_readable().await {
            if (1..WAITING_BYTES_MAX).contains(&self.arrived.len()) {
                self.arrived = BytesMut::from(&self.arrived[..]);
            }
            self.stream.readable().await?;
        }
        if self.reins.are_held() {
            let missing = needed.saturating_sub(self.arrived.len());
            self.arrived.reserve(missing);
            let mut room = (&mut self.arrived).limit(missing);
            return Ok(self.stream.read_buf(&mut room).await?);
        }
        let more = expected.saturating_sub(self.arrived.len());
        self.arrived.reserve(more + READ_AHEAD_BYTES);
        let read = self.stream.read_buf(&mut self.arrived).await?;
        self.follow(read);
        Ok(read)
    }

    /// Asks for more where a read of so many bytes has filled its room, and for less where reads keep bringing little.
    fn follow(&mut self, read: usize) {
        self.short_reads = if read < self.read_bytes / 4 {
            self.short_reads + 1
        } else {
            0
        };
        if self.arrived.len() == self.arrived.capacity() {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
            self.short_reads = 0;
        } else if self.short_reads == SHORT_READS_MAX {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
            self.short_reads = 0;
        }
    }

    /// Whether there may be something to read, as far as the runtime knows without asking.
    async fn is_readable(&self) -> bool {
        let mut readable = pin!(self.stream.readable());
        poll_fn(|context| Poll::Ready(readable.as_mut().poll(context).is_ready())).await
    }
}

/// Waits for what a client is to send. Who takes some of an answer meanwhile is not idle, as in Kafka.
///
/// Pinned by the caller: every quiet connection would keep room for it twice.
async fn in_use<T>(
    usage: &Usage,
    idle: Duration,
    mut sends: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Closing> {
    let mut left = idle;
    loop {
        match timeout(left, sends.as_mut()).await {
            Ok(sent) => return Ok(sent),
            Err(_) => left = usage.left_of(idle),
        }
        if left.is_zero() {
            return Err(Closing::Idle);
        }
    }
}

/// Bytes of as many frames of `bytes` as one read of about `read_bytes` may bring, at least one: room that ends where a frame does
/// leaves nothing to be moved to the next room. A frame that gets a buffer of its own is not read for here.
const fn whole_frames(bytes: usize, read_bytes: usize) -> usize {
    match bytes {
        0 => read_bytes,
        _ if bytes <= read_bytes => read_bytes / bytes * bytes,
        _ if bytes <= PREFIX_LENGTH + OWN_BUFFER_FROM => bytes,
        _ => read_bytes,
    }
}

/// How long the bytes of one frame may keep us waiting, all in all: what has arrived of it holds memory that others want.
/// The time in which we do not read, for want of memory, does not count.
///
/// While others wait for memory, it is less: then the client has to go on sending, and to be soon done with a frame that holds much.
struct Patience<'a> {
    left: Duration,
    /// And of that, while others wait for memory.
    left_while_wanted: Duration,
    length: usize,
    budget: &'a RequestBudget,
    /// Bytes that have come.
    arrived: usize,
    /// Of those, since the frame was last seen to move.
    moved: usize,
    /// Since then, if they had to be waited for.
    waits: Option<Held<'a>>,
}

impl<'a> Patience<'a> {
    fn new(length: usize, budget: &'a RequestBudget) -> Self {
        let mebibytes = u32_of(length / MEBIBYTE);
        Self {
            left: PROGRESS_GRACE + PROGRESS_PER_MEBIBYTE * mebibytes,
            left_while_wanted: wanted_max(length),
            length,
            budget,
            arrived: 0,
            moved: 0,
            waits: None,
        }
    }

    /// Waits for `read` to bring some bytes.
    async fn wait(
        &mut self,
        read: impl Future<Output = Result<usize, Closing>>,
    ) -> Result<usize, Closing> {
        let mut read = pin!(read);
        let read = match poll_once(read.as_mut()).await {
            Poll::Ready(read) => read,
            Poll::Pending => self.wait_for_client(read).await,
        }?;
        self.arrived += read;
        self.moved += read;
        if self.moved >= MOVING_BYTES {
            (self.moved, self.waits) = (0, None);
        }
        Ok(read)
    }

    async fn wait_for_client(
        &mut self,
        mut read: Pin<&mut impl Future<Output = Result<usize, Closing>>>,
    ) -> Result<usize, Closing> {
        let waits = match self.waits.take() {
            Some(waits) => waits,
            None => self.budget.awaits_rest(),
        };
        let holds_much = self.arrived >= MUCH_BYTES;
        loop {
            let is_in_the_way = holds_much && self.budget.is_wanted();
            let step = match (holds_much, is_in_the_way) {
                (false, _) => self.left,
                (true, false) => self.left.min(WANTED_STEP),
                (true, true) => self.left.min(WANTED_STEP).min(self.left_while_wanted),
            };
            let began = Instant::now();
            let come = tokio::select! {
                biased;
                read = read.as_mut() => Some(read),
                () = waits.given_up() => Some(Err(self.slow())),
                () = sleep(step) => None,
            };
            let waited = began.elapsed();
            self.left = self.left.saturating_sub(waited);
            if is_in_the_way {
                self.left_while_wanted = self.left_while_wanted.saturating_sub(waited);
            }
            if let Some(read) = come {
                self.waits = Some(waits);
                return read;
            }
            if self.left.is_zero() || is_in_the_way && self.left_while_wanted.is_zero() {
                return Err(self.slow());
            }
        }
    }

    fn slow(&self) -> Closing {
        Closing::SlowRequest {
            length: self.length,
        }
    }

    /// Takes note of whether we did not read for want of memory: that is not the client's doing.
    fn covered(&mut self, had_to_wait: bool) {
        if had_to_wait {
            (self.moved, self.waits) = (0, None);
        }
    }
}

const PREFIX_LENGTH: usize = 4;
/// Fewer bytes than these are copied out of the room they were read into when the rest has to be waited for.
const WAITING_BYTES_MAX: usize = 2_048;
const MEBIBYTE: usize = 1024 * 1024;
/// How much one read asks for, at least and at most, unless a longer frame is expected.
const READ_BYTES_MIN: usize = 2 * 1024;
const READ_BYTES_MAX: usize = 16 * 1024;
/// And how much beyond it.
const READ_AHEAD_BYTES: usize = 64;
/// After so many short reads in a row less is asked for: the end of a long one is no sign.
const SHORT_READS_MAX: u8 = 8;
/// Frames longer than this get a buffer of their own; shorter ones are slices of what a read brought.
const OWN_BUFFER_FROM: usize = 64 * 1024;
/// How much one read of a large frame asks for, at most: it is charged afterwards.
const LARGE_READ_BYTES: usize = 256 * 1024;
/// Frames of up to this much have room for all of it from the start: batches are made for a round number of bytes, with some more
/// around them, and what has not been written to takes no memory.
const WHOLE_ROOM_MAX: usize = 2 * MEBIBYTE;
/// A frame moves if so much of it comes within [`super::backpressure`]'s time for standing still.
const MOVING_BYTES: usize = 64 * 1024;
/// Time for any frame to arrive whole, and the time more for each mebibyte of it: half a megabyte per second at the least.
const PROGRESS_GRACE: Duration = Duration::from_secs(30);
const PROGRESS_PER_MEBIBYTE: Duration = Duration::from_secs(2);
/// While others wait for memory it has less time once so many bytes have come.
const MUCH_BYTES: usize = MEBIBYTE;

fn u32_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_engine::io::Clock;
    use millrace_engine::types::Timestamp;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LIMITS: FrameLimits = FrameLimits {
        frame_bytes_max: 200_000,
        idle: Duration::from_secs(60),
    };

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// What a reader stands among.
    struct Around {
        limits: FrameLimits,
        budget: RequestBudget,
        reins: Reins,
        parking: Parking,
        pace: Pace,
        usage: Usage,
    }

    impl Around {
        fn reader<'a>(&'a self, stream: &'a mut TcpStream) -> FrameReader<'a> {
            let Self {
                limits,
                budget,
                reins,
                parking,
                pace,
                usage,
            } = self;
            let stream = stream.split().0;
            FrameReader::new(stream, budget, *limits, reins, parking, pace, usage)
        }
    }

    fn unhurried(memory_bytes: usize) -> Around {
        Around {
            limits: LIMITS,
            budget: RequestBudget::new(memory_bytes),
            reins: Reins::default(),
            parking: Parking::default(),
            pace: Pace::of_bytes(),
            usage: Usage::new(Arc::default(), Clock::real()),
        }
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[tokio::test]
    async fn frames_come_whole_however_the_bytes_were_split() {
        let (mut client, mut server) = pair().await;
        let bodies = [
            vec![1; 3],
            vec![],
            vec![2; 150_000],
            vec![3; 20_000],
            vec![4; 1],
        ];
        let sent = bodies.clone();
        let sending = tokio::spawn(async move {
            let bytes: Vec<u8> = sent.iter().flat_map(|body| framed(body)).collect();
            for piece in bytes.chunks(997) {
                client.write_all(piece).await.unwrap();
            }
        });
        let around = unhurried(1 << 20);
        let mut reader = around.reader(&mut server);
        for body in bodies {
            assert_eq!(reader.next().await.unwrap().unwrap().body, body);
        }
        assert!(reader.next().await.unwrap().is_none());
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn frames_of_megabytes_come_whole_and_others_have_turns_while_they_are_moved() {
        let limits = FrameLimits {
            frame_bytes_max: 8 * MEBIBYTE,
            ..LIMITS
        };
        let (mut client, mut server) = pair().await;
        let bodies = [2 * MEBIBYTE, 5 * MEBIBYTE + 7].map(|length| {
            let bytes = (0..length).map(|at| u8::try_from(at % 251).unwrap());
            bytes.collect::<Vec<_>>()
        });
        let sent = bodies.clone();
        let sending = tokio::spawn(async move {
            for body in &sent {
                client.write_all(&framed(body)).await.unwrap();
            }
        });
        let around = Around {
            limits,
            ..unhurried(16 * MEBIBYTE)
        };
        let mut reader = around.reader(&mut server);
        for body in &bodies {
            assert!(reader.next().await.unwrap().unwrap().body == body[..]);
        }
        sending.await.unwrap();
        let [_, body] = &bodies;
        let mut moving = pin!(reader.moved_to_room_for(BytesMut::from(&body[..]), 9));
        let mut turns = 0;
        let moved = loop {
            match poll_once(moving.as_mut()).await {
                Poll::Ready(moved) => break moved,
                Poll::Pending => turns += 1,
            }
        };
        assert!(moved == body[..] && moved.capacity() >= body.len() + 9);
        assert!(turns >= body.len() / LARGE_READ_BYTES);
    }

    #[tokio::test]
    async fn a_reader_that_is_held_back_takes_nothing_beyond_the_frame_that_it_is_at() {
        let (mut client, mut server) = pair().await;
        let around = unhurried(1 << 20);
        let reins = &around.reins;
        for length in [1, 10, 20_000, 100_000] {
            let frame = framed(&vec![1; length]);
            for begun in [1, 3, 4, frame.len() / 2, frame.len() - 1] {
                let mut reader = around.reader(&mut server);
                client.write_all(&frame[..begun]).await.unwrap();
                {
                    let mut first = Box::pin(reader.next());
                    while reins.at_rest() {
                        let early = timeout(Duration::from_millis(1), first.as_mut()).await;
                        assert!(early.is_err());
                    }
                    reins.hold();
                    client.write_all(&frame[begun..]).await.unwrap();
                    client.write_all(&framed(&[2; 7])).await.unwrap();
                    assert_eq!(first.await.unwrap().unwrap().body.len(), length);
                }
                let waits = timeout(Duration::from_millis(5), reader.next()).await;
                assert!(waits.is_err() && reins.at_rest());
                drop(reader);
                // Whoever reads on finds all of the next.
                reins.release();
                let mut reader = around.reader(&mut server);
                let next = reader.next().await.unwrap().unwrap();
                assert_eq!(next.body, [2; 7][..]);
                reins.rest();
            }
        }
    }

    /// While others get the core, the writing half may find that the connection is to move: it must not wait for a frame that
    /// nobody reads.
    #[tokio::test]
    async fn a_reader_between_two_frames_is_at_rest_also_while_others_get_the_core() {
        let (mut client, mut server) = pair().await;
        let around = unhurried(1 << 20);
        let (reins, pace) = (&around.reins, &around.pace);
        let mut reader = around.reader(&mut server);
        client.write_all(&framed(&[1; 7])).await.unwrap();
        reader.next().await.unwrap().unwrap();
        assert!(!reins.at_rest());
        pace.add(usize::MAX / 2);
        let mut next = std::pin::pin!(reader.next());
        assert!(poll_once(next.as_mut()).await.is_pending());
        assert!(reins.at_rest());
    }

    #[test]
    fn a_read_has_room_for_whole_frames_like_the_last() {
        for read_bytes in [READ_BYTES_MIN, READ_BYTES_MAX] {
            for bytes in [4, 5, 170, 5_004, 16_383, 16_384, 16_385, 20_004, 65_540] {
                let room = whole_frames(bytes, read_bytes);
                assert!(room.is_multiple_of(bytes) && room >= bytes, "{bytes}");
                assert!(room <= bytes.max(read_bytes), "{bytes}");
            }
            for bytes in [65_541, 1 << 20, usize::MAX] {
                assert_eq!(whole_frames(bytes, read_bytes), read_bytes);
            }
        }
    }

    #[tokio::test]
    async fn room_for_reads_follows_what_they_bring() {
        let (mut client, mut server) = pair().await;
        let around = unhurried(1 << 20);
        let mut reader = around.reader(&mut server);
        let sending = tokio::spawn(async move {
            let many = framed(&[7; 96]).repeat(1_000);
            client.write_all(&many).await.unwrap();
            client
        });
        let mut most = 0;
        for _ in 0..1_000 {
            reader.next().await.unwrap().unwrap();
            most = most.max(reader.read_bytes);
        }
        assert_eq!(most, READ_BYTES_MAX);
        let mut client = sending.await.unwrap();
        for _ in 0..100 {
            client.write_all(&framed(&[7; 96])).await.unwrap();
            reader.next().await.unwrap().unwrap();
        }
        assert_eq!(reader.read_bytes, READ_BYTES_MIN);
        // One short read is no sign, and in a row they are.
        (reader.read_bytes, reader.short_reads) = (READ_BYTES_MAX, 0);
        reader.arrived = BytesMut::with_capacity(READ_BYTES_MAX);
        for short in 1..=SHORT_READS_MAX {
            reader.follow(READ_BYTES_MAX);
            assert_eq!(reader.read_bytes, READ_BYTES_MAX);
            for _ in 0..short {
                reader.follow(1);
            }
        }
        assert_eq!(reader.read_bytes, READ_BYTES_MAX / 2);
    }

    #[tokio::test]
    async fn frames_that_came_with_one_read_are_at_hand_unless_something_holds_them_up() {
        let (mut client, mut server) = pair().await;
        let around = unhurried(4_096);
        let Around {
            budget,
            parking,
            pace,
            ..
        } = &around;
        let mut reader = around.reader(&mut server);
        assert!(reader.next_at_hand().is_none());
        let mut sent: Vec<u8> = (0..5).flat_map(|number| framed(&[number; 9])).collect();
        sent.extend_from_slice(&framed(&[5; 9])[..7]);
        client.write_all(&sent).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().body, [0; 9][..]);
        assert_eq!(reader.next_at_hand().unwrap().body, [1; 9][..]);
        parking.begin();
        assert!(reader.next_at_hand().is_none());
        parking.end();
        pace.add(usize::MAX / 2);
        assert!(reader.next_at_hand().is_none());
        assert!(poll_once(pin!(pace.rest_if_due())).await.is_pending());
        assert_eq!(reader.next_at_hand().unwrap().body, [2; 9][..]);
        let mut others = [budget.open(), budget.open()];
        for other in &mut others {
            other.cover(4_096).await;
        }
        assert!(reader.next_at_hand().is_none(), "no memory is free");
        drop(others);
        for number in [3, 4] {
            assert_eq!(reader.next_at_hand().unwrap().body, [number; 9][..]);
        }
        assert!(reader.next_at_hand().is_none(), "half of it has come");
        client.write_all(&framed(&[5; 9])[7..]).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().body, [5; 9][..]);
        let mut sent = framed(&[6; 9]);
        sent.extend_from_slice(&(-1_i32).to_be_bytes());
        client.write_all(&sent).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().body, [6; 9][..]);
        assert!(reader.next_at_hand().is_none());
        let refused = reader.next().await;
        assert!(matches!(
            refused,
            Err(Closing::FrameLength { claimed: -1, .. })
        ));
    }

    #[tokio::test]
    async fn a_claimed_length_beyond_the_limit_closes_before_anything_is_read() {
        for claimed in [-1, i32::MIN, 200_001, i32::MAX] {
            let (mut client, mut server) = pair().await;
            client.write_all(&claimed.to_be_bytes()).await.unwrap();
            let around = unhurried(1 << 20);
            let refused = around.reader(&mut server).next().await;
            assert!(
                matches!(refused, Err(Closing::FrameLength { claimed: c, .. }) if c == claimed)
            );
        }
    }

    #[tokio::test]
    async fn a_claim_takes_no_memory_until_some_of_it_has_arrived() {
        let (mut claimer, mut claimed) = pair().await;
        claimer.write_all(&200_000_u32.to_be_bytes()).await.unwrap();
        claimer.write_all(&[0; 100]).await.unwrap();
        let around = unhurried(100_000);
        let mut reader = around.reader(&mut claimed);
        let mut claim = std::pin::pin!(reader.next());
        let waiting = timeout(Duration::from_millis(50), claim.as_mut()).await;
        assert!(waiting.is_err(), "the frame is far from whole");
        let (mut other, mut server) = pair().await;
        other.write_all(&framed(&[7; 90_000])).await.unwrap();
        let mut reader = around.reader(&mut server);
        let served = timeout(Duration::from_secs(5), reader.next()).await;
        assert_eq!(served.unwrap().unwrap().unwrap().body, [7; 90_000][..]);
    }

    #[tokio::test]
    async fn clients_that_stop_halfway_are_given_up_when_others_wait_for_memory() {
        let around = unhurried(100_000);
        let halfway = async || {
            let (mut client, mut server) = pair().await;
            client
                .write_all(&framed(&[7; 150_000])[..90_000])
                .await
                .unwrap();
            let reading = async { around.reader(&mut server).next().await };
            // Not even by a byte now and then.
            let trickling = async {
                while client.write_all(&[7]).await.is_ok() {
                    sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::select! { read = reading => read, () = trickling => unreachable!() }
        };
        let whole = async {
            let (mut client, mut server) = pair().await;
            let (bytes, body) = (framed(&[8; 90_000]), [8; 90_000]);
            sleep(Duration::from_millis(100)).await;
            let sending = client.write_all(&bytes);
            let mut reader = around.reader(&mut server);
            let (sent, read) = tokio::join!(sending, reader.next());
            sent.unwrap();
            assert_eq!(read.unwrap().unwrap().body, body[..]);
        };
        // The first has the budget, the second the right to exceed it.
        let (first, second, ()) = tokio::join!(halfway(), halfway(), whole);
        for stopped in [first, second] {
            assert!(matches!(
                stopped,
                Err(Closing::SlowRequest { length: 150_000 })
            ));
        }
    }

    /// It was 64 KiB in a second, which for 100 MB are four minutes in which nobody else sends much.
    #[tokio::test(start_paused = true)]
    async fn a_large_request_that_dribbles_is_given_up_when_others_wait_for_memory() {
        let seconds_until_slow = async |others_wait: bool| {
            let budget = RequestBudget::new(100_000);
            let (mut all, mut excess) = (budget.open(), budget.open());
            all.cover(100_000).await;
            excess.cover(100_000).await;
            let began = Instant::now();
            let dribbling = async {
                let mut patience = Patience::new(100 * MEBIBYTE, &budget);
                patience.wait(async { Ok(MUCH_BYTES) }).await?;
                loop {
                    let some = async {
                        sleep(Duration::from_millis(500)).await;
                        Ok(MOVING_BYTES)
                    };
                    patience.wait(some).await?;
                }
            };
            let other = async {
                if others_wait {
                    sleep(Duration::from_secs(60)).await;
                    budget.open().cover(1).await;
                }
                std::future::pending().await
            };
            let ended: Result<(), Closing> = tokio::select! {
                ended = dribbling => ended,
                () = other => Ok(()),
            };
            assert!(matches!(ended, Err(Closing::SlowRequest { .. })));
            began.elapsed().as_secs()
        };
        assert_eq!(seconds_until_slow(false).await, 230);
        let soon = seconds_until_slow(true).await;
        assert!((79..=82).contains(&soon), "{soon}");
    }

    /// An answer may take longer than a connection may be idle.
    #[tokio::test]
    async fn a_connection_is_idle_when_its_client_has_sent_nothing_and_taken_nothing() {
        let (_client, mut server) = pair().await;
        let (clock, hands) = Clock::sim(Timestamp(0));
        let around = Around {
            usage: Usage::new(Arc::default(), clock),
            ..unhurried(1 << 20)
        };
        let mut reader = around.reader(&mut server);
        tokio::time::pause();
        let began = Instant::now();
        let takes_some = async {
            for second in 1_u64.. {
                sleep(Duration::from_secs(1)).await;
                hands.advance(Duration::from_secs(1));
                if second.is_multiple_of(50) && second <= 200 {
                    around.usage.note();
                }
            }
        };
        tokio::select! {
            next = reader.next() => assert!(matches!(next, Err(Closing::Idle))),
            () = takes_some => unreachable!(),
        }
        let seconds = began.elapsed().as_secs();
        assert!((260..=262).contains(&seconds), "after {seconds} s");
    }

    #[tokio::test]
    async fn a_client_that_leaves_in_the_middle_of_a_frame_is_told_apart_from_one_that_is_done() {
        let (mut client, mut server) = pair().await;
        client.write_all(&framed(&[7; 10])[..9]).await.unwrap();
        drop(client);
        let around = unhurried(1 << 20);
        let refused = around.reader(&mut server).next().await;
        assert!(matches!(refused, Err(Closing::Truncated { arrived: 5 })));
    }
}
