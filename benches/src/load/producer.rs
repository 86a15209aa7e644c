//! One producing connection: a bounded number of requests in flight, sent as soon as they are due.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;

use hdrhistogram::Histogram;

use super::frames::{ProduceAnswer, ProduceFrames, ProducerStamp};
use super::target::ProducerIdentity;
use crate::Outcome;

/// A connection that produces.
pub(super) struct Producer {
    pub(super) stream: TcpStream,
    frames: ProduceFrames,
    answer: Rc<ProduceAnswer>,
    window: usize,
    records_per_batch: i32,
    idempotence: Option<Idempotence>,
    /// The first partition of the next request, and of how many.
    partition: i32,
    partitions: i32,
    correlation: i32,
    /// What the system did not take yet, as a range of the frames' bytes.
    outgoing: (usize, usize),
    in_flight: VecDeque<InFlight>,
    /// Where the load is paced: when each request that is due should have left.
    pub(super) due: VecDeque<u64>,
    incoming: Box<[u8]>,
    incoming_length: usize,
    /// Batches acknowledged, by partition.
    pub(super) acknowledged: Vec<u64>,
    pub(super) answered: u64,
    pub(super) sent: u64,
}

struct InFlight {
    /// When it should have left, by the monotonic clock.
    intended: u64,
    partition: i32,
    correlation: i32,
}

struct Idempotence {
    identity: ProducerIdentity,
    /// The next sequence number of each partition.
    sequences: Vec<i32>,
}

/// How requests of one connection look and how many there may be at once.
pub(super) struct ProducerPlan {
    pub(super) frames: ProduceFrames,
    pub(super) answer: Rc<ProduceAnswer>,
    pub(super) window: usize,
    pub(super) records_per_batch: i32,
    pub(super) identity: Option<ProducerIdentity>,
    pub(super) first_partition: i32,
    pub(super) partitions: i32,
}

/// What bounds the sending of new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// As many as the window takes.
    Free,
    /// Those that are due.
    Paced,
    /// None: what is in flight comes to its end.
    Stopped,
}

impl Producer {
    pub(super) fn new(stream: TcpStream, plan: ProducerPlan) -> Outcome<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let partitions = usize::try_from(plan.partitions)?;
        Ok(Self {
            stream,
            frames: plan.frames,
            answer: plan.answer,
            window: plan.window,
            records_per_batch: plan.records_per_batch,
            idempotence: plan.identity.map(|identity| Idempotence {
                identity,
                sequences: vec![0; partitions],
            }),
            partition: plan.first_partition,
            partitions: plan.partitions,
            correlation: 0,
            outgoing: (0, 0),
            in_flight: VecDeque::new(),
            due: VecDeque::new(),
            incoming: vec![0; INCOMING_BYTES].into_boxed_slice(),
            incoming_length: 0,
            acknowledged: vec![0; partitions],
            answered: 0,
            sent: 0,
        })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether its window takes one request more than those that are due.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() + self.due.len() < self.window
    }

    /// Sends what may leave, until the socket takes no more. `limit` bounds the requests sent in all.
    pub(super) fn send(
        &mut self,
        now: u64,
        sending: Sending,
        limit: u64,
        timeline: &mut Option<Vec<u64>>,
    ) -> Outcome<()> {
        loop {
            while self.outgoing.0 < self.outgoing.1 {
                let left = &self.frames.bytes()[self.outgoing.0..self.outgoing.1];
                match self.stream.write(left) {
                    Ok(0) => return Err("the broker closed a connection".into()),
                    Ok(count) => self.outgoing.0 += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            let free = self.window.saturating_sub(self.in_flight.len());
            let ready = match sending {
                Sending::Free => free,
                Sending::Paced => free.min(self.due.len()),
                Sending::Stopped => 0,
            };
            let left = usize::try_from(limit.saturating_sub(self.sent)).unwrap_or(usize::MAX);
            let count = ready.min(self.frames.copies()).min(left);
            if count == 0 {
                return Ok(());
            }
            for copy in 0..count {
                let intended = match sending {
                    Sending::Paced => self.due.pop_front().unwrap_or(now),
                    Sending::Free | Sending::Stopped => now,
                };
                self.prepare(copy, intended)?;
                if let Some(timeline) = timeline {
                    timeline.push(intended);
                }
            }
            self.outgoing = (0, count * self.frames.length());
        }
    }

    fn prepare(&mut self, copy: usize, intended: u64) -> Outcome<()> {
        let first = self.partition;
        self.correlation = self.correlation.wrapping_add(1);
        self.frames.set_correlation(copy, self.correlation);
        for slot in 0..self.frames.slots().len() {
            let partition = self.partition;
            self.frames.set_partition(copy, slot, partition);
            if let Some(idempotence) = &mut self.idempotence {
                let sequence = &mut idempotence.sequences[usize::try_from(partition)?];
                let stamp = ProducerStamp {
                    producer_id: idempotence.identity.producer_id,
                    producer_epoch: idempotence.identity.producer_epoch,
                    base_sequence: *sequence,
                };
                *sequence += self.records_per_batch;
                self.frames.set_producer(copy, slot, stamp);
            }
            self.partition = (partition + 1) % self.partitions;
        }
        self.sent += 1;
        self.in_flight.push_back(InFlight {
            intended,
            partition: first,
            correlation: self.correlation,
        });
        Ok(())
    }

    /// Takes the answers that are there. Latencies go to `latency`, where it is to be measured.
    pub(super) fn receive(
        &mut self,
        now: impl Fn() -> u64,
        mut latency: Option<&mut Histogram<u64>>,
    ) -> Outcome<()> {
        loop {
            let room = &mut self.incoming[self.incoming_length..];
            let asked = room.len();
            let count = match self.stream.read(room) {
                Ok(0) => return Err("the broker closed a connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.incoming_length += count;
            let arrived = now();
            let mut place = 0;
            while let Some(frame) = whole_frame(&self.incoming[place..self.incoming_length])? {
                let asked = self.in_flight.pop_front();
                let asked = asked.ok_or("an answer that nobody asked for")?;
                if frame[4..8] != asked.correlation.to_be_bytes() {
                    return Err("answers are out of order".into());
                }
                self.answer.check(frame)?;
                place += frame.len();
                self.answered += 1;
                let mut partition = usize::try_from(asked.partition)?;
                for _ in 0..self.frames.slots().len() {
                    self.acknowledged[partition] += 1;
                    partition = (partition + 1) % self.acknowledged.len();
                }
                if let Some(latency) = &mut latency {
                    latency.saturating_record(arrived.saturating_sub(asked.intended));
                }
            }
            self.incoming.copy_within(place..self.incoming_length, 0);
            self.incoming_length -= place;
            // Less than there was room for: what comes later is a new event.
            if count < asked {
                return Ok(());
            }
        }
    }
}

fn whole_frame(bytes: &[u8]) -> Outcome<Option<&[u8]>> {
    let Some((prefix, _)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*prefix))? + 4;
    if length > INCOMING_BYTES {
        return Err(format!("an answer of {length} bytes to a Produce").into());
    }
    Ok(bytes.get(..length))
}

const INCOMING_BYTES: usize = 16 << 10;
