//! Reading a whole log directory offline: its partitions, the checkpoints at its top, the cluster metadata if it lies
//! there. What is wrong with each file is said by the rooms it belongs to; here it is held together.
//!
//! Only a repair changes anything, and never a record file.

mod hostile;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{Overrides, TopicConfig, TopicDefaults};
use crate::io::{Disk, IoError, LockError};
use crate::log::OpenError;
use crate::log::checkpoint::{
    CLEAN_SHUTDOWN, CLEANER_CHECKPOINT, CheckpointError, CleanShutdown, LOG_START_CHECKPOINT,
    META_PROPERTIES, MetaProperties, PartitionMetadata, RECOVERY_POINT_CHECKPOINT,
    REPLICATION_CHECKPOINT, read_offset_checkpoint,
};
use crate::log::names;
use crate::log::verify::{Cure, Finding, PartitionCheck, Place, Sort, Verified};
use crate::metadata::raft::{self, MetadataCheck, MetadataFile};
use crate::metadata::{MetadataImage, OpenError as MetadataError, StorageError, is_internal};
use crate::types::{DirectoryId, Offset, Timestamp, TopicPartition};

pub use hostile::verify_hostile;

/// What to read, and whether to repair.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// One of `log.dirs`.
    pub directory: PathBuf,
    /// Where the cluster metadata lies, if not in `directory` (the first of `log.dirs`, or `metadata.log.dir`).
    pub metadata_directory: Option<PathBuf>,
    /// `write.caching` of the broker's properties file, where that has it. A topic's own setting goes before, and one that was
    /// made for all brokers.
    pub write_caching: Option<String>,
    /// Make anew what the log can make anew, and remove leftovers.
    pub repair: bool,
    /// The time.
    pub now: Timestamp,
}

/// What reading a log directory brought.
#[derive(Debug, Default)]
pub struct Report {
    /// Everything that is wrong or worth a line, by path.
    pub findings: Vec<Finding>,
    /// What a repair did, a sentence each.
    pub done: Vec<String>,
    /// What a repair left as it is, and why, a sentence each.
    pub left: Vec<String>,
    /// Why it was not read or repaired to its end. A repair that failed changes nothing from there on; the rest is read.
    pub failed: Option<VerifyError>,
    /// Whether the last stop left the directory in order.
    pub clean: bool,
    /// Partitions read.
    pub partitions: u64,
    /// Segments read.
    pub segments: u64,
    /// Sound batches.
    pub batches: u64,
    /// Bytes of record files.
    pub bytes: u64,
}

