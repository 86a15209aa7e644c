//! INV-GROUP-7: once a static member is at work nothing is done any more for those that had its name before.

use std::collections::BTreeMap;

use super::{Verdict, Violation};
use crate::consumers::Consumer;

#[derive(Debug, Default)]
pub(crate) struct StaticMembers {
    /// The newest incarnation that was told what it works on, by group and seat.
    at_work: BTreeMap<(String, String), u64>,
    /// How often one came back to a generation that went on.
    pub(crate) returns: u64,
    /// How often one was turned away because of another.
    pub(crate) fenced: u64,
}

impl StaticMembers {
    /// A member was told what it works on; `generation_stood` before it came.
    pub(crate) fn synced(&mut self, member: &Consumer, generation_stood: bool) {
        if member.instance_id.is_none() {
            return;
        }
        let newest = self.at_work.entry(key(member)).or_insert(0);
        if member.incarnation > *newest && *newest > 0 {
            self.returns += u64::from(generation_stood);
        }
        *newest = member.incarnation.max(*newest);
    }

    /// Who is at work under a member's name.
    pub(crate) fn holder(&self, member: &Consumer) -> u64 {
        self.at_work.get(&key(member)).copied().unwrap_or(0)
    }

    /// Something was done for a member that asked for it when `holder` was at work.
    pub(crate) fn served(member: &Consumer, holder: u64) -> Verdict {
        if member.instance_id.is_none() || member.incarnation >= holder {
            return Ok(());
        }
        Err(Violation {
            invariant: "INV-GROUP-7",
            text: format!(
                "{}, {}: {} was served although a later one was at work",
                member.group,
                member.seat(),
                member.member_id
            ),
        })
    }
}

fn key(member: &Consumer) -> (String, String) {
    (member.group.clone(), member.seat())
}
