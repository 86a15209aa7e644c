//! What holds, and what clients see and may change: the file's values under those set while the broker runs.
//!
//! Pure: settings and stored overrides in, values, descriptions and new overrides out. Storing and telling others is
//! not done here.

mod groups;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use millrace_engine::config::{
    AlterError, Alteration, Dynamic, Operation, Overrides, Property, TOPIC_PROPERTIES, TopicConfig,
    TopicDefaults, Unknown, Value, ValueError, alter, alter_topic,
};

pub use self::groups::GroupAlterError;
use super::broker::{ALL_DIRECTORIES, BrokerConfig, log_dirs};
use super::entry::{Entry, Source, Synonym};
use super::listeners::{Listener, Listeners};
use super::settings::{Origin, Settings};
use super::table::{self, BROKER_PROPERTIES};

pub(super) const CORDONED: &str = "cordoned.log.dirs";
const KEY_MEMORY: &str = "log.cleaner.dedupe.buffer.size";
const COMPACTIONS: &str = "log.cleaner.threads";
const KEY_BYTES_PER_COMPACTION: i64 = 1 << 20;
const CONNECTIONS: &str = "max.connections";
const CONNECTION_RATE: &str = "max.connection.creation.rate";
const CONNECTIONS_PER_ADDRESS: &str = "max.connections.per.ip";
const ADDRESSES: &str = "max.connections.per.ip.overrides";

/// What a change of broker settings is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerResource {
    /// One broker, by its number.
    One,
    /// All brokers: the empty resource name.
    ClusterDefault,
}

/// The layers of broker settings.
#[derive(Clone)]
pub struct ConfigView {
    settings: Arc<Settings>,
    listeners: Listeners,
    cluster: Overrides,
    broker: Overrides,
}

/// Without values: passwords are among them.
impl fmt::Debug for ConfigView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cluster, broker) = (self.cluster.keys(), self.broker.keys());
        f.debug_struct("ConfigView")
            .field("settings", &self.settings)
            .field("cluster", &cluster)
            .field("broker", &broker)
            .finish_non_exhaustive()
    }
}

impl ConfigView {
    pub(super) fn new(settings: Arc<Settings>, listeners: Listeners) -> Self {
        Self {
            settings,
            listeners,
            cluster: Overrides::new(),
            broker: Overrides::new(),
        }
    }

    /// The same file under other dynamic settings: `cluster` of all brokers, `broker` of this one.
    #[must_use]
    pub fn with_dynamic(&self, cluster: Overrides, broker: Overrides) -> Self {
        Self {
            cluster,
            broker,
            ..self.clone()
        }
    }

    /// What was set at start.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What holds for the broker, typed.
    #[must_use]
    pub fn broker_config(&self) -> BrokerConfig {
        BrokerConfig::resolve(self, self.listeners.clone())
    }

    /// What holds for topics that do not say otherwise.
    #[must_use]
    pub fn topic_defaults(&self) -> TopicDefaults {
        let rows = TOPIC_PROPERTIES.rows().filter(|row| !row.twins.is_empty());
        TopicDefaults::new(
            rows.filter_map(|row| Some((row.name, self.topic_default(row)?)))
                .collect(),
        )
    }

    /// What holds for a topic with `overrides`.
    #[must_use]
    pub fn topic_config(&self, overrides: &Overrides) -> TopicConfig {
        TopicConfig::resolve(overrides, &self.topic_defaults())
    }

    /// The settings of a topic after `alterations`.
    ///
    /// # Errors
    /// As [`alter_topic`].
    pub fn alter_topic(
        &self,
        current: &Overrides,
        alterations: &[Alteration],
    ) -> Result<Overrides, AlterError> {
        alter_topic(current, alterations, &self.topic_defaults())
    }

