//! Consumer groups that rebalance all the time: consumers come, go, die and fall silent, and so does the broker.

use std::sync::Arc;

use bytes::Bytes;
use millrace_engine::group::Synced;
use millrace_engine::types::GenerationId;

use super::mixed::seeds;
use crate::consumers::Consumer;
use crate::faults::Blow;
use crate::invariants::Violation;
use crate::invariants::group_generations::GroupGenerations;
use crate::invariants::static_members::StaticMembers;
use crate::topics::TOPICS;
use crate::world::World;

/// Plays one seed to its end.
pub(crate) fn play(seed: u64) -> (World, Result<(), Violation>) {
    let mut world = World::of(seed, &TOPICS[..1]);
    let verdict = play_in(&mut world);
    (world, verdict)
}

fn play_in(world: &mut World) -> Result<(), Violation> {
    for _ in 0..LIVES {
        for _ in 0..200 + world.random.below(1_200) {
            if world.random.chance(1, 2) {
                world.steps += 1;
                world.use_consumer();
            }
            world.step()?;
        }
        if world.random.chance(1, 4) {
            world.rest()?;
        }
        let blow = match world.random.below(3) {
            0 => Blow::choose(&mut world.random),
            _ => Blow::sudden(&mut world.random),
        };
        world.strike(blow)?;
        world.start()?;
    }
    world.rest()
}

const LIVES: usize = 4;

/// Static members only, whose processes end and begin again, each time before its session is over: but for that nothing
/// happens in the group.
pub(crate) fn play_returns(seed: u64) -> (World, Result<(), Violation>) {
    let mut world = World::of(seed, &[]);
    let verdict = play_returns_in(&mut world);
    (world, verdict)
}

fn play_returns_in(world: &mut World) -> Result<(), Violation> {
    world.employ(GROUP, &["a", "b", "c"]);
    come_to_work(world)?;
    let generation = world.checkers.generations.newest(GROUP);
    for _ in 0..LIVES * 2 {
        let rounds = world.random.below(300);
        world.let_work(rounds)?;
        world.replace_consumer();
        let rounds = world.random.below(12);
        world.let_work(rounds)?;
        let then_power_cut = world.random.chance(1, 2);
        let blow = match world.random.below(3) {
            0 => Blow::Kill,
            1 => Blow::PowerCut,
            _ => Blow::Stop { then_power_cut },
        };
        world.strike(blow)?;
        world.begin()?;
        come_to_work(world)?;
        let newest = world.checkers.generations.newest(GROUP);
        assert_eq!(newest, generation, "a return was a reason to rebalance");
    }
    Ok(())
}

fn come_to_work(world: &mut World) -> Result<(), Violation> {
    for _ in 0..500 {
        world.let_work(10)?;
        if world.all_at_work() {
            return Ok(());
        }
    }
    panic!("the members do not come to work");
}

const GROUP: &str = "crew-0";

#[test]
fn static_members_that_come_back_in_time_move_nobody_whatever_becomes_of_the_broker() {
    let mut returns = 0;
    for seed in seeds(12) {
        println!("MILLRACE_SIM_SEED={seed}");
        let (world, verdict) = play_returns(seed);
        if let Err(violation) = verdict {
            panic!("seed {seed}: {}: {}", violation.invariant, violation.text);
        }
        returns += world.checkers.statics.returns;
    }
    println!("{returns} returns");
    assert!(returns > 100, "{returns} returns");
}

#[test]
fn groups_rebalance_and_nothing_they_were_told_is_taken_back() {
    let (mut generations, mut commits, mut blows, mut returns, mut fenced) = (0, 0, 0, 0, 0);
    let mut parts = 0;
    for seed in seeds(16) {
        println!("MILLRACE_SIM_SEED={seed}");
        let (world, verdict) = play(seed);
        if let Err(violation) = verdict {
            panic!("seed {seed}: {}: {}", violation.invariant, violation.text);
        }
        generations += world.checkers.generations.count();
        commits += world.slots_committed();
        blows += world.blows;
        returns += world.checkers.statics.returns;
        fenced += world.checkers.statics.fenced;
        parts += world.machine.parts_replayed;
    }
    println!(
        "{generations} generations shared out, {commits} commits of members, {blows} blows, \
         {returns} returns of static members, {fenced} fenced, {parts} parts of coordinators read"
    );
    let alone = std::env::var("MILLRACE_SIM_SEED").is_ok();
    assert!(
        generations > 0 && commits > 0 && blows > 0 && returns > 0 && fenced > 0,
        "a simulation that does nothing"
    );
    assert!(parts > 0 || alone, "every coordinator was read at once");
}

#[test]
fn a_ring_that_drops_syncs_takes_generations_back_and_is_found_out() {
    let found = (1..=60).find_map(|seed| {
        println!("MILLRACE_SIM_SEED={seed}");
        let mut world = World::of(seed, &[]);
        world.machine.syncs_are_lies = true;
        let found = play_in(&mut world).err();
        // Lost offsets are what another checker looks for.
        found.filter(|found| found.invariant.starts_with("INV-GROUP"))
    });
    println!("{found:?}");
    assert!(
        found.is_some(),
        "no checker noticed that a generation was undone"
    );
}

/// An answer to Sync with these slots in this generation.
fn synced(generation: i32, protocol: &str, slots: &[u8]) -> Synced {
    let assignment = [&generation.to_be_bytes()[..], slots].concat();
    Synced {
        protocol_type: Arc::from("consumer"),
        protocol: Arc::from(protocol),
        assignment: Bytes::from(assignment),
    }
}

#[test]
fn what_a_group_must_not_do_is_found_out() {
    let hear = |answers: &[(i32, &str, Synced)]| {
        let mut generations = GroupGenerations::default();
        let mut heard = answers.iter().map(|(generation, member, answer)| {
            generations.synced("g", GenerationId(*generation), member, answer.clone())
        });
        heard.find_map(Result::err).map(|found| found.invariant)
    };
    let first = (3, "a", synced(3, "range", &[0, 1]));
    let sound = (3, "b", synced(3, "range", &[2]));
    assert_eq!(hear(&[first.clone(), sound, first.clone()]), None);
    for (broken, then) in [
        ("INV-GROUP-4", (2, "b", synced(2, "range", &[2]))),
        ("INV-GROUP-5", (3, "b", synced(3, "range", &[1, 2]))),
        ("INV-GROUP-5", (3, "a", synced(3, "range", &[0]))),
        ("INV-GROUP-5", (3, "b", synced(3, "sticky", &[2]))),
        ("INV-GROUP-5", (4, "b", synced(3, "range", &[2]))),
    ] {
        assert_eq!(
            hear(&[first.clone(), then.clone()]),
            Some(broken),
            "{then:?}"
        );
    }
    let late = GroupGenerations::committed("g", GenerationId(3), GenerationId(4));
    assert_eq!(late.map_err(|found| found.invariant), Err("INV-GROUP-6"));
    let mut former = Consumer::new("g", Some("a"));
    former.incarnation = 1;
    let mut later = Consumer::new("g", Some("a"));
    later.incarnation = 2;
    let mut statics = StaticMembers::default();
    statics.synced(&former, false);
    assert_eq!(
        StaticMembers::served(&former, statics.holder(&former)),
        Ok(())
    );
    statics.synced(&later, true);
    assert_eq!(
        StaticMembers::served(&later, statics.holder(&later)),
        Ok(())
    );
    let served = StaticMembers::served(&former, statics.holder(&former));
    assert_eq!(served.map_err(|found| found.invariant), Err("INV-GROUP-7"));
}
