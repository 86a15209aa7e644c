//! A shard's share of the connections: takes them in, lets each run, sees them out when the broker stops.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millrace_engine::shard::Gateway;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::acceptor::{Arrival, Doors};
use super::backpressure::RequestBudget;
use super::bell::Bell;
use super::closing::Closing;
use super::connection::{End, Limits, serve};
use super::frames::FrameLimits;
use super::lately::Lately;
use super::moves::{Work, hand_over};
use super::refusals::OneLine;
use super::turns::WaitingRequests;
use super::usage::Usage;
use crate::api::{Client, Frontend, share};
use crate::config::ConfigView;

/// What every shard's front needs from the server.
#[derive(Clone)]
pub(crate) struct Front {
    /// The settings of the start.
    pub(crate) view: Arc<ConfigView>,
    /// Where to open this shard's door.
    pub(crate) doors: Doors,
    /// Turns true when the broker stops.
    pub(crate) stopping: watch::Receiver<bool>,
    /// Told once when the door is open.
    pub(crate) opened: std::sync::mpsc::Sender<()>,
    /// Held until the last connection has ended.
    pub(crate) busy: mpsc::Sender<()>,
}

/// Runs on a shard's thread until the broker stops and its connections have ended, or [`STOP_GRACE`] is over.
pub(crate) async fn attend(gateway: Gateway, front: Front) {
    let Front {
        view,
        doors,
        mut stopping,
        opened,
        busy,
    } = front;
    let frontend = Rc::new(Frontend::new(gateway, view));
    let shared = Rc::new(Shared::new(&frontend, doors.clone()));
    let mut arrivals = doors.open(frontend.gateway().shard());
    // Nobody listens when the start has failed elsewhere.
    let _ = opened.send(());
    let mut connections = JoinSet::new();
    let mut to_take_over = frontend.take_over();
    let mut left_behind = JoinSet::new();
    let watching = stopping.clone();
    let bell = Bell::new();
    let mut answering = pin!(bell.answer());
    loop {
        tokio::select! {
            () = &mut answering => {}
            _ = stopping.wait_for(|&stopping| stopping) => break,
            Some(arrival) = arrivals.recv() => {
                let (frontend, shared) = (Rc::clone(&frontend), Rc::clone(&shared));
                let conversation = converse(arrival, frontend, shared, watching.clone());
                connections.spawn_local(bell.guard(conversation));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            Some(left) = next_of(&mut to_take_over) => {
                left_behind.spawn_local(left);
            }
            Some(_) = left_behind.join_next(), if !left_behind.is_empty() => {}
        }
    }
    let all = async {
        tokio::select! {
            () = &mut answering => {}
            () = async { while connections.join_next().await.is_some() {} } => {}
        }
    };
    if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
        tracing::info!("requests that still waited were given up");
    }
    drop(connections);
    drop(busy);
}

async fn next_of<T>(queue: &mut Option<mpsc::UnboundedReceiver<T>>) -> Option<T> {
    queue.as_mut()?.recv().await
}

/// What the connections of one thread share.
struct Shared {
    doors: Doors,
    limits: Limits,
}

impl Shared {
    fn new(frontend: &Frontend, doors: Doors) -> Self {
        let settings = frontend.settings();
        let config = &settings.config;
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let sockets = &config.sockets;
        let idle = sockets
            .idle_ms_max
            .and_then(|idle| u64::try_from(idle).ok());
        let (shard, shards) = (
            frontend.gateway().shard().0,
            frontend.gateway().shard_count(),
        );
        let memory = bytes(config.request_memory_bytes);
        let of_all = sockets.queued_request_bytes_max.map(bytes);
        let queued = usize::try_from(sockets.queued_requests_max).unwrap_or(usize::MAX);
        Self {
            doors,
            limits: Limits {
                // The bound of all shards is divided among them; their own holds in any case.
                budget: RequestBudget::new(
                    of_all.map_or(memory, |all| memory.min(share(all, shard, shards))),
                ),
                waiting: WaitingRequests::new(share(queued, shard, shards)),
                frames: FrameLimits {
                    frame_bytes_max: bytes(sockets.request_bytes_max.into()),
                    idle: idle.map_or(NEVER, Duration::from_millis),
                },
                lately: Lately::default(),
                work: Work::default(),
            },
        }
    }
}

/// One connection from its arrival to its end, or until it goes to another thread.
async fn converse(
    arrival: Arrival,
    frontend: Rc<Frontend>,
    shared: Rc<Shared>,
    stopping: watch::Receiver<bool>,
) {
    let Arrival {
        stream,
        peer,
        listener,
        admission,
        belongings,
    } = arrival;
    // A socket that fails here is one whose client has gone.
    let Ok(mut stream) = TcpStream::from_std(stream) else {
        return;
    };
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let client = Client::new(frontend, Arc::clone(&listener), peer, local, stopping);
    let client = Rc::new(client);
    client.unpack(belongings);
    loop {
        let usage = admission.usage();
        match serve(&mut stream, &client, &shared.limits, usage, &shared.doors).await {
            Ok(End::Over) => return,
            Err(closing) => {
                report(&closing, &client);
                if closing.is_of_no_client() {
                    keep_waiting(&client, usage).await;
                }
                return;
            }
            Ok(End::Elsewhere(shard)) => {
                // Without room there it goes on here, for another while.
                let now = client.frontend().gateway().now().monotonic;
                if let Some(passage) = shared.doors.passage(shard, now) {
                    return hand_over(passage, stream, &client, listener, admission);
                }
            }
        }
    }
}

/// Leaves a connection open for a moment that is not served any more: whoever connects over and over without speaking the protocol
/// does so ten times a second, and takes nobody's time.
async fn keep_waiting(client: &Client, usage: &Usage) {
    usage.end();
    let mut stopping = client.stopping();
    tokio::select! {
        () = tokio::time::sleep(REFUSAL_DELAY) => {}
        () = usage.sent_away() => {}
        _ = stopping.wait_for(|&stopping| stopping) => {}
    }
}

/// One line for whoever looks after the broker, unless there were too many about this address.
fn report(closing: &Closing, client: &Client) {
    let (address, reason) = (client.peer(), OneLine(closing));
    if !closing.is_remarkable() {
        tracing::debug!(%address, %reason, "a connection ended");
        return;
    }
    let Some(left_out) = client.frontend().admit_line(address.ip()) else {
        return;
    };
    let software = client.software();
    let software = software.map_or_else(|| "unknown".to_owned(), |software| software.to_string());
    let client_id = match closing {
        Closing::Refused(refusal) => refusal.client_id.as_deref().unwrap_or_default(),
        _ => "",
    };
    tracing::warn!(%address, software, client_id, left_out, "connection closed: {reason}");
}

/// How long a connection stays open that sent what is no request, as `connection.failed.authentication.delay.ms` of Kafka has it for
/// those who cannot say who they are.
const REFUSAL_DELAY: Duration = Duration::from_millis(100);
/// How long requests may still take when the broker stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// For "no limit": ten years.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    /// With what the runtime puts around it, it fits into 3,072 bytes; the allocator's next size is 3,584. Futures that are handed over
    /// to be pinned inside are in there twice.
    #[test]
    fn a_quiet_connection_takes_little_memory() {
        fn bytes<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = bytes(converse);
        assert!(bytes <= 2_944, "{bytes}");
    }
}
