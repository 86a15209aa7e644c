//! Clients that change the metadata: topics come and go, grow and are configured, and producers ask for ids.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use millrace_engine::config::{Alteration, Operation, TopicDefaults};
use millrace_engine::metadata::{
    AlterConfigs, AlterResource, Command, CreatePartitions, GrowTopic, ProposeError, Reply,
};

use super::World;
use crate::controller::{BROKER, create_topic, delete_topic};
use crate::faults::one_of;
use crate::invariants::metadata_stays::Change;
use crate::invariants::{Verdict, Violation};
use crate::topics::{BRIEF, CACHED, DISTILLED, SIDE_TOPICS, Topic};

impl World {
    /// Somebody changes something, for the most part beside the topics that are written to.
    pub(crate) fn change_metadata(&mut self) -> Verdict {
        let name = one_of(&mut self.random, &SIDE_TOPICS);
        let there = self.machine.partition(name, 0).is_some();
        match self.random.below(9) {
            0 => self.allocate_producer_ids(),
            8 => self.configure_written(),
            _ if !there => {
                let partitions = 1 + i32::from(self.random.chance(1, 3));
                self.create(name, partitions, &[("retention.ms", "9000")])
                    .map(|_| ())
            }
            1 => self.delete(name).map(|_| ()),
            2 => self.grow(name),
            _ => self.configure(name),
        }
    }

    /// The topic is deleted and made again by the same name, or only one of the two.
    pub(super) fn replace_brief(&mut self) -> Verdict {
        if let Some(id) = self.machine.partition(BRIEF, 0) {
            if !self.delete(BRIEF)? {
                return Ok(());
            }
            self.checkers.forget(id);
            self.deletions.retain(|deletion| deletion.partition != id);
            for producer in self.producers.iter_mut().filter(|one| one.topic == BRIEF) {
                producer.outstanding.clear();
                producer.target = None;
            }
            for reader in self.readers.iter_mut().filter(|one| one.topic == BRIEF) {
                reader.pending = None;
                reader.positions.clear();
            }
            if self.random.chance(1, 2) {
                return Ok(());
            }
        }
        let brief = |topic: &&Topic| topic.name == BRIEF;
        let Some(brief) = self.topics.iter().find(brief).copied() else {
            return Ok(());
        };
        self.create(BRIEF, 1, brief.settings).map(|_| ())
    }

    fn create(
        &mut self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<bool, Violation> {
        let command = create_topic(name, partitions, settings, self.random.u128());
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let change = Change::Create {
            name: name.to_owned(),
            partitions,
            settings: settings.iter().map(owned).collect::<BTreeMap<_, _>>(),
        };
        self.propose(&command, Some(change))
    }

    fn delete(&mut self, name: &str) -> Result<bool, Violation> {
        let change = Change::Delete {
            name: name.to_owned(),
        };
        self.propose(&delete_topic(name), Some(change))
    }

    fn grow(&mut self, name: &str) -> Verdict {
        let command = Command::CreatePartitions(CreatePartitions {
            topics: vec![GrowTopic {
                name: name.to_owned(),
                count: 2,
                assignments: None,
            }],
            partitions_max: 100,
            validate_only: false,
        });
        let change = Change::Grow {
            name: name.to_owned(),
            partitions: 2,
        };
        // A topic that has two already is refused and stays as it is.
        let grows = self.machine.partition(name, 1).is_none();
        self.propose(&command, grows.then_some(change)).map(|_| ())
    }

    fn configure(&mut self, name: &str) -> Verdict {
        let value = self.random.chance(3, 4);
        let value = value.then(|| (10_000 + self.random.below(10_000)).to_string());
        self.set(name, "retention.ms", value)
    }

    /// Changes what is promised of a topic while it is written to, or whether it is compacted.
    fn configure_written(&mut self) -> Verdict {
        let (name, setting, values) = if self.random.chance(1, 2) {
            (CACHED, WRITE_CACHING, ["true", "false"])
        } else {
            (DISTILLED, "cleanup.policy", ["compact", "delete"])
        };
        if self.machine.partition(name, 0).is_none() {
            return Ok(());
        }
        if name == CACHED {
            self.cachings += 1;
        }
        let [one, other] = values;
        let value = if self.machine.is_set(name, setting, one) {
            other
        } else {
            one
        };
        self.set(name, setting, Some(value.to_owned()))
    }

    fn set(&mut self, name: &str, setting: &'static str, value: Option<String>) -> Verdict {
        let alteration = match &value {
            Some(value) => Alteration::set(setting, value.clone()),
            None => Alteration {
                name: setting.to_owned(),
                operation: Operation::Delete,
                value: None,
            },
        };
        let command = Command::AlterConfigs(AlterConfigs {
            resources: vec![AlterResource::Topic {
                name: name.to_owned(),
                alterations: vec![alteration],
                replace: false,
            }],
            topic_defaults: Arc::new(TopicDefaults::default()),
            validate_only: false,
        });
        let change = Change::Set {
            name: name.to_owned(),
            setting,
            value,
        };
        self.propose(&command, Some(change)).map(|_| ())
    }

    fn allocate_producer_ids(&mut self) -> Verdict {
        let command = Command::AllocateProducerIds { broker: BROKER };
        self.propose(&command, None).map(|_| ())
    }

    /// Proposes a change and judges what comes of it. Whether it was answered.
    fn propose(&mut self, command: &Command, change: Option<Change>) -> Result<bool, Violation> {
        let Some(outcome) = self.machine.controller.propose(command) else {
            return Ok(false);
        };
        format!("{outcome:?}").hash(&mut self.trace);
        let metadata = &mut self.checkers.metadata;
        match (outcome, change) {
            (Ok(Reply::AllocateProducerIds(block)), _) => metadata.block(block)?,
            (Ok(_), Some(change)) => {
                metadata.answered(&change, &self.machine.controller.image)?;
            }
            (Ok(_), None) => {}
            // Nothing changed.
            (Err(ProposeError::Storage(error)), _) if error.is_out_of_space() => return Ok(false),
            (Err(ProposeError::Storage(_)), change) => {
                // After the first of them the journal takes no more.
                if let Some(change) = change.filter(|_| !self.journal_failed) {
                    metadata.unanswered(change);
                }
                self.journal_failed = true;
                return Ok(false);
            }
            (Err(error), _) => panic!("{command:?}: {error}"),
        }
        Ok(true)
    }
}

pub(super) const WRITE_CACHING: &str = "write.caching";
