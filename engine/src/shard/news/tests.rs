//! Fetches of a standing read beside fetches that look at everything: a client that hears only what is new hears the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::partition::{Fault, Isolation, ReadError};
use crate::shard::command::{Command, DeleteRecords, Fetch, FetchId};
use crate::shard::step::Input;
use crate::shard::step::tests::{Bench, NOW, bench};
use crate::types::{LeaderEpoch, Monotonic, Offset};

const PARTITIONS: i32 = 5;
const STANDING: StandingId = StandingId(77);

#[derive(Clone, Debug)]
enum Step {
    Produce(usize),
    /// The oldest sync ends, if there is one.
    EndSync,
    DeleteRecords(usize),
    NewEpoch(usize),
    TakeOffline(usize),
    /// Reads a partition from so many offsets behind (or ahead of) what it has seen, with this epoch check or none.
    Read(usize, i64, bool),
    Leave(usize),
    /// A fetch that may wait, or not, for at most so many bytes.
    Fetch(bool, u64),
    /// What waits is answered.
    Hurry,
}

fn step() -> impl Strategy<Value = Step> {
    let place = 0..usize::try_from(PARTITIONS).unwrap();
    prop_oneof![
        6 => place.clone().prop_map(Step::Produce),
        6 => Just(Step::EndSync),
        1 => place.clone().prop_map(Step::DeleteRecords),
        1 => place.clone().prop_map(Step::NewEpoch),
        1 => place.clone().prop_map(Step::TakeOffline),
        5 => (place.clone(), prop_oneof![8 => Just(0_i64), 1 => -2..3_i64], any::<bool>())
            .prop_map(|(place, ahead, checks)| Step::Read(place, ahead, checks)),
        1 => place.prop_map(Step::Leave),
        6 => (any::<bool>(), prop_oneof![Just(1_000_000), 60..300_u64])
            .prop_map(|(waits, bytes_max)| Step::Fetch(waits, bytes_max)),
        4 => Just(Step::Hurry),
    ]
}

/// A partition of the session.
#[derive(Clone, Copy, Debug)]
struct Entry {
    read: FetchPartition,
    /// High watermark and log start offset, as the client heard last; -1 and -1 after an error.
    told: (i64, i64),
}

/// What a client hears of one place.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Bounds(i64, i64),
    Records {
        bounds: (i64, i64),
        position: u64,
        length: u64,
    },
    Diverging,
    Error(ReadError),
}

type Answers = (
    FetchId,
    FetchId,
    oneshot::Receiver<News>,
    oneshot::Receiver<Results>,
);

struct Pair {
    bench: Bench,
    entries: BTreeMap<u64, Entry>,
    remove: Vec<u64>,
    put: BTreeSet<u64>,
    begun: bool,
    serial: u64,
    waiting: Option<Answers>,
    heard: usize,
}

