//! What a request to change settings makes of the settings: `IncrementalAlterConfigs`, `AlterConfigs`, the settings of
//! `CreateTopics`.
//!
//! Pure: old settings in, new settings or the reason against them out. Who may ask, and what storing means, is unknown.

use std::collections::BTreeSet;

use super::property::{Kind, Property, ValueError, elements};
use super::topic::{Overrides, TopicDefaults};
use super::topic_properties::{RETIRED_TOPIC_KEYS, TOPIC_PROPERTIES};

/// What to do with one property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Set it to the value.
    Set,
    /// Let the default hold again; the value does not count.
    Delete,
    /// Add the value's elements that the list does not have yet.
    Append,
    /// Remove the value's elements from the list.
    Subtract,
}

/// What becomes of a name that no row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Nothing is changed.
    Refused,
    /// Any value is kept for whoever knows the name; only a list can be added to, and nobody knows it as one.
    Kept,
}

/// One wish of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// The property.
    pub name: String,
    /// What to do.
    pub operation: Operation,
    /// The value; `None` as clients may send it.
    pub value: Option<String>,
}

impl Alteration {
    /// Sets `name` to `value`.
    #[must_use]
    pub fn set(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            operation: Operation::Set,
            value: Some(value.into()),
        }
    }
}

/// Why settings are not changed. The sentences are Kafka's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// A malformed request: a property named twice.
    #[error("Error due to duplicate config keys")]
    Duplicate {
        /// The properties.
        names: Vec<String>,
    },
    /// A malformed request: no value where one is needed.
    #[error("Null value not supported for : {}", names.join(","))]
    NullValue {
        /// The properties.
        names: Vec<String>,
    },
    /// Properties that only a restart changes.
    #[error("Cannot update these configs dynamically: [{}]", names.join(", "))]
    ReadOnly {
        /// The properties.
        names: Vec<String>,
    },
    /// Properties that no cluster-wide value can serve.
    #[error(
        "Cannot update these configs at default cluster level, broker id must be specified: [{}]",
        names.join(", ")
    )]
    PerBrokerOnly {
        /// The properties.
        names: Vec<String>,
    },
    /// An invalid configuration: no such property.
    #[error("Unknown {resource} config name: {name}")]
    Unknown {
        /// `topic` or `broker`.
        resource: &'static str,
        /// The name.
        name: String,
    },
    /// An invalid configuration: only lists can be added to.
    #[error("Can't {operation} to key {name} because its type is not LIST.")]
    NotAList {
        /// `APPEND` or `SUBTRACT`.
        operation: &'static str,
        /// The property.
        name: String,
    },
    /// An invalid configuration: the value.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// An invalid configuration: two values that contradict each other.
    #[error(
        "conflict topic config setting {smaller} ({smaller_value}) > {greater} ({greater_value})"
    )]
    Conflict {
        /// The property that must not be greater.
        smaller: &'static str,
        /// Its value.
        smaller_value: i64,
        /// The property that must not be smaller.
        greater: &'static str,
        /// Its value.
        greater_value: i64,
    },
}

impl AlterError {
    /// Whether the request itself is wrong (`INVALID_REQUEST`) rather than what it would set (`INVALID_CONFIG`).
    #[must_use]
    pub const fn is_invalid_request(&self) -> bool {
        match self {
            Self::Duplicate { .. }
            | Self::NullValue { .. }
            | Self::ReadOnly { .. }
            | Self::PerBrokerOnly { .. } => true,
            Self::Unknown { .. }
            | Self::NotAList { .. }
            | Self::Value(_)
            | Self::Conflict { .. } => false,
        }
    }
}

/// The settings of a topic after `alterations`: all of them or none. Retired keys are taken and forgotten.
///
/// To replace all settings (`AlterConfigs`) or to make a topic, start from empty `current` settings.
///
/// # Errors
/// The first wish that cannot be granted, with the reason.
pub fn alter_topic(
    current: &Overrides,
    alterations: &[Alteration],
    defaults: &TopicDefaults,
) -> Result<Overrides, AlterError> {
    let live: Vec<_> = alterations
        .iter()
        .filter(|wish| !RETIRED_TOPIC_KEYS.contains(&wish.name.as_str()))
        .cloned()
        .collect();
    let default = |row: &Property| defaults.text(row).map(str::to_owned);
    let find = |name: &str| TOPIC_PROPERTIES.find(name);
    let altered = alter("topic", Unknown::Refused, find, default, current, &live)?;
    check_compaction_lags(&altered, defaults)?;
    Ok(altered)
}

