//! A disk that says it synced and did not: the checkers have to find out, whichever syncs it leaves out.

use millrace_engine::io::Lies;

use super::mixed::play;
use crate::invariants::Violation;
use crate::world::World;

#[test]
fn a_ring_that_drops_syncs_is_found_out() {
    found_out("syncs of the rings", 20, World::new, |world| {
        world.machine.syncs_are_lies = true;
    });
}

#[test]
fn a_disk_that_leaves_out_the_syncs_of_a_directory_is_found_out() {
    for directory in ["/data", "-0", "-1"] {
        let lies = Lies {
            syncs_of_directories: Some(directory.to_owned()),
            ..Lies::default()
        };
        found_out(&format!("syncs of {directory}"), 100, World::new, |world| {
            world.machine.sim.set_lies(lies.clone());
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
        found_out(&format!("syncs of {ending}"), 200, World::new, |world| {
            world.machine.sim.set_lies(lies.clone());
        });
    }
}

/// Some of so many seeds must break a promise, and keep it when nothing is left out.
pub(super) fn found_out(
    left_out: &str,
    seeds: u64,
    begin: impl Fn(u64) -> World,
    leave_out: impl Fn(&mut World),
) -> Violation {
    let found = (1..=seeds).find_map(|seed| {
        println!("MILLRACE_SIM_SEED={seed}");
        let mut world = begin(seed);
        leave_out(&mut world);
        play(&mut world).err().map(|violation| (seed, violation))
    });
    println!("{left_out}: {found:?}");
    let Some((seed, violation)) = found else {
        panic!("no checker noticed that {left_out} are left out");
    };
    assert_eq!(
        play(&mut begin(seed)),
        Ok(()),
        "seed {seed} breaks its promise for another reason"
    );
    violation
}
