//! The requests of the kernel, and their answers.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    FileAttr, FileType, Filesystem, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, consts,
};
use rustix::fs::{AtFlags, Mode, OFlags};

use super::super::Trouble;
use super::super::journal::Kind;
use super::{Open, Passthrough, Wish, expect_empty, failed, path_of};

/// The kernel asks again each time: a power cut changes files behind its back.
const LIFE: Duration = Duration::ZERO;

impl Filesystem for Passthrough {
    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        answer_entry(self.name(parent, name).and_then(|name| self.look_up(&name)), reply);
    }

    fn forget(&mut self, _: &Request<'_>, inode: u64, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&inode) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 && inode != fuser::FUSE_ROOT_ID {
            self.nodes.remove(&inode);
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, reply: ReplyAttr) {
        answer_attributes(self.attributes(inode), reply);
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        length: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _handle: Option<u64>,
        _created: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        let (accessed, modified) = (accessed.map(time), modified.map(time));
        answer_attributes(self.set_attributes(inode, &Wish { mode, user, group, length, accessed, modified }), reply);
    }

    fn mkdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let made = self.name(parent, name).and_then(|name| {
            let mode = Mode::from_raw_mode(mode & !umask);
            self.make(name, Kind::Folder, |name| Ok(rustix::fs::mkdirat(&*name.folder, &name.name, mode)?))
        });
        answer_entry(made, reply);
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let name = self.name(parent, name);
        answer(name.and_then(|name| self.shared.lock().journal.remove(name)), reply);
    }

    fn rmdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.name(parent, name).and_then(|name| {
            expect_empty(&name)?;
            self.shared.lock().journal.remove(name)
        });
        answer(removed, reply);
    }

    fn symlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made = self.name(parent, name).and_then(|name| {
            self.make(name, Kind::File, |name| Ok(rustix::fs::symlinkat(target, &*name.folder, &name.name)?))
        });
        answer_entry(made, reply);
    }

    fn readlink(&mut self, _: &Request<'_>, inode: u64, reply: ReplyData) {
        let target = self.node(inode).and_then(|node| Ok(rustix::fs::readlinkat(&*node, "", Vec::new())?));
        match target {
            Ok(target) => reply.data(target.as_bytes()),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        flags: u32,
        reply: ReplyEmpty,
    ) {
        let from = self.name(parent, name);
        let renamed = from.and_then(|from| self.rename_to(from, self.name(new_parent, new_name)?, flags));
        answer(renamed, reply);
    }

    fn link(&mut self, _: &Request<'_>, inode: u64, new_parent: u64, new_name: &OsStr, reply: ReplyEntry) {
        let made = self.node(inode).and_then(|node| {
            let name = self.name(new_parent, new_name)?;
            self.make(name, Kind::File, |name| {
                let from = path_of(&node);
                Ok(rustix::fs::linkat(rustix::fs::CWD, from, &*name.folder, &name.name, AtFlags::SYMLINK_FOLLOW)?)
            })
        });
        answer_entry(made, reply);
    }

    fn open(&mut self, _: &Request<'_>, inode: u64, flags: i32, reply: ReplyOpen) {
        let opened = self.node(inode).and_then(|node| {
            let is_read_only = flags & libc::O_ACCMODE == libc::O_RDONLY;
            File::options().read(true).write(!is_read_only).open(path_of(&node))
        });
        match opened {
            Ok(file) => reply.opened(self.keep_open(Open::File(file)), consts::FOPEN_DIRECT_IO),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self.name(parent, name).and_then(|name| {
            let mut file = None;
            let attributes = self.make(name, Kind::File, |name| {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(mode & !umask);
                file = Some(File::from(rustix::fs::openat(&*name.folder, &name.name, flags, mode)?));
                Ok(())
            })?;
            Ok((attributes, file.ok_or_else(|| failed(libc::EIO))?))
        });
        match created {
            Ok((attributes, file)) => {
                let handle = self.keep_open(Open::File(file));
                reply.created(&LIFE, &attributes, 0, handle, consts::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(code(&error)),
        }
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _inode: u64,
        handle: u64,
        at: i64,
        size: u32,
        _flags: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        match self.read_bytes(handle, at, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        _handle: u64,
        at: i64,
        data: &[u8],
        _write_flags: u32,
        flags: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        match self.write_bytes(inode, at, data, flags) {
            Ok(length) => reply.written(length),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn flush(&mut self, _: &Request<'_>, _inode: u64, _handle: u64, _: u64, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &mut self,
        _: &Request<'_>,
        _inode: u64,
        handle: u64,
        _flags: i32,
        _: Option<u64>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.open.remove(&handle);
        reply.ok();
    }

    fn fsync(&mut self, _: &Request<'_>, inode: u64, _handle: u64, _datasync: bool, reply: ReplyEmpty) {
        self.sync(Some(inode), reply);
    }

    fn fsyncdir(&mut self, _: &Request<'_>, _inode: u64, _handle: u64, _datasync: bool, reply: ReplyEmpty) {
        self.sync(None, reply);
    }

    fn opendir(&mut self, _: &Request<'_>, inode: u64, _flags: i32, reply: ReplyOpen) {
        let entries = self.node(inode).and_then(|node| fs::read_dir(path_of(&node))?.collect());
        match entries {
            Ok(entries) => reply.opened(self.keep_open(Open::Folder(entries)), 0),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn readdir(&mut self, _: &Request<'_>, _inode: u64, handle: u64, offset: i64, mut reply: ReplyDirectory) {
        let (Some(Open::Folder(entries)), Ok(offset)) = (self.open.get(&handle), usize::try_from(offset)) else {
            return reply.error(libc::EBADF);
        };
        for (entry, next) in entries.iter().zip(1_i64..).skip(offset) {
            let kind = entry.file_type().map_or(FileType::RegularFile, |kind| {
                if kind.is_dir() {
                    FileType::Directory
                } else if kind.is_symlink() {
                    FileType::Symlink
                } else {
                    FileType::RegularFile
                }
            });
            if reply.add(entry.ino(), next, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&mut self, _: &Request<'_>, _inode: u64, handle: u64, _flags: i32, reply: ReplyEmpty) {
        self.open.remove(&handle);
        reply.ok();
    }

    fn statfs(&mut self, _: &Request<'_>, inode: u64, reply: ReplyStatfs) {
        let is_full = self.shared.lock().trouble == Trouble::Full;
        match self.node(inode).and_then(|node| Ok(rustix::fs::fstatvfs(&*node)?)) {
            Ok(it) => {
                let room = |blocks: u64| if is_full { 0 } else { blocks };
                let block = u32::try_from(it.f_bsize).unwrap_or(4096);
                let names = u32::try_from(it.f_namemax).unwrap_or(255);
                let (free, available) = (room(it.f_bfree), room(it.f_bavail));
                reply.statfs(it.f_blocks, free, available, it.f_files, it.f_ffree, block, names, block);
            }
            Err(error) => reply.error(code(&error)),
        }
    }

    fn fallocate(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        handle: u64,
        from: i64,
        length: i64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer(self.allocate(inode, handle, from, length, mode), reply);
    }
}

fn answer(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(code(&error)),
    }
}

fn answer_entry(result: io::Result<FileAttr>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&LIFE, &attributes, 0),
        Err(error) => reply.error(code(&error)),
    }
}

fn answer_attributes(result: io::Result<FileAttr>, reply: ReplyAttr) {
    match result {
        Ok(attributes) => reply.attr(&LIFE, &attributes),
        Err(error) => reply.error(code(&error)),
    }
}

fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}
