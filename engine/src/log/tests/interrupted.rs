//! A process that is killed between a change of names and its sync, or loses power there: the next one must not rest on
//! names that only the page cache has.

use super::*;
use crate::io::{Sim, SimOperation};
use crate::log::checkpoint::CleanShutdown;
use crate::log::names;

/// A fixture on a simulated disk, with everything above the log's directory durable.
fn on(sim: &Sim, config: TopicConfig) -> Fixture {
    let mut fixture = Fixture::new(config);
    fixture.disk = sim.disk();
    fixture.disk.create_dir_all(fixture.dir.path()).unwrap();
    fixture.disk.sync_names_of(fixture.dir.path()).unwrap();
    fixture
}

/// Does `test` with each of so many seeds, on a simulated disk of its own.
fn with_seeds(seeds: u64, config: &TopicConfig, test: impl Fn(u64, &Sim, &Fixture)) {
    for seed in 0..seeds {
        let sim = Sim::new(seed);
        test(seed, &sim, &on(&sim, config.clone()));
    }
}

/// A new file of these bytes, durable but for its name.
fn put(fixture: &Fixture, path: &Path, bytes: &[u8]) {
    let file = fixture.disk.create_new(path).unwrap();
    file.write_all_at(0, bytes).unwrap();
    file.sync_data().unwrap();
}

/// What a broker that is killed `after` operations of its start leaves to a power cut, opened again.
fn opened_after_a_kill_and_a_power_cut(
    sim: &Sim,
    fixture: &Fixture,
    after: u64,
) -> (Log, RecoveryReport) {
    sim.stand_still_after(after);
    let _ = open(&fixture.disk, fixture.options(false, 0));
    sim.crash();
    fixture.open(false, 0)
}

/// A log of so many batches, a millisecond apart, all of them in closed segments.
fn closed(fixture: &Fixture, batches: i64) -> Log {
    let mut log = fixture.fresh();
    for time in 0..batches {
        fixture.append(&mut log, &batch(1, 200, time));
    }
    fixture.roll(&mut log);
    log
}

#[test]
fn segments_deleted_together_leave_no_gap_when_the_power_fails_meanwhile() {
    with_seeds(200, &config(400), |seed, sim, fixture| {
        let mut log = closed(fixture, 6);
        let end = log.log_end_offset();
        let mut job = log.delete_segments(4);
        sim.stand_still_after(seed % 24);
        let _ = job.run(&fixture.disk);
        drop(log);
        sim.crash();
        let (log, report) = fixture.open(false, 1);
        assert_eq!(report.cuts, [], "seed {seed}");
        assert_eq!(log.damage(), None, "seed {seed}");
        assert_eq!(log.log_end_offset(), end, "seed {seed}");
    });
}

#[test]
fn a_directory_that_a_killed_process_had_not_synced_stays_once_the_next_one_has_begun() {
    with_seeds(32, &config(400), |seed, sim, fixture| {
        sim.stand_still_after(1);
        open(&fixture.disk, fixture.options(false, 0)).unwrap_err();
        sim.go_on();
        assert!(!CleanShutdown::take(&fixture.disk, fixture.dir.path()).unwrap());
        let mut log = fixture.fresh();
        fixture.append(&mut log, &batch(1, 200, 1));
        fixture.roll(&mut log);
        drop(log);
        sim.crash();
        assert_eq!(fixture.fresh().log_end_offset(), Offset(1), "seed {seed}");
    });
}

#[test]
fn a_compaction_that_a_killed_process_had_not_synced_is_not_finished_before_it_is() {
    with_seeds(300, &config(400), |seed, sim, fixture| {
        let end = closed(fixture, 4).log_end_offset();
        // What compaction has done when it is killed before it syncs the directory.
        let merged = names::segment_file(&fixture.path(), Offset(0), names::LOG);
        let bytes = fixture.disk.read(&merged, u64::MAX).unwrap();
        let cleaned = names::with_ending(&merged, names::CLEANED);
        put(fixture, &cleaned, &bytes);
        fixture.disk.sync_dir(&fixture.path()).unwrap();
        let swap = names::with_ending(&merged, names::SWAP);
        fixture.disk.rename(&cleaned, &swap).unwrap();
        let (log, report) = opened_after_a_kill_and_a_power_cut(sim, fixture, seed % 10);
        assert_eq!(report.cuts, [], "seed {seed}");
        let first = log.log_start_offset();
        assert_eq!(
            (first, log.log_end_offset()),
            (Offset(0), end),
            "seed {seed}"
        );
    });
}

