//! Every place that a blow may choose is come to: one that is not would seem to be tried, and never is.

use crate::faults::{Blow, Step, running_steps, starting_steps};
use crate::world::World;

#[test]
fn a_broker_comes_to_every_place_that_a_blow_may_choose() {
    let running = running_steps().filter(|step| !comes_to(*step, live));
    let starting = starting_steps().filter(|step| !comes_to(*step, start));
    let never: Vec<Step> = running.chain(starting).collect();
    assert!(never.is_empty(), "nothing comes to {never:?}");
}

/// Whether in some life of some seed the broker ends at that place.
fn comes_to(step: Step, play: impl Fn(&mut World, Step)) -> bool {
    (1..=SEEDS).any(|seed| {
        let mut world = World::new(seed);
        world.brief_life = 1;
        world.metadata_rest = 2;
        (0..LIVES).any(|_| {
            play(&mut world, step);
            world.ends_at.contains_key(&step)
        })
    })
}

fn live(world: &mut World, step: Step) {
    for _ in 0..60 {
        world.step().unwrap();
    }
    let power_cut = world.random.chance(1, 2);
    world.strike(Blow::At { step, power_cut }).unwrap();
    world.begin().unwrap();
}

fn start(world: &mut World, step: Step) {
    world.strike(Blow::Kill).unwrap();
    world.start_towards(step).unwrap();
}

const SEEDS: u64 = 8;
const LIVES: usize = 12;