/// The settings of a resource after `alterations`, by the rows that `find` knows, and `unknown` for other names; `default`
/// is what holds for a row that is not set. Knows nothing of read-only properties.
///
/// # Errors
/// The first wish that cannot be granted, with the reason.
pub fn alter(
    resource: &'static str,
    unknown: Unknown,
    find: impl Fn(&str) -> Option<&'static Property>,
    default: impl Fn(&Property) -> Option<String>,
    current: &Overrides,
    alterations: &[Alteration],
) -> Result<Overrides, AlterError> {
    check_form(alterations)?;
    let mut altered = current.clone();
    for wish in alterations {
        if wish.operation == Operation::Delete {
            altered.remove(&wish.name);
            continue;
        }
        let given = wish.value.as_deref().unwrap_or_default().trim();
        let Some(row) = find(&wish.name) else {
            if (unknown, wish.operation) == (Unknown::Kept, Operation::Set) {
                altered.insert(wish.name.clone(), given.to_owned());
                continue;
            }
            let name = wish.name.clone();
            return Err(AlterError::Unknown { resource, name });
        };
        let held = || {
            altered
                .get(&wish.name)
                .cloned()
                .or_else(|| default(row))
                .unwrap_or_default()
        };
        let text = match wish.operation {
            Operation::Append => appended(&list_of(row, wish, held)?, given),
            Operation::Subtract => subtracted(&list_of(row, wish, held)?, given),
            Operation::Set | Operation::Delete => given.to_owned(),
        };
        row.parse(&text).map_err(|error| ValueError {
            key: wish.name.clone(),
            ..error
        })?;
        altered.insert(wish.name.clone(), text);
    }
    Ok(altered)
}

fn check_form(alterations: &[Alteration]) -> Result<(), AlterError> {
    let needs_value = |wish: &&Alteration| wish.operation != Operation::Delete;
    let without = alterations
        .iter()
        .filter(needs_value)
        .filter(|wish| wish.value.is_none());
    let names: Vec<_> = without.map(|wish| wish.name.clone()).collect();
    if !names.is_empty() {
        return Err(AlterError::NullValue { names });
    }
    let mut seen = BTreeSet::new();
    let twice = alterations
        .iter()
        .filter(|wish| !seen.insert(wish.name.as_str()));
    let names: Vec<_> = twice.map(|wish| wish.name.clone()).collect();
    if !names.is_empty() {
        return Err(AlterError::Duplicate { names });
    }
    Ok(())
}

fn list_of(
    row: &Property,
    wish: &Alteration,
    held: impl Fn() -> String,
) -> Result<String, AlterError> {
    if row.kind == Kind::List {
        return Ok(held());
    }
    let operation = match wish.operation {
        Operation::Subtract => "SUBTRACT",
        Operation::Append | Operation::Set | Operation::Delete => "APPEND",
    };
    Err(AlterError::NotAList {
        operation,
        name: wish.name.clone(),
    })
}

/// The list `held` with those elements of `given` that it does not have yet.
#[must_use]
pub fn appended(held: &str, given: &str) -> String {
    let mut list: Vec<_> = elements(held).collect();
    let mut present: BTreeSet<_> = list.iter().copied().collect();
    list.extend(elements(given).filter(|element| present.insert(element)));
    list.join(",")
}

/// The list `held` without the elements of `given`.
#[must_use]
pub fn subtracted(held: &str, given: &str) -> String {
    let removed: BTreeSet<_> = elements(given).collect();
    let kept: Vec<_> = elements(held)
        .filter(|element| !removed.contains(element))
        .collect();
    kept.join(",")
}

