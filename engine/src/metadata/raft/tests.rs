//! What the files promise: every crash leaves a prefix, damage is told from a crash, replay gives the live image.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::error::{FEATURE, FEATURE_LEVEL};
use super::snapshot;
use super::vote::Vote;
use super::{
    Entry, Journal, LogPosition, Metadata, MetadataFile, MetadataOptions, OpenError, ProposeError,
    Reserve, StorageError,
};
use crate::config::Alteration;
use crate::io::{Disk, Sim, SimOperation};
use crate::metadata::controller::tests::{create, new_topic, registration};
use crate::metadata::controller::{
    AlterConfigs, AlterResource, Command, CreatePartitions, DeleteTopics, GrowTopic, Reply,
    TopicReference,
};
use crate::metadata::record::MetadataRecord;
use crate::types::BrokerId;

const NODE: BrokerId = BrokerId(1);
const CLUSTER: &str = "aaaaaaaaaaaaaaaaaaaaaA";

fn try_open(dir: &Path, options: MetadataOptions) -> Result<Metadata, OpenError> {
    Metadata::open(&Disk::real(), dir, NODE, CLUSTER, options)
}

fn open(dir: &Path) -> Metadata {
    try_open(dir, MetadataOptions::default()).unwrap()
}

fn journal_of(dir: &Path) -> PathBuf {
    Journal::path(dir)
}

/// A directory whose metadata knows a broker and the topics named, not closed.
fn with_topics(names: &[&str]) -> (TempDir, Metadata) {
    let dir = tempfile::tempdir().unwrap();
    let mut metadata = open(dir.path());
    metadata.propose(&registration(1)).unwrap();
    for name in names {
        metadata
            .propose(&create(vec![new_topic(name, 2, 1)]))
            .unwrap();
    }
    (dir, metadata)
}

