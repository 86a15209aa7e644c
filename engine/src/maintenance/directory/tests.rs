//! Directories on a simulated disk: what is opened, set aside and taken away, and what is not.

use super::super::checkpoints::{CheckpointLine, OwnedLine};
use super::*;
use crate::io::{Sim, SimOperation};
use crate::types::Uuid;

const DATA: &str = "/data";
const OURS: TopicId = TopicId(Uuid(1));
const THEIRS: TopicId = TopicId(Uuid(2));
const OTHERS: TopicId = TopicId(Uuid(3));

struct Bench {
    sim: Sim,
    disk: Disk,
    checkpoints: Checkpoints,
}

impl Bench {
    fn new() -> Self {
        Self::of(1)
    }

    /// Of a machine with this seed.
    fn of(seed: u64) -> Self {
        let sim = Sim::new(seed);
        let disk = sim.disk();
        disk.create_dir_all(Path::new(DATA)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        Self {
            sim,
            disk,
            checkpoints: Checkpoints::default(),
        }
    }

    /// What the job of that name does, with the directory claimed as the job does it.
    fn open(
        &self,
        name: &TopicPartition,
        topic_id: TopicId,
    ) -> Result<(Box<Log>, RecoveryReport), OpenError> {
        let claimed = self.checkpoints.claim(Path::new(DATA), name, topic_id);
        assert!(claimed, "another topic has the directory of {name}");
        let open = OpenPartition {
            name: name.clone(),
            topic_id,
            log_directory: PathBuf::from(DATA),
            clean: false,
            config: Arc::new(TopicConfig::default()),
            now: Timestamp(1_000),
        };
        open.run(&self.disk, &self.checkpoints)
    }

    fn remove(&self, name: &TopicPartition, topic_id: TopicId) -> Result<(), IoError> {
        let removed = self.remove_all(std::slice::from_ref(name), topic_id);
        removed.into_iter().collect()
    }

    fn remove_all(&self, names: &[TopicPartition], topic_id: TopicId) -> Vec<Result<(), IoError>> {
        let removal = |name: &TopicPartition| Removal {
            name: name.clone(),
            log_directory: PathBuf::from(DATA),
            topic_id,
        };
        let removals: Vec<Removal> = names.iter().map(removal).collect();
        let removals: Vec<&Removal> = removals.iter().collect();
        let removed = remove(&self.disk, &self.checkpoints, &removals).into_iter();
        let unlinked = removed.map(|removed| match removed? {
            Some(mut doomed) => doomed.unlink_some(&self.disk).map(|gone| assert!(gone)),
            None => Ok(()),
        });
        unlinked.collect()
    }

    /// What a start does to the directory.
    fn sweep(&self, known: Option<TopicId>) -> Swept {
        sweep(&self.disk, &self.checkpoints, Path::new(DATA), |_| known).unwrap()
    }

    /// Somebody removes the directory of a partition by hand.
    fn lose(&self, name: &TopicPartition) {
        let directory = Path::new(DATA).join(names::partition_directory(name));
        self.disk.remove_dir_all(&directory).unwrap();
        self.disk.sync_dir(Path::new(DATA)).unwrap();
    }

    /// The power fails, and the next start knows this topic, if any, under every name.
    fn restart(&mut self, known: Option<TopicId>) {
        self.sim.crash();
        self.checkpoints = Checkpoints::default();
        let loaded = self.checkpoints.load(&self.disk, Path::new(DATA));
        loaded.unwrap();
        let swept = self.sweep(known);
        assert!(swept.refused.is_empty(), "{swept:?}");
    }

    /// Checkpoints that the partition was durable up to `end`.
    fn note(&self, name: &TopicPartition, topic_id: TopicId, end: i64) {
        self.note_line(name, topic_id, 0, end);
    }

    fn note_line(&self, name: &TopicPartition, topic_id: TopicId, start: i64, end: i64) {
        let line = CheckpointLine {
            recovery_point: Offset(end),
            log_start_offset: Offset(start),
            high_watermark: Offset(end),
        };
        let name = name.clone();
        let owned = OwnedLine {
            name,
            topic_id,
            line,
        };
        let written = self
            .checkpoints
            .write(&self.disk, Path::new(DATA), vec![owned]);
        written.unwrap();
    }

    /// The names of the directories in the log directory.
    fn directories(&self) -> Vec<String> {
        let entries = self.disk.list(Path::new(DATA)).unwrap();
        let directories = entries.into_iter().filter(|entry| entry.is_dir);
        directories.map(|entry| entry.name).collect()
    }

    /// The names in the log directory, or below it.
    fn names(&self, below: &str) -> Vec<String> {
        let entries = self.disk.list(&Path::new(DATA).join(below)).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

fn partition(topic: &str) -> TopicPartition {
    TopicPartition {
        topic: topic.parse().unwrap(),
        partition: 0,
    }
}

#[test]
fn the_directory_of_the_cluster_metadata_is_nobodys_partition() {
    let bench = Bench::new();
    let directory = Path::new(DATA).join(names::METADATA_DIRECTORY);
    bench.disk.create_dir_all(&directory).unwrap();
    bench
        .disk
        .write_atomic(&directory.join("journal"), b"all that is known")
        .unwrap();
    // As a version left it that took it for a partition.
    let metadata = PartitionMetadata { topic_id: OURS };
    metadata.write(&bench.disk, &directory).unwrap();
    let before = bench.names(names::METADATA_DIRECTORY);
    let name = partition("__cluster_metadata");

    let refused = bench.open(&name, OURS).unwrap_err();
    assert!(matches!(refused, OpenError::OfMetadata { .. }), "{refused}");
    bench.remove(&name, OURS).unwrap();
    let swept = bench.sweep(None);
    assert!(swept.set_aside.is_empty(), "{swept:?}");
    assert_eq!(bench.names(""), [names::METADATA_DIRECTORY]);
    assert_eq!(bench.names(names::METADATA_DIRECTORY), before);
}

#[test]
fn a_removal_goes_on_where_it_found_no_room_or_no_descriptor() {
    for (operation, path_end, errno) in [
        (
            SimOperation::Open,
            "recovery-point-offset-checkpoint.tmp",
            ENOSPC,
        ),
        (SimOperation::Open, "partition.metadata", EMFILE),
        (SimOperation::Name, "/t-0", ENOSPC),
        (SimOperation::SyncDir, DATA, EMFILE),
        (SimOperation::Name, "-delete", EMFILE),
    ] {
        // The second time, too; and without anything to be taken out of the checkpoints.
        for (times, noted) in [(1, true), (2, true), (1, false)] {
            let bench = Bench::new();
            let name = partition("t");
            drop(bench.open(&name, OURS).unwrap());
            if noted {
                bench.note(&name, OURS, 9);
            }
            for _ in 0..times {
                bench.sim.fail_next(operation, path_end, errno);
            }
            let done = (0..3).any(|_| bench.remove(&name, OURS).is_ok());
            assert!(done, "{operation:?} {path_end}");
            assert!(bench.directories().is_empty(), "{:?}", bench.directories());
            let line = bench.checkpoints.line(Path::new(DATA), &name);
            assert_eq!(line, None, "{operation:?} {path_end}");
        }
    }
}

#[test]
fn of_partitions_that_are_removed_together_one_that_fails_keeps_no_other() {
    let bench = Bench::new();
    let names = ["a", "b", "c"].map(partition);
    for name in &names {
        drop(bench.open(name, OURS).unwrap());
        bench.note(name, OURS, 9);
    }
    bench.sim.fail_next(SimOperation::Name, "/b-0", EIO);
    let removed = bench.remove_all(&names, OURS);
    let done: Vec<bool> = removed.iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, false, true], "{removed:?}");
    assert_eq!(bench.directories(), ["b-0"]);
    let written = Checkpoints::default();
    written.load(&bench.disk, Path::new(DATA)).unwrap();
    let lines = names.map(|name| written.line(Path::new(DATA), &name));
    assert_eq!(lines, [None; 3]);
}

/// A directory of very many kept a thread for all of them.
#[test]
fn files_of_a_removed_partition_are_unlinked_a_few_at_a_time() {
    let bench = Bench::new();
    let deleted = names::deleted_directory(&partition("t"), OURS);
    let path = Path::new(DATA).join(&deleted);
    bench.disk.create_dir_all(&path).unwrap();
    for number in 0..=2 * UNLINKED_AT_ONCE_MAX {
        let file = path.join(number.to_string());
        bench.disk.write_atomic(&file, b"a segment").unwrap();
    }
    let mut doomed = DoomedDirectory::at(path);
    for _ in 0..2 {
        let before = bench.names(&deleted).len();
        assert!(!doomed.unlink_some(&bench.disk).unwrap());
        let after = bench.names(&deleted).len();
        assert_eq!(before - after, UNLINKED_AT_ONCE_MAX);
    }
    assert!(doomed.unlink_some(&bench.disk).unwrap());
    assert!(bench.directories().is_empty());
}

#[test]
fn partitions_whose_new_names_cannot_be_made_durable_stay_until_they_are() {
    let bench = Bench::new();
    let names = ["a", "b"].map(partition);
    for name in &names {
        drop(bench.open(name, OURS).unwrap());
    }
    bench.sim.fail_next(SimOperation::SyncDir, DATA, EMFILE);
    for removed in bench.remove_all(&names, OURS) {
        assert!(removed.unwrap_err().is_out_of_space());
    }
    assert_eq!(bench.directories().len(), 2);
    assert!(bench.remove_all(&names, OURS).iter().all(Result::is_ok));
    assert!(bench.directories().is_empty());
}

#[test]
fn a_removal_that_comes_again_leaves_the_directory_of_the_next_topic_of_the_name_alone() {
    let bench = Bench::new();
    let name = partition("t");
    let no_descriptor = || {
        let metadata = "partition.metadata";
        bench.sim.fail_next(SimOperation::Open, metadata, EMFILE);
    };
    drop(bench.open(&name, OURS).unwrap());
    no_descriptor();
    bench.remove(&name, OURS).unwrap_err();
    drop(bench.open(&name, THEIRS).unwrap());
    bench.remove(&name, OURS).unwrap();
    assert_eq!(bench.directories(), ["t-0"], "what was set aside is gone");
    no_descriptor();
    bench.remove(&name, OURS).unwrap_err();
    assert_eq!(bench.directories(), ["t-0"]);
    // Before it is written down whose it is.
    let metadata = Path::new(DATA).join("t-0/partition.metadata");
    bench.disk.remove_file(&metadata).unwrap();
    bench.remove(&name, OURS).unwrap();
    assert_eq!(bench.directories(), ["t-0"]);
}

#[test]
fn a_partition_whose_directory_is_gone_is_not_begun_anew_until_its_topic_is_deleted() {
    let mut bench = Bench::new();
    let name = partition("t");
    drop(bench.open(&name, OURS).unwrap());
    bench.note(&name, OURS, 9);
    bench.lose(&name);
    for _ in 0..2 {
        bench.restart(Some(OURS));
        let refused = bench.open(&name, OURS).unwrap_err();
        assert!(matches!(refused, OpenError::Corrupt(_)), "{refused}");
        assert!(bench.directories().is_empty());
    }
    bench.remove(&name, OURS).unwrap();
    drop(bench.open(&name, THEIRS).unwrap());
    bench.restart(Some(THEIRS));
    drop(bench.open(&name, THEIRS).unwrap());
}

#[test]
fn a_partition_that_never_had_records_is_made_again_where_its_log_started() {
    let mut bench = Bench::new();
    let name = partition("t");
    drop(bench.open(&name, OURS).unwrap());
    bench.note_line(&name, OURS, 9, 9);
    bench.lose(&name);
    bench.restart(Some(OURS));
    let (log, _) = bench.open(&name, OURS).unwrap();
    assert_eq!(log.log_end_offset(), Offset(9), "no offset is given twice");
}

#[test]
fn a_line_of_a_topic_that_is_gone_does_not_make_a_new_one_look_as_if_it_had_lost_records() {
    // Its directory is there or not; a start in between knew no topic of the name; the next start knows the new one already,
    // or another that is gone by the time of the new one.
    for (there, none_known, known) in [
        (true, false, THEIRS),
        (true, false, OTHERS),
        (false, true, THEIRS),
        (false, false, OTHERS),
    ] {
        let mut bench = Bench::new();
        let name = partition("t");
        drop(bench.open(&name, OURS).unwrap());
        bench.note(&name, OURS, 9);
        if !there {
            bench.lose(&name);
        }
        if none_known {
            bench.restart(None);
        }
        bench.restart(Some(known));
        let (log, _) = bench.open(&name, THEIRS).unwrap();
        assert_eq!(log.log_end_offset(), Offset::ZERO);
        drop(log);
        bench.restart(Some(THEIRS));
        drop(bench.open(&name, THEIRS).unwrap());
    }
}

/// Nobody was served until all of it was unlinked.
#[test]
fn a_start_only_finds_deleted_directories_and_leaves_one_of_somebody_else_that_is_named_alike() {
    let bench = Bench::new();
    let deleted = names::deleted_directory(&partition("t"), OURS);
    for directory in [&*deleted, "do-not-delete"] {
        let directory = Path::new(DATA).join(directory);
        bench.disk.create_dir_all(&directory).unwrap();
        let file = directory.join("notes.txt");
        bench.disk.write_atomic(&file, b"all there is").unwrap();
    }
    bench.sim.fail_next(SimOperation::SyncDir, DATA, EIO);
    let swept = bench.sweep(Some(OURS));
    let counts = (swept.doomed.len(), swept.refused.len());
    assert_eq!(counts, (0, 1), "it waits for another start: {swept:?}");
    let swept = bench.sweep(Some(OURS));
    assert!(swept.refused.is_empty(), "{swept:?}");
    assert_eq!(bench.names(&deleted), ["notes.txt"]);
    for mut doomed in swept.doomed {
        assert!(doomed.unlink_some(&bench.disk).unwrap());
    }
    assert_eq!(bench.directories(), ["do-not-delete"]);
    assert_eq!(bench.names("do-not-delete"), ["notes.txt"]);
}

/// With its files gone it looked like one that was just being made.
#[test]
fn a_power_cut_behind_a_start_brings_no_deleted_directory_back_under_its_former_name() {
    for seed in 0..32 {
        let bench = Bench::of(seed);
        let name = partition("t");
        drop(bench.open(&name, OURS).unwrap());
        // The kill came before its new name was durable.
        let data = Path::new(DATA);
        let deleted = data.join(names::deleted_directory(&name, OURS));
        bench.disk.rename(&data.join("t-0"), &deleted).unwrap();
        for mut doomed in bench.sweep(None).doomed {
            assert!(doomed.unlink_some(&bench.disk).unwrap());
        }
        bench.sim.crash();
        let left = bench.directories();
        assert!(!left.contains(&"t-0".to_owned()), "seed {seed}: {left:?}");
    }
}

#[test]
fn what_cannot_be_cleared_away_keeps_nothing_else_from_it() {
    let bench = Bench::new();
    for topic in ["a", "b", "c"] {
        bench.open(&partition(topic), OURS).unwrap();
    }
    bench.sim.fail_next(SimOperation::Name, "/b-0", EIO);
    let swept = bench.sweep(None);
    assert_eq!(swept.refused.len(), 1, "{swept:?}");
    let stray = |topic| names::stray_directory(&partition(topic), OURS);
    assert_eq!(bench.names(""), [stray("a"), "b-0".to_owned(), stray("c")]);
}

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
