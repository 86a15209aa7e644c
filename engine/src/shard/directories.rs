//! Log directories that fail as a whole: a fault of one partition's files puts its directory under suspicion, and one that
//! takes no file any more is reported to the controller. What the controller says is what counts: every shard then gives
//! up its partitions there, and new ones go elsewhere.
//!
//! A broker with one directory has nowhere to go, and keeps what still can be used of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::hosting::Slot;
use super::jobs::Errand;
use super::router::ShardIndex;
use super::step::{Effects, LogDirectory, Shard};
use crate::control::ControlHandle;
use crate::io::IoError;
use crate::maintenance::Job;
use crate::metadata::{Command, MetadataImage, Reply};
use crate::partition::Fault;
use crate::types::{BrokerId, DirectoryId, Now, TopicIdPartition};

/// Directories that are being looked at.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeSet<DirectoryId>);

/// A log directory that takes nothing any more.
#[derive(Debug)]
pub struct FailedDirectory {
    /// Its id in the metadata.
    pub id: DirectoryId,
    /// Where it is, or was.
    pub path: PathBuf,
    /// What it answered.
    pub error: IoError,
}

impl FailedDirectory {
    /// What the controller is to be told.
    pub(crate) const fn command(&self, broker: BrokerId) -> Command {
        Command::FailDirectory {
            broker,
            directory: self.id,
        }
    }

    /// Tells the controller; says so once, whichever shards tell it.
    pub(super) async fn report(self, broker: BrokerId, control: ControlHandle) {
        let command = self.command(broker);
        let (path, error) = (self.path.display(), &self.error);
        match control.propose(command).await {
            Ok(Reply::FailDirectory { failed: true }) => {
                tracing::error!(%path, %error, "a log directory has failed and is offline until a restart");
            }
            Ok(_) => {}
            Err(refused) => {
                tracing::error!(%path, %error, %refused, "a log directory has failed, and the controller cannot be told");
            }
        }
    }
}

impl Shard {
    /// This broker.
    pub(super) const fn broker(&self) -> BrokerId {
        self.settings.broker
    }

    /// A partition's files have failed: perhaps all of its directory has.
    pub(super) fn suspect_directory_of(&mut self, id: TopicIdPartition, effects: &mut Effects) {
        if let Some(directory) = self.log_directory_of(id).cloned() {
            self.probe(&directory, effects);
        }
    }

    /// Looks at all directories. One shard is enough for those that nobody writes to.
    pub(super) fn probe_directories(&mut self, effects: &mut Effects) {
        if self.settings.shard == ShardIndex(0) {
            for directory in self.settings.log_directories.clone() {
                self.probe(&directory, effects);
            }
        }
    }

    fn probe(&mut self, directory: &LogDirectory, effects: &mut Effects) {
        let alone = self.settings.log_directories.len() < 2;
        if alone || self.has_failed(directory.id) || !self.suspects.0.insert(directory.id) {
            return;
        }
        let ShardIndex(shard) = self.settings.shard;
        let job = Job::Probe {
            log_directory: directory.path.clone(),
            shard,
        };
        self.order(Errand::Probe(directory.id), job, effects);
    }

    /// A directory has been looked at.
    pub(super) fn probed(
        &mut self,
        id: DirectoryId,
        result: Result<(), IoError>,
        effects: &mut Effects,
    ) {
        self.suspects.0.remove(&id);
        let directories = self.settings.log_directories.iter();
        let known = directories.clone().find(|directory| directory.id == id);
        if let (Err(error), Some(directory)) = (result, known) {
            effects.failed_directories.push(FailedDirectory {
                id,
                path: directory.path.clone(),
                error,
            });
        }
    }

    /// Whether the controller knows that a directory has failed.
    pub(super) fn has_failed(&self, directory: DirectoryId) -> bool {
        has_failed(&self.image, self.settings.broker, directory)
    }

    /// Whether a partition lies in a directory that has failed.
    pub(super) fn lies_in_failed(&self, id: TopicIdPartition) -> bool {
        self.log_directory_of(id)
            .is_some_and(|directory| self.has_failed(directory.id))
    }

    /// Gives up the partitions in the directories that have failed since `before`. Those on their way in are given up when
    /// they arrive.
    pub(super) fn follow_directories(
        &mut self,
        before: &MetadataImage,
        now: Now,
        effects: &mut Effects,
    ) {
        let broker = self.settings.broker;
        let directories = self.settings.log_directories.iter();
        let failed: Vec<LogDirectory> = directories
            .filter(|directory| {
                self.has_failed(directory.id) && !has_failed(before, broker, directory.id)
            })
            .cloned()
            .collect();
        for directory in failed {
            let lies_there = |id: TopicIdPartition| {
                self.log_directory_of(id)
                    .is_some_and(|found| found.id == directory.id)
            };
            let led = |slot: &Slot| matches!(slot, Slot::Leading(_));
            let lost: Vec<TopicIdPartition> = self
                .slots
                .iter()
                .filter(|(id, slot)| led(slot) && lies_there(**id))
                .map(|(id, _)| *id)
                .collect();
            let path = directory.path.display();
            if !lost.is_empty() {
                tracing::error!(%path, partitions = lost.len(), "partitions are offline with their log directory");
            }
            let fault = Fault(format!("{path} has failed"));
            for id in lost {
                let mark = Errand::MarkWithDirectory(id);
                self.give_up(id, &fault, mark, now, effects);
            }
        }
    }
}

fn has_failed(image: &MetadataImage, broker: BrokerId, directory: DirectoryId) -> bool {
    image
        .broker(broker)
        .is_some_and(|broker| !broker.log_directories.contains(&directory))
}
