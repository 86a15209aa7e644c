//! Opening a partition's directory: after a clean stop by its small files, after any other by checking its tail.
//!
//! Blocking. What was found and done comes back as a report, for the caller to log once.

use std::path::PathBuf;
use std::sync::Arc;

use super::append::Unwritten;
use super::checkpoint::{CheckpointError, read_if_there};
use super::clean::CleanState;
use super::leader_epochs::LeaderEpochs;
use super::mark;
use super::names;
use super::recent::Recent;
use super::recover::{self, Scan, Trust};
use super::restore;
use super::roll::write_epochs;
use super::segment::Segment;
use super::segments::Segments;
use super::sweep::{Inventory, remove_segment, sweep};
use super::walk::{Fault, FaultReason, WalkError};
use super::{Damage, Log};
use crate::config::TopicConfig;
use crate::io::{Disk, IoError};
use crate::types::{Offset, Timestamp};

/// What is known about a log before it is opened.
///
/// The checkpoints name partitions, not directories: the caller takes a partition out of them before it makes a new one
/// by the same name, or the new log looks as if it had lost records.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The partition's directory; made when it is not there.
    pub directory: PathBuf,
    /// The log directory carried the mark of a clean stop.
    pub clean: bool,
    /// From the recovery-point checkpoint, else [`Offset::ZERO`].
    pub recovery_point: Offset,
    /// From the log-start checkpoint, else [`Offset::ZERO`].
    pub log_start_offset: Offset,
    /// From the cleaner's checkpoint, else [`Offset::NONE`]: with a line compaction may have left gaps, also above it and
    /// when the topic is not compacted any more.
    pub cleaned_to: Offset,
    /// The topic's settings.
    pub config: Arc<TopicConfig>,
    /// The time.
    pub now: Timestamp,
}

/// A torn tail that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The log ends here now.
    pub offset: Offset,
    /// Bytes of record files that went.
    pub bytes_cut: u64,
    /// The first thing wrong.
    pub fault: Fault,
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Torn tails that were cut: at most one.
    pub cuts: Vec<Cut>,
    /// Bytes of record files that were walked through.
    pub scanned_bytes: u64,
    /// The producers' state was replayed from here.
    pub replayed_from: Offset,
    /// Damage below the recovery point; nothing was cut there.
    pub damage: Option<Damage>,
    /// What an operator has to look into: one sentence each.
    pub warnings: Vec<String>,
    /// Leftovers removed, foreign files left alone, small files rebuilt: one sentence each.
    pub notes: Vec<String>,
}

/// Why a directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A small file is newer than this program, or unreadable.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log holds messages of Kafka before 0.11.
    #[error("{0}")]
    OldFormat(Fault),
    /// The directory of that name holds the cluster metadata.
    #[error("{} holds the cluster metadata and is no partition's", directory.display())]
    OfMetadata {
        /// The directory.
        directory: PathBuf,
    },
    /// What was checked a moment ago is not sound any more.
    #[error(transparent)]
    Corrupt(#[from] Fault),
    /// The disk refuses.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl OpenError {
    /// What the disk refused, whichever file it was about.
    pub(crate) fn flattened(self) -> Self {
        match self {
            Self::Checkpoint(CheckpointError::Io(error)) => Self::Io(error),
            other => other,
        }
    }
}

impl From<WalkError> for OpenError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Fault(fault) => Self::Corrupt(fault),
            WalkError::Io(error) => Self::Io(error),
        }
    }
}

/// Opens the log in a directory, or makes an empty one.
///
/// # Errors
/// [`OpenError`]; the directory is then as it was, but for leftovers of interrupted work.
pub fn open(disk: &Disk, options: OpenOptions) -> Result<(Log, RecoveryReport), OpenError> {
    let directory = options.directory.clone();
    make_directory(disk, &options)?;
    let marked = mark::stands(disk, &directory)?;
    let trust = match (marked, options.clean) {
        (true, _) => Trust::Device,
        (false, true) => Trust::Everything,
        (false, false) => Trust::Cache,
    };
    let opened = open_trusting(disk, options, trust);
    // Damage stays until the directory is replaced, and so does the mark.
    if let Ok((log, _)) = &opened
        && marked
        && log.damage.is_none()
    {
        mark::take_away(disk, &directory)?;
    }
    opened
}