fn check_compaction_lags(altered: &Overrides, defaults: &TopicDefaults) -> Result<(), AlterError> {
    const SMALLER: &str = "min.compaction.lag.ms";
    const GREATER: &str = "max.compaction.lag.ms";
    let number = |name: &str| {
        let own = altered.get(name).map(String::as_str);
        let text = own.or_else(|| defaults.text(TOPIC_PROPERTIES.find(name)?));
        text.and_then(|text| text.parse::<i64>().ok())
    };
    match (number(SMALLER), number(GREATER)) {
        (Some(smaller_value), Some(greater_value)) if smaller_value > greater_value => {
            Err(AlterError::Conflict {
                smaller: SMALLER,
                smaller_value,
                greater: GREATER,
                greater_value,
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(operation: Operation, name: &str, value: &str) -> Alteration {
        Alteration {
            operation,
            ..Alteration::set(name, value)
        }
    }

    fn alter_one(current: &Overrides, wish: Alteration) -> Result<Overrides, AlterError> {
        alter_topic(current, &[wish], &TopicDefaults::default())
    }

    fn settings(pairs: &[(&str, &str)]) -> Overrides {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn set_and_delete_change_one_setting_and_keep_the_others() {
        let current = settings(&[("flush.ms", "5")]);
        let set = alter_one(&current, Alteration::set("retention.ms", " 1000 ")).unwrap();
        assert_eq!(
            set,
            settings(&[("flush.ms", "5"), ("retention.ms", "1000")])
        );
        let deleted = alter_one(&set, wish(Operation::Delete, "flush.ms", "")).unwrap();
        assert_eq!(deleted, settings(&[("retention.ms", "1000")]));
    }

    #[test]
    fn append_starts_from_the_default_and_adds_nothing_twice() {
        let empty = Overrides::new();
        let append = wish(Operation::Append, "cleanup.policy", "compact,delete");
        let both = alter_one(&empty, append).unwrap();
        assert_eq!(both, settings(&[("cleanup.policy", "delete,compact")]));
        let subtract = wish(Operation::Subtract, "cleanup.policy", "delete");
        assert_eq!(
            alter_one(&both, subtract).unwrap(),
            settings(&[("cleanup.policy", "compact")])
        );
    }

    #[test]
    fn only_lists_are_appended_to() {
        let error = alter_one(
            &Overrides::new(),
            wish(Operation::Append, "retention.ms", "1"),
        );
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Can't APPEND to key retention.ms because its type is not LIST."
        );
        assert!(!error.is_invalid_request());
    }

    #[test]
    fn an_unknown_topic_setting_is_refused_in_kafkas_words() {
        for name in ["x", "message.timestamp.difference.max.ms"] {
            let error = alter_one(&Overrides::new(), Alteration::set(name, "1")).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("Unknown topic config name: {name}")
            );
        }
    }

    #[test]
    fn retired_settings_are_taken_and_forgotten() {
        let sent = Alteration::set("message.format.version", "2.7");
        assert_eq!(alter_one(&Overrides::new(), sent), Ok(Overrides::new()));
    }

    #[test]
    fn one_bad_wish_spoils_the_request() {
        let wishes = [
            Alteration::set("flush.ms", "1"),
            Alteration::set("segment.bytes", "14"),
        ];
        let error = alter_topic(&Overrides::new(), &wishes, &TopicDefaults::default());
        assert_eq!(
            error.unwrap_err().to_string(),
            "Invalid value 14 for configuration segment.bytes: allowed: 1048576 or more"
        );
    }

    #[test]
    fn nothing_is_set_to_null_or_named_twice() {
        let null = Alteration {
            value: None,
            ..Alteration::set("flush.ms", "")
        };
        let error = alter_one(&Overrides::new(), null).unwrap_err();
        assert!(matches!(error, AlterError::NullValue { .. }), "{error}");
        let twice = [
            Alteration::set("flush.ms", "1"),
            Alteration::set("flush.ms", "2"),
        ];
        let error = alter_topic(&Overrides::new(), &twice, &TopicDefaults::default());
        assert!(error.unwrap_err().is_invalid_request());
    }

    #[test]
    fn the_least_lag_of_compaction_is_not_above_the_greatest() {
        let wishes = [
            Alteration::set("min.compaction.lag.ms", "9"),
            Alteration::set("max.compaction.lag.ms", "8"),
        ];
        let error = alter_topic(&Overrides::new(), &wishes, &TopicDefaults::default());
        assert!(
            matches!(error, Err(AlterError::Conflict { .. })),
            "{error:?}"
        );
    }
}
