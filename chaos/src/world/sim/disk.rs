//! A simulated disk: what was written, and what survives a power cut.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorumfence_storage::{Batch, Column, Error, Kv, Op, Pair, Range, SnapshotFiles};
use tokio::time::sleep;

/// One sync.
const SYNC: Duration = Duration::from_millis(2);

/// The disk of one controller. Clones are handles of the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    /// What readers see: page cache over platter.
    cache: Image,
    /// What a power cut leaves.
    platter: Image,
    /// Batches that are not on the platter yet, oldest first, with their numbers.
    pending: VecDeque<(u64, Batch)>,
    written: u64,
    files: BTreeMap<String, Vec<u8>>,
}

type Image = BTreeMap<(Column, Vec<u8>), Vec<u8>>;

impl SimDisk {
    /// Loses what was not synced, but for a prefix of `keep` batches that the kernel had written back by itself.
    pub fn cut_power(&self, keep: u64) {
        let mut disk = self.lock();
        let survivors = usize::try_from(keep % (disk.pending.len() as u64 + 1)).unwrap_or(0);
        let kept: Vec<(u64, Batch)> = disk.pending.drain(..).take(survivors).collect();
        for (_, batch) in kept {
            apply(&mut disk.platter, &batch);
        }
        disk.cache = disk.platter.clone();
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        apply(&mut disk.cache, &batch);
        disk.written += 1;
        let number = disk.written;
        disk.pending.push_back((number, batch));
        Ok(())
    }

    async fn sync(&self) -> Result<(), Error> {
        let upto = self.lock().written;
        sleep(SYNC).await;
        let mut disk = self.lock();
        while disk.pending.front().is_some_and(|(number, _)| *number <= upto) {
            if let Some((_, batch)) = disk.pending.pop_front() {
                apply(&mut disk.platter, &batch);
            }
        }
        Ok(())
    }
}

impl SnapshotFiles for SimDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.lock().files.get(name).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    async fn publish(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        sleep(SYNC).await;
        self.lock().files.insert(name.into(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().files.remove(name);
        Ok(())
    }
}
