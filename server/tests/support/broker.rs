//! A real broker process with a directory of its own: started, killed, stopped, started again.
//!
//! The system picks the port; a broker started again keeps it, so that clients find it. What the process prints is kept
//! and shown when the test fails. Nothing stays behind.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{PATIENCE, eventually};

/// Settings that make tests quick; what a test asks for comes after them and wins.
const QUICK: &[(&str, &str)] = &[
    ("num.shards", "2"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "4"),
];

/// One broker. Dropped, its process is killed and its directory removed.
pub(crate) struct Broker {
    process: Option<Child>,
    /// Where it listens now.
    address: SocketAddr,
    /// Where clients expect it.
    home: SocketAddr,
    settings: Vec<String>,
    /// The command that runs its program, if another does.
    launcher: &'static [&'static str],
    printed: Arc<Mutex<Vec<String>>>,
    /// They keep what the process prints, and end with it.
    readers: Vec<JoinHandle<()>>,
    directory: TempDir,
}

impl Broker {
    /// A broker on an empty directory and a port the system picks.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        Self::started(settings, &[])
    }

    /// A broker whose program is run by another, as in `nohup program`.
    pub(crate) fn start_by(launcher: &'static [&'static str]) -> Self {
        Self::started(&[], launcher)
    }

    /// A broker on a port that the system gives to no outgoing connection: a client that keeps trying while the broker
    /// is down would, sooner or later, be given the very port it tries to reach, connect to itself and keep it.
    pub(crate) fn start_on_a_lasting_port(settings: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let outgoing = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let lasting = lasting_ports(&outgoing.unwrap_or_default());
        let own = u16::try_from(std::process::id() % 10_000).unwrap_or(0);
        let ports = (0..100).map(|_| {
            let place = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            lasting.start + place % (lasting.end - lasting.start)
        });
        Self::start_on_one_of(ports, settings)
    }

    /// A broker on the first of these ports that nobody has. The broker itself tells: whoever looked before might be
    /// overtaken.
    pub(crate) fn start_on_one_of(
        ports: impl IntoIterator<Item = u16>,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut broker = Self::not_started(settings, &[]);
        for port in ports {
            match broker.try_start_at(SocketAddr::from(([127, 0, 0, 1], port))) {
                Ok(()) => {
                    broker.home = broker.address;
                    return broker;
                }
                Err(said) if said.contains("Address already in use") => {}
                Err(said) => panic!("{said}"),
            }
        }
        panic!("somebody has each of the ports");
    }

    fn started(settings: &[(&str, &str)], launcher: &'static [&'static str]) -> Self {
        let mut broker = Self::not_started(settings, launcher);
        broker.start_again();
        broker.home = broker.address;
        broker
    }

    fn not_started(settings: &[(&str, &str)], launcher: &'static [&'static str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("millrace-test-")
            .tempdir()
            .expect("a temporary directory");
        let settings = QUICK
            .iter()
            .chain(settings)
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let home = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            process: None,
            address: home,
            home,
            settings,
            launcher,
            printed: Arc::default(),
            readers: Vec::new(),
            directory,
        }
    }

    /// Starts the process on the same directory and port.
    pub(crate) fn start_again(&mut self) {
        self.start_at(self.home);
    }

    /// Starts the process on the same directory, but where its clients do not look for it.
    pub(crate) fn start_aside(&mut self) {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0)));
    }

    fn start_at(&mut self, address: SocketAddr) {
        self.try_start_at(address)
            .unwrap_or_else(|said| panic!("{said}"));
    }

    /// As [`Self::start_at`]; what it said, if it ended at once.
    fn try_start_at(&mut self, address: SocketAddr) -> Result<(), String> {
        let printed_before = self.printed().len();
        self.spawn(address);
        self.address = self.bound_address(printed_before)?;
        eventually("a connection to the broker", || {
            std::net::TcpStream::connect(self.address).ok()
        });
        Ok(())
    }

    /// Starts the process and kills it soon after, wherever it is by then.
    pub(crate) fn start_and_kill_after(&mut self, delay: Duration) {
        self.spawn(self.home);
        std::thread::sleep(delay);
        self.kill();
    }

    fn spawn(&mut self, address: SocketAddr) {
        assert!(self.process.is_none(), "the broker is running");
        let mut command = match self.launcher {
            [] => Command::new(program()),
            [launcher, arguments @ ..] => {
                let mut command = Command::new(launcher);
                command.args(arguments).arg(program());
                command
            }
        };
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("RUST_LOG", "info,millrace_server::net::moves=debug")
            .arg("--override")
            .arg(format!("listeners=PLAINTEXT://{address}"))
            .arg("--override")
            .arg(format!("log.dirs={}", self.data().display()));
        for setting in &self.settings {
            command.arg("--override").arg(setting);
        }
        let mut process = command.spawn().expect("the broker starts");
        let stdout = process.stdout.take().map(|stdout| self.keep(stdout));
        let stderr = process.stderr.take().map(|stderr| self.keep(stderr));
        self.readers = stdout.into_iter().chain(stderr).collect();
        self.process = Some(process);
    }

    /// The address that the broker says it listens on, found in what it printed since it was started; or what it said, if
    /// it ended instead.
    fn bound_address(&mut self, printed_before: usize) -> Result<SocketAddr, String> {
        let printed = Arc::clone(&self.printed);
        let bound = eventually("the broker to print its listener", || {
            if let Some(status) = self
                .process
                .as_mut()
                .and_then(|process| process.try_wait().ok()?)
            {
                return Some(Err(status));
            }
            let printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            let mut new = printed[printed_before..].iter();
            new.find_map(|line| listener_in(line)).map(Ok)
        });
        bound.map_err(|status| {
            self.kill();
            for reader in self.readers.drain(..) {
                let _ = reader.join();
            }
            let said = self.printed()[printed_before..].join("\n");
            format!("the broker ended at once: {status}\n{said}")
        })
    }

    fn keep(&self, output: impl Read + Send + 'static) -> JoinHandle<()> {
        let printed = Arc::clone(&self.printed);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                printed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        })
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its log directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A scratch place beside the log directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The lines printed so far, both outputs mixed.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.printed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The printed lines that contain the text.
    pub(crate) fn printed_with(&self, text: &str) -> Vec<String> {
        let mut lines = self.printed();
        lines.retain(|line| line.contains(text));
        lines
    }

    /// Waits for that many printed lines with the text: they may come later than the answer they are about.
    pub(crate) fn await_printed(&self, text: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} lines with {text:?}"), || {
            let lines = self.printed_with(text);
            (lines.len() >= count).then_some(lines)
        })
    }

    /// SIGKILL, and gone when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a running broker");
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("a process id"));
        kill(pid, signal).expect("a signal to our own child");
    }

    /// SIGTERM; how the process ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.stop_by(Signal::SIGTERM)
    }

    /// Another signal that ends it; how the process ended.
    pub(crate) fn stop_by(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let mut process = self.process.take().expect("a running broker");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = process.try_wait().expect("the state of our own child") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = process.kill();
                let _ = process.wait();
                panic!("the broker did not stop within {PATIENCE:?} of {signal}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops cleanly and starts again.
    pub(crate) fn restart(&mut self) {
        let status = self.stop();
        assert!(
            status.success(),
            "the broker ended with {status} after SIGTERM"
        );
        self.start_again();
    }

    /// Kills and starts again.
    pub(crate) fn crash(&mut self) {
        self.kill();
        self.start_again();
    }

    /// How many files and sockets the process has open.
    pub(crate) fn open_files(&self) -> usize {
        let process = self.process.as_ref().expect("a running broker");
        let listed = std::fs::read_dir(format!("/proc/{}/fd", process.id()));
        listed.expect("the state of our own child").count()
    }

    /// Lets the process have no more than `count` files and sockets open; it keeps what it has.
    pub(crate) fn allow_open_files(&self, count: usize) {
        let process = self.process.as_ref().expect("a running broker");
        let status = Command::new("prlimit")
            .arg(format!("--nofile={count}:"))
            .args(["--pid", &process.id().to_string()])
            .status();
        assert!(status.expect("prlimit, of util-linux").success());
    }

    /// What all its threads have computed so far, to a hundredth of a second.
    pub(crate) fn processor_time(&self) -> Duration {
        let process = self.process.as_ref().expect("a running broker");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))
            .expect("the state of our own child");
        // Behind the name, which is in brackets and may hold anything: user and system time are the 12th and 13th field.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let times = fields.into_iter().flat_map(str::split_whitespace);
        let ticks = times.skip(11).take(2).map(|ticks| ticks.parse::<u64>());
        let ticks: u64 = ticks.sum::<Result<_, _>>().expect("a count of ticks");
        Duration::from_millis(10 * ticks)
    }

    /// Memory the process occupies, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most memory it ever occupied, in bytes.
    pub(crate) fn resident_bytes_max(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Whether SIGHUP does nothing to it.
    pub(crate) fn ignores_hangup(&self) -> bool {
        let ignored = u64::from_str_radix(&self.status("SigIgn:"), 16).expect("a mask of signals");
        // The lowest bit is signal 1.
        ignored & 1 != 0
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let kibibytes: u64 = self.status(field).parse().expect("a resident set size");
        kibibytes * 1024
    }

    /// The first word of a field of proc(5).
    fn status(&self, field: &str) -> String {
        let process = self.process.as_ref().expect("a running broker");
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))
            .expect("the state of our own child");
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        let word = value.and_then(|value| value.split_whitespace().next());
        word.expect("a field of the process's state").to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let ended = self
            .process
            .as_mut()
            .and_then(|process| process.try_wait().ok()?);
        self.kill();
        if std::thread::panicking() {
            if let Some(status) = ended {
                eprintln!("the broker had ended by itself: {status}");
            }
            let printed = self.printed();
            let shown = printed.len().saturating_sub(SHOWN_LINES);
            eprintln!("--- what the broker printed (last {SHOWN_LINES} lines) ---");
            for line in printed.iter().skip(shown) {
                eprintln!("{line}");
            }
        }
    }
}