impl Pair {
    fn new() -> Self {
        Self {
            bench: bench(PARTITIONS, 100),
            entries: BTreeMap::new(),
            remove: Vec::new(),
            put: BTreeSet::new(),
            begun: false,
            serial: 0,
            waiting: None,
            heard: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn command(&mut self, command: Command) {
        self.bench.take_in(Input::Command(command));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Produce(place) => drop(self.bench.produce(place)),
            Step::EndSync => {
                if !self.bench.syncs.is_empty() {
                    self.end_sync();
                }
            }
            Step::DeleteRecords(place) => {
                let (reply, _) = oneshot::channel();
                let partitions = vec![(self.bench.partitions[place], None)];
                self.command(Command::DeleteRecords(DeleteRecords { partitions, reply }));
            }
            Step::NewEpoch(place) => {
                let id = self.bench.partitions[place];
                let mut effects = Effects::default();
                self.bench
                    .shard
                    .advance(id, NOW, &mut effects, |leader, told| {
                        let config = std::sync::Arc::new(leader.config().clone());
                        leader.reconfigure(config, LeaderEpoch(leader.epoch().0 + 1), told);
                        Ok(())
                    });
                self.bench.carry_out(effects);
            }
            Step::TakeOffline(place) => {
                let id = self.bench.partitions[place];
                let fault = Fault("a test".to_owned());
                let mut effects = Effects::default();
                self.bench.shard.take_offline(id, &fault, NOW, &mut effects);
                self.bench.carry_out(effects);
            }
            Step::Read(place, ahead, checks) => self.read(place, ahead, checks),
            // Requests of a session come one after the other.
            Step::Leave(place) if self.waiting.is_none() => {
                if let Some(place) = self.place_of(place) {
                    self.entries.remove(&place);
                    self.remove.push(place);
                }
            }
            Step::Leave(_) => {}
            Step::Fetch(waits, bytes_max) => self.fetch(waits, bytes_max),
            Step::Hurry => {
                if let Some((news, full, ..)) = &self.waiting {
                    let (news, full) = (*news, *full);
                    self.command(Command::WakeFetch(news));
                    self.command(Command::WakeFetch(full));
                }
            }
        }
        self.collect();
    }

    fn end_sync(&mut self) {
        // A partition that is gone has no sync to hear of.
        self.bench.end_sync();
    }

    fn place_of(&self, partition: usize) -> Option<u64> {
        let id = self.bench.partitions[partition];
        let mut entries = self.entries.iter();
        entries
            .find(|(_, entry)| entry.read.partition == id)
            .map(|(place, _)| *place)
    }

    fn read(&mut self, partition: usize, ahead: i64, checks: bool) {
        if self.waiting.is_some() {
            return;
        }
        let known = self.place_of(partition);
        let seen = known.map_or(0, |place| self.entries[&place].told.0.max(0));
        let read = FetchPartition {
            partition: self.bench.partitions[partition],
            offset: Offset(seen + ahead),
            bytes_max: 1_000,
            current_leader_epoch: if checks {
                LeaderEpoch(0)
            } else {
                LeaderEpoch::NONE
            },
            last_fetched_epoch: LeaderEpoch::NONE,
            isolation: Isolation::ReadUncommitted,
        };
        let place = match known {
            Some(place) => place,
            None => self.next(),
        };
        let told = known.map_or((-1, -1), |place| self.entries[&place].told);
        self.entries.insert(place, Entry { read, told });
        self.put.insert(place);
    }

    fn fetch(&mut self, waits: bool, bytes_max: u64) {
        if self.waiting.is_some() {
            return;
        }
        let bytes_min = u64::from(waits);
        let deadline = Monotonic(1_000_000);
        let (reply, news) = oneshot::channel();
        let put = std::mem::take(&mut self.put).into_iter();
        let put = put.filter_map(|place| Some((place, self.entries.get(&place)?.read)));
        let put = put.collect();
        let ids = (FetchId(self.next()), FetchId(self.next()));
        let command = FetchNews {
            id: ids.0,
            standing: STANDING,
            begins: !std::mem::replace(&mut self.begun, true),
            remove: std::mem::take(&mut self.remove),
            put,
            bytes_max,
            bytes_min,
            deadline,
            reply,
        };
        self.command(Command::FetchNews(command));
        let (reply, full) = oneshot::channel();
        let partitions = self.entries.values().map(|entry| entry.read).collect();
        let command = Fetch {
            id: ids.1,
            partitions,
            bytes_max,
            bytes_min,
            deadline,
            reply,
        };
        self.command(Command::Fetch(command));
        self.waiting = Some((ids.0, ids.1, news, full));
    }

    /// Both fetches are answered or neither is, and what is new in their answers is the same.
    fn collect(&mut self) {
        let Some((.., news, full)) = &mut self.waiting else {
            return;
        };
        let (news, full) = match (news.try_recv(), full.try_recv()) {
            (Ok(news), Ok(full)) => (news.expect("the shard knows its standing read"), full),
            (Err(_), Err(_)) => return,
            (news, full) => panic!("one is answered: {news:?}, {full:?}"),
        };
        self.waiting = None;
        let all: Vec<_> = self.entries.keys().copied().zip(full).collect();
        let all = self.new_of(all);
        let news = self.new_of(news);
        assert_eq!(news, all, "what is new");
        self.heard += news.len();
        for (place, heard) in news {
            self.note(place, &heard);
        }
    }

    fn new_of(&self, results: Vec<(u64, Result<Fetched, ReadError>)>) -> Vec<(u64, Heard)> {
        let heard = results.into_iter().filter_map(|(place, result)| {
            let told = self.entries.get(&place)?.told;
            let heard = match result {
                Err(error) => Heard::Error(error),
                Ok(fetched) => {
                    let bounds = (fetched.high_watermark.0, fetched.log_start_offset.0);
                    match (fetched.extent, fetched.diverging) {
                        (_, Some(_)) => Heard::Diverging,
                        (Some(extent), None) => Heard::Records {
                            bounds,
                            position: extent.position,
                            length: extent.length,
                        },
                        (None, None) if bounds == told => return None,
                        (None, None) => Heard::Bounds(bounds.0, bounds.1),
                    }
                }
            };
            Some((place, heard))
        });
        heard.collect()
    }

    fn note(&mut self, place: u64, heard: &Heard) {
        let Some(mut entry) = self.entries.remove(&place) else {
            return;
        };
        let mut to = place;
        match heard {
            Heard::Bounds(high_watermark, start) => entry.told = (*high_watermark, *start),
            Heard::Error(_) => entry.told = (-1, -1),
            Heard::Diverging => {}
            Heard::Records { bounds, .. } => {
                // Whoever got records goes to the end.
                entry.told = *bounds;
                to = self.next();
                self.remove.push(place);
                self.put.insert(to);
            }
        }
        self.entries.insert(to, entry);
    }

    /// Asks with nothing to tell.
    fn ask_of_the_unknown(&mut self) {
        let (reply, mut news) = oneshot::channel();
        self.command(Command::FetchNews(FetchNews {
            id: FetchId(1_000),
            standing: STANDING,
            begins: false,
            remove: Vec::new(),
            put: Vec::new(),
            bytes_max: 1,
            bytes_min: 0,
            deadline: Monotonic(0),
            reply,
        }));
        assert!(news.try_recv().unwrap().is_none());
    }
}

proptest! {
    #[test]
    fn a_standing_read_tells_what_a_look_at_everything_would_tell(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut pair = Pair::new();
        for place in 0..usize::try_from(PARTITIONS).unwrap() {
            pair.take(Step::Read(place, 0, false));
        }
        pair.take(Step::Fetch(false, 1_000_000));
        prop_assert_eq!(pair.heard, pair.bench.partitions.len());
        for step in steps {
            pair.take(step);
        }
        // Nothing gets lost: in the end everybody hears of everything.
        while !pair.bench.syncs.is_empty() {
            pair.take(Step::EndSync);
        }
        pair.take(Step::Hurry);
        pair.take(Step::Fetch(false, 1_000_000));
    }
}

#[test]
fn a_fetch_with_one_change_looks_at_one_partition() {
    let mut pair = Pair::new();
    for place in 0..5 {
        pair.take(Step::Read(place, 0, false));
    }
    pair.take(Step::Fetch(false, 1_000_000));
    pair.take(Step::Fetch(true, 1_000_000));
    drop(pair.bench.produce(3));
    pair.bench.end_sync();
    let Some((.., mut news, _)) = pair.waiting.take() else {
        panic!("it waits");
    };
    let news = news.try_recv().unwrap().unwrap();
    assert_eq!(news.len(), 1, "{news:?}");
    assert!(news[0].1.as_ref().unwrap().extent.is_some());
}

#[test]
fn a_waiting_fetch_is_woken_by_records_that_follow_a_new_epoch() {
    let mut pair = Pair::new();
    pair.take(Step::Read(0, 0, false));
    pair.take(Step::Fetch(false, 1_000_000));
    pair.take(Step::Fetch(true, 1_000_000));
    pair.take(Step::NewEpoch(0));
    assert!(pair.waiting.is_some(), "an epoch wakes nobody");
    pair.take(Step::Produce(0));
    pair.take(Step::EndSync);
    assert!(pair.waiting.is_none(), "records do");
}

#[test]
fn a_shard_that_does_not_know_a_standing_read_says_so() {
    let mut pair = Pair::new();
    pair.ask_of_the_unknown();
}
