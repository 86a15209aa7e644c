//! How many cores are ours, and staying on one of them.
//!
//! The affinity mask says which, the cgroup quota how much time on them; the smaller decides.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::error::IoError;

/// The cores this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailableCores {
    /// Their numbers, ascending; never empty.
    pub cores: Vec<usize>,
    /// How many of them the cgroup's CPU quota pays for, rounded up; at least 1, at most all.
    pub count: usize,
}

/// What the affinity mask and the cgroup (version 2) leave us. Where neither can be read: core 0.
#[must_use]
pub fn available_cores() -> AvailableCores {
    let mask = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    let mut cores: Vec<usize> = (0..CpuSet::count())
        .filter(|&core| mask.is_set(core).unwrap_or(false))
        .collect();
    if cores.is_empty() {
        cores.push(0);
    }
    let count = quota(Path::new("/sys/fs/cgroup"), &own_cgroup()).unwrap_or(usize::MAX);
    AvailableCores {
        count: count.clamp(1, cores.len()),
        cores,
    }
}

/// Keeps the calling thread, and the threads it starts, on `core`.
pub fn pin_to(core: usize) -> Result<(), IoError> {
    let mut mask = CpuSet::new();
    mask.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &mask))
        .map_err(|errno| IoError::new("pin to", Path::new(&format!("core {core}")), errno))
}

/// Lets the calling thread, and those it starts, run on any of `cores`; on none is where it runs now.
pub fn let_roam(cores: &[usize]) -> Result<(), IoError> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut mask = CpuSet::new();
    cores
        .iter()
        .try_for_each(|&core| mask.set(core))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &mask))
        .map_err(|errno| IoError::new("run on", Path::new(&format!("cores {cores:?}")), errno))
}

fn own_cgroup() -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    PathBuf::from(path)
}

/// The tightest quota from `cgroup` up to the root of the hierarchy at `root`, in whole cores; `None` if there is none.
fn quota(root: &Path, cgroup: &Path) -> Option<usize> {
    cgroup
        .ancestors()
        .filter_map(|dir| fs::read_to_string(root.join(dir).join("cpu.max")).ok())
        .filter_map(|text| cores_paid(&text))
        .min()
}

/// `cpu.max` is "quota period" in microseconds, or "max period".
fn cores_paid(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    if period == 0 {
        return None;
    }
    usize::try_from(quota.div_ceil(period)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_rounded_up_to_whole_cores() {
        assert_eq!(cores_paid("150000 100000\n"), Some(2));
        assert_eq!(cores_paid("50000 100000\n"), Some(1));
        assert_eq!(cores_paid("max 100000\n"), None);
        assert_eq!(cores_paid("1 0"), None);
        assert_eq!(cores_paid(""), None);
    }

    #[test]
    fn the_tightest_quota_on_the_way_up_counts() {
        let root = tempfile::TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/cpu.max"), "200000 100000").unwrap();
        fs::write(root.path().join("a/b/cpu.max"), "max 100000").unwrap();
        assert_eq!(quota(root.path(), Path::new("a/b")), Some(2));
        assert_eq!(quota(root.path(), Path::new("")), None);
    }

    #[test]
    fn a_thread_can_be_pinned_to_a_core_it_has() {
        let before = available_cores();
        assert!(before.count >= 1 && before.count <= before.cores.len());
        let core = before.cores[0];
        let pinned = std::thread::spawn(move || {
            pin_to(core).unwrap();
            available_cores().cores
        });
        assert_eq!(pinned.join().unwrap(), [core]);
        assert!(pin_to(usize::MAX).is_err());
    }
}
