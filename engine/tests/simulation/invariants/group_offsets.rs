//! INV-OFFSET-1: a committed offset is there after everything, and none that was shown is taken back.
//! INV-OFFSET-2: an offset that was deleted, alone or with its group, does not come back.

use std::collections::BTreeMap;

use super::{Verdict, Violation};

#[derive(Debug, Default)]
pub(crate) struct GroupOffsets {
    /// By group. Groups of the simulation only go forward.
    known: BTreeMap<String, Known>,
    /// How many deletions were answered.
    pub(crate) deletions: u64,
}

#[derive(Debug)]
struct Known {
    /// The newest offset acknowledged or shown since the last deletion; -1: none.
    newest: i64,
    /// All up to this one are deleted.
    deleted: i64,
    /// Nobody knows whether all up to this one were deleted.
    in_doubt: Option<i64>,
}

impl GroupOffsets {
    pub(crate) fn committed(&mut self, group: &str, offset: i64) {
        let known = self.known(group);
        known.newest = offset.max(known.newest);
        known.in_doubt = None;
    }

    /// The group's offset is gone, of which `sent` is the greatest that was ever sent.
    pub(crate) fn deleted(&mut self, group: &str, sent: i64) {
        self.deletions += 1;
        self.is_gone(group, sent);
    }

    /// The same, or it is not gone: nobody was told.
    pub(crate) fn may_be_deleted(&mut self, group: &str, sent: i64) {
        self.known(group).in_doubt = Some(sent);
    }

    pub(crate) fn fetched(&mut self, group: &str, offset: i64, sent: i64) -> Verdict {
        let known = self.known(group);
        let (newest, deleted) = (known.newest, known.deleted);
        if offset == NONE
            && let Some(gone) = known.in_doubt
        {
            self.is_gone(group, gone);
            return Ok(());
        }
        if (0..=deleted).contains(&offset) {
            return Err(Violation {
                invariant: "INV-OFFSET-2",
                text: format!("group {group} is at {offset}: all up to {deleted} was deleted"),
            });
        }
        if offset < newest || offset > sent {
            return Err(Violation {
                invariant: "INV-OFFSET-1",
                text: format!("group {group} is at {offset}: {newest} was known, {sent} was sent"),
            });
        }
        self.committed(group, offset);
        Ok(())
    }

    fn is_gone(&mut self, group: &str, sent: i64) {
        let gone = Known {
            newest: NONE,
            deleted: sent,
            in_doubt: None,
        };
        self.known.insert(group.to_owned(), gone);
    }

    fn known(&mut self, group: &str) -> &mut Known {
        let nothing = Known {
            newest: NONE,
            deleted: NONE,
            in_doubt: None,
        };
        self.known.entry(group.to_owned()).or_insert(nothing)
    }
}

/// What a group shows that has no offset.
const NONE: i64 = -1;
