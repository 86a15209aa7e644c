//! Any commands in any order, with time passing, commits lagging and restarts: what must hold throughout.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::group::classic::ClassicGroup;
use crate::types::TopicName;

/// What the groups themselves and what is recorded of their members take beyond their memory: that is not refused.
const SLACK_BYTES: usize = 6_000;

/// One thing that happens. Small numbers name members by the order in which they were first seen.
#[derive(Clone, Debug)]
enum Event {
    Join {
        group: u8,
        member: Option<u8>,
        instance: Option<u8>,
        two_steps: bool,
        protocol: u8,
        rebalance_timeout_ms: i32,
    },
    Sync {
        member: u8,
        fresh: bool,
    },
    Heartbeat {
        member: u8,
    },
    Leave {
        member: u8,
    },
    Commit {
        member: Option<u8>,
        group: u8,
        partition: i32,
        offset: i64,
    },
    Fetch {
        group: u8,
    },
    DeleteOffset {
        group: u8,
        partition: i32,
    },
    DeleteGroup {
        group: u8,
    },
    Pass {
        seconds: u64,
    },
    Commits,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let join = (
        0..2_u8,
        prop::option::of(0..8_u8),
        prop::option::weighted(0.3, 0..2_u8),
        any::<bool>(),
        0..3_u8,
        prop::sample::select(vec![60_000, 5_000, 0, -1]),
    );
    let join = join.prop_map(
        |(group, member, instance, two_steps, protocol, rebalance_timeout_ms)| Event::Join {
            group,
            member,
            instance,
            two_steps,
            protocol,
            rebalance_timeout_ms,
        },
    );
    let commit = (prop::option::of(0..8_u8), 0..2_u8, 0..2_i32, 0..1_000_i64);
    let commit = commit.prop_map(|(member, group, partition, offset)| Event::Commit {
        member,
        group,
        partition,
        offset,
    });
    prop_oneof![
        8 => join,
        8 => (0..8_u8, prop::bool::weighted(0.9)).prop_map(|(member, fresh)| Event::Sync { member, fresh }),
        3 => (0..8_u8).prop_map(|member| Event::Heartbeat { member }),
        2 => (0..8_u8).prop_map(|member| Event::Leave { member }),
        5 => commit,
        1 => (0..2_u8).prop_map(|group| Event::Fetch { group }),
        1 => (0..2_u8, 0..2_i32).prop_map(|(group, partition)| Event::DeleteOffset { group, partition }),
        1 => (0..2_u8).prop_map(|group| Event::DeleteGroup { group }),
        4 => prop_oneof![Just(0), 1..8_u64, Just(70), Just(700_000)].prop_map(|seconds| Event::Pass { seconds }),
        4 => Just(Event::Commits),
        1 => Just(Event::Restart),
    ]
}

/// What the client side knows.
struct World {
    broker: Broker,
    /// Members in the order they were first named, with their groups.
    members: Vec<(GroupId, MemberId)>,
    /// Commits by their tickets, until answered.
    commits: BTreeMap<u64, (GroupId, TopicPartition, i64)>,
    /// The newest acknowledged offset of each partition that nobody has tried to remove since.
    acknowledged: BTreeMap<(GroupId, TopicPartition), i64>,
    /// Tickets up to this one were handed in before something was removed.
    removal: u64,
    seen: BTreeSet<u64>,
    generations: BTreeMap<GroupId, i32>,
    memory_bytes_max: usize,
}

fn group(number: u8) -> GroupId {
    GroupId::from(format!("group-{number}").as_str())
}

impl World {
    fn member(&self, number: u8) -> Option<(GroupId, MemberId)> {
        self.members
            .get(usize::from(number) % self.members.len().max(1))
            .cloned()
    }

    fn generation(&self, group: &GroupId) -> i32 {
        let groups = self.broker.runtime.machine().groups();
        groups.get(group).map_or(0, |group| group.generation.0)
    }

    /// Offsets are about to be removed: nothing acknowledged so far is promised any longer.
    fn expect_removal(&mut self) {
        self.removal = self.broker.tickets;
        self.acknowledged.clear();
    }

