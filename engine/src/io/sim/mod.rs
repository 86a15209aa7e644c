//! The simulated machine: a disk that forgets what was not synced, and rings whose completions come in seeded order.
//!
//! One seed and one sequence of calls give one history, bit for bit. For one thread at a time: the lock is there
//! because files may travel, not to be contended. It knows nothing of what is stored.

mod content;
mod disk;
mod file;
mod old_blocks;
mod ring;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use self::content::Content;
use self::old_blocks::OldBlocks;
use self::ring::Queued;
use self::tree::Tree;
use super::disk::Disk;
use super::ring::Ring;
use super::rng::Random;

pub(super) use self::disk::SimLock;
pub(super) use self::file::SimFile;
pub(super) use self::ring::SimRing;

/// A machine made of memory. Clones are the same machine.
#[derive(Clone)]
pub struct Sim {
    world: Arc<Mutex<World>>,
}

/// How often operations go wrong by themselves, in millionths. A write that fails may have written a part; a sync that
/// fails leaves a part durable, and the rest looks written until the machine stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Reads that fail with EIO.
    pub read_errors: u32,
    /// Reads that return less than there is, at least one byte.
    pub short_reads: u32,
    /// Writes that fail with EIO.
    pub write_errors: u32,
    /// Syncs that fail with EIO.
    pub sync_errors: u32,
}

/// What the disk says to have done and has not: the checkers of a simulation have to find out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lies {
    /// Files with a name that ends like this are never synced.
    pub syncs_of_files: Option<String>,
    /// Directories with a path that ends like this are never synced.
    pub syncs_of_directories: Option<String>,
}

/// What a reader holds against what a file shows. On the machine's own files every check is made; a simulation can
/// leave one out, and its checkers have to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Checksums of what a power cut may have torn.
    Checksums,
    /// What an index says against the file that it is about.
    Indexes,
}

/// Operations that can be told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SimOperation {
    /// Opening or creating a file.
    Open,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file durable.
    Sync,
    /// Cutting or extending a file, or reserving blocks for it.
    Resize,
    /// Making, renaming or removing a name.
    Name,
    /// Making the names of a directory durable.
    SyncDir,
}

impl SimOperation {
    /// Opening may create a file.
    const fn changes_the_disk(self) -> bool {
        !matches!(self, Self::Read)
    }
}

struct World {
    random: Random,
    faults: Faults,
    planned: Vec<Planned>,
    /// How many more changes of the disk the process makes before it stands still; `None`: it goes on.
    stands_still_in: Option<u64>,
    /// What is said to be done and is not.
    lies: Lies,
    /// What readers do not check.
    left_out: BTreeSet<Check>,
    old_blocks: OldBlocks,
    capacity_bytes: u64,
    /// Whether new names need room.
    names_take_room: bool,
    /// Files with a path that ends like one of these get no blocks ahead.
    reserves_nothing_for: Vec<String>,
    /// Counts the crashes: handles from before one are void.
    boot: u64,
    tree: Tree,
    files: BTreeMap<u64, Content>,
    /// From so many files on the unreachable ones are looked for.
    files_kept_max: usize,
    next_id: u64,
    locked: BTreeSet<PathBuf>,
    /// What each ring has been given and not yet done.
    rings: BTreeMap<u64, Vec<Queued>>,
    /// Everything that ever happened, folded into one number.
    history: DefaultHasher,
}

#[derive(Hash)]
struct Planned {
    operation: SimOperation,
    path_end: String,
    /// `None`: the process stands still from there on.
    errno: Option<i32>,
}

