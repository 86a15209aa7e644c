//! The same seed is the same history.

use super::mixed::{play, seeds};
use super::{metadata, rebalances};
use crate::invariants::Violation;
use crate::world::World;

type Play = fn(u64) -> (World, Result<(), Violation>);

const PLAYS: [(&str, Play); 4] = [
    ("mixed", |seed| {
        let mut world = World::new(seed);
        let verdict = play(&mut world);
        (world, verdict)
    }),
    ("metadata", metadata::play),
    ("rebalances", rebalances::play),
    ("returns", rebalances::play_returns),
];

#[test]
fn a_seed_played_twice_leaves_the_same_trace() {
    for seed in seeds(2) {
        println!("MILLRACE_SIM_SEED={seed}");
        for (name, play) in PLAYS {
            let trace = |()| {
                let (world, verdict) = play(seed);
                (verdict, world.steps, world.fingerprint())
            };
            assert_eq!(
                trace(()),
                trace(()),
                "{name}: seed {seed} has two histories"
            );
        }
    }
}
