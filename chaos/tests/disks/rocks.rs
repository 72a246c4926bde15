//! RocksDB in a folder, and its crashes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::SystemTime;

use futures_util::poll;
use quorumfence_storage::{Batch, Kv, Rocks};
use tempfile::TempDir;

/// Returns a new folder, in memory where there is such a place: a crash here is a copy of what the kernel has, so
/// waiting for a real disk would show nothing more.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary directory")
}

/// Disks write sectors whole.
const SECTOR_BYTES: u64 = 512;

/// A database whose crashes leave what a crash would.
pub(crate) struct OnRocks {
    pub(crate) kv: Rocks,
    folder: TempDir,
    wal: PathBuf,
    /// How long the write-ahead log was when the last sync returned, or at the start.
    synced: u64,
    /// How long it was after each write since.
    ends: Vec<u64>,
}

impl OnRocks {
    pub(crate) fn fresh() -> Self {
        Self::open(folder())
    }

    /// Opens what is in a folder. What it finds there it makes durable before it returns.
    fn open(folder: TempDir) -> Self {
        let kv = Rocks::open(folder.path()).expect("what a crash leaves opens");
        let wal = newest_wal(folder.path());
        let synced = length(&wal);
        Self { kv, folder, wal, synced, ends: Vec::new() }
    }

    /// Returns how many writes are not durable for sure.
    pub(crate) fn unsynced(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn write(&mut self, batch: Batch) {
        self.kv.write(batch).expect("a healthy disk writes");
        self.ends.push(length(&self.wal));
    }

    pub(crate) async fn sync(&mut self) {
        self.kv.sync().await.expect("a healthy disk syncs");
        self.synced = length(&self.wal);
        self.ends.clear();
    }

    /// Begins a sync and writes, but does not hear of its end.
    pub(crate) async fn write_while_syncing(&mut self, batch: Batch) {
        {
            let kv = self.kv.clone();
            let mut sync = pin!(kv.sync());
            let _begun = poll!(sync.as_mut());
            self.kv.write(batch).expect("a healthy disk writes");
        }
        self.ends.push(length(&self.wal));
    }

    /// Kills the process: the files stay as the kernel has them.
    pub(crate) fn kill(&mut self) {
        *self = Self::open(crash_image(self.folder.path()));
    }

    /// Cuts the power: this many unsynced writes were written back, and a part of the next, which `tear` decides.
    pub(crate) fn lose_all_but(&mut self, kept: usize, tear: u64) {
        let start = kept.checked_sub(1).map_or(self.synced, |last| self.ends[last]);
        let torn = self.ends.get(kept).map_or(0, |end| tear.checked_rem(end - start).unwrap_or(0));
        let image = crash_image(self.folder.path());
        let wal = image.path().join(self.wal.file_name().expect("it is a file"));
        let file = OpenOptions::new().write(true).open(wal).expect("the image has it");
        file.set_len(start + torn).expect("a file can be cut");
        // A file may have been made longer before its bytes were written, sector by sector.
        if tear.is_multiple_of(3) {
            let whole = (start + torn) / SECTOR_BYTES * SECTOR_BYTES;
            file.set_len(whole.max(start)).expect("a file can be cut");
            file.set_len(start + torn + tear % 5000).expect("a file can be made longer");
        }
        *self = Self::open(image);
    }
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).expect("the database's file").len()
}

fn newest_wal(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).expect("the database's folder").map(|file| file.expect("a file").path());
    files
        .filter(|file| file.extension().is_some_and(|kind| kind == "log"))
        .max()
        .expect("a database has a log of writes")
}

/// Returns a copy of one instant: one during which nothing in the folder changed, for RocksDB has threads of its own.
fn crash_image(of: &Path) -> TempDir {
    const TRIES: usize = 1000;
    let image = (0..TRIES).find_map(|_| {
        let image = folder();
        let before = listing(of).ok()?;
        for name in before.keys() {
            fs::copy(of.join(name), image.path().join(name)).ok()?;
        }
        (listing(of).ok()? == before).then_some(image)
    });
    image.expect("the folder rests now and then")
}

fn listing(folder: &Path) -> io::Result<BTreeMap<OsString, (u64, SystemTime)>> {
    let mut listing = BTreeMap::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let facts = file.metadata()?;
        listing.insert(file.file_name(), (facts.len(), facts.modified()?));
    }
    Ok(listing)
}
