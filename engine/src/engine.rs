//! The engine as a whole: opened over its log directories, running, stopped in order.

mod simulated;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crate::config::TopicDefaults;
use crate::control::{Control, ControlHandle};
use crate::group::GroupConfig;
use crate::io::{Clock, DirLock, Disk, IoBackend, IoError, LockError, Random, available_cores};
use crate::log::checkpoint::{CheckpointError, CleanShutdown, MetaProperties};
use crate::log::names;
use crate::maintenance::{Checkpoints, Pool, PoolThreads, any_partition, sweep};
use crate::metadata::{
    self, Command, Endpoint, Metadata, MetadataImage, MetadataOptions, ProposeError,
    RegisterBroker, Reply,
};
use crate::shard::{
    CleanerSeats, CleanerSettings, CleanerShare, CleanerSource, LogDirectory, Seat, ShardIndex,
    ShardSettings, ShardTask, Shards, TopicDefaultsSource,
};
use crate::types::{BrokerId, DirectoryId, Uuid};

pub use simulated::SimulatedEngine;

/// Which way the shards talk to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring where the system allows it, else threads.
    Auto,
    /// io_uring, or do not start.
    Uring,
    /// Threads.
    Threads,
}

/// How to run the engine.
#[derive(Clone)]
pub struct EngineOptions {
    /// This broker's id.
    pub broker: BrokerId,
    /// `log.dirs`; the first holds the cluster metadata unless `metadata_directory` says otherwise. Not empty.
    pub log_directories: Vec<PathBuf>,
    /// `metadata.log.dir`.
    pub metadata_directory: Option<PathBuf>,
    /// How many shards; `None` for one per core that this process may use.
    pub shards: Option<usize>,
    /// Whether shards are pinned to their cores.
    pub pin: bool,
    /// How to talk to the disk.
    pub io: IoChoice,
    /// Where clients reach this broker, by listener.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Where the defaults of topics come from.
    pub topic_defaults: TopicDefaultsSource,
    /// The group coordinators' settings.
    pub groups: GroupConfig,
    /// `producer.id.expiration.ms`; whoever starts the engine may change it while it runs.
    pub producer_id_expiration_ms: Arc<AtomicI64>,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub checkpoint_interval: Duration,
    /// Where `log.cleaner.*` comes from.
    pub cleaner: CleanerSource,
    /// How many group commits may be in flight in one log directory, over all shards: [`SYNCS_PER_DIRECTORY_MAX`] but
    /// for measurements. Each shard has its share, and one at least.
    pub syncs_per_directory_max: usize,
}

impl EngineOptions {
    /// A broker over these directories, with id 1 and Kafka's defaults for all else.
    #[must_use]
    pub fn new(log_directories: Vec<PathBuf>, topic_defaults: TopicDefaults) -> Self {
        let defaults = Arc::new(topic_defaults);
        Self {
            broker: BrokerId(1),
            log_directories,
            metadata_directory: None,
            shards: None,
            pin: true,
            io: IoChoice::Auto,
            endpoints: Vec::new(),
            rack: None,
            topic_defaults: TopicDefaultsSource(Arc::new(move |_, _| Arc::clone(&defaults))),
            groups: GroupConfig::default(),
            producer_id_expiration_ms: Arc::new(86_400_000.into()),
            retention_check_interval: Duration::from_secs(300),
            checkpoint_interval: Duration::from_secs(60),
            cleaner: CleanerSource::fixed(CleanerSettings::default()),
            syncs_per_directory_max: SYNCS_PER_DIRECTORY_MAX,
        }
    }
}

