//! A topic whose compactions take many groups and let delete markers go, with lives that end between two groups.

use super::mixed::{judge, seeds};
use crate::faults::{Blow, one_of};
use crate::invariants::Violation;
use crate::topics::{SIFTED, TOPICS, Topic};
use crate::world::World;

pub(crate) fn world(seed: u64) -> World {
    let sifted = TOPICS.into_iter().filter(|topic| topic.name == SIFTED);
    World::of(seed, &sifted.collect::<Vec<Topic>>())
}

pub(crate) fn play(world: &mut World) -> Result<(), Violation> {
    for _ in 0..LIVES {
        // A burst; and then so little that some keys are not written again while what is deleted comes to its time.
        for steps in [300, 12, 12, 12] {
            for _ in 0..steps / 2 + world.random.below(steps) {
                world.step()?;
            }
            pause(world)?;
        }
        if world.random.chance(1, 2) {
            judge(world)?;
        }
        for _ in 0..STEPS_TO_AN_END_MAX {
            if world.machine.is_amid_groups() {
                break;
            }
            world.step()?;
        }
        let blow = one_of(&mut world.random, &[Blow::Kill, Blow::PowerCut]);
        world.strike(blow)?;
        world.start()?;
        judge(world)?;
    }
    Ok(())
}

/// Compactions begin and come to their end.
fn pause(world: &mut World) -> Result<(), Violation> {
    for _ in 0..3 {
        world.rest()?;
        world.come_to_rest();
    }
    Ok(())
}

#[test]
fn no_promise_is_broken_between_two_groups_or_as_delete_markers_go() {
    let (mut markers_gone, mut ended_amid_groups) = (0, 0);
    for seed in seeds(6) {
        println!("MILLRACE_SIM_SEED={seed}");
        let mut world = world(seed);
        if let Err(violation) = play(&mut world) {
            panic!("seed {seed}: {}: {}", violation.invariant, violation.text);
        }
        markers_gone += world.checkers.compacted.markers_gone;
        ended_amid_groups += world.machine.ended_amid_groups;
    }
    println!("{markers_gone} delete markers gone, {ended_amid_groups} ends amid groups");
    let alone = std::env::var("MILLRACE_SIM_SEED").is_ok();
    assert!(
        markers_gone > 0 && ended_amid_groups > 0 || alone,
        "a simulation in which nothing goes"
    );
}

const LIVES: usize = 4;
const STEPS_TO_AN_END_MAX: usize = 600;
