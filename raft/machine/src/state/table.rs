//! A map that remembers which of its rows changed, so that only those are written to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

#[derive(Debug, Clone)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    changed: BTreeSet<K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), changed: BTreeSet::new() }
    }
}

/// Two tables are equal when their rows are: what still has to be written is no part of the state.
impl<K: PartialEq, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl<K: Eq, V: Eq> Eq for Table<K, V> {}

impl<K: Ord + Clone, V> Table<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// Counts as a change even when the caller then changes nothing.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.changed.insert(key.clone());
        Some(row)
    }

    pub(super) fn insert(&mut self, key: K, row: V) {
        self.changed.insert(key.clone());
        self.rows.insert(key, row);
    }

    /// Puts a row that is on disk already.
    pub(super) fn load(&mut self, key: K, row: V) {
        self.rows.insert(key, row);
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let row = self.rows.remove(key)?;
        self.changed.insert(key.clone());
        Some(row)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.rows.values()
    }

    pub(super) fn range(&self, keys: impl RangeBounds<K>) -> impl Iterator<Item = &V> {
        self.rows.range(keys).map(|(_, row)| row)
    }

    pub(super) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.rows.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn first_key(&self) -> Option<K> {
        self.rows.keys().next().cloned()
    }

    pub(super) fn last_key(&self) -> Option<K> {
        self.rows.keys().next_back().cloned()
    }

    /// Returns the changed keys with their rows, `None` for removed ones, and forgets that they changed.
    pub(super) fn take_changed(&mut self) -> Vec<(K, Option<&V>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|key| (key.clone(), self.rows.get(&key))).collect()
    }
}