fn copy_of(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn names(metadata: &Metadata) -> Vec<String> {
    metadata
        .image()
        .topics()
        .map(|topic| topic.name.to_string())
        .collect()
}

fn delete(topic: &str) -> Command {
    Command::DeleteTopics(DeleteTopics {
        topics: vec![TopicReference::Name(topic.to_owned())],
    })
}

#[test]
fn a_second_open_finds_everything_and_begins_a_new_term() {
    let (dir, metadata) = with_topics(&["orders", "payments"]);
    let before = Arc::clone(metadata.image());
    metadata.close().unwrap();

    let again = open(dir.path());
    assert_eq!(
        again.image().topics().collect::<Vec<_>>(),
        before.topics().collect::<Vec<_>>()
    );
    assert_eq!(again.image().cluster_id(), CLUSTER);
    assert_eq!(again.image().term(), before.term() + 1);
    assert_eq!(again.image().version(), before.version() + 1);
    assert_eq!(again.image().controller(), NODE);

    let first = again.status();
    drop(again);
    let third = open(dir.path()).status();
    assert_eq!(third.term, first.term + 1);
    assert_eq!(third.last.index, first.last.index + 1);
}

#[test]
fn a_crash_at_any_byte_of_the_tail_leaves_what_was_acknowledged_before() {
    let (dir, mut metadata) = with_topics(&["a"]);
    let durable = fs::metadata(journal_of(dir.path())).unwrap().len();
    metadata
        .propose(&create(vec![new_topic("b", 3, 1)]))
        .unwrap();
    drop(metadata);
    let bytes = fs::read(journal_of(dir.path())).unwrap();
    let durable = usize::try_from(durable).unwrap();
    for cut in durable..=bytes.len() {
        let crashed = copy_of(dir.path());
        fs::write(journal_of(crashed.path()), &bytes[..cut]).unwrap();
        let metadata = open(crashed.path());
        let expected: &[&str] = if cut == bytes.len() {
            &["a", "b"]
        } else {
            &["a"]
        };
        assert_eq!(
            names(&metadata),
            expected,
            "cut at {cut} of {}",
            bytes.len()
        );
        drop(metadata);
        assert_eq!(names(&open(crashed.path())), expected);
    }
}

#[test]
fn a_torn_last_entry_is_cut_whatever_its_bytes_became() {
    let (dir, mut metadata) = with_topics(&["a"]);
    let durable = usize::try_from(metadata.status().journal_bytes).unwrap();
    metadata
        .propose(&create(vec![new_topic("b", 1, 1)]))
        .unwrap();
    drop(metadata);
    let bytes = fs::read(journal_of(dir.path())).unwrap();
    for place in durable..bytes.len() {
        let crashed = copy_of(dir.path());
        let mut torn = bytes.clone();
        torn[place..].fill(0);
        if torn == bytes {
            continue;
        }
        fs::write(journal_of(crashed.path()), &torn).unwrap();
        assert_eq!(names(&open(crashed.path())), ["a"], "zeros from {place}");
    }
}

#[test]
fn a_changed_byte_before_the_last_entry_is_refused_and_nothing_is_cut() {
    let (dir, metadata) = with_topics(&["a", "b"]);
    drop(metadata);
    let bytes = fs::read(journal_of(dir.path())).unwrap();
    // The last entry, of topic b, begins at the last sync mark.
    let last = bytes
        .windows(4)
        .rposition(|four| four == [0xff, 0xc0, 0xfe, 0xf5])
        .unwrap();
    for place in 0..last {
        let damaged = copy_of(dir.path());
        let mut changed = bytes.clone();
        changed[place] ^= 0x41;
        fs::write(journal_of(damaged.path()), &changed).unwrap();
        let refused = try_open(damaged.path(), MetadataOptions::default())
            .err()
            .unwrap();
        let OpenError::Storage(StorageError::Damaged { .. } | StorageError::NewerVersion { .. }) =
            refused
        else {
            panic!("byte {place}: {refused}");
        };
        assert_eq!(
            fs::read(journal_of(damaged.path())).unwrap(),
            changed,
            "byte {place}"
        );
    }
}

#[test]
fn after_a_clean_stop_even_the_last_entry_is_known_to_be_durable() {
    let (dir, metadata) = with_topics(&["a"]);
    metadata.close().unwrap();
    let path = journal_of(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length - 1] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = try_open(dir.path(), MetadataOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains("millrace-metadata.journal is damaged at byte"),
        "{refused}"
    );
    assert!(refused.contains("expected CRC-32C 0x"), "{refused}");

    bytes.truncate(length - 20);
    fs::write(&path, &bytes).unwrap();
    assert!(try_open(dir.path(), MetadataOptions::default()).is_err());
    fs::remove_file(&path).unwrap();
    let refused = try_open(dir.path(), MetadataOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("found no file"), "{refused}");
}

#[test]
fn a_lost_or_damaged_vote_is_refused() {
    let (dir, metadata) = with_topics(&["a"]);
    drop(metadata);
    let path = Vote::path(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[12] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(try_open(dir.path(), MetadataOptions::default()).is_err());
    fs::remove_file(&path).unwrap();
    let refused = try_open(dir.path(), MetadataOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains("expected the vote beside the journal, found no file"),
        "{refused}"
    );
}

#[test]
fn a_first_start_that_crashed_between_its_files_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let vote = Vote {
        term: 0,
        candidate: BrokerId::NONE,
        durable_index: 0,
    };
    vote.save(&Disk::real(), dir.path()).unwrap();
    assert_eq!(open(dir.path()).status().term, 1);
}

#[test]
fn files_of_a_newer_version_are_refused_with_the_reason() {
    let (dir, mut metadata) = with_topics(&["a"]);
    metadata.write_snapshot().unwrap();
    metadata.close().unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let newer = copy_of(dir.path());
        let path = newer.path().join(entry.unwrap().file_name());
        let mut bytes = fs::read(&path).unwrap();
        bytes[9] = 2;
        fs::write(&path, &bytes).unwrap();
        let refused = try_open(newer.path(), MetadataOptions::default())
            .err()
            .unwrap();
        let text = refused.to_string();
        assert!(
            text.contains(
                "written by a newer version of Millrace: file version 2, known here: file version 1"
            ),
            "{text}"
        );
    }
}

