//! The coordinator as its clients see it: commands in, answers out, time turned by hand, the log a vector.

mod membership;
mod offsets;
mod random;
mod rebalance;
mod static_members;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::coordinator::runtime::Effects;
use crate::coordinator::{AppendSequence, CoordinatorRecord, ReplyTicket, Unavailable};
use crate::types::{GenerationId, LeaderEpoch, Monotonic, Now, Offset, Timestamp, TopicPartition};

type Outcome = Result<GroupReply, GroupError>;

/// One coordinator with its log. Appends commit at once unless `holds_commits`.
struct Broker {
    runtime: GroupRuntime,
    now: Now,
    tickets: u64,
    answers: BTreeMap<u64, Outcome>,
    log: Vec<CoordinatorRecord>,
    appended: AppendSequence,
    holds_commits: bool,
    /// How much of the log is committed; a power cut leaves at least so much.
    safe: usize,
}

impl Broker {
    fn new(config: GroupConfig) -> Self {
        let now = Now {
            wall: Timestamp(1_700_000_000_000),
            monotonic: Monotonic(5_000_000),
        };
        let mut broker = Self {
            runtime: GroupRuntime::new(GroupCoordinator::new(config)),
            now,
            tickets: 0,
            answers: BTreeMap::new(),
            log: Vec::new(),
            appended: AppendSequence(0),
            holds_commits: false,
            safe: 0,
        };
        let effects = broker.runtime.loaded(now);
        broker.absorb(effects);
        broker
    }

    /// Without the delay of a first rebalance.
    fn eager() -> Self {
        Self::new(GroupConfig {
            initial_rebalance_delay: Duration::ZERO,
            ..GroupConfig::default()
        })
    }

    fn absorb(&mut self, effects: Effects<Outcome>) {
        for append in effects.appends {
            assert_eq!(append.sequence.0, self.appended.0 + 1);
            self.appended = append.sequence;
            self.log.extend(append.records);
        }
        self.note(effects.replies);
        if !self.holds_commits {
            self.commit();
        }
    }

    fn commit(&mut self) {
        self.safe = self.log.len();
        let released = self.runtime.committed(self.appended);
        self.note(released);
    }

    fn note(&mut self, replies: Vec<(ReplyTicket, Outcome)>) {
        for (ticket, outcome) in replies {
            assert!(ticket.0 <= self.tickets, "{ticket:?} was never handed in");
            let former = self.answers.insert(ticket.0, outcome);
            assert_eq!(former, None, "{ticket:?} is answered twice");
        }
    }

    /// Hands a command in; the answer may come later.
    fn send(&mut self, command: GroupCommand) -> u64 {
        self.tickets += 1;
        let effects = self
            .runtime
            .submit(ReplyTicket(self.tickets), command, self.now);
        self.absorb(effects);
        let effects = self.runtime.tick(self.now);
        self.absorb(effects);
        self.tickets
    }

    fn ask(&mut self, command: GroupCommand) -> Outcome {
        let ticket = self.send(command);
        self.answer(ticket)
    }

    fn answer(&self, ticket: u64) -> Outcome {
        let answer = self.answers.get(&ticket);
        answer
            .unwrap_or_else(|| panic!("ticket {ticket} still waits"))
            .clone()
    }

    fn waits(&self, ticket: u64) -> bool {
        !self.answers.contains_key(&ticket)
    }

    /// Lets time pass, each timer at its moment.
    fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic.after(time);
        while let Some(next) = self.runtime.next_deadline().filter(|next| *next <= end) {
            self.turn_to(next.max(self.now.monotonic));
            let effects = self.runtime.tick(self.now);
            self.absorb(effects);
        }
        self.turn_to(end);
    }

    fn turn_to(&mut self, moment: Monotonic) {
        let passed = self.now.monotonic.until(moment);
        self.now.wall.0 += i64::try_from(passed.as_millis()).unwrap();
        self.now.monotonic = moment;
    }

    /// The power fails: what was not committed is gone.
    fn cut_power(&mut self) {
        self.log.truncate(self.safe);
        self.restart();
    }

    /// A new process reads the log.
    fn restart(&mut self) {
        let refused = self.runtime.unload(Unavailable::Unloaded);
        self.note(refused);
        for record in &self.log {
            let replayed = self.runtime.replay(&record.key, record.value.as_deref());
            assert_eq!(replayed, Ok(()));
        }
        let effects = self.runtime.loaded(self.now);
        self.absorb(effects);
    }

    fn joined(&self, ticket: u64) -> Joined {
        match self.answer(ticket) {
            Ok(GroupReply::Joined(joined)) => joined,
            other => panic!("ticket {ticket}: {other:?}"),
        }
    }

    fn assignment(&self, ticket: u64) -> Bytes {
        match self.answer(ticket) {
            Ok(GroupReply::Synced(synced)) => synced.assignment,
            other => panic!("ticket {ticket}: {other:?}"),
        }
    }

    fn describe(&mut self) -> GroupDescription {
        let group = GroupId::from("g");
        match self.ask(GroupCommand::DescribeGroup { group }) {
            Ok(GroupReply::Described(description)) => description,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self) -> GroupState {
        self.describe().state
    }

    /// Joins with both steps where two are needed.
    fn enter(&mut self, mut join: Join) -> u64 {
        join.random = u128::from(self.tickets + 1) << 64;
        let ticket = self.send(GroupCommand::Join(join.clone()));
        if let Some(Err(GroupError::MemberIdRequired { member_id })) = self.answers.get(&ticket) {
            join.member_id = member_id.clone();
            return self.send(GroupCommand::Join(join));
        }
        ticket
    }

    /// A stable group of so many members, the leader first; every one is assigned its own id. Needs an eager broker.
    fn stable_group(&mut self, count: usize) -> Vec<MemberId> {
        let first = self.enter(consumer());
        let mut ids = vec![self.joined(first).member_id];
        self.settle(&ids.clone(), &[]);
        while ids.len() < count {
            let newcomer = self.enter(consumer());
            let rejoins: Vec<u64> = ids.iter().map(|id| self.enter(rejoin(id))).collect();
            let newcomer = self.joined(newcomer).member_id;
            assert!(rejoins.iter().all(|ticket| !self.waits(*ticket)));
            ids.push(newcomer);
            self.settle(&ids.clone(), &[]);
        }
        ids
    }

    /// All sync, the leader (the first) last, and each but the left-out is assigned its own id.
    fn settle(&mut self, ids: &[MemberId], left_out: &[MemberId]) -> Vec<u64> {
        let generation = self.generation();
        let assigned = ids.iter().filter(|id| !left_out.contains(id));
        let plan: Vec<_> = assigned
            .map(|id| (id.clone(), Bytes::from(id.to_string())))
            .collect();
        let mut tickets = Vec::new();
        for (place, id) in ids.iter().enumerate().rev() {
            let assignments = if place == 0 { plan.clone() } else { Vec::new() };
            tickets.push(self.send(GroupCommand::Sync(sync(id, generation, assignments))));
        }
        tickets.reverse();
        tickets
    }

    fn generation(&self) -> i32 {
        self.runtime.machine().groups()[&GroupId::from("g")]
            .generation
            .0
    }
}

