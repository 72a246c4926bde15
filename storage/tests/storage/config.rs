//! A small type config, its codec, and databases in temporary folders.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use openraft::alias::{EntryOf, LogIdOf, OneshotReceiverOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderIdExt;
use openraft::{EntryPayload, RaftTypeConfig};
use quorumfence_storage::{
    Batch, BoxError, Column, EntryCodec, Error, Expect, Fatal, Identity, Kv, LogStore, OpenError, Pair, Range, Rocks,
    Store, open,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::sync::oneshot::error::TryRecvError;

openraft::declare_raft_types!(
    pub(crate) Config: D = String, R = String, NodeId = u64, Node = openraft::EmptyNode,
    AsyncRuntime = openraft_rt_tokio::TokioRuntime
);

pub(crate) type Entry = EntryOf<Config>;
pub(crate) type LogId = LogIdOf<Config>;
pub(crate) type Vote = VoteOf<Config>;
pub(crate) type Log<K> = LogStore<Config, K, Json>;

/// Encodes everything as JSON.
pub(crate) struct Json;

impl EntryCodec<Config> for Json {
    fn encode_entry(entry: &Entry) -> Vec<u8> {
        encode(entry)
    }
    fn decode_entry(bytes: &[u8]) -> Result<Entry, BoxError> {
        decode(bytes)
    }
    fn encode_vote(vote: &Vote) -> Vec<u8> {
        encode(vote)
    }
    fn decode_vote(bytes: &[u8]) -> Result<Vote, BoxError> {
        decode(bytes)
    }
    fn encode_log_id(id: &LogId) -> Vec<u8> {
        encode(id)
    }
    fn decode_log_id(bytes: &[u8]) -> Result<LogId, BoxError> {
        decode(bytes)
    }
}

pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
    Ok(serde_json::from_slice(bytes)?)
}

pub(crate) fn identity() -> Identity {
    Identity { cluster: "west".to_owned(), node: 3 }
}

/// Opens the store in `folder`; a failure of the disk only shows in the results.
pub(crate) async fn open_store(folder: &Path, expect: Expect) -> Result<Store<Rocks>, OpenError> {
    open(Rocks::open(folder)?, &identity(), expect, Fatal::new(|_| {})).await
}

/// Opens the log in `folder`, whose node the cluster knows.
pub(crate) async fn open_log(folder: &Path) -> Result<Log<Rocks>, OpenError> {
    Ok(LogStore::open(open_store(folder, Expect::Existing).await?)?)
}

pub(crate) async fn fresh_log() -> (TempDir, Log<Rocks>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path(), Expect::New).await.unwrap();
    (folder, LogStore::open(store).unwrap())
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(<Config as RaftTypeConfig>::LeaderId::new_committed(term, 1), index)
}

pub(crate) fn entry(term: u64, index: u64) -> Entry {
    Entry::new(log_id(term, index), EntryPayload::Normal(format!("command {index} of term {term}")))
}

pub(crate) fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(term, index)).collect()
}

pub(crate) type Answer = OneshotReceiverOf<Config, Result<(), io::Error>>;

/// Appends and returns the answer that comes once the entries are durable.
pub(crate) async fn append<K: Kv>(log: &mut Log<K>, entries: Vec<Entry>) -> io::Result<Answer> {
    let (callback, answer) = Config::oneshot();
    log.append(entries, IOFlushed::signal(callback)).await?;
    Ok(answer)
}

pub(crate) async fn append_durably<K: Kv>(log: &mut Log<K>, entries: Vec<Entry>) {
    append(log, entries).await.unwrap().await.unwrap().unwrap();
}

/// Returns the answer if it is there already.
pub(crate) fn poll(answer: &mut Answer) -> Option<Result<(), String>> {
    match answer.try_recv() {
        Ok(result) => Some(result.map_err(|error| error.to_string())),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => panic!("nobody will answer any more"),
    }
}

/// Returns what a crash of the process would leave: the files as the kernel has them, while the database is open.
///
/// A crash sees one instant. RocksDB deletes obsolete files from a thread of its own, so a copy counts only when nothing
/// in the folder changed while it was made.
pub(crate) fn crash_image(folder: &Path) -> TempDir {
    const TRIES: usize = 1000;
    let image = (0..TRIES).find_map(|_| {
        let image = tempfile::tempdir().unwrap();
        let before = listing(folder).ok()?;
        for name in before.keys() {
            fs::copy(folder.join(name), image.path().join(name)).ok()?;
        }
        (listing(folder).ok()? == before).then_some(image)
    });
    image.expect("the folder of the database never rests")
}

/// Returns each file's length and time of change.
fn listing(folder: &Path) -> io::Result<BTreeMap<OsString, (u64, SystemTime)>> {
    let of = |file: io::Result<DirEntry>| {
        let file = file?;
        let facts = file.metadata()?;
        Ok((file.file_name(), (facts.len(), facts.modified()?)))
    };
    fs::read_dir(folder)?.map(of).collect()
}

/// Returns the files with this suffix, in the order of their names.
pub(crate) fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    found.retain(|path| path.to_str().unwrap().ends_with(suffix));
    found.sort();
    found
}

/// A database whose syncs wait for a permit, and fail on demand.
#[derive(Debug, Clone)]
pub(crate) struct SlowDisk {
    pub(crate) inner: Rocks,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) failing: Arc<AtomicBool>,
    pub(crate) syncs: Arc<AtomicUsize>,
}

impl SlowDisk {
    pub(crate) fn open(folder: &Path) -> SlowDisk {
        SlowDisk {
            inner: Rocks::open(folder).unwrap(),
            permits: Arc::new(Semaphore::new(0)),
            failing: Arc::default(),
            syncs: Arc::default(),
        }
    }
}

impl Kv for SlowDisk {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner.get(column, key)
    }
    fn scan(&self, column: Column, range: &Range) -> Result<Vec<Pair>, Error> {
        self.inner.scan(column, range)
    }
    fn write(&self, batch: Batch) -> Result<(), Error> {
        self.inner.write(batch)
    }
    async fn sync(&self) -> Result<(), Error> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        if self.failing.load(Ordering::SeqCst) {
            return Err(Error::Database { doing: "sync", source: "no space left on the platter".into() });
        }
        self.inner.sync().await
    }
}

/// A hook that collects what stopped the store.
pub(crate) fn observed() -> (Fatal, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let fatal = Fatal::new({
        let seen = Arc::clone(&seen);
        move |error| seen.lock().unwrap().push(error.to_string())
    });
    (fatal, seen)
}
