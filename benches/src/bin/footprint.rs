//! What a broker costs before it does much: time to start, memory after a gigabyte, CPU while idle.
//!
//! `cargo run --release -p millrace-benches --bin footprint` starts `target/release/millrace-server` (or the program named
//! as the first argument) on an empty directory and prints the three figures beside their goals.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use millrace_benches::{Client, Outcome, fetch_request};
use millrace_engine::record::{BatchBuilder, Batches};
use millrace_engine::types::Timestamp;

fn main() -> Outcome<()> {
    let program = std::env::args_os().nth(1).map_or_else(
        || PathBuf::from("target/release/millrace-server"),
        PathBuf::from,
    );
    let directory = tempfile::tempdir()?;
    let broker = Broker::start(&program, directory.path())?;
    println!(
        "ready after start: {:.1} ms (goal: under 100 ms)",
        millis(broker.ready_after)
    );
    println!(
        "resident when ready: {:.1} MB",
        megabytes(broker.resident_bytes()?)
    );

    let mut client = Client::connect(broker.address)?;
    client.create_topic("footprint", PARTITIONS)?;
    let sent = produce_gigabyte(&mut client)?;
    let received = consume_everything(&mut client, sent)?;
    println!(
        "produced {sent} records of 1 KiB in {PARTITIONS} partitions, read {received} bytes back"
    );
    let resident = megabytes(broker.resident_bytes()?);
    println!("resident after 1 GB in and out: {resident:.1} MB (goal: under 64 MB)");

    client.create_topic("idle", IDLE_PARTITIONS)?;
    let idle = idle_cost(&broker)?;
    println!(
        "idle with {IDLE_CONNECTIONS} connections, {IDLE_PARTITIONS} partitions, {PARKED_FETCHES} parked fetches: \
         {idle:.3} ms of CPU per second (goal: under 0.1 ms)"
    );
    Ok(())
}

/// A broker process on a port of the system's choice.
struct Broker {
    process: Child,
    address: SocketAddr,
    ready_after: Duration,
}

impl Broker {
    fn start(program: &Path, directory: &Path) -> Outcome<Self> {
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let properties = directory.join("server.properties");
        let log_directory = directory.join("data");
        fs::write(
            &properties,
            format!(
                "listeners=PLAINTEXT://{address}\nlog.dirs={}\n",
                log_directory.display()
            ),
        )?;
        let begun = now();
        let mut process = Command::new(program)
            .arg(&properties)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > START_PATIENCE {
                return Err("the broker does not accept connections".into());
            }
            std::hint::spin_loop();
        }
        let ready_after = begun.elapsed();
        // Somebody has to read what the broker says, or it would wait for us.
        std::thread::spawn(move || {
            for line in output
                .into_iter()
                .flat_map(|output| BufReader::new(output).lines())
            {
                if line.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            address,
            ready_after,
        })
    }

    fn resident_bytes(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kibibytes: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
        Ok(kibibytes * 1024)
    }

    /// Nanoseconds of CPU of all its threads (the first field of schedstat, see proc(5)).
    fn cpu_nanoseconds(&self) -> Outcome<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text.split(' ').next().ok_or("no figure")?.parse::<u64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have died by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn produce_gigabyte(client: &mut Client) -> Outcome<u64> {
    let value = vec![b'x'; RECORD_BYTES];
    let mut batch = BatchBuilder::new();
    for _ in 0..RECORDS_PER_BATCH {
        batch.push(Timestamp(1), None, Some(&value), &[]);
    }
    let batch = batch.build();
    let batches = (1 << 30) / (RECORD_BYTES * RECORDS_PER_BATCH);
    for number in 0..batches {
        client.produce("footprint", i32::try_from(number)? % PARTITIONS, &batch, -1)?;
    }
    Ok(u64::try_from(batches * RECORDS_PER_BATCH)?)
}

/// Reads each partition to its end and says how many bytes came.
fn consume_everything(client: &mut Client, records: u64) -> Outcome<u64> {
    let mut bytes = 0;
    let end = i64::try_from(records)? / i64::from(PARTITIONS);
    for partition in 0..PARTITIONS {
        let mut offset = 0;
        while offset < end {
            let records = client.fetch("footprint", partition, offset)?;
            let mut whole = 0;
            for batch in Batches::new(records) {
                // The byte limit may cut the last batch.
                let Ok(batch) = batch else { break };
                whole += batch.bytes.len();
                offset = batch.header.next_offset().0;
            }
            if whole == 0 {
                return Err(format!("nothing whole from offset {offset} on").into());
            }
            bytes += u64::try_from(whole)?;
        }
    }
    Ok(bytes)
}

fn idle_cost(broker: &Broker) -> Outcome<f64> {
    let mut connections = Vec::new();
    for number in 0..IDLE_CONNECTIONS {
        let mut client = Client::connect(broker.address)?;
        if number < PARKED_FETCHES {
            client.send(&fetch_request("idle", number, 0, i32::MAX), 11)?;
        }
        connections.push(client);
    }
    // Creating partitions goes on for a moment; what is measured is rest.
    rest(Duration::from_secs(3));
    let before = broker.cpu_nanoseconds()?;
    rest(IDLE_TIME);
    let spent = broker.cpu_nanoseconds()? - before;
    drop(connections);
    Ok(Duration::from_nanos(spent).as_secs_f64() * 1e3 / IDLE_TIME.as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "a measurement needs the clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is doing nothing"
)]
fn rest(duration: Duration) {
    std::thread::sleep(duration);
}

fn free_port() -> Outcome<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

const PARTITIONS: i32 = 4;
const RECORD_BYTES: usize = 1_024;
const RECORDS_PER_BATCH: usize = 64;
const IDLE_CONNECTIONS: i32 = 100;
const IDLE_PARTITIONS: i32 = 100;
const PARKED_FETCHES: i32 = 10;
const IDLE_TIME: Duration = Duration::from_secs(20);
const START_PATIENCE: Duration = Duration::from_secs(10);
