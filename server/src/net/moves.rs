//! When a connection goes over to another shard's thread, which it does between two requests.
//!
//! A hop between threads costs little when both are busy, and a wake-up each way when they are not. So a connection that asks
//! one shard only goes to that shard's thread if it is calm. Those that go round several shards share one thread as long as it
//! has time for all of them: the others sleep, and their shards are stepped from there. Where it gets crowded, they leave.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use millrace_engine::shard::ShardIndex;
use millrace_engine::types::Monotonic;
use tokio::net::TcpStream;

use super::acceptor::{Arrival, Doors, Passage};
use super::admission::Admission;
use super::loads::{Load, Permille};
use crate::api::{Bearing, Client};
use crate::config::Listener;

/// What the connections of one thread had it do, weighed in bytes.
#[derive(Debug, Default)]
pub(super) struct Work {
    weight: Cell<u64>,
}

impl Work {
    fn add(&self, weight: u64) {
        self.weight.set(self.weight.get().wrapping_add(weight));
    }
}

/// One connection's view of the threads.
pub(super) struct Moves<'a> {
    doors: &'a Doors,
    client: &'a Client,
    /// Of the connection, and of all on its thread.
    own: Work,
    all: &'a Work,
    looked: Cell<Look>,
    heading: Cell<Option<ShardIndex>>,
}

/// When the connection looked round last, and what it and its thread had done by then.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Monotonic,
    own: u64,
    all: u64,
}

impl<'a> Moves<'a> {
    /// Of a connection that has just come to this thread.
    pub(super) fn new(doors: &'a Doors, client: &'a Client, all: &'a Work) -> Self {
        let look = Look {
            at: client.frontend().gateway().now().monotonic,
            own: 0,
            all: all.weight.get(),
        };
        Self {
            doors,
            client,
            own: Work::default(),
            all,
            looked: Cell::new(look),
            heading: Cell::new(None),
        }
    }

    /// So many requests were answered, of so many bytes with their answers.
    pub(super) fn answered(&self, count: usize, bytes: u64) {
        let weight = (count as u64)
            .saturating_mul(REQUEST_WEIGHT)
            .saturating_add(bytes);
        self.own.add(weight);
        self.all.add(weight);
    }

    /// Where the connection should go now.
    pub(super) fn due(&self, now: Monotonic) -> Option<ShardIndex> {
        let then = self.looked.get();
        if then.at.until(now) < LOOKS_EVERY {
            return self.heading.get();
        }
        let look = Look {
            at: now,
            own: self.own.weight.get(),
            all: self.all.weight.get(),
        };
        self.looked.set(look);
        let here = self.client.frontend().gateway().shard();
        let bearing = self.client.bearing();
        let heading = self.doors.choose(now, here, |loads| {
            let busy = busy_of(loads, here)?;
            let done = look.all.wrapping_sub(then.all).max(1);
            let share = busy.saturating_mul(look.own.wrapping_sub(then.own)) / done;
            Some((choose(bearing, here, share, loads)?, share))
        });
        self.heading.set(heading);
        heading
    }

    /// Where it was said to go.
    pub(super) fn heading(&self) -> Option<ShardIndex> {
        self.heading.get()
    }
}

/// The thread on which a connection does better that makes up `share` of the load of the thread of `here`.
fn choose(
    bearing: Bearing,
    here: ShardIndex,
    share: Permille,
    loads: &[Load],
) -> Option<ShardIndex> {
    match bearing {
        Bearing::Unknown => None,
        Bearing::Toward(shard) => {
            (shard != here && busy_of(loads, shard)? < CALM_BELOW).then_some(shard)
        }
        Bearing::Round => {
            let busy = busy_of(loads, here)?;
            if busy < CROWDED_FROM {
                let before = loads.iter().filter(|load| load.shard.0 < here.0);
                let mut roomy = before.filter(|load| load.busy + share <= SHARED_UP_TO);
                return roomy.next().map(|load| load.shard);
            }
            let others = loads.iter().filter(|load| load.shard != here);
            let there = others.min_by_key(|load| load.busy)?;
            // Not where it would only take the crowd along.
            (there.busy + share + ROOM_GAINED <= busy).then_some(there.shard)
        }
    }
}

