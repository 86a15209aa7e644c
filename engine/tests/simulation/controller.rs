//! The controller of the machine: the real one on its real journal, opened at a start as the engine opens it.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_engine::config::{Alteration, TopicDefaults};
use millrace_engine::io::{Disk, Random};
use millrace_engine::metadata::{
    Command, CreateTopics, DeleteTopics, Metadata, MetadataImage, MetadataOptions, NewTopic,
    ProposeError, RegisterBroker, Reply, TopicReference,
};
use millrace_engine::types::{BrokerId, DirectoryId, Uuid};

use crate::faults::one_of;

pub(crate) struct Controller {
    disk: Disk,
    options: MetadataOptions,
    /// Not while the broker is down.
    metadata: Option<Metadata>,
    /// What was known last.
    pub(crate) image: Arc<MetadataImage>,
}

impl Controller {
    /// On an empty disk; open, so that there are topics before the first start.
    pub(crate) fn new(disk: &Disk, seed: u64) -> Self {
        let mut random = Random::seeded(seed ^ 0xc0);
        let mut controller = Self {
            disk: disk.clone(),
            options: MetadataOptions {
                snapshot_after_bytes: one_of(&mut random, &[300, 1_500, 6_000]),
            },
            metadata: None,
            image: Arc::new(MetadataImage::empty()),
        };
        controller.open(true).unwrap();
        controller
    }

    /// What the engine does with the journal when it starts.
    pub(crate) fn open(&mut self, clean: bool) -> Result<(), Box<dyn Error>> {
        if self.metadata.is_none() {
            let directory = directory();
            let metadata = Metadata::open(&self.disk, &directory, BROKER, CLUSTER, self.options)?;
            self.metadata = Some(metadata);
        }
        let register = RegisterBroker {
            id: BROKER,
            incarnation: Uuid(1),
            endpoints: Vec::new(),
            rack: None,
            log_directories: vec![DIRECTORY],
        };
        self.propose_at_start(&Command::RegisterBroker(register))?;
        if !clean {
            self.propose_at_start(&Command::UncleanStart { broker: BROKER })?;
        }
        Ok(())
    }

    fn propose_at_start(&mut self, command: &Command) -> Result<(), ProposeError> {
        if let Some(metadata) = &mut self.metadata {
            (self.image, _) = metadata.propose_at_start(command)?;
        }
        Ok(())
    }

    /// Proposes a change; `None` while nobody is there to take it.
    pub(crate) fn propose(&mut self, command: &Command) -> Option<Result<Reply, ProposeError>> {
        let proposed = self.metadata.as_mut()?.propose(command);
        Some(proposed.map(|(image, reply)| {
            self.image = image;
            reply
        }))
    }

    /// Whether the journal was ever compacted into a snapshot.
    pub(crate) fn has_snapshot(&self) -> bool {
        let status = self.metadata.as_ref().map(Metadata::status);
        status.is_some_and(|status| status.snapshot.is_some())
    }

    /// The process is gone.
    pub(crate) fn die(&mut self) {
        self.metadata = None;
    }

    /// The broker stops in order. Whether the journal could be closed.
    pub(crate) fn close(&mut self) -> bool {
        self.metadata
            .take()
            .is_none_or(|metadata| metadata.close().is_ok())
    }
}

/// A wish for a topic.
pub(crate) fn create_topic(
    name: &str,
    partitions: i32,
    settings: &[(&str, &str)],
    random: u128,
) -> Command {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        settings: settings
            .iter()
            .map(|(name, value)| Alteration::set(*name, *value))
            .collect(),
        random,
    };
    Command::CreateTopics(CreateTopics {
        topics: vec![topic],
        partitions_default: 1,
        replication_factor_default: 1,
        partitions_max: 100,
        topic_defaults: Arc::new(TopicDefaults::default()),
        validate_only: false,
    })
}

/// A wish for a topic to go.
pub(crate) fn delete_topic(name: &str) -> Command {
    let topics = vec![TopicReference::Name(name.to_owned())];
    Command::DeleteTopics(DeleteTopics { topics })
}

fn directory() -> PathBuf {
    PathBuf::from("/data/__cluster_metadata-0")
}

pub(crate) const BROKER: BrokerId = BrokerId(1);
pub(crate) const DIRECTORY: DirectoryId = DirectoryId(Uuid(77));
const CLUSTER: &str = "aaaaaaaaaaaaaaaaaaaaaA";
