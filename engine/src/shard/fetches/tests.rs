//! Fetches of very many partitions, and very many fetches: what a turn takes on, and who has to wait.

use tokio::sync::oneshot;

use super::*;
use crate::io::{Completion, Outcome, Sim, SimOperation};
use crate::maintenance::Done;
use crate::partition::Isolation;
use crate::shard::command::Command;
use crate::shard::step::Input;
use crate::shard::step::tests::{Bench, Errors, NOW, bench, bench_on};
use crate::types::LeaderEpoch;

type Answer = oneshot::Receiver<Results>;

/// Asks for the only partition from each of `offsets` on, as often; waits for `bytes_min`.
fn fetch(id: u64, bench: &Bench, offsets: &[i64], bytes_min: u64) -> (Command, Answer) {
    let (reply, answer) = oneshot::channel();
    let partitions = offsets.iter().map(|&offset| FetchPartition {
        partition: bench.partitions[0],
        offset: Offset(offset),
        bytes_max: 1_000,
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
        isolation: Isolation::ReadUncommitted,
    });
    let fetch = Fetch {
        id: FetchId(id),
        partitions: partitions.collect(),
        bytes_max: u64::MAX,
        bytes_min,
        deadline: Monotonic(u64::MAX),
        reply,
    };
    (Command::Fetch(fetch), answer)
}

fn park(id: u64, bench: &mut Bench, looks: usize, bytes_min: u64) -> Answer {
    let (command, answer) = fetch(id, bench, &vec![0; looks], bytes_min);
    bench.take_in(Input::Command(command));
    answer
}

fn produce(bench: &mut Bench) {
    drop(bench.produce(0));
    bench.end_sync();
}

fn answered(answers: &mut [Answer]) -> Vec<bool> {
    let answers = answers.iter_mut();
    answers.map(|answer| answer.try_recv().is_ok()).collect()
}

/// Whoever asks several shards asked again at once, for ever: what had been left out counted as found.
#[test]
fn a_batch_that_the_limit_leaves_out_is_told_of() {
    let mut bench = bench(1, 1);
    produce(&mut bench);
    let (command, mut answer) = fetch(1, &bench, &[0, 0, 0], 0);
    bench.take_in(Input::Command(command));
    let lengths = |results: Results| {
        let lengths = results.into_iter().map(|result| {
            let fetched = result.unwrap();
            let length = fetched.extent.map_or(0, |extent| extent.length);
            (length, fetched.has_more)
        });
        lengths.collect::<Vec<_>>()
    };
    let whole = lengths(answer.try_recv().unwrap());
    let batch = whole[0].0;
    assert_eq!(whole, [(batch, false); 3]);
    let (command, mut answer) = fetch(2, &bench, &[0, 0, 0], 2 * batch - 1);
    let Command::Fetch(mut limited) = command else {
        unreachable!()
    };
    limited.bytes_max = 2 * batch - 1;
    bench.take_in(Input::Command(Command::Fetch(limited)));
    let found = lengths(answer.try_recv().unwrap());
    assert_eq!(found, [(batch, false), (0, true), (0, true)]);
}

#[test]
fn a_record_that_wakes_very_many_has_them_look_again_in_turns() {
    let mut bench = bench(1, 1);
    let mut answers: Vec<_> = (0..5)
        .map(|id| park(id, &mut bench, LOOKS_PER_TURN / 2, 1))
        .collect();
    produce(&mut bench);
    assert_eq!(answered(&mut answers), [true, true, false, false, false]);
    assert_eq!(bench.shard.next_deadline(), Some(NOW.monotonic), "at once");
    bench.take_in(Input::Tick);
    assert_eq!(answered(&mut answers[2..]), [true, true, false]);
    bench.take_in(Input::Tick);
    assert_eq!(answered(&mut answers[4..]), [true]);
    assert!(bench.shard.next_deadline() > Some(NOW.monotonic));
}

