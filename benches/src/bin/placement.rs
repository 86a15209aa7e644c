//! Where appended bytes should go, by the cost of everything that is done with them: `cargo run --release -p millrace-benches --bin
//! placement`.
//!
//! One thread does what a shard does with record batches, without protocol: it receives them and checks them, stores them, and hands them to a
//! consumer at the end, to one that is far behind it, and to one that reads what is only on the device. It stores them in the page
//! cache, in new blocks or in blocks that were written before, or past it (O_DIRECT), and then keeps recent ones in memory. The cost is
//! all the CPU time of the machine but that of the clients, because the page cache is written back by others. Nothing else
//! should run meanwhile.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use clap::Parser;
use millrace_benches::Outcome;
use millrace_benches::load::{median, nanos};
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::libc::{O_DIRECT, O_DSYNC};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::sendfile::sendfile64;

/// What storing and serving costs, by where the bytes go.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the files lie.
    #[arg(long, default_value = "target/placement")]
    directory: PathBuf,
    /// Megabytes that are appended each time.
    #[arg(long, default_value_t = 1_000)]
    megabytes: u64,
    /// Times that each way has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Where the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Into the page cache, in blocks that were allocated a little ahead: as the broker does.
    Cached,
    /// Into the page cache, in blocks that were written before.
    Recycled,
    /// Past the page cache, in blocks that were written before; recent ones stay in memory.
    Direct,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Readers {
    name: &'static str,
    tail: bool,
    behind: bool,
    backlog: bool,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.directory)?;
    let home = tempfile::tempdir_in(&arguments.directory)?;
    let total = (arguments.megabytes * 1_000_000).next_multiple_of(GROUP_BYTES as u64);
    for name in ["recycled", "backlog"] {
        write_through(&home.path().join(name), total)?;
    }
    println!("| readers | promise | way | CPU-s/GB | range | MB/s |\n|---|---|---|---|---|---|");
    for readers in READERS {
        for durable in [false, true] {
            let mut costs: [Vec<(f64, f64)>; 3] = Default::default();
            for round in 0..arguments.rounds {
                for turn in 0..WAYS.len() {
                    let index = (round + turn) % WAYS.len();
                    let run = Run::new(WAYS[index], durable, readers, home.path(), total)?;
                    costs[index].push(run.measure()?);
                }
            }
            for (way, costs) in WAYS.iter().zip(&costs) {
                let cpu = || costs.iter().map(|cost| cost.0);
                let rate = costs.iter().map(|cost| cost.1);
                let (least, most) = (cpu().reduce(f64::min), cpu().reduce(f64::max));
                println!(
                    "| {} | {} | {way:?} | {:.2} | {:.2}-{:.2} | {:.0} |",
                    readers.name,
                    if durable { "flushed" } else { "in memory" },
                    median(cpu()).unwrap_or_default(),
                    least.unwrap_or_default(),
                    most.unwrap_or_default(),
                    median(rate).unwrap_or_default(),
                );
            }
        }
    }
    Ok(())
}

/// A file of `length` bytes whose blocks are written, and no longer in the page cache.
fn write_through(path: &Path, length: u64) -> Outcome<()> {
    let file = File::create(path)?;
    let piece = vec![1; 1 << 20];
    let mut position = 0;
    while position < length + GROUP_BYTES as u64 {
        file.write_all_at(&piece, position)?;
        position += piece.len() as u64;
    }
    file.sync_all()?;
    forget(&file)
}

fn forget(file: &File) -> Outcome<()> {
    Ok(posix_fadvise(
        file,
        0,
        0,
        PosixFadviseAdvice::POSIX_FADV_DONTNEED,
    )?)
}

/// One way, once.
struct Run {
    way: Way,
    durable: bool,
    readers: Readers,
    total: u64,
    path: PathBuf,
    /// For appends, and for reads of what was appended.
    file: File,
    backlog: File,
}

/// A client on its own thread; joined, it says what CPU time it took.
struct Peer {
    stream: UnixStream,
    thread: JoinHandle<f64>,
}

impl Run {
    fn new(way: Way, durable: bool, readers: Readers, home: &Path, total: u64) -> Outcome<Self> {
        let path = home.join(match way {
            Way::Cached => "new",
            Way::Recycled | Way::Direct => "recycled",
        });
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let mut read = OpenOptions::new();
        read.read(true);
        if way == Way::Direct {
            options.custom_flags(O_DIRECT | if durable { O_DSYNC } else { 0 });
            read.custom_flags(O_DIRECT);
        }
        Ok(Self {
            way,
            durable,
            readers,
            total,
            file: options.open(&path)?,
            path,
            backlog: read.open(home.join("backlog"))?,
        })
    }

