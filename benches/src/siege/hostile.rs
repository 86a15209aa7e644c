//! The kinds of hostile clients by name.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::io::Random;
use millrace_engine::record::{BatchBuilder, Compression};
use millrace_engine::types::Timestamp;
use millrace_wire::Request;
use millrace_wire::frame::request_frame;
use millrace_wire::message::api_versions::ApiVersionsRequest;
use millrace_wire::message::fetch::{FetchRequest, FetchRequestPartition, FetchRequestTopic};
use millrace_wire::message::metadata::{MetadataRequest, MetadataRequestTopic};

use super::crowd::Crowd;
use crate::load::{nanos, rest, unix_millis};
use crate::{Client, Outcome};

/// One kind.
#[derive(Clone, Copy, Debug)]
pub struct Hostile {
    /// What it is called.
    pub name: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    act: fn(SocketAddr, &AtomicBool) -> Outcome<()>,
}

impl Hostile {
    /// Does it until it is `ending`.
    ///
    /// # Errors
    /// It cannot begin.
    pub fn act(self, address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
        (self.act)(address, ending)
    }
}

/// The kind of this name.
#[must_use]
pub fn hostile_named(name: &str) -> Option<Hostile> {
    HOSTILE
        .iter()
        .chain([&CONTROL])
        .copied()
        .find(|kind| kind.name == name)
}

/// Nobody: what the machine makes of a process beside that computes as much as the broker has to for giant arrays.
pub const CONTROL: Hostile = Hostile {
    name: "no-client",
    about: "nobody connects; two threads compute for 20 ms, eight times a second",
    act: |_, ending| compute(ending),
};

/// A topic of which slow readers want much: one partition, filled by whoever sends them.
pub const BULK_TOPIC: &str = "siege-bulk";
/// A topic that takes no batch as it is: one partition, with `compression.type=lz4`.
pub const BOMB_TOPIC: &str = "siege-bombs";

/// All of them.
pub const HOSTILE: &[Hostile] = &[
    Hostile {
        name: "giant-lengths",
        about: "64 connections claim frames of up to 2 GiB and send a byte of them every 10 ms",
        act: giant_lengths,
    },
    Hostile {
        name: "byte-by-byte",
        about: "64 connections send good requests, one byte per millisecond",
        act: byte_by_byte,
    },
    Hostile {
        name: "half-open",
        about: "1,000 connections send half a request and are not heard of again",
        act: half_open,
    },
    Hostile {
        name: "slow-readers",
        about: "32 connections ask for 20 x 50 MiB each and read 100 bytes per second",
        act: slow_readers,
    },
    Hostile {
        name: "churn",
        about: "1,000 connections per second, each with one request",
        act: churn,
    },
    Hostile {
        name: "10,000-connections",
        about: "10,000 connections from one address, 2,000 requests per second over all",
        act: ten_thousand,
    },
    Hostile {
        name: "bombs",
        about: "4 connections produce batches of a few kB that are 64 MiB when opened, 10 per second each",
        act: |address, ending| bombs(address, BULK_TOPIC, ending),
    },
    Hostile {
        name: "bombs-recompressed",
        about: "the same, to a topic whose compression.type makes the broker open them",
        act: |address, ending| bombs(address, BOMB_TOPIC, ending),
    },
    Hostile {
        name: "giant-arrays",
        about: "claims of 2^31 elements, and requests that do have 100,000 of them, 10 per second",
        act: giant_arrays,
    },
    Hostile {
        name: "garbage",
        about: "16 connections send random bytes and good headers with random bodies, 8,000 per second",
        act: garbage,
    },
];

fn giant_lengths(address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
    let lengths: [i32; 4] = [100 << 20, 64 << 20, i32::MAX, -1];
    Crowd::new(address, 64).keep_acting(ending, Duration::from_millis(10), 64, |member| {
        match member.age {
            0 => member.write(&lengths[member.number % lengths.len()].to_be_bytes())?,
            _ => member.write(&[0])?,
        }
        member.read(1)
    });
    Ok(())
}