    /// The dynamic settings of `resource` after `alterations` of its `current` ones: all of them or none.
    ///
    /// # Errors
    /// A key that does not change while brokers run, or not for all at once; a value not allowed; an unknown key that is
    /// added to or taken from as a list.
    pub fn alter_broker(
        &self,
        resource: BrokerResource,
        current: &Overrides,
        alterations: &[Alteration],
    ) -> Result<Overrides, AlterError> {
        let dynamic = |wish: &Alteration| table::find(&wish.name).map(|row| row.dynamic);
        let names_of = |sort: Dynamic| -> Vec<String> {
            // Whatever is not set can be reset, as in Kafka.
            let found = alterations
                .iter()
                .filter(|wish| wish.operation != Operation::Delete)
                .filter(|wish| dynamic(wish) == Some(sort));
            found.map(|wish| wish.name.clone()).collect()
        };
        let names = names_of(Dynamic::ReadOnly);
        if !names.is_empty() {
            return Err(AlterError::ReadOnly { names });
        }
        let names = names_of(Dynamic::PerBroker);
        if resource == BrokerResource::ClusterDefault && !names.is_empty() {
            return Err(AlterError::PerBrokerOnly { names });
        }
        let default = |row: &Property| self.held(row.name).map(|(_, text)| text.to_owned());
        // As in Kafka: what no broker of this version knows is another's, or a plug-in's.
        let (unknown, find) = (Unknown::Kept, table::find);
        let altered = alter("broker", unknown, find, default, current, alterations)?;
        if let Some(text) = altered.get(CORDONED) {
            self.check_cordoned(text)?;
        }
        // A listener may have its own.
        let touches = |keys: &[&str]| {
            let mut names = alterations.iter().map(|wish| wish.name.as_str());
            names.any(|name| keys.iter().any(|key| name.ends_with(*key)))
        };
        let after = match resource {
            BrokerResource::One => self.with_dynamic(self.cluster.clone(), altered.clone()),
            BrokerResource::ClusterDefault => {
                self.with_dynamic(altered.clone(), self.broker.clone())
            }
        };
        // What is set anew as a whole leaves out what it does not name, and with it what made another setting safe.
        if touches(&[KEY_MEMORY, COMPACTIONS]) || self.check_key_memory().is_ok() {
            after.check_key_memory()?;
        }
        let limits = [
            CONNECTIONS,
            CONNECTION_RATE,
            CONNECTIONS_PER_ADDRESS,
            ADDRESSES,
        ];
        let is_touched = touches(&limits);
        if is_touched || self.check_addresses().is_ok() {
            after.check_addresses()?;
        }
        if is_touched || self.check_entrance().is_ok() {
            after.check_entrance()?;
        }
        Ok(altered)
    }

    /// Whether connections of some address may come in, as in Kafka.
    pub(super) fn check_addresses(&self) -> Result<(), ValueError> {
        let sockets = self.broker_config().sockets;
        let max = sockets.connections_per_address_max;
        if max > 0 || !sockets.connections_per_address_overrides.is_empty() {
            return Ok(());
        }
        Err(ValueError {
            key: CONNECTIONS_PER_ADDRESS.to_owned(),
            value: max.to_string(),
            problem: format!("allowed: 1 or more, or 0 beside {ADDRESSES}"),
        })
    }

