//! INV-GROUP-4: a generation that was shared out stands: none before it begins again, whatever befalls the coordinator.
//! INV-GROUP-5: in a generation each member has one assignment, no two share a slot, and all agree on the protocol.
//! INV-GROUP-6: who is in a generation that is over commits nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millrace_engine::group::Synced;
use millrace_engine::types::GenerationId;

use super::{Verdict, Violation};
use crate::consumers::slots_of;

#[derive(Debug, Default)]
pub(crate) struct GroupGenerations {
    /// By group, what was answered to Sync: what was answered to Join only may come again after a crash.
    groups: BTreeMap<String, BTreeMap<GenerationId, Generation>>,
}

#[derive(Debug)]
struct Generation {
    protocol: Arc<str>,
    /// By seat: a static member that comes back has the one it had.
    assignments: BTreeMap<String, Bytes>,
}

impl GroupGenerations {
    /// The newest generation that was shared out.
    pub(crate) fn newest(&self, group: &str) -> GenerationId {
        let newest = self.groups.get(group).and_then(|all| all.keys().last());
        newest.copied().unwrap_or(GenerationId(-1))
    }

    /// How many generations were shared out.
    pub(crate) fn count(&self) -> u64 {
        self.groups.values().map(|all| all.len() as u64).sum()
    }

    pub(crate) fn joined(&self, group: &str, generation: GenerationId) -> Verdict {
        let newest = self.newest(group);
        if generation < newest {
            return Err(Violation {
                invariant: "INV-GROUP-4",
                text: format!("{group} is in {generation:?}, {newest:?} was shared out"),
            });
        }
        Ok(())
    }

    /// A member heard what it works on. Answers its slots.
    pub(crate) fn synced(
        &mut self,
        group: &str,
        generation: GenerationId,
        member: &str,
        synced: Synced,
    ) -> Result<Vec<u8>, Violation> {
        self.joined(group, generation)?;
        let broken = |text| {
            Err(Violation {
                invariant: "INV-GROUP-5",
                text: format!("{group}, {generation:?}, {member:?}: {text}"),
            })
        };
        let Some(slots) = slots_of(&synced.assignment, generation) else {
            return broken(format!("got {:?}", synced.assignment));
        };
        let all = self.groups.entry(group.to_owned()).or_default();
        let known = all.entry(generation).or_insert_with(|| Generation {
            protocol: Arc::clone(&synced.protocol),
            assignments: BTreeMap::new(),
        });
        if known.protocol != synced.protocol {
            return broken(format!("{} and {}", known.protocol, synced.protocol));
        }
        for (other, theirs) in &known.assignments {
            let theirs_slots = slots_of(theirs, generation).unwrap_or_default();
            let same = other == member;
            if same && *theirs != synced.assignment {
                return broken(format!("got {theirs:?} and {:?}", synced.assignment));
            }
            if !same && slots.iter().any(|slot| theirs_slots.contains(slot)) {
                return broken(format!("shares one of {slots:?} with {other:?}"));
            }
        }
        known
            .assignments
            .insert(member.to_owned(), synced.assignment);
        Ok(slots)
    }

    /// A commit was taken that was sent when `newest` had been shared out.
    pub(crate) fn committed(
        group: &str,
        generation: GenerationId,
        newest: GenerationId,
    ) -> Verdict {
        if generation < newest {
            return Err(Violation {
                invariant: "INV-GROUP-6",
                text: format!("{group}: {generation:?} committed, {newest:?} was shared out"),
            });
        }
        Ok(())
    }
}
