//! Where the log begins and ends.

use openraft::RaftTypeConfig;
use openraft::alias::LogIdOf;
use openraft::entry::RaftEntry;

use super::{EntryCodec, get_meta, shared};
use crate::codec::corrupt;
use crate::error::Error;
use crate::key::{entry, purged};
use crate::kv::{Column, Kv, Range};
use crate::store::Store;

/// Entries read at once while the log is checked.
const CHECK_ENTRIES: usize = 1024;

/// The ends of the log, kept beside the database so that a read knows what it must find.
pub(super) struct Borders<C: RaftTypeConfig> {
    /// The last id that was purged.
    pub(super) purged: Option<LogIdOf<C>>,
    /// The index of the first entry; `None` when the log holds none.
    pub(super) first: Option<u64>,
    /// The id of the last entry, or of the last purged one when the log holds none.
    pub(super) last: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> Borders<C> {
    /// Returns the indexes of the entries, `start..end`; both are 0 when there is none.
    pub(super) fn present(&self) -> (u64, u64) {
        match (self.first, &self.last) {
            (Some(first), Some(last)) => (first, last.index() + 1),
            (None, _) | (_, None) => (0, 0),
        }
    }

    /// Returns the index that the next entry must have; `None` when any may come.
    pub(super) fn next(&self) -> Option<u64> {
        self.last.as_ref().map(|last| last.index() + 1)
    }
}

/// Reads the whole log and returns its borders, or the first thing that is wrong.
pub(super) fn read<C: RaftTypeConfig, K: Kv, E: EntryCodec<C>>(store: &Store<K>) -> Result<Borders<C>, Error> {
    let purged = get_meta(store, &purged::KEY, "purged log id", E::decode_log_id)?;
    let start = purged.as_ref().map_or(0, |id: &LogIdOf<C>| id.index() + 1);
    let mut borders = Borders { last: purged.clone(), purged, first: None };
    let mut expected = start;
    let mut from = Vec::new();
    loop {
        let pairs = store.scan(Column::Log, &Range { from, to: None, limit: CHECK_ENTRIES })?;
        let Some((last_key, _)) = pairs.last() else {
            return Ok(borders);
        };
        from = [last_key.as_slice(), &[0]].concat();
        for (key, sealed) in &pairs {
            let found =
                entry::index(key).ok_or_else(|| corrupt(Column::Log, key, "no entry has this key".to_owned()))?;
            if found != expected {
                return Err(Error::Hole { expected, found: Some(found) });
            }
            borders.last = Some(shared::decode::<C, E>(found, sealed)?.log_id());
            expected = found + 1;
        }
        borders.first = Some(start);
    }
}
