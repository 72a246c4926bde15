//! The log's data, between its one writer and its many readers.

use std::sync::{PoisonError, RwLock};

use openraft::RaftTypeConfig;
use openraft::alias::LogIdOf;
use openraft::entry::RaftEntry;

use super::borders::Borders;
use super::{EntryCodec, put_meta};
use crate::codec::{corrupt, unseal};
use crate::error::Error;
use crate::key::{entry, purged};
use crate::kv::{Batch, Column, Kv, Range};
use crate::store::Store;

const INDEX_BYTES: usize = 8;

/// The database and the borders of the log in it.
///
/// The lock makes a write and its new borders one step for readers. It is held for calls that do not wait for the disk
/// and never across an await.
pub(super) struct Shared<C: RaftTypeConfig, K> {
    pub(super) store: Store<K>,
    borders: RwLock<Borders<C>>,
}

impl<C: RaftTypeConfig, K: Kv> Shared<C, K> {
    pub(super) fn new(store: Store<K>, borders: Borders<C>) -> Self {
        Shared { store, borders: RwLock::new(borders) }
    }

    pub(super) fn with_borders<T>(&self, look: impl FnOnce(&Borders<C>) -> T) -> T {
        look(&self.borders.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the entries of `start..end` that the log holds, at most `limit`.
    ///
    /// What lies before the first or behind the last entry is left out; a hole between them is an error.
    pub(super) fn read<E: EntryCodec<C>>(&self, start: u64, end: u64, limit: u64) -> Result<Vec<C::Entry>, Error> {
        let (start, end, pairs) = self.with_borders(|borders| {
            let (first, next) = borders.present();
            let start = start.max(first);
            let end = end.min(next).min(start.saturating_add(limit));
            if start >= end {
                return Ok((start, start, Vec::new()));
            }
            let range = Range { from: entry::key(start).into(), to: Some(entry::key(end).into()), limit: usize::MAX };
            self.store.scan(Column::Log, &range).map(|pairs| (start, end, pairs))
        })?;
        let mut expected = start;
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, sealed) in pairs {
            let found = entry::index(&key);
            if found != Some(expected) {
                return Err(Error::Hole { expected, found });
            }
            entries.push(decode::<C, E>(expected, &sealed)?);
            expected += 1;
        }
        if expected < end {
            return Err(Error::Hole { expected, found: None });
        }
        Ok(entries)
    }

    /// Writes entries behind the last one.
    pub(super) fn append(&self, batch: Batch, ids: Vec<LogIdOf<C>>) -> Result<(), Error> {
        let mut borders = self.borders.write().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = ids.first().map(|id| id.index()) else {
            return Ok(());
        };
        let next = borders.next().unwrap_or(first);
        for (expected, found) in (next..).zip(ids.iter().map(|id| id.index())) {
            if found != expected {
                return Err(Error::NotConsecutive { expected, found });
            }
        }
        self.store.write(batch)?;
        borders.first.get_or_insert(first);
        borders.last = ids.into_iter().next_back();
        Ok(())
    }

    /// Deletes all entries behind the one at `last`.
    pub(super) fn truncate_after<E: EntryCodec<C>>(&self, last: Option<u64>) -> Result<(), Error> {
        let kept = match last {
            Some(index) => self.read::<E>(index, index + 1, 1)?.first().map(|entry| entry.log_id()),
            None => None,
        };
        let mut borders = self.borders.write().unwrap_or_else(PoisonError::into_inner);
        let (first, next) = borders.present();
        let from = last.map_or(first, |index| index + 1).max(first);
        if from >= next {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.delete_range(Column::Log, entry::key(from), entry::key(next));
        self.store.write(batch)?;
        if from == first {
            borders.first = None;
            borders.last = borders.purged.clone();
        } else {
            borders.last = kept;
        }
        Ok(())
    }

    /// Returns whether this entry is the last that was purged: what it did is in the records.
    pub(super) fn has_purged_last(&self, id: &LogIdOf<C>) -> bool {
        let borders = self.borders.read().unwrap_or_else(PoisonError::into_inner);
        borders.purged.as_ref() == Some(id)
    }

    /// Deletes all entries up to and with `upto`, and notes it in the same batch.
    pub(super) fn purge<E: EntryCodec<C>>(&self, upto: LogIdOf<C>) -> Result<(), Error> {
        let mut borders = self.borders.write().unwrap_or_else(PoisonError::into_inner);
        let already = borders.purged.as_ref().is_some_and(|purged| purged.index() >= upto.index());
        if already {
            return Ok(());
        }
        let (first, next) = borders.present();
        let rest = upto.index() + 1;
        let mut batch = Batch::default();
        put_meta(&mut batch, &purged::KEY, &E::encode_log_id(&upto));
        if first < rest.min(next) {
            // From the first entry, not from 0: a deleted range is read again by every scan that crosses it.
            batch.delete_range(Column::Log, entry::key(first), entry::key(rest.min(next)));
        }
        self.store.write(batch)?;
        if rest >= next {
            borders.first = None;
            borders.last = Some(upto.clone());
        } else {
            borders.first = Some(first.max(rest));
        }
        borders.purged = Some(upto);
        Ok(())
    }
}

/// Returns the payload of a log value.
pub(super) fn encode<C: RaftTypeConfig, E: EntryCodec<C>>(index: u64, entry: &C::Entry) -> Vec<u8> {
    [index.to_be_bytes().as_slice(), &E::encode_entry(entry)].concat()
}

/// Returns the entry in a log value once its checksum and both its indexes agree with its place.
pub(super) fn decode<C: RaftTypeConfig, E: EntryCodec<C>>(index: u64, sealed: &[u8]) -> Result<C::Entry, Error> {
    let key = entry::key(index);
    let payload = unseal(Column::Log, &key, sealed)?;
    let Some((stored, bytes)) = payload.split_first_chunk::<INDEX_BYTES>() else {
        return Err(corrupt(Column::Log, &key, "the index is missing".to_owned()));
    };
    let entry = E::decode_entry(bytes).map_err(|source| Error::Undecodable { what: "log entry", source })?;
    let (stored, own) = (u64::from_be_bytes(*stored), entry.index());
    if stored != index || own != index {
        return Err(corrupt(Column::Log, &key, format!("entry {index} says it is {stored} and {own}")));
    }
    Ok(entry)
}
