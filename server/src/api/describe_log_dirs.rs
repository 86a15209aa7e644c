//! DescribeLogDirs (key 35): the broker's log directories and the replicas in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::command::{Command, DescribeLogs, DirectorySpace, LogDescription};
use millrace_engine::shard::{ShardIndex, Stopped};
use millrace_engine::types::{TopicIdPartition, TopicName};
use millrace_wire::message::describe_log_dirs::{
    DescribeLogDirsDirectory, DescribeLogDirsRequest, DescribeLogDirsRequestTopic,
    DescribeLogDirsResponse, DescribeLogDirsResponsePartition, DescribeLogDirsResponseTopic,
};
use millrace_wire::{ErrorCode, Str};
use tokio::sync::oneshot;

use super::context::RequestContext;
use super::topics::partition_by_name;

pub(super) async fn handle(
    request: DescribeLogDirsRequest,
    context: &RequestContext,
) -> Result<DescribeLogDirsResponse, Stopped> {
    // A disk may take its time, so nothing is kept from others before that; but by a request that is long itself.
    let spaces = context.gateway().measure_directories().await?;
    context.answers_much().await;
    let image = Arc::clone(&context.image());
    let find = {
        let image = Arc::clone(&image);
        move |topics: Option<Vec<_>>| topics.map(|topics| wanted(&topics, &image))
    };
    let wanted = context.in_peace(request.topics, find).await?;
    let logs = describe_logs(context).await?;
    // All are gone over, however few were asked about.
    let count: usize = logs.iter().map(Vec::len).sum();
    context.answers_many(count / LOGS_PER_ELEMENT).await;
    let settings = context.settings();
    let directories = Directories {
        paths: settings.config.log_dirs.clone(),
        cordoned: settings.config.cordoned_log_dirs.clone(),
        spaces,
    };
    let results = move || results(logs.into_iter().flatten(), wanted, &directories, &image);
    // Very many take long to go over also where an answer about them is short.
    let results = if context.is_long() || count > LOGS_AT_A_TIME {
        context.gateway().aside(results).await?
    } else {
        results()
    };
    Ok(DescribeLogDirsResponse {
        results,
        ..Default::default()
    })
}

/// The log directories.
struct Directories {
    /// All of them.
    paths: Vec<PathBuf>,
    cordoned: Vec<PathBuf>,
    /// Of those that can be used.
    spaces: Vec<DirectorySpace>,
}

/// Each directory with those of `logs` in it that are wanted.
fn results(
    logs: impl Iterator<Item = LogDescription>,
    wanted: Option<BTreeSet<TopicIdPartition>>,
    directories: &Directories,
    image: &MetadataImage,
) -> Vec<DescribeLogDirsDirectory> {
    let mut by_directory: BTreeMap<PathBuf, Vec<LogDescription>> = BTreeMap::new();
    for log in logs {
        let directory = log.directory.clone();
        by_directory.entry(directory).or_default().push(log);
    }
    let results = directories.paths.iter().map(|path| {
        let mut logs = by_directory.remove(path).unwrap_or_default();
        let mut spaces = directories.spaces.iter();
        let space = spaces.find(|space| space.directory == *path);
        let cordoned = directories.cordoned.contains(path);
        let space = space.filter(|_| !has_failed(&logs));
        logs.retain(|log| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&log.partition))
        });
        directory(path, space, cordoned, &logs, image)
    });
    results.collect()
}

/// The partitions asked about that exist; the others are passed over, as in Kafka.
fn wanted(
    topics: &[DescribeLogDirsRequestTopic],
    image: &MetadataImage,
) -> BTreeSet<TopicIdPartition> {
    let in_topic = |topic: &DescribeLogDirsRequestTopic| {
        let numbers = topic.partitions.iter();
        let found =
            numbers.filter_map(|&number| partition_by_name(image, &topic.topic, number).ok());
        found.collect::<Vec<_>>()
    };
    topics.iter().flat_map(in_topic).collect()
}

/// The logs of all shards, as they were described, some at a time. Those not asked about count too when it comes to what is wrong
/// with a directory.
async fn describe_logs(context: &RequestContext) -> Result<Vec<Vec<LogDescription>>, Stopped> {
    let gateway = context.gateway();
    let mut logs = Vec::new();
    for shard in (0..gateway.shard_count()).map(ShardIndex) {
        let mut after = None;
        loop {
            let (reply, answer) = oneshot::channel();
            let command = Command::DescribeLogs(DescribeLogs {
                after,
                count_max: LOGS_AT_A_TIME,
                reply,
            });
            gateway.send(shard, command).await?;
            let some = answer.await.map_err(|_| Stopped)?;
            after = some.last().map(|log| log.partition);
            let are_all = some.len() < LOGS_AT_A_TIME;
            logs.push(some);
            if are_all {
                break;
            }
        }
    }
    Ok(logs)
}

/// Whether a fault took every log of a directory offline: then it is not the logs that are at fault.
fn has_failed(logs: &[LogDescription]) -> bool {
    !logs.is_empty() && logs.iter().all(|log| log.offline)
}

