//! How the files of a partition's directory are named, and what a name found there says about the file.
//!
//! Kafka's own names, so that either broker can open the other's directory. It knows names only, never contents.

use std::path::{Path, PathBuf};

use crate::types::{Offset, TopicId, TopicPartition, Uuid};

/// Ending of a segment's record file.
pub const LOG: &str = ".log";
/// Ending of a segment's sparse offset index.
pub const OFFSET_INDEX: &str = ".index";
/// Ending of a segment's sparse time index.
pub const TIME_INDEX: &str = ".timeindex";
/// Ending of a segment's index of aborted transactions.
pub const TRANSACTION_INDEX: &str = ".txnindex";
/// Ending of Kafka's snapshot of the producers' state: one batch per producer.
pub const SNAPSHOT: &str = ".snapshot";
/// Ending of our companion of a snapshot, with all remembered batches. Kafka leaves files it does not know alone.
pub const WINDOWS: &str = ".windows";
/// Added to a file's name when it is to be unlinked later.
pub const DELETED: &str = ".deleted";
/// Added while a compaction writes.
pub const CLEANED: &str = ".cleaned";
/// Added when a compaction has finished and its result is about to take its place.
pub const SWAP: &str = ".swap";
/// Added while a small file is being replaced.
pub const TEMPORARY: &str = ".tmp";
/// Which leader epoch began at which offset.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// The id of the topic a partition directory belongs to.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// The mark of a partition whose record files may not be what the page cache shows: a sync of them failed.
pub const FLUSH_FAILED: &str = "flush-failed";

/// Kafka's name for the directory of the cluster metadata. It has the form of a partition's, and is nobody's partition.
pub const METADATA_DIRECTORY: &str = "__cluster_metadata-0";

/// Digits of an offset in a file name.
const DIGITS: usize = 20;

/// The endings of the files that belong to one base offset, the record file first.
pub const SEGMENT_ENDINGS: [&str; 6] = [
    LOG,
    OFFSET_INDEX,
    TIME_INDEX,
    TRANSACTION_INDEX,
    SNAPSHOT,
    WINDOWS,
];

/// The path of the file with `ending` that belongs to `base_offset` (20 digits, as Kafka writes them).
#[must_use]
pub fn segment_file(directory: &Path, base_offset: Offset, ending: &str) -> PathBuf {
    directory.join(format!("{:0DIGITS$}{ending}", base_offset.0))
}

/// `path` with `ending` put after its whole name.
#[must_use]
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// What a file of a partition's directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind<'a> {
    /// A file of the segment (or snapshot) at an offset; `ending` is one of [`SEGMENT_ENDINGS`].
    Segment {
        /// The offset in the name.
        base_offset: Offset,
        /// The ending, with its dot.
        ending: &'static str,
    },
    /// A segment's file that a finished compaction had not yet put in place.
    Swap {
        /// The offset in the name.
        base_offset: Offset,
        /// The ending below `.swap`.
        ending: &'static str,
    },
    /// A segment's file of a compaction that did not finish.
    Cleaned {
        /// The offset in the name.
        base_offset: Offset,
    },
    /// Waiting to be unlinked, or half written: of no use to anybody.
    Leftover,
    /// A small file we know: the epoch checkpoint, the partition's metadata, the mark of a failed flush.
    Known,
    /// Not ours; stays untouched.
    Foreign(&'a str),
}

impl<'a> FileKind<'a> {
    /// Tells what the file called `name` is.
    #[must_use]
    pub fn of(name: &'a str) -> Self {
        if matches!(
            name,
            LEADER_EPOCH_CHECKPOINT | PARTITION_METADATA | FLUSH_FAILED
        ) {
            return Self::Known;
        }
        if let Some((base_offset, ending)) = segment_name(name) {
            return Self::Segment {
                base_offset,
                ending,
            };
        }
        if let Some((base_offset, ending)) = name.strip_suffix(SWAP).and_then(segment_name) {
            return Self::Swap {
                base_offset,
                ending,
            };
        }
        if let Some((base_offset, _)) = name.strip_suffix(CLEANED).and_then(segment_name) {
            return Self::Cleaned { base_offset };
        }
        let ours = |below: &str| {
            segment_name(below).is_some()
                || below == LEADER_EPOCH_CHECKPOINT
                || below == PARTITION_METADATA
                || below.strip_suffix(SWAP).and_then(segment_name).is_some()
                || below.strip_suffix(CLEANED).and_then(segment_name).is_some()
        };
        let leftover = [DELETED, TEMPORARY]
            .iter()
            .any(|ending| name.strip_suffix(ending).is_some_and(ours));
        if leftover {
            Self::Leftover
        } else {
            Self::Foreign(name)
        }
    }
}

