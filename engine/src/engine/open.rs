//! What a start takes for itself, and in which order: the log directories are locked and read, the metadata says whose they are, and
//! only then anything is written. One whose disk fails takes only itself away.

use std::path::{Path, PathBuf};

use super::{EngineOptions, OpenDirectory, StartError, Taken};
use crate::io::{DirLock, Disk, LockError, Random};
use crate::log::checkpoint::{CheckpointError, CleanShutdown, MetaProperties};
use crate::log::names;
use crate::maintenance::{Checkpoints, any_partition};
use crate::metadata::{Command, Metadata, MetadataOptions, RegisterBroker, Reply};
use crate::types::{BrokerId, DirectoryId, Uuid};

/// Opens every log directory that can be opened, and the metadata. One whose disk fails takes only itself away; one that
/// belongs to somebody else, or says what cannot be understood, stops the start before anything is written.
pub(super) fn open_directories(
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
