//! A shard's way to its files: submit actions, reap completions, never block.
//!
//! One handle, three insides; which one it is was decided at start-up and shows nowhere else.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::action::{Action, Completion, Job, Outcome, Task, Ticket};
use super::error::IoError;
use super::sim::SimRing;
use super::threads::Threads;
use super::uring::Uring;

/// How files are reached on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoBackend {
    /// Through io_uring.
    Uring,
    /// Through a few blocking threads per shard.
    Threads {
        /// Why not io_uring, in words for the start-up line.
        reason: String,
    },
}

impl IoBackend {
    /// Finds out, by trying, whether the kernel gives us a ring.
    #[must_use]
    pub fn probe() -> Self {
        match open_event().and_then(Uring::open) {
            Ok(_) => Self::Uring,
            Err(error) => Self::Threads {
                reason: why_not(&error),
            },
        }
    }
}

impl std::fmt::Display for IoBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uring => f.write_str("io_uring"),
            Self::Threads { reason } => write!(f, "threads ({reason})"),
        }
    }
}

/// One thread's submissions and completions. Made and used on one thread; dropping it waits until no buffer is in the
/// hands of the kernel any more.
pub struct Ring {
    inside: Inside,
    backend: IoBackend,
    /// Signalled whenever the insides have something to reap; `None` when only a simulation's turn makes anything.
    event: Option<Arc<EventFd>>,
    done: VecDeque<Completion>,
    /// Submitted and not yet handed out by `reap`.
    in_flight: usize,
    /// The kernel takes entries only from the thread that made the ring.
    _one_thread: PhantomData<*const ()>,
}

enum Inside {
    Uring(Box<Uring>),
    Threads(Threads),
    Sim(SimRing),
}

impl Ring {
    /// A ring of the calling thread. Falls back to threads, and says so in [`Ring::backend`], when the kernel refuses
    /// this one after the probe succeeded.
    pub fn open(backend: &IoBackend) -> Result<Self, IoError> {
        let failed = |source| IoError::new("eventfd", Path::new(""), source);
        let event = open_event().map_err(failed)?;
        let threads = |reason: String| {
            (
                Inside::Threads(Threads::new(event.clone())),
                IoBackend::Threads { reason },
            )
        };
        let (inside, backend) = match backend {
            IoBackend::Threads { reason } => threads(reason.clone()),
            IoBackend::Uring => match Uring::open(event.clone()) {
                Ok(uring) => (Inside::Uring(Box::new(uring)), IoBackend::Uring),
                Err(error) => threads(why_not(&error)),
            },
        };
        Ok(Self::with_inside(inside, backend, Some(event)))
    }

    /// A ring of a simulated machine; it takes no files of another.
    pub(super) fn sim(ring: SimRing) -> Self {
        let backend = IoBackend::Threads {
            reason: "simulated".into(),
        };
        Self::with_inside(Inside::Sim(ring), backend, None)
    }

    fn with_inside(inside: Inside, backend: IoBackend, event: Option<Arc<EventFd>>) -> Self {
        let done = VecDeque::new();
        Self {
            inside,
            backend,
            event,
            done,
            in_flight: 0,
            _one_thread: PhantomData,
        }
    }

    /// What this ring goes through.
    #[must_use]
    pub fn backend(&self) -> &IoBackend {
        &self.backend
    }

    /// Begins `action`; its completion, with `ticket`, is there to be reaped at once or later. How many may be in
    /// flight is the caller's bound: past what the kernel takes they queue here.
    pub fn submit(&mut self, ticket: Ticket, action: Action) {
        if let Some(result) = self.start(ticket, action) {
            self.in_flight += 1;
            self.done.push_back(Completion { ticket, result });
        }
    }

    /// Begins `action` and answers if that was all there was to do; else a completion follows.
    pub(super) fn start(
        &mut self,
        ticket: Ticket,
        action: Action,
    ) -> Option<Result<Outcome, IoError>> {
        let mut task = match Task::of(action) {
            Ok(task) => task,
            Err(error) => return Some(Err(error)),
        };
        let simulated = matches!(self.inside, Inside::Sim(_));
        if simulated != task.file().descriptor().is_none() {
            return Some(Err(task.failed(io::ErrorKind::Unsupported)));
        }
        // In a simulation everything waits for its turn: what may be inline may as well be late.
        if !simulated && let Some(result) = task.begin() {
            return Some(result);
        }
        self.in_flight += 1;
        let job = Job { ticket, task };
        match &mut self.inside {
            Inside::Uring(uring) => uring.submit(job),
            Inside::Threads(threads) => threads.submit(job),
            Inside::Sim(ring) => ring.submit(job),
        }
        None
    }

    /// Appends every completion there is to `out`, oldest first within what the kernel reports.
    pub fn reap(&mut self, out: &mut Vec<Completion>) {
        match &mut self.inside {
            Inside::Uring(uring) => uring.reap(&mut self.done),
            Inside::Threads(threads) => threads.reap(&mut self.done),
            Inside::Sim(ring) => ring.turn(&mut self.done),
        }
        self.in_flight -= self.done.len();
        out.extend(self.done.drain(..));
    }

    /// Actions submitted whose completion has not been reaped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether completions lie here that no event announces.
    pub(super) fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// What to wait on until there may be something to reap. Never read: it is watched edge by edge.
    pub(super) fn event(&self) -> Option<Arc<EventFd>> {
        self.event.clone()
    }
}

fn open_event() -> io::Result<Arc<EventFd>> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    Ok(EventFd::from_flags(flags).map(Arc::new)?)
}

/// The refusal in an administrator's words.
fn why_not(error: &io::Error) -> String {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let disabled = disabled.as_deref().map(str::trim).unwrap_or("0");
    match error.raw_os_error() {
        Some(libc::EPERM) if disabled != "0" => format!("kernel.io_uring_disabled is {disabled}"),
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here, probably by a container's seccomp profile".into()
        }
        Some(libc::ENOSYS) => "this kernel has no io_uring, or seccomp hides it".into(),
        Some(libc::ENOMEM) => "no memory for a ring, perhaps RLIMIT_MEMLOCK is too small".into(),
        Some(libc::EINVAL) | None => "the io_uring of this kernel is too old".into(),
        Some(_) => format!("io_uring: {error}"),
    }
}

#[cfg(test)]
pub(super) mod tests;