/// How many group commits run at a time in one log directory where each covers a batch; where they cover several, one runs for
/// each shard. Those behind wait in order and gather meanwhile. Measured with 8 partitions on ext4, over two shards: 2, 4, 6, 8 and 16
/// gave 370, 430, 428, 425 and 407 MB/s, a p99 of 3.0, 2.8, 3.1, 3.4 and 4.4 ms. With 2 instead of 4 one connection, which
/// has five batches in flight, gets 0.7 of its records through.
pub const SYNCS_PER_DIRECTORY_MAX: usize = 4;

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process uses a log directory, or the home of the metadata.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// A file at the top of a log directory cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A log directory belongs to another broker or cluster.
    #[error("{}: {what} is {found}, this broker has {expected}", path.display())]
    Foreign {
        /// The log directory.
        path: PathBuf,
        /// `node.id` or `cluster.id`.
        what: &'static str,
        /// What stands in its `meta.properties`.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// Two entries of `log.dirs` are the same directory.
    #[error("two log directories have the directory id {id}: {} and {}", first.display(), second.display())]
    SameDirectory {
        /// The id both carry.
        id: DirectoryId,
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The directory of the cluster metadata is among those log directories that cannot be used; why, was said in the
    /// log. Without what the cluster knows, every partition would look like nobody's.
    #[error("{} holds the cluster metadata and cannot be used", path.display())]
    NoMetadata {
        /// The directory.
        path: PathBuf,
    },
    /// There are partitions, but no metadata that says what they are: begun anew, everything would look like nobody's.
    #[error(
        "{} is there, but {} has no metadata that Millrace wrote: this is a data directory of Apache Kafka, which cannot be opened yet, or the metadata was lost or moved (metadata.log.dir). Nothing was changed",
        partition.display(), metadata.display()
    )]
    PartitionsWithoutMetadata {
        /// One of the partitions' directories.
        partition: PathBuf,
        /// Where the metadata should be.
        metadata: PathBuf,
    },
    /// There are partitions, and nothing says which log directory this is: by another id they would stay offline for good.
    #[error(
        "{} is there, but {} has no meta.properties, which says to the metadata where the partitions are: put it back, or take them away. Nothing was changed",
        partition.display(), path.display()
    )]
    PartitionsWithoutProperties {
        /// One of the partitions' directories.
        partition: PathBuf,
        /// The log directory.
        path: PathBuf,
    },
    /// None of the log directories can be used; each was said in the log.
    #[error("none of the log directories can be used")]
    NoDirectory,
    /// The metadata journal cannot be opened.
    #[error(transparent)]
    Metadata(#[from] metadata::OpenError),
    /// The broker cannot be registered.
    #[error(transparent)]
    Register(#[from] ProposeError),
    /// io_uring was asked for and is not to be had.
    #[error("io.backend=uring: {reason}")]
    NoRing {
        /// Why not.
        reason: String,
    },
    /// The system refuses a file, a thread or a ring.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// What a start found, for people.
#[derive(Clone, Debug)]
pub struct Facts {
    /// How many shards run.
    pub shards: usize,
    /// How they talk to the disk, and why so.
    pub io: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// Log directories in use, and whether each was left in order.
    pub log_directories: Vec<(PathBuf, bool)>,
    /// Topics and partitions known.
    pub topics: usize,
}

/// The running engine.
#[derive(Debug)]
pub struct Engine {
    shards: Shards,
    control: Control,
    handle: ControlHandle,
    pool: Pool,
    disk: Disk,
    checkpoints: Arc<Checkpoints>,
    directories: Vec<OpenDirectory>,
    facts: Facts,
    _home_lock: Option<DirLock>,
}

/// What a start has taken for itself.
struct Taken {
    /// This broker is registered there, with these directories.
    metadata: Metadata,
    directories: Vec<OpenDirectory>,
    /// On the home of the metadata, where it is none of the log directories.
    home_lock: Option<DirLock>,
}

/// A log directory in use.
#[derive(Debug)]
struct OpenDirectory {
    id: DirectoryId,
    /// Its place in the configured list.
    place: usize,
    path: PathBuf,
    clean: bool,
    _lock: DirLock,
}

impl Engine {
    /// Opens the log directories and starts all threads; `task` is run on every shard's thread.
    ///
    /// # Errors
    /// Nothing runs then, and nothing was changed but what a start always writes.
    pub fn start(options: EngineOptions, task: ShardTask) -> Result<Self, StartError> {
        let disk = Disk::real();
        let backend = choose_backend(options.io)?;
        let checkpoints = Arc::new(Checkpoints::default());
        let mut random = Random::system();
        let Taken {
            metadata,
            directories,
            home_lock,
        } = open_directories(&disk, &options, &checkpoints, &mut random)?;
        let cluster_id = metadata.image().cluster_id().to_owned();
        sweep_directories(&disk, &checkpoints, &directories, metadata.image());
        let topics = metadata.image().topic_count();
        let cores = available_cores();
        let count = options.shards.unwrap_or(cores.count).max(1);
        let queue_length = count * JOBS_PER_SHARD_MAX;
        let threads = PoolThreads {
            files: MAINTENANCE_THREADS,
            batches: count.div_ceil(SHARDS_PER_UNPACKING_THREAD),
            searches: 1,
        };
        let (pool, pool_handle) = Pool::start(threads, queue_length, &disk, &checkpoints)
            .map_err(|error| thread_error(&error))?;
        let (control, handle) = Control::start(metadata).map_err(|error| thread_error(&error))?;
        let cleaner = CleanerShare {
            settings: options.cleaner.clone(),
            seats: CleanerSeats::default(),
            seed: random.u64(),
        };
        let settings =
            (0..count).map(|index| shard_settings(&options, &directories, &cleaner, index, count));
        let seat = Seat {
            cores: if options.pin && count <= cores.cores.len() {
                cores.cores
            } else {
                Vec::new()
            },
            backend: backend.clone(),
            clock: Clock::real(),
            control: handle.clone(),
            pool: pool_handle,
            task,
        };
        let shards = Shards::start(settings.collect(), &seat)?;
        let facts = Facts {
            shards: count,
            io: backend.to_string(),
            cluster_id,
            log_directories: directories
                .iter()
                .map(|d| (d.path.clone(), d.clean))
                .collect(),
            topics,
        };
        Ok(Self {
            shards,
            control,
            handle,
            pool,
            disk,
            checkpoints,
            directories,
            facts,
            _home_lock: home_lock,
        })
    }

    /// What the start found.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The log directories in use, by path as they were given.
    #[must_use]
    pub fn directory_ids(&self) -> Vec<(PathBuf, DirectoryId)> {
        let directories = self.directories.iter();
        directories
            .map(|directory| (directory.path.clone(), directory.id))
            .collect()
    }

    /// A way to the metadata from outside the shards.
    #[must_use]
    pub fn control(&self) -> ControlHandle {
        self.handle.clone()
    }

    /// Closes every log, the journal and the checkpoints, and marks the directories as left in order. The server must
    /// have ended its tasks before. True when all of that went well.
    pub fn stop(self) -> bool {
        let mut in_order = self.shards.stop();
        self.pool.join();
        drop(self.handle);
        if let Err(error) = self.control.join() {
            tracing::error!(%error, "the metadata journal could not be closed in order");
            in_order = false;
        }
        leave_directories(&self.disk, &self.checkpoints, &self.directories, in_order)
    }
}

/// Writes the checkpoints and, if all went well so far, the marks of a clean stop. Says whether all went well.
fn leave_directories(
    disk: &Disk,
    checkpoints: &Checkpoints,
    directories: &[OpenDirectory],
    mut in_order: bool,
) -> bool {
    for directory in directories {
        let written = checkpoints.write(disk, &directory.path, Vec::new());
        let marked = written.and_then(|()| {
            if !in_order {
                return Ok(());
            }
            CleanShutdown { broker_epoch: -1 }.write(disk, &directory.path)
        });
        if let Err(error) = marked {
            tracing::error!(%error, "a log directory could not be left in order");
            in_order = false;
        }
    }
    in_order
}

fn choose_backend(choice: IoChoice) -> Result<IoBackend, StartError> {
    if choice == IoChoice::Threads {
        return Ok(IoBackend::Threads {
            reason: "io.backend=threads".to_owned(),
        });
    }
    match IoBackend::probe() {
        IoBackend::Threads { reason } if choice == IoChoice::Uring => {
            Err(StartError::NoRing { reason })
        }
        backend => Ok(backend),
    }
}

/// Opens every log directory that can be opened, and the metadata. One whose disk fails takes only itself away; one that
/// belongs to somebody else, or says what cannot be understood, stops the start before anything is written.
fn open_directories(
    disk: &Disk,
    options: &EngineOptions,
    checkpoints: &Checkpoints,
    random: &mut Random,
) -> Result<Taken, StartError> {
    let mut claimed = Vec::new();
    for (place, path) in options.log_directories.iter().enumerate() {
        match claim_directory(disk, place, path) {
            Ok(directory) => claimed.push(directory),
            Err(error) => do_without(checkpoints, path, error)?,
        }
    }
    let paths: Vec<&Path> = claimed
        .iter()
        .map(|claimed| claimed.path.as_path())
        .collect();
    let home = claim_home(disk, options, &paths)?;
    check_metadata(disk, options, &paths)?;
    check_owners(&claimed, options.broker)?;
    let named = claimed
        .iter()
        .find_map(|claimed| Some(claimed.properties.as_ref()?.cluster_id.clone()));
    let mut sound = Vec::with_capacity(claimed.len());
    for directory in claimed {
        match read_checkpoints(disk, checkpoints, &directory) {
            Ok(()) => sound.push(directory),
            Err(error) => home.do_without(checkpoints, &directory.path, error)?,
        }
    }
    if sound.is_empty() {
        return Err(StartError::NoDirectory);
    }
    // Only the metadata can tell that it is another cluster's. So it comes before whatever else is written.
    let mut metadata = open_metadata(disk, options, named.as_deref(), random)?;
    let cluster_id = metadata.image().cluster_id().to_owned();
    let mut directories = Vec::with_capacity(sound.len());
    for directory in sound {
        let path = directory.path.clone();
        match own_directory(disk, directory, options.broker, &cluster_id, random) {
            Ok(directory) => directories.push(directory),
            Err(error) => home.do_without(checkpoints, &path, error)?,
        }
    }
    let mut open = Vec::with_capacity(directories.len());
    for mut directory in directories {
        // The marker counts once: whatever happens from here on, the next start looks for itself.
        match CleanShutdown::take(disk, &directory.path) {
            Ok(clean) => {
                directory.clean = clean;
                open.push(directory);
            }
            Err(error) => home.do_without(checkpoints, &directory.path, error.into())?,
        }
    }
    if open.is_empty() {
        return Err(StartError::NoDirectory);
    }
    register(&mut metadata, options, &open, random)?;
    Ok(Taken {
        metadata,
        directories: open,
        home_lock: home.lock,
    })
}

/// A log directory that is locked, and so far only read.
struct Claimed {
    place: usize,
    path: PathBuf,
    lock: DirLock,
    /// `None`: it is new.
    properties: Option<MetaProperties>,
}

/// Where the metadata is.
struct Home {
    /// Where it is none of the log directories.
    lock: Option<DirLock>,
    /// The log directory that it is, by its name there.
    log_directory: Option<PathBuf>,
}

impl Home {
    /// Goes on without a log directory, unless the metadata is there.
    fn do_without(
        &self,
        checkpoints: &Checkpoints,
        path: &Path,
        error: StartError,
    ) -> Result<(), StartError> {
        if self.log_directory.as_deref() == Some(path) {
            return Err(error);
        }
        do_without(checkpoints, path, error)
    }
}

/// Goes on without a log directory whose disk fails. Any other error stops the start.
fn do_without(checkpoints: &Checkpoints, path: &Path, error: StartError) -> Result<(), StartError> {
    match error {
        StartError::Io(error)
        | StartError::Locked(LockError::Io(error))
        | StartError::Checkpoint(CheckpointError::Io(error)) => {
            tracing::error!(path = %path.display(), %error, "a log directory cannot be used");
            checkpoints.unload(path);
            Ok(())
        }
        other => Err(other),
    }
}

/// Locks a log directory and reads whose it is.
fn claim_directory(disk: &Disk, place: usize, path: &Path) -> Result<Claimed, StartError> {
    let lock = lock(disk, path)?;
    let properties = MetaProperties::read(disk, path)?;
    if properties.is_none() {
        // It may be new, and so may those it lies in.
        disk.sync_names_of(path)?;
    }
    Ok(Claimed {
        place,
        path: path.to_owned(),
        lock,
        properties,
    })
}

/// Reads what a log directory says of its partitions and of the last stop.
fn read_checkpoints(
    disk: &Disk,
    checkpoints: &Checkpoints,
    claimed: &Claimed,
) -> Result<(), StartError> {
    let path = &claimed.path;
    if claimed.properties.is_none()
        && let Some(partition) = any_partition(disk, path)?
    {
        let path = path.clone();
        return Err(StartError::PartitionsWithoutProperties { partition, path });
    }
    checkpoints.load(disk, path)?;
    // One that a newer version wrote stops the start, and another directory's may be taken away by the time it is taken.
    CleanShutdown::read(disk, path)?;
    Ok(())
}

/// Makes a directory and takes it for this process.
fn lock(disk: &Disk, path: &Path) -> Result<DirLock, StartError> {
    disk.create_dir_all(path)?;
    Ok(disk.lock_dir(path)?)
}

/// Locks the home of the metadata, where that is none of the log directories, which are locked: two brokers would write
/// into one journal.
fn claim_home(disk: &Disk, options: &EngineOptions, usable: &[&Path]) -> Result<Home, StartError> {
    let home = metadata_home(options)?;
    let of_log_directory = |path: &Path| Home {
        lock: None,
        log_directory: Some(path.to_owned()),
    };
    if options.log_directories.contains(&home) {
        return Ok(of_log_directory(&home));
    }
    disk.create_dir_all(&home)?;
    for path in usable {
        // By another name, or a link.
        if disk.is_same_directory(path, &home)? {
            return Ok(of_log_directory(path));
        }
    }
    Ok(Home {
        lock: Some(lock(disk, &home)?),
        log_directory: None,
    })
}

/// The directory that has the directory of the cluster metadata.
fn metadata_home(options: &EngineOptions) -> Result<PathBuf, StartError> {
    let home = options.metadata_directory.as_ref();
    let home = home.or(options.log_directories.first());
    home.cloned().ok_or(StartError::NoDirectory)
}

/// Metadata that cannot be read, or that somebody else wrote, must not be taken for an empty cluster's: all partitions
/// would be set aside. Looks before anything is written.
fn check_metadata(
    disk: &Disk,
    options: &EngineOptions,
    usable: &[&Path],
) -> Result<(), StartError> {
    let home = metadata_home(options)?;
    if usable.is_empty() {
        return Err(StartError::NoDirectory);
    }
    if options.log_directories.contains(&home) && !usable.contains(&home.as_path()) {
        return Err(StartError::NoMetadata { path: home });
    }
    let metadata = home.join(names::METADATA_DIRECTORY);
    if Metadata::is_in(disk, &metadata)? {
        return Ok(());
    }
    for path in usable {
        if let Some(partition) = any_partition(disk, path)? {
            return Err(StartError::PartitionsWithoutMetadata {
                partition,
                metadata,
            });
        }
    }
    Ok(())
}

/// Checks that the log directories are ours, or new, and each is one of its own.
fn check_owners(claimed: &[Claimed], broker: BrokerId) -> Result<(), StartError> {
    let mut named: Vec<(&Path, &MetaProperties)> = Vec::with_capacity(claimed.len());
    for directory in claimed {
        let path = directory.path.as_path();
        let foreign = |what, found: String, expected: String| StartError::Foreign {
            path: path.to_owned(),
            what,
            found,
            expected,
        };
        let Some(found) = &directory.properties else {
            continue;
        };
        if found.node_id != broker {
            let (found, expected) = (found.node_id.to_string(), broker.to_string());
            return Err(foreign("node.id", found, expected));
        }
        if let Some((_, first)) = named.first()
            && found.cluster_id != first.cluster_id
        {
            let (found, expected) = (found.cluster_id.clone(), first.cluster_id.clone());
            return Err(foreign("cluster.id", found, expected));
        }
        let twin = named
            .iter()
            .find(|(_, other)| other.directory_id == found.directory_id);
        if let (Some(id), Some((first, _))) = (found.directory_id, twin) {
            return Err(StartError::SameDirectory {
                id,
                first: first.to_path_buf(),
                second: path.to_owned(),
            });
        }
        named.push((path, found));
    }
    Ok(())
}

/// Makes a log directory ours when it is new.
fn own_directory(
    disk: &Disk,
    claimed: Claimed,
    broker: BrokerId,
    cluster_id: &str,
    random: &mut Random,
) -> Result<OpenDirectory, StartError> {
    let known = claimed.properties.and_then(|found| found.directory_id);
    let id = known.unwrap_or_else(|| DirectoryId(Uuid::from_random(random.u128())));
    if known.is_none() {
        let properties = MetaProperties {
            cluster_id: cluster_id.to_owned(),
            node_id: broker,
            directory_id: Some(id),
        };
        properties.write(disk, &claimed.path)?;
    }
    Ok(OpenDirectory {
        id,
        place: claimed.place,
        path: claimed.path,
        clean: false,
        _lock: claimed.lock,
    })
}

/// Opens the metadata of the cluster that the log directories have `named`. Where they name none they are new, or have lost their
/// names: then the metadata that is there says whose they are.
fn open_metadata(
    disk: &Disk,
    options: &EngineOptions,
    named: Option<&str>,
    random: &mut Random,
) -> Result<Metadata, StartError> {
    let home = metadata_home(options)?;
    let directory = home.join(names::METADATA_DIRECTORY);
    disk.create_dir_all(&home)?;
    if !disk.exists(&directory)? {
        // Its home may be new, and so may those that lies in.
        disk.sync_names_of(&home)?;
    }
    let (broker, settings) = (options.broker, MetadataOptions::default());
    let metadata = if let Some(cluster_id) = named {
        Metadata::open(disk, &directory, broker, cluster_id, settings)?
    } else {
        let cluster_id = Uuid::from_random(random.u128()).to_string();
        Metadata::open_of_any(disk, &directory, broker, &cluster_id, settings)?
    };
    Ok(metadata)
}

/// Tells the metadata that this broker starts, over which directories, and what to make of their last stop.
fn register(
    metadata: &mut Metadata,
    options: &EngineOptions,
    directories: &[OpenDirectory],
    random: &mut Random,
) -> Result<(), StartError> {
    let broker = options.broker;
    let register = RegisterBroker {
        id: broker,
        incarnation: Uuid::from_random(random.u128()),
        endpoints: options.endpoints.clone(),
        rack: options.rack.clone(),
        log_directories: directories.iter().map(|directory| directory.id).collect(),
    };
    metadata.propose_at_start(&Command::RegisterBroker(register))?;
    if directories.iter().any(|directory| !directory.clean) {
        // What was appended last may be gone, and its offsets will be given again: that takes a new epoch.
        let (_, reply) = metadata.propose_at_start(&Command::UncleanStart { broker })?;
        if let Reply::UncleanStart { partitions } = reply
            && partitions > 0
        {
            tracing::info!(partitions, "the last stop was not in order: recovering");
        }
    }
    Ok(())
}

fn sweep_directories(
    disk: &Disk,
    checkpoints: &Checkpoints,
    directories: &[OpenDirectory],
    image: &MetadataImage,
) {
    for directory in directories {
        match sweep(disk, checkpoints, &directory.path, |name| {
            image.topic_of(name)
        }) {
            Ok(swept) => {
                for aside in swept.set_aside {
                    tracing::warn!(path = %aside.display(), "set aside a partition of a topic nobody knows");
                }
                for error in swept.refused {
                    tracing::warn!(%error, "{UNCLEARED}");
                }
            }
            // What lies there is in nobody's way; its own partitions will say what is wrong with it.
            Err(error) => {
                tracing::error!(path = %directory.path.display(), %error, "{UNCLEARED}");
            }
        }
    }
}

fn shard_settings(
    options: &EngineOptions,
    directories: &[OpenDirectory],
    cleaner: &CleanerShare,
    index: usize,
    count: usize,
) -> ShardSettings {
    let directory = |open: &OpenDirectory| LogDirectory {
        id: open.id,
        place: open.place,
        path: open.path.clone(),
        clean: open.clean,
    };
    ShardSettings {
        broker: options.broker,
        shard: ShardIndex(index),
        shards: count,
        log_directories: directories.iter().map(directory).collect(),
        topic_defaults: options.topic_defaults.clone(),
        groups: options.groups.clone(),
        producer_id_expiration_ms: Arc::clone(&options.producer_id_expiration_ms),
        retention_check_interval: options.retention_check_interval,
        checkpoint_interval: options.checkpoint_interval,
        cleaner: cleaner.clone(),
        syncs_in_flight_max: options.syncs_per_directory_max.div_ceil(count.max(1)),
    }
}

fn thread_error(error: &std::io::Error) -> IoError {
    IoError::new(
        "start a thread",
        Path::new("engine"),
        std::io::Error::from(error.kind()),
    )
}

/// What lies in a log directory and belongs to no partition stays.
const UNCLEARED: &str = "a log directory cannot be cleared of deleted topics";
/// Two keep a long recovery from holding up a roll.
const MAINTENANCE_THREADS: usize = 2;
/// One thread that opens batches leaves half of two cores to those who need nothing opened.
const SHARDS_PER_UNPACKING_THREAD: usize = 2;
/// Room in each queue of the pool for each shard: as many jobs as it may have out.
const JOBS_PER_SHARD_MAX: usize = 65;
