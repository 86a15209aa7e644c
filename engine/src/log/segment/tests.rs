//! A thinned index against the whole one.

use proptest::prelude::*;

use super::super::time_lookup::{Target, start_position};
use super::*;

const BASE: Offset = Offset(1_000);

/// Batches one after the other: the records of each, its bytes, and how far its time is from the regular one.
fn laid_out(steps: Vec<(i64, u64, i64)>) -> Vec<BatchPlace> {
    let (mut offset, mut position, mut time) = (BASE.0, 0, 0);
    let place = |(records, length_bytes, late): (i64, u64, i64)| {
        let batch = BatchPlace {
            base_offset: Offset(offset),
            last_offset: Offset(offset + records - 1),
            position,
            length_bytes,
            max_timestamp: Timestamp(time + late),
        };
        offset += records;
        position += length_bytes;
        time += 2;
        batch
    };
    steps.into_iter().map(place).collect()
}

/// What a walk from `start` on comes to.
fn from(batches: &[BatchPlace], start: u64) -> impl Iterator<Item = &BatchPlace> {
    batches
        .iter()
        .skip_while(move |batch| batch.position < start)
}

/// Where a search by time begins.
fn start(index: &SegmentIndex, target: Target, log_start: Offset, upper_bound: Offset) -> u64 {
    start_position(index, target, None, log_start, upper_bound)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_thinned_index_is_small_and_leads_to_the_same_batches(
        steps in prop::collection::vec((1_i64..9, 61_u64..9_000, 0_i64..40), 1..400),
        probes in prop::collection::vec((-5_i64..2_500, -5_i64..900), 1..20),
    ) {
        let batches = laid_out(steps);
        let mut whole = SegmentIndex::new(BASE);
        for batch in &batches {
            whole.note(batch, 1_000);
        }
        whole.complete();
        let mut thinned = whole.clone();
        thinned.thin();
        let length = batches.last().map_or(0, BatchPlace::end_position);
        let most = usize::try_from(length / THINNED_BYTES).unwrap() + 2;
        prop_assert!(thinned.offsets.count() <= most);
        prop_assert!(thinned.times.count() <= most + 2);
        prop_assert_eq!(thinned.offsets.last(), whole.offsets.last());
        prop_assert_eq!(thinned.times.last(), whole.times.last());
        for (offset, time) in probes {
            let (offset, time) = (Offset(BASE.0 + offset), Timestamp(time));
            let positions = [&whole, &thinned].map(|index| {
                let floor = index.offsets.floor(offset);
                floor.map_or(0, |entry| entry.1)
            });
            let [expected, found] = positions.map(|start| {
                from(&batches, start).find(|batch| batch.last_offset >= offset)
            });
            prop_assert_eq!(found, expected);
            prop_assert!(positions[0] - positions[1] < THINNED_BYTES);
            let by = thinned.offsets.above(offset).map_or(length, |entry| entry.1);
            prop_assert!(found.is_none_or(|batch| batch.position <= by));

            // The first that is late enough and not deleted.
            let target = Target::AtOrAfter(time);
            let starts = [&whole, &thinned].map(|index| start(index, target, offset, Offset(i64::MAX)));
            let [expected, found] = starts.map(|start| {
                let late = |batch: &&BatchPlace| batch.max_timestamp >= time && batch.last_offset >= offset;
                from(&batches, start).find(late)
            });
            prop_assert_eq!(found, expected);
            prop_assert!(starts[0] - starts[1] < THINNED_BYTES);

            // The latest below a bound, the first of equals.
            let starts = [&whole, &thinned].map(|index| start(index, Target::Greatest, BASE, offset));
            let [expected, found] = starts.map(|start| {
                let visible = from(&batches, start).take_while(|batch| batch.last_offset < offset);
                visible.max_by_key(|batch| (batch.max_timestamp, std::cmp::Reverse(batch.base_offset)))
            });
            prop_assert_eq!(found, expected);
            prop_assert!(starts[0] - starts[1] < THINNED_BYTES);
        }
    }
}
