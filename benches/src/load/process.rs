//! What a process costs, as the system counts it: processor time and switches of all its threads, and memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::Outcome;

/// A process that is looked at from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub u32);

/// Processor time up to one moment.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Nanoseconds of each thread, kernel workers of its rings included.
    threads: BTreeMap<u32, u64>,
    /// Ticks of the whole process, threads that ended included.
    ticks: u64,
    /// Times that each thread left its core, of its own will or not.
    switches: BTreeMap<u32, u64>,
}

/// Lets this process, and those it starts, have as many open files as the system allows: a connection is one.
///
/// # Errors
/// The system refuses.
pub fn allow_open_files() -> Outcome<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}

impl Process {
    /// Processor time so far.
    ///
    /// # Errors
    /// There is no such process.
    pub fn usage(self) -> Outcome<Usage> {
        let mut threads = BTreeMap::new();
        let mut switches = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let task = task?;
            let id = task.file_name().to_string_lossy().parse()?;
            // A thread may end between the listing and the look at it.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let ran = text.split(' ').next().ok_or("no figure in schedstat")?;
            threads.insert(id, ran.parse()?);
            if let Ok(status) = fs::read_to_string(task.path().join("status")) {
                switches.insert(id, switches_in(&status));
            }
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name, in brackets, may hold anything; user and system time are the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Usage {
            threads,
            ticks,
            switches,
        })
    }

    /// CPU-seconds since its start.
    ///
    /// # Errors
    /// There is no such process.
    pub fn cpu_seconds(self) -> Outcome<f64> {
        Ok(self.usage()?.ticks as f64 / TICKS_PER_SECOND)
    }

    /// Resident memory in bytes, now.
    ///
    /// # Errors
    /// There is no such process.
    pub fn resident_bytes(self) -> Outcome<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most that was ever resident, in bytes.
    ///
    /// # Errors
    /// There is no such process.
    pub fn resident_bytes_max(self) -> Outcome<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Bytes that it had the device read for it: those of the page cache do not count.
    ///
    /// # Errors
    /// There is no such process, or it is somebody else's, or the kernel does not count.
    pub fn device_bytes_read(self) -> Outcome<u64> {
        let counts = fs::read_to_string(format!("/proc/{}/io", self.0))?;
        let mut counts = counts.lines().filter_map(|line| line.split_once(": "));
        let found = counts.find(|(name, _)| *name == "read_bytes");
        Ok(found.ok_or("no read_bytes of a process")?.1.parse()?)
    }

    /// The directory of this name in which it has files open.
    ///
    /// # Errors
    /// There is no such process, or it is somebody else's, or none of its open files is in such a directory.
    pub fn open_directory(self, name: &str) -> Outcome<PathBuf> {
        for entry in fs::read_dir(format!("/proc/{}/fd", self.0))? {
            // It may have been closed meanwhile; sockets have no directory.
            let Ok(path) = fs::read_link(entry?.path()) else {
                continue;
            };
            let directory = path.parent().filter(|directory| directory.ends_with(name));
            if let Some(directory) = directory {
                return Ok(directory.to_owned());
            }
        }
        Err(format!("process {} has no file open in a directory {name}", self.0).into())
    }

    /// Open files and sockets.
    ///
    /// # Errors
    /// There is no such process.
    pub fn descriptors(self) -> Outcome<u64> {
        Ok(u64::try_from(
            fs::read_dir(format!("/proc/{}/fd", self.0))?.count(),
        )?)
    }

    /// Begins anew with [`Process::resident_bytes_max`].
    ///
    /// # Errors
    /// There is no such process, or it is somebody else's.
    pub fn forget_most_resident(self) -> Outcome<()> {
        // See proc(5): 5 resets the peak.
        Ok(fs::write(format!("/proc/{}/clear_refs", self.0), "5")?)
    }

    fn status_bytes(self, field: &str) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find(|line| line.starts_with(field));
        let line = line.ok_or_else(|| format!("no {field} of process {}", self.0))?;
        let kibibytes: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
        Ok(kibibytes * 1024)
    }
}

