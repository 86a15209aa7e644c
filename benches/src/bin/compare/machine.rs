//! Where and when figures were taken; without that they say nothing.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use millrace_benches::{Outcome, repository};

use crate::programs::first_line;

/// The machine, the day, and the tree.
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    file_system: String,
    date: String,
    commit: String,
    load: String,
}

impl Machine {
    /// This one; data lies in `directory`.
    pub(crate) fn here(directory: &Path) -> Outcome<Self> {
        fs::create_dir_all(directory)?;
        let memory = field("/proc/meminfo", "MemTotal")?;
        let memory = memory.trim_end_matches(" kB").parse::<u64>()?;
        let mut describe = Command::new("git");
        describe.args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=10",
            "--exclude=*",
        ]);
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name")?,
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory / (1 << 20) + 1,
            kernel: first_line(Command::new("uname").arg("-sr"))?,
            file_system: file_system_of(&directory.canonicalize()?)?,
            date: first_line(Command::new("date").arg("+%Y-%m-%d"))?,
            commit: first_line(describe.current_dir(repository()))?,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores of {}, {} GiB, {}, data on {}, clients and broker on the same cores; \
             Millrace {}; {}; load average before the run {}",
            self.cores,
            self.processor,
            self.memory_gib,
            self.kernel,
            self.file_system,
            self.commit,
            self.date,
            self.load
        )
    }
}

/// The type of the file system that holds `path`.
fn file_system_of(path: &Path) -> Outcome<String> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = fields.filter(|(place, _)| path.starts_with(place));
    // Of several mounts at one place the last one is seen.
    let nearest = holding.max_by_key(|(place, _)| place.len());
    let (_, kind) = nearest.ok_or("nothing is mounted there")?;
    Ok(kind.to_owned())
}

/// The first field of this name in a file of `NAME: value` lines.
fn field(path: &str, name: &str) -> Outcome<String> {
    let text = fs::read_to_string(path)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    let (_, value) = found.ok_or_else(|| format!("{path} has no {name}"))?;
    Ok(value.trim().to_owned())
}
