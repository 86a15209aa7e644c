//! The least that a broker has to do: receive, check the checksum, append, answer.
//!
//! One thread, no protocol, no offsets, no index. A frame is cut by its length; where the batches lie in it, and what the
//! answer is, the generator says beforehand (`FloorLayout`). Batches of one turn go to each file in one write, and where
//! answers wait for the device, one flush per file covers the turn. A Fetch is answered by sendfile.
//!
//! `floor HOST:PORT DIRECTORY [one-file]`: a file per partition, as Kafka's format wants it and one thread has to flush one
//! after the other; or one file for everything, which no broker with that format can do, but a disk can.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{ErrorKind, IoSlice, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use millrace_benches::Outcome;
use millrace_benches::load::FloorLayout;
use nix::errno::Errno;
use nix::libc::{MSG_MORE, off_t};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("floor HOST:PORT DIRECTORY")?;
    let directory = arguments.next().ok_or("floor HOST:PORT DIRECTORY")?;
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut floor = Floor {
        epoll,
        listener,
        connections: BTreeMap::new(),
        next_connection: 0,
        store: Store {
            directory: directory.into(),
            one_file: arguments.next().as_deref() == Some("one-file"),
            layout: FloorLayout::default(),
            files: BTreeMap::new(),
        },
    };
    let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
    loop {
        let count = match floor.epoll.wait(&mut events, EpollTimeout::NONE) {
            // It was stopped and goes on.
            Err(Errno::EINTR) => continue,
            count => count?,
        };
        floor.turn(&events[..count])?;
    }
}

struct Floor {
    epoll: Epoll,
    listener: TcpListener,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    store: Store,
}

struct Connection {
    stream: TcpStream,
    incoming: Vec<u8>,
    length: usize,
    /// Answers that the socket did not take yet.
    outgoing: VecDeque<Piece>,
    /// Whether the socket took less than there is.
    blocked: bool,
    gone: bool,
}

enum Piece {
    Bytes(Vec<u8>, usize),
    /// Position and bytes left in the file that is fetched.
    File(off_t, usize),
}

/// The files, one per partition, and what they are filled with.
struct Store {
    directory: PathBuf,
    /// Whether all partitions share a file.
    one_file: bool,
    layout: FloorLayout,
    files: BTreeMap<u32, File>,
}

/// A batch in the buffer of a connection.
struct Arrived {
    partition: u32,
    connection: u64,
    position: usize,
}

impl Floor {
    /// Takes what arrived on all connections, appends it, and answers.
    fn turn(&mut self, events: &[EpollEvent]) -> Outcome<()> {
        let mut ready = Vec::new();
        for event in events {
            if event.data() == LISTENER {
                self.accept()?;
            } else if let Some(connection) = self.connections.get_mut(&event.data()) {
                if event.events().contains(EpollFlags::EPOLLIN) {
                    connection.receive();
                }
                ready.push(event.data());
            }
        }
        let mut arrived = Vec::new();
        let mut consumed = Vec::new();
        for id in &ready {
            let connection = &self.connections[id];
            let mut answers = Vec::new();
            let mut place = 0;
            while let Some(frame) = connection.frame_at(place) {
                if let Some(layout) = FloorLayout::decode(frame)? {
                    self.store.begin(layout)?;
                    answers.push(Piece::Bytes(vec![0, 0, 0, 0], 0));
                } else if frame.len() == self.store.layout.produce_length {
                    self.store.check(frame, place, *id, &mut arrived)?;
                    answers.push(self.store.acknowledgement(frame));
                } else {
                    self.store.fetch(frame, &mut answers)?;
                }
                place += frame.len();
            }
            consumed.push((*id, place, answers));
        }
        self.append(&mut arrived)?;
        for (id, place, answers) in consumed {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            connection.incoming.copy_within(place..connection.length, 0);
            connection.length -= place;
            connection.answer(answers);
            connection.send(&self.store)?;
            let blocked = !connection.outgoing.is_empty();
            if blocked != connection.blocked {
                connection.blocked = blocked;
                let mut flags = EpollFlags::EPOLLIN;
                flags.set(EpollFlags::EPOLLOUT, blocked);
                let mut event = EpollEvent::new(flags, id);
                self.epoll.modify(&connection.stream, &mut event)?;
            }
            if connection.gone {
                self.connections.remove(&id);
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Outcome<()> {
        let (stream, _) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER_BYTES)?;
        let id = self.next_connection;
        self.next_connection += 1;
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, id))?;
        let connection = Connection {
            stream,
            incoming: vec![0; INCOMING_BYTES],
            length: 0,
            outgoing: VecDeque::new(),
            blocked: false,
            gone: false,
        };
        self.connections.insert(id, connection);
        Ok(())
    }

