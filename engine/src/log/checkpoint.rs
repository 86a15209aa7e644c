//! The small files beside the logs, in Kafka's formats: offset checkpoints, `meta.properties`, `partition.metadata`, the
//! mark of a clean stop.
//!
//! Reading refuses what a newer version wrote, and says which; it does not decide what to do without a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::io::{Disk, IoError};
use crate::types::{BrokerId, DirectoryId, Offset, TopicId, TopicPartition};

/// Per log directory: below which offset each log is known to be on stable storage.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// Per log directory: where logs start whose start lies inside of a segment.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// Per log directory: the high watermark of each replica.
pub const REPLICATION_CHECKPOINT: &str = "replication-offset-checkpoint";
/// Per log directory: up to which offset each compacted log is clean.
pub const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// Per log directory: whose it is.
pub const META_PROPERTIES: &str = "meta.properties";
/// Per log directory: there between a clean stop and the next start.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// The longest small file that is read, in bytes: a million partitions fit, an accident does not.
const LENGTH_MAX: u64 = 256 << 20;

/// Why a small file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A newer program wrote it.
    #[error("{} has version {found}, this program reads up to version {supported}", path.display())]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The version it says it has.
        found: u32,
        /// The newest we read.
        supported: u32,
    },
    /// A line is not what it has to be.
    #[error("{} line {line}: expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// It could not be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// The lines of a checkpoint: a version, a count, then as many entries.
pub(super) struct Lines<'a> {
    path: &'a Path,
    lines: std::str::Lines<'a>,
    line: usize,
    left: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn open(
        path: &'a Path,
        bytes: &'a [u8],
        supported: u32,
    ) -> Result<Self, CheckpointError> {
        let malformed = |line, expected| CheckpointError::Malformed {
            path: path.to_owned(),
            line,
            expected,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed(1, "text in UTF-8"))?;
        let mut lines = text.lines();
        let found = lines.next().and_then(|line| line.trim().parse().ok());
        let found = found.ok_or_else(|| malformed(1, "a version number"))?;
        if found > supported {
            return Err(CheckpointError::UnsupportedVersion {
                path: path.to_owned(),
                found,
                supported,
            });
        }
        let count = lines.next().and_then(|line| line.trim().parse().ok());
        let left = count.ok_or_else(|| malformed(2, "the number of entries"))?;
        Ok(Self {
            path,
            lines,
            line: 2,
            left,
        })
    }

    /// The next entry; `None` behind the last. Fewer or more lines than announced are an error.
    pub(super) fn next_entry(&mut self) -> Result<Option<&'a str>, CheckpointError> {
        self.line += 1;
        match (self.lines.next(), self.left) {
            (Some(line), 1..) => {
                self.left -= 1;
                Ok(Some(line))
            }
            (Some(line), 0) if line.trim().is_empty() => Ok(None),
            (None, 0) => Ok(None),
            (Some(_), 0) => Err(self.malformed("no more entries than the second line announces")),
            (None, 1..) => Err(self.malformed("as many entries as the second line announces")),
        }
    }

    pub(super) fn malformed(&self, expected: &'static str) -> CheckpointError {
        CheckpointError::Malformed {
            path: self.path.to_owned(),
            line: self.line,
            expected,
        }
    }
}

const OFFSETS_VERSION: u32 = 0;

/// Reads an offset checkpoint; a file that is not there says nothing about any partition.
///
/// # Errors
/// [`CheckpointError`] for a newer version, a line that is none, or a failing disk.
pub fn read_offset_checkpoint(
    disk: &Disk,
    path: &Path,
) -> Result<BTreeMap<TopicPartition, Offset>, CheckpointError> {
    match read_if_there(disk, path)? {
        Some(bytes) => decode_offsets(path, &bytes),
        None => Ok(BTreeMap::new()),
    }
}

/// Replaces an offset checkpoint in one step; durable when it returns.
///
/// # Errors
/// [`IoError`] when the disk refuses; the old file is then still there.
pub fn write_offset_checkpoint(
    disk: &Disk,
    path: &Path,
    offsets: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), IoError> {
    disk.write_atomic(path, encode_offsets(offsets).as_bytes())
}

