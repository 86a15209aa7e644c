//! The judge: what clients were told against what the broker has after a kill.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use millrace_wire::ErrorCode;
use millrace_wire::message::OffsetFetchRequest;

use crate::load::{GROUP, Kind, Load, PARTITIONS, Place, number_in};
use crate::support::eventually;
use crate::support::records::read_all;
use crate::support::wire::Wire;

/// What is known about the partitions, and what is still to be compared.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The numbers in each partition by offset, as last read from the broker.
    logs: BTreeMap<Place, Vec<usize>>,
    /// The numbers in the idempotent producer's topic.
    once: HashSet<usize>,
    /// Acknowledged or seen, and to be found in the logs.
    unchecked: Vec<(&'static str, Place, i64, usize)>,
    /// The largest acknowledged commits.
    committed: BTreeMap<Place, i64>,
    /// Committed offsets as last fetched.
    fetched: BTreeMap<Place, i64>,
    acknowledged: BTreeMap<Kind, u64>,
    seen: u64,
    commits: u64,
    /// Records of the other producers that are there more than once.
    doubled: usize,
    checks: u64,
}

impl Ledger {
    /// Takes over what clients were told.
    pub(crate) fn note(&mut self, load: &Load) {
        let told = load.take_told();
        for (place, offset, number) in told.acknowledged {
            *self.acknowledged.entry(place.0).or_default() += 1;
            self.unchecked.push(("acknowledged", place, offset, number));
        }
        for (place, offset, number) in told.seen {
            self.seen += 1;
            self.unchecked
                .push(("seen by a consumer", place, offset, number));
        }
        self.committed = told.committed;
        self.commits = told.commits;
    }

    /// Reads what is new in all partitions (or everything, to the first byte) and compares.
    pub(crate) fn check(&mut self, wire: &mut Wire, whole: bool) {
        self.checks += 1;
        for kind in Kind::ALL {
            for partition in 0..PARTITIONS {
                self.read(wire, (kind, partition), whole);
            }
        }
        for (what, place, offset, number) in std::mem::take(&mut self.unchecked) {
            let index = usize::try_from(offset).expect("an offset from 0");
            let found = self.logs[&place].get(index);
            assert_eq!(
                found,
                Some(&number),
                "{place:?}: record {number}, {what} at offset {offset}, is not there any more; the log ends at {}",
                self.logs[&place].len()
            );
        }
        self.check_commits(wire);
    }

    fn read(&mut self, wire: &mut Wire, place: Place, whole: bool) {
        let log = self.logs.entry(place).or_default();
        let (topic, partition) = (place.0.topic(), place.1);
        let known = log.len();
        let from = if whole { 0 } else { known };
        let from = i64::try_from(from).expect("an offset");
        for (expected, record) in (from..).zip(read_all(wire, topic, partition, from)) {
            assert_eq!(record.offset.0, expected, "{place:?}: an offset is missing");
            let number = number_in(record.value.as_deref().unwrap_or_default());
            let index = usize::try_from(expected).expect("an offset from 0");
            match log.get(index) {
                Some(before) => {
                    assert_eq!(
                        number, *before,
                        "{place:?}: offset {expected} holds another record now"
                    );
                }
                None => log.push(number),
            }
        }
        let end = wire.list_offset(topic, partition, -1).offset;
        assert!(
            end >= i64::try_from(known).expect("an offset"),
            "{place:?}: the log ended at {known}, now at {end}"
        );
        for (index, number) in log.iter().enumerate().skip(known) {
            if place.0 == Kind::Idempotent {
                assert!(
                    self.once.insert(*number),
                    "{place:?}: record {number} is doubled at offset {index}"
                );
                let before = index.checked_sub(1).and_then(|before| log.get(before));
                assert!(
                    before.is_none_or(|before| before < number),
                    "{place:?}: record {number} at offset {index} comes after {before:?}"
                );
            }
        }
    }

    fn check_commits(&mut self, wire: &mut Wire) {
        let fetched = eventually("the group's coordinator", || committed_offsets(wire));
        for (place, offset) in &self.committed {
            let now = fetched.get(place).copied().unwrap_or(-1);
            assert!(
                now >= *offset,
                "{place:?}: the commit of {offset} was acknowledged, now {now} is committed"
            );
        }
        for (place, before) in &self.fetched {
            let now = fetched.get(place).copied().unwrap_or(-1);
            assert!(
                now >= *before,
                "{place:?}: {before} was committed, now {now} is"
            );
        }
        self.fetched = fetched;
    }

    /// Once all producers have ended: every record that was sent is there.
    pub(crate) fn check_nothing_is_missing(&mut self, load: &Load) {
        for kind in Kind::ALL {
            let mut there: HashSet<usize> = HashSet::new();
            let mut count = 0;
            for (_, log) in self.logs.iter().filter(|(place, _)| place.0 == kind) {
                there.extend(log);
                count += log.len();
            }
            self.doubled += count - there.len();
            assert_eq!(
                there.len(),
                load.sent(kind),
                "{kind:?}: records sent and records there"
            );
        }
    }

    /// The log end offset of every partition.
    pub(crate) fn ends(&self) -> BTreeMap<Place, i64> {
        let end = |log: &Vec<usize>| i64::try_from(log.len()).expect("an offset");
        self.logs
            .iter()
            .map(|(place, log)| (*place, end(log)))
            .collect()
    }

    /// How many records were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.values().sum()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} checks passed", self.checks)?;
        for (kind, count) in &self.acknowledged {
            writeln!(
                f,
                "{count:>9} records acknowledged to the producer {kind:?}, none lost"
            )?;
        }
        writeln!(
            f,
            "{:>9} records of the idempotent producer, none doubled",
            self.once.len()
        )?;
        writeln!(
            f,
            "{:>9} records of the others doubled by their retries, as they may",
            self.doubled
        )?;
        writeln!(f, "{:>9} records seen by the group, none gone", self.seen)?;
        write!(
            f,
            "{:>9} commits acknowledged, none taken back",
            self.commits
        )
    }
}

/// All committed offsets of the group; nothing while the coordinator loads.
fn committed_offsets(wire: &mut Wire) -> Option<BTreeMap<Place, i64>> {
    let request = OffsetFetchRequest {
        group_id: GROUP.into(),
        topics: None,
        ..Default::default()
    };
    let answer = wire.ask(&request, 7);
    match answer.error_code {
        ErrorCode::None => {}
        ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => return None,
        other => panic!("OffsetFetch is answered with {other:?}"),
    }
    let mut offsets = BTreeMap::new();
    for topic in answer.topics {
        let Some(kind) = Kind::ALL
            .into_iter()
            .find(|kind| kind.topic() == &*topic.name)
        else {
            continue;
        };
        for partition in topic.partitions {
            offsets.insert(
                (kind, partition.partition_index),
                partition.committed_offset,
            );
        }
    }
    Some(offsets)
}
