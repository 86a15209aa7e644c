//! A broker at rest: waiting for that, and what it costs then.

use std::time::Duration;

use millrace_wire::message::api_versions::ApiVersionsRequest;

use super::clock::{nanos, rest};
use super::figures::Figures;
use super::process::Process;
use super::target::Target;
use crate::{Client, Outcome};

/// Opens connections, each with one request behind it, and looks at what they cost while they are silent.
pub(super) fn idle(target: &Target, count: usize) -> Outcome<Figures> {
    let process = target.process;
    settle(process)?;
    let resident = process.resident_bytes()?;
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(target.greeted()?);
    }
    settle(process)?;
    let each = process.resident_bytes()?.saturating_sub(resident) as f64 / count as f64;
    let before = process.usage()?;
    let begun = nanos();
    rest(IDLE_TIME);
    let spent = process.usage()?.seconds_since(&before);
    let seconds = (nanos() - begun) as f64 / 1e9;
    let mut figures = Figures::default();
    figures.push("kB/connection", each / 1e3);
    figures.push("idle CPU ms/s", spent * 1e3 / seconds);
    figures.push("resident MB", process.resident_bytes()? as f64 / 1e6);
    Ok(figures)
}

impl Target {
    /// A connection with one request behind it. Whoever opens thousands without waiting for answers overruns the backlog
    /// of the listener, and waits for seconds.
    pub(super) fn greeted(&self) -> Outcome<Client> {
        let request = ApiVersionsRequest {
            client_software_name: "load".into(),
            client_software_version: "1".into(),
        };
        let mut client = self.client()?;
        client.ask(&request, 3)?;
        Ok(client)
    }
}

/// Waits until the broker has done what it does behind its answers, three seconds at most.
///
/// # Errors
/// There is no such process.
pub fn settle(process: Process) -> Outcome<()> {
    let begun = nanos();
    let mut before = process.usage()?;
    loop {
        rest(SETTLE_TURN);
        let now = process.usage()?;
        let share = now.seconds_since(&before) / SETTLE_TURN.as_secs_f64();
        if share < SETTLED_CORES || nanos() - begun > SETTLE_NANOS_MAX {
            return Ok(());
        }
        before = now;
    }
}

const IDLE_TIME: Duration = Duration::from_secs(5);
const SETTLE_TURN: Duration = Duration::from_millis(200);
/// A JVM at rest may need a hundredth of a core.
const SETTLED_CORES: f64 = 0.03;
const SETTLE_NANOS_MAX: u64 = 3_000_000_000;
