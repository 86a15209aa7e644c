//! Directories on a simulated disk: what is opened, set aside and taken away, and what is not.

use super::*;
use crate::io::{Sim, SimOperation};
use crate::types::Uuid;

const DATA: &str = "/data";
const OURS: TopicId = TopicId(Uuid(1));

struct Bench {
    sim: Sim,
    disk: Disk,
    checkpoints: Checkpoints,
}

impl Bench {
    fn new() -> Self {
        let sim = Sim::new(1);
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
        let data = Path::new(DATA);
        let removed = remove(&self.disk, &self.checkpoints, name, data, topic_id);
        self.checkpoints.release(data, name, topic_id);
        removed
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
    let swept = sweep(&bench.disk, Path::new(DATA), |_, _| false).unwrap();
    assert!(swept.set_aside.is_empty(), "{swept:?}");
    assert_eq!(bench.names(""), [names::METADATA_DIRECTORY]);
    assert_eq!(bench.names(names::METADATA_DIRECTORY), before);
}

#[test]
fn what_cannot_be_cleared_away_keeps_nothing_else_from_it() {
    let bench = Bench::new();
    for topic in ["a", "b", "c"] {
        bench.open(&partition(topic), OURS).unwrap();
    }
    bench.sim.fail_next(SimOperation::Name, "/b-0", EIO);
    let swept = sweep(&bench.disk, Path::new(DATA), |_, _| false).unwrap();
    assert_eq!(swept.refused.len(), 1, "{swept:?}");
    let stray = |topic| names::stray_directory(&partition(topic), OURS);
    assert_eq!(bench.names(""), [stray("a"), "b-0".to_owned(), stray("c")]);
}

const EIO: i32 = 5;