fn open_trusting(
    disk: &Disk,
    options: OpenOptions,
    mut trust: Trust,
) -> Result<(Log, RecoveryReport), OpenError> {
    let mut report = RecoveryReport::default();
    let mut inventory = sweep(disk, &options.directory, &mut report.notes)?;
    if inventory.logs.is_empty() {
        refuse_loss(&options)?;
        let log = make_empty(disk, options, &inventory)?;
        return Ok((log, report));
    }
    let read = read_epochs(disk, &options, &mut report)?;
    let mut epochs = read.clone().unwrap_or_default();
    let mut scan = recover::scan(disk, &options, &inventory, trust, &mut epochs, &mut report)?;
    if trust == Trust::Everything && scan.damage.is_some() {
        // The stop was not as clean as its mark says.
        report
            .notes
            .push("the log is not as a clean stop leaves it".to_owned());
        trust = Trust::Cache;
        epochs = read.clone().unwrap_or_default();
        scan = recover::scan(disk, &options, &inventory, trust, &mut epochs, &mut report)?;
    }
    // A log starts where readers have been; only a page cache that was lost ends before that. What its topic promised when it was
    // written nobody knows: a durable one may have a recovery point below its start.
    let ends_before_start = scan.end_offset < options.log_start_offset && scan.damage.is_none();
    if ends_before_start && (options.clean || !options.config.write_caching) {
        return Err(before_start(&options, &scan).into());
    }
    let directory = options.directory.clone();
    scan.cut(disk, &directory, &mut inventory, &mut report)?;
    if scan.segments.is_empty() {
        let log = make_empty(disk, options, &inventory)?;
        return Ok((log, report));
    }
    if ends_before_start {
        return start_anew(disk, options, &inventory, scan, report);
    }
    finish(disk, options, &inventory, scan, epochs, read, trust, report)
}

/// A directory without any segment must not be begun anew where there were records.
fn refuse_loss(options: &OpenOptions) -> Result<(), Fault> {
    let start = options.log_start_offset.max(Offset::ZERO);
    if start < options.recovery_point {
        return Err(Fault {
            path: options.directory.clone(),
            position: 0,
            reason: FaultReason::Missing {
                end: start,
                recovery_point: options.recovery_point,
            },
        });
    }
    Ok(())
}

fn before_start(options: &OpenOptions, scan: &Scan) -> Fault {
    let last = scan.segments.last();
    let (path, position) = last.map_or((options.directory.as_path(), 0), |last| {
        (last.file.path(), last.length)
    });
    Fault {
        path: path.to_owned(),
        position,
        reason: FaultReason::BeforeStart {
            end: scan.end_offset,
            log_start_offset: options.log_start_offset,
        },
    }
}

fn make_directory(disk: &Disk, options: &OpenOptions) -> Result<(), OpenError> {
    // An empty one may have been made by a broker that was killed before its name was durable.
    if disk.exists(&options.directory)? && !disk.list(&options.directory)?.is_empty() {
        return Ok(());
    }
    refuse_loss(options)?;
    disk.create_dir_all(&options.directory)?;
    if let Some(parent) = options.directory.parent() {
        disk.sync_dir(parent)?;
    }
    Ok(())
}

