//! The names of the simulated disk: directories as they look, and as the device holds them.
//!
//! A change of names is durable when a directory it touches has been synced, and then in the order it was made. A
//! crash cuts the changes of each directory short somewhere: ext4 would often keep more, never less.

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

    /// Makes the changes of `dir` durable, and whatever came before them in the directories they share with others.
    pub(super) fn sync(&mut self, dir: u64) {
        let mut dirs = BTreeSet::from([dir]);
        let mut synced = vec![false; self.unsynced.len()];
        for (change, synced) in self.unsynced.iter().zip(&mut synced).rev() {
            if change.iter().any(|edit| dirs.contains(&edit.dir)) {
                *synced = true;
                dirs.extend(change.iter().map(|edit| edit.dir));
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

    /// The machine stops, and starts again with what the device holds: of each directory's changes the first few.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let mut cut = BTreeSet::new();
        for change in std::mem::take(&mut self.unsynced) {
            let lost = change.iter().any(|edit| cut.contains(&edit.dir)) || random.chance(1, 3);
            if lost {
                cut.extend(change.iter().map(|edit| edit.dir));
            } else {
                apply(&mut self.durable, &change);
            }
        }
        let alive = reachable(&self.durable, ROOT);
        self.durable
            .retain(|&dir, _| alive.contains(&Node::Dir(dir)));
        self.seen = self.durable.clone();
    }

    /// Every file that has a name now.
    pub(super) fn named_files(&self) -> BTreeSet<u64> {
        files(reachable(&self.seen, ROOT))
    }

    /// Every file that has a name now, had one durably, or may have one after a crash.
    pub(super) fn possible_files(&self) -> BTreeSet<u64> {
        let edits = self.unsynced.iter().flatten().filter_map(|edit| edit.node);
        let durable = self.durable.values().flat_map(BTreeMap::values).copied();
        let seen = self.seen.values().flat_map(BTreeMap::values).copied();
        files(edits.chain(durable).chain(seen))
    }
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
