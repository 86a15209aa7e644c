//! The scenarios by name, as numbers.

use crate::Shape;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// What happens.
    pub work: Work,
    /// The batches.
    pub shape: Shape,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Batches, each for another partition, in one request.
    pub partitions_per_request: i32,
    /// Producing connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub window: usize,
    /// Requests per second of all connections; none: as many as get answers.
    pub rate: Option<f64>,
    /// Whether producers number their batches.
    pub idempotent: bool,
    /// What an acknowledgement waits for: 1 or -1.
    pub acks: i16,
    /// Where acknowledged records are with acks=-1.
    pub durability: Durability,
    /// The figure that the scenario is about.
    pub figure: &'static str,
    /// Whether the floor can do it.
    pub has_floor: bool,
}

/// What happens in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Producing, nobody reads.
    Produce,
    /// So many consumers read again and again what is in the page cache.
    CatchUp(usize),
    /// One consumer reads so many bytes that are on the device only, beside producers at a fixed rate.
    ColdCatchUp(usize),
    /// So many consumers read at the end what is produced at a fixed rate.
    Tail(usize),
    /// Producing, the first write to each partition apart.
    FirstWrites,
    /// One consumer whose fetch session has all partitions; each fetch waits, and one partition is written to.
    Session,
    /// So many fetches wait, each on a connection of its own; one partition after the other is written to.
    Parked(usize),
    /// So many connections that say nothing.
    Idle(usize),
    /// A start with a gigabyte of data, after an orderly stop and after SIGKILL.
    Start,
}

/// Where acknowledged records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In the page cache: Kafka's own promise.
    PageCache,
    /// On the device, before the acknowledgement.
    Device,
    /// What the broker does when it is not told anything.
    Default,
}

impl Scenario {
    /// Whether its rounds are made of requests of one kind: those can be warmed up, and counted by.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        !matches!(
            self.work,
            Work::Idle(_) | Work::ColdCatchUp(_) | Work::Start
        )
    }
}

/// The scenario of this name.
#[must_use]
pub fn scenario_named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

const CPU_PER_GB: &str = "CPU-s/GB";
const CPU_PER_REQUEST: &str = "CPU-us/request";
const RECORDS: &str = "records/s";

/// Producers of default-sized batches as fast as answers come.
const TYPICAL: Scenario = Scenario {
    name: "typical",
    about: "16 x 1 KiB per batch, 8 partitions, 8 connections x 5 in flight",
    work: Work::Produce,
    shape: Shape::TYPICAL,
    partitions: 8,
    partitions_per_request: 1,
    connections: 8,
    window: 5,
    rate: None,
    idempotent: false,
    acks: -1,
    durability: Durability::PageCache,
    figure: CPU_PER_GB,
    has_floor: true,
};

/// Records of LinkedIn's benchmark: 16 KiB of them in a batch.
const HEADLINE: Scenario = Scenario {
    name: "headline-1",
    about: "100-byte records in 16 KiB batches, 6 partitions, 1 connection x 5 in flight",
    shape: Shape::of(150, 100),
    partitions: 6,
    connections: 1,
    acks: 1,
    durability: Durability::Default,
    figure: RECORDS,
    ..TYPICAL
};

/// One record per request, far below what the broker can do.
const TINY_RATE: Scenario = Scenario {
    name: "tiny-rate",
    about: "one 100-byte record per request, 16 connections, 2,000 requests/s",
    shape: Shape::of(1, 100),
    connections: 16,
    rate: Some(2_000.0),
    figure: CPU_PER_REQUEST,
    ..TYPICAL
};

/// What others notice of a consumer that was away for long.
const COLD_CATCH_UP: Scenario = Scenario {
    name: "cold-catch-up",
    about: "tiny-rate alone, and while 1 consumer reads 4 GB that are not in the page cache, 1 MiB per fetch",
    work: Work::ColdCatchUp(4_000_000_000),
    figure: "cold p99 ms",
    has_floor: false,
    ..TINY_RATE
};

