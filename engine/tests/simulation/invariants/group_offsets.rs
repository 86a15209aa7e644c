//! INV-OFFSET-1: a committed offset is there after everything, and none that was shown is taken back.

use std::collections::BTreeMap;

use super::{Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct GroupOffsets {
    /// The newest offset acknowledged or shown, by group. Groups of the simulation only go forward.
    newest: BTreeMap<String, i64>,
}

impl GroupOffsets {
    pub(crate) fn committed(&mut self, group: &str, offset: i64) {
        let newest = self.newest.entry(group.to_owned()).or_insert(-1);
        *newest = offset.max(*newest);
    }

    pub(crate) fn fetched(&mut self, group: &str, offset: i64, sent: i64) -> Verdict {
        let newest = self.newest.get(group).copied().unwrap_or(-1);
        if offset < newest || offset > sent {
            return Err(Violation {
                invariant: "INV-OFFSET-1",
                text: format!("group {group} is at {offset}: {newest} was known, {sent} was sent"),
            });
        }
        self.committed(group, offset);
        Ok(())
    }
}
