//! What a broker finds changed between two of its lives, in files that are mostly sound each by itself, and requests that
//! overtake one another: the checkers have to find out.

use std::path::{Path, PathBuf};

use super::lying_disk;
use crate::faults::Blow;
use crate::invariants::{Verdict, Violation, files_agree};
use crate::topics::{BRIEF, STEADY, TOPICS, Topic};
use crate::world::World;

#[test]
fn an_oldest_segment_that_is_gone_is_found_out() {
    found_out("INV-DEL-2", STEADY, |world| {
        let files = files_of(world, STEADY);
        let logs = files.iter().filter(|path| ends_with(path, ".log"));
        let mut bases: Vec<&str> = logs.filter_map(|path| base_of(path)).collect();
        bases.sort_unstable();
        // The last segment is no old one.
        bases.pop();
        let Some(first) = bases.first() else {
            return;
        };
        let gone = files.iter().filter(|path| base_of(path) == Some(*first));
        for path in gone {
            world.machine.sim.disk().remove_file(path).unwrap();
        }
    });
}

#[test]
fn records_of_the_topic_that_had_the_name_before_are_found_out() {
    found_out("INV-OWN-1", BRIEF, |world| {
        let disk = world.machine.sim.disk();
        let directory = Path::new("/data/brief-0");
        let is_there = disk.exists(directory).unwrap();
        // It may have gone by itself.
        if !is_there || world.machine.partition(BRIEF, 0).is_none() {
            return;
        }
        let read = |path: PathBuf| {
            let bytes = disk.read(&path, 1 << 30).unwrap();
            (path, bytes)
        };
        let old: Vec<_> = files_of(world, BRIEF).into_iter().map(read).collect();
        let settings = TOPICS.into_iter().find(|one| one.name == BRIEF);
        let settings = settings.unwrap().settings;
        world.machine.start();
        world.machine.delete_topic(BRIEF);
        world.machine.create_topic(BRIEF, 1, settings, 99);
        for _ in 0..200 {
            world.machine.pump(&mut world.random);
        }
        // No stop in order, so that the new topic's leader epoch is not below that of the records.
        world.machine.kill(&mut world.random);
        let others = |path: &PathBuf| !ends_with(path, "partition.metadata");
        for path in files_of(world, BRIEF).iter().filter(|path| others(path)) {
            disk.remove_file(path).unwrap();
        }
        for (path, bytes) in old.iter().filter(|(path, _)| others(path)) {
            let file = disk.open_or_create(path).unwrap();
            file.write_all_at(0, bytes).unwrap();
        }
    });
}

#[test]
fn a_spoiled_snapshot_of_producers_is_found_out() {
    let world = one_life(1, STEADY).unwrap();
    let disk = world.machine.sim.disk();
    let check = |world: &World| files_agree::check(&disk, &world.machine.verify());
    assert_eq!(check(&world), Ok(()));
    let files = files_of(&world, STEADY);
    let mut snapshots = files.iter().filter(|path| ends_with(path, ".snapshot"));
    let of_somebody = snapshots.rfind(|path| disk.read(path, 1 << 20).unwrap().len() > 10);
    let file = disk.open(of_somebody.unwrap()).unwrap();
    file.write_all_at(20, b"spoiled").unwrap();
    let violation = check(&world).unwrap_err();
    assert_eq!(violation.invariant, "INV-FILES-1", "{violation:?}");
}

#[test]
fn writes_that_overtake_one_another_are_found_out() {
    // With few producers one is often behind itself.
    let begin = |seed| World::of(seed, &TOPICS[..1]);
    let found = lying_disk::found_out("writes in order", 20, begin, |world| {
        world.machine.writes_overtake = true;
    });
    assert_eq!(found.invariant, "INV-ORDER-1", "{found:?}");
}

/// What is done to a topic's files must break this promise for some seed, which is kept where they are left alone.
fn found_out(invariant: &str, topic: &str, meddle: impl Fn(&mut World)) {
    let found = (1..=SEEDS_TO_FIND_OUT).find_map(|seed| {
        println!("MILLRACE_SIM_SEED={seed}");
        let violation = two_lives(seed, topic, &meddle).err()?;
        Some((seed, violation)).filter(|(_, violation)| violation.invariant == invariant)
    });
    println!("{invariant}: {found:?}");
    let Some((seed, _)) = found else {
        panic!("no checker noticed what breaks {invariant}");
    };
    assert_eq!(
        two_lives(seed, topic, &|_: &mut World| {}),
        Ok(()),
        "seed {seed} breaks its promise for another reason"
    );
}

/// Lives, lets `meddle` change what is left, and reads it in the next life.
fn two_lives(seed: u64, topic: &str, meddle: &impl Fn(&mut World)) -> Verdict {
    let mut world = one_life(seed, topic)?;
    meddle(&mut world);
    world.machine.start();
    let readings = world.read_all()?;
    world.checkers.audit(&readings)
}

/// A life with one topic that ends in order.
fn one_life(seed: u64, topic: &str) -> Result<World, Violation> {
    let topics: Vec<Topic> = TOPICS.into_iter().filter(|one| one.name == topic).collect();
    let mut world = World::of(seed, &topics);
    for _ in 0..1_500 {
        world.step()?;
    }
    world.rest()?;
    world.strike(Blow::Stop {
        then_power_cut: false,
    })?;
    Ok(world)
}

/// The files of the topic's first partition.
fn files_of(world: &World, topic: &str) -> Vec<PathBuf> {
    let directory = PathBuf::from(format!("/data/{topic}-0"));
    let entries = world.machine.sim.disk().list(&directory).unwrap();
    let paths = entries.iter().map(|entry| directory.join(&entry.name));
    paths.collect()
}

/// The offset in a file's name, as it stands there: those of a partition sort as their texts do.
fn base_of(path: &Path) -> Option<&str> {
    let (base, _) = name_of(path).split_once('.')?;
    (base.len() == 20).then_some(base)
}

fn ends_with(path: &Path, ending: &str) -> bool {
    name_of(path).ends_with(ending)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}

const SEEDS_TO_FIND_OUT: u64 = 40;
