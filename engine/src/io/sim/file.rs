//! An open file of the simulated disk.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::errno::Errno;

use super::content::Content;
use super::{Check, Sim, SimOperation, World};

/// A handle; void after a crash.
pub(in crate::io) struct SimFile {
    sim: Sim,
    id: u64,
    boot: u64,
    writable: bool,
    path: PathBuf,
}

impl SimFile {
    /// `opened` of the content has been counted up for it.
    pub(super) fn new(sim: Sim, id: u64, boot: u64, writable: bool, path: &Path) -> Self {
        Self {
            sim,
            id,
            boot,
            writable,
            path: path.to_path_buf(),
        }
    }

    pub(in crate::io) fn length(&self) -> Result<u64, Errno> {
        self.with(|_, content| Ok(content.length()))
    }

    pub(in crate::io) fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.with(|world, content| {
            let faults = world.faults;
            if let Some(errno) =
                world.goes_wrong(SimOperation::Read, &self.path, faults.read_errors)
            {
                return Err(errno);
            }
            let mut there = content.read(position, buffer.len());
            if faults.short_reads > 0
                && there.len() > 1
                && world
                    .random
                    .chance(u64::from(faults.short_reads), 1_000_000)
            {
                let length = 1 + below(world, there.len() - 1);
                there = &there[..length];
            }
            buffer[..there.len()].copy_from_slice(there);
            world.note(("read", position, there));
            Ok(there.len())
        })
    }

    /// Writes the buffers behind their first `done` bytes; the count includes those.
    pub(in crate::io) fn write_at(
        &self,
        position: u64,
        buffers: &[Bytes],
        done: u64,
    ) -> Result<u64, Errno> {
        let all = buffers.concat();
        let rest = all
            .get(usize::try_from(done).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        self.write_all_at(position.saturating_add(done), rest)?;
        Ok(done + rest.len() as u64)
    }

    pub(in crate::io) fn write_all_at(&self, position: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.with(|world, content| {
            if !self.writable {
                return Err(Errno::EBADF);
            }
            let rate = world.faults.write_errors;
            if let Some(errno) = world.goes_wrong(SimOperation::Write, &self.path, rate) {
                if world.does_in_part() {
                    let part = below(world, bytes.len() + 1);
                    content.write(position, &bytes[..part])?;
                }
                return Err(errno);
            }
            world.note(("write", position, bytes));
            world.old_blocks.written(&self.path, position, bytes);
            // What the others leave, as this file is taken out of the world; what it has, it keeps.
            let room = world.free_bytes().max(content.occupied());
            let end = position.saturating_add(bytes.len() as u64);
            if end <= room {
                return content.write(position, bytes);
            }
            let fits = usize::try_from(room.saturating_sub(position)).unwrap_or(0);
            content.write(position, &bytes[..fits.min(bytes.len())])?;
            Err(Errno::ENOSPC)
        })
    }

    pub(in crate::io) fn sync(&self) -> Result<(), Errno> {
        self.sync_up_to(u64::MAX)
    }

    /// The same, asked for behind so many changes: of later ones nothing is promised.
    pub(in crate::io) fn sync_up_to(&self, changes: u64) -> Result<(), Errno> {
        self.with(|world, content| {
            let rate = world.faults.sync_errors;
            if let Some(errno) = world.goes_wrong(SimOperation::Sync, &self.path, rate) {
                if world.does_in_part() {
                    content.sync_in_part(&mut world.random);
                }
                return Err(errno);
            }
            let lie = world.lies.syncs_of_files.as_deref();
            if lie.is_some_and(|ending| self.path.to_string_lossy().ends_with(ending)) {
                return Ok(());
            }
            content.sync(changes, &mut world.random);
            Ok(())
        })
    }

    /// How many changes of the file there were; of a handle from before a crash that is of no matter.
    pub(in crate::io) fn changes(&self) -> u64 {
        self.with(|_, content| Ok(content.changes())).unwrap_or(0)
    }

    /// Lets the cache show what the device holds; from `from` to `to` that counts as written anew.
    pub(in crate::io) fn reread(&self, from: u64, to: u64) -> Result<(), Errno> {
        self.with(|world, content| {
            world.note(("reread", from, to));
            content.reread(from, to)
        })
    }

    pub(in crate::io) fn truncate(&self, length: u64) -> Result<(), Errno> {
        self.with(|world, content| {
            if !self.writable {
                return Err(Errno::EINVAL);
            }
            world.planned(SimOperation::Resize, &self.path)?;
            world.note(("truncate", length));
            content.set_length(length)
        })
    }

    pub(in crate::io) fn preallocate(&self, position: u64, length: u64) -> Result<(), Errno> {
        self.with(|world, content| {
            if !self.writable {
                return Err(Errno::EBADF);
            }
            world.planned(SimOperation::Resize, &self.path)?;
            world.note(("preallocate", position, length));
            let path = self.path.to_string_lossy();
            let mut endings = world.reserves_nothing_for.iter();
            if endings.any(|ending| path.ends_with(ending.as_str())) {
                return Ok(());
            }
            let end = position.saturating_add(length);
            if end > world.free_bytes().max(content.occupied()) {
                return Err(Errno::ENOSPC);
            }
            content.reserve(end)
        })
    }

    pub(in crate::io) fn asks_for(&self, check: Check) -> bool {
        !self.sim.lock().left_out.contains(&check)
    }

    /// Lends the file's content, taken out of the world for the time; ESTALE for a handle from before a crash.
    fn with<T>(
        &self,
        operation: impl FnOnce(&mut World, &mut Content) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut world = self.sim.lock();
        if world.boot != self.boot {
            return Err(Errno::ESTALE);
        }
        let mut content = world.files.remove(&self.id).ok_or(Errno::ESTALE)?;
        let result = operation(&mut world, &mut content);
        world.files.insert(self.id, content);
        result
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.sim.lock();
        if world.boot == self.boot
            && let Some(content) = world.files.get_mut(&self.id)
        {
            content.opened -= 1;
        }
    }
}

fn below(world: &mut World, end: usize) -> usize {
    usize::try_from(world.random.below(end as u64)).unwrap_or(0)
}
