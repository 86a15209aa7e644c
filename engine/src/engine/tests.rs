//! Which log directories a start takes, and what it leaves as it is when it refuses.

use std::collections::BTreeMap;

use super::*;
use crate::io::{Sim, SimOperation};
use crate::log::checkpoint::{
    CLEAN_SHUTDOWN, META_PROPERTIES, MetaProperties, RECOVERY_POINT_CHECKPOINT,
};
use crate::types::TopicPartition;

/// The metadata lies in the first of them.
const NAMES: [&str; 3] = ["/one", "/two", "/three"];

fn options(names: &[&str]) -> EngineOptions {
    let log_directories = names.iter().map(PathBuf::from).collect();
    EngineOptions::new(log_directories, TopicDefaults::default())
}

fn start(disk: &Disk, options: &EngineOptions, seed: u64) -> Result<Taken, StartError> {
    let checkpoints = Checkpoints::default();
    open_directories(disk, options, &checkpoints, &mut Random::seeded(seed))
}

fn stop(disk: &Disk, taken: Taken) {
    taken.metadata.close().unwrap();
    let checkpoints = Checkpoints::default();
    assert!(leave_directories(
        disk,
        &checkpoints,
        &taken.directories,
        true
    ));
}

/// A machine on which a broker over these directories ran once and stopped in order.
fn stopped_once(options: &EngineOptions) -> Sim {
    let sim = Sim::new(7);
    let disk = sim.disk();
    stop(&disk, start(&disk, options, 1).unwrap());
    sim
}

fn used(taken: &Taken) -> Vec<&str> {
    let paths = taken.directories.iter().map(|open| open.path.to_str());
    paths.map(Option::unwrap).collect()
}

fn is_marked(disk: &Disk, directory: &str) -> bool {
    disk.exists(&Path::new(directory).join(CLEAN_SHUTDOWN))
        .unwrap()
}

fn remove(disk: &Disk, directory: &str, file: &str) {
    disk.remove_file(&Path::new(directory).join(file)).unwrap();
}

/// All files below a directory with their bytes, without the locks.
fn contents(disk: &Disk, directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in disk.list(directory).unwrap() {
        let path = directory.join(&entry.name);
        if entry.is_dir {
            found.extend(contents(disk, &path));
        } else if entry.name != ".lock" {
            found.insert(path.clone(), disk.read(&path, 1 << 20).unwrap());
        }
    }
    found
}

fn all_contents(disk: &Disk) -> BTreeMap<PathBuf, Vec<u8>> {
    let directories = NAMES.iter().map(Path::new);
    let there = directories.filter(|directory| disk.exists(directory).unwrap());
    there
        .flat_map(|directory| contents(disk, directory))
        .collect()
}

#[test]
fn log_directories_that_lost_their_meta_properties_are_of_the_cluster_that_the_metadata_names() {
    let options = options(&NAMES[..2]);
    let sim = stopped_once(&options);
    let disk = sim.disk();
    let first = MetaProperties::read(&disk, Path::new("/one"))
        .unwrap()
        .unwrap();
    for directory in &NAMES[..2] {
        remove(&disk, directory, META_PROPERTIES);
    }
    let taken = start(&disk, &options, 2).unwrap();
    assert_eq!(used(&taken), NAMES[..2]);
    assert_eq!(taken.metadata.image().cluster_id(), first.cluster_id);
    assert!(taken.directories.iter().all(|directory| directory.clean));
    stop(&disk, taken);
    for directory in &NAMES[..2] {
        let found = MetaProperties::read(&disk, Path::new(directory)).unwrap();
        assert_eq!(found.unwrap().cluster_id, first.cluster_id);
    }
}

/// By a new id its partitions would have been offline for good.
#[test]
fn a_log_directory_with_partitions_that_lost_its_meta_properties_stops_the_start() {
    let options = options(&NAMES);
    let sim = stopped_once(&options);
    let disk = sim.disk();
    disk.create_dir_all(Path::new("/two/t-0")).unwrap();
    let log = Path::new("/two/t-0/00000000000000000000.log");
    disk.write_atomic(log, b"records").unwrap();
    remove(&disk, "/two", META_PROPERTIES);
    let before = all_contents(&disk);
    let refused = start(&disk, &options, 2).err().unwrap();
    assert!(
        refused
            .to_string()
            .starts_with("/two/t-0 is there, but /two has no meta.properties"),
        "{refused}"
    );
    assert_eq!(all_contents(&disk), before);
}

#[test]
fn new_log_directories_beside_a_kept_metadata_log_dir_join_its_cluster() {
    let with = |name| EngineOptions {
        metadata_directory: Some("/metadata".into()),
        ..options(&[name])
    };
    let sim = stopped_once(&with("/one"));
    let disk = sim.disk();
    let first = MetaProperties::read(&disk, Path::new("/one"))
        .unwrap()
        .unwrap();
    stop(&disk, start(&disk, &with("/two"), 2).unwrap());
    let second = MetaProperties::read(&disk, Path::new("/two"))
        .unwrap()
        .unwrap();
    assert_eq!(second.cluster_id, first.cluster_id);
    // Both may go on together.
    let both = EngineOptions {
        metadata_directory: Some("/metadata".into()),
        ..options(&NAMES[..2])
    };
    assert_eq!(used(&start(&disk, &both, 3).unwrap()), NAMES[..2]);
}

