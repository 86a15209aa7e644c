//! A disk that fails when it is told to: a file system in this process's memory, mounted with FUSE.
//!
//! It keeps what a write brought it. The kernel's page cache above it keeps more: what a failing disk took and lost is
//! still to be read there, as on a real machine after a failed flush, and is not to be read by `O_DIRECT`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use tempfile::TempDir;

/// What is wrong with the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Writes to the files of the directory of this name fail with EIO.
    Write(String),
    /// Writes to the files of the directory of this name are taken and lost; a sync of such a file then fails with EIO.
    Sync(String),
    /// Whatever changes anything fails with EROFS: what ext4 becomes after an error.
    ReadOnly,
    /// Everything that reaches the disk fails with EIO.
    Gone,
}

/// When the kernel hands on what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// At a sync, or when it finds time, as for a real disk.
    WriteBack,
    /// At once: whoever writes hears what came of it.
    WriteThrough,
}

/// Mounted; gone with all it holds when dropped.
pub(crate) struct FailingDisk {
    files: Files,
    place: PathBuf,
    _session: BackgroundSession,
    _mounted_on: TempDir,
}

impl FailingDisk {
    /// An empty disk, or why there is none.
    pub(crate) fn mount(cache: Cache) -> Result<Self, String> {
        let mounted_on = tempfile::Builder::new()
            .prefix("millrace-failing-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let files = Files {
            tree: Arc::default(),
            cache,
        };
        let place = mounted_on.path().to_owned();
        let session = fuser::spawn_mount(files.clone(), &place, &Config::default());
        let session = session.map_err(|error| format!("no FUSE: {error}"))?;
        Ok(Self {
            files,
            place,
            _session: session,
            _mounted_on: mounted_on,
        })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.place
    }

    /// What the disk has of a file, whatever the page cache says.
    pub(crate) fn stored(&self, path: &Path) -> Vec<u8> {
        let below = path.strip_prefix(&self.place).expect("a file of this disk");
        let mut tree = self.files.held();
        let mut found = INodeNo::ROOT;
        for name in below.iter() {
            found = tree.find(found, name).expect("a file that is there");
        }
        tree.bytes(found).expect("a file").clone()
    }

    /// From now on this is wrong with it.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut tree = self.files.held();
        tree.fault = fault;
        tree.lossy.clear();
    }
}

#[derive(Clone)]
struct Files {
    tree: Arc<Mutex<Tree>>,
    cache: Cache,
}

struct Tree {
    nodes: BTreeMap<u64, Node>,
    fault: Fault,
    /// The files whose writes were lost since the fault is there.
    lossy: BTreeSet<u64>,
}

/// A file or a directory. One without a name any more stays, for it may be open.
struct Node {
    parent: u64,
    name: OsString,
    content: Content,
}

enum Content {
    File(Vec<u8>),
    Directory(BTreeMap<OsString, u64>),
}

impl Default for Tree {
    fn default() -> Self {
        let root = Node {
            parent: ROOT,
            name: OsString::new(),
            content: Content::Directory(BTreeMap::new()),
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            fault: Fault::None,
            lossy: BTreeSet::new(),
        }
    }
}

impl Tree {
    /// Whether the disk can be asked at all.
    fn reach(&self) -> Result<(), Errno> {
        match self.fault {
            Fault::Gone => Err(Errno::EIO),
            _ => Ok(()),
        }
    }

    /// Whether something may be changed.
    fn change(&self) -> Result<(), Errno> {
        self.reach()?;
        match self.fault {
            Fault::ReadOnly => Err(Errno::EROFS),
            _ => Ok(()),
        }
    }

    fn node(&self, ino: INodeNo) -> Result<&Node, Errno> {
        self.nodes.get(&ino.0).ok_or(Errno::ENOENT)
    }