/// What a fetch of a session costs, the write that ends its wait included.
const SESSION: Scenario = Scenario {
    name: "session-10",
    about: "1 consumer with a fetch session of 10 partitions, one is written to per fetch",
    work: Work::Session,
    shape: Shape::of(1, 100),
    partitions: 10,
    connections: 1,
    window: 1,
    figure: "CPU-us/fetch",
    has_floor: false,
    ..TYPICAL
};

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "tiny",
        about: "one 100-byte record per request, 16 connections x 5 in flight",
        shape: Shape::of(1, 100),
        connections: 16,
        figure: CPU_PER_REQUEST,
        ..TYPICAL
    },
    TINY_RATE,
    TYPICAL,
    Scenario {
        name: "typical-idempotent",
        about: "typical, with idempotent producers",
        idempotent: true,
        ..TYPICAL
    },
    Scenario {
        name: "typical-durable",
        about: "typical, every acknowledgement after the flush",
        durability: Durability::Device,
        ..TYPICAL
    },
    Scenario {
        name: "bulk",
        about: "1 MiB batches, 8 partitions, 4 connections x 2 in flight",
        shape: Shape::BULK,
        connections: 4,
        window: 2,
        ..TYPICAL
    },
    Scenario {
        name: "catch-up-1",
        about: "1 consumer of 512 MB in the page cache, 1 MiB per fetch",
        work: Work::CatchUp(1),
        partitions: 1,
        ..TYPICAL
    },
    Scenario {
        name: "catch-up-4",
        about: "4 consumers of 512 MB in the page cache, 1 MiB per fetch",
        work: Work::CatchUp(4),
        partitions: 1,
        ..TYPICAL
    },
    COLD_CATCH_UP,
    Scenario {
        name: "cold-catch-up-durable",
        about: "cold-catch-up, every acknowledgement after the flush",
        durability: Durability::Device,
        ..COLD_CATCH_UP
    },
    Scenario {
        name: "fan-out",
        about: "1 producer of 500 batches of 16 KiB per second, 8 tail consumers",
        work: Work::Tail(8),
        partitions: 1,
        connections: 1,
        window: 100,
        rate: Some(500.0),
        has_floor: false,
        ..TYPICAL
    },
    Scenario {
        name: "end-to-end",
        about: "5,000 records of 100 bytes per second, one per request, 1 tail consumer",
        work: Work::Tail(1),
        shape: Shape::of(1, 100),
        partitions: 1,
        connections: 1,
        window: 1_000,
        rate: Some(5_000.0),
        figure: CPU_PER_REQUEST,
        has_floor: false,
        ..TYPICAL
    },
    Scenario {
        name: "partitions",
        about: "1,000 partitions, requests of 20 partitions x 4 x 256 B, 4 connections x 5 in flight",
        work: Work::FirstWrites,
        shape: Shape::of(4, 256),
        partitions: 1_000,
        partitions_per_request: 20,
        connections: 4,
        figure: CPU_PER_REQUEST,
        ..TYPICAL
    },
    SESSION,
    Scenario {
        name: "session-1000",
        about: "1 consumer with a fetch session of 1,000 partitions, one is written to per fetch",
        partitions: 1_000,
        ..SESSION
    },
    Scenario {
        name: "parked",
        about: "10,000 parked fetches on 1,000 partitions, each write wakes ten",
        work: Work::Parked(10_000),
        partitions: 1_000,
        figure: "CPU-us/wake",
        ..SESSION
    },
    Scenario {
        name: "connections",
        about: "5,000 idle connections",
        work: Work::Idle(5_000),
        figure: "kB/connection",
        has_floor: false,
        ..TYPICAL
    },
    HEADLINE,
    Scenario {
        name: "headline-3",
        about: "100-byte records in 16 KiB batches, 6 partitions, 3 connections x 5 in flight",
        connections: 3,
        ..HEADLINE
    },
    Scenario {
        name: "headline-1-durable",
        about: "headline-1 with acks=all after the flush",
        acks: -1,
        durability: Durability::Device,
        ..HEADLINE
    },
    Scenario {
        name: "headline-3-durable",
        about: "headline-3 with acks=all after the flush",
        connections: 3,
        acks: -1,
        durability: Durability::Device,
        ..HEADLINE
    },
    Scenario {
        name: "overload",
        about: "16 x 1 KiB per batch, flushed, 64 connections x 100 in flight: more than the memory for requests",
        connections: 64,
        window: 100,
        durability: Durability::Default,
        has_floor: false,
        ..TYPICAL
    },
    Scenario {
        name: "start",
        about: "ready after a start with 1 GB of data",
        work: Work::Start,
        figure: "clean start ms",
        has_floor: false,
        ..TYPICAL
    },
];