fn byte_by_byte(address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
    let frame = frame(&MetadataRequest::default(), 9)?;
    Crowd::new(address, 64).keep_acting(ending, Duration::from_millis(1), 64, |member| {
        let place = member.age % frame.len();
        member.write(&frame[place..=place])?;
        member.read(4_096)
    });
    Ok(())
}

fn half_open(address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
    let frame = frame(&MetadataRequest::default(), 9)?;
    let half = &frame[..frame.len() / 2];
    Crowd::new(address, 1_000).keep_acting(ending, Duration::from_millis(100), 50, |member| {
        if member.age == 0 {
            member.write(half)?;
        }
        member.read(1)
    });
    Ok(())
}

fn slow_readers(address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
    let fetch = frame(&whole_partition(), 11)?;
    let pipelined = fetch.repeat(20);
    Crowd::new(address, 32).keep_acting(ending, Duration::from_secs(1), 32, |member| {
        if member.age == 0 {
            member.write(&pipelined)?;
        }
        member.read(100)
    });
    Ok(())
}

fn churn(address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
    let frame = frame(&ApiVersionsRequest::default(), 0)?;
    while !ending.load(Ordering::Relaxed) {
        for _ in 0..10 {
            // The broker may refuse; the next one comes all the same.
            if let Ok(mut stream) = TcpStream::connect(address) {
                let _ = std::io::Write::write(&mut stream, &frame);
            }
        }
        rest(Duration::from_millis(10));
    }
    Ok(())
}

fn ten_thousand(address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
    let frame = frame(&ApiVersionsRequest::default(), 0)?;
    let turns = 50;
    Crowd::new(address, 10_000).keep_acting(ending, Duration::from_millis(100), 1_000, |member| {
        if member.age == 0 || (member.age + member.number).is_multiple_of(turns) {
            member.write(&frame)?;
            member.read(4_096)?;
        }
        Ok(())
    });
    Ok(())
}

fn bombs(address: SocketAddr, topic: &str, ending: &AtomicBool) -> Outcome<()> {
    let codecs = [Compression::Zstd, Compression::Gzip, Compression::Lz4];
    let zeros = vec![0; 64 << 20];
    let bomb = |codec| {
        let mut builder = BatchBuilder::new().compression(codec);
        builder.push(Timestamp(unix_millis()), None, Some(&zeros), &[]);
        builder.build()
    };
    let bombs = codecs.map(bomb);
    drop(zeros);
    let thrower = |number: usize, bombs: [Bytes; 3]| {
        let mut client = Client::connect(address).ok();
        for turn in number.. {
            let bomb = &bombs[turn % bombs.len()];
            // Refused or not, it had to be looked at.
            match &mut client {
                Some(thrower) => drop(thrower.produce(topic, 0, bomb, -1)),
                None => client = Client::connect(address).ok(),
            }
            rest(Duration::from_millis(100));
            if ending.load(Ordering::Relaxed) {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..4 {
            let bombs = bombs.clone();
            scope.spawn(move || thrower(number, bombs));
        }
    });
    Ok(())
}

fn giant_arrays(address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
    let names = (0..100_000).map(|number| MetadataRequestTopic {
        name: Some(format!("t{number}").as_str().into()),
        ..Default::default()
    });
    let many_topics = MetadataRequest {
        topics: Some(names.collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let mut many_partitions = whole_partition();
    let partitions = (0..100_000).map(|partition| FetchRequestPartition {
        partition,
        ..Default::default()
    });
    many_partitions.topics[0].partitions = partitions.collect();
    many_partitions.max_wait_ms = 0;
    let claim = {
        let mut claim = frame(&MetadataRequest::default(), 1)?.to_vec();
        let array = claim.len() - 4;
        claim[array..].copy_from_slice(&i32::MAX.to_be_bytes());
        claim
    };
    let frames = [
        frame(&many_topics, 9)?.to_vec(),
        claim,
        frame(&many_partitions, 11)?.to_vec(),
    ];
    for turn in 0.. {
        let sent = Client::connect(address)
            .and_then(|mut client| client.exchange(&frames[turn % frames.len()]));
        // A closed connection is an answer too.
        drop(sent);
        rest(Duration::from_millis(100));
        if ending.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

fn compute(ending: &AtomicBool) -> Outcome<()> {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ending.load(Ordering::Relaxed) {
                    let end = nanos() + 20_000_000;
                    while nanos() < end {
                        std::hint::spin_loop();
                    }
                    rest(Duration::from_millis(105));
                }
            });
        }
    });
    Ok(())
}