#[test]
fn a_start_over_directories_of_two_clusters_changes_nothing() {
    let of_metadata = options(&NAMES[..1]);
    let sim = stopped_once(&of_metadata);
    let disk = sim.disk();
    let alone = options(&["/two"]);
    stop(&disk, start(&disk, &alone, 2).unwrap());
    disk.remove_dir_all(Path::new("/two/__cluster_metadata-0"))
        .unwrap();
    let before = all_contents(&disk);
    // They contradict each other.
    let refused = start(&disk, &options(&NAMES), 3).err().unwrap();
    assert!(
        matches!(
            refused,
            StartError::Foreign {
                what: "cluster.id",
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(all_contents(&disk), before);
    // They contradict the metadata.
    remove(&disk, "/one", META_PROPERTIES);
    let before = all_contents(&disk);
    let refused = start(&disk, &options(&NAMES), 4).err().unwrap();
    let foreign = matches!(
        refused,
        StartError::Metadata(metadata::OpenError::ForeignCluster { .. })
    );
    assert!(foreign, "{refused}");
    assert_eq!(all_contents(&disk), before);
    assert!(is_marked(&disk, "/one") && is_marked(&disk, "/two"));
}

#[test]
fn a_mark_of_a_newer_version_stops_the_start_before_the_marks_of_the_others_are_taken() {
    let options = options(&NAMES);
    let sim = stopped_once(&options);
    let disk = sim.disk();
    let mark = Path::new("/three").join(CLEAN_SHUTDOWN);
    disk.write_atomic(&mark, b"{\"version\":9,\"brokerEpoch\":1}")
        .unwrap();
    let before = all_contents(&disk);
    let refused = start(&disk, &options, 2).err().unwrap();
    assert!(matches!(refused, StartError::Checkpoint(_)), "{refused}");
    assert_eq!(all_contents(&disk), before);
}

#[test]
fn a_new_log_directory_on_a_full_disk_takes_only_itself_away() {
    let sim = stopped_once(&options(&NAMES[..1]));
    let disk = sim.disk();
    let options = options(&NAMES);
    sim.fail_next(SimOperation::Write, "/two/meta.properties.tmp", ENOSPC);
    let taken = start(&disk, &options, 2).unwrap();
    assert_eq!(used(&taken), ["/one", "/three"]);
    let registered = taken.metadata.image().broker(options.broker).unwrap();
    let ids: Vec<_> = taken.directories.iter().map(|open| open.id).collect();
    assert_eq!(registered.log_directories, ids);
    stop(&disk, taken);
    assert_eq!(used(&start(&disk, &options, 3).unwrap()), NAMES);
}

#[test]
fn a_log_directory_whose_checkpoints_or_mark_cannot_be_read_takes_only_itself_away() {
    for file in [RECOVERY_POINT_CHECKPOINT, CLEAN_SHUTDOWN] {
        let options = options(&NAMES);
        let sim = stopped_once(&options);
        let disk = sim.disk();
        sim.fail_next(SimOperation::Read, &format!("/two/{file}"), EIO);
        let taken = start(&disk, &options, 2).unwrap();
        assert_eq!(used(&taken), ["/one", "/three"], "{file}");
        assert!(taken.directories.iter().all(|directory| directory.clean));
        stop(&disk, taken);
        // Nothing was written there meanwhile, so what its mark says is still true.
        let taken = start(&disk, &options, 3).unwrap();
        assert_eq!(used(&taken), NAMES, "{file}");
        assert!(taken.directories.iter().all(|directory| directory.clean));
    }
}

#[test]
fn a_log_directory_whose_mark_cannot_be_taken_takes_only_itself_away() {
    let options = options(&NAMES);
    let sim = stopped_once(&options);
    let disk = sim.disk();
    let partition = TopicPartition {
        topic: "t".parse().unwrap(),
        partition: 0,
    };
    let path = Path::new("/two").join(RECOVERY_POINT_CHECKPOINT);
    disk.write_atomic(&path, b"0\n1\nt 0 5\n").unwrap();
    sim.fail_next(SimOperation::Name, "/two/.kafka_cleanshutdown", EIO);
    let checkpoints = Checkpoints::default();
    let taken = open_directories(&disk, &options, &checkpoints, &mut Random::seeded(2)).unwrap();
    assert_eq!(used(&taken), ["/one", "/three"]);
    assert_eq!(checkpoints.line(Path::new("/two"), &partition), None);
}

#[test]
fn the_log_directory_of_the_metadata_is_not_done_without() {
    let options = options(&NAMES);
    let sim = stopped_once(&options);
    let disk = sim.disk();
    sim.fail_next(
        SimOperation::Read,
        "/one/recovery-point-offset-checkpoint",
        EIO,
    );
    let refused = start(&disk, &options, 2).err().unwrap();
    assert!(
        refused
            .to_string()
            .contains("/one/recovery-point-offset-checkpoint"),
        "{refused}"
    );
    sim.fail_next(SimOperation::Read, "/one/meta.properties", EIO);
    let refused = start(&disk, &options, 2).err().unwrap();
    assert!(
        matches!(refused, StartError::NoMetadata { .. }),
        "{refused}"
    );
    sim.fail_next(SimOperation::Name, "/one/.kafka_cleanshutdown", EIO);
    let refused = start(&disk, &options, 3).err().unwrap();
    assert!(
        refused.to_string().contains("/one/.kafka_cleanshutdown"),
        "{refused}"
    );
    for directory in NAMES {
        assert!(is_marked(&disk, directory), "{directory}");
    }
}

#[test]
fn a_checkpoint_that_cannot_be_understood_stops_the_start_and_nothing_is_changed() {
    let options = options(&NAMES);
    let sim = stopped_once(&options);
    let disk = sim.disk();
    let path = Path::new("/two").join(RECOVERY_POINT_CHECKPOINT);
    disk.write_atomic(&path, b"nonsense").unwrap();
    let before = all_contents(&disk);
    let refused = start(&disk, &options, 2).err().unwrap();
    assert!(matches!(refused, StartError::Checkpoint(_)), "{refused}");
    assert_eq!(all_contents(&disk), before);
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
