//! A broker in this process, with a directory of its own on a port that the system chooses; and the real program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_server::config::{Sources, load};
use millrace_server::{Running, Server};
use millrace_wire::message::produce::{
    ProduceRequest, ProduceRequestPartition, ProduceRequestTopic, ProduceResponse,
};
use millrace_wire::{ErrorCode, Message, Reader, ResponseHeader, frame};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Longer than anything takes that is not broken, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The last version of Produce before the flexible ones.
const PRODUCE_VERSION: i16 = 8;

/// More than an answer to Produce takes.
const ANSWER_LENGTH_MAX: usize = 1024 * 1024;

/// One broker with node id 1. Dropped, it stops and its directory goes.
pub(crate) struct Broker {
    running: Option<Running>,
    directory: TempDir,
}

impl Broker {
    /// A broker with settings of the usual kind.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let overrides = [
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
            format!("log.dirs={}", directory.path().join("data").display()),
            "node.id=1".to_owned(),
            "num.shards=1".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            "offsets.topic.num.partitions=2".to_owned(),
        ];
        let loaded = load(&Sources {
            overrides: overrides.into(),
            ..Default::default()
        });
        let running = Server::start(loaded.unwrap()).unwrap();
        Self {
            running: Some(running),
            directory,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().addresses[0].1
    }

    /// Its log directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Writes a file for a command to read; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Stops, which closes all files; they stay until this is dropped.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            assert!(running.stop(), "the broker did not stop in order");
        }
    }

    /// Runs a command on this broker. Words stand between spaces.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.feed(line, "")
    }

    /// The same, with something on the standard input.
    pub(crate) fn feed(&self, line: &str, input: &str) -> Ran {
        self.spawn(line, input).end()
    }

    /// Starts a command on this broker.
    pub(crate) fn spawn(&self, line: &str, input: &str) -> Process {
        let address = self.address().to_string();
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(["--bootstrap-server", &address]);
        Process::start(&words, input)
    }

    /// Appends to partition 0 of a topic what no client library builds.
    pub(crate) fn append(&self, topic: &str, batch: Bytes) {
        let partition = ProduceRequestPartition {
            index: 0,
            records: Some(batch),
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![ProduceRequestTopic {
                name: topic.into(),
                partition_data: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let frame = frame::request_frame(1, None, &request, PRODUCE_VERSION).unwrap();
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.write_all(&frame).unwrap();
        let mut prefix = [0; frame::PREFIX_LENGTH];
        stream.read_exact(&mut prefix).unwrap();
        let mut answer = vec![0; frame::frame_length(prefix, ANSWER_LENGTH_MAX).unwrap()];
        stream.read_exact(&mut answer).unwrap();
        let mut answer = Reader::new(answer.into(), ANSWER_LENGTH_MAX);
        ResponseHeader::decode(&mut answer, ProduceRequest::KEY, PRODUCE_VERSION).unwrap();
        let answer = ProduceResponse::decode(&mut answer, PRODUCE_VERSION).unwrap();
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, ErrorCode::None, "{partition:?}");
    }

    /// Repeats a command until what it prints has the text.
    pub(crate) fn until(&self, line: &str, text: &str) -> Ran {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ran = self.run(line);
            if ran.out.contains(text) {
                return ran;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {text:?}: {ran:?}"
            );
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// The program.
pub(crate) const MILLRACE: &str = env!("CARGO_BIN_EXE_millrace");

/// The program at work.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(words: &[&str], input: &str) -> Self {
        Self::start_program(Path::new(MILLRACE), words, input)
    }

    pub(crate) fn start_program(program: &Path, words: &[&str], input: &str) -> Self {
        Self::start_with_more_to_come(program, words, input).0
    }

    /// A program whose input ends when what comes with it is dropped, and not with the text.
    pub(crate) fn start_with_more_to_come(
        program: &Path,
        words: &[&str],
        input: &str,
    ) -> (Self, ChildStdin) {
        let mut process = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        // A program that refuses its arguments may be gone before it reads.
        let _ = stdin.write_all(input.as_bytes());
        (Self(process), stdin)
    }

    /// Waits for the end; one that does not come is made, and shown with what was printed until then.
    pub(crate) fn end(self) -> Ran {
        let pid = self.pid();
        let (ended, end) = mpsc::channel();
        let watch = thread::spawn(move || {
            let is_late = end.recv_timeout(PATIENCE).is_err();
            if is_late {
                let _ = kill(pid, Signal::SIGKILL);
            }
            is_late
        });
        let output = self.0.wait_with_output().unwrap();
        // Nobody listens who has given up.
        let _ = ended.send(());
        let ran = Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        let is_late = watch.join().unwrap();
        assert!(!is_late, "no end within {PATIENCE:?}: {ran:?}");
        ran
    }

    /// Ends it the way a user does.
    pub(crate) fn interrupt(self) -> Ran {
        kill(self.pid(), Signal::SIGINT).unwrap();
        self.end()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
}

/// Runs the program with these arguments and nothing else.
pub(crate) fn millrace(words: &[&str]) -> Ran {
    Process::start(words, "").end()
}

/// How the program ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The standard output.
    pub(crate) out: String,
    /// The standard error.
    pub(crate) err: String,
}

impl Ran {
    /// Demands exit code 0 and exactly this on the standard output.
    #[track_caller]
    pub(crate) fn prints(&self, out: &str) {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.out, out, "{self:?}");
    }

    /// Demands exit code 1 and exactly this on the standard output.
    #[track_caller]
    pub(crate) fn fails_printing(&self, out: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.out, out, "{self:?}");
    }

    /// Demands exit code 1, nothing on the standard output, and this as the first line of the standard error.
    #[track_caller]
    pub(crate) fn is_refused(&self, first_line: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        assert_eq!(self.err.lines().next(), Some(first_line), "{self:?}");
    }
}