impl Report {
    /// Whether anything is broken; see [`Finding::is_fault`].
    #[must_use]
    pub fn has_faults(&self) -> bool {
        self.findings.iter().any(Finding::is_fault)
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes of record files in all partitions.
    pub total_bytes: u64,
    /// Bytes of record files read since the last call.
    pub read_bytes: u64,
}

/// Why a directory cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A broker runs on it.
    #[error("{0}: stop the broker first")]
    InUse(LockError),
    /// Nothing in it looks like a log directory.
    #[error("{} is no log directory: it has neither {META_PROPERTIES} nor a partition", path.display())]
    NoLogDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A repair failed half-way; what was done before stands.
    #[error("the repair failed: {0}")]
    Repair(#[from] OpenError),
    /// The disk refuses.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The disk refuses the metadata.
    #[error(transparent)]
    Metadata(#[from] StorageError),
}

/// Reads the log directory of `options`; nobody else may work in it meanwhile.
///
/// # Errors
/// [`VerifyError`], when nothing was read; damage is no error but a finding, and what fails later is in the report.
pub fn verify(
    disk: &Disk,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, VerifyError> {
    let directory = &options.directory;
    let looks_right = disk.list(directory)?.iter().any(|entry| {
        entry.name == META_PROPERTIES
            || (entry.is_dir && names::partition_of_directory(&entry.name).is_some())
    });
    if !looks_right {
        let path = directory.clone();
        return Err(VerifyError::NoLogDirectory { path });
    }
    let _lock = disk.lock_dir(directory).map_err(|error| match error {
        LockError::Io(error) => VerifyError::Io(error),
        error @ LockError::InUse { .. } => VerifyError::InUse(error),
    })?;
    let mut run = Run {
        disk,
        options,
        report: Report::default(),
    };
    if let Err(error) = run.all(progress) {
        run.report.failed.get_or_insert(error);
    }
    let mut report = run.report;
    report
        .findings
        .sort_by(|a, b| (&a.path, a.sort).cmp(&(&b.path, b.sort)));
    Ok(report)
}

struct Run<'a> {
    disk: &'a Disk,
    options: &'a VerifyOptions,
    report: Report,
}

/// What the checkpoints at the top say.
#[derive(Default)]
struct Lines {
    recovery_points: BTreeMap<TopicPartition, Offset>,
    log_starts: BTreeMap<TopicPartition, Offset>,
    high_watermarks: BTreeMap<TopicPartition, Offset>,
    compacted: BTreeMap<TopicPartition, Offset>,
    /// There is a cleaner's checkpoint, and nobody can read it.
    compacted_unknown: bool,
}

impl Run<'_> {
    fn all(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), VerifyError> {
        let directory = &self.options.directory;
        let mut partitions = Vec::new();
        for entry in self.disk.list(directory)? {
            let path = directory.join(&entry.name);
            if entry.is_dir {
                match names::partition_of_directory(&entry.name) {
                    _ if entry.name == names::METADATA_DIRECTORY => {}
                    Some(name) => partitions.push((name, path)),
                    // The metadata has forgotten such a partition already.
                    None if names::is_deleted_directory(&entry.name) => {
                        self.remove_leftover(path, Disk::remove_dir_all);
                    }
                    None => self.report.findings.push(Finding::foreign(path)),
                }
            } else if let Some(below) = entry.name.strip_suffix(names::TEMPORARY)
                && is_known(below)
            {
                self.remove_leftover(path, Disk::remove_file);
            } else if !is_known(&entry.name) {
                self.report.findings.push(Finding::foreign(path));
            }
        }
        let properties = self.meta_properties();
        self.clean_shutdown();
        let lines = self.checkpoints();
        let image = self.metadata()?;
        let is_of_cluster = |image: &&MetadataImage| {
            let properties = properties.as_ref();
            properties.is_some_and(|found| found.cluster_id == image.cluster_id())
        };
        // Over the metadata of another cluster nothing starts.
        if let Some(image) = image.as_ref().filter(is_of_cluster) {
            partitions.retain(|(name, path)| !self.is_of_deleted(name, path, image));
        }
        if let (Some(image), Some(properties)) = (&image, &properties) {
            self.foreign_cluster(image, properties);
            if let Some(id) = properties.directory_id {
                self.missing_directories(image, id, &partitions, &lines);
            }
        }
        let mut total_bytes = 0;
        for (_, path) in &partitions {
            let logs = self.disk.list(path)?.into_iter();
            let logs = logs.filter(|entry| entry.name.ends_with(names::LOG));
            total_bytes += logs.map(|entry| entry.length).sum::<u64>();
        }
        for (name, path) in partitions {
            let check = self.partition_check(&name, path, &lines, image.as_ref());
            let verified = check.run(self.disk, &mut |read_bytes| {
                progress(Progress {
                    total_bytes,
                    read_bytes,
                });
            })?;
            self.hold_against_lines(&name, &check, &verified, &lines);
            if self.repairs()
                && let Err(error) = check.repair(self.disk, &verified, &mut self.report.done)
            {
                self.report.failed = Some(error.into());
            }
            self.report.partitions += 1;
            self.report.segments += verified.segments;
            self.report.batches += verified.batches;
            self.report.bytes += verified.bytes;
            self.report.findings.extend(verified.findings);
        }
        if self.repairs() {
            let removed = self.remove_broken_checkpoints();
            removed.map_err(|error| VerifyError::Repair(error.into()))?;
        }
        Ok(())
    }

    /// Whether to change anything, still.
    fn repairs(&self) -> bool {
        self.options.repair && self.report.failed.is_none()
    }

    fn remove_leftover(
        &mut self,
        path: PathBuf,
        remove: impl FnOnce(&Disk, &Path) -> Result<(), IoError>,
    ) {
        if self.repairs() {
            match remove(self.disk, &path) {
                Ok(()) => self.report.done.push(format!("removed {}", path.display())),
                Err(error) => self.report.failed = Some(VerifyError::Repair(error.into())),
            }
        }
        self.report.findings.push(Finding::leftover(path));
    }

    fn meta_properties(&mut self) -> Option<MetaProperties> {
        let directory = &self.options.directory;
        let path = directory.join(META_PROPERTIES);
        let sort = Sort::MetaProperties;
        match MetaProperties::read(self.disk, directory) {
            Ok(Some(found)) => {
                if found.directory_id.is_none() {
                    self.report.findings.push(Finding {
                        path,
                        sort,
                        place: Place::File,
                        expected: "directory.id".to_owned(),
                        found: "none".to_owned(),
                        cure: Cure::Restore,
                    });
                }
                return Some(found);
            }
            Ok(None) => self.report.findings.push(Finding {
                path,
                sort,
                place: Place::File,
                expected: "whose directory this is".to_owned(),
                found: "no file".to_owned(),
                cure: Cure::Restore,
            }),
            Err(error) => {
                let finding = Finding::of_checkpoint(sort, path, &error, Cure::Restore);
                self.report.findings.push(finding);
            }
        }
        None
    }

    fn clean_shutdown(&mut self) {
        let directory = &self.options.directory;
        match CleanShutdown::read(self.disk, directory) {
            Ok(found) => self.report.clean = found.is_some(),
            Err(error) => {
                let path = directory.join(CLEAN_SHUTDOWN);
                let finding =
                    Finding::of_checkpoint(Sort::CleanShutdown, path, &error, Cure::Restore);
                self.report.findings.push(finding);
            }
        }
    }

    fn checkpoints(&mut self) -> Lines {
        let mut lines = Lines::default();
        for name in CHECKPOINTS {
            let path = self.options.directory.join(name);
            self.check_there(name, &path);
            match read_offset_checkpoint(self.disk, &path) {
                Ok(offsets) => match name {
                    RECOVERY_POINT_CHECKPOINT => lines.recovery_points = offsets,
                    LOG_START_CHECKPOINT => lines.log_starts = offsets,
                    REPLICATION_CHECKPOINT => lines.high_watermarks = offsets,
                    _ => lines.compacted = offsets,
                },
                Err(error) => {
                    lines.compacted_unknown |= name == CLEANER_CHECKPOINT;
                    let cure = match (name, &error) {
                        // Without a log start records that were deleted would come back.
                        (LOG_START_CHECKPOINT, _) => Cure::Restore,
                        // By a broken one a start knows that any log may have the gaps of a compaction; by none it would not.
                        (CLEANER_CHECKPOINT, CheckpointError::Malformed { .. }) => Cure::AtStart,
                        _ => Cure::Rebuild,
                    };
                    let finding = Finding::of_checkpoint(Sort::Checkpoint, path, &error, cure);
                    self.report.findings.push(finding);
                }
            }
        }
        lines
    }

    /// A clean stop leaves three of the checkpoints.
    fn check_there(&mut self, name: &str, path: &Path) {
        let missing = self.disk.exists(path).is_ok_and(|there| !there);
        if !missing || !self.report.clean || name == CHECKPOINTS[3] {
            return;
        }
        self.report.findings.push(Finding {
            path: path.to_owned(),
            sort: Sort::Checkpoint,
            place: Place::File,
            expected: "the offsets of all partitions".to_owned(),
            found: "no file".to_owned(),
            cure: without(name),
        });
    }

    fn metadata(&mut self) -> Result<Option<MetadataImage>, VerifyError> {
        let elsewhere = self.options.metadata_directory.as_ref();
        let home = elsewhere.unwrap_or(&self.options.directory);
        let directory = home.join(names::METADATA_DIRECTORY);
        if !self.disk.exists(&directory)? {
            return Ok(None);
        }
        let check = raft::check(self.disk, &directory)?;
        let image = check.image.clone();
        // That of another log directory is reported, and repaired, where it lies.
        if elsewhere.is_none() {
            self.take_metadata(check);
        }
        Ok(image)
    }

    fn take_metadata(&mut self, check: MetadataCheck) {
        for (file, error) in &check.faults {
            let sort = match file {
                MetadataFile::Journal => Sort::Journal,
                MetadataFile::Vote => Sort::Vote,
                MetadataFile::Snapshot => Sort::MetadataSnapshot,
            };
            self.report.findings.push(of_metadata(sort, error));
        }
        for error in &check.passed_over {
            let finding = of_storage(Sort::MetadataSnapshot, error);
            // The older one and the journal stand for it, or there is a fault beside this one.
            self.report.findings.push(finding);
        }
        if let Some((path, position)) = check.torn {
            self.report.findings.push(Finding {
                path,
                sort: Sort::Journal,
                place: Place::Byte(position),
                expected: "an entry or the end of the file".to_owned(),
                found: "what a crash left, or damage behind the last durable entry known"
                    .to_owned(),
                cure: Cure::AtStart,
            });
        }
        for path in check.leftovers {
            self.remove_leftover(path, Disk::remove_file);
        }
        self.report
            .findings
            .extend(check.foreign.into_iter().map(Finding::foreign));
    }

    fn foreign_cluster(&mut self, image: &MetadataImage, properties: &MetaProperties) {
        if image.cluster_id() != properties.cluster_id {
            self.report.findings.push(Finding {
                path: self.options.directory.join(META_PROPERTIES),
                sort: Sort::MetaProperties,
                place: Place::File,
                expected: format!("cluster.id {}, as in the metadata", image.cluster_id()),
                found: properties.cluster_id.clone(),
                cure: Cure::Restore,
            });
        }
    }

    /// Partitions that the metadata puts into this directory and the checkpoints know to have held records.
    fn missing_directories(
        &mut self,
        image: &MetadataImage,
        directory: DirectoryId,
        partitions: &[(TopicPartition, PathBuf)],
        lines: &Lines,
    ) {
        for topic in image.topics() {
            for (number, partition) in topic.partitions() {
                let name = TopicPartition {
                    topic: topic.name.clone(),
                    partition: number,
                };
                let here = partition.directories.contains(&directory);
                let there = partitions.iter().any(|(found, _)| *found == name);
                let known = [
                    (&lines.high_watermarks, "the high watermark"),
                    (&lines.recovery_points, "the recovery point"),
                ];
                let known = known.into_iter().filter_map(|(offsets, what)| {
                    let end = offsets.get(&name).copied();
                    end.map(|end| (end, what))
                });
                let end = known.max_by_key(|(end, _)| *end);
                let end = end.filter(|(end, _)| *end > Offset::ZERO);
                if here
                    && !there
                    && let Some((end, what)) = end
                {
                    let path = self
                        .options
                        .directory
                        .join(names::partition_directory(&name));
                    self.report.findings.push(Finding {
                        path,
                        sort: Sort::PartitionDirectory,
                        place: Place::File,
                        expected: format!("records up to offset {end}, {what}"),
                        found: "no directory".to_owned(),
                        cure: Cure::Restore,
                    });
                }
            }
        }
    }

    /// Whether a directory is of a deleted topic, because a full disk kept it from being renamed. The next start sets it aside,
    /// and whatever is wrong in it is no loss.
    fn is_of_deleted(&mut self, name: &TopicPartition, path: &Path, image: &MetadataImage) -> bool {
        // Where there is a partition of that name, the file that says otherwise may be at fault.
        if image.topic_of(name).is_some() {
            return false;
        }
        let owner = PartitionMetadata::stranger(self.disk, path, name, |_| None);
        // That of a topic that is there was given a wrong name by somebody.
        let Some(owner) = owner.filter(|owner| image.topic_by_id(*owner).is_none()) else {
            return false;
        };
        self.report.findings.push(Finding {
            path: path.to_owned(),
            sort: Sort::PartitionDirectory,
            place: Place::File,
            expected: "a partition that the metadata knows".to_owned(),
            found: format!("one of topic {owner}, which is gone; it was not read"),
            cure: Cure::AtStart,
        });
        true
    }

    fn partition_check(
        &self,
        name: &TopicPartition,
        directory: PathBuf,
        lines: &Lines,
        image: Option<&MetadataImage>,
    ) -> PartitionCheck {
        let topic = image.and_then(|image| image.topic(&name.topic));
        let compacts = |overrides: &Overrides, property: &str| {
            let policy = overrides.get(property);
            policy.is_some_and(|policy| policy.contains("compact"))
        };
        let by_default = image.is_some_and(|image| {
            let brokers = image
                .brokers()
                .map(|broker| image.broker_overrides(broker.id));
            let mut all = brokers.chain([image.cluster_overrides()]);
            all.any(|overrides| compacts(overrides, "log.cleanup.policy"))
        });
        let is_compacted = by_default
            || is_internal(name.topic.as_str())
            || lines.compacted.contains_key(name)
            || topic.is_some_and(|topic| compacts(&topic.overrides, "cleanup.policy"));
        let recovery_point = lines.recovery_points.get(name).copied().unwrap_or_default();
        let compacted_to = match (is_compacted, lines.compacted_unknown) {
            (true, _) => Offset(i64::MAX),
            // Behind the recovery point nothing is compacted, and the next start would cut the log at a gap.
            (false, true) => recovery_point,
            (false, false) => Offset::ZERO,
        };
        PartitionCheck {
            directory,
            clean: self.report.clean,
            recovery_point,
            log_start_offset: lines.log_starts.get(name).copied(),
            compacted_to,
            caches_writes: image.zip(topic).is_some_and(|(image, topic)| {
                let by_file = self.options.write_caching.as_ref();
                caches_writes(image, &topic.overrides, by_file)
            }),
            topic_id: topic.map(|topic| topic.id),
            now: self.options.now,
        }
    }

    /// The lines of a partition against the log it has; the recovery point was held against it already.
    fn hold_against_lines(
        &mut self,
        name: &TopicPartition,
        check: &PartitionCheck,
        verified: &Verified,
        lines: &Lines,
    ) {
        if !verified.records_are_sound() {
            return;
        }
        let end = verified.end_offset;
        let mut beyond = |file: &str, what: &str, offset: Option<Offset>| {
            if let Some(offset) = offset.filter(|offset| *offset > end) {
                self.report.findings.push(Finding {
                    path: self.options.directory.join(file),
                    sort: Sort::Checkpoint,
                    place: Place::File,
                    expected: format!("a {what} of {name} up to {end}, the end of its log"),
                    found: offset.to_string(),
                    cure: Cure::Restore,
                });
            }
        };
        // A power cut may take what was cached, and the next start begins such a log anew. Any other it refuses.
        if check.clean || !check.caches_writes {
            beyond(LOG_START_CHECKPOINT, "log start", check.log_start_offset);
        }
        if check.clean {
            let high_watermark = lines.high_watermarks.get(name).copied();
            beyond(REPLICATION_CHECKPOINT, "high watermark", high_watermark);
        }
        // A directory that was being made for a topic that is gone by now is nobody's, and empty.
        if check.clean && end > Offset::ZERO {
            self.missing_line(name, RECOVERY_POINT_CHECKPOINT, &lines.recovery_points);
            self.missing_line(name, LOG_START_CHECKPOINT, &lines.log_starts);
            self.missing_line(name, REPLICATION_CHECKPOINT, &lines.high_watermarks);
        }
    }

    /// A clean stop writes a line for every partition; a file that says nothing at all was reported as such.
    fn missing_line(
        &mut self,
        name: &TopicPartition,
        file: &str,
        lines: &BTreeMap<TopicPartition, Offset>,
    ) {
        if lines.is_empty() || lines.contains_key(name) {
            return;
        }
        self.report.findings.push(Finding {
            path: self.options.directory.join(file),
            sort: Sort::Checkpoint,
            place: Place::File,
            expected: format!("a line for {name}"),
            found: "none".to_owned(),
            cure: without(file),
        });
    }

    /// Without a recovery point everything is checked at the next start, without a cleaner point everything is cleaned
    /// again: both only cost time where nothing is lost. Where something is, a start that knows no recovery point might take
    /// the loss for a torn tail; beside a broken one it refuses. A cleaner point that only makes no sense is left to it.
    fn remove_broken_checkpoints(&mut self) -> Result<(), IoError> {
        let broken =
            self.report.findings.iter().filter(|finding| {
                finding.sort == Sort::Checkpoint && finding.cure == Cure::Rebuild
            });
        let broken: Vec<PathBuf> = broken.map(|finding| finding.path.clone()).collect();
        let mut findings = self.report.findings.iter();
        if !broken.is_empty() && findings.any(|finding| finding.cure == Cure::Restore) {
            let names: Vec<String> = broken
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            self.report.left.push(format!(
                "left {}: with faults that only a copy can cure, the next start is not to begin without what it says",
                names.join(", ")
            ));
            return Ok(());
        }
        for path in &broken {
            self.disk.remove_file(path)?;
            let then = if path.ends_with(CLEANER_CHECKPOINT) {
                "what is compacted is compacted from its start again; of a topic that was compacted once, and is not any \
                 more, what compaction took is reported as lost from now on"
            } else {
                "the next start makes it anew, and scans all logs"
            };
            let path = path.display();
            self.report.done.push(format!("removed {path}: {then}"));
        }
        if !broken.is_empty() {
            self.disk.sync_dir(&self.options.directory)?;
        }
        Ok(())
    }
}

/// Whether a start would find that a topic with these overrides caches writes, where its properties file says `by_file`.
fn caches_writes(image: &MetadataImage, overrides: &Overrides, by_file: Option<&String>) -> bool {
    let brokers = image
        .brokers()
        .map(|broker| image.broker_overrides(broker.id));
    let mut all = brokers.chain([image.cluster_overrides()]);
    let by_default = all.find_map(|overrides| overrides.get(WRITE_CACHING));
    let by_default = by_default.or(by_file);
    let defaults = by_default.map(|text| (WRITE_CACHING, text.clone()));
    let defaults = TopicDefaults::new(defaults.into_iter().collect());
    TopicConfig::resolve(overrides, &defaults).write_caching
}

fn of_metadata(sort: Sort, error: &MetadataError) -> Finding {
    match error {
        MetadataError::Storage(error) => of_storage(sort, error),
        MetadataError::Replay { path, .. } => {
            whole(sort, path, "records that follow from those before", error)
        }
        MetadataError::ForeignCluster { dir, .. }
        | MetadataError::NewerFeatureLevel { dir, .. } => {
            whole(sort, dir, "metadata that this broker may go on with", error)
        }
    }
}

fn whole(sort: Sort, path: &Path, expected: &str, error: &MetadataError) -> Finding {
    Finding {
        path: path.to_owned(),
        sort,
        place: Place::File,
        expected: expected.to_owned(),
        found: error.to_string(),
        cure: Cure::Restore,
    }
}

fn of_storage(sort: Sort, error: &StorageError) -> Finding {
    let (path, position, expected, found) = error.parts();
    Finding {
        path: path.to_owned(),
        sort,
        place: position.map_or(Place::File, Place::Byte),
        expected,
        found,
        cure: Cure::Restore,
    }
}

/// What a checkpoint that says nothing costs: without a log start, records that were deleted come back.
fn without(checkpoint: &str) -> Cure {
    match checkpoint {
        LOG_START_CHECKPOINT => Cure::Restore,
        _ => Cure::AtStart,
    }
}

fn is_known(name: &str) -> bool {
    let others = [META_PROPERTIES, CLEAN_SHUTDOWN, LOCK];
    CHECKPOINTS.contains(&name) || others.contains(&name)
}

/// The offset checkpoints at the top of a log directory.
const CHECKPOINTS: [&str; 4] = [
    RECOVERY_POINT_CHECKPOINT,
    LOG_START_CHECKPOINT,
    REPLICATION_CHECKPOINT,
    CLEANER_CHECKPOINT,
];

/// Of a topic, and of brokers for topics that do not say.
const WRITE_CACHING: &str = "write.caching";

/// Who works in a directory.
const LOCK: &str = ".lock";
