//! A recovery that believes what it has to check: the checkers have to find out.

use millrace_engine::io::Check;

use super::lying_disk::found_out;
use crate::topics::TOPICS;
use crate::world::World;

#[test]
fn a_recovery_that_does_not_look_at_checksums_is_found_out() {
    found_out("checksums", 20, World::new, |world| {
        world.machine.sim.leave_out(Check::Checksums);
    });
}

#[test]
fn a_recovery_that_believes_an_index_more_than_the_log_is_found_out() {
    // Of these an index may be on the device before the records it is about.
    let begin = |seed| World::of(seed, &TOPICS[CACHED_ONES]);
    found_out("indexes", 100, begin, |world| {
        world.machine.sim.leave_out(Check::Indexes);
    });
}

const CACHED_ONES: std::ops::RangeInclusive<usize> = 1..=2;
