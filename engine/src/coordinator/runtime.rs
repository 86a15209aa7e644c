//! Drives one state machine: replays its partition, hands out appends, and parks every reply until the records it rests
//! on are committed. A failed append drops the state; there is no rollback.
//!
//! It performs nothing itself: who owns it appends the records, reports the outcome, and calls `tick` in time.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Answer, AppendSequence, CoordinatorRecord, Decision, DecodeError, ReplyTicket, Scope,
    StateMachine, Unavailable,
};
use crate::types::{Monotonic, Now};

/// A state machine with its parked replies. Begins in the loading phase.
#[derive(Debug)]
pub struct Runtime<Machine: StateMachine> {
    machine: Machine,
    phase: Phase,
    /// The newest append handed out.
    appended: AppendSequence,
    /// The newest append that is known to be committed.
    committed: AppendSequence,
    /// Replies by the append whose commit releases them; every key is above `committed`.
    parked: BTreeMap<AppendSequence, Vec<(ReplyTicket, Machine::Reply)>>,
    /// The newest uncommitted append of each scope.
    scopes: BTreeMap<Scope, AppendSequence>,
    /// What each uncommitted append is about, oldest first.
    uncommitted: VecDeque<(AppendSequence, Scope)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Active,
}

/// Records to append together, in this order, as one batch. What one decision brings may take several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// To be handed back to [`Runtime::committed`].
    pub sequence: AppendSequence,
    /// Not empty.
    pub records: Vec<CoordinatorRecord>,
}

/// What to do after a call.
#[derive(Debug)]
pub struct Effects<Reply> {
    /// To be appended in this order; their sequences follow one another.
    pub appends: Vec<Append>,
    /// To be given now.
    pub replies: Vec<(ReplyTicket, Reply)>,
}

impl<Reply> Default for Effects<Reply> {
    fn default() -> Self {
        Self {
            appends: Vec::new(),
            replies: Vec::new(),
        }
    }
}

impl<Machine: StateMachine> Runtime<Machine> {
    /// A runtime around an empty machine, waiting for its partition to be replayed.
    pub const fn new(machine: Machine) -> Self {
        Self {
            machine,
            phase: Phase::Loading,
            appended: AppendSequence(0),
            committed: AppendSequence(0),
            parked: BTreeMap::new(),
            scopes: BTreeMap::new(),
            uncommitted: VecDeque::new(),
        }
    }

