//! The same seed is the same history.

use super::mixed::{play, seeds};
use crate::world::World;

#[test]
fn a_seed_played_twice_leaves_the_same_trace() {
    for seed in seeds(3) {
        println!("MILLRACE_SIM_SEED={seed}");
        let trace = |()| {
            let mut world = World::new(seed);
            let verdict = play(&mut world);
            (verdict, world.fingerprint())
        };
        assert_eq!(trace(()), trace(()), "seed {seed} has two histories");
    }
}