    fn run(&mut self, event: &Event) {
        let removes = match event {
            Event::DeleteOffset { .. } | Event::DeleteGroup { .. } => true,
            Event::Pass { seconds } => *seconds > 1_000,
            _ => false,
        };
        if removes {
            self.expect_removal();
        }
        match event.clone() {
            Event::Join {
                group: number,
                member,
                instance,
                two_steps,
                protocol: kind,
                rebalance_timeout_ms,
            } => {
                let known = member.and_then(|member| self.member(member));
                let (group, member_id) = known.unwrap_or((group(number), MemberId::from("")));
                let names: &[&str] =
                    [&["range"][..], &["range", "sticky"], &["sticky", "range"]][usize::from(kind)];
                let join = Join {
                    group,
                    member_id,
                    instance_id: instance
                        .map(|number| InstanceId::from(format!("i{number}").as_str())),
                    protocols: names.iter().map(|name| protocol(name, "t")).collect(),
                    requires_known_member_id: two_steps,
                    supports_skip_assignment: kind == 0,
                    rebalance_timeout_ms,
                    random: u128::from(self.broker.tickets + 1) << 64,
                    ..consumer()
                };
                self.broker.send(GroupCommand::Join(join));
            }
            Event::Sync { member, fresh } => {
                if let Some((group, id)) = self.member(member) {
                    let generation = self.generation(&group) - i32::from(!fresh);
                    let assignments = vec![(id.clone(), Bytes::from(id.to_string()))];
                    let sync = Sync {
                        group,
                        protocol: None,
                        ..sync(&id, generation, assignments)
                    };
                    self.broker.send(GroupCommand::Sync(sync));
                }
            }
            Event::Heartbeat { member } => {
                if let Some((group, member_id)) = self.member(member) {
                    let generation = GenerationId(self.generation(&group));
                    let beat = Heartbeat {
                        group,
                        member_id,
                        instance_id: None,
                        generation,
                    };
                    let ticket = self.broker.send(GroupCommand::Heartbeat(beat));
                    assert!(!self.broker.waits(ticket), "a heartbeat never waits");
                }
            }
            Event::Leave { member } => {
                if let Some((group, member_id)) = self.member(member) {
                    let members = vec![Leaver {
                        member_id,
                        instance_id: None,
                    }];
                    self.broker
                        .send(GroupCommand::Leave(Leave { group, members }));
                }
            }
            Event::Commit {
                member,
                group: number,
                partition,
                offset,
            } => {
                let known = member.and_then(|member| self.member(member));
                let (group, id, generation) = match known {
                    Some((group, id)) => {
                        let generation = self.generation(&group);
                        (group, id, generation)
                    }
                    None => (group(number), MemberId::from(""), -1),
                };
                let partition = place("t", partition);
                let command = CommitOffsets {
                    group: group.clone(),
                    ..commit(id.as_str(), generation, &[(partition.clone(), offset)])
                };
                let ticket = self.broker.send(GroupCommand::CommitOffsets(command));
                self.commits.insert(ticket, (group, partition, offset));
            }
            Event::Fetch { group: number } => {
                let fetch = FetchOffsets {
                    group: group(number),
                    wanted: OffsetsWanted::ALL,
                    require_stable: false,
                };
                self.broker.send(GroupCommand::FetchOffsets(fetch));
            }
            Event::DeleteOffset {
                group: number,
                partition,
            } => {
                let partitions = vec![place("t", partition)];
                self.broker.send(GroupCommand::DeleteOffsets(DeleteOffsets {
                    group: group(number),
                    partitions,
                }));
            }
            Event::DeleteGroup { group: number } => {
                self.broker.send(GroupCommand::DeleteGroup {
                    group: group(number),
                });
            }
            Event::Pass { seconds: time } => self.broker.pass(seconds(time)),
            Event::Commits => self.broker.commit(),
            Event::Restart => {
                self.broker.cut_power();
                self.generations.clear();
                for ((group, partition), offset) in &self.acknowledged {
                    let stored = self.broker.runtime.machine().stored();
                    let found = stored.offset(group, partition).map(|found| found.offset.0);
                    assert_eq!(
                        found,
                        Some(*offset),
                        "{group} has lost what was acknowledged for {partition}"
                    );
                }
            }
        }
    }

    /// Learns member ids from answers.
    fn look_at_answers(&mut self) {
        let new: Vec<(u64, Outcome)> = self
            .broker
            .answers
            .iter()
            .filter(|(ticket, _)| !self.seen.contains(ticket))
            .map(|(ticket, outcome)| (*ticket, outcome.clone()))
            .collect();
        for (ticket, outcome) in new {
            self.seen.insert(ticket);
            if let Err(GroupError::MemberIdRequired { member_id }) = &outcome {
                let groups = self.broker.runtime.machine().groups();
                let home = groups
                    .values()
                    .find(|group| group.pending.contains(member_id));
                if let Some(group) = home {
                    self.members.push((group.id.clone(), member_id.clone()));
                }
            }
            if let Ok(GroupReply::Joined(joined)) = &outcome {
                let groups = self.broker.runtime.machine().groups();
                let home = groups
                    .values()
                    .find(|group| group.members.contains_key(&joined.member_id));
                let entry = home.map(|group| (group.id.clone(), joined.member_id.clone()));
                self.members
                    .extend(entry.filter(|entry| !self.members.contains(entry)));
            }
            if let Some((group, partition, offset)) = self.commits.remove(&ticket)
                && outcome == Ok(GroupReply::OffsetsCommitted(vec![Ok(())]))
                && ticket > self.removal
            {
                self.acknowledged.insert((group, partition), offset);
            }
        }
    }