fn consumer() -> Join {
    Join {
        group: GroupId::from("g"),
        member_id: MemberId::from(""),
        instance_id: None,
        client_id: Arc::from("app"),
        client_host: Arc::from("/127.0.0.1"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: Arc::from("consumer"),
        protocols: vec![protocol("range", "t")],
        requires_known_member_id: true,
        supports_skip_assignment: true,
        random: 1,
    }
}

fn instance(name: &str) -> Join {
    Join {
        instance_id: Some(InstanceId::from(name)),
        ..consumer()
    }
}

fn rejoin(id: &MemberId) -> Join {
    Join {
        member_id: id.clone(),
        ..consumer()
    }
}

/// A protocol with a subscription to one topic.
fn protocol(name: &str, topic: &str) -> Protocol {
    let mut metadata = b"\x00\x00\x00\x00\x00\x01\x00".to_vec();
    metadata.push(topic.len() as u8);
    metadata.extend(topic.as_bytes());
    metadata.extend(b"\xff\xff\xff\xff");
    Protocol {
        name: Arc::from(name),
        metadata: Bytes::from(metadata),
    }
}

fn sync(id: &MemberId, generation: i32, assignments: Vec<(MemberId, Bytes)>) -> Sync {
    Sync {
        group: GroupId::from("g"),
        member_id: id.clone(),
        instance_id: None,
        generation: GenerationId(generation),
        protocol_type: Some(Arc::from("consumer")),
        protocol: Some(Arc::from("range")),
        assignments: assignments.into_iter().collect(),
    }
}

fn heartbeat(id: &MemberId, generation: i32) -> GroupCommand {
    GroupCommand::Heartbeat(Heartbeat {
        group: GroupId::from("g"),
        member_id: id.clone(),
        instance_id: None,
        generation: GenerationId(generation),
    })
}

fn leave(ids: &[&MemberId]) -> GroupCommand {
    let leaver = |id: &&MemberId| Leaver {
        member_id: (*id).clone(),
        instance_id: None,
    };
    GroupCommand::Leave(Leave {
        group: GroupId::from("g"),
        members: ids.iter().map(leaver).collect(),
    })
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.parse().unwrap(),
        partition,
    }
}

fn commit(id: &str, generation: i32, offsets: &[(TopicPartition, i64)]) -> CommitOffsets {
    let offsets = offsets.iter().map(|(partition, offset)| OffsetToCommit {
        partition: partition.clone(),
        topic: NamedTopic::ByName,
        offset: Offset(*offset),
        leader_epoch: LeaderEpoch(3),
        metadata: Arc::from("note"),
    });
    CommitOffsets {
        group: GroupId::from("g"),
        member_id: MemberId::from(id),
        instance_id: None,
        generation: GenerationId(generation),
        retention_ms: None,
        offsets: offsets.collect(),
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Err(GroupError::UnknownMember { .. }))
}

fn is_rebalancing(outcome: &Outcome) -> bool {
    matches!(outcome, Err(GroupError::RebalanceInProgress { .. }))
}

#[test]
fn groups_are_spread_as_kafka_spreads_them() {
    // Utils.abs("...".hashCode()) % 50 in Java: "abc" hashes to 96354, "" to 0,
    // "polygenelubricants" to Integer.MIN_VALUE, and an emoji counts as two units.
    assert_eq!(partition_for("abc", 50), 96_354 % 50);
    assert_eq!(partition_for("", 50), 0);
    assert_eq!(partition_for("polygenelubricants", 50), 0);
    assert_eq!(partition_for("\u{1F600}", 50), (0xd83d * 31 + 0xde00) % 50);
}
