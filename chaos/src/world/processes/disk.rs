//! A disk that forgets: a FUSE file system over a folder, in which what was not synced can be lost.
//!
//! ```text
//!   process -- write --> cache = the folder's files     fsync: the platter has it too
//!                        what they covered is kept  --> power cut: put back, newest first
//! ```
//!
//! The folder always holds what a reader sees. What the platter would hold is kept in memory as what to put back, so a
//! process that is killed loses nothing, as with a kernel's page cache, and a power cut is a call of this module.
//!
//! What is volatile, until a sync of the file or (for names) of any file or folder, as on a journaling file system:
//!
//! - bytes and lengths of a file, each file for itself. A power cut leaves a prefix of its changes, the last one perhaps
//!   torn. It never leaves a later change without an earlier one, as a kernel may that writes pages back out of order.
//! - names: create, link, rename, unlink, mkdir, rmdir. A power cut leaves a prefix of these. So a file that is synced
//!   has its name, and a rename that is followed by no sync may be undone, or may survive when the bytes do not.
//!
//! Modes, owners and times are durable at once. Maps that are shared and written, and extended attributes, are refused.
//! The kernel lets nobody write to a file while a sync of it is under way, so on a slow disk writers wait with it.

mod journal;
mod pages;
mod passthrough;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use journal::Journal;
use pages::Pages;
use passthrough::{Passthrough, Sync};
use place::Place;

use crate::chance::Chance;

/// More than the threads of one process that sync at once.
const SYNCS_QUEUED_MAX: usize = 64;
/// A kernel writes back by itself when too much waits; here the oldest change of the file that grows.
const UNSYNCED_BYTES_MAX: usize = 256 << 20;

/// A disk, mounted somewhere. Dropping it unmounts; the folder keeps what readers saw.
///
/// The processes that use it MUST be others: one that is killed while it waits for its own disk never ends.
pub struct Disk {
    shared: Arc<Shared>,
    platter: PathBuf,
    place: Option<Place>,
    syncer: Option<JoinHandle<()>>,
}

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Each sync takes so long, one after another.
    Slow(Duration),
    /// No sync comes back until this is over. A process that waits for one cannot be killed, as with a real disk.
    Stalled,
    /// Nothing can be written or created any more; what is there can be read, synced and removed.
    Full,
}

/// What a power cut leaves of what was not synced.
#[derive(Debug)]
pub enum Survives {
    /// Nothing.
    Nothing,
    /// Of each file, and of the names, as many changes as the kernel had written back by itself; the next one in part.
    Some(Chance),
}

/// What happened on a disk so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Syncs that came back well.
    pub synced: u64,
    /// Syncs that came back with an error.
    pub failed: u64,
    /// Refused for want of space.
    pub refused: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Changes of bytes that a power cut has lost, in part or as a whole.
    pub changes_lost: u64,
    /// Changes of names that a power cut has lost.
    pub names_lost: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Files with changes that the platter does not have, by their inode.
    pages: BTreeMap<u64, Pages>,
    /// The newest number of a change in files that are clean. A sync that waits means no later one.
    numbered: u64,
    journal: Journal,
    trouble: Trouble,
    /// The sync of a file that fails: 1 is the next one.
    failing: Option<u64>,
    /// A sync that began before a power cut tells nothing afterwards.
    power_cuts: u64,
    is_closing: bool,
    counts: Counts,
}

impl Disk {
    /// Mounts a disk at `at`, on top of `folder`, which holds nothing else. A dead mount that a killed process has left
    /// there is cleared first. Needs the right to mount.
    pub fn mount(folder: &Path, at: &Path) -> io::Result<Self> {
        let (platter, removed) = (folder.join("platter"), folder.join("removed"));
        std::fs::create_dir_all(&platter)?;
        if removed.exists() {
            std::fs::remove_dir_all(&removed)?;
        }
        std::fs::create_dir(&removed)?;
        let state = State { journal: Journal::new(&removed)?, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (syncs, queue) = mpsc::sync_channel(SYNCS_QUEUED_MAX);
        let place = Place::mount(Passthrough::new(&platter, Arc::clone(&shared), syncs)?, at)?;
        let syncer = std::thread::Builder::new().name("disk-sync".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.answer_syncs(&queue)
        })?;
        Ok(Self { shared, platter, place: Some(place), syncer: Some(syncer) })
    }