    /// One write per file for all that arrived in this turn, and one flush where that is asked for.
    fn append(&mut self, arrived: &mut [Arrived]) -> Outcome<()> {
        // Stable: batches of one connection stay in order.
        arrived.sort_by_key(|batch| batch.partition);
        let length = self.store.layout.batch_length;
        for batches in arrived.chunk_by(|a, b| a.partition == b.partition) {
            let file = self.store.files.get(&batches[0].partition);
            let mut file = file.ok_or("a partition without a file")?;
            for some in batches.chunks(IOV_MAX) {
                let slices = some.iter().map(|batch| {
                    let incoming = &self.connections[&batch.connection].incoming;
                    IoSlice::new(&incoming[batch.position..batch.position + length])
                });
                let slices: Vec<IoSlice<'_>> = slices.collect();
                if file.write_vectored(&slices)? != slices.len() * length {
                    return Err("a short write".into());
                }
            }
            if self.store.layout.durable {
                file.sync_data()?;
            }
        }
        Ok(())
    }
}

impl Connection {
    fn receive(&mut self) {
        loop {
            let end = self.end_of_read();
            if end == self.length {
                return;
            }
            match self.stream.read(&mut self.incoming[self.length..end]) {
                Ok(0) => {
                    self.gone = true;
                    return;
                }
                Ok(count) => self.length += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
            if self.length < end {
                return;
            }
        }
    }

    /// Up to where to read: a long frame to its end, so that nothing behind it has to be moved to the front.
    fn end_of_read(&mut self) -> usize {
        let prefix = self.incoming[..self.length].first_chunk::<4>();
        let length = prefix.map_or(0, |prefix| u32::from_be_bytes(*prefix));
        let length = usize::try_from(length).unwrap_or_default() + 4;
        if length <= INCOMING_BYTES {
            return INCOMING_BYTES;
        }
        if self.incoming.len() < length {
            self.incoming.resize(length, 0);
        }
        length
    }

    fn frame_at(&self, place: usize) -> Option<&[u8]> {
        let bytes = &self.incoming[place..self.length];
        let (prefix, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*prefix)).ok()? + 4;
        bytes.get(..length)
    }

    /// Short answers are joined, so that they leave in one write.
    fn answer(&mut self, answers: Vec<Piece>) {
        for piece in answers {
            match (self.outgoing.back_mut(), piece) {
                (Some(Piece::Bytes(last, _)), Piece::Bytes(bytes, _)) => {
                    last.extend_from_slice(&bytes);
                }
                (_, piece) => self.outgoing.push_back(piece),
            }
        }
    }

