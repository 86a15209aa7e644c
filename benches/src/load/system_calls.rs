//! Counting the system calls of a process, by `perf stat`: where there is perf, and where it may.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::libc::O_NONBLOCK;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

use super::clock::{nanos, rest};
use super::process::Process;
use crate::Outcome;

/// A perf that is attached to all threads of a process and counts between `begin` and `finish`.
///
/// Every system call passes a tracepoint meanwhile, so processor time of the same round says little.
#[derive(Debug)]
pub struct SystemCalls {
    perf: Child,
    control: File,
    acknowledged: File,
    directory: TempDir,
}

impl SystemCalls {
    /// Whether they can be counted here.
    #[must_use]
    pub fn can_be_counted() -> bool {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x,", "-e", EVENT, "--", "true"]);
        let output = perf.stdin(Stdio::null()).output();
        output.is_ok_and(|output| count_in(&String::from_utf8_lossy(&output.stderr)).is_ok())
    }

    /// Attaches to the threads that are there; those they start are counted too.
    ///
    /// # Errors
    /// There is no perf, or it may not look at that process.
    pub fn attach(process: Process) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let [control, acknowledged] =
            ["control", "acknowledged"].map(|name| directory.path().join(name));
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        mkfifo(&control, mode)?;
        mkfifo(&acknowledged, mode)?;
        // Both ends at once: opening one end alone would wait for perf, which may never come.
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(O_NONBLOCK);
        let open = |path: &Path| options.open(path);
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x,", "-e", EVENT, "-D", "-1", "-p"])
            .arg(process.0.to_string())
            .arg("--control")
            .arg(format!(
                "fifo:{},{}",
                control.display(),
                acknowledged.display()
            ))
            .arg("-o")
            .arg(directory.path().join("counts"));
        let (control, acknowledged) = (open(&control)?, open(&acknowledged)?);
        let silent = perf.stdin(Stdio::null()).stdout(Stdio::null());
        let perf = silent.stderr(Stdio::null()).spawn()?;
        Ok(Self {
            perf,
            control,
            acknowledged,
            directory,
        })
    }

    /// Counts from here on.
    ///
    /// # Errors
    /// perf ended.
    pub fn begin(&mut self) -> Outcome<()> {
        self.order("enable\n")
    }

    /// Counts no longer, and says how many there were.
    ///
    /// # Errors
    /// perf ended, or counted nothing.
    pub fn finish(mut self) -> Outcome<u64> {
        self.order("disable\n")?;
        kill(
            Pid::from_raw(i32::try_from(self.perf.id())?),
            Signal::SIGINT,
        )?;
        self.perf.wait()?;
        count_in(&fs::read_to_string(self.directory.path().join("counts"))?)
    }

    fn order(&mut self, order: &str) -> Outcome<()> {
        self.control.write_all(order.as_bytes())?;
        let begun = nanos();
        let mut answer = [0; 16];
        loop {
            match self.acknowledged.read(&mut answer) {
                // perf sends the zero behind its text too.
                Ok(count) if answer[..count].ends_with(b"ack\n\0") => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.perf.try_wait()? {
                return Err(format!("perf ended with {status}").into());
            }
            if nanos() - begun > PATIENCE_NANOS {
                return Err("perf does not take orders".into());
            }
            rest(TURN);
        }
    }
}

impl Drop for SystemCalls {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        let _ = self.perf.kill();
        let _ = self.perf.wait();
    }
}

/// The count in perf's lines of fields.
fn count_in(lines: &str) -> Outcome<u64> {
    let line = lines.lines().find(|line| line.contains(EVENT));
    let line = line.ok_or("perf counted nothing")?;
    let count = line.split(',').next().unwrap_or_default();
    // "<not counted>" and "<not supported>" stand there too.
    let count = count.parse();
    count.map_err(|_| format!("perf says {line}").into())
}

const EVENT: &str = "raw_syscalls:sys_enter";
const TURN: Duration = Duration::from_micros(200);
const PATIENCE_NANOS: u64 = 5_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_their_absence_is_told() {
        let counted = "# started on Sat\n\n1234,,raw_syscalls:sys_enter,500,100.00,,\n";
        assert_eq!(count_in(counted).unwrap(), 1_234);
        assert!(count_in("<not counted>,,raw_syscalls:sys_enter,0,100.00,,").is_err());
        assert!(count_in("").is_err());
    }
}