#[test]
fn a_record_kind_of_a_newer_version_is_refused_as_newer_and_not_as_damage() {
    let (dir, metadata) = with_topics(&[]);
    let last = metadata.status().last;
    metadata.close().unwrap();
    let path = journal_of(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let mut body = Vec::new();
    body.extend_from_slice(&last.term.to_be_bytes());
    body.extend_from_slice(&(last.index + 1).to_be_bytes());
    body.extend_from_slice(&4i64.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 1, 99]);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&length), &body);
    bytes.extend_from_slice(&[0xff, 0xc0, 0xfe, 0xf5]);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes.extend_from_slice(&body);
    fs::write(&path, &bytes).unwrap();
    let refused = try_open(dir.path(), MetadataOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains("newer version of Millrace: unknown record kind 99"),
        "{refused}"
    );
}

#[test]
fn a_feature_level_of_a_newer_version_is_refused_and_found_by_the_check() {
    let (dir, metadata) = with_topics(&["a"]);
    let status = metadata.status();
    metadata.close().unwrap();
    let opened = Journal::open(&Disk::real(), dir.path(), status.last.index);
    let (mut journal, _) = opened.unwrap();
    let newer = Entry {
        position: LogPosition {
            term: status.term,
            index: status.last.index + 1,
        },
        base_offset: status.next_offset,
        records: vec![MetadataRecord::FeatureLevelSet {
            name: FEATURE.to_owned(),
            level: FEATURE_LEVEL + 1,
        }],
    };
    journal.append(&newer, Reserve::Use).unwrap();
    drop(journal);
    let checked = super::check(&Disk::real(), dir.path()).unwrap();
    let fault = matches!(
        checked.faults[..],
        [(MetadataFile::Journal, OpenError::NewerFeatureLevel { .. })]
    );
    assert!(fault, "{checked:?}");
    assert!(checked.image.is_none());
    let refused = try_open(dir.path(), MetadataOptions::default()).err();
    let refused = refused.unwrap();
    assert!(
        matches!(refused, OpenError::NewerFeatureLevel { .. }),
        "{refused}"
    );
}

#[test]
fn the_directory_of_another_cluster_is_refused() {
    let (dir, metadata) = with_topics(&[]);
    drop(metadata);
    let options = MetadataOptions::default();
    let refused = Metadata::open(&Disk::real(), dir.path(), NODE, "other", options)
        .err()
        .unwrap();
    assert!(
        matches!(refused, OpenError::ForeignCluster { .. }),
        "{refused}"
    );
}

#[test]
fn snapshot_and_tail_equal_the_full_replay() {
    let (dir, mut metadata) = with_topics(&["a", "b.c"]);
    let full = copy_of(dir.path());
    let mut unsnapshotted = open(full.path());
    // A start is a term on both sides.
    drop(metadata);
    metadata = open(dir.path());
    metadata.write_snapshot().unwrap();
    for one in [&mut metadata, &mut unsnapshotted] {
        one.propose(&create(vec![new_topic("tail", 1, 1)])).unwrap();
        one.propose(&Command::AllocateProducerIds { broker: NODE })
            .unwrap();
    }
    assert_eq!(metadata.image(), unsnapshotted.image());
    drop((metadata, unsnapshotted));
    assert_eq!(open(dir.path()).image(), open(full.path()).image());
}

#[test]
fn snapshots_are_taken_as_the_journal_grows_and_the_last_two_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options = MetadataOptions {
        snapshot_after_bytes: 600,
    };
    let mut metadata = try_open(dir.path(), options).unwrap();
    metadata.propose(&registration(1)).unwrap();
    for number in 0..40 {
        metadata
            .propose(&create(vec![new_topic(&format!("t{number}"), 1, 1)]))
            .unwrap();
    }
    let snapshots = snapshot::list(&Disk::real(), dir.path()).unwrap();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(metadata.status().snapshot, Some(snapshots[0]));
    assert!(
        metadata.status().journal_bytes < 2_000,
        "{:?}",
        metadata.status()
    );
    let live = Arc::clone(metadata.image());
    drop(metadata);

    // Without the newest the older and the journal still give everything.
    let newest = snapshot::path_of(dir.path(), snapshots[0]);
    let mut bytes = fs::read(&newest).unwrap();
    bytes[40] ^= 1;
    fs::write(&newest, &bytes).unwrap();
    let mut metadata = try_open(dir.path(), options).unwrap();
    assert_eq!(
        metadata.image().topics().collect::<Vec<_>>(),
        live.topics().collect::<Vec<_>>()
    );
    metadata.write_snapshot().unwrap();
    let kept = snapshot::list(&Disk::real(), dir.path()).unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(
        kept[1], snapshots[1],
        "the damaged one went, the whole one stayed"
    );
    drop(metadata);

    // Without both it is refused: the journal does not reach back.
    for position in kept {
        fs::write(snapshot::path_of(dir.path(), position), b"nonsense").unwrap();
    }
    let refused = try_open(dir.path(), options).err().unwrap().to_string();
    assert!(
        refused.contains("expected a whole snapshot of entry"),
        "{refused}"
    );
}