fn garbage(address: SocketAddr, ending: &AtomicBool) -> Outcome<()> {
    let mut random = Random::seeded(1);
    Crowd::new(address, 16).keep_acting(ending, Duration::from_millis(2), 16, |member| {
        let words = 2 + random.u64() % 64;
        let mut bytes: Vec<u8> = (0..words)
            .flat_map(|_| random.u64().to_be_bytes())
            .collect();
        if random.u64().is_multiple_of(2) {
            // A length that fits, an API that there is: it is the body that makes no sense.
            let length = (8 * words - 4) << 32;
            let api = (random.u64() % 70) << 16;
            let version = random.u64() % 12;
            bytes[..8].copy_from_slice(&(length | api | version).to_be_bytes());
        }
        member.write(&bytes)?;
        member.read(4_096)
    });
    Ok(())
}

fn whole_partition() -> FetchRequest {
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![FetchRequestTopic {
            topic: BULK_TOPIC.into(),
            partitions: vec![FetchRequestPartition {
                partition_max_bytes: 50 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn frame<R: Request>(request: &R, version: i16) -> Outcome<Bytes> {
    let name = "siege".into();
    Ok(request_frame(1, Some(&name), request, version)?)
}

#[cfg(test)]
mod tests {
    use millrace_server::Server;
    use millrace_server::config::{Sources, load};

    use super::*;

    /// Ends it when dropped, also where the test fails: a scope waits for its threads.
    struct Ended<'a>(&'a AtomicBool);

    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// The short form of `--bin siege`: who is served beside them, not how soon.
    #[test]
    fn a_client_is_served_beside_every_kind_of_hostile_clients() {
        let _turn = crate::in_turn();
        let directory = tempfile::tempdir().unwrap();
        let overrides = [
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
            format!("log.dirs={}", directory.path().display()),
        ];
        let sources = Sources {
            file: None,
            environment: Vec::new(),
            overrides: overrides.to_vec(),
        };
        let broker = Server::start(load(&sources).unwrap()).unwrap();
        let address = broker.addresses.first().unwrap().1;
        let mut client = Client::connect(address).unwrap();
        client.create_topic("t", 1).unwrap();
        client.create_topic(BULK_TOPIC, 1).unwrap();
        let compressed = [("compression.type", "lz4")];
        client
            .create_topic_with(BOMB_TOPIC, 1, &compressed)
            .unwrap();
        let batch = crate::Shape::BULK.batch(Compression::None);
        for _ in 0..8 {
            client.produce(BULK_TOPIC, 0, &batch, -1).unwrap();
        }
        let batch = crate::Shape::of(1, 100).batch(Compression::None);
        // Where descriptors are few, ten thousand connections are not to be had.
        for kind in HOSTILE
            .iter()
            .filter(|kind| !kind.name.starts_with("10,000"))
        {
            let ending = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let _end = Ended(&ending);
                scope.spawn(|| kind.act(address, &ending).unwrap());
                let begin = nanos();
                let mut served = 0;
                while served < 5 || nanos() - begin < 1_000_000_000 {
                    let in_time = nanos() - begin < 60_000_000_000;
                    assert!(in_time, "{}: served {served} times in a minute", kind.name);
                    client.produce("t", 0, &batch, -1).unwrap();
                    client.fetch("t", 0, 0).unwrap();
                    served += 1;
                }
            });
        }
        drop(client);
        assert!(broker.stop());
    }
}
