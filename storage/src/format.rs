//! Whose database this is: checked before anything else is read.

use serde::{Deserialize, Serialize};

use crate::codec::{seal, unseal};
use crate::error::Error;
use crate::key::stamp;
use crate::kv::{Batch, Column, Kv, Range};
use crate::store::{Fatal, Store};

/// The layout of keys and values that this release reads and writes.
pub const FORMAT: u32 = 1;

/// The replica that a database belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cluster: String,
    pub node: u64,
}

/// What the caller knows about the node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The cluster knows this node id, so the replica has voted and acknowledged: an empty database means data loss.
    Existing,
    /// The node id was just allocated, so an empty database is right. One that is already this node's is opened too:
    /// a join may be interrupted and run again.
    New,
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the database belongs to cluster {found}, this node to cluster {wanted}. Starting would mix two clusters. \
         Point the data folder of this node at its own database"
    )]
    OtherCluster { found: String, wanted: String },

    #[error(
        "the database belongs to node {found}, this node is {wanted}. Starting would let two nodes vote as one. \
         Point the data folder of this node at its own database"
    )]
    OtherNode { found: u64, wanted: u64 },

    #[error(
        "the database is empty, but the cluster knows node {node}: its votes and log entries are lost, and starting \
         could elect two leaders. Restore the disk, or remove the node and join it again under a new node id"
    )]
    Empty { node: u64 },

    #[error("the database has format {found}, this release reads up to {known}. Run the newer release")]
    FutureFormat { found: u32, known: u32 },

    #[error(
        "the database holds data but does not say whose. It was not written by this product, or its stamp is lost. \
         Restore the disk, or remove the node and join it again under a new node id"
    )]
    Unstamped,

    #[error(transparent)]
    Storage(#[from] Error),
}

/// What the database says about itself.
///
/// Read before the format is known to be ours, so it only ever gains fields.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    format: u32,
    cluster: String,
    node: u64,
}

/// Returns the store once the database has proved to be this node's.
///
/// An empty database is stamped, durably, before anything can be promised on it.
pub async fn open<K: Kv>(kv: K, identity: &Identity, expect: Expect, fatal: Fatal) -> Result<Store<K>, OpenError> {
    let store = Store::new(kv, fatal);
    match store.get(Column::Meta, &stamp::KEY)? {
        Some(sealed) => check(&decode(&sealed)?, identity)?,
        None => {
            refuse_data(&store)?;
            if expect == Expect::Existing {
                return Err(OpenError::Empty { node: identity.node });
            }
            write_stamp(&store, identity).await?;
        }
    }
    Ok(store)
}

fn check(found: &Stamp, identity: &Identity) -> Result<(), OpenError> {
    if found.format > FORMAT {
        return Err(OpenError::FutureFormat { found: found.format, known: FORMAT });
    }
    if found.cluster != identity.cluster {
        return Err(OpenError::OtherCluster { found: found.cluster.clone(), wanted: identity.cluster.clone() });
    }
    if found.node != identity.node {
        return Err(OpenError::OtherNode { found: found.node, wanted: identity.node });
    }
    Ok(())
}

fn refuse_data<K: Kv>(store: &Store<K>) -> Result<(), OpenError> {
    let any = Range { limit: 1, ..Range::all() };
    for column in Column::ALL {
        if !store.scan(column, &any)?.is_empty() {
            return Err(OpenError::Unstamped);
        }
    }
    Ok(())
}

async fn write_stamp<K: Kv>(store: &Store<K>, identity: &Identity) -> Result<(), Error> {
    let stamp = Stamp { format: FORMAT, cluster: identity.cluster.clone(), node: identity.node };
    let bytes = serde_json::to_vec(&stamp).expect("numbers and a string always encode");
    let mut batch = Batch::default();
    batch.put(Column::Meta, stamp::KEY, seal(Column::Meta, &stamp::KEY, &bytes));
    store.write(batch)?;
    store.sync().await
}

fn decode(sealed: &[u8]) -> Result<Stamp, Error> {
    let bytes = unseal(Column::Meta, &stamp::KEY, sealed)?;
    serde_json::from_slice(bytes).map_err(|error| Error::Undecodable { what: "stamp", source: Box::new(error) })
}