    /// Whether no listener is shut, as in Kafka, and any lets connections in: what is set through a connection could not be set back
    /// otherwise.
    pub(super) fn check_entrance(&self) -> Result<(), ValueError> {
        let sockets = self.broker_config().sockets;
        let of_all = [sockets.connections_max, sockets.connection_rate_max];
        let is_shut = |listener: &Listener| {
            let own = sockets.of_listeners.get(&listener.name).copied();
            let own = own.unwrap_or_default();
            let own = [own.connections_max, own.connection_rate_max];
            let mut both = own.into_iter().zip(of_all);
            both.any(|(own, of_all)| own.unwrap_or(of_all) == 0)
        };
        let is_open = |listener: &Listener| {
            let is_protected = self.listeners.protected.as_ref() == Some(&listener.name);
            is_protected || of_all.iter().all(|of_all| *of_all > 0)
        };
        let problem = "allowed: 1 or more; nobody could connect, not even to set it back";
        let mut of_addresses = sockets.connections_per_address_overrides.iter();
        let takes_some = of_addresses.any(|(_, max)| *max > 0);
        if sockets.connections_per_address_max == 0 && !takes_some {
            return Err(ValueError {
                key: ADDRESSES.to_owned(),
                value: "0".to_owned(),
                problem: problem.to_owned(),
            });
        }
        let listeners = &self.listeners.clients;
        if listeners.iter().any(is_open) && !listeners.iter().any(is_shut) {
            return Ok(());
        }
        let keys = [CONNECTIONS, CONNECTION_RATE];
        let of_listeners = listeners.iter().flat_map(|listener| {
            let name = listener.name.to_lowercase();
            keys.map(|key| format!("listener.name.{name}.{key}"))
        });
        let mut all = keys.map(str::to_owned).into_iter().chain(of_listeners);
        let is_zero = |key: &String| self.held(key).is_some_and(|(_, text)| text.trim() == "0");
        let key = all.find(is_zero);
        Err(ValueError {
            key: key.unwrap_or_else(|| CONNECTIONS.to_owned()),
            value: "0".to_owned(),
            problem: problem.to_owned(),
        })
    }

    /// Whether each compaction has room for a map of its keys: more than 1 MiB, as in Kafka. With less, a log would be
    /// written anew for every few keys.
    pub(super) fn check_key_memory(&self) -> Result<(), ValueError> {
        let seats: i64 = self.integer(COMPACTIONS, 1);
        if seats < 1 {
            return Err(ValueError {
                key: COMPACTIONS.to_owned(),
                value: seats.to_string(),
                problem: "allowed: 1 or more; log.cleaner.enable=false switches compaction off"
                    .to_owned(),
            });
        }
        let bytes: i64 = self.integer(KEY_MEMORY, 0);
        if bytes / seats > KEY_BYTES_PER_COMPACTION {
            return Ok(());
        }
        Err(ValueError {
            key: KEY_MEMORY.to_owned(),
            value: bytes.to_string(),
            problem: format!(
                "allowed: more than {KEY_BYTES_PER_COMPACTION} for each of {COMPACTIONS}={seats}"
            ),
        })
    }

    /// Whether `text` names log directories only, as `cordoned.log.dirs` has to.
    pub(super) fn check_cordoned(&self, text: &str) -> Result<(), ValueError> {
        let known = log_dirs(self);
        let mut named = text.split(',').map(str::trim);
        let is_known = |name: &str| {
            name.is_empty()
                || name == ALL_DIRECTORIES
                || known.iter().any(|one| one == Path::new(name))
        };
        if named.all(is_known) {
            return Ok(());
        }
        Err(ValueError {
            key: CORDONED.to_owned(),
            value: text.to_owned(),
            problem: "allowed: directories of log.dirs, or * for all of them".to_owned(),
        })
    }

    /// The list that a broker's list is added to while it has no override.
    #[must_use]
    pub fn broker_list_default(&self, name: &str) -> String {
        self.held(name)
            .map_or_else(String::new, |(_, text)| text.to_owned())
    }

    /// This broker's properties as `DescribeConfigs` lists them; `names` empty is all of them.
    #[must_use]
    pub fn describe_broker(&self, names: &BTreeSet<String>) -> Vec<Entry> {
        let listed = BROKER_PROPERTIES.rows().filter(|row| row.always_listed);
        let mut all: BTreeSet<&str> = listed.map(|row| row.name).collect();
        all.extend(self.settings.iter().map(|(key, _)| key));
        all.extend(
            self.cluster
                .keys()
                .chain(self.broker.keys())
                .map(String::as_str),
        );
        let asked = all
            .into_iter()
            .filter(|&name| names.is_empty() || names.contains(name));
        asked.map(|name| self.broker_entry(name)).collect()
    }

