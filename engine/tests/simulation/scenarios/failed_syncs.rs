//! Syncs fail, and the page cache goes on showing what the device does not have. What a reader sees after a restart is
//! what the device holds, so a power cut behind it takes nothing away.

use millrace_engine::io::{Faults, SimOperation};

use super::mixed::seeds;
use crate::faults::Blow;
use crate::invariants::{Reading, Violation, recovery_settles};
use crate::world::World;

pub(crate) fn play(world: &mut World) -> Result<(), Violation> {
    // No mark can be made on a full disk.
    world.fills_up = false;
    for _ in 0..LIVES {
        let faults = Faults {
            sync_errors: 4_000,
            ..Faults::default()
        };
        world.machine.sim.set_faults(faults);
        let steps = 100 + world.random.below(400);
        for _ in 0..steps {
            world.step()?;
        }
        world.machine.sim.set_faults(Faults::default());
        // The next syncs succeed, without what the last one lost; and the marks are written.
        world.come_to_rest();
        world.offline += world.machine.marks();
        // Of a partition whose sync failed nothing is promised that was not synced.
        if world.random.chance(1, 2) {
            world.strike(Blow::Kill)?;
        } else {
            // The sync of a closing log is one like any other.
            world.machine.sim.fail_next(SimOperation::Sync, ".log", EIO);
            world.strike(Blow::Stop {
                then_power_cut: false,
            })?;
            world.machine.sim.forget_plans();
        }
        world.power_failed();
        // Once more while it recovers: that opening is marked as well.
        world.begin()?;
        world.machine.sim.fail_next(SimOperation::Sync, ".log", EIO);
        for _ in 0..world.random.below(8) {
            world.machine.run_job(&mut world.random);
            world.machine.deliver(0);
        }
        world.strike(Blow::Kill)?;
        world.machine.sim.forget_plans();
        world.power_failed();
        // What is compared is not compacted meanwhile.
        world.machine.compact(false);
        world.begin()?;
        let first = world.read_all()?;
        world.checkers.audit(&first)?;
        world.strike(Blow::PowerCut)?;
        world.begin()?;
        let second = world.read_all()?;
        world.checkers.audit(&second)?;
        let first = first
            .into_iter()
            .filter(|(partition, before)| {
                let retained = world.kept_from(*partition).is_some();
                let kept = |after: &Reading| !retained || after.log_start == before.log_start;
                !world.is_cached(*partition) && second.get(partition).is_some_and(kept)
            })
            .collect();
        world.machine.compact(true);
        recovery_settles::check(&first, &second)?;
        assert_eq!(
            world.machine.marks(),
            0,
            "what was recovered is not marked any more"
        );
    }
    Ok(())
}

const LIVES: usize = 3;
const EIO: i32 = 5;

#[test]
fn what_is_read_after_a_failed_sync_and_a_restart_is_on_the_device() {
    let (mut acknowledged, mut offline) = (0, 0);
    for seed in seeds(24) {
        println!("MILLRACE_SIM_SEED={seed}");
        let mut world = World::new(seed);
        if let Err(violation) = play(&mut world) {
            panic!("seed {seed}: {}: {}", violation.invariant, violation.text);
        }
        acknowledged += world.acknowledged;
        offline += world.offline;
    }
    println!("{acknowledged} batches, {offline} partitions were marked");
    assert!(
        acknowledged > 0 && offline > 10,
        "{acknowledged} batches, {offline} partitions were marked"
    );
}
