//! Batches that wait behind one whose body is being opened: they are appended in the order in which they came.

use std::collections::VecDeque;

use super::waiting::{Acks, Waiter};
use crate::record::{Begun, PackedBatch, PreparedBatch, RecordError};

/// A checked batch on its way into the log.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) batch: PreparedBatch,
    pub(super) acks: Acks,
    pub(super) waiter: Waiter,
}

/// The batches of one partition that are not ready to be appended, and those behind them. Their memory is the requests',
/// which is within their connections' budgets, but for those that were packed anew.
#[derive(Debug, Default)]
pub(super) struct Unpacking {
    /// Whose batch is being opened.
    out: Option<(Acks, Waiter)>,
    /// Those behind it, in order.
    queue: VecDeque<(Begun, Acks, Waiter)>,
    /// Bytes of those in the queue that are ready.
    ready_bytes: u64,
}

impl Unpacking {
    /// Nothing waits: what is ready may be appended.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_none() && self.queue.is_empty()
    }

    /// Bytes of the batches that are ready and wait behind one that is not.
    pub(super) fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    /// Takes a batch in behind all others.
    pub(super) fn push(&mut self, begun: Begun, acks: Acks, waiter: Waiter) {
        if let Begun::Ready(batch) = &begun {
            self.ready_bytes += batch.length_bytes() as u64;
        }
        self.queue.push_back((begun, acks, waiter));
    }

    /// The batch to be opened next, one at a time; then [`Unpacking::unpacked`].
    pub(super) fn next(&mut self) -> Option<Box<PackedBatch>> {
        match self.pop()? {
            (Begun::Packed(packed), acks, waiter) => {
                self.out = Some((acks, waiter));
                Some(packed)
            }
            ready => {
                self.queue.push_front(ready);
                None
            }
        }
    }

    /// The batch that is out has been opened: it comes back as it is to be appended, or with what is wrong with it. `None`
    /// where none was out.
    pub(super) fn unpacked(
        &mut self,
        result: Result<PreparedBatch, RecordError>,
    ) -> Option<Result<Arrival, (Waiter, RecordError)>> {
        let (acks, waiter) = self.out.take()?;
        Some(match result {
            Ok(batch) => Ok(Arrival {
                batch,
                acks,
                waiter,
            }),
            Err(error) => Err((waiter, error)),
        })
    }

    /// The next batch that is ready and has none before it.
    pub(super) fn pop_ready(&mut self) -> Option<Arrival> {
        match self.pop()? {
            (Begun::Ready(batch), acks, waiter) => {
                self.ready_bytes -= batch.length_bytes() as u64;
                Some(Arrival {
                    batch,
                    acks,
                    waiter,
                })
            }
            packed => {
                self.queue.push_front(packed);
                None
            }
        }
    }

    /// Gives everything up; says who waits.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waiter> {
        self.ready_bytes = 0;
        let queued = self.queue.drain(..).map(|(_, _, waiter)| waiter);
        let out = self.out.take().map(|(_, waiter)| waiter);
        out.into_iter().chain(queued)
    }

    fn pop(&mut self) -> Option<(Begun, Acks, Waiter)> {
        match self.out {
            None => self.queue.pop_front(),
            Some(_) => None,
        }
    }
}
