//! The paths of the simulated disk: opening, naming, removing, locking.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::content::Content;
use super::tree::{Edit, Node};
use super::{Sim, SimFile, SimOperation};
use crate::io::disk::{Entry, Open, Space};

/// A locked directory; given back when dropped.
pub(in crate::io) struct SimLock {
    sim: Sim,
    dir: PathBuf,
    boot: u64,
}

impl Sim {
    pub(in crate::io) fn open(&self, path: &Path, how: Open) -> Result<SimFile, Errno> {
        let mut world = self.lock();
        world.planned(SimOperation::Open, path)?;
        let found = match world.tree.find(path) {
            Ok(Node::Dir(_)) => return Err(Errno::EISDIR),
            Ok(Node::File(_)) if how == Open::New => return Err(Errno::EEXIST),
            Ok(Node::File(id)) => Some(id),
            Err(Errno::ENOENT) if matches!(how, Open::New | Open::Either) => None,
            Err(errno) => return Err(errno),
        };
        let id = match found {
            Some(id) => id,
            None => {
                let (dir, name) = world.tree.place(path)?;
                world.place_name()?;
                let id = world.new_id();
                world.files.insert(id, Content::default());
                world.tree.change(vec![Edit {
                    dir,
                    name,
                    node: Some(Node::File(id)),
                }]);
                id
            }
        };
        world.files.entry(id).or_default().opened += 1;
        let boot = world.boot;
        drop(world);
        Ok(SimFile::new(
            self.clone(),
            id,
            boot,
            how != Open::ReadOnly,
            path,
        ))
    }

    pub(in crate::io) fn create_dir_all(&self, path: &Path) -> Result<(), Errno> {
        let mut world = self.lock();
        world.planned(SimOperation::Name, path)?;
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        for step in ancestors {
            match world.tree.find(step) {
                Ok(Node::Dir(_)) => {}
                Ok(Node::File(_)) => return Err(Errno::EEXIST),
                Err(Errno::ENOENT) => {
                    let (dir, name) = world.tree.place(step)?;
                    let made = world.new_id();
                    world.tree.add_dir(made);
                    world.tree.change(vec![Edit {
                        dir,
                        name,
                        node: Some(Node::Dir(made)),
                    }]);
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    pub(in crate::io) fn list(&self, path: &Path) -> Result<Vec<Entry>, Errno> {
        let world = self.lock();
        let found = world.tree.find(path)?;
        let entries = world.tree.entries(found)?.iter().map(|(name, node)| {
            let (is_dir, length) = match node {
                Node::Dir(_) => (true, 0),
                Node::File(id) => (false, world.files.get(id).map_or(0, Content::length)),
            };
            Entry {
                name: name.clone(),
                is_dir,
                length,
            }
        });
        Ok(entries.collect())
    }

    pub(in crate::io) fn rename(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let mut world = self.lock();
        world.planned(SimOperation::Name, from)?;
        world.note(("to", to));
        let node = world.tree.find(from)?;
        let (from_dir, from_name) = world.tree.place(from)?;
        let (to_dir, to_name) = world.tree.place(to)?;
        if (from_dir, &from_name) == (to_dir, &to_name) {
            return Ok(());
        }
        if let Node::Dir(moved) = node
            && world.tree.contains(moved, to_dir)
        {
            return Err(Errno::EINVAL);
        }
        match (node, world.tree.find(to)) {
            (_, Err(Errno::ENOENT)) | (Node::File(_), Ok(Node::File(_))) => {}
            (Node::Dir(_), Ok(there @ Node::Dir(_))) => {
                if !world.tree.entries(there)?.is_empty() {
                    return Err(Errno::ENOTEMPTY);
                }
            }
            (Node::File(_), Ok(Node::Dir(_))) => return Err(Errno::EISDIR),
            (Node::Dir(_), Ok(Node::File(_))) => return Err(Errno::ENOTDIR),
            (_, Err(errno)) => return Err(errno),
        }
        world.place_name()?;
        world.tree.change(vec![
            Edit {
                dir: from_dir,
                name: from_name,
                node: None,
            },
            Edit {
                dir: to_dir,
                name: to_name,
                node: Some(node),
            },
        ]);
        Ok(())
    }

    pub(in crate::io) fn remove_file(&self, path: &Path) -> Result<(), Errno> {
        let mut world = self.lock();
        world.planned(SimOperation::Name, path)?;
        if let Node::Dir(_) = world.tree.find(path)? {
            return Err(Errno::EISDIR);
        }
        let (dir, name) = world.tree.place(path)?;
        world.tree.change(vec![Edit {
            dir,
            name,
            node: None,
        }]);
        Ok(())
    }

    /// Name by name from the inside out, as a process would do it: a crash may leave a part.
    pub(in crate::io) fn remove_dir_all(&self, path: &Path) -> Result<(), Errno> {
        let mut world = self.lock();
        world.planned(SimOperation::Name, path)?;
        let (parent, last) = world.tree.place(path)?;
        let top = world.tree.find_dir(path)?;
        let mut removals = vec![(parent, last, Node::Dir(top))];
        let mut seen = 0;
        while let Some(&(_, _, node)) = removals.get(seen) {
            seen += 1;
            if let Node::Dir(dir) = node {
                let inside = world.tree.entries(node)?.iter();
                removals.extend(inside.map(|(name, &node)| (dir, name.clone(), node)));
            }
        }
        for (dir, name, _) in removals.into_iter().rev() {
            world.tree.change(vec![Edit {
                dir,
                name,
                node: None,
            }]);
        }
        Ok(())
    }

    pub(in crate::io) fn sync_dir(&self, path: &Path) -> Result<(), Errno> {
        let mut world = self.lock();
        world.planned(SimOperation::SyncDir, path)?;
        let dir = world.tree.find_dir(path)?;
        let lie = world.lies.syncs_of_directories.as_deref();
        if lie.is_some_and(|ending| path.to_string_lossy().ends_with(ending)) {
            return Ok(());
        }
        world.tree.sync(dir);
        world.forget_files();
        Ok(())
    }

    pub(in crate::io) fn exists(&self, path: &Path) -> Result<bool, Errno> {
        match self.lock().tree.find(path) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// `None` when somebody holds it.
    pub(in crate::io) fn lock_dir(&self, dir: &Path) -> Result<Option<SimLock>, Errno> {
        let mut world = self.lock();
        world.tree.find_dir(dir)?;
        let taken = world.locked.insert(dir.to_path_buf());
        let boot = world.boot;
        drop(world);
        Ok(taken.then(|| SimLock {
            sim: self.clone(),
            dir: dir.to_path_buf(),
            boot,
        }))
    }

    pub(in crate::io) fn space(&self, dir: &Path) -> Result<Space, Errno> {
        let world = self.lock();
        world.tree.find_dir(dir)?;
        let total_bytes = world.capacity_bytes;
        Ok(Space {
            total_bytes,
            usable_bytes: total_bytes.saturating_sub(world.occupied_bytes()),
        })
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.sim.lock();
        if world.boot == self.boot {
            world.locked.remove(&self.dir);
        }
    }
}

impl std::fmt::Debug for SimLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SimLock").field(&self.dir).finish()
    }
}
