//! Batches that wait behind one whose body is being opened: they are appended in the order in which they came.

use std::collections::VecDeque;

use super::error::AppendError;
use super::waiting::{Acks, Told, Waiter};
use crate::record::{BatchHeader, Begun, PackedBatch, PreparedBatch, RecordError};

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
    /// The batch that is being opened.
    out: Option<Out>,
    /// Those behind it, in order.
    queue: VecDeque<(Begun, Acks, Waiter)>,
    /// Bytes of those in the queue that are ready.
    ready_bytes: u64,
}

/// A batch that is being opened.
#[derive(Debug)]
struct Out {
    acks: Acks,
    waiter: Waiter,
    header: BatchHeader,
    /// It was refused meanwhile.
    is_refused: bool,
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
        let (begun, acks, waiter) = self.pop()?;
        let header = *begun.header();
        match begun {
            Begun::Packed(packed) => {
                self.out = Some(Out {
                    acks,
                    waiter,
                    header,
                    is_refused: false,
                });
                Some(packed)
            }
            ready => {
                self.queue.push_front((ready, acks, waiter));
                None
            }
        }
    }

    /// The batch that is out has been opened: it comes back as it is to be appended, or with why it is not. `None` where none was
    /// out.
    pub(super) fn unpacked(
        &mut self,
        result: Result<PreparedBatch, RecordError>,
    ) -> Option<Result<Arrival, (Waiter, AppendError)>> {
        let out = self.out.take()?;
        let (acks, waiter) = (out.acks, out.waiter);
        Some(match result {
            // What is wrong with it is said when it comes again: until then what is behind it waits for it.
            _ if out.is_refused => Err((waiter, AppendError::Storage)),
            Ok(batch) => Ok(Arrival {
                batch,
                acks,
                waiter,
            }),
            Err(error) => Err((waiter, error.into())),
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

    /// Refuses all, each once `note` has seen it: who waits is told now or, where the batch is out, once it has been opened.
    pub(super) fn refuse(&mut self, mut note: impl FnMut(&BatchHeader), told: &mut Told) {
        if let Some(out) = &mut self.out {
            note(&out.header);
            out.is_refused = true;
        }
        self.ready_bytes = 0;
        for (begun, _, waiter) in self.queue.drain(..) {
            note(begun.header());
            told.push((waiter, Err(AppendError::Storage)));
        }
    }

    /// Gives everything up; says who waits.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waiter> {
        self.ready_bytes = 0;
        let queued = self.queue.drain(..).map(|(_, _, waiter)| waiter);
        let out = self.out.take().map(|out| out.waiter);
        out.into_iter().chain(queued)
    }

    fn pop(&mut self) -> Option<(Begun, Acks, Waiter)> {
        match self.out {
            None => self.queue.pop_front(),
            Some(_) => None,
        }
    }
}