    /// The machine, for those who only look.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine, for those who tell it what else it has to know.
    pub const fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Whether commands are served, that is: loaded, and no append has failed since.
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Takes in one record of the partition; call it for all of them in order, then [`loaded`](Self::loaded).
    /// A record of a type that this coordinator does not use is skipped.
    ///
    /// # Errors
    /// When the record cannot be read. The state is as before; the caller decides whether to go on without it.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DecodeError> {
        assert!(
            self.phase == Phase::Loading,
            "INV-COORD-1: records are replayed only while loading, the runtime is {:?}",
            self.phase
        );
        if let Some(record) = Machine::decode(key, value)? {
            self.machine.apply(&record);
        }
        Ok(())
    }

    /// The partition has been read to its end: commands are served from here on.
    pub fn loaded(&mut self, now: Now) -> Effects<Machine::Reply> {
        assert!(
            self.phase == Phase::Loading,
            "INV-COORD-1: loading ends once, the runtime is {:?}",
            self.phase
        );
        self.phase = Phase::Active;
        let decision = self.machine.loaded(now);
        let mut effects = Effects::default();
        self.settle(decision, &mut effects);
        effects
    }

    /// Serves one command. `ticket` gets exactly one reply: in these effects, in later ones, from
    /// [`committed`](Self::committed) or from [`unload`](Self::unload).
    pub fn submit(
        &mut self,
        ticket: ReplyTicket,
        command: Machine::Command,
        now: Now,
    ) -> Effects<Machine::Reply> {
        let mut effects = Effects::default();
        match self.phase {
            Phase::Loading => effects
                .replies
                .push((ticket, Machine::refuse(Unavailable::Loading))),
            Phase::Active => {
                let decision = self.machine.decide(ticket, command, now);
                self.settle(decision, &mut effects);
            }
        }
        effects
    }

    /// Serves every timer that is due.
    pub fn tick(&mut self, now: Now) -> Effects<Machine::Reply> {
        let mut effects = Effects::default();
        while self.is_active() {
            let Some(decision) = self.machine.tick(now) else {
                break;
            };
            self.settle(decision, &mut effects);
        }
        effects
    }

    /// When [`tick`](Self::tick) is next needed; changes with every call that takes `&mut self`.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        match self.phase {
            Phase::Loading => None,
            Phase::Active => self.machine.next_deadline(),
        }
    }

    /// Every append up to and including `up_to` is committed: what waited for them is to be answered now.
    pub fn committed(&mut self, up_to: AppendSequence) -> Vec<(ReplyTicket, Machine::Reply)> {
        assert!(
            up_to <= self.appended,
            "INV-COORD-2: append {up_to:?} is committed, the newest handed out is {:?}",
            self.appended
        );
        self.committed = self.committed.max(up_to);
        let later = self.parked.split_off(&AppendSequence(self.committed.0 + 1));
        let released = std::mem::replace(&mut self.parked, later);
        let count = self
            .uncommitted
            .partition_point(|(sequence, _)| *sequence <= up_to);
        for (_, scope) in self.uncommitted.drain(..count) {
            if self.scopes.get(&scope) <= Some(&up_to) {
                self.scopes.remove(&scope);
            }
        }
        released.into_values().flatten().collect()
    }

    /// An append failed, or the partition is led elsewhere now: drops the state and refuses all who wait. The runtime is
    /// loading again; it wants to be replayed from the beginning of the partition (or to be dropped).
    pub fn unload(&mut self, reason: Unavailable) -> Vec<(ReplyTicket, Machine::Reply)> {
        let parked = std::mem::take(&mut self.parked);
        self.scopes.clear();
        self.uncommitted.clear();
        self.committed = self.appended;
        self.phase = Phase::Loading;
        let parked = parked.into_values().flatten().map(|(ticket, _)| ticket);
        parked
            .chain(self.machine.unload())
            .map(|ticket| (ticket, Machine::refuse(reason)))
            .collect()
    }

    /// Applies and hands out the records of a decision; gives or parks its replies.
    fn settle(
        &mut self,
        decision: Decision<Machine::Record, Machine::Reply>,
        effects: &mut Effects<Machine::Reply>,
    ) {
        let max = self.machine.append_bytes_max();
        let mut append: Option<(Append, usize)> = None;
        for record in &decision.records {
            self.machine.apply(record);
            let encoded = Machine::encode(record);
            let length = encoded.length_max();
            let full = append.take_if(|(_, taken)| *taken + length > max);
            effects.appends.extend(full.map(|(append, _)| append));
            let (append, taken) = append.get_or_insert_with(|| {
                self.appended.0 += 1;
                let (sequence, records) = (self.appended, Vec::new());
                (Append { sequence, records }, 0)
            });
            *taken += length;
            append.records.push(encoded);
            // What waits for this scope waits for the last of its records.
            let (scope, sequence) = (Machine::scope(record), append.sequence);
            if self.scopes.insert(scope.clone(), sequence) != Some(sequence) {
                self.uncommitted.push_back((sequence, scope));
            }
        }
        effects.appends.extend(append.map(|(append, _)| append));
        for Answer {
            ticket,
            reply,
            after,
        } in decision.replies
        {
            match after.and_then(|scope| self.scopes.get(&scope)) {
                Some(sequence) => self
                    .parked
                    .entry(*sequence)
                    .or_default()
                    .push((ticket, reply)),
                None => effects.replies.push((ticket, reply)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::coordinator::{Answer, FRAMING_BYTES_MAX};

    /// Counts per name: "name" adds one and answers the count, "+++name" adds three, "?name" only answers, "!name" answers at once.
    #[derive(Debug, Default)]
    struct Counter {
        counts: BTreeMap<String, usize>,
    }

    impl StateMachine for Counter {
        type Command = &'static str;
        type Reply = Result<usize, Unavailable>;
        type Record = String;

        fn decide(
            &mut self,
            ticket: ReplyTicket,
            command: &'static str,
            _: Now,
        ) -> Decision<String, Self::Reply> {
            let name = command.trim_start_matches(['?', '!', '+']);
            let adds = match command.len() - name.len() {
                0 => 1,
                count if command.starts_with('+') => count,
                _ => 0,
            };
            let count = self.counts.get(name).copied().unwrap_or(0) + adds;
            let after = (!command.starts_with('!')).then(|| Arc::from(name));
            Decision {
                records: vec![name.to_owned(); adds],
                replies: vec![Answer {
                    ticket,
                    reply: Ok(count),
                    after,
                }],
            }
        }

        fn tick(&mut self, _: Now) -> Option<Decision<String, Self::Reply>> {
            None
        }

        fn next_deadline(&self) -> Option<Monotonic> {
            None
        }

        fn apply(&mut self, record: &String) {
            *self.counts.entry(record.clone()).or_default() += 1;
        }

        fn loaded(&mut self, _: Now) -> Decision<String, Self::Reply> {
            Decision::default()
        }

        fn unload(&mut self) -> Vec<ReplyTicket> {
            self.counts.clear();
            Vec::new()
        }

        fn append_bytes_max(&self) -> usize {
            2 * (1 + FRAMING_BYTES_MAX)
        }

        fn scope(record: &String) -> Scope {
            Arc::from(record.as_str())
        }

        fn encode(record: &String) -> CoordinatorRecord {
            CoordinatorRecord {
                key: Bytes::from(record.clone()),
                value: None,
            }
        }

        fn decode(key: &[u8], _: Option<&[u8]>) -> Result<Option<String>, DecodeError> {
            Ok(Some(String::from_utf8_lossy(key).into_owned()))
        }

        fn refuse(reason: Unavailable) -> Self::Reply {
            Err(reason)
        }
    }

    fn active() -> Runtime<Counter> {
        let mut runtime = Runtime::new(Counter::default());
        runtime.loaded(Now::default());
        runtime
    }

    #[test]
    fn a_reply_waits_for_the_commit_of_its_records() {
        let mut runtime = active();
        let effects = runtime.submit(ReplyTicket(1), "a", Now::default());
        assert_eq!(effects.replies, []);
        assert_eq!(effects.appends[0].sequence, AppendSequence(1));
        assert_eq!(
            runtime.committed(AppendSequence(1)),
            [(ReplyTicket(1), Ok(1))]
        );
        assert_eq!(runtime.committed(AppendSequence(1)), []);
    }

    #[test]
    fn a_reader_waits_for_what_it_read_and_for_nothing_else() {
        let mut runtime = active();
        runtime.submit(ReplyTicket(1), "a", Now::default());
        runtime.submit(ReplyTicket(2), "b", Now::default());
        assert_eq!(
            runtime.submit(ReplyTicket(3), "?a", Now::default()).replies,
            []
        );
        assert_eq!(
            runtime.submit(ReplyTicket(4), "?c", Now::default()).replies,
            [(ReplyTicket(4), Ok(0))]
        );
        assert_eq!(
            runtime.submit(ReplyTicket(5), "!a", Now::default()).replies,
            [(ReplyTicket(5), Ok(1))]
        );
        let released = runtime.committed(AppendSequence(1));
        assert_eq!(released, [(ReplyTicket(1), Ok(1)), (ReplyTicket(3), Ok(1))]);
    }

    #[test]
    fn records_that_are_too_many_for_one_append_take_several_and_the_reply_waits_for_the_last() {
        let mut runtime = active();
        let effects = runtime.submit(ReplyTicket(1), "+++a", Now::default());
        let appends = effects.appends.iter();
        let sizes: Vec<_> = appends
            .map(|append| (append.sequence.0, append.records.len()))
            .collect();
        assert_eq!(sizes, [(1, 2), (2, 1)]);
        assert_eq!(runtime.committed(AppendSequence(1)), []);
        assert_eq!(
            runtime.committed(AppendSequence(2)),
            [(ReplyTicket(1), Ok(3))]
        );
    }

    #[test]
    fn a_failed_append_refuses_all_who_wait_and_asks_for_a_replay() {
        let mut runtime = active();
        runtime.submit(ReplyTicket(1), "a", Now::default());
        let refused = runtime.unload(Unavailable::Unloaded);
        assert_eq!(refused, [(ReplyTicket(1), Err(Unavailable::Unloaded))]);
        assert_eq!(
            runtime.submit(ReplyTicket(2), "?a", Now::default()).replies,
            [(ReplyTicket(2), Err(Unavailable::Loading))]
        );
        assert_eq!(runtime.replay(b"a", None), Ok(()));
        runtime.loaded(Now::default());
        let effects = runtime.submit(ReplyTicket(3), "a", Now::default());
        assert_eq!(
            effects.appends[0].sequence,
            AppendSequence(2),
            "old news must be told apart"
        );
        assert_eq!(runtime.committed(AppendSequence(1)), []);
        assert_eq!(
            runtime.committed(AppendSequence(2)),
            [(ReplyTicket(3), Ok(2))]
        );
    }
}