#[test]
fn records_whose_deletion_a_crash_took_back_are_of_the_epoch_they_were_written_in() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    log.start_leader_epoch(EPOCH);
    for _ in 0..3 {
        fixture.append(&mut log, &batch(2, 80, 1));
    }
    assert!(log.move_log_start(Offset(3)));
    log.epochs_job().unwrap().run(&fixture.disk).unwrap();
    drop(log);
    // No checkpoint tells of the log start.
    let (log, _) = fixture.open(false, 0);
    assert_eq!(log.log_start_offset(), Offset(0));
    assert_eq!(log.epoch_of(Offset(0)), Some(EPOCH));
}

#[test]
fn a_segment_does_not_look_older_when_the_power_fails_while_its_index_is_written_anew() {
    with_seeds(300, &config(100_000), |seed, sim, fixture| {
        let log = closed(fixture, 200);
        let end = log.log_end_offset();
        let segment = log.segments.iter().next().unwrap();
        let newest = segment.max_timestamp;
        let times = names::segment_file(&fixture.path(), Offset(0), names::TIME_INDEX);
        // Three sectors of it are whole entries.
        assert!(fixture.disk.read(&times, u64::MAX).unwrap().len() > 1_536);
        let job = segment.index_job(&fixture.path(), 200, true, true);
        sim.stand_still_after(seed % 12);
        let _ = job.run(&fixture.disk);
        drop(log);
        sim.crash();
        let (log, _) = fixture.open(false, end.0);
        let first = log.segments.iter().next().unwrap();
        assert_eq!(first.max_timestamp, newest, "seed {seed}");
    });
}

/// Found by the simulation: the sweep of a compaction that had not come about was interrupted.
#[test]
fn an_index_that_a_compaction_left_without_its_log_takes_the_place_of_none() {
    let fixture = Fixture::new(config(400));
    let end = closed(&fixture, 4).log_end_offset();
    let index = names::segment_file(&fixture.path(), Offset(0), names::TIME_INDEX);
    let before = fixture.disk.read(&index, u64::MAX).unwrap();
    let swap = names::with_ending(&index, names::SWAP);
    put(&fixture, &swap, &[7; 12]);
    let (log, _) = fixture.open(false, end.0);
    assert_eq!(log.log_end_offset(), end);
    assert_eq!(fixture.disk.read(&index, u64::MAX).unwrap(), before);
    assert!(fixture.disk.open(&swap).unwrap_err().is_not_found());
}

#[test]
fn a_compaction_that_is_finished_loses_none_of_its_files_when_the_power_fails_meanwhile() {
    with_seeds(300, &config(400), |seed, sim, fixture| {
        let end = closed(fixture, 4).log_end_offset();
        // All of it is announced: aborted transactions are nowhere else.
        let merged = names::segment_file(&fixture.path(), Offset(0), names::LOG);
        let aborted = merged.with_extension("txnindex");
        let bytes = fixture.disk.read(&merged, u64::MAX).unwrap();
        put(fixture, &names::with_ending(&merged, names::SWAP), &bytes);
        put(
            fixture,
            &names::with_ending(&aborted, names::SWAP),
            &[1; 34],
        );
        fixture.disk.sync_dir(&fixture.path()).unwrap();
        let (log, _) = opened_after_a_kill_and_a_power_cut(sim, fixture, seed % 12);
        assert_eq!(log.log_end_offset(), end, "seed {seed}");
        let aborted = fixture.disk.read(&aborted, 100);
        assert_eq!(aborted.unwrap(), [1; 34], "seed {seed}");
    });
}

#[test]
fn a_roll_that_fails_takes_its_file_away_again() {
    let sim = Sim::new(1);
    let fixture = on(&sim, config(100_000));
    let mut log = fixture.fresh();
    fixture.append(&mut log, &batch(2, 80, 1));
    let next = names::segment_file(&fixture.path(), Offset(2), names::LOG);
    sim.fail_next(SimOperation::Resize, "2.log", 28);
    let roll = log.begin_roll(Timestamp(1_000)).unwrap();
    assert!(roll.run(&fixture.disk).unwrap_err().is_out_of_space());
    assert!(!fixture.disk.exists(&next).unwrap());
    log.roll_failed();
    fixture.roll(&mut log);
    assert!(fixture.disk.exists(&next).unwrap());
}

