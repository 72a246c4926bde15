//! What each request does in the folder, and the note that it leaves of what it changed.

mod requests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FUSE_ROOT_ID, FileAttr, FileType, ReplyEmpty};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, Stat};

use super::journal::{Kind, Name, open_folder};
use super::pages::Pages;
use super::{Shared, State, Trouble, UNSYNCED_BYTES_MAX};

/// Somebody waits for what was written so far.
pub(super) struct Sync {
    /// The file, or none for a folder.
    pub(super) inode: Option<u64>,
    /// The newest change of the file when it began, and of the names, and how many power cuts there had been.
    pub(super) changes: u64,
    pub(super) names: u64,
    pub(super) power_cuts: u64,
    pub(super) reply: ReplyEmpty,
}

pub(super) struct Passthrough {
    shared: Arc<Shared>,
    syncs: mpsc::SyncSender<Sync>,
    /// What the kernel knows, by inode; the root by the number that FUSE gives it.
    nodes: BTreeMap<u64, Node>,
    open: BTreeMap<u64, Open>,
    opened: u64,
}

struct Node {
    at: Arc<OwnedFd>,
    lookups: u64,
}

enum Open {
    File(File),
    /// What was in a folder when it was opened.
    Folder(Vec<fs::DirEntry>),
}

impl Passthrough {
    pub(super) fn new(root: &Path, shared: Arc<Shared>, syncs: mpsc::SyncSender<Sync>) -> io::Result<Self> {
        let root = Node { at: Arc::new(open_folder(root)?), lookups: 1 };
        Ok(Self { shared, syncs, nodes: [(FUSE_ROOT_ID, root)].into(), open: BTreeMap::new(), opened: 0 })
    }

    fn node(&self, inode: u64) -> io::Result<Arc<OwnedFd>> {
        let node = self.nodes.get(&inode).ok_or_else(|| failed(libc::ESTALE))?;
        Ok(Arc::clone(&node.at))
    }

    fn name(&self, folder: u64, name: &OsStr) -> io::Result<Name> {
        Ok(Name { folder: self.node(folder)?, name: name.to_owned() })
    }

