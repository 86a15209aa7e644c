//! What holds for the broker, as typed values: every name of a broker property that the server obeys ends here.
//!
//! It does not know where values come from or how they change; a new dynamic setting makes a new [`BrokerConfig`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use millrace_engine::config::{TopicDefaults, Value};
use millrace_engine::types::BrokerId;

use super::listeners::{Listener, Listeners};
use super::view::ConfigView;

/// The effective settings of one broker. Times are milliseconds and not negative, sizes are bytes; `None` is "never" or
/// "unlimited" unless a field says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// `node.id`; not negative.
    pub node_id: BrokerId,
    /// `broker.rack`; `None` when unknown.
    pub rack: Option<String>,
    /// `listeners` and their kin.
    pub listeners: Listeners,
    /// `log.dirs`, or `log.dir`; one at least, none twice.
    pub log_dirs: Vec<PathBuf>,
    /// `cordoned.log.dirs`: directories that get no new replicas.
    pub cordoned_log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`, or the first of `log_dirs`.
    pub metadata_dir: PathBuf,
    /// `num.shards`; `None` is one per core that the process may use.
    pub shards: Option<usize>,
    /// `io.backend`.
    pub io_backend: IoBackendChoice,
    /// `log.format`.
    pub log_format: LogFormat,
    /// `request.memory.bytes`, of one shard.
    pub request_memory_bytes: u64,
    /// Connections and requests.
    pub sockets: SocketConfig,
    /// How topics come and go.
    pub new_topics: NewTopicConfig,
    /// Upkeep of logs.
    pub storage: StorageConfig,
    /// Classic groups.
    pub groups: GroupConfig,
    /// Committed offsets.
    pub offsets: OffsetConfig,
    /// Idempotent producers.
    pub producers: ProducerConfig,
    /// What holds for topics that do not say otherwise.
    pub topic_defaults: TopicDefaults,
}

/// `io.backend`: how files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoBackendChoice {
    /// `io_uring` where the kernel allows it, otherwise threads.
    Auto,
    /// `io_uring` or no start.
    Uring,
    /// Threads.
    Threads,
}

/// `log.format`: how the broker's own log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// `socket.send.buffer.bytes`; `None` leaves it to the system.
    pub send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the system.
    pub receive_buffer_bytes: Option<usize>,
    /// `socket.request.max.bytes`: largest frame, inclusive.
    pub request_bytes_max: u32,
    /// `socket.listen.backlog.size`.
    pub listen_backlog: i32,
    /// `connections.max.idle.ms`.
    pub idle_ms_max: Option<i64>,
    /// `max.connections`.
    pub connections_max: u32,
    /// `max.connections.per.ip`.
    pub connections_per_address_max: u32,
    /// `max.connections.per.ip.overrides`: host and its own bound.
    pub connections_per_address_overrides: Vec<(String, u32)>,
    /// `max.connection.creation.rate`: new connections per second.
    pub connection_rate_max: u32,
    /// `quota.window.num` less one, times `quota.window.size.seconds`: for how long an unused rate is saved up; 1 or more.
    pub rate_window_s: u64,
    /// `listener.name.<listener>.<key>` of the two above that listeners may have, by the listener's name.
    pub of_listeners: BTreeMap<String, ListenerLimits>,
    /// `queued.max.requests`: requests that were read before their turn.
    pub queued_requests_max: u32,
    /// `queued.max.request.bytes`; `None` leaves it to `request_memory_bytes`.
    pub queued_request_bytes_max: Option<u64>,
    /// `max.incremental.fetch.session.cache.slots`; 0 keeps no sessions.
    pub fetch_sessions_max: u32,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: u32,
    /// `max.request.partition.size.limit`: partitions in one answer to `DescribeTopicPartitions`.
    pub partitions_per_page_max: u32,
}

/// What one listener has of its own; `None` follows the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerLimits {
    /// `max.connections`.
    pub connections_max: Option<u32>,
    /// `max.connection.creation.rate`.
    pub connection_rate_max: Option<u32>,
}

/// How topics come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopicConfig {
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub delete_enabled: bool,
    /// `num.partitions`: 1 or more.
    pub partitions: i32,
    /// `default.replication.factor`: 1 or more, lowered to the number of brokers.
    pub replication_factor: i16,
}

/// Upkeep of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`: recovery points.
    pub recovery_point_interval_ms: i64,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub log_start_offset_interval_ms: i64,
}

