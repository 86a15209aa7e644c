//! Rounds of SIGKILL under load, judged from outside.
//!
//! `MILLRACE_CRASH_ROUNDS=100 cargo test -p millrace-server --test crash -- --nocapture` for more rounds and the
//! figures; `MILLRACE_CRASH_SEED` repeats the moments of a run (what the system makes of them differs).

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests run on the machine's clock, wait for other processes, and fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod ledger;
mod load;

use std::time::{Duration, Instant};

use ledger::Ledger;
use load::{Kind, Load};
use support::broker::Broker;
use support::wire::Wire;

/// Small segments, so that kills meet rolling, too.
const SETTINGS: &[(&str, &str)] = &[("log.segment.bytes", "1048576")];

const ROUNDS: u64 = 5;

#[test]
fn no_kill_loses_an_acknowledged_record_or_takes_back_a_commit() {
    let rounds = number_from("MILLRACE_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = number_from("MILLRACE_CRASH_SEED").unwrap_or_else(|| std::process::id().into());
    println!("{rounds} rounds, MILLRACE_CRASH_SEED={seed}");
    let mut moments = Moments(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut broker = Broker::start_on_a_lasting_port(SETTINGS);
    let mut wire = Wire::connect(&broker);
    for kind in Kind::ALL {
        wire.create_topic(kind.topic(), load::PARTITIONS, &[]);
    }
    let load = Load::start(&broker);
    let mut ledger = Ledger::default();
    let mut down = Duration::ZERO;
    let mut killed_starting = 0;
    for round in 1..=rounds {
        load.wait_until_all_are_at_work();
        std::thread::sleep(Duration::from_millis(moments.below(400)));
        broker.kill();
        ledger.note(&load);
        // Judged where no client reaches the broker: a fresh commit would hide that an older one was lost.
        broker.start_aside();
        let whole = round % 20 == 0;
        ledger.check(&mut Wire::connect(&broker), whole);
        broker.kill();
        let began = Instant::now();
        if moments.below(4) == 0 {
            broker.start_and_kill_after(Duration::from_millis(moments.below(60)));
            killed_starting += 1;
        }
        broker.start_again();
        down += began.elapsed();
        if whole {
            let count = ledger.acknowledged();
            println!("after {round} kills: {count} records acknowledged, all there");
        }
    }
    load.stop_sending();
    ledger.note(&load);
    ledger.check(&mut Wire::connect(&broker), true);
    ledger.check_nothing_is_missing(&load);
    load.wait_until_everything_is_consumed(&ledger.ends());
    ledger.note(&load);
    ledger.check(&mut Wire::connect(&broker), true);

    println!("{ledger}");
    println!(
        "{rounds} kills under load, {rounds} when just judged, {killed_starting} while starting; {} ms to start on average",
        down.as_millis() / u128::from(rounds.max(1))
    );
    assert!(
        ledger.acknowledged() > 100 * rounds,
        "hardly any load: the test shows nothing"
    );
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

/// When to kill: without pattern, but repeatable.
struct Moments(u64);

impl Moments {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