/// How much of a broker's output a failed test shows.
const SHOWN_LINES: usize = 100;

/// Runs a program to its end, which has to come by itself.
pub(crate) fn run_to_its_end(command: &mut Command) -> Output {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program starts");
    let deadline = Instant::now() + PATIENCE;
    while let Ok(None) = process.try_wait() {
        if Instant::now() > deadline {
            let _ = process.kill();
            panic!("it goes on: {:?}", process.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    process.wait_with_output().expect("what it printed")
}

/// Ports below those that the system gives to outgoing connections, which `outgoing` names as `ip_local_port_range` does
/// (ip(7)); where there are hardly any, they are as good as others.
fn lasting_ports(outgoing: &str) -> Range<u16> {
    let first = outgoing.split_whitespace().next();
    let end = match first.and_then(|first| first.parse::<u16>().ok()) {
        Some(first) if first >= 12_000 => first,
        Some(_) => 30_000,
        None => 32_768,
    };
    end - 10_000..end
}

#[test]
fn lasting_ports_are_below_those_of_outgoing_connections() {
    assert_eq!(lasting_ports("32768\t60999\n"), 22_768..32_768);
    assert_eq!(lasting_ports("15000\t61000\n"), 5_000..15_000);
    assert_eq!(lasting_ports("1024\t65535\n"), 20_000..30_000);
    assert_eq!(lasting_ports(""), 22_768..32_768);
}

/// The broker under test; `MILLRACE_SERVER` names another program that takes the same arguments.
pub(crate) fn program() -> PathBuf {
    match std::env::var_os("MILLRACE_SERVER") {
        Some(program) => program.into(),
        None => env!("CARGO_BIN_EXE_millrace-server").into(),
    }
}

/// The address in a line such as `listening on PLAINTEXT://127.0.0.1:41234`.
pub(crate) fn listener_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("PLAINTEXT://")?;
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
        .unwrap_or(rest.len());
    rest[..end]
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() != 0)
}