#[test]
fn a_newest_snapshot_that_cannot_be_read_keeps_no_broker_from_starting_if_the_older_one_can() {
    let sim = Sim::new(1);
    let (disk, dir) = (sim.disk(), Path::new("/metadata"));
    let open = || Metadata::open(&disk, dir, NODE, CLUSTER, MetadataOptions::default());
    let mut metadata = open().unwrap();
    metadata.propose(&registration(1)).unwrap();
    for name in ["a", "b", "c"] {
        metadata
            .propose(&create(vec![new_topic(name, 1, 1)]))
            .unwrap();
        metadata.write_snapshot().unwrap();
    }
    let live = names(&metadata);
    metadata.close().unwrap();
    let snapshots = snapshot::list(&disk, dir).unwrap();
    let [newest, older] = [0, 1].map(|index| {
        let path = snapshot::path_of(dir, snapshots[index]);
        path.to_str().unwrap().to_owned()
    });
    sim.fail_next(SimOperation::Read, &newest, 5);
    let checked = super::check(&disk, dir).unwrap();
    assert!(checked.faults.is_empty(), "{checked:?}");
    assert_eq!(checked.passed_over.len(), 1, "{checked:?}");
    sim.fail_next(SimOperation::Read, &newest, 5);
    let metadata = open().unwrap();
    assert_eq!(names(&metadata), live);
    metadata.close().unwrap();
    // Without both the journal does not reach back, and the disk is to blame.
    sim.fail_next(SimOperation::Read, &newest, 5);
    sim.fail_next(SimOperation::Read, &older, 5);
    let refused = open().err().unwrap();
    assert!(refused.to_string().contains(&newest), "{refused}");
    assert!(
        matches!(refused, OpenError::Storage(StorageError::Io(_))),
        "{refused}"
    );
    assert_eq!(names(&open().unwrap()), live);
}

#[test]
fn a_snapshot_that_is_too_long_to_be_read_again_is_not_written() {
    let (dir, metadata) = with_topics(&["a"]);
    let disk = Disk::real();
    let whole = snapshot::Snapshot {
        position: metadata.status().last,
        image: (**metadata.image()).clone(),
    };
    let refused = snapshot::save_up_to(100, &disk, dir.path(), &whole, None);
    assert!(refused.is_err());
    assert_eq!(snapshot::list(&disk, dir.path()).unwrap(), []);
    snapshot::save(&disk, dir.path(), &whole, None).unwrap();
    assert_eq!(snapshot::list(&disk, dir.path()).unwrap(), [whole.position]);
}

/// Found by fuzzing: with no entry behind the snapshot nothing compared the two, and the first change aborted the broker.
#[test]
fn a_snapshot_of_another_offset_than_the_journals_end_is_refused() {
    let (dir, mut metadata) = with_topics(&["a"]);
    metadata.write_snapshot().unwrap();
    let position = metadata.status().snapshot.unwrap();
    drop(metadata);
    let path = snapshot::path_of(dir.path(), position);
    let mut bytes = fs::read(&path).unwrap();
    // The last byte of the offset; the checksum is made to fit.
    bytes[33] ^= 1;
    snapshot::mend(&mut bytes).unwrap();
    fs::write(&path, &bytes).unwrap();
    let checked = super::check(&Disk::real(), dir.path()).unwrap();
    assert_eq!(checked.faults.len(), 1, "{checked:?}");
    let refused = try_open(dir.path(), MetadataOptions::default()).err();
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("as in the snapshot"), "{refused}");
}

