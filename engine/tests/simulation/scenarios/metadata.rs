//! The journal and the controller: topics made and deleted, grown and configured, and blocks of producer ids handed
//! out, while the journal is written, compacted into snapshots and recovered, and any of that ends amid.

use millrace_engine::io::Lies;

use super::mixed::seeds;
use crate::faults::Blow;
use crate::invariants::metadata_stays::Facts;
use crate::invariants::{Violation, recovery_settles};
use crate::topics::{BRIEF, TOPICS};
use crate::world::World;

/// Plays one seed to its end.
pub(crate) fn play(seed: u64) -> (World, Result<(), Violation>) {
    let mut world = world(seed);
    let verdict = play_in(&mut world);
    (world, verdict)
}

fn world(seed: u64) -> World {
    let brief: Vec<_> = TOPICS.into_iter().filter(|one| one.name == BRIEF).collect();
    let mut world = World::of(seed, &brief);
    world.metadata_rest = 1;
    world.brief_life = 1;
    world
}

fn play_in(world: &mut World) -> Result<(), Violation> {
    for _ in 0..LIVES {
        for _ in 0..world.random.below(40) {
            if world.random.chance(2, 3) {
                world.steps += 1;
                world.change_metadata()?;
            } else {
                world.step()?;
            }
        }
        let blow = match world.random.below(8) {
            0 => Blow::choose(&mut world.random),
            _ => Blow::in_the_journal(&mut world.random),
        };
        world.strike(blow)?;
        world.start()?;
        let facts = Facts::of(&world.machine.controller.image);
        if world.random.chance(1, 4) {
            // Another recovery with nothing in between.
            world.strike(Blow::Kill)?;
            world.begin()?;
            recovery_settles::check_metadata(&facts, &Facts::of(&world.machine.controller.image))?;
        }
    }
    world.rest()
}

const LIVES: usize = 12;

#[test]
fn an_answered_change_of_the_metadata_stays_whatever_befalls_the_broker() {
    let (mut answered, mut came_about, mut blows, mut snapshots) = (0, 0, 0, 0);
    for seed in seeds(30) {
        println!("MILLRACE_SIM_SEED={seed}");
        let (world, verdict) = play(seed);
        if let Err(violation) = verdict {
            panic!("seed {seed}: {}: {}", violation.invariant, violation.text);
        }
        answered += world.checkers.metadata.answered;
        came_about += world.checkers.metadata.came_about;
        snapshots += u64::from(world.machine.controller.has_snapshot());
        blows += world.blows;
    }
    println!(
        "{answered} changes answered, {came_about} of the others came about, {blows} blows, {snapshots} with snapshots"
    );
    let alone = std::env::var("MILLRACE_SIM_SEED").is_ok();
    assert!(
        answered > 0 && blows > 0 && (snapshots > 0 && came_about > 0 || alone),
        "a simulation that does nothing"
    );
}

#[test]
fn a_disk_that_leaves_out_the_syncs_of_the_journal_is_found_out() {
    let file = |ending: &str| Lies {
        syncs_of_files: Some(ending.to_owned()),
        ..Lies::default()
    };
    let lies = [
        file(".journal"),
        file(".journal.tmp"),
        file(".snapshot.tmp"),
        file(".vote.tmp"),
        Lies {
            syncs_of_directories: Some("__cluster_metadata-0".to_owned()),
            ..Lies::default()
        },
    ];
    for lie in lies {
        let found = (1..=SEEDS_TO_FIND_OUT).find_map(|seed| {
            println!("MILLRACE_SIM_SEED={seed}");
            let mut world = world(seed);
            world.machine.sim.set_lies(lie.clone());
            play_in(&mut world).err()
        });
        println!("{lie:?}: {found:?}");
        assert!(
            found.is_some(),
            "no checker noticed what was lost with {lie:?}"
        );
    }
}

const SEEDS_TO_FIND_OUT: u64 = 200;
