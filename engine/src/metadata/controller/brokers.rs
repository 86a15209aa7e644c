//! Brokers that start, cleanly or not, and the directories in which they keep their replicas.

use super::{ControllerError, Decision, RegisterBroker, Reply};
use crate::metadata::image::MetadataImage;
use crate::metadata::record::{Broker, MetadataRecord, Partition, PartitionEpoch};
use crate::types::{BrokerId, DirectoryId, LeaderEpoch, TopicIdPartition};

pub(super) fn register(
    image: &MetadataImage,
    command: &RegisterBroker,
) -> Result<Decision, ControllerError> {
    if command.log_directories.is_empty() {
        return Err(ControllerError::NoLogDirectory { broker: command.id });
    }
    // The offset that this very record gets.
    let epoch = image.version() + 1;
    let broker = Broker {
        id: command.id,
        incarnation: command.incarnation,
        epoch,
        endpoints: command.endpoints.clone(),
        rack: command.rack.clone(),
        log_directories: command.log_directories.clone(),
    };
    Ok(Decision {
        records: vec![MetadataRecord::BrokerRegistered(broker)],
        reply: Reply::RegisterBroker { epoch },
    })
}

pub(super) fn unclean_start(
    image: &MetadataImage,
    broker: BrokerId,
) -> Result<Decision, ControllerError> {
    known(image, broker)?;
    let mut records = Vec::new();
    for topic in image.topics() {
        for (partition, state) in topic.partitions() {
            if state.leader == broker {
                records.push(MetadataRecord::PartitionChanged {
                    topic_id: topic.id,
                    partition,
                    state: Partition {
                        leader_epoch: LeaderEpoch(state.leader_epoch.0.saturating_add(1)),
                        ..changed(state)
                    },
                });
            }
        }
    }
    let partitions = records.len();
    Ok(Decision {
        records,
        reply: Reply::UncleanStart { partitions },
    })
}

pub(super) fn assign_directories(
    image: &MetadataImage,
    broker: BrokerId,
    directories: &[(TopicIdPartition, DirectoryId)],
) -> Result<Decision, ControllerError> {
    let usable = &known(image, broker)?.log_directories;
    // The last wish for a partition counts, as if they had come one by one.
    let wishes: std::collections::BTreeMap<_, _> = directories.iter().copied().collect();
    let mut records = Vec::new();
    for (key, directory) in wishes {
        if !usable.contains(&directory) {
            return Err(ControllerError::UnknownDirectory { broker, directory });
        }
        let state = image
            .partition(key)
            .ok_or(ControllerError::UnknownPartition { partition: key })?;
        let mut next = changed(state);
        let place = state.replicas.iter().position(|&replica| replica == broker);
        let slot = place
            .and_then(|place| next.directories.get_mut(place))
            .ok_or(ControllerError::NotAReplica {
                broker,
                partition: key,
            })?;
        if *slot != directory {
            *slot = directory;
            let TopicIdPartition {
                topic_id,
                partition,
            } = key;
            records.push(MetadataRecord::PartitionChanged {
                topic_id,
                partition,
                state: next,
            });
        }
    }
    let partitions = records.len();
    Ok(Decision {
        records,
        reply: Reply::AssignDirectories { partitions },
    })
}

pub(super) fn cordon_directories(
    image: &MetadataImage,
    broker: BrokerId,
    directories: &[DirectoryId],
) -> Result<Decision, ControllerError> {
    let own = &known(image, broker)?.log_directories;
    if let Some(&directory) = directories.iter().find(|&one| !own.contains(one)) {
        return Err(ControllerError::UnknownDirectory { broker, directory });
    }
    let records = if image.cordoned_directories(broker) == directories {
        Vec::new()
    } else {
        vec![MetadataRecord::DirectoriesCordoned {
            broker,
            directories: directories.to_vec(),
        }]
    };
    Ok(Decision {
        records,
        reply: Reply::CordonDirectories,
    })
}

pub(super) fn fail_directory(
    image: &MetadataImage,
    broker: BrokerId,
    directory: DirectoryId,
) -> Result<Decision, ControllerError> {
    let registered = known(image, broker)?;
    let mut left = registered.log_directories.clone();
    left.retain(|&one| one != directory);
    let failed = !left.is_empty() && left.len() < registered.log_directories.len();
    let fewer = || {
        MetadataRecord::BrokerRegistered(Broker {
            log_directories: left,
            ..registered.clone()
        })
    };
    Ok(Decision {
        records: failed.then(fewer).into_iter().collect(),
        reply: Reply::FailDirectory { failed },
    })
}

fn known(image: &MetadataImage, broker: BrokerId) -> Result<&Broker, ControllerError> {
    image
        .broker(broker)
        .ok_or(ControllerError::UnknownBroker { broker })
}

/// `state` with the next partition epoch: the start of every change.
fn changed(state: &Partition) -> Partition {
    Partition {
        partition_epoch: PartitionEpoch(state.partition_epoch.0.saturating_add(1)),
        ..state.clone()
    }
}
