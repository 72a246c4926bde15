//! A simulated disk: what was written, and what survives a power cut.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorumfence_storage::{Batch, Column, Error, Kv, Op, Pair, Range, SnapshotFiles};
use tokio::time::sleep;

/// One sync of a healthy disk.
const SYNC: Duration = Duration::from_millis(2);

/// The disk of one controller. Clones are handles of the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<Disk>>);

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Each sync takes this long.
    Slow(Duration),
    /// The next sync fails, and every later one of the same process. What was not synced before it never will be.
    FailSync,
    /// Nothing more can be written.
    Full,
}

#[derive(Debug, Default)]
struct Disk {
    /// What readers see: page cache over platter.
    cache: Image,
    /// What a power cut leaves.
    platter: Image,
    /// Batches that are not on the platter yet, oldest first, with their numbers.
    pending: VecDeque<(u64, Batch)>,
    written: u64,
    /// Published files: on the platter, all of them.
    files: BTreeMap<String, Vec<u8>>,
    trouble: Trouble,
    /// It says that it has synced, and has not.
    lies: bool,
    /// A sync failed, and the process that was told so still runs.
    sync_failed: bool,
    /// How many processes used the disk before. A sync that one of them began tells the next nothing.
    processes: u64,
}

type Image = BTreeMap<(Column, Vec<u8>), Vec<u8>>;

impl SimDisk {
    /// Ends the process that uses the disk. The page cache outlives it, so nothing is lost.
    ///
    /// But for a process whose sync failed: the kernel took its pages for clean and has dropped them since, so the next
    /// one reads what the platter has.
    pub fn kill(&self) {
        let mut disk = self.lock();
        if disk.sync_failed {
            disk.pending.clear();
            disk.cache = disk.platter.clone();
        }
        disk.end_process();
    }

    /// Loses what was not synced, but for a prefix of `keep` batches that the kernel had written back by itself.
    pub fn cut_power(&self, keep: u64) {
        let mut disk = self.lock();
        let survivors = usize::try_from(keep % (disk.pending.len() as u64 + 1)).unwrap_or(0);
        let kept: Vec<(u64, Batch)> = disk.pending.drain(..).take(survivors).collect();
        for (_, batch) in kept {
            apply(&mut disk.platter, &batch);
        }
        disk.cache = disk.platter.clone();
        disk.end_process();
    }

    /// Replaces the disk by an empty one. Its trouble stays.
    pub fn wipe(&self) {
        let mut disk = self.lock();
        disk.cache.clear();
        disk.platter.clear();
        disk.pending.clear();
        disk.files.clear();
        disk.end_process();
    }

    /// Makes it say from here on that it has synced when it has not. No product survives that: it is for canaries.
    pub fn lie(&self) {
        self.lock().lies = true;
    }

    /// Sets what is wrong from here on. A sync that failed stays failed until its process ends.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.lock().trouble = trouble;
    }

    /// Flips one bit of the `nth` value of a column, on the platter and in the cache; both numbers wrap around. Returns
    /// the value's key, or `None` when the column has no value to damage.
    pub fn flip(&self, column: Column, nth: u64, bit: u64) -> Option<Vec<u8>> {
        let mut disk = self.lock();
        let of_column = |image: &Image| -> Vec<(Column, Vec<u8>)> {
            image
                .iter()
                .filter(|((of, _), value)| *of == column && !value.is_empty())
                .map(|(key, _)| key.clone())
                .collect()
        };
        let keys = of_column(&disk.platter);
        let key = keys.get(wrapped(nth, keys.len())?)?;
        let Disk { cache, platter, .. } = &mut *disk;
        let damaged = platter.get_mut(key)?;
        // A newer value that waits in the cache is another page.
        let cached = cache.get_mut(key).filter(|cached| *cached == damaged);
        let bit = wrapped(bit, damaged.len() * 8)?;
        for value in std::iter::once(damaged).chain(cached) {
            value[bit / 8] ^= 1 << (bit % 8);
        }
        Some(key.1.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the time of one sync, and returns the disk if it did not fail.
    async fn settle(&self) -> Result<MutexGuard<'_, Disk>, &'static str> {
        let (process, time) = {
            let disk = self.lock();
            (disk.processes, disk.sync_time())
        };
        sleep(time).await;
        let mut disk = self.lock();
        if disk.processes != process {
            return Err("the process that began it is gone");
        }
        if disk.trouble == Trouble::FailSync {
            disk.trouble = Trouble::None;
            disk.sync_failed = true;
            disk.pending.clear();
        }
        if disk.sync_failed { Err("input/output error") } else { Ok(disk) }
    }
}

impl Disk {
    fn end_process(&mut self) {
        self.sync_failed = false;
        self.processes += 1;
    }

    fn sync_time(&self) -> Duration {
        match self.trouble {
            Trouble::Slow(time) => time,
            Trouble::None | Trouble::FailSync | Trouble::Full => SYNC,
        }
    }

    fn has_room(&self) -> bool {
        match self.trouble {
            Trouble::Full => false,
            Trouble::None | Trouble::Slow(_) | Trouble::FailSync => true,
        }
    }
}

fn wrapped(number: u64, length: usize) -> Option<usize> {
    usize::try_from(number.checked_rem(u64::try_from(length).ok()?)?).ok()
}

fn apply(image: &mut Image, batch: &Batch) {
    for op in &batch.ops {
        match op {
            Op::Put { column, key, value } => {
                image.insert((*column, key.clone()), value.clone());
            }
            Op::Delete { column, key } => {
                image.remove(&(*column, key.clone()));
            }
            Op::DeleteRange { column, from, to } => {
                let bounds = (*column, from.clone())..(*column, to.clone());
                let gone: Vec<(Column, Vec<u8>)> = image.range(bounds).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    image.remove(&key);
                }
            }
        }
    }
}

impl Kv for SimDisk {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.lock().cache.get(&(column, key.to_vec())).cloned())
    }

    fn scan(&self, column: Column, range: &Range) -> Result<Vec<Pair>, Error> {
        let disk = self.lock();
        let rows = disk.cache.range((column, range.from.clone())..);
        let wanted = rows
            .take_while(|((row_column, key), _)| *row_column == column && range.to.as_ref().is_none_or(|to| key < to));
        Ok(wanted.take(range.limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, batch: Batch) -> Result<(), Error> {
        let mut disk = self.lock();
        if !disk.has_room() {
            return Err(failed("write a batch", "no space left on device"));
        }
        apply(&mut disk.cache, &batch);
        disk.written += 1;
        let number = disk.written;
        // After a failed sync nothing of this process reaches the platter: what follows a hole is of no use.
        if !disk.sync_failed {
            disk.pending.push_back((number, batch));
        }
        Ok(())
    }

    async fn sync(&self) -> Result<(), Error> {
        let upto = self.lock().written;
        let mut disk = self.settle().await.map_err(|why| failed("sync", why))?;
        if disk.lies {
            return Ok(());
        }
        while disk.pending.front().is_some_and(|(number, _)| *number <= upto) {
            if let Some((_, batch)) = disk.pending.pop_front() {
                apply(&mut disk.platter, &batch);
            }
        }
        Ok(())
    }
}

fn failed(doing: &'static str, why: &'static str) -> Error {
    Error::Database { doing, source: why.into() }
}

impl SnapshotFiles for SimDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.lock().files.get(name).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    async fn publish(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        if !self.lock().has_room() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.settle().await.map_err(io::Error::other)?.files.insert(name.into(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().files.remove(name);
        Ok(())
    }
}
