//! `flush.ms`: what a cached topic has answered is on the device when that time is over, with nothing else to bring it
//! there. The checkers promise nothing of cached topics behind a power cut, so it is looked at here, step by step.

use std::time::Duration;

use millrace_engine::types::Offset;

use super::waiting::{Stage, lengths};

/// Whether a record of a topic with these settings is there after a power cut a while behind its acknowledgement.
fn outlives_the_power(seed: u64, settings: &[(&str, &str)]) -> bool {
    let mut stage = Stage::seeded(seed, &[("t", settings)]);
    let id = stage.id("t");
    assert_eq!(stage.store(id, 10), Offset(0));
    // Before recovery points come up, which takes a second.
    stage.machine.pass(FLUSH_TIME + Duration::from_millis(1));
    stage.settle();
    stage.machine.cut_power();
    stage.machine.start();
    stage.settle();
    let mut answer = stage.fetch(&[(id, 0)], 1 << 20, 0);
    stage.settle();
    lengths(&answer.try_recv().unwrap())[0] > 0
}

#[test]
fn a_cached_record_outlives_the_power_once_flush_ms_is_over() {
    let cached = ("write.caching", "true");
    for seed in SEEDS {
        println!("MILLRACE_SIM_SEED={seed}");
        assert!(
            outlives_the_power(seed, &[cached, ("flush.ms", "400")]),
            "seed {seed}: flush.ms was over, and the record is gone"
        );
    }
    let kept = SEEDS.filter(|seed| outlives_the_power(*seed, &[cached]));
    assert!(
        kept.count() < SEEDS.count(),
        "no power cut takes what was not flushed"
    );
}

const FLUSH_TIME: Duration = Duration::from_millis(400);
const SEEDS: std::ops::Range<u64> = 1..17;
