//! A broker of this build as a process of its own, with a port and a directory of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running broker; killed when it is dropped.
pub(crate) struct Broker {
    process: Child,
    /// Keeps the pipe open for what else the broker may print.
    _printed: BufReader<ChildStdout>,
    /// `host:port`.
    pub(crate) bootstrap: String,
}

impl Broker {
    /// Starts a broker on `directory` with more settings, and waits until it listens.
    pub(crate) fn start(directory: &Path, settings: &[&str]) -> Self {
        let log_dirs = format!("log.dirs={}", directory.display());
        let own = [
            "listeners=PLAINTEXT://127.0.0.1:0",
            log_dirs.as_str(),
            "num.shards=2",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-server"));
        for setting in own.iter().chain(settings) {
            command.args(["--override", setting]);
        }
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let mut printed = BufReader::new(process.stdout.take().expect("a pipe"));
        let bootstrap = printed
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("PLAINTEXT://")?.1.to_owned()))
            .expect("the banner names the listener");
        Self {
            process,
            _printed: printed,
            bootstrap,
        }
    }

    /// Asks the broker to stop; its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let id = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("the broker is there");
        self.process.wait().expect("the broker ends").code()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Ended already, or to be ended now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
