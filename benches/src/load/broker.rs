//! Broker processes started for a measurement: Millrace, Apache Kafka, the floor.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use millrace_wire::message::api_versions::ApiVersionsRequest;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::clock::{nanos, rest};
use super::process::Process;
use super::target::{Kind, Target};
use crate::{Client, Outcome};

/// What can be started.
#[derive(Clone, Debug)]
pub enum Program {
    /// A `millrace-server`.
    Millrace {
        /// The binary.
        server: PathBuf,
        /// Further lines of its properties file.
        properties: Vec<String>,
    },
    /// Apache Kafka in the JVM, as its own start script sets it up.
    Kafka {
        /// A directory with its jars.
        libraries: PathBuf,
    },
    /// The floor.
    Floor {
        /// The binary.
        server: PathBuf,
        /// Whether it has one file instead of one per partition.
        one_file: bool,
    },
}

/// A running broker. It ends with the value, and its data goes with the directory.
#[derive(Debug)]
pub struct Broker {
    process: Child,
    target: Target,
}

/// A broker's data and log.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
}

/// A broker with a home of its own, which goes with it.
#[derive(Debug)]
pub struct Housed {
    // Ends before the directory goes.
    broker: Broker,
    home: Home,
}

impl Housed {
    /// Starts a program on empty data somewhere in `directory`.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start(program: &Program, directory: &Path) -> Outcome<Self> {
        let home = Home::new(directory)?;
        let broker = Broker::start(program, &home)?;
        Ok(Self { broker, home })
    }

    /// Takes its turns away: its timers, its collector and its jobs cost nothing until [`Self::resume`]. Its sockets stay.
    ///
    /// # Errors
    /// It is gone.
    pub fn halt(&self) -> Outcome<()> {
        self.broker.signal(Signal::SIGSTOP)
    }

    /// Lets it run again.
    ///
    /// # Errors
    /// It is gone.
    pub fn resume(&self) -> Outcome<()> {
        self.broker.signal(Signal::SIGCONT)
    }

    /// Waits until no file of the topics with this prefix is left; brokers remove them behind their answers. False if some
    /// are still there after half a minute.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn wait_for_deletion(&self, prefix: &str) -> Outcome<bool> {
        let begun = nanos();
        loop {
            let entries = fs::read_dir(self.home.path().join("data"))?;
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            let names = names.collect::<Result<Vec<_>, _>>()?;
            let mut names = names.iter().map(|name| name.to_string_lossy());
            if !names.any(|name| name.starts_with(prefix)) {
                return Ok(true);
            }
            if nanos() - begun > DELETION_NANOS_MAX {
                return Ok(false);
            }
            rest(Duration::from_millis(20));
        }
    }

    /// What to put load on.
    #[must_use]
    pub fn target(&self) -> Target {
        self.broker.target
    }
}

impl Home {
    /// An empty home somewhere in `directory`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn new(directory: &Path) -> Outcome<Self> {
        fs::create_dir_all(directory)?;
        let directory = tempfile::tempdir_in(directory)?;
        Ok(Self { directory })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Broker {
    /// Starts a program and waits until it answers.
    ///
    /// # Errors
    /// It does not answer in time; the end of its log says why.
    pub fn start(program: &Program, home: &Home) -> Outcome<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let log = File::options()
            .create(true)
            .append(true)
            .open(home.path().join("broker.log"))?;
        let mut command = program.command(address, home.path())?;
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let target = Target {
            address,
            process: Process(process.id()),
            kind: program.kind(),
        };
        let mut broker = Self { process, target };
        let begun = nanos();
        while !broker.target.answers() {
            if broker.process.try_wait()?.is_some() || nanos() - begun > START_NANOS_MAX {
                let log = fs::read_to_string(home.path().join("broker.log"))?;
                let tail = log.len().saturating_sub(2_000);
                let tail = log.get(tail..).unwrap_or_default();
                return Err(format!("the broker does not answer: {tail}").into());
            }
            rest(Duration::from_millis(1));
        }
        Ok(broker)
    }