    /// CPU-seconds per GB appended, and MB/s.
    fn measure(&self) -> Outcome<(f64, f64)> {
        nix::unistd::sync();
        forget(&self.file)?;
        forget(&self.backlog)?;
        let producer = producer(self.total)?;
        let (tail, behind, backlog) = (consumer()?, consumer()?, consumer()?);
        let (begun, before) = (nanos(), busy_seconds()?);
        self.work(
            &producer.stream,
            [&tail, &behind, &backlog].map(|peer| &peer.stream),
        )?;
        let mut peers = 0.0;
        for peer in [producer, tail, behind, backlog] {
            drop(peer.stream);
            peers += peer.thread.join().map_err(|_| "a client failed")?;
        }
        // What is dirty still has to be written.
        self.file.sync_all()?;
        let seconds = (nanos() - begun) as f64 / 1e9;
        let cpu = busy_seconds()? - before - peers;
        if self.way == Way::Cached {
            fs::remove_file(&self.path)?;
        }
        let gigabytes = self.total as f64 / 1e9;
        Ok((cpu / gigabytes, gigabytes * 1e3 / seconds))
    }

    fn work(&self, mut from: &UnixStream, consumers: [&UnixStream; 3]) -> Outcome<()> {
        let [tail, behind, backlog] = consumers;
        let mut group = vec![0; GROUP_BYTES];
        let mut blocks = Blocks::default();
        let mut recent = VecDeque::new();
        let mut position = 0;
        while position < self.total {
            from.read_exact(&mut group)?;
            for batch in group.chunks(BATCH_BYTES) {
                std::hint::black_box(crc32c::crc32c(batch));
            }
            self.store(&group, position, &mut blocks)?;
            if self.readers.tail {
                match self.way {
                    Way::Direct => (&*tail).write_all(&group)?,
                    Way::Cached | Way::Recycled => send(tail, &self.file, position, GROUP_BYTES)?,
                }
            }
            if self.way == Way::Direct {
                // What a consumer at the end may still ask for.
                let oldest = (recent.len() >= RECENT_GROUPS).then(|| recent.pop_front());
                let next = oldest.flatten().unwrap_or_else(|| vec![0; GROUP_BYTES]);
                recent.push_back(std::mem::replace(&mut group, next));
            }
            position += GROUP_BYTES as u64;
            if position.is_multiple_of(READ_BYTES as u64) {
                let at = position - READ_BYTES as u64;
                if self.readers.behind && at >= BEHIND_BYTES {
                    self.serve(&self.file, at - BEHIND_BYTES, behind, &mut blocks)?;
                }
                if self.readers.backlog {
                    self.serve(&self.backlog, at, backlog, &mut blocks)?;
                }
            }
        }
        Ok(())
    }

    fn store(&self, group: &[u8], position: u64, blocks: &mut Blocks) -> Outcome<()> {
        if self.way == Way::Direct {
            return blocks.append(&self.file, position, group);
        }
        if self.way == Way::Cached && position.is_multiple_of(AHEAD_BYTES) {
            let (offset, length) = (i64::try_from(position)?, i64::try_from(AHEAD_BYTES)?);
            fallocate(
                &self.file,
                FallocateFlags::FALLOC_FL_KEEP_SIZE,
                offset,
                length,
            )?;
        }
        self.file.write_all_at(group, position)?;
        if self.durable {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Hands a piece of a file to a consumer that reads in large steps.
    fn serve(&self, file: &File, at: u64, to: &UnixStream, blocks: &mut Blocks) -> Outcome<()> {
        if self.way == Way::Direct {
            let piece = blocks.read(file, at, READ_BYTES)?;
            return Ok((&*to).write_all(piece)?);
        }
        send(to, file, at, READ_BYTES)
    }
}

/// Memory aligned as O_DIRECT wants it, and the block at the end of the file that is not full yet.
struct Blocks {
    out: Vec<u8>,
    /// Bytes of the last block that are in `out` already, at its aligned beginning.
    begun: usize,
    into: Vec<u8>,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            out: vec![0; GROUP_BYTES + 3 * BLOCK_BYTES],
            begun: 0,
            into: vec![0; READ_BYTES + 3 * BLOCK_BYTES],
        }
    }
}

