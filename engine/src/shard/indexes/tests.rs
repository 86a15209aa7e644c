//! Which indexes stay, and which go.

use tokio::sync::oneshot;

use super::*;
use crate::maintenance::Job;
use crate::partition::Isolation;
use crate::record::BatchBuilder;
use crate::shard::command::{Command, Fetch, FetchId, FetchPartition};
use crate::shard::step::tests::{Bench, NOW, bench, partition};
use crate::shard::step::{Effects, Input};
use crate::types::{LeaderEpoch, Monotonic};

/// A shard whose partitions have many small segments.
fn with_segments(partitions: i32) -> Bench {
    let mut bench = bench(partitions, 1);
    bench.shard.indexes.bytes_max = 0;
    for place in 0..bench.partitions.len() {
        bench.configure(place, |config| {
            (config.segment_bytes, config.index_interval_bytes) = (400, 100);
            config.write_caching = true;
        });
        for _ in 0..300 {
            drop(bench.produce(place));
        }
    }
    bench
}

/// Of how many segments each log has the index in memory, the active one aside.
fn loaded(bench: &mut Bench) -> Vec<usize> {
    let ids = bench.partitions.clone().into_iter();
    let loaded = ids.map(|id| {
        let log = bench.shard.leading(id).unwrap().log();
        assert!(log.segment_count() > 50);
        log.loaded_indexes().count()
    });
    loaded.collect()
}

#[test]
fn the_index_that_no_read_has_used_for_the_longest_goes_first() {
    let mut indexes = Indexes {
        bytes_max: 4_000,
        ..Indexes::default()
    };
    let place = |number| (partition(number), Offset::ZERO);
    let bytes = 1_000 - HELD_BYTES;
    for number in 0..4 {
        indexes.hold(place(number), bytes, true);
    }
    assert_eq!(indexes.take_surplus(), None);
    indexes.used(place(0));
    indexes.hold(place(4), bytes, true);
    indexes.hold(place(4), bytes, true);
    assert_eq!(indexes.bytes, 5_000);
    assert_eq!(indexes.take_surplus(), Some(place(1)));
    assert_eq!(indexes.take_surplus(), None);
}

#[test]
fn a_log_that_is_not_read_keeps_only_the_index_of_the_segment_it_closed_last() {
    let mut bench = with_segments(1);
    assert_eq!(loaded(&mut bench), [1]);
}

#[test]
fn indexes_of_all_logs_together_take_no_more_than_they_may() {
    let mut bench = with_segments(5);
    assert_eq!(loaded(&mut bench), [0, 0, 1, 1, 1]);
}

/// Reads the beginning of each log; says how many indexes had to be loaded for that.
fn read_in_turns(bench: &mut Bench) -> usize {
    let mut loads = 0;
    for id in bench.partitions.clone() {
        let (reply, mut answer) = oneshot::channel();
        let wanted = FetchPartition {
            partition: id,
            offset: Offset::ZERO,
            bytes_max: 1_000,
            current_leader_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
            isolation: Isolation::ReadUncommitted,
        };
        let fetch = Fetch {
            id: FetchId(1),
            partitions: vec![wanted],
            bytes_max: u64::MAX,
            bytes_min: 0,
            deadline: Monotonic(u64::MAX),
            reply,
        };
        let mut effects = Effects::default();
        let command = Input::Command(Command::Fetch(fetch));
        bench.shard.step(NOW, command, &mut effects);
        let jobs = effects.jobs.iter();
        loads += jobs
            .filter(|(_, job)| matches!(job, Job::LoadIndex(_)))
            .count();
        bench.carry_out(effects);
        let results = answer.try_recv().unwrap();
        assert!(results[0].as_ref().unwrap().extent.is_some());
    }
    loads
}

/// Of more than five logs none had its index left when its turn came again: each fetch read and decoded one of 5 MB.
#[test]
fn readers_of_old_segments_of_many_logs_do_not_have_the_indexes_loaded_in_turns() {
    let mut bench = bench(12, 1);
    // A 4096th of the default settings.
    bench.shard.indexes.bytes_max = INDEX_BYTES_MAX >> 12;
    for place in 0..bench.partitions.len() {
        bench.configure(place, |config| {
            (config.segment_bytes, config.index_interval_bytes) = (256 << 10, 512);
            config.write_caching = true;
        });
        for _ in 0..300 {
            let mut builder = BatchBuilder::new();
            builder.push(NOW.wall, None, Some(&[0; 1_000]), &[]);
            drop(bench.produce_with(place, builder));
        }
        let id = bench.partitions[place];
        let log = bench.shard.leading(id).unwrap().log_mut();
        assert_eq!(log.segment_count(), 2);
        log.drop_indexes();
    }
    assert_eq!(read_in_turns(&mut bench), 12);
    assert_eq!(read_in_turns(&mut bench), 0);
}