    /// What to put load on.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// Ends it in order, and waits for that.
    ///
    /// # Errors
    /// It did not end well.
    pub fn stop(mut self) -> Outcome<()> {
        self.signal(Signal::SIGTERM)?;
        let status = self.process.wait()?;
        // The JVM reports the signal by its exit code.
        if status.success() || status.code() == Some(143) {
            Ok(())
        } else {
            Err(format!("the broker ended with {status}").into())
        }
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        let process = Pid::from_raw(i32::try_from(self.process.id())?);
        Ok(kill(process, signal)?)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Target {
    /// Whether requests are answered; the floor only has to accept.
    pub(super) fn answers(&self) -> bool {
        let Ok(mut client) = Client::connect(self.address) else {
            return false;
        };
        self.kind == Kind::Floor || client.ask(&ApiVersionsRequest::default(), 0).is_ok()
    }
}

impl Program {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Millrace { .. } => Kind::Millrace,
            Self::Kafka { .. } => Kind::Kafka,
            Self::Floor { .. } => Kind::Floor,
        }
    }

    fn command(&self, address: SocketAddr, home: &Path) -> Outcome<Command> {
        let data = home.join("data");
        let properties = home.join("server.properties");
        match self {
            Self::Millrace {
                server,
                properties: more,
            } => {
                let text = format!(
                    "listeners=PLAINTEXT://{address}\nlog.dirs={}\nlog.segment.delete.delay.ms=0\n{}\n",
                    data.display(),
                    more.join("\n")
                );
                fs::write(&properties, text)?;
                let mut command = Command::new(server);
                command.arg(properties);
                Ok(command)
            }
            Self::Floor { server, one_file } => {
                fs::create_dir_all(&data)?;
                let mut command = Command::new(server);
                command.arg(address.to_string()).arg(data);
                if *one_file {
                    command.arg("one-file");
                }
                Ok(command)
            }
            Self::Kafka { libraries } => {
                let controller = free_port()?;
                let text = format!(
                    "process.roles=broker,controller\nnode.id=1\n\
                     controller.quorum.voters=1@127.0.0.1:{controller}\n\
                     listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}\n\
                     advertised.listeners=PLAINTEXT://{address}\n\
                     controller.listener.names=CONTROLLER\nlog.dirs={}\n\
                     offsets.topic.replication.factor=1\n\
                     transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
                     share.coordinator.state.topic.replication.factor=1\n\
                     share.coordinator.state.topic.min.isr=1\n{KAFKA_HOUSEKEEPING}",
                    data.display()
                );
                fs::write(&properties, text)?;
                if !data.join("meta.properties").exists() {
                    let mut format = java(libraries);
                    format.arg("kafka.tools.StorageTool").args(["format", "-t"]);
                    format.args([CLUSTER_ID, "-c"]).arg(&properties);
                    let output = format.output()?;
                    if !output.status.success() {
                        let said = String::from_utf8_lossy(&output.stderr);
                        return Err(format!("Kafka does not format its data: {said}").into());
                    }
                }
                let mut command = java(libraries);
                command.args(KAFKA_HEAP).arg("kafka.Kafka").arg(properties);
                Ok(command)
            }
        }
    }
}

fn java(libraries: &Path) -> Command {
    let mut command = Command::new("java");
    command.arg("-cp").arg(libraries.join("*"));
    command
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// What Kafka's start script gives the JVM.
const KAFKA_HEAP: [&str; 8] = [
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
];
/// Deleted files go within a second, from the first second on: with no delay at all Kafka looks for them every millisecond,
/// and without the second line not before it is half a minute old. A broker that was stopped for minutes is still one.
const KAFKA_HOUSEKEEPING: &str = "log.segment.delete.delay.ms=1000\nlog.initial.task.delay.ms=500\n\
                                  broker.session.timeout.ms=3600000\n";
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const DELETION_NANOS_MAX: u64 = 30_000_000_000;
const START_NANOS_MAX: u64 = 90_000_000_000;
