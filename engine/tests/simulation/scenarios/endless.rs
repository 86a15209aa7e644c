//! Seeds without end: for nights, and for machines that have nothing else to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use millrace_engine::io::Clock;

use super::{failed_syncs, metadata, mixed, rebalances, sifting};
use crate::invariants::Violation;
use crate::world::World;

/// What seeds came to.
#[derive(Default)]
struct Sum {
    steps: u64,
    blows: u64,
    broken: Vec<(u64, &'static str)>,
}

type Play = fn(u64) -> (u64, u64, Result<(), Violation>);

/// What is played of each seed: steps and blows come of it, and a verdict.
const PLAYS: [(&str, Play); 8] = [
    ("mixed", |seed| of_storage(seed, mixed::play)),
    ("hasty", |seed| of_storage(seed, mixed::play_hastily)),
    ("alone", |seed| {
        let mut world = mixed::alone(seed);
        let verdict = mixed::play_alone(&mut world);
        (world.steps, world.blows, verdict)
    }),
    ("sifting", |seed| {
        let mut world = sifting::world(seed);
        let verdict = sifting::play(&mut world);
        (world.steps, world.blows, verdict)
    }),
    ("metadata", |seed| {
        let (world, verdict) = metadata::play(seed);
        (world.steps, world.blows, verdict)
    }),
    ("rebalances", |seed| {
        let (world, verdict) = rebalances::play(seed);
        (world.steps, world.blows, verdict)
    }),
    ("returns", |seed| {
        let (world, verdict) = rebalances::play_returns(seed);
        (world.steps, world.blows, verdict)
    }),
    ("failed_syncs", |seed| of_storage(seed, failed_syncs::play)),
];

fn of_storage(
    seed: u64,
    play: fn(&mut World) -> Result<(), Violation>,
) -> (u64, u64, Result<(), Violation>) {
    let mut world = World::new(seed);
    let verdict = play(&mut world);
    (world.steps, world.blows, verdict)
}

impl Sum {
    fn play(&mut self, seed: u64, name: &'static str, play: Play) {
        let violation = match catch_unwind(AssertUnwindSafe(|| play(seed))) {
            Ok((steps, blows, verdict)) => {
                self.steps += steps;
                self.blows += blows;
                verdict.err()
            }
            // It has told of itself.
            Err(_) => Some(Violation {
                invariant: "a panic",
                text: String::new(),
            }),
        };
        if let Some(Violation { invariant, text }) = violation {
            println!("MILLRACE_SIM_SEED={seed} {name}: {invariant}: {text}");
            self.broken.push((seed, name));
        }
    }
}

#[test]
#[ignore = "runs until it is told to stop; MILLRACE_SIM_SEED is the first seed, MILLRACE_SIM_SEEDS how many at most"]
fn seeds_run_until_told_to_stop() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let first: u64 = number("MILLRACE_SIM_SEED").unwrap_or(1);
    let count: u64 = number("MILLRACE_SIM_SEEDS").unwrap_or(u64::MAX - first);
    let only = std::env::var("MILLRACE_SIM_PLAY").ok();
    let clock = Clock::real();
    let now = || clock.now().monotonic;
    let begun = now();
    let mut told = begun;
    let mut sum = Sum::default();
    for seed in first..first + count {
        for (name, play) in PLAYS {
            if only.as_deref().is_none_or(|only| only == name) {
                sum.play(seed, name, play);
            }
        }
        if now() > told.after(REPORT_INTERVAL) || seed + 1 == first + count {
            told = now();
            println!(
                "{} seeds, to {seed}: {} steps and {} blows in {:.0?}, {} broken",
                seed + 1 - first,
                sum.steps,
                sum.blows,
                begun.until(told),
                sum.broken.len()
            );
        }
    }
    assert!(sum.broken.is_empty(), "{:?}", sum.broken);
}

const REPORT_INTERVAL: Duration = Duration::from_secs(10);