fn encode_offsets(offsets: &BTreeMap<TopicPartition, Offset>) -> String {
    let mut text = format!("{OFFSETS_VERSION}\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    text
}

fn decode_offsets(
    path: &Path,
    bytes: &[u8],
) -> Result<BTreeMap<TopicPartition, Offset>, CheckpointError> {
    let mut lines = Lines::open(path, bytes, OFFSETS_VERSION)?;
    let mut offsets = BTreeMap::new();
    while let Some(line) = lines.next_entry()? {
        let mut words = line.split_ascii_whitespace();
        let words = (words.next(), words.next(), words.next(), words.next());
        let (Some(topic), Some(partition), Some(offset), None) = words else {
            return Err(lines.malformed("a topic, a partition and an offset"));
        };
        let (Ok(topic), Ok(partition), Ok(offset)) =
            (topic.parse(), partition.parse(), offset.parse())
        else {
            return Err(lines.malformed("a topic, a partition and an offset"));
        };
        offsets.insert(TopicPartition { topic, partition }, Offset(offset));
    }
    Ok(offsets)
}

/// `meta.properties`: whose log directory this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster's id, as text (Kafka does not promise a uuid).
    pub cluster_id: String,
    /// The broker that writes here.
    pub node_id: BrokerId,
    /// This directory's id; Kafka before 3.7 wrote none.
    pub directory_id: Option<DirectoryId>,
}

const META_VERSION: u32 = 1;

