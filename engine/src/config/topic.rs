//! What holds for one topic: its own settings over the broker's defaults, as typed values.
//!
//! It does not know where the defaults were set, nor who may change what; it never fails, because what is stored was
//! checked when it was written and a log must open whatever an older or newer version wrote.

use std::collections::BTreeMap;

use super::property::{Property, Value};
use super::topic_properties::TOPIC_PROPERTIES;

/// What somebody set on a resource: names and values as text, as they were checked and stored.
pub type Overrides = BTreeMap<String, String>;

/// What holds for topics that do not say otherwise on one broker: by topic property, in its units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicDefaults {
    texts: BTreeMap<&'static str, String>,
}

impl TopicDefaults {
    /// Kafka's defaults but for what `texts` says, by name of the topic property and in its units.
    #[must_use]
    pub const fn new(texts: BTreeMap<&'static str, String>) -> Self {
        Self { texts }
    }

    /// The default of `property` as text.
    #[must_use]
    pub fn text(&self, property: &Property) -> Option<&str> {
        let own = self.texts.get(property.name).map(String::as_str);
        own.or(property.default)
    }
}

/// Which of its old records a topic loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Those past `retention.ms` and `retention.bytes`.
    pub delete: bool,
    /// Those whose key has a newer record.
    pub compact: bool,
}

/// Which codec batches are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// The one they came in.
    Producer,
    /// None.
    Uncompressed,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// Whose clock records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampSource {
    /// The producer's; bounded by `timestamp_before_max_ms` and `timestamp_after_max_ms`.
    CreateTime,
    /// The broker's at append; the bounds do not apply.
    LogAppendTime,
}