#[test]
fn a_fetch_of_more_than_a_turn_looks_at_is_looked_at_whole() {
    let mut bench = bench(1, 1);
    let mut answer = park(1, &mut bench, 3 * LOOKS_PER_TURN, 1);
    produce(&mut bench);
    let results = answer.try_recv().unwrap();
    assert!(results.iter().all(|result| result.is_ok()));
}

#[test]
fn those_that_are_woken_again_and_again_take_turns() {
    let mut bench = bench(1, 1);
    let _answers: Vec<_> = (0..3)
        .map(|id| park(id, &mut bench, LOOKS_PER_TURN, 1))
        .collect();
    let mut turn = || {
        bench.shard.wake_readers(bench.partitions[0]);
        bench.shard.look_again(NOW, &mut Effects::default());
        bench.shard.fetches.looked_last
    };
    let turns = [turn(), turn(), turn(), turn()];
    let [first, second, third] = *bench.shard.fetches.works.keys().collect::<Vec<_>>() else {
        panic!("all still wait");
    };
    assert_eq!(turns, [*first, *second, *third, *first]);
}

/// With each record that woke it, it had the file read again for its first batch, where that is not among the recent ones.
#[test]
fn a_fetch_that_waits_for_many_bytes_looks_for_the_first_of_them_once() {
    const EIO: i32 = 5;
    let sim = Sim::new(1);
    let mut bench = bench_on(&sim, "t", 1, 1);
    for _ in 0..200 {
        produce(&mut bench);
    }
    let begin = |bench: &mut Bench, bytes_min| {
        let (command, answer) = fetch(bytes_min, bench, &[0], bytes_min);
        let Command::Fetch(mut fetch) = command else {
            unreachable!()
        };
        fetch.partitions[0].bytes_max = u64::MAX;
        bench.take_in(Input::Command(Command::Fetch(fetch)));
        answer
    };
    let length = |answer: &mut Answer| {
        let fetched = answer.try_recv().unwrap().remove(0).unwrap();
        fetched.extent.unwrap().length
    };
    let there = length(&mut begin(&mut bench, 0));
    let five_more = there / 40;
    let mut answer = begin(&mut bench, there + five_more);
    sim.fail_next(SimOperation::Read, ".log", EIO);
    for _ in 0..5 {
        assert!(answer.try_recv().is_err(), "it waits");
        produce(&mut bench);
    }
    assert_eq!(length(&mut answer), there + five_more);
}

/// With many small segments whose indexes are not in memory.
fn old_segments() -> Bench {
    let mut bench = bench(1, 1);
    bench.configure(0, |config| {
        (config.segment_bytes, config.index_interval_bytes) = (400, 100);
        config.write_caching = true;
    });
    for _ in 0..300 {
        drop(bench.produce(0));
    }
    let leader = bench.shard.leading(bench.partitions[0]).unwrap();
    leader.log_mut().drop_indexes();
    bench
}

/// A fetch that asks for each of two old segments many times, and what it orders.
fn fetch_old(bench: &mut Bench) -> (Effects, Answer) {
    let (command, answer) = fetch(1, bench, &[0, 20].repeat(50), 0);
    let mut effects = Effects::default();
    bench.shard.step(NOW, Input::Command(command), &mut effects);
    (effects, answer)
}

#[test]
fn an_index_is_loaded_once_for_all_who_wait_for_it() {
    let mut bench = old_segments();
    let (effects, mut answer) = fetch_old(&mut bench);
    let mut jobs = effects.jobs.iter();
    assert!(jobs.all(|(_, job)| matches!(job, Job::LoadIndex(_))));
    assert_eq!(effects.jobs.len(), 2, "one for each segment");
    bench.carry_out(effects);
    let results = answer.try_recv().unwrap();
    assert_eq!(results.len(), 100);
    let mut extents = results.into_iter().map(|result| result.unwrap().extent);
    assert!(extents.all(|extent| extent.is_some()));
    assert!(bench.shard.fetches.loads.is_empty());
}