    fn entries(&mut self, ino: INodeNo) -> Result<&mut BTreeMap<OsString, u64>, Errno> {
        match self.nodes.get_mut(&ino.0).map(|node| &mut node.content) {
            Some(Content::Directory(entries)) => Ok(entries),
            Some(Content::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn bytes(&mut self, ino: INodeNo) -> Result<&mut Vec<u8>, Errno> {
        match self.nodes.get_mut(&ino.0).map(|node| &mut node.content) {
            Some(Content::File(bytes)) => Ok(bytes),
            Some(Content::Directory(_)) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn find(&mut self, parent: INodeNo, name: &OsStr) -> Result<INodeNo, Errno> {
        let found = self.entries(parent)?.get(name);
        found.map(|number| INodeNo(*number)).ok_or(Errno::ENOENT)
    }

    fn make(&mut self, parent: INodeNo, name: &OsStr, content: Content) -> Result<FileAttr, Errno> {
        self.change()?;
        if self.find(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let number = self.nodes.keys().next_back().map_or(ROOT, |last| last + 1);
        self.entries(parent)?.insert(name.to_owned(), number);
        let node = Node {
            parent: parent.0,
            name: name.to_owned(),
            content,
        };
        self.nodes.insert(number, node);
        self.attributes(INodeNo(number))
    }

    fn remove(&mut self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        self.change()?;
        let found = self.find(parent, name)?;
        if let Content::Directory(entries) = &self.node(found)?.content
            && !entries.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.entries(parent)?.remove(name);
        Ok(())
    }

    fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr)) -> Result<(), Errno> {
        self.change()?;
        let moved = self.find(from.0, from.1)?;
        self.entries(from.0)?.remove(from.1);
        self.entries(to.0)?.insert(to.1.to_owned(), moved.0);
        if let Some(node) = self.nodes.get_mut(&moved.0) {
            (node.parent, node.name) = (to.0.0, to.1.to_owned());
        }
        Ok(())
    }

    /// The name of the directory that a file lies in.
    fn directory_of(&self, ino: INodeNo) -> &OsStr {
        let parent = self.nodes.get(&ino.0).map_or(ROOT, |node| node.parent);
        self.nodes
            .get(&parent)
            .map_or(OsStr::new(""), |node| &node.name)
    }

    fn write(&mut self, ino: INodeNo, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        self.change()?;
        let place = self.directory_of(ino);
        let fails = matches!(&self.fault, Fault::Write(name) if place == OsStr::new(name));
        let loses = matches!(&self.fault, Fault::Sync(name) if place == OsStr::new(name));
        if fails {
            return Err(Errno::EIO);
        }
        let begin = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        let bytes = self.bytes(ino)?;
        let end = begin + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        if loses {
            self.lossy.insert(ino.0);
        } else {
            bytes[begin..end].copy_from_slice(data);
        }
        u32::try_from(data.len()).map_err(|_| Errno::EINVAL)
    }

    fn sync(&self, ino: INodeNo) -> Result<(), Errno> {
        self.change()?;
        match self.lossy.contains(&ino.0) {
            true => Err(Errno::EIO),
            false => Ok(()),
        }
    }

    fn attributes(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let (kind, size) = match &self.node(ino)?.content {
            Content::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Content::Directory(_) => (FileType::Directory, 0),
        };
        let time = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Files {
    fn held(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer_entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(attributes) => reply.entry(&FOREVER, &attributes, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn answer_empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        if self.cache == Cache::WriteBack {
            let wanted = config.add_capabilities(InitFlags::FUSE_WRITEBACK_CACHE);
            wanted.map_err(|_| std::io::Error::other("the kernel has no write-back for FUSE"))?;
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut tree = self.held();
        let found = tree.reach().and_then(|()| tree.find(parent, name));
        answer_entry(found.and_then(|found| tree.attributes(found)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let tree = self.held();
        match tree.reach().and_then(|()| tree.attributes(ino)) {
            Ok(attributes) => reply.attr(&FOREVER, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.held();
        let changed = tree.change().and_then(|()| {
            if let Some(size) = size {
                let size = usize::try_from(size).map_err(|_| Errno::EFBIG)?;
                tree.bytes(ino)?.resize(size, 0);
            }
            tree.attributes(ino)
        });
        match changed {
            Ok(attributes) => reply.attr(&FOREVER, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let content = Content::Directory(BTreeMap::new());
        answer_entry(self.held().make(parent, name, content), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.held().make(parent, name, Content::File(Vec::new())) {
            Ok(attributes) => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE;
                reply.created(&FOREVER, &attributes, Generation(0), FileHandle(0), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.held().remove(parent, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.held().remove(parent, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.held().rename((parent, name), (new_parent, new_name));
        answer_empty(renamed, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.held().reach() {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut tree = self.held();
        match tree.reach().and_then(|()| tree.bytes(ino)) {
            Ok(bytes) => {
                let begin = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                let end = bytes.len().min(begin + size as usize);
                reply.data(&bytes[begin..end]);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.held().write(ino, offset, data) {
            Ok(written) => reply.written(written),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer_empty(self.held().sync(ino), reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer_empty(self.held().change(), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut tree = self.held();
        let listed = tree.reach().and_then(|()| Ok(tree.entries(ino)?.clone()));
        let entries = match listed {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, (name, number)) in entries.into_iter().enumerate().skip(skipped) {
            let kind = match tree.node(INodeNo(number)).map(|node| &node.content) {
                Ok(Content::Directory(_)) => FileType::Directory,
                Ok(Content::File(_)) | Err(_) => FileType::RegularFile,
            };
            if reply.add(INodeNo(number), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.held().reach() {
            Ok(()) => reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096),
            Err(errno) => reply.error(errno),
        }
    }
}

const ROOT: u64 = INodeNo::ROOT.0;
/// Nobody but the kernel changes anything here, so what it knows stays true.
const FOREVER: Duration = Duration::from_secs(86_400);
