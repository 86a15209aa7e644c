//! A disk that says it synced and did not: the checkers have to find out, whichever syncs it leaves out.

use millrace_engine::io::Lies;

use super::mixed::play;
use crate::world::World;

#[test]
fn a_ring_that_drops_syncs_is_found_out() {
    found_out("the rings", 20, |world| world.machine.syncs_are_lies = true);
}

#[test]
fn a_disk_that_leaves_out_the_syncs_of_a_directory_is_found_out() {
    for directory in ["/data", "-0", "-1"] {
        let lies = Lies {
            syncs_of_directories: Some(directory.to_owned()),
            ..Lies::default()
        };
        found_out(directory, 100, |world| {
            world.machine.sim.set_lies(lies.clone())
        });
    }
}

#[test]
fn a_disk_that_leaves_out_the_syncs_of_small_files_is_found_out() {
    for ending in [".tmp", ".cleaned", ".snapshot"] {
        let lies = Lies {
            syncs_of_files: Some(ending.to_owned()),
            ..Lies::default()
        };
        found_out(ending, 200, |world| {
            world.machine.sim.set_lies(lies.clone())
        });
    }
}

/// Some of so many seeds must break a promise.
fn found_out(lie: &str, seeds: u64, tell: impl Fn(&mut World)) {
    let found = (1..=seeds).find_map(|seed| {
        println!("MILLRACE_SIM_SEED={seed}");
        let mut world = World::new(seed);
        tell(&mut world);
        play(&mut world).err()
    });
    println!("{lie}: {found:?}");
    assert!(
        found.is_some(),
        "no checker noticed what was lost with the syncs of {lie}"
    );
}
