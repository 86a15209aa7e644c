//! Where new partitions go: which brokers, and which log directory of each.
//!
//! Brokers take turns in the order of their ids, so that leaders and replicas spread evenly; racks are not considered.
//! Within a broker the log directory with the fewest replicas wins, of those that are not cordoned, the earlier configured one on a tie: the same
//! image and command always give the same placement.

use std::collections::BTreeMap;

use super::ControllerError;
use crate::metadata::image::MetadataImage;
use crate::metadata::record::{Broker, Partition, PartitionEpoch};
use crate::types::{BrokerId, DirectoryId, LeaderEpoch};

/// The brokers and how full their log directories are, counted in replicas.
pub(super) struct Placement {
    brokers: BTreeMap<BrokerId, Vec<(DirectoryId, usize)>>,
}

impl Placement {
    /// Counts what is there. Walks all partitions, unless every broker has one directory: then there is no choice.
    pub(super) fn new(image: &MetadataImage) -> Self {
        let open = |broker: &Broker| {
            let cordoned = image.cordoned_directories(broker.id);
            let directories = broker.log_directories.iter();
            directories
                .filter(|directory| !cordoned.contains(directory))
                .map(|&directory| (directory, 0))
                .collect::<Vec<_>>()
        };
        let mut brokers: BTreeMap<_, _> = image
            .brokers()
            .map(|broker| (broker.id, open(broker)))
            .collect();
        if brokers.values().any(|directories| directories.len() > 1) {
            for partition in image.topics().flat_map(|topic| &topic.partitions) {
                for (broker, directory) in partition.replicas.iter().zip(&partition.directories) {
                    count(&mut brokers, *broker, *directory);
                }
            }
        }
        Self { brokers }
    }

    /// For each of `partitions` new partitions, `replication_factor` different brokers; the first of all is the one at
    /// `start`, wrapping.
    pub(super) fn choose(
        &self,
        partitions: usize,
        replication_factor: i16,
        start: usize,
    ) -> Result<Vec<Vec<BrokerId>>, ControllerError> {
        let usable: Vec<BrokerId> = self
            .brokers
            .iter()
            .filter(|(_, directories)| !directories.is_empty())
            .map(|(&broker, _)| broker)
            .collect();
        let factor = usize::try_from(replication_factor).unwrap_or(0);
        if factor == 0 {
            return Err(ControllerError::ReplicationFactorNotPositive { replication_factor });
        }
        if factor > usable.len() {
            let brokers = usable.len();
            return Err(ControllerError::TooFewBrokers {
                replication_factor,
                brokers,
            });
        }
        let first = start % usable.len();
        let replicas_of = |partition: usize| {
            let leader = first + partition % usable.len();
            usable
                .iter()
                .copied()
                .cycle()
                .skip(leader)
                .take(factor)
                .collect()
        };
        Ok((0..partitions).map(replicas_of).collect())
    }

    /// Whether a client may put one partition on `replicas`, where the partitions before have `expected` replicas.
    pub(super) fn check_assignment(
        &self,
        replicas: &[BrokerId],
        expected: Option<usize>,
    ) -> Result<(), ControllerError> {
        if replicas.is_empty() {
            return Err(ControllerError::AssignmentEmpty);
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        let mut previous = None;
        // In the order of ids, as Kafka does, so that the same broker is named.
        for broker in sorted {
            match self.brokers.get(&broker) {
                None => return Err(ControllerError::AssignmentUnknownBroker { broker }),
                Some(open) if open.is_empty() => {
                    return Err(ControllerError::AssignmentCordonedBroker { broker });
                }
                Some(_) => {}
            }
            if previous == Some(broker) {
                return Err(ControllerError::AssignmentBrokerTwice { broker });
            }
            previous = Some(broker);
        }
        match expected {
            Some(expected) if expected != replicas.len() => {
                Err(ControllerError::AssignmentUneven {
                    found: replicas.len(),
                    expected,
                })
            }
            _ => Ok(()),
        }
    }

    /// The first state of a partition on `replicas`: all in sync, the first leads. Counts it.
    pub(super) fn first_state(&mut self, replicas: Vec<BrokerId>) -> Partition {
        let directories = replicas
            .iter()
            .map(|&broker| self.take_directory(broker))
            .collect();
        Partition {
            directories,
            isr: replicas.clone(),
            leader: replicas.first().copied().unwrap_or(BrokerId::NONE),
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: PartitionEpoch(0),
            replicas,
        }
    }

    fn take_directory(&mut self, broker: BrokerId) -> DirectoryId {
        let directories = self.brokers.get_mut(&broker);
        // min_by_key gives the first of equals.
        let least = directories.and_then(|all| all.iter_mut().min_by_key(|(_, count)| *count));
        least.map_or_else(DirectoryId::default, |(directory, count)| {
            *count += 1;
            *directory
        })
    }
}

fn count(
    brokers: &mut BTreeMap<BrokerId, Vec<(DirectoryId, usize)>>,
    broker: BrokerId,
    directory: DirectoryId,
) {
    let directories = brokers.get_mut(&broker).into_iter().flatten();
    for (_, count) in directories.filter(|(id, _)| *id == directory) {
        *count += 1;
    }
}