fn segment_name(name: &str) -> Option<(Offset, &'static str)> {
    let (digits, rest) = name.split_at_checked(DIGITS)?;
    let ending = SEGMENT_ENDINGS.into_iter().find(|&ending| ending == rest)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), ending))
}

/// The name of a partition's directory: `topic-partition`.
#[must_use]
pub fn partition_directory(partition: &TopicPartition) -> String {
    partition.to_string()
}

/// The file by which shard number `shard` finds out whether a log directory takes anything.
#[must_use]
pub fn probe(shard: usize) -> String {
    format!(".probe-{shard}")
}

/// The name a deleted partition's directory has until it is gone: unlike any partition's, and the topic's id keeps two
/// topics of one name apart.
#[must_use]
pub fn deleted_directory(partition: &TopicPartition, topic_id: TopicId) -> String {
    set_aside(partition, topic_id, DELETED_DIRECTORY)
}

/// Whether a directory's name is one that [`deleted_directory`], or Kafka, gives: whoever else's ends alike, its contents
/// are not ours to remove.
#[must_use]
pub fn is_deleted_directory(name: &str) -> bool {
    let whose = name.strip_suffix(DELETED_DIRECTORY);
    let Some((partition, id)) = whose.and_then(|whose| whose.rsplit_once('.')) else {
        return false;
    };
    let is_kafkas =
        || id.len() == KAFKA_ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    partition_of_directory(partition).is_some() && (id.parse::<Uuid>().is_ok() || is_kafkas())
}

/// The name a directory gets that no known partition owns: an operator may look at it, and nobody mistakes it for
/// another topic's.
#[must_use]
pub fn stray_directory(partition: &TopicPartition, topic_id: TopicId) -> String {
    set_aside(partition, topic_id, STRAY_DIRECTORY)
}

/// A long topic's name is cut, as in Kafka, so that the whole is a legal one; the id makes up for what is missing.
fn set_aside(partition: &TopicPartition, topic_id: TopicId, ending: &str) -> String {
    let topic = partition.topic.as_str();
    let rest = format!("-{}.{topic_id}{ending}", partition.partition);
    let kept = topic.get(..NAME_BYTES_MAX.saturating_sub(rest.len()));
    format!("{}{rest}", kept.unwrap_or(topic))
}

/// What the names of deleted directories end with, as Kafka's do.
const DELETED_DIRECTORY: &str = "-delete";
/// And those of strays.
const STRAY_DIRECTORY: &str = "-stray";
/// Kafka tells deleted directories of one partition apart by a number of its own, in hexadecimal digits.
const KAFKA_ID_DIGITS: usize = 32;
/// The longest name that file systems of Linux take.
const NAME_BYTES_MAX: usize = 255;

