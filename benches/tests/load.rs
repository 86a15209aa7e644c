//! Short rounds against a broker in this process: the generator counts what it sends, and all of it is read back.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_benches::load::{
    Figures, Kind, Process, RoundTimes, Scenario, Target, Work, nanos, scenario_named,
};
use millrace_server::config::{Sources, load};
use millrace_server::{Running, Server};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

const TIMES: RoundTimes = RoundTimes {
    warm_up: Duration::from_millis(20),
    measured: Duration::from_millis(200),
    bytes_max: u64::MAX,
    read_back: true,
    system_calls: false,
};

/// Rounds look at the whole process, so there is one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn in_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(directory: &Path) -> (Running, Target) {
    let overrides = vec![
        "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        format!("log.dirs={}", directory.join("data").display()),
    ];
    let sources = Sources {
        file: None,
        environment: Vec::new(),
        overrides,
    };
    let broker = Server::start(load(&sources).unwrap()).unwrap();
    let target = Target {
        address: broker.addresses.first().unwrap().1,
        process: Process(std::process::id()),
        kind: Kind::Millrace,
    };
    (broker, target)
}

fn round(target: &Target, name: &str) -> Figures {
    scenario_named(name).unwrap().round(target, TIMES).unwrap()
}

#[test]
fn each_fetch_of_a_session_brings_the_one_batch_that_was_written() {
    let _turn = in_turn();
    let directory = tempfile::tempdir().unwrap();
    let (broker, target) = start(directory.path());
    // The round refuses any other answer.
    let fetches = round(&target, "session-1000").value("fetches/s").unwrap();
    assert!(fetches > 0.0, "{fetches} fetches/s");
    assert!(broker.stop());
}

#[test]
fn what_rounds_send_is_acknowledged_and_read_back() {
    let _turn = in_turn();
    let directory = tempfile::tempdir().unwrap();
    let (broker, target) = start(directory.path());
    for name in [
        "tiny",
        "typical-idempotent",
        "typical-durable",
        "headline-1",
    ] {
        let figures = round(&target, name);
        let rate = figures.value("requests/s").unwrap();
        assert!(rate > 0.0, "{name}: {rate} requests/s");
        let (half, all) = (figures.value("ack p50 ms"), figures.value("max ms"));
        assert!(
            half <= all,
            "{name}: {half:?} is the median, {all:?} the most"
        );
    }
    assert!(broker.stop());
}

#[test]
fn a_paced_round_keeps_its_pace_and_its_consumers_get_everything() {
    let _turn = in_turn();
    let directory = tempfile::tempdir().unwrap();
    let (broker, target) = start(directory.path());
    let times = RoundTimes {
        measured: Duration::from_secs(2),
        ..TIMES
    };
    let began = nanos();
    // The round does not end before its consumers have got everything.
    let figures = scenario_named("fan-out").unwrap().round(&target, times);
    let figures = figures.unwrap();
    // On a busy machine what was due before the measured time is sent in it, too, but never what was not due yet.
    let due = 500.0 * (nanos() - began) as f64 / 1e9;
    let rate = figures.value("requests/s").unwrap();
    let sent = rate * times.measured.as_secs_f64();
    assert!(sent <= due, "{sent} requests, of which {due} were due");
    assert!(figures.value("end-to-end p50 ms").unwrap() > 0.0);
    assert!(broker.stop());
}

/// Whether a file that was dropped from the page cache comes from a device, and the kernel counts that.
fn counts_what_comes_from_the_device(directory: &Path) -> bool {
    const LENGTH: usize = 1 << 20;
    let path = directory.join("probe");
    fs::write(&path, [7; LENGTH]).unwrap();
    let file = fs::File::open(&path).unwrap();
    file.sync_all().unwrap();
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    let read = || Process(std::process::id()).device_bytes_read();
    let Ok(before) = read() else { return false };
    fs::read(&path).unwrap();
    read().unwrap() - before >= LENGTH as u64
}

#[test]
fn a_cold_catch_up_comes_from_the_device_while_others_are_answered() {
    let _turn = in_turn();
    // Not where temporary files are: that may be memory, which nothing can be dropped from.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if !counts_what_comes_from_the_device(directory.path()) {
        let path = directory.path().display();
        eprintln!(
            "SKIPPED, nothing was tested: no count of what is read from the device of {path}"
        );
        return;
    }
    let (broker, target) = start(directory.path());
    let scenario = Scenario {
        work: Work::ColdCatchUp(64_000_000),
        ..*scenario_named("cold-catch-up").unwrap()
    };
    // The round refuses a warm reading, and one that brings more or less than was written.
    let figures = scenario.round(&target, TIMES).unwrap();
    let value = |name| figures.value(name).unwrap();
    assert!(value("from device GB") > 0.05, "{figures}");
    assert!(value("cold MB/s") > 0.0, "{figures}");
    for name in ["alone p50 ms", "cold p50 ms", "warm p50 ms"] {
        assert!(value(name) > 0.0, "{figures}");
    }
    assert!(broker.stop());
}
