//! The server as a whole: listeners bound, engine started, connections accepted; and all of it stopped in order.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_engine::config::Overrides;
use millrace_engine::control::ControlHandle;
use millrace_engine::group::GroupConfig;
use millrace_engine::io::Clock;
use millrace_engine::metadata::{Command, Endpoint, MetadataImage, SecurityProtocol};
use millrace_engine::shard::{CleanerSettings, CleanerSource, TopicDefaultsSource};
use millrace_engine::types::{BrokerId, DirectoryId};
use millrace_engine::{Engine, EngineOptions, IoChoice, SYNCS_PER_DIRECTORY_MAX};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::config::{
    BrokerConfig, CleanerConfig, ConfigView, IoBackendChoice, Loaded, StorageConfig,
};
use crate::net::{Acceptor, Admissions, BindError, Bound, Doors, Front, attend, bind};

/// Starts brokers.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// Why a broker does not start. Nothing of it runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The engine.
    #[error(transparent)]
    Engine(Box<millrace_engine::StartError>),
    /// The system gives no thread.
    #[error("no thread to accept connections with: {0}")]
    Thread(#[source] std::io::Error),
    /// A shard ended before it took connections; why, it has said in the log.
    #[error("a shard ended while it started")]
    Shard,
}

/// A broker that serves.
#[derive(Debug)]
pub struct Running {
    /// Where clients connect: listener name and address, in the configured order.
    pub addresses: Vec<(String, SocketAddr)>,
    engine: Engine,
    acceptor: Acceptor,
    stop: watch::Sender<bool>,
    busy: mpsc::Receiver<()>,
    durability: &'static str,
}

impl Server {
    /// Starts a broker with a loaded configuration; it accepts connections when this returns. Shards are pinned to cores only
    /// when their number was left to us.
    ///
    /// # Errors
    /// A listener's address is taken, a log directory is another's, files are damaged, the system refuses something.
    pub fn start(loaded: Loaded) -> Result<Running, StartError> {
        let Loaded { config, view, .. } = loaded;
        let view = Arc::new(view);
        // First of all: a port that is taken is the commonest trouble, and nothing has been touched yet.
        let bound = config
            .listeners
            .clients
            .iter()
            .map(|listener| bind(listener, &config.sockets));
        let bound: Vec<Bound> = bound.collect::<Result<_, _>>()?;
        let addresses = bound.iter().flat_map(|bound| {
            let name = &bound.listener.name;
            bound
                .addresses
                .iter()
                .map(move |&address| (name.clone(), address))
        });
        let addresses = addresses.collect();
        let (stop, stopping) = watch::channel(false);
        let (busy_sender, busy) = mpsc::channel(1);
        let (opened_sender, opened) = std::sync::mpsc::channel();
        let doors = Doors::default();
        let front = Front {
            view: Arc::clone(&view),
            doors: doors.clone(),
            stopping: stopping.clone(),
            opened: opened_sender,
            busy: busy_sender,
        };
        // The engine calls the task once per shard before `start` returns. The original goes then: were it kept, it
        // would look like a shard that is still busy.
        let front = Arc::new(Mutex::new(Some(front)));
        let original = Arc::clone(&front);
        let task = move |gateway| -> Pin<Box<dyn Future<Output = ()>>> {
            let front = front.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Box::pin(async {
                if let Some(front) = front {
                    attend(gateway, front).await;
                }
            })
        };
        let expiration = Arc::new(AtomicI64::new(config.producers.id_expiration_ms));
        let endpoints = bound.iter().map(endpoint).collect();
        let options = engine_options(&config, &view, endpoints, &expiration);
        let engine = Engine::start(options, Arc::new(task))
            .map_err(|error| StartError::Engine(Box::new(error)))?;
        original
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let all_open = (0..engine.facts().shards).all(|_| opened.recv().is_ok());
        let images = engine.control().watch();
        let dynamic = Dynamic::of(&engine.control().image(), config.node_id);
        let config = dynamic.over(&view);
        let admissions = Admissions::new(&config.sockets, &config.listeners, Clock::real());
        expiration.store(config.producers.id_expiration_ms, Ordering::Relaxed);
        let followers = Followers {
            admissions: admissions.clone(),
            expiration,
            control: engine.control(),
            directories: engine.directory_ids(),
        };
        let upkeep = follow_settings(followers, Arc::clone(&view), dynamic, images);
        let acceptor = match Acceptor::start(bound, doors, admissions, upkeep, stopping) {
            Ok(acceptor) if all_open => acceptor,
            failed => {
                stop.send_replace(true);
                engine.stop();
                return Err(failed.err().map_or(StartError::Shard, StartError::Thread));
            }
        };
        let durability = durability(&view);
        Ok(Running {
            addresses,
            engine,
            acceptor,
            stop,
            busy,
            durability,
        })
    }
}