    /// Answers a lookup, so that the kernel knows one more time of what stands under a name.
    fn look_up(&mut self, name: &Name) -> io::Result<FileAttr> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = rustix::fs::openat(&*name.folder, &name.name, flags, Mode::empty())?;
        let attributes = attributes(&rustix::fs::fstat(&at)?)?;
        let node = self.nodes.entry(attributes.ino).or_insert_with(|| Node { at: Arc::new(at), lookups: 0 });
        node.lookups += 1;
        Ok(attributes)
    }

    fn attributes(&self, inode: u64) -> io::Result<FileAttr> {
        let attributes = attributes(&rustix::fs::fstat(&*self.node(inode)?)?)?;
        Ok(FileAttr { ino: inode, ..attributes })
    }

    fn keep_open(&mut self, open: Open) -> u64 {
        self.opened += 1;
        self.open.insert(self.opened, open);
        self.opened
    }

    fn file(&self, handle: u64) -> io::Result<&File> {
        match self.open.get(&handle) {
            Some(Open::File(file)) => Ok(file),
            Some(Open::Folder(_)) | None => Err(failed(libc::EBADF)),
        }
    }

    /// Returns an error when nothing may grow.
    fn take_room(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        if state.trouble == Trouble::Full {
            state.counts.refused += 1;
            return Err(failed(libc::ENOSPC));
        }
        Ok(())
    }

    /// Makes something under a name.
    fn make(&mut self, name: Name, kind: Kind, made: impl FnOnce(&Name) -> io::Result<()>) -> io::Result<FileAttr> {
        self.take_room()?;
        {
            let mut state = self.shared.lock();
            made(&name)?;
            state.journal.made(name.clone(), kind);
        }
        self.look_up(&name)
    }

    /// Changes a file's bytes, and notes what they were.
    fn change(&self, inode: u64, change: impl FnOnce(&mut Pages) -> io::Result<()>) -> io::Result<()> {
        let at = self.node(inode)?;
        let mut state = self.shared.lock();
        let State { pages, numbered, .. } = &mut *state;
        let pages = match pages.entry(inode) {
            Entry::Occupied(pages) => pages.into_mut(),
            Entry::Vacant(none) => {
                none.insert(Pages::new(File::options().read(true).write(true).open(path_of(&at))?, *numbered))
            }
        };
        let result = change(pages);
        while pages.bytes() > UNSYNCED_BYTES_MAX {
            pages.commit(pages.oldest());
        }
        result
    }

    fn set_attributes(&self, inode: u64, wish: &Wish) -> io::Result<FileAttr> {
        let path = path_of(&*self.node(inode)?);
        if let Some(mode) = wish.mode {
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        if wish.user.is_some() || wish.group.is_some() {
            std::os::unix::fs::chown(&path, wish.user, wish.group)?;
        }
        if let Some(length) = wish.length {
            if length > self.attributes(inode)?.size {
                self.take_room()?;
            }
            self.change(inode, |pages| pages.set_length(length))?;
        }
        let mut times = FileTimes::new();
        times = wish.accessed.map_or(times, |time| times.set_accessed(time));
        times = wish.modified.map_or(times, |time| times.set_modified(time));
        if wish.accessed.is_some() || wish.modified.is_some() {
            File::open(&path)?.set_times(times)?;
        }
        self.attributes(inode)
    }

    fn write_bytes(&self, inode: u64, at: i64, data: &[u8], flags: i32) -> io::Result<u32> {
        self.take_room()?;
        let at = u64::try_from(at).map_err(io::Error::other)?;
        self.change(inode, |pages| pages.write(at, data))?;
        if flags & libc::O_DSYNC != 0 {
            let mut state = self.shared.lock();
            let (changes, names) = (state.newest(inode), state.journal.newest());
            state.make_durable(Some(inode), changes, names)?;
        }
        u32::try_from(data.len()).map_err(io::Error::other)
    }

    fn allocate(&self, inode: u64, handle: u64, from: i64, length: i64, mode: i32) -> io::Result<()> {
        self.take_room()?;
        let (from, length) = (unsigned(from)?, unsigned(length)?);
        match mode {
            libc::FALLOC_FL_KEEP_SIZE => {
                Ok(rustix::fs::fallocate(self.file(handle)?, FallocateFlags::KEEP_SIZE, from, length)?)
            }
            0 if from + length > self.attributes(inode)?.size => {
                self.change(inode, |pages| pages.set_length(from + length))
            }
            0 => Ok(()),
            _ => Err(failed(libc::EOPNOTSUPP)),
        }
    }

    fn rename_to(&self, from: Name, to: Name, flags: u32) -> io::Result<()> {
        let there = rustix::fs::statat(&*to.folder, &to.name, AtFlags::SYMLINK_NOFOLLOW).ok();
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return Err(failed(libc::EINVAL));
        }
        if let Some(there) = there {
            if flags != 0 {
                return Err(failed(libc::EEXIST));
            }
            let here = rustix::fs::statat(&*from.folder, &from.name, AtFlags::SYMLINK_NOFOLLOW)?;
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
                return Ok(());
            }
            expect_empty(&to)?;
        }
        self.shared.lock().journal.rename(from, to)
    }

    fn read_bytes(&self, handle: u64, at: i64, size: u32) -> io::Result<Vec<u8>> {
        // A power cut or a flipped bit is seen as a whole or not at all.
        let _state = self.shared.lock();
        let (file, at) = (self.file(handle)?, unsigned(at)?);
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        let mut length = 0;
        while length < bytes.len() {
            match file.read_at(&mut bytes[length..], at + u64::try_from(length).map_err(io::Error::other)?)? {
                0 => break,
                read => length += read,
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn sync(&self, inode: Option<u64>, reply: ReplyEmpty) {
        let state = self.shared.lock();
        let sync = Sync {
            inode,
            changes: inode.map_or(0, |inode| state.newest(inode)),
            names: state.journal.newest(),
            power_cuts: state.power_cuts,
            reply,
        };
        drop(state);
        if let Err(mpsc::SendError(sync)) = self.syncs.send(sync) {
            sync.reply.error(libc::EIO);
        }
    }
}

/// What a process wants of a file's attributes.
struct Wish {
    mode: Option<u32>,
    user: Option<u32>,
    group: Option<u32>,
    length: Option<u64>,
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
}

fn failed(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn unsigned(number: i64) -> io::Result<u64> {
    u64::try_from(number).map_err(|_| failed(libc::EINVAL))
}

/// Returns a path that leads to what is open, wherever it was moved.
fn path_of(at: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", at.as_raw_fd())
}

/// Refuses a folder that has something in it.
fn expect_empty(name: &Name) -> io::Result<()> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::openat(&*name.folder, &name.name, folder, Mode::empty()) else { return Ok(()) };
    if fs::read_dir(path_of(&folder))?.next().is_some() { Err(failed(libc::ENOTEMPTY)) } else { Ok(()) }
}

fn attributes(stat: &Stat) -> io::Result<FileAttr> {
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let kind = if kind.is_dir() {
        FileType::Directory
    } else if kind.is_symlink() {
        FileType::Symlink
    } else {
        FileType::RegularFile
    };
    let time = |seconds: i64, nanos: i64| {
        let nanos = u32::try_from(nanos).unwrap_or(0);
        UNIX_EPOCH + Duration::new(u64::try_from(seconds).unwrap_or(0), nanos)
    };
    Ok(FileAttr {
        ino: stat.st_ino,
        size: unsigned(stat.st_size)?,
        blocks: unsigned(stat.st_blocks)?,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}