    /// The settings of all brokers, those that are set: what the empty broker name describes.
    #[must_use]
    pub fn describe_cluster(&self, names: &BTreeSet<String>) -> Vec<Entry> {
        let only_cluster = Self {
            settings: Arc::default(),
            broker: Overrides::new(),
            ..self.clone()
        };
        let asked = self
            .cluster
            .keys()
            .filter(|&name| names.is_empty() || names.contains(name));
        let entries = asked.map(|name| {
            let mut entry = only_cluster.broker_entry(name);
            entry
                .synonyms
                .retain(|synonym| synonym.source == Source::DynamicDefault);
            entry
        });
        entries.collect()
    }

    /// A topic's properties as `DescribeConfigs` lists them; `names` empty is all of them.
    #[must_use]
    pub fn describe_topic(&self, overrides: &Overrides, names: &BTreeSet<String>) -> Vec<Entry> {
        let asked = TOPIC_PROPERTIES.rows();
        let asked = asked.filter(|row| names.is_empty() || names.contains(row.name));
        asked.map(|row| self.topic_entry(row, overrides)).collect()
    }

    fn topic_entry(&self, row: &'static Property, overrides: &Overrides) -> Entry {
        let own = overrides.get(row.name);
        let mut synonyms: Vec<_> = own
            .map(|text| Synonym {
                name: row.name.to_owned(),
                value: shown(row, text),
                source: Source::Topic,
            })
            .into_iter()
            .collect();
        // Kafka lists coarser units only where somebody set them.
        let finest = row.twins.first().map(|twin| twin.name);
        let twins = self.chain(row.twins.iter().map(|twin| twin.name));
        synonyms.extend(
            twins.into_iter().filter(|twin| {
                twin.source != Source::Default || finest == Some(twin.name.as_str())
            }),
        );
        let default = || {
            self.topic_default(row)
                .or_else(|| row.default.map(str::to_owned))
        };
        let text = own.cloned().or_else(default);
        changeable(row, text, synonyms)
    }

    fn broker_entry(&self, name: &str) -> Entry {
        let held = self.held(name);
        let Some(row) = table::find(name) else {
            // As in Kafka: nobody knows whether the value is a secret.
            return Entry {
                name: name.to_owned(),
                value: None,
                source: held.map_or(Source::Default, |(source, _)| source),
                kind: None,
                read_only: true,
                sensitive: true,
                synonyms: Vec::new(),
                documentation: "",
            };
        };
        let mut synonyms = self.chain([name]);
        if row.name == name {
            let coarser = self.chain(row.twins.iter().map(|twin| twin.name));
            // Kafka lists coarser units only behind a value of the property itself.
            if !synonyms.is_empty() {
                synonyms.extend(coarser);
            }
        }
        Entry {
            name: name.to_owned(),
            value: held.and_then(|(_, text)| shown(row, text)),
            source: held.map_or(Source::Default, |(source, _)| source),
            kind: Some(row.kind),
            read_only: row.dynamic == Dynamic::ReadOnly,
            sensitive: row.is_sensitive(),
            synonyms,
            documentation: row.documentation,
        }
    }

    /// Every value of `names` that is set or has a default, in the order in which they would hold.
    fn chain<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<Synonym> {
        let names: Vec<_> = names.into_iter().collect();
        let sources = [
            Source::DynamicBroker,
            Source::DynamicDefault,
            Source::StaticBroker,
            Source::Default,
        ];
        let places = sources
            .iter()
            .flat_map(|&source| names.iter().map(move |&name| (source, name)));
        let found = places.filter_map(|(source, name)| {
            let text = self.layer(source, name)?;
            let value = table::find(name).and_then(|row| shown(row, text));
            Some(Synonym {
                name: name.to_owned(),
                value,
                source,
            })
        });
        found.collect()
    }

