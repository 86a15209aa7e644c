//! Builds the broker a second time, with what the compiler should know of its work: which way branches go and what is called
//! often. The first build counts that while this crate's scenarios, and what they leave out, run on it.
//!
//! See "Profile-guided Optimization" in the book of rustc. A JVM does the same while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millrace_engine::record::Compression;
use millrace_engine::types::Timestamp;

use crate::load::{
    Broker, Home, Program, RoundTimes, allow_open_files, rest, scenario_named, unix_millis,
};
use crate::{Client, Outcome, Shape, repository, run, said};

/// Builds this repository's; everything goes under `directory`. Returns the binary.
///
/// # Errors
/// A build fails, the broker does under its load, or there is no `llvm-profdata` that knows the compiler's files.
pub fn build_profiled(directory: &Path) -> Outcome<PathBuf> {
    fs::create_dir_all(directory)?;
    let directory = directory.canonicalize()?;
    let counts = directory.join("counts");
    // Those of an older tree would count, too.
    if counts.exists() {
        fs::remove_dir_all(&counts)?;
    }
    let host = host()?;
    let counting = format!("-Cprofile-generate={}", counts.display());
    let server = build(&directory.join("counting"), &host, &counting)?;
    train(&server, &directory)?;
    let profile = directory.join("millrace.profdata");
    merge(&counts, &profile)?;
    let using = format!("-Cprofile-use={}", profile.display());
    let server = build(&directory.join("using"), &host, &using)?;
    let binary = directory.join("millrace-server");
    fs::copy(server, &binary)?;
    Ok(binary)
}

/// Naming the host as the target keeps the flags away from build scripts.
fn build(target: &Path, host: &str, flags: &str) -> Outcome<PathBuf> {
    run(Command::new("cargo")
        .args(["build", "--release", "-p", "millrace-server"])
        .args(["--bin", "millrace-server", "--target", host])
        .current_dir(repository())
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", flags))?;
    Ok(target.join(host).join("release/millrace-server"))
}

fn host() -> Outcome<String> {
    let about = said(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc names no host")?.to_owned())
}

/// Puts load on the broker that counts. It writes its counts when it ends in order.
fn train(server: &Path, directory: &Path) -> Outcome<()> {
    allow_open_files()?;
    let program = Program::Millrace {
        server: server.to_owned(),
        properties: vec!["log.cleaner.backoff.ms=200".to_owned()],
    };
    let home = Home::new(directory)?;
    let broker = Broker::start(&program, &home)?;
    let times = RoundTimes {
        warm_up: Duration::ZERO,
        measured: Duration::from_secs(1),
        bytes_max: 1 << 30,
        read_back: true,
        system_calls: false,
    };
    for name in TRAINING {
        println!("counts under {name}");
        let scenario = scenario_named(name).ok_or_else(|| format!("no scenario {name}"))?;
        scenario.round(&broker.target(), times)?;
    }
    println!("counts under compression and compaction");
    let mut client = Client::connect(broker.target().address)?;
    compress(&mut client)?;
    compact(&mut client)?;
    broker.stop()?;
    // It reads what it left, too.
    Broker::start(&program, &home)?.stop()
}

/// Sends batches of every codec to topics of every codec.
fn compress(client: &mut Client) -> Outcome<()> {
    let time = Timestamp(unix_millis());
    for (codec, name) in CODECS {
        let topic = format!("kept-in-{name}");
        client.create_topic_with(&topic, 1, &[("compression.type", name)])?;
        for sent in CODECS
            .map(|(sent, _)| sent)
            .into_iter()
            .chain([Compression::None])
        {
            let batch = Shape::TYPICAL.batch_at(time, sent);
            for _ in 0..if sent == codec { 1 } else { 50 } {
                client.produce(&topic, 0, &batch, 1)?;
            }
        }
    }
    Ok(())
}

/// Fills a compacted topic and gives the cleaner a while.
fn compact(client: &mut Client) -> Outcome<()> {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    client.create_topic_with("compacted", 1, &settings)?;
    let time = Timestamp(unix_millis());
    let batches: Vec<_> = (0..KEYED_BATCHES)
        .map(|number| Shape::SMALL_RECORDS.keyed_batch(time, number))
        .collect();
    for _ in 0..10 {
        for batch in &batches {
            client.produce("compacted", 0, batch, 1)?;
        }
        rest(Duration::from_millis(300));
    }
    Ok(())
}

/// Makes one profile of the counts, with the first program that can.
fn merge(counts: &Path, profile: &Path) -> Outcome<()> {
    let mut refused = String::new();
    for program in mergers()? {
        let merged = Command::new(&program)
            .args(["merge", "-o"])
            .args([profile, counts])
            .output();
        match merged {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                refused += &format!("\n{}: {}", program.display(), why.trim());
            }
            Err(error) => refused += &format!("\n{}: {error}", program.display()),
        }
    }
    Err(format!(
        "no llvm-profdata can read the counts; `rustup component add llvm-tools` has one, and so has the package llvm-19 or \
         a later one:{refused}"
    )
    .into())
}

/// Where `llvm-profdata` may be: with the compiler, or as a package of the system has it, the newest first.
fn mergers() -> Outcome<Vec<PathBuf>> {
    let sysroot = said(Command::new("rustc").args(["--print", "sysroot"]))?;
    let with_compiler = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(host()?)
        .join("bin/llvm-profdata");
    let packages = (19..40)
        .rev()
        .map(|version| PathBuf::from(format!("/usr/lib/llvm-{version}/bin/llvm-profdata")));
    let mut found: Vec<_> = std::iter::once(with_compiler)
        .chain(packages)
        .filter(|path| path.exists())
        .collect();
    found.push("llvm-profdata".into());
    Ok(found)
}

/// What the broker is to be good at.
const TRAINING: &[&str] = &[
    "tiny",
    "tiny-rate",
    "typical",
    "typical-idempotent",
    "typical-durable",
    "bulk",
    "catch-up-4",
    "fan-out",
    "end-to-end",
    "session-10",
    "partitions",
];

const CODECS: [(Compression, &str); 4] = [
    (Compression::Gzip, "gzip"),
    (Compression::Snappy, "snappy"),
    (Compression::Lz4, "lz4"),
    (Compression::Zstd, "zstd"),
];

/// Batches of keys that are written again and again.
const KEYED_BATCHES: usize = 100;
