//! openraft's own suite, on a state machine that does nothing but remember where it is.

use std::io::{self, Cursor};

use futures_util::{Stream, TryStreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError};
use quorumfence_storage::{Change, Expect, Folder, LogStore, Record, Records, Rocks, Snapshots};
use tempfile::TempDir;

use crate::config::{Config, Log, LogId, decode, encode, open_store};

type Membership = StoredMembershipOf<Config>;
type Meta = SnapshotMetaOf<Config>;

#[tokio::test(flavor = "multi_thread")]
async fn openraft_accepts_the_store() {
    Suite::test_all(Temporary).await.unwrap();
}

struct Temporary;

impl StoreBuilder<Config, Log<Rocks>, Machine, TempDir> for Temporary {
    async fn build(&self) -> Result<(TempDir, Log<Rocks>, Machine), StorageError<Config>> {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(&folder.path().join("database"), Expect::New).await.unwrap();
        let snapshots = Snapshots::new(Folder::open(&folder.path().join("snapshots")).unwrap());
        let machine = Machine { records: Records::new(store.clone()), snapshots };
        Ok((folder, LogStore::open(store).unwrap(), machine))
    }
}

#[derive(Clone)]
struct Machine {
    records: Records<Rocks>,
    snapshots: Snapshots<Folder>,
}

impl Machine {
    fn state(&self) -> io::Result<(Option<LogId>, Membership)> {
        let loaded = self.records.load()?;
        let applied = loaded.applied.map(|bytes| decode(&bytes).unwrap());
        let membership = loaded.membership.map(|bytes| decode(&bytes).unwrap()).unwrap_or_default();
        Ok((applied, membership))
    }
}

impl RaftStateMachine<Config> for Machine {
    type SnapshotData = Cursor<Vec<u8>>;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        self.state()
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Config>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut change =
                Change { puts: Vec::new(), deletes: Vec::new(), applied: encode(&entry.log_id), membership: None };
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => {
                    change.puts.push(Record { kind: 1, key: b"last".to_vec(), value: command.into_bytes() });
                }
                EntryPayload::Membership(members) => {
                    change.membership = Some(encode(&Membership::new(Some(entry.log_id), members)));
                }
            }
            self.records.commit(change).await?;
            if let Some(responder) = responder {
                responder.send("done".to_owned());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Cursor<Vec<u8>>) -> io::Result<()> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.snapshots.publish(index, &encode(meta), snapshot.get_ref()).await?;
        let applied = meta.last_log_id.as_ref().map(encode);
        self.records.install([], applied, encode(&meta.last_membership)).await?;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Config, Cursor<Vec<u8>>>>> {
        let current = self.snapshots.current()?;
        assert_eq!(current.skipped, []);
        Ok(current
            .snapshot
            .map(|found| Snapshot { meta: decode(&found.meta).unwrap(), snapshot: Cursor::new(found.data) }))
    }
}

impl RaftSnapshotBuilder<Config> for Machine {
    type SnapshotData = Cursor<Vec<u8>>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Config, Cursor<Vec<u8>>>> {
        let (last_log_id, last_membership) = self.state()?;
        let meta = Meta { last_log_id, last_membership };
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.snapshots.publish(index, &encode(&meta), b"").await?;
        Ok(Snapshot { meta, snapshot: Cursor::new(Vec::new()) })
    }
}
