//! The power fails at every step of a compaction in turn: whatever the disk is left with, nothing is lost.

use std::sync::Arc;

use super::super::task::CleanError;
use super::*;
use crate::io::{Sim, SimOperation};
use crate::log::names;
use crate::record::{BatchBuilder, PreparedBatch};
use crate::types::LeaderEpoch;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

fn simulated(seed: u64, config: TopicConfig) -> (Sim, Fixture) {
    let sim = Sim::new(seed);
    let mut fixture = Fixture::new(config);
    fixture.disk = sim.disk();
    fixture.disk.create_dir_all(fixture.dir.path()).unwrap();
    let mut parent = fixture.dir.path();
    while let Some(above) = parent.parent() {
        fixture.disk.sync_dir(above).unwrap();
        parent = above;
    }
    (sim, fixture)
}

/// A log of several segments on a simulated disk, all of it on stable storage.
fn written(seed: u64) -> (Sim, Fixture, Log) {
    let (sim, fixture) = simulated(seed, compacted(500));
    let mut log = fixture.fresh();
    for round in 0..40 {
        let mut builder = BatchBuilder::new();
        let (key, value) = (format!("{}", round % 5), format!("{round:040}"));
        let value = (round % 7 != 3).then_some(value.as_bytes());
        builder.push(Timestamp(500), Some(key.as_bytes()), value, &[]);
        let prepared = PreparedBatch::from_builder(&builder.build()).unwrap();
        fixture.append(&mut log, &prepared);
    }
    fixture.roll(&mut log);
    (sim, fixture, log)
}

const STEPS: [(SimOperation, &str); 20] = [
    (SimOperation::Open, ".log.cleaned"),
    (SimOperation::Resize, ".log.cleaned"),
    (SimOperation::Write, ".log.cleaned"),
    (SimOperation::Sync, ".log.cleaned"),
    (SimOperation::Read, ".log"),
    (SimOperation::Open, ".index.cleaned"),
    (SimOperation::Write, ".timeindex.cleaned"),
    (SimOperation::Sync, ".index.cleaned"),
    (SimOperation::Name, ".index.cleaned"),
    (SimOperation::Name, ".timeindex.cleaned"),
    (SimOperation::Name, ".log.cleaned"),
    (SimOperation::SyncDir, ""),
    (SimOperation::Name, ".log"),
    (SimOperation::Name, ".index"),
    (SimOperation::Name, ".timeindex"),
    (SimOperation::Name, ".snapshot"),
    (SimOperation::Name, ".index.swap"),
    (SimOperation::Name, ".timeindex.swap"),
    (SimOperation::Name, ".log.swap"),
    (SimOperation::Name, ".deleted"),
];

/// Opens what a crash left, with the recovery point that was noted before segments were exchanged.
fn reopened(fixture: &Fixture, recovery_point: Offset) -> (Log, Vec<Batch>) {
    let (mut log, report) = fixture.open(false, recovery_point.0);
    assert!(
        report.cuts.is_empty() && report.damage.is_none(),
        "{report:?}"
    );
    let found = batches(fixture, &mut log);
    let bases: Vec<i64> = found
        .iter()
        .map(|batch| batch.header.base_offset().0)
        .collect();
    assert!(
        bases.is_sorted_by(|one, next| one < next),
        "no offset twice: {bases:?}"
    );
    (log, found)
}

#[test]
fn a_power_cut_at_any_step_loses_nothing() {
    let (mut failed, mut completed) = (0, 0);
    for (place, (operation, path_end)) in STEPS.into_iter().enumerate() {
        for seed in 0..6 {
            let (sim, fixture, mut log) = written(seed * 100 + place as u64);
            let all = all_records(&batches(&fixture, &mut log));
            let expected = folded(&all);
            let (end, point) = (log.log_end_offset(), log.recovery_point());
            // The step of the first, or of a later group.
            if seed % 2 == 1 {
                clean(&mut log, &fixture.disk, 2_000, LIMITS).unwrap();
                log.set_cleaned_to(Offset(0));
            }
            sim.fail_next(operation, path_end, EIO);
            match clean(&mut log, &fixture.disk, 4_000, LIMITS) {
                Ok(_) => completed += 1,
                Err(_) => failed += 1,
            }
            drop(log);
            sim.crash();
            let (mut log, found) = reopened(&fixture, point);
            let step = format!("{operation:?} of {path_end}, seed {seed}");
            assert_eq!(folded(&all_records(&found)), expected, "{step}");
            assert_eq!(log.log_end_offset(), end, "{step}");
            // Once more, and again with a crash and no failure: the end is the same.
            clean(&mut log, &fixture.disk, 6_000, LIMITS).unwrap();
            drop(log);
            sim.crash();
            let (log, found) = reopened(&fixture, point);
            assert_eq!(folded(&all_records(&found)), expected, "{step}");
            assert_eq!(log.log_end_offset(), end, "{step}");
            assert_eq!(log.latest_epoch(), LeaderEpoch(0));
        }
    }
    assert!(
        failed > 80,
        "{failed} compactions failed, {completed} did not"
    );
}

