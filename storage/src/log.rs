//! The Raft log and the vote.
//!
//! One owner makes all writes, in order; they are readable when the call returns. One flusher ([`flush`]) makes them
//! durable, many at once, and tells their callbacks in the same order.
//!
//! A value of the log column is the entry's index (8 bytes, big-endian) and the encoded entry, sealed.

use std::fmt::{self, Debug};
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Weak};

use openraft::alias::{LogIdOf, MpscSenderOf};
use openraft::async_runtime::MpscSender;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, RaftLogReader, RaftTypeConfig};

use crate::codec::{seal, unseal};
use crate::error::{BoxError, Error};
use crate::key::{committed, entry, vote};
use crate::kv::{Batch, Column, Kv};
use crate::store::Store;
use flush::Waiter;
use shared::Shared;

mod borders;
mod flush;
mod shared;

/// Writers wait when this many appends wait for one sync; openraft has far fewer in flight.
const WAITERS_MAX: usize = 1024;
/// The most entries that replication gets in one read, so that a follower far behind does not fill the memory.
const READ_ENTRIES_MAX: u64 = 256;

/// How the types of openraft become bytes; the raft crate owns the wire contract and implements this.
///
/// Decoding MUST invert encoding, and MUST return an error, not a default, for bytes that it does not know.
pub trait EntryCodec<C: RaftTypeConfig>: Send + Sync + 'static {
    fn encode_entry(entry: &C::Entry) -> Vec<u8>;
    fn decode_entry(bytes: &[u8]) -> Result<C::Entry, BoxError>;
    fn encode_vote(vote: &C::Vote) -> Vec<u8>;
    fn decode_vote(bytes: &[u8]) -> Result<C::Vote, BoxError>;
    fn encode_log_id(id: &LogIdOf<C>) -> Vec<u8>;
    fn decode_log_id(bytes: &[u8]) -> Result<LogIdOf<C>, BoxError>;
}

/// The only writer of the log and the vote.
pub struct LogStore<C: RaftTypeConfig, K, E> {
    shared: Arc<Shared<C, K>>,
    waiters: MpscSenderOf<C, Waiter<C>>,
    codec: PhantomData<fn() -> E>,
}

/// A reader of the log and the vote; clones read the same log.
pub struct LogReader<C: RaftTypeConfig, K, E> {
    shared: Arc<Shared<C, K>>,
    codec: PhantomData<fn() -> E>,
}

/// Says what of the log a crash would leave. It does not keep the database open.
pub struct DurableLog<C: RaftTypeConfig, K, E> {
    shared: Weak<Shared<C, K>>,
    codec: PhantomData<fn() -> E>,
}

impl<C: RaftTypeConfig, K: Kv, E: EntryCodec<C>> DurableLog<C, K, E> {
    /// Returns whether the log holds this entry, or ends with it after a purge, once that is durable; false also when the log
    /// is closed.
    pub async fn holds(&self, id: &LogIdOf<C>) -> Result<bool, Error> {
        let Some(shared) = self.shared.upgrade() else { return Ok(false) };
        if !shared.has_purged_last(id) {
            let held = shared.read::<E>(id.index(), id.index() + 1, 1)?;
            if held.first().is_none_or(|entry| entry.log_id() != *id) {
                return Ok(false);
            }
        }
        shared.store.sync().await?;
        Ok(true)
    }
}

impl<C: RaftTypeConfig, K: Kv, E: EntryCodec<C>> LogStore<C, K, E> {
    /// Opens the log in `store` and reads all of it once: every checksum, every index, no hole.
    ///
    /// MUST be called inside `C::AsyncRuntime`, where it starts the flusher. The flusher ends when this log is dropped.
    pub fn open(store: Store<K>) -> Result<Self, Error> {
        let borders = borders::read::<C, K, E>(&store)?;
        let (waiters, queue) = C::mpsc(WAITERS_MAX);
        // Nobody joins the flusher: openraft drops the log when it shuts down and cannot wait here.
        drop(C::spawn(flush::run::<C, K>(store.clone(), queue)));
        Ok(LogStore { shared: Arc::new(Shared::new(store, borders)), waiters, codec: PhantomData })
    }

    /// Returns a view of what of this log is durable.
    pub fn durable(&self) -> DurableLog<C, K, E> {
        DurableLog { shared: Arc::downgrade(&self.shared), codec: PhantomData }
    }

    fn reader(&self) -> LogReader<C, K, E> {
        LogReader { shared: Arc::clone(&self.shared), codec: PhantomData }
    }
}

