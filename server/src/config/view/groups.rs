//! What single groups may set, and what they see: their own values over the broker's.

use std::collections::BTreeSet;

use millrace_engine::config::{AlterError, Alteration, Overrides, Property, Unknown, Value, alter};

use super::{ConfigView, changeable, shown};
use crate::config::entry::{Entry, Source, Synonym};
use crate::config::table::{GROUP_BOUNDS, GROUP_PROPERTIES};

/// Why a group's settings are not changed. The sentences are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupAlterError {
    /// No broker would take it.
    #[error(transparent)]
    Alter(#[from] AlterError),
    /// Less than this broker allows.
    #[error("{name} must be greater than or equal to {least}")]
    TooSmall {
        /// The property.
        name: &'static str,
        /// The broker property that bounds it.
        least: &'static str,
    },
    /// More than this broker allows.
    #[error("{name} must be less than or equal to {greatest}")]
    TooGreat {
        /// The property.
        name: &'static str,
        /// The broker property that bounds it.
        greatest: &'static str,
    },
}

impl ConfigView {
    /// A group's properties as `DescribeConfigs` lists them; `names` empty is all of them. The group need not exist.
    #[must_use]
    pub fn describe_group(&self, overrides: &Overrides, names: &BTreeSet<String>) -> Vec<Entry> {
        let asked = GROUP_PROPERTIES.rows();
        let asked = asked.filter(|row| names.is_empty() || names.contains(row.name));
        let mut entries: Vec<_> = asked.map(|row| self.group_entry(row, overrides)).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries
    }

    /// The settings of a group after `alterations` of its `current` ones: all of them or none.
    ///
    /// # Errors
    /// An unknown key, a value not allowed, or one that the broker does not allow its groups.
    pub fn alter_group(
        &self,
        current: &Overrides,
        alterations: &[Alteration],
    ) -> Result<Overrides, GroupAlterError> {
        let find = |name: &str| GROUP_PROPERTIES.find(name);
        let default = |row: &Property| self.inherited(row);
        let unknown = Unknown::Refused;
        let altered = alter("group", unknown, find, default, current, alterations)?;
        self.check_bounds(&altered)?;
        Ok(altered)
    }

    /// The list that a group's list is added to while it has no override.
    #[must_use]
    pub fn group_list_default(&self, name: &str) -> String {
        let row = GROUP_PROPERTIES.find(name);
        row.and_then(|row| self.inherited(row)).unwrap_or_default()
    }

    fn group_entry(&self, row: &'static Property, overrides: &Overrides) -> Entry {
        let own = overrides.get(row.name);
        let mut synonyms = Vec::new();
        if let Some(text) = own {
            synonyms.push(synonym(row, text, Source::Group));
        }
        synonyms.extend(self.chain(row.twins.iter().map(|twin| twin.name)));
        // Kafka lists a property that no broker property stands behind as its own default.
        if let (true, Some(text)) = (row.twins.is_empty(), row.default) {
            synonyms.push(synonym(row, text, Source::Default));
        }
        let text = own.cloned().or_else(|| self.inherited(row));
        changeable(row, text, synonyms)
    }

    /// What holds for a group that does not say otherwise.
    fn inherited(&self, row: &Property) -> Option<String> {
        let broker = self.topic_default(row);
        broker.or_else(|| row.default.map(str::to_owned))
    }

    fn check_bounds(&self, altered: &Overrides) -> Result<(), GroupAlterError> {
        for &(name, least, greatest) in GROUP_BOUNDS {
            let row = GROUP_PROPERTIES.find(name);
            let value = row.zip(altered.get(name));
            let value = value.and_then(|(row, text)| row.parse(text).ok());
            let Some(Value::Integer(number)) = value else {
                continue;
            };
            let bound = |name: &str| self.optional_integer(name);
            if let Some(least) = least
                && bound(least).is_some_and(|bound| number < bound)
            {
                return Err(GroupAlterError::TooSmall { name, least });
            }
            if bound(greatest).is_some_and(|bound| number > bound) {
                return Err(GroupAlterError::TooGreat { name, greatest });
            }
        }
        Ok(())
    }
}

fn synonym(row: &Property, text: &str, source: Source) -> Synonym {
    Synonym {
        name: row.name.to_owned(),
        value: shown(row, text),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::view;
    use super::*;

    #[test]
    fn a_group_follows_the_broker_until_it_says_otherwise() {
        let view = view(&["group.consumer.session.timeout.ms=50000"]);
        let name = BTreeSet::from(["consumer.session.timeout.ms".to_owned()]);
        let inherited = view.describe_group(&Overrides::new(), &name).remove(0);
        assert_eq!(inherited.value.as_deref(), Some("50000"));
        assert_eq!(inherited.source, Source::StaticBroker);
        let set = [Alteration::set("consumer.session.timeout.ms", "46000")];
        let own = view.alter_group(&Overrides::new(), &set).unwrap();
        let own = view.describe_group(&own, &name).remove(0);
        assert_eq!(
            (own.value.as_deref(), own.source),
            (Some("46000"), Source::Group)
        );
        assert_eq!(
            view.describe_group(&Overrides::new(), &BTreeSet::new())
                .len(),
            17
        );
    }

    #[test]
    fn a_group_stays_within_what_the_broker_allows() {
        let view = view(&[]);
        let alter = |name: &str, value: &str| {
            view.alter_group(&Overrides::new(), &[Alteration::set(name, value)])
                .unwrap_err()
        };
        let low = "consumer.session.timeout.ms must be greater than or equal to \
                   group.consumer.min.session.timeout.ms";
        assert_eq!(alter("consumer.session.timeout.ms", "5").to_string(), low);
        let high = "consumer.heartbeat.interval.ms must be less than or equal to \
                    group.consumer.max.heartbeat.interval.ms";
        assert_eq!(
            alter("consumer.heartbeat.interval.ms", "999999").to_string(),
            high
        );
        assert_eq!(
            alter("nokey", "5").to_string(),
            "Unknown group config name: nokey"
        );
    }
}
