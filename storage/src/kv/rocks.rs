//! RocksDB: one database, so one write-ahead log, so batches over several columns are atomic and ordered.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, ErrorKind, IteratorMode, Options, ReadOptions, WriteBatch,
};
use tokio::sync::oneshot;

use super::{Batch, Column, Kv, Op, Pair, Range};
use crate::error::Error;
use crate::store::chain;

mod tail;
mod torn;

/// Enough for many thousands of entries; a larger log of writes only makes the next start slower.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// Flushes are rare with a replica's small state, and a write never waits for one.
const MEMTABLE_BYTES: usize = 16 << 20;
const MEMTABLES_MAX: i32 = 4;
/// RocksDB's own text logs are kept short: it writes one per start.
const INFO_LOGS_MAX: usize = 4;
/// Callers wait for their answer, and each has one at a time: the log's flusher, the state machine, and open.
const SYNCS_QUEUED_MAX: usize = 64;

/// The production store of bytes. Clones share one database; the last one closes it.
///
/// Writes go to the page cache inside the call. Only the disk's stalls can hold them up, and with them the thread of
/// the caller, so the runtime above MUST have more than one worker.
#[derive(Debug, Clone)]
pub struct Rocks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Arc<DB>,
    syncs: Option<mpsc::SyncSender<Waiter>>,
    syncer: Option<JoinHandle<()>>,
}

type Waiter = oneshot::Sender<Result<(), String>>;

impl Rocks {
    /// Opens the database in `path`, or creates one in an empty or absent folder.
    ///
    /// Refuses damage in the middle of the write-ahead log. An incomplete last record is dropped, also where zeros stand
    /// for the rest of it: its sync never returned, so nobody was promised anything.
    pub fn open(path: &Path) -> Result<Rocks, Error> {
        tail::check(path)?;
        torn::cut(path)?;
        let columns = Column::ALL.map(|column| ColumnFamilyDescriptor::new(column.name(), column_options()));
        let db =
            DB::open_cf_descriptors(&database_options(), path, columns).map_err(|error| rejected("open", error))?;
        let db = Arc::new(db);
        let (syncs, queue) = mpsc::sync_channel(SYNCS_QUEUED_MAX);
        let syncer = std::thread::Builder::new()
            .name("storage-sync".to_owned())
            .spawn({
                let db = Arc::clone(&db);
                move || answer_syncs(&db, &queue)
            })
            .map_err(|error| Error::Database { doing: "start the thread that syncs", source: Box::new(error) })?;
        Ok(Rocks { inner: Arc::new(Inner { db, syncs: Some(syncs), syncer: Some(syncer) }) })
    }

    fn family(&self, column: Column) -> &ColumnFamily {
        self.inner.db.cf_handle(column.name()).expect("open created every column")
    }
}

impl Kv for Rocks {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner.db.get_cf(self.family(column), key).map_err(|error| rejected("read a value", error))
    }

    fn scan(&self, column: Column, range: &Range) -> Result<Vec<Pair>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.from.clone());
        if let Some(to) = &range.to {
            options.set_iterate_upper_bound(to.clone());
        }
        self.inner
            .db
            .iterator_cf_opt(self.family(column), options, IteratorMode::Start)
            .take(range.limit)
            .map(|pair| match pair {
                Ok((key, value)) => Ok((key.into_vec(), value.into_vec())),
                Err(error) => Err(rejected("read a range", error)),
            })
            .collect()
    }

    fn write(&self, batch: Batch) -> Result<(), Error> {
        let mut writes = WriteBatch::default();
        for op in batch.ops {
            match op {
                Op::Put { column, key, value } => writes.put_cf(self.family(column), key, value),
                Op::Delete { column, key } => writes.delete_cf(self.family(column), key),
                Op::DeleteRange { column, from, to } => writes.delete_range_cf(self.family(column), from, to),
            }
        }
        self.inner.db.write(writes).map_err(|error| rejected("write a batch", error))
    }

    async fn sync(&self) -> Result<(), Error> {
        let (waiter, answer) = oneshot::channel();
        let syncs = self.inner.syncs.as_ref().expect("only drop takes the queue");
        let stopped = || "the thread that syncs has stopped".to_owned();
        let result = match syncs.send(waiter) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopped())),
            Err(_) => Err(stopped()),
        };
        result.map_err(|reason| Error::Database { doing: "sync", source: reason.into() })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.syncs.take());
        if let Some(syncer) = self.syncer.take() {
            syncer.join().expect("the thread that syncs does not panic");
        }
    }
}

/// Syncs once for all who wait, until the last handle is gone.
fn answer_syncs(db: &DB, queue: &mpsc::Receiver<Waiter>) {
    let mut failed: Option<String> = None;
    while let Ok(first) = queue.recv() {
        let waiters: Vec<Waiter> = std::iter::once(first).chain(queue.try_iter().take(SYNCS_QUEUED_MAX)).collect();
        if failed.is_none()
            && let Err(error) = db.flush_wal(true)
        {
            failed = Some(error.into_string());
        }
        for waiter in waiters {
            let result = failed.clone().map_or(Ok(()), Err);
            // A waiter that went away does not ask any more.
            drop(waiter.send(result));
        }
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // The default mode, like any other point in time, drops everything after the first damage in silence, acknowledged
    // votes and entries with it; absolute consistency refuses every torn end, and this mode those that zeros follow,
    // which `torn` cuts off before.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_keep_log_file_num(INFO_LOGS_MAX);
    options
}

fn column_options() -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(MEMTABLES_MAX);
    options
}

fn rejected(doing: &'static str, error: rocksdb::Error) -> Error {
    if error.kind() == ErrorKind::Corruption {
        return Error::Damaged { reason: chain(&error) };
    }
    Error::Database { doing, source: Box::new(error) }
}
