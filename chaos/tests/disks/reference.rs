//! What a store of bytes may hold, after what was done to it.

use std::collections::BTreeMap;

use quorumfence_storage::{Batch, Column, Kv, Op, Range};

/// Everything that a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image(BTreeMap<Column, BTreeMap<Vec<u8>, Vec<u8>>>);

impl Image {
    /// Reads a store.
    pub(crate) fn of<K: Kv>(kv: &K) -> Self {
        let mut image = Self::default();
        for column in Column::ALL {
            for (key, value) in kv.scan(column, &Range::all()).expect("a healthy disk reads") {
                image.column_mut(column).insert(key, value);
            }
        }
        image
    }

    pub(crate) fn get(&self, column: Column, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(&column)?.get(key).cloned()
    }

    pub(crate) fn keys(&self, column: Column) -> Vec<Vec<u8>> {
        self.0.get(&column).map(|rows| rows.keys().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn scan(&self, column: Column, range: &Range) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = self.0.get(&column).into_iter().flatten();
        let inside = rows.filter(|(key, _)| **key >= range.from && range.to.as_ref().is_none_or(|to| *key < to));
        inside.take(range.limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn column_mut(&mut self, column: Column) -> &mut BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.entry(column).or_default()
    }

    fn apply(&mut self, batch: &Batch) {
        for op in &batch.ops {
            match op {
                Op::Put { column, key, value } => drop(self.column_mut(*column).insert(key.clone(), value.clone())),
                Op::Delete { column, key } => drop(self.column_mut(*column).remove(key)),
                Op::DeleteRange { column, from, to } => {
                    self.column_mut(*column).retain(|key, _| key < from || key >= to);
                }
            }
        }
        self.0.retain(|_, rows| !rows.is_empty());
    }
}

/// A store as its contract has it: what is durable, and what was written since, in order.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    durable: Image,
    unsynced: Vec<Batch>,
}

impl Reference {
    pub(crate) fn write(&mut self, batch: Batch) {
        self.unsynced.push(batch);
    }

    pub(crate) fn sync(&mut self) {
        self.lose_all_but(self.unsynced.len());
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Returns what readers see.
    pub(crate) fn now(&self) -> Image {
        self.after(self.unsynced.len())
    }

    /// Returns what is left when this many of the unsynced batches survive.
    pub(crate) fn after(&self, kept: usize) -> Image {
        let mut image = self.durable.clone();
        self.unsynced[..kept].iter().for_each(|batch| image.apply(batch));
        image
    }

    /// Returns whether a power loss may leave this, when at least so many of the unsynced batches survive.
    pub(crate) fn allows(&self, image: &Image, least: usize) -> bool {
        (least..=self.unsynced.len()).any(|kept| self.after(kept) == *image)
    }

    pub(crate) fn lose_all_but(&mut self, kept: usize) {
        self.durable = self.after(kept);
        self.unsynced.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8) -> Batch {
        let mut batch = Batch::default();
        batch.put(Column::Log, [key], [key]);
        batch
    }

    fn image(keys: &[u8]) -> Image {
        let mut image = Image::default();
        keys.iter().for_each(|key| image.apply(&put(*key)));
        image
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_is_lost_from_its_end() {
        let mut reference = Reference::default();
        reference.write(put(1));
        reference.sync();
        reference.write(put(2));
        reference.write(put(3));
        for (left, allowed) in
            [(&[1][..], true), (&[1, 2], true), (&[1, 2, 3], true), (&[], false), (&[2, 3], false), (&[1, 3], false)]
        {
            assert_eq!(reference.allows(&image(left), 0), allowed, "{left:?}");
        }
        assert!(!reference.allows(&image(&[1]), 1));
        reference.lose_all_but(1);
        assert_eq!(reference.now(), image(&[1, 2]));
    }
}
