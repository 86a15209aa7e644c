//! The names of the simulated disk: directories as they look, and as the device holds them.
//!
//! A change of names is durable when a directory it touches has been synced; a sync of a file promises nothing about
//! its name. Of the changes that were not synced a crash keeps any, whatever their order, as POSIX allows: only changes
//! of the same name or of the same file stand in the order they were made, and a rename happens whole or not at all.
//! Journalling file systems keep more order than that; nobody may rest on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use nix::errno::Errno;

use crate::io::rng::Random;

/// What a name stands for, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Node {
    Dir(u64),
    File(u64),
}

/// All directories.
#[derive(Debug, Hash)]
pub(super) struct Tree {
    /// What a lookup sees.
    seen: Names,
    /// What is left after a crash that loses all of `unsynced`.
    durable: Names,
    /// Changes of `seen` that are not in `durable`, oldest first.
    unsynced: Vec<Change>,
}

/// The entries of each directory.
type Names = BTreeMap<u64, BTreeMap<String, Node>>;

/// Names that change together or not at all.
type Change = Vec<Edit>;

/// In a directory a name comes to stand for something else, or for nothing.
#[derive(Debug, Hash)]
pub(super) struct Edit {
    pub(super) dir: u64,
    pub(super) name: String,
    pub(super) node: Option<Node>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let names = Names::from([(ROOT, BTreeMap::new())]);
        Self {
            seen: names.clone(),
            durable: names,
            unsynced: Vec::new(),
        }
    }

    /// What `path` stands for.
    pub(super) fn find(&self, path: &Path) -> Result<Node, Errno> {
        let mut node = Node::Dir(ROOT);
        for name in names_in(path)? {
            node = *self.entries(node)?.get(name).ok_or(Errno::ENOENT)?;
        }
        Ok(node)
    }

    pub(super) fn find_dir(&self, path: &Path) -> Result<u64, Errno> {
        match self.find(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    /// The directory that `path` lies in, which must be there, and its last name.
    pub(super) fn place(&self, path: &Path) -> Result<(u64, String), Errno> {
        let mut names = names_in(path)?;
        let last = names.pop().ok_or(Errno::EINVAL)?.to_owned();
        let mut node = Node::Dir(ROOT);
        for name in names {
            node = *self.entries(node)?.get(name).ok_or(Errno::ENOENT)?;
        }
        match node {
            Node::Dir(dir) => Ok((dir, last)),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn entries(&self, node: Node) -> Result<&BTreeMap<String, Node>, Errno> {
        match node {
            Node::Dir(dir) => self.seen.get(&dir).ok_or(Errno::ENOENT),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    /// A directory without entries, and without a name until a change gives it one.
    pub(super) fn add_dir(&mut self, dir: u64) {
        self.seen.insert(dir, BTreeMap::new());
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
    }

    /// Whether `inner` is `outer` or lies below it.
    pub(super) fn contains(&self, outer: u64, inner: u64) -> bool {
        reachable(&self.seen, outer).contains(&Node::Dir(inner))
    }

    /// Makes the changes of `dir` durable, with what came before them on the same names and files.
    pub(super) fn sync(&mut self, dir: u64) {
        let mut tied = BTreeSet::new();
        let mut synced = vec![false; self.unsynced.len()];
        for (change, synced) in self.unsynced.iter().zip(&mut synced).rev() {
            let here = change.iter().any(|edit| edit.dir == dir);
            if here || ties(change).any(|tie| tied.contains(&tie)) {
                *synced = true;
                tied.extend(ties(change));
            }
        }
        let mut left = Vec::new();
        for (change, synced) in self.unsynced.drain(..).zip(synced) {
            if synced {
                apply(&mut self.durable, &change);
            } else {
                left.push(change);
            }
        }
        self.unsynced = left;
    }

    /// The machine stops, and starts again with what the device holds: of the changes some, few, most or all.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let lost_of_eight = [0, 1, 4, 8][usize::try_from(random.below(4)).unwrap_or(0)];
        let unsynced = std::mem::take(&mut self.unsynced);
        let mut missing = BTreeSet::new();
        for change in &unsynced {
            let waits = ties(change).any(|tie| missing.contains(&tie));
            if waits || random.chance(lost_of_eight, 8) {
                missing.extend(ties(change));
            } else {
                apply(&mut self.durable, change);
            }
        }
        let alive = reachable(&self.durable, ROOT);
        self.durable
            .retain(|&dir, _| alive.contains(&Node::Dir(dir)));
        self.seen = self.durable.clone();
    }

    /// Every file that has a name now.
    pub(super) fn named_files(&self) -> BTreeSet<u64> {
        // A directory that is not there any more is empty.
        files(self.seen.values().flat_map(BTreeMap::values).copied())
    }

    /// Every file that has a name now, had one durably, or may have one after a crash.
    pub(super) fn possible_files(&self) -> BTreeSet<u64> {
        let edits = self.unsynced.iter().flatten().filter_map(|edit| edit.node);
        let durable = self.durable.values().flat_map(BTreeMap::values).copied();
        let seen = self.seen.values().flat_map(BTreeMap::values).copied();
        files(edits.chain(durable).chain(seen))
    }
}

/// What a change has in common with those it keeps its order with: a name, or what was given one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tie<'a> {
    Name(u64, &'a str),
    Node(Node),
}

fn ties(change: &Change) -> impl Iterator<Item = Tie<'_>> {
    change.iter().flat_map(|edit| {
        let name = Tie::Name(edit.dir, &edit.name);
        [Some(name), edit.node.map(Tie::Node)].into_iter().flatten()
    })
}

fn files(nodes: impl IntoIterator<Item = Node>) -> BTreeSet<u64> {
    let file = |node| {
        if let Node::File(file) = node {
            Some(file)
        } else {
            None
        }
    };
    nodes.into_iter().filter_map(file).collect()
}

fn apply(names: &mut Names, change: &Change) {
    for edit in change {
        let entries = names.entry(edit.dir).or_default();
        match edit.node {
            Some(node) => {
                entries.insert(edit.name.clone(), node);
                if let Node::Dir(dir) = node {
                    names.entry(dir).or_default();
                }
            }
            None => {
                entries.remove(&edit.name);
            }
        }
    }
}

fn reachable(names: &Names, from: u64) -> BTreeSet<Node> {
    let mut found = BTreeSet::from([Node::Dir(from)]);
    let mut open = vec![from];
    while let Some(dir) = open.pop() {
        for &node in names.get(&dir).into_iter().flat_map(BTreeMap::values) {
            if found.insert(node)
                && let Node::Dir(dir) = node
            {
                open.push(dir);
            }
        }
    }
    found
}

/// The names on the way to `path`; a relative path begins at the root, for a simulation has no other place.
fn names_in(path: &Path) -> Result<Vec<&str>, Errno> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(Errno::EINVAL)?),
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::EINVAL),
        }
    }
    Ok(names)
}

const ROOT: u64 = 0;