    /// What `source` alone says about `name`.
    fn layer(&self, source: Source, name: &str) -> Option<&str> {
        let setting = self.settings.find(name);
        let preset = setting.is_some_and(|setting| setting.origin == Origin::Preset);
        match source {
            Source::Topic | Source::Group => None,
            Source::DynamicBroker => self.broker.get(name).map(String::as_str),
            Source::DynamicDefault => self.cluster.get(name).map(String::as_str),
            Source::StaticBroker => setting
                .filter(|_| !preset)
                .map(|setting| setting.text.as_str()),
            Source::Default if preset => setting.map(|setting| setting.text.as_str()),
            Source::Default => table::find(name)?.default,
        }
    }

    fn held(&self, name: &str) -> Option<(Source, &str)> {
        self.readable(name, |_| true)
    }

    /// The uppermost layer that says something acceptable about `name`.
    fn readable(&self, name: &str, accept: impl Fn(&str) -> bool) -> Option<(Source, &str)> {
        let sources = [
            Source::DynamicBroker,
            Source::DynamicDefault,
            Source::StaticBroker,
            Source::Default,
        ];
        sources.into_iter().find_map(|source| {
            let text = self.layer(source, name).filter(|text| accept(text))?;
            Some((source, text))
        })
    }

    /// The broker's value for topics, in the topic property's units.
    fn topic_default(&self, row: &Property) -> Option<String> {
        let first = self
            .chain(row.twins.iter().map(|twin| twin.name))
            .into_iter();
        let mut usable = first.filter_map(|synonym| {
            let twin = row.twins.iter().find(|twin| twin.name == synonym.name)?;
            let text = synonym.value?;
            let value = table::find(twin.name)?.parse(&text).ok()?;
            match value {
                // Every negative time or size says what -1 says.
                Value::Integer(number) if number < 0 && row.name.starts_with("retention.") => {
                    Some("-1".to_owned())
                }
                Value::Integer(number) => Some(number.saturating_mul(twin.factor).to_string()),
                _ => Some(text),
            }
        });
        usable.next()
    }

    /// The value of `name`; a value that its row does not take (from another version) counts as not set.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        let row = table::find(name)?;
        let (_, text) = self.readable(name, |text| row.parse(text).is_ok())?;
        row.parse(text).ok()
    }

    pub(super) fn optional_integer(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Integer(number)) => Some(number),
            _ => None,
        }
    }

    /// A whole number whose row has a default; held into the range of the wanted type.
    pub(super) fn integer<T: TryFrom<i64>>(&self, name: &str, fallback: T) -> T {
        let number = self.optional_integer(name);
        number
            .and_then(|number| T::try_from(number).ok())
            .unwrap_or(fallback)
    }

    /// What somebody set for one listener, as `listener.name.<listener>.<name>`.
    pub(super) fn integer_of_listener<T: TryFrom<i64>>(
        &self,
        listener: &str,
        name: &str,
    ) -> Option<T> {
        let row = table::find(name)?;
        let name = format!("listener.name.{}.{name}", listener.to_lowercase());
        let (source, text) = self.readable(&name, |text| row.parse(text).is_ok())?;
        match row.parse(text) {
            Ok(Value::Integer(number)) if source != Source::Default => T::try_from(number).ok(),
            _ => None,
        }
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Boolean(true)))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }
}

/// The entry of a topic's or a group's property, which all may be changed: the first synonym is what holds.
fn changeable(row: &'static Property, text: Option<String>, synonyms: Vec<Synonym>) -> Entry {
    Entry {
        name: row.name.to_owned(),
        value: text.and_then(|text| shown(row, &text)),
        source: synonyms
            .first()
            .map_or(Source::Default, |first| first.source),
        kind: Some(row.kind),
        read_only: false,
        sensitive: row.is_sensitive(),
        synonyms,
        documentation: row.documentation,
    }
}

/// A value as clients see it: in its normal form, or not at all when it is a password.
fn shown(row: &Property, text: &str) -> Option<String> {
    if row.is_sensitive() {
        return None;
    }
    Some(
        row.parse(text)
            .map_or_else(|_| text.to_owned(), |value| value.to_string()),
    )
}

#[cfg(test)]
mod tests;