/// Compaction.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.threads`: compactions at once.
    pub threads: usize,
    /// `log.cleaner.dedupe.buffer.size`: memory for keys.
    pub key_memory_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`.
    pub load_factor: f64,
    /// `log.cleaner.io.max.bytes.per.second`.
    pub bytes_per_second_max: Option<f64>,
    /// `log.cleaner.backoff.ms`.
    pub backoff_ms: i64,
}

/// Classic groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`, inclusive.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`, inclusive.
    pub session_timeout_ms_max: i32,
    /// `group.max.size`, inclusive.
    pub members_max: usize,
    /// `group.memory.bytes`, of one shard.
    pub memory_bytes: usize,
}

/// Committed offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetConfig {
    /// `offsets.retention.minutes`, in milliseconds.
    pub retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub check_interval_ms: i64,
    /// `offset.metadata.max.bytes`, inclusive: UTF-16 units.
    pub metadata_max: usize,
    /// `offsets.topic.num.partitions`.
    pub partitions: i32,
    /// `offsets.topic.replication.factor`, lowered to the number of brokers.
    pub replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub segment_bytes: u32,
    /// `offsets.commit.timeout.ms`.
    pub commit_timeout_ms: i32,
}

/// Idempotent producers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// `producer.id.expiration.ms`: how long the state of an idle one is kept.
    pub id_expiration_ms: i64,
}

/// Properties that are lowered to the number of brokers instead of failing whatever needs them.
pub(super) const LOWERED_TO_BROKERS: &[&str] = &[
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "share.coordinator.state.topic.min.isr",
    "share.coordinator.state.topic.replication.factor",
    "transaction.state.log.min.isr",
    "transaction.state.log.replication.factor",
];

/// Clusters come later: until then one broker carries every replica.
pub(super) const BROKERS: i64 = 1;

impl BrokerConfig {
    /// What `view` says, typed, beside listeners that were checked at start.
    pub(super) fn resolve(view: &ConfigView, listeners: Listeners) -> Self {
        let log_dirs = log_dirs(view);
        let first = log_dirs.first().cloned().unwrap_or_default();
        Self {
            node_id: BrokerId(view.integer("node.id", 1)),
            rack: view.text("broker.rack"),
            metadata_dir: view.text("metadata.log.dir").map_or(first, PathBuf::from),
            cordoned_log_dirs: cordoned_log_dirs(view, &log_dirs),
            log_dirs,
            shards: view
                .optional_integer("num.shards")
                .and_then(|count| usize::try_from(count).ok()),
            io_backend: match view.text("io.backend").as_deref() {
                Some("uring") => IoBackendChoice::Uring,
                Some("threads") => IoBackendChoice::Threads,
                _ => IoBackendChoice::Auto,
            },
            log_format: match view.text("log.format").as_deref() {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
            request_memory_bytes: view.integer("request.memory.bytes", 1 << 25),
            sockets: SocketConfig::resolve(view, &listeners.clients),
            listeners,
            new_topics: NewTopicConfig {
                auto_create: view.boolean("auto.create.topics.enable"),
                delete_enabled: view.boolean("delete.topic.enable"),
                partitions: view.integer("num.partitions", 1),
                replication_factor: lowered(view, "default.replication.factor"),
            },
            storage: StorageConfig {
                retention_check_interval_ms: view
                    .integer("log.retention.check.interval.ms", 300_000),
                recovery_point_interval_ms: view
                    .integer("log.flush.offset.checkpoint.interval.ms", 60_000),
                log_start_offset_interval_ms: view
                    .integer("log.flush.start.offset.checkpoint.interval.ms", 60_000),
            },
            groups: GroupConfig {
                initial_rebalance_delay_ms: view.integer("group.initial.rebalance.delay.ms", 3_000),
                session_timeout_ms_min: view.integer("group.min.session.timeout.ms", 6_000),
                session_timeout_ms_max: view.integer("group.max.session.timeout.ms", 1_800_000),
                members_max: view.integer("group.max.size", usize::MAX),
                memory_bytes: view.integer("group.memory.bytes", 1 << 27),
            },
            offsets: OffsetConfig {
                retention_ms: view
                    .integer("offsets.retention.minutes", 10_080_i64)
                    .saturating_mul(60_000),
                check_interval_ms: view.integer("offsets.retention.check.interval.ms", 600_000),
                metadata_max: view.integer("offset.metadata.max.bytes", 4_096),
                partitions: view.integer("offsets.topic.num.partitions", 50),
                replication_factor: lowered(view, "offsets.topic.replication.factor"),
                segment_bytes: view.integer("offsets.topic.segment.bytes", 104_857_600),
                commit_timeout_ms: view.integer("offsets.commit.timeout.ms", 5_000),
            },
            producers: ProducerConfig {
                id_expiration_ms: view.integer("producer.id.expiration.ms", 86_400_000),
            },
            topic_defaults: view.topic_defaults(),
        }
    }
}

impl SocketConfig {
    fn resolve(view: &ConfigView, listeners: &[Listener]) -> Self {
        let overrides = view
            .text("max.connections.per.ip.overrides")
            .unwrap_or_default();
        // The current window does not count, as in Kafka.
        let windows = view.integer("quota.window.num", 11_u64);
        let windows = windows.saturating_sub(1).max(1);
        let of_listener = |listener: &Listener| {
            let own = ListenerLimits {
                connections_max: view.integer_of_listener(&listener.name, "max.connections"),
                connection_rate_max: view
                    .integer_of_listener(&listener.name, "max.connection.creation.rate"),
            };
            (listener.name.clone(), own)
        };
        Self {
            send_buffer_bytes: not_negative(view, "socket.send.buffer.bytes"),
            receive_buffer_bytes: not_negative(view, "socket.receive.buffer.bytes"),
            request_bytes_max: view.integer("socket.request.max.bytes", 104_857_600),
            listen_backlog: view.integer("socket.listen.backlog.size", 50),
            idle_ms_max: view
                .optional_integer("connections.max.idle.ms")
                .filter(|&idle| idle >= 0),
            connections_max: view.integer("max.connections", u32::MAX),
            connections_per_address_max: view.integer("max.connections.per.ip", u32::MAX),
            connections_per_address_overrides: connection_overrides(&overrides).unwrap_or_default(),
            connection_rate_max: view.integer("max.connection.creation.rate", u32::MAX),
            rate_window_s: windows.saturating_mul(view.integer("quota.window.size.seconds", 1)),
            of_listeners: listeners.iter().map(of_listener).collect(),
            queued_requests_max: view.integer("queued.max.requests", 500),
            queued_request_bytes_max: not_negative(view, "queued.max.request.bytes"),
            fetch_sessions_max: view.integer("max.incremental.fetch.session.cache.slots", 1_000),
            fetch_bytes_max: view.integer("fetch.max.bytes", 57_671_680),
            partitions_per_page_max: view.integer("max.request.partition.size.limit", 2_000),
        }
    }
}

impl CleanerConfig {
    /// What `view` says.
    #[must_use]
    pub fn resolve(view: &ConfigView) -> Self {
        let rate = match view.value("log.cleaner.io.max.bytes.per.second") {
            Some(Value::Real(rate)) if (0.0..f64::MAX).contains(&rate) => Some(rate),
            _ => None,
        };
        Self {
            enabled: view.boolean("log.cleaner.enable"),
            threads: view.integer("log.cleaner.threads", 1),
            key_memory_bytes: view.integer("log.cleaner.dedupe.buffer.size", 134_217_728),
            load_factor: match view.value("log.cleaner.io.buffer.load.factor") {
                Some(Value::Real(factor)) if factor > 0.0 && factor <= 1.0 => factor,
                _ => 0.9,
            },
            bytes_per_second_max: rate,
            backoff_ms: view.integer("log.cleaner.backoff.ms", 15_000),
        }
    }
}

fn not_negative<T: TryFrom<i64>>(view: &ConfigView, name: &str) -> Option<T> {
    view.optional_integer(name)
        .and_then(|number| T::try_from(number).ok())
}

fn lowered<T: TryFrom<i64> + From<u8>>(view: &ConfigView, name: &str) -> T {
    let wanted = view.optional_integer(name).unwrap_or(BROKERS);
    T::try_from(wanted.clamp(1, BROKERS)).unwrap_or_else(|_| T::from(1))
}

pub(super) fn log_dirs(view: &ConfigView) -> Vec<PathBuf> {
    let many = view.list("log.dirs");
    let named = if many.is_empty() {
        view.list("log.dir")
    } else {
        many
    };
    let mut directories: Vec<PathBuf> = Vec::new();
    for directory in named.into_iter().map(PathBuf::from) {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

fn cordoned_log_dirs(view: &ConfigView, log_dirs: &[PathBuf]) -> Vec<PathBuf> {
    let named = view.list("cordoned.log.dirs");
    if named.iter().any(|name| name == ALL_DIRECTORIES) {
        return log_dirs.to_vec();
    }
    named.into_iter().map(PathBuf::from).collect()
}

/// In `cordoned.log.dirs`: every one of `log.dirs`.
pub(super) const ALL_DIRECTORIES: &str = "*";

/// `host:count` pairs between commas, or `None` when the text has another form.
pub(super) fn connection_overrides(text: &str) -> Option<Vec<(String, u32)>> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let (host, count) = part.rsplit_once(':')?;
        let count = count.trim().parse::<u32>().ok()?;
        (!host.is_empty()).then(|| (host.trim().to_owned(), count))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_overrides_are_hosts_with_a_count() {
        let pairs = connection_overrides("127.0.0.1:200, ::1:5").unwrap();
        assert_eq!(
            pairs,
            [("127.0.0.1".to_owned(), 200), ("::1".to_owned(), 5)]
        );
        assert_eq!(connection_overrides(""), Some(Vec::new()));
        assert_eq!(connection_overrides("localhost"), None);
        assert_eq!(connection_overrides("localhost:-1"), None);
    }
}