impl Blocks {
    fn append(&mut self, file: &File, position: u64, group: &[u8]) -> Outcome<()> {
        let start = aligned_start(&self.out);
        let end = start + self.begun + group.len();
        self.out[start + self.begun..end].copy_from_slice(group);
        let written = (end - start).next_multiple_of(BLOCK_BYTES);
        file.write_all_at(
            &self.out[start..start + written],
            position - self.begun as u64,
        )?;
        self.begun = (end - start) % BLOCK_BYTES;
        self.out.copy_within(end - self.begun..end, start);
        Ok(())
    }

    fn read(&mut self, file: &File, at: u64, length: usize) -> Outcome<&[u8]> {
        let start = aligned_start(&self.into);
        let skip = usize::try_from(at % BLOCK_BYTES as u64)?;
        let whole = (skip + length).next_multiple_of(BLOCK_BYTES);
        file.read_exact_at(&mut self.into[start..start + whole], at - skip as u64)?;
        Ok(&self.into[start + skip..start + skip + length])
    }
}

/// Where the first block of a buffer may begin.
fn aligned_start(buffer: &[u8]) -> usize {
    buffer.as_ptr().align_offset(BLOCK_BYTES)
}

fn send(to: &UnixStream, file: &File, position: u64, length: usize) -> Outcome<()> {
    let mut offset = i64::try_from(position)?;
    let mut left = length;
    while left > 0 {
        let sent = sendfile64(to.as_fd(), file.as_fd(), Some(&mut offset), left)?;
        if sent == 0 {
            return Err("a file ended early".into());
        }
        left -= sent;
    }
    Ok(())
}

/// Sends `total` bytes as fast as they are taken.
fn producer(total: u64) -> Outcome<Peer> {
    let (stream, mut far) = UnixStream::pair()?;
    let thread = thread::spawn(move || {
        let group = vec![7; GROUP_BYTES];
        let mut left = total;
        while left > 0 && far.write_all(&group).is_ok() {
            left = left.saturating_sub(GROUP_BYTES as u64);
        }
        own_seconds()
    });
    Ok(Peer { stream, thread })
}

/// Takes what comes, to its end.
fn consumer() -> Outcome<Peer> {
    let (stream, mut far) = UnixStream::pair()?;
    let thread = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 18];
        while far.read(&mut buffer).is_ok_and(|count| count > 0) {}
        own_seconds()
    });
    Ok(Peer { stream, thread })
}

/// CPU time of the calling thread.
fn own_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    usage.map_or(f64::NAN, |usage| {
        let seconds =
            |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    })
}

/// CPU time of the whole machine: all that was neither idle nor waiting for a disk.
fn busy_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("no processor")?;
    let ticks = line.split_whitespace().skip(1).map(str::parse::<f64>);
    let ticks: Vec<f64> = ticks.collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq: see proc_stat(5).
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|&place| ticks.get(place));
    Ok(busy.sum::<f64>() / 100.0)
}

const WAYS: [Way; 3] = [Way::Cached, Way::Recycled, Way::Direct];

const READERS: [Readers; 3] = [
    Readers {
        name: "none",
        tail: false,
        behind: false,
        backlog: false,
    },
    Readers {
        name: "at the end",
        tail: true,
        behind: false,
        backlog: false,
    },
    Readers {
        name: "at the end, behind, backlog",
        tail: true,
        behind: true,
        backlog: true,
    },
];

/// A batch as producers send it: 16 records of 1 KiB, which end on no block's edge.
const BATCH_BYTES: usize = 16_560;
/// What one commit covers.
const GROUP_BYTES: usize = 5 * BATCH_BYTES;
/// What consumers that are not at the end are handed at a time.
const READ_BYTES: usize = 12 * GROUP_BYTES;
/// How far behind the end "behind" is: long written back where it goes past the page cache.
const BEHIND_BYTES: u64 = 200 * READ_BYTES as u64;
/// Groups that stay in memory for consumers at the end.
const RECENT_GROUPS: usize = 16;
/// How far blocks are allocated ahead.
const AHEAD_BYTES: u64 = 200 * GROUP_BYTES as u64;
const BLOCK_BYTES: usize = 4_096;
