//! Which indexes stay, and which go.

use super::*;
use crate::shard::step::tests::{Bench, bench, partition};

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