impl Usage {
    /// CPU-seconds, user and system, since `before`.
    ///
    /// To the nanosecond while the threads stay the same; to ticks of 10 ms when one of them ended meanwhile.
    #[must_use]
    pub fn seconds_since(&self, before: &Self) -> f64 {
        let known = before.threads.keys();
        if known
            .clone()
            .all(|thread| self.threads.contains_key(thread))
        {
            let sum = |usage: &Self| usage.threads.values().sum::<u64>();
            sum(self).saturating_sub(sum(before)) as f64 / 1e9
        } else {
            self.ticks.saturating_sub(before.ticks) as f64 / TICKS_PER_SECOND
        }
    }

    /// Context switches since `before`, but those of threads that ended meanwhile.
    #[must_use]
    pub fn switches_since(&self, before: &Self) -> u64 {
        let since = |(thread, count): (&u32, &u64)| {
            count.saturating_sub(before.switches.get(thread).copied().unwrap_or_default())
        };
        self.switches.iter().map(since).sum()
    }
}

/// The two counts of a thread's `status`, one for waits and one for lost turns.
fn switches_in(status: &str) -> u64 {
    let counts = status.lines().filter_map(|line| {
        let (name, count) = line.split_once(':')?;
        let count = count.trim().parse::<u64>().ok();
        count.filter(|_| name.ends_with("voluntary_ctxt_switches"))
    });
    counts.sum()
}

/// USER_HZ, which is 100 on every Linux that counts.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn usage(threads: &[(u32, u64)], ticks: u64) -> Usage {
        Usage {
            threads: threads.iter().copied().collect(),
            ticks,
            switches: threads.iter().copied().collect(),
        }
    }

    #[test]
    fn switches_are_counted_of_threads_that_are_there_at_the_end() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches_in(status), 9);
        let before = usage(&[(1, 100), (2, 50)], 0);
        let after = usage(&[(1, 130), (3, 4)], 0);
        assert_eq!(after.switches_since(&before), 34);
    }

    #[test]
    fn time_is_exact_while_threads_stay_and_in_ticks_when_one_ended() {
        let before = usage(&[(1, 1_000_000), (2, 5_000_000)], 100);
        let same = usage(&[(1, 3_000_000), (2, 5_500_000), (3, 500_000)], 101);
        assert!((same.seconds_since(&before) - 0.003).abs() < 1e-9);
        let fewer = usage(&[(1, 3_000_000)], 103);
        assert!((fewer.seconds_since(&before) - 0.03).abs() < 1e-9);
    }

    #[test]
    fn the_figures_of_a_process_can_be_read() {
        let this = Process(std::process::id());
        // A thread that waits leaves its core once.
        let (nobody, nothing) = mpsc::channel::<()>();
        let waited = nothing.recv_timeout(Duration::from_millis(1));
        assert!(waited.is_err());
        drop(nobody);
        let before = this.usage().unwrap();
        // Bounds only: between two looks, other tests of this process give memory back, and the kernel notes the most
        // that was resident late and roughly.
        let resident = this.resident_bytes().unwrap();
        assert!(resident > 100_000, "{resident} bytes resident");
        let most = this.resident_bytes_max().unwrap();
        assert!(most > 100_000, "{most} bytes resident at most");
        assert!(this.usage().unwrap().seconds_since(&before) >= 0.0);
        assert!(before.switches.values().sum::<u64>() > 0, "{before:?}");
        this.device_bytes_read().unwrap();
    }

    #[test]
    fn the_directory_of_an_open_file_is_found_by_its_name_until_it_is_closed() {
        let this = Process(std::process::id());
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("found-by-its-name-0");
        fs::create_dir(&directory).unwrap();
        let file = fs::File::create(directory.join("0.log")).unwrap();
        let found = this.open_directory("found-by-its-name-0").unwrap();
        assert_eq!(found, directory.canonicalize().unwrap());
        drop(file);
        let error = this.open_directory("found-by-its-name-0").unwrap_err();
        assert!(error.to_string().contains("no file open"), "{error}");
    }
}