    /// Sets what is wrong from here on; those who wait follow it at once.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.shared.lock().trouble = trouble;
        self.shared.changed.notify_all();
    }

    /// Lets the `nth` sync of a file from here on fail, once; 1 is the next one.
    ///
    /// Its unsynced changes will never reach the platter: they count as written, reads still show them, and the next sync
    /// succeeds without them (Rebello et al., ATC'20).
    pub fn fail_sync(&self, nth: u64) {
        self.shared.lock().failing = Some(nth.max(1));
    }

    /// Cuts the power: loses what was not synced, and fails the syncs that wait.
    ///
    /// MUST be called when the processes that use the disk are dead, or are killed before they act again.
    pub fn cut_power(&self, survives: Survives) -> io::Result<()> {
        let mut state = self.shared.lock();
        let result = state.cut_power(survives);
        self.shared.changed.notify_all();
        result
    }

    /// Drops the clean pages of files whose sync failed: readers see from here on what the platter has.
    ///
    /// What was written to such a file after the failure is lost too: a disk that refused once refuses again.
    pub fn evict(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        let failed = state.pages.iter().filter(|(_, pages)| pages.has_lost()).map(|(inode, _)| *inode);
        for inode in failed.collect::<Vec<u64>>() {
            if let Some(pages) = state.pages.get_mut(&inode) {
                pages.cut(0, 0)?;
            }
            state.forget(inode);
        }
        Ok(())
    }

    /// Flips a bit of a file, in the cache and on the platter. The number wraps around at the file's end.
    ///
    /// Returns which byte it was, or `None` when the file is empty.
    pub fn flip_bit(&self, file: &Path, bit: u64) -> io::Result<Option<u64>> {
        let _state = self.shared.lock();
        let file = std::fs::File::options().read(true).write(true).open(self.platter.join(file))?;
        let bits = file.metadata()?.len().saturating_mul(8);
        let Some(bit) = bit.checked_rem(bits) else { return Ok(None) };
        let mut byte = [0];
        file.read_exact_at(&mut byte, bit / 8)?;
        byte[0] ^= 1 << (bit % 8);
        file.write_all_at(&byte, bit / 8)?;
        Ok(Some(bit / 8))
    }

    /// Returns what happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// Returns how many changes, of bytes and of names, a power cut would lose.
    pub fn unsynced(&self) -> usize {
        let state = self.shared.lock();
        state.journal.len() + state.pages.values().map(Pages::len).sum::<usize>()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
        // The file system ends here, and with it the sender of the syncer's queue.
        drop(self.place.take());
        if let Some(syncer) = self.syncer.take()
            && syncer.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the thread that syncs has panicked");
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("platter", &self.platter).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers syncs, one after another as a disk does, until the file system is gone.
    fn answer_syncs(&self, queue: &mpsc::Receiver<Sync>) {
        while let Ok(sync) = queue.recv() {
            match self.settle(&sync) {
                Ok(()) => sync.reply.ok(),
                Err(_) => sync.reply.error(libc::EIO),
            }
        }
    }

    /// Takes the time of one sync, and makes durable what was written before it.
    fn settle(&self, sync: &Sync) -> io::Result<()> {
        let began = now();
        let mut state = self.lock();
        loop {
            if state.power_cuts != sync.power_cuts || state.is_closing {
                state.counts.failed += 1;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let left = match state.trouble {
                Trouble::None | Trouble::Full => break,
                Trouble::Slow(time) => time.saturating_sub(now() - began),
                Trouble::Stalled => Duration::MAX,
            };
            if left.is_zero() {
                break;
            }
            let (woken, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = woken;
        }
        state.finish(sync)
    }
}

impl State {
    fn finish(&mut self, sync: &Sync) -> io::Result<()> {
        if let Some(inode) = sync.inode {
            let is_failing = self.failing == Some(1);
            self.failing = self.failing.and_then(|nth| nth.checked_sub(1)).filter(|nth| *nth > 0);
            if is_failing {
                self.counts.failed += 1;
                if let Some(pages) = self.pages.get_mut(&inode) {
                    pages.lose();
                }
                return Err(io::ErrorKind::Other.into());
            }
        }
        self.make_durable(sync.inode, sync.changes, sync.names)?;
        self.counts.synced += 1;
        Ok(())
    }

    /// Makes changes of a file and of names durable, up to these numbers.
    fn make_durable(&mut self, inode: Option<u64>, changes: u64, names: u64) -> io::Result<()> {
        for inode in self.journal.commit(names)? {
            self.forget(inode);
        }
        let Some(inode) = inode else { return Ok(()) };
        let Some(pages) = self.pages.get_mut(&inode) else { return Ok(()) };
        pages.commit(changes);
        if pages.is_clean() {
            self.forget(inode);
        }
        Ok(())
    }

    fn forget(&mut self, inode: u64) {
        if let Some(pages) = self.pages.remove(&inode) {
            self.numbered = self.numbered.max(pages.newest());
        }
    }

    /// Returns the number of a file's newest change.
    fn newest(&self, inode: u64) -> u64 {
        self.pages.get(&inode).map_or(0, Pages::newest)
    }

    fn cut_power(&mut self, survives: Survives) -> io::Result<()> {
        self.power_cuts += 1;
        self.counts.power_cuts += 1;
        let mut chance = match survives {
            Survives::Nothing => None,
            Survives::Some(chance) => Some(chance),
        };
        let mut draw = |bound: usize| {
            let bound = u64::try_from(bound).unwrap_or(u64::MAX);
            let drawn = chance.as_mut().map_or(0, |chance| chance.below(bound.max(1)));
            usize::try_from(drawn).unwrap_or(0)
        };
        for pages in self.pages.values_mut() {
            let kept = draw(pages.len() + 1);
            let torn = draw(pages.written(kept));
            self.counts.changes_lost += u64::try_from(pages.len() - kept).unwrap_or(u64::MAX);
            pages.cut(kept, torn)?;
        }
        self.pages.clear();
        let kept = draw(self.journal.len() + 1);
        self.counts.names_lost += u64::try_from(self.journal.len() - kept).unwrap_or(u64::MAX);
        self.journal.cut(kept)
    }
}

#[expect(clippy::disallowed_methods, reason = "real processes wait for a disk in real time")]
fn now() -> Instant {
    Instant::now()
}