/// All that was replaced stayed on the disk until the end: with what took its place, up to twice the log.
#[test]
fn the_space_of_what_was_replaced_comes_back_group_by_group() {
    let (_sim, fixture, mut log) = written(1);
    let used_bytes = || {
        let space = fixture.disk.space(fixture.dir.path()).unwrap();
        space.total_bytes - space.usable_bytes
    };
    let before = used_bytes();
    let dirt = log.dirt(Timestamp(2_000), log.log_end_offset()).unwrap();
    let mut cleaning = log.begin_clean(&dirt, LIMITS, Timestamp(2_000));
    let mut groups = 0;
    while cleaning.next() != Next::End {
        if cleaning.next() == Next::Swap {
            assert!(log.begin_swap(&mut cleaning));
        }
        cleaning = cleaning.run(&fixture.disk).unwrap();
        if let Some(swapped) = cleaning.take_swapped() {
            log.swapped(swapped).run(&fixture.disk).unwrap();
            groups += 1;
            let used = used_bytes();
            assert!(used < before, "{used} of {before} bytes after {groups}");
        }
    }
    assert!(groups > 5);
}

#[test]
fn an_exchange_that_cannot_be_finished_is_told_from_one_that_has_not_begun() {
    for (operation, path_end, half) in [
        (SimOperation::Write, ".index.cleaned", false),
        (SimOperation::Name, ".log.cleaned", false),
        (SimOperation::Name, ".timeindex.cleaned", false),
        (SimOperation::Name, ".index", true),
        (SimOperation::Name, ".log.swap", true),
    ] {
        let (sim, fixture, mut log) = written(1);
        let expected = folded(&all_records(&batches(&fixture, &mut log)));
        sim.fail_next(operation, path_end, EIO);
        let failed = clean(&mut log, &fixture.disk, 4_000, LIMITS).unwrap_err();
        let found = matches!(failed.error, CleanError::HalfSwapped(_));
        assert_eq!(found, half, "{path_end}: {}", failed.error);
        if !half {
            let mut cleaning = failed.cleaning;
            cleaning.give_up();
            while cleaning.next() != Next::End {
                cleaning = cleaning.run(&fixture.disk).unwrap();
            }
            log.end_clean(None);
            let left = fixture.names();
            let own = |name: &String| name.ends_with(names::CLEANED) || name.ends_with(names::SWAP);
            assert!(!left.iter().any(own), "{left:?}");
            clean(&mut log, &fixture.disk, 5_000, LIMITS)
                .unwrap()
                .unwrap();
            assert_eq!(folded(&all_records(&batches(&fixture, &mut log))), expected);
        }
    }
}

/// A log in which one compaction takes a value and, from the segment behind, the marker that deleted it: the time of the marker
/// is over, and an earlier compaction ran out of memory before the marker's key.
fn with_an_old_delete_marker(seed: u64) -> (Sim, Fixture, Log) {
    let (sim, fixture) = simulated(seed, compacted(1_000));
    let mut log = fixture.fresh();
    let large = "x".repeat(700);
    let segments: [&[(&str, Option<&str>)]; 5] = [
        &[("stays", Some("1"))],
        &[("k", Some("deleted"))],
        &[("c", Some("1")), ("d", Some("1")), ("k", None)],
        &[("c", Some("2")), ("d", Some(&large))],
        &[("e", Some("1"))],
    ];
    for pairs in segments {
        let mut builder = BatchBuilder::new();
        for (key, value) in pairs {
            let value = value.map(str::as_bytes);
            builder.push(Timestamp(500), Some(key.as_bytes()), value, &[]);
        }
        let prepared = PreparedBatch::from_builder(&builder.build()).unwrap();
        fixture.append(&mut log, &prepared);
        fixture.roll(&mut log);
    }
    // Every segment by itself, and three keys: up to the second record of the third segment.
    log.set_config(Arc::new(compacted(100)));
    let few = CleanLimits {
        key_memory_bytes: 4 * 24,
        load_factor: 1.0,
        ..LIMITS
    };
    clean(&mut log, &fixture.disk, 2_000, few).unwrap().unwrap();
    assert_eq!(log.clean.cleaned_to, Offset(3));
    log.set_config(Arc::new(compacted(500)));
    (sim, fixture, log)
}