#[test]
fn readers_of_two_old_segments_do_not_have_the_indexes_loaded_in_turns() {
    let mut bench = old_segments();
    // Each takes more.
    bench.shard.indexes.bytes_max = 0;
    let mut loads = 0;
    for turn in 0..5 {
        for offset in [0, 20] {
            let (command, mut answer) = fetch(turn, &bench, &[offset], 0);
            let mut effects = Effects::default();
            bench.shard.step(NOW, Input::Command(command), &mut effects);
            let jobs = effects.jobs.iter();
            loads += jobs
                .filter(|(_, job)| matches!(job, Job::LoadIndex(_)))
                .count();
            // Segments that are closed meanwhile push none of them out.
            drop(bench.produce(0));
            bench.carry_out(effects);
            let results = answer.try_recv().unwrap();
            assert!(results[0].as_ref().unwrap().extent.is_some());
        }
    }
    assert_eq!(loads, 2);
}

#[test]
fn an_index_that_cannot_be_loaded_is_told_to_all_who_wait_for_it() {
    let mut bench = old_segments();
    let (effects, mut answer) = fetch_old(&mut bench);
    for (id, _) in effects.jobs {
        let error = IoError::new("read", "/data".as_ref(), std::io::ErrorKind::Other);
        let done = Done::IndexLoaded(Err(error.into()));
        bench.take_in(Input::Done(id, done));
    }
    let results = answer.try_recv().unwrap();
    assert_eq!(results.len(), 100);
    let mut errors = results.into_iter().map(Result::unwrap_err);
    assert!(errors.all(|error| error == ReadError::Storage));
}

/// Fetches from `offset` on; says also how often an index was built anew for that.
fn fetch_at(bench: &mut Bench, offset: i64) -> (usize, Result<Fetched, ReadError>) {
    let (command, mut answer) = fetch(1, bench, &[offset], 0);
    let mut inputs = vec![Input::Command(command)];
    let mut effects = Effects::default();
    let mut rebuilt = 0;
    while let Some(input) = inputs.pop() {
        bench.shard.step(NOW, input, &mut effects);
        for (id, job) in effects.jobs.drain(..) {
            rebuilt += usize::from(matches!(&job, Job::LoadIndex(index) if index.rebuilds()));
            inputs.push(Input::Done(id, bench.run(job)));
        }
        for (ticket, action) in effects.actions.drain(..) {
            let Action::Read {
                file,
                position,
                length,
            } = action
            else {
                panic!("{action:?} is no read");
            };
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            let result = file.read_at(position, &mut bytes).map(|count| {
                bytes.truncate(count);
                Outcome::Read(bytes.into())
            });
            inputs.push(Input::Completed(Completion { ticket, result }));
        }
    }
    (rebuilt, answer.try_recv().unwrap().remove(0))
}

/// A consumer that has come to it asks again and again: each time the segment was walked up to it, and a line written.
#[test]
fn damage_in_a_closed_segment_is_looked_for_once_and_said_once() {
    let mut bench = old_segments();
    // The batch of offset 2 has an entry in the index, and that of offset 3 has none.
    let extent = fetch_at(&mut bench, 2).1.unwrap().extent.unwrap();
    let magic = extent.position + 16;
    extent.file.write_all_at(magic, &[9]).unwrap();
    let errors = Errors::default();
    tracing::subscriber::with_default(errors.clone(), || {
        for expected in [1, 0, 0] {
            let (rebuilt, found) = fetch_at(&mut bench, 3);
            assert_eq!(found.unwrap_err(), ReadError::Storage);
            assert_eq!(rebuilt, expected);
        }
    });
    assert_eq!(errors.count(), 1);
    let behind = fetch_at(&mut bench, 4).1.unwrap().extent;
    assert!(behind.is_some(), "what lies behind is served");
}
