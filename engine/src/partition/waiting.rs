//! Who waits for what to happen to an appended batch.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::error::AppendError;
use crate::types::{Offset, Timestamp};

/// How many replicas a produce request waits for (the protocol's `acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// 0: nobody is answered. A write that fails closes the connection, though, so it waits as for 1.
    None,
    /// 1: the leader has written the batch to its page cache, and synced it where `flush.messages` asks for that.
    Leader,
    /// -1: the batch is durable, as the topic promises, on every in-sync replica.
    All,
}

/// A batch has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record; for a duplicate, the offset it was given the first time.
    pub base_offset: Offset,
    /// When the broker appended it, for topics with LogAppendTime; else [`Timestamp::NONE`].
    pub log_append_time: Timestamp,
    /// Where the partition starts.
    pub log_start_offset: Offset,
}

/// Who is to be told of a batch's fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// Entry `index` of a produce request in work.
    Produce {
        /// The request, as the shard numbers them.
        work: u64,
        /// The entry's place in the request.
        index: usize,
    },
    /// The coordinator that lives with this partition.
    Coordinator {
        /// Its own number for the append.
        sequence: u64,
    },
}

/// What became of batches, for the shard to pass on: most often of one.
pub type Told = SmallVec<[(Waiter, Result<Appended, AppendError>); 1]>;

/// One who waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The exclusive end of the batch: reached once the bound in question is not below it.
    end: Offset,
    waiter: Waiter,
    appended: Appended,
}

/// Those who wait for batches to be written, and for batches to be committed, each in the order of the log.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    for_write: VecDeque<Waiting>,
    for_commit: VecDeque<Waiting>,
}

impl WaitingRoom {
    /// Keeps `waiter` until its batch, which ends at `end`, is as far as `acks` asks for.
    ///
    /// A duplicate may end below those before it; it then waits with them, which costs at most one group commit.
    pub(super) fn enter(&mut self, acks: Acks, end: Offset, waiter: Waiter, appended: Appended) {
        let queue = match acks {
            Acks::All => &mut self.for_commit,
            Acks::Leader | Acks::None => &mut self.for_write,
        };
        queue.push_back(Waiting {
            end,
            waiter,
            appended,
        });
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.for_write.is_empty() && self.for_commit.is_empty()
    }

    /// The log is written up to `end`, and what `flush.messages` asks to be synced is.
    pub(super) fn written(&mut self, end: Offset, told: &mut Told) {
        release(&mut self.for_write, end, told);
    }

    /// Everything below `watermark` is committed.
    pub(super) fn committed(&mut self, watermark: Offset, told: &mut Told) {
        release(&mut self.for_commit, watermark, told);
    }

    /// Batches that end above `from` are gone; nobody else is.
    pub(super) fn lost(&mut self, from: Offset, told: &mut Told) {
        for queue in [&mut self.for_write, &mut self.for_commit] {
            queue.retain(|waiting| {
                if waiting.end > from {
                    told.push((waiting.waiter, Err(AppendError::Storage)));
                }
                waiting.end <= from
            });
        }
    }
}

fn release(queue: &mut VecDeque<Waiting>, reached: Offset, told: &mut Told) {
    let released = queue.iter().take_while(|waiting| waiting.end <= reached);
    let released = queue.drain(..released.count());
    told.extend(released.map(|waiting| (waiting.waiter, Ok(waiting.appended))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(base: i64) -> Appended {
        Appended {
            base_offset: Offset(base),
            log_append_time: Timestamp::NONE,
            log_start_offset: Offset::ZERO,
        }
    }

    fn who(index: usize) -> Waiter {
        Waiter::Produce { work: 1, index }
    }

    #[test]
    fn each_waits_for_what_its_acks_ask() {
        let mut room = WaitingRoom::default();
        let mut told = Told::new();
        room.enter(Acks::Leader, Offset(5), who(0), appended(0));
        room.enter(Acks::All, Offset(5), who(1), appended(0));
        room.enter(Acks::All, Offset(9), who(2), appended(5));
        room.written(Offset(9), &mut told);
        assert_eq!(
            told.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(),
            [who(0)]
        );
        room.committed(Offset(8), &mut told);
        assert_eq!(
            told.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(),
            [who(0), who(1)]
        );
        room.lost(Offset(5), &mut told);
        assert!(matches!(told.last(), Some((w, Err(AppendError::Storage))) if *w == who(2)));
    }
}
