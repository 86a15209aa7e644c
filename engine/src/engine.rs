//! The engine as a whole: opened over its log directories, running, stopped in order.

mod open;
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
use crate::log::checkpoint::{CheckpointError, CleanShutdown};
use crate::maintenance::{
    Checkpoints, DoomedDirectory, Pool, PoolThreads, REPLAY_SLICE_BYTES, sweep,
};
use crate::metadata::{self, Endpoint, Metadata, MetadataImage, ProposeError};
use crate::shard::{
    CleanerSeats, CleanerSettings, CleanerShare, CleanerSource, LogDirectory, Seat, ShardIndex,
    ShardSettings, ShardTask, Shards, TopicDefaultsSource,
};
use crate::types::{BrokerId, DirectoryId};

use open::open_directories;
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
        let doomed = sweep_directories(&disk, &checkpoints, &directories, metadata.image());
        let topics = metadata.image().topic_count();
        let cores = available_cores();
        let count = options.shards.unwrap_or(cores.count).max(1);
        let queue_length = count * JOBS_PER_SHARD_MAX;
        let threads = PoolThreads {
            files: MAINTENANCE_THREADS,
            batches: count.div_ceil(SHARDS_PER_UNPACKING_THREAD),
            searches: 1,
            replays: REPLAY_THREADS,
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
        let shards = Shards::start(settings.collect(), doomed, &seat)?;
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

/// Clears the log directories of what belongs to no partition, and says what of that is to be unlinked by a shard.
fn sweep_directories(
    disk: &Disk,
    checkpoints: &Checkpoints,
    directories: &[OpenDirectory],
    image: &MetadataImage,
) -> Vec<DoomedDirectory> {
    let mut doomed = Vec::new();
    for directory in directories {
        match sweep(disk, checkpoints, &directory.path, |name| {
            image.topic_of(name)
        }) {
            Ok(swept) => {
                doomed.extend(swept.doomed);
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
    doomed
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
        replay_slice_bytes: REPLAY_SLICE_BYTES,
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
/// Reading coordinators is decoding for the most part.
const REPLAY_THREADS: usize = 2;
/// One thread that opens batches leaves half of two cores to those who need nothing opened.
const SHARDS_PER_UNPACKING_THREAD: usize = 2;
/// Room in each queue of the pool for each shard: as many jobs as it may have out.
const JOBS_PER_SHARD_MAX: usize = 65;
