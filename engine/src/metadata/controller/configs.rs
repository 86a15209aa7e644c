//! Changing configuration overrides: topics' are checked here, all others were checked by the owner of their table.

use super::{AlterConfigs, AlterResource, ControllerError, Decision, Edit, Reply, repeated};
use crate::config::{Alteration, Overrides, alter_topic, appended, subtracted};
use crate::metadata::image::MetadataImage;
use crate::metadata::record::{ConfigResource, MetadataRecord};

/// The longest name of a property or group, in bytes.
pub const NAME_LENGTH_MAX: usize = 32_767;
/// The longest value of a setting, in bytes, as in Kafka: what older versions of DescribeConfigs can say.
pub const VALUE_LENGTH_MAX: usize = 32_767;
/// What the settings of all groups may take in memory, about, in bytes. As in Kafka a group need not exist to have some, so
/// clients could add to them without end, and every start would read all of it.
pub const GROUP_SETTINGS_BYTES_MAX: usize = 8 << 20;
/// And what one other resource's may: any name is kept, so a broker could have any number of them, which every thread would
/// copy whenever one changes.
pub(super) const SETTINGS_BYTES_MAX: usize = 1 << 20;

pub(super) fn decide(image: &MetadataImage, command: &AlterConfigs) -> Decision {
    let twice = repeated(command.resources.iter().map(key));
    let mut records = Vec::new();
    let mut results = Vec::new();
    let mut group_bytes = image
        .overrides_of_groups()
        .map(|(group, overrides)| held_bytes(group, overrides))
        .sum();
    for alter in &command.resources {
        let result = if twice.contains(&key(alter)) {
            Err(ControllerError::DuplicateResource)
        } else {
            alter_one(image, command, alter, &mut group_bytes).map(|more| records.extend(more))
        };
        results.push(result);
    }
    if command.validate_only {
        records.clear();
    }
    Decision {
        records,
        reply: Reply::AlterConfigs(results),
    }
}

/// Whose overrides are meant: a topic by name, or another resource.
fn key(alter: &AlterResource) -> (Option<&str>, Option<&ConfigResource>) {
    match alter {
        AlterResource::Topic { name, .. } => (Some(name), None),
        AlterResource::Checked { resource, .. } => (None, Some(resource)),
    }
}

fn alter_one(
    image: &MetadataImage,
    command: &AlterConfigs,
    alter: &AlterResource,
    group_bytes: &mut usize,
) -> Result<Vec<MetadataRecord>, ControllerError> {
    match alter {
        AlterResource::Topic {
            name,
            alterations,
            replace,
        } => {
            check_lengths(alterations)?;
            let topic = image
                .topic(name.as_str())
                .ok_or_else(|| ControllerError::UnknownTopic { name: name.clone() })?;
            let none = Overrides::new();
            let current = if *replace { &none } else { &*topic.overrides };
            let next = alter_topic(current, alterations, &command.topic_defaults)?;
            // Appending makes values longer than any one request.
            for value in next.values() {
                check_length("value", value, VALUE_LENGTH_MAX)?;
            }
            Ok(difference(
                &ConfigResource::Topic(topic.id),
                &topic.overrides,
                &next,
            ))
        }
        AlterResource::Checked {
            resource,
            changes,
            replace,
        } => {
            if let ConfigResource::Topic(id) = resource
                && image.topic_by_id(*id).is_none()
            {
                return Err(ControllerError::UnknownTopicId { id: *id });
            }
            if let ConfigResource::Group(group) = resource {
                check_length("name", group, NAME_LENGTH_MAX)?;
            }
            let current = image.overrides_of(resource);
            let mut next = if *replace {
                Overrides::new()
            } else {
                current.clone()
            };
            for (name, edit) in changes {
                check_length("name", name, NAME_LENGTH_MAX)?;
                match edited(next.get(name), edit) {
                    Some(value) => {
                        check_length("value", &value, VALUE_LENGTH_MAX)?;
                        next.insert(name.clone(), value);
                    }
                    None => {
                        next.remove(name);
                    }
                }
            }
            match resource {
                ConfigResource::Group(group) => {
                    let before = held_bytes(group, current);
                    let after = held_bytes(group, &next);
                    *group_bytes = check_group_bytes(*group_bytes, before, after)?;
                }
                _ => check_bytes(current, &next)?,
            }
            Ok(difference(resource, current, &next))
        }
    }
}

/// As for groups, for the settings of one other resource.
fn check_bytes(before: &Overrides, after: &Overrides) -> Result<(), ControllerError> {
    let held = |overrides: &Overrides| held_bytes("", overrides) + overrides.len() * SETTING_BYTES;
    let (before, after) = (held(before), held(after));
    let max = SETTINGS_BYTES_MAX;
    if after > before && after > max {
        return Err(ControllerError::SettingsFull { max });
    }
    Ok(())
}

/// What all groups' settings take after those of one have changed. What adds nothing is always allowed.
fn check_group_bytes(all: usize, before: usize, after: usize) -> Result<usize, ControllerError> {
    let all = all.saturating_sub(before).saturating_add(after);
    let max = GROUP_SETTINGS_BYTES_MAX;
    if after > before && all > max {
        return Err(ControllerError::GroupSettingsFull { max });
    }
    Ok(all)
}

/// What the settings of a resource of that name take in memory, about, in bytes.
fn held_bytes(name: &str, overrides: &Overrides) -> usize {
    if overrides.is_empty() {
        return 0;
    }
    let texts = overrides
        .iter()
        .map(|(name, value)| name.len() + value.len());
    GROUP_BYTES + name.len() + texts.sum::<usize>()
}

/// The value after `edit`; `None`: the default holds.
fn edited(current: Option<&String>, edit: &Edit) -> Option<String> {
    match edit {
        Edit::Set(value) => Some(value.clone()),
        Edit::Reset => None,
        Edit::Append { elements, default } => Some(appended(current.unwrap_or(default), elements)),
        Edit::Subtract { elements, default } => {
            Some(subtracted(current.unwrap_or(default), elements))
        }
    }
}

/// The records that lead from one state of a resource to another; what stays equal needs none.
fn difference(
    resource: &ConfigResource,
    current: &Overrides,
    next: &Overrides,
) -> Vec<MetadataRecord> {
    let removed = current
        .keys()
        .filter(|name| !next.contains_key(*name))
        .map(|name| MetadataRecord::ConfigRemoved {
            resource: resource.clone(),
            name: name.clone(),
        });
    let set = next
        .iter()
        .filter(|(name, value)| current.get(*name) != Some(*value))
        .map(|(name, value)| MetadataRecord::ConfigSet {
            resource: resource.clone(),
            name: name.clone(),
            value: value.clone(),
        });
    removed.chain(set).collect()
}

/// Keeps the records that follow within what a record may hold, whatever the client sent.
pub(super) fn check_lengths(settings: &[Alteration]) -> Result<(), ControllerError> {
    for setting in settings {
        check_length("name", &setting.name, NAME_LENGTH_MAX)?;
        check_length(
            "value",
            setting.value.as_deref().unwrap_or_default(),
            VALUE_LENGTH_MAX,
        )?;
    }
    Ok(())
}

fn check_length(what: &'static str, text: &str, max: usize) -> Result<(), ControllerError> {
    if text.len() <= max {
        return Ok(());
    }
    Err(ControllerError::SettingTooLong { what, max })
}

/// A group's settings besides their texts: their places, with room for eleven.
const GROUP_BYTES: usize = 700;
/// A setting of another resource besides its texts: those may be short, and many.
const SETTING_BYTES: usize = 100;
