//! The room that acts: files, rings, clocks and randomness, behind handles that a simulation can stand in for.
//!
//! The only place in Millrace with `unsafe`, system calls, time and chance. It knows positions and lengths; it knows
//! no record, no offset and no partition, and it never decides what must be durable when.

mod action;
mod clock;
mod cores;
mod disk;
mod error;
mod file;
mod large_writes;
mod local_ring;
mod nowait;
mod process;
mod queue;
mod reread;
mod ring;
mod rng;
mod send_file;
mod sim;
mod threads;
mod uring;

pub use action::{Action, Completion, Outcome, Ticket, perform_at_once};
pub use clock::{Clock, SimClock};
pub use cores::{AvailableCores, available_cores, let_roam, pin_to};
pub use disk::{DirLock, Disk, Entry, LockError, Space};
pub use error::IoError;
pub use file::{File, FileId};
pub use local_ring::LocalRing;
pub use process::{lower_priority, raise_open_files_limit, resident_bytes, run_when_idle};
pub use reread::Reread;
pub use ring::{IoBackend, Ring};
pub use rng::Random;
pub use send_file::{Piece, SendFileError, TURN_BYTES, read_resident, send_file};
pub use sim::{Check, Faults, Lies, Sim, SimOperation};
