//! The room that acts: files, rings, clocks and randomness, behind handles that a simulation can stand in for.
//!
//! The only place in Millrace with `unsafe`, system calls, time and chance. It knows positions and lengths; it knows
//! no record, no offset and no partition, and it never decides what must be durable when.

mod clock;
mod disk;
mod error;
mod file;
mod rng;

pub use clock::{Clock, SimClock};
pub use disk::{DirLock, Disk, Entry, LockError, Space};
pub use error::IoError;
pub use file::File;
pub use rng::Random;