/// Found by fuzzing: behind the last term there is none, so the start after the next was refused.
#[test]
fn a_term_that_has_no_next_one_is_refused() {
    let (dir, metadata) = with_topics(&["a"]);
    drop(metadata);
    let vote = Vote::load(&Disk::real(), dir.path()).unwrap().unwrap();
    let beyond = Vote {
        term: u64::MAX,
        ..vote
    };
    beyond.save(&Disk::real(), dir.path()).unwrap();
    let checked = super::check(&Disk::real(), dir.path()).unwrap();
    assert_eq!(checked.faults.len(), 1, "{checked:?}");
    let refused = try_open(dir.path(), MetadataOptions::default()).err();
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("expected a term below"), "{refused}");
}

/// Found by fuzzing: a start refused it, and without a journal beside it the check found nothing.
#[test]
fn a_vote_alone_with_a_term_that_has_no_next_one_is_a_fault() {
    let dir = TempDir::new().unwrap();
    let vote = Vote {
        term: u64::MAX,
        candidate: NODE,
        durable_index: 0,
    };
    vote.save(&Disk::real(), dir.path()).unwrap();
    let checked = super::check(&Disk::real(), dir.path()).unwrap();
    assert_eq!(checked.faults.len(), 1, "{checked:?}");
}

#[test]
fn what_an_unfinished_snapshot_left_is_cleared() {
    let (dir, metadata) = with_topics(&["a"]);
    drop(metadata);
    let position = LogPosition { term: 1, index: 9 };
    let mut unfinished = snapshot::path_of(dir.path(), position).into_os_string();
    unfinished.push(".tmp");
    fs::write(&unfinished, b"half").unwrap();
    assert_eq!(names(&open(dir.path())), ["a"]);
    assert!(!fs::exists(&unfinished).unwrap());
}

#[test]
fn a_failed_write_that_cannot_be_cut_takes_the_journal_offline() {
    // /dev/full answers every write with ENOSPC and cannot be truncated.
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real();
    let mut journal = Journal::create(&disk, dir.path(), super::journal::Purged::NOTHING).unwrap();
    journal.write_to(disk.open(Path::new("/dev/full")).unwrap());
    assert!(
        journal
            .append(&entry(1, 1), Reserve::Use)
            .unwrap_err()
            .is_out_of_space()
    );
    let refused = journal.append(&entry(1, 1), Reserve::Use).unwrap_err();
    assert!(matches!(refused, StorageError::Offline { .. }), "{refused}");
}