    fn send(&mut self, store: &Store) -> Outcome<()> {
        loop {
            let more = self.outgoing.len() > 1;
            let Some(piece) = self.outgoing.front_mut() else {
                return Ok(());
            };
            let sent = match piece {
                Piece::Bytes(bytes, sent) if *sent < bytes.len() => {
                    // What follows joins the same packet.
                    let mut flags = MsgFlags::MSG_NOSIGNAL;
                    flags.set(MsgFlags::from_bits_retain(MSG_MORE), more);
                    send(self.stream.as_raw_fd(), &bytes[*sent..], flags)
                        .map(|count| *sent += count)
                        .map_err(std::io::Error::from)
                }
                Piece::File(position, left) if *left > 0 => {
                    let file = store.files.get(&0).ok_or("a fetch before any produce")?;
                    sendfile(&self.stream, file, Some(position), *left)
                        .map(|count| *left -= count)
                        .map_err(std::io::Error::from)
                }
                Piece::Bytes(..) | Piece::File(..) => {
                    self.outgoing.pop_front();
                    continue;
                }
            };
            match sent {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => {
                    self.gone = true;
                    return Ok(());
                }
            }
        }
    }
}

impl Store {
    /// Begins with empty files.
    fn begin(&mut self, layout: FloorLayout) -> Outcome<()> {
        self.files.clear();
        fs::remove_dir_all(&self.directory)?;
        fs::create_dir_all(&self.directory)?;
        self.layout = layout;
        Ok(())
    }

    /// Checks the batches of a Produce and notes where they lie.
    fn check(
        &mut self,
        frame: &[u8],
        place: usize,
        connection: u64,
        arrived: &mut Vec<Arrived>,
    ) -> Outcome<()> {
        for slot in &self.layout.slots {
            let (index, _) = frame[slot.index..]
                .split_first_chunk()
                .ok_or("a slot outside of the frame")?;
            let batch = &frame[slot.batch..slot.batch + self.layout.batch_length];
            if crc32c::crc32c(&batch[21..]).to_be_bytes() != batch[17..21] {
                return Err("a damaged batch".into());
            }
            let partition = match self.one_file {
                true => 0,
                false => u32::from_be_bytes(*index),
            };
            if !self.files.contains_key(&partition) {
                let name = format!("{}-{partition}", self.layout.round);
                let mut options = File::options();
                options.create(true).append(true).read(true);
                let file = options.open(self.directory.join(name))?;
                self.files.insert(partition, file);
            }
            arrived.push(Arrived {
                partition,
                connection,
                position: place + slot.batch,
            });
        }
        Ok(())
    }

    fn acknowledgement(&self, frame: &[u8]) -> Piece {
        let mut answer = self.layout.produce_answer.clone();
        answer[4..8].copy_from_slice(&frame[8..12]);
        Piece::Bytes(answer, 0)
    }

    fn fetch(&self, frame: &[u8], answers: &mut Vec<Piece>) -> Outcome<()> {
        let layout = &self.layout;
        let (offset, _) = frame[layout.fetch_offset..]
            .split_first_chunk()
            .ok_or("neither a Produce nor a Fetch")?;
        let batch = i64::from_be_bytes(*offset) / layout.records_per_batch;
        let end = self.files.get(&0).ok_or("a fetch before any produce")?;
        let end = off_t::try_from(end.metadata()?.len())?;
        let length = off_t::try_from(layout.fetch_bytes)?;
        // Near the end the same length is sent from further ahead: the answer is fixed.
        let position = batch * off_t::try_from(layout.batch_length)?;
        let position = position.min(end - length);
        let mut head = layout.fetch_head.clone();
        head[4..8].copy_from_slice(&frame[8..12]);
        answers.push(Piece::Bytes(head, 0));
        answers.push(Piece::File(position, layout.fetch_bytes));
        answers.push(Piece::Bytes(layout.fetch_tail.clone(), 0));
        Ok(())
    }
}

const LISTENER: u64 = u64::MAX;
const EVENTS_MAX: usize = 64;
const INCOMING_BYTES: usize = 128 << 10;
/// As Kafka's default: what is sent is still in the caches when it is received.
const SEND_BUFFER_BYTES: usize = 100 << 10;
/// Pieces that one write takes.
const IOV_MAX: usize = 1_024;