#[test]
fn what_was_deleted_stays_so_wherever_the_power_fails() {
    let mut finished_by_the_start = 0;
    for changes in 0.. {
        let mut done = false;
        for seed in 0..12 {
            let (sim, fixture, mut log) = with_an_old_delete_marker(100 * seed + changes);
            let before = all_records(&batches(&fixture, &mut log));
            assert_eq!(before.len(), 8, "value and marker are there");
            let (expected, point) = (folded(&before), log.recovery_point());
            sim.stand_still_after(changes);
            done = clean(&mut log, &fixture.disk, 4_000, LIMITS).is_ok();
            drop(log);
            sim.crash();
            let (_, found) = reopened(&fixture, point);
            let found = all_records(&found);
            assert_eq!(folded(&found), expected, "after {changes}, seed {seed}");
            finished_by_the_start += u32::from(!done && found.len() < 8);
        }
        if done {
            break;
        }
    }
    assert!(finished_by_the_start > 0);
}

/// Compacts as a shard does that tries again what found no room, or no descriptor; at the second try a sync of the
/// directory finds none.
fn clean_in_tries(sim: &Sim, log: &mut Log, disk: &Disk) -> Result<u32, Box<Failed>> {
    let now = Timestamp(4_000);
    let dirt = log.dirt(now, log.log_end_offset()).unwrap();
    let mut cleaning = log.begin_clean(&dirt, LIMITS, now);
    let mut tries = 0;
    while cleaning.next() != Next::End {
        if cleaning.next() == Next::Swap {
            assert!(log.begin_swap(&mut cleaning), "nothing has changed");
        }
        cleaning = match cleaning.run(disk) {
            Ok(cleaning) => cleaning,
            Err(Failed {
                error: CleanError::HalfSwapped(error),
                cleaning,
            }) if error.is_out_of_space() => {
                tries += 1;
                if tries == 1 {
                    sim.fail_next(SimOperation::SyncDir, "t-0", EMFILE);
                }
                cleaning
            }
            Err(failed) => return Err(Box::new(failed)),
        };
        if let Some(swapped) = cleaning.take_swapped() {
            log.swapped(swapped).run(disk).unwrap();
        }
    }
    log.end_clean(cleaning.cleaned_to());
    Ok(tries)
}

#[test]
fn an_exchange_that_found_no_room_or_no_descriptor_goes_on_where_it_was() {
    let mut tried = 0;
    for (operation, path_end, errno) in [
        (SimOperation::Name, ".log", ENOSPC),
        (SimOperation::Name, ".index", ENOSPC),
        (SimOperation::Name, ".log.swap", ENOSPC),
        (SimOperation::Name, ".timeindex.swap", ENOSPC),
        (SimOperation::Open, "00000000000000000000.log", EMFILE),
        (SimOperation::SyncDir, "t-0", EMFILE),
    ] {
        for times in 1..4 {
            let (sim, fixture, mut log) = written(7);
            let expected = folded(&all_records(&batches(&fixture, &mut log)));
            let (end, point) = (log.log_end_offset(), log.recovery_point());
            for _ in 0..times {
                sim.fail_next(operation, path_end, errno);
            }
            let step = format!("{operation:?} of {path_end}, {times} times");
            match clean_in_tries(&sim, &mut log, &fixture.disk) {
                Ok(tries) => tried += tries,
                // It was not announced, and is given up.
                Err(failed) => assert!(matches!(failed.error, CleanError::Io(_)), "{step}"),
            }
            let found = all_records(&batches(&fixture, &mut log));
            assert_eq!(folded(&found), expected, "{step}");
            drop(log);
            sim.crash();
            let (log, found) = reopened(&fixture, point);
            assert_eq!(folded(&all_records(&found)), expected, "{step}");
            assert_eq!(log.log_end_offset(), end, "{step}");
        }
    }
    assert!(tried > 10, "{tried} tries");
}
