//! Consumers of the classic protocol, eager as old clients are: what each believes about its group, and what it asks
//! for next. Some are static members, which come back under their own name and never leave. A subscription is nothing but a list of protocols; an assignment is the generation and some of the slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_engine::group::{
    CommitOffsets, FetchOffsets, GroupCommand, GroupError, GroupId, GroupReply, Heartbeat,
    InstanceId, Join, Joined, Leave, Leaver, MemberId, NamedTopic, OffsetToCommit, OffsetsWanted,
    Protocol, Sync,
};
use millrace_engine::io::Random;
use millrace_engine::types::{GenerationId, LeaderEpoch, Offset, TopicPartition};

use crate::clients::Answer;
use crate::faults::one_of;
use crate::topics::OFFSETS;

/// One consumer; it has at most one request under way.
pub(crate) struct Consumer {
    pub(crate) group: String,
    /// Of a static member; two with the same fence each other.
    pub(crate) instance_id: Option<InstanceId>,
    /// Which of all members that ever came without an id it is, by the order they came in.
    pub(crate) incarnation: u64,
    pub(crate) member_id: MemberId,
    pub(crate) generation: GenerationId,
    pub(crate) phase: Phase,
    /// How far each of its slots was committed, as far as it knows.
    positions: BTreeMap<u8, i64>,
    pub(crate) pending: Option<(Ask, Answer<Result<GroupReply, GroupError>>)>,
}

#[derive(Debug)]
pub(crate) enum Phase {
    Out,
    /// Joined: for the leader with all members.
    Joined(Vec<MemberId>),
    /// Works on these slots.
    Stable(Vec<u8>),
    /// Another has its name: its process ends sooner or later.
    Fenced,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Join,
    Sync,
    Heartbeat,
    Leave,
    Fetch { slot: u8 },
    Commit { slot: u8, offset: i64 },
}

impl Consumer {
    pub(crate) fn new(group: &str, instance: Option<&str>) -> Self {
        Self {
            group: group.to_owned(),
            instance_id: instance.map(InstanceId::from),
            incarnation: 0,
            member_id: MemberId::from(""),
            generation: GenerationId(-1),
            phase: Phase::Out,
            positions: BTreeMap::new(),
            pending: None,
        }
    }

    /// Its process has ended, and another one takes its place.
    pub(crate) fn begin_anew(&mut self) {
        let instance = self.instance_id.take();
        *self = Self::new(&self.group, instance.as_ref().map(InstanceId::as_str));
    }

    /// Who it is in its group, whatever its member id.
    pub(crate) fn seat(&self) -> String {
        match &self.instance_id {
            Some(instance) => format!("instance {instance}"),
            None => self.member_id.to_string(),
        }
    }

    /// What it wants to do now; `None` to let time pass.
    pub(crate) fn next(&mut self, random: &mut Random) -> Option<(Ask, GroupCommand)> {
        let is_static = self.instance_id.is_some();
        if random.chance(1, if is_static { 40 } else { 120 }) {
            self.begin_anew();
            return None;
        }
        match &self.phase {
            Phase::Fenced => None,
            Phase::Out => Some((Ask::Join, self.join(random))),
            Phase::Joined(members) => {
                let sync = self.sync(members, random);
                random.chance(5, 6).then_some((Ask::Sync, sync))
            }
            Phase::Stable(slots) => {
                let slots = slots.clone();
                match random.below(40) {
                    0 if !is_static => Some((Ask::Leave, self.leave())),
                    1 if !is_static => Some((Ask::Join, self.join(random))),
                    0..=12 => Some((Ask::Heartbeat, self.heartbeat())),
                    _ if slots.is_empty() => None,
                    _ => {
                        let slot = one_of(random, &slots);
                        Some(match self.positions.get(&slot) {
                            None => (Ask::Fetch { slot }, self.fetch(slot)),
                            Some(position) => {
                                let offset = position + 1;
                                (Ask::Commit { slot, offset }, self.commit(slot, offset))
                            }
                        })
                    }
                }
            }
        }
    }

    /// It is in a generation, and has yet to learn what it works on.
    pub(crate) fn joined(&mut self, joined: Joined) {
        self.member_id = joined.member_id;
        self.generation = joined.generation;
        // Who is not to share out anything is told of the others for their own sake.
        let shares = joined.members.into_iter();
        let members = shares.filter(|_| !joined.skip_assignment);
        self.phase = Phase::Joined(members.map(|member| member.member_id).collect());
    }

    pub(crate) fn synced(&mut self, slots: Vec<u8>) {
        self.positions.clear();
        self.phase = Phase::Stable(slots);
    }

