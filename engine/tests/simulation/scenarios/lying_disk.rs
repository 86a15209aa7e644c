//! A ring that says it synced and did not: the checkers have to find out.

use super::mixed::play;
use crate::world::World;

#[test]
fn a_ring_that_drops_syncs_is_found_out() {
    let found = (1..=20).find_map(|seed| {
        println!("MILLRACE_SIM_SEED={seed}");
        let mut world = World::new(seed);
        world.machine.syncs_are_lies = true;
        play(&mut world).err()
    });
    println!("{found:?}");
    let found = found.expect("no checker noticed that acknowledged records were lost");
    assert!(
        [
            "INV-DUR-1",
            "INV-HW-1",
            "INV-HW-4",
            "INV-IDEM-2",
            "INV-OFFSET-1",
            "INV-COMPACT-1",
            "INV-COMPACT-2"
        ]
        .contains(&found.invariant),
        "{found:?}"
    );
}