fn directory(
    path: &Path,
    space: Option<&DirectorySpace>,
    cordoned: bool,
    logs: &[LogDescription],
    image: &MetadataImage,
) -> DescribeLogDirsDirectory {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let log_dir = Str::from(absolute.to_string_lossy().as_ref());
    match space {
        Some(space) => DescribeLogDirsDirectory {
            log_dir,
            topics: topics(logs, image),
            total_bytes: i64::try_from(space.total_bytes).unwrap_or(i64::MAX),
            usable_bytes: i64::try_from(space.usable_bytes).unwrap_or(i64::MAX),
            is_cordoned: cordoned,
            ..Default::default()
        },
        None => DescribeLogDirsDirectory {
            error_code: ErrorCode::KafkaStorageError,
            log_dir,
            is_cordoned: cordoned,
            ..Default::default()
        },
    }
}

/// The replicas, topic by topic. Those of a topic that was just deleted are on their way out and have no name.
fn topics(logs: &[LogDescription], image: &MetadataImage) -> Vec<DescribeLogDirsResponseTopic> {
    let mut by_topic: BTreeMap<&TopicName, Vec<DescribeLogDirsResponsePartition>> = BTreeMap::new();
    for log in logs {
        if let Some(topic) = image.topic_by_id(log.partition.topic_id) {
            by_topic
                .entry(&topic.name)
                .or_default()
                .push(partition(log));
        }
    }
    let topics = by_topic.into_iter().map(|(name, mut partitions)| {
        partitions.sort_by_key(|partition| partition.partition_index);
        DescribeLogDirsResponseTopic {
            name: Str::from(name.as_str()),
            partitions,
        }
    });
    topics.collect()
}

fn partition(log: &LogDescription) -> DescribeLogDirsResponsePartition {
    // Kafka's lag: how far the log's end is behind the high watermark, which on a leader it never is.
    let lag = log
        .high_watermark
        .0
        .saturating_sub(log.log_end_offset.0)
        .max(0);
    DescribeLogDirsResponsePartition {
        partition_index: log.partition.partition,
        partition_size: i64::try_from(log.size_bytes).unwrap_or(i64::MAX),
        offset_lag: lag,
        is_future_key: false,
    }
}

/// So many replicas take as much as a topic in an answer.
const LOGS_PER_ELEMENT: usize = 10;

/// Some hundred microseconds' worth for a shard.
const LOGS_AT_A_TIME: usize = 500;

#[cfg(test)]
mod tests {
    use millrace_engine::types::Offset;
    use millrace_wire::Message;

    use super::super::test_image::image_with;
    use super::*;

    fn log(image: &MetadataImage, topic: &str, number: i32, size_bytes: u64) -> LogDescription {
        LogDescription {
            partition: partition_by_name(image, topic, number).unwrap(),
            directory: PathBuf::from("/data"),
            size_bytes,
            log_start_offset: Offset(0),
            high_watermark: Offset(3),
            log_end_offset: Offset(5),
            offline: false,
        }
    }

    #[test]
    fn replicas_are_listed_by_topic_and_number() {
        let image = image_with(&[("a", 2), ("b", 1)]);
        let logs = [
            log(&image, "b", 0, 7),
            log(&image, "a", 1, 8),
            log(&image, "a", 0, 9),
        ];
        let space = DirectorySpace {
            directory: PathBuf::from("/data"),
            total_bytes: 100,
            usable_bytes: 40,
        };
        let shown = directory(Path::new("/data"), Some(&space), true, &logs, &image);
        let names: Vec<_> = shown.topics.iter().map(|topic| &*topic.name).collect();
        assert_eq!(names, ["a", "b"]);
        let sizes = shown.topics[0].partitions.iter();
        let sizes: Vec<_> = sizes
            .map(|one| (one.partition_index, one.partition_size))
            .collect();
        assert_eq!(sizes, [(0, 9), (1, 8)]);
        assert_eq!(shown.topics[0].partitions[0].offset_lag, 0);
        assert_eq!(
            (shown.total_bytes, shown.usable_bytes, shown.is_cordoned),
            (100, 40, true)
        );
        let response = DescribeLogDirsResponse {
            results: vec![shown],
            ..Default::default()
        };
        assert!((1..=5).all(|version| response.to_bytes(version).is_ok()));
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_an_error_of_its_own() {
        let image = image_with(&[]);
        let shown = directory(Path::new("/data"), None, false, &[], &image);
        assert_eq!(shown.error_code, ErrorCode::KafkaStorageError);
        assert_eq!((shown.total_bytes, shown.usable_bytes), (-1, -1));
    }

    #[test]
    fn what_does_not_exist_is_passed_over() {
        let image = image_with(&[("t", 1)]);
        let topic = |name: &str| DescribeLogDirsRequestTopic {
            topic: name.into(),
            partitions: vec![0, 9],
        };
        assert_eq!(wanted(&[topic("t"), topic("nope")], &image).len(), 1);
    }
}
