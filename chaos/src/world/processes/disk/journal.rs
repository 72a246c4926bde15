//! Changes of names that the platter does not have, and how to take them back.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};

/// The changes of names in order. Every change is made at once in the folder; what is removed is only put aside.
#[derive(Default)]
pub(super) struct Journal {
    /// Where removed things wait. Absent only in an empty journal that nobody mounted.
    removed: Option<Arc<OwnedFd>>,
    changes: VecDeque<Change>,
    /// The number of the newest change.
    numbered: u64,
    put_aside: u64,
}

/// A name in a folder that is open.
#[derive(Clone)]
pub(super) struct Name {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: OsString,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
}

/// Something that was removed, under the name that it waits with.
struct Aside {
    name: OsString,
    kind: Kind,
    /// Of a file that nothing else names.
    inode: Option<u64>,
}

enum Change {
    Made { name: Name, kind: Kind },
    Removed { name: Name, aside: Aside },
    Renamed { from: Name, to: Name, replaced: Option<Aside> },
}

impl Journal {
    pub(super) fn new(removed: &Path) -> io::Result<Self> {
        Ok(Self { removed: Some(Arc::new(open_folder(removed)?)), ..Self::default() })
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns the number of the newest change.
    pub(super) fn newest(&self) -> u64 {
        self.numbered
    }

    /// Notes that something was made.
    pub(super) fn made(&mut self, name: Name, kind: Kind) {
        self.push(Change::Made { name, kind });
    }

    pub(super) fn remove(&mut self, name: Name) -> io::Result<()> {
        let aside = self.put_aside(&name)?;
        self.push(Change::Removed { name, aside });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: Name, to: Name) -> io::Result<()> {
        let is_there = rustix::fs::statat(&*to.folder, &to.name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let replaced = if is_there { Some(self.put_aside(&to)?) } else { None };
        rustix::fs::renameat(&*from.folder, &from.name, &*to.folder, &to.name)?;
        self.push(Change::Renamed { from, to, replaced });
        Ok(())
    }

    fn push(&mut self, change: Change) {
        self.numbered += 1;
        self.changes.push_back(change);
    }

    fn put_aside(&mut self, name: &Name) -> io::Result<Aside> {
        let stat = rustix::fs::statat(&*name.folder, &name.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_folder = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        self.put_aside += 1;
        let aside = Aside {
            name: self.put_aside.to_string().into(),
            kind: if is_folder { Kind::Folder } else { Kind::File },
            inode: (stat.st_nlink == 1).then_some(stat.st_ino),
        };
        rustix::fs::renameat(&*name.folder, &name.name, &*self.removed(), &aside.name)?;
        Ok(aside)
    }

    fn removed(&self) -> Arc<OwnedFd> {
        Arc::clone(self.removed.as_ref().expect("a journal that is written to was made with its folder"))
    }

    /// Makes the changes up to this number durable. Returns the inodes that are gone for good.
    pub(super) fn commit(&mut self, upto: u64) -> io::Result<Vec<u64>> {
        let newer = usize::try_from(self.numbered.saturating_sub(upto)).unwrap_or(usize::MAX);
        let count = self.changes.len().saturating_sub(newer);
        let mut gone = Vec::new();
        for change in self.changes.drain(..count).collect::<Vec<_>>() {
            match change {
                Change::Removed { aside, .. } | Change::Renamed { replaced: Some(aside), .. } => {
                    unlink(&self.removed(), &aside.name, aside.kind)?;
                    gone.extend(aside.inode);
                }
                Change::Made { .. } | Change::Renamed { replaced: None, .. } => {}
            }
        }
        Ok(gone)
    }

    /// Takes back all changes but the first `kept`.
    pub(super) fn cut(&mut self, kept: usize) -> io::Result<()> {
        while self.changes.len() > kept {
            let Some(change) = self.changes.pop_back() else { break };
            match change {
                Change::Made { name, kind } => unlink(&name.folder, &name.name, kind)?,
                Change::Removed { name, aside } => self.put_back(&name, &aside)?,
                Change::Renamed { from, to, replaced } => {
                    rustix::fs::renameat(&*to.folder, &to.name, &*from.folder, &from.name)?;
                    if let Some(aside) = replaced {
                        self.put_back(&to, &aside)?;
                    }
                }
            }
        }
        // The numbers go on; what a sync meant that began before is never asked again.
        self.commit(self.numbered)?;
        Ok(())
    }

    fn put_back(&self, name: &Name, aside: &Aside) -> io::Result<()> {
        Ok(rustix::fs::renameat(&*self.removed(), &aside.name, &*name.folder, &name.name)?)
    }
}

fn unlink(folder: &OwnedFd, name: &OsStr, kind: Kind) -> io::Result<()> {
    let flags = match kind {
        Kind::File => AtFlags::empty(),
        Kind::Folder => AtFlags::REMOVEDIR,
    };
    Ok(rustix::fs::unlinkat(folder, name, flags)?)
}

/// Opens a folder to name things in.
pub(super) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