#[test]
fn a_start_finds_room_on_a_full_disk_and_clients_are_refused_until_there_is_some_again() {
    let sim = Sim::new(1);
    let (disk, dir) = (sim.disk(), Path::new("/metadata"));
    let open = || Metadata::open(&disk, dir, NODE, CLUSTER, MetadataOptions::default());
    let mut metadata = open().unwrap();
    metadata.propose(&registration(1)).unwrap();
    metadata
        .propose(&create(vec![new_topic("t", 50, 1)]))
        .unwrap();
    drop(metadata);
    sim.set_capacity_bytes(0);
    let topic = create(vec![new_topic("later", 1, 1)]);
    let mut term = 0;
    for start in 0..100 {
        if start % 3 == 0 {
            sim.crash();
        }
        let mut metadata = open().unwrap();
        assert!(metadata.status().term > term, "a term is never begun twice");
        term = metadata.status().term;
        metadata.propose_at_start(&registration(1)).unwrap();
        metadata
            .propose_at_start(&Command::UncleanStart { broker: NODE })
            .unwrap();
        let before = metadata.status().next_offset;
        let mut refused = false;
        for number in 0..500 {
            let topic = create(vec![new_topic(&format!("t{start}-{number}"), 40, 1)]);
            match metadata.propose(&topic) {
                Ok(_) => {}
                Err(ProposeError::Storage(error)) => {
                    assert!(error.is_out_of_space(), "{error}");
                    refused = true;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused, "clients do not eat the reserve");
        assert!(start == 0 || metadata.status().next_offset == before);
    }
    sim.set_capacity_bytes(1 << 40);
    let mut metadata = open().unwrap();
    metadata.propose(&topic).unwrap();
    assert!(names(&metadata).contains(&"later".to_owned()));
}

#[test]
fn a_start_on_a_full_disk_finds_room_for_new_epochs_of_very_many_partitions() {
    let sim = Sim::new(1);
    let (disk, dir) = (sim.disk(), Path::new("/metadata"));
    let open = || Metadata::open(&disk, dir, NODE, CLUSTER, MetadataOptions::default());
    let mut metadata = open().unwrap();
    metadata.propose(&registration(1)).unwrap();
    for name in ["a", "b", "c", "d"] {
        let topic = create(vec![new_topic(name, 10_000, 1)]);
        metadata.propose(&topic).unwrap();
    }
    drop(metadata);
    sim.set_capacity_bytes(0);
    sim.crash();
    let mut metadata = open().unwrap();
    metadata.propose_at_start(&registration(1)).unwrap();
    let start = Command::UncleanStart { broker: NODE };
    let (_, reply) = metadata.propose_at_start(&start).unwrap();
    assert_eq!(reply, Reply::UncleanStart { partitions: 40_000 });
}

#[test]
fn an_entry_that_the_reserve_is_too_small_for_leaves_it_to_others() {
    let sim = Sim::new(1);
    let mut journal = of_four(&sim.disk(), Path::new("/metadata"));
    sim.set_capacity_bytes(0);
    let mut large = entry(1, 5);
    large.records = vec![MetadataRecord::NoOp; 400_000];
    let refused = journal.append(&large, Reserve::Use).unwrap_err();
    assert!(refused.is_out_of_space(), "{refused}");
    for index in 5..1_000 {
        journal.append(&entry(1, index), Reserve::Use).unwrap();
    }
}

#[test]
fn a_start_finds_room_on_a_disk_that_was_filled_right_after_the_journal_was_compacted() {
    let sim = Sim::new(1);
    let (disk, dir) = (sim.disk(), Path::new("/metadata"));
    let open = || Metadata::open(&disk, dir, NODE, CLUSTER, MetadataOptions::default());
    let mut metadata = open().unwrap();
    metadata.propose(&registration(1)).unwrap();
    metadata.write_snapshot().unwrap();
    metadata
        .propose(&create(vec![new_topic("a", 1, 1)]))
        .unwrap();
    metadata.write_snapshot().unwrap();
    drop(metadata);
    sim.set_capacity_bytes(0);
    sim.crash();
    let mut metadata = open().unwrap();
    metadata.propose_at_start(&registration(1)).unwrap();
    assert_eq!(names(&metadata), ["a"]);
}

#[test]
fn topics_are_deleted_on_a_full_disk_also_after_starts_on_it_and_leave_the_next_start_its_room() {
    let sim = Sim::new(1);
    let (disk, dir) = (sim.disk(), Path::new("/metadata"));
    let open = || Metadata::open(&disk, dir, NODE, CLUSTER, MetadataOptions::default());
    let mut metadata = open().unwrap();
    metadata.propose(&registration(1)).unwrap();
    let topics = (0..100).map(|number| new_topic(&format!("t{number}"), 1, 1));
    metadata.propose(&create(topics.collect())).unwrap();
    sim.set_capacity_bytes(0);
    while metadata
        .propose(&create(vec![new_topic("more", 40, 1)]))
        .is_ok()
    {
        metadata.propose(&delete("more")).unwrap();
    }
    for start in 0..50 {
        drop(metadata);
        sim.crash();
        metadata = open().unwrap();
        metadata.propose_at_start(&registration(1)).unwrap();
        metadata.propose(&delete(&format!("t{start}"))).unwrap();
    }
    assert_eq!(names(&metadata).len(), 50);
    let mut deleted = 0;
    let refused_after = loop {
        let topic = format!("t{}", 50 + deleted % 50);
        let proposed = metadata
            .propose_at_start(&create(vec![new_topic(&topic, 1, 1)]))
            .and_then(|_| metadata.propose(&delete(&topic)));
        match proposed {
            Ok(_) => deleted += 1,
            Err(ProposeError::Storage(error)) if error.is_out_of_space() => break deleted,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(refused_after > 1_000, "{refused_after}");
    drop(metadata);
    let mut metadata = open().unwrap();
    let starts = (0..1_000).map(|_| metadata.propose_at_start(&registration(1)));
    assert_eq!(starts.filter(Result::is_ok).count(), 1_000);
}

#[test]
fn a_refused_command_leaves_no_trace() {
    let (_dir, mut metadata) = with_topics(&["a"]);
    let before = (Arc::clone(metadata.image()), metadata.status());
    let refused = metadata.propose(&Command::UncleanStart {
        broker: BrokerId(9),
    });
    assert!(matches!(refused, Err(ProposeError::Refused(_))));
    metadata
        .propose(&create(vec![new_topic("a", 1, 1)]))
        .unwrap();
    assert!(Arc::ptr_eq(metadata.image(), &before.0));
    assert_eq!(metadata.status(), before.1);
}

fn entry(term: u64, index: u64) -> Entry {
    let position = LogPosition { term, index };
    let base_offset = i64::try_from(index).unwrap() - 1;
    Entry {
        position,
        base_offset,
        records: vec![MetadataRecord::NoOp],
    }
}

#[test]
fn a_journal_can_lose_its_suffix_and_its_prefix_as_raft_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::real();
    let mut journal = Journal::create(&disk, dir.path(), super::journal::Purged::NOTHING).unwrap();
    for index in 1..=6 {
        journal.append(&entry(1, index), Reserve::Use).unwrap();
    }
    journal.truncate_suffix(5).unwrap();
    assert_eq!(journal.last(), LogPosition { term: 1, index: 4 });
    journal.append(&entry(2, 5), Reserve::Use).unwrap();
    journal.purge_prefix(3).unwrap();
    assert_eq!(journal.purged().position, LogPosition { term: 1, index: 3 });
    assert_eq!(
        (journal.read(3).unwrap(), journal.term_of(3)),
        (None, Some(1))
    );
    assert_eq!(journal.read(4).unwrap(), Some(entry(1, 4)));
    assert_eq!(journal.read(5).unwrap(), Some(entry(2, 5)));
    journal.append(&entry(2, 6), Reserve::Use).unwrap();
    let live = (
        journal.last(),
        journal.length_bytes(),
        journal.next_offset(),
    );
    drop(journal);

    let (journal, entries) = Journal::open(&disk, dir.path(), 6).unwrap();
    assert_eq!(entries, [entry(1, 4), entry(2, 5), entry(2, 6)]);
    assert_eq!(
        (
            journal.last(),
            journal.length_bytes(),
            journal.next_offset()
        ),
        live
    );
}

/// A journal of four entries in a new directory.
fn of_four(disk: &Disk, dir: &Path) -> Journal {
    disk.create_dir_all(dir).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut journal = Journal::create(disk, dir, super::journal::Purged::NOTHING).unwrap();
    for index in 1..=4 {
        journal.append(&entry(1, index), Reserve::Use).unwrap();
    }
    journal
}

#[test]
fn entries_behind_a_purge_whose_name_was_not_synced_survive_a_power_cut() {
    for seed in 0..64 {
        let sim = Sim::new(seed);
        let (disk, dir) = (sim.disk(), Path::new("/metadata"));
        let mut journal = of_four(&disk, dir);
        sim.fail_next(SimOperation::SyncDir, "/metadata", 5);
        journal.purge_prefix(3).unwrap_err();
        journal.append(&entry(1, 5), Reserve::Use).unwrap();
        drop(journal);
        sim.crash();
        let (journal, _) = Journal::open(&disk, dir, 4).unwrap();
        assert_eq!(journal.last().index, 5, "seed {seed}");
    }
}

#[test]
fn a_journal_that_finds_no_descriptor_behind_a_purge_goes_on_when_there_is_one() {
    let plans: [&[(SimOperation, &str)]; 3] = [
        &[(SimOperation::Open, ".journal")],
        &[
            (SimOperation::Open, ".journal.tmp"),
            (SimOperation::Open, ".journal"),
        ],
        // The name is synced as a part of the purge, and then because that failed.
        &[
            (SimOperation::SyncDir, "/metadata"),
            (SimOperation::SyncDir, "/metadata"),
        ],
    ];
    for plan in plans {
        let sim = Sim::new(1);
        let (disk, dir) = (sim.disk(), Path::new("/metadata"));
        let mut journal = of_four(&disk, dir);
        for (operation, path_end) in plan {
            sim.fail_next(*operation, path_end, EMFILE);
        }
        let refused = journal.purge_prefix(3).unwrap_err();
        assert!(refused.is_out_of_space(), "{plan:?}: {refused}");
        sim.fail_next(SimOperation::Open, ".journal", EMFILE);
        let refused = journal.append(&entry(1, 5), Reserve::Use).unwrap_err();
        assert!(refused.is_out_of_space(), "{plan:?}: {refused}");
        journal.append(&entry(1, 5), Reserve::Use).unwrap();
        assert_eq!(journal.read(4).unwrap(), Some(entry(1, 4)), "{plan:?}");
        let live = (journal.last(), journal.purged(), journal.length_bytes());
        drop(journal);
        sim.crash();
        let (journal, entries) = Journal::open(&disk, dir, 5).unwrap();
        let found = (journal.last(), journal.purged(), journal.length_bytes());
        assert_eq!(found, live, "{plan:?}");
        assert_eq!(entries.last(), Some(&entry(1, 5)), "{plan:?}");
    }
}

const EMFILE: i32 = 24;

fn any_command() -> impl Strategy<Value = Command> {
    let name = || (0..6u8).prop_map(|number| format!("topic.{number}"));
    prop_oneof![
        (name(), 1..4i32, any::<u128>()).prop_map(|(name, partitions, random)| {
            let mut topic = new_topic(&name, partitions, 1);
            topic.random = random;
            topic.settings = vec![Alteration::set("retention.ms", "1000")];
            create(vec![topic])
        }),
        name().prop_map(|name| Command::DeleteTopics(DeleteTopics {
            topics: vec![TopicReference::Name(name)]
        })),
        (name(), 1..8i32).prop_map(|(name, count)| Command::CreatePartitions(CreatePartitions {
            topics: vec![GrowTopic {
                name,
                count,
                assignments: None
            }],
            partitions_max: 100,
            validate_only: false,
        })),
        (name(), 1..100u32, any::<bool>()).prop_map(|(name, value, replace)| {
            let alterations = vec![Alteration::set("segment.ms", value.to_string())];
            Command::AlterConfigs(AlterConfigs {
                resources: vec![AlterResource::Topic {
                    name,
                    alterations,
                    replace,
                }],
                topic_defaults: Arc::default(),
                validate_only: false,
            })
        }),
        Just(Command::AllocateProducerIds { broker: NODE }),
        Just(Command::UncleanStart { broker: NODE }),
        Just(registration(1)),
        Just(registration(2)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_replayed_equals_what_was_live(
        commands in prop::collection::vec(any_command(), 1..30), snapshot_after in 200..3_000u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let options = MetadataOptions { snapshot_after_bytes: snapshot_after };
        let mut metadata = try_open(dir.path(), options).unwrap();
        metadata.propose(&registration(1)).unwrap();
        for command in &commands {
            metadata.propose(command).unwrap();
        }
        let live = Arc::clone(metadata.image());
        drop(metadata);
        let replayed = try_open(dir.path(), options).unwrap();
        // Apart from the new term they are one.
        let began = MetadataRecord::LeaderChanged { leader: NODE, term: live.term() + 1 };
        prop_assert_eq!(&**replayed.image(), &live.apply([&began]).unwrap());
    }

    #[test]
    fn a_journal_of_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (dir, metadata) = with_topics(&[]);
        metadata.close().unwrap();
        let path = journal_of(dir.path());
        let mut journal = fs::read(&path).unwrap();
        let keep = journal.len().min(bytes.len() * 2);
        journal.truncate(keep);
        journal.extend_from_slice(&bytes);
        fs::write(&path, &journal).unwrap();
        let _ = try_open(dir.path(), MetadataOptions::default());
    }
}
