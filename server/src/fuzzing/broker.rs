//! The broker of a conversation: the simulated engine, the server's part above it, and the clock.

use std::rc::Rc;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millrace_engine::io::{Clock, Sim, SimClock};
use millrace_engine::metadata::{Endpoint, MetadataImage, SecurityProtocol};
use millrace_engine::types::Timestamp;
use millrace_engine::{EngineOptions, SimulatedEngine};
use tokio::sync::watch;

use crate::api::{Client, Frontend};
use crate::config::{ConfigView, Listener, Loaded, Sources, load};
use crate::server::engine_options;

/// A broker of two shards, moved by hand.
pub(super) struct Broker {
    sim: Sim,
    clock: Clock,
    hands: SimClock,
    /// How often it was started: every start draws other random numbers.
    starts: u64,
    /// Taken only while one broker ends and the next begins.
    running: Option<Running>,
}

struct Running {
    engine: SimulatedEngine,
    frontend: Rc<Frontend>,
    stop: watch::Sender<bool>,
}

/// What is the same for all brokers of a process, and takes time to make.
struct Settings {
    view: Arc<ConfigView>,
    options: EngineOptions,
    listener: Arc<Listener>,
}

impl Broker {
    /// A new broker on an empty disk.
    pub(super) fn start() -> Self {
        let (clock, hands) = Clock::sim(Timestamp(1_700_000_000_000));
        let mut broker = Self {
            sim: Sim::new(7),
            clock,
            hands,
            starts: 0,
            running: None,
        };
        broker.boot();
        broker
    }

    fn boot(&mut self) {
        self.starts += 1;
        let settings = settings();
        let engine = SimulatedEngine::start(&self.sim, &self.clock, self.starts, &settings.options);
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => finding(&format!("start number {} fails: {error}", self.starts)),
        };
        let frontend = Frontend::new(engine.gateway(), Arc::clone(&settings.view));
        let (stop, _) = watch::channel(false);
        self.running = Some(Running {
            engine,
            frontend: Rc::new(frontend),
            stop,
        });
    }

    fn running(&self) -> &Running {
        let Some(running) = &self.running else {
            finding("no broker runs");
        };
        running
    }

    /// A connection's other side.
    pub(super) fn client(&self) -> Rc<Client> {
        let Running { frontend, stop, .. } = self.running();
        let (peer, local) = (
            ([127, 0, 0, 1], 50_000).into(),
            ([127, 0, 0, 1], 9092).into(),
        );
        let listener = Arc::clone(&settings().listener);
        let client = Client::new(Rc::clone(frontend), listener, peer, local, stop.subscribe());
        Rc::new(client)
    }

    /// The metadata.
    pub(super) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.running().frontend.gateway().image())
    }

    /// Lets the engine do a piece of its work; false when there is none.
    pub(super) fn turn(&mut self) -> bool {
        self.running
            .as_mut()
            .is_some_and(|running| running.engine.turn())
    }

    /// Lets time pass until something is due.
    pub(super) fn pass(&mut self) {
        let now = self.clock.now().monotonic;
        let due = self.running().engine.next_deadline();
        let wait = due.map_or(Duration::ZERO, |due| now.until(due));
        // Beyond that the calendar ends.
        self.hands.advance(wait.clamp(TICK, YEAR));
    }

    /// Tells all who wait that the broker stops.
    pub(super) fn announce_stop(&self) {
        self.running().stop.send_replace(true);
    }

    /// Stops in order. No client may be left.
    pub(super) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let Running {
                engine, frontend, ..
            } = running;
            drop(frontend);
            assert!(engine.stop(), "the stop was not in order");
        }
    }

    /// Stops in order and starts again. No client may be left.
    pub(super) fn restart(&mut self) {
        self.stop();
        self.boot();
    }

    /// The power fails, and comes back. No client may be left.
    pub(super) fn cut_power(&mut self) {
        self.running = None;
        self.sim.crash();
        self.boot();
    }
}

/// Ends the run: what was found is for a developer to read.
#[expect(clippy::panic, reason = "this is how a fuzzer is told")]
pub(super) fn finding(what: &str) -> ! {
    panic!("{what}");
}

fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let overrides = OVERRIDES.map(str::to_owned).to_vec();
        let sources = Sources {
            overrides,
            ..Sources::default()
        };
        let Loaded { config, view, .. } = match load(&sources) {
            Ok(loaded) => loaded,
            Err(error) => finding(&format!(
                "the broker of the fuzzer has no settings: {error}"
            )),
        };
        let view = Arc::new(view);
        let Some(listener) = config.listeners.clients.first().cloned() else {
            finding("the broker of the fuzzer has no listener");
        };
        let endpoint = Endpoint {
            listener: listener.name.clone(),
            host: "localhost".to_owned(),
            port: 9092,
            security_protocol: SecurityProtocol::Plaintext,
        };
        let expiration = Arc::new(AtomicI64::new(config.producers.id_expiration_ms));
        Settings {
            options: engine_options(&config, &view, vec![endpoint], &expiration),
            view,
            listener: Arc::new(listener),
        }
    })
}

/// Kafka's defaults, but for what costs a run time and shows nothing.
const OVERRIDES: [&str; 6] = [
    "log.dirs=/data/one,/data/two",
    "num.shards=2",
    "num.partitions=2",
    "offsets.topic.num.partitions=2",
    "log.cleaner.backoff.ms=600000",
    "log.flush.offset.checkpoint.interval.ms=600000",
];
const TICK: Duration = Duration::from_micros(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
