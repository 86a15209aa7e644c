//! A process that is killed between a change of names and its sync, or loses power there: the next one must not rest on
//! names that only the page cache has.

use super::*;
use crate::io::Sim;
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
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let fixture = on(&sim, config(400));
        let mut log = closed(&fixture, 6);
        let end = log.log_end_offset();
        let job = log.delete_segments(4);
        sim.stand_still_after(seed % 24);
        let _ = job.run(&fixture.disk);
        drop(log);
        sim.crash();
        let (log, report) = fixture.open(false, 1);
        assert_eq!(report.cuts, [], "seed {seed}");
        assert_eq!(log.damage(), None, "seed {seed}");
        assert_eq!(log.log_end_offset(), end, "seed {seed}");
    }
}

#[test]
fn a_directory_that_a_killed_process_had_not_synced_stays_once_the_next_one_has_begun() {
    for seed in 0..32 {
        let sim = Sim::new(seed);
        let fixture = on(&sim, config(400));
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
    }
}

#[test]
fn a_compaction_that_a_killed_process_had_not_synced_is_not_finished_before_it_is() {
    for seed in 0..300 {
        let sim = Sim::new(seed);
        let fixture = on(&sim, config(400));
        let log = closed(&fixture, 4);
        let end = log.log_end_offset();
        drop(log);
        // What compaction has done when it is killed before it syncs the directory.
        let merged = fixture.path().join("00000000000000000000.log");
        let bytes = fixture.disk.read(&merged, u64::MAX).unwrap();
        let cleaned = names::with_ending(&merged, names::CLEANED);
        let file = fixture.disk.create_new(&cleaned).unwrap();
        file.write_all_at(0, &bytes).unwrap();
        file.sync_data().unwrap();
        fixture.disk.sync_dir(&fixture.path()).unwrap();
        let swap = names::with_ending(&merged, names::SWAP);
        fixture.disk.rename(&cleaned, &swap).unwrap();
        sim.stand_still_after(seed % 10);
        let _ = open(&fixture.disk, fixture.options(false, 0));
        sim.crash();
        let (log, report) = fixture.open(false, 0);
        assert_eq!(report.cuts, [], "seed {seed}");
        let first = log.log_start_offset();
        assert_eq!(
            (first, log.log_end_offset()),
            (Offset(0), end),
            "seed {seed}"
        );
    }
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
    for seed in 0..300 {
        let sim = Sim::new(seed);
        let fixture = on(&sim, config(100_000));
        let log = closed(&fixture, 200);
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
    }
}

/// Found by the simulation: the sweep of a compaction that had not come about was interrupted.
#[test]
fn an_index_that_a_compaction_left_without_its_log_takes_the_place_of_none() {
    let fixture = Fixture::new(config(400));
    let log = closed(&fixture, 4);
    let end = log.log_end_offset();
    drop(log);
    let index = names::segment_file(&fixture.path(), Offset(0), names::TIME_INDEX);
    let before = fixture.disk.read(&index, u64::MAX).unwrap();
    let swap = names::with_ending(&index, names::SWAP);
    let left = fixture.disk.create_new(&swap).unwrap();
    left.write_all_at(0, &[7; 12]).unwrap();
    let (log, _) = fixture.open(false, end.0);
    assert_eq!(log.log_end_offset(), end);
    assert_eq!(fixture.disk.read(&index, u64::MAX).unwrap(), before);
    assert!(fixture.disk.open(&swap).unwrap_err().is_not_found());
}

#[test]
fn a_compaction_that_is_finished_loses_none_of_its_files_when_the_power_fails_meanwhile() {
    for seed in 0..300 {
        let sim = Sim::new(seed);
        let fixture = on(&sim, config(400));
        let log = closed(&fixture, 4);
        let end = log.log_end_offset();
        drop(log);
        // All of it is announced: aborted transactions are nowhere else.
        let merged = fixture.path().join("00000000000000000000.log");
        let aborted = names::with_ending(&merged.with_extension("txnindex"), names::SWAP);
        let log_bytes = fixture.disk.read(&merged, u64::MAX).unwrap();
        for (path, bytes) in [
            (names::with_ending(&merged, names::SWAP), &log_bytes[..]),
            (aborted, &[1; 34]),
        ] {
            let file = fixture.disk.create_new(&path).unwrap();
            file.write_all_at(0, bytes).unwrap();
            file.sync_data().unwrap();
        }
        fixture.disk.sync_dir(&fixture.path()).unwrap();
        sim.stand_still_after(seed % 12);
        let _ = open(&fixture.disk, fixture.options(false, 0));
        sim.crash();
        let (log, _) = fixture.open(false, 0);
        assert_eq!(log.log_end_offset(), end, "seed {seed}");
        let aborted = fixture.disk.read(&merged.with_extension("txnindex"), 100);
        assert_eq!(aborted.unwrap(), [1; 34], "seed {seed}");
    }
}