impl MetaProperties {
    /// Reads the file of log directory `directory`; `None` when there is none.
    ///
    /// # Errors
    /// [`CheckpointError`] for a newer version, missing or senseless values, or a failing disk.
    pub fn read(disk: &Disk, directory: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = directory.join(META_PROPERTIES);
        match read_if_there(disk, &path)? {
            Some(bytes) => Self::decode(&path, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Writes the file of log directory `directory` in one step.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses.
    pub fn write(&self, disk: &Disk, directory: &Path) -> Result<(), IoError> {
        let path = directory.join(META_PROPERTIES);
        disk.write_atomic(&path, self.encode().as_bytes())
    }

    fn encode(&self) -> String {
        let mut text = format!(
            "#\nversion={META_VERSION}\nnode.id={}\ncluster.id={}\n",
            self.node_id, self.cluster_id
        );
        if let Some(directory_id) = self.directory_id {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "directory.id={directory_id}");
        }
        text
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let properties = Properties::parse(path, bytes, '=')?;
        let version = properties.number("version", "a version number")?;
        properties.check_version(version, META_VERSION)?;
        // Version 0 is what ZooKeeper-time brokers wrote.
        let node = if version == 0 { "broker.id" } else { "node.id" };
        let directory_id =
            match properties.find("directory.id") {
                Some((line, text)) => {
                    let id = text.parse().ok().map(DirectoryId);
                    Some(id.ok_or_else(|| {
                        properties.malformed(line, "a directory.id of 22 characters")
                    })?)
                }
                None => None,
            };
        let cluster_id = properties.required("cluster.id", "cluster.id=...")?.1;
        Ok(Self {
            cluster_id: cluster_id.to_owned(),
            node_id: BrokerId(properties.number(node, "the broker's number in node.id")?),
            directory_id,
        })
    }
}

/// `partition.metadata`: which topic a partition directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The id of the topic.
    pub topic_id: TopicId,
}

const PARTITION_METADATA_VERSION: u32 = 0;

impl PartitionMetadata {
    /// Reads the file of a partition's directory; `None` when there is none (Kafka before 2.8 wrote none).
    ///
    /// # Errors
    /// [`CheckpointError`] for a newer version, missing or senseless values, or a failing disk.
    pub fn read(disk: &Disk, directory: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = directory.join(super::names::PARTITION_METADATA);
        match read_if_there(disk, &path)? {
            Some(bytes) => Self::decode(&path, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The topic that the directory of `name` says it is of, where `topic_of` says that another has a partition of that name,
    /// or none: then it is no partition's, and a start sets it aside. One that says nothing was being made when the broker
    /// died; whoever opens it gives it an id.
    pub fn stranger(
        disk: &Disk,
        directory: &Path,
        name: &TopicPartition,
        topic_of: impl Fn(&TopicPartition) -> Option<TopicId>,
    ) -> Option<TopicId> {
        let owner = Self::read(disk, directory).ok().flatten()?.topic_id;
        (topic_of(name) != Some(owner)).then_some(owner)
    }

    /// Writes the file of a partition's directory in one step.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses.
    pub fn write(&self, disk: &Disk, directory: &Path) -> Result<(), IoError> {
        let path = directory.join(super::names::PARTITION_METADATA);
        let text = format!(
            "version: {PARTITION_METADATA_VERSION}\ntopic_id: {}",
            self.topic_id
        );
        disk.write_atomic(&path, text.as_bytes())
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let properties = Properties::parse(path, bytes, ':')?;
        let version = properties.number("version", "version: a number")?;
        properties.check_version(version, PARTITION_METADATA_VERSION)?;
        let (line, text) = properties.required("topic_id", "topic_id: 22 characters")?;
        let id = text.parse().ok().map(TopicId);
        let topic_id = id.ok_or_else(|| properties.malformed(line, "topic_id: 22 characters"))?;
        Ok(Self { topic_id })
    }
}

/// The mark of a clean stop: every log of the directory was flushed and its indexes and snapshots written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The broker's epoch when it stopped; -1 when it had none.
    pub broker_epoch: i64,
}

const CLEAN_SHUTDOWN_VERSION: u32 = 0;

impl CleanShutdown {
    /// Reads the mark of log directory `directory`; `None` after an unclean stop. An empty mark (Kafka before 3.7) or
    /// one that cannot be read still is one, as in Kafka: only its being there counts.
    ///
    /// # Errors
    /// [`CheckpointError`] for a newer version or a failing disk.
    pub fn read(disk: &Disk, directory: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = directory.join(CLEAN_SHUTDOWN);
        let Some(bytes) = read_if_there(disk, &path)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let found = json_number(&text, "version").unwrap_or_default();
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if found > CLEAN_SHUTDOWN_VERSION {
            return Err(CheckpointError::UnsupportedVersion {
                path,
                found,
                supported: CLEAN_SHUTDOWN_VERSION,
            });
        }
        let broker_epoch = json_number(&text, "brokerEpoch").unwrap_or(-1);
        Ok(Some(Self { broker_epoch }))
    }

    /// Leaves the mark, durable when it returns.
    ///
    /// # Errors
    /// [`IoError`] when the disk refuses.
    pub fn write(&self, disk: &Disk, directory: &Path) -> Result<(), IoError> {
        let text = format!(
            "{{\"version\":{CLEAN_SHUTDOWN_VERSION},\"brokerEpoch\":{}}}",
            self.broker_epoch
        );
        disk.write_atomic(&directory.join(CLEAN_SHUTDOWN), text.as_bytes())
    }

    /// Takes the mark away, durably, and says whether it was there: from here on a stop is unclean until the mark is
    /// written again. What else an earlier process named in the directory, and had no time to sync, is durable as well:
    /// a partition's directory, a mark that it had taken away.
    ///
    /// # Errors
    /// [`CheckpointError`] for a newer version or a failing disk.
    pub fn take(disk: &Disk, directory: &Path) -> Result<bool, CheckpointError> {
        let there = Self::read(disk, directory)?.is_some();
        if there {
            disk.remove_file(&directory.join(CLEAN_SHUTDOWN))?;
        }
        disk.sync_dir(directory)?;
        Ok(there)
    }
}

/// The number behind `"name":` in a flat JSON object.
fn json_number(text: &str, name: &str) -> Option<i64> {
    let (_, rest) = text.split_once(&format!("\"{name}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '-'))
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// Lines of `key`, separator, `value`.
struct Properties<'a> {
    path: &'a Path,
    /// Line number from 1, key, value.
    entries: Vec<(usize, &'a str, &'a str)>,
}

impl<'a> Properties<'a> {
    fn parse(path: &'a Path, bytes: &'a [u8], separator: char) -> Result<Self, CheckpointError> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(CheckpointError::Malformed {
                path: path.to_owned(),
                line: 1,
                expected: "text in UTF-8",
            });
        };
        let entries = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with(['#', '!']))
            .filter_map(|(index, line)| {
                let (key, value) = line.split_once(separator)?;
                Some((index + 1, key.trim(), value.trim()))
            })
            .collect();
        Ok(Self { path, entries })
    }

    fn find(&self, key: &str) -> Option<(usize, &'a str)> {
        let entry = self.entries.iter().rev().find(|entry| entry.1 == key)?;
        Some((entry.0, entry.2))
    }

    fn required(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<(usize, &'a str), CheckpointError> {
        let behind_the_last = self.entries.last().map_or(1, |entry| entry.0 + 1);
        self.find(key)
            .ok_or_else(|| self.malformed(behind_the_last, expected))
    }

    fn number<T: std::str::FromStr>(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<T, CheckpointError> {
        let (line, text) = self.required(key, expected)?;
        text.parse().map_err(|_| self.malformed(line, expected))
    }

    fn check_version(&self, found: u32, supported: u32) -> Result<(), CheckpointError> {
        if found <= supported {
            return Ok(());
        }
        Err(CheckpointError::UnsupportedVersion {
            path: self.path.to_owned(),
            found,
            supported,
        })
    }

    fn malformed(&self, line: usize, expected: &'static str) -> CheckpointError {
        CheckpointError::Malformed {
            path: self.path.to_owned(),
            line,
            expected,
        }
    }
}

pub(super) fn read_if_there(disk: &Disk, path: &Path) -> Result<Option<Vec<u8>>, IoError> {
    match disk.read(path, LENGTH_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(text: &str) -> TopicPartition {
        super::super::names::partition_of_directory(text).unwrap()
    }

    #[test]
    fn an_offset_checkpoint_reads_back() {
        let offsets = BTreeMap::from([
            (partition("orders-0"), Offset(12)),
            (partition("a.b-31"), Offset(i64::MAX)),
        ]);
        let text = encode_offsets(&offsets);
        assert_eq!(text, "0\n2\na.b 31 9223372036854775807\norders 0 12\n");
        let path = Path::new("recovery-point-offset-checkpoint");
        assert_eq!(decode_offsets(path, text.as_bytes()).unwrap(), offsets);
    }

    #[test]
    fn a_checkpoint_that_lost_a_line_is_refused_with_its_place() {
        let path = Path::new("cp");
        let refused = decode_offsets(path, b"0\n2\norders 0 12\n").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cp line 4: expected as many entries as the second line announces"
        );
        let refused = decode_offsets(path, b"7\n0\n").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cp has version 7, this program reads up to version 0"
        );
        for broken in [
            "",
            "0",
            "0\nx\n",
            "0\n1\na b c\n",
            "0\n1\nt 0 1 2\n",
            "0\n0\nt 0 1\n",
        ] {
            assert!(
                decode_offsets(path, broken.as_bytes()).is_err(),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn meta_properties_of_three_kafka_generations_are_read() {
        let path = Path::new("meta.properties");
        let now = b"#\n#Sun Nov 22 18:00:00 UTC 2026\nnode.id=4\nversion=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\ncluster.id=WZEKwK-bS62oT3ZOSU0dgw\n";
        let read = MetaProperties::decode(path, now).unwrap();
        assert_eq!(
            read,
            MetaProperties {
                cluster_id: "WZEKwK-bS62oT3ZOSU0dgw".to_owned(),
                node_id: BrokerId(4),
                directory_id: Some("AAAAAAAAAAAAAAAAAAAAAQ".parse().map(DirectoryId).unwrap()),
            }
        );
        assert_eq!(
            MetaProperties::decode(path, read.encode().as_bytes()).unwrap(),
            read
        );
        let zookeeper = MetaProperties::decode(path, b"version=0\nbroker.id=2\ncluster.id=x\n");
        assert_eq!(zookeeper.unwrap().node_id, BrokerId(2));
        let newer = MetaProperties::decode(path, b"version=2\nnode.id=2\ncluster.id=x\n");
        assert!(matches!(
            newer,
            Err(CheckpointError::UnsupportedVersion {
                found: 2,
                supported: 1,
                ..
            })
        ));
        assert!(MetaProperties::decode(path, b"version=1\nnode.id=2\n").is_err());
    }

    #[test]
    fn small_files_live_on_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        let topic_id = TopicId("AAAAAAAAAAAAAAAAAAAAAQ".parse().unwrap());
        assert_eq!(PartitionMetadata::read(&disk, dir.path()).unwrap(), None);
        let metadata = PartitionMetadata { topic_id };
        metadata.write(&disk, dir.path()).unwrap();
        assert_eq!(
            PartitionMetadata::read(&disk, dir.path()).unwrap(),
            Some(metadata)
        );

        assert_eq!(CleanShutdown::read(&disk, dir.path()).unwrap(), None);
        let mark = CleanShutdown { broker_epoch: 17 };
        mark.write(&disk, dir.path()).unwrap();
        assert_eq!(CleanShutdown::read(&disk, dir.path()).unwrap(), Some(mark));
        assert!(CleanShutdown::take(&disk, dir.path()).unwrap());
        assert!(!CleanShutdown::take(&disk, dir.path()).unwrap());
        assert_eq!(CleanShutdown::read(&disk, dir.path()).unwrap(), None);

        let path = dir.path().join(RECOVERY_POINT_CHECKPOINT);
        assert!(read_offset_checkpoint(&disk, &path).unwrap().is_empty());
        let offsets = BTreeMap::from([(partition("t-0"), Offset(3))]);
        write_offset_checkpoint(&disk, &path, &offsets).unwrap();
        assert_eq!(read_offset_checkpoint(&disk, &path).unwrap(), offsets);
    }
}