    /// A slot is at `offset`; `None` when nobody knows.
    pub(crate) fn at(&mut self, slot: u8, offset: Option<i64>) {
        match offset {
            Some(offset) => self.positions.insert(slot, offset),
            None => self.positions.remove(&slot),
        };
    }

    /// A refusal: most of them mean to join again, some under a new id.
    pub(crate) fn refused(&mut self, error: &GroupError) {
        match error {
            GroupError::MemberIdRequired { member_id } => self.member_id = member_id.clone(),
            GroupError::UnknownMember { .. } => self.member_id = MemberId::from(""),
            GroupError::FencedInstanceId { .. } => {
                self.phase = Phase::Fenced;
                return;
            }
            // The coordinator may come back and know of us.
            GroupError::CoordinatorLoading | GroupError::NotCoordinator => return,
            _ => {}
        }
        self.phase = Phase::Out;
    }

    fn join(&self, random: &mut Random) -> GroupCommand {
        let mut protocols = vec!["range"];
        // Another choice of a member that comes back would be a reason to rebalance.
        if self.instance_id.is_none() && random.chance(2, 3) {
            let place = usize::try_from(random.below(2)).unwrap();
            protocols.insert(place, one_of(random, &["roundrobin", "sticky"]));
        }
        let protocols = protocols.into_iter().map(|name| Protocol {
            name: Arc::from(name),
            metadata: Bytes::from_static(b"all"),
        });
        GroupCommand::Join(Join {
            group: self.group(),
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: Arc::from("consumer"),
            client_host: Arc::from("/127.0.0.1"),
            session_timeout_ms: 300,
            rebalance_timeout_ms: 400,
            protocol_type: Arc::from("consumer"),
            protocols: protocols.collect(),
            requires_known_member_id: random.chance(1, 2),
            supports_skip_assignment: random.chance(1, 2),
            random: random.u128(),
        })
    }

    /// The leader shares the slots out, beginning with anybody.
    fn sync(&self, members: &[MemberId], random: &mut Random) -> GroupCommand {
        let mut shares: Vec<Vec<u8>> = members
            .iter()
            .map(|_| self.generation.0.to_be_bytes().to_vec())
            .collect();
        for slot in 0..SLOTS {
            if !shares.is_empty() {
                let next = usize::try_from(random.below(shares.len() as u64)).unwrap();
                shares[next].push(slot);
            }
        }
        let assignments = members
            .iter()
            .cloned()
            .zip(shares.into_iter().map(Bytes::from));
        GroupCommand::Sync(Sync {
            group: self.group(),
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            generation: self.generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        })
    }

    fn heartbeat(&self) -> GroupCommand {
        GroupCommand::Heartbeat(Heartbeat {
            group: self.group(),
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            generation: self.generation,
        })
    }

    fn leave(&self) -> GroupCommand {
        GroupCommand::Leave(Leave {
            group: self.group(),
            members: vec![Leaver {
                member_id: self.member_id.clone(),
                instance_id: self.instance_id.clone(),
            }],
        })
    }

    fn fetch(&self, slot: u8) -> GroupCommand {
        GroupCommand::FetchOffsets(FetchOffsets {
            group: self.group(),
            wanted: OffsetsWanted::Of(vec![place(slot)]),
            require_stable: false,
        })
    }

    fn commit(&self, slot: u8, offset: i64) -> GroupCommand {
        GroupCommand::CommitOffsets(CommitOffsets {
            group: self.group(),
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            generation: self.generation,
            retention_ms: None,
            offsets: vec![OffsetToCommit {
                partition: place(slot),
                topic: NamedTopic::ByName,
                offset: Offset(offset),
                leader_epoch: LeaderEpoch::NONE,
                metadata: "".into(),
            }],
        })
    }

    fn group(&self) -> GroupId {
        GroupId::from(self.group.as_str())
    }
}

/// The slots of an assignment, if it is one of this generation.
pub(crate) fn slots_of(assignment: &[u8], generation: GenerationId) -> Option<Vec<u8>> {
    let (of, slots) = assignment.split_first_chunk::<4>()?;
    (i32::from_be_bytes(*of) == generation.0).then(|| slots.to_vec())
}

/// In a topic that is there: offsets of others do not outlive the coordinator.
fn place(slot: u8) -> TopicPartition {
    TopicPartition {
        topic: OFFSETS.parse().unwrap(),
        partition: i32::from(slot),
    }
}

/// What a group shares out.
const SLOTS: u8 = 5;