/// The partition a directory's name stands for; `None` for any other directory (also one waiting for deletion).
#[must_use]
pub fn partition_of_directory(name: &str) -> Option<TopicPartition> {
    let (topic, number) = name.rsplit_once('-')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(TopicPartition {
        topic: topic.parse().ok()?,
        partition: number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_files_are_named_as_kafka_names_them() {
        let path = segment_file(Path::new("/d/t-0"), Offset(170_210), LOG);
        assert_eq!(path, Path::new("/d/t-0/00000000000000170210.log"));
        assert_eq!(
            FileKind::of("00000000000000170210.timeindex"),
            FileKind::Segment {
                base_offset: Offset(170_210),
                ending: TIME_INDEX
            }
        );
    }

    #[test]
    fn names_that_are_not_ours_stay_foreign() {
        for name in [
            "readme",
            "170210.log",
            "0000000000000017021x.log",
            "00000000000000170210.bak",
            "99999999999999999999.log",
            "ä0000000000000170210.log",
            "notes.deleted",
        ] {
            assert_eq!(FileKind::of(name), FileKind::Foreign(name));
        }
    }

    #[test]
    fn what_an_interrupted_step_left_is_recognised() {
        assert_eq!(
            FileKind::of("00000000000000000000.index.deleted"),
            FileKind::Leftover
        );
        assert_eq!(
            FileKind::of("leader-epoch-checkpoint.tmp"),
            FileKind::Leftover
        );
        assert_eq!(
            FileKind::of("00000000000000000007.log.swap"),
            FileKind::Swap {
                base_offset: Offset(7),
                ending: LOG
            }
        );
        assert_eq!(
            FileKind::of("00000000000000000007.log.cleaned"),
            FileKind::Cleaned {
                base_offset: Offset(7)
            }
        );
    }

    #[test]
    fn a_directory_names_its_partition() {
        let partition = partition_of_directory("my-topic-12").unwrap();
        assert_eq!(
            (partition.topic.as_str(), partition.partition),
            ("my-topic", 12)
        );
        assert_eq!(partition_directory(&partition), "my-topic-12");
        for name in [
            "topic",
            "topic-",
            "topic-x",
            "-1",
            "t-0.abc-delete",
            "t-99999999999",
        ] {
            assert_eq!(partition_of_directory(name), None, "{name}");
        }
    }

    #[test]
    fn a_deleted_directory_is_known_by_its_whole_name() {
        let id = TopicId(Uuid::from_random(0x1234_5678_9abc_def0 << 60));
        for (topic, number) in [("t", 0), ("a.b-c_d", 12), (&*"x".repeat(249), i32::MAX)] {
            let partition = TopicPartition {
                topic: topic.parse().unwrap(),
                partition: number,
            };
            let name = deleted_directory(&partition, id);
            assert!(is_deleted_directory(&name), "{name}");
            let stray = stray_directory(&partition, id);
            assert!(!is_deleted_directory(&stray), "{stray}");
        }
        let kafkas = "t-0.0123456789abcdef0123456789abcdef-delete";
        assert!(is_deleted_directory(kafkas));
        for name in [
            "-delete",
            "do-not-delete",
            "notes.txt-delete",
            "t-0-delete",
            "t-0.abc-delete",
            "t-0.0123456789abcdeg0123456789abcdef-delete",
            "t-x.AAAAAAAAAAAAAAAAAAAAAQ-delete",
            "t.AAAAAAAAAAAAAAAAAAAAAQ-delete",
            "t-0.AAAAAAAAAAAAAAAAAAAAAB-delete",
            "t-0.AAAAAAAAAAAAAAAAAAAAAQ-delete-not",
        ] {
            assert!(!is_deleted_directory(name), "{name}");
        }
    }

    #[test]
    fn the_directory_of_a_topic_with_the_longest_name_has_a_legal_name_when_it_is_set_aside() {
        let long = |partition| TopicPartition {
            topic: "x".repeat(249).parse().unwrap(),
            partition,
        };
        for name in [deleted_directory, stray_directory] {
            let one = name(&long(0), TopicId(Uuid(1)));
            assert_eq!(one.len(), 255, "{one}");
            assert!(one.starts_with("xxx"), "{one}");
            assert_ne!(one, name(&long(1), TopicId(Uuid(1))));
            assert_ne!(one, name(&long(0), TopicId(Uuid(2))));
            assert_eq!(partition_of_directory(&one), None);
        }
        let short = partition_of_directory("t-12").unwrap();
        let id = TopicId(Uuid(1));
        assert_eq!(deleted_directory(&short, id), format!("t-12.{id}-delete"));
        assert_eq!(stray_directory(&short, id), format!("t-12.{id}-stray"));
    }
}
