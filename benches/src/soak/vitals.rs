//! What a broker occupies at one moment, and whether that stays the same over time.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Outcome;
use crate::load::Process;

/// What a broker occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub descriptors: u64,
    /// Threads, kernel workers of its rings included.
    pub threads: u64,
    /// Bytes that its data takes on the disk.
    pub disk_bytes: u64,
}

impl Vitals {
    /// Looks at a broker and at its data.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(process: Process, data: &Path) -> Outcome<Self> {
        let tasks = fs::read_dir(format!("/proc/{}/task", process.0))?;
        Ok(Self {
            resident_bytes: process.resident_bytes()?,
            descriptors: process.descriptors()?,
            threads: u64::try_from(tasks.count())?,
            disk_bytes: allocated(data),
        })
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "resident {:6.1} MB, {:4} descriptors, {:3} threads, disk {:7.1} MB",
            self.resident_bytes as f64 / 1e6,
            self.descriptors,
            self.threads,
            self.disk_bytes as f64 / 1e6
        )
    }
}

/// Bytes allocated below a directory. What goes away while it is looked at counts nothing.
fn allocated(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => allocated(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// One kind of figure over the second half of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatness {
    /// What is measured.
    pub name: &'static str,
    /// The most in the third quarter.
    pub before: u64,
    /// The most in the last.
    pub after: u64,
    /// What it may grow by beyond a tenth, for it moves up and down.
    pub slack: u64,
}

impl Flatness {
    /// Holds the last quarter against the one before.
    #[must_use]
    pub fn of(vitals: &[Vitals]) -> [Self; 4] {
        let half = vitals.len() / 2;
        let (third, last) = vitals[half..].split_at((vitals.len() - half) / 2);
        let flatness = |name, figure: fn(&Vitals) -> u64, slack| {
            let most = |part: &[Vitals]| part.iter().map(figure).max().unwrap_or_default();
            Self {
                name,
                before: most(third),
                after: most(last),
                slack,
            }
        };
        [
            flatness("resident bytes", |one| one.resident_bytes, 8 << 20),
            flatness("descriptors", |one| one.descriptors, 20),
            flatness("threads", |one| one.threads, 8),
            flatness("disk bytes", |one| one.disk_bytes, 200 << 20),
        ]
    }

    /// Whether it is flat.
    #[must_use]
    pub fn is_flat(self) -> bool {
        self.after <= self.before + self.before / 10 + self.slack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(resident: impl Fn(u64) -> u64) -> Vec<Vitals> {
        let at = |minute| Vitals {
            resident_bytes: resident(minute),
            descriptors: 50,
            threads: 9,
            disk_bytes: 1 << 30,
        };
        (0..60).map(at).collect()
    }

    #[test]
    fn what_only_moves_up_and_down_is_flat() {
        let restarts = run(|minute| (20 + minute % 3 * 10) << 20);
        assert!(Flatness::of(&restarts).into_iter().all(Flatness::is_flat));
        let growth_at_first = run(|minute| (20 + minute.min(25)) << 20);
        assert!(Flatness::of(&growth_at_first)[0].is_flat());
    }

    #[test]
    fn what_grows_in_the_second_half_is_not() {
        let leak = run(|minute| (100 + minute * 3) << 20);
        let [resident, descriptors, ..] = Flatness::of(&leak);
        assert!(!resident.is_flat(), "{resident:?}");
        assert!(descriptors.is_flat());
    }

    #[test]
    fn a_process_and_its_data_can_be_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), vec![1; 100_000]).unwrap();
        let vitals = Vitals::of(Process(std::process::id()), directory.path()).unwrap();
        assert!(vitals.disk_bytes >= 100_000, "{vitals}");
        assert!(vitals.descriptors > 2 && vitals.threads > 0, "{vitals}");
    }
}
