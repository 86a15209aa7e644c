//! Everything at once, with blows at random, judged all the way.

use std::collections::BTreeMap;

use crate::faults::{Blow, one_of};
use crate::invariants::{Reading, Violation, recovery_settles};
use crate::topics::TOPICS;
use crate::world::World;

/// Plays one seed to its end.
pub(crate) fn play(world: &mut World) -> Result<(), Violation> {
    for _ in 0..LIVES {
        let steps = 50 + world.random.below(400);
        for _ in 0..steps {
            world.step()?;
        }
        if world.random.chance(1, 3) {
            world.rest()?;
            // What a reader finds beside retention and compaction, not only after a start. What acks=1 answered is
            // seen once it is durable.
            for _ in 0..100 {
                world.machine.pump(&mut world.random);
            }
            let readings = world.read_all()?;
            world.checkers.audit(&readings)?;
        }
        let blow = Blow::choose(&mut world.random);
        world.strike(blow)?;
        world.start()?;
        if world.random.chance(2, 3) {
            judge(world)?;
        }
    }
    world.rest()?;
    judge(world)
}

/// Many short lives, none of which is left in order.
pub(crate) fn play_hastily(world: &mut World) -> Result<(), Violation> {
    world.brief_life = 1;
    // The very first start is not spared.
    let blow = Blow::sudden(&mut world.random);
    world.strike(blow)?;
    world.start()?;
    for _ in 0..LIVES * 4 {
        for _ in 0..5 + world.random.below(80) {
            world.step()?;
        }
        let blow = Blow::sudden(&mut world.random);
        world.strike(blow)?;
        world.start()?;
        if world.random.chance(1, 4) {
            judge(world)?;
        }
    }
    world.rest()?;
    judge(world)
}

/// One topic alone, so that no work for another covers what was left out for it.
pub(crate) fn alone(seed: u64) -> World {
    let topic = usize::try_from(seed).unwrap() % TOPICS.len();
    let mut world = World::of(seed, &TOPICS[topic..=topic]);
    world.brief_life = 1;
    world
}

/// Each life ends amid something.
pub(crate) fn play_alone(world: &mut World) -> Result<(), Violation> {
    for _ in 0..LIVES * 2 {
        let steps = one_of(&mut world.random, &[1, 40, 40, 200]);
        for _ in 0..world.random.below(steps) {
            world.step()?;
        }
        let blow = Blow::sudden(&mut world.random);
        world.strike(blow)?;
        world.start()?;
        if world.random.chance(1, 4) {
            judge(world)?;
        }
    }
    world.rest()?;
    judge(world)
}

/// Reads everything and judges it; then again after another recovery, or an end in order, with nothing in between, not
/// even a compaction.
pub(super) fn judge(world: &mut World) -> Result<(), Violation> {
    world.look_at_offsets()?;
    world.stop_compacting();
    let first = world.read_all()?;
    world.checkers.audit(&first)?;
    // The files that a stop leaves are looked at: what a recovery has made of them before, too.
    let stop = Blow::Stop {
        then_power_cut: false,
    };
    let blow = one_of(&mut world.random, &[Blow::Kill, Blow::PowerCut, stop]);
    world.strike(blow)?;
    world.begin()?;
    let second = world.read_all()?;
    world.checkers.audit(&second)?;
    world.machine.compact(true);
    // Retention may have gone on; what it left is as it was, but for what only the page cache held.
    let unchanged = first
        .into_iter()
        .filter(|(partition, before)| {
            let lost = blow.cuts_power() && world.is_cached(*partition);
            let retained = world.kept_from(*partition).is_some();
            let kept = |after: &Reading| !retained || after.log_start == before.log_start;
            !lost && second.get(partition).is_some_and(kept)
        })
        .collect();
    recovery_settles::check(&unchanged, &second)
}

/// The seeds to play: the one asked for, or `count` of the usual ones (`MILLRACE_SIM_SEEDS` asks for another count).
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    match number("MILLRACE_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("MILLRACE_SIM_SEEDS").unwrap_or(count)).collect(),
    }
}

const LIVES: usize = 5;

#[test]
fn no_promise_is_broken_to_a_topic_that_is_alone() {
    breaks_nothing(36, |seed| {
        let mut world = alone(seed);
        let verdict = play_alone(&mut world);
        (world, verdict)
    });
}

#[test]
fn no_promise_is_broken_in_short_lives() {
    breaks_nothing(10, |seed| {
        let mut world = World::new(seed);
        let verdict = play_hastily(&mut world);
        (world, verdict)
    });
}

/// Plays `count` seeds, none of which may break a promise, or do nothing.
fn breaks_nothing(count: u64, play: impl Fn(u64) -> (World, Result<(), Violation>)) {
    let (mut acknowledged, mut blows, mut ends_at) = (0, 0, 0);
    for seed in seeds(count) {
        println!("MILLRACE_SIM_SEED={seed}");
        let (world, verdict) = play(seed);
        if let Err(violation) = verdict {
            panic!("seed {seed}: {}: {}", violation.invariant, violation.text);
        }
        acknowledged += world.acknowledged;
        blows += world.blows;
        ends_at += world.ends_at.values().sum::<u64>();
    }
    println!("{acknowledged} batches, {blows} blows, {ends_at} at the place they had chosen");
    let alone = std::env::var("MILLRACE_SIM_SEED").is_ok();
    assert!(
        acknowledged > 0 && blows > 0 && (ends_at > 0 || alone),
        "a simulation that does nothing"
    );
}

#[test]
fn no_promise_is_broken_whatever_befalls_the_broker() {
    let mut sums = BTreeMap::new();
    for seed in seeds(20) {
        println!("MILLRACE_SIM_SEED={seed}");
        let mut world = World::new(seed);
        if let Err(violation) = play(&mut world) {
            panic!("seed {seed}: {}: {}", violation.invariant, violation.text);
        }
        for (what, count) in counts(&world) {
            *sums.entry(what).or_insert(0) += count;
        }
    }
    println!("{sums:?}");
    let alone = std::env::var("MILLRACE_SIM_SEED").is_ok();
    let missing: Vec<_> = sums.iter().filter(|(_, count)| **count == 0).collect();
    assert!(
        missing.is_empty() || alone,
        "a simulation without {missing:?}"
    );
}

/// What has to come about with some of the seeds.
fn counts(world: &World) -> [(&'static str, u64); 10] {
    [
        ("batches", world.acknowledged),
        ("batches packed aside", world.machine.unpacked),
        ("blows", world.blows),
        ("stops in order", world.stops_in_order),
        (
            "records compacted away",
            world.checkers.compacted.superseded,
        ),
        (
            "deletions of groups and offsets",
            world.checkers.groups.deletions,
        ),
        ("batches of a cached topic made durable", world.uncached),
        ("batches without room", world.refused()),
        ("writes cut off", world.machine.cut_backs),
        ("jobs put off", world.machine.put_off),
    ]
}