impl Sim {
    /// A machine with an empty disk of 1 TiB; `seed` decides everything that chance decides.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            random: Random::seeded(seed),
            faults: Faults::default(),
            planned: Vec::new(),
            stands_still_in: None,
            lies: Lies::default(),
            left_out: BTreeSet::new(),
            old_blocks: OldBlocks::default(),
            capacity_bytes: CAPACITY_BYTES,
            names_take_room: false,
            reserves_nothing_for: Vec::new(),
            boot: 0,
            tree: Tree::new(),
            files: BTreeMap::new(),
            files_kept_max: FILES_KEPT_MIN,
            next_id: 1,
            locked: BTreeSet::new(),
            rings: BTreeMap::new(),
            history: DefaultHasher::new(),
        };
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// Its file system. Stays valid over crashes; open files do not.
    #[must_use]
    pub fn disk(&self) -> Disk {
        Disk::sim(self.clone())
    }

    /// A ring on it. Nothing submitted is begun before a `reap`; each reap performs one or more of the actions in
    /// flight, in an order of its own. A sync promises what was written before it was submitted; what came later goes with it
    /// or does not.
    #[must_use]
    pub fn ring(&self) -> Ring {
        Ring::sim(SimRing::new(self.clone()))
    }

    /// How often things go wrong from now on; at first never.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// The size of the disk. May be less than is stored already: then nothing can grow.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.lock().capacity_bytes = capacity_bytes;
    }

    /// The file system reserves nothing for files with a path that ends like one of `endings`, as some cannot, and says it
    /// had: each write has to find its own room.
    pub fn reserve_nothing_for(&self, endings: &[&str]) {
        self.lock().reserves_nothing_for =
            endings.iter().map(|&ending| ending.to_owned()).collect();
    }

    /// From now on a directory may have to grow for a new name, and on a full disk cannot: every other file that is to be
    /// made or renamed there finds no room.
    pub fn let_names_take_room(&self) {
        self.lock().names_take_room = true;
    }

    /// Lets the next `operation` on a path that ends with `path_end` fail with `errno`, once. Several plans for the
    /// same path are used up in order.
    pub fn fail_next(&self, operation: SimOperation, path_end: &str, errno: i32) {
        self.lock().planned.push(Planned {
            operation,
            path_end: path_end.to_owned(),
            errno: Some(errno),
        });
    }

    /// Lets the process stand still before the next `operation` on a path that ends with `path_end`, as
    /// [`Sim::stand_still_after`] does.
    pub fn stand_still_at(&self, operation: SimOperation, path_end: &str) {
        self.lock().planned.push(Planned {
            operation,
            path_end: path_end.to_owned(),
            errno: None,
        });
    }

    /// Forgets what [`Sim::fail_next`] planned and has not come about.
    pub fn forget_plans(&self) {
        self.lock().planned.clear();
    }

    /// The process stands still before it changes the disk for the time after the next `changes`: whatever it tries then
    /// fails with EIO and does nothing, until [`Sim::go_on`] or a crash.
    pub fn stand_still_after(&self, changes: u64) {
        self.lock().stands_still_in = Some(changes);
    }

    /// Whether the process stands still.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        self.lock().stands_still_in == Some(0)
    }

    /// Another process begins on the machine, or the one there goes on.
    pub fn go_on(&self) {
        let mut world = self.lock();
        world.stands_still_in = None;
        world.planned.retain(|planned| planned.errno.is_some());
    }

    /// What is not done from now on, though it is said to be.
    pub fn set_lies(&self, lies: Lies) {
        self.lock().lies = lies;
    }

    /// Whoever reads here leaves a check out from now on.
    pub fn leave_out(&self, check: Check) {
        self.lock().left_out.insert(check);
    }

    /// The file system shows what lay in new blocks before: behind a crash an unsynced sector that did not arrive, in a
    /// place that the file had not before, holds noise or what a file with a path that ends like one of `left_by` was
    /// once written with, instead of zeros.
    pub fn show_old_blocks(&self, left_by: &[&str]) {
        self.lock().old_blocks = OldBlocks::left_by(left_by);
    }

    /// Power fails. Of what was in flight on the rings some is still done. Then every unsynced write may be lost,
    /// whole or in sectors of 512 bytes, in any order, and unsynced names go back to what they were; open files,
    /// locks, plans and rings of before are void.
    pub fn crash(&self) {
        self.go_on();
        let in_flight = std::mem::take(&mut self.lock().rings);
        for queued in in_flight.into_values().flatten() {
            if self.lock().random.chance(1, 2) {
                // Nobody is left to hear how it went.
                let _ = queued.perform();
            }
        }
        let mut world = self.lock();
        world.note("crash");
        world.crash();
    }

    /// A number that stands for everything stored and everything that happened: equal for equal histories.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let world = self.lock();
        let mut hasher = world.history.clone();
        (&world.tree, &world.files, &world.locked, &world.planned).hash(&mut hasher);
        world.old_blocks.hash(&mut hasher);
        (world.boot, world.next_id, world.random.clone().u64()).hash(&mut hasher);
        hasher.finish()
    }

    /// No file may be dropped while the guard lives: that would lock again.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn note(&mut self, event: impl Hash) {
        event.hash(&mut self.history);
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Whether `operation` on `path` goes wrong: as planned, or `rate` times in a million.
    fn goes_wrong(&mut self, operation: SimOperation, path: &Path, rate: u32) -> Option<Errno> {
        self.note((operation, path));
        if self.stands_still_in == Some(0) {
            return Some(Errno::EIO);
        }
        if operation.changes_the_disk() {
            self.stands_still_in = self.stands_still_in.map(|left| left - 1);
        }
        let path = path.to_string_lossy();
        let planned = self.planned.iter().position(|planned| {
            planned.operation == operation && path.ends_with(planned.path_end.as_str())
        });
        if let Some(index) = planned {
            let planned = self.planned.remove(index).errno;
            if planned.is_none() {
                self.stands_still_in = Some(0);
            }
            return Some(planned.map_or(Errno::EIO, Errno::from_raw));
        }
        (rate > 0 && self.random.chance(u64::from(rate), 1_000_000)).then_some(Errno::EIO)
    }

    /// Whether a failed operation has done a part of its work: not so when nobody was there to begin it.
    fn does_in_part(&self) -> bool {
        self.stands_still_in != Some(0)
    }

    fn planned(&mut self, operation: SimOperation, path: &Path) -> Result<(), Errno> {
        self.goes_wrong(operation, path, 0).map_or(Ok(()), Err)
    }

    /// Bytes that all files with a name or a handle occupy.
    fn occupied_bytes(&self) -> u64 {
        let named = self.tree.named_files();
        let counts = |(id, content): &(&u64, &Content)| content.opened > 0 || named.contains(id);
        self.files
            .iter()
            .filter(counts)
            .map(|(_, content)| content.occupied())
            .sum()
    }

    /// Bytes still free; asked only of a disk with a limit, because counting takes time.
    fn free_bytes(&self) -> u64 {
        if self.capacity_bytes == CAPACITY_BYTES {
            return u64::MAX;
        }
        self.capacity_bytes.saturating_sub(self.occupied_bytes())
    }

    /// Finds a place for a new name.
    fn place_name(&mut self) -> Result<(), Errno> {
        let full = self.names_take_room && self.free_bytes() < DIRECTORY_BLOCK_BYTES;
        if full && self.random.chance(1, 2) {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn crash(&mut self) {
        self.tree.crash(&mut self.random);
        self.boot += 1;
        self.locked.clear();
        self.planned.clear();
        let named = self.tree.named_files();
        self.files.retain(|id, _| named.contains(id));
        for content in self.files.values_mut() {
            content.crash(&self.old_blocks, &mut self.random);
        }
    }

    /// Forgets files that no name, no handle and no crash can bring back, once there are many more than were left the last
    /// time: looking for them takes as long as there are names.
    fn forget_files(&mut self) {
        if self.files.len() < self.files_kept_max {
            return;
        }
        let possible = self.tree.possible_files();
        self.files
            .retain(|id, content| content.opened > 0 || possible.contains(id));
        self.files_kept_max = FILES_KEPT_MIN + 2 * self.files.len();
    }
}

const CAPACITY_BYTES: u64 = 1 << 40;
/// What a directory grows by.
const DIRECTORY_BLOCK_BYTES: u64 = 4_096;
const FILES_KEPT_MIN: usize = 256;

#[cfg(test)]
mod tests;