impl Running {
    /// Stops in order: no new requests, those in work answered, everything flushed and closed. True when all of that went
    /// well.
    pub fn stop(mut self) -> bool {
        self.stop.send_replace(true);
        self.acceptor.join();
        // Ends when every shard's front has dropped its sender; nothing is ever sent.
        while self.busy.blocking_recv().is_some() {}
        self.engine.stop()
    }

    /// What runs here, for people: some short lines.
    #[must_use]
    pub fn banner(&self) -> String {
        let facts = self.engine.facts();
        let mut text = format!("Millrace {}\n", env!("CARGO_PKG_VERSION"));
        let listeners: Vec<_> = self
            .addresses
            .iter()
            .map(|(name, address)| format!("{name}://{address}"))
            .collect();
        let directories: Vec<_> = facts
            .log_directories
            .iter()
            .map(|(path, clean)| {
                let note = if *clean {
                    ""
                } else {
                    " (new, or not left in order)"
                };
                format!("{}{note}", path.display())
            })
            .collect();
        let lines = [
            ("cluster", facts.cluster_id.clone()),
            ("listeners", listeners.join(", ")),
            ("data", directories.join(", ")),
            ("topics", facts.topics.to_string()),
            ("shards", facts.shards.to_string()),
            ("io", facts.io.clone()),
            ("durability", self.durability.to_owned()),
        ];
        for (what, value) in lines {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {what:<12}{value}");
        }
        text
    }
}

/// The settings that were changed while brokers run, as far as they are one broker's.
#[derive(PartialEq, Eq)]
struct Dynamic {
    node: BrokerId,
    cluster: Overrides,
    broker: Overrides,
}

impl Dynamic {
    fn of(image: &MetadataImage, node: BrokerId) -> Self {
        Self {
            node,
            cluster: image.cluster_overrides().clone(),
            broker: image.broker_overrides(node).clone(),
        }
    }

    fn over(&self, view: &ConfigView) -> BrokerConfig {
        view.with_dynamic(self.cluster.clone(), self.broker.clone())
            .broker_config()
    }
}

/// What obeys settings that change while the broker runs, and is not asked by name: requests and topics look for
/// themselves.
struct Followers {
    admissions: Admissions,
    /// `producer.id.expiration.ms`.
    expiration: Arc<AtomicI64>,
    /// The controller, which hears of `cordoned.log.dirs`.
    control: ControlHandle,
    directories: Vec<(PathBuf, DirectoryId)>,
}

impl Followers {
    /// Tells the controller which directories get no new replicas. False where it could not take it.
    async fn cordon(&self, config: &BrokerConfig) -> bool {
        let image = self.control.image();
        let usable = image.broker(config.node_id);
        let usable = usable.map_or(&[][..], |broker| &broker.log_directories);
        let cordoned = self
            .directories
            .iter()
            .filter(|(path, id)| config.cordoned_log_dirs.contains(path) && usable.contains(id));
        let command = Command::CordonDirectories {
            broker: config.node_id,
            directories: cordoned.map(|&(_, id)| id).collect(),
        };
        let told = self.control.propose(command).await;
        if let Err(error) = &told {
            tracing::warn!(%error, "cordoned.log.dirs does not reach the controller");
        }
        told.is_ok()
    }
}

/// Keeps the followers at what the settings say, until the engine ends.
async fn follow_settings(
    followers: Followers,
    view: Arc<ConfigView>,
    mut held: Dynamic,
    mut images: watch::Receiver<Arc<MetadataImage>>,
) {
    let mut is_cordoned = false;
    loop {
        let dynamic = Dynamic::of(&images.borrow_and_update(), held.node);
        if dynamic == held && !is_cordoned {
            // At first before any connection can ask for a topic.
            is_cordoned = followers.cordon(&held.over(&view)).await;
        } else if dynamic != held {
            let config = dynamic.over(&view);
            let expiration_ms = config.producers.id_expiration_ms;
            followers.expiration.store(expiration_ms, Ordering::Relaxed);
            is_cordoned = followers.cordon(&config).await;
            let admissions = followers.admissions.clone();
            // Host names are looked up.
            let change =
                tokio::task::spawn_blocking(move || admissions.set_limits(&config.sockets));
            // Nothing breaks it off; a stop of the broker does not wait for it.
            let _ = change.await;
            held = dynamic;
        }
        let patience = if is_cordoned {
            Duration::MAX
        } else {
            CORDON_AGAIN
        };
        // When it is over all is looked at anew.
        if let Ok(Err(_)) = timeout(patience, images.changed()).await {
            return;
        }
    }
}

fn durability(view: &ConfigView) -> &'static str {
    if view.topic_config(&Overrides::new()).write_caching {
        "acks=all is answered from the page cache (write.caching=true)"
    } else {
        "acks=all is answered when flushed to the disk"
    }
}