/// As of a process that was killed before it took it away: acknowledged records were cut off, or their offsets given out again.
#[test]
fn the_segment_of_a_roll_that_failed_is_removed_once_the_one_before_has_gone_on() {
    for rolled in [false, true] {
        for (clean, point) in [(false, 0), (false, 4), (false, 6), (true, 6)] {
            let case = format!("rolled {rolled}, clean {clean}, recovery point {point}");
            let fixture = Fixture::new(config(100_000));
            let mut log = fixture.fresh();
            let append = |log: &mut Log| fixture.append(log, &batch(2, 80, 1));
            let mut stored = vec![append(&mut log), append(&mut log)];
            let roll = log.begin_roll(Timestamp(1_000)).unwrap();
            roll.run(&fixture.disk).unwrap();
            log.roll_failed();
            stored.push(append(&mut log));
            if rolled {
                fixture.roll(&mut log);
                stored.push(append(&mut log));
            }
            if clean {
                fixture.close(log);
            } else {
                drop(log);
            }
            let (mut log, report) = fixture.open(clean, point);
            assert_eq!((report.cuts, report.damage), (vec![], None), "{case}");
            let end = stored.last().unwrap().last_offset + 1;
            assert_eq!(log.log_end_offset(), Offset(end), "{case}");
            for batch in &stored {
                let found = fixture.read(&mut log, batch.base_offset, 1, end).unwrap();
                assert_eq!(found, batch.bytes, "{case}");
            }
            drop(log);
            let names = fixture.names();
            assert!(!names.contains(&"00000000000000000004.log".to_owned()));
            let (log, report) = fixture.open(clean, point);
            assert_eq!((report.cuts, report.notes), (vec![], vec![]), "{case}");
            assert_eq!(log.log_end_offset(), Offset(end), "{case}");
            assert_eq!(fixture.names(), names, "{case}");
        }
    }
}

#[test]
fn an_empty_segment_that_begins_where_the_one_before_ends_stays() {
    let fixture = Fixture::new(config(100_000));
    let mut log = closed(&fixture, 3);
    assert_eq!(log.segment_count(), 2);
    fixture.append(&mut log, &batch(1, 200, 1));
    fixture.close(log);
    // Compaction leaves such in a row.
    for base_offset in [4, 6, 9] {
        let path = names::segment_file(&fixture.path(), Offset(base_offset), names::LOG);
        put(&fixture, &path, &[]);
    }
    let before = fixture.names();
    let (log, report) = fixture.open(true, 4);
    assert_eq!((log.segment_count(), report.notes), (5, vec![]));
    assert_eq!(fixture.names(), before);
}

/// Its first segment came back without the second.
#[test]
fn a_log_that_is_begun_anew_is_begun_so_again_when_the_power_fails_meanwhile() {
    let config = TopicConfig {
        write_caching: true,
        ..config(400)
    };
    with_seeds(400, &config, |seed, sim, fixture| {
        let log = closed(fixture, 6);
        fixture.close(log);
        let options = || OpenOptions {
            log_start_offset: Offset(100),
            ..fixture.options(false, 5)
        };
        sim.stand_still_after(seed % 100);
        let _ = open(&fixture.disk, options());
        sim.crash();
        let (log, _) = open(&fixture.disk, options()).unwrap();
        assert_eq!(log.damage(), None, "seed {seed}");
        assert_eq!(log.log_end_offset(), Offset(100), "seed {seed}");
    });
}

/// All batches are gone, so nothing else knows of the producer.
#[test]
fn the_only_snapshot_of_a_producer_outlives_a_stop_that_does_not_come_to_its_end() {
    with_seeds(200, &config(400), |seed, sim, fixture| {
        let mut log = fixture.fresh();
        for id in [8, 9] {
            fixture.append(&mut log, &of_producer(id, 0, 2));
        }
        fixture.roll(&mut log);
        let closed = log.segment_count() - 1;
        let _ = log.delete_segments(closed).run(&fixture.disk).unwrap();
        let last = log.producers.clone();
        // What the stop would write is less than what is there.
        log.producers.restore(ProducerId(8), None);
        if seed == 0 {
            sim.fail_next(SimOperation::Write, "4.snapshot", 28);
            sim.fail_next(SimOperation::Write, "4.snapshot.tmp", 28);
        } else {
            sim.stand_still_after(seed % 20);
        }
        let stopped = log.close().run(&fixture.disk);
        assert!(seed > 0 || stopped.is_err(), "there was no room");
        sim.crash();
        let (log, _) = fixture.open(false, 4);
        assert_eq!(log.log_start_offset(), Offset(4), "seed {seed}");
        let nine = ProducerId(9);
        assert!(last.find(nine).is_some());
        assert_eq!(log.producers.find(nine), last.find(nine), "seed {seed}");
    });
}

#[test]
fn epochs_that_found_no_room_at_a_start_are_looked_for_again_at_the_next() {
    let sim = Sim::new(1);
    let fixture = on(&sim, config(100_000));
    let mut log = fixture.fresh();
    fixture.append(&mut log, &batch(2, 80, 1));
    drop(log);
    sim.fail_next(SimOperation::Write, "leader-epoch-checkpoint.tmp", 28);
    let (mut log, _) = fixture.open(false, 0);
    let points = |log: &Log| (log.recovery_point(), log.durable_end_offset());
    assert_eq!(points(&log), (Offset(0), Offset(2)));
    let flushed = log.flush_job().run(&fixture.disk).unwrap();
    log.flushed(flushed);
    assert_eq!(points(&log), (Offset(2), Offset(2)));
    assert!(log.epochs_job().is_none());
}
