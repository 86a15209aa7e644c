use std::collections::BTreeMap as Map;

use super::*;
use crate::partition::Isolation;
use crate::shard::step::tests::partition;
use crate::types::{LeaderEpoch, Offset};

const ID: StandingId = StandingId(9);

fn read(number: i32) -> FetchPartition {
    FetchPartition {
        partition: partition(number),
        offset: Offset(0),
        bytes_max: 100,
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
        isolation: Isolation::ReadUncommitted,
    }
}

/// A standing read of these partitions at places of the same number.
fn standing(numbers: &[i32]) -> Standings {
    let mut standings = Standings::default();
    standings.begin(ID);
    let put = numbers.iter().map(|&number| (place(number), read(number)));
    assert!(standings.change(ID, &[], put.collect()));
    standings
}

fn place(number: i32) -> u64 {
    u64::try_from(number).unwrap()
}

fn due(standings: &mut Standings) -> Vec<u64> {
    let due = standings.take_due(ID).into_iter();
    due.map(|(place, _)| place).collect()
}

#[test]
fn what_was_put_is_due_once_and_at_rest_until_something_happens_to_it() {
    let mut standings = standing(&[0, 1, 2]);
    standings.engage(ID, 7);
    assert_eq!(due(&mut standings), [0, 1, 2]);
    standings.rest(ID, [(0, true), (1, true), (2, false)].into_iter());
    assert_eq!(due(&mut standings), [2], "only what was not left at rest");
    standings.rest(ID, [(2, true)].into_iter());
    assert_eq!(standings.stir(partition(1)), [], "no fetch is in work");
    assert_eq!(standings.stir(partition(1)), [], "it is due already");
    assert_eq!(due(&mut standings), [1]);
}

#[test]
fn a_fetch_in_work_hears_of_what_happens_to_partitions_at_rest() {
    let mut standings = standing(&[0, 1]);
    let _ = due(&mut standings);
    standings.rest(ID, [(0, true), (1, true)].into_iter());
    standings.engage(ID, 8);
    assert_eq!(standings.stir(partition(0)), [8]);
    assert!(
        !standings.change(ID, &[], Vec::new()),
        "one fetch at a time"
    );
    assert_eq!(due(&mut standings), [0]);
    standings.rest(ID, [(0, true)].into_iter());
    assert!(standings.change(ID, &[], Vec::new()));
}

#[test]
fn what_was_removed_or_forgotten_is_not_watched() {
    let mut standings = standing(&[0, 1]);
    let _ = due(&mut standings);
    standings.rest(ID, [(0, true), (1, true)].into_iter());
    assert!(standings.change(ID, &[0], vec![(5, read(0))]));
    assert_eq!(due(&mut standings), [5], "it moved");
    standings.engage(ID, 3);
    assert_eq!(standings.forget(ID), Some(3));
    assert!(standings.watched.is_empty());
    assert!(!standings.change(ID, &[], Vec::new()), "nobody knows it");
}

#[test]
fn a_partition_stands_in_one_place_whatever_happens() {
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u64, i32),
        Remove(u64),
        Fetch(Vec<bool>),
        Stir(i32),
    }
    let step = prop_oneof![
        (0..6_u64, 0..6).prop_map(|(place, number)| Step::Put(place, number)),
        (0..6_u64).prop_map(Step::Remove),
        prop::collection::vec(any::<bool>(), 6).prop_map(Step::Fetch),
        (0..6).prop_map(Step::Stir),
    ];
    proptest!(|(steps in prop::collection::vec(step, 1..60))| {
        let mut standings = standing(&[]);
        // By place: the partition, and whether it is at rest.
        let mut model: Map<u64, (i32, bool)> = Map::new();
        for step in steps {
            match step {
                Step::Put(place, number) => {
                    // No partition stands at two places.
                    let before: Vec<u64> = model
                        .iter()
                        .filter(|(_, (known, _))| *known == number)
                        .map(|(place, _)| *place)
                        .collect();
                    for place in &before {
                        model.remove(place);
                    }
                    prop_assert!(standings.change(ID, &before, vec![(place, read(number))]));
                    model.insert(place, (number, false));
                }
                Step::Remove(place) => {
                    prop_assert!(standings.change(ID, &[place], Vec::new()));
                    model.remove(&place);
                }
                Step::Fetch(at_rest) => {
                    standings.engage(ID, 1);
                    let taken = due(&mut standings);
                    let expected: Vec<u64> = model
                        .iter()
                        .filter(|(_, (_, at_rest))| !at_rest)
                        .map(|(place, _)| *place)
                        .collect();
                    prop_assert_eq!(&taken, &expected);
                    let taken: Vec<_> = taken.into_iter().zip(at_rest).collect();
                    for (place, at_rest) in &taken {
                        if let Some(entry) = model.get_mut(place) {
                            entry.1 = *at_rest;
                        }
                    }
                    standings.rest(ID, taken.into_iter());
                }
                Step::Stir(number) => {
                    standings.stir(partition(number));
                    for (known, at_rest) in model.values_mut() {
                        *at_rest &= *known != number;
                    }
                }
            }
            let watched = model.values().filter(|(_, at_rest)| *at_rest).count();
            prop_assert_eq!(standings.watched.len(), watched);
        }
    });
}