fn busy_of(loads: &[Load], shard: ShardIndex) -> Option<Permille> {
    let load = loads.iter().find(|load| load.shard == shard)?;
    Some(load.busy)
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
    let shard = passage.shard.0;
    match client.bearing() {
        Bearing::Toward(_) => {
            tracing::debug!(address = %peer, shard, "a connection goes where its partitions are");
        }
        Bearing::Round | Bearing::Unknown => {
            tracing::debug!(address = %peer, shard, "a connection goes where there is time for it");
        }
    }
    admission.move_to(passage.load);
    passage.place.send(Arrival {
        stream,
        peer,
        listener,
        admission,
        belongings: client.pack(),
    });
}

/// How often a connection looks round.
const LOOKS_EVERY: Duration = Duration::from_millis(50);
/// What a request weighs besides its bytes: it costs some 4 us, a byte 0.7 ns.
const REQUEST_WEIGHT: u64 = 6 << 10;
/// A thread that works less than this has time for connections whose partitions are there.
const CALM_BELOW: Permille = 500;
/// So much of a thread's time those that go round fill before they use another: at this load hardly one request in six finds
/// the thread at work, and a wake-up costs more than waiting for that.
const SHARED_UP_TO: Permille = 350;
/// And from here on they leave it.
const CROWDED_FROM: Permille = 700;
/// How much less busy than here the thread has to be, with the connection.
const ROOM_GAINED: Permille = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loads(busy: &[Permille]) -> Vec<Load> {
        let each = busy.iter().enumerate();
        each.map(|(shard, &busy)| Load {
            shard: ShardIndex(shard),
            busy,
        })
        .collect()
    }

    fn chosen(bearing: Bearing, here: usize, share: Permille, busy: &[Permille]) -> Option<usize> {
        choose(bearing, ShardIndex(here), share, &loads(busy)).map(|shard| shard.0)
    }

    #[test]
    fn who_asks_one_shard_goes_there_if_its_thread_sleeps_more_than_it_works() {
        let toward = Bearing::Toward(ShardIndex(1));
        assert_eq!(chosen(toward, 0, 10, &[20, 499]), Some(1));
        assert_eq!(chosen(toward, 0, 10, &[20, 500]), None);
        assert_eq!(chosen(toward, 1, 10, &[20, 20]), None, "it is there");
    }

    #[test]
    fn who_goes_round_shares_the_first_thread_that_has_time() {
        assert_eq!(chosen(Bearing::Round, 2, 50, &[300, 100, 60]), Some(0));
        assert_eq!(chosen(Bearing::Round, 2, 51, &[300, 100, 60]), Some(1));
        assert_eq!(chosen(Bearing::Round, 0, 50, &[300, 0, 0]), None);
        assert_eq!(chosen(Bearing::Unknown, 2, 50, &[0, 0, 60]), None);
    }

    #[test]
    fn who_goes_round_leaves_a_crowded_thread_for_the_least_busy() {
        assert_eq!(chosen(Bearing::Round, 0, 100, &[700, 90, 80]), Some(2));
        assert_eq!(chosen(Bearing::Round, 0, 100, &[699, 90, 80]), None);
        assert_eq!(
            chosen(Bearing::Round, 0, 100, &[900, 601, 601]),
            None,
            "little is gained"
        );
        assert_eq!(
            chosen(Bearing::Round, 0, 900, &[900, 0]),
            None,
            "the crowd is itself"
        );
    }

    proptest! {
        /// Connections that go round, each looking in its turn, come to rest: with steady loads nobody moves for ever.
        #[test]
        fn connections_come_to_rest(
            shares in prop::collection::vec(1..600_u64, 1..40),
            threads in 2..6_usize,
            start in 0..100_usize,
        ) {
            let mut places: Vec<usize> =
                (0..shares.len()).map(|own| (start + own * own) % threads).collect();
            let busy = |places: &[usize]| {
                let mut busy = vec![0; threads];
                for (place, share) in places.iter().zip(&shares) {
                    busy[*place] += share;
                }
                busy
            };
            let mut rounds = 0;
            loop {
                let mut moved = false;
                for own in 0..shares.len() {
                    let to = chosen(Bearing::Round, places[own], shares[own], &busy(&places));
                    if let Some(to) = to {
                        places[own] = to;
                        moved = true;
                    }
                }
                if !moved {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds < 200, "{:?} of {shares:?}", busy(&places));
            }
        }
    }
}
