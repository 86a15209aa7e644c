//! When a connection goes over to another shard's thread: when all it asks for lies there, nothing of it is in work, and that
//! thread has time.
//!
//! A hop between threads costs little when both are busy, and a wake-up each way when they are not. So a connection moves
//! to a calm thread only, which also keeps all of them from crowding on the core of one hot partition.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use millrace_engine::shard::ShardIndex;
use millrace_engine::types::Monotonic;
use tokio::net::TcpStream;

use super::acceptor::{Arrival, Doors, Passage};
use super::admission::Admission;
use crate::api::Client;
use crate::config::Listener;

/// One connection's view of the thread it may go to.
pub(super) struct Moves<'a> {
    doors: &'a Doors,
    client: &'a Client,
    watched: Cell<Option<Watch>>,
}

/// How busy a thread had been when it was first looked at.
#[derive(Clone, Copy, Debug)]
struct Watch {
    shard: ShardIndex,
    since: Monotonic,
    busy: Duration,
}

impl<'a> Moves<'a> {
    /// Of a connection that has just come to this thread.
    pub(super) fn new(doors: &'a Doors, client: &'a Client) -> Self {
        Self {
            doors,
            client,
            watched: Cell::new(None),
        }
    }

    /// Where the connection should go now. To be asked when nothing of it is in work.
    pub(super) fn due(&self) -> Option<ShardIndex> {
        let shard = self.client.destination()?;
        let now = Watch {
            shard,
            since: self.client.frontend().gateway().now().monotonic,
            busy: self.doors.busy(shard)?,
        };
        match self.watched.get() {
            Some(then) if then.shard == shard && then.since.until(now.since) < WATCHED_FOR => None,
            Some(then) if then.shard == shard => {
                self.watched.set(Some(now));
                is_calm(&then, &now).then_some(shard)
            }
            _ => {
                self.watched.set(Some(now));
                None
            }
        }
    }
}

/// Hands a connection over to the thread behind `passage`.
pub(super) fn hand_over(
    passage: Passage,
    stream: TcpStream,
    client: &Client,
    listener: Arc<Listener>,
    mut admission: Admission,
) {
    let peer = client.peer();
    // A socket that fails here is one whose client has gone.
    let Ok(stream) = stream.into_std() else {
        return;
    };
    tracing::debug!(address = %peer, "a connection goes where its partitions are");
    admission.move_to(passage.load);
    passage.place.send(Arrival {
        stream,
        peer,
        listener,
        admission,
        belongings: client.pack(),
    });
}

/// Whether the thread slept for more than half of the time between the two.
fn is_calm(then: &Watch, now: &Watch) -> bool {
    let busy = now.busy.saturating_sub(then.busy);
    busy.saturating_mul(2) < then.since.until(now.since)
}

/// How long a thread is looked at before somebody moves there.
const WATCHED_FOR: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_more_than_it_sleeps_gets_nobody() {
        let watch = |at_ms: u64, busy_ms| Watch {
            shard: ShardIndex(0),
            since: Monotonic(at_ms * 1000),
            busy: Duration::from_millis(busy_ms),
        };
        assert!(is_calm(&watch(0, 1_000), &watch(100, 1_049)));
        assert!(!is_calm(&watch(0, 1_000), &watch(100, 1_050)));
        assert!(!is_calm(&watch(100, 0), &watch(100, 0)), "no time, no word");
    }
}