    /// What holds after every event.
    fn check(&mut self) {
        let machine = self.broker.runtime.machine();
        let groups = machine.groups().values().map(ClassicGroup::recounted_bytes);
        let counted = groups.sum::<usize>() + machine.stored().held_bytes();
        assert_eq!(machine.held_bytes(), counted);
        assert!(
            counted <= self.memory_bytes_max + SLACK_BYTES,
            "{counted} bytes are held"
        );
        for (id, group) in machine.groups() {
            let known = self
                .generations
                .insert(id.clone(), group.generation.0)
                .unwrap_or(0);
            assert!(
                known <= group.generation.0,
                "the generation of {id} went from {known} to {}",
                group.generation
            );
            let instances: Vec<_> = group
                .members
                .values()
                .filter_map(|member| member.instance_id.as_ref())
                .collect();
            assert_eq!(
                instances.iter().collect::<BTreeSet<_>>().len(),
                instances.len(),
                "two hold one instance"
            );
            assert_eq!(instances.len(), group.instances.len());
            let joining = group
                .members
                .values()
                .filter(|member| member.join.is_some())
                .count();
            assert_eq!(joining, group.joining);
            assert_eq!(group.members.is_empty(), group.leader.is_none());
            assert!(
                group
                    .leader
                    .iter()
                    .all(|leader| group.members.contains_key(leader))
            );
            if group.state == GroupState::Stable {
                assert_eq!(
                    machine.stored().group(id),
                    Some(&group.to_stored()),
                    "a stable group is recorded"
                );
            }
            let syncing = group.members.values().any(|member| member.sync.is_some());
            assert!(
                !syncing || group.state == GroupState::CompletingRebalance,
                "a sync waits in {}",
                group.state
            );
            assert!(
                group.joining == 0 || group.state == GroupState::PreparingRebalance,
                "a join waits in {}",
                group.state
            );
            if group.state == GroupState::Empty {
                assert!(group.members.is_empty());
            }
        }
        self.generations
            .retain(|id, _| machine.groups().contains_key(id));
        assert!(
            self.broker
                .runtime
                .next_deadline()
                .is_some_and(|next| next > self.broker.now.monotonic)
        );
    }

    /// The log says what the coordinator holds.
    fn check_replay(&self) {
        let mut other = GroupRuntime::new(GroupCoordinator::new(GroupConfig::default()));
        for record in &self.broker.log {
            other.replay(&record.key, record.value.as_deref()).unwrap();
        }
        assert_eq!(
            other.machine().stored(),
            self.broker.runtime.machine().stored()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_history_breaks_the_coordinator(events in prop::collection::vec(event(), 1..120), delayed in any::<bool>(), crowded in any::<bool>()) {
        let delay = if delayed { seconds(3) } else { Duration::ZERO };
        let memory_bytes_max = if crowded { 4_000 } else { 1 << 20 };
        let mut broker = Broker::new(GroupConfig { initial_rebalance_delay: delay, size_max: 4, memory_bytes_max, ..GroupConfig::default() });
        broker.holds_commits = true;
        let mut world = World {
            broker,
            members: Vec::new(),
            commits: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            removal: 0,
            seen: BTreeSet::new(),
            generations: BTreeMap::new(),
            memory_bytes_max,
        };
        for event in &events {
            world.run(event);
            world.look_at_answers();
            world.check();
        }
        world.check_replay();
        world.broker.commit();
        world.broker.pass(seconds(3_600));
        world.broker.commit();
        for ticket in 1..=world.broker.tickets {
            assert!(!world.broker.waits(ticket), "ticket {ticket} is lost");
        }
    }

    #[test]
    fn the_last_acknowledged_commit_is_what_is_fetched(commits in prop::collection::vec((0..3_i32, 0..100_i64, any::<bool>()), 1..40)) {
        let mut broker = Broker::eager();
        let mut acknowledged = BTreeMap::new();
        let topic: TopicName = "t".parse().unwrap();
        for (partition, offset, restarts) in commits {
            let partition = TopicPartition { topic: topic.clone(), partition };
            let command = commit("", -1, &[(partition.clone(), offset)]);
            prop_assert!(broker.ask(GroupCommand::CommitOffsets(command)).is_ok());
            acknowledged.insert(partition, offset);
            if restarts {
                broker.restart();
            }
            let command = FetchOffsets { group: GroupId::from("g"), wanted: OffsetsWanted::ALL, require_stable: false };
            let Ok(GroupReply::OffsetsFetched(found)) = broker.ask(GroupCommand::FetchOffsets(command)) else {
                panic!("refused");
            };
            let found: BTreeMap<_, _> = found.into_iter().map(|found| (found.partition, found.offset.0)).collect();
            prop_assert_eq!(&found, &acknowledged);
        }
    }
}