/// What the engine is told of the settings.
pub(crate) fn engine_options(
    config: &BrokerConfig,
    view: &Arc<ConfigView>,
    endpoints: Vec<Endpoint>,
    expiration: &Arc<AtomicI64>,
) -> EngineOptions {
    let milliseconds = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
    let defaults_view = Arc::clone(view);
    let unchanged = Arc::new(view.topic_defaults());
    let cleaner_view = Arc::clone(view);
    let first = config.log_dirs.first();
    EngineOptions {
        broker: config.node_id,
        log_directories: config.log_dirs.clone(),
        metadata_directory: Some(config.metadata_dir.clone()).filter(|dir| Some(dir) != first),
        shards: config.shards,
        pin: config.shards.is_none(),
        io: match config.io_backend {
            IoBackendChoice::Auto => IoChoice::Auto,
            IoBackendChoice::Uring => IoChoice::Uring,
            IoBackendChoice::Threads => IoChoice::Threads,
        },
        endpoints,
        rack: config.rack.clone(),
        topic_defaults: TopicDefaultsSource(Arc::new(move |cluster, broker| {
            // Asked by every shard at every change of metadata; mostly nothing of this was changed.
            if cluster.is_empty() && broker.is_empty() {
                return Arc::clone(&unchanged);
            }
            let view = defaults_view.with_dynamic(cluster.clone(), broker.clone());
            Arc::new(view.topic_defaults())
        })),
        groups: GroupConfig {
            session_timeout_min_ms: config.groups.session_timeout_ms_min,
            session_timeout_max_ms: config.groups.session_timeout_ms_max,
            size_max: config.groups.members_max,
            memory_bytes_max: config.groups.memory_bytes,
            initial_rebalance_delay: milliseconds(config.groups.initial_rebalance_delay_ms),
            offset_metadata_max: config.offsets.metadata_max,
            offsets_retention_ms: config.offsets.retention_ms,
            offsets_retention_check_interval: milliseconds(config.offsets.check_interval_ms),
            ..GroupConfig::default()
        },
        producer_id_expiration_ms: Arc::clone(expiration),
        retention_check_interval: milliseconds(config.storage.retention_check_interval_ms),
        checkpoint_interval: milliseconds(checkpoint_interval_ms(&config.storage)),
        syncs_per_directory_max: SYNCS_PER_DIRECTORY_MAX,
        cleaner: CleanerSource(Arc::new(move |cluster, broker| {
            let view = cleaner_view.with_dynamic(cluster.clone(), broker.clone());
            cleaner_settings(&CleanerConfig::resolve(&view))
        })),
    }
}

fn cleaner_settings(config: &CleanerConfig) -> CleanerSettings {
    CleanerSettings {
        enabled: config.enabled,
        threads: config.threads,
        key_memory_bytes: config.key_memory_bytes,
        load_factor: config.load_factor,
        bytes_per_second_max: config.bytes_per_second_max,
        backoff: Duration::from_millis(config.backoff_ms.unsigned_abs()),
        ..CleanerSettings::default()
    }
}

/// One job writes recovery points and log start offsets, at the pace of whichever is asked for more often. As in Kafka
/// an interval of 0 is none: they are written when the broker stops.
fn checkpoint_interval_ms(storage: &StorageConfig) -> i64 {
    let intervals = [
        storage.recovery_point_interval_ms,
        storage.log_start_offset_interval_ms,
    ];
    let asked = intervals.into_iter().filter(|&interval| interval > 0);
    asked.min().unwrap_or(NEVER_MS)
}

/// What the cluster is told of a listener. Without an advertised host it stays open: each client is told the one it
/// connected to.
fn endpoint(bound: &Bound) -> Endpoint {
    let advertised = bound.listener.advertised.as_ref();
    let port = bound
        .addresses
        .first()
        .map_or(bound.listener.port, SocketAddr::port);
    Endpoint {
        listener: bound.listener.name.clone(),
        host: advertised
            .and_then(|advertised| advertised.host.clone())
            .unwrap_or_default(),
        port: advertised.map_or(port, |advertised| advertised.port),
        security_protocol: SecurityProtocol::Plaintext,
    }
}

/// When the controller is told again of cordoned directories that it could not take.
const CORDON_AGAIN: Duration = Duration::from_secs(10);
/// Ten years.
const NEVER_MS: i64 = 10 * 365 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_written_at_the_shorter_interval_and_never_at_none() {
        let interval = |recovery_point_interval_ms, log_start_offset_interval_ms| {
            checkpoint_interval_ms(&StorageConfig {
                retention_check_interval_ms: 1,
                recovery_point_interval_ms,
                log_start_offset_interval_ms,
            })
        };
        assert_eq!(interval(60_000, 5_000), 5_000);
        assert_eq!(interval(0, 60_000), 60_000);
        assert_eq!(interval(0, 0), NEVER_MS);
    }
}