/// The effective settings of one topic. Times are milliseconds and not negative, sizes are bytes; `None` is "never" or
/// "unlimited". Missing are `local.retention.*`, which mean something only to tiered topics, and
/// `compression.lz4.level`: our lz4 has one level.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`.
    pub compression_type: CompressionType,
    /// `compression.gzip.level`: 1 to 9, or -1 for the codec's default.
    pub compression_gzip_level: i32,
    /// `compression.zstd.level`: -131072 to 22.
    pub compression_zstd_level: i32,
    /// `delete.retention.ms`: how long delete and transaction markers outlive a compaction.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`: from a segment's logical end to the removal of its files.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`: with `write_caching`, flush after so many records.
    pub flush_messages: Option<u64>,
    /// `flush.ms`: with `write_caching`, flush at the latest after so long.
    pub flush_ms: Option<i64>,
    /// `index.interval.bytes`: log between two index entries; at least 512 where it is a setting.
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: Option<i64>,
    /// `max.message.bytes`: largest record batch, its 12-byte prefix included.
    pub message_bytes_max: u32,
    /// `message.timestamp.after.max.ms`: inclusive; `None` for any future.
    pub timestamp_after_max_ms: Option<i64>,
    /// `message.timestamp.before.max.ms`: inclusive; `None` for any past.
    pub timestamp_before_max_ms: Option<i64>,
    /// `message.timestamp.type`.
    pub timestamp_source: TimestampSource,
    /// `min.cleanable.dirty.ratio`: 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`: 1 or more.
    pub min_insync_replicas: usize,
    /// `preallocate`.
    pub preallocate: bool,
    /// `retention.bytes` of one partition.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`.
    pub retention_ms: Option<i64>,
    /// `segment.bytes`: size at which a new segment begins; at least 1 MiB when set by a client.
    pub segment_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.ms`: age at which a new segment begins.
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
    /// `write.caching`: acks=all promises page caches instead of stable storage.
    pub write_caching: bool,
}

/// The shortest distance of index entries: those of an active segment are in memory, and each client may set how many.
const INDEX_INTERVAL_BYTES_MIN: u32 = 512;

impl TopicConfig {
    /// The settings of a topic with `overrides` on a broker with `defaults`. An override that cannot be read, or that
    /// no longer fits, counts as not set; one of an unknown property has no effect.
    #[must_use]
    pub fn resolve(overrides: &Overrides, defaults: &TopicDefaults) -> Self {
        let layers = Layers {
            overrides,
            defaults,
        };
        Self {
            cleanup_policy: layers.cleanup_policy(),
            compression_type: layers.compression_type(),
            compression_gzip_level: layers.int("compression.gzip.level"),
            compression_zstd_level: layers.int("compression.zstd.level"),
            delete_retention_ms: layers.long("delete.retention.ms"),
            file_delete_delay_ms: layers.long("file.delete.delay.ms"),
            flush_messages: layers.limit("flush.messages").map(i64::cast_unsigned),
            flush_ms: layers.limit("flush.ms"),
            index_interval_bytes: layers
                .size("index.interval.bytes")
                .max(INDEX_INTERVAL_BYTES_MIN),
            max_compaction_lag_ms: layers.limit("max.compaction.lag.ms"),
            message_bytes_max: layers.size("max.message.bytes"),
            timestamp_after_max_ms: layers.limit("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: layers.limit("message.timestamp.before.max.ms"),
            timestamp_source: layers.timestamp_source(),
            min_cleanable_dirty_ratio: layers.real("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: layers.long("min.compaction.lag.ms"),
            min_insync_replicas: usize::try_from(layers.long("min.insync.replicas")).unwrap_or(1),
            preallocate: layers.boolean("preallocate"),
            retention_bytes: layers.limit("retention.bytes").map(i64::cast_unsigned),
            retention_ms: layers.limit("retention.ms"),
            segment_bytes: layers.size("segment.bytes"),
            segment_index_bytes: layers.size("segment.index.bytes"),
            segment_jitter_ms: layers.long("segment.jitter.ms"),
            segment_ms: layers.long("segment.ms"),
            unclean_leader_election: layers.boolean("unclean.leader.election.enable"),
            write_caching: layers.boolean("write.caching"),
        }
    }
}

/// Kafka's defaults.
impl Default for TopicConfig {
    fn default() -> Self {
        Self::resolve(&Overrides::new(), &TopicDefaults::default())
    }
}

struct Layers<'a> {
    overrides: &'a Overrides,
    defaults: &'a TopicDefaults,
}

impl Layers<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let row = TOPIC_PROPERTIES.find(name)?;
        let own = self.overrides.get(name).map(String::as_str);
        let given = [own, self.defaults.text(row)];
        let readable = given
            .into_iter()
            .flatten()
            .find_map(|text| row.parse(text).ok());
        readable.or_else(|| row.default_value())
    }

    fn long(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Integer(number)) => number,
            other => wrong_row(name, other.as_ref()),
        }
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).unwrap_or(i32::MAX)
    }

    fn size(&self, name: &str) -> u32 {
        u32::try_from(self.long(name)).unwrap_or(0)
    }

    /// A bound that a negative number or the largest of all switches off.
    fn limit(&self, name: &str) -> Option<i64> {
        Some(self.long(name)).filter(|&number| (0..i64::MAX).contains(&number))
    }

    fn real(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Real(number)) => number,
            other => wrong_row(name, other.as_ref()),
        }
    }

    fn boolean(&self, name: &str) -> bool {
        match self.value(name) {
            Some(Value::Boolean(flag)) => flag,
            other => wrong_row(name, other.as_ref()),
        }
    }

    fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Text(text)) => text,
            other => wrong_row(name, other.as_ref()),
        }
    }

    fn cleanup_policy(&self) -> CleanupPolicy {
        let list = match self.value("cleanup.policy") {
            Some(Value::List(list)) => list,
            other => wrong_row("cleanup.policy", other.as_ref()),
        };
        CleanupPolicy {
            delete: list.iter().any(|word| word == "delete"),
            compact: list.iter().any(|word| word == "compact"),
        }
    }

    fn compression_type(&self) -> CompressionType {
        match self.text("compression.type").as_str() {
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => CompressionType::Producer,
        }
    }

    fn timestamp_source(&self) -> TimestampSource {
        match self.text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampSource::LogAppendTime,
            _ => TimestampSource::CreateTime,
        }
    }
}

/// Only a slip in our own table leads here, and then every start does: no input can.
#[expect(
    clippy::panic,
    reason = "every row is read whenever a topic is resolved, so tests meet this first"
)]
fn wrong_row(name: &str, value: Option<&Value>) -> ! {
    panic!("the table of topic properties has {value:?} for {name}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Handling;

    fn overrides(pairs: &[(&str, &str)]) -> Overrides {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_table_holds_kafkas_33_and_ours_in_order() {
        let names: Vec<_> = TOPIC_PROPERTIES.rows().map(|row| row.name).collect();
        assert_eq!(names.len(), 34);
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }

    #[test]
    fn every_default_is_a_value_its_own_row_takes() {
        for row in TOPIC_PROPERTIES.rows() {
            let default = row
                .default
                .unwrap_or_else(|| panic!("{} has none", row.name));
            assert_eq!(
                row.parse(default).map(Some),
                Ok(row.default_value()),
                "{}",
                row.name
            );
            assert!(!row.documentation.is_empty());
            assert!(!matches!(row.handling, Handling::Refused("")));
        }
    }

    #[test]
    fn without_settings_a_topic_is_as_in_kafka() {
        let config = TopicConfig::default();
        assert_eq!(
            config.cleanup_policy,
            CleanupPolicy {
                delete: true,
                compact: false
            }
        );
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.message_bytes_max, 1_048_588);
        assert_eq!(config.retention_ms, Some(604_800_000));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.flush_messages, None);
        assert_eq!(config.flush_ms, None);
        assert_eq!(config.timestamp_after_max_ms, Some(3_600_000));
        assert_eq!(config.timestamp_before_max_ms, None);
        assert_eq!(config.min_insync_replicas, 1);
        assert!(!config.write_caching);
    }

    #[test]
    fn a_topics_own_setting_beats_the_brokers_default() {
        let defaults = TopicDefaults::new(BTreeMap::from([
            ("retention.ms", "1000".to_owned()),
            ("max.message.bytes", "2000".to_owned()),
        ]));
        let own = overrides(&[
            ("retention.ms", "-1"),
            ("cleanup.policy", "compact, delete"),
        ]);
        let config = TopicConfig::resolve(&own, &defaults);
        assert_eq!(config.retention_ms, None);
        assert_eq!(config.message_bytes_max, 2000);
        assert_eq!(
            config.cleanup_policy,
            CleanupPolicy {
                delete: true,
                compact: true
            }
        );
    }

    #[test]
    fn an_override_that_no_longer_fits_counts_as_not_set() {
        let own = overrides(&[
            ("segment.bytes", "14"),
            ("gone.key", "x"),
            ("flush.ms", "soon"),
        ]);
        assert_eq!(
            TopicConfig::resolve(&own, &TopicDefaults::default()),
            TopicConfig::default()
        );
    }

    #[test]
    fn an_empty_policy_keeps_everything() {
        let config = TopicConfig::resolve(
            &overrides(&[("cleanup.policy", "")]),
            &TopicDefaults::default(),
        );
        assert_eq!(
            config.cleanup_policy,
            CleanupPolicy {
                delete: false,
                compact: false
            }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_stored_a_topic_resolves(row in 0..34_usize, text in "\\PC{0,24}", number: i64) {
            let name = TOPIC_PROPERTIES.rows().nth(row).unwrap().name;
            for value in [text, number.to_string()] {
                let config =
                    TopicConfig::resolve(&overrides(&[(name, &value)]), &TopicDefaults::default());
                prop_assert!(config.min_insync_replicas >= 1);
                prop_assert!(config.segment_ms >= 1);
            }
        }
    }
}