impl<C: RaftTypeConfig, K: Kv, E: EntryCodec<C>> RaftLogReader<C> for LogReader<C, K, E> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<C::Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&index) => index.saturating_add(1),
            Bound::Excluded(&index) => index,
            Bound::Unbounded => u64::MAX,
        };
        Ok(self.shared.read::<E>(start, end, u64::MAX)?)
    }

    async fn read_vote(&mut self) -> Result<Option<C::Vote>, io::Error> {
        Ok(get_meta(&self.shared.store, &vote::KEY, "vote", E::decode_vote)?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<C::Entry>, io::Error> {
        Ok(self.shared.read::<E>(start, end, READ_ENTRIES_MAX)?)
    }
}

impl<C: RaftTypeConfig, K: Kv, E: EntryCodec<C>> RaftLogReader<C> for LogStore<C, K, E> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<C::Entry>, io::Error> {
        self.reader().try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> Result<Option<C::Vote>, io::Error> {
        self.reader().read_vote().await
    }
}

impl<C: RaftTypeConfig, K: Kv, E: EntryCodec<C>> RaftLogStorage<C> for LogStore<C, K, E> {
    type LogReader = LogReader<C, K, E>;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        Ok(self.shared.with_borders(|borders| LogState {
            last_purged_log_id: borders.purged.clone(),
            last_log_id: borders.last.clone(),
        }))
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.reader()
    }

    /// Returns when the vote, and every append before it, is durable.
    async fn save_vote(&mut self, vote: &C::Vote) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        put_meta(&mut batch, &vote::KEY, &E::encode_vote(vote));
        self.shared.store.write(batch)?;
        let (done, durable) = C::oneshot();
        if self.waiters.send(Waiter::Vote(done)).await.is_err() {
            return Err(flusher_is_gone());
        }
        durable.await.map_err(|_| flusher_is_gone())?
    }

    /// Notes the id without waiting for the disk.
    ///
    /// The state machine is durable before it replies, so an older id after a crash loses nothing; and whatever id is
    /// left, the entries up to it were written before it.
    async fn save_committed(&mut self, id: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        match id {
            Some(id) => put_meta(&mut batch, &committed::KEY, &E::encode_log_id(&id)),
            None => batch.delete(Column::Meta, committed::KEY),
        }
        Ok(self.shared.store.write(batch)?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        Ok(get_meta(&self.shared.store, &committed::KEY, "committed log id", E::decode_log_id)?)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::default();
        let mut ids = Vec::new();
        for entry in entries {
            let id = entry.log_id();
            let key = entry::key(id.index());
            batch.put(Column::Log, key, seal(Column::Log, &key, &shared::encode::<C, E>(id.index(), &entry)));
            ids.push(id);
        }
        self.shared.append(batch, ids)?;
        match self.waiters.send(Waiter::Append(callback)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(flusher_is_gone()),
        }
    }

    /// Deletes the tail without waiting for the disk.
    ///
    /// Nothing was promised about these entries, and whatever replaces them is written after this.
    async fn truncate_after(&mut self, last: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        Ok(self.shared.truncate_after::<E>(last.map(|id| id.index()))?)
    }

    /// Deletes the front without waiting for the disk: the snapshot that replaces it is durable.
    async fn purge(&mut self, upto: LogIdOf<C>) -> Result<(), io::Error> {
        Ok(self.shared.purge::<E>(upto)?)
    }
}

impl<C: RaftTypeConfig, K, E> Clone for LogReader<C, K, E> {
    fn clone(&self) -> Self {
        LogReader { shared: Arc::clone(&self.shared), codec: PhantomData }
    }
}

impl<C: RaftTypeConfig, K, E> Debug for DurableLog<C, K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurableLog")
    }
}

impl<C: RaftTypeConfig, K, E> Debug for LogReader<C, K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogReader")
    }
}

impl<C: RaftTypeConfig, K, E> Debug for LogStore<C, K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogStore")
    }
}

fn put_meta(batch: &mut Batch, key: &[u8], payload: &[u8]) {
    batch.put(Column::Meta, key, seal(Column::Meta, key, payload));
}

fn get_meta<K: Kv, T>(
    store: &Store<K>,
    key: &[u8],
    what: &'static str,
    decode: impl Fn(&[u8]) -> Result<T, BoxError>,
) -> Result<Option<T>, Error> {
    let Some(sealed) = store.get(Column::Meta, key)? else {
        return Ok(None);
    };
    let payload = unseal(Column::Meta, key, &sealed)?;
    decode(payload).map(Some).map_err(|source| Error::Undecodable { what, source })
}

fn flusher_is_gone() -> io::Error {
    io::Error::other("the flusher of the log has ended, so nothing more can become durable")
}