/// `None` when there is no usable file.
fn read_epochs(
    disk: &Disk,
    options: &OpenOptions,
    report: &mut RecoveryReport,
) -> Result<Option<LeaderEpochs>, OpenError> {
    let path = options.directory.join(names::LEADER_EPOCH_CHECKPOINT);
    let Some(bytes) = read_if_there(disk, &path)? else {
        return Ok(None);
    };
    match LeaderEpochs::decode(&path, &bytes) {
        Ok(epochs) => Ok(Some(epochs)),
        Err(CheckpointError::Malformed { .. }) => {
            let note = format!("{} is unreadable and was rebuilt", path.display());
            report.notes.push(note);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn make_empty(disk: &Disk, options: OpenOptions, inventory: &Inventory) -> Result<Log, OpenError> {
    let start = options.log_start_offset.max(Offset::ZERO);
    for &offset in &inventory.snapshots {
        super::sweep::remove_snapshot(disk, &options.directory, offset)?;
    }
    let path = names::segment_file(&options.directory, start, names::LOG);
    let file = disk.open_or_create(&path)?;
    disk.sync_dir(&options.directory)?;
    let segment = Segment::new(start, file, options.now);
    let scan = Parts {
        segments: vec![segment],
        end_offset: start,
        stable: start,
        damage: None,
    };
    Ok(assemble(options, scan, LeaderEpochs::default()))
}

/// Everything in the log lies below its start: it begins anew there, so that no offset is given out twice.
fn start_anew(
    disk: &Disk,
    options: OpenOptions,
    inventory: &Inventory,
    scan: Scan,
    mut report: RecoveryReport,
) -> Result<(Log, RecoveryReport), OpenError> {
    report.notes.push(format!(
        "all records end at {}, below the log's start {}",
        scan.end_offset, options.log_start_offset
    ));
    let directory = options.directory.clone();
    let log = make_empty(disk, options, inventory)?;
    for segment in &scan.segments {
        remove_segment(disk, &directory, segment.base_offset)?;
        // A power cut must not leave one without those behind it: that would look like damage.
        disk.sync_dir(&directory)?;
    }
    Ok((log, report))
}

#[expect(
    clippy::too_many_arguments,
    reason = "the one place where everything that opening found comes together"
)]
fn finish(
    disk: &Disk,
    options: OpenOptions,
    inventory: &Inventory,
    mut scan: Scan,
    mut epochs: LeaderEpochs,
    read: Option<LeaderEpochs>,
    trust: Trust,
    mut report: RecoveryReport,
) -> Result<(Log, RecoveryReport), OpenError> {
    let end = scan.end_offset;
    let first = scan.segments.first().map_or(end, |first| first.base_offset);
    let start = options.log_start_offset.max(first).min(end);
    if read.is_none() {
        epochs = recover::replay_epochs(&scan.segments)?;
    } else if start < end && epochs.epoch_of(start).is_none() {
        // The file may know of a log start that a crash took back.
        epochs = recover::with_front(epochs, &scan.segments)?;
    }
    epochs.truncate_from_end(end);
    epochs.truncate_from_start(start);
    let producers =
        restore::restore_producers(disk, &options, inventory, &scan.segments, end, &mut report)?;
    // What a topic bounds is answered as if it were synced when a producer repeats it, so it has to be.
    let bounded = options.config.flush_messages.is_some();
    let durable = trust != Trust::Cache || !options.config.write_caching || bounded;
    if scan.damage.is_none() && trust != Trust::Everything && durable {
        scan.sync(disk, &options.directory)?;
    }
    let mut epochs_delayed = false;
    if scan.damage.is_none() && read.as_ref() != Some(&epochs) {
        let written = write_epochs(disk, &options.directory, &epochs);
        epochs_delayed = !recover::unless_full(written, &mut report)?;
    }
    let stable = match (&scan.damage, durable) {
        (None, true) => end,
        _ => options.recovery_point.min(end),
    };
    report.damage.clone_from(&scan.damage);
    let parts = Parts {
        segments: scan.segments,
        end_offset: end,
        stable,
        damage: scan.damage,
    };
    let damaged = parts.damage.is_some();
    let point = options.recovery_point;
    let mut log = assemble(options, parts, epochs);
    log.producers = producers;
    log.epochs_version = u64::from(epochs_delayed);
    if damaged {
        log.recovery_point = point;
    } else if epochs_delayed {
        // Epochs whose batches lie below it are looked for in the file only.
        log.recovery_point = point.min(end);
    }
    Ok((log, report))
}

struct Parts {
    /// Not empty.
    segments: Vec<Segment>,
    end_offset: Offset,
    /// End of what is on stable storage.
    stable: Offset,
    damage: Option<Damage>,
}

fn assemble(options: OpenOptions, parts: Parts, epochs: LeaderEpochs) -> Log {
    let mut segments = parts.segments;
    let first = segments.first().map_or(parts.end_offset, |s| s.base_offset);
    let Some(mut active) = segments.pop() else {
        // Every caller passes at least one.
        unreachable!("INV-LOG-7: a log without segments at {}", parts.end_offset);
    };
    active.synced = false;
    let start = options.log_start_offset.max(first).min(parts.end_offset);
    Log {
        directory: options.directory,
        config: options.config,
        next_position: active.length,
        next_first_timestamp: active.first_timestamp,
        preallocated_to: active.length,
        segments: Segments::new(segments, active),
        epochs,
        epochs_version: 0,
        epochs_written: 0,
        producers: super::producer_state::ProducerStates::default(),
        log_start_offset: start,
        next_offset: parts.end_offset,
        log_end_offset: parts.end_offset,
        durable_end_offset: parts.stable,
        recovery_point: parts.stable,
        recent: Recent::default(),
        unwritten: Unwritten::default(),
        rolling: false,
        damage: parts.damage,
        clean: CleanState {
            cleaned_to: options.cleaned_to,
            ..CleanState::default()
        },
    }
}
