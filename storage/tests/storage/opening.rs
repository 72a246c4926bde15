//! A replica never starts on somebody else's data, nor on the loss of its own.

use std::path::Path;

use openraft::storage::RaftLogStorage;
use quorumfence_storage::{Batch, Column, Expect, FORMAT, Fatal, Identity, Kv, LogStore, Rocks, open};
use tempfile::TempDir;

use crate::config::{Log, Vote, identity, open_store};

async fn stamped() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    open_store(folder.path(), Expect::New).await.unwrap();
    folder
}

async fn refusal(folder: &Path, identity: &Identity, expect: Expect) -> String {
    let opened = open(Rocks::open(folder).unwrap(), identity, expect, Fatal::new(|_| {})).await;
    opened.map(|_| ()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_store_of_another_cluster_is_refused() {
    let folder = stamped().await;
    let other = Identity { cluster: "east".to_owned(), ..identity() };
    for expect in [Expect::Existing, Expect::New] {
        assert_eq!(
            refusal(folder.path(), &other, expect).await,
            "the database belongs to cluster west, this node to cluster east. Starting would mix two clusters. Point \
             the data folder of this node at its own database"
        );
    }
}

#[tokio::test]
async fn a_store_of_another_node_is_refused() {
    let folder = stamped().await;
    let other = Identity { node: 4, ..identity() };
    for expect in [Expect::Existing, Expect::New] {
        assert_eq!(
            refusal(folder.path(), &other, expect).await,
            "the database belongs to node 3, this node is 4. Starting would let two nodes vote as one. Point the data \
             folder of this node at its own database"
        );
    }
}

#[tokio::test]
async fn an_empty_store_is_refused_for_a_node_that_the_cluster_knows() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        assert_eq!(
            refusal(folder.path(), &identity(), Expect::Existing).await,
            "the database is empty, but the cluster knows node 3: its votes and log entries are lost, and starting \
             could elect two leaders. Restore the disk, or remove the node and join it again under a new node id"
        );
    }
}

#[tokio::test]
async fn an_interrupted_join_can_be_run_again() {
    let folder = stamped().await;
    open_store(folder.path(), Expect::New).await.unwrap();
    open_store(folder.path(), Expect::Existing).await.unwrap();
}

#[tokio::test]
async fn a_store_of_a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stamp = format!(r#"{{"format":{},"cluster":"west","node":3,"added":"later"}}"#, FORMAT + 1);
    write_stamp(folder.path(), stamp.as_bytes());
    assert_eq!(
        refusal(folder.path(), &identity(), Expect::Existing).await,
        "the database has format 2, this release reads up to 1. Run the newer release"
    );
}

#[tokio::test]
async fn the_first_release_wrote_this_stamp() {
    let folder = tempfile::tempdir().unwrap();
    write_stamp(folder.path(), br#"{"format":1,"cluster":"west","node":3}"#);
    open_store(folder.path(), Expect::Existing).await.unwrap();
}

#[tokio::test]
async fn data_without_a_stamp_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut batch = Batch::default();
    batch.put(Column::Log, b"strange", b"data");
    Rocks::open(folder.path()).unwrap().write(batch).unwrap();
    for expect in [Expect::Existing, Expect::New] {
        assert_eq!(
            refusal(folder.path(), &identity(), expect).await,
            "the database holds data but does not say whose. It was not written by this product, or its stamp is \
             lost. Restore the disk, or remove the node and join it again under a new node id"
        );
    }
}

#[tokio::test]
async fn a_database_is_opened_by_one_process_only() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Rocks::open(folder.path()).unwrap();
    assert_eq!(Rocks::open(folder.path()).unwrap_err().to_string(), "the database could not open");
}

#[tokio::test]
async fn a_fresh_log_is_empty() {
    let folder = stamped().await;
    let mut log: Log<Rocks> = LogStore::open(open_store(folder.path(), Expect::Existing).await.unwrap()).unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (None, None));
    assert_eq!(openraft::RaftLogReader::<crate::config::Config>::read_vote(&mut log).await.unwrap(), None::<Vote>);
}

/// Writes the stamp as a release would: version, checksum over column, key and payload, payload.
fn write_stamp(folder: &Path, payload: &[u8]) {
    let place_and_payload = [&[2, 1], payload].concat();
    let checksum = crc32c::crc32c(&place_and_payload).to_be_bytes();
    let mut batch = Batch::default();
    batch.put(Column::Meta, [1], [&[1], checksum.as_slice(), payload].concat());
    Rocks::open(folder).unwrap().write(batch).unwrap();
}
