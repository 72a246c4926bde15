//! State machine records, durable before anybody hears of their effects.

use crate::codec::{corrupt, seal, unseal};
use crate::error::Error;
use crate::key::{applied, installing, membership, record};
use crate::kv::{Batch, Column, Kv, Range};
use crate::store::Store;

/// Large enough that a replica of usual size is installed in one go, small enough that a batch never holds up the disk.
const INSTALL_BATCH_BYTES: usize = 1 << 20;

/// One stored fact of the state machine; only the state machine knows what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The ordinal of the record's kind. MUST NOT be 0: that one belongs to this crate.
    pub kind: u8,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// The effects of one or more applied entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub puts: Vec<Record>,
    /// Kind and key of records that are gone. A key MUST NOT be in `puts` too.
    pub deletes: Vec<(u8, Vec<u8>)>,
    /// The id of the last entry whose effects are in this change.
    pub applied: Vec<u8>,
    /// The membership, when an entry of this change set it.
    pub membership: Option<Vec<u8>>,
}

/// All records as of one point in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    pub applied: Option<Vec<u8>>,
    pub membership: Option<Vec<u8>>,
    /// By kind, then by key.
    pub records: Vec<Record>,
}

/// The state machine's part of the database.
#[derive(Debug, Clone)]
pub struct Records<K> {
    store: Store<K>,
}

impl<K: Kv> Records<K> {
    /// Returns the records in `store`.
    pub fn new(store: Store<K>) -> Records<K> {
        Records { store }
    }

    /// Returns all records with the position up to which they are applied.
    ///
    /// [`Error::InstallInterrupted`] means that the caller has to call [`Records::install`] again, with the snapshot
    /// that it published before.
    pub fn load(&self) -> Result<Loaded, Error> {
        let mut loaded = Loaded::default();
        for (key, sealed) in self.store.scan(Column::Records, &Range::all())? {
            let value = unseal(Column::Records, &key, &sealed)?.to_vec();
            if key == installing::KEY {
                return Err(Error::InstallInterrupted);
            } else if key == applied::KEY {
                loaded.applied = Some(value);
            } else if key == membership::KEY {
                loaded.membership = Some(value);
            } else if let Some((kind, own)) = record::split(&key) {
                loaded.records.push(Record { kind, key: own.to_vec(), value });
            } else {
                return Err(corrupt(Column::Records, &key, "no stored kind has this key".to_owned()));
            }
        }
        Ok(loaded)
    }

    /// Returns what a snapshot holds: records, position and membership from the same point in time.
    ///
    /// MUST be called where no entry can be applied in between, so inside `get_snapshot_builder`; encoding the result
    /// can happen later.
    pub fn snapshot_view(&self) -> Result<Loaded, Error> {
        self.load()
    }

    /// Makes a change durable, all of it or nothing.
    ///
    /// Replies to the applied entries MUST wait for the return.
    pub async fn commit(&self, change: Change) -> Result<(), Error> {
        let mut batch = Batch::default();
        for put in change.puts {
            put_record(&mut batch, &put);
        }
        for (kind, own) in change.deletes {
            batch.delete(Column::Records, record::key(kind, &own));
        }
        put_sealed(&mut batch, &applied::KEY, &change.applied);
        if let Some(bytes) = change.membership {
            put_sealed(&mut batch, &membership::KEY, &bytes);
        }
        self.store.write(batch)?;
        self.store.sync().await
    }

    /// Replaces all records by those of a snapshot.
    ///
    /// The records go in several batches behind a marker, so a crash in the middle is seen by the next
    /// [`Records::load`]. The snapshot itself MUST be published before, so that it can be installed again.
    pub async fn install(
        &self,
        records: impl IntoIterator<Item = Record, IntoIter: Send> + Send,
        applied_to: Option<Vec<u8>>,
        members: Vec<u8>,
    ) -> Result<(), Error> {
        self.wipe().await?;
        let mut batch = Batch::default();
        let mut bytes = 0;
        for put in records {
            bytes += put.key.len() + put.value.len();
            put_record(&mut batch, &put);
            if bytes >= INSTALL_BATCH_BYTES {
                self.store.write(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        if let Some(bytes) = applied_to {
            put_sealed(&mut batch, &applied::KEY, &bytes);
        }
        put_sealed(&mut batch, &membership::KEY, &members);
        batch.delete(Column::Records, installing::KEY);
        self.store.write(batch)?;
        self.store.sync().await
    }

    async fn wipe(&self) -> Result<(), Error> {
        let mut batch = Batch::default();
        put_sealed(&mut batch, &installing::KEY, &[]);
        batch.delete(Column::Records, applied::KEY);
        batch.delete(Column::Records, membership::KEY);
        for (key, _) in self.store.scan(Column::Records, &Range { from: record::FIRST.to_vec(), ..Range::all() })? {
            batch.delete(Column::Records, key);
        }
        self.store.write(batch)?;
        self.store.sync().await
    }
}

fn put_record(batch: &mut Batch, put: &Record) {
    put_sealed(batch, &record::key(put.kind, &put.key), &put.value);
}

fn put_sealed(batch: &mut Batch, key: &[u8], payload: &[u8]) {
    batch.put(Column::Records, key, seal(Column::Records, key, payload));
}
