//! What the kernel grants this process as a whole: open files and memory; and how little a thread may ask for.

#![expect(unsafe_code, reason = "there is no safe wrapper for setpriority(2)")]

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::error::IoError;
use super::nowait::page_bytes;

/// Raises the number of files and sockets this process may have open to the most it may ask for, and says how many
/// that is.
pub fn raise_open_files_limit() -> Result<u64, IoError> {
    let failed = |errno| IoError::new("setrlimit", Path::new("RLIMIT_NOFILE"), errno);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(failed)?;
    }
    Ok(hard)
}

/// Memory of this process that is in RAM, in bytes; `None` where `/proc` is not mounted.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(page_bytes())
}

/// Lets every thread of normal priority go before the calling one. Where the kernel refuses, nothing is lost but the
/// courtesy.
pub fn lower_priority() {
    // SAFETY: the call takes three numbers and no memory; on Linux id 0 of `PRIO_PROCESS` is the calling thread alone.
    unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, MAINTENANCE_NICE) };
}

/// Lets the calling thread run only while nobody else wants to: whoever wakes up has its core at once, where a thread of low
/// priority would keep it to the end of a slice (sched(7), `SCHED_IDLE`). Where the kernel refuses, it has low priority at least.
pub fn run_when_idle() {
    lower_priority();
    let none = nix::libc::sched_param { sched_priority: 0 };
    // SAFETY: `none` lives for the call, which only reads it; id 0 is the calling thread.
    unsafe { nix::libc::sched_setscheduler(0, nix::libc::SCHED_IDLE, &raw const none) };
}

/// Half-way down the scale.
const MAINTENANCE_NICE: nix::libc::c_int = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_open_files_goes_up_to_the_hard_one() {
        let limit = raise_open_files_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, limit);
    }

    #[test]
    fn a_running_process_is_in_memory() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
